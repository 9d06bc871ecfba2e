/* Which counter of the board each rule's hits go to. A rule's id keeps its slot as long as the
 * process lives, so its count goes on through generations that keep the id, and through those that
 * drop it and bring it back; what an id hits in shadow is counted apart from what it decides.
 *
 * Belongs to housekeeping: it assigns the slots of a generation before any loop serves it. */
#ifndef TERN_DATAPLANE_SLOTS_H
#define TERN_DATAPLANE_SLOTS_H

#include "shared/board.h"
#include "shared/rules/evaluate.h"

struct tern_slots {
    const struct tern_board_map *map;
    struct tern_seat *seat;
    unsigned seat_index, loop_count;
    uint32_t count;     /* slots in use */
    uint32_t allocated; /* slots with memory behind them */
    uint32_t *table;    /* open addressing by hash of id and kind: a slot, 0: free */
    uint32_t table_size;
};

/* The seat is freshly claimed. TERN_ENOMEM, or no space on tmpfs. */
int tern_slots_open(struct tern_slots *slots, const struct tern_board_map *map, unsigned seat_index,
                    unsigned loop_count, struct tern_error *error);
void tern_slots_close(struct tern_slots *slots);

/* One slot a rule, in `*by_rule` (the caller frees it): for tern_scratch_count_hits. Rules for
 * which there is no slot or no memory left share slot 0. TERN_ENOMEM. */
int tern_slots_assign(struct tern_slots *slots, const struct tern_rules *rules, uint32_t **by_rule,
                      struct tern_error *error);

#endif
