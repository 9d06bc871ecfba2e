/* From a configuration to a served generation: check → build → compile → verify → announce → swap.
 * The one entry the control plane's API, its start-up and the tests use. */
#ifndef TERN_APPLY_H
#define TERN_APPLY_H

#include "controlplane/collections/collections.h"
#include "controlplane/config/config.h"
#include "shared/buffer.h"
#include "shared/error.h"
#include "shared/view.h"

/* The publishing side of one run directory: arena, live image, source cache. One per process;
 * apply, restore and rollback are called from one thread at a time, status from any thread. */
struct tern_pipeline;

/* What must survive the arena: the owner of state.db supplies it and records what grew. */
struct tern_pipeline_numbers {
    uint64_t generation;   /* highest ever used */
    uint64_t announcement; /* likewise */
    uint64_t epoch;
};

struct tern_pipeline_options {
    const char *run_dir; /* exists; arena and board are made in it */
    const char
        *state_dir; /* exists; packed sections go to STATE_DIR/sections, lists to …/generations */
    uint64_t arena_bytes; /* size of a newly made arena; a valid one found keeps its own */
    uint8_t instance_secret[32];
    struct tern_pipeline_numbers numbers;
    /* called with what is served already when it is opened, and right before each swap with what is
     * served then; may be NULL */
    void (*serving)(void *context, const struct tern_view *view);
    void *context;
};

/* Takes over a valid arena as it finds it (withdraws any announcement, keeps serving what its root
 * serves) or makes a new one beside it and renames, also when the one it finds does not read back.
 * TERN_EBUSY when another tern-control holds it. */
int tern_pipeline_open(const struct tern_pipeline_options *options, struct tern_pipeline **pipeline,
                       struct tern_error *error);
void tern_pipeline_close(struct tern_pipeline *pipeline);
/* What the arena does for the thread that writes vectors; as long as the pipeline is open. */
struct tern_graph_host tern_pipeline_host(struct tern_pipeline *pipeline);
/* Hands the pipeline that thread, before it is asked to publish: what is served is taken over. NULL
 * with the reason in `unusable`: collections that would have to be built are refused with it, what
 * is served of them answers as it is. An error says why one has to be built anew. */
int tern_pipeline_attach(struct tern_pipeline *pipeline, struct tern_collections *collections,
                         const struct tern_error *unusable, struct tern_error *error);
/* Whether the generation that is served has a collection of that name, with an object or without.
 */
bool tern_pipeline_has_collection(const struct tern_pipeline *pipeline, const char *name);
/* A collection of what is served has to be built anew, or has no object: restoring that generation
 * makes it. */
bool tern_pipeline_lacks_objects(const struct tern_pipeline *pipeline);
/* Where it keeps packed sections; lives as long as the pipeline. */
const char *tern_pipeline_state_dir(const struct tern_pipeline *pipeline);

struct tern_progress { /* one step of a long build, for bars */
    const char *step;  /* "table users", "collection docs", "rules", "verify", "announce", … */
    unsigned permille; /* of this step */
    uint64_t rows;     /* read so far, 0 when it does not apply */
};

struct tern_expectation; /* expectation.h */

struct tern_apply_options {
    bool dry_run; /* everything up to and including verify, then thrown away */
    /* One a table, NULL: none. The section that is served is taken again, whatever the table's
     * source says by now; only a table that is not served as it is defined is read. */
    const bool *take_live;
    bool only_changes; /* the configuration is the one served: publish only what sources changed */
    bool force_change; /* max_change is not checked */
    bool new_schema;   /* ids of fields and tables may change their meaning */
    bool collections_may_lack; /* one that cannot be made is published without an object */
    bool tests_only_warn;      /* the configuration's failing tests do not refuse it */
    void (*progress)(void *context, const struct tern_progress *progress); /* may be NULL */
    /* called right before the swap (state "publishing") with the numbers to record; may be NULL */
    int (*publishing)(void *context, uint64_t generation,
                      const struct tern_pipeline_numbers *numbers);
    /* told the outcome of every test of the configuration, instead of errors; may be NULL */
    void (*tested)(void *context, const struct tern_expectation *outcome);
    void *context;
};

struct tern_apply_table {
    char name[TERN_NAME_MAX + 1];
    enum tern_table_kind kind;
    uint64_t rows, keys, bytes;
    uint64_t bad_rows, duplicates, overlaps;
    uint64_t previous_rows, previous_bytes; /* 0 when it is new */
    bool reused;                            /* shared with the generation before */
    bool looked_at;                         /* its source was: it is what is served, or `error` */
    bool kept;                              /* the source failed, the rows of before serve on */
    uint64_t source_bytes;                  /* of the source as it lies there */
    uint64_t loaded_at_us;                  /* wall clock: when the rows were read, 0: not known */
    double build_ms;
    char error[320]; /* of the source; empty: none */
};

enum tern_collection_change {
    TERN_COLLECTION_SAME,
    TERN_COLLECTION_ADJUSTED, /* how it is searched, in place */
    TERN_COLLECTION_ADDED,
    TERN_COLLECTION_REBUILT, /* beside the one before */
};

struct tern_apply_collection {
    char name[TERN_NAME_MAX + 1];
    enum tern_collection_change change;
    uint64_t capacity;       /* vectors */
    uint64_t reserved_bytes; /* address space */
    uint64_t vectors;        /* put into it before it was published */
    double build_ms;
    char error[320]; /* why it has no object; empty: it has */
};

struct tern_apply_seat {
    unsigned seat;
    uint32_t pid;
    int answer; /* enum tern_answer; TERN_ANSWER_NONE: lagging */
    char reason[256];
};

struct tern_apply_result {
    uint64_t generation; /* of a dry run: the one it would get */
    bool published;
    bool unchanged;        /* with only_changes: there was nothing to publish */
    unsigned failed_table; /* 1-based: the one whose source refused the whole; 0: none did */
    bool acknowledged;     /* false with published: no seat answered (UNACKED) or one lags */
    bool unarchived; /* it serves, but the state directory could not keep it: `error` says why */
    uint32_t rules, conjunctions, units;
    uint64_t rows_bytes;
    uint32_t residual_comparisons, residual_rules; /* asked of candidates alone (rules_bytes) */
    uint64_t unfitted_rows_bytes; /* about what the rows would take with them; 0: there are none */
    uint64_t new_bytes, shared_bytes; /* of sections written and reused */
    uint8_t config_hash[16];
    struct tern_apply_table *tables; /* in the order of the configuration */
    unsigned table_count;
    struct tern_apply_collection *collections; /* likewise */
    unsigned collection_count;
    unsigned tests_run, tests_failed;
    struct tern_apply_seat *seats;
    unsigned seat_count;
    double read_ms, build_ms, compile_ms, verify_ms, announce_ms, publish_ms, total_ms;
};

/* Publishes `config`. On failure nothing changed: the old generation keeps serving, `diagnostics`
 * has placed errors (bad rows carry the source's place), `error` the summary ("table users: cannot
 * open data/users.csv: …"). Codes: TERN_EINVAL bad configuration or rows, TERN_EIO/ENOENT source,
 * TERN_ENOSPC does not fit, TERN_EREFUSED a seat rejected it (its reason in `result->seats` and
 * `error`), TERN_EIO verify failed. `result` is filled as far as it came; free it with
 * _result_free. */
int tern_pipeline_apply(struct tern_pipeline *pipeline, const struct tern_config *config,
                        const struct tern_apply_options *options, struct tern_apply_result *result,
                        struct tern_diagnostics *diagnostics, struct tern_error *error);
void tern_apply_result_free(struct tern_apply_result *result);

/* Publishes a retained generation (0: the last one) from STATE_DIR's packed sections under a new
 * number. For a start whose sources are missing, and for rollback. */
int tern_pipeline_restore(struct tern_pipeline *pipeline, uint64_t generation,
                          const struct tern_apply_options *options,
                          struct tern_apply_result *result, struct tern_error *error);

/* The tables that are served now, as an apply would report them; *tables is the caller's to free.
 * None and 0 when nothing is served. From the thread that applies. */
int tern_pipeline_tables(const struct tern_pipeline *pipeline, struct tern_apply_table **tables,
                         unsigned *count);

struct tern_pipeline_seat {
    unsigned seat;
    uint32_t pid;
    uint64_t generation; /* lowest of its loops */
    uint64_t started_at_us;
    unsigned loops;
    char backend[16];
    char backend_reason[120];
    bool stuck; /* holds an old epoch or pin for more than 5 s */
    uint64_t quarantined_bytes;
};

struct tern_pipeline_reader { /* a process that decides by itself */
    unsigned page;
    uint32_t pid;
    char name[TERN_NAME_MAX + 1];
    uint64_t generation; /* the oldest that one of its contexts uses; 0: none is in use */
    uint64_t started_at_us;
    unsigned contexts; /* in use */
    bool stuck;        /* as of a seat */
    uint64_t quarantined_bytes;
};

struct tern_pipeline_status {
    uint64_t generation, seq, epoch;
    uint64_t arena_bytes, used_bytes, quarantined_bytes, free_bytes;
    uint64_t reserved_bytes; /* address space of collections; what is used of it, they say */
    bool huge_pages;
    uint64_t collections_huge_bytes; /* put on huge pages since the start */
    uint64_t published_at_us;
    struct tern_pipeline_seat seats[16];
    unsigned seat_count;
    struct tern_pipeline_reader readers[64];
    unsigned reader_count;
    char replaced[256]; /* why the arena found at the start was not taken over; empty: it was */
};
void tern_pipeline_status(struct tern_pipeline *pipeline, struct tern_pipeline_status *status);

/* Frees what grace has released; call it every 100 ms or so from the thread that applies. */
void tern_pipeline_tick(struct tern_pipeline *pipeline);

#endif
