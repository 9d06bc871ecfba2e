#include "dataplane/slots.h"

#include "shared/tables/hash.h"

#define CHUNK       512u /* slots allocated at once: a page of counters a loop */
#define TABLE_FIRST 1024u

static const char others[] = "(others)";

static uint64_t hash_of(const char *id, size_t length, uint8_t kind)
{
    return tern_hash_key(kind, id, length);
}

static size_t id_length(const struct tern_rule_slot *slot)
{
    return strnlen(slot->id, sizeof slot->id);
}

/* Where `id` stands in the table, or the free place where it belongs. */
static uint32_t *place_of(const struct tern_slots *slots, const char *id, size_t length,
                          uint8_t kind)
{
    uint32_t at = (uint32_t)hash_of(id, length, kind) & (slots->table_size - 1);

    for (;; at = (at + 1) & (slots->table_size - 1)) {
        const struct tern_rule_slot *slot = &slots->seat->rule_slots[slots->table[at]];

        if (slots->table[at] == 0 ||
            (slot->kind == kind && id_length(slot) == length && memcmp(slot->id, id, length) == 0))
            return &slots->table[at];
    }
}

/* Doubles the table: at most half of it is in use. */
static int grow(struct tern_slots *slots)
{
    uint32_t size = slots->table_size == 0 ? TABLE_FIRST : slots->table_size * 2;
    uint32_t *table = calloc(size, sizeof *table);

    if (table == NULL)
        return TERN_ENOMEM;
    free(slots->table);
    slots->table = table;
    slots->table_size = size;
    for (uint32_t i = 1; i < slots->count; i++) {
        const struct tern_rule_slot *slot = &slots->seat->rule_slots[i];

        *place_of(slots, slot->id, id_length(slot), slot->kind) = i;
    }
    return 0;
}

/* Makes the next slot; 0 when there is none left. */
static uint32_t add(struct tern_slots *slots, const char *id, size_t length, uint8_t kind)
{
    struct tern_rule_slot slot = {.kind = kind};

    if (slots->count == slots->allocated) {
        if (slots->allocated == TERN_RULE_SLOTS ||
            tern_seat_allocate_slots(slots->map, slots->seat_index, slots->loop_count,
                                     slots->allocated, CHUNK, NULL) != 0)
            return 0;
        slots->allocated += CHUNK;
    }
    memcpy(slot.id, id, length);
    slots->seat->rule_slots[slots->count] = slot;
    return slots->count++;
}

int tern_slots_open(struct tern_slots *slots, const struct tern_board_map *map, unsigned seat_index,
                    unsigned loop_count, struct tern_error *error)
{
    int code;

    *slots = (struct tern_slots){.map = map,
                                 .seat = &map->board->seats[seat_index],
                                 .seat_index = seat_index,
                                 .loop_count = loop_count};
    code = tern_seat_allocate_slots(map, seat_index, loop_count, 0, CHUNK, error);
    if (code != 0)
        return code;
    slots->allocated = CHUNK;
    add(slots, others, sizeof others - 1, TERN_RULE_SLOT_NONE);
    return grow(slots) == 0 ? 0 : tern_error_set(error, TERN_ENOMEM, "no memory for rule slots");
}

void tern_slots_close(struct tern_slots *slots)
{
    free(slots->table);
    *slots = (struct tern_slots){0};
}

int tern_slots_assign(struct tern_slots *slots, const struct tern_rules *rules, uint32_t **by_rule,
                      struct tern_error *error)
{
    const uint32_t rule_count = tern_rules_count(rules);
    uint32_t *assigned = calloc((size_t)rule_count + 1, sizeof *assigned);
    uint8_t *roles = calloc((size_t)rule_count + 1, sizeof *roles);
    uint32_t left_out = 0;

    if (assigned == NULL || roles == NULL)
        goto no_memory;
    tern_rules_roles(rules, roles);
    for (uint32_t i = 0; i < rule_count; i++) {
        size_t length;
        const char *id = tern_rules_name(rules, i + 1, &length);
        uint8_t kind =
            roles[i] == TERN_RULE_ROLE_SHADOW ? TERN_RULE_SLOT_SHADOW : TERN_RULE_SLOT_LIVE;
        uint32_t *place;

        if (roles[i] == TERN_RULE_ROLE_NONE)
            continue; /* can hit nothing */
        if (length > TERN_NAME_MAX)
            length = TERN_NAME_MAX;
        if (slots->count * 2 >= slots->table_size && grow(slots) != 0)
            goto no_memory;
        place = place_of(slots, id, length, kind);
        if (*place == 0)
            *place = add(slots, id, length, kind);
        assigned[i] = *place;
        left_out += *place == 0;
    }
    free(roles);
    atomic_store_explicit(&slots->seat->rules_without_slot, left_out, memory_order_relaxed);
    /* With the slots before it: pairs with the acquire of whoever reads the names. */
    atomic_store_explicit(&slots->seat->rule_slot_count, slots->count, memory_order_release);
    *by_rule = assigned;
    return 0;

no_memory:
    free(assigned);
    free(roles);
    return tern_error_set(error, TERN_ENOMEM, "no memory for the rule slots of a generation");
}
