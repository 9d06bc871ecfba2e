#include "controlplane/pipeline.h"

#include "controlplane/publish/reclaim.h"
#include "shared/clock.h"

#include <xxhash.h>

const struct tern_section *tern_image_find(const struct tern_image *image, unsigned kind,
                                           const uint8_t hash[16])
{
    for (unsigned i = 0; i < image->count; i++)
        if (image->sections[i].kind == kind &&
            memcmp(image->sections[i].content_hash, hash, 16) == 0)
            return &image->sections[i];
    return NULL;
}

void tern_image_compare(const struct tern_image *live, struct tern_apply_table *table)
{
    for (unsigned i = 0; i < live->count; i++)
        if (live->sections[i].kind == TERN_SECTION_TABLE &&
            strcmp(live->infos[i].name, table->name) == 0) {
            table->previous_rows = live->infos[i].rows;
            table->previous_bytes = live->sections[i].length;
        }
}

int tern_image_describe(const struct tern_image *image, const struct tern_image *live,
                        const struct tern_schema *schema, struct tern_apply_table **tables,
                        unsigned *count)
{
    struct tern_apply_table *described = calloc(schema->table_count + 1u, sizeof *described);

    if (described == NULL)
        return TERN_ENOMEM;
    for (unsigned i = 0; i < image->count; i++) {
        const struct tern_section *section = &image->sections[i];
        const struct tern_section_info *info = &image->infos[i];
        struct tern_apply_table *table;

        if (section->kind != TERN_SECTION_TABLE)
            continue;
        if (section->owner == 0 || section->owner > schema->table_count) {
            free(described);
            return TERN_ECORRUPT;
        }
        table = &described[section->owner - 1];
        snprintf(table->name, sizeof table->name, "%s", info->name);
        table->kind = (enum tern_table_kind)tern_schema_tables(schema)[section->owner - 1].kind;
        table->rows = info->rows;
        table->keys = info->keys;
        table->bytes = section->length;
        table->source_bytes = info->source_bytes;
        table->loaded_at_us = info->loaded_at_us;
        table->reused = tern_image_find(live, TERN_SECTION_TABLE, section->content_hash) != NULL;
        tern_image_compare(live, table);
    }
    *tables = described;
    *count = schema->table_count;
    return 0;
}

void tern_image_free(struct tern_image *image)
{
    free(image->sections);
    free(image->infos);
    free(image->specs);
    free(image->objects);
    *image = (struct tern_image){0};
}

static int append(struct tern_image *image, const struct tern_section *section,
                  const struct tern_section_info *info, struct tern_error *error)
{
    if (image->count == image->capacity) {
        unsigned capacity = image->capacity != 0 ? image->capacity * 2 : 32;
        struct tern_section *sections =
            realloc(image->sections, capacity * sizeof *image->sections);
        struct tern_section_info *infos;

        if (sections == NULL)
            return tern_error_set(error, TERN_ENOMEM, "no memory for %u sections", capacity);
        image->sections = sections;
        infos = realloc(image->infos, capacity * sizeof *image->infos);
        if (infos == NULL)
            return tern_error_set(error, TERN_ENOMEM, "no memory for %u sections", capacity);
        image->infos = infos;
        image->capacity = capacity;
    }
    if (image->count == TERN_SECTIONS_MAX)
        return tern_error_set(error, TERN_ELIMIT, "more than %u sections", TERN_SECTIONS_MAX);
    image->sections[image->count] = *section;
    image->infos[image->count] = info != NULL ? *info : (struct tern_section_info){0};
    image->count++;
    return 0;
}

/* Writes the section; when the arena is full, gives readers a moment to leave what is retired. */
static int put_patiently(struct tern_pipeline *pipeline, const void *bytes, uint64_t length,
                         struct tern_section *section, struct tern_error *error)
{
    uint64_t start = tern_clock_now_ns();
    int result;

    do
        result = tern_writer_put(&pipeline->writer, bytes, length, section, error);
    while (result == TERN_ENOSPC && tern_reclaim_await_room(&pipeline->writer, start));
    return result;
}

int tern_image_add(struct tern_pipeline *pipeline, struct tern_image *image, unsigned kind,
                   uint32_t owner, const uint8_t *hash, const void *bytes, uint64_t length,
                   const struct tern_section_info *info, struct tern_error *error)
{
    struct tern_section section = {.kind = (uint16_t)kind, .owner = owner};
    const struct tern_section *live;
    int result;

    if (hash != NULL) {
        memcpy(section.content_hash, hash, 16);
    } else {
        XXH128_canonical_t canonical;

        XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(bytes, length, kind));
        memcpy(section.content_hash, canonical.digest, 16);
    }
    live = tern_image_find(&pipeline->live_image, kind, section.content_hash);
    if (live == NULL) /* two tables of one image may be equal as well */
        live = tern_image_find(image, kind, section.content_hash);
    if (live != NULL) {
        section.offset = live->offset;
        section.length = live->length;
        section.checksum = live->checksum;
        image->shared_bytes += section.length;
    } else {
        assert(bytes != NULL);
        result = put_patiently(pipeline, bytes, length, &section, error);
        if (result != 0)
            return result;
        image->new_bytes += length;
    }
    return append(image, &section, info, error);
}
