/* Generations that this process has prepared, and how its threads come to serve them: housekeeping
 * offers, each request loop and each helper adopts for itself. */
#ifndef TERN_DATAPLANE_OFFER_H
#define TERN_DATAPLANE_OFFER_H

#include "dataplane/former.h"
#include "shared/board.h"
#include "shared/view.h"
#include "shared/vector/search.h"

/* A generation prepared by housekeeping, as threads serve it. Immutable once offered; freed by
 * housekeeping when no thread holds it. */
struct tern_offer {
    const struct tern_arena *arena;
    struct tern_view *view;
    struct tern_decoder decoder;
    bool searches; /* its rules may search collections */
    uint32_t era;  /* from 1: grows when clients' ids lose their meaning */
    unsigned former_count;
    struct tern_former formers[TERN_FORMERS_MAX]; /* the newest first */
    uint32_t *slots;                              /* where the hits of each rule are counted */
    struct tern_room **rooms; /* what each loop needs to decide by it; NULL-terminated */
    /* what each loop, then each helper, needs to search its collections; NULL-terminated */
    struct tern_search_scratch **scratches;
    struct tern_offer *next; /* housekeeping's list of those withdrawn */
};

enum tern_offer_slot {
    TERN_OFFER_CANDIDATE = 0, /* announced; NULL when none is */
    TERN_OFFER_CURRENT,       /* published */
    TERN_OFFERS,
};

/* A thread's side of it. */
struct tern_adopter {
    struct tern_reader *reader;
    const struct tern_offer *now;                     /* NULL: nothing */
    const struct tern_offer *considered[TERN_OFFERS]; /* looked at last; only ever compared */
    /* read by housekeeping */
    _Atomic(const struct tern_offer *) serving TERN_ALIGNED(64); /* what `now` is */
    _Atomic(const struct tern_offer *) looking;                  /* hazard: being considered */
};

/* Enters the epoch (one load when it has not moved), and serves the newest root among the offers
 * when it is another than `now`: pins it, then calls `serve` with it as `now`. */
typedef void (*tern_adopter_serve)(void *context, const struct tern_offer *offer);
void tern_adopter_look_closely(struct tern_adopter *adopter,
                               _Atomic(const struct tern_offer *) *offers,
                               enum tern_offer_slot slot, tern_adopter_serve serve, void *context);
static inline void tern_adopter_look(struct tern_adopter *adopter,
                                     _Atomic(const struct tern_offer *) *offers,
                                     tern_adopter_serve serve, void *context)
{
    if (TERN_LIKELY(adopter->now != NULL))
        tern_reader_enter(adopter->reader, tern_arena_envelope(adopter->now->arena));
    if (TERN_UNLIKELY(atomic_load_explicit(&offers[TERN_OFFER_CURRENT], memory_order_acquire) !=
                      adopter->now))
        tern_adopter_look_closely(adopter, offers, TERN_OFFER_CURRENT, serve, context);
    if (TERN_UNLIKELY(atomic_load_explicit(&offers[TERN_OFFER_CANDIDATE], memory_order_acquire) !=
                      NULL))
        tern_adopter_look_closely(adopter, offers, TERN_OFFER_CANDIDATE, serve, context);
}

/* An offer is there that was not considered yet. What was considered and is still not the root is
 * no news; housekeeping wakes us for the swap. */
bool tern_adopter_has_news(const struct tern_adopter *adopter,
                           _Atomic(const struct tern_offer *) *offers);

/* Serves nothing any more: withdraws the pin, leaves the epoch. */
void tern_adopter_stop(struct tern_adopter *adopter);

#endif
