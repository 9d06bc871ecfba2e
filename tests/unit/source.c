#include "tests/unit/unit.h"

#include "controlplane/build/csv.h"
#include "controlplane/build/lines.h"
#include "controlplane/build/load.h"
#include "shared/buffer.h"
#include "shared/limits.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* ---- Files ---- */

static char path[] = "/tmp/tern-unit-source-XXXXXX";

static int make_path(TERN_TEST_STATE)
{
    int fd = mkstemp(path);

    return fd < 0 ? -1 : close(fd);
}

static int remove_path(TERN_TEST_STATE)
{
    return unlink(path);
}

static void write_plain(const void *text, size_t length)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    if (length > 0)
        assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* Appends a gzip member that holds `text`. */
static void append_member(struct tern_buffer *packed, const void *text, size_t length)
{
    z_stream deflater = {0};

    assert_int_equal(deflateInit2(&deflater, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, 0), Z_OK);
    assert_int_equal(tern_buffer_reserve(packed, deflateBound(&deflater, length) + 32), 0);
    deflater.next_in = (Bytef *)(uintptr_t)text;
    deflater.avail_in = (uInt)length;
    deflater.next_out = packed->data + packed->length;
    deflater.avail_out = (uInt)(packed->capacity - packed->length);
    assert_int_equal(deflate(&deflater, Z_FINISH), Z_STREAM_END);
    packed->length += deflater.total_out;
    deflateEnd(&deflater);
}

/* What a source gives, whole; the error in `error`. */
static int read_whole(uint64_t max_bytes, struct tern_buffer *all, uint8_t digest[16],
                      struct tern_error *error)
{
    struct tern_source source;
    int result = tern_source_open(path, max_bytes, &source, error);

    if (result != 0)
        return result;
    while (result == 0 && !source.ended) {
        result = tern_source_more(&source, error);
        assert_int_equal(
            tern_buffer_append(all, source.data + source.begin, source.end - source.begin), 0);
        source.begin = source.end;
    }
    if (result == 0)
        result = tern_source_finish(&source, digest, error);
    if (result == 0)
        assert_int_equal(tern_source_permille(&source), 1000);
    tern_source_close(&source);
    return result;
}

static void fill(struct tern_buffer *text, size_t length)
{
    uint64_t seed = length;

    while (text->length < length)
        tern_buffer_printf(text, "line %zu with %llx\n", text->length,
                           (unsigned long long)tern_test_random(&seed));
}

static void plain_and_packed_files_give_the_same(TERN_TEST_STATE)
{
    static const size_t lengths[] = {0, 1, 2, 3, 1000, 262144, 3000000};

    for (size_t i = 0; i < TERN_COUNT(lengths); i++) {
        struct tern_buffer text = {0}, packed = {0}, plain_read = {0}, packed_read = {0};
        struct tern_source_identity identity = {0};
        struct tern_error error;
        uint8_t digest[16];

        fill(&text, lengths[i]);
        write_plain(text.data, text.length);
        assert_int_equal(read_whole(0, &plain_read, digest, &error), 0);
        assert_int_equal(plain_read.length, text.length);
        if (text.length > 0)
            assert_memory_equal(plain_read.data, text.data, text.length);
        assert_int_equal(tern_source_digest(path, &identity, &error), 0);
        assert_memory_equal(identity.digest, digest, 16);
        assert_int_equal(identity.size, text.length);

        /* Two members and the zeros that some tools pad with. */
        append_member(&packed, text.data, text.length / 2);
        if (text.length > 0)
            append_member(&packed, text.data + text.length / 2, text.length - text.length / 2);
        tern_buffer_append_zero(&packed, 512);
        write_plain(packed.data, packed.length);
        assert_int_equal(read_whole(0, &packed_read, digest, &error), 0);
        assert_int_equal(packed_read.length, text.length);
        if (text.length > 0)
            assert_memory_equal(packed_read.data, text.data, text.length);
        assert_int_equal(tern_source_digest(path, &identity, &error), 0);
        assert_memory_equal(identity.digest, digest, 16);
        tern_buffer_free(&text);
        tern_buffer_free(&packed);
        tern_buffer_free(&plain_read);
        tern_buffer_free(&packed_read);
    }
}

static void damaged_archives_are_refused(TERN_TEST_STATE)
{
    struct tern_buffer text = {0}, packed = {0}, all = {0};
    struct tern_error error;
    uint8_t digest[16];

    fill(&text, 100000);
    append_member(&packed, text.data, text.length);
    for (size_t cut = 3; cut < packed.length; cut += 997) {
        write_plain(packed.data, cut);
        all.length = 0;
        assert_int_equal(read_whole(0, &all, digest, &error), TERN_ECORRUPT);
        assert_non_null(strstr(error.message, "cut off"));
    }
    write_plain(packed.data, packed.length - 1);
    assert_int_equal(read_whole(0, &all, digest, &error), TERN_ECORRUPT);

    packed.data[packed.length - 6] ^= 1; /* the checksum */
    write_plain(packed.data, packed.length);
    assert_int_equal(read_whole(0, &all, digest, &error), TERN_ECORRUPT);
    assert_non_null(strstr(error.message, "damaged"));
    packed.data[packed.length - 6] ^= 1;

    tern_buffer_printf(&packed, "rubbish");
    write_plain(packed.data, packed.length);
    assert_int_equal(read_whole(0, &all, digest, &error), TERN_ECORRUPT);
    assert_non_null(strstr(error.message, "after the compressed data"));
    tern_buffer_free(&text);
    tern_buffer_free(&packed);
    tern_buffer_free(&all);
}

static void what_unpacks_to_too_much_is_refused(TERN_TEST_STATE)
{
    struct tern_buffer text = {0}, packed = {0}, all = {0};
    struct tern_error error;
    uint8_t digest[16];

    tern_buffer_append_zero(&text, 8 << 20);
    append_member(&packed, text.data, text.length);
    write_plain(packed.data, packed.length);
    assert_int_equal(read_whole((8 << 20) - 1, &all, digest, &error), TERN_ELIMIT);
    assert_non_null(strstr(error.message, "max_bytes"));
    all.length = 0;
    assert_int_equal(read_whole(8 << 20, &all, digest, &error), 0);
    assert_int_equal(all.length, 8 << 20);
    tern_buffer_free(&text);
    tern_buffer_free(&packed);
    tern_buffer_free(&all);
}

static void only_regular_files_are_sources(TERN_TEST_STATE)
{
    struct tern_source_identity identity;
    struct tern_source source;
    struct tern_error error;

    assert_int_equal(tern_source_open("/nonexistent/x", 0, &source, &error), TERN_ENOENT);
    assert_string_equal(error.message, "cannot open /nonexistent/x: No such file or directory");
    assert_int_equal(tern_source_open("/tmp", 0, &source, &error), TERN_EINVAL);
    assert_int_equal(tern_source_open("/dev/zero", 0, &source, &error), TERN_EINVAL);
    assert_int_equal(tern_source_stat("/tmp", &identity, &error), TERN_EINVAL);
    assert_int_equal(tern_source_stat("/nonexistent/x", &identity, &error), TERN_ENOENT);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(tern_source_open(path, 0, &source, &error), TERN_EINVAL);
    unlink(path);
    write_plain("", 0);
}

static void a_file_written_to_meanwhile_is_refused(TERN_TEST_STATE)
{
    struct tern_source source;
    struct tern_error error;
    uint8_t digest[16];
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

    write_plain("a\nb\n", 4);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    assert_int_equal(tern_source_open(path, 0, &source, &error), 0);
    write_plain("c\nd\n", 4);
    while (!source.ended)
        assert_int_equal(tern_source_more(&source, &error), 0);
    assert_int_equal(tern_source_finish(&source, digest, &error), TERN_EAGAIN);
    tern_source_close(&source);

    /* Replaced by a rename it is the old file, whole. */
    assert_int_equal(tern_source_open(path, 0, &source, &error), 0);
    unlink(path);
    write_plain("new", 3);
    while (!source.ended)
        assert_int_equal(tern_source_more(&source, &error), 0);
    assert_int_equal(tern_source_finish(&source, digest, &error), 0);
    assert_memory_equal(source.data + source.begin, "c\nd\n", 4);
    tern_source_close(&source);
}

/* ---- Lines ---- */

/* All lines of `text`, each followed by '|'; the number of the line in error, or 0. */
static uint64_t lines_of(const void *text, size_t length, struct tern_buffer *joined)
{
    struct tern_lines line = {0};
    struct tern_source source;
    struct tern_error error;
    int result;

    write_plain(text, length);
    joined->length = 0;
    assert_int_equal(tern_source_open(path, 0, &source, &error), 0);
    while ((result = tern_lines_next(&source, &line, &error)) == 1)
        tern_buffer_printf(joined, "%.*s|", (int)line.length, line.text);
    tern_source_close(&source);
    tern_buffer_append_zero(joined, 1);
    return result == 0 ? 0 : line.number;
}

static void assert_lines(const char *text, const char *expected)
{
    struct tern_buffer joined = {0};

    assert_int_equal(lines_of(text, strlen(text), &joined), 0);
    assert_string_equal(joined.data, expected);
    tern_buffer_free(&joined);
}

static void lines_end_as_lines_do(TERN_TEST_STATE)
{
    assert_lines("", "");
    assert_lines("\n", "|");
    assert_lines("a", "a|");
    assert_lines("a\n", "a|");
    assert_lines("a\r\nb\r\n\nc", "a|b||c|");
    assert_lines("a\rb\n", "a\rb|");
    assert_lines("\xef\xbb\xbf"
                 "a\n\xef\xbb\xbf"
                 "b\n",
                 "a|\xef\xbb\xbf"
                 "b|");
}

static void long_lines_and_nul_are_errors(TERN_TEST_STATE)
{
    struct tern_buffer text = {0}, joined = {0};

    tern_buffer_printf(&text, "ok\n");
    for (size_t i = 0; i < TERN_LINE_MAX; i++)
        tern_buffer_append(&text, "x", 1);
    assert_int_equal(lines_of(text.data, text.length, &joined), 0);
    assert_int_equal(joined.length, TERN_LINE_MAX + 5);
    tern_buffer_append(&text, "x", 1);
    assert_int_equal(lines_of(text.data, text.length, &joined), 2);
    tern_buffer_append(&text, "\n", 1);
    assert_int_equal(lines_of(text.data, text.length, &joined), 2);
    for (size_t i = 0; i < 20 * TERN_LINE_MAX; i++) /* more than the window holds */
        tern_buffer_append(&text, i < TERN_LINE_MAX ? "\n" : "x", 1);
    assert_int_equal(lines_of(text.data + TERN_LINE_MAX, text.length - TERN_LINE_MAX, &joined),
                     TERN_LINE_MAX + 2);
    assert_int_equal(lines_of("a\nb\0c\n", 6, &joined), 2);
    assert_string_equal(joined.data, "a|");
    tern_buffer_free(&text);
    tern_buffer_free(&joined);
}

static void lines_survive_the_moving_window(TERN_TEST_STATE)
{
    struct tern_buffer text = {0};
    struct tern_lines line = {0};
    struct tern_source source;
    struct tern_error error;
    uint64_t seed = 5, sum = 0, expected = 0;

    for (unsigned i = 0; i < 20000; i++) {
        uint64_t length = tern_test_random(&seed) % 200;

        for (uint64_t k = 0; k < length; k++)
            tern_buffer_append(&text, &"0123456789"[(i + k) % 10], 1);
        expected += length * (i + 1);
        tern_buffer_append(&text, "\r\n", 2);
    }
    write_plain(text.data, text.length);
    assert_int_equal(tern_source_open(path, 0, &source, &error), 0);
    while (tern_lines_next(&source, &line, &error) == 1) {
        for (size_t k = 0; k < line.length; k++)
            assert_int_equal(line.text[k], '0' + (line.number - 1 + k) % 10);
        sum += line.length * line.number;
    }
    assert_int_equal(sum, expected);
    tern_source_close(&source);
    tern_buffer_free(&text);
}

/* ---- CSV ---- */

/* Rows as "[a|b][c]", bad ones as "!line:column", a fatal one as "#line:column". */
static void assert_rows(const char *text, const char *expected)
{
    struct tern_csv *csv = calloc(1, sizeof *csv);
    struct tern_buffer joined = {0};
    struct tern_source source;
    struct tern_error error;
    int result;

    write_plain(text, strlen(text));
    assert_int_equal(tern_source_open(path, 0, &source, &error), 0);
    while ((result = tern_csv_next(&source, csv, &error)) == 1 || result == TERN_EREFUSED) {
        if (result == TERN_EREFUSED) {
            tern_buffer_printf(&joined, "!%u:%u", (unsigned)csv->error_line, csv->error_column);
            continue;
        }
        for (unsigned i = 0; i < csv->count; i++)
            tern_buffer_printf(&joined, "%s%.*s", i == 0 ? "[" : "|", (int)csv->cells[i].length,
                               csv->cells[i].text);
        tern_buffer_printf(&joined, "]");
    }
    if (result != 0)
        tern_buffer_printf(&joined, "#%u:%u", (unsigned)csv->error_line, csv->error_column);
    tern_buffer_append_zero(&joined, 1);
    assert_string_equal(joined.data, expected);
    tern_source_close(&source);
    tern_buffer_free(&joined);
    free(csv);
}

static void rows_split_as_rfc_4180_says(TERN_TEST_STATE)
{
    assert_rows("", "");
    assert_rows("a,b,c\n", "[a|b|c]");
    assert_rows("a,b", "[a|b]");
    assert_rows("a,,\n,,b\n", "[a||][||b]");
    assert_rows("\n\r\n\na\n", "[a]");
    assert_rows("a,b\r\nc,d\r\n", "[a|b][c|d]");
    assert_rows("\"a\",\"b\"\n", "[a|b]");
    assert_rows("\"a,b\",c\n", "[a,b|c]");
    assert_rows("\"say \"\"hi\"\"\",c\n", "[say \"hi\"|c]");
    assert_rows("\"\"\"\"\n", "[\"]");
    assert_rows("\"\",\"\"", "[|]");
    assert_rows("\"two\nlines\",x\ny,z\n", "[two\nlines|x][y|z]");
    assert_rows("a,\"b\"", "[a|b]");
    assert_rows("a,\"b\"\"\"", "[a|b\"]");
    assert_rows(" a , b \n", "[ a | b ]");
    assert_rows("\xef\xbb\xbf"
                "a,b\n",
                "[a|b]");
}

static void rows_with_stray_quotes_are_left_out(TERN_TEST_STATE)
{
    assert_rows("a,5\" disk\nb,c\n", "!1:4[b|c]");
    assert_rows("a\n\"b\"x,c\nd\n", "[a]!2:4[d]");
    assert_rows("\"two\nlines\"x\nb\n", "!2:7[b]");
    assert_rows("a,b\"c\"\n\"x\"\n", "!1:4[x]");
    assert_rows("a\n\"b", "[a]#2:0");
    assert_rows("a\n\"b\nc\nd", "[a]#2:0");
    assert_rows("x\n\"b\"\"", "[x]!2:1");
}

static void places_of_cells_follow_lines(TERN_TEST_STATE)
{
    struct tern_csv *csv = calloc(1, sizeof *csv);
    struct tern_source source;
    struct tern_error error;
    const char *text = "h\n\n\"a\n\nb\",cc,\"\"\"d\"\nlast,x\n";

    write_plain(text, strlen(text));
    assert_int_equal(tern_source_open(path, 0, &source, &error), 0);
    assert_int_equal(tern_csv_next(&source, csv, &error), 1);
    assert_int_equal(tern_csv_next(&source, csv, &error), 1);
    assert_int_equal(csv->line, 3);
    assert_int_equal(csv->cells[0].lines, 0);
    assert_int_equal(csv->cells[0].column, 1);
    assert_int_equal(csv->cells[1].lines, 2);
    assert_int_equal(csv->cells[1].column, 4);
    assert_int_equal(csv->cells[2].column, 7);
    assert_int_equal(tern_csv_next(&source, csv, &error), 1);
    assert_int_equal(csv->line, 6);
    assert_int_equal(csv->cells[1].column, 6);
    tern_source_close(&source);
    free(csv);
}

static void hostile_rows_end(TERN_TEST_STATE)
{
    struct tern_buffer text = {0};
    struct tern_buffer expected = {0};

    for (int i = 0; i < TERN_CSV_CELLS_MAX; i++)
        tern_buffer_append(&text, ",", 1);
    tern_buffer_append(&text, "\na\n\"", 4);
    for (size_t i = 0; i < TERN_LINE_MAX; i++)
        tern_buffer_append(&text, "\n", 1);
    tern_buffer_append_zero(&text, 1);
    assert_rows((const char *)text.data, "!1:0[a]#3:0");
    text.data[text.length - 1] = '"';
    tern_buffer_append_zero(&text, 1);
    assert_rows((const char *)text.data, "!1:0[a]#3:0");
    tern_buffer_free(&text);
    tern_buffer_free(&expected);
}

/* Any cells, written and read back, are the same, wherever the window happens to end. */
static void rows_written_are_the_rows_read(TERN_TEST_STATE)
{
    static const char alphabet[] = "ab,\"\n\r x";
    struct tern_csv *csv = calloc(1, sizeof *csv);
    struct tern_buffer text = {0}, cells = {0}, read = {0};
    struct tern_source source;
    struct tern_error error;
    uint64_t seed = 11;

    for (int row = 0; row < 40000; row++) {
        for (int cell = 0; cell < 3; cell++) {
            bool quoted = tern_test_random(&seed) % 2;
            uint64_t length = tern_test_random(&seed) % 20;

            tern_buffer_append(&text, cell > 0 ? "," : quoted ? "" : "r", cell > 0 || !quoted);
            if (cell == 0 && !quoted)
                tern_buffer_append(&cells, "r", 1);
            if (quoted)
                tern_buffer_append(&text, "\"", 1);
            for (uint64_t i = 0; i < length; i++) {
                const char *c =
                    alphabet + (quoted ? tern_test_random(&seed) % 8 : tern_test_random(&seed) % 2);
                tern_buffer_append(&text, c, 1);
                if (*c == '"')
                    tern_buffer_append(&text, c, 1);
                tern_buffer_append(&cells, c, 1);
            }
            if (quoted)
                tern_buffer_append(&text, "\"", 1);
            tern_buffer_append(&cells, ";", 1);
        }
        tern_buffer_append(&text, "\r\n", 2);
    }
    write_plain(text.data, text.length);
    assert_int_equal(tern_source_open(path, 0, &source, &error), 0);
    while (tern_csv_next(&source, csv, &error) == 1) {
        assert_int_equal(csv->count, 3);
        for (unsigned i = 0; i < csv->count; i++) {
            tern_buffer_append(&read, csv->cells[i].text, csv->cells[i].length);
            tern_buffer_append(&read, ";", 1);
        }
    }
    assert_int_equal(read.length, cells.length);
    assert_memory_equal(read.data, cells.data, cells.length);
    tern_source_close(&source);
    tern_buffer_free(&text);
    tern_buffer_free(&cells);
    tern_buffer_free(&read);
    free(csv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_packed_files_give_the_same),
        cmocka_unit_test(damaged_archives_are_refused),
        cmocka_unit_test(what_unpacks_to_too_much_is_refused),
        cmocka_unit_test(only_regular_files_are_sources),
        cmocka_unit_test(a_file_written_to_meanwhile_is_refused),
        cmocka_unit_test(lines_end_as_lines_do),
        cmocka_unit_test(long_lines_and_nul_are_errors),
        cmocka_unit_test(lines_survive_the_moving_window),
        cmocka_unit_test(rows_split_as_rfc_4180_says),
        cmocka_unit_test(rows_with_stray_quotes_are_left_out),
        cmocka_unit_test(places_of_cells_follow_lines),
        cmocka_unit_test(hostile_rows_end),
        cmocka_unit_test(rows_written_are_the_rows_read),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
