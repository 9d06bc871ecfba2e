/* ternctl search: one SEARCH over the real path, for a vector that is given or stored. */
#include "controlplane/config/nearest.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/request.h"
#include "controlplane/ctl/stored.h"

#include "shared/number.h"
#include "shared/vector/format.h"

#include <errno.h>
#include <math.h>

#define FILE_MAX (1u << 20) /* of a vector as text; 16,000 numbers */

static const struct tern_client_name *find_collection(const struct tern_client_schema *schema,
                                                      const char *name)
{
    struct tern_nearest nearest = {.wanted = name, .wanted_length = strlen(name)};
    char hint[TERN_NEAREST_HINT];

    for (unsigned i = 0; i < schema->collection_count; i++) {
        const struct tern_client_name *known = &schema->collections[i];

        if (strcmp(known->name, name) == 0)
            return known;
        tern_nearest_offer(&nearest, known->name, known->name_length);
    }
    fprintf(stderr, "ternctl: there is no collection '%s'%s\n", name,
            tern_nearest_hint(&nearest, "; ", hint));
    return NULL;
}

static int usage(const char *message)
{
    fprintf(stderr, "ternctl: search: %s\n", message);
    return TERN_EXIT_USAGE;
}

/* Numbers between commas, blanks, brackets. */
static int parse_numbers(const char *text, size_t length, float *vector, unsigned dim)
{
    static const char between[] = ", \t\r\n[]";
    unsigned count = 0;

    for (size_t at = 0; at < length;) {
        size_t end = at;

        if (strchr(between, text[at]) != NULL && text[at] != '\0') {
            at++;
            continue;
        }
        while (end < length && (text[end] == '\0' || strchr(between, text[end]) == NULL))
            end++;
        if (count == dim) {
            fprintf(stderr, "ternctl: search: the vector has more than %u numbers\n", dim);
            return TERN_EXIT_USAGE;
        }
        if (tern_number_parse_f32(text + at, end - at, &vector[count]) != 0) {
            fprintf(stderr, "ternctl: search: '%.*s' is no number that a vector holds\n",
                    (int)tern_min_u64(end - at, 40), text + at);
            return TERN_EXIT_USAGE;
        }
        count++;
        at = end;
    }
    if (count != dim) {
        fprintf(stderr, "ternctl: search: the vector has %u numbers, the collection's have %u\n",
                count, dim);
        return TERN_EXIT_USAGE;
    }
    return TERN_EXIT_OK;
}

static bool is_text(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\0' || strchr("+-0123456789.eE, \t\r\n[]", text[i]) == NULL)
            return false;
    return true;
}

/* A file of text or, when it is exactly as long, of the values' bytes. */
static int read_file(const char *path, float *vector, unsigned dim)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char *text = malloc(FILE_MAX);
    size_t length;
    int code;

    if (file == NULL || text == NULL) {
        fprintf(stderr, "ternctl: search: cannot read '%s': %s\n", path, strerror(errno));
        free(text);
        return TERN_EXIT_USAGE;
    }
    length = fread(text, 1, FILE_MAX, file);
    if (file != stdin)
        fclose(file);
    if (length == FILE_MAX) {
        code = usage("the file is no vector: it is over 1 MiB");
    } else if (length == dim * sizeof(float) && !is_text(text, length)) {
        memcpy(vector, text, length);
        code = TERN_EXIT_OK;
    } else {
        code = parse_numbers(text, length, vector, dim);
    }
    free(text);
    return code;
}

/* The names of the payload's columns, as keys. */
static unsigned copy_names(const struct tern_client *client,
                           char names[TERN_PAYLOAD_COLUMNS_MAX][TERN_NAME_MAX + 1])
{
    unsigned count =
        (unsigned)tern_min_u64(tern_client_payload_columns(client), TERN_PAYLOAD_COLUMNS_MAX);

    for (unsigned i = 0; i < count; i++) {
        const char *name = "";
        size_t length = 0;

        tern_client_payload_name(client, i, &name, &length);
        snprintf(names[i], TERN_NAME_MAX + 1, "%.*s", (int)length, name);
    }
    return count;
}

/* What is shown: hits by their number in the reply, but for the vector that was asked about. */
struct shown {
    const struct tern_client *client;
    const struct tern_client_hit *hits;
    unsigned places[TERN_SEARCH_K_MAX];
    unsigned count;
    const Tern__Control__Vector *about; /* NULL: a vector of the caller's own */
};

static void choose(struct shown *shown, unsigned count, unsigned k)
{
    for (unsigned i = 0; i < count && shown->count < k; i++)
        if (shown->about == NULL || shown->hits[i].id != shown->about->id)
            shown->places[shown->count++] = i;
}

static void print_json(const struct shown *shown)
{
    char names[TERN_PAYLOAD_COLUMNS_MAX][TERN_NAME_MAX + 1];
    unsigned columns = copy_names(shown->client, names);
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    if (shown->about != NULL)
        tern_stored_json(&json, "vector", shown->about);
    tern_json_array(&json, "hits");
    for (unsigned i = 0; i < shown->count; i++) {
        const struct tern_client_hit *hit = &shown->hits[shown->places[i]];

        tern_json_object(&json, NULL);
        tern_json_u64(&json, "id", hit->id);
        tern_json_float(&json, "score", hit->score);
        tern_json_object(&json, "payload");
        for (unsigned c = 0; c < columns; c++) {
            struct tern_client_column value;

            if (tern_client_payload(shown->client, shown->places[i], c, &value) == 0)
                tern_ctl_value_json(&json, names[c], &value);
        }
        tern_json_object_end(&json);
        tern_json_object_end(&json);
    }
    tern_json_array_end(&json);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

/* Strings as they are, for people; everything else as in JSON. */
static void cell(const struct tern_client_column *value, char *text, size_t size)
{
    struct tern_json json = {0};

    if (value->type == TERN_TYPE_NONE) {
        snprintf(text, size, "-");
    } else {
        tern_ctl_value_json(&json, NULL, value);
        snprintf(text, size, "%.*s", (int)json.buffer.length, (const char *)json.buffer.data);
        tern_buffer_free(&json.buffer);
    }
}

static void print_table(const struct shown *shown)
{
    char names[TERN_PAYLOAD_COLUMNS_MAX][TERN_NAME_MAX + 1];
    char texts[TERN_PRINT_COLUMNS][80];
    const char *cells[TERN_PRINT_COLUMNS] = {">id", ">score"};
    unsigned columns =
        (unsigned)tern_min_u64(copy_names(shown->client, names), TERN_PRINT_COLUMNS - 2);
    struct tern_print_table table;

    if (shown->about != NULL)
        tern_stored_print(shown->about);
    for (unsigned c = 0; c < columns; c++)
        cells[2 + c] = names[c];
    tern_print_table_begin(&table, 2 + columns, cells);
    for (unsigned i = 0; i < shown->count; i++) {
        const struct tern_client_hit *hit = &shown->hits[shown->places[i]];

        snprintf(texts[0], sizeof texts[0], "%llu", (unsigned long long)hit->id);
        snprintf(texts[1], sizeof texts[1], "%.6g", (double)hit->score);
        for (unsigned c = 0; c < columns; c++) {
            struct tern_client_column value = {.type = TERN_TYPE_NONE};

            tern_client_payload(shown->client, shown->places[i], c, &value);
            cell(&value, texts[2 + c], sizeof texts[2 + c]);
        }
        for (unsigned c = 0; c < 2 + columns; c++)
            cells[c] = texts[c];
        tern_print_table_row(&table, cells);
    }
    tern_print_table_end(&table);
    if (shown->count == 0)
        puts("nothing is found");
}

/* What is looked for: of the command line, of a file, or (with *about) what is stored. */
static int take_vector(const struct tern_invocation *invocation,
                       const struct tern_client_name *collection, float *vector,
                       Tern__Control__Reply **about)
{
    struct tern_error error;
    size_t dim;

    if (invocation->vector != NULL)
        return parse_numbers(invocation->vector, strlen(invocation->vector), vector,
                             collection->dim);
    if (invocation->vector_file != NULL)
        return read_file(invocation->vector_file, vector, collection->dim);
    if (tern_stored_ask(invocation, collection->name, invocation->id, about, &error) != 0)
        return tern_ctl_fail(&error);
    dim = (*about)->vector->values.len / sizeof(float);
    if (dim != collection->dim) {
        fprintf(stderr,
                "ternctl: search: vector %llu has %zu numbers, the collection's have %u: it was "
                "written before that changed, and no search finds it\n",
                (unsigned long long)invocation->id, dim, collection->dim);
        return TERN_EXIT_REFUSED;
    }
    memcpy(vector, (*about)->vector->values.data, dim * sizeof(float));
    return TERN_EXIT_OK;
}

static int run(const struct tern_invocation *invocation, struct tern_client *client,
               const struct tern_client_name *collection, const float *vector,
               const Tern__Control__Reply *about)
{
    unsigned k = invocation->k;
    struct tern_client_hit *hits;
    struct tern_client_search asked = {
        .collection = collection->id,
        .dim = collection->dim,
        .vector = vector,
        /* one more, for the vector itself */
        .k = about != NULL ? (unsigned)tern_min_u64(k + 1, TERN_SEARCH_K_MAX) : k,
        .ef = invocation->ef,
        .flags = (uint16_t)(TERN_SEARCH_PAYLOAD |
                            (invocation->given & TERN_CTL_EXACT ? TERN_SEARCH_EXACT : 0)),
        .filter = invocation->filter,
        .deadline_us = (uint32_t)tern_min_u64(invocation->timeout_us, UINT32_MAX)};
    struct shown shown = {.client = client, .about = about != NULL ? about->vector : NULL};
    struct tern_error error;
    unsigned count = 0;
    int rc;

    hits = calloc(asked.k, sizeof *hits);
    if (hits == NULL)
        return TERN_EXIT_REFUSED;
    shown.hits = hits;
    rc = tern_client_search(client, &asked, hits, &count, &error);
    if (rc == 0) {
        choose(&shown, count, k);
        if (invocation->json)
            print_json(&shown);
        else
            print_table(&shown);
    }
    free(hits);
    return rc == 0             ? TERN_EXIT_OK
           : rc == TERN_EINVAL ? usage(error.message)
                               : tern_ctl_fail(&error);
}

static int search(const struct tern_invocation *invocation, struct tern_client *client,
                  float *vector)
{
    const struct tern_client_name *collection =
        find_collection(tern_client_schema(client), invocation->arguments[0]);
    Tern__Control__Reply *about = NULL;
    int code;

    if (collection == NULL)
        return TERN_EXIT_USAGE;
    code = take_vector(invocation, collection, vector, &about);
    if (code == TERN_EXIT_OK)
        code = run(invocation, client, collection, vector, about);
    if (about != NULL)
        tern__control__reply__free_unpacked(about, NULL);
    return code;
}

int tern_ctl_search(const struct tern_invocation *invocation)
{
    struct tern_client *client = NULL;
    struct tern_error error;
    float *vector;
    int code;

    if ((invocation->vector != NULL) + (invocation->vector_file != NULL) +
            ((invocation->given & TERN_CTL_ID) != 0) !=
        1)
        return usage("needs one of --vector NUMBERS, --vector-file FILE and --id N");
    if (tern_instance_connect(invocation, &client, &error) != 0)
        return tern_ctl_fail(&error);
    vector = malloc(TERN_DIM_MAX * sizeof *vector);
    code = vector == NULL ? TERN_EXIT_REFUSED : search(invocation, client, vector);
    free(vector);
    tern_client_close(client);
    return code;
}
