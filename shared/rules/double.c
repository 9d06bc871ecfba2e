/* Stands in until the rule evaluator lands: every item gets the default. Not to be released. */
#include "shared/rules/evaluate.h"

struct tern_rules { int unused; };
struct tern_scratch { int unused; };

int tern_rules_open(struct tern_rules **rules, TERN_UNUSED const void *section, TERN_UNUSED size_t length,
                    TERN_UNUSED const struct tern_schema *schema, TERN_UNUSED const struct tern_table *tables,
                    TERN_UNUSED unsigned table_count, TERN_UNUSED const struct tern_classes_section *classes,
                    TERN_UNUSED unsigned classes_count, TERN_UNUSED struct tern_error *error)
{
    *rules = calloc(1, sizeof **rules);
    return 0;
}
void tern_rules_close(struct tern_rules *rules) { free(rules); }
int tern_scratch_new(struct tern_scratch **scratch) { *scratch = calloc(1, 4); return 0; }
void tern_scratch_free(struct tern_scratch *scratch) { free(scratch); }
void tern_rules_decide(TERN_UNUSED const struct tern_rules *rules, TERN_UNUSED struct tern_scratch *scratch,
                       TERN_UNUSED const struct tern_facts *const facts[], unsigned count,
                       struct tern_verdict verdicts[])
{
    memset(verdicts, 0, count * sizeof *verdicts);
}
uint32_t tern_rules_count(TERN_UNUSED const struct tern_rules *rules) { return 0; }
const char *tern_rules_name(TERN_UNUSED const struct tern_rules *rules, TERN_UNUSED uint32_t index, TERN_UNUSED size_t *length) { return NULL; }
enum tern_action tern_rules_action(TERN_UNUSED const struct tern_rules *rules, TERN_UNUSED uint32_t index) { return 0; }
int tern_rules_explain(TERN_UNUSED const struct tern_rules *rules, TERN_UNUSED struct tern_scratch *scratch,
                       TERN_UNUSED const struct tern_facts *facts, struct tern_buffer *out)
{
    return tern_buffer_printf(out, "{}");
}
