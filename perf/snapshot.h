/* Snapshots as the processes make and open them, and requests that they decide, each timed: what
 * the measuring programs of decisions inside one process share. Whatever fails ends the program. */
#ifndef TERN_PERF_SNAPSHOT_H
#define TERN_PERF_SNAPSHOT_H

#include "controlplane/apply.h"
#include "perf/program.h"
#include "shared/address.h"
#include "shared/view.h"

enum { SNAPSHOT_IP = 1, SNAPSHOT_HOST, SNAPSHOT_PATH, SNAPSHOT_USER, SNAPSHOT_TOKEN };

#define SNAPSHOT_FIELDS     SNAPSHOT_TOKEN
#define SNAPSHOT_TEXT_BYTES 48

/* One request with the memory that its strings point to: an array of them stays where it is. */
struct snapshot_request {
    struct tern_facts facts;
    union tern_value values[SNAPSHOT_FIELDS + 1]; /* follows facts.values */
    char host[SNAPSHOT_TEXT_BYTES], path[SNAPSHOT_TEXT_BYTES], token[SNAPSHOT_TEXT_BYTES];
    uint32_t rule; /* that must decide; SNAPSHOT_ANY: not known */
};
#define SNAPSHOT_ANY UINT32_MAX
_Static_assert(offsetof(struct snapshot_request, values) == sizeof(struct tern_facts),
               "facts.values");

struct snapshot {
    struct tern_pipeline *pipeline;
    struct tern_arena arena;
    struct tern_view *view;
    struct tern_scratch *scratch;
    struct tern_apply_result result; /* without its lists */
};

/* Makes a folder on tmpfs (the arena must be there), gone when the program ends. */
void snapshot_start(void);
/* A path in it; the text lives until the next call. */
const char *snapshot_path(const char *name, const char *suffix);

/* A file there. */
FILE *snapshot_create(const char *name);
void snapshot_finish(FILE *file);
/* The head of a configuration with the fields above. */
void snapshot_write_head(FILE *file);

/* Configuration → published root → prepared view, each by the code that the processes use. `name`
 * is that of NAME-run and NAME-state in the folder. */
void snapshot_open(struct snapshot *snapshot, const char *config_path, const char *name);
void snapshot_close(struct snapshot *snapshot);

struct snapshot_request *snapshot_requests_new(uint32_t count);
void snapshot_set_string(struct snapshot_request *request, unsigned field, const char *text);
/* Address, user, and host and path as they stand in the request. */
void snapshot_set_rest(struct snapshot_request *request, struct tern_address address,
                       uint64_t user);

/* A copy of a request with its strings in itself, as a loop has just decoded it. */
void snapshot_copy(struct snapshot_request *to, const struct snapshot_request *from);

/* Decides each request alone; `costs` gets the nanoseconds of each, less `overhead_ns`. The request
 * itself is brought in before: a loop has just decoded it. */
void snapshot_decide_alone(struct snapshot *snapshot, const struct snapshot_request *requests,
                           uint32_t count, double overhead_ns, float *costs);
/* Ends the program when another rule than the request's has decided; adds to the checksum. */
void snapshot_check(const struct snapshot_request *request, const struct tern_verdict *verdict);
uint64_t *snapshot_checksum(void);

/* What reading the clock twice costs by itself. */
double snapshot_clock_ns(void);

#endif
