#include "controlplane/compile/classifier.h"

#define NEAR_BUCKETS 4096u /* an index of so many stays in the nearer caches */

struct event { /* an atom begins or ceases to hold */
    struct tern_address key;
    uint32_t atom;
    bool past_end; /* behind the last key of the domain */
};

struct boundary { /* from here on, this class */
    struct tern_address key;
    uint32_t class;
};

struct domain { /* of keys that are searched together */
    struct tern_address last;
    unsigned key_bits;
};

static int compare_events(const void *left, const void *right)
{
    const struct event *a = left, *b = right;
    int order = tern_address_compare(a->key, b->key);

    if (a->past_end != b->past_end)
        return a->past_end ? 1 : -1;
    if (!a->past_end && order != 0)
        return order;
    return (a->atom > b->atom) - (a->atom < b->atom);
}

/* IPv4 addresses are searched as 32-bit numbers, so they have a domain of their own. */
static bool in_domain(const struct domain *domain, enum tern_type type,
                      const struct tern_key_range *range)
{
    return type != TERN_TYPE_IP || tern_address_is_v4(range->first) == (domain->key_bits == 32);
}

static struct tern_address domain_key(const struct domain *domain, enum tern_type type,
                                      struct tern_address key)
{
    if (type == TERN_TYPE_IP && domain->key_bits == 32)
        return (struct tern_address){0, (uint32_t)key.low};
    return key;
}

static int collect_events(const struct domain *domain, enum tern_type type,
                          const struct tern_unit_atom *atoms, const uint32_t *indexes,
                          uint32_t count, struct tern_list *events)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tern_unit_atom *atom = &atoms[indexes[i]];

        if (atom->kind != TERN_ATOM_RANGES)
            continue;
        for (uint32_t j = 0; j < atom->count; j++) {
            struct event *event;
            struct tern_address last;

            if (!in_domain(domain, type, &atom->ranges[j]))
                continue;
            if (tern_list_reserve(events, 2, sizeof *event) != 0)
                return TERN_ENOMEM;
            event = tern_list_push(events, sizeof *event);
            *event =
                (struct event){domain_key(domain, type, atom->ranges[j].first), indexes[i], false};
            last = domain_key(domain, type, atom->ranges[j].last);
            event = tern_list_push(events, sizeof *event);
            *event = (struct event){last, indexes[i], true};
            if (tern_address_compare(last, domain->last) < 0) {
                event->past_end = false;
                event->key.low++;
                event->key.high += event->key.low == 0;
            }
        }
    }
    if (events->count > 0)
        qsort(events->data, events->count, sizeof(struct event), compare_events);
    return 0;
}

/* Walks the events in order of their keys and notes where the class changes. */
static int sweep(struct tern_classifier *classifier, const struct tern_list *events,
                 struct tern_list *boundaries)
{
    const struct event *event = events->data,
                       *end = events->count > 0 ? event + events->count : event;
    struct tern_address key = {0, 0};

    for (;;) {
        const struct boundary *before;
        struct boundary *boundary;
        uint32_t class;
        int status = 0;

        for (; event < end && !event->past_end && tern_address_compare(event->key, key) == 0;
             event++) {
            status = tern_signatures_toggle(&classifier->signatures, event->atom);
            if (status != 0)
                return status;
        }
        status = tern_signatures_commit(&classifier->signatures, &class);
        if (status != 0)
            return status;
        before = boundaries->count == 0
                     ? NULL
                     : (const struct boundary *)boundaries->data + boundaries->count - 1;
        if (before == NULL || before->class != class) {
            boundary = tern_list_push(boundaries, sizeof *boundary);
            if (boundary == NULL)
                return TERN_ENOMEM;
            *boundary = (struct boundary){key, class};
        }
        if (event == end || event->past_end)
            break;
        key = event->key;
    }
    for (; event < end; event++) { /* back to the state before the sweep */
        int status = tern_signatures_toggle(&classifier->signatures, event->atom);

        if (status != 0)
            return status;
    }
    return 0;
}

/* Buckets of equal width from the first literal to the last: two a start, so that even literals are
 * found at once, as long as all of that is near; of thousands one for two starts, which costs a
 * step and saves lines. */
static void choose_index(const struct tern_list *boundaries, struct tern_intervals_header *header)
{
    const struct boundary *boundary = boundaries->data;
    uint64_t count = boundaries->count, most = tern_min_u64(2 * count, NEAR_BUCKETS), last;

    header->bucket_count = 1;
    header->shift = 63;
    if (header->form == TERN_INTERVALS_WIDE)
        return;
    if (most < count / 2)
        most = tern_min_u64(count / 2, 1u << 16);
    last = boundary[count - 1].key.low - header->base;
    while (header->shift > 0 && last >> (header->shift - 1) < most)
        header->shift--;
    header->bucket_count = (uint32_t)(last >> header->shift) + 1;
}

static void choose_form(const struct domain *domain, const struct tern_list *boundaries,
                        struct tern_intervals_header *header)
{
    const struct boundary *boundary = boundaries->data;
    size_t count = boundaries->count;

    if (domain->key_bits == 128) {
        header->form = TERN_INTERVALS_WIDE;
        return;
    }
    header->base = count > 1 ? boundary[1].key.low - 1 : 0;
    header->form = boundary[count - 1].key.low - header->base > UINT32_MAX && count > 1
                       ? TERN_INTERVALS_LONG
                       : TERN_INTERVALS_SHORT;
}

static int append_interval(const struct tern_intervals_header *header, struct tern_address start,
                           uint32_t class, struct tern_buffer *out)
{
    uint64_t along = start.low > header->base ? start.low - header->base : 0;
    const struct tern_interval_short brief = {(uint32_t)along, class};
    const struct tern_interval narrow = {along, class, 0};
    const struct tern_interval_wide wide = {start, class, 0};

    return header->form == TERN_INTERVALS_SHORT  ? tern_buffer_append(out, &brief, sizeof brief)
           : header->form == TERN_INTERVALS_LONG ? tern_buffer_append(out, &narrow, sizeof narrow)
                                                 : tern_buffer_append(out, &wide, sizeof wide);
}

static int pack(const struct domain *domain, const struct tern_list *boundaries,
                struct tern_buffer *out, size_t *header_at)
{
    const struct boundary *boundary = boundaries->data;
    struct tern_intervals_header header = {.count = (uint32_t)boundaries->count};
    int status = tern_buffer_align(out, 64);
    size_t at = 1; /* the first starts at or before everything */

    choose_form(domain, boundaries, &header);
    choose_index(boundaries, &header);
    *header_at = out->length;
    if (status == 0)
        status = tern_buffer_append(out, &header, sizeof header);
    for (uint64_t bucket = 0; bucket <= header.bucket_count && status == 0; bucket++) {
        uint32_t below;

        while (at < boundaries->count && bucket < header.bucket_count &&
               header.form != TERN_INTERVALS_WIDE &&
               boundary[at].key.low - header.base <= bucket << header.shift)
            at++;
        below = (uint32_t)(bucket == header.bucket_count ? boundaries->count : at);
        status = tern_buffer_append(out, &below, sizeof below);
    }
    if (status == 0)
        status = tern_buffer_align(out, 8);
    for (size_t i = 0; i < boundaries->count && status == 0; i++)
        status = append_interval(&header, boundary[i].key, boundary[i].class, out);
    return status;
}

int tern_classifier_intervals(struct tern_classifier *classifier,
                              const struct tern_unit_atom *atoms, const uint32_t *indexes,
                              uint32_t count)
{
    struct domain domains[2] = {{{0, UINT64_MAX}, 64}, {{UINT64_MAX, UINT64_MAX}, 128}};
    unsigned domain_count = 1;
    size_t first_at = 0;
    int status = 0;

    if (classifier->type == TERN_TYPE_IP || classifier->type == TERN_TYPE_F32)
        domains[0] = (struct domain){{0, UINT32_MAX}, 32};
    if (classifier->type == TERN_TYPE_BOOL)
        domains[0] = (struct domain){{0, 1}, 1};
    if (classifier->type == TERN_TYPE_IP)
        domain_count = 2;
    for (unsigned i = 0; i < domain_count && status == 0; i++) {
        struct tern_list events = {0}, boundaries = {0};
        size_t at;

        status = collect_events(&domains[i], classifier->type, atoms, indexes, count, &events);
        if (status == 0)
            status = sweep(classifier, &events, &boundaries);
        if (status == 0)
            status = pack(&domains[i], &boundaries, &classifier->bytes, &at);
        if (status == 0 && i == 0)
            first_at = at;
        if (status == 0 && i == 1)
            tern_store_u64(classifier->bytes.data + first_at +
                               offsetof(struct tern_intervals_header, next),
                           at - first_at);
        tern_list_free(&events);
        tern_list_free(&boundaries);
    }
    return status;
}
