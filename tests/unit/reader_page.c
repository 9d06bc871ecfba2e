/* Pages of in-process readers, against the publishing side in one process: locks are per open file
 * description, so a page claimed here looks to the writer like any other process's. */
#include "tests/unit/unit.h"

#include "controlplane/publish/publish.h"
#include "controlplane/publish/reclaim.h"
#include "shared/reader_page.h"
#include "tests/unit/folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char run_dir[FOLDER_PATH];
static struct tern_writer writer;

static const struct tern_writer_numbers no_numbers = {0};

static int setup(TERN_TEST_STATE)
{
    if (folder_make(run_dir) != 0)
        return -1;
    return tern_writer_open(run_dir, 16 << 20, &no_numbers, false, &writer, NULL);
}

static int teardown(TERN_TEST_STATE)
{
    tern_writer_close(&writer);
    return folder_remove(run_dir);
}

static const char *page_path(unsigned index)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/readers/%u", run_dir, index);
    return path;
}

struct holder {
    struct tern_arena arena;
    struct tern_reader_page_map map;
};

static int hold(struct holder *holder, const char *name, struct tern_error *error)
{
    int result = tern_arena_open(run_dir, &holder->arena, error);

    if (result != 0)
        return result;
    result = tern_reader_page_claim(run_dir, &holder->arena, name, &holder->map, error);
    if (result != 0)
        tern_arena_close(&holder->arena);
    return result;
}

static void let_go(struct holder *holder)
{
    tern_reader_page_close(&holder->map);
    tern_arena_close(&holder->arena);
}

/* One more generation, whose section is `fill`; where its root is. */
static uint64_t publish(uint8_t fill)
{
    const struct tern_publish_root root = {.generation = writer.generation + 1};
    struct tern_section section = {.kind = TERN_SECTION_TABLE, .owner = 1};
    uint8_t bytes[10000];
    uint64_t offset;

    memset(bytes, fill, sizeof bytes);
    memset(section.content_hash, fill, sizeof section.content_hash);
    assert_int_equal(tern_writer_put(&writer, bytes, sizeof bytes, &section, NULL), 0);
    assert_int_equal(tern_publish_write(&writer, &section, 1, &root, &offset, NULL), 0);
    tern_publish_announce(&writer, offset);
    tern_publish_swap(&writer, offset);
    return offset;
}

static uint64_t retired(void)
{
    return tern_extents_bytes(&writer.extents, TERN_EXTENT_RETIRED);
}

static void pages_run_out_and_come_back(TERN_TEST_STATE)
{
    struct holder holders[TERN_READERS_MAX], more;
    struct tern_error error = {0};

    for (unsigned i = 0; i < TERN_READERS_MAX; i++) {
        assert_int_equal(hold(&holders[i], "many", &error), 0);
        assert_int_equal(holders[i].map.index, i);
        assert_true(tern_reader_page_is_live(&writer.pages.maps[i]));
    }
    assert_int_equal(hold(&more, "one too many", &error), TERN_EBUSY);
    assert_non_null(strstr(error.message, "64 pages"));
    let_go(&holders[17]);
    assert_false(tern_reader_page_is_live(&writer.pages.maps[17]));
    assert_int_equal(hold(&more, "late", &error), 0);
    assert_int_equal(more.map.index, 17);
    assert_string_equal(writer.pages.maps[17].page->name, "late");
    let_go(&more);
    for (unsigned i = 0; i < TERN_READERS_MAX; i++)
        if (i != 17)
            let_go(&holders[i]);
}

static void a_new_owner_finds_a_clean_page(TERN_TEST_STATE)
{
    struct holder holder;
    int status;
    pid_t child = fork();

    if (child == 0) { /* pins, counts, and dies without a word */
        if (hold(&holder, "short-lived", NULL) != 0)
            _exit(1);
        atomic_store(&holder.map.page->contexts[3].reader.pin, 4096);
        atomic_store(&holder.map.page->contexts[3].decisions, 7);
        atomic_store(&holder.map.page->preparing.epoch, 1);
        abort();
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_false(tern_reader_page_is_live(&writer.pages.maps[0]));
    assert_int_equal(writer.pages.maps[0].page->contexts[3].decisions, 7);
    /* the dead hold nothing */
    publish('a');
    publish('b');
    assert_true(tern_reclaim_collect(&writer) > 0);
    assert_int_equal(retired(), 0);

    assert_int_equal(hold(&holder, "next", NULL), 0);
    assert_int_equal(holder.map.index, 0);
    assert_int_equal(holder.map.page->contexts[3].decisions, 0);
    assert_int_equal(holder.map.page->contexts[3].reader.pin, 0);
    assert_int_equal(holder.map.page->preparing.epoch, TERN_EPOCH_IDLE);
    assert_int_equal(holder.map.page->pid, (uint32_t)getpid());
    let_go(&holder);
}

/* Every place of a page that can hold a pin keeps what the pin reaches, and is named for it. */
static void each_pin_protects(TERN_TEST_STATE)
{
    struct holder holder;
    struct tern_reclaim_holder holders[TERN_RECLAIM_HOLDERS_MAX];

    assert_int_equal(hold(&holder, "holder", NULL), 0);
    for (unsigned place = 0; place < 2 + TERN_READER_CONTEXTS_MAX; place++) {
        struct tern_reader_page *page = holder.map.page;
        struct tern_reader *reader = place == 0   ? &page->preparing
                                     : place == 1 ? &page->prepared
                                                  : &page->contexts[place - 2].reader;

        atomic_store(&reader->pin, publish('p'));
        publish('q');
        tern_reclaim_collect(&writer); /* whatever else there is */
        assert_true(retired() > 10000);
        assert_int_equal(tern_reclaim_holders(&writer, holders), 1);
        assert_int_equal(holders[0].holder, TERN_LOCK_READERS);
        assert_true(holders[0].behind);
        assert_int_equal(holders[0].bytes, retired());
        atomic_store(&reader->pin, 0);
        assert_true(tern_reclaim_collect(&writer) > 0);
        assert_int_equal(retired(), 0);
    }
    /* two threads on the same generation hold it once */
    atomic_store(&holder.map.page->contexts[0].reader.pin, publish('p'));
    atomic_store(&holder.map.page->contexts[1].reader.pin,
                 atomic_load(&holder.map.page->contexts[0].reader.pin));
    publish('q');
    tern_reclaim_collect(&writer);
    assert_int_equal(tern_reclaim_holders(&writer, holders), 1);
    assert_int_equal(holders[0].bytes, retired());
    let_go(&holder);
}

static void an_epoch_in_a_page_protects(TERN_TEST_STATE)
{
    struct holder holder;

    assert_int_equal(hold(&holder, "holder", NULL), 0);
    publish('a');
    tern_reader_enter(&holder.map.page->preparing, tern_arena_envelope(&holder.arena));
    publish('b');
    assert_int_equal(tern_reclaim_collect(&writer), 0);
    tern_reader_leave(&holder.map.page->preparing);
    assert_true(tern_reclaim_collect(&writer) > 0);
    let_go(&holder);
}

/* Whoever maps the arena and does not say what it reads stops reclaim, not publishing: while it
 * joins, while its page is reset, and when the page speaks of another arena. */
static void an_unseen_reader_stops_reclaim(TERN_TEST_STATE)
{
    struct tern_reclaim_holder holders[TERN_RECLAIM_HOLDERS_MAX];
    struct tern_error error = {0};
    struct holder holder;
    uint64_t ready;

    publish('a');
    publish('b');
    assert_int_equal(tern_arena_open(run_dir, &holder.arena, &error), 0);
    assert_int_equal(tern_reclaim_collect(&writer), 0);
    assert_int_equal(tern_reader_page_claim(run_dir, &holder.arena, "joined", &holder.map, &error),
                     0);
    ready = atomic_exchange(&holder.map.page->ready, 0);
    assert_int_equal(tern_reclaim_collect(&writer), 0);
    assert_int_equal(tern_reclaim_holders(&writer, holders), 0);
    atomic_store(&holder.map.page->ready, ready + 2);
    assert_int_equal(tern_reclaim_collect(&writer), 0);
    publish('c');
    atomic_store(&holder.map.page->ready, ready);
    assert_true(tern_reclaim_collect(&writer) > 0);
    let_go(&holder);
}

static void a_nonsense_pin_frees_nothing(TERN_TEST_STATE)
{
    struct holder holder;

    assert_int_equal(hold(&holder, "liar", NULL), 0);
    publish('a');
    publish('b');
    for (uint64_t pin = 1; pin >> 62 == 0; pin = pin << 3 | 1) {
        atomic_store(&holder.map.page->contexts[29].reader.pin, pin);
        assert_int_equal(tern_reclaim_collect(&writer), 0);
    }
    atomic_store(&holder.map.page->contexts[29].reader.pin, 0);
    assert_true(tern_reclaim_collect(&writer) > 0);
    let_go(&holder);
}

static void files_that_are_no_pages(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    struct tern_reader_page_map map;
    struct holder holder;
    struct stat status;
    const uint32_t abi = TERN_READER_PAGE_ABI + 1;
    int fd;

    assert_int_equal(stat(page_path(63), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0660);
    assert_int_equal(status.st_blocks * 512, 4096); /* memory beforehand: no SIGBUS later */

    assert_int_equal(truncate(page_path(1), 100), 0);
    assert_int_equal(tern_reader_page_open(run_dir, 1, &map, &error), TERN_ECORRUPT);
    assert_non_null(strstr(error.message, "readers/1"));
    fd = open(page_path(2), O_WRONLY);
    assert_int_equal(pwrite(fd, &abi, sizeof abi, offsetof(struct tern_reader_page, abi)), 4);
    close(fd);
    assert_int_equal(tern_reader_page_open(run_dir, 2, &map, &error), TERN_EABI);
    assert_non_null(strstr(error.message, "has ABI 2, this build has 1"));
    unlink(page_path(3));
    assert_int_equal(tern_reader_page_open(run_dir, 3, &map, &error), TERN_ENOENT);
    assert_int_equal(symlink("0", page_path(3)), 0);
    assert_true(tern_reader_page_open(run_dir, 3, &map, &error) < 0);
    unlink(page_path(3));

    /* the next tern-control puts all of them right, and what is held stays */
    assert_int_equal(hold(&holder, "stays", &error), 0);
    tern_writer_close(&writer);
    assert_int_equal(tern_writer_open(run_dir, 16 << 20, &no_numbers, false, &writer, &error), 0);
    assert_true(tern_reader_page_is_live(&writer.pages.maps[0]));
    for (unsigned i = 0; i < TERN_READERS_MAX; i++) {
        assert_int_equal(tern_reader_page_open(run_dir, i, &map, &error), 0);
        tern_reader_page_close(&map);
    }
    let_go(&holder);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(pages_run_out_and_come_back),
        T(a_new_owner_finds_a_clean_page),
        T(each_pin_protects),
        T(an_epoch_in_a_page_protects),
        T(an_unseen_reader_stops_reclaim),
        T(a_nonsense_pin_frees_nothing),
        T(files_that_are_no_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
