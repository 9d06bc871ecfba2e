/* From nodes to structures: one table of keys per mapping says which keys there are, what they take
 * and where it goes; everything wrong is reported with its place, and reading goes on.
 *
 * Internal to controlplane/config. */
#ifndef TERN_CONFIG_READER_H
#define TERN_CONFIG_READER_H

#include "controlplane/config/config.h"
#include "controlplane/config/memory.h"
#include "controlplane/config/yaml.h"

struct tern_config_reader {
    struct tern_config *config;
    struct tern_memory *memory; /* lives as long as the configuration */
    struct tern_diagnostics *diagnostics;
    bool out_of_memory;
};

struct tern_config_choice { /* a list of them ends with a NULL name */
    const char *name;
    int value;
};

struct tern_config_key;
/* Reads `node`, the value of `key`, into `member`. Reports what is wrong and leaves `member` alone.
 */
typedef void tern_config_read_function(struct tern_config_reader *reader,
                                       const struct tern_config_key *key,
                                       const struct tern_yaml_node *node, void *member);

struct tern_config_key {
    const char *name;
    tern_config_read_function *read;
    size_t offset; /* of the member in the structure */
    bool required;
    uint64_t minimum, maximum;                /* quantities and numbers; maximum 0: no bound */
    const struct tern_config_choice *choices; /* tern_config_read_choice */
};

#define TERN_CONFIG_ERROR(reader, place, ...)                                                      \
    tern_diagnostics_add((reader)->diagnostics, TERN_SEVERITY_ERROR, place, __VA_ARGS__)
#define TERN_CONFIG_WARNING(reader, place, ...)                                                    \
    tern_diagnostics_add((reader)->diagnostics, TERN_SEVERITY_WARNING, place, __VA_ARGS__)

/* Zeroed memory of the configuration; NULL sets out_of_memory. */
void *tern_config_take(struct tern_config_reader *reader, size_t bytes);

/* Reads a mapping with the given keys into `target`. `what` names it in messages ("a rule"). Bit i
 * of the result says that key i is there (and was read, well or not); 0 when it is no mapping. */
uint64_t tern_config_read_mapping(struct tern_config_reader *reader,
                                  const struct tern_yaml_node *node, const char *what,
                                  const struct tern_config_key *keys, unsigned key_count,
                                  void *target);

/* Elements of lists and named mappings: `read` fills a zeroed element from its node. */
typedef void tern_config_element_function(struct tern_config_reader *reader,
                                          const struct tern_yaml_node *node, void *element);

/* Reads a list of at most `maximum` elements. Returns them (in the configuration's memory) and
 * their number; on a wrong kind or too many, NULL and 0. */
void *tern_config_read_list(struct tern_config_reader *reader, const struct tern_config_key *key,
                            const struct tern_yaml_node *node, size_t element_bytes,
                            unsigned maximum, tern_config_element_function *read, unsigned *count);

/* Reads a mapping from names that the writer chose. Every element begins with its name, a struct
 * tern_text. Names are checked (letters, digits and '_') and must differ; `what` is "field",
 * "table". */
void *tern_config_read_named(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, const char *what,
                             size_t element_bytes, unsigned maximum,
                             tern_config_element_function *read, unsigned *count);

/* Reports elements (each beginning with its name) whose name occurred before. */
void tern_config_check_unique(struct tern_config_reader *reader, const char *what,
                              const void *elements, unsigned count, size_t element_bytes);

/* False, and a report unless the node is BROKEN, when it is not of `kind`. */
bool tern_config_expect(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                        enum tern_yaml_kind kind, const char *key_name);

/* True for [a-zA-Z_][a-zA-Z0-9_]*, at most TERN_NAME_MAX bytes; `hyphens` allows '-' after the
 * first. Otherwise a report. */
bool tern_config_check_name(struct tern_config_reader *reader, const struct tern_text *name,
                            const char *what, bool hyphens);

/* What keys take; the member's type is in brackets. */
tern_config_read_function tern_config_read_text;      /* [struct tern_text] not empty, no secret */
tern_config_read_function tern_config_read_free_text; /* [struct tern_text] anything */
tern_config_read_function
    tern_config_read_identifier;                   /* [struct tern_text] a name, hyphens allowed */
tern_config_read_function tern_config_read_choice; /* [int or enum] one of key->choices */
tern_config_read_function tern_config_read_size;   /* [uint64_t] bytes */
tern_config_read_function tern_config_read_count;  /* [uint64_t] */
tern_config_read_function tern_config_read_duration; /* [uint64_t] microseconds */
tern_config_read_function tern_config_read_number;   /* [float] finite */

/* The value among `choices`, or -1 after a report with the nearest name. */
int tern_config_choose(struct tern_config_reader *reader, const char *key_name,
                       const struct tern_text *text, const struct tern_config_choice *choices);

/* allow, deny, challenge; with undecided where an answer is expected rather than given. */
extern const struct tern_config_choice tern_config_actions[];
extern const struct tern_config_choice tern_config_answers[];

/* A path relative to the configuration file's folder, in the configuration's memory; NULL sets
 * out_of_memory. */
char *tern_config_resolve(struct tern_config_reader *reader, const struct tern_text *path);

/* The sections, each in a file of its own; members are the whole struct tern_config. */
tern_config_read_function tern_config_read_listen;
tern_config_read_function tern_config_read_limits;
tern_config_read_function tern_config_read_tokens;
tern_config_read_function tern_config_read_decision_log; /* [struct tern_config_decision_log] */
tern_config_read_function tern_config_read_fields;
tern_config_read_function tern_config_read_tables;
tern_config_read_function tern_config_read_collections;
tern_config_read_function tern_config_read_rules;
tern_config_read_function tern_config_read_thresholds;
tern_config_read_function tern_config_read_tests;

/* A type's name, "vector(100)" included. False after a report. */
bool tern_config_read_type(struct tern_config_reader *reader, const struct tern_text *text,
                           bool column, enum tern_type *type, uint8_t *flags, uint32_t *dim);

/* Reports a name that is a word of the expressions. */
void tern_config_check_word(struct tern_config_reader *reader, const struct tern_text *name,
                            const char *what);

/* What needs all of it: names across sections, tables' `by`, what collections reserve, tests'
 * fields and rules. */
void tern_config_check_fields(struct tern_config_reader *reader);
void tern_config_check_tables(struct tern_config_reader *reader);
void tern_config_check_collections(struct tern_config_reader *reader);
void tern_config_check_tests(struct tern_config_reader *reader);

#endif
