#include "controlplane/compile/parser.h"

#include <stdarg.h>

#include "controlplane/compile/attainable.h"
#include "controlplane/compile/literal.h"
#include "controlplane/compile/operand.h"

void tern_parser_report(struct tern_parser *parser, size_t offset, const char *format, ...)
{
    char message[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    tern_diagnostics_add(parser->diagnostics, TERN_SEVERITY_ERROR,
                         tern_text_place(parser->text, offset), "%s", message);
    parser->failed = true;
}

void tern_parser_advance(struct tern_parser *parser)
{
    parser->last_end = parser->token.end;
    parser->token = tern_lexer_next(&parser->lexer);
}

bool tern_parser_accept(struct tern_parser *parser, enum tern_token_kind kind)
{
    if (parser->token.kind != kind)
        return false;
    tern_parser_advance(parser);
    return true;
}

void tern_parser_unexpected(struct tern_parser *parser, const char *wanted)
{
    const struct tern_token *token = &parser->token;

    if (token->kind == TERN_TOKEN_ERROR)
        tern_parser_report(parser, token->offset, "%s", token->text);
    else if (token->kind == TERN_TOKEN_END)
        tern_parser_report(parser, token->offset, "expected %s, found the end of the expression",
                           wanted);
    else
        tern_parser_report(parser, token->offset, "expected %s, found '%.*s'", wanted,
                           (int)tern_min_u64(token->end - token->offset, 40),
                           parser->text->text + token->offset);
}

static struct tern_node *new_node(struct tern_parser *parser, enum tern_node_kind kind,
                                  size_t offset)
{
    struct tern_node *node = tern_region_take(parser->region, sizeof *node);

    if (node == NULL) {
        parser->no_memory = true;
        return NULL;
    }
    node->kind = kind;
    node->offset = offset;
    node->end = parser->last_end;
    return node;
}

static struct tern_node *parse_or(struct tern_parser *parser);

/* Whether a token could stand where a literal is wanted, so that a wrong one is a type error and
 * not the end of parsing. */
static bool is_literal(const struct tern_token *token)
{
    return token->kind == TERN_TOKEN_STRING || token->kind == TERN_TOKEN_NUMBER ||
           token->kind == TERN_TOKEN_ADDRESS || token->kind == TERN_TOKEN_PATTERN ||
           (token->kind == TERN_TOKEN_NAME && !tern_token_is_test(token));
}

/* Reports a literal that a normalized field never, or hardly ever, is. */
static void check_attainable(struct tern_parser *parser, const struct tern_operand *operand,
                             enum tern_test test, const struct tern_literal *literal)
{
    char message[TERN_ATTAINABLE_MESSAGE];
    enum tern_attainability found;

    if (operand->table != 0 || operand->collection != 0 || operand->type != TERN_TYPE_STRING)
        return;
    found = tern_attainable(&parser->config->fields[operand->field - 1], test,
                            literal->first.string.bytes, literal->first.string.length, message);
    if (found == TERN_NEVER_ATTAINABLE)
        tern_parser_report(parser, parser->token.offset, "%s", message);
    else if (found == TERN_ATTAINABLE_ENCODED_TWICE)
        tern_diagnostics_add(parser->diagnostics, TERN_SEVERITY_WARNING,
                             tern_text_place(parser->text, parser->token.offset), "%s", message);
}

/* A literal of `test`; one that stands alone in a list may be a prefix of addresses. */
static bool parse_literal(struct tern_parser *parser, const struct tern_operand *operand,
                          enum tern_test test, bool alone, struct tern_literal *literal)
{
    char message[TERN_LITERAL_MESSAGE];
    int status;

    if (!is_literal(&parser->token)) {
        tern_parser_unexpected(parser, "a literal");
        return false;
    }
    memset(literal, 0, sizeof *literal);
    if (operand->field != 0) {
        status = tern_literal_convert(operand, &parser->token, test, alone && test == TERN_TEST_IN,
                                      parser->region, literal, message);
        if (status == TERN_ENOMEM)
            parser->no_memory = true;
        else if (status != 0)
            tern_parser_report(parser, parser->token.offset, "%s", message);
        else
            check_attainable(parser, operand, test, literal);
    }
    tern_parser_advance(parser);
    return true;
}

static bool parse_range_end(struct tern_parser *parser, const struct tern_operand *operand,
                            struct tern_literal *literal)
{
    struct tern_literal last;
    size_t offset = parser->token.offset;

    if (operand->type == TERN_TYPE_STRING || operand->type == TERN_TYPE_BOOL)
        tern_parser_report(parser, offset, "values of type %s have no ranges",
                           tern_operand_type_name(operand));
    if (!parse_literal(parser, operand, TERN_TEST_IN, false, &last))
        return false;
    if (parser->failed || operand->field == 0)
        return true;
    if (tern_literal_compare(operand->type, &literal->first, &literal->last) != 0)
        tern_parser_report(parser, offset, "a range begins with a single value, not with a prefix");
    else if (tern_literal_compare(operand->type, &literal->first, &last.first) > 0)
        tern_parser_report(parser, offset, "range ends before it begins");
    else if (operand->type == TERN_TYPE_IP &&
             tern_address_is_v4(literal->first.address) != tern_address_is_v4(last.last.address))
        tern_parser_report(parser, offset, "a range is of IPv4 or of IPv6 addresses, not of both");
    literal->last = last.last;
    return true;
}

static bool parse_in(struct tern_parser *parser, struct tern_node *node)
{
    struct tern_atom *atom = &node->atom;
    struct tern_list literals = {0};
    bool complete = false;

    if (parser->token.kind == TERN_TOKEN_TABLE && atom->operand.collection != 0) {
        tern_parser_report(parser, parser->token.offset,
                           "what neighbours say is looked up in no table: write in { … }");
        tern_parser_advance(parser);
        return true;
    }
    if (parser->token.kind == TERN_TOKEN_TABLE) {
        char message[TERN_OPERAND_MESSAGE];
        unsigned set = 0;
        int status =
            tern_operand_set(parser->config, &atom->operand, &parser->token, &set, message);

        if (status != 0) {
            tern_parser_report(parser, parser->token.offset, "%s", message);
        } else if (atom->operand.table == 0 && atom->operand.field != 0 &&
                   (parser->config->tables[set - 1].kind == TERN_TABLE_EXACT_MAP ||
                    parser->config->tables[set - 1].kind == TERN_TABLE_PREFIX_MAP)) {
            /* a field in a map: its record is there */
            atom->operand = (struct tern_operand){
                .field = atom->operand.field, .table = (uint16_t)set, .column = TERN_COLUMN_NONE};
            atom->test = TERN_TEST_EXISTS;
        } else {
            atom->test = TERN_TEST_IN_TABLE;
            atom->set = (uint16_t)set;
        }
        tern_parser_advance(parser);
        return true;
    }
    atom->test = TERN_TEST_IN;
    if (!tern_parser_accept(parser, TERN_TOKEN_BRACE_OPEN)) {
        tern_parser_unexpected(parser, "$TABLE or { literals }");
        return false;
    }
    do {
        struct tern_literal *literal;

        if (parser->token.kind == TERN_TOKEN_BRACE_CLOSE && literals.count > 0)
            break; /* a trailing comma */
        literal = tern_list_push(&literals, sizeof *literal);
        if (literal == NULL) {
            parser->no_memory = true;
            break;
        }
        if (!parse_literal(parser, &atom->operand, TERN_TEST_IN, true, literal))
            goto out;
        if (tern_parser_accept(parser, TERN_TOKEN_RANGE) &&
            !parse_range_end(parser, &atom->operand, literal))
            goto out;
    } while (tern_parser_accept(parser, TERN_TOKEN_COMMA));
    if (!tern_parser_accept(parser, TERN_TOKEN_BRACE_CLOSE)) {
        tern_parser_unexpected(parser, "',' or '}'");
        goto out;
    }
    atom->literals = tern_region_take(parser->region, literals.count * sizeof *atom->literals);
    if (atom->literals == NULL) {
        parser->no_memory = true;
        goto out;
    }
    memcpy(atom->literals, literals.data, literals.count * sizeof *atom->literals);
    atom->literal_count = (uint32_t)literals.count;
    complete = true;
out:
    tern_list_free(&literals);
    return complete;
}

static bool parse_one_literal(struct tern_parser *parser, struct tern_node *node)
{
    struct tern_atom *atom = &node->atom;

    atom->literals = tern_region_take(parser->region, sizeof *atom->literals);
    if (atom->literals == NULL) {
        parser->no_memory = true;
        return false;
    }
    atom->literal_count = 1;
    return parse_literal(parser, &atom->operand, atom->test, true, atom->literals);
}

/* Keeps the text of an expression as it is. */
static void keep_expression(struct tern_parser *parser, struct tern_atom *atom)
{
    const struct tern_token *token = &parser->token;
    const struct tern_operand *operand = &atom->operand;
    uint8_t *bytes = tern_region_take(parser->region, token->length + 1);
    char message[TERN_ATTAINABLE_MESSAGE];

    atom->literals = tern_region_take(parser->region, sizeof *atom->literals);
    if (bytes == NULL || atom->literals == NULL) {
        parser->no_memory = true;
        return;
    }
    memcpy(bytes, token->text, token->length);
    atom->literal_count = 1;
    atom->literals[0].first.string.bytes = bytes;
    atom->literals[0].first.string.length = (uint32_t)token->length;
    atom->literals[0].last = atom->literals[0].first;
    if (operand->field != 0 && operand->table == 0 &&
        !tern_attainable_expression(&parser->config->fields[operand->field - 1], bytes,
                                    token->length, message))
        tern_diagnostics_add(parser->diagnostics, TERN_SEVERITY_WARNING,
                             tern_text_place(parser->text, token->offset), "%s", message);
}

/* contains "literal", matches "expression", matches $pattern_set; `word` has been consumed. */
static bool parse_pattern(struct tern_parser *parser, struct tern_node *node,
                          const struct tern_token *word)
{
    struct tern_atom *atom = &node->atom;
    bool contains = tern_token_is(word, "contains");
    size_t offset = parser->token.offset;
    char described[TERN_OPERAND_TEXT], message[TERN_OPERAND_MESSAGE];

    if (atom->operand.type != TERN_TYPE_STRING && atom->operand.type != TERN_TYPE_NONE) {
        tern_operand_describe(parser->config, &atom->operand, described);
        tern_parser_report(parser, word->offset, "'%.*s' looks at strings, %s is of type %s",
                           (int)word->length, word->text, described,
                           tern_operand_type_name(&atom->operand));
    } else if ((atom->operand.table != 0 || atom->operand.collection != 0) &&
               atom->operand.field != 0) {
        tern_parser_report(parser, word->offset,
                           atom->operand.collection != 0
                               ? "'%.*s' looks at fields, not at what neighbours say"
                               : "'%.*s' looks at fields, not at columns of tables",
                           (int)word->length, word->text);
    }
    atom->test = contains ? TERN_TEST_CONTAINS : TERN_TEST_MATCHES;
    atom->place = tern_text_place(parser->text, offset);
    if (!contains && parser->token.kind == TERN_TOKEN_TABLE) {
        unsigned set = 0;

        if (tern_operand_patterns(parser->config, &parser->token, &set, message) != 0)
            tern_parser_report(parser, offset, "%s", message);
        atom->test = TERN_TEST_MATCHES_SET;
        atom->set = (uint16_t)set;
        tern_parser_advance(parser);
        return true;
    }
    if (parser->token.kind != TERN_TOKEN_STRING && parser->token.kind != TERN_TOKEN_PATTERN) {
        tern_parser_unexpected(parser, contains ? "a string in quotes"
                                                : "a regular expression in quotes or $TABLE");
        return false;
    }
    if (contains && parser->token.kind == TERN_TOKEN_PATTERN)
        tern_parser_report(parser, offset, "'contains' takes a string, not a regular expression");
    else if (parser->token.length > TERN_STRING_MAX)
        tern_parser_report(parser, offset, "%zu bytes are over the limit of %u",
                           parser->token.length, TERN_STRING_MAX);
    else if (contains && parser->token.length == 0)
        atom->test = TERN_TEST_EXISTS; /* every string contains it */
    else if (contains)
        return parse_one_literal(parser, node); /* a part of a value, like a beginning of one */
    else
        keep_expression(parser, atom);
    tern_parser_advance(parser);
    return true;
}

static bool parse_test(struct tern_parser *parser, struct tern_node *node)
{
    static const struct {
        enum tern_token_kind kind;
        enum tern_test test;
    } comparisons[] = {{TERN_TOKEN_EQ, TERN_TEST_EQ}, {TERN_TOKEN_NE, TERN_TEST_NE},
                       {TERN_TOKEN_LT, TERN_TEST_LT}, {TERN_TOKEN_LE, TERN_TEST_LE},
                       {TERN_TOKEN_GT, TERN_TEST_GT}, {TERN_TOKEN_GE, TERN_TEST_GE}};
    struct tern_token token = parser->token;
    const struct tern_operand *operand = &node->atom.operand;
    char described[TERN_OPERAND_TEXT];

    for (size_t i = 0; i < TERN_COUNT(comparisons); i++) {
        if (token.kind != comparisons[i].kind)
            continue;
        tern_parser_advance(parser);
        node->atom.test = (uint8_t)comparisons[i].test;
        if (comparisons[i].test >= TERN_TEST_LT &&
            (operand->type == TERN_TYPE_STRING || operand->type == TERN_TYPE_BOOL ||
             operand->type == TERN_TYPE_IP)) {
            tern_operand_describe(parser->config, operand, described);
            tern_parser_report(parser, token.offset, "'%.*s' compares numbers, %s is of type %s",
                               (int)token.length, token.text, described,
                               tern_operand_type_name(operand));
            node->atom.operand.field = 0; /* one error is enough: the literal goes unchecked */
        }
        return parse_one_literal(parser, node);
    }
    if (token.kind == TERN_TOKEN_NAME && tern_token_is(&token, "in")) {
        tern_parser_advance(parser);
        return parse_in(parser, node);
    }
    if (token.kind == TERN_TOKEN_NAME &&
        (tern_token_is(&token, "starts_with") || tern_token_is(&token, "ends_with"))) {
        tern_parser_advance(parser);
        node->atom.test =
            tern_token_is(&token, "starts_with") ? TERN_TEST_STARTS_WITH : TERN_TEST_ENDS_WITH;
        if (operand->type != TERN_TYPE_STRING && operand->type != TERN_TYPE_NONE) {
            tern_operand_describe(parser->config, operand, described);
            tern_parser_report(parser, token.offset, "'%.*s' looks at strings, %s is of type %s",
                               (int)token.length, token.text, described,
                               tern_operand_type_name(operand));
            node->atom.operand.field = 0; /* one error is enough: the literal goes unchecked */
        }
        return parse_one_literal(parser, node);
    }
    if (token.kind == TERN_TOKEN_NAME &&
        (tern_token_is(&token, "matches") || tern_token_is(&token, "contains"))) {
        tern_parser_advance(parser);
        return parse_pattern(parser, node, &token);
    }
    if (token.kind == TERN_TOKEN_NOT) {
        tern_parser_report(parser, token.offset,
                           "'not' stands before the whole comparison: not FIELD in …");
        return false;
    }
    if (operand->type == TERN_TYPE_BOOL) {
        tern_parser_unexpected(parser, "a comparison (booleans too: == true)");
        return false;
    }
    tern_parser_unexpected(
        parser, "a comparison (== != < <= > >= in starts_with ends_with contains matches)");
    return false;
}

static struct tern_node *parse_exists(struct tern_parser *parser, size_t offset)
{
    struct tern_node *node;
    struct tern_operand operand;

    tern_parser_advance(parser); /* ( */
    if (!tern_parser_operand(parser, true, &operand))
        return NULL;
    if (!tern_parser_accept(parser, TERN_TOKEN_CLOSE)) {
        tern_parser_unexpected(parser, "')'");
        return NULL;
    }
    node = new_node(parser, TERN_NODE_ATOM, offset);
    if (node != NULL) {
        node->atom.operand = operand;
        node->atom.test = TERN_TEST_EXISTS;
    }
    return node;
}

static struct tern_node *parse_primary(struct tern_parser *parser)
{
    struct tern_token start = parser->token;
    struct tern_node *node;
    struct tern_operand operand;

    if (tern_parser_accept(parser, TERN_TOKEN_OPEN)) {
        if (++parser->depth > TERN_EXPRESSION_DEPTH_MAX) {
            tern_parser_report(parser, start.offset, "more than %u nested parentheses",
                               TERN_EXPRESSION_DEPTH_MAX);
            return NULL;
        }
        node = parse_or(parser);
        parser->depth--;
        if (node == NULL)
            return NULL;
        if (!tern_parser_accept(parser, TERN_TOKEN_CLOSE)) {
            tern_parser_unexpected(parser, "')'");
            return NULL;
        }
        return node;
    }
    if (start.kind == TERN_TOKEN_NAME) {
        struct tern_lexer ahead = parser->lexer;

        if (tern_lexer_next(&ahead).kind == TERN_TOKEN_OPEN) {
            if (tern_token_is(&start, "exists")) {
                tern_parser_advance(parser);
                return parse_exists(parser, start.offset);
            }
            if (!tern_token_is(&start, "similar")) {
                tern_parser_report(parser, start.offset,
                                   "unknown function '%.*s', expected exists(…) or similar(…)",
                                   (int)tern_min_u64(start.length, TERN_NAME_MAX), start.text);
                return NULL;
            }
        }
    }
    if (start.kind == TERN_TOKEN_STRING || start.kind == TERN_TOKEN_NUMBER ||
        start.kind == TERN_TOKEN_ADDRESS) {
        tern_parser_report(parser, start.offset,
                           "the left side of a comparison is a field or TABLE.COLUMN");
        return NULL;
    }
    if (!tern_parser_operand(parser, false, &operand))
        return NULL;
    node = new_node(parser, TERN_NODE_ATOM, start.offset);
    if (node == NULL)
        return NULL;
    node->atom.operand = operand;
    if (!parse_test(parser, node))
        return NULL;
    node->end = parser->last_end;
    return node;
}

static struct tern_node *parse_not(struct tern_parser *parser)
{
    size_t offset = parser->token.offset;
    struct tern_node *child, *node;

    if (!tern_parser_accept(parser, TERN_TOKEN_NOT))
        return parse_primary(parser);
    if (++parser->depth > TERN_EXPRESSION_DEPTH_MAX) {
        tern_parser_report(parser, offset, "more than %u nested nots", TERN_EXPRESSION_DEPTH_MAX);
        return NULL;
    }
    child = parse_not(parser);
    parser->depth--;
    if (child == NULL)
        return NULL;
    node = new_node(parser, TERN_NODE_NOT, offset);
    if (node == NULL)
        return NULL;
    node->children = tern_region_take(parser->region, sizeof *node->children);
    if (node->children == NULL) {
        parser->no_memory = true;
        return NULL;
    }
    node->children[0] = child;
    node->child_count = 1;
    return node;
}

/* A chain of one connective; a single child stands for itself. */
static struct tern_node *parse_chain(struct tern_parser *parser, enum tern_token_kind connective,
                                     enum tern_node_kind kind,
                                     struct tern_node *(*parse_child)(struct tern_parser *))
{
    size_t offset = parser->token.offset;
    struct tern_list children = {0};
    struct tern_node *node = NULL;

    do {
        struct tern_node *child = parse_child(parser), **slot;

        if (child == NULL)
            goto out;
        slot = tern_list_push(&children, sizeof(struct tern_node *));
        if (slot == NULL) {
            parser->no_memory = true;
            goto out;
        }
        *slot = child;
    } while (tern_parser_accept(parser, connective));
    if (children.count == 1) {
        node = *(struct tern_node **)children.data;
        goto out;
    }
    node = new_node(parser, kind, offset);
    if (node == NULL)
        goto out;
    node->children = tern_region_take(parser->region, children.count * sizeof *node->children);
    if (node->children == NULL) {
        parser->no_memory = true;
        node = NULL;
        goto out;
    }
    memcpy(node->children, children.data, children.count * sizeof *node->children);
    node->child_count = (unsigned)children.count;
out:
    tern_list_free(&children);
    return node;
}

static struct tern_node *parse_and(struct tern_parser *parser)
{
    return parse_chain(parser, TERN_TOKEN_AND, TERN_NODE_AND, parse_not);
}

static struct tern_node *parse_or(struct tern_parser *parser)
{
    return parse_chain(parser, TERN_TOKEN_OR, TERN_NODE_OR, parse_and);
}

int tern_expression_parse(const struct tern_config *config, const struct tern_text *text,
                          struct tern_region *region, struct tern_diagnostics *diagnostics,
                          struct tern_node **node)
{
    struct tern_parser parser = {.config = config,
                                 .text = text,
                                 .region = region,
                                 .diagnostics = diagnostics,
                                 /* a rule of a broken configuration may have no `when` at all */
                                 .lexer = {text->text != NULL ? text->text : "", text->length, 0,
                                           tern_region_take(region, text->length)}};
    struct tern_node *root;

    if (parser.lexer.decoded == NULL)
        return TERN_ENOMEM;
    parser.token = tern_lexer_next(&parser.lexer);
    if (parser.token.kind == TERN_TOKEN_END) {
        tern_parser_report(&parser, 0, "expected an expression, found nothing");
        return TERN_EINVAL;
    }
    root = parse_or(&parser);
    if (parser.no_memory)
        return TERN_ENOMEM;
    if (root != NULL && parser.token.kind != TERN_TOKEN_END)
        tern_parser_unexpected(&parser, "'and', 'or' or the end of the expression");
    if (root == NULL || parser.failed)
        return TERN_EINVAL;
    *node = root;
    return 0;
}
