#include "controlplane/compile/parser.h"

#include <math.h>

#include "controlplane/compile/neighbours.h"
#include "controlplane/compile/operand.h"

static const char *const test_words[] = {"in",       "starts_with", "ends_with",
                                         "contains", "matches",     "not"};

bool tern_token_is_test(const struct tern_token *token)
{
    for (size_t i = 0; i < TERN_COUNT(test_words); i++)
        if (tern_token_is(token, test_words[i]))
            return true;
    return false;
}

/* Tells of a name that cannot be resolved; what follows it is still read. */
static void report_unresolved(struct tern_parser *parser, const struct tern_token *token,
                              const char *message, struct tern_operand *operand)
{
    tern_parser_report(parser, token->offset, "%s", message);
    *operand = (struct tern_operand){.column = TERN_COLUMN_NONE};
}

/* ", k: 10" and ", min: 0.8" up to the closing parenthesis. */
static bool parse_options(struct tern_parser *parser, bool *resolved, struct tern_operand *operand)
{
    char message[TERN_OPERAND_MESSAGE];

    while (tern_parser_accept(parser, TERN_TOKEN_COMMA)) {
        struct tern_token name = parser->token, number;

        if (name.kind != TERN_TOKEN_NAME ||
            !(tern_token_is(&name, "k") || tern_token_is(&name, "min"))) {
            tern_parser_unexpected(parser, "'k: NUMBER' or 'min: NUMBER'");
            return false;
        }
        tern_parser_advance(parser);
        if (!tern_parser_accept(parser, TERN_TOKEN_COLON)) {
            tern_parser_unexpected(parser, "':'");
            return false;
        }
        number = parser->token;
        if (!tern_parser_accept(parser, TERN_TOKEN_NUMBER)) {
            tern_parser_unexpected(parser, "a number");
            return false;
        }
        if (*resolved &&
            tern_neighbours_option(parser->config, &name, &number, operand, message) != 0) {
            report_unresolved(parser, &number, message, operand);
            *resolved = false;
        }
    }
    return true;
}

/* What stands in the parentheses of similar(…). */
static bool parse_neighbours(struct tern_parser *parser, bool *resolved,
                             struct tern_operand *operand)
{
    struct tern_token collection, field;
    char message[TERN_OPERAND_MESSAGE];

    collection = parser->token;
    if (!tern_parser_accept(parser, TERN_TOKEN_NAME)) {
        tern_parser_unexpected(parser, "a collection of vectors");
        return false;
    }
    if (!tern_parser_accept(parser, TERN_TOKEN_COMMA)) {
        tern_parser_unexpected(parser, "',' and the field to compare");
        return false;
    }
    field = parser->token;
    if (!tern_parser_accept(parser, TERN_TOKEN_NAME)) {
        tern_parser_unexpected(parser, "the field to compare");
        return false;
    }
    if (tern_neighbours_collection(parser->config, &collection, operand, message) != 0) {
        report_unresolved(parser, &collection, message, operand);
        *resolved = false;
    } else if (tern_neighbours_field(parser->config, &field, operand, message) != 0) {
        report_unresolved(parser, &field, message, operand);
        *resolved = false;
    }
    if (!parse_options(parser, resolved, operand))
        return false;
    if (!tern_parser_accept(parser, TERN_TOKEN_CLOSE)) {
        tern_parser_unexpected(parser, "',' or ')'");
        return false;
    }
    return true;
}

/* similar(…) and its column; `word` has been consumed, "(" follows. */
static bool parse_similar(struct tern_parser *parser, bool records, const struct tern_token *word,
                          struct tern_operand *operand)
{
    struct tern_operand found = {.column = TERN_COLUMN_NONE, .min = -INFINITY};
    char message[TERN_OPERAND_MESSAGE];
    bool resolved = true;

    tern_parser_advance(parser); /* ( */
    if (!parse_neighbours(parser, &resolved, &found))
        return false;
    if (resolved && found.k == 0) {
        report_unresolved(parser, word, "similar(…) needs 'k: NUMBER', how many neighbours vote",
                          &found);
        resolved = false;
    }
    if (tern_parser_accept(parser, TERN_TOKEN_DOT)) {
        struct tern_token column = parser->token;

        if (!tern_parser_accept(parser, TERN_TOKEN_NAME)) {
            tern_parser_unexpected(parser, "a column of the payload, or 'score'");
            return false;
        }
        if (resolved && tern_neighbours_column(parser->config, &column, &found, message) != 0)
            report_unresolved(parser, &column, message, &found);
    } else if (!records) {
        tern_parser_unexpected(parser, "'.' and a column of the payload, or '.score'");
        return false;
    }
    *operand = found;
    return true;
}

bool tern_parser_operand(struct tern_parser *parser, bool records, struct tern_operand *operand)
{
    struct tern_token name = parser->token, by = {0};
    struct tern_operand resolved = {.column = TERN_COLUMN_NONE};
    char message[TERN_OPERAND_MESSAGE];
    bool indexed = false, by_raw = false;
    int status;

    if (name.kind != TERN_TOKEN_NAME || tern_token_is_test(&name)) {
        tern_parser_unexpected(parser, "a field or TABLE.COLUMN");
        return false;
    }
    tern_parser_advance(parser);
    if (parser->token.kind == TERN_TOKEN_OPEN && tern_token_is(&name, "similar"))
        return parse_similar(parser, records, &name, operand);
    if (tern_parser_accept(parser, TERN_TOKEN_BRACKET_OPEN)) {
        by = parser->token;
        indexed = true;
        if (!tern_parser_accept(parser, TERN_TOKEN_NAME)) {
            tern_parser_unexpected(parser, "the field to look up by");
            return false;
        }
        if (parser->token.kind == TERN_TOKEN_DOT) {
            tern_parser_advance(parser);
            by_raw = tern_token_is(&parser->token, "raw");
            if (!by_raw || !tern_parser_accept(parser, TERN_TOKEN_NAME)) {
                tern_parser_unexpected(parser, "'raw'");
                return false;
            }
        }
        if (!tern_parser_accept(parser, TERN_TOKEN_BRACKET_CLOSE)) {
            tern_parser_unexpected(parser, "']'");
            return false;
        }
    }
    if (parser->token.kind == TERN_TOKEN_DOT) {
        struct tern_token column;

        tern_parser_advance(parser);
        column = parser->token;
        if (!tern_parser_accept(parser, TERN_TOKEN_NAME)) {
            tern_parser_unexpected(parser, "a column");
            return false;
        }
        if (!indexed && tern_token_is(&name, "model") &&
            tern_operand_find_table(parser->config, "model", 5) == 0) {
            tern_parser_report(parser, name.offset,
                               "'model.NAME' needs models, which this version does not "
                               "have yet");
        } else if (!indexed && tern_token_is(&column, "raw") &&
                   tern_operand_find_table(parser->config, name.text, name.length) == 0 &&
                   tern_operand_find_field(parser->config, name.text, name.length) != 0) {
            status = tern_operand_field(parser->config, &name, &resolved, message);
            if (status == 0)
                status = tern_operand_raw(parser->config, &resolved, message);
            if (status != 0) {
                tern_parser_report(parser, column.offset, "%s", message);
                resolved = (struct tern_operand){.column = TERN_COLUMN_NONE};
            }
        } else {
            size_t offset = name.offset;

            status = tern_operand_record(parser->config, &name, indexed ? &by : NULL, by_raw,
                                         &resolved, message);
            if (status == 0) {
                offset = column.offset;
                status = tern_operand_column(parser->config, &column, &resolved, message);
            }
            if (status != 0) {
                tern_parser_report(parser, offset, "%s", message);
                resolved = (struct tern_operand){.column = TERN_COLUMN_NONE};
            }
        }
    } else if (indexed && !records) {
        tern_parser_unexpected(parser, "'.' and a column");
        return false;
    } else {
        bool record =
            records &&
            (indexed || (tern_operand_find_field(parser->config, name.text, name.length) == 0 &&
                         tern_operand_find_table(parser->config, name.text, name.length) != 0));

        status = record ? tern_operand_record(parser->config, &name, indexed ? &by : NULL, by_raw,
                                              &resolved, message)
                        : tern_operand_field(parser->config, &name, &resolved, message);
        if (status != 0)
            tern_parser_report(parser, name.offset, "%s", message);
    }
    *operand = resolved;
    return true;
}
