/* The board under its crowd: seats and readers' pages claimed, used and lost at random instants,
 * and counters and histograms read while their one writer writes. */
#include "tests/race/race.h"

#include "controlplane/publish/writer.h"
#include "shared/board.h"
#include "shared/histogram.h"

#include <pthread.h>
#include <sched.h>

#define CLAIMERS (TERN_SEATS_MAX + 6u) /* more than there are seats */
#define WRONG    9                     /* exit code of a process that saw something wrong */

/* ---- seats ---- */

/* Holds a seat for a moment, again and again; whoever else wrote to it meanwhile would show. */
static void claimer_process(uint64_t seed)
{
    for (;;) {
        uint64_t token = tern_test_random(&seed) | 1, rounds = token % 300;
        struct tern_arena arena;
        struct tern_board_map map;
        struct tern_seat *seat;
        unsigned index;
        int code;

        if (tern_arena_open(run_dir, &arena, NULL) != 0 ||
            tern_board_open(run_dir, true, &map, NULL) != 0)
            _exit(WRONG);
        code = tern_seat_claim(&map, &arena, 1, &index, NULL);
        if (code != 0 && code != TERN_EBUSY)
            _exit(WRONG);
        if (code == 0) {
            seat = &map.board->seats[index];
            if (atomic_load(&seat->loops[0].pin) != 0 ||
                atomic_load(&seat->boards[0].counters.requests) != 0)
                _exit(WRONG); /* something of the one before is left */
            atomic_store(&seat->loops[0].pin, token);
            for (uint64_t i = 0; i < rounds; i++) {
                tern_counter_add(&seat->boards[0].counters.requests, 1);
                if (i % 16 == 0)
                    sched_yield();
                if (atomic_load(&seat->loops[0].pin) != token ||
                    atomic_load(&seat->boards[0].counters.requests) != i + 1 ||
                    seat->pid != (uint32_t)getpid())
                    _exit(WRONG);
            }
        } else {
            sched_yield();
        }
        tern_board_close(&map);
        tern_arena_close(&arena);
    }
}

/* Seats are held by one process at a time, start clean, and the dead leave none of them taken. */
static void a_seat_has_one_holder(TERN_TEST_STATE)
{
    const struct tern_writer_numbers numbers = {0};
    struct tern_writer writer;
    struct tern_board_map board[TERN_SEATS_MAX];
    struct tern_arena arena[TERN_SEATS_MAX];
    uint64_t seed = 11, next = 100, until_ns;
    pid_t claimer[CLAIMERS];
    unsigned index;

    assert_int_equal(tern_writer_open(run_dir, 8u << 20, &numbers, false, &writer, NULL), 0);
    for (unsigned i = 0; i < CLAIMERS; i++)
        claimer[i] = race_start(claimer_process, ++next);
    until_ns = tern_clock_now_ns() + race_ns();
    while (tern_clock_now_ns() < until_ns) {
        unsigned chosen = (unsigned)(tern_test_random(&seed) % CLAIMERS);

        race_pause(&seed, 3000);
        assert_false(race_end(claimer[chosen]));
        claimer[chosen] = race_start(claimer_process, ++next);
    }
    for (unsigned i = 0; i < CLAIMERS; i++)
        assert_false(race_end(claimer[i]));
    for (unsigned i = 0; i < TERN_SEATS_MAX; i++) {
        assert_int_equal(tern_arena_open(run_dir, &arena[i], NULL), 0);
        assert_int_equal(tern_board_open(run_dir, true, &board[i], NULL), 0);
        assert_int_equal(tern_seat_claim(&board[i], &arena[i], 1, &index, NULL), 0);
        assert_int_equal(index, i);
    }
    for (unsigned i = 0; i < TERN_SEATS_MAX; i++) {
        tern_board_close(&board[i]);
        tern_arena_close(&arena[i]);
    }
    print_message("%llu processes\n", (unsigned long long)(next - 100));
    tern_writer_close(&writer);
}

/* ---- counters and histograms ---- */

static struct tern_histogram histogram;
static _Atomic uint64_t counter;
static atomic_bool stop;

static void *write_histogram(void *argument)
{
    uint64_t *added = argument, seed = 3;

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t ns = tern_test_random(&seed) % 100000, times = 1 + ns % 3;

        /* what a reader may rely on: the counter runs behind the histogram */
        tern_histogram_add(&histogram, ns, times);
        *added += times;
        atomic_store_explicit(&counter, *added, memory_order_release);
    }
    return NULL;
}

/* A reader never sees a number go back, nor fewer samples than had been counted before it began. */
static void a_histogram_is_read_while_written(TERN_TEST_STATE)
{
    uint64_t added = 0, last_total = 0, last_sum_ns = 0, until_ns, reads = 0;
    struct tern_histogram_sum sum;
    pthread_t writer;

    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&writer, NULL, write_histogram, &added), 0);
    until_ns = tern_clock_now_ns() + race_ns() / 4;
    do {
        uint64_t least = atomic_load_explicit(&counter, memory_order_acquire);

        memset(&sum, 0, sizeof sum);
        tern_histogram_collect(&sum, &histogram);
        assert_true(sum.total >= least);
        assert_true(sum.total >= last_total && sum.sum_ns >= last_sum_ns);
        last_total = sum.total;
        last_sum_ns = sum.sum_ns;
        reads++;
    } while (tern_clock_now_ns() < until_ns);
    atomic_store(&stop, true);
    pthread_join(writer, NULL);
    memset(&sum, 0, sizeof sum);
    tern_histogram_collect(&sum, &histogram);
    assert_int_equal(sum.total, added);
    assert_true(reads > 10);
    print_message("%llu samples, %llu reads\n", (unsigned long long)added,
                  (unsigned long long)reads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_seat_has_one_holder, race_make_run_dir,
                                        race_remove_run_dir),
        cmocka_unit_test(a_histogram_is_read_while_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
