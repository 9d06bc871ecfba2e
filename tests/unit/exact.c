/* shared/tables/exact.c and controlplane/build/exact.c: what one packs, the other finds. The oracle
 * is a sorted array. */
#include "tests/unit/section.h"

#include "controlplane/build/exact.h"
#include "shared/tables/exact.h"

struct row {
    char key[24];
    uint32_t length;
    uint32_t value;
    uint32_t order;
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *left = a, *right = b;
    int order = memcmp(left->key, right->key, sizeof left->key);

    return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

static int compare_keys(const void *a, const void *b)
{
    return memcmp(((const struct row *)a)->key, ((const struct row *)b)->key, 24);
}

static struct row make_row(uint64_t number, uint32_t order)
{
    struct row row = {.order = order, .value = order * 3 + 1};

    row.length = (uint32_t)snprintf(row.key, sizeof row.key, "k%llx",
                                    (unsigned long long)(number * 0x9e3779b97f4a7c15ull >> 20));
    return row;
}

static struct test_section build(const struct row *rows, uint32_t count, bool has_values,
                                 uint64_t seed, uint32_t *keys)
{
    struct tern_exact_builder builder = {0};
    struct tern_buffer buffer = {0};

    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(
            tern_exact_builder_add(&builder, rows[i].key, rows[i].length, rows[i].value), 0);
    assert_int_equal(tern_exact_builder_resolve(&builder, seed), 0);
    *keys = builder.entry_count;
    assert_int_equal(tern_exact_builder_pack(&builder, has_values, count * 3 + 1, &buffer), 0);
    tern_exact_builder_free(&builder);
    return test_section_take(&buffer);
}

static uint32_t find(const struct tern_exact *exact, const void *key, size_t length)
{
    uint64_t hash = tern_exact_hash(exact, key, length);

    tern_exact_prefetch(exact, hash);
    return tern_exact_find(exact, hash);
}

/* `range` below twice the count makes duplicates. */
static void check(uint32_t count, uint64_t range, bool has_values, uint64_t seed)
{
    struct row *rows = calloc(count + 1ull, sizeof *rows);
    struct tern_exact exact;
    struct test_section section, again;
    uint32_t keys, distinct = 0;

    for (uint32_t i = 0; i < count; i++)
        rows[i] = make_row(tern_test_random(&seed) % range, i);
    section = build(rows, count, has_values, 42, &keys);
    again = build(rows, count, has_values, 42, &keys);
    assert_int_equal(section.length, again.length);
    assert_memory_equal(section.data, again.data, section.length);
    assert_int_equal(tern_exact_open(&exact, section.data, section.length, NULL), 0);
    qsort(rows, count, sizeof *rows, compare_rows);
    for (uint32_t i = 0; i < count; i++) {
        if (i + 1 < count && compare_keys(&rows[i], &rows[i + 1]) == 0)
            continue; /* a later row won */
        distinct++;
        assert_int_equal(find(&exact, rows[i].key, rows[i].length), has_values ? rows[i].value : 0);
    }
    assert_int_equal(distinct, keys);
    assert_int_equal(distinct, exact.key_count);
    for (uint32_t i = 0; i < 2 * count + 100; i++) {
        struct row probe = make_row(tern_test_random(&seed) % (2 * range + 50), 0);
        bool known = count > 0 && bsearch(&probe, rows, count, sizeof *rows, compare_keys) != NULL;

        assert_int_equal(find(&exact, probe.key, probe.length) != TERN_NOT_FOUND, known);
    }
    free(section.data);
    free(again.data);
    free(rows);
}

static void every_key_is_found_and_no_other(TERN_TEST_STATE)
{
    for (uint32_t count = 0; count < 70; count++) {
        check(count, 2 * count + 1, false, count);
        check(count, 2 * count + 1, true, count);
    }
    for (uint32_t count = 100; count < 30000; count = count * 3 + 7) {
        check(count, count / 2 + 1, false, count); /* mostly duplicates */
        check(count, 1ull << 40, true, count);
    }
}

/* Where two keys share a hash under one seed, another seed is taken: with hashes of 64 bits that
 * cannot be provoked by keys, but rows of equal keys in great number go the same way. */
static void one_key_in_every_row_is_one_key(TERN_TEST_STATE)
{
    struct row *rows = calloc(100000, sizeof *rows);
    struct tern_exact exact;
    struct test_section section;
    uint32_t keys;

    for (uint32_t i = 0; i < 100000; i++)
        rows[i] = make_row(7, i);
    section = build(rows, 100000, true, 1, &keys);
    assert_int_equal(keys, 1);
    assert_int_equal(tern_exact_open(&exact, section.data, section.length, NULL), 0);
    assert_int_equal(find(&exact, rows[0].key, rows[0].length), 99999 * 3 + 1);
    free(section.data);
    free(rows);
}

static double first_bucket_share(const struct tern_exact *exact)
{
    unsigned slots = exact->has_values ? TERN_EXACT_MAP_SLOTS : TERN_EXACT_SET_SLOTS;
    uint64_t first = 0;

    for (uint32_t bucket = 0; bucket < exact->bucket_count; bucket++)
        for (unsigned slot = 0; slot < slots; slot++) {
            uint64_t hash = tern_load_u64(exact->buckets + 64 * (size_t)bucket + 8 * slot);
            first += hash != 0 && tern_exact_first_bucket(hash, exact->bucket_count) == bucket;
        }
    return (double)first / exact->key_count;
}

/* The share of absent keys whose look-up ends with the first line. */
static double one_line_misses(const struct tern_exact *exact)
{
    uint64_t seed = 17, one = 0;
    enum { PROBES = 100000 };

    for (unsigned i = 0; i < PROBES; i++) {
        uint64_t hash = tern_test_random(&seed);
        const uint8_t *line =
            exact->buckets + 64 * (size_t)tern_exact_first_bucket(hash, exact->bucket_count);

        one += exact->has_values ? !(tern_load_u32(line + 60) >> (hash & 31) & 1)
                                 : tern_load_u64(line) >= tern_load_u64(line + 8);
    }
    return (double)one / PROBES;
}

static void large_tables_are_dense(TERN_TEST_STATE)
{
    enum { COUNT = 300000 };
    struct row *rows = calloc(COUNT, sizeof *rows);

    for (uint32_t i = 0; i < COUNT; i++)
        rows[i] = make_row(i, i);
    for (unsigned has_values = 0; has_values < 2; has_values++) {
        struct tern_exact exact;
        uint32_t keys;
        struct test_section section = build(rows, COUNT, has_values, 99, &keys);
        double bytes = (double)section.length / COUNT, share, misses;

        assert_int_equal(tern_exact_open(&exact, section.data, section.length, NULL), 0);
        share = first_bucket_share(&exact);
        misses = one_line_misses(&exact);
        print_message("exact %s: %.2f bytes a key; one line for %.1f %% of present and %.1f %% of "
                      "absent keys\n",
                      has_values ? "map" : "set", bytes, 100 * share, 100 * misses);
        assert_true(bytes <= (has_values ? 15.2 : 9.6));
        assert_true(share > 0.75);
        assert_true(misses > 0.6);
        free(section.data);
    }
    free(rows);
}

static void damaged_sections_stay_inside(TERN_TEST_STATE)
{
    struct row rows[500];
    uint64_t seed = 5;
    unsigned opened = 0;

    for (uint32_t i = 0; i < TERN_COUNT(rows); i++)
        rows[i] = make_row(i, i);
    for (unsigned round = 0; round < 3000; round++) {
        uint32_t keys;
        struct test_section whole = build(rows, TERN_COUNT(rows), round & 1, 3, &keys);
        struct test_section section = test_section_copy(
            whole, round % 3 ? whole.length : tern_test_random(&seed) % whole.length);
        struct tern_exact exact;

        if (round % 3)
            test_section_damage(section, &seed);
        if (tern_exact_open(&exact, section.data, section.length, NULL) == 0) {
            opened++;
            for (uint32_t i = 0; i < 1000; i++) {
                struct row probe = make_row(i, i);
                uint32_t value = find(&exact, probe.key, probe.length);
                assert_true(value == TERN_NOT_FOUND || value < exact.value_limit);
            }
        }
        free(section.data);
        free(whole.data);
    }
    assert_true(opened > 0); /* another hash or value is still well-formed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_is_found_and_no_other),
        cmocka_unit_test(one_key_in_every_row_is_one_key),
        cmocka_unit_test(large_tables_are_dense),
        cmocka_unit_test(damaged_sections_stay_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
