#include "controlplane/details.h"

#include "controlplane/config/difference.h"
#include "controlplane/message.h"
#include "controlplane/reply.h"
#include "shared/proto/tern.pb-c.h"

#include <inttypes.h>
#include <stdarg.h>

/* The message with its lists. */
struct details {
    Tern__Control__HistoryDetails message;
    Tern__Control__RuleChange rules[TERN_DETAILS_ITEMS], *rule_list[TERN_DETAILS_ITEMS];
    Tern__Control__TableResult tables[TERN_DETAILS_ITEMS], *table_list[TERN_DETAILS_ITEMS];
    struct tern_rule_differences differences;
};

static void add_rules(struct details *details, const struct tern_config *before,
                      const struct tern_config *config)
{
    Tern__Control__HistoryDetails *message = &details->message;
    uint32_t *const counts[] = {
        [TERN_RULE_ADDED] = &message->rules_added,
        [TERN_RULE_REMOVED] = &message->rules_removed,
        [TERN_RULE_CHANGED] = &message->rules_changed,
        [TERN_RULE_MOVED] = &message->rules_moved,
    };

    if (before == NULL || config == NULL ||
        tern_rules_compare(before, config, &details->differences) != 0)
        return;
    message->rules_known = true;
    message->rules = details->rule_list;
    for (unsigned i = 0; i < details->differences.count; i++) {
        const struct tern_rule_difference *item = &details->differences.items[i];
        Tern__Control__RuleChange *change = &details->rules[message->n_rules];

        ++*counts[item->change];
        if (message->n_rules == TERN_DETAILS_ITEMS)
            continue;
        tern__control__rule_change__init(change);
        change->change = tern_message_text(tern_rule_change_name(item->change));
        change->rule = tern_message_text(item->id);
        change->from = item->old_number;
        change->to = item->new_number;
        message->rules[message->n_rules++] = change;
    }
}

static bool has_changed(const struct tern_apply_table *table)
{
    return table->rows != table->previous_rows || table->bytes != table->previous_bytes ||
           !table->reused || table->error[0] != '\0';
}

static void add_tables(struct details *details, const struct tern_apply_result *result)
{
    Tern__Control__HistoryDetails *message = &details->message;

    message->tables = details->table_list;
    for (unsigned i = 0; i < result->table_count; i++) {
        if (result->tables[i].name[0] == '\0' || !has_changed(&result->tables[i]))
            continue;
        message->tables_changed++;
        if (message->n_tables == TERN_DETAILS_ITEMS)
            continue;
        tern_reply_fill_table(&details->tables[message->n_tables], &result->tables[i]);
        message->tables[message->n_tables] = &details->tables[message->n_tables];
        message->n_tables++;
    }
}

static const char *change_of(const struct tern_apply_collection *collection)
{
    switch (collection->change) {
    case TERN_COLLECTION_ADJUSTED:
        return "adjusted";
    case TERN_COLLECTION_ADDED:
        return "added";
    case TERN_COLLECTION_REBUILT:
        return "rebuilt";
    default:
        return NULL;
    }
}

/* Appends to `text`, never past its end. */
static void say(char *text, size_t size, const char *format, ...) TERN_PRINTF(3, 4);

static void say(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

static void summarize(const Tern__Control__HistoryDetails *message,
                      const struct tern_apply_result *result, char *text, size_t size)
{
    const struct {
        uint32_t count;
        const char *what;
    } changes[] = {{message->rules_added, "added"},
                   {message->rules_removed, "removed"},
                   {message->rules_changed, "changed"},
                   {message->rules_moved, "moved"}};
    bool any = false;

    text[0] = '\0';
    for (unsigned i = 0; i < TERN_COUNT(changes); i++) {
        if (changes[i].count == 0)
            continue;
        say(text, size, any ? ", %u %s" : "rules: %u %s", changes[i].count, changes[i].what);
        any = true;
    }
    for (size_t i = 0; i < message->n_tables && i < 8; i++) {
        const Tern__Control__TableResult *table = message->tables[i];

        say(text, size, "%s%s %" PRIu64 " → %" PRIu64 " rows%s", any ? "; " : "", table->name,
            table->previous_rows, table->rows, table->kept ? " (kept)" : "");
        any = true;
    }
    if (message->tables_changed > 8)
        say(text, size, " and %u tables more", message->tables_changed - 8);
    for (unsigned i = 0; i < result->collection_count; i++) {
        const char *change = change_of(&result->collections[i]);

        if (change == NULL)
            continue;
        say(text, size, "%scollection %s %s", any ? "; " : "", result->collections[i].name, change);
        any = true;
    }
    if (message->tests_run != 0)
        say(text, size, "%s%u of %u tests passed", any ? "; " : "",
            message->tests_run - message->tests_failed, message->tests_run);
}

int tern_details_pack(const struct tern_job *job, const struct tern_config *before,
                      const struct tern_config *config, uint8_t **data, size_t *length,
                      char *summary, size_t summary_size)
{
    const struct tern_apply_result *result = &job->result;
    struct details *details = calloc(1, sizeof *details);
    Tern__Control__HistoryDetails *message;
    uint8_t *packed;

    if (details == NULL)
        return TERN_ENOMEM;
    message = &details->message;
    tern__control__history_details__init(message);
    add_rules(details, before, config);
    add_tables(details, result);
    message->tests_run = result->tests_run;
    message->tests_failed = result->tests_failed;
    message->previous_generation = job->live_generation;
    message->new_bytes = result->new_bytes;
    message->shared_bytes = result->shared_bytes;
    message->acknowledged = result->acknowledged;
    message->pid = job->pid;
    message->rules_only = job->rules_only;
    summarize(message, result, summary, summary_size);
    *length = tern__control__history_details__get_packed_size(message);
    packed = malloc(*length + 1);
    if (packed != NULL)
        tern__control__history_details__pack(message, packed);
    tern_rule_differences_free(&details->differences);
    free(details);
    if (packed == NULL)
        return TERN_ENOMEM;
    *data = packed;
    return 0;
}
