/* Regular expressions: the reference's own matcher against hyperscan. What both take must match
 * the same values; literals as `contains` writes them must match themselves.
 *
 * A byte with the expression's length, the expression, then values, one a line. */
#include "tests/fuzz/fuzz.h"

#include "controlplane/build/hyperscan.h"
#include "controlplane/compile/regex.h"

#include <hs/hs.h>

#define EXPRESSION_MAX 48u /* longer ones only take longer */
#define VALUES_MAX     8u
#define FLAGS          HS_FLAG_SINGLEMATCH /* as controlplane/build/hyperscan.c */

static int note(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                void *context)
{
    (void)id, (void)from, (void)to, (void)flags;
    *(bool *)context = true;
    return 0;
}

static bool matches(const hs_database_t *database, const uint8_t *value, size_t length)
{
    static hs_scratch_t *scratch;
    bool found = false;

    FUZZ_CHECK(hs_alloc_scratch(database, &scratch) == HS_SUCCESS);
    FUZZ_CHECK(hs_scan(database, length == 0 ? "" : (const char *)value, (unsigned)length, 0,
                       scratch, note, &found) == HS_SUCCESS);
    return found;
}

/* Repetitions of ten and more multiply into compilations of seconds; a child with limits bears
 * that, a fuzzer does not. */
static bool is_dear(const char *expression)
{
    const char *brace = expression;

    while ((brace = strpbrk(brace, "{,")) != NULL) {
        brace++;
        if (strspn(brace, "0123456789") > 1)
            return true;
    }
    return false;
}

/* NULL when hyperscan does not take it. As in the child that does it for real: asked first whether
 * it would explode. */
static hs_database_t *compile(const char *expression)
{
    hs_compile_error_t *failure = NULL;
    hs_database_t *database = NULL;
    hs_expr_info_t *info = NULL;

    if (strncmp(expression, "(*", 2) != 0 && !is_dear(expression) &&
        hs_expression_info(expression, FLAGS, &info, &failure) == HS_SUCCESS) {
        free(info);
        hs_compile(expression, FLAGS, HS_MODE_BLOCK, NULL, &database, &failure);
    }
    hs_free_compile_error(failure);
    return database;
}

static void check_literal(const uint8_t *value, size_t length)
{
    struct tern_buffer expression = {0};
    hs_database_t *database;

    if (length == 0)
        return;
    FUZZ_CHECK(tern_hyperscan_literal(&expression, value, length) == 0);
    database = compile((const char *)expression.data);
    FUZZ_CHECK(database != NULL && matches(database, value, length));
    FUZZ_CHECK(!matches(database, value, length - 1));
    hs_free_database(database);
    tern_buffer_free(&expression);
}

static void compare(const hs_database_t *database, const struct tern_regex *regex,
                    const uint8_t *value, size_t length)
{
    bool ours = tern_regex_matches(regex, value, length);

    if (database != NULL)
        FUZZ_CHECK(ours == matches(database, value, length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    size_t wanted = fuzz_take(&input, 1) % (EXPRESSION_MAX + 1);
    size_t length = tern_min_u64(wanted, input.left);
    const uint8_t *pattern = input.at;
    struct tern_buffer expression = {0};
    struct tern_regex *regex = NULL;
    hs_database_t *database = NULL;
    uint64_t random = size;
    uint8_t sample[64];
    int known;

    input.at += length;
    input.left -= length;
    FUZZ_CHECK(tern_hyperscan_regex(&expression, pattern, length) == 0);
    known = tern_regex_new(&regex, pattern, length);
    if (known == 0)
        database = compile((const char *)expression.data);
    for (unsigned i = 0; i < VALUES_MAX && (input.left > 0 || i == 0); i++) {
        const uint8_t *end = input.left == 0 ? NULL : memchr(input.at, '\n', input.left);
        size_t bytes = end == NULL ? input.left : (size_t)(end - input.at);

        if (known == 0)
            compare(database, regex, input.at, bytes);
        if (i == 0)
            check_literal(input.at, tern_min_u64(bytes, EXPRESSION_MAX));
        bytes = tern_min_u64(bytes + 1, input.left);
        input.at += bytes;
        input.left -= bytes;
    }
    for (unsigned i = 0; known == 0 && i < 4; i++)
        compare(database, regex, sample, tern_regex_sample(regex, &random, sample, sizeof sample));
    hs_free_database(database);
    tern_regex_free(regex);
    tern_buffer_free(&expression);
    return 0;
}
