/* libtern-local: deciding in the caller's own thread, without a server in between.
 *
 *     struct tern_local *local;
 *     struct tern_local_context *context;
 *     struct tern_request *request;
 *     struct tern_decision decision;
 *     int ip, path;
 *
 *     tern_local_open("/run/tern/edge", NULL, &local, &error);
 *     tern_local_context_open(local, &context, &error);
 *     tern_request_new_for(tern_local_schema(context), 0, &request);
 *     ip = tern_local_field(context, "ip");
 *     path = tern_local_field(context, "path");
 *     for (each request of yours) {
 *         tern_local_refresh(context, NULL);
 *         tern_request_reset(request);
 *         tern_item_add(request);
 *         tern_item_set_ip(request, ip, address, 4);
 *         tern_item_set_string(request, path, target, target_length);
 *         if (tern_local_decide(context, request, &decision, &error) == 0)
 *             act_on(decision.verdict.action);
 *     }
 *
 * The program maps the instance's arena read-only and evaluates the very rules and tables that
 * ternd serves, with the very same code; requests are built as for the network client
 * (clients/c/tern.h). What needs a server stays there: tier 2 (an escalation answers its
 * `meanwhile`, DEGRADED), the decision log, hit counters and stage times. Decisions are counted in
 * the reader's page (`ternctl readers`).
 *
 * Threads: a `tern_local` is the process's hold on the instance and may be shared by all its
 * threads; every thread has a context of its own (up to 30 a hold, 64 holds an instance), and the
 * requests made for it. Context functions never block on each other, except for the instants in
 * which one adopts a generation, and tern_local_refresh for as long as it prepares one. After
 * tern_local_open and tern_local_context_open neither tern_local_decide nor tern_local_lookup
 * allocates or makes a system call, except that adopting a generation may.
 *
 * A generation in use stays in memory. A thread that pauses for long calls tern_local_rest, or
 * keeps what it used last from being freed; `ternctl status` names a process that does. Nothing has
 * to be cleaned up after a process that dies. A hold does not survive fork: open it in the child.
 *
 * The process needs read access to the run directory, to the arena, and write access to a page in
 * readers/: with the usual modes, it is a member of tern-control's group.
 *
 * Functions return 0 or a negative TERN_E*, say in `error` (may be NULL) what went wrong, and leave
 * output parameters untouched on failure. */
#ifndef TERN_LOCAL_H
#define TERN_LOCAL_H

#include "tern.h"

struct tern_local;
struct tern_local_context;

/* Zero in any member means its default. */
struct tern_local_options {
    const char *name; /* who is asking, for `ternctl readers`; at most 63 bytes of it are kept */
    bool follow;      /* a thread prepares new generations; tern_local_refresh need not be called */
};

/* Maps the instance whose run directory this is, takes a reader's page and prepares what is
 * published (milliseconds to seconds: every byte of its tables is read once). TERN_ENOENT there is
 * no instance; TERN_EAGAIN it has published nothing yet; TERN_EBUSY all pages are taken;
 * TERN_EACCES this user may not; TERN_EABI it is of an incompatible version; TERN_ECORRUPT;
 * TERN_ENOMEM. */
int tern_local_open(const char *run_dir, const struct tern_local_options *options,
                    struct tern_local **local, struct tern_error *error);

/* Lets go of everything; NULL is fine. Its contexts are closed first by the caller. */
void tern_local_close(struct tern_local *local);

/* A context for one thread at a time, ready to decide. TERN_ELIMIT when there are 30. */
int tern_local_context_open(struct tern_local *local, struct tern_local_context **context,
                            struct tern_error *error);
/* NULL is fine. Requests made for its schema are freed first by the caller. */
void tern_local_context_close(struct tern_local_context *context);

/* Sees whether anything newer is published, prepares it in this thread if so, and adopts it. Costs
 * one load and a look at the coarse clock when nothing has changed. Returns 1 when the context now
 * decides with another generation, 0 when not (also when another thread is preparing one: its
 * result is adopted when it is ready). On failure the context goes on with what it has:
 * TERN_ECORRUPT, TERN_EABI or TERN_ENOMEM, once more each time it is asked, until something else is
 * published. */
int tern_local_refresh(struct tern_local_context *context, struct tern_error *error);

/* Lets go of the generation in use; the next call that needs one adopts the newest prepared. */
void tern_local_rest(struct tern_local_context *context);

/* The generation the context decided with last, 0 while it rests. */
uint64_t tern_local_generation(const struct tern_local_context *context);

/* What requests may carry, as of the generation last adopted; at the same address for the context's
 * life, its lists valid until the context adopts another. When ids have changed their meaning,
 * requests built before are refused with TERN_EABI. */
const struct tern_client_schema *tern_local_schema(const struct tern_local_context *context);
int tern_local_field(const struct tern_local_context *context, const char *name);
int tern_local_table(const struct tern_local_context *context, const char *name);
int tern_local_collection(const struct tern_local_context *context, const char *name);

/* Decides every item with one generation, the newest prepared: decisions[i] for item i, so there
 * are tern_request_count of them (`age_ms` is 0). All is validated before anything is decided.
 * TERN_EINVAL a value is malformed, or the builder's first failure; TERN_EABI the schema has
 * changed since the request was reset. */
int tern_local_decide(struct tern_local_context *context, const struct tern_request *request,
                      struct tern_decision *decisions, struct tern_error *error);

/* Why the request's one item is decided as it is: a JSON text of *length bytes, valid until the
 * next call. Allocates. */
int tern_local_explain(struct tern_local_context *context, const struct tern_request *request,
                       const char **json, size_t *length, struct tern_error *error);

/* Looks `key` (the wire form of the table's key type) up. Writes at most `capacity` columns, valid
 * until the context's next call, and the number there are; a set has none. TERN_ENOENT the key is
 * not there or there is no such table; TERN_EINVAL it is no key of that type; TERN_ENOTSUP a
 * pattern set has no keys. */
int tern_local_lookup(struct tern_local_context *context, int table, const void *key,
                      size_t key_length, struct tern_client_column *columns, unsigned capacity,
                      unsigned *count, struct tern_error *error);

/* The vectors that resemble search->vector most, found in this thread: writes at most k hits and
 * how many there are. What was acknowledged before the call is found. The flags are
 * TERN_SEARCH_EXACT and TERN_SEARCH_PAYLOAD; there is no deadline. The first search of a context,
 * the first of a larger collection, and one with more payload than any before it allocate.
 * TERN_ENOENT no such collection; TERN_EAGAIN it is not there yet; TERN_EINVAL k, ef, a value or
 * the filter (with the byte); TERN_ENOMEM. */
int tern_local_search(struct tern_local_context *context, const struct tern_client_search *search,
                      struct tern_client_hit *hits, unsigned *count, struct tern_error *error);

/* What the hits of the context's last search carry, when it was made with TERN_SEARCH_PAYLOAD: the
 * number of columns; a column's name (not terminated); its value for hit `hit` as on the wire, of
 * type 0 where there is none. These are copies of the moment of the search: they stay until the
 * context searches again or is closed, whatever is written, published or let go of meanwhile.
 * TERN_EINVAL when there is no such hit or column. */
unsigned tern_local_payload_columns(const struct tern_local_context *context);
int tern_local_payload_name(const struct tern_local_context *context, unsigned column,
                            const char **name, size_t *length);
int tern_local_payload(const struct tern_local_context *context, unsigned hit, unsigned column,
                       struct tern_client_column *value);

/* The rule of that 1-based index (tern_decision.verdict.rule) in the generation last used.
 * TERN_ENOENT past the end. */
int tern_local_rule(const struct tern_local_context *context, uint32_t index,
                    struct tern_client_rule *rule);

#endif
