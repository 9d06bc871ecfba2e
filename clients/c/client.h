/* What the files of libtern share; not installed.
 *
 * address.c  text → socket address, connect        stream.c   bytes out and in, frames, deadlines
 * pipeline.c requests in flight, replies scattered  hello.c    introduction, schema
 * client.c   open, close, reconnect                 request.c  items to bytes
 * calls.c    the blocking operations                search.c   searches */
#ifndef TERN_CLIENTS_CLIENT_H
#define TERN_CLIENTS_CLIENT_H

#include "clients/c/tern.h"

/* A request id is a slot's number below this bit and the slot's use count above, so that a reply
 * finds its slot without a search and a late one for an abandoned id is recognised. */
#define TERN_CLIENT_SLOT_BITS 12u
#define TERN_CLIENT_SLOTS_MAX (1u << TERN_CLIENT_SLOT_BITS)
#define TERN_CLIENT_NONE      UINT16_MAX
#define TERN_CLIENT_CANCEL_ID                                                                      \
    1u /* a use count of 0: no slot has it, so its reply is passed over                            \
        */

#define TERN_CLIENT_TOKEN_MAX 255u
#define TERN_CLIENT_NAME_MAX  253u
_Static_assert(2 + 1 + TERN_CLIENT_TOKEN_MAX + 1 + TERN_CLIENT_NAME_MAX <= TERN_HELLO_MAX,
               "the longest HELLO is one the server takes");

struct tern_client_slot {
    uint32_t id; /* 0: free */
    uint32_t uses;
    uint16_t next, previous;   /* free list, or list of the done */
    uint16_t count, remaining; /* items asked for, not yet answered */
    bool done;
    bool detail;
    uint8_t status;
    int result;
    struct tern_decision *decisions; /* NULL: the body goes to client.reply */
    char message[160];
};

struct tern_client_buffer {
    uint8_t *data;
    size_t capacity;
    size_t start; /* first byte not yet sent or parsed */
    size_t end;
};

struct tern_client {
    int fd; /* −1: not connected */
    bool going_away;
    unsigned status;
    struct tern_client_options options;
    uint64_t active_ns; /* of the last bytes either way */

    struct tern_client_buffer out;
    struct tern_client_buffer in;
    struct tern_client_buffer reply; /* body of the one blocking call that wants bytes */
    bool reply_overflow;
    uint32_t reply_generation;

    struct tern_client_slot *slots;
    uint16_t free_first;
    uint16_t done_first, done_last;
    unsigned in_flight;

    /* of the last search, into `reply` */
    unsigned hit_count, payload_columns;
    uint32_t payload_names, payload_values; /* offsets */

    struct tern_client_schema schema;
    struct tern_client_name *names;

    uint64_t attempt_ns; /* not before this the next reconnect */
    uint64_t backoff_ns;
    uint64_t random;

    char *address;
    char token[TERN_CLIENT_TOKEN_MAX + 1];
    char name[TERN_CLIENT_NAME_MAX + 1];
};

struct tern_request {
    const struct tern_client_schema *schema;
    uint32_t serial; /* the schema's when it was reset */
    uint32_t capacity;
    uint32_t length;
    uint32_t item; /* offset of the current item's length, 0 before the first */
    uint16_t count;
    int failure; /* the first one */
    uint16_t failure_item;
    int failure_field;
    uint64_t present[4]; /* fields of the current item */
    uint8_t data[];      /* the body of DECIDE */
};

#pragma GCC visibility push(hidden)

/* address.c. Fails like tern_client_open; the socket is non-blocking. */
int tern_client_dial(const char *address, uint64_t deadline_ns, int *fd, struct tern_error *error);

/* stream.c. All of them break the connection when it cannot be used any more. */
int tern_client_buffer_grow(struct tern_client_buffer *buffer, size_t capacity);
/* Appends a frame whose body is `trace` (may be NULL) followed by `body`, sending what is in the
 * way. */
int tern_client_put(struct tern_client *client, struct tern_frame frame, const uint8_t *trace,
                    const void *body, uint64_t deadline_ns, struct tern_error *error);
/* Sends everything appended, taking replies meanwhile. */
int tern_client_push(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error);
/* Waits for bytes and takes the whole frames among them. */
int tern_client_pull(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error);
/* Takes what is there without waiting. */
int tern_client_poll(struct tern_client *client, struct tern_error *error);
/* Closes; everything in flight is done with `code`. Returns `code`. */
int tern_client_break(struct tern_client *client, int code, const char *why);

/* pipeline.c */
int tern_client_slots_new(struct tern_client *client);
/* A slot for one request; NULL when all are in use. */
struct tern_client_slot *tern_client_slot_take(struct tern_client *client);
struct tern_client_slot *tern_client_slot_find(struct tern_client *client, uint32_t id);
void tern_client_slot_free(struct tern_client *client, struct tern_client_slot *slot);
void tern_client_slot_fail(struct tern_client *client, struct tern_client_slot *slot, int code,
                           const char *message, size_t length);
/* Gives a frame to whoever asked. TERN_ECORRUPT when it cannot be true. */
int tern_client_deliver(struct tern_client *client, struct tern_frame frame, const uint8_t *body);
/* Appends a DECIDE whose answers go to `decisions`. */
int tern_client_start(struct tern_client *client, const struct tern_request *request,
                      const struct tern_call *call, struct tern_decision *decisions,
                      uint64_t deadline_ns, struct tern_client_slot **started,
                      struct tern_error *error);
/* Waits until `slot` is done, frees it, returns its result. */
int tern_client_await(struct tern_client *client, struct tern_client_slot *slot,
                      uint64_t deadline_ns, struct tern_error *error);

/* hello.c: introduces the client on a fresh connection and reads the schema. */
int tern_client_hello(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error);

/* client.c: a usable connection, made anew if need be. */
int tern_client_ensure(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error);
uint64_t tern_client_deadline_ns(const struct tern_client *client);

/* calls.c: sends `frame` with `body` and leaves the reply's body in client->reply. */
int tern_client_exchange(struct tern_client *client, struct tern_frame frame, const void *body,
                         struct tern_error *error);
int tern_client_malformed(struct tern_client *client, const char *what, struct tern_error *error);

/* request.c: 0 when `request` can be sent as the schema now is. */
int tern_request_check(const struct tern_request *request, const struct tern_client_schema *schema,
                       struct tern_error *error);

/* schema.c */
/* The id of that name, or TERN_ENOENT. */
int tern_client_names_find(const struct tern_client_name *names, unsigned count, const char *name);
/* True when everything that ids of `old` meant, they still mean. */
bool tern_client_schema_extends(const struct tern_client_schema *old,
                                const struct tern_client_schema *schema);

#pragma GCC visibility pop

#endif
