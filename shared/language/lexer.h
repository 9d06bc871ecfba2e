/* Tokens of the expression language (DESIGN 5, "Expressions"): of rules, compiled by the control
 * plane, and of filters, which the data plane parses. Allocates nothing; a lexer belongs to one
 * thread. */
#ifndef TERN_LANGUAGE_LEXER_H
#define TERN_LANGUAGE_LEXER_H

#include "shared/base.h"

enum tern_token_kind {
    TERN_TOKEN_END,
    TERN_TOKEN_NAME,    /* fields, tables, columns and the words of the language */
    TERN_TOKEN_TABLE,   /* $name; the text is without the $ */
    TERN_TOKEN_NUMBER,  /* as written, with its sign */
    TERN_TOKEN_STRING,  /* decoded */
    TERN_TOKEN_PATTERN, /* r"…", not decoded */
    TERN_TOKEN_ADDRESS, /* an IP address or CIDR prefix as written */
    TERN_TOKEN_OPEN,
    TERN_TOKEN_CLOSE,
    TERN_TOKEN_BRACE_OPEN,
    TERN_TOKEN_BRACE_CLOSE,
    TERN_TOKEN_BRACKET_OPEN,
    TERN_TOKEN_BRACKET_CLOSE,
    TERN_TOKEN_COMMA,
    TERN_TOKEN_COLON,
    TERN_TOKEN_DOT,
    TERN_TOKEN_RANGE, /* .. */
    TERN_TOKEN_EQ,
    TERN_TOKEN_NE,
    TERN_TOKEN_LT,
    TERN_TOKEN_LE,
    TERN_TOKEN_GT,
    TERN_TOKEN_GE,
    TERN_TOKEN_AND,
    TERN_TOKEN_OR,
    TERN_TOKEN_NOT,
    TERN_TOKEN_ERROR, /* `text` says what is wrong */
};

struct tern_token {
    enum tern_token_kind kind;
    size_t offset, end; /* bytes of the source text it covers */
    const char *text;   /* not NUL-terminated, except for errors */
    size_t length;
};

struct tern_lexer {
    const char *text;
    size_t length;
    size_t at;
    /* Room for `length` bytes. A string is decoded to where it stands in the text, so that reading
     * it a second time changes nothing. Tokens point into it. */
    char *decoded;
};

/* The next token. After TERN_TOKEN_END and TERN_TOKEN_ERROR it keeps returning the same. */
struct tern_token tern_lexer_next(struct tern_lexer *lexer);

/* True when the token is the word `word`. */
bool tern_token_is(const struct tern_token *token, const char *word);

#endif
