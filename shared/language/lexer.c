#include "shared/language/lexer.h"

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_start(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* There is no arithmetic in the language, so names may hold a minus. */
static bool is_name(int c)
{
    return is_name_start(c) || is_digit(c) || c == '-';
}

static int hex_digit(int c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int peek(const struct tern_lexer *lexer, size_t ahead)
{
    return lexer->at + ahead < lexer->length ? (unsigned char)lexer->text[lexer->at + ahead] : -1;
}

static struct tern_token token_of(struct tern_lexer *lexer, enum tern_token_kind kind,
                                  size_t length)
{
    struct tern_token token = {kind, lexer->at, lexer->at + length, lexer->text + lexer->at,
                               length};

    lexer->at += length;
    return token;
}

/* The position stays, so that a caller that goes on gets the same error again. */
static struct tern_token error_at(size_t offset, const char *message)
{
    return (struct tern_token){TERN_TOKEN_ERROR, offset, offset + 1, message, strlen(message)};
}

/* How many bytes from here on read as an IP address with or without a prefix length; 0 when they do
 * not. "1..5" is no address: two dots end the run. */
static size_t address_length(const struct tern_lexer *lexer)
{
    size_t length = 0;
    unsigned colons = 0, dots = 0;

    for (;;) {
        int c = peek(lexer, length);

        if (c == '.' && peek(lexer, length + 1) == '.')
            break;
        if (c == ':')
            colons++;
        else if (c == '.')
            dots++;
        else if (hex_digit(c) < 0)
            break;
        length++;
    }
    if (!(colons >= 2 || (dots == 3 && is_digit(peek(lexer, 0)))))
        return 0;
    if (peek(lexer, length) == '/') {
        length++;
        while (is_digit(peek(lexer, length)))
            length++;
    }
    return length;
}

static struct tern_token lex_number(struct tern_lexer *lexer)
{
    size_t length = peek(lexer, 0) == '-' || peek(lexer, 0) == '+';

    while (is_digit(peek(lexer, length)))
        length++;
    if (peek(lexer, length) == '.' && is_digit(peek(lexer, length + 1))) {
        length++;
        while (is_digit(peek(lexer, length)))
            length++;
    }
    if (peek(lexer, length) == 'e' || peek(lexer, length) == 'E') {
        size_t sign = peek(lexer, length + 1) == '-' || peek(lexer, length + 1) == '+';

        if (is_digit(peek(lexer, length + 1 + sign))) {
            length += 1 + sign;
            while (is_digit(peek(lexer, length)))
                length++;
        }
    }
    if (is_name(peek(lexer, length)))
        return error_at(lexer->at, "malformed number");
    return token_of(lexer, TERN_TOKEN_NUMBER, length);
}

static struct tern_token lex_string(struct tern_lexer *lexer, bool raw)
{
    size_t start = lexer->at, at = start + raw + 1;
    char quote = lexer->text[start + raw];
    char *decoded = lexer->decoded + start;
    size_t length = 0;

    for (; at < lexer->length && lexer->text[at] != quote; at++) {
        char c = lexer->text[at];

        if (c == '\\' && !raw) {
            int high, low;

            if (++at == lexer->length)
                break;
            switch (lexer->text[at]) {
            case '\\':
            case '"':
            case '\'':
                c = lexer->text[at];
                break;
            case 'n':
                c = '\n';
                break;
            case 'r':
                c = '\r';
                break;
            case 't':
                c = '\t';
                break;
            case 'x':
                high = at + 2 < lexer->length ? hex_digit((unsigned char)lexer->text[at + 1]) : -1;
                low = at + 2 < lexer->length ? hex_digit((unsigned char)lexer->text[at + 2]) : -1;
                if (high < 0 || low < 0)
                    return error_at(at - 1, "expected two hexadecimal digits after \\x");
                c = (char)(high << 4 | low);
                at += 2;
                break;
            default:
                return error_at(at - 1,
                                "unknown escape in a string, expected one of \\\\ \\\" \\' \\n \\r "
                                "\\t \\xHH; a regular expression is written r\"…\"");
            }
        }
        decoded[length++] = c;
    }
    if (at >= lexer->length)
        return error_at(start, "string without a closing quote");
    lexer->at = at + 1;
    return (struct tern_token){raw ? TERN_TOKEN_PATTERN : TERN_TOKEN_STRING, start, at + 1, decoded,
                               length};
}

static const struct operator_text {
    const char text[3];
    enum tern_token_kind kind;
} operators[] = {
    /* two characters first */
    {"==", TERN_TOKEN_EQ},           {"!=", TERN_TOKEN_NE},         {"<=", TERN_TOKEN_LE},
    {">=", TERN_TOKEN_GE},           {"&&", TERN_TOKEN_AND},        {"||", TERN_TOKEN_OR},
    {"..", TERN_TOKEN_RANGE},        {"<", TERN_TOKEN_LT},          {">", TERN_TOKEN_GT},
    {"!", TERN_TOKEN_NOT},           {"(", TERN_TOKEN_OPEN},        {")", TERN_TOKEN_CLOSE},
    {"{", TERN_TOKEN_BRACE_OPEN},    {"}", TERN_TOKEN_BRACE_CLOSE}, {"[", TERN_TOKEN_BRACKET_OPEN},
    {"]", TERN_TOKEN_BRACKET_CLOSE}, {",", TERN_TOKEN_COMMA},       {".", TERN_TOKEN_DOT},
    {":", TERN_TOKEN_COLON},
};

static struct tern_token lex_name(struct tern_lexer *lexer)
{
    size_t length = 0;
    struct tern_token token;

    while (is_name(peek(lexer, length)))
        length++;
    token = token_of(lexer, TERN_TOKEN_NAME, length);
    if (tern_token_is(&token, "and"))
        token.kind = TERN_TOKEN_AND;
    else if (tern_token_is(&token, "or"))
        token.kind = TERN_TOKEN_OR;
    else if (tern_token_is(&token, "not"))
        token.kind = TERN_TOKEN_NOT;
    return token;
}

struct tern_token tern_lexer_next(struct tern_lexer *lexer)
{
    int c;
    size_t length;

    while ((c = peek(lexer, 0)) == ' ' || c == '\t' || c == '\n' || c == '\r')
        lexer->at++;
    if (c < 0)
        return token_of(lexer, TERN_TOKEN_END, 0);
    length = address_length(lexer);
    if (length > 0)
        return token_of(lexer, TERN_TOKEN_ADDRESS, length);
    if (is_digit(c) || ((c == '-' || c == '+') && is_digit(peek(lexer, 1))))
        return lex_number(lexer);
    if (c == '"' || c == '\'')
        return lex_string(lexer, false);
    if (c == 'r' && (peek(lexer, 1) == '"' || peek(lexer, 1) == '\''))
        return lex_string(lexer, true);
    if (is_name_start(c))
        return lex_name(lexer);
    if (c == '$') {
        struct tern_token token;

        if (!is_name_start(peek(lexer, 1)))
            return error_at(lexer->at, "expected a table's name after $");
        for (length = 1; is_name(peek(lexer, length)); length++)
            ;
        token = token_of(lexer, TERN_TOKEN_TABLE, length);
        token.text++;
        token.length--;
        return token;
    }
    for (size_t i = 0; i < TERN_COUNT(operators); i++) {
        size_t wanted = strlen(operators[i].text);

        if (lexer->length - lexer->at >= wanted &&
            memcmp(lexer->text + lexer->at, operators[i].text, wanted) == 0)
            return token_of(lexer, operators[i].kind, wanted);
    }
    if (c == '=')
        return error_at(lexer->at, "unexpected '=', comparison is written '=='");
    if (c == '&' || c == '|')
        return error_at(lexer->at, "unexpected single '&' or '|', write 'and' or 'or'");
    return error_at(lexer->at, "unexpected character");
}

bool tern_token_is(const struct tern_token *token, const char *word)
{
    return token->length == strlen(word) && memcmp(token->text, word, token->length) == 0;
}
