/* Prints the tables of docs/shared-memory.md from the headers: `layout` writes Markdown to standard
 * output; scripts/layout-document puts it between the document's markers, or checks that it is
 * there.
 *
 * The layout macros of shared/layout.h, which compile to static asserts everywhere else, here put
 * one entry each into a section of this program; __COUNTER__ keeps the order of the headers. */
#include <stddef.h>
#include <stdint.h>

struct entry {
    int order;
    const char *type;
    const char *field; /* NULL: the size of the struct */
    size_t offset;
    size_t bytes;
};

#define ENTRY_NAME(a, b) ENTRY_JOIN(a, b)
#define ENTRY_JOIN(a, b) a##b
#define ENTRY(order_, type_, field_, offset_, bytes_)                                              \
    static const struct entry ENTRY_NAME(entry_, order_)                                           \
        __attribute__((used, section("layout"), aligned(8))) = {                                   \
            .order = order_, .type = type_, .field = field_, .offset = offset_, .bytes = bytes_}

#define TERN_LAYOUT_SIZE(type, size) ENTRY(__COUNTER__, #type, NULL, 0, sizeof(struct type))
#define TERN_LAYOUT_FIELD(type, field, at)                                                         \
    ENTRY(__COUNTER__, #type, #field, offsetof(struct type, field),                                \
          sizeof(((struct type *)NULL)->field))

#include "shared/board.h"
#include "shared/envelope.h"
#include "shared/histogram.h"
#include "shared/manifest.h"
#include "shared/reader_page.h"
#include "shared/schema.h"
#include "shared/settings.h"

extern const struct entry __start_layout[], __stop_layout[];

static int entry_compare(const void *a, const void *b)
{
    const struct entry *left = *(const struct entry *const *)a;
    const struct entry *right = *(const struct entry *const *)b;

    return left->order < right->order ? -1 : left->order > right->order;
}

static void struct_print(const char *type, const struct entry *const *entries, size_t count)
{
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(entries[i]->type, type) == 0 && entries[i]->field == NULL)
            bytes = entries[i]->bytes;
    }
    printf("\n### struct %s: %zu bytes\n\n| offset | bytes | member |\n|---:|---:|---|\n", type,
           bytes);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(entries[i]->type, type) == 0 && entries[i]->field != NULL)
            printf("| %zu | %zu | `%s` |\n", entries[i]->offset, entries[i]->bytes,
                   entries[i]->field);
    }
}

static void counters_print(void)
{
    printf("\n### struct tern_counters: %zu bytes\n\n| offset | counter | what it counts |\n"
           "|---:|---|---|\n",
           sizeof(struct tern_counters));
#define X(name, text)                                                                              \
    printf("| %zu | `%s` | %s |\n", offsetof(struct tern_counters, name), #name, text);
    TERN_COUNTERS(X)
#undef X
}

static void stages_print(void)
{
    printf("\n### Stages, one histogram each in `tern_loop_board.stages`\n\n| index | stage | "
           "from, to "
           "|\n|---:|---|---|\n");
#define X(name, text) printf("| %d | `%s` | %s |\n", TERN_STAGE_##name, #name, text);
    TERN_STAGES(X)
#undef X
}

int main(void)
{
    size_t count = (size_t)(__stop_layout - __start_layout);
    const struct entry **entries = malloc(count * sizeof *entries);

    if (entries == NULL)
        return 1;
    for (size_t i = 0; i < count; i++)
        entries[i] = &__start_layout[i];
    qsort(entries, count, sizeof *entries, entry_compare);

    printf("| file | magic | ABI |\n|---|---|---:|\n");
    printf("| arena, envelope | 0x%016llx | %u |\n", (unsigned long long)TERN_ENVELOPE_MAGIC,
           TERN_ENVELOPE_ABI);
    printf("| arena, snapshots | | %u |\n", TERN_SNAPSHOT_ABI);
    printf("| board | 0x%016llx | %u |\n", (unsigned long long)TERN_BOARD_MAGIC, TERN_BOARD_ABI);
    printf("| readers/N | | %u |\n", TERN_READER_PAGE_ABI);
    for (size_t i = 0; i < count; i++) {
        bool first = true;

        for (size_t before = 0; before < i; before++)
            first = first && strcmp(entries[before]->type, entries[i]->type) != 0;
        if (!first)
            continue;
        if (strcmp(entries[i]->type, "tern_counters") == 0)
            counters_print();
        else
            struct_print(entries[i]->type, entries, count);
        if (strcmp(entries[i]->type, "tern_counters") == 0)
            stages_print();
    }
    free(entries);
    return 0;
}
