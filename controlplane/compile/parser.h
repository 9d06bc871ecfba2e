/* The parser's parts see each other through this; private to parser.c and parser_operand.c. */
#ifndef TERN_COMPILE_PARSER_H
#define TERN_COMPILE_PARSER_H

#include "controlplane/compile/expression.h"
#include "shared/language/lexer.h"

struct tern_parser {
    const struct tern_config *config;
    const struct tern_text *text;
    struct tern_region *region;
    struct tern_diagnostics *diagnostics;
    struct tern_lexer lexer;
    struct tern_token token; /* the next one to be consumed */
    size_t last_end;         /* where the last consumed one ended */
    unsigned depth;
    bool failed; /* some error was reported */
    bool no_memory;
};

/* An error at a byte of the text. */
void tern_parser_report(struct tern_parser *parser, size_t offset, const char *format, ...)
    TERN_PRINTF(3, 4);
/* Reports what stands there instead of `wanted`; a lexical error speaks for itself. */
void tern_parser_unexpected(struct tern_parser *parser, const char *wanted);
void tern_parser_advance(struct tern_parser *parser);
bool tern_parser_accept(struct tern_parser *parser, enum tern_token_kind kind);

/* Words that begin a test, so that no operand is called so. */
bool tern_token_is_test(const struct tern_token *token);

/* FIELD, TABLE.COLUMN, TABLE[FIELD].COLUMN, similar(…).COLUMN; with `records` also TABLE,
 * TABLE[FIELD] and similar(…) alone. A name that cannot be resolved is reported and leaves an
 * operand of type NONE, so that parsing goes on; false only where the text is no operand at all. */
bool tern_parser_operand(struct tern_parser *parser, bool records, struct tern_operand *operand);

#endif
