/* shared/tables/prefix.c and controlplane/build/{prefix,trie}.c. The oracle is a scan of all
 * ranges. */
#include "tests/unit/section.h"

#include "controlplane/build/prefix.h"
#include "shared/error.h"
#include "shared/limits.h"
#include "shared/tables/prefix.h"

struct row {
    struct tern_address_range range;
    uint32_t value;
};

static unsigned __int128 number_of(struct tern_address address)
{
    return (unsigned __int128)address.high << 64 | address.low;
}

static struct tern_address address_of(unsigned __int128 number)
{
    return (struct tern_address){(uint64_t)(number >> 64), (uint64_t)number};
}

/* The smallest range that holds it, the later one of equals; IPv4 and IPv6 apart. */
static uint32_t scan(const struct row *rows, unsigned count, struct tern_address address)
{
    uint32_t value = TERN_NOT_FOUND;
    unsigned __int128 best = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned __int128 size = number_of(rows[i].range.last) - number_of(rows[i].range.first);

        if (tern_address_is_v4(rows[i].range.first) != tern_address_is_v4(address) ||
            tern_address_compare(rows[i].range.first, address) > 0 ||
            tern_address_compare(rows[i].range.last, address) < 0)
            continue;
        if (value == TERN_NOT_FOUND || size <= best) {
            value = rows[i].value;
            best = size;
        }
    }
    return value;
}

static struct test_section build(const struct row *rows, unsigned count, uint32_t value_limit,
                                 uint64_t *overlaps)
{
    struct tern_prefix_builder builder = {0};
    struct tern_buffer buffer = {0};

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(tern_prefix_builder_add(&builder, &rows[i].range, rows[i].value), 0);
    assert_int_equal(tern_prefix_builder_resolve(&builder), 0);
    *overlaps = builder.overlaps;
    assert_int_equal(tern_prefix_builder_pack(&builder, count, value_limit, &buffer), 0);
    tern_prefix_builder_free(&builder);
    return test_section_take(&buffer);
}

static void check_addresses(const struct tern_prefix *prefix, const struct row *rows,
                            unsigned count, const struct tern_address *addresses, unsigned queries)
{
    uint32_t values[TERN_VECTOR_WIDTH];

    for (unsigned at = 0; at < queries; at += TERN_VECTOR_WIDTH) {
        unsigned width = queries - at < TERN_VECTOR_WIDTH ? queries - at : TERN_VECTOR_WIDTH;

        tern_prefix_find_vector(prefix, addresses + at, width, values);
        for (unsigned i = 0; i < width; i++) {
            uint32_t expected = scan(rows, count, addresses[at + i]);

            tern_prefix_prefetch(prefix, addresses[at + i]);
            assert_int_equal(tern_prefix_find(prefix, addresses[at + i]), expected);
            assert_int_equal(values[i], expected);
        }
    }
}

/* Ends of ranges and their neighbours, and random addresses near the ranges. */
static void check(const struct row *rows, unsigned count, uint32_t value_limit, uint64_t *seed)
{
    uint64_t overlaps, again_overlaps, expected_overlaps = 0;
    struct test_section section = build(rows, count, value_limit, &overlaps);
    struct test_section again = build(rows, count, value_limit, &again_overlaps);
    struct tern_address *addresses = calloc(8ull * count + 8, sizeof *addresses);
    struct tern_prefix prefix, portable;
    struct tern_error error;
    unsigned queries = 0;

    assert_int_equal(section.length, again.length);
    assert_memory_equal(section.data, again.data, section.length);
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = i + 1; j < count; j++)
            if (memcmp(&rows[i].range, &rows[j].range, sizeof rows[i].range) == 0) {
                expected_overlaps++;
                break;
            }
    assert_int_equal(overlaps, expected_overlaps);
    assert_int_equal(tern_prefix_open(&prefix, section.data, section.length, &error), 0);
    for (unsigned i = 0; i < count; i++) {
        unsigned __int128 first = number_of(rows[i].range.first);
        unsigned __int128 last = number_of(rows[i].range.last);
        unsigned __int128 random =
            (unsigned __int128)tern_test_random(seed) << 64 | tern_test_random(seed);

        addresses[queries++] = address_of(first);
        addresses[queries++] = address_of(last);
        addresses[queries++] = address_of(first - 1);
        addresses[queries++] = address_of(last + 1);
        addresses[queries++] = address_of(first + (last - first) / 2);
        addresses[queries++] = address_of(last == first ? first : first + random % (last - first));
        addresses[queries++] = address_of(first ^ (random & 0xffff));
        addresses[queries++] = address_of(first ^ (unsigned __int128)1 << random % 128);
    }
    check_addresses(&prefix, rows, count, addresses, queries);
    portable = prefix;
    portable.has_popcount = false;
    check_addresses(&portable, rows, count, addresses, queries < 320 ? queries : 320);
    free(addresses);
    free(section.data);
    free(again.data);
}

/* Shapes of ranges: all over, crowded, lone hosts, nested prefixes. */
static struct row random_row(unsigned shape, bool v6, uint32_t values, uint64_t *seed)
{
    uint64_t random = tern_test_random(seed);
    unsigned __int128 size, first;
    unsigned bits = v6 ? 128 : 32, length;
    struct row row = {.value = (uint32_t)(tern_test_random(seed) % values)};

    first = (unsigned __int128)tern_test_random(seed) << 64 | tern_test_random(seed);
    switch (shape) {
    case 0: /* any range */
        size = ((unsigned __int128)tern_test_random(seed) << 64 | tern_test_random(seed)) >>
               random % 128;
        break;
    case 1: /* crowded: ends within 2^12 of one place, so that ranges cross and repeat */
        first = ((unsigned __int128)0x20010db8 << 96) + random % 64 * 61;
        size = tern_test_random(seed) % 4 * 61 + tern_test_random(seed) % 3;
        break;
    case 2: /* lone hosts in one block */
        first = (first & 0xffffffffffff) | (unsigned __int128)0x20010db8 << 96;
        size = 0;
        break;
    default: /* prefixes */
        length = (unsigned)(random % (bits + 1));
        size = length == 0      ? ~(unsigned __int128)0 >> (128 - bits)
               : length == bits ? 0
                                : ((unsigned __int128)1 << (bits - length)) - 1;
        if (tern_test_random(seed) % 2)
            first &= ~(unsigned __int128)0 >> 12; /* share leading bits with others */
        first |= v6 && random % 3 ? (unsigned __int128)1 << 125 : 0;
        first &= ~size;
        break;
    }
    if (!v6) {
        first = (unsigned __int128)0xffff << 32 | (uint32_t)first;
        if (size > 0xffffffff)
            size = (uint32_t)size;
        if ((uint32_t)first + (uint64_t)size > 0xffffffff)
            size = 0xffffffff - (uint32_t)first;
    } else if (first + size < first) {
        size = ~first;
    }
    row.range.first = address_of(first);
    row.range.last = address_of(first + size);
    if (v6 && tern_address_is_v4(row.range.first))
        row.range.first = row.range.last = address_of(1);
    return row;
}

static void the_smallest_range_wins(TERN_TEST_STATE)
{
    uint64_t seed = 11;

    for (unsigned round = 0; round < 300; round++) {
        unsigned count = round < 10 ? round : 1 + (unsigned)(tern_test_random(&seed) % 200);
        uint32_t values = round % 3 == 0 ? 1 : round % 3 == 1 ? 4 : 1000;
        struct row rows[200] = {0};

        for (unsigned i = 0; i < count; i++)
            rows[i] =
                random_row(round % 5 == 4 ? (unsigned)(tern_test_random(&seed) % 4) : round % 5,
                           tern_test_random(&seed) % 2, values, &seed);
        check(rows, count, values, &seed);
    }
}

/* Enough segments for the direct indexes of every size. */
static void direct_indexes_are_right(TERN_TEST_STATE)
{
    static const unsigned counts[] = {600, 60000};
    uint64_t seed = 12;

    for (unsigned size = 0; size < TERN_COUNT(counts); size++) {
        unsigned count = counts[size];
        struct row *rows = calloc(count, sizeof *rows);
        struct tern_address addresses[320];
        struct tern_prefix prefix;
        uint64_t overlaps;
        struct test_section section;

        for (unsigned i = 0; i < count; i++)
            rows[i] = random_row(3, i % 2, 100000, &seed);
        section = build(rows, count, 100000, &overlaps);
        assert_int_equal(tern_prefix_open(&prefix, section.data, section.length, NULL), 0);
        assert_int_equal(prefix.root4_bits, size == 0 ? 12 : 18);
        assert_int_equal(prefix.root6_bits, size == 0 ? 11 : 17);
        for (unsigned i = 0; i < TERN_COUNT(addresses); i++) {
            const struct tern_address_range *range = &rows[tern_test_random(&seed) % count].range;
            addresses[i] = tern_test_random(&seed) % 2 ? range->first : range->last;
            addresses[i].low ^= tern_test_random(&seed) % 3;
        }
        check_addresses(&prefix, rows, count, addresses, TERN_COUNT(addresses));
        free(section.data);
        free(rows);
    }
}

static struct tern_address_range range_of(const char *text)
{
    struct tern_address_range range;

    assert_int_equal(tern_address_parse_prefix(text, strlen(text), &range), 0);
    return range;
}

static uint32_t find_text(const struct tern_prefix *prefix, const char *text)
{
    return tern_prefix_find(prefix, range_of(text).first);
}

static void ipv4_and_ipv6_are_apart(TERN_TEST_STATE)
{
    const struct row rows[] = {
        {range_of("::/0"), 1},       {range_of("10.0.0.0/8"), 2}, {range_of("2001:db8::/32"), 3},
        {range_of("10.1.2.3"), 4},   {range_of("::1"), 5},        {range_of("::fffe:0:0/95"), 6},
        {range_of("10.0.0.0/8"), 7},
    };
    struct tern_prefix prefix;
    uint64_t overlaps;
    struct test_section section = build(rows, TERN_COUNT(rows), 8, &overlaps);

    assert_int_equal(overlaps, 1);
    assert_int_equal(tern_prefix_open(&prefix, section.data, section.length, NULL), 0);
    assert_int_equal(find_text(&prefix, "10.1.2.3"), 4);
    assert_int_equal(find_text(&prefix, "::ffff:10.1.2.3"), 4);
    assert_int_equal(find_text(&prefix, "10.1.2.4"), 7);
    assert_int_equal(find_text(&prefix, "11.0.0.0"), TERN_NOT_FOUND);
    assert_int_equal(find_text(&prefix, "::1"), 5);
    assert_int_equal(find_text(&prefix, "::2"), 1);
    assert_int_equal(find_text(&prefix, "::fffe:1:2"), 6);
    assert_int_equal(find_text(&prefix, "2001:db8:ffff::"), 3);
    assert_int_equal(find_text(&prefix, "ffff::"), 1);
    free(section.data);
}

static void bad_ranges_are_refused(TERN_TEST_STATE)
{
    struct tern_prefix_builder builder = {0};
    struct tern_address_range range = range_of("10.0.0.0/8");
    struct tern_address_range turned = {range.last, range.first};
    struct tern_address_range mixed = {range.first, range_of("2001::").first};

    assert_int_equal(tern_prefix_builder_add(&builder, &turned, 0), TERN_EINVAL);
    assert_int_equal(tern_prefix_builder_add(&builder, &mixed, 0), TERN_EINVAL);
    assert_int_equal(tern_prefix_builder_add(&builder, &range, TERN_PREFIX_NONE), TERN_EINVAL);
    assert_int_equal(builder.v4.row_count + builder.v6.row_count, 0);
    tern_prefix_builder_free(&builder);
}

static void damaged_sections_stay_inside(TERN_TEST_STATE)
{
    uint64_t seed = 13, overlaps;
    unsigned opened = 0;
    struct row rows[400];
    struct test_section whole;

    for (unsigned i = 0; i < TERN_COUNT(rows); i++)
        rows[i] = random_row(i % 4, i % 3 == 0, 50, &seed);
    whole = build(rows, TERN_COUNT(rows), 50, &overlaps);
    for (unsigned round = 0; round < 6000; round++) {
        struct test_section section = test_section_copy(
            whole, round % 3 ? whole.length : tern_test_random(&seed) % whole.length);
        struct tern_prefix prefix;

        if (round % 3)
            test_section_damage(section, &seed);
        if (tern_prefix_open(&prefix, section.data, section.length, NULL) == 0) {
            opened++;
            for (unsigned i = 0; i < TERN_COUNT(rows); i++) {
                uint32_t value = tern_prefix_find(&prefix, rows[i].range.first);
                uint32_t vector;
                assert_true(value == TERN_NOT_FOUND || value < prefix.value_limit);
                tern_prefix_find_vector(&prefix, &rows[i].range.last, 1, &vector);
                assert_true(vector == TERN_NOT_FOUND || vector < prefix.value_limit);
            }
        }
        free(section.data);
    }
    assert_true(opened > 0);
    free(whole.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_and_ipv6_are_apart),      cmocka_unit_test(the_smallest_range_wins),
        cmocka_unit_test(direct_indexes_are_right),     cmocka_unit_test(bad_ranges_are_refused),
        cmocka_unit_test(damaged_sections_stay_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
