/* Publication and reclaim against a real reader's seat, in one process: locks are per open file
 * description, so a seat claimed here looks to the writer like any other ternd's. */
#include "tests/unit/unit.h"

#include "controlplane/publish/publish.h"
#include "controlplane/publish/reclaim.h"
#include "shared/collection_list.h"
#include "shared/manifest.h"
#include "tests/unit/folder.h"

#include <unistd.h>

struct fixture {
    char run_dir[FOLDER_PATH];
    struct tern_writer writer;
    struct tern_board_map board;
    struct tern_arena arena;
    unsigned index;
    struct tern_seat *seat;
};

static const struct tern_writer_numbers no_numbers = {0};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct tern_error error = {0};

    assert_int_equal(folder_make(f->run_dir), 0);
    assert_int_equal(tern_writer_open(f->run_dir, 64 << 20, &no_numbers, false, &f->writer, &error),
                     0);
    assert_false(f->writer.taken_over);
    assert_int_equal(tern_board_open(f->run_dir, true, &f->board, &error), 0);
    assert_int_equal(tern_arena_open(f->run_dir, &f->arena, &error), 0);
    assert_int_equal(tern_seat_claim(&f->board, &f->arena, 2, &f->index, &error), 0);
    f->seat = &f->board.board->seats[f->index];
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int result;

    tern_arena_close(&f->arena);
    tern_board_close(&f->board);
    tern_writer_close(&f->writer);
    result = folder_remove(f->run_dir);
    free(f);
    return result;
}

/* Writes a one-section candidate whose bytes all are `fill`. */
static uint64_t write_candidate(struct fixture *f, uint8_t fill, uint64_t generation)
{
    const struct tern_publish_root root = {.generation = generation};
    struct tern_section section = {.kind = TERN_SECTION_TABLE, .owner = 1};
    uint8_t bytes[10000];
    uint64_t offset;

    memset(bytes, fill, sizeof bytes);
    memset(section.content_hash, fill, sizeof section.content_hash);
    assert_int_equal(tern_writer_put(&f->writer, bytes, sizeof bytes, &section, NULL), 0);
    assert_int_equal(tern_publish_write(&f->writer, &section, 1, &root, &offset, NULL), 0);
    return offset;
}

static uint64_t publish(struct fixture *f, uint8_t fill, uint64_t generation)
{
    uint64_t offset = write_candidate(f, fill, generation);

    tern_publish_announce(&f->writer, offset);
    tern_publish_swap(&f->writer, offset);
    return offset;
}

static uint8_t first_byte(struct fixture *f, uint64_t root_offset)
{
    const struct tern_root *root = tern_arena_at(&f->arena, root_offset, sizeof *root, 64);
    const struct tern_manifest *manifest =
        tern_arena_at(&f->arena, root->stable, sizeof *manifest, 64);
    const struct tern_section *section = (const struct tern_section *)(manifest + 1);

    return f->arena.base[section->offset];
}

static uint64_t retired(struct fixture *f)
{
    return tern_extents_bytes(&f->writer.extents, TERN_EXTENT_RETIRED);
}

static void an_epoch_protects_what_was_read(void **state)
{
    struct fixture *f = *state;
    const struct tern_envelope *envelope = tern_arena_envelope(&f->arena);
    struct tern_reader *reader = &f->seat->loops[0];
    uint64_t old;

    old = publish(f, 'a', 1);
    tern_reader_enter(reader, envelope);
    assert_int_equal(tern_arena_root(&f->arena), old);
    publish(f, 'b', 2);
    assert_true(retired(f) > 0);
    assert_int_equal(tern_reclaim_collect(&f->writer), 0);
    assert_int_equal(first_byte(f, old), 'a');

    tern_reader_enter(reader, envelope); /* a new epoch: the old root is let go */
    assert_true(tern_reclaim_collect(&f->writer) > 0);
    assert_int_equal(retired(f), 0);
    assert_int_equal(first_byte(f, tern_arena_root(&f->arena)), 'b');
    tern_reader_leave(reader);
}

static void a_pin_outlives_the_epoch(void **state)
{
    struct fixture *f = *state;
    const struct tern_envelope *envelope = tern_arena_envelope(&f->arena);
    struct tern_reader *reader = &f->seat->loops[1];
    struct tern_reclaim_holder holders[TERN_RECLAIM_HOLDERS_MAX];
    uint64_t old = publish(f, 'a', 1);

    tern_reader_enter(reader, envelope);
    atomic_store_explicit(&reader->pin, old, memory_order_release);
    tern_reader_leave(reader);
    publish(f, 'b', 2);
    publish(f, 'c', 3);
    assert_true(tern_reclaim_collect(&f->writer) > 0); /* b, which nobody holds */
    assert_true(retired(f) > 0);
    assert_int_equal(first_byte(f, old), 'a');
    assert_int_equal(tern_reclaim_holders(&f->writer, holders), 1);
    assert_true(holders[0].behind);
    assert_true(holders[0].bytes > 10000);

    atomic_store_explicit(&reader->pin, 0, memory_order_release);
    assert_true(tern_reclaim_collect(&f->writer) > 0);
    assert_int_equal(retired(f), 0);
}

static void a_nonsense_pin_frees_nothing(void **state)
{
    struct fixture *f = *state;
    struct tern_reader *reader = &f->seat->housekeeping;

    publish(f, 'a', 1);
    publish(f, 'b', 2);
    for (uint64_t pin = 1; pin >> 62 == 0; pin = pin << 3 | 1) {
        atomic_store_explicit(&reader->pin, pin, memory_order_release);
        assert_int_equal(tern_reclaim_collect(&f->writer), 0);
    }
    atomic_store_explicit(&reader->pin, 0, memory_order_release);
    assert_true(tern_reclaim_collect(&f->writer) > 0);
}

static void a_joiner_without_a_seat_frees_nothing(void **state)
{
    struct fixture *f = *state;
    struct tern_arena joiner;

    publish(f, 'a', 1);
    publish(f, 'b', 2);
    assert_int_equal(tern_arena_open(f->run_dir, &joiner, NULL), 0);
    assert_int_equal(tern_reclaim_collect(&f->writer), 0);
    tern_arena_close(&joiner);
    assert_true(tern_reclaim_collect(&f->writer) > 0);
}

static void the_dead_hold_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t old = publish(f, 'a', 1);

    tern_reader_enter(&f->seat->loops[0], tern_arena_envelope(&f->arena));
    atomic_store_explicit(&f->seat->loops[0].pin, old, memory_order_release);
    publish(f, 'b', 2);
    assert_int_equal(tern_reclaim_collect(&f->writer), 0);
    /* closing the file descriptions is what death does */
    tern_arena_close(&f->arena);
    assert_true(tern_reclaim_collect(&f->writer) > 0);
    assert_int_equal(tern_arena_open(f->run_dir, &f->arena, NULL), 0);
}

static void answers_come_from_live_seats(void **state)
{
    struct fixture *f = *state;
    struct tern_publish_answer answers[TERN_SEATS_MAX];
    uint64_t offset = write_candidate(f, 'a', 1);
    const struct tern_root *root = (const struct tern_root *)(f->writer.base + offset);

    tern_publish_announce(&f->writer, offset);
    assert_int_equal(tern_publish_wait(&f->writer, offset, 5, answers), 1);
    assert_int_equal(answers[0].answer, TERN_ANSWER_NONE);

    strcpy(f->seat->answer_reason, "it smells");
    atomic_store(&f->seat->answer, TERN_ANSWER_REJECTED);
    atomic_store(&f->seat->answer_hash, root->checksum);
    atomic_store(&f->seat->answer_seq, root->seq);
    assert_int_equal(tern_publish_wait(&f->writer, offset, 5, answers), 1);
    assert_int_equal(answers[0].answer, TERN_ANSWER_REJECTED);
    assert_string_equal(answers[0].reason, "it smells");

    tern_publish_withdraw(&f->writer);
    assert_int_equal(tern_arena_root(&f->arena), 0);
    assert_true(tern_reclaim_collect(&f->writer) > 0);
    assert_int_equal(tern_extents_bytes(&f->writer.extents, TERN_EXTENT_LIVE), 0);
}

static void announcements_are_never_numbered_twice(void **state)
{
    struct fixture *f = *state;
    uint64_t withdrawn, last;

    publish(f, 'a', 1);
    tern_publish_announce(&f->writer, write_candidate(f, 'b', 2));
    withdrawn = f->writer.seq;
    /* the control plane dies here, with its candidate announced, and comes back */
    tern_writer_close(&f->writer);
    assert_int_equal(tern_writer_open(f->run_dir, 64 << 20, &no_numbers, false, &f->writer, NULL),
                     0);
    assert_true(f->writer.taken_over);
    assert_int_equal(tern_reclaim_take_over(&f->writer, NULL), 0);
    assert_int_equal(tern_arena_envelope(&f->arena)->announced, 0);
    assert_int_equal(f->writer.generation, 1);
    last = publish(f, 'c', 2);
    assert_true(((const struct tern_root *)(f->writer.base + last))->seq > withdrawn);
    assert_int_equal(first_byte(f, tern_arena_root(&f->arena)), 'c');
}

static void a_take_over_keeps_what_is_served_and_pinned(void **state)
{
    struct fixture *f = *state;
    struct tern_reader *reader = &f->seat->loops[0];
    uint64_t pinned = publish(f, 'a', 1);
    uint64_t served;

    tern_reader_enter(reader, tern_arena_envelope(&f->arena));
    atomic_store_explicit(&reader->pin, pinned, memory_order_release);
    tern_reader_leave(reader);
    served = publish(f, 'b', 2);
    tern_writer_close(&f->writer);
    assert_int_equal(tern_writer_open(f->run_dir, 64 << 20, &no_numbers, false, &f->writer, NULL),
                     0);
    assert_int_equal(tern_reclaim_take_over(&f->writer, NULL), 0);
    tern_reclaim_collect(&f->writer);
    for (uint8_t i = 0; i < 50; i++) {
        publish(f, (uint8_t)(128 + i), 3u + i); /* fills every gap there is */
        assert_int_equal(first_byte(f, pinned), 'a');
    }
    assert_int_not_equal(tern_arena_root(&f->arena), served);
    atomic_store_explicit(&reader->pin, 0, memory_order_release);
    tern_reclaim_collect(&f->writer);
    assert_int_equal(retired(f), 0);
}

static void a_second_writer_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tern_error error = {0};
    struct tern_writer second;

    assert_int_equal(tern_writer_open(f->run_dir, 64 << 20, &no_numbers, false, &second, &error),
                     TERN_EBUSY);
    assert_non_null(strstr(error.message, "another tern-control"));
}

static void a_full_arena_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct tern_error error = {0};
    uint64_t offset;

    assert_int_equal(tern_writer_allocate(&f->writer, 65 << 20, &offset, &error), TERN_ENOSPC);
    assert_non_null(strstr(error.message, "raise `arena`"));
    assert_int_equal(tern_writer_allocate(&f->writer, 1ull << 62, &offset, &error), TERN_ENOSPC);
    assert_int_equal(f->writer.extents.count, 0);
}

/* Publishes a root that lists one collection at `object` and nothing else new. */
static uint64_t publish_collection(struct fixture *f, uint8_t fill, uint64_t generation,
                                   uint64_t object, uint64_t length)
{
    const struct tern_collection_entry entry = {.offset = object, .length = length, .id = 1};
    const struct tern_publish_root root = {
        .generation = generation, .collections = &entry, .collection_count = 1};
    struct tern_section section = {.kind = TERN_SECTION_TABLE, .owner = 1};
    uint64_t offset;

    assert_int_equal(tern_writer_put(&f->writer, &fill, 1, &section, NULL), 0);
    assert_int_equal(tern_publish_write(&f->writer, &section, 1, &root, &offset, NULL), 0);
    tern_publish_announce(&f->writer, offset);
    tern_publish_swap(&f->writer, offset);
    return offset;
}

/* Address space for a collection with something in it, far into it. */
static uint64_t reserve_collection(struct fixture *f, uint64_t length, uint8_t fill)
{
    uint64_t object;

    assert_int_equal(tern_writer_reserve(&f->writer, length, &object, NULL), 0);
    assert_int_equal(object % TERN_EXTENT, 0);
    assert_int_equal(tern_writer_back(&f->writer, object + 3 * TERN_EXTENT, TERN_PAGE, NULL), 0);
    f->writer.base[object + 3 * TERN_EXTENT] = fill;
    return object;
}

static void reopen(struct fixture *f)
{
    tern_writer_close(&f->writer);
    assert_int_equal(tern_writer_open(f->run_dir, 64 << 20, &no_numbers, false, &f->writer, NULL),
                     0);
    assert_int_equal(tern_reclaim_take_over(&f->writer, NULL), 0);
}

static uint8_t marked_byte(const struct fixture *f, uint64_t object)
{
    return f->arena.base[object + 3 * TERN_EXTENT];
}

/* What waits for a reader is told as memory: one page was stored to, if not a huge one. */
static void assert_little_waits(struct fixture *f)
{
    struct tern_reclaim_holder holders[TERN_RECLAIM_HOLDERS_MAX];

    assert_in_range(tern_reclaim_retired_bytes(&f->writer), TERN_PAGE, 2 * TERN_EXTENT);
    assert_int_equal(tern_reclaim_holders(&f->writer, holders), 1);
    assert_true(holders[0].behind);
    assert_in_range(holders[0].bytes, TERN_PAGE, 2 * TERN_EXTENT);
}

static void a_root_keeps_its_collections(void **state)
{
    const uint64_t length = 4 * TERN_EXTENT;
    struct fixture *f = *state;
    struct tern_reader *reader = &f->seat->loops[0];
    const struct tern_collection_list *list = NULL;
    uint64_t object = reserve_collection(f, length, 'x'), other, root;

    assert_int_equal(tern_extents_reserved_bytes(&f->writer.extents), length);
    root = publish_collection(f, 'a', 1, object, length);
    assert_int_equal(tern_collection_list_find(&f->arena, root, &list), 0);
    assert_int_equal(list->count, 1);
    assert_int_equal(list->entries[0].offset, object);
    /* address space is neither memory in use, nor is it there when tern-control comes back */
    assert_true(tern_extents_bytes(&f->writer.extents, TERN_EXTENT_LIVE) < TERN_EXTENT);
    reopen(f);
    assert_int_equal(tern_extents_reserved_bytes(&f->writer.extents), length);
    assert_true(tern_extents_bytes(&f->writer.extents, TERN_EXTENT_LIVE) < TERN_EXTENT);

    /* one that is prepared beside it and forgotten by a crash is given back */
    other = reserve_collection(f, length, 'y');
    reopen(f);
    tern_reclaim_collect(&f->writer);
    assert_int_equal(tern_extents_reserved_bytes(&f->writer.extents), length);
    assert_int_equal(marked_byte(f, other), 0);
    assert_int_equal(marked_byte(f, object), 'x');

    /* a reader that is still there keeps it, then it goes */
    tern_reader_enter(reader, tern_arena_envelope(&f->arena));
    atomic_store_explicit(&reader->pin, root, memory_order_release);
    tern_reader_leave(reader);
    other = reserve_collection(f, length, 'z');
    publish_collection(f, 'b', 2, other, length);
    tern_reclaim_collect(&f->writer);
    assert_int_equal(marked_byte(f, object), 'x');
    assert_true(retired(f) >= length);
    assert_little_waits(f);
    reopen(f);
    tern_reclaim_collect(&f->writer);
    assert_little_waits(f);
    assert_int_equal(marked_byte(f, object), 'x');
    atomic_store_explicit(&reader->pin, 0, memory_order_release);
    assert_true(tern_reclaim_collect(&f->writer) >= length);
    assert_int_equal(marked_byte(f, object), 0);
    assert_int_equal(marked_byte(f, other), 'z');
}

/* What a list says comes from a pin as well, and a pin from another process. */
static void damaged_lists_of_collections_are_refused(void **state)
{
    const uint64_t length = 4 * TERN_EXTENT;
    struct fixture *f = *state;
    const struct tern_collection_list *list = NULL;
    uint64_t root = publish_collection(f, 'a', 1, reserve_collection(f, length, 'x'), length);
    struct tern_root *written = (struct tern_root *)(f->writer.base + root);
    struct tern_collection_list *bytes =
        (struct tern_collection_list *)(f->writer.base + written->collections);
    const size_t size = sizeof *bytes + sizeof *bytes->entries;
    struct tern_collection_entry good = bytes->entries[0];

    for (size_t at = 0; at < size; at++) {
        ((uint8_t *)bytes)[at] ^= 0x40;
        assert_int_equal(tern_collection_list_find(&f->arena, root, &list), TERN_ECORRUPT);
        ((uint8_t *)bytes)[at] ^= 0x40;
    }
    /* a right checksum over what no tern-control writes */
    const struct tern_collection_entry bad[] = {
        {.offset = good.offset + TERN_PAGE, .length = length, .id = 1},
        {.offset = 0, .length = length, .id = 1},
        {.offset = good.offset, .length = UINT64_MAX - good.offset, .id = 1},
        {.offset = 1ull << 62, .length = length, .id = 1},
        {.offset = good.offset, .length = length, .id = 0},
        {.offset = good.offset, .length = length, .id = TERN_COLLECTIONS_MAX + 1},
        {.offset = good.offset, .length = length, .id = 1, .reserved = 1},
    };
    for (size_t i = 0; i < TERN_COUNT(bad); i++) {
        bytes->entries[0] = bad[i];
        bytes->checksum = tern_collection_list_checksum(bytes);
        assert_int_equal(tern_collection_list_find(&f->arena, root, &list), TERN_ECORRUPT);
    }
    bytes->entries[0] = good;
    bytes->checksum = tern_collection_list_checksum(bytes);
    assert_int_equal(tern_collection_list_find(&f->arena, root, &list), 0);
    written->collections += 8;
    assert_int_equal(tern_collection_list_find(&f->arena, root, &list), TERN_ECORRUPT);
}

static void a_grace_of_its_own_waits_for_those_who_were_there(void **state)
{
    struct fixture *f = *state;
    const struct tern_envelope *envelope = tern_arena_envelope(&f->arena);
    struct tern_reader *first = &f->seat->loops[0], *second = &f->seat->loops[1];
    uint64_t grace, later;

    tern_reader_enter(first, envelope);
    grace = tern_reclaim_begin_grace(&f->writer);
    tern_reader_enter(second, envelope); /* after it: not waited for */
    assert_false(tern_reclaim_grace_is_over(&f->writer, grace));
    later = tern_reclaim_begin_grace(&f->writer);
    assert_true(later > grace);
    tern_reader_enter(first, envelope);
    assert_true(tern_reclaim_grace_is_over(&f->writer, grace));
    assert_false(tern_reclaim_grace_is_over(&f->writer, later)); /* the second */
    tern_reader_leave(second);
    assert_true(tern_reclaim_grace_is_over(&f->writer, later));
    tern_reader_leave(first);
}

static void a_full_arena_reserves_nothing(void **state)
{
    struct fixture *f = *state;
    struct tern_error error = {0};
    uint64_t offset;

    assert_int_equal(tern_writer_reserve(&f->writer, 64 << 20, &offset, &error), TERN_ENOSPC);
    assert_non_null(strstr(error.message, "raise `arena`"));
    assert_int_equal(f->writer.extents.count, 0);
    assert_int_equal(tern_writer_reserve(&f->writer, 60 << 20, &offset, &error), 0);
    assert_int_equal(tern_writer_reserve(&f->writer, 4 << 20, &offset, &error), TERN_ENOSPC);
    tern_writer_discard(&f->writer, offset);
    assert_int_equal(f->writer.extents.count, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_epoch_protects_what_was_read),
        T(a_pin_outlives_the_epoch),
        T(a_nonsense_pin_frees_nothing),
        T(a_joiner_without_a_seat_frees_nothing),
        T(the_dead_hold_nothing),
        T(answers_come_from_live_seats),
        T(announcements_are_never_numbered_twice),
        T(a_take_over_keeps_what_is_served_and_pinned),
        T(a_second_writer_is_refused),
        T(a_full_arena_is_an_error),
        T(a_root_keeps_its_collections),
        T(damaged_lists_of_collections_are_refused),
        T(a_grace_of_its_own_waits_for_those_who_were_there),
        T(a_full_arena_reserves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
