/* A configuration file as structures with places: what the YAML says, typed and bounded, before any
 * table is read or rule compiled. Written by controlplane/config, read by compile and build. */
#ifndef TERN_CONFIG_H
#define TERN_CONFIG_H

#include "controlplane/build/graph.h"
#include "shared/buffer.h"
#include "shared/error.h"
#include "shared/facts.h"
#include "shared/host.h"
#include "shared/limits.h"
#include "shared/schema.h"
#include "shared/verdict.h"

/* Where something stands: 1-based line and column (in characters) of `file`; line 0 is the file as
 * a whole, column 0 the whole line. `file` lives as long as what the place belongs to. */
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

#define TERN_DIAGNOSTICS_MAX                                                                       \
    1000 /* kept; nobody reads more, and hostile input could give millions */

/* All that is wrong, not only the first. Zero-initialise. Messages and file names are copied, so
 * diagnostics outlive the configuration they speak of. Not thread-safe. */
struct tern_diagnostics {
    struct tern_diagnostic *items;
    size_t count;
    size_t capacity;
    size_t error_count;   /* also those past TERN_DIAGNOSTICS_MAX */
    size_t dropped_count; /* past TERN_DIAGNOSTICS_MAX, or for want of memory */
    char **files;         /* the names that places point to */
    size_t file_count;
};

void tern_diagnostics_add(struct tern_diagnostics *diagnostics, enum tern_severity severity,
                          struct tern_place place, const char *format, ...) TERN_PRINTF(4, 5);
/* Appends "file:line:column: error: message\n" for each (without line and column where they are 0),
 * files in the order of their first diagnostic, then by place. Returns 0 or TERN_ENOMEM. */
int tern_diagnostics_print(const struct tern_diagnostics *diagnostics, struct tern_buffer *out);
void tern_diagnostics_free(struct tern_diagnostics *diagnostics);

/* How much has been said so far. */
struct tern_diagnostics_mark {
    size_t count, error_count;
};
struct tern_diagnostics_mark tern_diagnostics_mark(const struct tern_diagnostics *diagnostics);
/* Takes back what was said since `mark`, or makes warnings of its errors: they turned out to stop
 * nothing. */
void tern_diagnostics_forget(struct tern_diagnostics *diagnostics,
                             const struct tern_diagnostics_mark *mark);
void tern_diagnostics_soften(struct tern_diagnostics *diagnostics,
                             const struct tern_diagnostics_mark *mark);

enum tern_text_style { /* how a scalar is written in the file */
                       TERN_TEXT_PLAIN,
                       TERN_TEXT_SINGLE_QUOTED,
                       TERN_TEXT_DOUBLE_QUOTED,
                       TERN_TEXT_LITERAL, /* block scalar | */
                       TERN_TEXT_FOLDED,  /* block scalar > */
};

/* A scalar with its place; `text` is NUL-terminated and owned by the configuration. `raw` is how it
 * stands in the file, so that a byte of the text can be found there again; a text made by hand
 * leaves it NULL. */
struct tern_text {
    const char *text;
    size_t length;
    struct tern_place place; /* of the first character of the content */
    enum tern_text_style style;
    uint32_t block_column; /* block scalars: where their lines start */
    const char *raw;       /* from that first character, in the configuration's text */
    size_t raw_length;
};

/* The line and column of the byte at `offset` of the text (its length: just past the end), through
 * quotes, escapes, folded lines and block scalars: an error inside an expression points into it. */
struct tern_place tern_text_place(const struct tern_text *text, size_t offset);

struct tern_config_field {
    struct tern_text name;
    enum tern_type type;
    uint8_t flags;     /* TERN_FIELD_HOST */
    uint8_t normalize; /* enum tern_normalize bits */
    uint32_t dim;
    uint32_t max_bytes;
    unsigned raw_of; /* the id of the field whose untouched value this is, 0: it is a field */
};

/* Fields, columns, tables, rules and test values begin with their name. */
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
    struct tern_text key; /* the key column: exact maps, and sets whose source is CSV; else empty */
    enum tern_type key_type; /* of the field for maps; `of:` for exact sets; ip, string by kind */
    uint8_t key_flags;
    struct tern_config_column *columns;
    unsigned column_count;
    uint64_t refresh_us; /* 0: never */
    uint64_t max_bad_rows;
    uint64_t min_rows;            /* default 1: an empty table is most likely a mistake */
    uint32_t max_change_permille; /* UINT32_MAX: not set */
    uint64_t max_bytes;           /* 0: not set */
    enum tern_on_error on_error;
};

struct tern_config_collection {
    struct tern_text name;
    struct tern_graph_shape shape;           /* another one is another object */
    struct tern_graph_parameters parameters; /* change in place */
    struct tern_text source;                 /* of its first vectors, as written; empty: none */
    char *source_path;                       /* resolved against the file's folder */
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
    enum tern_action action;   /* of THEN_ACTION; of `meanwhile` for escalations, else UNDECIDED */
    struct tern_text escalate; /* the target's name */
    float score;               /* `score:` or `add:` */
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

/* A client that shows `secret` with HELLO is let in; several, so that one can follow another. */
struct tern_config_token {
    struct tern_text name;
    struct tern_text secret; /* where it is: "${env:NAME}" or "${file:PATH}" */
};

struct tern_config_decision_log {
    bool on;
    uint8_t always; /* bit per enum tern_action */
    uint64_t sample_permille;
    uint64_t file_bytes;
    uint64_t file_us; /* 0: no age */
    uint64_t files;
    const char *directory; /* as the configuration's path: absolute when that is; NULL: not given */
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
    unsigned helpers; /* threads for what would hold a loop up */
    unsigned workers; /* resolved default: CPUs − 1, at least 1 */
    uint64_t arena_bytes;
    struct tern_config_limits limits;
    struct tern_config_token *tokens;
    unsigned token_count; /* 0: nobody needs one */
    struct tern_config_decision_log decision_log;
    bool ignore_unknown_fields;
    struct tern_config_field *fields; /* slots of facts: fields by id, then untouched values */
    unsigned field_count;
    unsigned slot_count; /* field_count, or more with the untouched values (shared/schema.h) */
    struct tern_config_table *tables;
    unsigned table_count;
    struct tern_config_collection *collections; /* by id */
    unsigned collection_count;
    struct tern_config_rule *rules;
    unsigned rule_count;
    struct tern_config_threshold *thresholds; /* sorted, highest first */
    unsigned threshold_count;
    enum tern_action default_action;
    struct tern_config_test *tests;
    unsigned test_count;
    /* Where rules, thresholds, default and tests come from, owned; NULL: from this very file. */
    struct tern_config *rules_of;
};

/* Reads and checks `path`. On any error diagnostic, `*config` stays NULL and TERN_EINVAL is
 * returned (all errors are in `diagnostics`, expressions excepted: compile parses those). TERN_EIO,
 * TERN_ENOENT, TERN_ENOMEM likewise add a diagnostic at line 0. */
int tern_config_read(const char *path, struct tern_config **config,
                     struct tern_diagnostics *diagnostics);
/* Reads `length` bytes of text that were read from `path` once: what the history keeps. */
int tern_config_read_kept(const char *path, const char *text, size_t length,
                          struct tern_config **config, struct tern_diagnostics *diagnostics);
/* As tern_config_read, but when the file is YAML with errors in it, TERN_EINVAL comes with
 * `*config` set to what could be read, so that more of it can be checked. Members that had errors
 * are as if not given; texts may be NULL. Never publish it. */
int tern_config_read_partial(const char *path, struct tern_config **config,
                             struct tern_diagnostics *diagnostics);
void tern_config_free(struct tern_config *config);

/* Puts rules, thresholds, default and tests of `rules` in place of the configuration's own, and
 * takes `rules` over. */
void tern_config_take_rules(struct tern_config *config, struct tern_config *rules);

/* Names what would be served: XXH3-128 of the text, and of the rules' text where that is another.
 */
void tern_config_identity(const struct tern_config *config, uint8_t hash[16]);

/* The id of the slot of the untouched value of field `id`, 0 when it has none. */
unsigned tern_config_raw_slot(const struct tern_config *config, unsigned id);

/* Parses a value given as text (`ternctl decide ip=10.1.2.3`, `tests:`) for a field or column.
 * Strings point into `text`; hosts are folded into `scratch` (TERN_VALUE_SCRATCH bytes). Vectors
 * are comma-separated numbers, written to scratch as f32: at most TERN_STRING_MAX / 4 of them here;
 * the caller compares their number with the field's. TERN_EINVAL with what was expected.
 * Thread-safe.
 */
#define TERN_VALUE_SCRATCH (TERN_STRING_MAX + TERN_HOST_GROWTH)
int tern_config_parse_value(enum tern_type type, uint8_t flags, const char *text, size_t length,
                            uint8_t *scratch, union tern_value *value, struct tern_error *error);

#endif
