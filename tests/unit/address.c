#include "tests/unit/unit.h"

#include "shared/address.h"
#include "shared/error.h"

#include <arpa/inet.h>

static struct tern_address address_of(const char *text)
{
    struct tern_address address = {1, 2};

    assert_int_equal(tern_address_parse(text, strlen(text), &address), 0);
    return address;
}

static void check_text(const char *text, uint64_t high, uint64_t low, const char *formatted)
{
    struct tern_address address = address_of(text);
    char back[TERN_ADDRESS_TEXT];

    assert_int_equal(address.high, high);
    assert_int_equal(address.low, low);
    tern_address_format(address, back);
    assert_string_equal(back, formatted);
}

static void addresses_are_parsed_and_formatted(TERN_TEST_STATE)
{
    check_text("192.0.2.1", 0, 0xffffc0000201, "192.0.2.1");
    check_text("::ffff:192.0.2.1", 0, 0xffffc0000201, "192.0.2.1");
    check_text("::ffff:c000:201", 0, 0xffffc0000201, "192.0.2.1");
    check_text("0.0.0.0", 0, 0xffff00000000, "0.0.0.0");
    check_text("::", 0, 0, "::");
    check_text("::1", 0, 1, "::1");
    check_text("1::", 0x0001000000000000, 0, "1::");
    check_text("2001:DB8:0:0:1:0:0:1", 0x20010db800000000, 0x0001000000000001, "2001:db8::1:0:0:1");
    check_text("2001:db8:0:1:1:1:1:1", 0x20010db800000001, 0x0001000100010001,
               "2001:db8:0:1:1:1:1:1");
    check_text("0:0:0:1:0:0:0:0", 1, 0, "0:0:0:1::");
    check_text("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", UINT64_MAX, UINT64_MAX,
               "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

static void what_is_not_exactly_one_address_is_refused(TERN_TEST_STATE)
{
    static const char *const bad[] = {
        "",         "1",        "1.2.3",   "1.2.3.4.5",  "256.1.1.1",
        "1.2.3.4 ", " 1.2.3.4", "1.2.3.a", ":",          ":::",
        "1::2::3",  "12345::",  "g::",     "1.2.3.4/32", "::1%lo",
        "01.2.3.4", "1.2.3.-4", "[::1]",   "::1.2.3",    "1:2:3:4:5:6:7:8:9",
    };
    struct tern_address address = {3, 4};

    for (size_t i = 0; i < TERN_COUNT(bad); i++)
        assert_int_equal(tern_address_parse(bad[i], strlen(bad[i]), &address), TERN_EINVAL);
    assert_int_equal(tern_address_parse("1.2.3.4\0x", 9, &address), TERN_EINVAL);
    assert_int_equal(address.high, 3);
    assert_int_equal(address.low, 4);
    /* only `length` bytes are read */
    assert_int_equal(tern_address_parse("1.2.3.45", 7, &address), 0);
    assert_int_equal((uint32_t)address.low, 0x01020304);
}

static void check_prefix(const char *text, int status, const char *first, const char *last)
{
    struct tern_address_range range;
    char back[TERN_ADDRESS_TEXT];

    assert_int_equal(tern_address_parse_prefix(text, strlen(text), &range), status);
    tern_address_format(range.first, back);
    assert_string_equal(back, first);
    tern_address_format(range.last, back);
    assert_string_equal(back, last);
}

static void prefixes_are_ranges(TERN_TEST_STATE)
{
    static const char *const bad[] = {"1.2.3.4/",   "1.2.3.4/33", "::/129",
                                      "/8",         "1.2.3.4/-1", "1.2.3.4/+8",
                                      "1.2.3.4/08", "::/ 1",      "1.2.3.4/8/8"};
    struct tern_address_range range;

    check_prefix("10.0.0.0/8", 0, "10.0.0.0", "10.255.255.255");
    check_prefix("10.0.0.1", 0, "10.0.0.1", "10.0.0.1");
    check_prefix("10.0.0.1/32", 0, "10.0.0.1", "10.0.0.1");
    check_prefix("0.0.0.0/0", 0, "0.0.0.0", "255.255.255.255");
    check_prefix("::ffff:10.0.0.0/104", 0, "10.0.0.0", "10.255.255.255");
    check_prefix("::/0", 0, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    check_prefix("2001:db8::/64", 0, "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff");
    check_prefix("2001:db8::/63", 0, "2001:db8::", "2001:db8:0:1:ffff:ffff:ffff:ffff");
    check_prefix("2001:db8::/65", 0, "2001:db8::", "2001:db8::7fff:ffff:ffff:ffff");
    check_prefix("2001:db8::1/128", 0, "2001:db8::1", "2001:db8::1");
    check_prefix("10.1.2.3/8", TERN_EREFUSED, "10.0.0.0", "10.255.255.255");
    check_prefix("2001:db8::1/64", TERN_EREFUSED, "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff");
    for (size_t i = 0; i < TERN_COUNT(bad); i++)
        assert_int_equal(tern_address_parse_prefix(bad[i], strlen(bad[i]), &range), TERN_EINVAL);
}

static void bytes_and_texts_round_trip(TERN_TEST_STATE)
{
    uint64_t seed = 7;

    for (unsigned i = 0; i < 20000; i++) {
        struct tern_address address = {tern_test_random(&seed), tern_test_random(&seed)};
        uint64_t zero = tern_test_random(&seed); /* groups that are zeroed, to meet every run */
        char text[TERN_ADDRESS_TEXT];
        uint8_t bytes[16];
        size_t length;

        for (unsigned group = 0; group < 4; group++) {
            address.high &= zero >> group & 1 ? ~(0xffffull << 16 * group) : UINT64_MAX;
            address.low &= zero >> (8 + group) & 1 ? ~(0xffffull << 16 * group) : UINT64_MAX;
        }
        if (i % 4 == 0)
            address = tern_address_from_v4((uint32_t)address.low);
        length = tern_address_to_bytes(address, bytes);
        assert_int_equal(length, tern_address_is_v4(address) ? 4 : 16);
        assert_int_equal(tern_address_compare(address, length == 4 ? tern_address_from_4(bytes)
                                                                   : tern_address_from_16(bytes)),
                         0);
        tern_address_format(address, text);
        assert_int_equal(tern_address_compare(address, address_of(text)), 0);
        if (length == 16 && address.high != 0) { /* libc writes ::a.b.c.d where tern does not */
            char expected[INET6_ADDRSTRLEN];
            inet_ntop(AF_INET6, bytes, expected, sizeof expected);
            assert_string_equal(text, expected);
        }
    }
}

/* The C library is the reference for what an IPv4 address is. */
static void ipv4_is_what_the_library_says(TERN_TEST_STATE)
{
    static const char alphabet[] = "0012345679..";
    uint64_t seed = 9;
    unsigned valid = 0;

    for (int i = 0; i < 300000; i++) {
        struct tern_address address;
        uint8_t bytes[4];
        char text[20];
        int parts = i % 8 == 0 ? (int)(tern_test_random(&seed) % 6) : 4;
        size_t length = 0;

        for (int part = 0; part < parts; part++)
            length +=
                (size_t)snprintf(text + length, sizeof text - length, "%s%u", part > 0 ? "." : "",
                                 (unsigned)(tern_test_random(&seed) % 300));
        if (length >= sizeof text)
            continue;
        if (length > 0 && i % 3 == 0)
            text[tern_test_random(&seed) % length] =
                alphabet[tern_test_random(&seed) % (sizeof alphabet - 1)];
        text[length] = 0;
        if (inet_pton(AF_INET, text, bytes) == 1) {
            assert_int_equal(tern_address_parse(text, length, &address), 0);
            assert_int_equal(tern_address_compare(address, tern_address_from_4(bytes)), 0);
            valid++;
        } else if (tern_address_parse(text, length, &address) == 0) {
            fail_msg("\"%s\" is no address", text);
        }
    }
    assert_true(valid > 50000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_parsed_and_formatted),
        cmocka_unit_test(what_is_not_exactly_one_address_is_refused),
        cmocka_unit_test(prefixes_are_ranges),
        cmocka_unit_test(bytes_and_texts_round_trip),
        cmocka_unit_test(ipv4_is_what_the_library_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
