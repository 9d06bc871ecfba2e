#include "dataplane/decide.h"

#include "dataplane/clock.h"
#include "dataplane/worker.h"

int tern_vector_open(struct tern_vector *vector, struct tern_error *error)
{
    size_t facts_bytes = tern_align_up(tern_facts_bytes(TERN_FIELDS_MAX), TERN_CACHE_LINE);
    int code;

    memset(vector, 0, sizeof *vector);
    vector->width = TERN_VECTOR_WIDTH;
    vector->facts = aligned_alloc(TERN_CACHE_LINE, TERN_VECTOR_WIDTH * facts_bytes);
    vector->space = malloc((size_t)TERN_VECTOR_WIDTH * TERN_DECODE_ITEM_BYTES);
    vector->former_space = malloc((size_t)TERN_VECTOR_WIDTH * TERN_FORMER_ITEM_BYTES);
    vector->former_facts = aligned_alloc(TERN_CACHE_LINE, facts_bytes);
    if (vector->facts == NULL || vector->space == NULL || vector->former_space == NULL ||
        vector->former_facts == NULL) {
        tern_vector_close(vector);
        return tern_error_set(error, TERN_ENOMEM, "no memory for a loop's vector");
    }
    code = tern_scratch_new(&vector->scratch);
    if (code < 0) {
        tern_vector_close(vector);
        return tern_error_set(error, code, "no memory for a loop's rule scratch");
    }
    memset(vector->facts, 0, TERN_VECTOR_WIDTH * facts_bytes);
    tern_vector_shape(vector, TERN_FIELDS_MAX);
    return 0;
}

void tern_vector_close(struct tern_vector *vector)
{
    free(vector->facts);
    free(vector->space);
    free(vector->former_space);
    free(vector->former_facts);
    if (vector->scratch != NULL)
        tern_scratch_free(vector->scratch);
    memset(vector, 0, sizeof *vector);
}

void tern_vector_shape(struct tern_vector *vector, unsigned slot_count)
{
    assert(vector->count == 0);
    vector->facts_bytes = tern_align_up(tern_facts_bytes(slot_count), TERN_CACHE_LINE);
    for (unsigned i = 0; i < TERN_VECTOR_WIDTH; i++)
        vector->items[i] = tern_vector_slot(vector, i);
}

/* A verdict's first word, moved up by 16 bits with the item number below it, is an item's first
 * word on the wire (the cause falls off the end); the second words are equal. Two moves instead of
 * a structure put together from bytes, which stalls on its own narrow stores. */
_Static_assert(sizeof(struct tern_verdict) == 16 && offsetof(struct tern_verdict, action) == 0 &&
                   offsetof(struct tern_verdict, tier) == 1 &&
                   offsetof(struct tern_verdict, flags) == 2 &&
                   offsetof(struct tern_verdict, max_age_s) == 4 &&
                   offsetof(struct tern_verdict, cause) == 6 &&
                   offsetof(struct tern_verdict, rule) == 8 &&
                   offsetof(struct tern_verdict, score) == 12,
               "the words of a verdict");
_Static_assert(offsetof(struct tern_decide_item, item) == 0 &&
                   offsetof(struct tern_decide_item, action) == 2 &&
                   offsetof(struct tern_decide_item, tier) == 3 &&
                   offsetof(struct tern_decide_item, flags) == 4 &&
                   offsetof(struct tern_decide_item, max_age_s) == 6 &&
                   offsetof(struct tern_decide_item, rule) == 8 &&
                   offsetof(struct tern_decide_item, score) == 12,
               "the words of an item");

static inline void write_item(uint8_t *out, unsigned item, const struct tern_verdict *verdict,
                              uint64_t decision_key, bool detail)
{
    const uint8_t *words = (const uint8_t *)verdict;

    tern_store_u64(out, tern_load_u64(words) << 16 | item);
    tern_store_u64(out + 8, tern_load_u64(words + 8));
    if (detail) {
        struct tern_decide_detail more = {.decision_key = decision_key, .cause = verdict->cause};

        memcpy(out + sizeof(struct tern_decide_item), &more, sizeof more);
    }
}

/* What one vector has in common in its log records. */
struct tern_log_common {
    uint64_t at_us;
    uint64_t generation;
    uint32_t recv_ns, decode_ns, tier1_ns;
};

/* The words of a record; see write_item for why words. A verdict's second word is a record's
 * fourth. */
_Static_assert(offsetof(struct tern_log_record, rule) == 24 &&
                   offsetof(struct tern_log_record, score) == 28 &&
                   offsetof(struct tern_log_record, action) == 32 &&
                   offsetof(struct tern_log_record, tier) == 33 &&
                   offsetof(struct tern_log_record, flags) == 34 &&
                   offsetof(struct tern_log_record, cause) == 36 &&
                   offsetof(struct tern_log_record, kind) == 37 &&
                   offsetof(struct tern_log_record, item) == 38 &&
                   offsetof(struct tern_log_record, request_id) == 40 &&
                   offsetof(struct tern_log_record, stage_ns) == 44,
               "the words of a record");

/* Writes what is logged of one item; returns the head behind it. */
static inline uint64_t write_log(struct tern_log_ring *ring, uint64_t head,
                                 const struct tern_log_common *common,
                                 const struct tern_verdict *verdict, uint64_t decision_key,
                                 uint32_t request_id, unsigned item, const uint8_t *trace)
{
    const uint8_t *of_verdict = (const uint8_t *)verdict;
    uint64_t first = tern_load_u64(of_verdict);
    const uint64_t words[TERN_LOG_WORDS] = {
        common->at_us,
        decision_key,
        common->generation,
        tern_load_u64(of_verdict + 8),
        (first & UINT32_MAX) | (first >> 48 & 0xff) << 32 | (uint64_t)TERN_LOG_DECISION << 40 |
            (uint64_t)item << 48,
        request_id | (uint64_t)common->recv_ns << 32,
        common->decode_ns | (uint64_t)common->tier1_ns << 32,
        0,
    };

    tern_log_put(ring, head++, words);
    if (TERN_UNLIKELY(trace != NULL)) {
        struct tern_log_trace context = {.kind = TERN_LOG_TRACE};
        uint64_t context_words[TERN_LOG_WORDS];

        memcpy(context.context, trace, sizeof context.context);
        memcpy(context_words, &context, sizeof context_words);
        tern_log_put(ring, head++, context_words);
    }
    return head;
}

/* The ring is larger than the nearer caches: its lines come while the rules run. */
static inline void prefetch_log(struct tern_log_ring *ring, uint64_t head, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        __builtin_prefetch(tern_log_address(ring, head + i), 1);
}

static inline uint32_t clip_u32(uint64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

void tern_worker_charge(struct tern_worker *worker, struct tern_searched before)
{
    struct tern_searched after = tern_scratch_searched(worker->vector.scratch);
    uint64_t spent_ns = after.spent_ns - before.spent_ns;

    tern_counter_add(&worker->board->counters.searches_similar, after.count - before.count);
    worker->searched_ns += spent_ns;
    worker->search_left_ns -= tern_min_u64(spent_ns, worker->search_left_ns);
}

/* tern_rules_decide where rules may search: what that takes is of the turn's share. */
static __attribute__((noinline)) void decide_searching(struct tern_worker *worker, unsigned count)
{
    struct tern_vector *vector = &worker->vector;
    struct tern_searched before = tern_scratch_searched(vector->scratch);

    tern_rules_decide(worker->adopter.now->view->rules, vector->scratch, vector->items, count,
                      vector->verdicts);
    vector->search_ns = 0;
    vector->width = TERN_VECTOR_WIDTH;
    tern_worker_charge(worker, before);
}

/* Decides the first `count` slots and counts it all. */
static void decide_slots(struct tern_worker *worker, unsigned count, struct tern_log_common *common)
{
    struct tern_vector *vector = &worker->vector;
    struct tern_counters *counters = &worker->board->counters;
    unsigned by_action[4] = {0}, degraded = 0, unruled = 0;

    vector->decoded_ns = tern_worker_clock(worker);
    if (TERN_LIKELY(!worker->searches))
        tern_rules_decide(worker->adopter.now->view->rules, vector->scratch, vector->items, count,
                          vector->verdicts);
    else
        decide_searching(worker, count);
    vector->decided_ns = tern_worker_clock(worker);

    for (unsigned i = 0; i < count; i++) {
        by_action[vector->verdicts[i].action & 3]++;
        degraded += (vector->verdicts[i].flags & TERN_VERDICT_DEGRADED) != 0;
        unruled += vector->verdicts[i].rule == 0;
    }
    tern_counter_add(&counters->decisions, count);
    tern_counter_add(&counters->allowed, by_action[TERN_ALLOW]);
    tern_counter_add(&counters->denied, by_action[TERN_DENY]);
    tern_counter_add(&counters->challenged, by_action[TERN_CHALLENGE]);
    tern_counter_add(&counters->undecided, by_action[TERN_UNDECIDED]);
    tern_counter_add(&counters->degraded, degraded);
    tern_counter_add(&counters->unruled, unruled);

    *common = (struct tern_log_common){
        .at_us = (vector->decided_ns + worker->wall_offset_ns) / 1000,
        .generation = worker->adopter.now->view->generation,
        .recv_ns = clip_u32(vector->started_ns - worker->now_ns),
        .decode_ns = clip_u32(vector->decoded_ns - vector->started_ns),
        .tier1_ns = clip_u32(vector->decided_ns - vector->decoded_ns),
    };
}

/* As tern_frame_store and tern_decide_reply, in whole words; see write_item. */
static inline void write_header(uint8_t *out, uint32_t body_bytes, uint32_t request_id,
                                uint32_t generation, unsigned count)
{
    tern_store_u32(out, TERN_WIRE_MAGIC | TERN_OP_DECIDE << 8);
    tern_store_u32(out + 4, body_bytes);
    tern_store_u32(out + 8, request_id);
    tern_store_u32(out + 12, generation);
    tern_store_u64(out + TERN_FRAME_HEADER, count);
}

static void write_group(struct tern_worker *worker, const struct tern_group *group,
                        uint32_t generation)
{
    struct tern_vector *vector = &worker->vector;
    struct tern_connection *connection = group->connection;
    bool detail = (group->flags & TERN_REQUEST_DETAIL) != 0;
    size_t item_bytes = detail ? 32 : 16;
    size_t body_bytes = sizeof(struct tern_decide_reply) + group->count * item_bytes;
    uint8_t *out;

    if (connection->state == TERN_CONNECTION_CLOSING)
        return;
    out = tern_connection_reserve(&worker->pool, connection, TERN_FRAME_HEADER + body_bytes);
    if (TERN_UNLIKELY(out == NULL)) {
        tern_counter_add(&worker->board->counters.overloaded, 1);
        tern_worker_close(worker, connection);
        return;
    }
    write_header(out, (uint32_t)body_bytes, group->request_id, generation, group->count);
    out += TERN_FRAME_HEADER + sizeof(struct tern_decide_reply);
    for (unsigned i = 0; i < group->count; i++) {
        unsigned slot = group->first + i;

        write_item(out, i, &vector->verdicts[slot], vector->items[slot]->decision_key, detail);
        out += item_bytes;
    }
    connection->output_end += (uint32_t)(TERN_FRAME_HEADER + body_bytes);
    tern_worker_touch(worker, connection);
}

void tern_worker_decide(struct tern_worker *worker)
{
    struct tern_vector *vector = &worker->vector;
    struct tern_log_ring *log = &worker->board->log;
    unsigned count = vector->count, group_count = vector->group_count;
    uint64_t head = tern_log_begin(log);
    struct tern_log_common common;

    if (count == 0)
        return;
    /* Emptied first: closing a connection below asks for what waits to be decided. */
    vector->count = vector->group_count = 0;
    vector->space_used = 0;
    prefetch_log(log, head, count);
    decide_slots(worker, count, &common);
    tern_timing_add(&worker->timing, worker->board->stages, worker->now_ns, vector->started_ns,
                    vector->decoded_ns, vector->decided_ns, group_count);
    for (unsigned g = 0; g < group_count; g++) {
        const struct tern_group *group = &vector->groups[g];

        for (unsigned i = 0; i < group->count; i++)
            head = write_log(log, head, &common, &vector->verdicts[group->first + i],
                             vector->items[group->first + i]->decision_key, group->request_id, i,
                             group->trace);
        write_group(worker, group, (uint32_t)common.generation);
    }
    tern_log_end(log, head);
}

void tern_worker_decide_slots(struct tern_worker *worker, unsigned count, unsigned first_item,
                              uint32_t request_id, uint8_t flags, const uint8_t *trace,
                              uint8_t *out)
{
    struct tern_vector *vector = &worker->vector;
    struct tern_log_ring *log = &worker->board->log;
    uint64_t head = tern_log_begin(log);
    bool detail = (flags & TERN_REQUEST_DETAIL) != 0;
    struct tern_log_common common;

    prefetch_log(log, head, count);
    decide_slots(worker, count, &common);
    for (unsigned i = 0; i < count; i++) {
        uint64_t decision_key = vector->items[i]->decision_key;

        head = write_log(log, head, &common, &vector->verdicts[i], decision_key, request_id,
                         first_item + i, trace);
        write_item(out, first_item + i, &vector->verdicts[i], decision_key, detail);
        out += detail ? 32 : 16;
    }
    tern_log_end(log, head);
}
