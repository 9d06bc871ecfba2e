#include "shared/clock.h"
#include "shared/rules/rules.h"

#include <hs/hs_runtime.h>
#include <xxhash.h>

/* Why hyperscan does not take a serialized database. */
static int refuse(const uint8_t *database, size_t bytes, hs_error_t code, struct tern_error *error)
{
    char *info = NULL;
    int status;

    if (code == HS_NOMEM)
        return tern_error_set(error, TERN_ENOMEM, "patterns: no memory for the database");
    if (code != HS_DB_VERSION_ERROR && code != HS_DB_PLATFORM_ERROR && code != HS_DB_MODE_ERROR &&
        code != HS_ARCH_ERROR)
        return tern_error_set(error, TERN_ECORRUPT, "patterns: the database is malformed (%d)",
                              code);
    if (hs_serialized_database_info((const char *)database, bytes, &info) != HS_SUCCESS)
        info = NULL;
    status = tern_error_set(error, TERN_EABI,
                            "patterns: the database was compiled for another %s (it says: %s; "
                            "hyperscan here is %s): apply the configuration again",
                            code == HS_DB_PLATFORM_ERROR || code == HS_ARCH_ERROR
                                ? "processor"
                                : "version of hyperscan",
                            info != NULL ? info : "nothing", hs_version());
    free(info);
    return status;
}

uint64_t tern_patterns_checksum(const struct tern_patterns_header *header, size_t length)
{
    return XXH3_64bits_withSeed(
        header + 1, length - sizeof *header,
        XXH3_64bits(header, offsetof(struct tern_patterns_header, checksum)));
}

int tern_scan_open(struct tern_scan *scan, const void *section, size_t length,
                   const uint8_t hash[16], struct tern_error *error)
{
    const struct tern_patterns_header *header = section;
    const uint32_t *atoms = (const uint32_t *)(header + 1);
    const uint8_t *database;
    hs_error_t code;

    if (length < sizeof *header || (uintptr_t)section % 8 != 0 ||
        header->magic != TERN_PATTERNS_MAGIC || header->length != length ||
        header->atom_count != scan->atom_count || header->expression_count > TERN_PATTERNS_MAX ||
        header->database_offset > length ||
        header->database_offset < sizeof *header + header->expression_count * sizeof *atoms)
        return tern_error_set(error, TERN_ECORRUPT, "patterns: %zu bytes are not what they say",
                              length);
    if (memcmp(header->content_hash, hash, sizeof header->content_hash) != 0)
        return tern_error_set(error, TERN_ECORRUPT, "patterns: the section is of other rules");
    if (tern_patterns_checksum(header, length) != header->checksum)
        return tern_error_set(error, TERN_ECORRUPT, "patterns: the section fails its checksum");
    for (uint32_t i = 0; i < header->expression_count; i++)
        if (atoms[i] >= header->atom_count)
            return tern_error_set(error, TERN_ECORRUPT, "patterns: expression %u is of no atom", i);
    scan->atoms = atoms;
    scan->expression_count = header->expression_count;
    if (header->expression_count == 0)
        return 0;
    database = (const uint8_t *)section + header->database_offset;
    code = hs_deserialize_database((const char *)database, length - header->database_offset,
                                   &scan->database);
    return code == HS_SUCCESS ? 0 : refuse(database, length - header->database_offset, code, error);
}

void tern_scan_close(struct tern_scan *scan)
{
    hs_free_database(scan->database);
    scan->database = NULL;
    tern_similar_close(scan->similar);
    scan->similar = NULL;
}

void tern_room_free(struct tern_room *room)
{
    if (room == NULL)
        return;
    hs_free_scratch(room->scratch);
    tern_similar_room_free(room->similar);
    free(room->cursors);
    free(room->memos);
    free(room->seen);
    free(room);
}

static int make_similar(struct tern_room *room, const struct tern_rules *rules)
{
    const struct tern_similar **similars;
    int status;

    if (!rules->searches)
        return 0;
    similars = calloc(rules->scan_count + 1u, sizeof *similars);
    if (similars == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < rules->scan_count; i++)
        similars[i] = rules->scans[i].similar;
    status = tern_similar_room_new(&room->similar, similars, rules->scan_count);
    free(similars);
    return status;
}

int tern_room_new(struct tern_room **room, const struct tern_rules *rules)
{
    size_t words = 0, cursors = rules->unit_count;
    struct tern_room *made;
    uint32_t *next;

    for (uint32_t i = 0; i < rules->scan_count; i++) {
        words += 2ull * rules->scans[i].atom_count;
        cursors += tern_max_u64(rules->scans[i].atom_count, rules->scans[i].level_count);
    }
    made =
        calloc(1, sizeof *made + rules->scan_count * sizeof made->hits[0] + words * sizeof *next);
    if (made == NULL)
        return TERN_ENOMEM;
    made->serial = rules->serial;
    made->cursors = calloc(cursors + 1, sizeof *made->cursors);
    made->memos = rules->scan_count > 0 ? calloc(TERN_MEMO_SLOTS, sizeof *made->memos) : NULL;
    made->seen = rules->scan_count > 0 ? calloc(TERN_MEMO_SLOTS, sizeof *made->seen) : NULL;
    made->seed = tern_clock_now_ns() * 0x9e3779b97f4a7c15ull ^ (uintptr_t)made;
    next = (uint32_t *)&made->hits[rules->scan_count];
    for (uint32_t i = 0; i < rules->scan_count; i++) {
        made->hits[i].scan = &rules->scans[i];
        made->hits[i].atoms = next;
        made->hits[i].marks = next + rules->scans[i].atom_count;
        next += 2ull * rules->scans[i].atom_count;
        /* one scratch for all databases: it grows to what the largest needs */
        if (rules->scans[i].database != NULL &&
            hs_alloc_scratch(rules->scans[i].database, &made->scratch) != HS_SUCCESS) {
            tern_room_free(made);
            return TERN_ENOMEM;
        }
    }
    if (made->cursors == NULL || make_similar(made, rules) != 0 ||
        (rules->scan_count > 0 && (made->memos == NULL || made->seen == NULL))) {
        tern_room_free(made);
        return TERN_ENOMEM;
    }
    *room = made;
    return 0;
}
