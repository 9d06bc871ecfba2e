/* SEARCH: the k vectors of a collection that resemble a query most (docs/protocol.md).
 *
 * A search whose estimate fits what is left of the loop's share of this turn runs there; others go
 * to a helper, or wait for the share of another turn where no helper takes them. Both run
 * tern_search_run of shared/vector/search.h on the same bytes of the request, which are checked
 * each time against the collection as it is then. */
#ifndef TERN_DATAPLANE_SEARCH_H
#define TERN_DATAPLANE_SEARCH_H

#include "dataplane/connection.h"
#include "shared/vector/filter.h"
#include "shared/vector/search.h"

struct tern_worker;

/* Searches take so much of a loop's turn, all together, those of DECIDE included, and at most the
 * last one of them more. */
#define TERN_SEARCH_TURN_NS 50000u
/* Answers of a connection whose next request waits for its search leave so much later at most, with
 * the next ones. */
#define TERN_GATHER_NS 250000u

struct tern_searching { /* what a thread needs besides the scratch of its generation */
    struct tern_filter *filter;
    struct tern_search_hit *hits; /* TERN_SEARCH_K_MAX */
    float *query;                 /* TERN_DIM_MAX */
};

/* Off the request path. TERN_ENOMEM. */
int tern_searching_open(struct tern_searching *searching, struct tern_error *error);
void tern_searching_close(struct tern_searching *searching);

/* Answers or parks a SEARCH; false when it has to wait for another turn (tern_worker_hold) and its
 * frame stays. `body` is without trace context. */
bool tern_search_frame(struct tern_worker *worker, struct tern_connection *connection,
                       const struct tern_frame *frame, const uint8_t *body, size_t length);

#endif
