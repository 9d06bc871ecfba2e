/* Every file of configs/invalid says in its first lines what the reader and the compiler must say
 * about it: "# expect: LINE:COLUMN: error: MESSAGE" (without a place for the file as a whole), all
 * of it and nothing else. A message may end in "…": the rest is free. */
#include "tests/unit/unit.h"

#include "controlplane/compile/compile.h"
#include "controlplane/config/config.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *source_root(void)
{
    const char *root = getenv("TERN_SOURCE_ROOT");

    if (root == NULL)
        fail_msg("TERN_SOURCE_ROOT is not set; `meson test` sets it");
    return root;
}

/* The next line of `*text`, without its end; false at the end. */
static bool next_line(char **text, char **line)
{
    char *end = strchr(*text, '\n');

    if (**text == 0)
        return false;
    *line = *text;
    if (end != NULL)
        *end = 0;
    *text = end == NULL ? *text + strlen(*text) : end + 1;
    return true;
}

static bool meets(const char *expected, const char *said)
{
    static const char rest[] = "…";
    size_t length = strlen(expected);
    size_t kept = length - strlen(rest);

    if (length > strlen(rest) && strcmp(expected + kept, rest) == 0)
        return strncmp(expected, said, kept) == 0;
    return strcmp(expected, said) == 0;
}

/* What is said about `path`, a line each, without the file's name. */
static char *judge(const char *path, size_t *error_count)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_buffer printed = {0}, bare = {0};
    struct tern_config *config = NULL;
    char *rest, *line;

    if (tern_config_read(path, &config, &diagnostics) == 0)
        tern_compile_check(config, &diagnostics);
    tern_config_free(config);
    *error_count = diagnostics.error_count;
    assert_int_equal(tern_diagnostics_print(&diagnostics, &printed), 0);
    tern_buffer_append_zero(&printed, 1);
    rest = (char *)printed.data;
    while (next_line(&rest, &line)) {
        assert_memory_equal(line, path, strlen(path));
        line += strlen(path) + 1;
        tern_buffer_printf(&bare, "%s\n", line + (*line == ' '));
    }
    tern_buffer_append_zero(&bare, 1);
    tern_buffer_free(&printed);
    tern_diagnostics_free(&diagnostics);
    return (char *)bare.data;
}

static void check_file(const char *path)
{
    static const char mark[] = "# expect: ";
    char text[4096] = "";
    FILE *file = fopen(path, "r");
    char *expectations = text, *said, *rest, *expected, *line;
    size_t errors;

    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    said = rest = judge(path, &errors);
    if (errors == 0)
        fail_msg("%s is accepted", path);
    while (next_line(&expectations, &expected) && strncmp(expected, mark, strlen(mark)) == 0) {
        if (!next_line(&rest, &line))
            fail_msg("%s\nexpected: %s\n    said: nothing more", path, expected + strlen(mark));
        if (!meets(expected + strlen(mark), line))
            fail_msg("%s\nexpected: %s\n    said: %s", path, expected + strlen(mark), line);
    }
    if (next_line(&rest, &line))
        fail_msg("%s\nnot expected: %s", path, line);
    free(said);
}

static void every_mistake_gets_its_message(TERN_TEST_STATE)
{
    char folder[512], path[1024];
    unsigned count = 0;
    struct dirent *entry;
    DIR *directory;

    snprintf(folder, sizeof folder, "%s/configs/invalid", source_root());
    directory = opendir(folder);
    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        check_file(path);
        count++;
    }
    closedir(directory);
    assert_true(count >= 100); /* a folder that was lost would pass otherwise */
}

static void the_examples_are_accepted(TERN_TEST_STATE)
{
    static const char *const names[] = {"minimal.yaml", "edge.yaml"};

    for (size_t i = 0; i < TERN_COUNT(names); i++) {
        char path[512];
        size_t errors;
        char *said;

        snprintf(path, sizeof path, "%s/configs/%s", source_root(), names[i]);
        said = judge(path, &errors);
        if (errors != 0)
            fail_msg("%s: %s", path, said);
        free(said);
    }
}

/* ---- Damage ---- */

static void damage(char *text, size_t *length, uint64_t *seed)
{
    static const char bytes[] = "{}[]:,#'\"|>&*!%@`-\n\t \r\\~<$0a\xc3\xff";
    unsigned wounds = 1 + (unsigned)(tern_test_random(seed) % 4);

    while (wounds-- > 0) {
        size_t at = tern_test_random(seed) % *length;
        size_t span = tern_test_random(seed) % 40;

        if (span > *length - at)
            span = *length - at;
        switch (tern_test_random(seed) % 5) {
        case 0: /* another byte */
            text[at] = (char)tern_test_random(seed);
            break;
        case 1: /* a byte that means something */
            text[at] = bytes[tern_test_random(seed) % (sizeof bytes - 1)];
            break;
        case 2: /* a piece less */
            if (span == *length)
                break;
            memmove(text + at, text + at + span, *length - at - span);
            *length -= span;
            break;
        case 3: /* a piece over another */
            memmove(text + tern_test_random(seed) % (*length - span + 1), text + at, span);
            break;
        default: /* cut off */
            if (tern_test_random(seed) % 8 == 0 && at > 0)
                *length = at;
            break;
        }
    }
}

/* Whatever the bytes: an answer with a place inside the file, nothing else. Sanitizer builds look
 * for the rest. */
static void damaged_files_get_an_answer(TERN_TEST_STATE)
{
    char path[512], damaged[] = "/tmp/tern-unit-damaged-XXXXXX";
    char *original, *text;
    struct stat status;
    uint64_t seed = 2;
    size_t refused = 0;
    FILE *file;
    int fd = mkstemp(damaged);

    assert_true(fd >= 0);
    snprintf(path, sizeof path, "%s/configs/minimal.yaml", source_root());
    assert_int_equal(stat(path, &status), 0);
    original = malloc((size_t)status.st_size);
    text = malloc((size_t)status.st_size);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(original, 1, (size_t)status.st_size, file), status.st_size);
    fclose(file);
    for (int round = 0; round < 4000; round++) {
        struct tern_diagnostics diagnostics = {0};
        struct tern_config *config = NULL;
        size_t length = (size_t)status.st_size;
        int result;

        memcpy(text, original, length);
        damage(text, &length, &seed);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, text, length, 0), length);
        result = tern_config_read(damaged, &config, &diagnostics);
        if (result == 0) {
            assert_int_equal(diagnostics.error_count, 0);
            tern_compile_check(config, &diagnostics);
            for (unsigned i = 0; i < config->rule_count; i++)
                for (size_t at = 0; at <= config->rules[i].when.length; at += 5)
                    assert_true(tern_text_place(&config->rules[i].when, at).line > 0);
        } else {
            assert_int_equal(result, TERN_EINVAL);
            assert_null(config);
            assert_true(diagnostics.error_count > 0);
            refused++;
        }
        for (size_t i = 0; i < diagnostics.count; i++)
            assert_true(diagnostics.items[i].place.line <= length + 1);
        tern_config_free(config);
        tern_diagnostics_free(&diagnostics);
    }
    assert_true(refused > 1000 && refused < 4000); /* both kinds were seen */
    close(fd);
    unlink(damaged);
    free(original);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mistake_gets_its_message),
        cmocka_unit_test(the_examples_are_accepted),
        cmocka_unit_test(damaged_files_get_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
