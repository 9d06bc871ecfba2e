/* Payloads as bytes: what is read is what was written, under whatever columns come later. */
#include "tests/unit/unit.h"

#include "controlplane/collections/payload.h"
#include "shared/schema.h"

#include <math.h>

static const struct tern_graph_column columns[] = {
    {"label", TERN_TYPE_STRING}, {"good", TERN_TYPE_BOOL}, {"tenant", TERN_TYPE_U32},
    {"time", TERN_TYPE_U64},     {"delta", TERN_TYPE_I64}, {"weight", TERN_TYPE_F32},
};

static void random_values(struct tern_graph_value values[6], char text[64], uint64_t *seed)
{
    size_t length = tern_test_random(seed) % 64;

    memset(text, 'x', length);
    for (unsigned i = 0; i < 6; i++)
        values[i] = (struct tern_graph_value){.present = tern_test_random(seed) % 3 != 0};
    values[0].string.bytes = text;
    values[0].string.length = (uint32_t)length;
    values[1].u64 = tern_test_random(seed) & 1;
    values[2].u64 = (uint32_t)tern_test_random(seed);
    values[3].u64 = tern_test_random(seed);
    values[4].i64 = (int64_t)tern_test_random(seed);
    values[5].f32 = (float)tern_test_random(seed);
}

static void assert_same_value(const struct tern_graph_value *a, const struct tern_graph_value *b,
                              uint8_t type)
{
    assert_int_equal(a->present, b->present);
    if (!a->present)
        return;
    if (type == TERN_TYPE_STRING) {
        assert_int_equal(a->string.length, b->string.length);
        assert_memory_equal(a->string.bytes, b->string.bytes, a->string.length);
    } else if (type == TERN_TYPE_F32) {
        assert_true(a->f32 == b->f32);
    } else {
        assert_true(a->u64 == b->u64);
    }
}

static void payloads_survive_other_columns(TERN_TEST_STATE)
{
    uint64_t seed = 4711;
    /* moved, gone, new, and one of another type */
    const struct tern_graph_column later[] = {{"weight", TERN_TYPE_F32},
                                              {"label", TERN_TYPE_STRING},
                                              {"new", TERN_TYPE_U32},
                                              {"time", TERN_TYPE_I64},
                                              {"tenant", TERN_TYPE_U32}};
    int8_t same[TERN_PAYLOAD_COLUMNS_MAX], other[TERN_PAYLOAD_COLUMNS_MAX];

    tern_payload_match(columns, 6, columns, 6, same);
    tern_payload_match(columns, 6, later, 5, other);
    for (unsigned round = 0; round < 2000; round++) {
        struct tern_graph_value values[6], read[TERN_PAYLOAD_COLUMNS_MAX];
        const struct tern_graph_value absent = {0};
        struct tern_buffer bytes = {0};
        char text[64];

        random_values(values, text, &seed);
        assert_int_equal(tern_payload_check(columns, 6, values, NULL), 0);
        assert_int_equal(tern_payload_encode(&bytes, 3, columns, 6, values), 0);
        assert_int_equal(tern_payload_shape(bytes.data, bytes.length), 3);
        assert_int_equal(tern_payload_decode(bytes.data, bytes.length, columns, 6, same, 6, read),
                         0);
        for (unsigned i = 0; i < 6; i++)
            assert_same_value(&read[i], &values[i], columns[i].type);
        assert_int_equal(tern_payload_decode(bytes.data, bytes.length, columns, 6, other, 5, read),
                         0);
        assert_same_value(&read[0], &values[5], TERN_TYPE_F32);
        assert_same_value(&read[1], &values[0], TERN_TYPE_STRING);
        assert_same_value(&read[2], &absent, TERN_TYPE_U32);
        assert_same_value(&read[3], &absent, TERN_TYPE_I64);
        assert_same_value(&read[4], &values[2], TERN_TYPE_U32);
        /* every shorter piece is noticed; every flipped bit is survived */
        for (size_t length = 0; length < bytes.length; length++)
            assert_int_equal(tern_payload_decode(bytes.data, length, columns, 6, same, 6, read),
                             TERN_ECORRUPT);
        bytes.data[tern_test_random(&seed) % bytes.length] ^=
            (uint8_t)(1u << tern_test_random(&seed) % 8);
        (void)tern_payload_decode(bytes.data, bytes.length, columns, 6, same, 6, read);
        tern_buffer_free(&bytes);
    }
}

static void bad_values_are_named(TERN_TEST_STATE)
{
    static char long_text[TERN_PAYLOAD_STRING_MAX + 1];
    struct tern_graph_value values[6] = {0};
    struct tern_error error;

    memset(long_text, 'a', sizeof long_text);
    values[0] =
        (struct tern_graph_value){.present = true, .string = {long_text, TERN_PAYLOAD_STRING_MAX}};
    assert_int_equal(tern_payload_check(columns, 6, values, &error), 0);
    values[0].string.length++;
    assert_int_equal(tern_payload_check(columns, 6, values, &error), TERN_EINVAL);
    assert_string_equal(error.message, "payload label has 1025 bytes, at most 1024 fit");
    values[0] = (struct tern_graph_value){.present = true, .string = {"\xc3", 1}};
    assert_int_equal(tern_payload_check(columns, 6, values, &error), TERN_EINVAL);
    assert_string_equal(error.message, "payload label is not valid UTF-8");
    values[0].present = false;
    values[1] = (struct tern_graph_value){.present = true, .u64 = 2};
    assert_int_equal(tern_payload_check(columns, 6, values, &error), TERN_EINVAL);
    assert_string_equal(error.message, "payload good is a bool: 0 or 1");
    values[1].present = false;
    values[2] = (struct tern_graph_value){.present = true, .u64 = 1ull << 32};
    assert_int_equal(tern_payload_check(columns, 6, values, &error), TERN_EINVAL);
    assert_string_equal(error.message, "payload tenant is a u32, 4294967296 is too large");
    values[2].present = false;
    values[5] = (struct tern_graph_value){.present = true, .f32 = (float)NAN};
    assert_int_equal(tern_payload_check(columns, 6, values, &error), TERN_EINVAL);
    assert_string_equal(error.message, "payload weight is not a finite number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_survive_other_columns),
        cmocka_unit_test(bad_values_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
