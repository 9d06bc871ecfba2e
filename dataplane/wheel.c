#include "dataplane/wheel.h"

void tern_wheel_init(struct tern_wheel *wheel, uint64_t now_ns)
{
    wheel->tick = now_ns / TERN_WHEEL_TICK_NS;
    memset(wheel->occupied, 0, sizeof wheel->occupied);
    for (unsigned i = 0; i < TERN_WHEEL_SLOTS; i++)
        wheel->slots[i].next = wheel->slots[i].previous = &wheel->slots[i];
}

static unsigned slot_of(const struct tern_wheel *wheel, uint64_t tick)
{
    uint64_t furthest = wheel->tick + TERN_WHEEL_SLOTS - 1;

    return (unsigned)(tern_min_u64(tick, furthest) % TERN_WHEEL_SLOTS);
}

void tern_wheel_cancel(struct tern_wheel *wheel, struct tern_timer *timer)
{
    struct tern_timer *neighbour = timer->next;

    if (neighbour == NULL)
        return;
    neighbour->previous = timer->previous;
    timer->previous->next = neighbour;
    timer->next = timer->previous = NULL;
    if (neighbour->next ==
        neighbour) { /* only a list's head is its own neighbour: the list is empty */
        size_t slot = (size_t)(neighbour - wheel->slots);

        wheel->occupied[slot / 64] &= ~(1ull << (slot % 64));
    }
}

static void insert(struct tern_wheel *wheel, struct tern_timer *timer)
{
    unsigned slot = slot_of(wheel, timer->at_tick);
    struct tern_timer *head = &wheel->slots[slot];

    timer->next = head;
    timer->previous = head->previous;
    head->previous->next = timer;
    head->previous = timer;
    wheel->occupied[slot / 64] |= 1ull << (slot % 64);
}

void tern_wheel_set(struct tern_wheel *wheel, struct tern_timer *timer, uint64_t at_ns)
{
    tern_wheel_cancel(wheel, timer);
    timer->at_tick = tern_max_u64(at_ns / TERN_WHEEL_TICK_NS + 1, wheel->tick);
    insert(wheel, timer);
}

struct tern_timer *tern_wheel_expire(struct tern_wheel *wheel, uint64_t now_ns, unsigned *looks)
{
    uint64_t now_tick = now_ns / TERN_WHEEL_TICK_NS;

    while (wheel->tick <= now_tick) {
        unsigned slot = (unsigned)(wheel->tick % TERN_WHEEL_SLOTS);
        struct tern_timer *head = &wheel->slots[slot];

        /* A timer beyond the wheel's span sat in the last slot of its round; it goes round again.
         */
        while (head->next != head) {
            struct tern_timer *timer = head->next;
            bool due = timer->at_tick <= now_tick;

            if (*looks == 0)
                return NULL;
            --*looks;
            tern_wheel_cancel(wheel, timer);
            if (due)
                return timer;
            insert(wheel, timer);
        }
        wheel->tick++;
    }
    return NULL;
}

uint64_t tern_wheel_wait_ns(const struct tern_wheel *wheel, uint64_t now_ns)
{
    unsigned start = (unsigned)(wheel->tick % TERN_WHEEL_SLOTS);

    for (unsigned step = 0; step <= TERN_WHEEL_SLOTS / 64; step++) {
        unsigned word = (start / 64 + step) % (TERN_WHEEL_SLOTS / 64);
        uint64_t bits = wheel->occupied[word];
        uint64_t ticks, at_ns;
        unsigned slot;

        if (step == 0)
            bits &= ~0ull << (start % 64);
        if (bits == 0)
            continue;
        slot = word * 64 + (unsigned)__builtin_ctzll(bits);
        ticks = (slot + TERN_WHEEL_SLOTS - start) % TERN_WHEEL_SLOTS;
        at_ns = (wheel->tick + ticks) * TERN_WHEEL_TICK_NS;
        return at_ns > now_ns ? at_ns - now_ns : 0;
    }
    return UINT64_MAX;
}
