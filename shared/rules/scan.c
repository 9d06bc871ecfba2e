#include "shared/rules/scan.h"

#include "shared/rules/rules.h"

#include <hs/hs_runtime.h>

static int note_hit(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                    void *context)
{
    struct tern_scan_hits *hits = context;
    uint32_t atom;

    (void)from, (void)to, (void)flags;
    if (TERN_UNLIKELY(id >= hits->scan->expression_count))
        return 0; /* the database is the builder's word: what is none stays out of the rows */
    atom = hits->scan->atoms[id];
    if (hits->marks[atom] != hits->mark) { /* it may have several expressions */
        hits->marks[atom] = hits->mark;
        hits->atoms[hits->count++] = atom;
    }
    return hits->count == hits->scan->atom_count; /* there is no more to be found */
}

void tern_room_scan(struct tern_room *room, uint32_t index, const struct tern_facts *facts)
{
    struct tern_scan_hits *hits = &room->hits[index];
    const struct tern_scan *scan = hits->scan;
    const union tern_value *value = &facts->values[scan->field];
    const char *bytes = value->string.length != 0 ? (const char *)value->string.bytes : "";
    hs_error_t code;

    hits->count = 0;
    if (scan->database == NULL)
        return;
    if (TERN_UNLIKELY(++hits->mark == 0)) { /* once in four billion */
        memset(hits->marks, 0, scan->atom_count * sizeof *hits->marks);
        hits->mark = 1;
    }
    code = hs_scan(scan->database, bytes, value->string.length, 0, room->scratch, note_hit, hits);
    assert(code == HS_SUCCESS || code == HS_SCAN_TERMINATED);
    (void)code;
}
