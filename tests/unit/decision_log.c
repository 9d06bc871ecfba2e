#include "tests/unit/unit.h"

#include "shared/clock.h"
#include "shared/decision_log.h"

#include <pthread.h>
#include <sched.h>

/* A record's words all follow from its number, so that a torn one shows. */
static uint64_t number_of(const struct tern_log_record *record)
{
    uint64_t words[8];

    memcpy(words, record, sizeof words);
    for (unsigned i = 1; i < 8; i++)
        assert_int_equal(words[i], words[0] + i);
    assert_int_equal(words[0] % 8, 0);
    return words[0] / 8;
}

static void write_burst(struct tern_log_ring *ring, unsigned count)
{
    uint64_t head = tern_log_begin(ring);

    for (unsigned i = 0; i < count; i++, head++) {
        uint64_t words[TERN_LOG_WORDS];

        for (unsigned word = 0; word < TERN_LOG_WORDS; word++)
            words[word] = head * TERN_LOG_WORDS + word;
        tern_log_put(ring, head, words);
    }
    tern_log_end(ring, head);
}

static struct tern_log_record records[TERN_LOG_RECORDS];

static void what_is_written_is_read_once_and_in_order(TERN_TEST_STATE)
{
    struct tern_log_ring *ring = aligned_alloc(64, sizeof *ring);
    uint64_t position = 0, lost = 0, seed = 7, next = 0;

    memset(ring, 0, sizeof *ring);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned count;

        write_burst(ring, tern_test_random(&seed) % (TERN_LOG_BURST + 1));
        if (tern_test_random(&seed) % 4 != 0)
            continue;
        count = tern_log_read(ring, &position, records, 1 + tern_test_random(&seed) % 1000, &lost);
        for (unsigned i = 0; i < count; i++)
            assert_int_equal(number_of(&records[i]), next++);
        assert_int_equal(position, next);
    }
    assert_int_equal(lost, 0);
    free(ring);
}

static void what_was_overwritten_is_counted(TERN_TEST_STATE)
{
    struct tern_log_ring *ring = aligned_alloc(64, sizeof *ring);
    uint64_t position = 0, lost = 0;
    unsigned count, written = 0;

    memset(ring, 0, sizeof *ring);
    while (written < 3 * TERN_LOG_RECORDS) {
        write_burst(ring, TERN_LOG_BURST);
        written += TERN_LOG_BURST;
    }
    count = tern_log_read(ring, &position, records, TERN_LOG_RECORDS, &lost);
    /* The oldest burst's slots are those that the writer may be at work on. */
    assert_int_equal(count, TERN_LOG_RECORDS - TERN_LOG_BURST);
    assert_int_equal(lost + count, written);
    assert_int_equal(number_of(&records[0]), lost);
    assert_int_equal(position, written);
    free(ring);
}

static void another_ring_is_read_from_its_beginning(TERN_TEST_STATE)
{
    struct tern_log_ring *ring = aligned_alloc(64, sizeof *ring);
    uint64_t position = 1000, lost = 0;

    memset(ring, 0, sizeof *ring);
    write_burst(ring, 10);
    assert_int_equal(tern_log_read(ring, &position, records, 100, &lost), 10);
    assert_int_equal(lost, 0);
    assert_int_equal(number_of(&records[0]), 0);
    free(ring);
}

static _Atomic bool done;
static _Atomic uint64_t read_up_to;

/* Sometimes just behind what would overwrite the reader's next record, sometimes far past it. */
static void *write_fast(void *argument)
{
    struct tern_log_ring *ring = argument;
    uint64_t seed = 3, lead = 0;

    while (!atomic_load(&done)) {
        if (tern_test_random(&seed) % 64 == 0)
            lead = TERN_LOG_RECORDS / 2 + tern_test_random(&seed) % TERN_LOG_RECORDS;
        while (tern_log_begin(ring) > atomic_load(&read_up_to) + lead && !atomic_load(&done))
            sched_yield();
        write_burst(ring, tern_test_random(&seed) % (TERN_LOG_BURST + 1));
    }
    return NULL;
}

static void a_reader_that_is_lapped_never_sees_a_torn_record(TERN_TEST_STATE)
{
    struct tern_log_ring *ring = aligned_alloc(64, sizeof *ring);
    uint64_t position = 0, lost = 0, seen = 0, next = 0, seed = 11;
    uint64_t give_up_ns = tern_clock_now_ns() + 20000000000u;
    pthread_t writer;

    memset(ring, 0, sizeof *ring);
    assert_int_equal(pthread_create(&writer, NULL, write_fast, ring), 0);
    /* Until both have happened often enough: records read, and records lost before or while they
     * were copied. */
    while ((seen < 300000 || lost < 1000) && tern_clock_now_ns() < give_up_ns) {
        unsigned count = tern_log_read(ring, &position, records,
                                       1 + tern_test_random(&seed) % TERN_LOG_RECORDS, &lost);

        for (unsigned i = 0; i < count; i++) {
            uint64_t number = number_of(&records[i]);

            assert_true(number >= next);
            next = number + 1;
        }
        seen += count;
        atomic_store(&read_up_to, position);
        assert_int_equal(seen + lost, position);
        if (count == 0)
            sched_yield();
    }
    atomic_store(&done, true);
    pthread_join(writer, NULL);
    assert_true(seen >= 300000 && lost >= 1000);
    free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_once_and_in_order),
        cmocka_unit_test(what_was_overwritten_is_counted),
        cmocka_unit_test(another_ring_is_read_from_its_beginning),
        cmocka_unit_test(a_reader_that_is_lapped_never_sees_a_torn_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
