/* ternctl test: the tests of a configuration, without a running tern. Builds what an apply would
 * publish in an arena of its own, which nobody else can see and which goes with the process. */
#include "controlplane/apply.h"
#include "controlplane/ctl/explain_text.h"
#include "controlplane/ctl/report.h"
#include "controlplane/expectation.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

struct run {
    const char *path;
    bool explain; /* --explain */
    bool json;
    unsigned passed, failed;
    struct tern_json results; /* an open array, for --json */
};

/* ---- what became of each test ---- */

/* A value as a shell would have to be given it. */
static void put_quoted(const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "._:/@%+,=-";

    if (text[0] != '\0' && text[strspn(text, plain)] == '\0') {
        fputs(text, stdout);
        return;
    }
    putchar('\'');
    for (; *text != '\0'; text++)
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
    putchar('\'');
}

static void print_explanation(const struct tern_expectation *outcome)
{
    struct tern_json_tree *tree = NULL;

    if (outcome->explanation_length == 0 ||
        tern_json_parse(outcome->explanation, outcome->explanation_length, &tree) != 0)
        return;
    tern_explain_print(tern_json_root(tree));
    tern_json_free(tree);
    putchar('\n');
}

static void print_failure(const struct run *run, const struct tern_expectation *outcome)
{
    const struct tern_config_test *test = outcome->test;
    const struct tern_verdict *verdict = &outcome->verdict;

    printf("%s:%u:%u: failed: ", test->place.file, test->place.line, test->place.column);
    if (outcome->problem != NULL) {
        puts(outcome->problem);
        return;
    }
    printf("expected %s%s%s, got %s by %s (score %g)\n ", tern_action_name(test->expect),
           test->rule.length != 0 ? " by " : "", test->rule.length != 0 ? test->rule.text : "",
           tern_action_name((enum tern_action)verdict->action),
           outcome->rule != NULL ? outcome->rule : "no rule", (double)verdict->score);
    for (unsigned i = 0; i < test->value_count; i++) {
        printf(" %s=", test->values[i].field.text);
        put_quoted(test->values[i].value.text);
    }
    putchar('\n');
    if (run->explain)
        print_explanation(outcome);
}

static void outcome_json(struct run *run, const struct tern_expectation *outcome)
{
    const struct tern_config_test *test = outcome->test;
    struct tern_json *json = &run->results;

    tern_json_object(json, NULL);
    tern_json_string(json, "file", test->place.file);
    tern_json_u64(json, "line", test->place.line);
    tern_json_u64(json, "column", test->place.column);
    tern_json_bool(json, "passed", outcome->passed);
    tern_json_object(json, "request");
    for (unsigned i = 0; i < test->value_count; i++)
        tern_json_text(json, test->values[i].field.text, test->values[i].value.text,
                       test->values[i].value.length);
    tern_json_object_end(json);
    tern_json_object(json, "expected");
    tern_json_string(json, "action", tern_action_name(test->expect));
    tern_json_string(json, "rule", test->rule.length != 0 ? test->rule.text : NULL);
    tern_json_object_end(json);
    tern_json_string(json, "problem", outcome->problem);
    if (outcome->problem == NULL) {
        tern_json_object(json, "got");
        tern_json_string(json, "action",
                         tern_action_name((enum tern_action)outcome->verdict.action));
        tern_json_string(json, "rule", outcome->rule);
        tern_json_double(json, "score", (double)outcome->verdict.score);
        tern_json_object_end(json);
    }
    if (run->explain && outcome->explanation_length != 0 &&
        tern_buffer_printf(&json->buffer, ",\"explanation\":%.*s", (int)outcome->explanation_length,
                           outcome->explanation) != 0)
        json->failed = true;
    tern_json_object_end(json);
}

static void tested(void *context, const struct tern_expectation *outcome)
{
    struct run *run = context;

    if (outcome->passed)
        run->passed++;
    else
        run->failed++;
    if (run->json)
        outcome_json(run, outcome);
    else if (!outcome->passed)
        print_failure(run, outcome);
}

/* ---- where it is built ---- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path) != 0 && errno != ENOENT ? -1 : 0;
}

/* An arena whose files are gone again when this returns: it lives in its descriptors, so that
 * nothing is left behind however the process ends. */
static int open_hidden(const struct tern_config *config, struct tern_pipeline **pipeline,
                       struct tern_error *error)
{
    char run_dir[] = "/dev/shm/tern-hidden-XXXXXX", state_dir[sizeof run_dir + 8];
    const struct tern_pipeline_options options = {
        .run_dir = run_dir, .state_dir = state_dir, .arena_bytes = config->arena_bytes};
    int failed;

    if (mkdtemp(run_dir) == NULL)
        return tern_error_system(error, errno, "cannot make a directory in /dev/shm");
    snprintf(state_dir, sizeof state_dir, "%s/state", run_dir);
    if (mkdir(state_dir, 0700) != 0)
        failed = tern_error_system(error, errno, "cannot make %s", state_dir);
    else
        failed = tern_pipeline_open(&options, pipeline, error);
    nftw(run_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return failed;
}

static int run_tests(struct run *run, const struct tern_config *config,
                     struct tern_diagnostics *diagnostics, struct tern_error *error)
{
    const struct tern_apply_options options = {.dry_run = true, .tested = tested, .context = run};
    struct tern_apply_result result = {0};
    struct tern_pipeline *pipeline = NULL;
    int failed = open_hidden(config, &pipeline, error);

    if (failed == 0)
        failed = tern_pipeline_apply(pipeline, config, &options, &result, diagnostics, error);
    tern_apply_result_free(&result);
    tern_pipeline_close(pipeline);
    return failed;
}

/* ---- what is said at the end ---- */

static void print_json(struct run *run, const struct tern_diagnostics *diagnostics, bool ok,
                       const char *problem)
{
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_string(&json, "config", run->path);
    tern_json_bool(&json, "ok", ok);
    tern_json_string(&json, "error", problem);
    tern_json_u64(&json, "passed", run->passed);
    tern_json_u64(&json, "failed", run->failed);
    tern_json_array_end(&run->results);
    if (tern_buffer_printf(&json.buffer, ",\"results\":%.*s", (int)run->results.buffer.length,
                           (const char *)run->results.buffer.data) != 0)
        json.failed = true;
    tern_report_diagnostics_json(&json, diagnostics);
    tern_json_object_end(&json);
    json.failed = json.failed || run->results.failed;
    tern_json_print(&json);
}

static void print_text(const struct run *run, const struct tern_diagnostics *diagnostics,
                       const char *problem)
{
    unsigned count = run->passed + run->failed;

    fflush(stdout);
    tern_report_diagnostics(diagnostics);
    if (run->failed != 0)
        printf("%s: %u of %u tests failed%s\n", run->path, run->failed, count,
               run->explain ? "" : "; --explain says why");
    else if (problem != NULL)
        fprintf(stderr, "ternctl: %s\n", problem);
    else if (count == 0)
        printf("%s: has no tests\n", run->path);
    else
        printf("%s: %u test%s passed\n", run->path, count, count == 1 ? "" : "s");
}

int tern_ctl_test(const struct tern_invocation *invocation)
{
    struct run run = {.path = invocation->arguments[0],
                      .explain = (invocation->given & TERN_CTL_EXPLAIN) != 0,
                      .json = invocation->json};
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    struct tern_error error = {.message = "the configuration has errors"};
    bool ok;

    tern_json_array(&run.results, NULL);
    ok = tern_config_read(run.path, &config, &diagnostics) == 0 &&
         run_tests(&run, config, &diagnostics, &error) == 0;
    if (run.json)
        print_json(&run, &diagnostics, ok, ok ? NULL : error.message);
    else
        print_text(&run, &diagnostics, ok ? NULL : error.message);
    tern_buffer_free(&run.results.buffer);
    tern_diagnostics_free(&diagnostics);
    tern_config_free(config);
    return ok ? TERN_EXIT_OK : TERN_EXIT_REFUSED;
}
