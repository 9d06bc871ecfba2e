/* Decisions in the caller's own process (libtern-local), as a program makes them: look for
 * something newer, build the request, decide. Against a running instance (perf/run in-process),
 * whose network client answers the same requests; or, in small mode, against a snapshot of its own.
 *
 * Usage: local --run-dir DIR --requests FILE.csv [--rounds N]
 *        local --small
 * FILE's header names fields of the instance. Prints `figure NAME VALUE UNIT` lines, times less
 * what reading the clock costs, and a checksum over all answers: each round's is the same. */
#include "clients/c/tern_local.h"
#include "perf/chain.h"
#include "perf/load/csv.h"
#include "perf/snapshot.h"

#include <getopt.h>

#define FIELDS_MAX 16
#define BATCH      32

struct value {
    struct tern_address address;
    uint8_t bytes[16];
    size_t length; /* of the bytes */
    const char *text;
    size_t text_length;
    uint64_t u64;
    float f32;
};

struct column {
    int field;
    unsigned type;
};

struct requests {
    struct load_csv csv; /* the rows' texts stay in it */
    struct column columns[FIELDS_MAX];
    unsigned column_count;
    struct value *values; /* row by row */
    uint32_t count;
};

/* ---- Requests ---- */

/* A cell is not terminated: a bounded copy that is. */
static const char *terminated(char copy[TERN_ADDRESS_TEXT + TERN_NAME_MAX], const char *text,
                              size_t length)
{
    if (length >= TERN_ADDRESS_TEXT + TERN_NAME_MAX)
        program_fail("requests", "a cell is too long for its type");
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

static void parse_value(struct value *value, unsigned type, const char *text, size_t length)
{
    char copy[TERN_ADDRESS_TEXT + TERN_NAME_MAX];

    value->text = text;
    value->text_length = length;
    if (type != TERN_TYPE_STRING)
        text = terminated(copy, text, length);
    switch (type) {
    case TERN_TYPE_IP:
        if (tern_address_parse(text, length, &value->address) != 0)
            program_fail("no address", text);
        value->length = tern_address_to_bytes(value->address, value->bytes);
        break;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        value->u64 = strtoull(text, NULL, 10);
        break;
    case TERN_TYPE_F32:
        value->f32 = strtof(text, NULL);
        break;
    case TERN_TYPE_BOOL:
        value->u64 = strcmp(text, "true") == 0;
        break;
    default:
        break;
    }
}

static void read_columns(struct requests *requests, const struct tern_local_context *context)
{
    for (unsigned i = 0; i < requests->csv.count; i++) {
        struct column *column = &requests->columns[requests->column_count++];
        char copy[TERN_ADDRESS_TEXT + TERN_NAME_MAX];

        if (i == FIELDS_MAX)
            program_fail("requests", "too many columns");
        terminated(copy, requests->csv.cells[i], requests->csv.lengths[i]);
        column->field = tern_local_field(context, copy);
        if (column->field < 0)
            program_fail("no such field", copy);
        column->type = tern_local_schema(context)->fields[column->field - 1].type;
    }
}

static void read_requests(struct requests *requests, const char *path,
                          const struct tern_local_context *context)
{
    struct tern_error error;
    uint32_t capacity = 0;
    int more;

    if (load_csv_open(path, &requests->csv, &error) != 0 ||
        load_csv_next(&requests->csv, &error) != 1)
        program_fail(path, error.message);
    read_columns(requests, context);
    while ((more = load_csv_next(&requests->csv, &error)) == 1) {
        if (requests->count == capacity) {
            capacity = capacity == 0 ? 1024 : capacity * 2;
            requests->values = realloc(requests->values, (size_t)capacity * requests->column_count *
                                                             sizeof *requests->values);
            if (requests->values == NULL)
                program_fail(path, "no memory");
        }
        if (requests->csv.count != requests->column_count)
            program_fail(path, "a row of other columns than the header");
        for (unsigned i = 0; i < requests->column_count; i++)
            parse_value(&requests->values[(size_t)requests->count * requests->column_count + i],
                        requests->columns[i].type, requests->csv.cells[i],
                        requests->csv.lengths[i]);
        requests->count++;
    }
    if (more < 0 || requests->count == 0)
        program_fail(path, more < 0 ? error.message : "no requests");
}

static inline void add_item(struct tern_request *request, const struct requests *requests,
                            uint32_t row)
{
    const struct value *values = &requests->values[(size_t)row * requests->column_count];

    tern_item_add(request);
    for (unsigned i = 0; i < requests->column_count; i++) {
        const struct value *value = &values[i];
        int field = requests->columns[i].field;

        switch (requests->columns[i].type) {
        case TERN_TYPE_IP:
            tern_item_set_ip(request, field, value->bytes, value->length);
            break;
        case TERN_TYPE_STRING:
            tern_item_set_string(request, field, value->text, value->text_length);
            break;
        case TERN_TYPE_U64:
            tern_item_set_u64(request, field, value->u64);
            break;
        case TERN_TYPE_I64:
            tern_item_set_i64(request, field, (int64_t)value->u64);
            break;
        case TERN_TYPE_F32:
            tern_item_set_f32(request, field, value->f32);
            break;
        case TERN_TYPE_BOOL:
            tern_item_set_bool(request, field, value->u64 != 0);
            break;
        default:
            break;
        }
    }
}

/* ---- Measuring ---- */

struct reader {
    struct tern_local *local;
    struct tern_local_context *context;
    struct tern_request *request;
};

static void open_reader(struct reader *reader, const char *run_dir)
{
    const struct tern_local_options options = {.name = "perf-local"};
    struct tern_error error;

    if (tern_local_open(run_dir, &options, &reader->local, &error) != 0 ||
        tern_local_context_open(reader->local, &reader->context, &error) != 0)
        program_fail(run_dir, error.message);
    if (tern_request_new_for(tern_local_schema(reader->context), 0, &reader->request) != 0)
        program_fail(run_dir, "no memory");
}

static uint64_t sum_of(const struct tern_decision *decision)
{
    return program_mix((uint64_t)decision->verdict.rule << 8 | decision->verdict.action);
}

static void decide(struct reader *reader, struct tern_decision *decisions)
{
    struct tern_error error;

    if (tern_local_decide(reader->context, reader->request, decisions, &error) != 0)
        program_fail("decide", error.message);
}

/* One request at a time, all that a program does for one; `costs` gets each. */
static uint64_t measure_alone(struct reader *reader, const struct requests *requests,
                              double overhead_ns, float *costs)
{
    uint64_t checksum = 0;

    for (uint32_t i = 0; i < requests->count; i++) {
        struct tern_decision decision;
        double started = tern_chain_now_ns(), cost;

        tern_local_refresh(reader->context, NULL);
        tern_request_reset(reader->request);
        add_item(reader->request, requests, i);
        decide(reader, &decision);
        cost = tern_chain_now_ns() - started - overhead_ns;
        costs[i] = (float)(cost < 0 ? 0 : cost);
        checksum += sum_of(&decision);
    }
    return checksum;
}

/* Many a call; nanoseconds an item. */
static double measure_batches(struct reader *reader, const struct requests *requests,
                              uint64_t *checksum)
{
    double started = tern_chain_now_ns();

    for (uint32_t i = 0; i < requests->count; i += BATCH) {
        struct tern_decision decisions[BATCH];
        uint32_t end = i + BATCH < requests->count ? i + BATCH : requests->count;

        tern_request_reset(reader->request);
        for (uint32_t k = i; k < end; k++)
            add_item(reader->request, requests, k);
        decide(reader, decisions);
        for (uint32_t k = i; k < end; k++)
            *checksum += sum_of(&decisions[k - i]);
    }
    return (tern_chain_now_ns() - started) / requests->count;
}

static void measure(struct reader *reader, const struct requests *requests, unsigned rounds)
{
    float *costs = malloc(requests->count * sizeof *costs);
    double overhead_ns = snapshot_clock_ns();
    double *p50 = calloc((size_t)rounds * 3, sizeof *p50), *p99, *batch;
    uint64_t checksum;

    if (costs == NULL || p50 == NULL)
        program_fail("measure", "no memory");
    p99 = p50 + rounds;
    batch = p99 + rounds;
    checksum = measure_alone(reader, requests, overhead_ns, costs); /* warms up */
    for (unsigned round = 0; round < rounds; round++) {
        uint64_t again = measure_alone(reader, requests, overhead_ns, costs), batched = 0;

        p50[round] = program_quantile(costs, requests->count, 0.5);
        p99[round] = program_quantile(costs, requests->count, 0.99);
        batch[round] = measure_batches(reader, requests, &batched);
        if (again != checksum || batched != checksum)
            program_fail("checksum", "the same requests were answered differently");
    }
    printf("figure local-p50 %.1f ns\n", program_median(p50, rounds));
    printf("figure local-p99 %.1f ns\n", program_median(p99, rounds));
    printf("figure local-batch %.1f ns\n", program_median(batch, rounds));
    printf("checksum %016llx over %u requests\n", (unsigned long long)checksum, requests->count);
    free(p50);
    free(costs);
}

/* ---- Small mode ---- */

static const char *make_instance(struct snapshot *snapshot)
{
    static char path[256];
    FILE *file = snapshot_create("small.yaml");

    snapshot_write_head(file);
    fputs("rules:\n  - { id: net, when: 'ip in {10.0.0.0/8}', then: deny }\n"
          "  - { id: path, when: 'path starts_with \"/admin\"', then: challenge }\n"
          "  - { id: user, when: 'user >= 50 and user <= 99', then: deny }\n"
          "default: allow\n",
          file);
    snapshot_finish(file);
    file = snapshot_create("requests.csv");
    fputs("ip,host,path,user\n", file);
    for (unsigned i = 0; i < 1000; i++)
        fprintf(file, "%u.1.2.3,h%u.example,/%s/%u,%u\n", 5 + i % 10, i, i % 7 ? "x" : "admin", i,
                i % 200);
    snapshot_finish(file);
    snprintf(path, sizeof path, "%s", snapshot_path("small", ".yaml"));
    snapshot_open(snapshot, path, "small");
    snprintf(path, sizeof path, "%s", snapshot_path("small", "-run"));
    return path;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"run-dir", required_argument, NULL, 'd'},
                                            {"requests", required_argument, NULL, 'r'},
                                            {"rounds", required_argument, NULL, 'n'},
                                            {"small", no_argument, NULL, 's'},
                                            {0}};
    const char *run_dir = NULL, *path = NULL;
    struct requests requests = {0};
    struct snapshot snapshot;
    struct reader reader;
    unsigned rounds = 5;
    bool is_small = false;

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'd':
            run_dir = optarg;
            break;
        case 'r':
            path = optarg;
            break;
        case 'n':
            rounds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            is_small = true;
            break;
        default:
            return 2;
        }
    }
    is_small &= run_dir == NULL;
    if (rounds == 0 || (!is_small && (run_dir == NULL || path == NULL))) {
        fprintf(stderr, "usage: local --run-dir DIR --requests FILE.csv | --small\n");
        return 2;
    }
    if (is_small) {
        snapshot_start();
        run_dir = make_instance(&snapshot);
    }
    open_reader(&reader, run_dir);
    read_requests(&requests, is_small ? snapshot_path("requests", ".csv") : path, reader.context);
    measure(&reader, &requests, rounds);
    tern_request_free(reader.request);
    tern_local_context_close(reader.context);
    tern_local_close(reader.local);
    if (is_small)
        snapshot_close(&snapshot);
    load_csv_free(&requests.csv);
    free(requests.values);
    return 0;
}
