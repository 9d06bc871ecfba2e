/* Filters of searches: which vectors may be answers, said in the language of rules over the
 * payload's columns (docs/protocol.md, "SEARCH"):
 *
 *   or:      and { ("or" | "||") and }
 *   and:     not { ("and" | "&&") not }
 *   not:     ("not" | "!") not | primary
 *   primary: "(" or ")" | "exists" "(" COLUMN ")" | COLUMN test
 *   test:    ("==" | "!=" | "<" | "<=" | ">" | ">=") literal
 *            | "in" "{" literal [".." literal] { "," … } "}"
 *            | ("starts_with" | "ends_with" | "contains") string
 *
 * What an expression means is what a rule would mean by it: a comparison with a value that is not
 * there is false, so that its `not` is true; strings compare bytewise; -0 equals 0.
 *
 * Parsed for each search into a program of bounded size without allocating; a program belongs to
 * one thread and keeps nothing of the text and nothing of the collection. Comparisons of numbers
 * and booleans, and equality of strings (through the dictionary), become lists of ranges of
 * integers; what is asked of a string's bytes is remembered by its number in the dictionary. */
#ifndef TERN_VECTOR_FILTER_H
#define TERN_VECTOR_FILTER_H

#include "shared/vector/search.h"

#define TERN_FILTER_TEXT_MAX     4096u
#define TERN_FILTER_NODES_MAX    64u   /* comparisons, and, or, not */
#define TERN_FILTER_LITERALS_MAX 1024u /* of all lists together */
#define TERN_FILTER_DEPTH_MAX    32u   /* nested parentheses and nots; bounds recursion */
#define TERN_FILTER_MEMO         64u   /* answers remembered a comparison */

struct tern_filter_node { /* in postfix order */
    uint8_t kind;         /* filter.c's */
    uint8_t type;         /* enum tern_type of the column */
    uint8_t column;
    bool negated;         /* of ranges: != */
    uint16_t count;       /* of and, or: operands; of a comparison: literals */
    uint16_t first;       /* literal */
    uint16_t range_count; /* sorted and disjoint, from `first` on */
};

struct tern_filter_range { /* of keys: unsigned numbers in the order of the column's values */
    uint64_t first, last;
};

struct tern_filter_string { /* in `decoded` */
    uint16_t offset, length;
};

struct tern_filter {
    uint32_t node_count, literal_count;
    uint32_t dictionary_count; /* strings below it are known by number since tern_filter_bind */
    struct tern_filter_node nodes[TERN_FILTER_NODES_MAX];
    struct tern_filter_range ranges[TERN_FILTER_LITERALS_MAX];
    struct tern_filter_string strings[TERN_FILTER_LITERALS_MAX];
    uint32_t memo[TERN_FILTER_NODES_MAX][TERN_FILTER_MEMO]; /* (number << 1 | answer) + 1; 0 none */
    char decoded[TERN_FILTER_TEXT_MAX];
};

struct tern_filter_failure {
    uint32_t offset; /* byte of the text */
    char message[244];
};

/* Parses `text` over the collection's columns. 0, or TERN_EINVAL with `failure`; the filter is then
 * of no use. */
int tern_filter_parse(struct tern_filter *filter, const struct tern_collection *collection,
                      const char *text, size_t length, struct tern_filter_failure *failure);

/* Looks the filter's strings up in the dictionary. Before each search, in its epoch. */
void tern_filter_bind(struct tern_filter *filter, const struct tern_collection *collection);

/* For struct tern_search_filter.match; `context` is the bound filter. */
void tern_filter_match(const void *context, const struct tern_collection *collection,
                       const uint32_t *slots, unsigned count, uint8_t *matches);

#endif
