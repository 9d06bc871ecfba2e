/* libtern: the client of a tern server.
 *
 *     struct tern_client *client;
 *     struct tern_request *request;
 *     struct tern_decision decision;
 *     int ip, path;
 *
 *     tern_client_open("tcp://127.0.0.1:7400", NULL, &client, &error);
 *     tern_request_new(client, 0, &request);
 *     ip = tern_client_field(client, "ip");
 *     path = tern_client_field(client, "path");
 *     for (each request of yours) {
 *         tern_request_reset(request);
 *         tern_item_add(request);
 *         tern_item_set_ip(request, ip, address, 4);
 *         tern_item_set_string(request, path, target, target_length);
 *         if (tern_client_decide(client, request, NULL, &decision, &error) == 0)
 *             act_on(decision.verdict.action);
 *     }
 *
 * One client is one connection and belongs to one thread at a time; so does a request. Different
 * clients share nothing. After tern_client_open and tern_request_new no call allocates, except that
 * a reconnect may grow the buffers when the server's limits have grown.
 *
 * Functions return 0 or a negative TERN_E* and, where they take a `struct tern_error` (may be
 * NULL), say in it what went wrong. Output parameters stay untouched on failure unless stated.
 * SIGPIPE is never raised.
 *
 * A connection that breaks is made anew by the next call, with growing pauses and at most for the
 * call's timeout. What was in flight when it broke is reported as TERN_ECLOSED: whether the server
 * acted on it is not known, so it is not sent again unless `retry` is set. */
#ifndef TERN_H
#define TERN_H

#include "shared/error.h"
#include "shared/verdict.h"
#include "shared/wire.h"

struct tern_client;
struct tern_request;

/* Zero in any member means its default. */
struct tern_client_options {
    const char *token;           /* at most 255 bytes; none by default */
    const char *name;            /* who is asking, for the server's records; at most 253 bytes */
    uint32_t connect_timeout_ms; /* resolving excepted, which the system bounds; default 1000 */
    uint32_t call_timeout_ms;    /* of every call, a reconnect within it included; default 1000 */
    uint32_t
        backoff_first_ms; /* pause after the first failed reconnect, then doubling; default 10 */
    uint32_t backoff_last_ms; /* the longest pause; default 1000 */
    uint32_t pipeline;        /* requests in flight, 1…4096; default 256 */
    uint32_t spin_us;         /* look for a reply without sleeping this long; default 0 */
    bool retry; /* a blocking call whose connection broke is sent once more (not submitted ones) */
};

/* Connects to "tcp://host:port", "tcp://[::1]:port" or "unix:///path" and introduces itself
 * (HELLO). TERN_EINVAL the address; TERN_EUNREACHABLE nobody there; TERN_EACCES the token;
 * TERN_EAGAIN the server has nothing to serve yet; TERN_ETIMEDOUT; TERN_ECORRUPT not a tern server;
 * TERN_ENOMEM. */
int tern_client_open(const char *address, const struct tern_client_options *options,
                     struct tern_client **client, struct tern_error *error);

/* Closes and frees; NULL is fine. Requests made for the client are freed first by the caller. */
void tern_client_close(struct tern_client *client);

/* Changes the timeout of later calls. */
void tern_client_set_timeout(struct tern_client *client, uint32_t call_timeout_ms);

/* The socket, for poll(): readable when a reply waits. −1 while not connected. It may change with
 * every call. */
int tern_client_fd(const struct tern_client *client);

/* The wire status (enum tern_status) of the last reply that was turned into an error. */
unsigned tern_client_status(const struct tern_client *client);

/* --- Schema -------------------------------------------------------------------------------------
 */

struct tern_client_name { /* a field, table or collection */
    uint16_t id;
    uint8_t type; /* the wire's type numbers, shared/schema.h; a table's is that of its key */
    uint8_t name_length;
    uint32_t dim; /* vectors */
    char name[256];
};

struct tern_client_schema {
    uint64_t hash;
    uint64_t generation; /* when the connection was made */
    uint32_t max_frame_bytes;
    uint16_t field_count;
    uint16_t table_count;
    uint16_t collection_count;
    const struct tern_client_name *fields;
    const struct tern_client_name *tables;
    const struct tern_client_name *collections;
    uint32_t serial; /* grows when an id known before lost its meaning */
};

/* What the server accepts, as of the last connect; valid until the next call. */
const struct tern_client_schema *tern_client_schema(const struct tern_client *client);

/* The id of the field, table or collection of that name, or TERN_ENOENT. Ids outlive reconnects;
 * when the server came back with other ids, requests built before are refused with TERN_EABI. */
int tern_client_field(const struct tern_client *client, const char *name);
int tern_client_table(const struct tern_client *client, const char *name);
int tern_client_collection(const struct tern_client *client, const char *name);

/* --- Requests -----------------------------------------------------------------------------------
 */

/* A batch of items to decide, 1…4096, in memory of its own: build it once, reset and fill it for
 * every call. `capacity_bytes` 0 means the server's max_frame. TERN_ENOMEM. */
int tern_request_new(const struct tern_client *client, uint32_t capacity_bytes,
                     struct tern_request **request);
void tern_request_free(struct tern_request *request);

/* The same for the schema of another way to decide (clients/c/tern_local.h): `schema` stays where
 * it is for as long as the request. */
int tern_request_new_for(const struct tern_client_schema *schema, uint32_t capacity_bytes,
                         struct tern_request **request);
/* What DECIDE carries, valid until the request is changed: for those who decide by other means.
 * Fails like tern_client_decide for a request that has no item, remembers a failure, or is of
 * another schema (TERN_EABI). */
int tern_request_body(const struct tern_request *request, const struct tern_client_schema *schema,
                      const uint8_t **body, size_t *length, struct tern_error *error);

/* Empties it, for the client's present schema. */
void tern_request_reset(struct tern_request *request);
unsigned tern_request_count(const struct tern_request *request);

/* Begins the next item; the setters below fill the one begun last. Every function here remembers
 * the first failure, which tern_client_decide then reports: checking each is possible, not needed.
 * TERN_ELIMIT when there are 4096 items or no room. */
int tern_item_add(struct tern_request *request);

/* Each sets one field, at most once an item. TERN_ENOENT no such field; TERN_EINVAL not of that
 * type, a size the type does not have, NaN, or no item begun; TERN_ELIMIT no room. `field` may be
 * the failed result of tern_client_field: that is TERN_ENOENT here. */
int tern_item_set_ip(struct tern_request *request, int field, const void *network_order,
                     size_t length);
int tern_item_set_string(struct tern_request *request, int field, const char *text, size_t length);
int tern_item_set_u64(struct tern_request *request, int field, uint64_t value);
int tern_item_set_i64(struct tern_request *request, int field, int64_t value);
int tern_item_set_f32(struct tern_request *request, int field, float value);
int tern_item_set_bool(struct tern_request *request, int field, bool value);
int tern_item_set_vector(struct tern_request *request, int field, const float *values,
                         uint32_t dim);
/* The caller's own decision key: comes back with DETAIL and stands in the server's decision log. */
int tern_item_set_key(struct tern_request *request, uint64_t key);

/* --- Decisions ----------------------------------------------------------------------------------
 */

struct tern_decision {
    struct tern_verdict verdict; /* `cause` only with DETAIL */
    uint32_t generation;         /* low 32 bits of the one that answered */
    uint32_t age_ms;             /* with DETAIL, as is: */
    uint64_t decision_key;
    bool answered; /* false only while a submitted request is not complete */
};

struct tern_call {        /* NULL in its place: all zero */
    uint8_t flags;        /* TERN_REQUEST_WAIT, _FRESH, _DETAIL */
    uint32_t deadline_us; /* the server's; 0 its default */
    const uint8_t *trace; /* TERN_TRACE_BYTES of W3C trace context (trace id 16, parent id 8,
                             flags 1), or NULL; stands in the server's decision log */
};

/* Decides every item: decisions[i] for item i, so there are tern_request_count of them. Fails as a
 * whole: TERN_EINVAL refused as malformed (or the builder's first failure), TERN_ELIMIT too large,
 * TERN_EAGAIN not ready, TERN_EBUSY overloaded, TERN_ETIMEDOUT, TERN_ECLOSED the connection broke,
 * TERN_EUNREACHABLE no connection within the timeout, TERN_EABI the schema has changed since the
 * request was reset, TERN_ECORRUPT a malformed reply. */
int tern_client_decide(struct tern_client *client, const struct tern_request *request,
                       const struct tern_call *call, struct tern_decision *decisions,
                       struct tern_error *error);

/* Sends without waiting. The request may be reset at once; `decisions` must stay until *id has been
 * collected, is filled as frames arrive, and is not touched afterwards. Frames are gathered and
 * sent when the buffer is full, on _flush and on _collect. TERN_EAGAIN: collect something first
 * (`pipeline` requests are in flight, or the server is about to go away). */
int tern_client_submit(struct tern_client *client, const struct tern_request *request,
                       const struct tern_call *call, struct tern_decision *decisions, uint32_t *id,
                       struct tern_error *error);
int tern_client_flush(struct tern_client *client, struct tern_error *error);

/* Waits for the reply to `id`, all its frames joined, and forgets the id. Errors as of _decide, and
 * TERN_ENOENT for an id that is not in flight. After TERN_ETIMEDOUT a late reply is thrown away. */
int tern_client_collect(struct tern_client *client, uint32_t id, struct tern_error *error);

/* Likewise for whichever is complete first: *id is set on success and on the failure of a request;
 * TERN_ENOENT when nothing is in flight. On TERN_ETIMEDOUT nothing is forgotten and *id is 0. */
int tern_client_collect_any(struct tern_client *client, uint32_t *id, struct tern_error *error);

/* Asks the server to stop working on a submitted request, and does not wait: collect it as before.
 * It then fails with TERN_ECANCELLED, or is answered all the same when the server was done with it
 * first (only a batch that takes several frames is ever cut short; what came of it stays in its
 * `decisions`). TERN_ENOENT for an id that is not in flight; a connection that broke is an error of
 * _collect. */
int tern_client_cancel(struct tern_client *client, uint32_t id, struct tern_error *error);

/* How many are submitted and not collected. */
unsigned tern_client_in_flight(const struct tern_client *client);

/* Why the items are decided as they are: a JSON text of *length bytes, valid until the next call.
 */
int tern_client_explain(struct tern_client *client, const struct tern_request *request,
                        const char **json, size_t *length, struct tern_error *error);

/* --- Searches -----------------------------------------------------------------------------------
 */

struct tern_client_column {
    uint8_t type; /* 0: the record, or the vector, has no such value */
    uint16_t length;
    const uint8_t *value; /* as on the wire; valid until the next call */
};

struct tern_client_search {
    int collection; /* tern_client_collection */
    uint32_t dim;   /* of `vector` */
    const float *vector;
    uint32_t k;           /* 1…1000 */
    uint32_t ef;          /* candidates that are kept, at most 4096; 0: the collection's */
    uint16_t flags;       /* enum tern_search_flags: exact, with payload */
    const char *filter;   /* which vectors may be hits (docs/protocol.md); NULL: all */
    uint32_t deadline_us; /* the server's; 0 its default */
};

struct tern_client_hit {
    uint64_t id;
    float score; /* cosine similarity or dot product, larger is nearer; l2: the distance */
};

/* The vectors that resemble `vector` most, the best first: writes at most k hits and how many there
 * are. TERN_ENOENT no such collection; TERN_EINVAL what the server refuses, with its message (a
 * filter's error names the byte); TERN_EBUSY too many searches wait; otherwise as
 * tern_client_decide. */
int tern_client_search(struct tern_client *client, const struct tern_client_search *search,
                       struct tern_client_hit *hits, unsigned *count, struct tern_error *error);

/* Of the last search, made with TERN_SEARCH_PAYLOAD; valid until the next call. The number of
 * columns; a column's name (not terminated); its value for hit `hit`, of type 0 where there is
 * none. TERN_EINVAL when there is no such hit or column. */
unsigned tern_client_payload_columns(const struct tern_client *client);
int tern_client_payload_name(const struct tern_client *client, unsigned column, const char **name,
                             size_t *length);
int tern_client_payload(const struct tern_client *client, unsigned hit, unsigned column,
                        struct tern_client_column *value);

struct tern_client_collection { /* as it is served */
    uint16_t id;
    uint8_t metric;   /* 1 cosine, 2 l2, 3 dot */
    uint8_t quantize; /* what its graph is searched in: 0 f32, 1 int8 */
    uint32_t dim;
    uint32_t capacity; /* vectors */
    uint32_t vectors;  /* that are found at this moment */
    uint32_t ef;       /* of a search that names none */
    unsigned column_count;
    struct {
        uint8_t type; /* the wire's */
        char name[64];
    } columns[16]; /* of the payload */
};
/* TERN_ENOENT no such collection; TERN_EAGAIN it is not there yet; TERN_EINVAL the server does not
 * know the question; otherwise as tern_client_decide. */
int tern_client_describe_collection(struct tern_client *client, int collection,
                                    struct tern_client_collection *described,
                                    struct tern_error *error);

/* --- The rest -----------------------------------------------------------------------------------
 */

/* Answered by a live server even when it has nothing to serve. */
int tern_client_ping(struct tern_client *client, struct tern_error *error);

/* Looks `key` (the wire form of the table's key type) up. Writes at most `capacity` columns and the
 * number there are. TERN_ENOENT when the key is not there or the table is unknown. */
int tern_client_lookup(struct tern_client *client, int table, const void *key, size_t key_length,
                       struct tern_client_column *columns, unsigned capacity, unsigned *count,
                       struct tern_error *error);

struct tern_client_rule {
    uint32_t index; /* 1-based, as in tern_decision.verdict.rule */
    uint8_t action; /* enum tern_action */
    uint8_t name_length;
    char name[256];
};

struct tern_client_page {
    uint32_t total;      /* rules of that generation */
    uint32_t generation; /* low 32 bits; pages of different ones do not belong together */
    uint32_t count;      /* rules written */
};

/* Names rules from index `first` (1-based) on: as many as `capacity` and one frame hold. */
int tern_client_describe(struct tern_client *client, uint32_t first, struct tern_client_rule *rules,
                         uint32_t capacity, struct tern_client_page *page,
                         struct tern_error *error);

#endif
