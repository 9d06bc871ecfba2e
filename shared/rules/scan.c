#include "shared/rules/scan.h"

#include "shared/rules/rules.h"
#include "shared/tables/hash.h"

#include <hs/hs_runtime.h>

static int note_hit(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                    void *context)
{
    struct tern_scan_hits *hits = context;

    (void)from, (void)to, (void)flags;
    if (TERN_UNLIKELY(id >= hits->scan->expression_count))
        return 0; /* the database is the builder's word: what is none stays out of the rows */
    tern_scan_add(hits, hits->scan->atoms[id]);   /* it may have several expressions */
    return hits->count == hits->scan->atom_count; /* there is no more to be found */
}

static void scan_value(struct tern_room *room, struct tern_scan_hits *hits,
                       const union tern_value *value)
{
    const char *bytes = value->string.length != 0 ? (const char *)value->string.bytes : "";
    hs_error_t code;

    tern_scan_begin(hits);
    code = hs_scan(hits->scan->database, bytes, value->string.length, 0, room->scratch, note_hit,
                   hits);
    assert(code == HS_SUCCESS || code == HS_SCAN_TERMINATED);
    (void)code;
}

static void remember(struct tern_memo *memo, uint64_t hash, uint32_t scan,
                     const union tern_value *value, const struct tern_scan_hits *hits)
{
    memo->hash = hash;
    memo->length = (uint16_t)value->string.length;
    memo->scan = (uint8_t)scan;
    memo->count = (uint8_t)hits->count;
    memcpy(memo->atoms, hits->atoms, hits->count * sizeof *hits->atoms);
    memcpy(memo->bytes, value->string.bytes, value->string.length);
}

void tern_room_scan(struct tern_room *room, uint32_t index, const struct tern_facts *facts)
{
    struct tern_scan_hits *hits = &room->hits[index];
    const union tern_value *value = &facts->values[hits->scan->field];
    uint32_t length = value->string.length;
    struct tern_memo *memo;
    uint64_t hash, *seen;

    if (hits->scan->similar != NULL) {
        tern_similar_run(hits->scan->similar, room->similar, index, value, hits);
        return;
    }
    if (TERN_UNLIKELY(hits->scan->database == NULL)) {
        hits->count = 0;
        return;
    }
    if (length - 1 >= TERN_MEMO_BYTES || index > UINT8_MAX) {
        scan_value(room, hits, value);
        return;
    }
    hash = tern_hash_key(room->seed + index, value->string.bytes, length);
    seen = &room->seen[hash % TERN_MEMO_SLOTS];
    if (*seen != hash) { /* most likely never to be met again */
        *seen = hash;
        scan_value(room, hits, value);
        return;
    }
    memo = &room->memos[hash % TERN_MEMO_SLOTS];
    if (memo->hash == hash && memo->length == length && memo->scan == index &&
        memcmp(memo->bytes, value->string.bytes, length) == 0) {
        hits->count = memo->count;
        memcpy(hits->atoms, memo->atoms, memo->count * sizeof *memo->atoms);
        return;
    }
    scan_value(room, hits, value);
    if (hits->count <= TERN_MEMO_ATOMS)
        remember(memo, hash, index, value, hits);
}
