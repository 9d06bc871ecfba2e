#include "controlplane/compile/classes.h"

#include "controlplane/compile/digest.h"
#include "shared/rules/format.h"

#define UNKNOWN UINT32_MAX

/* One classifier over one column of the records, opened for use. */
struct column {
    unsigned column; /* in the records */
    uint8_t column_type;
    struct tern_classifier classifier;
    uint8_t *image; /* aligned copy of the classifier's bytes */
    struct tern_intervals narrow, wide;
    struct tern_trie trie;
    const struct tern_table *set;
    uint32_t *string_classes; /* by string number; UNKNOWN until met */
};

static bool column_of(const struct tern_records *records, const struct tern_config_column *wanted,
                      unsigned *column)
{
    for (unsigned i = 0; i < tern_records_column_count(records); i++) {
        const struct tern_column *found = tern_records_column(records, i);

        if (found->name_length == wanted->name.length &&
            memcmp(found->name, wanted->name.text, wanted->name.length) == 0 &&
            found->type == wanted->type && found->flags == wanted->flags) {
            *column = i;
            return true;
        }
    }
    return false;
}

static enum tern_unit_kind classifier_kind(const struct tern_unit_atom *atom, enum tern_type type)
{
    switch (atom->kind) {
    case TERN_ATOM_RANGES:
        return type == TERN_TYPE_IP ? TERN_UNIT_ADDRESS : TERN_UNIT_NUMBER;
    case TERN_ATOM_EQUALS:
    case TERN_ATOM_STARTS:
        return TERN_UNIT_STRING;
    case TERN_ATOM_ENDS:
        return TERN_UNIT_SUFFIX;
    case TERN_ATOM_IN_SET:
        return TERN_UNIT_SET;
    default:
        return TERN_UNIT_PRESENCE;
    }
}

static int open_column(struct column *column, const struct tern_compile_input *input,
                       const struct tern_records *records, uint16_t set)
{
    const struct tern_buffer *bytes = &column->classifier.bytes;
    const struct tern_class_bounds bounds = {
        .class_count = tern_signatures_count(&column->classifier.signatures)};
    const struct tern_intervals_header *header;
    int status = 0;

    if (bytes->length > 0) {
        column->image = aligned_alloc(64, tern_align_up(bytes->length, 64));
        if (column->image == NULL)
            return TERN_ENOMEM;
        memcpy(column->image, bytes->data, bytes->length);
    }
    header = (const void *)column->image;
    switch (column->classifier.kind) {
    case TERN_UNIT_ADDRESS:
        status = tern_intervals_open(&column->wide, column->image + header->next,
                                     bytes->length - header->next, true, &bounds, NULL);
        if (status == 0)
            status = tern_intervals_open(&column->narrow, column->image, bytes->length, false,
                                         &bounds, NULL);
        break;
    case TERN_UNIT_NUMBER:
        status = tern_intervals_open(&column->narrow, column->image, bytes->length, false, &bounds,
                                     NULL);
        break;
    case TERN_UNIT_STRING:
    case TERN_UNIT_SUFFIX:
        status = tern_trie_open(&column->trie, column->image, bytes->length, &bounds, NULL);
        break;
    case TERN_UNIT_SET:
        column->set = &input->tables[set];
        break;
    default:
        break;
    }
    assert(status == 0); /* what was just built opens */
    if (column->column_type == TERN_TYPE_STRING && column->classifier.kind != TERN_UNIT_PRESENCE) {
        size_t bytes_needed = (size_t)tern_records_string_count(records) * sizeof(uint32_t);

        column->string_classes = malloc(bytes_needed + 1);
        if (column->string_classes == NULL)
            return TERN_ENOMEM;
        memset(column->string_classes, 0xff, bytes_needed);
    }
    return status;
}

static uint32_t class_of_string(const struct tern_trie *trie, const union tern_value *value,
                                bool reversed)
{
    const struct tern_trie_key key = {value->string.bytes, value->string.length};
    uint32_t class;

    tern_trie_find(trie, &key, 1, reversed, &class);
    return class;
}

static uint32_t class_of_value(const struct column *column, const union tern_value *value)
{
    switch (column->classifier.kind) {
    case TERN_UNIT_ADDRESS:
        return tern_address_is_v4(value->address)
                   ? tern_intervals_find(&column->narrow, (uint32_t)value->address.low)
                   : tern_intervals_find_wide(&column->wide, value->address);
    case TERN_UNIT_NUMBER:
        return tern_intervals_find(&column->narrow, tern_interval_key(column->column_type, value));
    case TERN_UNIT_STRING:
        return class_of_string(&column->trie, value, false);
    case TERN_UNIT_SUFFIX:
        return class_of_string(&column->trie, value, true);
    case TERN_UNIT_SET:
        return tern_table_find(column->set, value) == TERN_NOT_FOUND ? TERN_CLASS_BASE
                                                                     : TERN_CLASS_FIRST;
    default:
        return TERN_CLASS_BASE;
    }
}

static uint32_t class_of_cell(const struct column *column, const struct tern_records *records,
                              uint32_t record)
{
    union tern_value value;
    uint32_t string;

    if (column->string_classes == NULL) {
        if (!tern_records_value(records, record, column->column, &value))
            return TERN_CLASS_MISSING;
        return class_of_value(column, &value);
    }
    string = tern_records_string_id(records, record, column->column);
    if (string == TERN_NOT_FOUND)
        return TERN_CLASS_MISSING;
    if (column->string_classes[string] == UNKNOWN) {
        value.string.bytes = tern_records_string(records, string, &value.string.length);
        column->string_classes[string] = class_of_value(column, &value);
    }
    return column->string_classes[string];
}

/* Makes the classifier of `kind` over one column (and set) from the unit's atoms. */
static int add_column(struct tern_classes *classes, const struct tern_compile_input *input,
                      const struct tern_compiled_unit *unit, int16_t index, unsigned found,
                      enum tern_unit_kind kind, uint16_t set, uint32_t there)
{
    const struct tern_config_column *configured =
        &input->config->tables[unit->table - 1].columns[index];
    const struct tern_unit_atom *atoms = unit->atoms.data;
    struct tern_list indexes = {0};
    struct column *column = tern_list_push(&classes->columns, sizeof *column);
    int status = 0;

    if (column == NULL)
        return TERN_ENOMEM;
    memset(column, 0, sizeof *column);
    column->column = found;
    column->column_type = (uint8_t)configured->type;
    for (uint32_t i = 0; i < unit->atoms.count && status == 0; i++) {
        uint32_t *slot;

        if (atoms[i].idle || atoms[i].column != index || atoms[i].set != set ||
            classifier_kind(&atoms[i], configured->type) != kind)
            continue;
        slot = tern_list_push(&indexes, sizeof *slot);
        if (slot == NULL)
            status = TERN_ENOMEM;
        else
            *slot = i;
    }
    if (status == 0)
        status = tern_classifier_build(&column->classifier, kind, configured->type, atoms,
                                       indexes.data, (uint32_t)indexes.count, there);
    tern_list_free(&indexes);
    if (status == 0)
        status = open_column(column, input, &input->tables[unit->table].records, set);
    return status;
}

/* The classifiers of all columns that atoms name: one for each kind and set. */
static int make_columns(struct tern_classes *classes, const struct tern_compile_input *input,
                        const struct tern_compiled_unit *unit)
{
    const struct tern_config_table *table = &input->config->tables[unit->table - 1];
    const struct tern_unit_atom *atoms = unit->atoms.data;

    for (unsigned index = 0; index < table->column_count; index++) {
        uint32_t there = UINT32_MAX;
        struct tern_digest_map made = {0};
        unsigned found = 0;
        bool named = false, any = false;
        int status = 0;

        for (uint32_t i = 0; i < unit->atoms.count; i++) {
            if (atoms[i].idle || atoms[i].column != (int)index)
                continue;
            named = true;
            if (atoms[i].kind == TERN_ATOM_CELL)
                there = i;
        }
        if (!named)
            continue;
        if (!column_of(&input->tables[unit->table].records, &table->columns[index], &found))
            return TERN_EINVAL;
        for (uint32_t i = 0; i < unit->atoms.count && status == 0; i++) {
            enum tern_unit_kind kind = classifier_kind(&atoms[i], table->columns[index].type);
            uint32_t key[2] = {kind, atoms[i].set};
            bool added;

            if (atoms[i].idle || atoms[i].column != (int)index || kind == TERN_UNIT_PRESENCE)
                continue;
            if (tern_digest_map_put(&made, tern_digest_of(key, sizeof key), 0, &added) == NULL)
                status = TERN_ENOMEM;
            else if (added)
                status = add_column(classes, input, unit, (int16_t)index, found, kind, atoms[i].set,
                                    any ? UINT32_MAX : there);
            any = true;
        }
        tern_digest_map_free(&made);
        if (status == 0 && !any)
            status = add_column(classes, input, unit, (int16_t)index, found, TERN_UNIT_PRESENCE, 0,
                                there);
        if (status != 0)
            return status;
    }
    return 0;
}

static int compare_tuples(const void *left, const void *right, void *context)
{
    const struct tern_classes *classes = context;
    size_t width = classes->columns.count;
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    for (size_t i = 0; i < width; i++) {
        uint32_t x = classes->tuples[a * width + i], y = classes->tuples[b * width + i];

        if (x != y)
            return x < y ? -1 : 1;
    }
    return (a > b) - (a < b);
}

static int compare_columns(const void *left, const void *right)
{
    const struct column *a = left, *b = right;
    size_t x = a->classifier.signatures.toggles.count, y = b->classifier.signatures.toggles.count;

    if (x != y)
        return x > y ? -1 : 1; /* most toggles first: neighbours in the order differ least */
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return (a->classifier.kind > b->classifier.kind) - (a->classifier.kind < b->classifier.kind);
}

static void tuple_of(const struct tern_classes *classes, const struct tern_records *records,
                     uint32_t record, uint32_t *tuple)
{
    const struct column *columns = classes->columns.data;

    for (size_t i = 0; i < classes->columns.count; i++)
        tuple[i] = class_of_cell(&columns[i], records, record);
}

/* Classifies every record; `ids` has room for all. The first records of the classes go to `firsts`.
 */
static int classify_records(struct tern_classes *classes, const struct tern_records *records,
                            uint32_t *ids, struct tern_list *firsts)
{
    size_t width = classes->columns.count;
    uint32_t *tuple = calloc(2 * width + 1, sizeof *tuple), *before;
    struct tern_digest_map map = {0};
    int status = 0;

    if (tuple == NULL)
        return TERN_ENOMEM;
    before = tuple + width;
    for (uint32_t i = 0; i < tern_records_count(records) && status == 0; i++) {
        uint32_t *found, *first;
        bool added;

        tuple_of(classes, records, i, tuple);
        if (i > 0 && memcmp(tuple, before, width * sizeof *tuple) == 0) {
            ids[i] = ids[i - 1];
            continue;
        }
        memcpy(before, tuple, width * sizeof *tuple);
        found = tern_digest_map_put(&map, tern_digest_of(tuple, width * sizeof *tuple),
                                    (uint32_t)firsts->count, &added);
        first = found != NULL && added ? tern_list_push(firsts, sizeof *first) : found;
        if (first == NULL) {
            status = TERN_ENOMEM;
            break;
        }
        if (added)
            *first = i;
        ids[i] = *found;
    }
    tern_digest_map_free(&map);
    free(tuple);
    return status;
}

static int write_section(const struct tern_list *firsts, const uint32_t *ids, uint32_t record_count,
                         const uint8_t hash[16], struct tern_buffer *out)
{
    struct tern_classes_header header = {
        .magic = TERN_CLASSES_MAGIC,
        .record_count = record_count,
        .class_count = (uint32_t)firsts->count,
        .id_bytes = firsts->count <= UINT16_MAX ? 2 : 4,
    };
    int status;

    memcpy(header.content_hash, hash, sizeof header.content_hash);
    header.ids_offset = tern_align_up(sizeof header + firsts->count * sizeof(uint32_t), 64);
    header.length = header.ids_offset + (uint64_t)record_count * header.id_bytes;
    status = tern_buffer_append(out, &header, sizeof header);
    if (status == 0 && firsts->count > 0)
        status = tern_buffer_append(out, firsts->data, firsts->count * sizeof(uint32_t));
    if (status == 0)
        status = tern_buffer_align(out, 64);
    if (status == 0)
        status = tern_buffer_reserve(out, (size_t)record_count * header.id_bytes);
    if (status != 0)
        return status;
    for (uint32_t i = 0; i < record_count; i++) {
        memcpy(out->data + out->length, &ids[i], header.id_bytes); /* little-endian */
        out->length += header.id_bytes;
    }
    return 0;
}

/* The first records of the classes of a section written earlier. */
static int read_firsts(const struct tern_records *records, const void *data, size_t length,
                       struct tern_list *firsts)
{
    const struct tern_classes_header *header = data;
    const uint32_t *first = (const uint32_t *)(header + 1);

    if (length < sizeof *header || header->magic != TERN_CLASSES_MAGIC ||
        header->record_count != tern_records_count(records) ||
        header->class_count > header->record_count ||
        length < sizeof *header + header->class_count * sizeof *first)
        return TERN_ECORRUPT;
    if (tern_list_reserve(firsts, header->class_count + 1, sizeof *first) != 0)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < header->class_count; i++) {
        if (first[i] >= header->record_count)
            return TERN_ECORRUPT;
        *(uint32_t *)tern_list_push(firsts, sizeof *first) = first[i];
    }
    return 0;
}

int tern_classes_build(struct tern_classes *classes, const struct tern_compile_input *input,
                       const struct tern_compiled_unit *unit, const uint8_t hash[16],
                       const void *existing, size_t existing_length, struct tern_buffer *out)
{
    const struct tern_records *records = &input->tables[unit->table].records;
    uint32_t count = tern_records_count(records), *ids = NULL;
    struct tern_list firsts = {0};
    int status = make_columns(classes, input, unit);

    if (status == 0 && classes->columns.count > 0)
        qsort(classes->columns.data, classes->columns.count, sizeof(struct column),
              compare_columns);
    if (status == 0 && existing != NULL) {
        status = read_firsts(records, existing, existing_length, &firsts);
    } else if (status == 0) {
        ids = malloc(((size_t)count + 1) * sizeof *ids);
        status = ids == NULL ? TERN_ENOMEM : classify_records(classes, records, ids, &firsts);
        if (status == 0)
            status = write_section(&firsts, ids, count, hash, out);
    }
    free(ids);
    if (status == 0) {
        size_t width = classes->columns.count;

        classes->class_count = (uint32_t)firsts.count;
        classes->tuples = calloc(firsts.count * width + 1, sizeof *classes->tuples);
        classes->order = calloc(firsts.count + 1, sizeof *classes->order);
        if (classes->tuples == NULL || classes->order == NULL)
            status = TERN_ENOMEM;
        for (uint32_t i = 0; i < firsts.count && status == 0; i++) {
            tuple_of(classes, records, ((const uint32_t *)firsts.data)[i],
                     classes->tuples + i * width);
            classes->order[i] = i;
        }
        if (status == 0)
            qsort_r(classes->order, firsts.count, sizeof *classes->order, compare_tuples, classes);
    }
    tern_list_free(&firsts);
    return status;
}

int tern_classes_difference(const struct tern_classes *classes, uint32_t from, uint32_t to,
                            int (*toggle)(void *context, uint32_t atom), void *context)
{
    const struct column *columns = classes->columns.data;
    size_t width = classes->columns.count;

    for (size_t i = 0; i < width; i++) {
        uint32_t a = from == UINT32_MAX ? TERN_CLASS_MISSING : classes->tuples[from * width + i];
        uint32_t b = to == UINT32_MAX ? TERN_CLASS_MISSING : classes->tuples[to * width + i];
        uint32_t low = a < b ? a : b, high = a < b ? b : a;

        for (uint32_t class = low + 1; class <= high; class ++) {
            size_t count;
            const uint32_t *toggles =
                tern_signatures_toggles(&columns[i].classifier.signatures, class, &count);

            for (size_t j = 0; j < count; j++) {
                int status = toggle(context, toggles[j]);

                if (status != 0)
                    return status;
            }
        }
    }
    return 0;
}

static int compare_canonical(const void *left, const void *right)
{
    const struct tern_unit_atom *a = *(const struct tern_unit_atom *const *)left;
    const struct tern_unit_atom *b = *(const struct tern_unit_atom *const *)right;
    int order = memcmp(a->canonical.bytes, b->canonical.bytes,
                       tern_min_u64(a->canonical.length, b->canonical.length));

    return order != 0 ? order
                      : (a->canonical.length > b->canonical.length) -
                            (a->canonical.length < b->canonical.length);
}

int tern_classes_hash(const struct tern_compile_input *input, const struct tern_compiled_unit *unit,
                      uint8_t hash[16])
{
    static const char version[] = "tern classes 1";
    const struct tern_config_table *table = &input->config->tables[unit->table - 1];
    const struct tern_unit_atom **sorted = calloc(unit->atoms.count + 1, sizeof *sorted);
    struct tern_buffer bytes = {0};
    struct tern_digest digest;
    size_t count = 0;
    int status;

    if (sorted == NULL)
        return TERN_ENOMEM;
    for (size_t i = 0; i < unit->atoms.count; i++) {
        const struct tern_unit_atom *atom = (const struct tern_unit_atom *)unit->atoms.data + i;

        if (atom->column >= 0 && !atom->idle) /* the others do not tell records apart */
            sorted[count++] = atom;
    }
    qsort(sorted, count, sizeof *sorted, compare_canonical);
    status = tern_buffer_append(&bytes, version, sizeof version);
    if (status == 0)
        status = tern_buffer_append(&bytes, input->table_hashes[unit->table], 16);
    for (size_t i = 0; i < count && status == 0; i++) {
        const struct tern_config_column *column = &table->columns[sorted[i]->column];

        status = tern_buffer_printf(&bytes, "%s:%d:%u;", column->name.text, (int)column->type,
                                    (unsigned)sorted[i]->canonical.length);
        if (status == 0)
            status =
                tern_buffer_append(&bytes, sorted[i]->canonical.bytes, sorted[i]->canonical.length);
        if (status == 0 && sorted[i]->kind == TERN_ATOM_IN_SET)
            status = tern_buffer_append(&bytes, input->table_hashes[sorted[i]->set], 16);
    }
    if (status == 0) {
        digest = tern_digest_of(bytes.data, bytes.length);
        tern_store_u64(hash, digest.low);
        tern_store_u64(hash + 8, digest.high);
    }
    tern_buffer_free(&bytes);
    free(sorted);
    return status;
}

void tern_classes_free(struct tern_classes *classes)
{
    struct column *columns = classes->columns.data;

    for (size_t i = 0; i < classes->columns.count; i++) {
        tern_classifier_free(&columns[i].classifier);
        free(columns[i].image);
        free(columns[i].string_classes);
    }
    tern_list_free(&classes->columns);
    free(classes->tuples);
    free(classes->order);
    memset(classes, 0, sizeof *classes);
}
