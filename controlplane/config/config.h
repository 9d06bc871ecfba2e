/* A configuration file as structures with places: what the YAML says, typed and bounded, before any
 * table is read or rule compiled. Written by controlplane/config, read by compile and build. */
#ifndef TERN_CONFIG_H
#define TERN_CONFIG_H

#include "shared/buffer.h"
#include "shared/error.h"
#include "shared/facts.h"
#include "shared/limits.h"
#include "shared/schema.h"
#include "shared/verdict.h"

/* Where something stands: 1-based line and column of `file` (an index into diagnostics' files would
 * be smaller; a pointer that lives as long as the configuration is simpler). */
struct tern_place {
    const char *file;
    uint32_t line;
    uint32_t column;
};

enum tern_severity {
    TERN_SEVERITY_ERROR,
    TERN_SEVERITY_WARNING,
};

struct tern_diagnostic {
    enum tern_severity severity;
    struct tern_place place;
    char *message; /* what is wrong, what was expected, the nearest valid name */
};

/* All that is wrong, not only the first. Zero-initialise; places' files must outlive it. */
struct tern_diagnostics {
    struct tern_diagnostic *items;
    size_t count;
    size_t capacity;
    size_t error_count;
};

void tern_diagnostics_add(struct tern_diagnostics *diagnostics, enum tern_severity severity,
                          struct tern_place place, const char *format, ...) TERN_PRINTF(4, 5);
/* Appends "file:line:column: error: message\n" for each, in order of file and place. */
int tern_diagnostics_print(const struct tern_diagnostics *diagnostics, struct tern_buffer *out);
void tern_diagnostics_free(struct tern_diagnostics *diagnostics);

/* A scalar with its place; `text` is NUL-terminated and owned by the configuration. For block
 * scalars and quoted scalars, `tern_text_place` maps a byte offset inside the text to line and column
 * of the file (so an error inside an expression points into it). */
struct tern_text {
    const char *text;
    size_t length;
    struct tern_place place; /* of the first character of the content */
    bool block;              /* literal block scalar: later lines start at `block_column` */
    uint32_t block_column;
};
struct tern_place tern_text_place(const struct tern_text *text, size_t offset);

struct tern_config_field {
    struct tern_text name;
    enum tern_type type;
    uint8_t flags;     /* TERN_FIELD_HOST */
    uint8_t normalize; /* enum tern_normalize bits */
    uint32_t dim;
    uint32_t max_bytes;
};

struct tern_config_column {
    struct tern_text name;
    struct tern_text from; /* the source's column; = name when not given */
    enum tern_type type;
    uint8_t flags;
};

enum tern_on_error {
    TERN_ON_ERROR_FAIL,
    TERN_ON_ERROR_KEEP,
};

struct tern_config_table {
    struct tern_text name;
    enum tern_table_kind kind;
    struct tern_text source; /* as written */
    char *source_path;       /* resolved against the configuration file's folder */
    struct tern_text by;     /* maps: the field; empty when not given */
    unsigned by_field;       /* its index in `fields` + 1, 0 when none */
    struct tern_text key;    /* exact tables from CSV: the key column */
    enum tern_type key_type; /* of the field for maps; `of:` for exact sets */
    uint8_t key_flags;
    struct tern_config_column *columns;
    unsigned column_count;
    uint64_t refresh_us; /* 0: never */
    uint64_t max_bad_rows;
    uint64_t min_rows;
    uint32_t max_change_permille; /* UINT32_MAX: not set */
    uint64_t max_bytes;           /* 0: not set */
    enum tern_on_error on_error;
};

enum tern_rule_mode {
    TERN_RULE_LIVE,
    TERN_RULE_SHADOW,
    TERN_RULE_OFF,
};

enum tern_then {
    TERN_THEN_ADD,      /* not terminal: adds `score` */
    TERN_THEN_ACTION,   /* terminal */
    TERN_THEN_ESCALATE, /* terminal: escalate(target), meanwhile … */
};

struct tern_config_rule {
    struct tern_text id;
    struct tern_text when;
    enum tern_then then;
    struct tern_text then_text;
    enum tern_action action;    /* of THEN_ACTION; of `meanwhile` for escalations, else UNDECIDED */
    struct tern_text escalate;  /* the target's name */
    float score;                /* `score:` or `add:` */
    enum tern_rule_mode mode;
    bool missing_skip;
    struct tern_text note, owner;
};

struct tern_config_threshold {
    float at;
    enum tern_action action;
    struct tern_place place;
};

struct tern_config_test_value {
    struct tern_text field;
    struct tern_text value;
};

struct tern_config_test {
    struct tern_config_test_value *values;
    unsigned value_count;
    enum tern_action expect;
    struct tern_text rule; /* empty: not checked */
    struct tern_place place;
};

struct tern_config_limits {
    uint64_t max_frame_bytes;
    uint64_t idle_us;
    uint64_t half_frame_us;
    uint64_t connections;
    uint64_t deadline_us;
    uint64_t rules_bytes;
};

struct tern_config {
    char *path;
    char *text; /* the file as read, for history */
    size_t text_length;
    struct tern_text instance;
    struct tern_text *listen;
    unsigned listen_count;
    unsigned workers; /* resolved default: CPUs − 1, at least 1 */
    uint64_t arena_bytes;
    struct tern_config_limits limits;
    bool ignore_unknown_fields;
    struct tern_config_field *fields;
    unsigned field_count;
    struct tern_config_table *tables;
    unsigned table_count;
    struct tern_config_rule *rules;
    unsigned rule_count;
    struct tern_config_threshold *thresholds; /* sorted, highest first */
    unsigned threshold_count;
    enum tern_action default_action;
    struct tern_config_test *tests;
    unsigned test_count;
};

/* Reads and checks `path`. On any error diagnostic, `*config` stays NULL and TERN_EINVAL is returned
 * (all errors are in `diagnostics`, expressions excepted: compile parses those). TERN_EIO, TERN_ENOENT,
 * TERN_ENOMEM likewise add a diagnostic at line 0. */
int tern_config_read(const char *path, struct tern_config **config,
                     struct tern_diagnostics *diagnostics);
void tern_config_free(struct tern_config *config);

/* Parses a request value given as text (`ternctl decide ip=10.1.2.3`, `tests:`) for a field.
 * Strings point into `text`; hosts are folded into `scratch` (TERN_STRING_MAX bytes).
 * TERN_EINVAL with what was expected. Vectors: comma-separated numbers, written to scratch. */
int tern_config_parse_value(enum tern_type type, uint8_t flags, const char *text, size_t length,
                            uint8_t *scratch, union tern_value *value, struct tern_error *error);

#endif
