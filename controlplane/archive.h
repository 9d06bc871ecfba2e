/* Packed sections kept in the state directory: what a reboot or a rollback serves when a source is
 * gone. STATE_DIR/sections/HASH.section holds one section's bytes, STATE_DIR/generations/N lists a
 * generation. Files are written aside, synced, and renamed: one that is there is whole. One thread.
 */
#ifndef TERN_ARCHIVE_H
#define TERN_ARCHIVE_H

#include "controlplane/collections/collections.h"
#include "shared/buffer.h"
#include "shared/error.h"
#include "shared/limits.h"
#include "shared/manifest.h"

#define TERN_ARCHIVE_KEEP    3u /* newest generations */
#define TERN_ARCHIVE_CONFIGS 3u /* newest configurations, each by its last generation */
#define TERN_ARCHIVE_LISTS   (TERN_ARCHIVE_KEEP + TERN_ARCHIVE_CONFIGS)

/* What is known of a section besides its bytes, for reports. */
struct tern_section_info {
    char name[TERN_NAME_MAX + 1]; /* of the table, else empty */
    uint64_t rows, keys;
    uint64_t source_bytes;  /* of its source as it lay there, packed or not */
    uint64_t loaded_at_us;  /* wall clock: when its source was read */
    uint8_t definition[16]; /* hash of what it is made from besides the source; zeros: not known */
};

struct tern_archive_list {
    uint64_t generation;
    uint64_t schema_hash;
    uint8_t config_hash[16];       /* of the configuration's text; zeros: not known */
    struct tern_section *sections; /* offsets are 0 */
    struct tern_section_info *infos;
    unsigned count;
    struct tern_collection_spec *specs; /* of its collections, whose vectors are kept elsewhere */
    unsigned spec_count;
};

/* Saves the sections that are not there yet (bytes at base + section.offset), then the list, then
 * removes what no retained generation names. Retained are the last TERN_ARCHIVE_KEEP, and the last
 * one of each of the last TERN_ARCHIVE_CONFIGS configurations: refreshes of sources must not push
 * out what an operator would go back to. */
int tern_archive_save(const char *state_dir, const struct tern_archive_list *list,
                      const uint8_t *base, struct tern_error *error);

/* Keeps something small about a section beside it (STATE_DIR/sections/HASH.KIND) for as long as the
 * section is retained; it need not be saved itself yet. Reading appends to `out`. */
int tern_archive_attach(const char *state_dir, const uint8_t hash[16], const char *kind,
                        const void *data, size_t length, struct tern_error *error);
int tern_archive_attached(const char *state_dir, const uint8_t hash[16], const char *kind,
                          struct tern_buffer *out, struct tern_error *error);

/* Notes what is about to be swapped in. When the process dies between the swap and the saving, the
 * note is all that is known of it besides its bytes. Survives the process, not the machine. */
int tern_archive_note(const char *state_dir, const struct tern_archive_list *list,
                      struct tern_error *error);
/* Reads the note; TERN_ENOENT when it is about another generation. */
int tern_archive_noted(const char *state_dir, uint64_t generation, struct tern_archive_list *list,
                       struct tern_error *error);

/* The retained generations, newest first, at most TERN_ARCHIVE_LISTS. */
unsigned tern_archive_generations(const char *state_dir, uint64_t generations[TERN_ARCHIVE_LISTS]);

/* Reads the list of `generation`, 0 for the newest. TERN_ENOENT when it is not retained. */
int tern_archive_read(const char *state_dir, uint64_t generation, struct tern_archive_list *list,
                      struct tern_error *error);
void tern_archive_list_free(struct tern_archive_list *list);

/* Reads one section's bytes and checks length and checksum. */
int tern_archive_section(const char *state_dir, const struct tern_section *section,
                         struct tern_buffer *out, struct tern_error *error);

#endif
