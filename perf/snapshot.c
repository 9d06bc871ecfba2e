#include "perf/snapshot.h"

#include "perf/chain.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t checksum;
static char folder[64];
static const char *program;

static void fail(const char *what, const struct tern_error *error)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, error->message);
    exit(1);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void snapshot_start(const char *name)
{
    program = name;
    strcpy(folder, "/dev/shm/tern-perf-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        exit(1);
    }
    atexit(remove_folder);
}

const char *snapshot_path(const char *name, const char *suffix)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    return path;
}

uint64_t snapshot_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t snapshot_random(uint64_t *seed)
{
    return snapshot_mix(*seed += 0x9e3779b97f4a7c15ull);
}

FILE *snapshot_create(const char *name)
{
    const char *path = snapshot_path(name, "");
    FILE *file = fopen(path, "we");

    if (file == NULL) {
        perror(path);
        exit(1);
    }
    return file;
}

void snapshot_finish(FILE *file)
{
    if (fclose(file) != 0) {
        perror(program);
        exit(1);
    }
}

void snapshot_write_head(FILE *file)
{
    fputs("tern: 1\ninstance: perf\narena: 2GiB\nfields:\n  ip: ip\n  host: host\n"
          "  path: { type: string, max: 2KiB }\n  user: u64\n  token: string\n",
          file);
}

void snapshot_open(struct snapshot *snapshot, const char *config_path, const char *name)
{
    char run_dir[128], state_dir[128];
    struct tern_pipeline_options options = {
        .run_dir = run_dir, .state_dir = state_dir, .arena_bytes = 2ull << 30};
    struct tern_apply_options apply_options = {0};
    struct tern_apply_result result = {0};
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    struct tern_error error = {.message = "no reason given"};
    struct tern_buffer text = {0};

    snprintf(run_dir, sizeof run_dir, "%s/%s-run", folder, name);
    snprintf(state_dir, sizeof state_dir, "%s/%s-state", folder, name);
    mkdir(run_dir, 0700);
    mkdir(state_dir, 0700);
    if (tern_config_read(config_path, &config, &diagnostics) != 0 ||
        tern_pipeline_open(&options, &snapshot->pipeline, &error) != 0 ||
        tern_pipeline_apply(snapshot->pipeline, config, &apply_options, &result, &diagnostics,
                            &error) != 0) {
        if (tern_diagnostics_print(&diagnostics, &text) == 0)
            fwrite(text.data, 1, text.length, stderr);
        fail(name, &error);
    }
    if (tern_arena_open(run_dir, &snapshot->arena, &error) != 0 ||
        tern_view_open(&snapshot->arena, tern_arena_root(&snapshot->arena), NULL, &snapshot->view,
                       &error) != 0)
        fail(name, &error);
    if (tern_scratch_new(&snapshot->scratch) != 0 ||
        tern_scratch_prepare(snapshot->scratch, snapshot->view->rules) != 0)
        abort();
    snapshot->result = result;
    snapshot->result.tables = NULL;
    snapshot->result.seats = NULL;
    tern_apply_result_free(&result);
    tern_buffer_free(&text);
    tern_diagnostics_free(&diagnostics);
    tern_config_free(config);
}

void snapshot_close(struct snapshot *snapshot)
{
    tern_scratch_free(snapshot->scratch);
    tern_view_close(snapshot->view);
    tern_arena_close(&snapshot->arena);
    tern_pipeline_close(snapshot->pipeline);
}

void snapshot_set_string(struct snapshot_request *request, unsigned field, const char *text)
{
    request->values[field].string.bytes = (const uint8_t *)text;
    request->values[field].string.length = (uint32_t)strlen(text);
    tern_facts_set_present(&request->facts, field);
}

void snapshot_set_rest(struct snapshot_request *request, struct tern_address address, uint64_t user)
{
    request->values[SNAPSHOT_IP].address = address;
    request->values[SNAPSHOT_USER].u64 = user;
    tern_facts_set_present(&request->facts, SNAPSHOT_IP);
    tern_facts_set_present(&request->facts, SNAPSHOT_USER);
    snapshot_set_string(request, SNAPSHOT_HOST, request->host);
    snapshot_set_string(request, SNAPSHOT_PATH, request->path);
}

static int compare_floats(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;

    return (left > right) - (left < right);
}

double snapshot_quantile(float *values, size_t count, double fraction)
{
    qsort(values, count, sizeof *values, compare_floats);
    return values[(size_t)(fraction * (double)(count - 1))];
}

double snapshot_median(const double *values, unsigned count)
{
    float copy[64];

    assert(count <= TERN_COUNT(copy));
    for (unsigned i = 0; i < count; i++)
        copy[i] = (float)values[i];
    return snapshot_quantile(copy, count, 0.5);
}

double snapshot_clock_ns(void)
{
    float costs[1001];

    for (size_t i = 0; i < TERN_COUNT(costs); i++) {
        double started = tern_chain_now_ns();

        costs[i] = (float)(tern_chain_now_ns() - started);
    }
    return snapshot_quantile(costs, TERN_COUNT(costs), 0.5);
}

void snapshot_check(const struct snapshot_request *request, const struct tern_verdict *verdict)
{
    checksum += snapshot_mix((uint64_t)verdict->rule << 8 | verdict->action);
    if (request->rule != SNAPSHOT_ANY && request->rule != verdict->rule) {
        fprintf(stderr, "%s: rule %u decided, not %u\n", program, verdict->rule, request->rule);
        exit(1);
    }
}

void snapshot_copy(struct snapshot_request *to, const struct snapshot_request *from)
{
    *to = *from;
    snapshot_set_string(to, SNAPSHOT_HOST, to->host);
    snapshot_set_string(to, SNAPSHOT_PATH, to->path);
    if (tern_facts_has(&to->facts, SNAPSHOT_TOKEN))
        snapshot_set_string(to, SNAPSHOT_TOKEN, to->token);
}

void snapshot_decide_alone(struct snapshot *snapshot, const struct snapshot_request *requests,
                           uint32_t count, double overhead_ns, float *costs)
{
    for (uint32_t i = 0; i < count; i++) {
        struct snapshot_request request;
        const struct tern_facts *facts = &request.facts;
        struct tern_verdict verdict;
        double started, cost;

        snapshot_copy(&request, &requests[i]);
        __asm__("" : : "r"(&request) : "memory");
        started = tern_chain_now_ns();
        tern_rules_decide(snapshot->view->rules, snapshot->scratch, &facts, 1, &verdict);
        cost = tern_chain_now_ns() - started - overhead_ns;
        costs[i] = (float)(cost < 0 ? 0 : cost);
        snapshot_check(&request, &verdict);
    }
}

struct snapshot_request *snapshot_requests_new(uint32_t count)
{
    struct snapshot_request *requests = calloc(count, sizeof *requests);

    if (requests == NULL)
        abort();
    return requests;
}

uint64_t *snapshot_checksum(void)
{
    return &checksum;
}
