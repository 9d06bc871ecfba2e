/* A rule's `when` as a typed tree: names resolved to ids, literals in their operand's type.
 *
 * Grammar, loosest first:
 *   or:      and { ("or" | "||") and }
 *   and:     not { ("and" | "&&") not }
 *   not:     ("not" | "!") not | primary
 *   primary: "(" or ")" | "exists" "(" operand ")" | operand test
 *   operand: FIELD | TABLE "." COLUMN | TABLE "[" FIELD "]" "." COLUMN | similar "." (COLUMN |
 * "score") similar: "similar" "(" COLLECTION "," FIELD { "," ("k" | "min") ":" number } ")"; in
 * exists() also alone test:    ("==" | "!=" | "<" | "<=" | ">" | ">=") literal | "in" "$"TABLE |
 * "in" "{" literal [".." literal] { "," … } "}" | ("starts_with" | "ends_with" | "contains") string
 *            | "matches" (string | r"regular expression" | "$"TABLE)
 *
 * Every atom is total: false when what it names is missing, so that its `not` is true. */
#ifndef TERN_COMPILE_EXPRESSION_H
#define TERN_COMPILE_EXPRESSION_H

#include "controlplane/compile/region.h"
#include "controlplane/config/config.h"

#define TERN_EXPRESSION_DEPTH_MAX 64 /* nested parentheses and nots; bounds recursion */

enum tern_test {
    TERN_TEST_EXISTS,
    TERN_TEST_EQ,
    TERN_TEST_NE,
    TERN_TEST_LT,
    TERN_TEST_LE,
    TERN_TEST_GT,
    TERN_TEST_GE,
    TERN_TEST_IN,       /* any of the literals */
    TERN_TEST_IN_TABLE, /* a key of the set `set` */
    TERN_TEST_STARTS_WITH,
    TERN_TEST_ENDS_WITH,
    TERN_TEST_CONTAINS,
    TERN_TEST_MATCHES,     /* the regular expression in literals[0] */
    TERN_TEST_MATCHES_SET, /* one of those of the pattern set `set` */
};

/* What an atom looks at. */
struct tern_operand {
    uint16_t field; /* id: the field itself, or what the record or the neighbours are found by */
    uint16_t table; /* id; 0: no table's record */
    int16_t column; /* index in the table's or the collection's columns; -1: the record, or whether
                       there are neighbours, as such */
    uint8_t type;   /* enum tern_type; NONE: it could not be resolved (an error was reported) */
    uint8_t flags;  /* enum tern_field_flags */
    uint16_t collection; /* id: the neighbours there; 0: no neighbours */
    uint16_t k;          /* of them, */
    float min;           /* with at least this similarity; -INFINITY: any */
};

#define TERN_COLUMN_NONE  (-1)
#define TERN_COLUMN_SCORE (-2) /* of neighbours: the best one's similarity */

/* An inclusive range; a single value is its own first and last. Strings are never ranges. */
struct tern_literal {
    union tern_value first;
    union tern_value last;
};

struct tern_atom {
    struct tern_operand operand;
    uint8_t test; /* enum tern_test */
    uint16_t set; /* IN_TABLE, MATCHES_SET: table id */
    uint32_t literal_count;
    struct tern_literal *literals;
    struct tern_place place; /* CONTAINS, MATCHES, MATCHES_SET: of the literal or table */
};

enum tern_node_kind {
    TERN_NODE_ATOM,
    TERN_NODE_NOT,
    TERN_NODE_AND,
    TERN_NODE_OR,
};

struct tern_node {
    enum tern_node_kind kind;
    size_t offset, end; /* bytes of the rule's text it covers */
    unsigned child_count;
    struct tern_node **children;
    struct tern_atom atom;
};

/* Parses and types `text`. All errors go to `diagnostics` with their places; warnings do too.
 * Returns 0 with `*node` (living in `region`), TERN_EINVAL, or TERN_ENOMEM. */
int tern_expression_parse(const struct tern_config *config, const struct tern_text *text,
                          struct tern_region *region, struct tern_diagnostics *diagnostics,
                          struct tern_node **node);

/* "field 'user'", "column 'users.trust'", "table 'asn'", for messages. */
#define TERN_OPERAND_TEXT 160
void tern_operand_describe(const struct tern_config *config, const struct tern_operand *operand,
                           char text[TERN_OPERAND_TEXT]);

#endif
