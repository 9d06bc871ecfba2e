#include "controlplane/ctl/command.h"

#include "shared/vector/format.h"

#include <errno.h>

#define LIMIT_DEFAULT      20
#define TIMEOUT_DEFAULT_US (10 * 1000000ull)
#define INTERVAL_LEAST_US  10000ull
#define INTERVAL_MOST_US   (3600 * 1000000ull)
#define WINDOWS_DEFAULT    3
#define WINDOWS_MOST       1000
#define K_DEFAULT          10

const struct tern_ctl_option_text tern_ctl_options[TERN_CTL_OPTION_COUNT] = {
#define X(constant, letter, name, value, help) {letter, name, value, help},
    TERN_CTL_OPTIONS(X)
#undef X
};

int tern_ctl_parse_number(const char *text, uint64_t *number)
{
    unsigned long long value;
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return TERN_EINVAL;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0')
        return TERN_EINVAL;
    *number = value;
    return 0;
}

int tern_ctl_parse_duration(const char *text, uint64_t *us)
{
    static const struct {
        const char *unit;
        uint64_t us;
    } units[] = {
        {"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60 * 1000000ull}, {"h", 3600 * 1000000ull}};
    char digits[21];
    size_t length = strspn(text, "0123456789");
    uint64_t number;

    if (length == 0 || length >= sizeof digits)
        return TERN_EINVAL;
    memcpy(digits, text, length);
    digits[length] = '\0';
    if (tern_ctl_parse_number(digits, &number) != 0)
        return TERN_EINVAL;
    for (unsigned i = 0; i < TERN_COUNT(units); i++)
        if (strcmp(text + length, units[i].unit) == 0) {
            if (number > UINT64_MAX / 2 / units[i].us)
                return TERN_EINVAL;
            *us = number * units[i].us;
            return 0;
        }
    return TERN_EINVAL;
}

static int set_number(const char *name, const char *value, uint64_t maximum, uint64_t *number,
                      struct tern_error *error)
{
    uint64_t parsed;

    if (tern_ctl_parse_number(value, &parsed) != 0 || parsed > maximum)
        return tern_error_set(error, TERN_EINVAL, "--%s takes a number up to %llu, not '%s'", name,
                              (unsigned long long)maximum, value);
    *number = parsed;
    return 0;
}

static int set_duration(const char *name, const char *value, uint64_t *us, struct tern_error *error)
{
    if (tern_ctl_parse_duration(value, us) != 0)
        return tern_error_set(error, TERN_EINVAL,
                              "--%s takes a duration like 500ms, 5s or 2m, not '%s'", name, value);
    return 0;
}

static int set_option(struct tern_invocation *invocation, unsigned index, const char *value,
                      struct tern_error *error)
{
    const char *name = tern_ctl_options[index].name;
    uint64_t number = 0;
    int rc;

    invocation->given |= TERN_CTL_BIT(index);
    switch ((enum tern_ctl_option_index)index) {
    case TERN_CTL_INDEX_RUN_DIR:
        invocation->run_dir = value;
        return 0;
    case TERN_CTL_INDEX_STATE_DIR:
        invocation->state_dir = value;
        return 0;
    case TERN_CTL_INDEX_BACKEND:
        invocation->backend = value;
        return 0;
    case TERN_CTL_INDEX_LOG:
        invocation->log = value;
        return 0;
    case TERN_CTL_INDEX_MESSAGE:
        invocation->message = value;
        return 0;
    case TERN_CTL_INDEX_ADDRESS:
        invocation->address = value;
        return 0;
    case TERN_CTL_INDEX_TOKEN_FILE:
        invocation->token_file = value;
        return 0;
    case TERN_CTL_INDEX_RULE:
        invocation->rule = value;
        return 0;
    case TERN_CTL_INDEX_ACTION:
        invocation->action = value;
        return 0;
    case TERN_CTL_INDEX_FORMAT:
        invocation->format = value;
        return 0;
    case TERN_CTL_INDEX_IDS:
        invocation->ids = value;
        return 0;
    case TERN_CTL_INDEX_VECTOR:
        invocation->vector = value;
        return 0;
    case TERN_CTL_INDEX_VECTOR_FILE:
        invocation->vector_file = value;
        return 0;
    case TERN_CTL_INDEX_FILTER:
        invocation->filter = value;
        return 0;
    case TERN_CTL_INDEX_K:
        rc = set_number(name, value, TERN_SEARCH_K_MAX, &number, error);
        if (rc == 0 && number == 0)
            rc = tern_error_set(error, TERN_EINVAL, "-k takes at least 1");
        if (rc == 0)
            invocation->k = (unsigned)number;
        return rc;
    case TERN_CTL_INDEX_EF:
        rc = set_number(name, value, TERN_SEARCH_EF_MAX, &number, error);
        if (rc == 0)
            invocation->ef = (unsigned)number;
        return rc;
    case TERN_CTL_INDEX_JSON:
        invocation->json = true;
        return 0;
    case TERN_CTL_INDEX_KEY:
        return set_number(name, value, UINT64_MAX, &invocation->key, error);
    case TERN_CTL_INDEX_ID:
        return set_number(name, value, UINT64_MAX, &invocation->id, error);
    case TERN_CTL_INDEX_GENERATION:
        return set_number(name, value, INT64_MAX, &invocation->generation, error);
    case TERN_CTL_INDEX_TIMEOUT:
        return set_duration(name, value, &invocation->timeout_us, error);
    case TERN_CTL_INDEX_INTERVAL:
        rc = set_duration(name, value, &invocation->interval_us, error);
        if (rc == 0 && (invocation->interval_us < INTERVAL_LEAST_US ||
                        invocation->interval_us > INTERVAL_MOST_US))
            rc = tern_error_set(error, TERN_EINVAL, "--interval takes 10ms to 1h, not '%s'", value);
        return rc;
    case TERN_CTL_INDEX_BUDGET:
        rc = set_duration(name, value, &invocation->budget_us, error);
        if (rc == 0 && invocation->budget_us == 0)
            rc = tern_error_set(error, TERN_EINVAL, "--budget takes at least 1us");
        return rc;
    case TERN_CTL_INDEX_WINDOWS:
        rc = set_number(name, value, WINDOWS_MOST, &number, error);
        if (rc == 0 && number == 0)
            rc = tern_error_set(error, TERN_EINVAL, "--windows takes at least 1");
        if (rc == 0)
            invocation->windows = (unsigned)number;
        return rc;
    case TERN_CTL_INDEX_LIMIT:
        rc = set_number(name, value, 4096, &number, error);
        if (rc == 0)
            invocation->limit = (unsigned)number;
        return rc;
    case TERN_CTL_INDEX_DRY_RUN:
    case TERN_CTL_INDEX_FORCE_CHANGE:
    case TERN_CTL_INDEX_NEW_SCHEMA:
    case TERN_CTL_INDEX_RULES_ONLY:
    case TERN_CTL_INDEX_EXIT_CODE:
    case TERN_CTL_INDEX_FOLLOW:
    case TERN_CTL_INDEX_RULES:
    case TERN_CTL_INDEX_EXPLAIN:
    case TERN_CTL_INDEX_RAW:
    case TERN_CTL_INDEX_DELETE:
    case TERN_CTL_INDEX_EXACT:
    case TERN_CTL_INDEX_YES:
    case TERN_CTL_INDEX_HELP:
    case TERN_CTL_OPTION_COUNT:
        break;
    }
    return 0;
}

/* The option that `text` (past its dashes, `length` bytes) names, among those the command accepts.
 */
static int find_option(const struct tern_command *command, const char *text, size_t length,
                       bool is_long)
{
    for (unsigned i = 0; i < TERN_CTL_OPTION_COUNT; i++) {
        const struct tern_ctl_option_text *option = &tern_ctl_options[i];

        if (((command->options | TERN_CTL_HELP) & TERN_CTL_BIT(i)) == 0)
            continue;
        if (is_long ? strlen(option->name) == length && memcmp(option->name, text, length) == 0
                    : option->letter != 0 && option->letter == text[0])
            return (int)i;
    }
    return -1;
}

int tern_invocation_parse(const struct tern_command *command, int argc, char **argv,
                          struct tern_invocation *invocation, struct tern_error *error)
{
    bool options_ended = false;

    invocation->limit = LIMIT_DEFAULT;
    invocation->windows = WINDOWS_DEFAULT;
    invocation->k = K_DEFAULT;
    invocation->timeout_us = TIMEOUT_DEFAULT_US;
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i], *value = NULL;
        bool is_long;
        size_t length;
        int index, rc;

        if (options_ended || text[0] != '-' || text[1] == '\0') {
            invocation->arguments[invocation->argument_count++] = argv[i];
            continue;
        }
        if (strcmp(text, "--") == 0) {
            options_ended = true;
            continue;
        }
        is_long = text[1] == '-';
        text += is_long ? 2 : 1;
        length = is_long ? strcspn(text, "=") : 1;
        index = find_option(command, text, length, is_long);
        if (index < 0)
            return tern_error_set(error, TERN_EINVAL, "%s has no option '%s'", command->name,
                                  argv[i]);
        if (text[length] != '\0')
            value = text + length + (is_long ? 1 : 0);
        if (tern_ctl_options[index].value == NULL) {
            if (value != NULL)
                return tern_error_set(error, TERN_EINVAL, "--%s takes no value",
                                      tern_ctl_options[index].name);
        } else if (value == NULL) {
            if (i + 1 == argc)
                return tern_error_set(error, TERN_EINVAL, "--%s needs a value (%s)",
                                      tern_ctl_options[index].name, tern_ctl_options[index].value);
            value = argv[++i];
        }
        rc = set_option(invocation, (unsigned)index, value, error);
        if (rc != 0)
            return rc;
    }
    if (invocation->given & TERN_CTL_HELP)
        return 0;
    if (invocation->argument_count < command->minimum)
        return tern_error_set(error, TERN_EINVAL, "%s needs %s", command->name, command->arguments);
    if (invocation->argument_count > command->maximum)
        return tern_error_set(error, TERN_EINVAL, "%s does not take '%s'", command->name,
                              invocation->arguments[command->maximum]);
    return 0;
}
