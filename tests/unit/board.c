#include "tests/unit/unit.h"

#include "controlplane/publish/writer.h"
#include "shared/board.h"
#include "tests/unit/folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char run_dir[FOLDER_PATH];
static struct tern_writer writer;

static int setup(TERN_TEST_STATE)
{
    const struct tern_writer_numbers numbers = {0};

    if (folder_make(run_dir) != 0)
        return -1;
    return tern_writer_open(run_dir, 16 << 20, &numbers, false, &writer, NULL);
}

static int teardown(TERN_TEST_STATE)
{
    tern_writer_close(&writer);
    return folder_remove(run_dir);
}

static void seats_run_out_and_come_back(TERN_TEST_STATE)
{
    struct tern_board_map maps[TERN_SEATS_MAX + 1];
    struct tern_arena arenas[TERN_SEATS_MAX + 1];
    struct tern_error error = {0};
    unsigned seat;

    for (unsigned i = 0; i <= TERN_SEATS_MAX; i++) {
        assert_int_equal(tern_board_open(run_dir, true, &maps[i], NULL), 0);
        assert_int_equal(tern_arena_open(run_dir, &arenas[i], NULL), 0);
        if (i < TERN_SEATS_MAX) {
            assert_int_equal(tern_seat_claim(&maps[i], &arenas[i], 1, &seat, NULL), 0);
            assert_int_equal(seat, i);
            assert_true(tern_seat_is_live(&writer.board, i));
        }
    }
    assert_int_equal(tern_seat_claim(&maps[16], &arenas[16], 1, &seat, &error), TERN_EBUSY);
    assert_non_null(strstr(error.message, "16 seats"));
    tern_board_close(&maps[5]);
    tern_arena_close(&arenas[5]);
    assert_false(tern_seat_is_live(&writer.board, 5));
    assert_int_equal(tern_seat_claim(&maps[16], &arenas[16], 3, &seat, NULL), 0);
    assert_int_equal(seat, 5);
    for (unsigned i = 0; i <= TERN_SEATS_MAX; i++)
        if (i != 5) {
            tern_board_close(&maps[i]);
            tern_arena_close(&arenas[i]);
        }
}

static void a_new_owner_finds_a_clean_seat(TERN_TEST_STATE)
{
    int ready[2], status;
    struct tern_board_map map;
    struct tern_arena arena;
    struct tern_seat *seat;
    unsigned index;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) { /* claims, counts, and dies without a word */
        if (tern_board_open(run_dir, true, &map, NULL) != 0 ||
            tern_arena_open(run_dir, &arena, NULL) != 0 ||
            tern_seat_claim(&map, &arena, 2, &index, NULL) != 0)
            _exit(1);
        seat = &map.board->seats[index];
        tern_counter_add(&seat->boards[1].counters.decisions, 7);
        atomic_store(&seat->loops[1].pin, 4096);
        atomic_store(&seat->answer_seq, 99);
        if (tern_seat_allocate_slots(&map, index, 2, 0, 512, NULL) != 0)
            _exit(1);
        atomic_store(&seat->rule_slot_count, 2);
        atomic_store(&seat->rule_hits[1][1], 5);
        seat->rule_slots[1].kind = TERN_RULE_SLOT_LIVE;
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        abort();
    }
    assert_int_equal(read(ready[0], &(char){0}, 1), 1);
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_false(tern_seat_is_live(&writer.board, 0));
    assert_int_equal(writer.board.board->seats[0].boards[1].counters.decisions, 7);

    assert_int_equal(tern_board_open(run_dir, true, &map, NULL), 0);
    assert_int_equal(tern_arena_open(run_dir, &arena, NULL), 0);
    assert_int_equal(tern_seat_claim(&map, &arena, 2, &index, NULL), 0);
    assert_int_equal(index, 0);
    seat = &map.board->seats[0];
    assert_int_equal(seat->boards[1].counters.decisions, 0);
    assert_int_equal(seat->loops[1].pin, 0);
    assert_int_equal(seat->answer_seq, 0);
    assert_int_equal(seat->rule_slot_count, 0);
    assert_int_equal(seat->rule_hits[1][1], 0);
    assert_int_equal(seat->rule_slots[1].kind, TERN_RULE_SLOT_NONE);
    assert_int_equal(seat->pid, (uint32_t)getpid());
    assert_int_equal(seat->ready, tern_seat_ready_value(arena.arena_id));
    tern_board_close(&map);
    tern_arena_close(&arena);
    close(ready[0]);
    close(ready[1]);
}

static void another_builds_board_is_refused(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    struct tern_board_map map;
    char path[128];

    snprintf(path, sizeof path, "%s/board", run_dir);
    assert_int_equal(truncate(path, 4096 * 3), 0);
    assert_int_equal(tern_board_open(run_dir, true, &map, &error), TERN_EABI);
    assert_non_null(strstr(error.message, "12288"));
    unlink(path);
}

static void another_builds_board_gives_way_once_nobody_holds_it(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    struct tern_board_map map;
    struct stat before, after;
    char path[128];
    int holder;

    snprintf(path, sizeof path, "%s/board", run_dir);
    assert_int_equal(truncate(path, 4096 * 3), 0);
    holder = open(path, O_RDWR | O_CLOEXEC);
    assert_true(holder >= 0);
    assert_int_equal(tern_lock_byte(holder, F_WRLCK, 7), 0);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(tern_board_take_over(run_dir, &map, &error), TERN_EABI);
    assert_non_null(strstr(error.message, "12288"));
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);

    close(holder);
    assert_int_equal(tern_board_take_over(run_dir, &map, &error), 0);
    assert_int_equal(map.board->abi, TERN_BOARD_ABI);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, sizeof(struct tern_board));
    tern_board_close(&map);
    /* one of ours is left alone */
    before = after;
    assert_int_equal(tern_board_take_over(run_dir, &map, &error), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    tern_board_close(&map);
}

/* A link left where a board is made aside must not lead the maker to somebody else's file. */
static void a_link_in_the_way_is_not_followed(TERN_TEST_STATE)
{
    char victim[96], trap[96], board[96], text[16] = "";
    struct tern_board_map map;
    FILE *file;

    snprintf(victim, sizeof victim, "%s/victim", run_dir);
    snprintf(board, sizeof board, "%s/board", run_dir);
    snprintf(trap, sizeof trap, "%s/board.%ld.new", run_dir, (long)getpid());
    file = fopen(victim, "w");
    assert_non_null(file);
    fputs("untouched", file);
    fclose(file);
    assert_int_equal(unlink(board), 0);
    assert_int_equal(symlink(victim, trap), 0);
    assert_int_equal(tern_board_open(run_dir, true, &map, NULL), 0);
    tern_board_close(&map);
    file = fopen(victim, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "untouched");
    assert_int_not_equal(access(trap, F_OK), 0);
}

static void arenas_that_are_none_are_refused(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    struct tern_arena arena;
    char path[128], elsewhere[] = "/tmp/tern-arena-XXXXXX";
    FILE *file;

    assert_true(mkdtemp(elsewhere) != NULL);
    assert_int_equal(tern_arena_open(elsewhere, &arena, &error), TERN_ENOENT);
    snprintf(path, sizeof path, "%s/arena", elsewhere);
    file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(truncate(path, 16 << 20), 0);
    assert_true(tern_arena_open(elsewhere, &arena, &error) < 0);
    unlink(path);
    rmdir(elsewhere);
    /* a foreign magic, on tmpfs */
    writer.envelope->magic++;
    assert_int_equal(tern_arena_open(run_dir, &arena, &error), TERN_ENOENT);
    writer.envelope->magic--;
    writer.envelope->abi++;
    assert_int_equal(tern_arena_open(run_dir, &arena, &error), TERN_EABI);
    writer.envelope->abi--;
    assert_int_equal(tern_arena_open(run_dir, &arena, &error), 0);
    assert_null(tern_arena_at(&arena, 0, 8, 8)); /* the envelope is no section */
    assert_null(tern_arena_at(&arena, UINT64_MAX - 7, 16, 8));
    assert_null(tern_arena_at(&arena, 4096, 1, 1)); /* past the high-water mark */
    tern_arena_close(&arena);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(seats_run_out_and_come_back),
        T(a_new_owner_finds_a_clean_seat),
        T(another_builds_board_is_refused),
        T(another_builds_board_gives_way_once_nobody_holds_it),
        T(a_link_in_the_way_is_not_followed),
        T(arenas_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
