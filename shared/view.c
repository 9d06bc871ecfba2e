#include "shared/view.h"

#include "shared/collection_list.h"

#include <errno.h>
#include <sys/mman.h>

#include <xxhash.h>

#ifndef MADV_POPULATE_READ /* Linux 5.14; older headers */
#define MADV_POPULATE_READ 22
#endif

static const char *kind_name(unsigned kind)
{
    static const char *const names[] = {"none",    "settings", "schema",  "table",
                                        "classes", "rules",    "patterns"};

    return kind < TERN_COUNT(names) ? names[kind] : "unknown";
}

static bool same_section(const struct tern_section *a, const struct tern_section *b)
{
    return a->kind == b->kind && a->offset == b->offset && a->length == b->length &&
           a->checksum == b->checksum &&
           memcmp(a->content_hash, b->content_hash, sizeof a->content_hash) == 0;
}

static const struct tern_section *find_same(const struct tern_view *base,
                                            const struct tern_section *section)
{
    if (base == NULL)
        return NULL;
    for (unsigned i = 0; i < base->section_count; i++)
        if (same_section(&base->sections[i], section))
            return &base->sections[i];
    return NULL;
}

/* Brings the section in and compares its checksum: the border behind which its bytes are trusted to
 * be what the builder wrote. */
static int check_section(const struct tern_arena *arena, const struct tern_section *section,
                         struct tern_error *error)
{
    const uint8_t *data = arena->base + section->offset;

    /* Advice only: without it the first reads fault the pages in one by one. */
    madvise((void *)data, tern_align_up(section->length, TERN_PAGE), MADV_POPULATE_READ);
    if (XXH3_64bits(data, section->length) != section->checksum)
        return tern_error_set(error, TERN_ECORRUPT, "%s section %u fails its checksum",
                              kind_name(section->kind), section->owner);
    return 0;
}

/* Reads the root and copies its manifest's list into the view, both validated. */
static int read_manifest(const struct tern_arena *arena, uint64_t root_offset,
                         struct tern_view *view, struct tern_error *error)
{
    const struct tern_root *root = tern_arena_at(arena, root_offset, sizeof *root, 64);
    const struct tern_manifest *manifest;
    size_t bytes;

    if (root == NULL)
        return tern_error_set(error, TERN_ECORRUPT, "root at %llu lies outside the arena",
                              (unsigned long long)root_offset);
    if (tern_root_checksum(root) != root->checksum)
        return tern_error_set(error, TERN_ECORRUPT, "root fails its checksum");
    manifest = tern_arena_at(arena, root->stable, sizeof *manifest, 64);
    if (manifest == NULL || manifest->count == 0 || manifest->count > TERN_SECTIONS_MAX)
        return tern_error_set(error, TERN_ECORRUPT, "manifest lies outside the arena");
    bytes = manifest->count * sizeof(struct tern_section);
    if (tern_arena_at(arena, root->stable, sizeof *manifest + bytes, 64) == NULL ||
        tern_manifest_checksum(manifest) != manifest->checksum)
        return tern_error_set(error, TERN_ECORRUPT, "manifest fails its checksum");

    view->sections = malloc(bytes);
    if (view->sections == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %u sections", manifest->count);
    memcpy(view->sections, manifest + 1, bytes);
    view->section_count = manifest->count;
    view->root_offset = root_offset;
    view->seq = root->seq;
    view->generation = root->generation;
    view->root_checksum = root->checksum;
    for (unsigned i = 0; i < view->section_count; i++) {
        const struct tern_section *section = &view->sections[i];

        if (tern_arena_at(arena, section->offset, section->length, TERN_PAGE) == NULL)
            return tern_error_set(error, TERN_ECORRUPT, "%s section %u lies outside the arena",
                                  kind_name(section->kind), section->owner);
        view->bytes += section->length;
    }
    return 0;
}

/* The one section of a kind that must be there exactly once; NULL with the reason otherwise. */
static const struct tern_section *only_section(const struct tern_view *view, unsigned kind,
                                               struct tern_error *error)
{
    const struct tern_section *found = NULL;

    for (unsigned i = 0; i < view->section_count; i++) {
        if (view->sections[i].kind != kind)
            continue;
        if (found != NULL) {
            tern_error_set(error, TERN_ECORRUPT, "two %s sections", kind_name(kind));
            return NULL;
        }
        found = &view->sections[i];
    }
    if (found == NULL)
        tern_error_set(error, TERN_ECORRUPT, "no %s section", kind_name(kind));
    return found;
}

static int open_tables(const struct tern_arena *arena, const struct tern_view *base,
                       struct tern_view *view, struct tern_error *error)
{
    unsigned seen = 0;

    view->table_count = view->schema->table_count;
    view->tables = calloc(view->table_count + 1, sizeof *view->tables);
    if (view->tables == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %u tables", view->table_count);
    for (unsigned i = 0; i < view->section_count; i++) {
        const struct tern_section *section = &view->sections[i];
        const struct tern_section *known;
        const struct tern_schema_table *described;
        struct tern_error why;
        int result;

        if (section->kind != TERN_SECTION_TABLE)
            continue;
        if (section->owner == 0 || section->owner > view->table_count ||
            view->tables[section->owner].kind != TERN_TABLE_NONE)
            return tern_error_set(error, TERN_ECORRUPT, "table section %u has no place",
                                  section->owner);
        described = &tern_schema_tables(view->schema)[section->owner - 1];
        known = find_same(base, section);
        if (known != NULL) {
            view->tables[section->owner] = base->tables[known->owner];
        } else {
            result = tern_table_open(&view->tables[section->owner], arena->base + section->offset,
                                     section->length, &why);
            if (result != 0)
                return tern_error_set(error, result, "table %s: %s", described->name, why.message);
        }
        if (view->tables[section->owner].kind != described->kind ||
            view->tables[section->owner].key_type != described->key_type ||
            view->tables[section->owner].key_flags != described->key_flags)
            return tern_error_set(
                error, TERN_ECORRUPT,
                "table %s: its section is of another kind, or has other keys, than "
                "its schema",
                described->name);
        seen++;
    }
    if (seen != view->table_count)
        return tern_error_set(error, TERN_ECORRUPT, "%u of %u tables have a section", seen,
                              view->table_count);
    return 0;
}

static int open_collection(const struct tern_arena *arena, struct tern_view *view,
                           const struct tern_collection_entry *entry, struct tern_error *error)
{
    const uint8_t *object = arena->base + entry->offset;
    const struct tern_schema_collection *described;
    struct tern_collection *collection;
    struct tern_error why;
    int result;

    if (entry->id > view->collection_count)
        return tern_error_set(error, TERN_ECORRUPT, "collection %u has no place", entry->id);
    described = &tern_schema_collections(view->schema)[entry->id - 1];
    collection = &view->collections[entry->id];
    madvise((void *)object,
            tern_align_up(tern_min_u64(entry->length, sizeof *collection->header), TERN_PAGE),
            MADV_POPULATE_READ);
    result = tern_collection_open(collection, object, entry->length, &why);
    if (result == 0 &&
        memcmp(collection->header->object_id, entry->object_id, sizeof entry->object_id) != 0)
        result = tern_error_set(&why, TERN_ECORRUPT, "another object lies in its place");
    if (result == 0 &&
        (collection->dim != described->dim || (unsigned)collection->metric != described->metric))
        result = tern_error_set(&why, TERN_ECORRUPT, "it is not what its schema says");
    if (result != 0)
        return tern_error_set(error, result, "collection %s: %s", described->name, why.message);
    return 0;
}

static int open_collections(const struct tern_arena *arena, struct tern_view *view,
                            struct tern_error *error)
{
    const struct tern_collection_list *list;
    int result = tern_collection_list_find(arena, view->root_offset, &list);

    if (result != 0)
        return tern_error_set(error, result, "the list of collections is damaged");
    view->collection_count = view->schema->collection_count;
    view->collections = calloc(view->collection_count + 1, sizeof *view->collections);
    if (view->collections == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %u collections",
                              view->collection_count);
    for (uint32_t i = 0; result == 0 && list != NULL && i < list->count; i++)
        result = open_collection(arena, view, &list->entries[i], error);
    return result;
}

static int open_rules(const struct tern_arena *arena, struct tern_view *view,
                      struct tern_error *error)
{
    const struct tern_section *rules = only_section(view, TERN_SECTION_RULES, error);
    struct tern_classes_section *classes;
    struct tern_patterns_section *patterns;
    struct tern_rules_parts parts = {.schema = view->schema,
                                     .tables = view->tables,
                                     .table_count = view->table_count,
                                     .collections = view->collections,
                                     .collection_count = view->collection_count};
    int result;

    if (rules == NULL)
        return TERN_ECORRUPT;
    classes = calloc(view->section_count, sizeof *classes);
    patterns = calloc(view->section_count, sizeof *patterns);
    if (classes == NULL || patterns == NULL) {
        free(classes);
        free(patterns);
        return tern_error_set(error, TERN_ENOMEM, "no memory for the parts of the rules");
    }
    for (unsigned i = 0; i < view->section_count; i++) {
        const struct tern_section *section = &view->sections[i];
        const uint8_t *data = arena->base + section->offset;

        if (section->kind == TERN_SECTION_CLASSES)
            classes[parts.classes_count++] =
                (struct tern_classes_section){data, section->length, section->owner};
        else if (section->kind == TERN_SECTION_PATTERNS)
            patterns[parts.patterns_count++] =
                (struct tern_patterns_section){data, section->length, section->owner};
    }
    parts.classes = classes;
    parts.patterns = patterns;
    result =
        tern_rules_open(&view->rules, arena->base + rules->offset, rules->length, &parts, error);
    free(classes);
    free(patterns);
    return result;
}

static int open_view(const struct tern_arena *arena, uint64_t root_offset,
                     const struct tern_view *base, struct tern_view *view, struct tern_error *error)
{
    const struct tern_section *schema, *settings;
    int result = read_manifest(arena, root_offset, view, error);

    for (unsigned i = 0; result == 0 && i < view->section_count; i++)
        if (find_same(base, &view->sections[i]) == NULL)
            result = check_section(arena, &view->sections[i], error);
    if (result != 0)
        return result;

    schema = only_section(view, TERN_SECTION_SCHEMA, error);
    settings = only_section(view, TERN_SECTION_SETTINGS, error);
    if (schema == NULL || settings == NULL)
        return TERN_ECORRUPT;
    result = tern_schema_open(arena->base + schema->offset, schema->length, &view->schema);
    if (result != 0)
        return tern_error_set(error, result, "the schema section is malformed");
    result = tern_settings_open(arena->base + settings->offset, settings->length, &view->settings,
                                error);
    if (result == 0)
        result = open_tables(arena, base, view, error);
    if (result == 0)
        result = open_collections(arena, view, error);
    if (result == 0)
        result = open_rules(arena, view, error);
    return result;
}

int tern_view_open(const struct tern_arena *arena, uint64_t root_offset,
                   const struct tern_view *base, struct tern_view **view, struct tern_error *error)
{
    struct tern_view *opened = calloc(1, sizeof *opened);
    int result;

    if (opened == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for a view");
    result = open_view(arena, root_offset, base, opened, error);
    if (result != 0) {
        tern_view_close(opened);
        return result;
    }
    *view = opened;
    return 0;
}

void tern_view_close(struct tern_view *view)
{
    if (view == NULL)
        return;
    tern_rules_close(view->rules);
    free(view->tables);
    free(view->collections);
    free(view->sections);
    free(view);
}
