#include "dataplane/search.h"

#include "dataplane/clock.h"
#include "dataplane/helper.h"
#include "dataplane/park.h"
#include "dataplane/request.h"
#include "dataplane/server.h"

/* A body that was understood. */
struct asked {
    struct tern_search search;
    struct tern_search_filter filter;
    bool payload; /* wanted with each hit */
};

int tern_searching_open(struct tern_searching *searching, struct tern_error *error)
{
    searching->filter = calloc(1, sizeof *searching->filter);
    searching->hits = calloc(TERN_SEARCH_K_MAX, sizeof *searching->hits);
    searching->query = calloc(TERN_DIM_MAX, sizeof *searching->query);
    if (searching->filter == NULL || searching->hits == NULL || searching->query == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory to search");
    return 0;
}

void tern_searching_close(struct tern_searching *searching)
{
    free(searching->filter);
    free(searching->hits);
    free(searching->query);
    *searching = (struct tern_searching){0};
}

/* ---- the request ---- */

static enum tern_status complain(char message[TERN_PARKED_MESSAGE], enum tern_status status,
                                 const char *text)
{
    snprintf(message, TERN_PARKED_MESSAGE, "%.*s", (int)TERN_PARKED_MESSAGE - 1, text);
    return status;
}

/* u16 filter length, filter; or nothing. */
static enum tern_status read_filter(const struct tern_collection *collection, const uint8_t *bytes,
                                    size_t length, struct tern_searching *searching,
                                    struct asked *asked, char message[TERN_PARKED_MESSAGE])
{
    struct tern_filter_failure failure;

    if (length == 0)
        return TERN_STATUS_OK;
    if (length < 2 || length - 2 != tern_load_u16(bytes))
        return complain(message, TERN_STATUS_BAD_FRAME,
                        "behind the vector stands the filter's length and the filter, or nothing");
    if (tern_filter_parse(searching->filter, collection, (const char *)bytes + 2, length - 2,
                          &failure) != 0) {
        snprintf(message, TERN_PARKED_MESSAGE, "filter, byte %u: %s", failure.offset,
                 failure.message);
        return TERN_STATUS_BAD_FIELD;
    }
    tern_filter_bind(searching->filter, collection);
    asked->filter = (struct tern_search_filter){tern_filter_match, searching->filter};
    asked->search.filter = &asked->filter;
    return TERN_STATUS_OK;
}

/* Everything but the collection's id, which the caller has resolved. */
static enum tern_status read_body(const struct tern_collection *collection, const uint8_t *body,
                                  size_t length, struct tern_searching *searching,
                                  struct asked *asked, char message[TERN_PARKED_MESSAGE])
{
    size_t vector_bytes = collection->dim * sizeof(float), fixed = TERN_SEARCH_HEAD + vector_bytes;
    unsigned flags = tern_load_u16(body + 6);
    enum tern_status status;
    struct tern_error error;

    *asked = (struct asked){.search = {.query = searching->query,
                                       .k = tern_load_u16(body + 2),
                                       .ef = tern_load_u16(body + 4),
                                       .exact = flags & TERN_SEARCH_EXACT},
                            .payload = flags & TERN_SEARCH_PAYLOAD};
    if (flags & ~(unsigned)(TERN_SEARCH_EXACT | TERN_SEARCH_PAYLOAD))
        return complain(message, TERN_STATUS_UNSUPPORTED, "unknown flag of a SEARCH");
    if (length < fixed) {
        snprintf(message, TERN_PARKED_MESSAGE,
                 "a vector of this collection has %u dimensions, %zu bytes; there are %zu",
                 collection->dim, vector_bytes, length - TERN_SEARCH_HEAD);
        return TERN_STATUS_BAD_FRAME;
    }
    memcpy(searching->query, body + TERN_SEARCH_HEAD, vector_bytes);
    if (tern_search_check(collection, &asked->search, &error) != 0)
        return complain(message, TERN_STATUS_BAD_FIELD, error.message);
    status = read_filter(collection, body + fixed, length - fixed, searching, asked, message);
    return status;
}

/* ---- the reply ---- */

static size_t value_bytes(const struct tern_payload_value *value)
{
    switch (value->type) {
    case TERN_TYPE_STRING:
        return value->string.length;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        return 8;
    case TERN_TYPE_U32:
    case TERN_TYPE_F32:
        return 4;
    case TERN_TYPE_BOOL:
        return 1;
    default:
        return 0;
    }
}

static uint8_t *put_value(uint8_t *out, const struct tern_payload_value *value)
{
    size_t length = value_bytes(value);

    out[0] = value->type;
    tern_store_u16(out + 1, (uint16_t)length);
    if (value->type == TERN_TYPE_STRING)
        memcpy(out + 3, value->string.bytes, length);
    else
        memcpy(out + 3, &value->u64, length); /* little-endian: the low bytes, or all */
    return out + 3 + length;
}

/* Bytes of the columns' names and the hits' values; what put_payload will write. */
static size_t payload_bytes(const struct tern_collection *collection,
                            const struct tern_search_hit *hits, unsigned count)
{
    const struct tern_collection_header *header = collection->header;
    size_t bytes = 0;

    for (unsigned c = 0; c < header->column_count; c++)
        bytes += 2 + header->columns[c].name_length;
    for (unsigned i = 0; i < count; i++) {
        for (unsigned c = 0; c < header->column_count; c++) {
            struct tern_payload_value value = tern_collection_payload(collection, hits[i].slot, c);

            bytes += 3 + value_bytes(&value);
        }
    }
    return bytes;
}

static void put_payload(uint8_t *out, const struct tern_collection *collection,
                        const struct tern_search_hit *hits, unsigned count)
{
    const struct tern_collection_header *header = collection->header;

    for (unsigned c = 0; c < header->column_count; c++) {
        const struct tern_payload_column *column = &header->columns[c];

        out[0] = column->type;
        out[1] = column->name_length;
        memcpy(out + 2, column->name, column->name_length);
        out += 2 + column->name_length;
    }
    for (unsigned i = 0; i < count; i++) {
        for (unsigned c = 0; c < header->column_count; c++) {
            struct tern_payload_value value = tern_collection_payload(collection, hits[i].slot, c);

            out = put_value(out, &value);
        }
    }
}

static size_t reply_bytes(const struct tern_collection *collection, const struct asked *asked,
                          const struct tern_search_hit *hits, unsigned count)
{
    return sizeof(struct tern_search_reply) + count * sizeof(struct tern_search_reply_hit) +
           (asked->payload ? payload_bytes(collection, hits, count) : 0);
}

static void put_reply(uint8_t *out, const struct tern_collection *collection,
                      const struct asked *asked, const struct tern_search_hit *hits, unsigned count)
{
    struct tern_search_reply head = {
        .count = (uint16_t)count,
        .columns = asked->payload ? (uint16_t)collection->header->column_count : 0};

    memcpy(out, &head, sizeof head);
    out += sizeof head;
    for (unsigned i = 0; i < count; i++, out += sizeof(struct tern_search_reply_hit)) {
        struct tern_search_reply_hit hit = {.id = hits[i].id, .score = hits[i].score};

        memcpy(out, &hit, sizeof hit);
    }
    if (asked->payload)
        put_payload(out, collection, hits, count);
}

/* The most that a reply of k hits can take. */
static size_t reply_bytes_max(const struct tern_collection *collection, const struct asked *asked)
{
    const struct tern_collection_header *header = collection->header;
    size_t names = 0, values = 0;

    for (unsigned c = 0; asked->payload && c < header->column_count; c++) {
        bool is_string = header->columns[c].type == TERN_TYPE_STRING;

        names += 2 + header->columns[c].name_length;
        values += 3 + (is_string ? TERN_PAYLOAD_STRING_MAX : header->columns[c].width);
    }
    return sizeof(struct tern_search_reply) + names +
           asked->search.k * (sizeof(struct tern_search_reply_hit) + values);
}

#define TOO_LARGE_MESSAGE                                                                          \
    "the hits with their payload are larger than a frame may be: ask for fewer"

/* ---- in a helper ---- */

/* The collection of that name in the generation; NULL when it has none. */
static const struct tern_collection *find(const struct tern_view *view, const char *name)
{
    const struct tern_schema_collection *found =
        tern_schema_find_collection(view->schema, name, strlen(name));
    const struct tern_collection *collection;

    if (found == NULL)
        return NULL;
    collection = &view->collections[found->id];
    return collection->header != NULL ? collection : NULL;
}

static void run_parked(struct tern_helper *helper, struct tern_parked *parked)
{
    const struct tern_offer *offer = helper->adopter.now;
    struct tern_search_scratch *scratch =
        offer->scratches[helper->server->worker_count + helper->index];
    const struct tern_collection *collection = find(offer->view, parked->name);
    struct tern_searching *searching = &helper->searching;
    char message[TERN_PARKED_MESSAGE];
    enum tern_status status;
    struct asked asked;
    unsigned count;
    size_t bytes;

    if (collection == NULL) {
        tern_parked_fail(parked, TERN_STATUS_NOT_FOUND, "the collection has gone");
        return;
    }
    status = read_body(collection, parked->body.data, parked->length, searching, &asked, message);
    if (status != TERN_STATUS_OK) {
        tern_parked_fail(parked, status, message);
        return;
    }
    count = tern_search_run(collection, scratch, &asked.search, searching->hits);
    bytes = reply_bytes(collection, &asked, searching->hits, count);
    if (bytes > parked->reply_room) {
        tern_parked_fail(parked, TERN_STATUS_TOO_LARGE, TOO_LARGE_MESSAGE);
        return;
    }
    put_reply(parked->reply.data, collection, &asked, searching->hits, count);
    parked->status = TERN_STATUS_OK;
    parked->reply_bytes = (uint32_t)bytes;
}

/* ---- in a loop ---- */

/* False when helpers have enough to do. */
static bool park(struct tern_worker *worker, struct tern_connection *connection,
                 const struct tern_frame *frame, const uint8_t *body, size_t length,
                 const struct tern_schema_collection *described, size_t room)
{
    uint64_t deadline_us = frame->tail != 0 ? frame->tail : worker->settings->deadline_us;
    struct tern_parked *parked =
        tern_park_take(worker, length, tern_min_u64(room, worker->max_frame_bytes));

    if (parked == NULL)
        return false;
    tern_counter_add(&worker->board->counters.searches_offloaded, 1);
    parked->frame = *frame;
    memcpy(parked->body.data, body, length);
    memcpy(parked->name, described->name, sizeof parked->name);
    parked->arrived_ns = connection->partial_ns != 0 ? connection->partial_ns : worker->now_ns;
    parked->deadline_ns = parked->arrived_ns + deadline_us * 1000;
    parked->queue_stage = TERN_STAGE_search_queue;
    parked->work_stage = TERN_STAGE_search;
    parked->run = run_parked;
    tern_park_send(worker, connection, parked);
    return true;
}

static void run_here(struct tern_worker *worker, struct tern_connection *connection,
                     const struct tern_frame *frame, const struct tern_collection *collection,
                     const struct asked *asked)
{
    struct tern_search_hit *hits = worker->searching.hits;
    uint64_t begun_ns = tern_worker_clock(worker);
    unsigned count = tern_search_run(collection, worker->now_scratch, &asked->search, hits);
    size_t bytes = reply_bytes(collection, asked, hits, count);
    uint8_t *out;

    if (!worker->timing.off) {
        uint64_t spent_ns = tern_clock_now_ns() - begun_ns;

        worker->searched_ns += spent_ns;
        tern_histogram_add(&worker->board->stages[TERN_STAGE_search], spent_ns, 1);
    }
    if (bytes > worker->max_frame_bytes) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_TOO_LARGE, TOO_LARGE_MESSAGE);
        return;
    }
    out = tern_reply_begin(worker, connection, frame, TERN_STATUS_OK, bytes);
    if (out != NULL)
        put_reply(out, collection, asked, hits, count);
}

bool tern_search_frame(struct tern_worker *worker, struct tern_connection *connection,
                       const struct tern_frame *frame, const uint8_t *body, size_t length)
{
    const struct tern_view *view = worker->adopter.now->view;
    const struct tern_schema_collection *described;
    const struct tern_collection *collection;
    char message[TERN_PARKED_MESSAGE];
    bool helped = worker->park.lane_count > 0;
    enum tern_status status;
    struct asked asked;
    uint64_t cost_ns;
    unsigned id;

    if (length < TERN_SEARCH_HEAD) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME,
                          "a SEARCH has a collection, k, ef, flags and a vector");
        return true;
    }
    id = tern_worker_collection(worker, connection, tern_load_u16(body));
    if (id == 0) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_NOT_FOUND,
                          "there is no such collection");
        return true;
    }
    described = &tern_schema_collections(view->schema)[id - 1];
    collection = &view->collections[id];
    if (collection->header == NULL) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_NOT_READY,
                          "the collection is not there yet");
        return true;
    }
    status = read_body(collection, body, length, &worker->searching, &asked, message);
    if (status != TERN_STATUS_OK) {
        tern_reply_status(worker, connection, frame, status, message);
        return true;
    }
    cost_ns = tern_search_cost_ns(collection, &asked.search);
    if (cost_ns <= worker->search_left_ns || (!helped && worker->search_left_ns > 0)) {
        worker->search_left_ns -= tern_min_u64(cost_ns, worker->search_left_ns);
        run_here(worker, connection, frame, collection, &asked);
        return true;
    }
    if (helped && park(worker, connection, frame, body, length, described,
                       reply_bytes_max(collection, &asked)))
        return true;
    /* Another turn has room for what fits a whole share; the rest nobody could do. */
    if (!helped || cost_ns <= worker->server->search_turn_ns) {
        tern_worker_hold(worker, connection);
        return false;
    }
    tern_reply_status(worker, connection, frame, TERN_STATUS_OVERLOADED, "too many searches wait");
    return true;
}
