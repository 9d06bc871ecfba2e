/* Files of vectors: what is written in each format is read back, and what is wrong is named with
 * its place. */
#include "tests/unit/unit.h"

#include "controlplane/collections/rows.h"
#include "shared/buffer.h"
#include "shared/schema.h"
#include "tests/unit/folder.h"

#include <fcntl.h>
#include <math.h>
#include <zlib.h>

#define DIM 3u

static char directory[FOLDER_PATH], path[96], ids_path[96];

static const struct tern_graph_shape shape = {
    .dim = DIM,
    .columns = {{"label", TERN_TYPE_STRING},
                {"good", TERN_TYPE_BOOL},
                {"tenant", TERN_TYPE_U32},
                {"time", TERN_TYPE_U64},
                {"delta", TERN_TYPE_I64},
                {"weight", TERN_TYPE_F32}},
    .column_count = 6,
};

static int set_up(TERN_TEST_STATE)
{
    if (folder_make(directory) != 0)
        return 1;
    snprintf(path, sizeof path, "%s/f", directory);
    snprintf(ids_path, sizeof ids_path, "%s/ids", directory);
    return 0;
}

static int tear_down(TERN_TEST_STATE)
{
    return folder_remove(directory);
}

static void write_bytes(const char *to, const void *bytes, size_t length, bool packed)
{
    if (packed) {
        gzFile file = gzopen(to, "wb");

        assert_int_equal(gzwrite(file, bytes, (unsigned)length), length);
        assert_int_equal(gzclose(file), Z_OK);
    } else {
        FILE *file = fopen(to, "wb");

        assert_int_equal(fwrite(bytes, 1, length, file), length);
        assert_int_equal(fclose(file), 0);
    }
}

/* --- Back and forth --- */

struct sample {
    uint64_t id;
    float vector[DIM];
    struct tern_graph_value payload[6];
    char text[40];
};

static void make_sample(struct sample *sample, uint64_t *seed)
{
    static const char letters[] = "abc, \"\\\n\tx\xc3\xa4";
    size_t length = 1 + tern_test_random(seed) % 20, used = 0;

    *sample = (struct sample){.id = tern_test_random(seed)};
    for (unsigned i = 0; i < DIM; i++)
        sample->vector[i] = (float)((double)tern_test_random(seed) / 1e17 - 90);
    while (used < length) {
        size_t at = tern_test_random(seed) % (sizeof letters - 1);

        if (at >= 10) { /* a letter of two bytes */
            memcpy(sample->text + used, letters + 10, 2);
            used += 2;
        } else {
            sample->text[used++] = letters[at];
        }
    }
    for (unsigned i = 0; i < 6; i++)
        sample->payload[i].present = tern_test_random(seed) % 4 != 0;
    sample->payload[0].string.bytes = sample->text;
    sample->payload[0].string.length = (uint32_t)used;
    sample->payload[1].u64 = tern_test_random(seed) & 1;
    sample->payload[2].u64 = (uint32_t)tern_test_random(seed);
    sample->payload[3].u64 = tern_test_random(seed);
    sample->payload[4].i64 = (int64_t)tern_test_random(seed);
    sample->payload[5].f32 = (float)(tern_test_random(seed) % 1000) / 8;
}

static void print_number(struct tern_buffer *out, unsigned column,
                         const struct tern_graph_value *value, bool json)
{
    switch (column) {
    case 1:
        tern_buffer_printf(out, "%s",
                           json              ? value->u64 != 0 ? "true" : "false"
                           : value->u64 != 0 ? "1"
                                             : "0");
        break;
    case 4:
        tern_buffer_printf(out, "%lld", (long long)value->i64);
        break;
    case 5:
        tern_buffer_printf(out, "%.9g", (double)value->f32);
        break;
    default:
        tern_buffer_printf(out, "%llu", (unsigned long long)value->u64);
    }
}

static void print_csv(struct tern_buffer *out, const struct sample *sample, bool one_column)
{
    tern_buffer_printf(out, "x,");
    for (unsigned i = 0; i < 6; i++) {
        if (sample->payload[i].present && i == 0) {
            tern_buffer_printf(out, "\"");
            for (uint32_t at = 0; at < sample->payload[0].string.length; at++)
                tern_buffer_printf(out, sample->text[at] == '"' ? "\"\"" : "%c", sample->text[at]);
            tern_buffer_printf(out, "\"");
        } else if (sample->payload[i].present) {
            print_number(out, i, &sample->payload[i], false);
        }
        tern_buffer_printf(out, ",");
    }
    if (one_column)
        tern_buffer_printf(out, "\"[%.9g, %.9g  %.9g]\"", (double)sample->vector[0],
                           (double)sample->vector[1], (double)sample->vector[2]);
    else
        tern_buffer_printf(out, "%.9g,%.9g,%.9g", (double)sample->vector[1],
                           (double)sample->vector[0], (double)sample->vector[2]);
    tern_buffer_printf(out, ",%llu\n", (unsigned long long)sample->id);
}

static void print_json(struct tern_buffer *out, const struct sample *sample, uint64_t *seed)
{
    static const char *const names[] = {"label", "good", "tenant", "time", "delta", "weight"};

    tern_buffer_printf(out, " {\"more\": {\"a\": [1, {\"b\": \"]}\"}], \"c\": null}, \"id\" : ");
    tern_buffer_printf(out, tern_test_random(seed) & 1 ? "%llu" : "\"%llu\"",
                       (unsigned long long)sample->id);
    for (unsigned i = 0; i < 6; i++) {
        if (!sample->payload[i].present) {
            if (tern_test_random(seed) & 1)
                tern_buffer_printf(out, ", \"%s\":null", names[i]);
            continue;
        }
        tern_buffer_printf(out, ",\"%s\": ", names[i]);
        if (i == 0)
            tern_buffer_json_string(out, sample->text, sample->payload[0].string.length);
        else
            print_number(out, i, &sample->payload[i], true);
    }
    tern_buffer_printf(out, ", \"vector\":[%.9g, %.9g ,%.9g ] }\r\n", (double)sample->vector[0],
                       (double)sample->vector[1], (double)sample->vector[2]);
}

static void assert_same(const struct tern_rows_row *row, const struct sample *sample,
                        bool with_payload)
{
    assert_true(row->id == sample->id);
    for (unsigned i = 0; i < DIM; i++)
        assert_true(row->vector[i] == sample->vector[i]);
    for (unsigned i = 0; i < 6; i++) {
        const struct tern_graph_value *a = &row->payload[i], *b = &sample->payload[i];

        assert_int_equal(a->present, with_payload && b->present);
        if (!a->present)
            continue;
        if (i == 0) {
            assert_int_equal(a->string.length, b->string.length);
            assert_memory_equal(a->string.bytes, b->string.bytes, b->string.length);
        } else if (i == 5) {
            assert_true(a->f32 == b->f32);
        } else {
            assert_true(a->u64 == b->u64);
        }
    }
}

enum { SAMPLES = 2000 };
static struct sample samples[SAMPLES];

static void compare(const struct tern_rows_options *options, bool with_payload,
                    const char *passed_over)
{
    struct tern_rows *rows = NULL;
    struct tern_rows_row row;
    struct tern_error error;
    int rc;

    if (tern_rows_open(path, options, &shape, &rows, &error) != 0)
        fail_msg("%s", error.message);
    for (unsigned i = 0; i < SAMPLES; i++) {
        rc = tern_rows_next(rows, &row, &error);
        if (rc != 1)
            fail_msg("row %u: %d %s", i, rc, rc < 0 ? error.message : "the end");
        assert_same(&row, &samples[i], with_payload);
    }
    assert_int_equal(tern_rows_next(rows, &row, &error), 0);
    assert_int_equal(tern_rows_permille(rows), 1000);
    assert_string_equal(tern_rows_passed_over(rows), passed_over);
    tern_rows_close(rows);
}

static void every_format_is_read_back(TERN_TEST_STATE)
{
    uint64_t seed = 5;

    for (unsigned round = 0; round < 4; round++) {
        struct tern_rows_options options = {0};
        struct tern_buffer out = {0}, ids = {0};
        bool packed = round % 2 == 1;

        for (unsigned i = 0; i < SAMPLES; i++)
            make_sample(&samples[i], &seed);
        tern_buffer_printf(&out, "%sother,label,good,tenant,time,delta,weight,%s,id\n",
                           round < 2 ? "\xef\xbb\xbf" : "", packed ? "vector" : "v1,v0,v2");
        for (unsigned i = 0; i < SAMPLES; i++)
            print_csv(&out, &samples[i], packed);
        write_bytes(path, out.data, out.length, round >= 2);
        compare(&options, true, "other");
        out.length = 0;
        for (unsigned i = 0; i < SAMPLES; i++)
            print_json(&out, &samples[i], &seed);
        write_bytes(path, out.data, out.length, packed);
        compare(&options, true, "more");
        out.length = 0;
        for (unsigned i = 0; i < SAMPLES; i++) {
            tern_buffer_append(&out, samples[i].vector, sizeof samples[i].vector);
            tern_buffer_printf(&ids, "%llu\n", (unsigned long long)samples[i].id);
        }
        write_bytes(path, out.data, out.length, packed);
        write_bytes(ids_path, ids.data, ids.length, packed);
        options = (struct tern_rows_options){.format = TERN_ROWS_RAW, .ids = ids_path};
        compare(&options, false, "");
        /* counted */
        for (unsigned i = 0; i < SAMPLES; i++)
            samples[i].id = i;
        options.ids = NULL;
        compare(&options, false, "");
        tern_buffer_free(&out);
        tern_buffer_free(&ids);
    }
}

static void ids_are_enough_for_removals(TERN_TEST_STATE)
{
    static const char *const texts[] = {
        "7\n8\n\n18446744073709551615\n",
        "label,id\na,7\nb,8\nc,18446744073709551615\n",
        "{\"id\":7}\n{\"id\":\"8\",\"vector\":[1]}\n\n{\"id\":18446744073709551615,\"x\":[]}\n",
    };

    for (unsigned i = 0; i < TERN_COUNT(texts); i++) {
        const struct tern_rows_options options = {.ids_only = true};
        struct tern_rows *rows = NULL;
        struct tern_rows_row row;
        struct tern_error error;
        const uint64_t expected[] = {7, 8, UINT64_MAX};

        write_bytes(path, texts[i], strlen(texts[i]), false);
        assert_int_equal(tern_rows_open(path, &options, &shape, &rows, &error), 0);
        for (unsigned k = 0; k < 3; k++) {
            assert_int_equal(tern_rows_next(rows, &row, &error), 1);
            assert_true(row.id == expected[k]);
            assert_null(row.vector);
        }
        assert_int_equal(tern_rows_next(rows, &row, &error), 0);
        tern_rows_close(rows);
    }
}

/* --- What is wrong --- */

/* Reads to the first error; "" when there is none. `*good` rows came before it. */
static const char *first_error(const void *bytes, size_t length, enum tern_rows_format format,
                               const char *ids, unsigned *good, int *code)
{
    static struct tern_error error;
    struct tern_rows_options options = {.format = format, .ids = ids != NULL ? ids_path : NULL};
    struct tern_rows *rows = NULL;
    struct tern_rows_row row;
    int rc;

    *good = 0;
    write_bytes(path, bytes, length, false);
    if (ids != NULL)
        write_bytes(ids_path, ids, strlen(ids), false);
    error.message[0] = '\0';
    rc = tern_rows_open(path, &options, &shape, &rows, &error);
    if (rc == 0)
        while ((rc = tern_rows_next(rows, &row, &error)) == 1)
            ++*good;
    tern_rows_close(rows);
    *code = rc;
    if (rc == 0)
        return "";
    return strncmp(error.message, path, strlen(path)) == 0 ? error.message + strlen(path)
                                                           : error.message;
}

static void what_is_wrong_is_named(TERN_TEST_STATE)
{
    static const struct {
        const char *text, *message;
        unsigned good;
        int code;
    } cases[] = {
        {"", " is empty: the first line names the columns", 0, TERN_EINVAL},
        {"vector,label\n", ":1:1: the header has no column `id`; the first line names the columns",
         0, TERN_EINVAL},
        {"id,label\n", ":1:1: the header needs one column `vector`, or v0 to v2", 0, TERN_EINVAL},
        {"id,v0,v1\n",
         ":1:1: the header has 2 of the columns v0 to v2 that a vector of the collection has", 0,
         TERN_EINVAL},
        {"id,vector,id\n", ":1:11: the header names a column twice", 0, TERN_EINVAL},
        {"id,v0,v1,v2\n1,1,2,3\n2,1,2",
         ":3: the row has 3 cells, the header has 4 (is the file cut off?)", 1, TERN_EINVAL},
        {"id,v0,v1,v2\n1,1,2,3\nx,1,2,3\n",
         ":3:1: expected an id, a whole number up to 2^64 - 1, found 'x'", 1, TERN_EINVAL},
        {"id,v0,v1,v2\n1,1,nan,3\n", ":2:5: expected a number, found 'nan'", 0, TERN_EINVAL},
        {"id,v0,v1,v2\n1,1,1e99,3\n",
         ":2:5: expected a number, found '1e99' (too large for a float)", 0, TERN_EINVAL},
        {"id,vector\n1,1 2\n", ":2:3: the vector has 2 values, the collection takes 3", 0,
         TERN_EINVAL},
        {"id,vector\n1,[1 2 3 4 5]\n",
         ":2:3: the vector has more than 3 values, the collection takes 3", 0, TERN_EINVAL},
        {"id,vector\n1,[1 2 inf]\n", ":2:3: value 2 of the vector, 'inf', is no number", 0,
         TERN_EINVAL},
        {"id,vector,tenant\n1,1 2 3,4294967296\n",
         ":2:9: expected a u32 number, found '4294967296' (out of range)", 0, TERN_EINVAL},
        {"id,vector,good\n1,1 2 3,maybe\n", ":2:9: expected true, false, 1 or 0, found 'maybe'", 0,
         TERN_EINVAL},
        {"id,vector,label\n1,1 2 3,\"a\n", ":2: the row has a quote that is never closed", 0,
         TERN_ECORRUPT},
        {"{\"id\":1,\"vector\":[1,2,3]}\n{\"id\":2,\"vector\":[1,2",
         ":2:22: a comma or ] is expected: is the file cut off?", 1, TERN_EINVAL},
        {"{\"id\":1}\n", ":1:1: there is no \"vector\"", 0, TERN_EINVAL},
        {"{\"vector\":[1,2,3]}\n", ":1:1: there is no \"id\"", 0, TERN_EINVAL},
        {"{\"id\":1,\"vector\":[1,2]}\n", ":1:18: the vector has 2 values, the collection takes 3",
         0, TERN_EINVAL},
        {"{\"id\":1,\"vector\":[1,2,3,4]}\n", ":1:25: the vector has more than 3 values", 0,
         TERN_EINVAL},
        {"{\"id\":1,\"vector\":[1,NaN,3]}\n", ":1:21: value 1 of the vector, 'NaN', is no number",
         0, TERN_EINVAL},
        {"{\"id\":1,\"vector\":[1,1e40,3]}\n",
         ":1:21: value 1 of the vector, '1e40', is too large for a float", 0, TERN_EINVAL},
        {"{\"id\":1.5,\"vector\":[1,2,3]}\n",
         ":1:7: expected an id, a whole number up to 2^64 - 1, found '1.5'", 0, TERN_EINVAL},
        {"{\"id\":1,\"id\":2}\n", ":1:9: the name is given twice", 0, TERN_EINVAL},
        {"{\"id\":1,\"label\":5}\n", ":1:17: label takes a string, not this", 0, TERN_EINVAL},
        {"{\"id\":1,\"tenant\":\"5\"}\n", ":1:19: tenant takes a u32, not a string", 0,
         TERN_EINVAL},
        {"{\"id\":1,\"label\":\"\\ud800\"}\n", ":1:18: half of a surrogate pair", 0, TERN_EINVAL},
        {"{\"id\":1,\"label\":\"\\x\"}\n", ":1:18: there is no such escape in JSON", 0,
         TERN_EINVAL},
        {"{\"id\":1,\"label\":\"\xff\"}\n", ":1:18: label: payload label is not valid UTF-8", 0,
         TERN_EINVAL},
        {"{\"id\":1,\"vector\":[1,2,3]} x\n", ":1:27: something follows the object", 0,
         TERN_EINVAL},
        {"{\"id\":1,\"x\":[[[", ":1:16: the line ends inside a value: is the file cut off?", 0,
         TERN_EINVAL},
    };

    for (unsigned i = 0; i < TERN_COUNT(cases); i++) {
        unsigned good;
        int code;
        const char *message =
            first_error(cases[i].text, strlen(cases[i].text), TERN_ROWS_GUESS, NULL, &good, &code);

        if (strcmp(message, cases[i].message) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", cases[i].text, message, cases[i].message);
        assert_int_equal(good, cases[i].good);
        assert_int_equal(code, cases[i].code);
    }
}

static void raw_files_that_do_not_fit(TERN_TEST_STATE)
{
    const float values[7] = {1, 2, 3, 4, 5, 6, 7};
    const float bad[3] = {1, INFINITY, 3};
    unsigned good;
    int code;

    assert_string_equal(
        first_error(values, sizeof values, TERN_ROWS_RAW, NULL, &good, &code),
        ":3: the file is cut in the middle of a vector, or its vectors have another "
        "dimension than the collection");
    assert_int_equal(good, 2);
    assert_string_equal(first_error(values, 24, TERN_ROWS_RAW, "1\n", &good, &code),
                        ":2: there are fewer ids than vectors");
    assert_int_equal(good, 1);
    assert_string_equal(first_error(values, 24, TERN_ROWS_RAW, "1\n2\n3\n", &good, &code),
                        ":3: there are more ids than vectors");
    assert_int_equal(good, 2);
    first_error(values, 24, TERN_ROWS_RAW, "1\nx\n", &good, &code);
    assert_int_equal(code, TERN_EINVAL);
    first_error(bad, sizeof bad, TERN_ROWS_RAW, NULL, &good, &code);
    assert_int_equal(code, TERN_EINVAL);
    assert_int_equal(good, 0);
}

/* A file cut anywhere gives what came before the cut, or says where it is. */
static void cut_files_are_noticed(TERN_TEST_STATE)
{
    static const char text[] = "{\"id\":1,\"vector\":[1,2,3],\"label\":\"a\"}\n"
                               "{\"id\":2,\"vector\":[1,2,3],\"label\":\"b\"}\n";

    for (size_t length = 1; length < sizeof text - 1; length++) {
        unsigned good;
        int code;

        first_error(text, length, TERN_ROWS_GUESS, NULL, &good, &code);
        if (length < 37)
            assert_true(good == 0 && code == TERN_EINVAL);
        else if (length == 37 || length == 38)
            assert_true(good == 1 && code == 0);
        else if (length < 75)
            assert_true(good == 1 && code == TERN_EINVAL);
    }
}

static void rubbish_is_survived(TERN_TEST_STATE)
{
    uint64_t seed = 42;

    for (unsigned round = 0; round < 3000; round++) {
        struct tern_buffer out = {0};
        unsigned good;
        int code;

        if (round % 2 == 0)
            tern_buffer_printf(&out, "label,vector,id,tenant\n");
        for (unsigned i = 0; i < 5; i++) {
            make_sample(&samples[0], &seed);
            if (round % 2 == 0)
                tern_buffer_printf(&out, "\"%s\",1 2 3,%u,5\n", "a\"\"b", i);
            else
                print_json(&out, &samples[0], &seed);
        }
        for (unsigned i = 0; i < 3; i++)
            out.data[tern_test_random(&seed) % out.length] = (uint8_t)tern_test_random(&seed);
        first_error(out.data, out.length, TERN_ROWS_GUESS, NULL, &good, &code);
        assert_true(good <= 5);
        tern_buffer_free(&out);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_format_is_read_back), TEST(ids_are_enough_for_removals),
        TEST(what_is_wrong_is_named),    TEST(raw_files_that_do_not_fit),
        TEST(cut_files_are_noticed),     TEST(rubbish_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
