/* The board as ternctl reads it, written by a ternd that has lost its mind: whatever stands in a
 * live seat, looking at it ends, and nothing outside is touched.
 *
 * The input is a list of changes of 14 bytes (part of the seat, 4 bytes of place, 9 of value), the
 * first half before the first look, the rest before the second. */
#include "tests/fuzz/fuzz.h"

#include "controlplane/ctl/figures.h"

#include <fcntl.h>

#define CHANGE_BYTES 14u

static struct tern_board_map board;

static void make_board(void)
{
    struct tern_seat *seat;

    if (board.board != NULL)
        return;
    FUZZ_CHECK(tern_board_open(fuzz_directory(), true, &board, NULL) == 0);
    FUZZ_CHECK(tern_lock_byte(board.fd, F_WRLCK, 0) == 0); /* the seat is live */
    seat = &board.board->seats[0];
    FUZZ_CHECK(fallocate(board.fd, 0, (uint8_t *)seat - (uint8_t *)board.board,
                         sizeof *seat - sizeof seat->rule_hits) == 0);
}

/* The parts of a seat: its head, a loop's board, the names of rules, what they hit. */
static void begin(struct tern_seat *seat)
{
    memset(seat, 0, offsetof(struct tern_seat, boards));
    memset(&seat->boards[0], 0, offsetof(struct tern_loop_board, log));
    memset(seat->rule_slots, 0, 64 * sizeof seat->rule_slots[0]);
    memset(seat->rule_hits[0], 0, 64 * sizeof seat->rule_hits[0][0]);
    atomic_store(&seat->ready, 1);
    seat->loop_count = 1;
}

static void change(struct tern_seat *seat, struct fuzz_input *input)
{
    const struct {
        void *at;
        size_t bytes;
    } parts[] = {{seat, offsetof(struct tern_seat, boards)},
                 {&seat->boards[0], offsetof(struct tern_loop_board, log)},
                 {seat->rule_slots, 64 * sizeof seat->rule_slots[0]},
                 {seat->rule_hits[0], 64 * sizeof seat->rule_hits[0][0]}};
    unsigned part = (unsigned)(fuzz_take(input, 1) % TERN_COUNT(parts));
    size_t place = fuzz_take(input, 4) % (parts[part].bytes - 8);
    unsigned width = (unsigned)(fuzz_take(input, 1) % 8) + 1;
    uint64_t value = fuzz_take(input, 8);

    memcpy((uint8_t *)parts[part].at + place, &value, width);
}

static void tell(FILE *to, const struct tern_rates *rates)
{
    tern_figures_stages(to, &rates->sums, true);
    tern_figures_verdicts(to, &rates->sums);
    tern_figures_loops(to, rates);
    tern_figures_rules(to, rates, 10);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    size_t changes = size / CHANGE_BYTES;
    struct tern_seats before = {0}, after = {0};
    struct tern_rates *rates = NULL;
    struct tern_error error;
    struct tern_seat *seat;
    char *text = NULL;
    size_t length;
    FILE *to;

    make_board();
    seat = &board.board->seats[0];
    begin(seat);
    for (size_t i = 0; i < changes / 2; i++)
        change(seat, &input);
    FUZZ_CHECK(tern_seats_read_rules(fuzz_directory(), &before, &error) == 0);
    for (size_t i = changes / 2; i < changes; i++)
        change(seat, &input);
    FUZZ_CHECK(tern_seats_read_rules(fuzz_directory(), &after, &error) == 0);
    FUZZ_CHECK(after.count <= 1);
    for (unsigned i = 0; i < after.count; i++)
        for (unsigned k = 0; k < after.items[i].rule_count; k++)
            FUZZ_CHECK(memchr(after.items[i].rules[k].id, 0, sizeof after.items[i].rules[k].id) !=
                       NULL);
    FUZZ_CHECK(tern_rates_between(&before, &after, &rates) == 0);
    to = open_memstream(&text, &length);
    FUZZ_CHECK(to != NULL);
    tell(to, rates);
    fclose(to);
    free(text);
    tern_rates_free(rates);
    tern_seats_free(&before);
    tern_seats_free(&after);
    return 0;
}
