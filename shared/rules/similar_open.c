#include "shared/rules/similar_room.h"

#include "shared/schema.h"

#include <math.h>

static int corrupt(struct tern_error *error, const char *what, uint32_t index)
{
    return tern_error_set(error, TERN_ECORRUPT, "similar: %s %u is out of bounds", what, index);
}

static bool is_votable(uint8_t type)
{
    return type == TERN_TYPE_STRING || type == TERN_TYPE_U32 || type == TERN_TYPE_U64 ||
           type == TERN_TYPE_I64 || type == TERN_TYPE_BOOL;
}

static bool vote_fits(const struct tern_similar_header *header,
                      const struct tern_similar_vote *vote)
{
    return vote->k >= 1 && vote->k <= header->k && !isnan(vote->min) &&
           vote->name_length <= TERN_NAME_MAX &&
           (vote->type == TERN_TYPE_NONE ? vote->name_length == 0
                                         : is_votable(vote->type) && vote->name_length > 0);
}

static bool test_fits(const struct tern_similar_header *header,
                      const struct tern_similar_vote *votes, const struct tern_similar_test *test,
                      uint32_t atom_count)
{
    uint8_t type;

    if (test->vote >= header->vote_count || test->atom >= atom_count)
        return false;
    type = votes[test->vote].type;
    switch (test->kind) {
    case TERN_SIMILAR_FOUND:
        return true;
    case TERN_SIMILAR_VOTED:
        return type != TERN_TYPE_NONE;
    case TERN_SIMILAR_SCORE:
        return tern_range_inside(test->first, test->count, header->range_count);
    case TERN_SIMILAR_NUMBER:
        return type != TERN_TYPE_NONE && type != TERN_TYPE_STRING &&
               tern_range_inside(test->first, test->count, header->range_count);
    case TERN_SIMILAR_STARTS:
    case TERN_SIMILAR_ENDS:
        return type == TERN_TYPE_STRING && test->count == 1 &&
               tern_range_inside(test->first, test->count, header->string_count);
    case TERN_SIMILAR_EQUALS:
        return type == TERN_TYPE_STRING &&
               tern_range_inside(test->first, test->count, header->string_count);
    default:
        return false;
    }
}

/* The parts behind each other; false when they are not what the header says. */
static bool find_parts(const struct tern_similar_header *header, uint64_t length,
                       struct tern_similar *similar)
{
    const uint8_t *at = (const uint8_t *)(header + 1);
    uint64_t wanted = sizeof *header + header->vote_count * sizeof(struct tern_similar_vote) +
                      header->test_count * sizeof(struct tern_similar_test) +
                      header->range_count * sizeof(struct tern_similar_range) +
                      header->string_count * sizeof(struct tern_text_span) + header->byte_count;

    if (wanted != length)
        return false;
    similar->votes = (const void *)at;
    at += header->vote_count * sizeof(struct tern_similar_vote);
    similar->tests = (const void *)at;
    at += header->test_count * sizeof(struct tern_similar_test);
    similar->ranges = (const void *)at;
    at += header->range_count * sizeof(struct tern_similar_range);
    similar->strings = (const void *)at;
    at += header->string_count * sizeof(struct tern_text_span);
    similar->bytes = at;
    return true;
}

/* The column of a vote, as the collection has it now; a payload may have changed since. */
static int16_t find_column(const struct tern_collection *collection,
                           const struct tern_similar_vote *vote)
{
    int column = -1;

    if (collection != NULL && vote->type != TERN_TYPE_NONE)
        column = tern_collection_find_column(collection, vote->name, vote->name_length);
    if (column >= 0 && collection->header->columns[column].type != vote->type)
        column = -1;
    return (int16_t)column;
}

static int check(const struct tern_similar_header *header, const struct tern_similar *similar,
                 uint32_t atom_count, struct tern_error *error)
{
    for (uint32_t i = 0; i < header->vote_count; i++)
        if (!vote_fits(header, &similar->votes[i]))
            return corrupt(error, "vote", i);
    for (uint32_t i = 0; i < header->test_count; i++)
        if (!test_fits(header, similar->votes, &similar->tests[i], atom_count))
            return corrupt(error, "test", i);
    for (uint32_t i = 0; i < header->string_count; i++)
        if (!tern_range_inside(similar->strings[i].offset, similar->strings[i].length,
                               header->byte_count))
            return corrupt(error, "string", i);
    return 0;
}

int tern_similar_open(struct tern_similar **similar, const void *data, uint64_t length,
                      uint32_t atom_count, uint32_t dim, const struct tern_collection *collection,
                      struct tern_error *error)
{
    const struct tern_similar_header *header = data;
    struct tern_similar *opened;
    int status;

    if (length < sizeof *header || (uintptr_t)data % 8 != 0 ||
        header->vote_count > length / sizeof(struct tern_similar_vote) || header->k == 0 ||
        header->k > TERN_SEARCH_K_MAX)
        return tern_error_set(error, TERN_ECORRUPT, "similar: %llu bytes are too few",
                              (unsigned long long)length);
    if (collection != NULL && collection->dim != dim)
        return tern_error_set(error, TERN_ECORRUPT,
                              "similar: a field of %u dimensions, a collection of %u", dim,
                              collection->dim);
    opened = calloc(1, sizeof *opened + header->vote_count * sizeof opened->columns[0]);
    if (opened == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %u votes", header->vote_count);
    opened->collection = collection;
    opened->dim = dim;
    opened->k = header->k;
    opened->vote_count = header->vote_count;
    opened->test_count = header->test_count;
    status = find_parts(header, length, opened)
                 ? check(header, opened, atom_count, error)
                 : tern_error_set(error, TERN_ECORRUPT, "similar: its parts leave the unit");
    for (uint32_t i = 0; status == 0 && i < header->vote_count; i++)
        opened->columns[i] = find_column(collection, &opened->votes[i]);
    if (status != 0) {
        free(opened);
        return status;
    }
    *similar = opened;
    return 0;
}

void tern_similar_close(struct tern_similar *similar)
{
    free(similar);
}

void tern_similar_room_free(struct tern_similar_room *room)
{
    if (room == NULL)
        return;
    if (room->scratch != NULL)
        tern_search_scratch_free(room->scratch);
    free(room->query);
    free(room->hits);
    free(room->similarities);
    free(room->ballots);
    free(room->places);
    free(room->results);
    free(room);
}

int tern_similar_room_new(struct tern_similar_room **room,
                          const struct tern_similar *const similars[], unsigned count)
{
    struct tern_similar_room *made = calloc(1, sizeof *made + count * sizeof made->outcomes[0]);
    uint32_t k = 1, votes = 0, capacity = 0, dim = 1;
    struct tern_similar_result *next;

    if (made == NULL)
        return TERN_ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        if (similars[i] == NULL)
            continue;
        votes += similars[i]->vote_count;
        k = similars[i]->k > k ? similars[i]->k : k;
        dim = similars[i]->dim > dim ? similars[i]->dim : dim;
        if (similars[i]->collection != NULL && similars[i]->collection->capacity > capacity)
            capacity = similars[i]->collection->capacity;
    }
    made->query = calloc(dim, sizeof *made->query);
    made->hits = calloc(k, sizeof *made->hits);
    made->similarities = calloc(k, sizeof *made->similarities);
    made->ballots = calloc(k, sizeof *made->ballots);
    made->places = calloc(tern_similar_places(k), sizeof *made->places);
    made->results = next = calloc(votes + 1, sizeof *made->results);
    if (made->query == NULL || made->hits == NULL || made->similarities == NULL ||
        made->ballots == NULL || made->places == NULL || made->results == NULL ||
        (capacity > 0 && tern_search_scratch_new(&made->scratch, capacity, dim) != 0)) {
        tern_similar_room_free(made);
        return TERN_ENOMEM;
    }
    for (unsigned i = 0; i < count; i++) {
        made->outcomes[i].results = next;
        next += similars[i] != NULL ? similars[i]->vote_count : 0;
    }
    *room = made;
    return 0;
}
