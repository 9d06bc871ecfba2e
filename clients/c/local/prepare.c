/* The newest root, validated and resolved in this process. The same order as ternd's housekeeping:
 * pinned within an epoch in which it is the root, prepared while the pin protects it, offered, and
 * only then is the offer before it let go. */
#include "clients/c/local/local.h"

void tern_local_offer_release(struct tern_local_offer *offer)
{
    assert(offer->references > 0);
    if (--offer->references > 0)
        return;
    tern_view_close(offer->view);
    tern_local_join_release(offer->join);
    free(offer);
}

static struct tern_local_offer *current_of(const struct tern_local *local)
{
    return atomic_load_explicit(&local->current, memory_order_relaxed);
}

/* Joins the arena that was renamed over ours, once it is complete and has a page for us. */
static void follow_arena(struct tern_local *local)
{
    struct tern_local_join *join;

    if (tern_arena_is_current(&local->join->arena, local->run_dir) ||
        tern_local_join_open(local->run_dir, local->name, &join, NULL) != 0)
        return;
    pthread_mutex_lock(&local->lock);
    tern_local_join_release(local->join);
    pthread_mutex_unlock(&local->lock);
    local->join = join;
    local->refused_seq = 0;
}

/* The root there is, pinned when it is not the one already prepared; NULL when there is nothing to
 * do. */
static const struct tern_root *find_root(struct tern_local *local, uint64_t *offset)
{
    const struct tern_arena *arena = &local->join->arena;
    struct tern_reader *reader = &local->join->map.page->preparing;
    const struct tern_local_offer *current = current_of(local);
    const struct tern_root *root;

    tern_reader_enter(reader, tern_arena_envelope(arena));
    *offset = tern_arena_root(arena);
    root = *offset == 0 ? NULL : tern_arena_at(arena, *offset, sizeof *root, TERN_PAGE);
    if (root != NULL && current != NULL && current->join == local->join &&
        current->view->root_offset == *offset && current->view->seq == root->seq)
        root = NULL;
    if (root != NULL)
        atomic_store_explicit(&reader->pin, *offset, memory_order_release);
    tern_reader_leave(reader);
    return root;
}

static int prepare_offer(struct tern_local *local, uint64_t offset,
                         struct tern_local_offer **prepared, struct tern_error *error)
{
    const struct tern_local_offer *current = current_of(local);
    /* what is offered is pinned: its sections need no second validation */
    const struct tern_view *base =
        current != NULL && current->join == local->join ? current->view : NULL;
    struct tern_local_offer *offer = calloc(1, sizeof *offer);
    int code;

    if (offer == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory to prepare a generation");
    code = tern_view_open(&local->join->arena, offset, base, &offer->view, error);
    if (code != 0) {
        free(offer);
        return code;
    }
    tern_decoder_init(&offer->decoder, offer->view->schema,
                      tern_rules_raw_fields(offer->view->rules),
                      offer->view->settings->ignore_unknown_fields != 0);
    offer->references = 1;
    *prepared = offer;
    return 0;
}

/* Hands the pin on from `preparing` to `prepared` and the offer to the contexts. */
static void offer(struct tern_local *local, struct tern_local_offer *fresh)
{
    struct tern_reader_page *page = local->join->map.page;
    struct tern_local_offer *old = current_of(local);

    pthread_mutex_lock(&local->lock);
    /* Together with `current`: a context pins what is current, which must be pinned here as well.
     */
    atomic_store_explicit(&page->prepared.pin, fresh->view->root_offset, memory_order_release);
    atomic_store_explicit(&page->prepared.generation, fresh->view->generation,
                          memory_order_relaxed);
    fresh->join = local->join;
    fresh->join->references++;
    atomic_store_explicit(&local->current, fresh, memory_order_release);
    if (old != NULL) {
        if (old->join != fresh->join)
            atomic_store_explicit(&old->join->map.page->prepared.pin, 0, memory_order_release);
        tern_local_offer_release(old);
    }
    pthread_mutex_unlock(&local->lock);
}

int tern_local_prepare(struct tern_local *local, struct tern_error *error)
{
    struct tern_local_offer *fresh = NULL;
    const struct tern_root *root;
    struct tern_error why;
    uint64_t offset, seq;
    int code;

    follow_arena(local);
    root = find_root(local, &offset);
    if (root == NULL) {
        if (current_of(local) == NULL)
            return tern_error_set(error, TERN_EAGAIN, "%s: nothing is published yet",
                                  local->run_dir);
        return 0;
    }
    seq = root->seq;
    if (seq == local->refused_seq) {
        code = tern_error_set(error, local->refused.code, "%s", local->refused.message);
    } else {
        code = prepare_offer(local, offset, &fresh, &why);
        if (code == 0) {
            offer(local, fresh);
        } else {
            local->refused_seq = code == TERN_ENOMEM ? 0 : seq;
            tern_error_set(&local->refused, code,
                           "the published generation cannot be served: %.400s", why.message);
            code = tern_error_set(error, code, "%s", local->refused.message);
        }
    }
    atomic_store_explicit(&local->join->map.page->preparing.pin, 0, memory_order_release);
    return code == 0 ? 1 : code;
}
