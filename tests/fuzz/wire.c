/* Bytes of a client through the real loop: its turns, connections, decoding, rules and replies,
 * over a backend that delivers the input instead of a socket's.
 *
 * What must hold whatever the bytes: every frame that came whole is answered exactly once, in
 * order, up to the first that cannot be a frame; and how the bytes were cut into receives, or
 * searches spread over turns and handed to a helper, changes nothing but when a SEARCH is answered.
 * The helper has no thread: its turns are taken between the loop's, so an input always does the
 * same, but for deadlines. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/published.h"

#include "dataplane/clock.h"
#include "dataplane/server.h"
#include "shared/buffer.h"

#include <fcntl.h>
#include <unistd.h>

#define TURNS_MAX 100000u /* more than any input needs: a loop that gets nowhere */

static struct {
    const uint8_t *bytes; /* still to be delivered */
    size_t left;
    uint64_t random; /* of the cuts; 0: as few as can be */
    bool accepted, ended, released;
    struct tern_connection *connection;
    struct tern_buffer replies;
} session;

static size_t cut(size_t most)
{
    session.random = session.random * 6364136223846793005u + 1442695040888963407u;
    return most < 2 ? most : 1 + (session.random >> 33) % (session.random >> 63 ? 24 : most);
}

/* ---- the backend ---- */

static bool is_ready(struct tern_worker *worker)
{
    (void)worker;
    return true;
}

static void enter(struct tern_worker *worker, uint64_t wait_ns)
{
    (void)worker;
    (void)wait_ns;
}

static void accept_any(struct tern_worker *worker)
{
    (void)worker;
}

static void receive(struct tern_worker *worker, struct tern_connection *connection)
{
    (void)worker;
    session.connection = connection;
    connection->receiving = true;
}

static void receive_stop(struct tern_worker *worker, struct tern_connection *connection)
{
    (void)worker;
    connection->receiving = false;
}

static void send_output(struct tern_worker *worker, struct tern_connection *connection)
{
    (void)worker;
    connection->sending_now = true;
}

static void finish(struct tern_worker *worker, struct tern_connection *connection)
{
    session.released = true;
    tern_worker_released(worker, connection);
}

static void deliver(struct tern_worker *worker, struct tern_connection *connection)
{
    size_t size = tern_min_u64(session.left, TERN_RECEIVE_BYTES);
    uint8_t *bytes;

    if (session.random != 0 && size > 0)
        size = tern_min_u64(cut(size), size);
    session.ended = size == 0;
    bytes = malloc(size + (size == 0)); /* as long as it is: nobody reads past it */
    FUZZ_CHECK(bytes != NULL);
    memcpy(bytes, session.bytes, size);
    session.bytes += size;
    session.left -= size;
    tern_worker_received(worker, connection, bytes, (int)size);
    tern_worker_decide(worker);
    free(bytes);
}

static void take_output(struct tern_worker *worker, struct tern_connection *connection)
{
    size_t size = connection->sending_end - connection->sending_start;

    if (session.random != 0)
        size = tern_min_u64(cut(size), size);
    FUZZ_CHECK(size > 0 &&
               tern_buffer_append(&session.replies,
                                  connection->sending.data + connection->sending_start, size) == 0);
    connection->sending_now = false;
    tern_worker_sent(worker, connection, (int)size);
    tern_worker_touch(worker, connection); /* goes on sending when the turn ends */
}

static unsigned reap(struct tern_worker *worker)
{
    struct tern_connection *connection = session.connection;

    if (!session.accepted) {
        session.accepted = true;
        tern_worker_accepted(worker, dup(STDERR_FILENO));
        return 1;
    }
    if (session.released)
        return 0;
    if (connection->sending_now && connection->state != TERN_CONNECTION_CLOSING)
        take_output(worker, connection);
    if (connection->receiving && !session.ended && connection->state != TERN_CONNECTION_CLOSING)
        deliver(worker, connection);
    return 1;
}

static const struct tern_backend backend = {
    .name = "input",
    .ready = is_ready,
    .enter = enter,
    .reap = reap,
    .accept = accept_any,
    .accept_stop = accept_any,
    .receive = receive,
    .receive_stop = receive_stop,
    .send = send_output,
    .finish = finish,
};

/* ---- the loop ---- */

static struct tern_server server;
/* The same generation twice: open to everybody, and for those with a token. */
static struct tern_offer offer, guarded;

/* The guarded twin: the first client to say "secret" is let in. */
static void guard(void)
{
    static struct tern_settings settings;
    static struct tern_view view;

    settings = *offer.view->settings;
    settings.token_count = 1;
    tern_token_digest(settings.token_salt, "secret", 6, settings.tokens[0].digest);
    view = *offer.view;
    view.settings = &settings;
    guarded = offer;
    guarded.view = &view;
}

static struct tern_worker *get_worker(void)
{
    static struct tern_worker *worker;
    const struct published *published;
    struct tern_error error;

    if (worker != NULL)
        return worker;
    published = published_get();
    worker = aligned_alloc(TERN_CACHE_LINE, sizeof *worker);
    FUZZ_CHECK(worker != NULL);
    memset(worker, 0, sizeof *worker);
    offer.arena = &published->arena;
    offer.view = published->view;
    tern_decoder_init(&offer.decoder, offer.view->schema, tern_rules_raw_fields(offer.view->rules),
                      false);
    offer.searches = tern_rules_search(offer.view->rules);
    /* all rules count in the first slot */
    offer.slots = calloc(tern_rules_count(offer.view->rules), sizeof *offer.slots);
    offer.rooms = calloc(2, sizeof(struct tern_room *));
    offer.scratches = calloc(3, sizeof(struct tern_search_scratch *)); /* the loop, the helper */
    FUZZ_CHECK(offer.slots != NULL && offer.rooms != NULL && offer.scratches != NULL &&
               tern_room_new(&offer.rooms[0], offer.view->rules) == 0);
    FUZZ_CHECK(offer.view->collection_count == 2 && offer.view->collections[1].header != NULL);
    for (unsigned i = 0; i < 2; i++)
        FUZZ_CHECK(tern_search_scratch_new(&offer.scratches[i], offer.view->collections[1].capacity,
                                           3) == 0);
    guard();
    server.settings = *offer.view->settings;
    server.backend = &backend;
    server.seat = published->seat;
    server.workers = worker;
    server.worker_count = 1;
    server.helper_count = 1;
    FUZZ_CHECK(tern_helpers_prepare(&server, &error) == 0);
    atomic_store(&server.offers[TERN_OFFER_CURRENT], &offer);
    FUZZ_CHECK(tern_worker_prepare(worker, &server, 0, &error) == 0);
    return worker;
}

/* Runs the whole input; the replies are in session.replies. */
static void run(struct tern_worker *worker, const uint8_t *bytes, size_t size, uint64_t random,
                uint64_t search_turn_ns)
{
    unsigned turns = 0;

    server.search_turn_ns = search_turn_ns;
    server.gather_ns = search_turn_ns == 1 ? 0 : UINT64_MAX;
    tern_buffer_free(&session.replies);
    memset(&session, 0, sizeof session);
    session.bytes = bytes;
    session.left = size;
    session.random = random;
    while (!session.released) {
        tern_worker_turn(worker);
        FUZZ_CHECK(++turns < TURNS_MAX);
        if (turns % 4 == 0 || (session.random != 0 && cut(3) == 1))
            (void)tern_helper_turn(&server.helpers[0]);
        if (session.connection != NULL && session.connection->was_shut && !session.ended &&
            session.left == 0) {
            /* a client whose connection was shut down closes its side, too */
            session.ended = true;
            tern_worker_received(worker, session.connection, bytes, 0);
        }
    }
    while (worker->park.outstanding > 0) { /* for a client that has gone */
        FUZZ_CHECK(++turns < TURNS_MAX);
        (void)tern_helper_turn(&server.helpers[0]);
        tern_worker_turn(worker);
    }
    FUZZ_CHECK(worker->connections.open == 0 && worker->vector.count == 0);
    FUZZ_CHECK(worker->held.first == NULL && worker->batches.first == NULL);
    FUZZ_CHECK(worker->pool.total_bytes == worker->pool.kept_bytes);
}

/* ---- what must hold ---- */

/* One answer: the frames of a batch are one. */
struct answer {
    uint32_t request_id;
    uint8_t op, status;
    uint64_t hash; /* of the body, 0 where it may differ from run to run */
};

#define ANSWERS_MAX 8192u
#define MATCHED     0xff /* the op of an answer that is accounted for */
struct answers {
    struct answer all[ANSWERS_MAX];
    unsigned count;
};

static uint64_t hash_body(uint64_t hash, const uint8_t *body, size_t length)
{
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ body[i]) * 0x100000001b3u;
    return hash;
}

/* Answers of helpers come when they are there, also between the frames of a batch. */
static void read_answers(struct answers *answers)
{
    const uint8_t *at = session.replies.data;
    size_t left = session.replies.length;
    struct answer batch = {0}; /* the one that has further frames, if `more` */
    bool more = false;

    answers->count = 0;
    while (left > 0) {
        struct tern_frame frame;
        uint64_t hash = 0xcbf29ce484222325u;
        bool goes_on;

        FUZZ_CHECK(left >= TERN_FRAME_HEADER);
        frame = tern_frame_load(at);
        FUZZ_CHECK(frame.magic == TERN_WIRE_MAGIC && frame.body_length <= left - TERN_FRAME_HEADER);
        FUZZ_CHECK((frame.flags & ~TERN_REPLY_MORE) == 0 && frame.status <= TERN_STATUS_CANCELLED);
        goes_on = more && frame.op != TERN_OP_SEARCH;
        if (goes_on) {
            FUZZ_CHECK(frame.op == batch.op && frame.request_id == batch.request_id);
            hash = batch.hash;
        }
        at += TERN_FRAME_HEADER;
        left -= TERN_FRAME_HEADER + (size_t)frame.body_length;
        if (frame.op == TERN_OP_DECIDE && frame.status == TERN_STATUS_OK) {
            if (frame.body_length >= 8 && at[0] != '{') /* the count is of the slice */
                hash = hash_body(hash, at + 8, frame.body_length - 8);
            else
                hash = 0; /* an explanation tells times */
        } else {
            hash = hash_body(hash, at, frame.body_length);
        }
        at += frame.body_length;
        if ((frame.flags & TERN_REPLY_MORE) != 0) {
            FUZZ_CHECK(frame.op == TERN_OP_DECIDE);
            batch = (struct answer){frame.request_id, frame.op, frame.status, hash};
            more = true;
            continue;
        }
        if (goes_on)
            more = false;
        FUZZ_CHECK(answers->count < ANSWERS_MAX);
        answers->all[answers->count++] =
            (struct answer){frame.request_id, frame.op, frame.status, hash};
    }
    FUZZ_CHECK(!more);
}

/* Walks the input as a client that knows only the header: each whole frame has its answer. */
static void check_answers(const struct answers *answers, const uint8_t *bytes, size_t size,
                          uint32_t max_frame_bytes)
{
    unsigned expected = 0;

    while (size > 0) {
        struct tern_frame frame;

        if (bytes[0] == TERN_WIRE_MAGIC && size < TERN_FRAME_HEADER)
            break;
        if (bytes[0] == TERN_WIRE_MAGIC) {
            frame = tern_frame_load(bytes);
            if (frame.body_length <= max_frame_bytes) {
                if (frame.body_length > size - TERN_FRAME_HEADER)
                    break;
                FUZZ_CHECK(expected < answers->count &&
                           answers->all[expected].request_id == frame.request_id &&
                           answers->all[expected].op == frame.op);
                expected++;
                bytes += TERN_FRAME_HEADER + frame.body_length;
                size -= TERN_FRAME_HEADER + (size_t)frame.body_length;
                continue;
            }
        }
        expected++; /* the refusal, which is the last */
        break;
    }
    FUZZ_CHECK(answers->count == expected);
}

/* Why an answer may be another than the first time: so many explanations a second, and no more; a
 * batch or a SEARCH is cancelled when the word arrives; helpers are slow, or have enough to do. */
static bool is_excused(const struct answer *answer)
{
    return answer->status == TERN_STATUS_OVERLOADED || answer->status == TERN_STATUS_CANCELLED ||
           (answer->op == TERN_OP_SEARCH && answer->status == TERN_STATUS_DEADLINE);
}

static bool is_same(const struct answer *one, const struct answer *other)
{
    return one->op == other->op && one->request_id == other->request_id &&
           one->status == other->status && one->hash == other->hash;
}

/* Takes the answers to SEARCH, which come when they come, out of both lists, each with its like;
 * then one by one those that have an excuse. */
static void match_searches(struct answers *whole, struct answers *pieces)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < whole->count; i++) {
            struct answer *one = &whole->all[i];

            for (unsigned j = 0; j < pieces->count && one->op == TERN_OP_SEARCH; j++) {
                struct answer *other = &pieces->all[j];

                if (is_same(one, other) ||
                    (pass == 1 && other->op == TERN_OP_SEARCH && is_excused(other) &&
                     one->request_id == other->request_id))
                    one->op = other->op = MATCHED;
            }
        }
    }
}

/* The next that was not matched, from `at` on. */
static const struct answer *next_answer(const struct answers *answers, unsigned *at)
{
    while (*at < answers->count && answers->all[*at].op == MATCHED)
        ++*at;
    return *at < answers->count ? &answers->all[(*at)++] : NULL;
}

static void compare(struct answers *whole, struct answers *pieces)
{
    const struct answer *one, *other;
    unsigned i = 0, j = 0;

    FUZZ_CHECK(whole->count == pieces->count);
    match_searches(whole, pieces);
    do {
        one = next_answer(whole, &i);
        other = next_answer(pieces, &j);
        FUZZ_CHECK((one == NULL) == (other == NULL));
        if (one != NULL && !is_excused(one) && !is_excused(other))
            FUZZ_CHECK(is_same(one, other));
    } while (one != NULL);
}

/* What a turn has for searches: all it wants; for two or so of what world/ can cost; for one, and
 * every SEARCH goes to the helper. */
static uint64_t choose_share(uint64_t random)
{
    return (random & 0x8000) != 0 ? UINT64_MAX : (random & 0x4000) != 0 ? 3000 : 1;
}

/* The first two bytes choose the cuts, the last bit of them whether a token is asked for, the two
 * before the share of searches. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct answers whole, pieces;
    struct fuzz_input input = {data, size};
    uint64_t random = fuzz_take(&input, 2) << 1 | 1;
    struct tern_worker *worker = get_worker();
    bool asks_token = (random & 0x10000) != 0;

    atomic_store(&server.offers[TERN_OFFER_CURRENT], asks_token ? &guarded : &offer);
    run(worker, input.at, input.left, 0, UINT64_MAX);
    read_answers(&whole);
    if (!asks_token) /* else a frame may be too large for a stranger */
        check_answers(&whole, input.at, input.left, worker->max_frame_bytes);
    run(worker, input.at, input.left, random, choose_share(random));
    read_answers(&pieces);
    compare(&whole, &pieces);
    return 0;
}
