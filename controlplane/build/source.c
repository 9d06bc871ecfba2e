#include "controlplane/build/source.h"

#include "controlplane/build/load.h"
#include "shared/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

#define PACKED_BYTES (256u << 10) /* one read */
#define WINDOW_BYTES (512u << 10) /* fits the second-level cache with the tables being filled */
#define GZIP_WRAPPER (16 + MAX_WBITS)

_Static_assert(WINDOW_BYTES >= 4 * TERN_LINE_MAX, "a longest line and room to read on");

struct tern_source_stream {
    int fd;
    struct stat opened; /* what fstat said first */
    uint64_t packed_bytes, unpacked_bytes, max_bytes;
    XXH3_state_t *digest;
    bool packed_ended;
    bool gzip;
    bool inflating;     /* inside a gzip member */
    bool inflate_ready; /* `inflate` must be ended */
    z_stream inflate;
    char name[256]; /* for messages: the path, its end when it is long */
    uint8_t packed[PACKED_BYTES];
};

/* ---- Identity ---- */

static void set_identity(const struct stat *status, struct tern_source_identity *identity)
{
    identity->device = status->st_dev;
    identity->inode = status->st_ino;
    identity->size = (uint64_t)status->st_size;
    identity->mtime_ns = status->st_mtim.tv_sec * 1000000000ll + status->st_mtim.tv_nsec;
    identity->ctime_ns = status->st_ctim.tv_sec * 1000000000ll + status->st_ctim.tv_nsec;
}

static int check_kind(const char *path, const struct stat *status, struct tern_error *error)
{
    if (S_ISDIR(status->st_mode))
        return tern_error_set(error, TERN_EINVAL, "%s is a folder, not a file", path);
    if (!S_ISREG(status->st_mode))
        return tern_error_set(error, TERN_EINVAL, "%s is no regular file", path);
    return 0;
}

int tern_source_stat(const char *path, struct tern_source_identity *identity,
                     struct tern_error *error)
{
    struct stat status;
    int result;

    if (stat(path, &status) != 0)
        return tern_error_system(error, errno, "cannot open %s", path);
    result = check_kind(path, &status, error);
    if (result == 0)
        set_identity(&status, identity);
    return result;
}

/* Opens without waiting: a FIFO in place of a file is an error, not a hang. */
static int open_file(const char *path, int *fd, struct stat *status, struct tern_error *error)
{
    int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int result;

    if (opened < 0)
        return tern_error_system(error, errno, "cannot open %s", path);
    if (fstat(opened, status) != 0)
        result = tern_error_system(error, errno, "cannot read %s", path);
    else
        result = check_kind(path, status, error);
    if (result == 0)
        *fd = opened;
    else
        close(opened);
    return result;
}

static bool same_content(const struct stat *before, const struct stat *after)
{
    /* The change time also moves when the name is unlinked or replaced; the content is then whole.
     */
    bool same_links = before->st_nlink == after->st_nlink;

    return before->st_size == after->st_size && before->st_mtim.tv_sec == after->st_mtim.tv_sec &&
           before->st_mtim.tv_nsec == after->st_mtim.tv_nsec &&
           (!same_links || (before->st_ctim.tv_sec == after->st_ctim.tv_sec &&
                            before->st_ctim.tv_nsec == after->st_ctim.tv_nsec));
}

/* ---- Packed bytes ---- */

static int read_packed(struct tern_source_stream *stream, uint8_t *into, size_t room, size_t *got,
                       struct tern_error *error)
{
    ssize_t count;

    do
        count = read(stream->fd, into, room);
    while (count < 0 && errno == EINTR && S_ISREG(stream->opened.st_mode));
    if (count < 0 && errno == EINTR)
        return tern_error_set(error, TERN_ECANCELLED, "reading %s was interrupted", stream->name);
    if (count < 0)
        return tern_error_system(error, errno, "cannot read %s", stream->name);
    if (count == 0) {
        stream->packed_ended = true;
    } else {
        XXH3_128bits_update(stream->digest, into, (size_t)count);
        stream->packed_bytes += (uint64_t)count;
    }
    *got = (size_t)count;
    return 0;
}

static int refill(struct tern_source_stream *stream, struct tern_error *error)
{
    size_t got = 0;
    int result = read_packed(stream, stream->packed, sizeof stream->packed, &got, error);

    stream->inflate.next_in = stream->packed;
    stream->inflate.avail_in = (uInt)got;
    return result;
}

/* Everything but the descriptor. */
static int make_stream(const char *path, uint64_t max_bytes, struct tern_source *source,
                       struct tern_error *error)
{
    struct tern_source_stream *stream = calloc(1, sizeof *stream);
    size_t length = strlen(path);

    memset(source, 0, sizeof *source);
    if (stream == NULL)
        return tern_error_set(error, TERN_ENOMEM, "cannot read %s: out of memory", path);
    source->stream = stream;
    stream->fd = -1;
    stream->max_bytes =
        max_bytes == 0 || max_bytes > TERN_SOURCE_BYTES_MAX ? TERN_SOURCE_BYTES_MAX : max_bytes;
    snprintf(stream->name, sizeof stream->name, "%s",
             length < sizeof stream->name ? path : path + length - sizeof stream->name + 1);
    stream->digest = XXH3_createState();
    source->data = malloc(WINDOW_BYTES);
    if (stream->digest == NULL || source->data == NULL) {
        tern_source_close(source);
        return tern_error_set(error, TERN_ENOMEM, "cannot read %s: out of memory", path);
    }
    XXH3_128bits_reset(stream->digest);
    return 0;
}

/* Looks at the first bytes: packed or not. */
static int begin(const char *path, struct tern_source *source, struct tern_error *error)
{
    struct tern_source_stream *stream = source->stream;
    int result = refill(stream, error);

    /* A pipe may give one byte at first. */
    if (result == 0 && stream->inflate.avail_in == 1 && !stream->packed_ended) {
        size_t got = 0;

        result = read_packed(stream, stream->packed + 1, sizeof stream->packed - 1, &got, error);
        stream->inflate.avail_in += (uInt)got;
    }
    if (result == 0 && stream->inflate.avail_in >= 2 && stream->packed[0] == 0x1f &&
        stream->packed[1] == 0x8b) {
        stream->gzip = stream->inflating = true;
        if (inflateInit2(&stream->inflate, GZIP_WRAPPER) == Z_OK)
            stream->inflate_ready = true;
        else
            result = tern_error_set(error, TERN_ENOMEM, "cannot read %s: out of memory", path);
    }
    if (result != 0)
        tern_source_close(source);
    return result;
}

int tern_source_open(const char *path, uint64_t max_bytes, struct tern_source *source,
                     struct tern_error *error)
{
    int result = make_stream(path, max_bytes, source, error);

    if (result != 0)
        return result;
    result = open_file(path, &source->stream->fd, &source->stream->opened, error);
    if (result != 0) {
        tern_source_close(source);
        return result;
    }
    (void)posix_fadvise(source->stream->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return begin(path, source, error);
}

int tern_source_open_descriptor(int fd, const char *name, uint64_t max_bytes,
                                struct tern_source *source, struct tern_error *error)
{
    int result = make_stream(name, max_bytes, source, error);

    if (result != 0)
        return result;
    source->stream->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (source->stream->fd < 0 || fstat(source->stream->fd, &source->stream->opened) != 0) {
        result = tern_error_system(error, errno, "cannot read %s", name);
        tern_source_close(source);
        return result;
    }
    return begin(name, source, error);
}

/* ---- Unpacked bytes ---- */

/* Between members: another one, padding with zeros to the end, or rubbish. */
static int start_member(struct tern_source_stream *stream, struct tern_error *error)
{
    z_stream *inflate = &stream->inflate;

    while (inflate->avail_in > 0 && inflate->next_in[0] == 0) {
        inflate->next_in++;
        inflate->avail_in--;
    }
    if (inflate->avail_in == 0)
        return 0;
    if (inflate->next_in[0] != 0x1f || inflateReset(inflate) != Z_OK)
        return tern_error_set(error, TERN_ECORRUPT,
                              "%s is damaged: there is something after the compressed data",
                              stream->name);
    stream->inflating = true;
    return 0;
}

static int unpack(struct tern_source_stream *stream, uint8_t *into, size_t room, size_t *got,
                  struct tern_error *error)
{
    z_stream *packed = &stream->inflate;
    int result = 0;

    packed->next_out = into;
    packed->avail_out = (uInt)room;
    while (result == 0 && packed->avail_out == room) {
        int code;

        if (packed->avail_in == 0 && !stream->packed_ended) {
            result = refill(stream, error);
            continue;
        }
        if (!stream->inflating) {
            result = start_member(stream, error);
            if (result == 0 && !stream->inflating && stream->packed_ended)
                break;
            continue;
        }
        if (packed->avail_in == 0)
            return tern_error_set(error, TERN_ECORRUPT,
                                  "%s is cut off: its compressed data has no end", stream->name);
        code = inflate(packed, Z_NO_FLUSH);
        if (code == Z_STREAM_END)
            stream->inflating = false;
        else if (code == Z_MEM_ERROR)
            result =
                tern_error_set(error, TERN_ENOMEM, "cannot read %s: out of memory", stream->name);
        else if (code != Z_OK && code != Z_BUF_ERROR)
            result = tern_error_set(error, TERN_ECORRUPT, "%s is damaged: %s", stream->name,
                                    packed->msg != NULL ? packed->msg : "not gzip data");
    }
    *got = room - packed->avail_out;
    return result;
}

static int copy_plain(struct tern_source_stream *stream, uint8_t *into, size_t room, size_t *got,
                      struct tern_error *error)
{
    z_stream *first = &stream->inflate; /* what was read to see the kind of file */

    if (first->avail_in == 0)
        return stream->packed_ended ? 0 : read_packed(stream, into, room, got, error);
    *got = first->avail_in < room ? first->avail_in : room;
    memcpy(into, first->next_in, *got);
    first->next_in += *got;
    first->avail_in -= (uInt)*got;
    return 0;
}

int tern_source_more(struct tern_source *source, struct tern_error *error)
{
    struct tern_source_stream *stream = source->stream;
    size_t left = source->end - source->begin, got = 0;
    int result;

    if (source->begin > 0)
        memmove(source->data, source->data + source->begin, left);
    source->begin = 0;
    source->end = left;
    if (left == WINDOW_BYTES)
        return tern_error_set(error, TERN_ELIMIT, "%s: the window is full", stream->name);
    result = (stream->gzip ? unpack : copy_plain)(stream, source->data + left, WINDOW_BYTES - left,
                                                  &got, error);
    if (result != 0)
        return result;
    stream->unpacked_bytes += got;
    if (stream->unpacked_bytes > stream->max_bytes)
        return tern_error_set(error, TERN_ELIMIT, "%s has more than %" PRIu64 " bytes%s%s",
                              stream->name, stream->max_bytes, stream->gzip ? " when unpacked" : "",
                              stream->max_bytes < TERN_SOURCE_BYTES_MAX ? " (max_bytes)" : "");
    source->has_nul = source->has_nul || memchr(source->data + left, 0, got) != NULL;
    source->end += got;
    source->ended = got == 0;
    return 0;
}

unsigned tern_source_permille(const struct tern_source *source)
{
    const struct tern_source_stream *stream = source->stream;
    uint64_t size = (uint64_t)stream->opened.st_size;

    if (!S_ISREG(stream->opened.st_mode))
        return stream->packed_ended ? 1000 : 0;
    if (size == 0 || stream->packed_bytes >= size)
        return 1000;
    return (unsigned)(stream->packed_bytes * 1000 / size);
}

int tern_source_finish(struct tern_source *source, uint8_t digest[16], struct tern_error *error)
{
    struct tern_source_stream *stream = source->stream;
    XXH128_canonical_t canonical;
    struct stat now;

    if (fstat(stream->fd, &now) != 0)
        return tern_error_system(error, errno, "cannot read %s", stream->name);
    if (!same_content(&stream->opened, &now) ||
        stream->packed_bytes != (uint64_t)stream->opened.st_size)
        return tern_error_set(error, TERN_EAGAIN,
                              "%s was written to while it was read; replace it with a rename",
                              stream->name);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(stream->digest));
    memcpy(digest, canonical.digest, 16);
    return 0;
}

void tern_source_close(struct tern_source *source)
{
    struct tern_source_stream *stream = source->stream;

    if (stream != NULL) {
        if (stream->inflate_ready)
            inflateEnd(&stream->inflate);
        if (stream->fd >= 0)
            close(stream->fd);
        XXH3_freeState(stream->digest);
        free(stream);
    }
    free(source->data);
    memset(source, 0, sizeof *source);
}

int tern_source_digest(const char *path, struct tern_source_identity *identity,
                       struct tern_error *error)
{
    struct tern_source source;
    struct tern_source_identity read;
    int result = tern_source_open(path, 0, &source, error);

    if (result != 0)
        return result;
    set_identity(&source.stream->opened, &read);
    while (result == 0 && !source.stream->packed_ended)
        result = refill(source.stream, error);
    if (result == 0)
        result = tern_source_finish(&source, read.digest, error);
    tern_source_close(&source);
    if (result == 0)
        *identity = read;
    return result;
}
