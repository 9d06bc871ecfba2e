/* Rows of a CSV source: what the header names, and each row's cells parsed by it. */
#include "controlplane/build/load_private.h"

#include "controlplane/build/csv.h"
#include "controlplane/config/nearest.h"

#include <limits.h>

#define COLUMN_MISSING UINT_MAX

struct reading {
    struct tern_loading *loading;
    /* Where the header says things are; COLUMN_MISSING when it does not. */
    unsigned key, start, end, cidr;
    unsigned columns[TERN_COLUMNS_MAX];
    unsigned header_count;
    struct tern_csv csv;
};

static unsigned find_column(const struct reading *reading, const char *name, size_t length)
{
    for (unsigned i = 0; i < reading->csv.count; i++)
        if (reading->csv.cells[i].length == length &&
            memcmp(reading->csv.cells[i].text, name, length) == 0)
            return i;
    return COLUMN_MISSING;
}

/* The column of that name; a report when there is none or more than one. */
static unsigned need_column(struct reading *reading, const struct tern_text *name)
{
    struct tern_nearest nearest = {.wanted = name->text, .wanted_length = name->length};
    unsigned found = find_column(reading, name->text, name->length);
    char hint[TERN_NEAREST_HINT];

    for (unsigned i = 0; i < reading->csv.count; i++) {
        const struct tern_csv_cell *cell = &reading->csv.cells[i];

        tern_nearest_offer(&nearest, (const char *)cell->text, cell->length);
        if (found != COLUMN_MISSING && i > found && cell->length == name->length &&
            memcmp(cell->text, name->text, name->length) == 0)
            tern_loading_give_up(
                reading->loading,
                tern_loading_place(reading->loading, reading->csv.line, cell->column), TERN_EINVAL,
                "the header has column '%s' twice", name->text);
    }
    if (found == COLUMN_MISSING)
        tern_loading_give_up(reading->loading, name->place, TERN_EINVAL, "%s has no column '%s'%s",
                             reading->loading->table->source.text, name->text,
                             tern_nearest_hint(&nearest, "; ", hint));
    return found;
}

static int read_header(struct reading *reading)
{
    const struct tern_config_table *table = reading->loading->table;
    size_t errors = reading->loading->diagnostics->error_count;

    reading->header_count = reading->csv.count;
    if (table->kind == TERN_TABLE_PREFIX_MAP) {
        reading->start = find_column(reading, "start", 5);
        reading->end = find_column(reading, "end", 3);
        reading->cidr = find_column(reading, "cidr", 4);
        if (reading->cidr == COLUMN_MISSING &&
            (reading->start == COLUMN_MISSING || reading->end == COLUMN_MISSING))
            return tern_loading_give_up(
                reading->loading, tern_loading_place(reading->loading, reading->csv.line, 1),
                TERN_EINVAL, "the header row of a prefix_map names 'start' and 'end', or 'cidr'");
    } else {
        reading->key = need_column(reading, &table->key);
    }
    for (unsigned i = 0; i < table->column_count; i++)
        reading->columns[i] = need_column(reading, &table->columns[i].from);
    return reading->loading->diagnostics->error_count == errors ? 0 : TERN_EINVAL;
}

static void add_bad_cell(struct reading *reading, unsigned index, const char *name,
                         const struct tern_error *reason)
{
    const struct tern_csv_cell *cell = &reading->csv.cells[index];
    char message[640];

    snprintf(message, sizeof message, "column '%.64s': %s", name, reason->message);
    tern_loading_add_bad_row(reading->loading, reading->csv.line + cell->lines, cell->column,
                             message);
}

static int parse_range(struct reading *reading, struct tern_address_range *range)
{
    const struct tern_csv_cell *cells = reading->csv.cells;
    struct tern_error reason;
    int result;

    if (reading->cidr != COLUMN_MISSING) {
        const struct tern_csv_cell *cidr = &cells[reading->cidr];

        result = tern_key_parse_prefix(cidr->text, cidr->length, range, &reason);
        if (result != 0)
            add_bad_cell(reading, reading->cidr, "cidr", &reason);
        return result;
    }
    result =
        tern_key_parse_range(cells[reading->start].text, cells[reading->start].length,
                             cells[reading->end].text, cells[reading->end].length, range, &reason);
    if (result != 0)
        tern_loading_add_bad_row(reading->loading, reading->csv.line + cells[reading->start].lines,
                                 cells[reading->start].column, reason.message);
    return result;
}

/* Parses the columns into `values`; false after a bad row. */
static bool parse_columns(struct reading *reading, union tern_value *values, uint64_t *present)
{
    const struct tern_config_table *table = reading->loading->table;
    struct tern_error reason;

    *present = 0;
    for (unsigned i = 0; i < table->column_count; i++) {
        const struct tern_csv_cell *cell = &reading->csv.cells[reading->columns[i]];

        if (cell->length == 0)
            continue; /* missing */
        if (tern_cell_parse(table->columns[i].type, table->columns[i].flags, cell->text,
                            cell->length, reading->loading->spaces[i + 1], &values[i],
                            &reason) != 0) {
            add_bad_cell(reading, reading->columns[i], table->columns[i].from.text, &reason);
            return false;
        }
        *present |= 1ull << i;
    }
    return true;
}

static int add_map_row(struct reading *reading)
{
    const struct tern_config_table *table = reading->loading->table;
    union tern_value values[TERN_COLUMNS_MAX];
    struct tern_address_range range;
    struct tern_error reason;
    union tern_value key;
    uint64_t present;

    if (table->kind == TERN_TABLE_PREFIX_MAP) {
        if (parse_range(reading, &range) != 0)
            return 0;
    } else if (tern_key_parse(table->key_type, table->key_flags,
                              reading->csv.cells[reading->key].text,
                              reading->csv.cells[reading->key].length, reading->loading->spaces[0],
                              &key, &reason) != 0) {
        add_bad_cell(reading, reading->key, table->key.text, &reason);
        return 0;
    }
    if (!parse_columns(reading, values, &present))
        return 0;
    return tern_loading_add_row(reading->loading, &key,
                                table->kind == TERN_TABLE_PREFIX_MAP ? &range : NULL, values,
                                present);
}

static int add_csv_row(struct reading *reading)
{
    const struct tern_csv_cell *cell;

    if (reading->csv.count != reading->header_count) {
        char message[128];

        snprintf(message, sizeof message, "the row has %u cells, the header %u", reading->csv.count,
                 reading->header_count);
        tern_loading_add_bad_row(reading->loading, reading->csv.line, 0, message);
        return 0;
    }
    if (reading->loading->table->column_count > 0)
        return add_map_row(reading);
    cell = &reading->csv.cells[reading->key];
    return tern_loading_add_set_row(reading->loading, cell->text, cell->length,
                                    reading->csv.line + cell->lines, cell->column);
}

int tern_loading_read_csv(struct tern_loading *loading)
{
    struct reading reading = {.loading = loading};
    struct tern_csv *csv = &reading.csv;
    struct tern_error reason;
    int result = tern_csv_next(&loading->source, csv, &reason);

    if (result == 0)
        return tern_loading_give_up(loading, tern_loading_place(loading, 0, 0), TERN_EINVAL,
                                    "is empty; a CSV source begins with a header row");
    if (result == 1) {
        int header = read_header(&reading);

        if (header != 0)
            return header;
    }
    /* The header refused is the end; another row is only left out. */
    while (result == 1 || (result == TERN_EREFUSED && reading.header_count > 0)) {
        result = tern_csv_next(&loading->source, csv, &reason);
        if (result == TERN_EREFUSED)
            tern_loading_add_bad_row(loading, csv->error_line, csv->error_column, reason.message);
        if (result == 1) {
            int added = add_csv_row(&reading);

            if (added != 0)
                return added;
        }
    }
    if (result == TERN_EINVAL || result == TERN_EREFUSED)
        return tern_loading_give_up(loading,
                                    tern_loading_place(loading, csv->error_line, csv->error_column),
                                    TERN_EINVAL, "%s", reason.message);
    return result == 0 ? 0 : tern_loading_give_up_source(loading, result, &reason);
}
