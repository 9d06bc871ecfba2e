/* The regular expressions of a pattern set, as its source gives them. What matches them is compiled
 * from this list together with everything else that is asked of a field
 * (controlplane/compile/scan.c), so that the list itself is only read by the builder; readers check
 * its bounds. */
#ifndef TERN_TABLES_PATTERNS_H
#define TERN_TABLES_PATTERNS_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/layout.h"

/* Index bytes: this header, `count` entries, then the expressions' bytes. */
struct tern_patterns_index {
    uint32_t count;
    uint32_t reserved;
    uint64_t bytes; /* of all expressions */
};
TERN_LAYOUT_SIZE(tern_patterns_index, 16);
TERN_LAYOUT_FIELD(tern_patterns_index, count, 0);
TERN_LAYOUT_FIELD(tern_patterns_index, reserved, 4);
TERN_LAYOUT_FIELD(tern_patterns_index, bytes, 8);

struct tern_pattern_entry {
    uint64_t offset; /* in the bytes */
    uint32_t length;
    uint32_t line; /* of the source, for messages */
};
TERN_LAYOUT_SIZE(tern_pattern_entry, 16);
TERN_LAYOUT_FIELD(tern_pattern_entry, offset, 0);
TERN_LAYOUT_FIELD(tern_pattern_entry, length, 8);
TERN_LAYOUT_FIELD(tern_pattern_entry, line, 12);

struct tern_patterns { /* a handle; nothing to free */
    const struct tern_pattern_entry *entries;
    const uint8_t *bytes;
    uint32_t count;
};

/* Validates the index (8-byte aligned). */
int tern_patterns_open(struct tern_patterns *patterns, const void *index, size_t length,
                       struct tern_error *error);

#endif
