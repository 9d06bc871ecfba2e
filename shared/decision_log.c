#include "shared/decision_log.h"

/* The oldest record that cannot be overwritten while the writer is in the burst after `head`. */
static uint64_t oldest_safe(uint64_t head)
{
    return head + TERN_LOG_BURST > TERN_LOG_RECORDS ? head + TERN_LOG_BURST - TERN_LOG_RECORDS : 0;
}

/* In whole words, relaxed: the writer may be at work on them, which the caller finds out. */
static void copy(struct tern_log_record *to, const struct tern_log_record *from)
{
    uint64_t *words = (uint64_t *)to;
    const uint64_t *source = (const uint64_t *)from;

    _Static_assert(sizeof *to % sizeof *words == 0, "whole words");
    for (unsigned i = 0; i < TERN_LOG_WORDS; i++)
        words[i] = __atomic_load_n(&source[i], __ATOMIC_RELAXED);
}

static unsigned kind_at(const struct tern_log_ring *ring, uint64_t index)
{
    struct tern_log_record record;

    copy(&record, &ring->records[index & (TERN_LOG_RECORDS - 1)]);
    return record.kind;
}

unsigned tern_log_read(const struct tern_log_ring *ring, uint64_t *position,
                       struct tern_log_record *records, unsigned capacity, uint64_t *lost)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire); /* tern_log_end */
    uint64_t from = *position, safe = oldest_safe(head);
    unsigned count, overwritten = 0;

    if (from > head)
        from = safe;
    if (from < safe) {
        *lost += safe - from;
        from = safe;
    }
    count = (unsigned)tern_min_u64(head - from, capacity);
    if (from + count < head && kind_at(ring, from + count) == TERN_LOG_TRACE)
        count--; /* its decision comes with it next time */
    for (unsigned i = 0; i < count; i++)
        copy(&records[i], &ring->records[(from + i) & (TERN_LOG_RECORDS - 1)]);
    /* Pairs with the release fence of tern_log_begin: had a copy seen anything of a later burst,
     * the head it starts from is seen here. */
    atomic_thread_fence(memory_order_acquire);
    safe = oldest_safe(atomic_load_explicit(&ring->head, memory_order_relaxed));
    if (from < safe)
        overwritten = (unsigned)tern_min_u64(safe - from, count);
    if (overwritten > 0)
        memmove(records, records + overwritten, (count - overwritten) * sizeof *records);
    *lost += overwritten;
    *position = from + count;
    return count - overwritten;
}
