/* Filters of searches against the rules' slow evaluator; every refusal at its place. */
#include "tests/unit/unit.h"

#include "shared/vector/filter.h"

#include "tests/reference/payload.h"

#include <time.h>

static struct payload payload;
static struct tern_filter filter;

static uint64_t below(uint64_t *random, uint64_t bound)
{
    return tern_test_random(random) % bound;
}

/* ---- random expressions ---- */

struct text {
    char bytes[TERN_FILTER_TEXT_MAX + 1024];
    size_t length;
};

static void add(struct text *text, const char *format, ...) TERN_PRINTF(2, 3);
static void add(struct text *text, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text->length += (size_t)vsnprintf(text->bytes + text->length, sizeof text->bytes - text->length,
                                      format, arguments);
    va_end(arguments);
    assert_true(text->length < sizeof text->bytes);
}

static const char *const literals[PAYLOAD_COLUMNS][8] = {
    {"\"fraud\"", "'ok'", "\"\"", "\"never there\"", "\"a\\x00b\"", "\"fr\"", "'abd'",
     "\"\\xff\\xfe\""},
    {"\"x\"", "'xx'", "\"the others\"", "\"others\"", "'spam'", "\"grüß\"", "\"\\\\\"", "'\"'"},
    {"0", "1", "+2", "10", "1000", "4294967295", "4294967294", "-0"},
    {"0", "9", "100", "101", "18446744073709551615", "9223372036854775808", "4294967296", "50"},
    {"0", "-1", "+1", "-9223372036854775808", "9223372036854775807", "-100", "5", "-0"},
    {"0", "-0.0", "0.5", "1e0", "-1", "1e-45", "3.4028235e38", "2.5"},
    {"true", "false", "true", "false", "true", "false", "true", "false"}};

static void add_literal(struct text *text, unsigned column, uint64_t *random)
{
    add(text, "%s", literals[column][below(random, 8)]);
}

static void add_list(struct text *text, unsigned column, uint64_t *random)
{
    static const char *const ranges[PAYLOAD_COLUMNS][3] = {
        {0},
        {0},
        {"1..3", "0..10", "1000..4294967295"},
        {"9..100", "0..0", "101..18446744073709551615"},
        {"-100..-1", "-1..1", "5..9223372036854775807"},
        {"-1.5..0.25", "0.5..1", "0..3e38"},
        {0}};
    unsigned count = 1 + (unsigned)below(random, 6);

    add(text, " in {");
    for (unsigned i = 0; i < count; i++) {
        if (ranges[column][0] != NULL && below(random, 3) == 0)
            add(text, "%s", ranges[column][below(random, 3)]);
        else
            add_literal(text, column, random);
        add(text, "%s", i + 1 < count ? ", " : below(random, 8) == 0 ? ",}" : "}");
    }
}

static void add_leaf(struct text *text, uint64_t *random)
{
    static const char *const signs[] = {"==", "!=", "<", "<=", ">", ">="};
    static const char *const parts[] = {"starts_with", "ends_with", "contains"};
    unsigned column = (unsigned)below(random, PAYLOAD_COLUMNS);
    bool is_string = column <= PAYLOAD_SOURCE, ordered = !is_string && column != PAYLOAD_LIVE;

    if (below(random, 10) == 0) {
        add(text, "exists(%s)", payload_names[column]);
        return;
    }
    add(text, "%s", payload_names[column]);
    if (is_string && below(random, 3) == 0) {
        add(text, " %s ", parts[below(random, 3)]);
        add_literal(text, column, random);
    } else if (below(random, 3) == 0) {
        add_list(text, column, random);
    } else {
        add(text, " %s ", signs[below(random, ordered ? 6 : 2)]);
        add_literal(text, column, random);
    }
}

static void add_expression(struct text *text, unsigned depth, uint64_t *random)
{
    unsigned count;

    switch (depth == 0 ? 0 : below(random, 6)) {
    case 1:
        add(text, below(random, 2) ? "not " : "!");
        /* a `not` binds what follows, a chain needs its parentheses */
        add(text, "(");
        add_expression(text, depth - 1, random);
        add(text, ")");
        break;
    case 2:
    case 3:
        count = 2 + (unsigned)below(random, 3);
        for (unsigned i = 0; i < count; i++) {
            add(text, "%s", i == 0 ? "" : below(random, 2) ? " and " : " || ");
            add_expression(text, depth - 1, random);
        }
        break;
    case 4:
        add(text, "(");
        add_expression(text, depth - 1, random);
        add(text, ")");
        break;
    default:
        add_leaf(text, random);
        break;
    }
}

/* Slots in another order and in pieces of any size. */
static void match_all(uint64_t *random, uint8_t matches[PAYLOAD_SLOTS])
{
    uint32_t slots[PAYLOAD_SLOTS];
    uint8_t found[PAYLOAD_SLOTS];
    unsigned step = 1 + 2 * (unsigned)below(random, 20); /* PAYLOAD_SLOTS = 2³·5² */

    while (step % 5 == 0)
        step += 2;
    for (unsigned i = 0; i < PAYLOAD_SLOTS; i++)
        slots[i] = i * step % PAYLOAD_SLOTS;
    for (unsigned at = 0; at < PAYLOAD_SLOTS;) {
        unsigned count = 1 + (unsigned)below(random, PAYLOAD_SLOTS - at);

        tern_filter_match(&filter, &payload.collection, slots + at, count, found + at);
        at += count;
    }
    for (unsigned i = 0; i < PAYLOAD_SLOTS; i++)
        matches[slots[i]] = found[i];
}

static void random_expressions(TERN_TEST_STATE)
{
    uint64_t seed = (uint64_t)time(NULL), random = seed;
    unsigned compared = 0, refused = 0, some = 0;

    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned round = 0; round < 4000; round++) {
        uint8_t expected[PAYLOAD_SLOTS], actual[PAYLOAD_SLOTS];
        struct tern_filter_failure failure;
        struct text text = {.length = 0};
        uint32_t strings = PAYLOAD_STRINGS;

        if (round % 100 == 0)
            payload_make(&payload, &random);
        add_expression(&text, (unsigned)below(&random, 5), &random);
        if (tern_filter_parse(&filter, &payload.collection, text.bytes, text.length, &failure) !=
            0) {
            /* only for its size */
            if (text.length <= TERN_FILTER_TEXT_MAX && strstr(failure.message, "more than") == NULL)
                fail_msg("%s: refused at %u: %s", text.bytes, failure.offset, failure.message);
            refused++;
            continue;
        }
        /* Strings that came after the filter was bound are found all the same. */
        if (round % 2 == 1)
            payload.header.dictionary_count = strings = (uint32_t)below(&random, PAYLOAD_STRINGS);
        tern_filter_bind(&filter, &payload.collection);
        payload.header.dictionary_count = PAYLOAD_STRINGS;
        match_all(&random, actual);
        if (!payload_judge(&payload, text.bytes, text.length, expected))
            fail_msg("%s: no rule", text.bytes);
        for (unsigned i = 0; i < PAYLOAD_SLOTS; i++) {
            if (actual[i] != expected[i])
                fail_msg("seed %llu: %s: slot %u is %u, the rules say %u (%u strings bound)",
                         (unsigned long long)seed, text.bytes, i, actual[i], expected[i], strings);
            some += actual[i];
        }
        compared++;
    }
    assert_true(compared > 3000);
    assert_in_range(some, compared * PAYLOAD_SLOTS / 10, compared * PAYLOAD_SLOTS * 9 / 10);
    print_message("%u compared, %u too large\n", compared, refused);
}

/* ---- refusals ---- */

static void refusals(TERN_TEST_STATE)
{
    static const struct {
        const char *text;
        uint32_t offset;
        const char *message;
    } cases[] = {
        {"", 0, "expected an expression, found nothing"},
        {"  ", 0, "expected an expression, found nothing"},
        {"labl == \"x\"", 0, "unknown column 'labl', there is label, source, tenant"},
        {"label = \"x\"", 6, "comparison is written '=='"},
        {"label == x", 9, "quote it: \"x\""},
        {"label == 5", 9,
         "expected a string in quotes because the column is of type string, found '5'"},
        {"label == \"x", 9, "string without a closing quote"},
        {"label < \"x\"", 6, "'<' compares numbers, the column is of type string"},
        {"live > true", 5, "'>' compares numbers, the column is of type bool"},
        {"live", 4, "expected a comparison (booleans too: == true)"},
        {"tenant", 6, "expected a comparison (== != <"},
        {"live == 1", 8, "expected true or false"},
        {"tenant == -1", 10, "u32 is never negative"},
        {"tenant == 4294967296", 10, "does not fit the column's type u32"},
        {"time == 1.5", 8,
         "expected a whole number because the column is of type u64, found '1.5'"},
        {"delta == 9223372036854775808", 9, "does not fit the column's type i64"},
        {"weight == 1e40", 10, "does not fit the column's type f32"},
        {"weight == \"1\"", 10, "expected a number because the column is of type f32"},
        {"tenant starts_with \"1\"", 7,
         "'starts_with' looks at strings, the column is of type u32"},
        {"label matches \"x\"", 6, "a filter knows no regular expressions"},
        {"label in $bad", 9, "a filter knows no tables"},
        {"label in {}", 10, "expected a string in quotes"},
        {"label in {\"a\" \"b\"}", 14, "expected ',' or '}', found '\"b\"'"},
        {"label in {\"a\"..\"b\"}", 13, "values of type string have no ranges"},
        {"tenant in {5..1}", 11, "range ends before it begins"},
        {"tenant in {5..", 14, "expected a whole number"},
        {"label.x == 1", 5, "columns of the payload only"},
        {"\"x\" == label", 0, "the left side of a comparison is a column"},
        {"label not in {\"x\"}", 6, "'not' stands before the whole comparison"},
        {"similar(label)", 0, "unknown function 'similar', expected exists(…)"},
        {"exists(label", 12, "expected ')', found the end of the filter"},
        {"exists(nothing)", 7, "unknown column 'nothing'"},
        {"(label == \"x\"", 13, "expected ')'"},
        {"label == \"x\" label", 13,
         "expected 'and', 'or' or the end of the filter, found 'label'"},
        {"label == \"x\" and", 16, "expected a column of the payload, found the end of the filter"},
        {"label == \"\\q\"", 10, "unknown escape in a string"},
        {"tenant == 1 & time == 2", 12, "unexpected single '&'"},
        {"tenant == ", 10, "expected a literal, found the end of the filter"},
    };
    uint64_t random = 1;

    payload_make(&payload, &random);
    for (size_t i = 0; i < TERN_COUNT(cases); i++) {
        struct tern_filter_failure failure = {.offset = UINT32_MAX};
        size_t length = strlen(cases[i].text);

        assert_int_equal(
            tern_filter_parse(&filter, &payload.collection, cases[i].text, length, &failure), -1);
        if (failure.offset != cases[i].offset || strstr(failure.message, cases[i].message) == NULL)
            fail_msg("%s: at %u: %s", cases[i].text, failure.offset, failure.message);
        assert_in_range(failure.offset, 0, length);
    }
}

static void no_payload(TERN_TEST_STATE)
{
    struct tern_filter_failure failure;
    uint64_t random = 1;

    payload_make(&payload, &random);
    payload.header.column_count = 0;
    assert_int_equal(tern_filter_parse(&filter, &payload.collection, "a == 1", 6, &failure), -1);
    assert_string_equal(failure.message, "the collection has no payload to filter by");
}

/* Repeats `unit` between `before` and `after`. */
static void build(struct text *text, const char *before, const char *unit, unsigned times,
                  const char *after)
{
    text->length = 0;
    add(text, "%s", before);
    for (unsigned i = 0; i < times; i++)
        add(text, "%s", unit);
    add(text, "%s", after);
}

static int parse(const struct text *text, struct tern_filter_failure *failure)
{
    return tern_filter_parse(&filter, &payload.collection, text->bytes, text->length, failure);
}

static void bounds(TERN_TEST_STATE)
{
    struct tern_filter_failure failure;
    struct text text;
    uint64_t random = 1;

    payload_make(&payload, &random);
    build(&text, "", "(", TERN_FILTER_DEPTH_MAX, "live == true");
    for (unsigned i = 0; i < TERN_FILTER_DEPTH_MAX; i++)
        add(&text, ")");
    assert_int_equal(parse(&text, &failure), 0);
    build(&text, "", "(", TERN_FILTER_DEPTH_MAX + 1, "live == true");
    assert_int_equal(parse(&text, &failure), -1);
    assert_string_equal(failure.message, "more than 32 nested parentheses and nots");
    assert_int_equal(failure.offset, TERN_FILTER_DEPTH_MAX);
    build(&text, "", "not ", TERN_FILTER_DEPTH_MAX + 1, "live == true");
    assert_int_equal(parse(&text, &failure), -1);

    build(&text, "live == true", " or live == true", TERN_FILTER_NODES_MAX - 2, "");
    assert_int_equal(parse(&text, &failure), 0);
    build(&text, "live == true", " or live == true", TERN_FILTER_NODES_MAX - 1, "");
    assert_int_equal(parse(&text, &failure), -1);
    assert_string_equal(failure.message, "more than 64 comparisons, 'and', 'or' and 'not'");

    build(&text, "tenant in {1", ",1", TERN_FILTER_LITERALS_MAX - 1, "}");
    assert_int_equal(parse(&text, &failure), 0);
    build(&text, "tenant in {1", ",1", TERN_FILTER_LITERALS_MAX, "}");
    assert_int_equal(parse(&text, &failure), -1);
    assert_string_equal(failure.message, "more than 1024 literals");

    build(&text, "label == \"", "x", TERN_FILTER_TEXT_MAX - 11, "\"");
    assert_int_equal(parse(&text, &failure), 0);
    add(&text, " ");
    assert_int_equal(parse(&text, &failure), -1);
    assert_string_equal(failure.message, "a filter of 4097 bytes is over the limit of 4096");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_expressions),
        cmocka_unit_test(refusals),
        cmocka_unit_test(no_payload),
        cmocka_unit_test(bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
