#include "dataplane/offer.h"

static void serve_now(struct tern_adopter *adopter, const struct tern_offer *offer,
                      tern_adopter_serve serve, void *context)
{
    /* The pin comes first: from here on the root is protected by it and no longer by the epoch
     * only. */
    atomic_store_explicit(&adopter->reader->pin, offer->view->root_offset, memory_order_release);
    atomic_store_explicit(&adopter->reader->generation, offer->view->generation,
                          memory_order_release);
    adopter->now = offer;
    serve(context, offer);
    atomic_store_explicit(&adopter->serving, offer, memory_order_release);
}

void tern_adopter_look_closely(struct tern_adopter *adopter,
                               _Atomic(const struct tern_offer *) *offers,
                               enum tern_offer_slot slot, tern_adopter_serve serve, void *context)
{
    _Atomic(const struct tern_offer *) *source = &offers[slot];
    const struct tern_offer *offer;

    /* Hazard pointer (Michael, 2004): either housekeeping's scan sees `looking`, or the second load
     * sees that the offer was withdrawn. Pairs with the fence in housekeeping.c. */
    do {
        offer = atomic_load_explicit(source, memory_order_acquire);
        atomic_store_explicit(&adopter->looking, offer, memory_order_seq_cst);
    } while (offer != atomic_load_explicit(source, memory_order_seq_cst));
    adopter->considered[slot] = offer;

    if (offer != NULL && offer != adopter->now) {
        const struct tern_root *root;
        uint64_t root_offset;

        if (adopter->now != NULL && adopter->now->arena != offer->arena) {
            /* Another arena took this one's place; nobody reclaims the old one any more. */
            tern_reader_leave(adopter->reader);
            atomic_store_explicit(&adopter->reader->pin, 0, memory_order_release);
        }
        tern_reader_enter(adopter->reader, tern_arena_envelope(offer->arena));
        root_offset = tern_arena_root(offer->arena);
        if (root_offset == offer->view->root_offset) {
            root = tern_arena_at(offer->arena, root_offset, sizeof *root, 8);
            if (root != NULL && root->seq == offer->view->seq)
                serve_now(adopter, offer, serve, context);
        }
    }
    atomic_store_explicit(&adopter->looking, NULL, memory_order_release);
}

bool tern_adopter_has_news(const struct tern_adopter *adopter,
                           _Atomic(const struct tern_offer *) *offers)
{
    for (unsigned slot = 0; slot < TERN_OFFERS; slot++) {
        const struct tern_offer *offer = atomic_load_explicit(&offers[slot], memory_order_acquire);

        if (offer != NULL && offer != adopter->now && offer != adopter->considered[slot])
            return true;
    }
    return false;
}

void tern_adopter_stop(struct tern_adopter *adopter)
{
    adopter->now = NULL;
    for (unsigned slot = 0; slot < TERN_OFFERS; slot++)
        adopter->considered[slot] = NULL;
    atomic_store_explicit(&adopter->serving, NULL, memory_order_release);
    atomic_store_explicit(&adopter->reader->pin, 0, memory_order_release);
    tern_reader_leave(adopter->reader);
}
