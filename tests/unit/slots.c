#include "tests/unit/unit.h"

#include "controlplane/publish/writer.h"
#include "dataplane/slots.h"
#include "tests/unit/folder.h"

#include <unistd.h>

/* Rules as slots.c sees them: a list of ids and roles. */
struct tern_rules {
    uint32_t count;
    char (*ids)[TERN_NAME_MAX + 1];
    uint8_t *roles;
};

uint32_t tern_rules_count(const struct tern_rules *rules)
{
    return rules->count;
}

const char *tern_rules_name(const struct tern_rules *rules, uint32_t index, size_t *length)
{
    *length = strlen(rules->ids[index - 1]);
    return rules->ids[index - 1];
}

void tern_rules_roles(const struct tern_rules *rules, uint8_t *roles)
{
    memcpy(roles, rules->roles, rules->count);
}

static char run_dir[FOLDER_PATH];
static struct tern_writer writer;
static struct tern_board_map map;
static struct tern_arena arena;
static struct tern_seat *seat;
static struct tern_slots slots;

static int setup(TERN_TEST_STATE)
{
    const struct tern_writer_numbers numbers = {0};
    unsigned index;

    if (folder_make(run_dir) != 0 ||
        tern_writer_open(run_dir, 16 << 20, &numbers, false, &writer, NULL) != 0 ||
        tern_board_open(run_dir, true, &map, NULL) != 0 ||
        tern_arena_open(run_dir, &arena, NULL) != 0 ||
        tern_seat_claim(&map, &arena, 2, &index, NULL) != 0)
        return -1;
    seat = &map.board->seats[index];
    return tern_slots_open(&slots, &map, index, 2, NULL);
}

static int teardown(TERN_TEST_STATE)
{
    tern_slots_close(&slots);
    tern_arena_close(&arena);
    tern_board_close(&map);
    tern_writer_close(&writer);
    return folder_remove(run_dir);
}

/* `count` rules whose ids are numbers from `first` on. */
static struct tern_rules make_rules(uint32_t first, uint32_t count)
{
    struct tern_rules rules = {.count = count};

    rules.ids = calloc(count, sizeof *rules.ids);
    rules.roles = malloc(count);
    assert_non_null(rules.ids);
    assert_non_null(rules.roles);
    memset(rules.roles, TERN_RULE_ROLE_LIVE, count);
    for (uint32_t i = 0; i < count; i++)
        snprintf(rules.ids[i], sizeof rules.ids[i], "rule-%u", first + i);
    return rules;
}

static uint32_t *assign(struct tern_rules *rules)
{
    uint32_t *by_rule = NULL;

    assert_int_equal(tern_slots_assign(&slots, rules, &by_rule, NULL), 0);
    return by_rule;
}

static void drop(struct tern_rules *rules, uint32_t *by_rule)
{
    free(rules->ids);
    free(rules->roles);
    free(by_rule);
}

static void an_id_keeps_its_slot(TERN_TEST_STATE)
{
    struct tern_rules old = make_rules(0, 3000);
    struct tern_rules without = make_rules(1000, 3000);
    struct tern_rules again = make_rules(500, 2000);
    uint32_t *first = assign(&old), *second = assign(&without), *third = assign(&again);

    for (uint32_t i = 0; i < 3000; i++) {
        assert_int_not_equal(first[i], 0);
        assert_string_equal(seat->rule_slots[first[i]].id, old.ids[i]);
        assert_int_equal(seat->rule_slots[first[i]].kind, TERN_RULE_SLOT_LIVE);
        if (i >= 1000)
            assert_int_equal(second[i - 1000], first[i]);
    }
    for (uint32_t i = 0; i < 2000; i++)
        assert_int_equal(third[i], first[500 + i]);
    assert_int_equal(seat->rule_slot_count, 1 + 4000);
    /* memory behind every slot of every loop */
    atomic_store(&seat->rule_hits[1][4000], 7);
    assert_int_equal(seat->rule_hits[0][4000], 0);
    drop(&old, first);
    drop(&without, second);
    drop(&again, third);
}

static void shadow_is_apart_and_what_cannot_hit_has_none(TERN_TEST_STATE)
{
    struct tern_rules rules = make_rules(0, 3);
    uint32_t *live = assign(&rules), *shadow, *back;

    rules.roles[1] = TERN_RULE_ROLE_SHADOW;
    rules.roles[2] = TERN_RULE_ROLE_NONE;
    shadow = assign(&rules);
    assert_int_equal(shadow[0], live[0]);
    assert_int_not_equal(shadow[1], live[1]);
    assert_int_equal(seat->rule_slots[shadow[1]].kind, TERN_RULE_SLOT_SHADOW);
    assert_int_equal(shadow[2], 0);
    assert_int_equal(seat->rules_without_slot, 0);
    rules.roles[1] = TERN_RULE_ROLE_LIVE;
    back = assign(&rules);
    assert_int_equal(back[1], live[1]);
    free(shadow);
    free(back);
    drop(&rules, live);
}

static void the_longest_id_fills_its_slot(TERN_TEST_STATE)
{
    struct tern_rules rules = make_rules(0, 2);
    uint32_t *first, *second;

    memset(rules.ids[0], 'a', TERN_NAME_MAX);
    memset(rules.ids[1], 'a', TERN_NAME_MAX - 1);
    first = assign(&rules);
    second = assign(&rules);
    assert_int_not_equal(first[0], first[1]);
    assert_memory_equal(first, second, 2 * sizeof *first);
    assert_memory_equal(seat->rule_slots[first[0]].id, rules.ids[0], TERN_NAME_MAX);
    free(second);
    drop(&rules, first);
}

static void what_finds_no_slot_shares_the_first(TERN_TEST_STATE)
{
    struct tern_rules rules = make_rules(0, TERN_RULES_MAX);
    struct tern_rules more = make_rules(TERN_RULES_MAX, TERN_RULES_MAX);
    uint32_t *first = assign(&rules), *second = assign(&more);

    assert_int_not_equal(second[TERN_RULES_MAX - 2], 0);
    assert_int_equal(second[TERN_RULES_MAX - 1], 0); /* slot 0 is nobody's */
    assert_int_equal(seat->rules_without_slot, 1);
    assert_int_equal(seat->rule_slot_count, TERN_RULE_SLOTS);
    assert_string_equal(seat->rule_slots[0].id, "(others)");
    assert_int_equal(seat->rule_slots[0].kind, TERN_RULE_SLOT_NONE);
    drop(&more, second);
    second = assign(&rules);
    assert_memory_equal(first, second, TERN_RULES_MAX * sizeof *first);
    assert_int_equal(seat->rules_without_slot, 0);
    free(second);
    drop(&rules, first);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_id_keeps_its_slot),
        T(shadow_is_apart_and_what_cannot_hit_has_none),
        T(the_longest_id_fills_its_slot),
        T(what_finds_no_slot_shares_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
