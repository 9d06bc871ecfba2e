/* What the files of libtern-local share; not installed.
 *
 * join.c     arena and page: one stay in one arena    prepare.c  the newest root → an offer
 * local.c    open, close, the following thread        context.c  a thread's part: adopt, rest,
 * schema decide.c   requests → decisions                     query.c    look-ups and names of rules
 * search.c   searches of collections
 */
#ifndef TERN_CLIENTS_LOCAL_H
#define TERN_CLIENTS_LOCAL_H

#include "clients/c/client.h"
#include "clients/c/tern_local.h"
#include "shared/buffer.h"
#include "shared/decode.h"
#include "shared/reader_page.h"
#include "shared/vector/filter.h"
#include "shared/vector/search.h"
#include "shared/view.h"

#include <pthread.h>

/* One stay in one arena: its mapping and a page of ours. A replaced arena is joined with another
 * page, while the last contexts leave the old one. */
struct tern_local_join {
    struct tern_arena arena;
    struct tern_reader_page_map map;
    unsigned references;
    uint32_t used; /* contexts of the page that are taken, a bit each */
};
_Static_assert(TERN_READER_CONTEXTS_MAX <= 32, "a bit each");

/* A prepared generation, and whoever decides with it: the hold itself and contexts. */
struct tern_local_offer {
    struct tern_local_join *join;
    struct tern_view *view;
    struct tern_decoder decoder;
    unsigned references;
};

struct tern_local {
    char run_dir[TERN_PATH_MAX];
    char name[TERN_READER_NAME_MAX + 1];

    /* Held while a root is looked at and prepared, which may take seconds. Guards `join` and
     * `refused`. */
    pthread_mutex_t preparing;
    struct tern_local_join *join; /* where roots are looked for: the newest arena */
    uint64_t refused_seq;         /* a root that cannot be served, and why */
    struct tern_error refused;

    /* Held for instants. Guards the references, the joins' `used`, and every store of `current`. */
    pthread_mutex_t lock;
    _Atomic(struct tern_local_offer *) current; /* others only compare it */
    unsigned contexts;

    pthread_t follower;
    bool follows;
    atomic_bool stopping;
};

/* Of the hits of a context's last search, row by row. */
struct tern_local_payload {
    unsigned columns, count;
    struct tern_buffer places; /* u32 for each value: where in `bytes` it begins */
    struct tern_buffer bytes;
    uint8_t name_lengths[TERN_PAYLOAD_COLUMNS_MAX];
    char names[TERN_PAYLOAD_COLUMNS_MAX][TERN_NAME_MAX];
};

struct tern_local_context {
    struct tern_local *local;
    struct tern_local_join *join;   /* in whose page our part is */
    struct tern_local_offer *offer; /* NULL: resting */
    struct tern_reader_context *part;
    unsigned part_index;
    uint64_t seen_epoch; /* of the offer's arena when its root was last looked at */
    uint64_t looked_ns;  /* coarse clock, when the arena's file was last looked at */

    struct tern_client_schema schema;
    struct tern_client_name *names;

    struct tern_scratch *scratch;
    uint8_t *space;
    struct tern_facts *facts; /* TERN_VECTOR_WIDTH of them */
    const struct tern_facts *items[TERN_VECTOR_WIDTH];
    size_t facts_bytes;
    struct tern_verdict verdicts[TERN_VECTOR_WIDTH];
    struct tern_buffer json;
    struct tern_search_scratch *search_scratch; /* of the largest collection searched */
    struct tern_filter *filter;
    struct tern_search_hit hits[TERN_SEARCH_K_MAX];
    struct tern_local_payload payload;
    uint8_t cells[TERN_COLUMNS_MAX][16];
};

#pragma GCC visibility push(hidden)

/* join.c. TERN_E* as of tern_local_open. */
int tern_local_join_open(const char *run_dir, const char *name, struct tern_local_join **join,
                         struct tern_error *error);
/* Both with `lock` held, or while nobody else knows the join. */
void tern_local_join_release(struct tern_local_join *join);
/* A context's index in the page: there are as many as a hold may have contexts. */
unsigned tern_local_join_take(struct tern_local_join *join);

/* prepare.c: 1 when there is a new offer, 0 when not, or an error. With `preparing` held. */
int tern_local_prepare(struct tern_local *local, struct tern_error *error);
/* With `lock` held. */
void tern_local_offer_release(struct tern_local_offer *offer);

/* context.c: makes the newest offer the context's. 1 when that changes anything, 0 when not, or an
 * error. */
int tern_local_adopt(struct tern_local_context *context, struct tern_error *error);

/* Before every use: one load when nothing has changed. */
static inline int tern_local_ready(struct tern_local_context *context, struct tern_error *error)
{
    if (TERN_LIKELY(atomic_load_explicit(&context->local->current, memory_order_acquire) ==
                    context->offer))
        return 0;
    return tern_local_adopt(context, error);
}

#pragma GCC visibility pop

#endif
