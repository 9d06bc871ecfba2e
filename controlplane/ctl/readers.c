/* ternctl readers: who maps the arena and what each of them uses, from the board and the pages of
 * in-process readers themselves; tern-control is not asked. */
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/seats.h"
#include "controlplane/log.h"
#include "shared/clock.h"
#include "shared/reader_page.h"

struct page_copy {
    unsigned index;
    struct tern_reader_page page;
};

struct pages {
    unsigned count;
    struct page_copy items[TERN_READERS_MAX];
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* Copies the pages that live processes hold. An instance without any (an older tern-control's) has
 * no such readers. */
static void read_pages(const char *run_dir, struct pages *pages)
{
    pages->count = 0;
    for (unsigned i = 0; i < TERN_READERS_MAX; i++) {
        struct tern_reader_page_map map;
        struct page_copy *copy = &pages->items[pages->count];

        if (tern_reader_page_open(run_dir, i, &map, NULL) != 0)
            continue;
        /* `ready` is stored last by the claimer; it pairs with this acquire. */
        if (tern_reader_page_is_live(&map) &&
            atomic_load_explicit(&map.page->ready, memory_order_acquire) != 0) {
            copy->index = i;
            memcpy(&copy->page, map.page, sizeof copy->page);
            copy->page.name[TERN_READER_NAME_MAX] = '\0';
            pages->count++;
        }
        tern_reader_page_close(&map);
    }
}

static void context_json(struct tern_json *json, const struct tern_reader_context *context)
{
    tern_json_object(json, NULL);
    tern_json_u64(json, "pin", load(&context->reader.pin));
    tern_json_u64(json, "generation", load(&context->reader.generation));
    tern_json_u64(json, "decisions", load(&context->decisions));
    tern_json_u64(json, "allowed", load(&context->actions[0]));
    tern_json_u64(json, "denied", load(&context->actions[1]));
    tern_json_u64(json, "challenged", load(&context->actions[2]));
    tern_json_u64(json, "undecided", load(&context->actions[3]));
    tern_json_u64(json, "lookups", load(&context->lookups));
    tern_json_u64(json, "refused", load(&context->refused));
    tern_json_object_end(json);
}

static bool is_used(const struct tern_reader_context *context)
{
    return load(&context->reader.pin) != 0 || load(&context->decisions) != 0;
}

static void pages_json(struct tern_json *json, const struct pages *pages)
{
    tern_json_array(json, "pages");
    for (unsigned i = 0; i < pages->count; i++) {
        const struct page_copy *copy = &pages->items[i];

        tern_json_object(json, NULL);
        tern_json_u64(json, "page", copy->index);
        tern_json_u64(json, "pid", copy->page.pid);
        tern_json_string(json, "name", copy->page.name);
        tern_json_time(json, "started_at", copy->page.started_at_us);
        tern_json_u64(json, "prepared", load(&copy->page.prepared.generation));
        tern_json_array(json, "contexts");
        for (unsigned c = 0; c < TERN_READER_CONTEXTS_MAX; c++)
            if (is_used(&copy->page.contexts[c]))
                context_json(json, &copy->page.contexts[c]);
        tern_json_array_end(json);
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
}

static void print_pages(const struct pages *pages)
{
    static const char *const headings[] = {">page",       ">pid", "name",       ">context",
                                           ">generation", ">pin", ">decisions", ">lookups"};
    struct tern_print_table table;

    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (unsigned i = 0; i < pages->count; i++)
        for (unsigned c = 0; c < TERN_READER_CONTEXTS_MAX; c++) {
            const struct page_copy *copy = &pages->items[i];
            const struct tern_reader_context *context = &copy->page.contexts[c];
            char number[TERN_PRINT_TEXT], pid[TERN_PRINT_TEXT], index[TERN_PRINT_TEXT];
            char generation[TERN_PRINT_TEXT], pin[TERN_PRINT_TEXT], decisions[TERN_PRINT_TEXT];
            char lookups[TERN_PRINT_TEXT];

            if (c != 0 && !is_used(context))
                continue;
            snprintf(number, sizeof number, "%u", copy->index);
            snprintf(pid, sizeof pid, "%u", copy->page.pid);
            snprintf(index, sizeof index, "%u", c);
            snprintf(generation, sizeof generation, "%llu",
                     (unsigned long long)load(&context->reader.generation));
            snprintf(pin, sizeof pin, "%#llx", (unsigned long long)load(&context->reader.pin));
            tern_print_table_row(&table, (const char *const[]){
                                             number, pid, copy->page.name, index, generation, pin,
                                             tern_print_count(decisions, load(&context->decisions)),
                                             tern_print_count(lookups, load(&context->lookups))});
        }
    tern_print_table_end(&table);
}

static void readers_json(const struct tern_seats *seats, const struct pages *pages, uint64_t now_us)
{
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_array(&json, "seats");
    for (unsigned i = 0; i < seats->count; i++) {
        const struct tern_seat_copy *seat = &seats->items[i];

        tern_json_object(&json, NULL);
        tern_json_u64(&json, "seat", seat->seat);
        tern_json_u64(&json, "pid", seat->pid);
        tern_json_u64(&json, "generation", seat->generation);
        tern_json_string(&json, "backend", seat->backend);
        tern_json_string(&json, "backend_reason", seat->backend_reason);
        tern_json_array(&json, "loops");
        for (unsigned l = 0; l < seat->loop_count; l++) {
            const struct tern_seat_loop *loop = &seat->loops[l];

            tern_json_object(&json, NULL);
            tern_json_u64(&json, "epoch", loop->epoch);
            tern_json_u64(&json, "pin", loop->pin);
            tern_json_u64(&json, "generation", loop->generation);
            tern_json_double(
                &json, "heartbeat_age_ms",
                now_us > loop->heartbeat_us ? (double)(now_us - loop->heartbeat_us) / 1000 : 0);
            tern_json_object_end(&json);
        }
        tern_json_array_end(&json);
        tern_json_object_end(&json);
    }
    tern_json_array_end(&json);
    pages_json(&json, pages);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static void print_readers(const struct tern_seats *seats, uint64_t now_us)
{
    static const char *const headings[] = {">seat",       ">pid",   "backend", ">loop",
                                           ">generation", ">epoch", ">pin",    ">heartbeat"};
    struct tern_print_table table;

    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (unsigned i = 0; i < seats->count; i++)
        for (unsigned l = 0; l < seats->items[i].loop_count; l++) {
            const struct tern_seat_copy *seat = &seats->items[i];
            const struct tern_seat_loop *loop = &seat->loops[l];
            char number[TERN_PRINT_TEXT], pid[TERN_PRINT_TEXT], index[TERN_PRINT_TEXT];
            char generation[TERN_PRINT_TEXT], epoch[TERN_PRINT_TEXT], pin[TERN_PRINT_TEXT];
            char age[TERN_PRINT_TEXT];
            uint64_t age_us = now_us > loop->heartbeat_us ? now_us - loop->heartbeat_us : 0;

            snprintf(number, sizeof number, "%u", seat->seat);
            snprintf(pid, sizeof pid, "%u", seat->pid);
            snprintf(index, sizeof index, "%u", l);
            snprintf(generation, sizeof generation, "%llu", (unsigned long long)loop->generation);
            snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)loop->epoch);
            snprintf(pin, sizeof pin, "%#llx", (unsigned long long)loop->pin);
            tern_print_table_row(
                &table, (const char *const[]){number, pid, seat->backend, index, generation,
                                              loop->epoch == TERN_EPOCH_IDLE ? "idle" : epoch, pin,
                                              tern_print_ns(age, age_us * 1000)});
        }
    tern_print_table_end(&table);
    if (seats->count == 0)
        puts("no ternd is alive");
}

int tern_ctl_readers(const struct tern_invocation *invocation)
{
    struct tern_seats seats = {0};
    struct pages *pages = calloc(1, sizeof *pages);
    uint64_t now_us = tern_clock_now_us();
    char *run_dir = NULL;
    struct tern_error error;
    int code = TERN_EXIT_OK;

    if (pages == NULL)
        tern_error_set(&error, TERN_ENOMEM, "out of memory");
    if (pages == NULL || tern_instance_find(invocation, &run_dir, &error) != 0 ||
        tern_seats_read(run_dir, &seats, &error) != 0) {
        code = tern_ctl_fail(&error);
    } else {
        read_pages(run_dir, pages);
        if (invocation->json) {
            readers_json(&seats, pages, now_us);
        } else {
            print_readers(&seats, now_us);
            if (pages->count != 0)
                putchar('\n');
            print_pages(pages);
        }
    }
    tern_seats_free(&seats);
    free(run_dir);
    free(pages);
    return code;
}
