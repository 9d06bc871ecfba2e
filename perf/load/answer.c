#include "perf/load/answer.h"

#include "shared/verdict.h"
#include "shared/wire.h"

/* The last step of splitmix64: spreads one word over all its bits. */
static inline uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

/* What two equal answers have in common: item, action and rule of each item, in any order. */
static uint64_t items_digest(const uint8_t *body, size_t length, size_t each)
{
    unsigned count;
    uint64_t digest = 0;

    if (length < sizeof(struct tern_decide_reply))
        return 0;
    count = tern_load_u16(body);
    body += sizeof(struct tern_decide_reply);
    length -= sizeof(struct tern_decide_reply);
    for (unsigned i = 0; i < count && length >= each; i++, body += each, length -= each) {
        struct tern_decide_item item;

        memcpy(&item, body, sizeof item);
        digest += mix(1 + ((uint64_t)item.rule << 32 | (uint64_t)item.action << 16 | item.item));
    }
    return digest;
}

static uint64_t bytes_digest(const uint8_t *bytes, size_t length)
{
    uint64_t digest = length + 1;

    for (; length >= 8; bytes += 8, length -= 8)
        digest = mix(digest ^ tern_load_u64(bytes));
    for (; length > 0; bytes++, length--)
        digest = mix(digest ^ *bytes);
    return digest;
}

static void check_expected(struct load_run *run, const struct load_slot *slot, const uint8_t *body,
                           size_t length)
{
    const struct load_expectation *expected = &run->source->expected[slot->frame];
    struct tern_decide_item item;

    if (length < sizeof(struct tern_decide_reply) + sizeof item || tern_load_u16(body) != 1) {
        run->meter.wrong++;
        return;
    }
    memcpy(&item, body + sizeof(struct tern_decide_reply), sizeof item);
    if (item.action != expected->action ||
        (expected->rule != LOAD_RULE_ANY && item.rule != expected->rule))
        run->meter.wrong++;
}

/* Counts the whole answer to `slot`'s request. */
static inline void count_answer(struct load_run *run, struct load_connection *connection,
                                const struct load_slot *slot, uint64_t now_ns)
{
    struct load_meter *meter = &run->meter;
    /* In the open loop a request belongs to the time it was meant for; in the closed one an answer
     * to the time it came. */
    bool counts = run->options->rate > 0
                      ? slot->intended_ns >= meter->started_ns &&
                            (meter->ended_ns == 0 || slot->intended_ns < meter->ended_ns)
                      : !run->draining;

    connection->in_flight--;
    run->in_flight--;
    if (run->first_answers != NULL) {
        uint64_t answer = slot->answer | 1;

        if (run->first_answers[slot->frame] == 0)
            run->first_answers[slot->frame] = answer;
        else if (run->first_answers[slot->frame] != answer)
            meter->wrong++;
    }
    if (!run->measuring || !counts)
        return;
    meter->replies++;
    meter->checksum += mix(slot->answer ^ slot->frame);
    load_histogram_add(&meter->latency,
                       now_ns > slot->intended_ns ? now_ns - slot->intended_ns : 0);
    if (meter->seconds != NULL) {
        struct load_second *second = load_meter_second(meter, slot->intended_ns);

        load_histogram_add(&second->latency,
                           now_ns > slot->intended_ns ? now_ns - slot->intended_ns : 0);
        second->failed += slot->failed;
    }
}

static void count_status(struct load_run *run, struct load_slot *slot, unsigned status)
{
    run->meter.statuses[status < LOAD_STATUSES ? status : LOAD_STATUSES - 1]++;
    run->meter.failed++;
    slot->failed = true;
}

static bool take_frames(struct load_run *run, struct load_connection *connection, uint64_t now_ns,
                        size_t *used)
{
    const uint8_t *at = connection->in + connection->in_start;
    const uint8_t *end = connection->in + connection->in_end;
    bool echo = run->options->protocol == LOAD_ECHO;
    bool good = false;

    while (end - at >= (ptrdiff_t)TERN_FRAME_HEADER) {
        struct tern_frame frame = tern_frame_load(at);
        const uint8_t *body = at + TERN_FRAME_HEADER;
        uint32_t index = frame.request_id - 1;
        struct load_slot *slot;

        if (frame.magic != TERN_WIRE_MAGIC ||
            frame.body_length > run->in_capacity / 2 - TERN_FRAME_HEADER)
            return false;
        if ((size_t)(end - body) < frame.body_length)
            break;
        at = body + frame.body_length;
        if (frame.request_id == 0)
            continue; /* GOAWAY, or why the connection is about to close */
        if (index >= run->slots_each)
            return false;
        slot = &connection->slots[index];
        if (frame.status != TERN_STATUS_OK && !echo) {
            count_status(run, slot, frame.status);
        } else if (echo) {
            const struct load_span *sent = &run->source->frames[slot->frame];

            /* Length and place tell whether frames were cut or shifted; comparing every byte would
             * measure the client. */
            if (frame.body_length + TERN_FRAME_HEADER != sent->length)
                run->meter.wrong++;
            slot->answer = frame.body_length + 1;
            good = true;
        } else {
            if (frame.op == TERN_OP_DECIDE)
                slot->answer +=
                    items_digest(body, frame.body_length, sizeof(struct tern_decide_item));
            else if (frame.op == TERN_OP_SEARCH)
                slot->answer += bytes_digest(body, frame.body_length);
            if (run->source->expected != NULL)
                check_expected(run, slot, body, frame.body_length);
            good = true;
            if ((frame.flags & TERN_REPLY_MORE) != 0)
                continue;
        }
        count_answer(run, connection, slot, now_ns);
        connection->free_slots[connection->free_count++] = index;
    }
    if (good)
        run->last_good_ns = now_ns;
    *used = (size_t)(at - (connection->in + connection->in_start));
    return true;
}

/* The length of a whole RESP reply at `at`, 0 when it is not there yet, −1 when it is none. The
 * bulk string's bytes are returned in `data`. */
static long resp_length(const uint8_t *at, size_t length, const uint8_t **data, long *data_length)
{
    const uint8_t *end = memchr(at, '\r', length < 64 ? length : 64);
    long number = 0;

    *data = at;
    *data_length = 0;
    if (end == NULL)
        return length < 64 ? 0 : -1;
    if (end + 1 == at + length)
        return 0;
    if (at[0] != '$' || at[1] == '-')
        return end + 2 - at;
    for (const uint8_t *digit = at + 1; digit < end; digit++) {
        if (*digit < '0' || *digit > '9' || number > 1 << 20)
            return -1;
        number = number * 10 + (*digit - '0');
    }
    if ((long)length < end + 2 - at + number + 2)
        return 0;
    *data = end + 2;
    *data_length = number;
    return end + 2 - at + number + 2;
}

/* Likewise of memcached's text protocol: "VALUE key flags length", the data and "END", or "END"
 * alone when the key is not there. */
static long memcached_length(const uint8_t *at, size_t length, const uint8_t **data,
                             long *data_length)
{
    static const char end[] = "END\r\n";
    const uint8_t *line = memchr(at, '\n', length < 128 ? length : 128);
    const uint8_t *digit;
    long number = 0, power = 1, whole;

    *data = at;
    *data_length = 0;
    if (line == NULL)
        return length < 128 ? 0 : -1;
    if (at[0] != 'V')
        return line + 1 - at;
    for (digit = line - 2; digit > at && *digit >= '0' && *digit <= '9'; digit--) {
        number += power * (*digit - '0');
        power *= 10;
        if (number > 1 << 20)
            return -1;
    }
    whole = line + 1 - at + number + 2 + (long)sizeof end - 1;
    if ((long)length < whole)
        return 0;
    if (memcmp(at + whole - (sizeof end - 1), end, sizeof end - 1) != 0)
        return -1;
    *data = line + 1;
    *data_length = number;
    return whole;
}

enum outcome { GOOD, FAILED, WRONG };

static enum outcome resp_outcome(const uint8_t *at)
{
    if (at[0] == '-')
        return FAILED;
    return at[0] != '$' || at[1] == '-' ? WRONG : GOOD; /* a key that was filled is not there */
}

static enum outcome memcached_outcome(const uint8_t *at)
{
    return at[0] == 'V' ? GOOD : memcmp(at, "END", 3) == 0 ? WRONG : FAILED;
}

/* Replies that come in the order of the requests. */
static bool take_in_order(struct load_run *run, struct load_connection *connection, uint64_t now_ns,
                          size_t *used)
{
    const uint8_t *at = connection->in + connection->in_start;
    size_t left = connection->in_end - connection->in_start;
    bool memcached = run->options->protocol == LOAD_MEMCACHED, good = false;

    while (left > 0) {
        struct load_slot *slot = &connection->slots[connection->first];
        const uint8_t *data;
        long data_length, length = memcached ? memcached_length(at, left, &data, &data_length)
                                             : resp_length(at, left, &data, &data_length);
        enum outcome outcome;

        if (length < 0 || (length > 0 && connection->in_flight == 0))
            return false;
        if (length == 0)
            break;
        outcome = memcached ? memcached_outcome(at) : resp_outcome(at);
        run->meter.failed += outcome == FAILED;
        run->meter.wrong += outcome == WRONG;
        good |= outcome == GOOD;
        slot->answer = bytes_digest(data, (size_t)data_length);
        at += length;
        left -= (size_t)length;
        connection->first = connection->first + 1 == run->slots_each ? 0 : connection->first + 1;
        count_answer(run, connection, slot, now_ns);
    }
    if (good)
        run->last_good_ns = now_ns;
    *used = connection->in_end - connection->in_start - left;
    return true;
}

bool load_answers_take(struct load_run *run, struct load_connection *connection, uint64_t now_ns,
                       size_t *used)
{
    uint64_t gap = now_ns - run->last_good_ns;
    bool taken = load_in_order(run->options->protocol)
                     ? take_in_order(run, connection, now_ns, used)
                     : take_frames(run, connection, now_ns, used);

    if (run->measuring && !run->draining && run->last_good_ns == now_ns && gap > run->meter.gap_ns)
        run->meter.gap_ns = gap;
    return taken;
}
