#include "controlplane/archive.h"

#include "shared/race.h"
#include "shared/schema.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#define PATH_BYTES     1024
#define HASH_TEXT      33
#define ATTACHMENT_MAX (1u << 20)
#define NOTE           "generations/next" /* what is about to be published */
#define LISTED_MAX     64 /* more than are ever retained, by far: what lies there may be anything */

static void hash_text(const uint8_t hash[16], char text[HASH_TEXT])
{
    for (unsigned i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

static void section_path(char path[PATH_BYTES], const char *state_dir,
                         const struct tern_section *section)
{
    char hash[HASH_TEXT];

    hash_text(section->content_hash, hash);
    snprintf(path, PATH_BYTES, "%s/sections/%s.section", state_dir, hash);
}

static void list_path(char path[PATH_BYTES], const char *state_dir, uint64_t generation)
{
    snprintf(path, PATH_BYTES, "%s/generations/%" PRIu64, state_dir, generation);
}

static int make_directory(const char *state_dir, const char *name, struct tern_error *error)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof path, "%s/%s", state_dir, name);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return tern_error_system(error, errno, "cannot make %s", path);
    return 0;
}

static int sync_directory(const char *state_dir, const char *name, struct tern_error *error)
{
    char path[PATH_BYTES];
    int fd, result = 0;

    snprintf(path, sizeof path, "%s/%s", state_dir, name);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        result = tern_error_system(error, errno, "cannot sync %s", path);
    if (fd >= 0)
        close(fd);
    return result;
}

/* Writes aside, syncs if what is written must survive more than this process, renames. */
static int write_file(const char *path, const void *data, size_t length, bool sync,
                      struct tern_error *error)
{
    char aside[PATH_BYTES + 8];
    int fd, result = 0;

    snprintf(aside, sizeof aside, "%s.new", path);
    unlink(aside); /* of one who died while writing it; a link is not followed */
    fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tern_error_system(error, errno, "cannot write %s", aside);
    for (size_t done = 0; result == 0 && done < length;) {
        ssize_t wrote = write(fd, (const uint8_t *)data + done, length - done);

        if (wrote < 0 && errno != EINTR)
            result = tern_error_system(error, errno, "cannot write %s", aside);
        else if (wrote > 0)
            done += (size_t)wrote;
    }
    if (result == 0 && sync && fsync(fd) < 0)
        result = tern_error_system(error, errno, "cannot sync %s", aside);
    close(fd);
    if (result == 0 && rename(aside, path) < 0)
        result = tern_error_system(error, errno, "cannot put %s into place", path);
    if (result != 0)
        unlink(aside);
    return result;
}

static int read_file(const char *path, size_t limit, struct tern_buffer *out,
                     struct tern_error *error)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int result = 0;

    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %s", path);
    if (fstat(fd, &status) < 0)
        result = tern_error_system(error, errno, "%s", path);
    else if (!S_ISREG(status.st_mode) || (uint64_t)status.st_size > limit)
        result = tern_error_set(error, TERN_ECORRUPT, "%s: %lld bytes, expected at most %zu", path,
                                (long long)status.st_size, limit);
    else
        result = tern_buffer_reserve(out, (size_t)status.st_size);
    for (off_t left = status.st_size; result == 0 && left > 0;) {
        ssize_t got = read(fd, out->data + out->length, (size_t)left);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            result = tern_error_system(error, got == 0 ? EIO : errno, "cannot read %s", path);
        else {
            out->length += (size_t)got;
            left -= got;
        }
    }
    close(fd);
    return result;
}

/* The generations in the directory, newest first. Returns how many, at most `capacity` newest. */
static unsigned list_generations(const char *state_dir, uint64_t *generations, unsigned capacity)
{
    char path[PATH_BYTES];
    const struct dirent *entry;
    unsigned count = 0;
    DIR *directory;

    snprintf(path, sizeof path, "%s/generations", state_dir);
    directory = opendir(path);
    if (directory == NULL)
        return 0;
    while ((entry = readdir(directory)) != NULL) {
        char *end;
        uint64_t generation = strtoull(entry->d_name, &end, 10);
        unsigned at;

        if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || *end != '\0')
            continue;
        for (at = 0; at < count && generations[at] > generation; at++)
            ;
        if (at == capacity)
            continue;
        if (count < capacity)
            count++;
        memmove(&generations[at + 1], &generations[at], (count - at - 1) * sizeof *generations);
        generations[at] = generation;
    }
    closedir(directory);
    return count;
}

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

static int save_list(const char *path, const struct tern_archive_list *list, bool sync,
                     struct tern_error *error)
{
    struct tern_buffer text = {0};
    char hash[HASH_TEXT], definition[HASH_TEXT];
    int result;

    hash_text(list->config_hash, hash);
    result = tern_buffer_printf(
        &text, "tern-generation 1\ngeneration %" PRIu64 "\nschema %016" PRIx64 "\nconfig %s\n",
        list->generation, list->schema_hash, hash);
    for (unsigned i = 0; result == 0 && i < list->count; i++) {
        const struct tern_section *section = &list->sections[i];
        const struct tern_section_info *info = &list->infos[i];

        hash_text(section->content_hash, hash);
        hash_text(info->definition, definition);
        result = tern_buffer_printf(&text,
                                    "section %u %u %s %" PRIu64 " %016" PRIx64 " %" PRIu64
                                    " %" PRIu64 " %s %" PRIu64 " %" PRIu64 " %s\n",
                                    section->kind, section->owner, hash, section->length,
                                    section->checksum, info->rows, info->keys,
                                    info->name[0] != '\0' ? info->name : "-", info->source_bytes,
                                    info->loaded_at_us, definition);
    }
    for (unsigned i = 0; result == 0 && i < list->spec_count; i++)
        result = print_spec(&text, &list->specs[i]);
    if (result == 0)
        result = tern_buffer_printf(&text, "end %016llx\n",
                                    (unsigned long long)XXH3_64bits(text.data, text.length));
    if (result != 0) {
        tern_buffer_free(&text);
        return tern_error_set(error, result, "no memory for a generation's list");
    }
    result = write_file(path, text.data, text.length, sync, error);
    tern_buffer_free(&text);
    return result;
}

/* Of lists of ascending age, marks those that are retained. */
static void choose_retained(const struct tern_archive_list *lists, unsigned count, bool *retained)
{
    unsigned configs = 0;

    for (unsigned i = 0; i < count; i++) {
        bool newest_of_config = true;

        for (unsigned k = 0; newest_of_config && k < i; k++)
            newest_of_config = memcmp(lists[k].config_hash, lists[i].config_hash, 16) != 0;
        configs += newest_of_config;
        retained[i] =
            i < TERN_ARCHIVE_KEEP || (newest_of_config && configs <= TERN_ARCHIVE_CONFIGS);
    }
}

static bool is_named(const char *entry, const struct tern_archive_list *lists, unsigned count,
                     const bool *retained)
{
    char hash[HASH_TEXT];

    for (unsigned g = 0; g < count; g++)
        for (unsigned i = 0; retained[g] && i < lists[g].count; i++) {
            hash_text(lists[g].sections[i].content_hash, hash);
            if (strncmp(entry, hash, HASH_TEXT - 1) == 0)
                return true;
        }
    return false;
}

static void remove_list(const char *state_dir, uint64_t generation)
{
    char path[PATH_BYTES];

    list_path(path, state_dir, generation);
    unlink(path);
}

/* Removes lists past the retained ones, then the sections that no retained list names. */
static void prune(const char *state_dir)
{
    uint64_t generations[LISTED_MAX];
    unsigned found = list_generations(state_dir, generations, LISTED_MAX), count = 0;
    struct tern_archive_list lists[LISTED_MAX] = {0};
    bool retained[LISTED_MAX] = {0};
    char path[PATH_BYTES + 300];
    const struct dirent *entry;
    DIR *directory;

    for (unsigned i = 0; i < found; i++) {
        if (tern_archive_read(state_dir, generations[i], &lists[count], NULL) == 0)
            count++;
        else if (i < TERN_ARCHIVE_KEEP)
            goto out; /* unreadable: remove nothing on a guess */
        else
            remove_list(state_dir, generations[i]);
    }
    choose_retained(lists, count, retained);
    for (unsigned i = 0; i < count; i++)
        if (!retained[i])
            remove_list(state_dir, lists[i].generation);
    snprintf(path, sizeof path, "%s/sections", state_dir);
    directory = opendir(path);
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.' || is_named(entry->d_name, lists, count, retained))
            continue;
        snprintf(path, sizeof path, "%s/sections/%s", state_dir, entry->d_name);
        unlink(path);
    }
    if (directory != NULL)
        closedir(directory);
out:
    for (unsigned i = 0; i < count; i++)
        tern_archive_list_free(&lists[i]);
}

unsigned tern_archive_generations(const char *state_dir, uint64_t generations[TERN_ARCHIVE_LISTS])
{
    return list_generations(state_dir, generations, TERN_ARCHIVE_LISTS);
}

int tern_archive_save(const char *state_dir, const struct tern_archive_list *list,
                      const uint8_t *base, struct tern_error *error)
{
    char path[PATH_BYTES];
    int result = make_directory(state_dir, "sections", error);

    if (result == 0)
        result = make_directory(state_dir, "generations", error);
    for (unsigned i = 0; result == 0 && i < list->count; i++) {
        const struct tern_section *section = &list->sections[i];

        section_path(path, state_dir, section);
        if (access(path, F_OK) != 0)
            result = write_file(path, base + section->offset, section->length, true, error);
    }
    if (result == 0)
        result = sync_directory(state_dir, "sections", error);
    TERN_RACE_POINT("archive-sections");
    list_path(path, state_dir, list->generation);
    if (result == 0)
        result = save_list(path, list, true, error);
    if (result == 0)
        result = sync_directory(state_dir, "generations", error);
    TERN_RACE_POINT("archive-listed");
    if (result == 0)
        prune(state_dir);
    return result;
}

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
    char hash[HASH_TEXT], definition[HASH_TEXT];
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

static int parse_list(char *text, size_t length, struct tern_archive_list *list)
{
    char *end = strstr(text, "\nend ");
    char hash[HASH_TEXT];
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

static int read_list(const char *path, struct tern_archive_list *list, struct tern_error *error)
{
    struct tern_archive_list read = {0};
    struct tern_buffer text = {0};
    int result = read_file(path,
                           TERN_SECTIONS_MAX * 320ul +
                               TERN_COLLECTIONS_MAX * TERN_PAYLOAD_COLUMNS_MAX * 128ul + 4096,
                           &text, error);

    if (result == 0)
        result = tern_buffer_append(&text, "", 1);
    if (result == 0) {
        result = parse_list((char *)text.data, text.length - 1, &read);
        if (result != 0)
            tern_error_set(error, result, "%s is damaged", path);
    }
    tern_buffer_free(&text);
    if (result != 0)
        tern_archive_list_free(&read);
    else
        *list = read;
    return result;
}

int tern_archive_read(const char *state_dir, uint64_t generation, struct tern_archive_list *list,
                      struct tern_error *error)
{
    char path[PATH_BYTES];

    if (generation == 0 && list_generations(state_dir, &generation, 1) == 0)
        return tern_error_set(error, TERN_ENOENT, "%s retains no generation", state_dir);
    list_path(path, state_dir, generation);
    return read_list(path, list, error);
}

static void attachment_path(char path[PATH_BYTES], const char *state_dir, const uint8_t hash[16],
                            const char *kind)
{
    char text[HASH_TEXT];

    hash_text(hash, text);
    snprintf(path, PATH_BYTES, "%s/sections/%s.%s", state_dir, text, kind);
}

int tern_archive_attach(const char *state_dir, const uint8_t hash[16], const char *kind,
                        const void *data, size_t length, struct tern_error *error)
{
    char path[PATH_BYTES];
    int result = make_directory(state_dir, "sections", error);

    attachment_path(path, state_dir, hash, kind);
    return result != 0 ? result : write_file(path, data, length, false, error);
}

int tern_archive_attached(const char *state_dir, const uint8_t hash[16], const char *kind,
                          struct tern_buffer *out, struct tern_error *error)
{
    char path[PATH_BYTES];

    attachment_path(path, state_dir, hash, kind);
    return read_file(path, ATTACHMENT_MAX, out, error);
}

int tern_archive_note(const char *state_dir, const struct tern_archive_list *list,
                      struct tern_error *error)
{
    char path[PATH_BYTES];
    int result = make_directory(state_dir, "generations", error);

    snprintf(path, sizeof path, "%s/" NOTE, state_dir);
    return result != 0 ? result : save_list(path, list, false, error);
}

int tern_archive_noted(const char *state_dir, uint64_t generation, struct tern_archive_list *list,
                       struct tern_error *error)
{
    struct tern_archive_list noted = {0};
    char path[PATH_BYTES];
    int result;

    snprintf(path, sizeof path, "%s/" NOTE, state_dir);
    result = read_list(path, &noted, error);
    if (result == 0 && noted.generation != generation) {
        tern_archive_list_free(&noted);
        return tern_error_set(error, TERN_ENOENT, "%s is about another generation", path);
    }
    if (result == 0)
        *list = noted;
    return result;
}

void tern_archive_list_free(struct tern_archive_list *list)
{
    free(list->sections);
    free(list->infos);
    free(list->specs);
    *list = (struct tern_archive_list){0};
}

int tern_archive_section(const char *state_dir, const struct tern_section *section,
                         struct tern_buffer *out, struct tern_error *error)
{
    struct tern_buffer bytes = {0};
    char path[PATH_BYTES];
    int result;

    section_path(path, state_dir, section);
    result = read_file(path, section->length, &bytes, error);
    if (result == 0 && (bytes.length != section->length ||
                        XXH3_64bits(bytes.data, bytes.length) != section->checksum))
        result = tern_error_set(error, TERN_ECORRUPT, "%s is damaged", path);
    if (result != 0) {
        tern_buffer_free(&bytes);
        return result;
    }
    *out = bytes;
    return 0;
}
