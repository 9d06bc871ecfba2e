/* Records to lines to files: controlplane/decisions. */
#include "tests/unit/unit.h"

#include "controlplane/ctl/json.h"
#include "controlplane/decisions/drain.h"
#include "controlplane/decisions/files.h"
#include "controlplane/decisions/line.h"
#include "controlplane/decisions/position.h"
#include "shared/verdict.h"
#include "tests/unit/folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *text_of(const struct tern_json_value *line, const char *name)
{
    const struct tern_json_value *value = tern_json_get(line, name);

    return value == NULL || value->kind == TERN_JSON_NULL ? NULL : value->text;
}

static void any_record_is_one_line_of_json(TERN_TEST_STATE)
{
    struct tern_line_writer writer = {.seat = 15, .loop = 63};
    uint64_t seed = 1;

    assert_int_equal(tern_names_new((struct tern_names **)(void *)&writer.names), 0);
    for (unsigned round = 0; round < 20000; round++) {
        struct tern_log_record record;
        struct tern_log_trace trace;
        struct tern_json_tree *tree = NULL;
        char line[TERN_LINE_BYTES_MAX], number[24];
        const struct tern_json_value *root;
        size_t length;

        for (unsigned i = 0; i < sizeof record / 8; i++) {
            uint64_t word = tern_test_random(&seed);

            memcpy((char *)&record + i * 8, &word, 8);
            memcpy((char *)&trace + i * 8, &word, 8);
        }
        if (round % 2 == 0)
            record.at_us %= 4102444800000000ull; /* this century */
        length = tern_line_write(&writer, &record, round % 3 == 0 ? &trace : NULL, line);
        assert_true(length <= sizeof line);
        assert_int_equal(line[length - 1], '\n');
        assert_null(memchr(line, '\n', length - 1));
        if (tern_json_parse(line, length - 1, &tree) != 0)
            fail_msg("no JSON: %.*s", (int)length, line);
        root = tern_json_root(tree);
        snprintf(number, sizeof number, "%llu", (unsigned long long)record.decision_key);
        assert_string_equal(text_of(root, "key"), number);
        snprintf(number, sizeof number, "%llu", (unsigned long long)record.generation);
        assert_string_equal(text_of(root, "generation"), number);
        snprintf(number, sizeof number, "%u", record.stage_ns[2]);
        assert_string_equal(text_of(root, "tier1_ns"), number);
        snprintf(number, sizeof number, "#%u", record.rule);
        assert_string_equal(text_of(root, "rule"), number);
        if (text_of(root, "score") != NULL)
            assert_true(strtof(text_of(root, "score"), NULL) == record.score);
        tern_json_free(tree);
    }
    tern_names_free((struct tern_names *)(uintptr_t)writer.names);
}

static void a_line_says_what_the_record_has(TERN_TEST_STATE)
{
    struct tern_line_writer writer = {.seat = 2, .loop = 1};
    const struct tern_log_record record = {.at_us = 1764307201000042u,
                                           .decision_key = 7,
                                           .generation = 3,
                                           .score = 2.5f,
                                           .action = TERN_CHALLENGE,
                                           .flags = TERN_VERDICT_STALE | TERN_VERDICT_SHED,
                                           .cause = TERN_CAUSE_THRESHOLD,
                                           .kind = TERN_LOG_DECISION,
                                           .item = 5,
                                           .request_id = 9,
                                           .stage_ns = {1, 22, 333, 0, 0}};
    char line[TERN_LINE_BYTES_MAX];
    size_t length;

    assert_int_equal(tern_names_new((struct tern_names **)(void *)&writer.names), 0);
    length = tern_line_write(&writer, &record, NULL, line);
    line[length] = '\0';
    assert_string_equal(
        line, "{\"time\":\"2025-11-28T05:20:01.000042Z\",\"action\":\"challenge\",\"rule\":null,"
              "\"score\":2.5,\"cause\":\"threshold\",\"generation\":3,\"key\":\"7\",\"request\":9,"
              "\"item\":5,\"tier\":0,\"flags\":[\"stale\",\"shed\"],\"seat\":2,\"loop\":1,"
              "\"recv_ns\":1,\"decode_ns\":22,\"tier1_ns\":333}\n");
    length = tern_line_write_lost(&writer, 1764307201000042u, 12, line);
    line[length] = '\0';
    assert_string_equal(
        line, "{\"time\":\"2025-11-28T05:20:01.000042Z\",\"lost\":12,\"seat\":2,\"loop\":1}\n");
    tern_names_free((struct tern_names *)(uintptr_t)writer.names);
}

static void a_sample_is_a_share_and_the_same_each_time(TERN_TEST_STATE)
{
    static const unsigned shares[] = {0, 1, 10, 200, 999, 1000};

    for (unsigned s = 0; s < TERN_COUNT(shares); s++)
        for (unsigned keyed = 0; keyed < 2; keyed++) {
            unsigned in = 0, many = 200000;

            for (unsigned i = 1; i <= many; i++) {
                struct tern_log_record record = {.decision_key = keyed ? i : 0,
                                                 .at_us = 1764307201000000u + (keyed ? 0 : i / 32),
                                                 .request_id = keyed ? i * 7 : 1,
                                                 .item = (uint16_t)(keyed ? 0 : i % 32)};
                bool sampled = tern_drain_samples(&record, 3, shares[s]);

                in += sampled;
                assert_int_equal(tern_drain_samples(&record, 3, shares[s]), sampled);
                record.at_us++; /* a key is all that counts, where there is one */
                record.request_id++;
                if (keyed)
                    assert_int_equal(tern_drain_samples(&record, 8, shares[s]), sampled);
            }
            /* Six standard deviations of a binomial, at most 0.67 % of 200,000. */
            assert_true(in + 1342 >= many / 1000 * shares[s] &&
                        in <= many / 1000 * shares[s] + 1342);
            assert_true((shares[s] != 0 || in == 0) && (shares[s] != 1000 || in == many));
        }
}

struct place {
    char folder[FOLDER_PATH], directory[FOLDER_PATH + 8];
    struct tern_log_files files;
};

static void open_place(struct place *place, const struct tern_log_bounds *bounds)
{
    struct tern_error error = {0};

    if (tern_log_files_open(&place->files, place->directory, bounds, &error) != 0)
        fail_msg("%s", error.message);
}

static void make_place(struct place *place)
{
    assert_int_equal(folder_make(place->folder), 0);
    snprintf(place->directory, sizeof place->directory, "%s/log", place->folder);
}

static void remove_place(struct place *place)
{
    tern_log_files_close(&place->files);
    assert_int_equal(folder_remove(place->folder), 0);
}

static unsigned count_files(const struct place *place, uint64_t *first, uint64_t *last)
{
    uint64_t *numbers = NULL;
    size_t count = 0;

    assert_int_equal(tern_log_files_list(place->files.folder_fd, &numbers, &count, NULL), 0);
    *first = count > 0 ? numbers[0] : 0;
    *last = count > 0 ? numbers[count - 1] : 0;
    free(numbers);
    return (unsigned)count;
}

static void files_are_bounded_in_size_and_number(TERN_TEST_STATE)
{
    const struct tern_log_bounds bounds = {.file_bytes = 1000, .files = 4};
    struct place place;
    char lines[300];
    uint64_t first, last;

    make_place(&place);
    open_place(&place, &bounds);
    memset(lines, 'x', sizeof lines);
    lines[sizeof lines - 1] = '\n';
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(tern_log_files_append(&place.files, lines, sizeof lines, NULL), 0);
        assert_true(place.files.size <= bounds.file_bytes);
    }
    assert_int_equal(count_files(&place, &first, &last), 4);
    assert_int_equal(last, 10); /* three a file */
    assert_int_equal(first, 7);
    remove_place(&place);
}

static void a_line_that_a_crash_has_cut_is_ended(TERN_TEST_STATE)
{
    const struct tern_log_bounds bounds = {.file_bytes = 1000, .files = 4};
    char text[64] = "", path[128];
    struct place place;
    int fd;

    make_place(&place);
    open_place(&place, &bounds);
    assert_int_equal(tern_log_files_append(&place.files, "one\ntw", 6, NULL), 0);
    tern_log_files_close(&place.files);
    open_place(&place, &bounds);
    assert_int_equal(tern_log_files_append(&place.files, "three\n", 6, NULL), 0);
    snprintf(path, sizeof path, "%s/decisions-00000001.jsonl", place.directory);
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof text - 1), 13);
    close(fd);
    assert_string_equal(text, "one\ntw\nthree\n");
    remove_place(&place);
}

static void no_link_is_followed(TERN_TEST_STATE)
{
    const struct tern_log_bounds bounds = {.file_bytes = 1000, .files = 4};
    struct tern_error error = {0};
    struct place place;
    char path[128];

    make_place(&place);
    assert_int_equal(mkdir(place.directory, 0750), 0);
    snprintf(path, sizeof path, "%s/decisions-00000001.jsonl", place.directory);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_not_equal(tern_log_files_open(&place.files, place.directory, &bounds, &error), 0);
    assert_non_null(strstr(error.message, "decisions-00000001.jsonl"));
    unlink(path);
    open_place(&place, &bounds);
    remove_place(&place);
}

static void a_position_survives_and_another_build_starts_anew(TERN_TEST_STATE)
{
    char directory[FOLDER_PATH];
    struct tern_position *position = NULL;

    assert_int_equal(folder_make(directory), 0);
    assert_int_equal(tern_position_open(directory, &position, NULL), 0);
    assert_int_equal(position->draining, 0);
    position->seats[3].next[5] = 77;
    atomic_store(&position->written, 8);
    tern_position_close(position);
    assert_int_equal(tern_position_open(directory, &position, NULL), 0);
    assert_int_equal(position->seats[3].next[5], 77);
    assert_int_equal(atomic_load(&position->written), 8);
    position->magic++;
    tern_position_close(position);
    assert_int_equal(tern_position_open(directory, &position, NULL), 0);
    assert_int_equal(position->seats[3].next[5], 0);
    tern_position_close(position);
    assert_int_equal(folder_remove(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_record_is_one_line_of_json),
        cmocka_unit_test(a_line_says_what_the_record_has),
        cmocka_unit_test(a_sample_is_a_share_and_the_same_each_time),
        cmocka_unit_test(files_are_bounded_in_size_and_number),
        cmocka_unit_test(a_line_that_a_crash_has_cut_is_ended),
        cmocka_unit_test(no_link_is_followed),
        cmocka_unit_test(a_position_survives_and_another_build_starts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
