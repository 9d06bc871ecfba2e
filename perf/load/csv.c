#include "perf/load/csv.h"

#include <errno.h>

int load_csv_open(const char *path, struct load_csv *csv, struct tern_error *error)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    size_t capacity = 1 << 16;
    size_t got;

    *csv = (struct load_csv){0};
    if (file == NULL)
        return tern_error_system(error, errno, "%s", path);
    csv->text = malloc(capacity);
    while (csv->text != NULL &&
           (got = fread(csv->text + csv->length, 1, capacity - csv->length - 1, file)) > 0) {
        csv->length += got;
        if (csv->length + 1 == capacity) {
            char *larger = realloc(csv->text, capacity * 2);

            if (larger == NULL)
                free(csv->text);
            csv->text = larger;
            capacity *= 2;
        }
    }
    if (file != stdin)
        fclose(file);
    if (csv->text == NULL)
        return tern_error_set(error, TERN_ENOMEM, "%s: no memory", path);
    csv->text[csv->length] = '\0';
    return 0;
}

void load_csv_free(struct load_csv *csv)
{
    free(csv->text);
    csv->text = NULL;
}

/* One quoted cell, unquoted where it stands; `at` is past the opening quote. */
static int read_quoted(struct load_csv *csv, unsigned cell, struct tern_error *error)
{
    unsigned line = csv->line;
    size_t from = csv->at, to = csv->at;

    for (; csv->at < csv->length; csv->at++) {
        char c = csv->text[csv->at];

        if (c == '"') {
            if (csv->text[csv->at + 1] != '"') {
                csv->at++;
                csv->cells[cell] = csv->text + from;
                csv->lengths[cell] = to - from;
                return 0;
            }
            csv->at++;
        }
        csv->line += c == '\n';
        csv->text[to++] = c;
    }
    return tern_error_set(error, TERN_EINVAL, "line %u: a quote is not closed", line);
}

int load_csv_next(struct load_csv *csv, struct tern_error *error)
{
    csv->line++;
    while (csv->at < csv->length && (csv->text[csv->at] == '\n' || csv->text[csv->at] == '\r')) {
        csv->line += csv->text[csv->at] == '\n';
        csv->at++;
    }
    if (csv->at >= csv->length)
        return 0;
    for (csv->count = 0;; csv->count++) {
        char end;

        if (csv->count == LOAD_CSV_COLUMNS)
            return tern_error_set(error, TERN_EINVAL, "line %u: over %u columns", csv->line,
                                  LOAD_CSV_COLUMNS);
        if (csv->text[csv->at] == '"') {
            csv->at++;
            if (read_quoted(csv, csv->count, error) != 0)
                return TERN_EINVAL;
        } else {
            size_t length = strcspn(csv->text + csv->at, ",\r\n");

            csv->cells[csv->count] = csv->text + csv->at;
            csv->lengths[csv->count] = length;
            csv->at += length;
        }
        end = csv->text[csv->at];
        if (end == ',') {
            csv->at++;
            continue;
        }
        csv->count++;
        if (end == '\r')
            csv->at++;
        if (csv->at < csv->length && csv->text[csv->at] != '\n')
            return tern_error_set(error, TERN_EINVAL, "line %u: text after a closing quote",
                                  csv->line);
        csv->at++;
        return 1;
    }
}
