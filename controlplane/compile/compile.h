/* Rules in, packed rules section out: parse → type → normal form → units and classes → rows. */
#ifndef TERN_COMPILE_H
#define TERN_COMPILE_H

#include "controlplane/config/config.h"
#include "shared/buffer.h"
#include "shared/tables/table.h"

/* Parses and types every `when` of the configuration and reports all errors and warnings with their
 * places; builds nothing (tables are known by definition only). 0 or TERN_EINVAL. */
int tern_compile_check(const struct tern_config *config, struct tern_diagnostics *diagnostics);

/* The same, and warns of what limits.rules_bytes makes residual as far as that can be said without
 * the tables. 0, TERN_EINVAL or TERN_ENOMEM. */
int tern_compile_check_rows(const struct tern_config *config, struct tern_diagnostics *diagnostics);

/* The class of every record of one map unit: its bytes, and what they depend on. `content_hash`
 * covers the unit's atoms and the table's content hash, so an unchanged one need not be written
 * again: when `find_classes` knows the hash, `bytes` stays empty and `reused` is set. */
struct tern_compiled_classes {
    uint32_t unit;
    uint16_t table;
    uint8_t content_hash[16];
    bool reused;
    struct tern_buffer bytes;
};

/* All patterns that are asked of one field, compiled; likewise. */
struct tern_compiled_patterns {
    uint32_t unit;
    uint32_t expressions;
    uint8_t content_hash[16];
    bool reused;
    struct tern_buffer bytes;
};

struct tern_compiled {
    struct tern_buffer rules; /* the rules section */
    struct tern_compiled_classes *classes;
    unsigned classes_count;
    struct tern_compiled_patterns *patterns;
    unsigned patterns_count;
    uint64_t rows_bytes;
    uint32_t conjunctions;
    uint32_t units;
    uint32_t
        residual_comparisons;     /* left out of the rows, which would be over limits.rules_bytes */
    uint32_t residual_rules;      /* that have one */
    uint64_t unfitted_rows_bytes; /* about what rows would take with them; 0: there are none */
};

struct tern_compile_input {
    const struct tern_config *config;
    const struct tern_schema *schema;
    const struct tern_table *tables;   /* by id, [0] unused: the built ones, open for reading */
    const uint8_t (*table_hashes)[16]; /* content hashes, by id */
    /* true when the running generation has a classes section of that hash; its bytes then come back
     * through `existing` (class signatures must be numbered as there: numbering is a function of
     * the hash's inputs). May be NULL. */
    bool (*find_classes)(void *context, const uint8_t hash[16], const void **data, size_t *length);
    /* true when it has a patterns section of that hash. May be NULL. */
    bool (*find_patterns)(void *context, const uint8_t hash[16]);
    void *context;
    uint64_t seed;
};

/* Compiles the rule set. Errors are placed in `diagnostics`, as are warnings of what
 * limits.rules_bytes has made residual; TERN_EINVAL for bad rules, TERN_ELIMIT (with a diagnostic)
 * when rows exceed it all the same, TERN_ENOMEM. */
int tern_compile(const struct tern_compile_input *input, struct tern_compiled *compiled,
                 struct tern_diagnostics *diagnostics);
void tern_compiled_free(struct tern_compiled *compiled);

#endif
