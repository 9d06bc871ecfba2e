/* Searches in its own process: what resembles a vector, and what it carries.
 *
 *     local_search RUN_DIR COLLECTION K [FILTER] < vectors
 *
 * One vector a line, its numbers between blanks or commas. For each, up to K lines of id, score and
 * payload, the best first, and an empty line.
 *
 *     $ echo '0.2 0.9 0.1' | local_search /run/tern/edge docs 2 'tenant == 7'
 *     41 0.9731 label=fraud tenant=7
 *     12 0.8802 tenant=7 */
#include "clients/c/tern_local.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Types of values, docs/protocol.md. */
enum { NONE = 0, STRING = 2, U64, I64, F32, BOOL, U32 = 8 };

static void print_value(const struct tern_client_column *value)
{
    uint64_t number = 0;
    float real;

    if (value->type == STRING) {
        fwrite(value->value, 1, value->length, stdout);
        return;
    }
    memcpy(&number, value->value, value->length); /* little-endian, as this machine is */
    if (value->type == F32) {
        memcpy(&real, value->value, sizeof real);
        printf("%g", (double)real);
    } else if (value->type == I64) {
        printf("%" PRId64, (int64_t)number);
    } else {
        printf("%" PRIu64, number);
    }
}

static void print_hit(const struct tern_local_context *context, const struct tern_client_hit *hit,
                      unsigned number)
{
    printf("%" PRIu64 " %.4f", hit->id, (double)hit->score);
    for (unsigned column = 0; column < tern_local_payload_columns(context); column++) {
        struct tern_client_column value;
        const char *name;
        size_t length;

        if (tern_local_payload(context, number, column, &value) != 0 || value.type == NONE ||
            tern_local_payload_name(context, column, &name, &length) != 0)
            continue;
        printf(" %.*s=", (int)length, name);
        print_value(&value);
    }
    putchar('\n');
}

/* How many numbers there are on the line, at most `most`; 0 when something else is. */
static uint32_t read_vector(const char *line, float *vector, uint32_t most)
{
    uint32_t count = 0;

    while (line[strspn(line, " ,\t\n")] != '\0' && count < most) {
        char *end;

        line += strspn(line, " ,\t\n");
        vector[count++] = strtof(line, &end);
        if (end == line)
            return 0;
        line = end;
    }
    return count;
}

static void search_lines(struct tern_local_context *context, struct tern_client_search *search,
                         float *vector, struct tern_client_hit *hits)
{
    static char line[1 << 18];
    struct tern_error error;
    unsigned count;

    search->vector = vector;
    while (fgets(line, sizeof line, stdin) != NULL) {
        /* A collection that was built anew is another one: adopt it, as any generation. */
        if (tern_local_refresh(context, &error) < 0)
            fprintf(stderr, "%s\n", error.message);
        search->dim = read_vector(line, vector, 16000);
        count = 0;
        if (search->dim == 0)
            printf("error: no numbers\n");
        else if (tern_local_search(context, search, hits, &count, &error) != 0)
            printf("error: %s\n", error.message);
        for (unsigned i = 0; i < count; i++)
            print_hit(context, &hits[i], i);
        putchar('\n');
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    const struct tern_local_options options = {.name = "search example"};
    struct tern_client_search search = {.flags = TERN_SEARCH_PAYLOAD};
    struct tern_local *local;
    struct tern_local_context *context;
    struct tern_client_hit *hits;
    struct tern_error error;
    float *vector;

    if (argc < 4 || argc > 5 || (search.k = (uint32_t)strtoul(argv[3], NULL, 10)) == 0) {
        fprintf(stderr, "usage: %s RUN_DIR COLLECTION K [FILTER] < vectors\n", argv[0]);
        return 2;
    }
    if (tern_local_open(argv[1], &options, &local, &error) != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    if (tern_local_context_open(local, &context, &error) != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        tern_local_close(local);
        return 1;
    }
    search.collection = tern_local_collection(context, argv[2]);
    search.filter = argc == 5 ? argv[4] : NULL;
    hits = calloc(search.k, sizeof *hits);
    vector = calloc(16000, sizeof *vector);
    if (search.collection < 0)
        fprintf(stderr, "%s: there is no collection %s\n", argv[0], argv[2]);
    else if (hits != NULL && vector != NULL)
        search_lines(context, &search, vector, hits);
    free(vector);
    free(hits);
    tern_local_context_close(context);
    tern_local_close(local);
    return search.collection < 0;
}
