/* tern's collection behind perf/vector: an object in memory like the arena's (tmpfs, shared),
 * written and searched in one process. */
#include "controlplane/build/graph.h"
#include "perf/program.h"
#include "perf/vector_peer.h"
#include "shared/arena.h"
#include "shared/vector/search.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE /* Linux 6.1; older headers */
#define MADV_COLLAPSE 25
#endif

struct index {
    int file;
    uint64_t length, backed;
    void *object;
    struct tern_graph *graph;
    struct tern_search_scratch *scratch;
};

static int back(void *context, uint64_t offset, uint64_t length, struct tern_error *error)
{
    struct index *index = context;

    if (fallocate(index->file, 0, (off_t)offset, (off_t)length) != 0)
        return tern_error_system(error, errno, "fallocate");
    index->backed += length;
    /* Huge pages for what is complete, where the system has any: as tern-control does it. */
    for (uint64_t at = offset / TERN_EXTENT * TERN_EXTENT; at + TERN_EXTENT <= offset + length;
         at += TERN_EXTENT)
        if (madvise((uint8_t *)index->object + at, TERN_EXTENT, MADV_COLLAPSE) != 0)
            break;
    return 0;
}

static uint64_t grace_begin(void *context)
{
    (void)context;
    return 1;
}

static bool grace_over(void *context, uint64_t number)
{
    (void)context;
    return number != 0;
}

static void *build_with(const struct vector_set *set, unsigned m, unsigned ef_construct,
                        enum tern_quantize quantize)
{
    static const uint8_t store_id[16] = "perf/vector";
    struct tern_graph_shape shape = {.dim = set->dim,
                                     .metric = set->l2 ? TERN_METRIC_L2 : TERN_METRIC_COSINE,
                                     .quantize = quantize,
                                     .m = m,
                                     .capacity = set->count};
    struct tern_graph_parameters parameters = {
        .ef_search = 64, .ef_construct = ef_construct, .full_scan = 0};
    struct index *index = calloc(1, sizeof *index);
    struct tern_graph_host host = {index, back, grace_begin, grace_over};
    struct tern_error error = {.code = 0};

    if (index == NULL)
        program_fail("memory", strerror(errno));
    index->length = tern_graph_length(&shape);
    index->file = memfd_create("collection", MFD_CLOEXEC);
    if (index->file < 0 || ftruncate(index->file, (off_t)index->length) != 0)
        program_fail("memfd", strerror(errno));
    index->object = tern_arena_map(index->file, index->length, PROT_READ | PROT_WRITE);
    if (index->object == MAP_FAILED)
        program_fail("mmap", strerror(errno));
    if (tern_graph_format(index->object, index->length, &shape, &parameters, store_id, &host,
                          &error) != 0 ||
        tern_graph_open(&index->graph, index->object, index->length, &host, &error) != 0 ||
        tern_search_scratch_new(&index->scratch, tern_graph_collection(index->graph)->capacity,
                                set->dim) != 0)
        program_fail("collection", error.message);
    for (uint32_t i = 0; i < set->count; i++)
        if (tern_graph_put(index->graph, i, i + 1ull, set->rows + (size_t)i * set->dim, NULL,
                           &error) != 0)
            program_fail("put", error.message);
    tern_graph_link(index->graph);
    return index;
}

static void *build(const struct vector_set *set, unsigned m, unsigned ef_construct)
{
    return build_with(set, m, ef_construct, TERN_QUANTIZE_INT8);
}

static void *build_f32(const struct vector_set *set, unsigned m, unsigned ef_construct)
{
    return build_with(set, m, ef_construct, TERN_QUANTIZE_NONE);
}

static void search(void *opaque, const float *query, unsigned k, unsigned ef, uint32_t *ids)
{
    struct index *index = opaque;
    struct tern_search asked = {.query = query, .k = k, .ef = ef};
    struct tern_search_hit hits[TERN_SEARCH_K_MAX];
    unsigned found =
        tern_search_run(tern_graph_collection(index->graph), index->scratch, &asked, hits);

    for (unsigned i = 0; i < k; i++)
        ids[i] = i < found ? (uint32_t)hits[i].id : UINT32_MAX;
}

static uint64_t bytes(void *opaque)
{
    const struct index *index = opaque;

    return index->backed;
}

static void release(void *opaque)
{
    struct index *index = opaque;

    tern_graph_close(index->graph);
    tern_search_scratch_free(index->scratch);
    munmap(index->object, index->length);
    close(index->file);
    free(index);
}

const struct vector_peer vector_tern = {"tern", build, search, bytes, release};
const struct vector_peer vector_tern_f32 = {"tern-f32", build_f32, search, bytes, release};
