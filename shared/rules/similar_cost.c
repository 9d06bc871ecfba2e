/* What searches for rules may cost, and what they have cost. */
#include "shared/rules/rules.h"
#include "shared/rules/similar_room.h"

uint64_t tern_rules_search_cost_ns(const struct tern_rules *rules, const struct tern_facts *facts)
{
    uint64_t cost_ns = 0;

    for (uint32_t i = 0; i < rules->scan_count; i++) {
        const struct tern_scan *scan = &rules->scans[i];
        struct tern_search search;

        if (scan->similar == NULL || scan->similar->collection == NULL ||
            !tern_facts_has(facts, scan->field))
            continue;
        search = (struct tern_search){.k = scan->similar->k};
        cost_ns += tern_search_cost_ns(scan->similar->collection, &search);
    }
    return cost_ns;
}

struct tern_searched tern_scratch_searched(const struct tern_scratch *scratch)
{
    const struct tern_room *room = scratch->room;

    return room != NULL && room->similar != NULL ? room->similar->searched
                                                 : (struct tern_searched){0};
}
