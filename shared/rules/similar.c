#include "shared/rules/similar_room.h"

#include "shared/clock.h"
#include "shared/rules/intervals.h"
#include "shared/rules/scan.h"

/* One unit's question about one item. */
struct asking {
    const struct tern_similar *similar;
    struct tern_similar_room *room;
    struct tern_similar_result *results; /* by vote */
    uint32_t hit_count;
};

struct tern_similar_outcome tern_similar_outcome(const struct tern_similar_room *room,
                                                 unsigned index)
{
    return room->outcomes[index];
}

static float similarity_of(const struct tern_collection *collection, float score)
{
    return collection->metric == TERN_METRIC_L2 ? 1.0f / (1.0f + score) : score;
}

/* The search; returns how many neighbours there are. */
static uint32_t search(const struct tern_similar *similar, struct tern_similar_room *room,
                       const union tern_value *value)
{
    const struct tern_search asked = {.query = room->query, .k = similar->k};
    struct tern_error error;
    uint32_t count;

    /* decoding sees to the length; whoever made the facts otherwise is not trusted with it */
    if (similar->collection == NULL || value->string.length != similar->dim * sizeof *room->query)
        return 0;
    memcpy(room->query, value->string.bytes, value->string.length);
    if (tern_search_check(similar->collection, &asked, &error) != 0)
        return 0;
    count = tern_search_run(similar->collection, room->scratch, &asked, room->hits);
    for (uint32_t i = 0; i < count; i++)
        room->similarities[i] = similarity_of(similar->collection, room->hits[i].score);
    return count;
}

static uint64_t identity_of(const struct tern_payload_value *value)
{
    return value->type == TERN_TYPE_STRING ? value->dictionary : value->u64;
}

/* The ballot of a value among the first `count`, made when it is new. */
static struct tern_ballot *find_ballot(struct tern_similar_room *room, uint32_t mask,
                                       const struct tern_payload_value *value, uint32_t *count)
{
    uint64_t identity = identity_of(value);
    uint32_t at = (uint32_t)((identity * 0x9e3779b97f4a7c15ull) >> 32) & mask;
    struct tern_ballot *ballot;

    for (; room->places[at] != 0; at = (at + 1) & mask) {
        ballot = &room->ballots[room->places[at] - 1];
        if (identity_of(&ballot->value) == identity)
            return ballot;
    }
    ballot = &room->ballots[(*count)++];
    room->places[at] = (uint16_t)*count;
    *ballot = (struct tern_ballot){*value, 0};
    return ballot;
}

/* Which value of the column weighs most among the first result->found neighbours. */
static void count_votes(const struct asking *asking, unsigned column,
                        struct tern_similar_result *result)
{
    struct tern_similar_room *room = asking->room;
    uint32_t mask = tern_similar_places(result->found) - 1, count = 0;
    const struct tern_ballot *best = NULL;
    double total = 0;

    memset(room->places, 0, (mask + 1) * sizeof *room->places);
    for (uint32_t i = 0; i < result->found; i++) {
        struct tern_payload_value value;

        if (!(room->similarities[i] > 0))
            break; /* the rest is farther still */
        value = tern_collection_payload(asking->similar->collection, room->hits[i].slot, column);
        if (value.type == TERN_TYPE_NONE)
            continue;
        find_ballot(room, mask, &value, &count)->weight += (double)room->similarities[i];
        total += (double)room->similarities[i];
    }
    for (uint32_t i = 0; i < count; i++) /* the nearest ones' first */
        if (best == NULL || room->ballots[i].weight > best->weight)
            best = &room->ballots[i];
    result->voted = best != NULL;
    if (best != NULL) {
        result->value = best->value;
        result->weight = best->weight / total;
    }
}

static void hold_vote(const struct asking *asking, uint32_t index)
{
    const struct tern_similar_vote *vote = &asking->similar->votes[index];
    struct tern_similar_result *result = &asking->results[index];
    uint32_t most = asking->hit_count < vote->k ? asking->hit_count : vote->k;

    result->found = 0;
    result->voted = false;
    while (result->found < most && asking->room->similarities[result->found] >= vote->min)
        result->found++;
    if (result->found > 0 && asking->similar->columns[index] >= 0)
        count_votes(asking, (unsigned)asking->similar->columns[index], result);
}

/* Whether the last range that begins at or before `key` reaches it. */
static bool in_ranges(const struct tern_similar_range *ranges, uint32_t count, uint64_t key)
{
    while (count > 1) {
        uint32_t half = count / 2;

        if (ranges[half].first <= key)
            ranges += half;
        count -= half;
    }
    return count == 1 && ranges->first <= key && key <= ranges->last;
}

static uint64_t number_key(const struct tern_payload_value *value)
{
    return value->type == TERN_TYPE_I64 ? tern_interval_key_i64(value->i64) : value->u64;
}

static bool test_holds(const struct asking *asking, const struct tern_similar_test *test)
{
    const struct tern_similar *similar = asking->similar;
    const struct tern_similar_result *result = &asking->results[test->vote];
    const struct tern_similar_range *ranges = similar->ranges + test->first;
    const struct tern_text_span *texts = similar->strings + test->first;
    const struct tern_payload_value *value = &result->value;

    if (test->kind == TERN_SIMILAR_FOUND)
        return result->found > 0;
    if (test->kind == TERN_SIMILAR_SCORE)
        return result->found > 0 &&
               in_ranges(ranges, test->count, tern_interval_key_f32(asking->room->similarities[0]));
    if (!result->voted)
        return false;
    switch (test->kind) {
    case TERN_SIMILAR_NUMBER:
        return in_ranges(ranges, test->count, number_key(value));
    case TERN_SIMILAR_EQUALS:
        return tern_text_is_among(similar->bytes, texts, test->count, value->string.bytes,
                                  value->string.length);
    case TERN_SIMILAR_STARTS:
        return tern_text_starts(similar->bytes, texts, value->string.bytes, value->string.length);
    case TERN_SIMILAR_ENDS:
        return tern_text_ends(similar->bytes, texts, value->string.bytes, value->string.length);
    default: /* VOTED */
        return true;
    }
}

void tern_similar_run(const struct tern_similar *similar, struct tern_similar_room *room,
                      unsigned index, const union tern_value *value, struct tern_scan_hits *hits)
{
    struct tern_similar_outcome *outcome = &room->outcomes[index];
    uint64_t started = tern_clock_now_ns(); /* one look a search, which takes far longer */
    struct asking asking = {.similar = similar,
                            .room = room,
                            .results = outcome->results,
                            .hit_count = search(similar, room, value)};

    outcome->found = asking.hit_count;
    outcome->score = asking.hit_count > 0 ? room->similarities[0] : 0;
    outcome->search_ns = tern_clock_now_ns() - started;
    room->searched.count++;
    room->searched.spent_ns += outcome->search_ns;
    for (uint32_t i = 0; i < similar->vote_count; i++)
        hold_vote(&asking, i);
    tern_scan_begin(hits);
    for (uint32_t i = 0; i < similar->test_count; i++)
        if (test_holds(&asking, &similar->tests[i]))
            tern_scan_add(hits, similar->tests[i].atom);
}
