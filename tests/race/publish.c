/* Readers against the publishing side on the real shared memory: threads (which the thread
 * sanitizer can follow) and processes (which can be killed). Every word of a snapshot holds its
 * announcement number, and reclaimed memory reads as zero: a reader that looks at what is gone, or
 * at what took its place, sees another number. The arena is small, so that memory is used again at
 * once.
 *
 * Threads share one mapping of arena and board, because the sanitizer knows memory by its address.
 */
#include "tests/race/race.h"

#include "controlplane/publish/publish.h"
#include "controlplane/publish/reclaim.h"
#include "controlplane/publish/writer.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#define ARENA_BYTES (6u << 20)
#define WORDS       8192u /* of a section: 64 KiB */
#define READERS     4u
#define BAD_READ    9 /* exit code of a reader process that saw something wrong */

struct reader {
    struct tern_arena arena;
    struct tern_board_map board;
    struct tern_reader *slot;
    uint64_t seed;
    /* what it serves */
    uint64_t offset, seq;
    uint64_t looks, adoptions;
    char problem[160];
};

/* ---- reading ---- */

static bool fails(struct reader *reader, const char *what, uint64_t got)
{
    snprintf(reader->problem, sizeof reader->problem, "%s: got %llu, serves %llu at %llu", what,
             (unsigned long long)got, (unsigned long long)reader->seq,
             (unsigned long long)reader->offset);
    return false;
}

/* Looks at all of what is served. */
static bool check(struct reader *reader)
{
    const struct tern_root *root =
        tern_arena_at(&reader->arena, reader->offset, sizeof *root, TERN_PAGE);
    const struct tern_manifest *manifest;
    const struct tern_section *section;
    const uint64_t *words;

    if (root == NULL || root->seq != reader->seq)
        return fails(reader, "root", root == NULL ? 0 : root->seq);
    manifest = tern_arena_at(&reader->arena, root->stable, sizeof *manifest + sizeof *section, 8);
    if (manifest == NULL || manifest->count != 1)
        return fails(reader, "manifest", manifest == NULL ? 0 : manifest->count);
    section = (const struct tern_section *)(manifest + 1);
    words = tern_arena_at(&reader->arena, section->offset, section->length, TERN_PAGE);
    if (words == NULL || section->length != WORDS * sizeof *words)
        return fails(reader, "section", section->length);
    for (unsigned i = 0; i < WORDS; i++)
        if (words[i] != reader->seq)
            return fails(reader, "word", words[i]);
    reader->looks++;
    return true;
}

/* One turn of a loop, as in dataplane/worker.c: in the newest epoch, adopt what the root names (or
 * not yet, like a process that has not prepared it), serve, sometimes sleep. */
static bool turn(struct reader *reader)
{
    uint64_t chance = tern_test_random(&reader->seed), offset;

    tern_reader_enter(reader->slot, tern_arena_envelope(&reader->arena));
    offset = tern_arena_root(&reader->arena);
    if (offset != 0) {
        const struct tern_root *root =
            tern_arena_at(&reader->arena, offset, sizeof *root, TERN_PAGE);

        if (root == NULL)
            return fails(reader, "the root lies outside", offset);
        if (root->seq != reader->seq && (chance & 3) == 0) {
            if (root->seq < reader->seq)
                return fails(reader, "back to an older one", root->seq);
            reader->offset = offset;
            reader->seq = root->seq;
            /* all of it while only the epoch protects it, then pinned */
            if (!check(reader))
                return false;
            atomic_store_explicit(&reader->slot->pin, offset, memory_order_release);
            atomic_store_explicit(&reader->slot->generation, root->generation,
                                  memory_order_relaxed);
            reader->adoptions++;
        }
    }
    if (reader->offset != 0 && !check(reader))
        return false;
    if ((chance & 0xf0) == 0) {
        tern_reader_leave(reader->slot);
        sched_yield();
    }
    return true;
}

/* Gives a reader thread a seat of its own: locks belong to open files, so it opens both. */
static void join_as_thread(struct reader *reader, struct tern_writer *writer, unsigned index)
{
    unsigned seat;

    *reader = (struct reader){.seed = index + 1};
    assert_int_equal(tern_arena_open(run_dir, &reader->arena, NULL), 0);
    assert_int_equal(tern_board_open(run_dir, true, &reader->board, NULL), 0);
    munmap((void *)(uintptr_t)reader->arena.base, reader->arena.size);
    reader->arena.base = writer->base;
    if (index == 0) {
        munmap(writer->board.board, sizeof *writer->board.board);
        writer->board.board = reader->board.board;
    } else {
        munmap(reader->board.board, sizeof *reader->board.board);
        reader->board.board = writer->board.board;
    }
    assert_int_equal(tern_seat_claim(&reader->board, &reader->arena, 1, &seat, NULL), 0);
    reader->slot = &reader->board.board->seats[seat].loops[0];
}

/* ---- publishing ---- */

static uint64_t words[WORDS];

/* One candidate on its way; every eighth is withdrawn. False while there is no space. */
static bool publish_one(struct tern_writer *writer, uint64_t *seed)
{
    struct tern_section section = {.kind = TERN_SECTION_TABLE, .owner = 1};
    struct tern_publish_root described = {.generation = writer->generation + 1};
    uint64_t offset;

    for (unsigned i = 0; i < WORDS; i++)
        words[i] = writer->seq + 1;
    if (tern_writer_put(writer, words, sizeof words, &section, NULL) != 0)
        return false;
    if (tern_publish_write(writer, &section, 1, &described, &offset, NULL) != 0) {
        tern_writer_discard(writer, section.offset);
        return false;
    }
    tern_publish_announce(writer, offset);
    if (tern_test_random(seed) % 8 == 0)
        tern_publish_withdraw(writer);
    else
        tern_publish_swap(writer, offset);
    return true;
}

static bool stopping(atomic_bool *stop)
{
    return atomic_load_explicit(stop, memory_order_acquire);
}

struct thread {
    struct reader reader;
    atomic_bool *stop;
    pthread_t id;
};

static void *read_until_stopped(void *argument)
{
    struct thread *thread = argument;

    while (!stopping(thread->stop) && turn(&thread->reader)) {
    }
    tern_reader_leave(thread->reader.slot);
    return NULL;
}

static void threads_never_see_what_is_gone(TERN_TEST_STATE)
{
    const struct tern_writer_numbers numbers = {0};
    struct thread threads[READERS];
    struct tern_writer writer;
    atomic_bool stop = false;
    uint64_t seed = 42, published = 0, freed = 0, until_ns;

    assert_int_equal(tern_writer_open(run_dir, ARENA_BYTES, &numbers, false, &writer, NULL), 0);
    for (unsigned i = 0; i < READERS; i++) {
        join_as_thread(&threads[i].reader, &writer, i);
        threads[i].stop = &stop;
        assert_int_equal(pthread_create(&threads[i].id, NULL, read_until_stopped, &threads[i]), 0);
    }
    until_ns = tern_clock_now_ns() + race_ns();
    while (tern_clock_now_ns() < until_ns) {
        published += publish_one(&writer, &seed);
        freed += tern_reclaim_collect(&writer);
    }
    atomic_store_explicit(&stop, true, memory_order_release);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(threads[i].id, NULL);
    for (unsigned i = 0; i < READERS; i++) {
        assert_string_equal(threads[i].reader.problem, "");
        assert_true(threads[i].reader.adoptions > 2);
        print_message("reader %u: %llu looks, %llu adoptions\n", i,
                      (unsigned long long)threads[i].reader.looks,
                      (unsigned long long)threads[i].reader.adoptions);
    }
    print_message("%llu published, %llu KiB reclaimed\n", (unsigned long long)published,
                  (unsigned long long)freed / 1024);
    /* far more than fits at once: memory was used again and again */
    assert_true(freed > ARENA_BYTES);
    for (unsigned i = 0; i < READERS; i++) {
        close(threads[i].reader.arena.fd);
        close(threads[i].reader.board.fd);
    }
    tern_writer_close(&writer);
}

/* ---- processes ---- */

static void reader_process(uint64_t seed)
{
    struct reader reader = {.seed = seed};
    unsigned seat;

    /* the arena is made a moment later when the publishing process starts together with us */
    while (tern_arena_open(run_dir, &reader.arena, NULL) != 0)
        sched_yield();
    if (tern_board_open(run_dir, true, &reader.board, NULL) != 0 ||
        tern_seat_claim(&reader.board, &reader.arena, 1, &seat, NULL) != 0)
        _exit(3);
    reader.slot = &reader.board.board->seats[seat].loops[0];
    while (turn(&reader)) {
    }
    fprintf(stderr, "reader process: %s\n", reader.problem);
    _exit(BAD_READ);
}

static void writer_process(uint64_t seed)
{
    const struct tern_writer_numbers numbers = {0};
    struct tern_writer writer;
    struct tern_error error;

    /* the one before has just been killed: its lock goes with its last breath */
    while (tern_writer_open(run_dir, ARENA_BYTES, &numbers, false, &writer, &error) != 0)
        sched_yield();
    if (writer.taken_over && tern_reclaim_take_over(&writer, &error) != 0) {
        fprintf(stderr, "take over: %s\n", error.message);
        _exit(BAD_READ);
    }
    for (;;) {
        publish_one(&writer, &seed);
        tern_reclaim_collect(&writer);
    }
}

/* Processes die at random instants and start again, on either side; nobody ever reads what is gone,
 * and memory never runs out because of the dead. */
static void kill_at_random(bool writers, bool readers)
{
    uint64_t seed = 7, until_ns = tern_clock_now_ns() + race_ns(), starts = 0, before = 0,
             after = 0;
    pid_t writer = race_start(writer_process, 1), reader[READERS];
    struct tern_arena arena;

    for (unsigned i = 0; i < READERS; i++)
        reader[i] = race_start(reader_process, ++seed);
    while (tern_clock_now_ns() < until_ns) {
        unsigned chosen = (unsigned)(tern_test_random(&seed) % READERS);

        race_pause(&seed, 8000);
        if (writers) {
            assert_false(race_end(writer));
            writer = race_start(writer_process, ++starts);
        }
        if (readers) {
            assert_false(race_end(reader[chosen]));
            reader[chosen] = race_start(reader_process, ++seed);
        }
    }
    /* with all its dead behind it, publishing still gets on */
    while (tern_arena_open(run_dir, &arena, NULL) != 0)
        sched_yield();
    tern_lock_byte(arena.fd, F_UNLCK, TERN_LOCK_JOINING);
    before = atomic_load(&tern_arena_envelope(&arena)->epoch);
    until_ns = tern_clock_now_ns() + 20000000000u;
    do {
        sched_yield();
        after = atomic_load(&tern_arena_envelope(&arena)->epoch);
    } while (after < before + 200 && tern_clock_now_ns() < until_ns);
    tern_arena_close(&arena);
    assert_false(race_end(writer));
    for (unsigned i = 0; i < READERS; i++)
        assert_false(race_end(reader[i]));
    print_message("epoch %llu, then %llu\n", (unsigned long long)before, (unsigned long long)after);
    assert_true(after >= before + 200);
}

static void readers_killed_at_random(TERN_TEST_STATE)
{
    kill_at_random(false, true);
}

static void writers_killed_at_random(TERN_TEST_STATE)
{
    kill_at_random(true, false);
}

static void both_killed_at_random(TERN_TEST_STATE)
{
    kill_at_random(true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(threads_never_see_what_is_gone, race_make_run_dir,
                                        race_remove_run_dir),
        cmocka_unit_test_setup_teardown(readers_killed_at_random, race_make_run_dir,
                                        race_remove_run_dir),
        cmocka_unit_test_setup_teardown(writers_killed_at_random, race_make_run_dir,
                                        race_remove_run_dir),
        cmocka_unit_test_setup_teardown(both_killed_at_random, race_make_run_dir,
                                        race_remove_run_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
