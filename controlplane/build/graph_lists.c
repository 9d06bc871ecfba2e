#include "controlplane/build/graph_private.h"

/* A writer's own loads are relaxed; every store of a link is a release: a reader that follows it
 * (acquire) sees the slot's values. */
static uint32_t get(const _Atomic uint32_t *list, unsigned place)
{
    return atomic_load_explicit(&list[place], memory_order_relaxed);
}

static void set(_Atomic uint32_t *list, unsigned place, uint32_t target)
{
    atomic_store_explicit(&list[place], target, memory_order_release);
}

unsigned tern_graph_list_read(const _Atomic uint32_t *list, unsigned length, uint32_t *targets)
{
    unsigned count = 0;

    for (unsigned i = 0; i < length; i++)
        if (get(list, i) != TERN_SLOT_NONE)
            targets[count++] = get(list, i);
    return count;
}

bool tern_graph_list_has(const _Atomic uint32_t *list, unsigned length, uint32_t target)
{
    for (unsigned i = 0; i < length; i++)
        if (get(list, i) == target)
            return true;
    return false;
}

bool tern_graph_list_add(_Atomic uint32_t *list, unsigned length, uint32_t target)
{
    unsigned hole = length;

    for (unsigned i = 0; i < length; i++) {
        if (get(list, i) == target)
            return true;
        if (get(list, i) == TERN_SLOT_NONE && hole == length)
            hole = i;
    }
    if (hole == length)
        return false;
    set(list, hole, target);
    return true;
}

void tern_graph_list_remove(_Atomic uint32_t *list, unsigned length, uint32_t target)
{
    for (unsigned i = 0; i < length; i++)
        if (get(list, i) == target)
            set(list, i, TERN_SLOT_NONE);
}

void tern_graph_list_replace(_Atomic uint32_t *list, unsigned length, uint32_t from, uint32_t to)
{
    for (unsigned i = 0; i < length; i++) {
        if (get(list, i) == from) {
            set(list, i, to);
            return;
        }
    }
}

void tern_graph_list_set(_Atomic uint32_t *list, unsigned length, const uint32_t *targets,
                         unsigned count)
{
    uint64_t stays[2] = {0, 0};
    unsigned place = 0;

    /* New links first, in holes and over what goes; then what still has to go. */
    for (unsigned t = 0; t < count; t++) {
        for (unsigned i = 0; i < length; i++) {
            if (get(list, i) == targets[t] && (stays[i / 64] >> i % 64 & 1) == 0) {
                stays[i / 64] |= 1ull << i % 64;
                break;
            }
        }
    }
    for (unsigned t = 0; t < count; t++) {
        if (tern_graph_list_has(list, length, targets[t]))
            continue;
        while ((stays[place / 64] >> place % 64 & 1) != 0)
            place++;
        set(list, place, targets[t]);
        stays[place / 64] |= 1ull << place % 64;
    }
    for (unsigned i = 0; i < length; i++)
        if ((stays[i / 64] >> i % 64 & 1) == 0 && get(list, i) != TERN_SLOT_NONE)
            set(list, i, TERN_SLOT_NONE);
}

void tern_graph_list_clear_unseen(_Atomic uint32_t *list, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        atomic_store_explicit(&list[i], TERN_SLOT_NONE, memory_order_relaxed);
}
