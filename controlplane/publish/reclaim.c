#include "controlplane/publish/reclaim.h"

#include "shared/clock.h"
#include "shared/collection_list.h"
#include "shared/race.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>

#define ROOM_WAIT_MS 500 /* for readers to leave what the last publish retired */

/* `reserved`: address space of a collection. */
typedef int (*visit_function)(struct tern_writer *writer, uint64_t offset, uint64_t length,
                              bool reserved);

static uint64_t collections_bytes(const struct tern_collection_list *list)
{
    return list == NULL ? 0 : sizeof *list + list->count * sizeof *list->entries;
}

/* Visits every extent the root at `offset` reaches. The offset may come from a seat, which another
 * process writes: it is validated like any input. */
static int walk_root(struct tern_writer *writer, uint64_t offset, visit_function visit)
{
    const struct tern_root *root = tern_arena_at(&writer->reader, offset, sizeof *root, TERN_PAGE);
    const struct tern_manifest *manifest;
    const struct tern_collection_list *collections;
    const struct tern_section *sections;
    uint64_t bytes;
    int result;

    if (root == NULL || tern_root_checksum(root) != root->checksum)
        return TERN_ECORRUPT;
    if (root->stable != offset + sizeof *root)
        return TERN_ECORRUPT;
    manifest = tern_arena_at(&writer->reader, root->stable, sizeof *manifest, 64);
    if (manifest == NULL || manifest->count > TERN_SECTIONS_MAX)
        return TERN_ECORRUPT;
    bytes = sizeof *manifest + manifest->count * sizeof *sections;
    if (tern_arena_at(&writer->reader, root->stable, bytes, 64) == NULL ||
        tern_manifest_checksum(manifest) != manifest->checksum)
        return TERN_ECORRUPT;
    result = tern_collection_list_find(&writer->reader, offset, &collections);
    if (result != 0)
        return result;
    bytes += collections_bytes(collections);
    result = visit(writer, offset, sizeof *root + bytes, false);
    sections = (const struct tern_section *)(manifest + 1);
    for (unsigned i = 0; result == 0 && i < manifest->count; i++)
        result = visit(writer, sections[i].offset, sections[i].length, false);
    for (unsigned i = 0; result == 0 && collections != NULL && i < collections->count; i++)
        result =
            visit(writer, collections->entries[i].offset, collections->entries[i].length, true);
    return result;
}

/* Visits what this process itself has made reachable. */
static int walk_own(struct tern_writer *writer, visit_function visit)
{
    struct tern_envelope *envelope = writer->envelope;
    uint64_t settings = atomic_load_explicit(&envelope->settings, memory_order_relaxed);
    uint64_t announced = atomic_load_explicit(&envelope->announced, memory_order_relaxed);
    int result = 0;

    for (unsigned i = 0; result == 0 && i < TERN_ROOTS; i++) {
        uint64_t root = atomic_load_explicit(&envelope->roots[i].offset, memory_order_relaxed);

        if (root != 0)
            result = walk_root(writer, root, visit);
    }
    if (result == 0 && announced != 0)
        result = walk_root(writer, announced, visit);
    if (result == 0 && settings != 0)
        result =
            visit(writer, settings,
                  atomic_load_explicit(&envelope->settings_length, memory_order_relaxed), false);
    return result;
}

static int visit_mark(struct tern_writer *writer, uint64_t offset, TERN_UNUSED uint64_t length,
                      TERN_UNUSED bool reserved)
{
    struct tern_extent *extent = tern_extents_find(&writer->extents, offset);

    if (extent == NULL)
        return TERN_ECORRUPT;
    extent->marked = true;
    return 0;
}

static int visit_insert(struct tern_writer *writer, uint64_t offset, uint64_t length, bool reserved)
{
    int result = tern_extents_insert(&writer->extents, offset, length, TERN_EXTENT_LIVE);

    if (result == 0)
        tern_extents_find(&writer->extents, offset)->reserved = reserved;
    return result;
}

static void unmark_all(struct tern_writer *writer)
{
    for (size_t i = 0; i < writer->extents.count; i++)
        writer->extents.items[i].marked = false;
}

void tern_reclaim_publish_extents(struct tern_writer *writer)
{
    unmark_all(writer);
    if (walk_own(writer, visit_mark) != 0)
        assert(!"the writer's own root is damaged");
    for (size_t i = 0; i < writer->extents.count; i++) {
        struct tern_extent *extent = &writer->extents.items[i];

        if (extent->marked && extent->state == TERN_EXTENT_BUILDING)
            extent->state = TERN_EXTENT_LIVE;
    }
}

/* The builder and the thread of the collections both begin graces: each increment continues the
 * release sequence of those before it, so that a reader that has seen any later epoch has seen what
 * was stored before this one. */
uint64_t tern_reclaim_begin_grace(const struct tern_writer *writer)
{
    uint64_t epoch =
        atomic_fetch_add_explicit(&writer->envelope->epoch, 1, memory_order_release); /* C2 */

    atomic_thread_fence(memory_order_seq_cst); /* C3 pairs with R2 in tern_reader_enter */
    return epoch;
}

/* Begins a new epoch; readers still in the one returned may hold what was reachable until now. */
static uint64_t next_epoch(struct tern_writer *writer)
{
    writer->retired_at_ms = tern_clock_now_ns() / 1000000;
    return tern_reclaim_begin_grace(writer);
}

void tern_reclaim_retire(struct tern_writer *writer)
{
    uint64_t epoch = next_epoch(writer);

    unmark_all(writer);
    if (walk_own(writer, visit_mark) != 0)
        assert(!"the writer's own root is damaged");
    for (size_t i = 0; i < writer->extents.count; i++) {
        struct tern_extent *extent = &writer->extents.items[i];

        if (!extent->marked && extent->state == TERN_EXTENT_LIVE) {
            extent->state = TERN_EXTENT_RETIRED;
            extent->epoch = epoch;
        }
    }
}

typedef bool (*look_function)(struct tern_writer *writer, unsigned holder,
                              const struct tern_reader *reader, void *context);

/* Every loop and helper of every live ternd. */
static bool each_seat(struct tern_writer *writer, look_function look, void *context)
{
    for (unsigned i = 0; i < TERN_SEATS_MAX; i++) {
        const struct tern_seat *seat = &writer->board.board->seats[i];
        unsigned holder = TERN_LOCK_SEATS + i, loops;

        if (!tern_lock_held(writer->reader.fd, holder))
            continue; /* dead: its words mean nothing */
        if (atomic_load_explicit(&seat->ready, memory_order_acquire) !=
            tern_seat_ready_value(writer->reader.arena_id))
            return false;
        loops = seat->loop_count;
        if (loops > TERN_LOOPS_MAX)
            return false;
        if (!look(writer, holder, &seat->housekeeping, context))
            return false;
        for (unsigned l = 0; l < loops; l++)
            if (!look(writer, holder, &seat->loops[l], context))
                return false;
        for (unsigned h = 0; h < TERN_HELPERS_MAX; h++) /* those that are not there are idle */
            if (!look(writer, holder, &seat->helpers[h], context))
                return false;
    }
    return true;
}

/* Every context of every live in-process reader, in the order in which pins are handed on: one that
 * is gone from where it was looked for first is already where it is looked for next. */
static bool each_page(struct tern_writer *writer, look_function look, void *context)
{
    for (unsigned i = 0; i < TERN_READERS_MAX; i++) {
        const struct tern_reader_page *page;
        unsigned holder = TERN_LOCK_READERS + i;
        int seen = tern_pages_look(&writer->pages, &writer->reader, i, &page);

        if (seen == TERN_ENOENT)
            continue;
        if (seen != 0 || !look(writer, holder, &page->preparing, context) ||
            !look(writer, holder, &page->prepared, context))
            return false;
        for (unsigned c = 0; c < TERN_READER_CONTEXTS_MAX; c++)
            if (!look(writer, holder, &page->contexts[c].reader, context))
                return false;
    }
    return true;
}

/* Calls `look` for everybody who reads; `holder` is the lock byte of the process. False when
 * somebody holds a lock without a seat or page that says what it reads: then nothing is known, and
 * nothing may be freed. */
static bool each_reader(struct tern_writer *writer, look_function look, void *context)
{
    struct flock pages = {.l_type = F_WRLCK,
                          .l_whence = SEEK_SET,
                          .l_start = TERN_LOCK_READERS,
                          .l_len = TERN_READERS_MAX};

    if (tern_lock_held(writer->reader.fd, TERN_LOCK_JOINING) || !each_seat(writer, look, context))
        return false;
    /* usually there is none: one question instead of sixty-four */
    if (fcntl(writer->reader.fd, F_OFD_GETLK, &pages) == 0 && pages.l_type == F_UNLCK)
        return true;
    return each_page(writer, look, context);
}

static bool look_at_epoch(TERN_UNUSED struct tern_writer *writer, TERN_UNUSED unsigned holder,
                          const struct tern_reader *reader, void *context)
{
    uint64_t *oldest = context;
    uint64_t epoch = atomic_load_explicit(&reader->epoch, memory_order_acquire); /* C4 */

    if (epoch != TERN_EPOCH_IDLE && epoch < *oldest)
        *oldest = epoch;
    return true;
}

static bool look_at_pin(struct tern_writer *writer, TERN_UNUSED unsigned holder,
                        const struct tern_reader *reader, TERN_UNUSED void *context)
{
    uint64_t pin = atomic_load_explicit(&reader->pin, memory_order_acquire); /* C5 */

    return pin == 0 || walk_root(writer, pin, visit_mark) == 0;
}

/* Of everybody, ourselves included. False as each_reader. */
static bool oldest_epoch(struct tern_writer *writer, uint64_t *oldest)
{
    *oldest = UINT64_MAX;
    return look_at_epoch(writer, TERN_LOCK_WRITER, &writer->own, oldest) &&
           each_reader(writer, look_at_epoch, oldest);
}

bool tern_reclaim_grace_is_over(struct tern_writer *writer, uint64_t epoch)
{
    uint64_t oldest;

    return oldest_epoch(writer, &oldest) && epoch < oldest;
}

uint64_t tern_reclaim_collect(struct tern_writer *writer)
{
    uint64_t oldest, freed = 0;

    if (tern_extents_bytes(&writer->extents, TERN_EXTENT_RETIRED) == 0)
        return 0;
    if (!oldest_epoch(writer, &oldest))
        return 0;
    /* Pins after epochs: a reader pins within its epoch, so whoever is seen past it is seen pinned.
     */
    unmark_all(writer);
    if (!each_reader(writer, look_at_pin, NULL))
        return 0;
    TERN_RACE_POINT("reclaim-collecting");
    for (size_t i = writer->extents.count; i-- > 0;) {
        const struct tern_extent *extent = &writer->extents.items[i];

        if (extent->state == TERN_EXTENT_RETIRED && !extent->marked && extent->epoch < oldest) {
            freed += extent->length;
            tern_writer_release(writer, extent->offset);
        }
    }
    return freed;
}

static uint64_t memory_of(const struct tern_writer *writer, const struct tern_extent *extent)
{
    return extent->reserved ? tern_writer_memory_bytes(writer, extent->offset, extent->length)
                            : extent->length;
}

uint64_t tern_reclaim_retired_bytes(const struct tern_writer *writer)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < writer->extents.count; i++)
        if (writer->extents.items[i].state == TERN_EXTENT_RETIRED)
            bytes += memory_of(writer, &writer->extents.items[i]);
    return bytes;
}

bool tern_reclaim_await_room(struct tern_writer *writer, uint64_t start_ns)
{
    if (tern_extents_bytes(&writer->extents, TERN_EXTENT_RETIRED) == 0 ||
        tern_clock_ms_since(start_ns) > ROOM_WAIT_MS)
        return false;
    if (tern_reclaim_collect(writer) == 0)
        poll(NULL, 0, 1);
    return true;
}

static bool insert_pinned(struct tern_writer *writer, TERN_UNUSED unsigned holder,
                          const struct tern_reader *reader, TERN_UNUSED void *context)
{
    uint64_t pin = atomic_load_explicit(&reader->pin, memory_order_acquire);

    return pin == 0 || walk_root(writer, pin, visit_insert) == 0;
}

int tern_reclaim_take_over(struct tern_writer *writer, struct tern_error *error)
{
    struct tern_envelope *envelope = writer->envelope;
    uint64_t high_water = atomic_load_explicit(&envelope->high_water, memory_order_relaxed);
    uint64_t root, epoch;

    atomic_store_explicit(&envelope->announced, 0, memory_order_release);
    epoch = next_epoch(writer);
    if (walk_own(writer, visit_insert) != 0)
        return tern_error_set(error, TERN_ECORRUPT,
                              "the arena's root or a section list is damaged");
    /* What pins reach is only a list of extents: a pin that cannot be read leaves its memory among
     * the retired, and collect frees nothing while that seat lives. */
    each_reader(writer, insert_pinned, NULL);
    if (tern_extents_retire_gaps(&writer->extents, high_water, epoch) != 0)
        return tern_error_set(error, TERN_ENOMEM, "no memory for the list of extents");
    tern_reclaim_retire(writer); /* what only pins reach is no longer ours to keep */

    root = tern_arena_root(&writer->reader);
    if (root != 0) {
        const struct tern_root *live = (const struct tern_root *)(writer->base + root);

        writer->generation = tern_max_u64(writer->generation, live->generation);
    }
    writer->seq = tern_max_u64(writer->seq,
                               atomic_load_explicit(&envelope->announcement, memory_order_relaxed));
    return 0;
}

struct holder_look {
    struct tern_reclaim_holder *holders;
    unsigned count;
};

static bool look_at_holder(struct tern_writer *writer, unsigned holder,
                           const struct tern_reader *reader, void *context)
{
    struct holder_look *look = context;
    uint64_t epoch = atomic_load_explicit(&reader->epoch, memory_order_acquire);
    uint64_t pin = atomic_load_explicit(&reader->pin, memory_order_acquire);
    struct tern_reclaim_holder *entry;

    if (look->count == 0 || look->holders[look->count - 1].holder != holder) {
        look->holders[look->count++] = (struct tern_reclaim_holder){.holder = holder};
        unmark_all(writer); /* what several threads of one process pin is counted once */
    }
    entry = &look->holders[look->count - 1];
    if (epoch == TERN_EPOCH_IDLE && pin == 0)
        return true;
    if (pin != 0 && walk_root(writer, pin, visit_mark) != 0)
        entry->behind = true;
    entry->bytes = 0;
    for (size_t i = 0; i < writer->extents.count; i++) {
        const struct tern_extent *extent = &writer->extents.items[i];

        if (extent->state != TERN_EXTENT_RETIRED)
            continue;
        if (extent->marked)
            entry->bytes += memory_of(writer, extent);
        if (extent->marked || (epoch != TERN_EPOCH_IDLE && epoch <= extent->epoch))
            entry->behind = true;
    }
    return true;
}

unsigned tern_reclaim_holders(struct tern_writer *writer,
                              struct tern_reclaim_holder holders[TERN_RECLAIM_HOLDERS_MAX])
{
    struct holder_look look = {.holders = holders};

    each_reader(writer, look_at_holder, &look);
    return look.count;
}
