#include "controlplane/ctl/print.h"

#include "controlplane/log.h"
#include "shared/clock.h"

#define BAR_WIDTH 30

const char *tern_print_bytes(char text[TERN_PRINT_TEXT], uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes / 1024;
    unsigned unit = 0;

    if (bytes < 1024) {
        snprintf(text, TERN_PRINT_TEXT, "%llu B", (unsigned long long)bytes);
        return text;
    }
    while (value >= 1024 && unit + 1 < TERN_COUNT(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(text, TERN_PRINT_TEXT, "%.1f %s", value, units[unit]);
    return text;
}

const char *tern_print_count(char text[TERN_PRINT_TEXT], uint64_t count)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    char *to = text;

    for (int i = 0; i < length; i++) {
        if (i != 0 && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

const char *tern_print_ns(char text[TERN_PRINT_TEXT], uint64_t ns)
{
    if (ns < 1000)
        snprintf(text, TERN_PRINT_TEXT, "%llu ns", (unsigned long long)ns);
    else if (ns < 1000000)
        snprintf(text, TERN_PRINT_TEXT, "%.1f µs", (double)ns / 1e3);
    else if (ns < 1000000000)
        snprintf(text, TERN_PRINT_TEXT, "%.1f ms", (double)ns / 1e6);
    else
        snprintf(text, TERN_PRINT_TEXT, "%.1f s", (double)ns / 1e9);
    return text;
}

const char *tern_print_share(char text[TERN_PRINT_TEXT], double share)
{
    double percent = share * 100;

    if (percent == 0)
        snprintf(text, TERN_PRINT_TEXT, "0 %%");
    else if (percent < 0.01)
        snprintf(text, TERN_PRINT_TEXT, "%.4f %%", percent);
    else if (percent < 10)
        snprintf(text, TERN_PRINT_TEXT, "%.2f %%", percent);
    else
        snprintf(text, TERN_PRINT_TEXT, "%.1f %%", percent);
    return text;
}

const char *tern_print_rate(char text[TERN_PRINT_TEXT], double rate)
{
    if (rate == 0)
        snprintf(text, TERN_PRINT_TEXT, "0");
    else if (rate < 10)
        snprintf(text, TERN_PRINT_TEXT, "%.2f", rate);
    else if (rate < 100)
        snprintf(text, TERN_PRINT_TEXT, "%.1f", rate);
    else if (rate < 1e18)
        return tern_print_count(text, (uint64_t)(rate + 0.5));
    else /* the board may hold nonsense */
        snprintf(text, TERN_PRINT_TEXT, "%.1e", rate);
    return text;
}

const char *tern_print_age(char text[TERN_PRINT_TEXT], uint64_t at_us)
{
    uint64_t now_us = tern_clock_wall_us();
    unsigned long long s = now_us > at_us ? (now_us - at_us) / 1000000 : 0;

    if (s < 120)
        snprintf(text, TERN_PRINT_TEXT, "%llu s", s);
    else if (s < 7200)
        snprintf(text, TERN_PRINT_TEXT, "%llu min", s / 60);
    else if (s < 172800)
        snprintf(text, TERN_PRINT_TEXT, "%llu h", s / 3600);
    else
        snprintf(text, TERN_PRINT_TEXT, "%llu d", s / 86400);
    return text;
}

/* Columns a terminal needs for UTF-8 text: continuation bytes take none. */
static unsigned width_of(const char *text)
{
    unsigned width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* A copy fit for a terminal: control characters, which could move the cursor, become '?'. */
static char *clean_copy(const char *text)
{
    char *copy = strdup(text);

    for (char *c = copy; c != NULL && *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return copy;
}

static void add_row(struct tern_print_table *table, const char *const *cells, bool headings)
{
    if (table->rows == table->capacity) {
        unsigned grown = table->capacity == 0 ? 16 : table->capacity * 2;
        char **more = realloc(table->cells, sizeof *more * grown * table->columns);

        if (more == NULL)
            return;
        table->cells = more;
        table->capacity = grown;
    }
    for (unsigned i = 0; i < table->columns; i++) {
        const char *text = cells[i] + (headings && cells[i][0] == '>' ? 1 : 0);
        unsigned width = width_of(text);

        table->cells[table->rows * table->columns + i] = clean_copy(text);
        if (width > table->width[i])
            table->width[i] = width;
    }
    table->rows++;
}

void tern_print_table_begin(struct tern_print_table *table, unsigned columns,
                            const char *const *headings)
{
    assert(columns <= TERN_PRINT_COLUMNS);
    *table = (struct tern_print_table){.columns = columns, .to = stdout};
    for (unsigned i = 0; i < columns; i++)
        table->right[i] = headings[i][0] == '>';
    add_row(table, headings, true);
}

void tern_print_table_row(struct tern_print_table *table, const char *const *cells)
{
    add_row(table, cells, false);
}

static void print_cell(const struct tern_print_table *table, unsigned column, const char *text)
{
    int padding = (int)(table->width[column] - width_of(text));
    bool last = column + 1 == table->columns;

    if (table->right[column])
        fprintf(table->to, "%*s%s", last && text[0] == '\0' ? 0 : padding, "", text);
    else
        fprintf(table->to, "%s%*s", text, last ? 0 : padding, "");
    fputs(last ? "\n" : "  ", table->to);
}

void tern_print_table_end(struct tern_print_table *table)
{
    for (unsigned row = 0; row < table->rows; row++)
        for (unsigned i = 0; i < table->columns; i++) {
            char *text = table->cells[row * table->columns + i];

            if (table->rows > 1)
                print_cell(table, i, text != NULL ? text : "?");
            free(text);
        }
    free(table->cells);
    *table = (struct tern_print_table){0};
}

void tern_print_erase_line(void)
{
    fputs("\r\033[K", stderr);
}

void tern_print_bar(unsigned permille)
{
    unsigned filled = permille * BAR_WIDTH / 1000;

    tern_print_erase_line();
    fputc('[', stderr);
    for (unsigned i = 0; i < BAR_WIDTH; i++)
        fputc(i < filled ? '#' : '.', stderr);
    fprintf(stderr, "] %3u%% ", permille / 10);
}
