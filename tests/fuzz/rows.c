/* A file of vectors, read row by row as `ternctl ingest` does. The first byte says how; the rest is
 * the file, for raw vectors split in two where it says so: vectors and ids. */
#include "tests/fuzz/fuzz.h"

#include "controlplane/collections/payload.h"
#include "controlplane/collections/rows.h"
#include "shared/schema.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FORMAT = 7, IDS_ONLY = 8, DEFLATE_MAX = 1032 };

static const struct tern_graph_shape shape = {
    .dim = 3,
    .columns = {{"label", TERN_TYPE_STRING},
                {"good", TERN_TYPE_BOOL},
                {"tenant", TERN_TYPE_U32},
                {"time", TERN_TYPE_U64},
                {"delta", TERN_TYPE_I64},
                {"weight", TERN_TYPE_F32}},
    .column_count = 6,
};

static int make_file(const uint8_t *data, size_t size, char path[64])
{
    int fd = memfd_create("rows", MFD_CLOEXEC);

    assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static void read_all(struct tern_rows *rows, bool ids_only, size_t size)
{
    struct tern_rows_row row;
    struct tern_error error;
    size_t count = 0;
    int rc;

    while ((rc = tern_rows_next(rows, &row, &error)) == 1 || rc == TERN_EINVAL) {
        /* A row takes a byte at least, also one that is wrong; packed, deflate's best. */
        assert(++count <= size * DEFLATE_MAX);
        if (rc != 1)
            continue;
        assert((row.vector == NULL) == ids_only && row.line >= 1);
        for (uint32_t i = 0; i < shape.dim && !ids_only; i++)
            assert(isfinite(row.vector[i]));
        assert(tern_payload_check(shape.columns, shape.column_count, row.payload, &error) == 0);
    }
    assert(tern_rows_permille(rows) <= 1000);
    assert(strlen(tern_rows_passed_over(rows)) < 256);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tern_rows_options options = {0};
    struct tern_rows *rows = NULL;
    char path[64], ids_path[64];
    struct tern_error error;
    size_t split;
    int fd, ids_fd = -1;

    if (size < 2)
        return 0;
    options.format = (enum tern_rows_format)((data[0] & FORMAT) % (TERN_ROWS_IDS + 1));
    options.ids_only = (data[0] & IDS_ONLY) != 0;
    if (options.ids_only ? options.format == TERN_ROWS_RAW : options.format == TERN_ROWS_IDS)
        return 0; /* refused by whoever asks */
    split = options.format == TERN_ROWS_RAW ? tern_min_u64(data[1] * 12u, size - 2) : size - 2;
    fd = make_file(data + 2, split, path);
    if (split != size - 2) {
        ids_fd = make_file(data + 2 + split, size - 2 - split, ids_path);
        options.ids = ids_path;
    }
    if (tern_rows_open(path, &options, &shape, &rows, &error) == 0)
        read_all(rows, options.ids_only, size);
    tern_rows_close(rows);
    close(fd);
    if (ids_fd >= 0)
        close(ids_fd);
    return 0;
}
