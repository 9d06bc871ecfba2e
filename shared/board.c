#include "shared/board.h"
#include "shared/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Makes a complete board beside `path` and links it into place; somebody else's winning is success.
 */
static int create_board(const char *path, struct tern_error *error)
{
    char aside[TERN_PATH_MAX + 64];
    struct tern_board *head;
    int fd, result = 0;

    snprintf(aside, sizeof aside, "%s.%ld.new", path, (long)getpid());
    /* What stands under that name is of one who died, or a trap: never opened, never followed. */
    unlink(aside);
    fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0660);
    if (fd < 0)
        return tern_error_system(error, errno, "cannot make %s", aside);
    /* Its group may write whatever our umask is: ternd may be another user, in the same group. */
    if (fchmod(fd, 0660) < 0 || ftruncate(fd, sizeof(struct tern_board)) < 0 ||
        fallocate(fd, 0, 0, TERN_PAGE) < 0) {
        result = tern_error_system(error, errno, "cannot make %s", aside);
        goto out;
    }
    head = mmap(NULL, TERN_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (head == MAP_FAILED) {
        result = tern_error_system(error, errno, "cannot map %s", aside);
        goto out;
    }
    head->abi = TERN_BOARD_ABI;
    head->seat_bytes = sizeof(struct tern_seat);
    atomic_store_explicit(&head->magic, TERN_BOARD_MAGIC, memory_order_release);
    munmap(head, TERN_PAGE);
    if (link(aside, path) < 0 && errno != EEXIST)
        result = tern_error_system(error, errno, "cannot put %s into place", path);
out:
    unlink(aside);
    close(fd);
    return result;
}

/* Opens and checks the board at `path`; `*map` is filled on success. */
static int map_board(const char *path, bool writable, struct tern_board_map *map,
                     struct tern_error *error)
{
    struct tern_board *board;
    struct stat status;
    int fd, result;

    fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %s", path);
    if (fstat(fd, &status) < 0) {
        result = tern_error_system(error, errno, "%s", path);
        goto fail;
    }
    if (status.st_size != (off_t)sizeof(struct tern_board)) {
        result = tern_error_set(error, TERN_EABI, "%s is %lld bytes, this build's board is %zu",
                                path, (long long)status.st_size, sizeof(struct tern_board));
        goto fail;
    }
    board = mmap(NULL, sizeof *board, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                 MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (board == MAP_FAILED) {
        result = tern_error_system(error, errno, "cannot map %s", path);
        goto fail;
    }
    if (atomic_load_explicit(&board->magic, memory_order_acquire) != TERN_BOARD_MAGIC ||
        board->abi != TERN_BOARD_ABI || board->seat_bytes != sizeof(struct tern_seat)) {
        result = tern_error_set(
            error, TERN_EABI, "%s has ABI %u with seats of %u bytes, this build has %u with %zu",
            path, board->abi, board->seat_bytes, TERN_BOARD_ABI, sizeof(struct tern_seat));
        munmap(board, sizeof *board);
        goto fail;
    }
    map->board = board;
    map->fd = fd;
    return 0;

fail:
    close(fd);
    return result;
}

int tern_board_open(const char *run_dir, bool writable, struct tern_board_map *map,
                    struct tern_error *error)
{
    char directory[TERN_PATH_MAX];
    char path[TERN_PATH_MAX + 16];
    int result;

    snprintf(path, sizeof path, "%s/board", run_dir);
    result = map_board(path, writable, map, error);
    if (result != TERN_ENOENT)
        return result;
    result = tern_shm_directory(run_dir, directory, error);
    if (result == 0)
        result = tern_shm_link(run_dir, directory, "board", error);
    if (result != 0)
        return result;
    snprintf(path, sizeof path, "%s/board", directory);
    result = create_board(path, error);
    return result != 0 ? result : map_board(path, writable, map, error);
}

/* Unlinks the board at `path` if nobody holds anything of it. The lock that proves it is let go
 * with the file, so that two who come at once unlink it once. */
static int retire_board(const char *path, struct tern_error *error)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat opened, there;
    int result = 0, fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? 0 : tern_error_system(error, errno, "cannot open %s", path);
    if (fcntl(fd, F_OFD_SETLK, &all) < 0)
        result = TERN_EBUSY;
    else if (fstat(fd, &opened) < 0 || stat(path, &there) < 0 || opened.st_ino != there.st_ino ||
             opened.st_dev != there.st_dev)
        result = 0; /* somebody else was faster */
    else if (unlink(path) < 0)
        result = tern_error_system(error, errno, "cannot remove %s", path);
    close(fd);
    return result;
}

int tern_board_take_over(const char *run_dir, struct tern_board_map *map, struct tern_error *error)
{
    char path[TERN_PATH_MAX + 16], directory[TERN_PATH_MAX];
    int result = tern_board_open(run_dir, false, map, error);

    /* Once more for one that another process puts into place meanwhile; never for ever. */
    for (unsigned attempt = 0; attempt < 3 && result == TERN_EABI; attempt++) {
        int retired;

        if (tern_shm_directory(run_dir, directory, NULL) != 0)
            return result;
        snprintf(path, sizeof path, "%s/board", directory);
        retired = retire_board(path, error);
        if (retired == TERN_EBUSY)
            return result; /* of a process that lives: the message says what is wrong with it */
        if (retired != 0)
            return retired;
        result = tern_board_open(run_dir, false, map, error);
    }
    return result;
}

void tern_board_close(struct tern_board_map *map)
{
    munmap(map->board, sizeof *map->board);
    close(map->fd);
    *map = (struct tern_board_map){.fd = -1};
}

uint64_t tern_seat_ready_value(const uint8_t arena_id[16])
{
    return tern_load_u64(arena_id) | 1; /* never 0 */
}

int tern_seat_attach(struct tern_seat *seat, unsigned index, const struct tern_arena *arena,
                     struct tern_error *error)
{
    int result = tern_lock_byte(arena->fd, F_RDLCK, TERN_LOCK_SEATS + index);

    if (result != 0)
        return tern_error_set(error, result, "cannot take the arena's lock of seat %u", index);
    atomic_store_explicit(&seat->ready, tern_seat_ready_value(arena->arena_id),
                          memory_order_release);
    /* The joining lock goes last: there is no instant at which tern-control sees neither. */
    tern_lock_byte(arena->fd, F_UNLCK, TERN_LOCK_JOINING);
    return 0;
}

/* Field 22 of /proc/self/stat: clock ticks since boot at which this process started. */
static uint64_t own_start_ticks(void)
{
    char text[1024];
    const char *at;
    size_t length;
    FILE *file = fopen("/proc/self/stat", "re");

    if (file == NULL)
        return 0;
    length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    at = strrchr(text, ')'); /* the name may hold spaces and parentheses */
    for (unsigned field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

static off_t seat_offset(unsigned index)
{
    return (off_t)(offsetof(struct tern_board, seats) + index * sizeof(struct tern_seat));
}

/* The slots of a seat's last owner, memory and all. */
static int forget_slots(const struct tern_board_map *map, unsigned index, struct tern_error *error)
{
    const size_t start = offsetof(struct tern_seat, rule_slots);

    if (fallocate(map->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  seat_offset(index) + (off_t)start, (off_t)(sizeof(struct tern_seat) - start)) < 0)
        return tern_error_system(error, errno, "cannot clear the rule slots of seat %u", index);
    return 0;
}

int tern_seat_allocate_slots(const struct tern_board_map *map, unsigned seat, unsigned loop_count,
                             unsigned first, unsigned count, struct tern_error *error)
{
    const off_t base = seat_offset(seat);
    off_t at = base + (off_t)(offsetof(struct tern_seat, rule_slots) +
                              first * sizeof(struct tern_rule_slot));

    assert(first + count <= TERN_RULE_SLOTS && loop_count <= TERN_LOOPS_MAX);
    if (count == 0)
        return 0;
    if (fallocate(map->fd, 0, at, (off_t)(count * sizeof(struct tern_rule_slot))) < 0)
        return tern_error_system(error, errno, "no space for %u rule slots of the board", count);
    for (unsigned i = 0; i < loop_count; i++) {
        at = base + (off_t)(offsetof(struct tern_seat, rule_hits) +
                            ((size_t)i * TERN_RULE_SLOTS + first) * sizeof(uint64_t));
        if (fallocate(map->fd, 0, at, (off_t)(count * sizeof(uint64_t))) < 0)
            return tern_error_system(error, errno, "no space for the hits of %u rules of the board",
                                     count);
    }
    return 0;
}

int tern_seat_claim(struct tern_board_map *map, const struct tern_arena *arena, unsigned loop_count,
                    unsigned *seat_index, struct tern_error *error)
{
    assert(loop_count >= 1 && loop_count <= TERN_LOOPS_MAX);
    for (unsigned i = 0; i < TERN_SEATS_MAX; i++) {
        struct tern_seat *seat = &map->board->seats[i];
        size_t bytes =
            offsetof(struct tern_seat, boards) + loop_count * sizeof(struct tern_loop_board);
        int result = tern_lock_byte(map->fd, F_WRLCK, i);

        if (result == TERN_EBUSY)
            continue;
        if (result != 0)
            return tern_error_set(error, result, "cannot lock seat %u of the board", i);
        /* space first: a full tmpfs is an error here, not SIGBUS at the first count */
        if (fallocate(map->fd, 0, (off_t)((uint8_t *)seat - (uint8_t *)map->board), (off_t)bytes) <
            0) {
            result = tern_error_system(error, errno, "no space for seat %u of the board", i);
            tern_lock_byte(map->fd, F_UNLCK, i);
            return result;
        }
        /* not ready before anything else of the dead owner's is wiped */
        atomic_store_explicit(&seat->ready, 0, memory_order_release);
        atomic_thread_fence(
            memory_order_seq_cst); /* pairs with the acquire of `ready` in reclaim */
        memset((uint8_t *)seat + sizeof seat->ready, 0, bytes - sizeof seat->ready);
        result = forget_slots(map, i, error);
        if (result != 0) {
            tern_lock_byte(map->fd, F_UNLCK, i);
            return result;
        }
        seat->pid = (uint32_t)getpid();
        seat->loop_count = loop_count;
        seat->started_at_us = tern_clock_wall_us();
        seat->start_ticks = own_start_ticks();
        snprintf(seat->build, sizeof seat->build, "%s", TERN_VERSION);
        result = tern_seat_attach(seat, i, arena, error);
        if (result != 0) {
            tern_lock_byte(map->fd, F_UNLCK, i);
            return result;
        }
        *seat_index = i;
        return 0;
    }
    return tern_error_set(error, TERN_EBUSY, "all %u seats of the board are taken", TERN_SEATS_MAX);
}

bool tern_seat_is_live(const struct tern_board_map *map, unsigned index)
{
    return tern_lock_held(map->fd, index);
}
