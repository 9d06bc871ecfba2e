#include "controlplane/publish/publish.h"

#include "controlplane/publish/reclaim.h"
#include "shared/clock.h"
#include "shared/collection_list.h"
#include "shared/race.h"

#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The root stands first in its extent, the manifest right behind it, then the collections. */
#define MANIFEST_AT sizeof(struct tern_root)

static void write_collections(struct tern_collection_list *list,
                              const struct tern_publish_root *described)
{
    list->count = described->collection_count;
    memcpy(list->entries, described->collections, list->count * sizeof *list->entries);
    list->checksum = tern_collection_list_checksum(list);
}

int tern_publish_write(struct tern_writer *writer, const struct tern_section *sections,
                       unsigned count, const struct tern_publish_root *described, uint64_t *offset,
                       struct tern_error *error)
{
    const size_t sections_bytes = count * sizeof *sections;
    const uint64_t collections_at = MANIFEST_AT + sizeof(struct tern_manifest) + sections_bytes;
    const bool has_collections = described->collection_count != 0;
    uint64_t length = collections_at;
    struct tern_manifest *manifest;
    struct tern_root *root;
    uint64_t at;
    int result;

    assert(count > 0 && count <= TERN_SECTIONS_MAX);
    assert(described->collection_count <= TERN_COLLECTIONS_MAX);
    if (has_collections)
        length += sizeof(struct tern_collection_list) +
                  described->collection_count * sizeof(struct tern_collection_entry);
    result = tern_writer_allocate(writer, length, &at, error);
    if (result != 0)
        return result;
    manifest = (struct tern_manifest *)(writer->base + at + MANIFEST_AT);
    manifest->count = count;
    memcpy(manifest + 1, sections, sections_bytes);
    manifest->checksum = tern_manifest_checksum(manifest);
    if (has_collections)
        write_collections((struct tern_collection_list *)(writer->base + at + collections_at),
                          described);
    root = (struct tern_root *)(writer->base + at);
    /* used up whether or not it is ever swapped in: readers tell candidates apart by it */
    root->seq = ++writer->seq;
    atomic_store_explicit(&writer->envelope->announcement, writer->seq, memory_order_release);
    root->generation = described->generation;
    root->schema_hash = described->schema_hash;
    root->stable = at + MANIFEST_AT;
    root->collections = has_collections ? at + collections_at : 0;
    root->mode = TERN_ROOT_LIVE;
    root->published_at_us = described->published_at_us;
    root->checksum = tern_root_checksum(root);
    *offset = at;
    return 0;
}

/* Housekeeping threads sleep on the bell. */
static void ring(struct tern_envelope *envelope)
{
    atomic_fetch_add_explicit(&envelope->bell, 1, memory_order_release);
    syscall(SYS_futex, &envelope->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void tern_publish_announce(struct tern_writer *writer, uint64_t offset)
{
    TERN_RACE_POINT("publish-written");
    atomic_store_explicit(&writer->envelope->announced, offset, memory_order_release);
    tern_reclaim_publish_extents(writer);
    ring(writer->envelope);
    TERN_RACE_POINT("publish-announced");
}

void tern_publish_withdraw(struct tern_writer *writer)
{
    atomic_store_explicit(&writer->envelope->announced, 0, memory_order_release);
    ring(writer->envelope);
    tern_reclaim_retire(writer);
}

/* The only pointer swap. Its partners are R1…R4 in shared/board.h and shared/arena.c. */
void tern_publish_swap(struct tern_writer *writer, uint64_t offset)
{
    struct tern_envelope *envelope = writer->envelope;
    const struct tern_root *root = (const struct tern_root *)(writer->base + offset);

    TERN_RACE_POINT("publish-swapping");
    for (unsigned i = 0; i < TERN_ROOTS; i++)
        if (envelope->roots[i].abi == TERN_SNAPSHOT_ABI)
            atomic_store_explicit(&envelope->roots[i].offset, offset,
                                  memory_order_release); /* C1 */
    TERN_RACE_POINT("publish-swapped");
    atomic_store_explicit(&envelope->announced, 0, memory_order_release);
    writer->generation = root->generation;
    tern_reclaim_retire(writer); /* C2, C3 */
    ring(envelope);
}

void tern_publish_settings(struct tern_writer *writer, const struct tern_section *section)
{
    atomic_store_explicit(&writer->envelope->settings_length, section->length,
                          memory_order_relaxed);
    atomic_store_explicit(&writer->envelope->settings, section->offset, memory_order_release);
    tern_reclaim_publish_extents(writer);
}

/* One look at every live seat. */
static unsigned collect_answers(struct tern_writer *writer, const struct tern_root *root,
                                struct tern_publish_answer *answers, bool *all, bool *rejected)
{
    unsigned count = 0;

    *all = true;
    *rejected = false;
    for (unsigned i = 0; i < TERN_SEATS_MAX; i++) {
        const struct tern_seat *seat = &writer->board.board->seats[i];
        struct tern_publish_answer *answer;

        if (!tern_lock_held(writer->reader.fd, TERN_LOCK_SEATS + i))
            continue;
        answer = &answers[count++];
        *answer = (struct tern_publish_answer){.seat = i, .pid = seat->pid};
        if (atomic_load_explicit(&seat->answer_seq, memory_order_acquire) != root->seq ||
            atomic_load_explicit(&seat->answer_hash, memory_order_relaxed) != root->checksum) {
            *all = false;
            continue;
        }
        answer->answer = (int)atomic_load_explicit(&seat->answer, memory_order_relaxed);
        if (answer->answer == TERN_ANSWER_REJECTED) {
            *rejected = true;
            memcpy(answer->reason, seat->answer_reason, sizeof answer->reason);
            answer->reason[sizeof answer->reason - 1] = '\0';
        }
    }
    return count;
}

unsigned tern_publish_wait(struct tern_writer *writer, uint64_t offset, uint64_t timeout_ms,
                           struct tern_publish_answer answers[TERN_SEATS_MAX])
{
    const struct tern_root *root = (const struct tern_root *)(writer->base + offset);
    uint64_t start = tern_clock_now_ns() / 1000000;

    for (;;) {
        bool all, rejected;
        unsigned count = collect_answers(writer, root, answers, &all, &rejected);

        if (all || rejected || tern_clock_now_ns() / 1000000 - start >= timeout_ms)
            return count;
        /* The answers lie on a board this process only reads, in up to sixteen places: look again
         * soon rather than ask every seat for a wake. */
        poll(NULL, 0, 1);
    }
}
