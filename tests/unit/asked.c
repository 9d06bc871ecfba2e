#include "tests/unit/asked.h"

void asked_make(struct asked *asked, struct world *world, struct tern_config_rule *rules,
                unsigned count)
{
    struct tern_config config = world_config(world, rules, count);

    assert_int_equal(world_compile(world, &config, &asked->compiled), 0);
    assert_int_equal(tern_scratch_new(&asked->scratch), 0);
    assert_int_equal(tern_scratch_prepare(asked->scratch, asked->compiled.rules), 0);
}

void asked_free(struct asked *asked)
{
    tern_scratch_free(asked->scratch);
    world_rules_free(&asked->compiled);
}

uint32_t asked_rule(struct asked *asked, const union world_facts *facts)
{
    const struct tern_facts *item = &facts->head;
    struct tern_verdict verdict;

    tern_rules_decide(asked->compiled.rules, asked->scratch, &item, 1, &verdict);
    return verdict.rule;
}

bool asked_explains(struct asked *asked, const union world_facts *facts, const char *wanted)
{
    struct tern_buffer out = {0};
    bool found;

    assert_int_equal(tern_rules_explain(asked->compiled.rules, asked->scratch, &facts->head, &out),
                     0);
    assert_int_equal(tern_buffer_append(&out, "", 1), 0);
    found = strstr((const char *)out.data, wanted) != NULL;
    if (!found)
        fprintf(stderr, "missing %s in %s\n", wanted, (const char *)out.data);
    tern_buffer_free(&out);
    return found;
}
