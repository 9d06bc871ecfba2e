#include "perf/snapshot.h"

#include "perf/chain.h"

#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t checksum;
static char folder[64];

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

void snapshot_start(void)
{
    strcpy(folder, "/dev/shm/tern-perf-XXXXXX");
    if (mkdtemp(folder) == NULL)
        program_fail(folder, strerror(errno));
    atexit(remove_folder);
}

const char *snapshot_path(const char *name, const char *suffix)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    return path;
}

FILE *snapshot_create(const char *name)
{
    const char *path = snapshot_path(name, "");
    FILE *file = fopen(path, "we");

    if (file == NULL)
        program_fail(path, strerror(errno));
    return file;
}

void snapshot_finish(FILE *file)
{
    if (fclose(file) != 0)
        program_fail("a file", strerror(errno));
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
        program_fail(name, error.message);
    }
    if (tern_arena_open(run_dir, &snapshot->arena, &error) != 0 ||
        tern_view_open(&snapshot->arena, tern_arena_root(&snapshot->arena), NULL, &snapshot->view,
                       &error) != 0)
        program_fail(name, error.message);
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

double snapshot_clock_ns(void)
{
    float costs[1001];

    for (size_t i = 0; i < TERN_COUNT(costs); i++) {
        double started = tern_chain_now_ns();

        costs[i] = (float)(tern_chain_now_ns() - started);
    }
    return program_quantile(costs, TERN_COUNT(costs), 0.5);
}

void snapshot_check(const struct snapshot_request *request, const struct tern_verdict *verdict)
{
    checksum += program_mix((uint64_t)verdict->rule << 8 | verdict->action);
    if (request->rule != SNAPSHOT_ANY && request->rule != verdict->rule) {
        fprintf(stderr, "%s: rule %u decided, not %u\n", program_invocation_short_name,
                verdict->rule, request->rule);
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
