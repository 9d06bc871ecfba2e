/* What the board tells, for people and for machines: the tables that `stats`, `budget` and `top`
 * have in common. */
#ifndef TERN_CTL_FIGURES_H
#define TERN_CTL_FIGURES_H

#include "controlplane/ctl/json.h"
#include "controlplane/ctl/rates.h"

/* Every stage that has samples: share of the whole, mean, percentiles. */
enum tern_figures_width {
    TERN_FIGURES_NARROW, /* fits 80 columns */
    TERN_FIGURES_FULL,
    TERN_FIGURES_MEANING, /* and says what each is */
};
void tern_figures_stages(FILE *to, const struct tern_seat_sums *sums,
                         enum tern_figures_width width);
/* Members "count", "mean_ns", "p50_ns" … "max_ns", "share" of each stage. */
void tern_figures_stages_json(struct tern_json *json, const struct tern_seat_sums *sums);

/* The mix of verdicts in one line; what is rare only when it was seen. */
void tern_figures_verdicts(FILE *to, const struct tern_seat_sums *sums);
void tern_figures_verdicts_json(struct tern_json *json, const struct tern_seat_sums *sums);

/* The loops: what they are busy with and what each decides. */
void tern_figures_loops(FILE *to, const struct tern_rates *rates);
void tern_figures_loops_json(struct tern_json *json, const struct tern_rates *rates);

/* At most `limit` rules, those with the most hits. */
void tern_figures_rules(FILE *to, const struct tern_rates *rates, unsigned limit);
void tern_figures_rules_json(struct tern_json *json, const struct tern_rates *rates,
                             unsigned limit);
const char *tern_figures_rule_mode(uint8_t kind);

#endif
