/* The expression language: what is accepted, and every error at its place with its advice. */
#include "tests/unit/unit.h"

#include "controlplane/compile/compile.h"
#include "controlplane/compile/program.h"

static struct tern_text text_of(const char *text)
{
    return (struct tern_text){.text = text, .length = strlen(text), .place = {"test.yaml", 1, 1}};
}

/* A configuration with one rule. */
struct fixture {
    struct tern_config_field fields[9];
    struct tern_config_column columns[5];
    struct tern_config_table tables[6];
    struct tern_config_collection collection;
    struct tern_config_rule rule;
    struct tern_config config;
};

static void fixture_make(struct fixture *fixture, const char *when)
{
    static const struct {
        const char *name;
        enum tern_type type;
        uint8_t flags;
    } fields[] = {{"ip", TERN_TYPE_IP, 0},
                  {"host", TERN_TYPE_STRING, TERN_FIELD_HOST},
                  {"path", TERN_TYPE_STRING, 0},
                  {"user", TERN_TYPE_U64, 0},
                  {"delta", TERN_TYPE_I64, 0},
                  {"ratio", TERN_TYPE_F32, 0},
                  {"secure", TERN_TYPE_BOOL, 0},
                  {"text_vector", TERN_TYPE_VECTOR, 0},
                  {"user_agent", TERN_TYPE_STRING, 0}};
    static const struct {
        const char *name;
        enum tern_type type;
    } columns[] = {{"number", TERN_TYPE_U32},
                   {"country", TERN_TYPE_STRING},
                   {"trust", TERN_TYPE_F32},
                   {"since", TERN_TYPE_U64},
                   {"owner", TERN_TYPE_IP}};
    static const struct {
        const char *name;
        enum tern_table_kind kind;
        enum tern_type key;
        uint8_t flags;
        unsigned by;
    } tables[] = {{"bad_nets", TERN_TABLE_PREFIX_SET, TERN_TYPE_IP, 0, 0},
                  {"asn", TERN_TABLE_PREFIX_MAP, TERN_TYPE_IP, 0, 1},
                  {"bad_hosts", TERN_TABLE_DOMAIN_SET, TERN_TYPE_STRING, TERN_FIELD_HOST, 0},
                  {"users", TERN_TABLE_EXACT_MAP, TERN_TYPE_U64, 0, 0},
                  {"tokens", TERN_TABLE_EXACT_SET, TERN_TYPE_STRING, 0, 0},
                  {"crawlers", TERN_TABLE_PATTERN_SET, TERN_TYPE_STRING, 0, 0}};

    memset(fixture, 0, sizeof *fixture);
    for (size_t i = 0; i < TERN_COUNT(fields); i++)
        fixture->fields[i] = (struct tern_config_field){
            .name = text_of(fields[i].name), .type = fields[i].type, .flags = fields[i].flags};
    for (size_t i = 0; i < TERN_COUNT(columns); i++)
        fixture->columns[i] =
            (struct tern_config_column){.name = text_of(columns[i].name), .type = columns[i].type};
    for (size_t i = 0; i < TERN_COUNT(tables); i++) {
        bool map =
            tables[i].kind == TERN_TABLE_PREFIX_MAP || tables[i].kind == TERN_TABLE_EXACT_MAP;

        fixture->tables[i] =
            (struct tern_config_table){.name = text_of(tables[i].name),
                                       .kind = tables[i].kind,
                                       .by_field = tables[i].by,
                                       .key_type = tables[i].key,
                                       .key_flags = tables[i].flags,
                                       .columns = map ? fixture->columns : NULL,
                                       .column_count = map ? TERN_COUNT(columns) : 0};
    }
    fixture->fields[7].dim = 4;
    fixture->collection = (struct tern_config_collection){
        .name = text_of("docs"),
        .shape = {.dim = 4,
                  .metric = TERN_METRIC_COSINE,
                  .columns = {{"label", TERN_TYPE_STRING}, {"tenant", TERN_TYPE_U32}},
                  .column_count = 2}};
    fixture->rule = (struct tern_config_rule){
        .id = text_of("r"), .when = text_of(when), .then = TERN_THEN_ACTION, .action = TERN_DENY};
    fixture->config = (struct tern_config){.fields = fixture->fields,
                                           .field_count = TERN_COUNT(fields),
                                           .tables = fixture->tables,
                                           .table_count = TERN_COUNT(tables),
                                           .collections = &fixture->collection,
                                           .collection_count = 1,
                                           .rules = &fixture->rule,
                                           .rule_count = 1,
                                           .limits.rules_bytes = 64 << 20};
}

static void accepts(const char *when)
{
    struct fixture fixture;
    struct tern_diagnostics diagnostics = {0};
    int status;

    fixture_make(&fixture, when);
    status = tern_compile_check(&fixture.config, &diagnostics);
    if (status != 0) {
        struct tern_buffer out = {0};

        tern_diagnostics_print(&diagnostics, &out);
        fail_msg("%s: refused: %.*s", when, (int)out.length, (const char *)out.data);
    }
    tern_diagnostics_free(&diagnostics);
}

/* Exactly one error, at `column`, that contains `message`. */
static void refuses(const char *when, unsigned column, const char *message)
{
    struct fixture fixture;
    struct tern_diagnostics diagnostics = {0};
    const struct tern_diagnostic *error = NULL;

    fixture_make(&fixture, when);
    assert_int_equal(tern_compile_check(&fixture.config, &diagnostics), TERN_EINVAL);
    for (size_t i = 0; i < diagnostics.count; i++)
        if (diagnostics.items[i].severity == TERN_SEVERITY_ERROR)
            error = &diagnostics.items[i];
    if (diagnostics.error_count != 1)
        fail_msg("%s: %zu errors, the last: %s", when, diagnostics.error_count,
                 error ? error->message : "none");
    if (strstr(error->message, message) == NULL || error->place.column != column)
        fail_msg("%s: at %u: %s", when, error->place.column, error->message);
    tern_diagnostics_free(&diagnostics);
}

static void accepts_the_language(TERN_TEST_STATE)
{
    accepts("similar(docs, text_vector, k: 10).label == \"x\"");
    accepts("similar(docs, text_vector, k:10,min:0.8).label in {\"x\", 'y',}");
    accepts("similar(docs, text_vector, min: -1, k: 1000).label starts_with \"x\"");
    accepts("not similar(docs, text_vector, k: 1).label ends_with \"x\" or path == \"x\"");
    accepts("similar(docs, text_vector, k: 10).tenant in {1, 3..5}");
    accepts("similar(docs, text_vector, k: 10).tenant != 3");
    accepts("similar(docs, text_vector, k: 10).score >= 0.9");
    accepts("exists(similar(docs, text_vector, k: 10, min: 1e-3))");
    accepts("exists(similar(docs, text_vector, k: 10).label) and exists(similar(docs, text_vector, "
            "k: 3).score)");
    accepts("ip in {10.0.0.0/8, 192.168.0.0/16}");
    accepts("ip in {10.0.0.1..10.0.0.9, ::1, 2001:db8::/32, ::ffff:10.0.0.1,}");
    accepts("ip == 10.0.0.1 or ip != \"::1\"");
    accepts("ip in $bad_nets and not host in $bad_hosts && path in $tokens");
    accepts("!(user == 1 || user >= 18446744073709551615)");
    accepts("delta < -5 and delta in {-9223372036854775808..-1, 3}");
    accepts("ratio <= 0.5 or ratio > -1e3 or ratio in {1, 2.5..3}");
    accepts("secure == true and not secure != false");
    accepts("asn.country == \"DE\" and asn.number in {1, 5..9} and asn.number < 7");
    accepts("users[user].trust < 0.2 and exists(users[user]) and exists(users[user].trust)");
    accepts("exists(ip) and exists(asn) and exists(text_vector) and exists(asn.country)");
    accepts("ip in $asn and asn.owner in $bad_nets and asn.country in $tokens");
    accepts("path starts_with '/a\\x41\\n\\\"' and path ends_with \".php\"");
    accepts("host == \"Example.COM.\" and host ends_with \".com\"");
    accepts("not not not path == \"\"");
}

static void refuses_with_place(TERN_TEST_STATE)
{
    refuses("", 1, "found nothing");
    refuses("ipp == 1", 1, "unknown field 'ipp', did you mean 'ip'?");
    refuses("ip in $bad_net", 7, "unknown table 'bad_net', did you mean 'bad_nets'?");
    refuses("asn.contry == \"DE\"", 5, "has no column 'contry', did you mean 'country'?");
    refuses("asn == 1", 1, "'asn' is a table");
    refuses("user.x == 1", 1, "'user' is a field and has no columns");
    refuses("users.trust < 1", 1, "not joined by a field");
    refuses("users[ip].trust < 1", 1, "keys of type u64, field 'ip' is of type ip");
    refuses("bad_nets.x == 1", 1, "is a prefix_set and has no columns");
    refuses("user in $bad_nets", 9, "keys of type ip, field 'user' is of type u64");
    refuses("path in $bad_hosts", 9, "keys of type host, field 'path' is of type string");
    refuses("user == \"a\"", 9, "of type u64, found a string");
    refuses("user == 1.5", 9, "whole number");
    refuses("user == -1", 9, "never negative");
    refuses("asn.number == 4294967296", 15, "does not fit the left side's type u32");
    refuses("delta == 9223372036854775808", 10, "does not fit");
    refuses("ratio == 1e99", 10, "does not fit");
    refuses("secure == 1", 11, "true or false");
    refuses("secure == \"true\"", 11, "true or false");
    refuses("secure", 7, "== true");
    refuses("path == login", 9, "quote it");
    refuses("path < \"a\"", 6, "compares numbers, field 'path' is of type string");
    refuses("user starts_with \"1\"", 6, "looks at strings, field 'user' is of type u64");
    refuses("ip == 10.0.0.0/8", 7, "in {10.0.0.0/8}");
    refuses("ip in {10.0.0.1/8}", 8, "bits set past its prefix length");
    refuses("ip in {10.0.0.999}", 8, "is not an ip address");
    refuses("ip in {10.0.0.1..2001::}", 18, "not of both");
    refuses("user in {5..1}", 13, "ends before it begins");
    refuses("path in {\"a\"..\"b\"}", 15, "have no ranges");
    refuses("text_vector == 1", 16, "type vector cannot be compared");
    refuses("user matches \"x\"", 6, "'matches' looks at strings, field 'user' is of type u64");
    refuses("asn.country contains \"x\"", 13, "'contains' looks at fields, not at columns");
    refuses("path contains r\"x\"", 15, "takes a string, not a regular expression");
    refuses("path contains $crawlers", 15, "a string in quotes");
    refuses("path matches 5", 14, "a regular expression in quotes or $TABLE");
    refuses("path matches \"\\d\"", 15, "a regular expression is written r\"…\"");
    refuses("path in $crawlers", 9, "'crawlers' is a pattern_set: write matches $crawlers");
    refuses("path matches $tokens", 14, "is a exact_set, not a pattern_set: write in $tokens");
    refuses("path matches r\"(a\" and path == \"a\"", 14, "Missing close parenthesis");
    refuses("path matches r\"(?=a)b\"", 14, "Zero-width assertions are not supported");
    refuses("path matches r\"a*\"", 14, "it matches the empty string");
    refuses("path matches r\"(*UTF8)a\"", 14, "values are matched as bytes");
    refuses("path matches r\"((ab{0,99}c){9,99}d){9,99}e\"", 14, "Bounded repeat is too large");
    refuses("path.raw == \"x\"", 6, "'path' is not normalized");
    refuses("users[user.rw].trust > 1", 12, "expected 'raw'");
    refuses("model.fraud > 0.5", 1, "needs models");
    refuses("similar(text) > 0.5", 13, "expected ',' and the field to compare, found ')'");
    refuses("similar(5, text_vector, k: 1).label == \"x\"", 9, "expected a collection of vectors");
    refuses("similar(docs, text_vector, k 1).label == \"x\"", 30, "expected ':', found '1'");
    refuses("similar(docs, text_vector, k: x).label == \"x\"", 31, "expected a number");
    refuses("similar(docs, text_vector, k: 1 == 2", 33, "expected ',' or ')'");
    refuses("similar(docs, text_vector, k: 1). == 2", 35, "expected a column of the payload");
    refuses("similar(docs, text_vector, k: 1).tenant == -1", 44, "u32 is never negative");
    refuses("similar(docs, text_vector, k: 1, min: nan).tenant == 1", 39, "expected a number");
    refuses("similar(docs, text_vector, k: 1, min: 1e99).tenant == 1", 39, "no number that fits");
    refuses("similar(docs, text_vector.raw, k: 1).tenant == 1", 26, "expected ',' or ')'");
    refuses("path not in $tokens", 6, "'not' stands before the whole comparison");
    refuses("user = 1", 6, "comparison is written '=='");
    refuses("user == 1 & user == 2", 11, "write 'and' or 'or'");
    refuses("user == 1 user == 2", 11, "expected 'and', 'or' or the end");
    refuses("(user == 1", 11, "expected ')', found the end");
    refuses("path == \"a", 9, "without a closing quote");
    refuses("path == \"\\q\"", 10, "unknown escape");
    refuses("user in {1, }, }", 14, "expected 'and', 'or' or the end");
    refuses("user in {}", 10, "expected a literal");
    refuses("1 == user", 1, "left side");
    refuses("user == 12ab", 9, "malformed number");
    refuses("host == \"m\xc3ller.de\"", 9, "not UTF-8");
    refuses("host == \"m\xc3\xbc ller.de\"", 9, "is no host name");
    refuses("host ends_with \"\xc3\xbcller.de\"", 16, "whole labels");
    refuses("host starts_with \"m\xc3\xbc\"", 18, "whole labels");
    refuses("host ends_with \".:443\"", 16, "nothing is left");
    refuses("user ==", 8, "found the end of the expression");
    refuses("foo(user)", 1, "unknown function 'foo'");
    refuses("$tokens", 1, "expected a field");
}

static void reports_all_errors(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_diagnostics diagnostics = {0};

    fixture_make(&fixture, "ipp == 1 and user == \"x\" or host in $nowhere and asn.x == 2");
    assert_int_equal(tern_compile_check(&fixture.config, &diagnostics), TERN_EINVAL);
    assert_int_equal(diagnostics.error_count, 4);
    tern_diagnostics_free(&diagnostics);
}

static void bounds_nesting(TERN_TEST_STATE)
{
    char text[4096] = "";

    for (unsigned i = 0; i < 500; i++)
        strcat(text, "(");
    refuses(text, TERN_EXPRESSION_DEPTH_MAX + 1, "nested parentheses");
    text[0] = '\0';
    for (unsigned i = 0; i < 500; i++)
        strcat(text, "not ");
    refuses(text, TERN_EXPRESSION_DEPTH_MAX * 4 + 1, "nested nots");
}

static void bounds_expansion(TERN_TEST_STATE)
{
    char text[4096] = "";

    /* 2^7 conjunctions over distinct units */
    for (unsigned i = 0; i < 7; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "%s(user == %u and ip == 1.1.1.%u or "
                 "delta == %u and path == \"%u\")",
                 i ? " and " : "", i, i, i, i);
    refuses(text, 1, "needs more than 64 conjunctions");
    /* but any number of alternatives of one unit is a single leaf */
    text[0] = '\0';
    for (unsigned i = 0; i < 100; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%suser == %u", i ? " or " : "",
                 i);
    accepts(text);
}

static void bounds_conjunctions(TERN_TEST_STATE)
{
    static char text[(TERN_UNITS_MAX + 1) * 32];
    size_t length = 0;

    for (unsigned i = 0; i <= TERN_UNITS_MAX; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%spath contains \"%u;\"",
                                   i ? " and " : "", i);
    refuses(text, 1, "needs more than 1024 comparisons that must hold together");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_the_language), cmocka_unit_test(refuses_with_place),
        cmocka_unit_test(reports_all_errors),   cmocka_unit_test(bounds_nesting),
        cmocka_unit_test(bounds_expansion),     cmocka_unit_test(bounds_conjunctions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
