#include "dataplane/housekeeping.h"

#include "dataplane/clock.h"
#include "dataplane/log.h"
#include "shared/background.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICE     10
#define ROUND_NS 100000000 /* without a bell; also how soon a replaced arena is noticed */

static void free_offer(struct tern_offer *offer)
{
    if (offer == NULL)
        return;
    for (unsigned i = 0; i < offer->former_count; i++)
        tern_former_clear(&offer->formers[i]);
    tern_view_close(offer->view);
    free(offer->slots);
    for (unsigned i = 0; offer->rooms != NULL && offer->rooms[i] != NULL; i++)
        tern_room_free(offer->rooms[i]);
    free(offer->rooms);
    for (unsigned i = 0; offer->scratches != NULL && offer->scratches[i] != NULL; i++)
        tern_search_scratch_free(offer->scratches[i]);
    free(offer->scratches);
    free(offer);
}

/* `looking` is read first: a thread stores `serving` before it clears `looking`. */
static bool holds(const struct tern_adopter *adopter, const struct tern_offer *offer)
{
    return atomic_load_explicit(&adopter->looking, memory_order_acquire) == offer ||
           atomic_load_explicit(&adopter->serving, memory_order_acquire) == offer;
}

/* True when a loop or a helper serves the offer or is looking at it. */
static bool is_held(const struct tern_server *server, const struct tern_offer *offer)
{
    for (unsigned i = 0; i < server->worker_count; i++)
        if (holds(&server->workers[i].adopter, offer))
            return true;
    for (unsigned i = 0; i < server->helper_count; i++)
        if (holds(&server->helpers[i].adopter, offer))
            return true;
    return false;
}

static void free_withdrawn(struct tern_housekeeping *keeper)
{
    struct tern_offer **link = &keeper->withdrawn;

    if (keeper->withdrawn == NULL)
        return;
    /* Partner of the hazard pointer's seq_cst accesses in worker.c. */
    atomic_thread_fence(memory_order_seq_cst);
    while (*link != NULL) {
        struct tern_offer *offer = *link;

        if (is_held(keeper->server, offer)) {
            link = &offer->next;
        } else {
            *link = offer->next;
            free_offer(offer);
        }
    }
}

static void withdraw(struct tern_housekeeping *keeper, struct tern_offer *offer)
{
    if (offer == NULL)
        return;
    offer->next = keeper->withdrawn;
    keeper->withdrawn = offer;
}

/* Makes the loops see what there is to serve, now and after the swap. Both: a loop that serves
 * nothing yet starts with what is published while something newer is announced. */
static void publish_offers(struct tern_housekeeping *keeper)
{
    _Atomic(const struct tern_offer *) *offers = keeper->server->offers;

    atomic_store_explicit(&offers[TERN_OFFER_CURRENT], keeper->current, memory_order_seq_cst);
    atomic_store_explicit(&offers[TERN_OFFER_CANDIDATE], keeper->candidate, memory_order_seq_cst);
}

static void wake_laggards(struct tern_housekeeping *keeper)
{
    for (unsigned i = 0; i < keeper->server->worker_count; i++) {
        struct tern_worker *worker = &keeper->server->workers[i];

        if (atomic_load_explicit(&worker->adopter.serving, memory_order_acquire) != keeper->current)
            tern_worker_wake(worker);
    }
}

static bool is_root(const struct tern_offer *offer, const struct tern_arena *arena, uint64_t offset,
                    uint64_t seq)
{
    return offer != NULL && offer->arena == arena && offer->view->root_offset == offset &&
           offer->view->seq == seq;
}

/* The root at `offset`, protected by the epoch we are in; NULL when it lies nowhere. */
static const struct tern_root *root_at(const struct tern_arena *arena, uint64_t offset)
{
    return offset != 0 ? tern_arena_at(arena, offset, sizeof(struct tern_root), 8) : NULL;
}

static int add_former(struct tern_offer *offer, uint32_t era, const struct tern_schema *schema,
                      struct tern_error *error)
{
    int code;

    if (offer->former_count == TERN_FORMERS_MAX)
        return 0; /* the oldest is forgotten */
    code = tern_former_make(&offer->formers[offer->former_count], era, schema, offer->view->schema,
                            offer->view->settings->ignore_unknown_fields != 0, error);
    if (code == 0)
        offer->former_count++;
    return code;
}

/* Which ids clients may go on with: those of what is served now, when the new schema only adds to
 * it; else a new era begins, and it joins the former ones. */
static int choose_era(struct tern_housekeeping *keeper, struct tern_offer *offer,
                      struct tern_error *error)
{
    const struct tern_offer *now = keeper->current;
    int code = 0;

    if (now == NULL) {
        offer->era = ++keeper->last_era;
        return 0;
    }
    if (tern_schema_extends(now->view->schema, offer->view->schema, NULL) == 0) {
        offer->era = now->era;
    } else {
        offer->era = ++keeper->last_era;
        code = add_former(offer, now->era, now->view->schema, error);
    }
    for (unsigned i = 0; code == 0 && i < now->former_count; i++)
        code = add_former(offer, now->formers[i].era, now->formers[i].schema, error);
    return code;
}

/* A room for each loop, which it enters as it begins to serve the offer. */
static int make_rooms(const struct tern_server *server, struct tern_offer *offer,
                      struct tern_error *error)
{
    int code = 0;

    offer->rooms = calloc(server->worker_count + 1, sizeof(struct tern_room *));
    if (offer->rooms == NULL)
        code = TERN_ENOMEM;
    for (unsigned i = 0; i < server->worker_count && code == 0; i++)
        code = tern_room_new(&offer->rooms[i], offer->view->rules);
    return code == 0 ? 0 : tern_error_set(error, code, "no memory for the loops' patterns");
}

/* A scratch for each loop and helper that fits all collections; none where there are none. */
static int make_scratches(const struct tern_server *server, struct tern_offer *offer,
                          struct tern_error *error)
{
    const struct tern_view *view = offer->view;
    unsigned count = server->worker_count + server->helper_count;
    uint32_t capacity = 0, dim = 0;
    int code = 0;

    offer->scratches = calloc(count + 1, sizeof(struct tern_search_scratch *));
    if (offer->scratches == NULL)
        code = TERN_ENOMEM;
    for (unsigned id = 1; id <= view->collection_count; id++) {
        const struct tern_collection *collection = &view->collections[id];

        if (collection->header == NULL)
            continue;
        capacity = (uint32_t)tern_max_u64(capacity, collection->capacity);
        dim = (uint32_t)tern_max_u64(dim, collection->dim);
    }
    for (unsigned i = 0; code == 0 && capacity > 0 && i < count; i++)
        code = tern_search_scratch_new(&offer->scratches[i], capacity, dim);
    return code == 0 ? 0 : tern_error_set(error, code, "no memory to search the collections");
}

/* Validates, prefaults and resolves a root that our pin protects. */
static int prepare(struct tern_housekeeping *keeper, uint64_t offset, const struct tern_view *base,
                   struct tern_offer **prepared, struct tern_error *error)
{
    struct tern_offer *offer = calloc(1, sizeof *offer);
    int code;

    if (offer == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory to prepare a generation");
    offer->arena = keeper->arena;
    code = tern_view_open(keeper->arena, offset, base, &offer->view, error);
    if (code < 0) {
        free(offer);
        return code;
    }
    code = tern_slots_assign(&keeper->slots, offer->view->rules, &offer->slots, error);
    if (code == 0)
        code = choose_era(keeper, offer, error);
    if (code == 0)
        code = make_rooms(keeper->server, offer, error);
    if (code == 0)
        code = make_scratches(keeper->server, offer, error);
    if (code < 0) {
        free_offer(offer);
        return code;
    }
    tern_decoder_init(&offer->decoder, offer->view->schema,
                      tern_rules_raw_fields(offer->view->rules),
                      offer->view->settings->ignore_unknown_fields != 0);
    offer->searches = tern_rules_search(offer->view->rules);
    *prepared = offer;
    return 0;
}

static void answer(struct tern_housekeeping *keeper, uint64_t seq, uint64_t hash,
                   enum tern_answer word, const char *reason)
{
    struct tern_seat *seat = keeper->server->seat;

    snprintf(seat->answer_reason, sizeof seat->answer_reason, "%.*s", TERN_REASON_BYTES - 1,
             reason);
    atomic_store_explicit(&seat->answer_hash, hash, memory_order_relaxed);
    atomic_store_explicit(&seat->answer, word, memory_order_relaxed);
    /* Last, and with everything before it: pairs with the control plane's acquire of the seq. */
    atomic_store_explicit(&seat->answer_seq, seq, memory_order_release);
}

enum job {
    JOB_NONE,
    JOB_ROOT,         /* the published root, which we have not prepared: a late joiner */
    JOB_ANNOUNCEMENT, /* a candidate to validate and answer */
};

/* What the control plane has put up, read within our epoch. What the job needs is pinned before we
 * leave it, so that validating for seconds holds nobody's grace period up. */
struct target {
    enum job job;
    uint64_t published, published_seq;
    uint64_t announced, announced_seq, announced_hash;
    const struct tern_view
        *base; /* of the published root: its sections need no second validation */
};

static void look(struct tern_housekeeping *keeper, struct target *target)
{
    const struct tern_envelope *envelope = tern_arena_envelope(keeper->arena);
    const struct tern_arena *arena = keeper->arena;
    const struct tern_root *root;
    uint64_t pin;

    *target = (struct target){0};
    tern_reader_enter(keeper->reader, envelope);
    target->published = tern_arena_root(arena);
    root = root_at(arena, target->published);
    if (root != NULL)
        target->published_seq = root->seq;
    else
        target->published = 0;
    target->announced = atomic_load_explicit(&envelope->announced, memory_order_acquire);
    root = root_at(arena, target->announced);
    if (root != NULL) {
        target->announced_seq = root->seq;
        target->announced_hash = root->checksum;
    } else {
        target->announced = 0;
    }
    pin = target->announced != 0 ? target->announced : target->published;
    if (is_root(keeper->current, arena, target->published, target->published_seq)) {
        target->base = keeper->current->view;
    } else if (target->published != 0 && target->published_seq != keeper->refused_seq &&
               !is_root(keeper->candidate, arena, target->published, target->published_seq)) {
        target->job = JOB_ROOT;
        pin = target->published;
    }
    if (target->job == JOB_NONE && target->announced != 0 &&
        target->announced_seq !=
            atomic_load_explicit(&keeper->server->seat->answer_seq, memory_order_relaxed))
        target->job = JOB_ANNOUNCEMENT;
    atomic_store_explicit(&keeper->reader->pin, pin, memory_order_release);
    tern_reader_leave(keeper->reader);
}

static void drop_candidate(struct tern_housekeeping *keeper)
{
    withdraw(keeper, keeper->candidate);
    keeper->candidate = NULL;
}

static void go_live(struct tern_housekeeping *keeper, struct tern_offer *offer)
{
    withdraw(keeper, keeper->current);
    keeper->current = offer;
    tern_log(TERN_LOG_INFO, "generation %llu is live (%llu bytes)",
             (unsigned long long)offer->view->generation, (unsigned long long)offer->view->bytes);
}

static void prepare_root(struct tern_housekeeping *keeper, const struct target *target)
{
    struct tern_offer *prepared = NULL;
    struct tern_error error;

    drop_candidate(keeper); /* the pin is needed for the root */
    if (prepare(keeper, target->published, NULL, &prepared, &error) < 0) {
        keeper->refused_seq = target->published_seq;
        tern_log(TERN_LOG_ERROR, "the published generation cannot be served: %s", error.message);
        return;
    }
    go_live(keeper, prepared);
}

static void prepare_announcement(struct tern_housekeeping *keeper, const struct target *target)
{
    struct tern_offer *prepared = NULL;
    struct tern_error error;

    if (prepare(keeper, target->announced, target->base, &prepared, &error) < 0) {
        tern_log(TERN_LOG_WARNING, "an announced generation is rejected: %s", error.message);
        answer(keeper, target->announced_seq, target->announced_hash, TERN_ANSWER_REJECTED,
               error.message);
        return;
    }
    drop_candidate(keeper);
    keeper->candidate = prepared;
    publish_offers(keeper);
    answer(keeper, target->announced_seq, target->announced_hash, TERN_ANSWER_READY, "");
}

/* Follows a new arena that was renamed over the one we map. */
static void follow_arena(struct tern_housekeeping *keeper)
{
    struct tern_server *server = keeper->server;
    struct tern_arena *arena;
    struct tern_error error;

    if (keeper->old_arena != NULL || tern_arena_is_current(keeper->arena, server->run_dir))
        return;
    arena = malloc(sizeof *arena);
    if (arena == NULL)
        return;
    if (tern_arena_open(server->run_dir, arena, &error) < 0) {
        free(arena); /* not complete yet: tried again next round */
        return;
    }
    if (tern_seat_attach(server->seat, server->seat_index, arena, &error) < 0) {
        tern_log(TERN_LOG_ERROR, "cannot join the new arena: %s", error.message);
        tern_arena_close(arena);
        free(arena);
        return;
    }
    tern_log(TERN_LOG_INFO, "the arena was replaced; following");
    atomic_store_explicit(&keeper->reader->pin, 0, memory_order_release);
    keeper->old_arena = keeper->arena;
    keeper->arena = arena;
    withdraw(keeper, keeper->candidate);
    keeper->candidate = NULL;
    keeper->refused_seq = 0;
}

static void drop_old_arena(struct tern_housekeeping *keeper)
{
    if (keeper->old_arena == NULL ||
        (keeper->current != NULL && keeper->current->arena == keeper->old_arena))
        return;
    for (const struct tern_offer *offer = keeper->withdrawn; offer != NULL; offer = offer->next) {
        if (offer->arena == keeper->old_arena)
            return;
    }
    tern_arena_close(keeper->old_arena);
    free(keeper->old_arena);
    keeper->old_arena = NULL;
}

/* Notes the CPU time of every loop in the seat. */
static void note_usage(struct tern_server *server)
{
    for (unsigned i = 0; i < server->worker_count; i++) {
        const struct tern_worker *worker = &server->workers[i];
        struct tern_loop_usage *usage = &server->seat->usage[i];
        struct timespec used;

        if (atomic_load_explicit(&worker->state, memory_order_acquire) != TERN_WORKER_RUNNING ||
            clock_gettime(worker->cpu_clock, &used) != 0)
            continue;
        /* A reader that finds the same time before and after has both numbers of one note. */
        atomic_store_explicit(&usage->at_ns, 0, memory_order_relaxed);
        atomic_thread_fence(memory_order_release); /* pairs with the acquire fence in ctl/seats.c */
        atomic_store_explicit(&usage->cpu_ns,
                              (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec,
                              memory_order_relaxed);
        atomic_store_explicit(&usage->at_ns, tern_clock_now_ns(), memory_order_release);
    }
}

/* Returns true when there is more to do at once. */
static bool do_round(struct tern_housekeeping *keeper)
{
    struct target target;

    follow_arena(keeper);
    look(keeper, &target);
    if (is_root(keeper->candidate, keeper->arena, target.published, target.published_seq)) {
        go_live(keeper, keeper->candidate);
        keeper->candidate = NULL;
    } else if (!is_root(keeper->candidate, keeper->arena, target.announced, target.announced_seq)) {
        drop_candidate(keeper);
    }
    if (target.job == JOB_ROOT)
        prepare_root(keeper, &target);
    else if (target.job == JOB_ANNOUNCEMENT)
        prepare_announcement(keeper, &target);
    publish_offers(keeper);
    wake_laggards(keeper);
    free_withdrawn(keeper);
    drop_old_arena(keeper);
    note_usage(keeper->server);
    atomic_store_explicit(&keeper->reader->generation,
                          keeper->current != NULL ? keeper->current->view->generation : 0,
                          memory_order_relaxed);
    atomic_store_explicit(&keeper->reader->heartbeat_us, tern_clock_now_ns() / 1000,
                          memory_order_relaxed);
    return target.job != JOB_NONE;
}

static void *run(void *argument)
{
    struct tern_housekeeping *keeper = argument;
    bool yields = false;

    while (!atomic_load_explicit(&keeper->stopping, memory_order_acquire)) {
        const struct tern_envelope *envelope = tern_arena_envelope(keeper->arena);
        uint32_t bell = atomic_load_explicit(&envelope->bell, memory_order_acquire);
        struct timespec timeout = {.tv_nsec = ROUND_NS};

        /* Validating what comes next takes milliseconds to seconds, beside loops that wake every
         * few microseconds. Only while nothing is served has it nobody to yield to. */
        if (!yields && keeper->current != NULL) {
            (void)tern_background_begin(NICE);
            yields = true;
        }
        if (do_round(keeper) || tern_arena_envelope(keeper->arena) != envelope)
            continue;
        /* Wakes at once when the bell has rung since it was read; the time limit is for signals, a
         * replaced arena, and a control plane that died before it rang. */
        syscall(SYS_futex, &envelope->bell, FUTEX_WAIT, bell, &timeout, NULL, 0);
    }
    return NULL;
}

int tern_housekeeping_start(struct tern_housekeeping *housekeeping, struct tern_server *server,
                            struct tern_arena *arena, struct tern_error *error)
{
    int code;

    memset(housekeeping, 0, sizeof *housekeeping);
    housekeeping->server = server;
    housekeeping->reader = &server->seat->housekeeping;
    housekeeping->arena = arena;
    code = tern_slots_open(&housekeeping->slots, &server->board, server->seat_index,
                           server->worker_count, error);
    if (code < 0)
        return code;
    while (do_round(housekeeping)) {
    }
    if (pthread_create(&housekeeping->thread, NULL, run, housekeeping) != 0)
        return tern_error_set(error, TERN_ENOMEM, "cannot start the housekeeping thread");
    housekeeping->started = true;
    return 0;
}

void tern_housekeeping_stop(struct tern_housekeeping *housekeeping)
{
    if (housekeeping->started) {
        atomic_store_explicit(&housekeeping->stopping, true, memory_order_release);
        pthread_join(housekeeping->thread, NULL);
        housekeeping->started = false;
    }
    atomic_store_explicit(&housekeeping->reader->pin, 0, memory_order_release);
    tern_reader_leave(housekeeping->reader);
    free_offer(housekeeping->current);
    free_offer(housekeeping->candidate);
    while (housekeeping->withdrawn != NULL) {
        struct tern_offer *offer = housekeeping->withdrawn;

        housekeeping->withdrawn = offer->next;
        free_offer(offer);
    }
    tern_slots_close(&housekeeping->slots);
    if (housekeeping->old_arena != NULL) {
        tern_arena_close(housekeeping->old_arena);
        free(housekeeping->old_arena);
    }
    if (housekeeping->arena != NULL) {
        tern_arena_close(housekeeping->arena);
        free(housekeeping->arena);
    }
}
