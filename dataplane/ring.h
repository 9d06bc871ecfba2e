/* A queue of pointers from one thread to one other (Lamport 1983; the far side's index is kept, as
 * in FastForward and MCRingBuffer, so that a push or a pop usually touches no line of the other).
 *
 * What was stored before a push is seen after the pop. Neither waits; who finds it empty and wants
 * to sleep follows the protocol of helper.h or worker.c. */
#ifndef TERN_DATAPLANE_RING_H
#define TERN_DATAPLANE_RING_H

#include "shared/base.h"

#define TERN_RING_SLOTS 64u /* a power of two */

struct tern_ring { /* zeroed: empty */
    /* the pushing thread's */
    _Atomic uint32_t tail TERN_ALIGNED(64);
    uint32_t head_seen;
    /* the popping thread's */
    _Atomic uint32_t head TERN_ALIGNED(64);
    uint32_t tail_seen;
    void *slots[TERN_RING_SLOTS] TERN_ALIGNED(64);
};

/* False when it is full. By the one thread that pushes. */
static inline bool tern_ring_push(struct tern_ring *ring, void *item)
{
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    if (tail - ring->head_seen == TERN_RING_SLOTS) {
        /* Acquire pairs with the release in pop: the slot was read before it is written again. */
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail - ring->head_seen == TERN_RING_SLOTS)
            return false;
    }
    ring->slots[tail % TERN_RING_SLOTS] = item;
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

/* True when nothing is there to be popped. By the one thread that pops. */
static inline bool tern_ring_is_empty(struct tern_ring *ring)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

    if (head != ring->tail_seen)
        return false;
    /* Acquire pairs with the release in push. */
    ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return head == ring->tail_seen;
}

/* The oldest item, NULL when there is none. By the one thread that pops. */
static inline void *tern_ring_pop(struct tern_ring *ring)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    void *item;

    if (tern_ring_is_empty(ring))
        return NULL;
    item = ring->slots[head % TERN_RING_SLOTS];
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return item;
}

#endif
