#include "controlplane/compile/compile.h"
#include "controlplane/compile/reference.h"
int tern_compile(TERN_UNUSED const struct tern_compile_input *input, struct tern_compiled *compiled,
                 TERN_UNUSED struct tern_diagnostics *diagnostics)
{
    memset(compiled, 0, sizeof *compiled);
    tern_buffer_append(&compiled->rules, "rules", 5);
    return tern_buffer_append(&compiled->rules, input->config->text, input->config->text_length);
}
void tern_compiled_free(struct tern_compiled *compiled) { tern_buffer_free(&compiled->rules); }
int tern_reference_new(TERN_UNUSED const struct tern_config *config, TERN_UNUSED const struct tern_table *tables,
                       TERN_UNUSED unsigned table_count, TERN_UNUSED struct tern_diagnostics *diagnostics,
                       struct tern_reference **reference) { *reference = NULL; return 0; }
void tern_reference_free(TERN_UNUSED struct tern_reference *reference) {}
void tern_reference_decide(TERN_UNUSED const struct tern_reference *reference, TERN_UNUSED const struct tern_facts *facts,
                           struct tern_verdict *verdict) { memset(verdict, 0, sizeof *verdict); }
bool tern_verdict_equal(TERN_UNUSED const struct tern_verdict *a, TERN_UNUSED const struct tern_verdict *b) { return true; }
void tern_reference_sample(TERN_UNUSED const struct tern_reference *reference, TERN_UNUSED uint64_t seed, TERN_UNUSED uint64_t index,
                           TERN_UNUSED uint8_t *scratch, struct tern_facts *facts) { tern_facts_clear(facts); }
