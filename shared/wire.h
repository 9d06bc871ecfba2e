/* The client protocol, version 1: frame header, opcodes, flags, statuses. docs/protocol.md is the
 * specification; both the data plane and the clients use these definitions. */
#ifndef TERN_WIRE_H
#define TERN_WIRE_H

#include "shared/base.h"
#include "shared/limits.h"

#define TERN_WIRE_MAGIC   0x54 /* 'T' */
#define TERN_WIRE_VERSION 1

enum tern_op {
    TERN_OP_HELLO = 1,
    TERN_OP_PING = 2,
    TERN_OP_DECIDE = 3,
    TERN_OP_LOOKUP = 4,
    TERN_OP_SEARCH = 5,
    TERN_OP_FEEDBACK = 6,
    TERN_OP_GOAWAY = 7,
    TERN_OP_CANCEL = 8,
    TERN_OP_DESCRIBE = 9,
};

enum tern_request_flags {
    TERN_REQUEST_WAIT = 1,
    TERN_REQUEST_EXPLAIN = 2,
    TERN_REQUEST_TRACE = 4,
    TERN_REQUEST_FRESH = 8,
    TERN_REQUEST_DETAIL = 16,
};

/* What TERN_REQUEST_TRACE puts before the body: trace id (16), parent id (8) and flags (1) of W3C
 * Trace Context, version 0. */
#define TERN_TRACE_BYTES 25u

enum tern_reply_flags {
    TERN_REPLY_MORE = 1,
};

#define TERN_STATUSES(X)                                                                           \
    X(TERN_STATUS_OK, 0, "ok")                                                                     \
    X(TERN_STATUS_BAD_FRAME, 1, "bad frame")                                                       \
    X(TERN_STATUS_UNSUPPORTED, 2, "unsupported")                                                   \
    X(TERN_STATUS_TOO_LARGE, 3, "too large")                                                       \
    X(TERN_STATUS_BAD_FIELD, 4, "bad field")                                                       \
    X(TERN_STATUS_UNAUTHENTICATED, 5, "unauthenticated")                                           \
    X(TERN_STATUS_OVERLOADED, 6, "overloaded")                                                     \
    X(TERN_STATUS_NOT_READY, 7, "not ready")                                                       \
    X(TERN_STATUS_DEADLINE, 8, "deadline")                                                         \
    X(TERN_STATUS_NOT_FOUND, 9, "not found")                                                       \
    X(TERN_STATUS_INTERNAL, 10, "internal")                                                        \
    X(TERN_STATUS_CANCELLED, 11, "cancelled")

enum tern_status {
#define X(name, value, text) name = value,
    TERN_STATUSES(X)
#undef X
};

const char *tern_status_name(unsigned status);

/* The 16-byte header of every frame. `tail` is the deadline in µs in a request (0 = the server's
 * default) and the low 32 bits of the answering generation in a reply. */
struct tern_frame {
    uint8_t magic;
    uint8_t op;
    uint8_t flags;
    uint8_t status;
    uint32_t body_length;
    uint32_t request_id;
    uint32_t tail;
};
_Static_assert(sizeof(struct tern_frame) == TERN_FRAME_HEADER, "the header is the struct");

static inline struct tern_frame tern_frame_load(const void *bytes)
{
    struct tern_frame frame;
    memcpy(&frame, bytes, sizeof frame);
    return frame;
}

static inline void tern_frame_store(void *bytes, struct tern_frame frame)
{
    memcpy(bytes, &frame, sizeof frame);
}

/* DECIDE reply: this header, then `count` items of 16 bytes (32 with DETAIL). */
struct tern_decide_reply {
    uint16_t count;
    uint16_t reserved0;
    uint32_t reserved1;
};
_Static_assert(sizeof(struct tern_decide_reply) == 8, "wire");

struct tern_decide_item {
    uint16_t item;
    uint8_t action;
    uint8_t tier;
    uint16_t flags;
    uint16_t max_age_s;
    uint32_t rule;
    float score;
};
_Static_assert(sizeof(struct tern_decide_item) == 16, "wire");

struct tern_decide_detail { /* follows the item with TERN_REQUEST_DETAIL */
    uint64_t decision_key;
    uint32_t age_ms;
    uint16_t cause;
    uint16_t reserved;
};
_Static_assert(sizeof(struct tern_decide_detail) == 16, "wire");

/* DESCRIBE: the rules of the answering generation, a page at a time. Request body: empty, or u32
 * first (1-based index of the first rule wanted). Reply: this header, then `count` entries of u8
 * action (enum tern_action; an escalation's is its `meanwhile`), u8 name length, name. A page holds
 * as many as fit max_frame; the client asks again from first + count, and starts over when the
 * frame's generation has changed. `first` past `total` gets an empty page; 0 is BAD_FRAME. */
struct tern_describe_reply {
    uint32_t total;
    uint32_t first;
    uint16_t count;
    uint16_t reserved0;
    uint32_t reserved1;
};
_Static_assert(sizeof(struct tern_describe_reply) == 16, "wire");

/* DESCRIBE of a collection. Request body: u8 TERN_DESCRIBE_COLLECTION, u16 its id. Reply: this
 * header, then for each payload column u8 type, u8 name length, name. */
#define TERN_DESCRIBE_COLLECTION 3u /* its place among HELLO's lists */
struct tern_describe_collection {
    uint16_t id;
    uint8_t metric;   /* enum tern_metric: 1 cosine, 2 l2, 3 dot */
    uint8_t quantize; /* 0 f32, 1 int8 */
    uint32_t dim;
    uint32_t capacity; /* vectors */
    uint32_t vectors;  /* that are found at this moment */
    uint32_t ef;       /* of a search that names none */
    uint16_t columns;
    uint16_t reserved;
};
_Static_assert(sizeof(struct tern_describe_collection) == 24, "wire");

/* HELLO's list of tables: `type` is that of the table's key, dim 0. */

/* SEARCH: u16 collection id, u16 k (1 to 1000), u16 ef (0: the collection's), u16 flags, f32 × dim,
 * then nothing or u16 length and a filter. Reply: this header, `count` hits, the best first; with
 * TERN_SEARCH_PAYLOAD `columns` times u8 type, u8 name length, name, then for each hit as many
 * times u8 type, u16 length, value, of type 0 and length 0 where there is none. */
#define TERN_SEARCH_HEAD 8u
enum tern_search_flags {
    TERN_SEARCH_EXACT = 1,   /* looks at every vector */
    TERN_SEARCH_PAYLOAD = 2, /* with the payload of each hit */
};

struct tern_search_reply {
    uint16_t count;
    uint16_t columns;
    uint32_t reserved;
};
_Static_assert(sizeof(struct tern_search_reply) == 8, "wire");

struct tern_search_reply_hit {
    uint64_t id;
    float score;
    uint32_t reserved;
};
_Static_assert(sizeof(struct tern_search_reply_hit) == 16, "wire");

/* LOOKUP: the key is encoded as a field's value of the table's key type. In the reply a column that
 * the record has not got is type 0 (TERN_TYPE_NONE), length 0, which an empty string is not. A set
 * answers a hit with 0 columns. */

#endif
