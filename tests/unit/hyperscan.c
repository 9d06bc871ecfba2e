/* What the pattern library finds, against memmem: sets of short literals in values of every length
 * and alignment. One that misses matches would let through what a rule forbids, and there is one
 * (docs/decisions/0019-hyperscan.md). */
#include "tests/unit/unit.h"

#include "controlplane/build/hyperscan.h"

#include <hs/hs_runtime.h>

#define LITERALS_MAX 5
#define LENGTH_MAX   9

struct literals {
    unsigned count;
    char texts[LITERALS_MAX][LENGTH_MAX + 1];
    hs_database_t *database;
    hs_scratch_t *scratch;
};

static uint32_t below(uint64_t *seed, uint32_t limit)
{
    return (uint32_t)((tern_test_random(seed) >> 20) % limit);
}

static void make_literals(struct literals *literals, uint64_t *seed)
{
    struct tern_expression expressions[LITERALS_MAX];
    struct tern_buffer texts[LITERALS_MAX] = {0}, bytes = {0};
    unsigned longest = 1 + below(seed, LENGTH_MAX);
    struct tern_error error;
    size_t refused;

    memset(literals, 0, sizeof *literals);
    literals->count = 1 + below(seed, LITERALS_MAX);
    for (unsigned i = 0; i < literals->count; i++) {
        unsigned length = 1 + below(seed, longest);

        for (unsigned j = 0; j < length; j++)
            literals->texts[i][j] = (char)('a' + below(seed, 3));
        assert_int_equal(tern_hyperscan_literal(&texts[i], literals->texts[i], length), 0);
        expressions[i].text = (const char *)texts[i].data;
    }
    assert_int_equal(tern_hyperscan_compile(expressions, literals->count, &bytes, &refused, &error),
                     0);
    assert_int_equal(
        hs_deserialize_database((const char *)bytes.data, bytes.length, &literals->database),
        HS_SUCCESS);
    assert_int_equal(hs_alloc_scratch(literals->database, &literals->scratch), HS_SUCCESS);
    tern_buffer_free(&bytes);
    for (unsigned i = 0; i < literals->count; i++)
        tern_buffer_free(&texts[i]);
}

static void free_literals(struct literals *literals)
{
    hs_free_scratch(literals->scratch);
    hs_free_database(literals->database);
}

static int note(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                void *context)
{
    (void)from, (void)to, (void)flags;
    *(unsigned *)context |= 1u << id;
    return 0;
}

/* Filler in which one literal stands, at the end more often than not, and a few odd letters. */
static void make_value(const struct literals *literals, char *value, unsigned length,
                       uint64_t *seed)
{
    const char *chosen = literals->texts[below(seed, literals->count)];
    unsigned chosen_length = (unsigned)strlen(chosen);
    bool letters = below(seed, 2) == 0;

    for (unsigned i = 0; i < length; i++)
        value[i] = letters && below(seed, 8) == 0 ? (char)('a' + below(seed, 3)) : '.';
    if (chosen_length <= length)
        memcpy(value + (below(seed, 3) > 0 ? length - chosen_length
                                           : below(seed, length - chosen_length + 1)),
               chosen, chosen_length);
}

static void literals_are_found_wherever_they_stand(TERN_TEST_STATE)
{
    uint64_t seed = 19;

    for (unsigned round = 0; round < 150; round++) {
        struct literals literals;

        make_literals(&literals, &seed);
        for (unsigned i = 0; i < 300; i++) {
            unsigned offset = below(&seed, 64), length = 1 + below(&seed, i % 2 ? 100 : 300);
            unsigned found = 0, expected = 0;
            char room[400], *value = room + offset;

            make_value(&literals, value, length, &seed);
            for (unsigned j = 0; j < literals.count; j++)
                if (memmem(value, length, literals.texts[j], strlen(literals.texts[j])) != NULL)
                    expected |= 1u << j;
            assert_int_equal(
                hs_scan(literals.database, value, length, 0, literals.scratch, note, &found),
                HS_SUCCESS);
            assert_int_equal(found, expected);
        }
        free_literals(&literals);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_are_found_wherever_they_stand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
