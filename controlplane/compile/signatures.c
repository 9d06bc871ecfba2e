#include "controlplane/compile/signatures.h"

/* The random words of an atom (splitmix64, Steele, Lea and Flood 2014). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

int tern_signatures_start(struct tern_signatures *signatures, uint32_t there)
{
    uint32_t class;
    int status = tern_signatures_commit(signatures, &class);

    if (status == 0 && there != UINT32_MAX)
        status = tern_signatures_toggle(signatures, there);
    if (status != 0)
        return status;
    if (there == UINT32_MAX) {
        /* No atom tells it from "missing", but it is a class of its own all the same: later commits
         * of the empty state mean a value that is there. */
        uint32_t *start = tern_list_push(&signatures->starts, sizeof *start), *found;
        bool added;

        found = tern_digest_map_put(&signatures->classes, signatures->state, 1, &added);
        if (start == NULL || found == NULL)
            return TERN_ENOMEM;
        *start = (uint32_t)signatures->toggles.count;
        *found = 1;
        return 0;
    }
    return tern_signatures_commit(signatures, &class);
}

int tern_signatures_toggle(struct tern_signatures *signatures, uint32_t atom)
{
    uint32_t *toggle = tern_list_push(&signatures->toggles, sizeof *toggle);

    if (toggle == NULL)
        return TERN_ENOMEM;
    *toggle = atom;
    signatures->state.low ^= mix(atom * 2ull + 0x9e3779b97f4a7c15ull);
    signatures->state.high ^= mix(atom * 2ull + 1 + 0x9e3779b97f4a7c15ull);
    return 0;
}

int tern_signatures_commit(struct tern_signatures *signatures, uint32_t *class)
{
    bool added;
    uint32_t *found, *start;

    found = tern_digest_map_put(&signatures->classes, signatures->state,
                                (uint32_t)signatures->starts.count, &added);
    if (found == NULL)
        return TERN_ENOMEM;
    if (added) {
        start = tern_list_push(&signatures->starts, sizeof *start);
        if (start == NULL)
            return TERN_ENOMEM;
        *start = (uint32_t)signatures->committed;
        signatures->committed = signatures->toggles.count;
    }
    *class = *found;
    return 0;
}

const uint32_t *tern_signatures_toggles(const struct tern_signatures *signatures, uint32_t class,
                                        size_t *count)
{
    const uint32_t *starts = signatures->starts.data;
    size_t end = class + 1 < signatures->starts.count ? starts[class + 1] : signatures->committed;

    *count = end - starts[class];
    if (*count == 0)
        return NULL; /* perhaps nobody toggles anything, and there is no list */
    return (const uint32_t *)signatures->toggles.data + starts[class];
}

void tern_signatures_free(struct tern_signatures *signatures)
{
    tern_list_free(&signatures->starts);
    tern_list_free(&signatures->toggles);
    tern_digest_map_free(&signatures->classes);
}
