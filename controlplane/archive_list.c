#include "controlplane/archive_list.h"

#include "shared/schema.h"

#include <inttypes.h>

#include <xxhash.h>

void tern_archive_hash_text(const uint8_t hash[16], char text[TERN_ARCHIVE_HASH_TEXT])
{
    for (unsigned i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

/* ---- into text ---- */

/* "collection" and what makes it, then its columns on lines of their own. */
static int print_spec(struct tern_buffer *text, const struct tern_collection_spec *spec)
{
    const struct tern_graph_shape *shape = &spec->shape;
    int result = tern_buffer_printf(
        text, "collection %u %s %u %u %u %u %u %u %u %u\n", spec->id, spec->name, shape->dim,
        (unsigned)shape->metric, (unsigned)shape->quantize, shape->m, shape->capacity,
        spec->parameters.ef_search, spec->parameters.ef_construct, spec->parameters.full_scan);

    for (unsigned i = 0; result == 0 && i < shape->column_count; i++)
        result = tern_buffer_printf(text, "column %s %u\n", shape->columns[i].name,
                                    shape->columns[i].type);
    return result;
}

int tern_archive_list_print(struct tern_buffer *text, const struct tern_archive_list *list)
{
    char hash[TERN_ARCHIVE_HASH_TEXT], definition[TERN_ARCHIVE_HASH_TEXT];
    int result;

    tern_archive_hash_text(list->config_hash, hash);
    result = tern_buffer_printf(
        text, "tern-generation 1\ngeneration %" PRIu64 "\nschema %016" PRIx64 "\nconfig %s\n",
        list->generation, list->schema_hash, hash);
    for (unsigned i = 0; result == 0 && i < list->count; i++) {
        const struct tern_section *section = &list->sections[i];
        const struct tern_section_info *info = &list->infos[i];

        tern_archive_hash_text(section->content_hash, hash);
        tern_archive_hash_text(info->definition, definition);
        result = tern_buffer_printf(text,
                                    "section %u %u %s %" PRIu64 " %016" PRIx64 " %" PRIu64
                                    " %" PRIu64 " %s %" PRIu64 " %" PRIu64 " %s\n",
                                    section->kind, section->owner, hash, section->length,
                                    section->checksum, info->rows, info->keys,
                                    info->name[0] != '\0' ? info->name : "-", info->source_bytes,
                                    info->loaded_at_us, definition);
    }
    for (unsigned i = 0; result == 0 && i < list->spec_count; i++)
        result = print_spec(text, &list->specs[i]);
    if (result == 0)
        result = tern_buffer_printf(text, "end %016llx\n",
                                    (unsigned long long)XXH3_64bits(text->data, text->length));
    return result;
}

/* ---- out of it ---- */

static bool parse_hash(const char *text, uint8_t hash[16])
{
    if (strlen(text) != 32)
        return false;
    for (unsigned i = 0; i < 16; i++) {
        unsigned byte;

        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return false;
        hash[i] = (uint8_t)byte;
    }
    return true;
}

static int parse_section(char *line, struct tern_archive_list *list)
{
    struct tern_section section = {0};
    struct tern_section_info info = {0};
    char hash[TERN_ARCHIVE_HASH_TEXT], definition[TERN_ARCHIVE_HASH_TEXT];
    unsigned kind;
    int found = sscanf(line,
                       "section %u %u %32s %" SCNu64 " %" SCNx64 " %" SCNu64 " %" SCNu64
                       " %63s %" SCNu64 " %" SCNu64 " %32s",
                       &kind, &section.owner, hash, &section.length, &section.checksum, &info.rows,
                       &info.keys, info.name, &info.source_bytes, &info.loaded_at_us, definition);

    /* Lists of before there were sources in them have eight words. */
    if ((found != 8 && found != 11) || !parse_hash(hash, section.content_hash) ||
        (found == 11 && !parse_hash(definition, info.definition)) || kind > UINT16_MAX ||
        list->count == TERN_SECTIONS_MAX)
        return TERN_ECORRUPT;
    if (strcmp(info.name, "-") == 0)
        info.name[0] = '\0';
    section.kind = (uint16_t)kind;
    list->sections[list->count] = section;
    list->infos[list->count] = info;
    list->count++;
    return 0;
}

static int parse_collection(const char *line, struct tern_archive_list *list)
{
    struct tern_collection_spec spec = {0};
    struct tern_graph_shape *shape = &spec.shape;
    unsigned metric, quantize;

    if (list->spec_count == TERN_COLLECTIONS_MAX ||
        sscanf(line, "collection %u %63s %u %u %u %u %u %u %u %u", &spec.id, spec.name, &shape->dim,
               &metric, &quantize, &shape->m, &shape->capacity, &spec.parameters.ef_search,
               &spec.parameters.ef_construct, &spec.parameters.full_scan) != 10 ||
        spec.id != list->spec_count + 1 || metric < TERN_METRIC_COSINE ||
        metric > TERN_METRIC_DOT || quantize > TERN_QUANTIZE_INT8)
        return TERN_ECORRUPT;
    shape->metric = (enum tern_metric)metric;
    shape->quantize = (enum tern_quantize)quantize;
    list->specs[list->spec_count++] = spec;
    return 0;
}

static int parse_column(const char *line, struct tern_archive_list *list)
{
    struct tern_graph_column column = {0};
    struct tern_graph_shape *shape;
    unsigned type;

    if (list->spec_count == 0 || sscanf(line, "column %63s %u", column.name, &type) != 2 ||
        type > TERN_TYPE_U32)
        return TERN_ECORRUPT;
    shape = &list->specs[list->spec_count - 1].shape;
    if (shape->column_count == TERN_PAYLOAD_COLUMNS_MAX)
        return TERN_ECORRUPT;
    column.type = (uint8_t)type;
    shape->columns[shape->column_count++] = column;
    return 0;
}

static int parse_line(char *line, struct tern_archive_list *list)
{
    if (strncmp(line, "section ", 8) == 0)
        return parse_section(line, list);
    if (strncmp(line, "collection ", 11) == 0)
        return parse_collection(line, list);
    if (strncmp(line, "column ", 7) == 0)
        return parse_column(line, list);
    return 0;
}

static int parse_lines(char *text, size_t length, struct tern_archive_list *list)
{
    char *end = strstr(text, "\nend ");
    char hash[TERN_ARCHIVE_HASH_TEXT];
    unsigned long long stated;
    const char *config;
    char *next;

    if (end == NULL || sscanf(end + 1, "end %llx", &stated) != 1 ||
        stated != XXH3_64bits(text, (size_t)(end + 1 - text)) || (size_t)(end - text) > length)
        return TERN_ECORRUPT;
    *end = '\0';
    config = strstr(text, "\nconfig ");
    if (config != NULL &&
        (sscanf(config + 1, "config %32s", hash) != 1 || !parse_hash(hash, list->config_hash)))
        return TERN_ECORRUPT;
    if (sscanf(text, "tern-generation 1\ngeneration %" SCNu64 "\nschema %" SCNx64,
               &list->generation, &list->schema_hash) != 2)
        return TERN_ECORRUPT;
    list->sections = calloc(TERN_SECTIONS_MAX, sizeof *list->sections);
    list->infos = calloc(TERN_SECTIONS_MAX, sizeof *list->infos);
    list->specs = calloc(TERN_COLLECTIONS_MAX, sizeof *list->specs);
    if (list->sections == NULL || list->infos == NULL || list->specs == NULL)
        return TERN_ENOMEM;
    for (char *line = text; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        if (parse_line(line, list) != 0)
            return TERN_ECORRUPT;
    }
    return list->count > 0 ? 0 : TERN_ECORRUPT;
}

int tern_archive_list_parse(struct tern_archive_list *list, char *text, size_t length)
{
    struct tern_archive_list read = {0};
    int result = parse_lines(text, length, &read);

    if (result != 0)
        tern_archive_list_free(&read);
    else
        *list = read;
    return result;
}

void tern_archive_list_free(struct tern_archive_list *list)
{
    free(list->sections);
    free(list->infos);
    free(list->specs);
    *list = (struct tern_archive_list){0};
}
