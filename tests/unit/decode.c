#include "tests/unit/unit.h"

#include "shared/decode.h"
#include "shared/error.h"
#include "shared/host.h"

#include <math.h>

enum { IP = 1, HOST, PATH, USER, SCORE, FLAG, VECTOR, SIGNED, URL, FIELDS = URL };
enum { HOST_RAW = FIELDS + 1, URL_RAW };
enum { URL_STEPS = TERN_NORMALIZE_PERCENT_DECODE | TERN_NORMALIZE_DOT_SEGMENTS };

static struct {
    struct tern_schema schema;
    struct tern_schema_field fields[FIELDS];
} schema;
static struct tern_decoder decoder;
static uint8_t space[TERN_DECODE_ITEM_BYTES];
static union {
    struct tern_facts facts;
    uint8_t bytes[sizeof(struct tern_facts) + (TERN_FIELDS_MAX + 1) * sizeof(union tern_value)];
} room;

static void define(unsigned id, enum tern_type type, uint8_t flags, uint32_t dim, uint32_t max)
{
    schema.fields[id - 1] = (struct tern_schema_field){
        .id = (uint16_t)id, .type = (uint8_t)type, .flags = flags, .dim = dim, .max_bytes = max};
}

static int make_schema(void **state)
{
    (void)state;
    schema.schema.field_count = FIELDS;
    define(IP, TERN_TYPE_IP, 0, 0, 0);
    define(HOST, TERN_TYPE_STRING, TERN_FIELD_HOST, 0, 300);
    define(PATH, TERN_TYPE_STRING, 0, 0, 16);
    define(USER, TERN_TYPE_U64, 0, 0, 0);
    define(SCORE, TERN_TYPE_F32, 0, 0, 0);
    define(FLAG, TERN_TYPE_BOOL, 0, 0, 0);
    define(VECTOR, TERN_TYPE_VECTOR, 0, 2, 0);
    define(SIGNED, TERN_TYPE_I64, 0, 0, 0);
    define(URL, TERN_TYPE_STRING, 0, 0, 100);
    schema.fields[URL - 1].normalize = URL_STEPS;
    tern_decoder_init(&decoder, &schema.schema, NULL, false);
    return 0;
}

struct item {
    uint8_t bytes[1024];
    size_t length;
};

static void add(struct item *item, uint8_t id, const void *value, size_t length)
{
    item->bytes[item->length] = id;
    tern_store_u16(item->bytes + item->length + 1, (uint16_t)length);
    memcpy(item->bytes + item->length + 3, value, length);
    item->length += 3 + length;
}

static int decode(const struct item *item, struct tern_decode_failure *failure)
{
    size_t used = 0;

    return tern_decode_item(&decoder, item->bytes, item->length, 0, &room.facts, space, &used,
                            failure);
}

static void values_become_canonical(TERN_TEST_STATE)
{
    struct item item = {0};
    struct tern_decode_failure failure;
    float minus_zero = -0.0f;
    const float vector[2] = {1.5f, 2.5f};
    const int64_t minus_two = -2;
    const uint64_t key = 0x1122334455667788ull, user = 7;

    add(&item, IP, "\x0a\x01\x02\x03", 4);
    add(&item, HOST, "WWW.Example.COM.:443", 20);
    add(&item, PATH, "/A", 2);
    add(&item, USER, &user, 8);
    add(&item, SCORE, &minus_zero, 4);
    add(&item, FLAG, "\1", 1);
    add(&item, VECTOR, vector, 8);
    add(&item, SIGNED, &minus_two, 8);
    add(&item, 0, &key, 8);
    assert_int_equal(decode(&item, &failure), 0);

    assert_int_equal(room.facts.decision_key, key);
    for (unsigned id = 1; id <= SIGNED; id++)
        assert_true(tern_facts_has(&room.facts, id));
    assert_true(tern_address_is_v4(room.facts.values[IP].address));
    assert_int_equal(room.facts.values[IP].address.low, 0xffff0a010203ull);
    assert_int_equal(room.facts.values[HOST].string.length, 15);
    assert_memory_equal(room.facts.values[HOST].string.bytes, "www.example.com", 15);
    assert_int_equal(room.facts.values[USER].u64, 7);
    assert_int_equal(room.facts.values[SIGNED].i64, -2);
    assert_false(signbit(room.facts.values[SCORE].f32));
    assert_true(room.facts.values[FLAG].boolean);
    assert_memory_equal(room.facts.values[VECTOR].string.bytes, vector, 8);
    /* used where it lies */
    assert_in_range((uintptr_t)room.facts.values[PATH].string.bytes, (uintptr_t)item.bytes,
                    (uintptr_t)item.bytes + item.length);
}

static void a_mapped_address_is_its_ipv4_address(TERN_TEST_STATE)
{
    struct item four = {0}, sixteen = {0};
    struct tern_decode_failure failure;
    struct tern_address address;

    add(&four, IP, "\x0a\x01\x02\x03", 4);
    add(&sixteen, IP, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01\x02\x03", 16);
    assert_int_equal(decode(&four, &failure), 0);
    address = room.facts.values[IP].address;
    assert_int_equal(decode(&sixteen, &failure), 0);
    assert_int_equal(tern_address_compare(address, room.facts.values[IP].address), 0);
}

static void expect(const struct item *item, enum tern_status status, const char *part)
{
    struct tern_decode_failure failure;

    assert_int_equal(decode(item, &failure), TERN_EINVAL);
    assert_int_equal(failure.status, status);
    assert_non_null(strstr(failure.message, part));
}

static void what_is_wrong_is_named(TERN_TEST_STATE)
{
    static const struct {
        uint8_t id;
        const char *value;
        size_t length;
        const char *part;
    } bad[] = {
        {IP, "abc", 3, "4 or 16"},
        {IP, "", 0, "4 or 16"},
        {PATH, "12345678901234567", 17, "maximum"},
        {USER, "1234567", 7, "8 bytes"},
        {SIGNED, "123456789", 9, "8 bytes"},
        {SCORE, "\0\0\xc0\x7f", 4, "not a number"},
        {SCORE, "\0\0", 2, "4 bytes"},
        {FLAG, "\2", 1, "0 or 1"},
        {FLAG, "", 0, "0 or 1"},
        {VECTOR, "1234", 4, "dimension"},
        {FIELDS + 1, "", 0, "no field 10"},
        {255, "x", 1, "no field 255"},
        {0, "1234567", 7, "8 bytes"},
    };

    for (size_t i = 0; i < TERN_COUNT(bad); i++) {
        struct item item = {0};

        add(&item, bad[i].id, bad[i].value, bad[i].length);
        expect(&item, TERN_STATUS_BAD_FIELD, bad[i].part);
    }
}

static void repeated_fields_are_refused(TERN_TEST_STATE)
{
    for (unsigned id = 0; id <= 1; id++) {
        struct item item = {0};

        for (unsigned twice = 0; twice < 2; twice++)
            add(&item, id == 0 ? 0 : USER, "12345678", 8);
        expect(&item, TERN_STATUS_BAD_FIELD, "repeated");
    }
}

static void cut_fields_are_bad_frames(TERN_TEST_STATE)
{
    struct item whole = {0};

    add(&whole, USER, "12345678", 8);
    for (size_t length = 1; length < whole.length; length++) {
        struct item item = whole;

        item.length = length;
        expect(&item, TERN_STATUS_BAD_FRAME, length < 3 ? "cut off" : "past the item");
    }
}

static void unknown_fields_may_be_ignored(TERN_TEST_STATE)
{
    struct item item = {0};
    struct tern_decode_failure failure;

    add(&item, 99, "x", 1);
    add(&item, FLAG, "\1", 1);
    add(&item, 100, "yz", 2);
    decoder.ignore_unknown = true;
    assert_int_equal(decode(&item, &failure), 2);
    decoder.ignore_unknown = false;
    assert_true(tern_facts_has(&room.facts, FLAG));
    assert_false(tern_facts_has(&room.facts, 99));
}

/* Whether a host is used where it lies or folded, the outcome is that of folding. */
static void hosts_are_always_folded(TERN_TEST_STATE)
{
    static const char alphabet[] = "az.AZ09:-@[`{]\xc3\x80\xff";
    uint64_t seed = 77;

    for (unsigned round = 0; round < 20000; round++) {
        struct item item = {0};
        struct tern_decode_failure failure;
        uint8_t host[40], folded[40 + TERN_HOST_GROWTH];
        size_t length = tern_test_random(&seed) % sizeof host, folded_length;
        /* mostly small letters, so that clean ones occur */
        unsigned dirt = (unsigned)(tern_test_random(&seed) % 8);

        for (size_t i = 0; i < length; i++)
            host[i] = tern_test_random(&seed) % 8 < dirt
                          ? (uint8_t)alphabet[tern_test_random(&seed) % (sizeof alphabet - 1)]
                          : (uint8_t)('a' + tern_test_random(&seed) % 26);
        tern_host_fold(host, length, folded, &folded_length);
        add(&item, HOST, host, length);
        assert_int_equal(decode(&item, &failure), 0);
        assert_int_equal(room.facts.values[HOST].string.length, folded_length);
        assert_memory_equal(room.facts.values[HOST].string.bytes, folded, folded_length);
    }
}

/* The untouched value is kept where a rule looks at it, and only there. */
static void untouched_values_have_slots(TERN_TEST_STATE)
{
    const uint64_t wanted[4] = {1ull << URL};
    struct item item = {0};
    struct tern_decode_failure failure;
    static const char sent[] = "/a/%2e%2e/b\xff";

    assert_int_equal(decoder.slot_count, URL_RAW);
    add(&item, URL, sent, sizeof sent); /* with its NUL, which is a byte like others */
    add(&item, HOST, "A.b", 3);
    assert_int_equal(decode(&item, &failure), 0);
    assert_int_equal(room.facts.values[URL].string.length, 4);
    assert_memory_equal(room.facts.values[URL].string.bytes, "/b\xff\0", 4);
    assert_false(tern_facts_has(&room.facts, URL_RAW));
    tern_decoder_init(&decoder, &schema.schema, wanted, false);
    assert_int_equal(decode(&item, &failure), 0);
    assert_int_equal(room.facts.values[URL].string.length, 4);
    assert_true(tern_facts_has(&room.facts, URL_RAW));
    assert_int_equal(room.facts.values[URL_RAW].string.length, sizeof sent);
    assert_memory_equal(room.facts.values[URL_RAW].string.bytes, sent, sizeof sent);
    assert_false(tern_facts_has(&room.facts, HOST_RAW));
    tern_decoder_init(&decoder, &schema.schema, NULL, false);
}

/* What nothing has to be done to is used where it lies. */
static void clean_values_are_not_copied(TERN_TEST_STATE)
{
    struct item item = {0};
    struct tern_decode_failure failure;
    size_t used = 0;

    add(&item, HOST, "a.example", 9);
    add(&item, URL, "/a/quite/ordinary/path", 22);
    assert_int_equal(
        tern_decode_item(&decoder, item.bytes, item.length, 0, &room.facts, space, &used, &failure),
        0);
    assert_int_equal(used, 0);
    assert_ptr_equal(room.facts.values[URL].string.bytes, item.bytes + 3 + 9 + 3);
}

/* Random bytes never read outside the item: it ends where its heap block ends, which the sanitizer
 * build checks. */
static void random_bytes_are_survived(TERN_TEST_STATE)
{
    uint64_t seed = 3;
    unsigned good = 0;

    for (unsigned round = 0; round < 50000; round++) {
        size_t length = tern_test_random(&seed) % 48, used = 0;
        uint8_t *bytes = malloc(length + (length == 0));
        struct tern_decode_failure failure;

        for (size_t i = 0; i < length; i++)
            bytes[i] = (uint8_t)(tern_test_random(&seed) % (i % 3 == 0 ? 10 : 4));
        good +=
            tern_decode_item(&decoder, bytes, length, 0, &room.facts, space, &used, &failure) >= 0;
        free(bytes);
    }
    assert_in_range(good, 1, 49999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_become_canonical),
        cmocka_unit_test(a_mapped_address_is_its_ipv4_address),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(repeated_fields_are_refused),
        cmocka_unit_test(cut_fields_are_bad_frames),
        cmocka_unit_test(unknown_fields_may_be_ignored),
        cmocka_unit_test(hosts_are_always_folded),
        cmocka_unit_test(untouched_values_have_slots),
        cmocka_unit_test(clean_values_are_not_copied),
        cmocka_unit_test(random_bytes_are_survived),
    };
    return cmocka_run_group_tests(tests, make_schema, NULL);
}
