#include "controlplane/compile/similar.h"

#include "shared/rules/similar_format.h"

/* The parts of a unit, one behind the other in the end. */
struct parts {
    const struct tern_config_collection *collection;
    struct tern_list votes, tests, ranges, strings;
    struct tern_buffer bytes;
};

static bool is_same_vote(const struct tern_similar_vote *a, const struct tern_similar_vote *b)
{
    return a->k == b->k && a->min == b->min && a->type == b->type &&
           a->name_length == b->name_length && memcmp(a->name, b->name, a->name_length) == 0;
}

/* The vote, or the neighbours, that an atom is about; made when it is new. */
static int find_vote(struct parts *parts, const struct tern_unit_atom *atom, uint32_t *index)
{
    struct tern_similar_vote wanted, *votes = parts->votes.data;
    struct tern_similar_vote *made;

    memset(&wanted, 0, sizeof wanted);
    wanted.k = atom->k;
    wanted.min = atom->min;
    if (atom->column >= 0) {
        const struct tern_graph_column *column = &parts->collection->shape.columns[atom->column];

        wanted.type = column->type;
        wanted.name_length = (uint8_t)strlen(column->name);
        memcpy(wanted.name, column->name, wanted.name_length);
    }
    for (size_t i = 0; i < parts->votes.count; i++)
        if (is_same_vote(&votes[i], &wanted)) {
            *index = (uint32_t)i;
            return 0;
        }
    *index = (uint32_t)parts->votes.count;
    made = tern_list_push(&parts->votes, sizeof *made);
    if (made == NULL)
        return TERN_ENOMEM;
    *made = wanted;
    return 0;
}

static uint8_t test_kind(const struct tern_unit_atom *atom)
{
    switch (atom->kind) {
    case TERN_ATOM_NEIGHBOURS:
        return TERN_SIMILAR_FOUND;
    case TERN_ATOM_VOTED:
        return TERN_SIMILAR_VOTED;
    case TERN_ATOM_EQUALS:
        return TERN_SIMILAR_EQUALS;
    case TERN_ATOM_STARTS:
        return TERN_SIMILAR_STARTS;
    case TERN_ATOM_ENDS:
        return TERN_SIMILAR_ENDS;
    default:
        return atom->column == TERN_COLUMN_SCORE ? TERN_SIMILAR_SCORE : TERN_SIMILAR_NUMBER;
    }
}

static int add_literals(struct parts *parts, const struct tern_unit_atom *atom)
{
    for (uint32_t i = 0; i < atom->count; i++) {
        struct tern_similar_range *range;
        struct tern_text_span *string;

        if (atom->ranges != NULL) {
            range = tern_list_push(&parts->ranges, sizeof *range);
            if (range == NULL)
                return TERN_ENOMEM;
            *range =
                (struct tern_similar_range){atom->ranges[i].first.low, atom->ranges[i].last.low};
            continue;
        }
        string = tern_list_push(&parts->strings, sizeof *string);
        if (string == NULL)
            return TERN_ENOMEM;
        *string = (struct tern_text_span){(uint32_t)parts->bytes.length, atom->strings[i].length};
        if (tern_buffer_append(&parts->bytes, atom->strings[i].bytes, atom->strings[i].length) != 0)
            return TERN_ENOMEM;
    }
    return parts->bytes.length > UINT32_MAX ? TERN_ELIMIT : 0;
}

/* The tests of an atom: one, or one for each of its members. */
static int add_atom(struct parts *parts, const struct tern_unit_atom *atoms, uint32_t index,
                    uint32_t hit)
{
    const struct tern_unit_atom *atom = &atoms[index];
    struct tern_similar_test test = {.atom = hit, .kind = test_kind(atom), .count = atom->count};
    struct tern_similar_test *made;
    int status = 0;

    if (atom->kind == TERN_ATOM_ANY) {
        for (uint32_t i = 0; i < atom->count && status == 0; i++)
            status = add_atom(parts, atoms, atom->members[i], hit);
        return status;
    }
    test.first = (uint32_t)(atom->ranges != NULL ? parts->ranges.count : parts->strings.count);
    status = find_vote(parts, atom, &test.vote);
    if (status == 0)
        status = add_literals(parts, atom);
    if (status != 0)
        return status;
    made = tern_list_push(&parts->tests, sizeof *made);
    if (made == NULL)
        return TERN_ENOMEM;
    *made = test;
    return 0;
}

static int append_list(struct tern_buffer *out, const struct tern_list *list, size_t size)
{
    return list->count == 0 ? 0 : tern_buffer_append(out, list->data, list->count * size);
}

static int append_parts(const struct parts *parts, struct tern_buffer *out)
{
    const struct tern_similar_vote *votes = parts->votes.data;
    struct tern_similar_header header = {.k = 1,
                                         .vote_count = (uint32_t)parts->votes.count,
                                         .test_count = (uint32_t)parts->tests.count,
                                         .range_count = (uint32_t)parts->ranges.count,
                                         .string_count = (uint32_t)parts->strings.count,
                                         .byte_count = (uint32_t)parts->bytes.length};
    int status;

    for (uint32_t i = 0; i < header.vote_count; i++)
        header.k = votes[i].k > header.k ? votes[i].k : header.k;
    status = tern_buffer_append(out, &header, sizeof header);
    if (status == 0)
        status = append_list(out, &parts->votes, sizeof(struct tern_similar_vote));
    if (status == 0)
        status = append_list(out, &parts->tests, sizeof(struct tern_similar_test));
    if (status == 0)
        status = append_list(out, &parts->ranges, sizeof(struct tern_similar_range));
    if (status == 0)
        status = append_list(out, &parts->strings, sizeof(struct tern_text_span));
    if (status == 0 && parts->bytes.length > 0)
        status = tern_buffer_append(out, parts->bytes.data, parts->bytes.length);
    return status;
}

int tern_similar_write(const struct tern_config *config, const struct tern_compiled_unit *unit,
                       struct tern_buffer *out)
{
    struct parts parts = {.collection = &config->collections[unit->table - 1]};
    const uint32_t *hits = unit->hits.data;
    int status = 0;

    for (uint32_t i = 0; i < unit->hits.count && status == 0; i++)
        status = add_atom(&parts, unit->atoms.data, hits[i], i);
    if (status == 0)
        status = append_parts(&parts, out);
    tern_list_free(&parts.votes);
    tern_list_free(&parts.tests);
    tern_list_free(&parts.ranges);
    tern_list_free(&parts.strings);
    tern_buffer_free(&parts.bytes);
    return status;
}
