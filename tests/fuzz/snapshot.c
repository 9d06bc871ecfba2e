/* A published snapshot, changed at will and with every checksum put right again: what a reader of a
 * newer or broken builder would find. Opening may refuse it; what it accepts must be safe to use:
 * every table is searched, every rule asked, and between the sections lies memory that the address
 * sanitizer guards.
 *
 * The input is a list of changes of 10 bytes: section, operation, 4 bytes of place, 4 of value. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/published.h"

#include "shared/manifest.h"
#include "shared/rules/evaluate.h"

#include <xxhash.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)   ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum operation {
    SET_BYTE,
    SET_U16,
    SET_U32,
    SET_U64,
    ADD_U32,
    XOR_U32,
    COPY_16,
    CUT, /* the section ends there */
    OPERATIONS,
};

#define ROOT_AT     TERN_PAGE
#define MANIFEST_AT (2 * TERN_PAGE)

static struct {
    uint8_t *base;
    size_t bytes;
    struct tern_manifest *manifest;
    struct tern_section *sections; /* of the manifest */
    unsigned count;
    bool guarded;
} image;

/* Lays a copy out: envelope, root, manifest, then each section on pages of its own with a page of
 * nothing behind. */
static void lay_out(const struct published *published)
{
    const struct tern_view *view = published->view;
    uint64_t at = MANIFEST_AT + tern_align_up(sizeof *image.manifest +
                                                  view->section_count * sizeof *image.sections,
                                              TERN_PAGE);

    if (image.base == NULL) {
        image.bytes = at;
        for (unsigned i = 0; i < view->section_count; i++)
            image.bytes += tern_align_up(view->sections[i].length, TERN_PAGE) + TERN_PAGE;
        image.base = aligned_alloc(TERN_PAGE, image.bytes);
        FUZZ_CHECK(image.base != NULL);
    }
    ASAN_UNPOISON_MEMORY_REGION(image.base, image.bytes);
    memset(image.base, 0, image.bytes);
    image.manifest = (struct tern_manifest *)(void *)(image.base + MANIFEST_AT);
    image.sections = (struct tern_section *)(void *)(image.manifest + 1);
    image.count = view->section_count;
    image.guarded = true;
    image.manifest->count = image.count;
    for (unsigned i = 0; i < image.count; i++) {
        const struct tern_section *section = &view->sections[i];

        image.sections[i] = *section;
        image.sections[i].offset = at;
        memcpy(image.base + at, published->arena.base + section->offset, section->length);
        at += tern_align_up(section->length, TERN_PAGE) + TERN_PAGE;
    }
}

static void apply(uint8_t *bytes, size_t length, enum operation operation, uint32_t place,
                  uint32_t value)
{
    size_t width = operation == SET_BYTE  ? 1
                   : operation == SET_U16 ? 2
                   : operation == SET_U64 ? 8
                   : operation == COPY_16 ? 16
                                          : 4;
    uint64_t wide = value < 0x80000000u ? value : 0xffffffff00000000u | value;

    if (length < width)
        return;
    place %= (uint32_t)(length - width + 1);
    switch (operation) {
    case ADD_U32:
        tern_store_u32(bytes + place, tern_load_u32(bytes + place) + value);
        break;
    case XOR_U32:
        tern_store_u32(bytes + place, tern_load_u32(bytes + place) ^ value);
        break;
    case COPY_16:
        memmove(bytes + place, bytes + value % (length - width + 1), width);
        break;
    default:
        memcpy(bytes + place, &wide, width);
        break;
    }
}

static void change(struct fuzz_input *input)
{
    uint8_t which = (uint8_t)fuzz_take(input, 1);
    enum operation operation = (enum operation)(fuzz_take(input, 1) % OPERATIONS);
    uint32_t place = (uint32_t)fuzz_take(input, 4), value = (uint32_t)fuzz_take(input, 4);
    struct tern_section *section;

    if (which == 255) { /* the list itself: sections may now lie anywhere */
        image.guarded = false;
        if (operation != CUT)
            apply((uint8_t *)image.sections, image.count * sizeof *image.sections, operation, place,
                  value);
        else
            image.manifest->count = value;
        return;
    }
    section = &image.sections[which % image.count];
    if (!tern_range_inside(section->offset, section->length, image.bytes))
        return;
    if (operation == CUT)
        section->length = section->length == 0 ? 0 : place % section->length;
    else
        apply(image.base + section->offset, section->length, operation, place, value);
}

/* All checksums as a builder of these bytes would have written them. */
static void seal(const struct published *published)
{
    const struct tern_root *old =
        (const struct tern_root *)(published->arena.base + published->view->root_offset);
    struct tern_root *root = (struct tern_root *)(void *)(image.base + ROOT_AT);
    struct tern_envelope *envelope = (struct tern_envelope *)(void *)image.base;
    size_t list_bytes = image.count * sizeof *image.sections;

    memcpy(envelope, published->arena.base, sizeof *envelope);
    envelope->size = image.bytes;
    atomic_store(&envelope->high_water, image.bytes);
    for (unsigned i = 0; i < image.count; i++) {
        /* A copy: a section may lie over the list itself. */
        const struct tern_section section = image.sections[i];
        uint8_t *bytes;

        if (!tern_range_inside(section.offset, section.length, image.bytes))
            continue;
        bytes = image.base + section.offset;
        if (section.kind == TERN_SECTION_SCHEMA && section.length >= 8)
            tern_store_u64(bytes, XXH3_64bits(bytes + 8, section.length - 8));
        image.sections[i].checksum = XXH3_64bits(bytes, section.length);
    }
    *root = *old;
    root->stable = MANIFEST_AT;
    root->checksum = tern_root_checksum(root);
    if (image.manifest->count * sizeof *image.sections <= list_bytes)
        image.manifest->checksum = tern_manifest_checksum(image.manifest);
    for (unsigned i = 0; image.guarded && i < image.count; i++) {
        const struct tern_section *section = &image.sections[i];
        uint64_t pages = tern_align_up(section->length, TERN_PAGE) + TERN_PAGE;

        if (section->length > 0)
            ASAN_POISON_MEMORY_REGION(image.base + section->offset + section->length,
                                      pages - section->length);
    }
}

/* ---- use of what was accepted ---- */

static union tern_value value_of(unsigned type, unsigned number)
{
    static const char *const texts[] = {
        "",           "bad.example", "a.bad.example", "abc", "token-2", "/admin/x",
        "/index.php", "gold",        "x.invalid",     "/",   "..",      "\xff\x00"};
    const char *text = texts[number % TERN_COUNT(texts)];
    union tern_value value = {.u64 = number % 4 == 3 ? 1000 + number : number};

    switch (type) {
    case TERN_TYPE_STRING:
        value.string.bytes = (const uint8_t *)text;
        value.string.length = (uint32_t)strlen(text);
        break;
    case TERN_TYPE_IP:
        value.address = number % 3 == 2
                            ? (struct tern_address){0x20010db800000000u + number, number}
                            : tern_address_from_v4((number % 5 << 24) + 0x01000001u * number);
        break;
    case TERN_TYPE_F32:
        value.f32 = (float)number / 8;
        break;
    case TERN_TYPE_BOOL:
        value.boolean = number & 1;
        break;
    case TERN_TYPE_VECTOR:
        value.string.bytes = (const uint8_t *)"0123456789ab";
        value.string.length = 12;
        break;
    default:
        break;
    }
    return value;
}

static void use_tables(const struct tern_view *view)
{
    for (unsigned id = 1; id <= view->table_count; id++) {
        const struct tern_table *table = &view->tables[id];
        const struct tern_schema_table *described = &tern_schema_tables(view->schema)[id - 1];

        if (table->kind == TERN_TABLE_PATTERN_SET)
            continue;
        for (unsigned number = 0; number < 24; number++) {
            union tern_value key = value_of(described->key_type, number);
            uint32_t found = tern_table_find(table, &key);

            if (found == TERN_NOT_FOUND || !table->has_records)
                continue;
            FUZZ_CHECK(found < tern_records_count(&table->records));
            for (unsigned c = 0; c < tern_records_column_count(&table->records); c++) {
                union tern_value value;

                tern_records_column(&table->records, c);
                if (tern_records_value(&table->records, found, c, &value) &&
                    tern_records_column(&table->records, c)->type == TERN_TYPE_STRING &&
                    value.string.length > 0)
                    FUZZ_CHECK(value.string.bytes[0] +
                                   value.string.bytes[value.string.length - 1] >=
                               0); /* both ends can be read */
            }
        }
    }
}

static void use_rules(const struct tern_view *view)
{
    static uint8_t room[TERN_VECTOR_WIDTH]
                       [sizeof(struct tern_facts) +
                        (TERN_FIELDS_MAX + 1) * sizeof(union tern_value)] TERN_ALIGNED(64);
    static struct tern_scratch *scratch;
    const struct tern_schema_field *fields = tern_schema_fields(view->schema);
    const struct tern_facts *items[TERN_VECTOR_WIDTH];
    struct tern_verdict verdicts[TERN_VECTOR_WIDTH];
    struct tern_buffer json = {0};
    size_t length;

    if (scratch == NULL)
        FUZZ_CHECK(tern_scratch_new(&scratch) == 0);
    FUZZ_CHECK(tern_scratch_prepare(scratch, view->rules) == 0);
    for (unsigned i = 0; i < TERN_VECTOR_WIDTH; i++) {
        struct tern_facts *facts = (struct tern_facts *)(void *)room[i];

        tern_facts_clear(facts);
        for (unsigned f = 0; f < view->schema->field_count; f++) {
            if ((i + f) % 7 == 6)
                continue; /* missing */
            facts->values[fields[f].id] = value_of(fields[f].type, i * 5 + f);
            tern_facts_set_present(facts, fields[f].id);
        }
        items[i] = facts;
    }
    tern_rules_decide(view->rules, scratch, items, TERN_VECTOR_WIDTH, verdicts);
    for (unsigned i = 0; i < TERN_VECTOR_WIDTH; i++)
        FUZZ_CHECK(verdicts[i].rule <= tern_rules_count(view->rules) &&
                   verdicts[i].action <= TERN_UNDECIDED);
    for (unsigned i = 0; i < 4; i++)
        tern_rules_explain(view->rules, scratch, items[i], &json);
    tern_buffer_free(&json);
    for (uint32_t i = 1; i <= tern_rules_count(view->rules); i++) {
        const char *name = tern_rules_name(view->rules, i, &length);

        FUZZ_CHECK(length == 0 || memchr(name, 0, length) != name + length);
        tern_rules_action(view->rules, i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct published *published = published_get();
    struct fuzz_input input = {data, size};
    struct tern_arena arena = {.fd = -1};
    struct tern_view *view;
    struct tern_error error;

    lay_out(published);
    while (input.left > 0)
        change(&input);
    seal(published);
    arena.base = image.base;
    arena.size = image.bytes;
    if (tern_view_open(&arena, ROOT_AT, NULL, &view, &error) != 0)
        return 0;
    use_tables(view);
    use_rules(view);
    tern_view_close(view);
    return 0;
}
