/* One table of the configuration: its source read, its rows parsed and checked, its section built.
 */
#ifndef TERN_BUILD_LOAD_H
#define TERN_BUILD_LOAD_H

#include "controlplane/build/sketch.h"
#include "controlplane/build/table.h"
#include "controlplane/config/config.h"

/* What identifies a source's content without reading it, and with. */
struct tern_source_identity {
    uint64_t device, inode, size;
    int64_t mtime_ns, ctime_ns;
    uint8_t digest[16]; /* XXH3-128 of the (packed) bytes */
};

/* Fills the identity from stat alone (digest untouched). */
int tern_source_stat(const char *path, struct tern_source_identity *identity,
                     struct tern_error *error);
/* Reads the whole file to compute the digest. */
int tern_source_digest(const char *path, struct tern_source_identity *identity,
                       struct tern_error *error);

struct tern_load_report {
    struct tern_build_report build;
    uint64_t bad_rows;
    struct tern_sketch *sketch; /* the caller's: receives a sketch of the rows; NULL: not wanted */
};

/* Reads `table->source_path` (plain or .gz by content, not by name), parses every row, and appends
 * the section to `out`. Bad rows become placed diagnostics (source file, line, column): warnings up
 * to max_bad_rows, errors and TERN_EINVAL past it (at most 20 are kept, then one says how many
 * more). min_rows and max_bytes are enforced. `fields` resolve `by:`. `progress` as in
 * build/table.h, with the rows read. `digest` (may be NULL) receives the XXH3-128 of the packed
 * bytes that were read, so that the identity stated cannot differ from what was built. */
int tern_table_load(const struct tern_config_table *table, uint64_t seed, struct tern_buffer *out,
                    struct tern_load_report *report, uint8_t digest[16],
                    void (*progress)(void *context, unsigned permille, uint64_t rows),
                    void *context, struct tern_diagnostics *diagnostics, struct tern_error *error);

#endif
