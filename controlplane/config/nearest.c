#include "controlplane/config/nearest.h"

#define LENGTH_MAX 64u /* names are at most 63 bytes; longer ones are not misspellings */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned smaller = a < b ? a : b;

    return smaller < c ? smaller : c;
}

unsigned tern_nearest_distance(const char *a, size_t a_length, const char *b, size_t b_length,
                               unsigned limit)
{
    unsigned rows[3][LENGTH_MAX + 1]; /* the row before the last, the last, this one, in turn */
    unsigned distance;

    if (a_length > LENGTH_MAX || b_length > LENGTH_MAX)
        return limit + 1;
    for (size_t j = 0; j <= b_length; j++)
        rows[1][j] = (unsigned)j;
    for (size_t i = 1; i <= a_length; i++) {
        unsigned *before = rows[(i - 1) % 3], *last = rows[i % 3], *row = rows[(i + 1) % 3];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            bool same = lower(a[i - 1]) == lower(b[j - 1]);

            row[j] = least(last[j] + 1, row[j - 1] + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]) && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
    }
    distance = rows[(a_length + 1) % 3][b_length];
    return distance > limit ? limit + 1 : distance;
}

void tern_nearest_offer(struct tern_nearest *nearest, const char *name, size_t length)
{
    /* More than two letters in five wrong: a suggestion would only confuse. */
    unsigned limit = (unsigned)(nearest->wanted_length * 2 / 5);
    unsigned distance;

    if (limit == 0)
        limit = 1;
    if (nearest->best != NULL) { /* only a nearer one */
        if (nearest->best_distance == 0)
            return;
        limit = nearest->best_distance - 1;
    }
    distance = tern_nearest_distance(nearest->wanted, nearest->wanted_length, name, length, limit);
    if (distance <= limit && distance < length) {
        nearest->best = name;
        nearest->best_length = length;
        nearest->best_distance = distance;
    }
}

const char *tern_nearest_hint(const struct tern_nearest *nearest, const char *before,
                              char text[TERN_NEAREST_HINT])
{
    text[0] = '\0';
    if (nearest->best != NULL)
        snprintf(text, TERN_NEAREST_HINT, "%sdid you mean '%.*s'?", before,
                 (int)nearest->best_length, nearest->best);
    return text;
}
