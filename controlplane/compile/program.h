/* All rules of a configuration, parsed and typed. */
#ifndef TERN_COMPILE_PROGRAM_H
#define TERN_COMPILE_PROGRAM_H

#include "controlplane/compile/expression.h"

struct tern_program {
    const struct tern_config *config;
    struct tern_region region;
    uint64_t raw_fields[4];   /* bit per field id whose untouched value a rule looks at */
    struct tern_node **rules; /* one a rule of the configuration; also of rules that are off */
};

/* Parses every `when`, reports all errors, warns of tables that no rule names. `*program` refers to
 * `config`. Returns 0, TERN_EINVAL or TERN_ENOMEM (nothing to free then). */
int tern_program_new(const struct tern_config *config, struct tern_diagnostics *diagnostics,
                     struct tern_program **program);
void tern_program_free(struct tern_program *program);

#endif
