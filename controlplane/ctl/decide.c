/* ternctl decide: one verdict over the real path. */
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/request.h"
#include "shared/clock.h"

#include <time.h>

#define ATTEMPTS 3 /* a publish between the verdict and its rule's name makes them disagree */

static const struct {
    unsigned bit;
    const char *name;
} flag_names[] = {
    {TERN_VERDICT_STALE, "stale"},     {TERN_VERDICT_DEGRADED, "degraded"},
    {TERN_VERDICT_PENDING, "pending"}, {TERN_VERDICT_CANARY, "canary"},
    {TERN_VERDICT_CACHED, "cached"},   {TERN_VERDICT_SHED, "shed"},
};

static const char *cause_name(unsigned cause)
{
    static const char *const names[] = {"default", "rule", "threshold", "escalation unavailable"};

    return cause < TERN_COUNT(names) ? names[cause] : "?";
}

struct answer {
    struct tern_decision decision;
    struct tern_client_rule rule; /* name empty: no rule decided, or its name is not known */
    uint64_t round_trip_ns;
};

static int ask(struct tern_client *client, const struct tern_request *request,
               struct answer *answer, struct tern_error *error)
{
    const struct tern_call call = {.flags = TERN_REQUEST_DETAIL};

    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        struct tern_client_page page = {0};
        uint64_t begun_ns = tern_clock_now_ns();
        int rc = tern_client_decide(client, request, &call, &answer->decision, error);

        if (rc != 0)
            return rc;
        answer->round_trip_ns = tern_clock_now_ns() - begun_ns;
        answer->rule.name[0] = '\0';
        if (answer->decision.verdict.rule == 0)
            return 0;
        rc = tern_client_describe(client, answer->decision.verdict.rule, &answer->rule, 1, &page,
                                  error);
        if (rc != 0)
            return rc;
        if (page.count == 1 && page.generation == answer->decision.generation)
            return 0;
        answer->rule.name[0] = '\0';
    }
    return 0;
}

static void print_json(const struct answer *answer)
{
    const struct tern_verdict *verdict = &answer->decision.verdict;
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_string(&json, "action", tern_action_name((enum tern_action)verdict->action));
    tern_json_u64(&json, "rule", verdict->rule);
    tern_json_string(&json, "rule_name", answer->rule.name[0] != '\0' ? answer->rule.name : NULL);
    tern_json_float(&json, "score", verdict->score);
    tern_json_u64(&json, "tier", verdict->tier);
    tern_json_array(&json, "flags");
    for (unsigned i = 0; i < TERN_COUNT(flag_names); i++)
        if (verdict->flags & flag_names[i].bit)
            tern_json_string(&json, NULL, flag_names[i].name);
    tern_json_array_end(&json);
    tern_json_string(&json, "cause", cause_name(verdict->cause));
    tern_json_u64(&json, "max_age_s", verdict->max_age_s);
    tern_json_u64(&json, "age_ms", answer->decision.age_ms);
    tern_json_u64(&json, "key", answer->decision.decision_key);
    tern_json_u64(&json, "generation", answer->decision.generation);
    tern_json_double(&json, "round_trip_us", (double)answer->round_trip_ns / 1000);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static void print_text(const struct answer *answer)
{
    const struct tern_verdict *verdict = &answer->decision.verdict;
    char time[TERN_PRINT_TEXT];

    printf("%s", tern_action_name((enum tern_action)verdict->action));
    if (answer->rule.name[0] != '\0')
        printf(" by rule %s (%u)", answer->rule.name, (unsigned)verdict->rule);
    else if (verdict->rule != 0)
        printf(" by rule %u", (unsigned)verdict->rule);
    else
        printf(" by %s", cause_name(verdict->cause));
    printf(", score %g, tier %u, generation %u", (double)verdict->score, verdict->tier,
           (unsigned)answer->decision.generation);
    for (unsigned i = 0; i < TERN_COUNT(flag_names); i++)
        if (verdict->flags & flag_names[i].bit)
            printf(", %s", flag_names[i].name);
    printf(" (%s)\n", tern_print_ns(time, answer->round_trip_ns));
}

int tern_ctl_decide(const struct tern_invocation *invocation)
{
    struct tern_client *client = NULL;
    struct tern_request *request = NULL;
    struct answer answer = {0};
    struct tern_error error;
    int code = TERN_EXIT_OK, rc = tern_instance_connect(invocation, &client, &error);

    if (rc != 0)
        return tern_ctl_fail(&error);
    rc = tern_ctl_request_build(client, invocation, &request, &error);
    if (rc != 0) {
        fprintf(stderr, "ternctl: %s\n", error.message);
        tern_client_close(client);
        return TERN_EXIT_USAGE;
    }
    rc = ask(client, request, &answer, &error);
    if (rc != 0) {
        code = tern_ctl_fail(&error);
    } else {
        if (invocation->json)
            print_json(&answer);
        else
            print_text(&answer);
        if ((invocation->given & TERN_CTL_EXIT_CODE) &&
            answer.decision.verdict.action != TERN_ALLOW)
            code = TERN_EXIT_REFUSED;
    }
    tern_request_free(request);
    tern_client_close(client);
    return code;
}
