/* rules and thresholds: what is decided. Expressions are only text here; compile reads them. */
#include "controlplane/config/reader.h"

static const struct tern_config_choice modes[] = {
    {"live", TERN_RULE_LIVE}, {"shadow", TERN_RULE_SHADOW}, {"off", TERN_RULE_OFF}, {NULL, 0}};

static void read_when(struct tern_config_reader *reader, const struct tern_config_key *key,
                      const struct tern_yaml_node *node, void *member)
{
    struct tern_text *when = member;

    if (node->kind == TERN_YAML_SEQUENCE || node->kind == TERN_YAML_MAPPING) {
        TERN_CONFIG_ERROR(reader, node->place,
                          "'when' takes an expression, not %s; put it in quotes: when: '…'",
                          tern_yaml_kind_name(node->kind));
        return;
    }
    tern_config_read_free_text(reader, key, node, when);
    if (when->text != NULL && when->text[strspn(when->text, " \t\r\n")] == 0) {
        TERN_CONFIG_ERROR(reader, node->place, "'when' needs an expression, such as 'ip in $nets'");
        when->text = NULL;
    }
}

/* "escalate(NAME)": the name's part of the text. */
static void read_escalation(struct tern_config_reader *reader, const struct tern_text *then,
                            struct tern_text *target)
{
    static const char start[] = "escalate(";
    size_t prefix = strlen(start);
    size_t length;

    if (strncmp(then->text, start, prefix) != 0 || then->text[then->length - 1] != ')' ||
        then->length <= prefix + 1) {
        TERN_CONFIG_ERROR(reader, then->place,
                          "'%s': an escalation names its target, as in "
                          "escalate(similar)",
                          then->text);
        return;
    }
    length = then->length - prefix - 1;
    *target = *then;
    target->text = tern_memory_copy(reader->memory, then->text + prefix, length);
    target->length = length;
    target->place = tern_text_place(then, prefix);
    target->raw = NULL;
    if (target->text == NULL) {
        reader->out_of_memory = true;
        return;
    }
    if (!tern_config_check_name(reader, target, "escalation target", true))
        target->text = NULL;
}

static void read_then(struct tern_config_reader *reader, const struct tern_config_key *key,
                      const struct tern_yaml_node *node, void *member)
{
    static const struct tern_config_choice choices[] = {{"allow", TERN_ALLOW},
                                                        {"deny", TERN_DENY},
                                                        {"challenge", TERN_CHALLENGE},
                                                        {"escalate(…)", TERN_UNDECIDED},
                                                        {NULL, 0}};
    struct tern_config_rule *rule = member;
    int action;

    tern_config_read_text(reader, key, node, &rule->then_text);
    if (rule->then_text.text == NULL)
        return;
    if (strncmp(rule->then_text.text, "escalate", strlen("escalate")) == 0) {
        rule->then = TERN_THEN_ESCALATE;
        read_escalation(reader, &rule->then_text, &rule->escalate);
        return;
    }
    rule->then = TERN_THEN_ACTION;
    action = tern_config_choose(reader, key->name, &rule->then_text, choices);
    if (action >= 0)
        rule->action = (enum tern_action)action;
}

static void read_missing(struct tern_config_reader *reader, const struct tern_config_key *key,
                         const struct tern_yaml_node *node, void *member)
{
    static const struct tern_config_choice choices[] = {{"false", 0}, {"skip", 1}, {NULL, 0}};
    const struct tern_config_key with_choices = {.name = key->name, .choices = choices};
    int skip = 0;

    tern_config_read_choice(reader, &with_choices, node, &skip);
    *(bool *)member = skip;
}

static void read_tag(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                     void *element)
{
    tern_config_read_text(reader, &(struct tern_config_key){.name = "tags"}, node, element);
}

/* Checked and not kept: they are for people, and for the searches of a later version. */
static void read_tags(struct tern_config_reader *reader, const struct tern_config_key *key,
                      const struct tern_yaml_node *node, void *member)
{
    unsigned count;

    (void)member;
    (void)tern_config_read_list(reader, key, node, sizeof(struct tern_text), 64, read_tag, &count);
}

enum rule_key {
    KEY_ID,
    KEY_WHEN,
    KEY_THEN,
    KEY_ADD,
    KEY_SCORE,
    KEY_MEANWHILE,
    KEY_MODE,
    KEY_MISSING,
    KEY_NOTE,
    KEY_OWNER,
    KEY_TAGS,
};

static void check_forms(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                        struct tern_config_rule *rule, uint64_t seen)
{
    bool then = seen >> KEY_THEN & 1, add = seen >> KEY_ADD & 1;

    if (then && add)
        TERN_CONFIG_ERROR(
            reader, node->place,
            "a rule has 'then' (it decides) or 'add' (it adds to the score), not both");
    if (!then && !add && seen != 0)
        TERN_CONFIG_ERROR(reader, node->place,
                          "a rule needs 'then' (it decides) or 'add' (it adds to the score)");
    if (add && seen >> KEY_SCORE & 1)
        TERN_CONFIG_ERROR(reader, node->place,
                          "'score' goes with 'then'; what this rule scores is its 'add'");
    if (seen >> KEY_MEANWHILE & 1 && !(then && rule->then == TERN_THEN_ESCALATE))
        TERN_CONFIG_ERROR(reader, node->place, "'meanwhile' goes with 'then: escalate(…)' only");
    if (then && rule->escalate.text != NULL)
        TERN_CONFIG_WARNING(reader, rule->then_text.place,
                            "there is no second tier in this version: the answer is %s, flagged "
                            "DEGRADED",
                            seen >> KEY_MEANWHILE & 1 ? "what 'meanwhile' says" : "undecided");
}

static void read_rule(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                      void *element)
{
#define RULE(member_name) offsetof(struct tern_config_rule, member_name)
    static const struct tern_config_key keys[] = {
        [KEY_ID] = {.name = "id",
                    .read = tern_config_read_identifier,
                    .offset = RULE(id),
                    .required = true},
        [KEY_WHEN] = {.name = "when", .read = read_when, .offset = RULE(when), .required = true},
        [KEY_THEN] = {.name = "then", .read = read_then},
        [KEY_ADD] = {.name = "add", .read = tern_config_read_number, .offset = RULE(score)},
        [KEY_SCORE] = {.name = "score", .read = tern_config_read_number, .offset = RULE(score)},
        [KEY_MEANWHILE] = {.name = "meanwhile",
                           .read = tern_config_read_choice,
                           .offset = RULE(action),
                           .choices = tern_config_actions},
        [KEY_MODE] = {.name = "mode",
                      .read = tern_config_read_choice,
                      .offset = RULE(mode),
                      .choices = modes},
        [KEY_MISSING] = {.name = "missing", .read = read_missing, .offset = RULE(missing_skip)},
        [KEY_NOTE] = {.name = "note", .read = tern_config_read_free_text, .offset = RULE(note)},
        [KEY_OWNER] = {.name = "owner", .read = tern_config_read_free_text, .offset = RULE(owner)},
        [KEY_TAGS] = {.name = "tags", .read = read_tags},
    };
#undef RULE
    struct tern_config_rule *rule = element;
    uint64_t seen;

    rule->then = TERN_THEN_ADD;
    rule->action = TERN_UNDECIDED;
    seen = tern_config_read_mapping(reader, node, "a rule", keys, TERN_COUNT(keys), rule);
    check_forms(reader, node, rule, seen);
}

void tern_config_read_rules(struct tern_config_reader *reader, const struct tern_config_key *key,
                            const struct tern_yaml_node *node, void *member)
{
    struct tern_config *config = member;

    config->rules = tern_config_read_list(reader, key, node, sizeof *config->rules, TERN_RULES_MAX,
                                          read_rule, &config->rule_count);
    tern_config_check_unique(reader, "rule", config->rules, config->rule_count,
                             sizeof *config->rules);
}

/* ---- Thresholds ---- */

static void read_threshold(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                           void *element)
{
    static const struct tern_config_key keys[] = {
        {.name = "at",
         .read = tern_config_read_number,
         .offset = offsetof(struct tern_config_threshold, at),
         .required = true},
        {.name = "then",
         .read = tern_config_read_choice,
         .offset = offsetof(struct tern_config_threshold, action),
         .required = true,
         .choices = tern_config_actions},
    };
    struct tern_config_threshold *threshold = element;

    threshold->place = node->place;
    tern_config_read_mapping(reader, node, "a threshold", keys, TERN_COUNT(keys), threshold);
}

static int compare_thresholds(const void *left, const void *right)
{
    const struct tern_config_threshold *a = left, *b = right;

    return a->at > b->at ? -1 : a->at < b->at;
}

void tern_config_read_thresholds(struct tern_config_reader *reader,
                                 const struct tern_config_key *key,
                                 const struct tern_yaml_node *node, void *member)
{
    struct tern_config *config = member;
    size_t errors = reader->diagnostics->error_count;

    config->thresholds =
        tern_config_read_list(reader, key, node, sizeof *config->thresholds, TERN_THRESHOLDS_MAX,
                              read_threshold, &config->threshold_count);
    if (config->threshold_count == 0 || reader->diagnostics->error_count != errors)
        return;
    qsort(config->thresholds, config->threshold_count, sizeof *config->thresholds,
          compare_thresholds);
    for (unsigned i = 1; i < config->threshold_count; i++)
        if (config->thresholds[i].at == config->thresholds[i - 1].at)
            TERN_CONFIG_ERROR(reader, config->thresholds[i].place,
                              "two thresholds at %g; the other is at line %u",
                              (double)config->thresholds[i].at,
                              config->thresholds[i - 1].place.line);
}
