#include "clients/c/local/local.h"

int tern_local_join_open(const char *run_dir, const char *name, struct tern_local_join **join,
                         struct tern_error *error)
{
    struct tern_local_join *opened = calloc(1, sizeof *opened);
    int code;

    if (opened == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory to join %s", run_dir);
    code = tern_arena_open(run_dir, &opened->arena, error);
    if (code != 0) {
        free(opened);
        return code;
    }
    code = tern_reader_page_claim(run_dir, &opened->arena, name, &opened->map, error);
    if (code != 0) {
        tern_arena_close(&opened->arena);
        free(opened);
        return code;
    }
    opened->references = 1;
    *join = opened;
    return 0;
}

void tern_local_join_release(struct tern_local_join *join)
{
    assert(join->references > 0);
    if (--join->references > 0)
        return;
    /* The mapping goes before the lock that announces it, and both before the page is anybody's. */
    tern_arena_close(&join->arena);
    tern_reader_page_close(&join->map);
    free(join);
}

unsigned tern_local_join_take(struct tern_local_join *join)
{
    unsigned index = (unsigned)__builtin_ctz(~join->used);

    assert(index < TERN_READER_CONTEXTS_MAX);
    join->used |= 1u << index;
    join->references++;
    return index;
}
