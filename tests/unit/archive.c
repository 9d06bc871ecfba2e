#include "tests/unit/unit.h"

#include "controlplane/archive.h"
#include "shared/schema.h"
#include "tests/unit/folder.h"

#include <dirent.h>
#include <xxhash.h>

static char state_dir[FOLDER_PATH];
static uint8_t arena[8 * TERN_PAGE];

static int setup(TERN_TEST_STATE)
{
    return folder_make(state_dir);
}

static int teardown(TERN_TEST_STATE)
{
    return folder_remove(state_dir);
}

/* Two sections: one that every generation shares, one of its own. */
static int save_of(uint64_t generation, uint8_t config)
{
    struct tern_section sections[2] = {
        {.kind = TERN_SECTION_TABLE, .owner = 1, .offset = TERN_PAGE, .length = 5000},
        {.kind = TERN_SECTION_RULES, .offset = 4 * TERN_PAGE, .length = 300},
    };
    struct tern_section_info infos[2] = {{.name = "users",
                                          .rows = 7,
                                          .keys = 6,
                                          .source_bytes = 99,
                                          .loaded_at_us = 12345,
                                          .definition = {1, 2, 3}}};
    const struct tern_archive_list list = {.generation = generation,
                                           .schema_hash = 0xfeed,
                                           .config_hash = {config, 0xcf},
                                           .sections = sections,
                                           .infos = infos,
                                           .count = 2};

    memset(arena + TERN_PAGE, 'T', 5000);
    memset(arena + 4 * TERN_PAGE, (int)generation, 300);
    for (unsigned i = 0; i < 2; i++) {
        sections[i].checksum = XXH3_64bits(arena + sections[i].offset, sections[i].length);
        memset(sections[i].content_hash, i == 0 ? 0xaa : (int)generation, 16);
    }
    return tern_archive_save(state_dir, &list, arena, NULL);
}

static int save(uint64_t generation)
{
    return save_of(generation, 1);
}

static unsigned files_in(const char *name)
{
    char path[128];
    const struct dirent *entry;
    unsigned count = 0;
    DIR *directory;

    snprintf(path, sizeof path, "%s/%s", state_dir, name);
    directory = opendir(path);
    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static void what_is_saved_comes_back(TERN_TEST_STATE)
{
    struct tern_archive_list list;
    struct tern_buffer bytes = {0};

    assert_int_equal(tern_archive_read(state_dir, 0, &list, NULL), TERN_ENOENT);
    assert_int_equal(save(3), 0);
    assert_int_equal(tern_archive_read(state_dir, 0, &list, NULL), 0);
    assert_int_equal(list.generation, 3);
    assert_int_equal(list.schema_hash, 0xfeed);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.infos[0].name, "users");
    assert_int_equal(list.infos[0].rows, 7);
    assert_int_equal(list.infos[0].source_bytes, 99);
    assert_int_equal(list.infos[0].loaded_at_us, 12345);
    assert_int_equal(list.infos[0].definition[2], 3);
    assert_int_equal(list.config_hash[0], 1);
    assert_int_equal(list.config_hash[1], 0xcf);
    assert_string_equal(list.infos[1].name, "");
    assert_int_equal(tern_archive_section(state_dir, &list.sections[1], &bytes, NULL), 0);
    assert_int_equal(bytes.length, 300);
    assert_int_equal(bytes.data[299], 3);
    tern_buffer_free(&bytes);
    tern_archive_list_free(&list);
}

static void only_the_last_three_are_kept(TERN_TEST_STATE)
{
    struct tern_archive_list list;

    for (uint64_t generation = 1; generation <= 12; generation++)
        assert_int_equal(save(generation), 0);
    assert_int_equal(files_in("generations"), TERN_ARCHIVE_KEEP);
    assert_int_equal(files_in("sections"), TERN_ARCHIVE_KEEP + 1);
    assert_int_equal(tern_archive_read(state_dir, 9, &list, NULL), TERN_ENOENT);
    assert_int_equal(tern_archive_read(state_dir, 10, &list, NULL), 0);
    tern_archive_list_free(&list);
}

/* Refreshes of one configuration do not push out the configurations before it. */
static void the_last_of_each_of_three_configurations_is_kept(TERN_TEST_STATE)
{
    static const uint64_t expected[] = {40, 39, 38, 12, 11};
    uint64_t generations[TERN_ARCHIVE_LISTS];
    struct tern_archive_list list;

    for (uint64_t generation = 1; generation <= 10; generation++)
        assert_int_equal(save_of(generation, 1), 0);
    assert_int_equal(save_of(11, 2), 0);
    assert_int_equal(save_of(12, 3), 0);
    for (uint64_t generation = 13; generation <= 40; generation++)
        assert_int_equal(save_of(generation, 4), 0);
    assert_int_equal(tern_archive_generations(state_dir, generations), TERN_COUNT(expected));
    assert_memory_equal(generations, expected, sizeof expected);
    assert_int_equal(files_in("sections"), TERN_COUNT(expected) + 1);
    assert_int_equal(tern_archive_read(state_dir, 10, &list, NULL), TERN_ENOENT);
}

/* Between a swap and the saving there is only the note. */
static void a_note_is_of_one_generation(TERN_TEST_STATE)
{
    struct tern_section section = {.kind = TERN_SECTION_RULES, .length = 5};
    struct tern_section_info info = {.rows = 3};
    struct tern_archive_list read;
    const struct tern_archive_list list = {
        .generation = 7, .sections = &section, .infos = &info, .count = 1};
    uint64_t generations[TERN_ARCHIVE_LISTS];

    assert_int_equal(tern_archive_noted(state_dir, 7, &read, NULL), TERN_ENOENT);
    assert_int_equal(tern_archive_note(state_dir, &list, NULL), 0);
    assert_int_equal(tern_archive_noted(state_dir, 8, &read, NULL), TERN_ENOENT);
    assert_int_equal(tern_archive_noted(state_dir, 7, &read, NULL), 0);
    assert_int_equal(read.infos[0].rows, 3);
    tern_archive_list_free(&read);
    assert_int_equal(tern_archive_generations(state_dir, generations), 0);
}

/* What a generation's collections are is kept, so that it can be served again without anything
 * else; what is in them is kept elsewhere. */
static void collections_are_kept_with_their_shape(TERN_TEST_STATE)
{
    struct tern_section section = {.kind = TERN_SECTION_RULES, .length = 5};
    struct tern_section_info info = {.rows = 3};
    struct tern_collection_spec specs[2] = {
        {.name = "docs",
         .id = 1,
         .shape = {.dim = 100,
                   .metric = TERN_METRIC_L2,
                   .quantize = TERN_QUANTIZE_INT8,
                   .m = 16,
                   .capacity = 2000000,
                   .columns = {{.name = "label", .type = TERN_TYPE_STRING},
                               {.name = "time", .type = TERN_TYPE_U64}},
                   .column_count = 2},
         .parameters = {.ef_search = 64, .ef_construct = 128, .full_scan = 10000}},
        {.name = "faces",
         .id = 2,
         .shape = {.dim = 512, .metric = TERN_METRIC_DOT, .m = 8, .capacity = 7}},
    };
    const struct tern_archive_list list = {.generation = 9,
                                           .sections = &section,
                                           .infos = &info,
                                           .count = 1,
                                           .specs = specs,
                                           .spec_count = 2};
    struct tern_archive_list read;

    assert_int_equal(tern_archive_note(state_dir, &list, NULL), 0);
    assert_int_equal(tern_archive_noted(state_dir, 9, &read, NULL), 0);
    assert_int_equal(read.spec_count, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_memory_equal(&read.specs[i], &specs[i], sizeof specs[i]);
    tern_archive_list_free(&read);
}

static void flip_byte(const char *path, long at)
{
    FILE *file = fopen(path, "r+");
    int byte;

    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
}

static void damage_is_noticed(TERN_TEST_STATE)
{
    struct tern_archive_list list;
    struct tern_buffer bytes = {0};
    struct tern_error error;
    char path[160];

    assert_int_equal(save(3), 0);
    snprintf(path, sizeof path, "%s/sections/%s.section", state_dir,
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    flip_byte(path, 1234);
    assert_int_equal(tern_archive_read(state_dir, 3, &list, NULL), 0);
    assert_int_equal(tern_archive_section(state_dir, &list.sections[0], &bytes, &error),
                     TERN_ECORRUPT);
    assert_non_null(strstr(error.message, path));
    tern_archive_list_free(&list);
    snprintf(path, sizeof path, "%s/generations/3", state_dir);
    flip_byte(path, 60);
    assert_int_equal(tern_archive_read(state_dir, 3, &list, &error), TERN_ECORRUPT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_is_saved_comes_back),
        T(only_the_last_three_are_kept),
        T(a_note_is_of_one_generation),
        T(the_last_of_each_of_three_configurations_is_kept),
        T(collections_are_kept_with_their_shape),
        T(damage_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
