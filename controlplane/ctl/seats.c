#include "controlplane/ctl/seats.h"

#include "controlplane/ctl/instance.h"
#include "shared/clock.h"

#include <string.h>
#include <unistd.h>

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* The board is another program's memory: a text need not be terminated there. */
static void copy_text(char *to, size_t size, const char *from)
{
    memcpy(to, from, size - 1);
    to[size - 1] = '\0';
}

static void sum_loop(struct tern_seat_sums *sums, const struct tern_loop_board *board)
{
#define X(name, text) sums->name += load(&board->counters.name);
    TERN_COUNTERS(X)
#undef X
    for (unsigned i = 0; i < TERN_STAGE_COUNT; i++)
        tern_histogram_collect(&sums->stages[i], &board->stages[i]);
}

static void copy_loop(const struct tern_seat *seat, unsigned index, struct tern_seat_loop *copy)
{
    const struct tern_reader *reader = &seat->loops[index];
    const struct tern_loop_usage *usage = &seat->usage[index];
    const struct tern_counters *counters = &seat->boards[index].counters;

    *copy = (struct tern_seat_loop){
        .epoch = load(&reader->epoch),
        .pin = load(&reader->pin),
        .generation = load(&reader->generation),
        .heartbeat_us = load(&reader->heartbeat_us),
        .requests = load(&counters->requests),
        .decisions = load(&counters->decisions),
    };
    /* Both of one note; a writer that is stopped in the middle leaves 0. */
    for (unsigned attempt = 0; attempt < 100 && copy->usage_at_ns == 0; attempt++) {
        uint64_t at_ns = atomic_load_explicit(&usage->at_ns, memory_order_acquire);

        copy->cpu_ns = load(&usage->cpu_ns);
        copy->spin_ns = load(&counters->spin_ns);
        atomic_thread_fence(memory_order_acquire); /* pairs with the release in housekeeping.c */
        if (load(&usage->at_ns) == at_ns)
            copy->usage_at_ns = at_ns;
    }
}

static int copy_rules(const struct tern_seat *seat, struct tern_seat_copy *copy)
{
    /* Pairs with the release after the slots were written; bounded before use. */
    uint32_t count = atomic_load_explicit(&seat->rule_slot_count, memory_order_acquire);

    copy->rules_without_slot =
        atomic_load_explicit(&seat->rules_without_slot, memory_order_relaxed);
    if (count > TERN_RULE_SLOTS)
        count = TERN_RULE_SLOTS;
    copy->rules = calloc(count + 1, sizeof *copy->rules);
    if (copy->rules == NULL)
        return TERN_ENOMEM;
    copy->rule_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct tern_seat_rule *rule = &copy->rules[i];

        memcpy(rule->id, seat->rule_slots[i].id, sizeof rule->id - 1);
        rule->kind = seat->rule_slots[i].kind;
    }
    for (unsigned loop = 0; loop < copy->loop_count; loop++)
        for (uint32_t i = 0; i < count; i++)
            copy->rules[i].hits += load(&seat->rule_hits[loop][i]);
    return 0;
}

static int copy_seat(const struct tern_seat *seat, unsigned index, bool rules,
                     struct tern_seat_copy *copy)
{
    *copy = (struct tern_seat_copy){
        .seat = index,
        .pid = seat->pid,
        .started_at_us = seat->started_at_us,
        /* Bounded before use: it indexes arrays. */
        .loop_count = seat->loop_count < TERN_LOOPS_MAX ? seat->loop_count : TERN_LOOPS_MAX,
        .sums = calloc(1, sizeof *copy->sums),
    };
    if (copy->sums == NULL)
        return TERN_ENOMEM;
    copy_text(copy->backend, sizeof copy->backend, seat->backend);
    copy_text(copy->backend_reason, sizeof copy->backend_reason, seat->backend_reason);
    copy->generation = copy->loop_count != 0 ? UINT64_MAX : 0;
    for (unsigned i = 0; i < copy->loop_count; i++) {
        copy_loop(seat, i, &copy->loops[i]);
        copy->generation = tern_min_u64(copy->generation, copy->loops[i].generation);
        sum_loop(copy->sums, &seat->boards[i]);
    }
    return rules ? copy_rules(seat, copy) : 0;
}

static int read_seats(const char *run_dir, bool rules, struct tern_seats *out,
                      struct tern_error *error)
{
    struct tern_seats *seats = calloc(1, sizeof *seats);
    struct tern_board_map map;
    struct tern_error cause;
    char path[TERN_PATH_MAX + 16];
    int rc;

    if (seats == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    /* Opening makes a board that is missing; looking must not. */
    snprintf(path, sizeof path, "%s/board", run_dir);
    rc = access(path, F_OK) == 0 ? tern_board_open(run_dir, false, &map, &cause) : TERN_ENOENT;
    if (rc != 0) {
        free(seats);
        if (rc == TERN_ENOENT)
            return tern_error_set(error, TERN_EUNREACHABLE,
                                  "there is no board in %s; is tern running?", run_dir);
        return tern_error_set(error, rc, "%s", cause.message);
    }
    seats->at_ns = tern_clock_now_ns();
    for (unsigned i = 0; i < TERN_SEATS_MAX && rc == 0; i++) {
        const struct tern_seat *seat = &map.board->seats[i];

        /* `ready` is stored last by the claimer; it pairs with this acquire. */
        if (tern_seat_is_live(&map, i) &&
            atomic_load_explicit(&seat->ready, memory_order_acquire) != 0)
            rc = copy_seat(seat, i, rules, &seats->items[seats->count++]);
    }
    tern_board_close(&map);
    if (rc != 0) {
        tern_seats_free(seats);
        free(seats);
        return tern_error_set(error, rc, "out of memory");
    }
    *out = *seats;
    free(seats);
    return 0;
}

int tern_seats_read(const char *run_dir, struct tern_seats *seats, struct tern_error *error)
{
    return read_seats(run_dir, false, seats, error);
}

int tern_seats_read_rules(const char *run_dir, struct tern_seats *seats, struct tern_error *error)
{
    return read_seats(run_dir, true, seats, error);
}

int tern_ctl_read_seats(const struct tern_invocation *invocation, bool rules,
                        struct tern_seats *seats)
{
    char *run_dir = NULL;
    struct tern_error error;
    int rc = tern_instance_find(invocation, &run_dir, &error);

    if (rc == 0)
        rc = read_seats(run_dir, rules, seats, &error);
    free(run_dir);
    return rc != 0 ? tern_ctl_fail(&error) : TERN_EXIT_OK;
}

void tern_ctl_pause(uint64_t us)
{
    struct timespec left = {.tv_sec = (time_t)(us / 1000000),
                            .tv_nsec = (long)(us % 1000000 * 1000)};

    while (nanosleep(&left, &left) != 0) {
    }
}

void tern_seats_free(struct tern_seats *seats)
{
    for (unsigned i = 0; i < seats->count; i++) {
        free(seats->items[i].sums);
        free(seats->items[i].rules);
    }
    seats->count = 0;
}
