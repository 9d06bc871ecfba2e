/* ternctl apply: hands a configuration to tern-control and follows it. */
#include "controlplane/config/difference.h"
#include "controlplane/ctl/report.h"

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

#define TIMEOUT_US  (10 * 1000000ull)
#define SHOWN_RULES 50u /* of a difference, for people; --json has them all */

/* What a dry run compares. */
struct comparison {
    struct tern_config *old, *new; /* NULL: not known */
    struct tern_rule_differences differences;
    const char *why_not; /* NULL: there is a comparison */
};

/* The configuration reader takes a path; the text of the old one came from the history. Paths in it
 * are relative to a folder that no longer matters: nothing is opened. */
static struct tern_config *parse_text(const char *text)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    size_t length = strlen(text);
    int fd = memfd_create("tern-config", MFD_CLOEXEC);
    char path[64];

    if (fd < 0)
        return NULL;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write(fd, text, length) != (ssize_t)length ||
        tern_config_read(path, &config, &diagnostics) != 0)
        config = NULL;
    tern_diagnostics_free(&diagnostics);
    close(fd);
    return config;
}

/* The text of what is served now; NULL when there is none. The caller frees the reply. */
static const char *served_text(const char *run_dir, Tern__Control__Reply **reply)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__HistoryRequest body = TERN__CONTROL__HISTORY_REQUEST__INIT;
    const Tern__Control__History *history;

    body.limit = 1;
    body.with_text = true;
    body.live_only = true;
    request.body_case = TERN__CONTROL__REQUEST__BODY_HISTORY;
    request.history = &body;
    if (tern_instance_ask(run_dir, &request, TIMEOUT_US, NULL, NULL, reply, NULL) != 0 ||
        (*reply)->body_case != TERN__CONTROL__REPLY__BODY_HISTORY)
        return NULL;
    history = (*reply)->history;
    if (history->n_rows == 0 || history->rows[0]->config_text[0] == '\0')
        return NULL;
    return history->rows[0]->config_text;
}

static void compare(struct comparison *comparison, const char *run_dir, const char *path)
{
    struct tern_diagnostics diagnostics = {0};
    Tern__Control__Reply *reply = NULL;
    const char *text = served_text(run_dir, &reply);

    if (text == NULL)
        comparison->why_not = "nothing was served before";
    else if ((comparison->old = parse_text(text)) == NULL)
        comparison->why_not = "the configuration served now cannot be read any more";
    else if (tern_config_read(path, &comparison->new, &diagnostics) != 0 ||
             tern_rules_compare(comparison->old, comparison->new, &comparison->differences) != 0)
        comparison->why_not = "the new configuration cannot be read";
    tern_diagnostics_free(&diagnostics);
    tern__control__reply__free_unpacked(reply, NULL);
}

static void compare_free(struct comparison *comparison)
{
    tern_rule_differences_free(&comparison->differences);
    tern_config_free(comparison->old);
    tern_config_free(comparison->new);
}

static void difference_json(void *context, struct tern_json *json)
{
    const struct comparison *comparison = context;

    if (comparison->why_not != NULL) {
        tern_json_null(json, "rules_difference");
        return;
    }
    tern_json_array(json, "rules_difference");
    for (unsigned i = 0; i < comparison->differences.count; i++) {
        const struct tern_rule_difference *item = &comparison->differences.items[i];

        tern_json_object(json, NULL);
        tern_json_string(json, "change", tern_rule_change_name(item->change));
        tern_json_string(json, "rule", item->id);
        tern_json_u64(json, "from", item->old_number);
        tern_json_u64(json, "to", item->new_number);
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
}

static void print_difference(void *context)
{
    static const char signs[] = {'+', '-', '~', '>'};
    const struct comparison *comparison = context;
    const struct tern_rule_differences *differences = &comparison->differences;

    if (comparison->why_not != NULL) {
        printf("rules: all are new: %s\n", comparison->why_not);
        return;
    }
    puts(differences->count == 0 ? "rules: no difference" : "rules:");
    for (unsigned i = 0; i < differences->count && i < SHOWN_RULES; i++) {
        const struct tern_rule_difference *item = &differences->items[i];

        printf("  %c %-7s %s", signs[item->change], tern_rule_change_name(item->change), item->id);
        if (item->old_number != 0 && item->new_number != 0)
            printf(" (%u → %u)\n", item->old_number, item->new_number);
        else
            printf(" (%u)\n", item->old_number + item->new_number);
    }
    if (differences->count > SHOWN_RULES)
        printf("  … and %u more; --json shows all\n", differences->count - SHOWN_RULES);
}

int tern_ctl_apply(const struct tern_invocation *invocation)
{
    bool dry_run = (invocation->given & TERN_CTL_DRY_RUN) != 0;
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__ApplyRequest body = TERN__CONTROL__APPLY_REQUEST__INIT;
    struct comparison comparison = {0};
    const struct tern_report_extra extra = {difference_json, print_difference, &comparison};
    char path[PATH_MAX], *run_dir = NULL;
    struct tern_error error;
    int code;

    if (realpath(invocation->arguments[0], path) == NULL) {
        fprintf(stderr, "ternctl: cannot find %s: %s\n", invocation->arguments[0], strerror(errno));
        return TERN_EXIT_REFUSED;
    }
    if (tern_instance_find(invocation, &run_dir, &error) != 0)
        return tern_ctl_fail(&error);
    body.path = path;
    body.message = (char *)(uintptr_t)(invocation->message != NULL ? invocation->message : "");
    body.dry_run = dry_run;
    body.force_change = (invocation->given & TERN_CTL_FORCE_CHANGE) != 0;
    body.new_schema = (invocation->given & TERN_CTL_NEW_SCHEMA) != 0;
    request.body_case = TERN__CONTROL__REQUEST__BODY_APPLY;
    request.apply = &body;
    if (dry_run)
        compare(&comparison, run_dir, path);
    code = tern_report_job(invocation, run_dir, &request, dry_run ? &extra : NULL);
    compare_free(&comparison);
    free(run_dir);
    return code;
}
