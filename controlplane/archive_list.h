/* The list of a generation as the archive's files have it: a line a section, collection and column,
 * and a hash of it all at the end. */
#ifndef TERN_ARCHIVE_LIST_H
#define TERN_ARCHIVE_LIST_H

#include "controlplane/archive.h"

#define TERN_ARCHIVE_HASH_TEXT 33u /* 16 bytes in hexadecimal, terminated */
/* More than any list takes. */
#define TERN_ARCHIVE_LIST_BYTES                                                                    \
    (TERN_SECTIONS_MAX * 320ul + TERN_COLLECTIONS_MAX * TERN_PAYLOAD_COLUMNS_MAX * 128ul + 4096)

void tern_archive_hash_text(const uint8_t hash[16], char text[TERN_ARCHIVE_HASH_TEXT]);

/* Writes to the end of `text`, which was empty. 0 or TERN_ENOMEM. */
int tern_archive_list_print(struct tern_buffer *text, const struct tern_archive_list *list);

/* `text` is terminated after `length` bytes, and taken apart. 0 with a list to be freed,
 * TERN_ECORRUPT, TERN_ENOMEM. */
int tern_archive_list_parse(struct tern_archive_list *list, char *text, size_t length);

#endif
