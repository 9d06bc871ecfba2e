#include "controlplane/config/config.h"

#include <stdarg.h>

/* The diagnostics' own copy of `file`; NULL when out of memory. */
static const char *intern_file(struct tern_diagnostics *diagnostics, const char *file)
{
    char **grown;

    for (size_t i = diagnostics->file_count; i-- > 0;)
        if (strcmp(diagnostics->files[i], file) == 0)
            return diagnostics->files[i];
    grown = realloc(diagnostics->files, (diagnostics->file_count + 1) * sizeof *grown);
    if (grown == NULL)
        return NULL;
    diagnostics->files = grown;
    grown[diagnostics->file_count] = strdup(file);
    if (grown[diagnostics->file_count] == NULL)
        return NULL;
    return grown[diagnostics->file_count++];
}

static struct tern_diagnostic *grow(struct tern_diagnostics *diagnostics)
{
    if (diagnostics->count == TERN_DIAGNOSTICS_MAX)
        return NULL;
    if (diagnostics->count == diagnostics->capacity) {
        size_t capacity = diagnostics->capacity == 0 ? 16 : diagnostics->capacity * 2;
        struct tern_diagnostic *items =
            realloc(diagnostics->items, capacity * sizeof *diagnostics->items);

        if (items == NULL)
            return NULL;
        diagnostics->items = items;
        diagnostics->capacity = capacity;
    }
    return &diagnostics->items[diagnostics->count];
}

void tern_diagnostics_add(struct tern_diagnostics *diagnostics, enum tern_severity severity,
                          struct tern_place place, const char *format, ...)
{
    struct tern_diagnostic *item = grow(diagnostics);
    char *message = NULL;
    va_list arguments;

    /* An error counts even when there is no room to say what it is: nobody takes it for success. */
    diagnostics->error_count += severity == TERN_SEVERITY_ERROR;
    place.file = item == NULL ? NULL : intern_file(diagnostics, place.file ? place.file : "");
    if (place.file != NULL) {
        va_start(arguments, format);
        if (vasprintf(&message, format, arguments) < 0)
            message = NULL;
        va_end(arguments);
    }
    if (message == NULL) {
        diagnostics->dropped_count++;
        return;
    }
    *item = (struct tern_diagnostic){severity, place, message};
    diagnostics->count++;
}

static size_t file_index(const struct tern_diagnostics *diagnostics, const char *file)
{
    size_t index = 0;

    while (index < diagnostics->file_count && diagnostics->files[index] != file)
        index++;
    return index;
}

struct entry { /* of the sorted order */
    size_t file;
    const struct tern_diagnostic *item;
};

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;

    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    if (a->item->place.line != b->item->place.line)
        return a->item->place.line < b->item->place.line ? -1 : 1;
    if (a->item->place.column != b->item->place.column)
        return a->item->place.column < b->item->place.column ? -1 : 1;
    return a->item < b->item ? -1 : a->item > b->item; /* in the order they were found */
}

static int print_one(const struct tern_diagnostic *item, struct tern_buffer *out)
{
    const char *severity = item->severity == TERN_SEVERITY_ERROR ? "error" : "warning";

    if (item->place.line == 0)
        return tern_buffer_printf(out, "%s: %s: %s\n", item->place.file, severity, item->message);
    if (item->place.column == 0)
        return tern_buffer_printf(out, "%s:%u: %s: %s\n", item->place.file, item->place.line,
                                  severity, item->message);
    return tern_buffer_printf(out, "%s:%u:%u: %s: %s\n", item->place.file, item->place.line,
                              item->place.column, severity, item->message);
}

int tern_diagnostics_print(const struct tern_diagnostics *diagnostics, struct tern_buffer *out)
{
    struct entry *order = calloc(diagnostics->count + 1, sizeof *order);
    int result = 0;

    if (order == NULL)
        return TERN_ENOMEM;
    for (size_t i = 0; i < diagnostics->count; i++)
        order[i] = (struct entry){file_index(diagnostics, diagnostics->items[i].place.file),
                                  &diagnostics->items[i]};
    qsort(order, diagnostics->count, sizeof *order, compare_entries);
    for (size_t i = 0; result == 0 && i < diagnostics->count; i++)
        result = print_one(order[i].item, out);
    if (result == 0 && diagnostics->dropped_count > 0)
        result = tern_buffer_printf(out, "and %zu more\n", diagnostics->dropped_count);
    free(order);
    return result;
}

struct tern_diagnostics_mark tern_diagnostics_mark(const struct tern_diagnostics *diagnostics)
{
    return (struct tern_diagnostics_mark){diagnostics->count, diagnostics->error_count};
}

void tern_diagnostics_forget(struct tern_diagnostics *diagnostics,
                             const struct tern_diagnostics_mark *mark)
{
    while (diagnostics->count > mark->count)
        free(diagnostics->items[--diagnostics->count].message);
    diagnostics->error_count = mark->error_count;
}

void tern_diagnostics_soften(struct tern_diagnostics *diagnostics,
                             const struct tern_diagnostics_mark *mark)
{
    for (size_t i = mark->count; i < diagnostics->count; i++)
        diagnostics->items[i].severity = TERN_SEVERITY_WARNING;
    diagnostics->error_count = mark->error_count;
}

void tern_diagnostics_free(struct tern_diagnostics *diagnostics)
{
    for (size_t i = 0; i < diagnostics->count; i++)
        free(diagnostics->items[i].message);
    for (size_t i = 0; i < diagnostics->file_count; i++)
        free(diagnostics->files[i]);
    free(diagnostics->items);
    free(diagnostics->files);
    memset(diagnostics, 0, sizeof *diagnostics);
}
