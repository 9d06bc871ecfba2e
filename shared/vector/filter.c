#include "shared/vector/filter.h"

#include "shared/language/lexer.h"
#include "shared/number.h"
#include "shared/schema.h"
#include "shared/vector/filter_program.h"

#include <stdarg.h>

#define F32_KEY_LEAST 0x007fffffull /* −∞ */
#define F32_KEY_MOST  0xff800000ull /* +∞ */

/* The keys that values of the type have. */
static struct tern_filter_range all_keys(uint8_t type)
{
    switch (type) {
    case TERN_TYPE_F32:
        return (struct tern_filter_range){F32_KEY_LEAST, F32_KEY_MOST};
    case TERN_TYPE_U32:
        return (struct tern_filter_range){0, UINT32_MAX};
    case TERN_TYPE_BOOL:
        return (struct tern_filter_range){0, 1};
    default:
        return (struct tern_filter_range){0, UINT64_MAX};
    }
}

/* ---- parsing ---- */

struct parser {
    struct tern_filter *filter;
    const struct tern_collection *collection;
    struct tern_filter_failure *failure;
    struct tern_lexer lexer;
    struct tern_token token; /* the next one to be consumed */
    unsigned depth;
};

/* What parsing functions return: the first error ends it. */
static bool fail(struct parser *parser, size_t offset, const char *format, ...) TERN_PRINTF(3, 4);
static bool fail(struct parser *parser, size_t offset, const char *format, ...)
{
    va_list arguments;

    parser->failure->offset = (uint32_t)offset;
    va_start(arguments, format);
    vsnprintf(parser->failure->message, sizeof parser->failure->message, format, arguments);
    va_end(arguments);
    return false;
}

static bool unexpected(struct parser *parser, const char *wanted)
{
    const struct tern_token *token = &parser->token;

    if (token->kind == TERN_TOKEN_ERROR)
        return fail(parser, token->offset, "%s", token->text);
    if (token->kind == TERN_TOKEN_END)
        return fail(parser, token->offset, "expected %s, found the end of the filter", wanted);
    return fail(parser, token->offset, "expected %s, found '%.*s'", wanted,
                (int)tern_min_u64(token->end - token->offset, 40),
                parser->lexer.text + token->offset);
}

static void advance(struct parser *parser)
{
    parser->token = tern_lexer_next(&parser->lexer);
}

static bool accept(struct parser *parser, enum tern_token_kind kind)
{
    if (parser->token.kind != kind)
        return false;
    advance(parser);
    return true;
}

static bool emit(struct parser *parser, struct tern_filter_node node)
{
    struct tern_filter *filter = parser->filter;

    if (filter->node_count == TERN_FILTER_NODES_MAX)
        return fail(parser, parser->token.offset, "more than %u comparisons, 'and', 'or' and 'not'",
                    TERN_FILTER_NODES_MAX);
    filter->nodes[filter->node_count++] = node;
    return true;
}

static bool unknown_column(struct parser *parser, const struct tern_token *name)
{
    const struct tern_collection_header *header = parser->collection->header;
    char known[120] = "";
    size_t at = 0;

    for (unsigned i = 0; i < header->column_count && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%.*s", i == 0 ? "" : ", ",
                               header->columns[i].name_length, header->columns[i].name);
    if (header->column_count == 0)
        return fail(parser, name->offset, "the collection has no payload to filter by");
    return fail(parser, name->offset, "unknown column '%.*s', there is %s%s",
                (int)tern_min_u64(name->length, TERN_NAME_MAX), name->text, known,
                at >= sizeof known ? "…" : "");
}

/* A column's name; fills in column and type. */
static bool parse_column(struct parser *parser, struct tern_filter_node *node)
{
    struct tern_token name = parser->token;
    int column;

    if (name.kind != TERN_TOKEN_NAME)
        return unexpected(parser, "a column of the payload");
    column = tern_collection_find_column(parser->collection, name.text, name.length);
    if (column < 0)
        return unknown_column(parser, &name);
    advance(parser);
    if (parser->token.kind == TERN_TOKEN_DOT || parser->token.kind == TERN_TOKEN_BRACKET_OPEN)
        return fail(parser, parser->token.offset, "a filter looks at columns of the payload only");
    node->column = (uint8_t)column;
    node->type = parser->collection->header->columns[column].type;
    return true;
}

static bool mismatch(struct parser *parser, uint8_t type, const char *wanted)
{
    const struct tern_token *token = &parser->token;

    return fail(parser, token->offset, "expected %s because the column is of type %s, found '%.*s'",
                wanted, tern_type_name(type), (int)tern_min_u64(token->end - token->offset, 40),
                parser->lexer.text + token->offset);
}

static bool parse_whole_number(struct parser *parser, uint8_t type, uint64_t *key)
{
    const char *text = parser->token.text;
    size_t length = parser->token.length;
    bool negative = length > 0 && text[0] == '-';
    int64_t number = 0;
    int rc;

    if (type == TERN_TYPE_I64) {
        rc = tern_number_parse_i64(text, length, &number);
        *key = tern_filter_key_of_i64(number);
    } else {
        size_t sign = negative || (length > 0 && text[0] == '+');

        rc = tern_number_parse_u64(text + sign, length - sign, key);
        if (rc == 0 && negative && *key != 0)
            return fail(parser, parser->token.offset, "%s is never negative", tern_type_name(type));
    }
    if (rc == TERN_EINVAL)
        return mismatch(parser, type, "a whole number");
    if (rc != 0 || *key > all_keys(type).last)
        return fail(parser, parser->token.offset, "number does not fit the column's type %s",
                    tern_type_name(type));
    return true;
}

/* The key of a literal that is no string. */
static bool parse_key(struct parser *parser, uint8_t type, uint64_t *key)
{
    const struct tern_token *token = &parser->token;
    float number;

    if (type == TERN_TYPE_BOOL) {
        *key = tern_token_is(token, "true");
        if (token->kind != TERN_TOKEN_NAME || (*key == 0 && !tern_token_is(token, "false")))
            return mismatch(parser, type, "true or false");
    } else if (token->kind != TERN_TOKEN_NUMBER) {
        return mismatch(parser, type, type == TERN_TYPE_F32 ? "a number" : "a whole number");
    } else if (type == TERN_TYPE_F32) {
        if (tern_number_parse_f32(token->text, token->length, &number) != 0)
            return fail(parser, token->offset, "number does not fit the column's type f32");
        *key = tern_filter_key_of_f32(number);
    } else if (!parse_whole_number(parser, type, key)) {
        return false;
    }
    advance(parser);
    return true;
}

static bool parse_string(struct parser *parser, struct tern_filter_string *string)
{
    const struct tern_token *token = &parser->token;

    if (token->kind == TERN_TOKEN_NAME)
        return fail(parser, token->offset, "expected a string, quote it: \"%.*s\"",
                    (int)tern_min_u64(token->length, 64), token->text);
    if (token->kind != TERN_TOKEN_STRING)
        return mismatch(parser, TERN_TYPE_STRING, "a string in quotes");
    string->offset = (uint16_t)(token->text - parser->filter->decoded);
    string->length = (uint16_t)token->length;
    advance(parser);
    return true;
}

/* A literal of a comparison into the next place; `ranges`: it may be FIRST..LAST. */
static bool parse_literal(struct parser *parser, const struct tern_filter_node *node, bool ranges)
{
    struct tern_filter *filter = parser->filter;
    struct tern_filter_range *range = &filter->ranges[filter->literal_count];
    size_t offset = parser->token.offset;

    if (filter->literal_count == TERN_FILTER_LITERALS_MAX)
        return fail(parser, offset, "more than %u literals", TERN_FILTER_LITERALS_MAX);
    if (parser->token.kind == TERN_TOKEN_END || parser->token.kind == TERN_TOKEN_ERROR)
        return unexpected(parser, "a literal");
    if (node->type == TERN_TYPE_STRING) {
        if (!parse_string(parser, &filter->strings[filter->literal_count]))
            return false;
    } else {
        if (!parse_key(parser, node->type, &range->first))
            return false;
        range->last = range->first;
    }
    if (ranges && parser->token.kind == TERN_TOKEN_RANGE) {
        if (node->type == TERN_TYPE_STRING || node->type == TERN_TYPE_BOOL)
            return fail(parser, parser->token.offset, "values of type %s have no ranges",
                        tern_type_name(node->type));
        advance(parser);
        if (!parse_key(parser, node->type, &range->last))
            return false;
        if (range->first > range->last)
            return fail(parser, offset, "range ends before it begins");
    }
    filter->literal_count++;
    return true;
}

static bool parse_in(struct parser *parser, struct tern_filter_node *node)
{
    node->kind = TERN_FILTER_RANGES;
    node->first = (uint16_t)parser->filter->literal_count;
    if (parser->token.kind == TERN_TOKEN_TABLE)
        return fail(parser, parser->token.offset, "a filter knows no tables: in { literals }");
    if (!accept(parser, TERN_TOKEN_BRACE_OPEN))
        return unexpected(parser, "{ literals }");
    do {
        if (parser->token.kind == TERN_TOKEN_BRACE_CLOSE &&
            parser->filter->literal_count > node->first)
            break; /* a trailing comma */
        if (!parse_literal(parser, node, true))
            return false;
    } while (accept(parser, TERN_TOKEN_COMMA));
    if (!accept(parser, TERN_TOKEN_BRACE_CLOSE))
        return unexpected(parser, "',' or '}'");
    node->count = (uint16_t)(parser->filter->literal_count - node->first);
    return true;
}

/* The one range of keys for which a comparison holds; none when no value satisfies it. */
static void set_range(struct tern_filter *filter, struct tern_filter_node *node,
                      enum tern_token_kind comparison)
{
    struct tern_filter_range *range = &filter->ranges[node->first];
    struct tern_filter_range all = all_keys(node->type);
    uint64_t key = range->first;

    node->range_count = 1;
    switch (comparison) {
    case TERN_TOKEN_LT:
        node->range_count = key > all.first;
        *range = (struct tern_filter_range){all.first, key - 1};
        break;
    case TERN_TOKEN_LE:
        range->first = all.first;
        break;
    case TERN_TOKEN_GT:
        node->range_count = key < all.last;
        *range = (struct tern_filter_range){key + 1, all.last};
        break;
    case TERN_TOKEN_GE:
        range->last = all.last;
        break;
    default:
        node->negated = comparison == TERN_TOKEN_NE;
        break;
    }
}

static bool parse_comparison(struct parser *parser, struct tern_filter_node *node)
{
    struct tern_token sign = parser->token;

    advance(parser);
    if (sign.kind != TERN_TOKEN_EQ && sign.kind != TERN_TOKEN_NE &&
        (node->type == TERN_TYPE_STRING || node->type == TERN_TYPE_BOOL))
        return fail(parser, sign.offset, "'%.*s' compares numbers, the column is of type %s",
                    (int)sign.length, sign.text, tern_type_name(node->type));
    node->kind = TERN_FILTER_RANGES;
    node->first = (uint16_t)parser->filter->literal_count;
    node->count = 1;
    if (!parse_literal(parser, node, false))
        return false;
    set_range(parser->filter, node, sign.kind);
    return true;
}

static bool parse_part(struct parser *parser, struct tern_filter_node *node,
                       enum tern_filter_node_kind kind)
{
    struct tern_token word = parser->token;

    advance(parser);
    if (node->type != TERN_TYPE_STRING)
        return fail(parser, word.offset, "'%.*s' looks at strings, the column is of type %s",
                    (int)word.length, word.text, tern_type_name(node->type));
    node->kind = (uint8_t)kind;
    node->first = (uint16_t)parser->filter->literal_count;
    node->count = 1;
    if (!parse_literal(parser, node, false))
        return false;
    if (parser->filter->strings[node->first].length == 0)
        node->kind = TERN_FILTER_EXISTS; /* every string has it */
    return true;
}

static bool parse_test(struct parser *parser, struct tern_filter_node *node)
{
    const struct tern_token *token = &parser->token;

    if (token->kind >= TERN_TOKEN_EQ && token->kind <= TERN_TOKEN_GE)
        return parse_comparison(parser, node);
    if (token->kind == TERN_TOKEN_NAME) {
        if (tern_token_is(token, "starts_with"))
            return parse_part(parser, node, TERN_FILTER_STARTS_WITH);
        if (tern_token_is(token, "ends_with"))
            return parse_part(parser, node, TERN_FILTER_ENDS_WITH);
        if (tern_token_is(token, "contains"))
            return parse_part(parser, node, TERN_FILTER_CONTAINS);
        if (tern_token_is(token, "in")) {
            advance(parser);
            if (!parse_in(parser, node))
                return false;
            if (node->type != TERN_TYPE_STRING)
                node->range_count =
                    (uint16_t)tern_filter_tidy(&parser->filter->ranges[node->first], node->count);
            return true;
        }
        if (tern_token_is(token, "matches"))
            return fail(parser, token->offset,
                        "a filter knows no regular expressions: use "
                        "starts_with, ends_with, contains");
    }
    if (token->kind == TERN_TOKEN_NOT)
        return fail(parser, token->offset,
                    "'not' stands before the whole comparison: not COLUMN in …");
    if (node->type == TERN_TYPE_BOOL)
        return unexpected(parser, "a comparison (booleans too: == true)");
    return unexpected(parser, "a comparison (== != < <= > >= in starts_with ends_with contains)");
}

static bool parse_or(struct parser *parser);

static bool parse_primary(struct parser *parser)
{
    struct tern_filter_node node = {.kind = TERN_FILTER_EXISTS};
    struct tern_token start = parser->token;

    if (accept(parser, TERN_TOKEN_OPEN)) {
        if (++parser->depth > TERN_FILTER_DEPTH_MAX)
            return fail(parser, start.offset, "more than %u nested parentheses and nots",
                        TERN_FILTER_DEPTH_MAX);
        if (!parse_or(parser))
            return false;
        parser->depth--;
        return accept(parser, TERN_TOKEN_CLOSE) || unexpected(parser, "')'");
    }
    if (start.kind == TERN_TOKEN_NAME) {
        struct tern_lexer ahead = parser->lexer;

        if (tern_lexer_next(&ahead).kind == TERN_TOKEN_OPEN) {
            if (!tern_token_is(&start, "exists"))
                return fail(parser, start.offset, "unknown function '%.*s', expected exists(…)",
                            (int)tern_min_u64(start.length, TERN_NAME_MAX), start.text);
            advance(parser);
            advance(parser);
            if (!parse_column(parser, &node))
                return false;
            if (!accept(parser, TERN_TOKEN_CLOSE))
                return unexpected(parser, "')'");
            return emit(parser, node);
        }
    }
    if (start.kind == TERN_TOKEN_STRING || start.kind == TERN_TOKEN_NUMBER ||
        start.kind == TERN_TOKEN_ADDRESS)
        return fail(parser, start.offset, "the left side of a comparison is a column");
    return parse_column(parser, &node) && parse_test(parser, &node) && emit(parser, node);
}

static bool parse_not(struct parser *parser)
{
    size_t offset = parser->token.offset;

    if (!accept(parser, TERN_TOKEN_NOT))
        return parse_primary(parser);
    if (++parser->depth > TERN_FILTER_DEPTH_MAX)
        return fail(parser, offset, "more than %u nested parentheses and nots",
                    TERN_FILTER_DEPTH_MAX);
    if (!parse_not(parser))
        return false;
    parser->depth--;
    return emit(parser, (struct tern_filter_node){.kind = TERN_FILTER_NOT});
}

/* A chain of one connective; a single operand stands for itself. */
static bool parse_chain(struct parser *parser, enum tern_token_kind connective,
                        enum tern_filter_node_kind kind, bool (*parse_operand)(struct parser *))
{
    uint16_t count = 0;

    do {
        if (!parse_operand(parser))
            return false;
        count++;
    } while (accept(parser, connective));
    return count == 1 ||
           emit(parser, (struct tern_filter_node){.kind = (uint8_t)kind, .count = count});
}

static bool parse_and(struct parser *parser)
{
    return parse_chain(parser, TERN_TOKEN_AND, TERN_FILTER_AND, parse_not);
}

static bool parse_or(struct parser *parser)
{
    return parse_chain(parser, TERN_TOKEN_OR, TERN_FILTER_OR, parse_and);
}

int tern_filter_parse(struct tern_filter *filter, const struct tern_collection *collection,
                      const char *text, size_t length, struct tern_filter_failure *failure)
{
    struct parser parser = {.filter = filter,
                            .collection = collection,
                            .failure = failure,
                            .lexer = {text, length, 0, filter->decoded}};

    filter->node_count = filter->literal_count = filter->dictionary_count = 0;
    if (length > TERN_FILTER_TEXT_MAX) {
        fail(&parser, TERN_FILTER_TEXT_MAX, "a filter of %zu bytes is over the limit of %u", length,
             TERN_FILTER_TEXT_MAX);
        return TERN_EINVAL;
    }
    advance(&parser);
    if (parser.token.kind == TERN_TOKEN_END) {
        fail(&parser, 0, "expected an expression, found nothing");
        return TERN_EINVAL;
    }
    if (!parse_or(&parser))
        return TERN_EINVAL;
    if (parser.token.kind != TERN_TOKEN_END) {
        unexpected(&parser, "'and', 'or' or the end of the filter");
        return TERN_EINVAL;
    }
    return 0;
}
