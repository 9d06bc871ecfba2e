#include "shared/rules/scan.h"

#include "shared/rules/rules.h"

#include <hs/hs_runtime.h>

static int note_hit(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                    void *context)
{
    struct tern_scan_hits *hits = context;

    (void)from, (void)to, (void)flags;
    /* The database is the builder's word: what is not an atom stays out of the rows. */
    if (TERN_LIKELY(id < hits->limit && hits->count < hits->limit))
        hits->ids[hits->count++] = id;
    return 0;
}

void tern_room_scan(struct tern_room *room, const struct tern_scan *scan, uint32_t index,
                    const struct tern_facts *facts)
{
    const union tern_value *value = &facts->values[scan->field];
    struct tern_scan_hits *hits = &room->hits[index];
    const char *bytes = value->string.length != 0 ? (const char *)value->string.bytes : "";

    hs_error_t code;

    hits->count = 0;
    if (scan->database == NULL)
        return;
    code = hs_scan(scan->database, bytes, value->string.length, 0, room->scratch, note_hit, hits);
    assert(code == HS_SUCCESS);
    (void)code;
}
