/* Writes the rules section (shared/rules/format.h). */
#ifndef TERN_COMPILE_SECTION_H
#define TERN_COMPILE_SECTION_H

#include "controlplane/compile/analysis.h"
#include "shared/tables/table.h"

struct tern_section_unit { /* what the section says of a unit besides its classifier */
    uint32_t class_count;
    uint32_t first_row;
    uint8_t section_hash[16]; /* MAP, SCAN */
    uint32_t atom_count;      /* SCAN, SIMILAR */
    uint32_t level_count;     /* SCAN, SIMILAR */
};

/* Appends the section to `out`, which is empty. `tables` are the built ones, by id. 0; TERN_ENOMEM;
 * TERN_ELIMIT past 4 GiB of texts; TERN_EINVAL when tables and configuration disagree. */
int tern_section_write(const struct tern_analysis *analysis, const struct tern_table *tables,
                       const struct tern_rows *rows, const struct tern_section_unit *units,
                       struct tern_buffer *out);

#endif
