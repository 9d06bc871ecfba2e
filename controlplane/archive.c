#include "controlplane/archive.h"

#include "controlplane/archive_list.h"
#include "shared/race.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#define PATH_BYTES     1024
#define ATTACHMENT_MAX (1u << 20)
#define NOTE           "generations/next" /* what is about to be published */
#define LISTED_MAX     64 /* more than are ever retained, by far: what lies there may be anything */

static void section_path(char path[PATH_BYTES], const char *state_dir,
                         const struct tern_section *section)
{
    char hash[TERN_ARCHIVE_HASH_TEXT];

    tern_archive_hash_text(section->content_hash, hash);
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

static int save_list(const char *path, const struct tern_archive_list *list, bool sync,
                     struct tern_error *error)
{
    struct tern_buffer text = {0};
    int result = tern_archive_list_print(&text, list);

    if (result != 0)
        tern_error_set(error, result, "no memory for a generation's list");
    else
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
    char hash[TERN_ARCHIVE_HASH_TEXT];

    for (unsigned g = 0; g < count; g++)
        for (unsigned i = 0; retained[g] && i < lists[g].count; i++) {
            tern_archive_hash_text(lists[g].sections[i].content_hash, hash);
            if (strncmp(entry, hash, TERN_ARCHIVE_HASH_TEXT - 1) == 0)
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

static int read_list(const char *path, struct tern_archive_list *list, struct tern_error *error)
{
    struct tern_buffer text = {0};
    int result = read_file(path, TERN_ARCHIVE_LIST_BYTES, &text, error);

    if (result == 0)
        result = tern_buffer_append(&text, "", 1);
    if (result == 0) {
        result = tern_archive_list_parse(list, (char *)text.data, text.length - 1);
        if (result != 0)
            tern_error_set(error, result, "%s is damaged", path);
    }
    tern_buffer_free(&text);
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
    char text[TERN_ARCHIVE_HASH_TEXT];

    tern_archive_hash_text(hash, text);
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
