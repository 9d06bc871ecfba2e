/* STATE_DIR/state.db: what must survive a reboot besides the packed sections. The instance's
 * secret, the numbers that only grow, the history of every publish with its configuration, and an
 * audit of who asked for what.
 *
 * SQLite in WAL mode, readable by its owner only. A handle belongs to one thread at a time; another
 * thread opens its own (readers do not wait for the writer). */
#ifndef TERN_STORE_H
#define TERN_STORE_H

#include "controlplane/apply.h"
#include "controlplane/sources.h"
#include "shared/base.h"
#include "shared/error.h"

#define TERN_STORE_FILE       "state.db"
#define TERN_STORE_ROWS       4096u /* history rows kept */
#define TERN_STORE_REFRESHES  1024u /* of these, rows of refreshes */
#define TERN_STORE_LIVE_ROWS  64u   /* newest ones that were served, however many failed since */
#define TERN_STORE_TEXTS      64u   /* newest distinct configurations whose text is kept */
#define TERN_STORE_LIVE_TEXTS 16u   /* likewise of those that were served */
#define TERN_STORE_AUDITS     10000u

struct tern_store;

enum tern_history_state {
    TERN_HISTORY_PUBLISHING = 0, /* about to be swapped in */
    TERN_HISTORY_LIVE = 1,       /* was swapped in */
    TERN_HISTORY_FAILED = 2,     /* never served */
};
/* "publishing", "live", "failed". */
const char *tern_history_state_name(enum tern_history_state state);

enum tern_history_kind {
    TERN_HISTORY_START = 0,    /* --config at the start of tern-control */
    TERN_HISTORY_APPLY = 1,    /* asked for through the API */
    TERN_HISTORY_ROLLBACK = 2, /* likewise */
    TERN_HISTORY_RESTORE = 3,  /* the last good generation, because the start's build failed */
    TERN_HISTORY_REFRESH = 4,  /* a source changed, or failed, by its timer */
};
/* "start", "apply", "rollback", "restore", "refresh". */
const char *tern_history_kind_name(enum tern_history_kind kind);

struct tern_history_row {
    int64_t id;          /* set by the store */
    uint64_t generation; /* 0: failed before it was given one */
    enum tern_history_state state;
    enum tern_history_kind kind;
    uint64_t at_us; /* wall clock */
    uint32_t uid;
    uint32_t rules;
    uint64_t rows, bytes;
    double duration_ms;
    uint64_t restored_from; /* rollback and restore: the generation whose sections are used */
    char *message, *reason, *config_path;
    uint8_t config_hash[16];
    char *config_text; /* NULL when not asked for or no longer kept */
    size_t config_length;
    uint8_t rules_hash[16]; /* of the configuration whose rules it has; zeros: the same */
    char *rules_text;       /* likewise */
    size_t rules_length;
    uint8_t *details; /* what changed, packed (controlplane/details.h); only with the texts */
    size_t details_length;
};
/* Frees what the row points to, not the row. */
void tern_history_row_clear(struct tern_history_row *row);

/* Opens or creates the database. A file that is damaged, locked by another program, or written by a
 * newer tern is an error that names it: TERN_ECORRUPT, TERN_EBUSY, TERN_EABI, TERN_EACCES,
 * TERN_EIO. */
int tern_store_open(const char *state_dir, struct tern_store **store, struct tern_error *error);
void tern_store_close(struct tern_store *store);
/* How long a call waits for another program's lock before it fails with TERN_EBUSY; 2 s at first.
 */
void tern_store_set_patience(struct tern_store *store, unsigned patience_ms);

/* The 32 random bytes made with the database. */
int tern_store_secret(struct tern_store *store, uint8_t secret[32], struct tern_error *error);
int tern_store_numbers(struct tern_store *store, struct tern_pipeline_numbers *numbers,
                       struct tern_error *error);

/* Raises the numbers (each keeps its maximum) and, when `row` is not NULL, inserts it: one
 * transaction, on disk when it returns. Sets row->id. */
int tern_store_begin(struct tern_store *store, const struct tern_pipeline_numbers *numbers,
                     struct tern_history_row *row, struct tern_error *error);
/* Inserts a finished row (state live or failed) or, when row->id is not 0, updates state, reason,
 * message, counts, duration and details of the one that tern_store_begin inserted. Prunes old rows
 * and texts. */
int tern_store_finish(struct tern_store *store, struct tern_history_row *row,
                      struct tern_error *error);

/* Settles rows that a crash left `publishing`: the arena's root is the truth. The row of
 * `generation` went live, every other one failed. `*settled` counts them. */
int tern_store_settle(struct tern_store *store, uint64_t generation, unsigned *settled,
                      struct tern_error *error);

struct tern_history_query {
    unsigned limit;      /* newest first */
    uint64_t generation; /* not 0: this one only */
    bool with_text;      /* and details */
    bool live_only;
    bool no_refreshes;
};
/* `*rows` is an array of `*count`, freed by tern_history_free. None found is not an error. */
int tern_store_history(struct tern_store *store, const struct tern_history_query *query,
                       struct tern_history_row **rows, unsigned *count, struct tern_error *error);
void tern_history_free(struct tern_history_row *rows, unsigned count);

/* Records who asked for what, and how it ended. */
int tern_store_audit(struct tern_store *store, uint32_t uid, uint32_t pid, const char *action,
                     const char *outcome, struct tern_error *error);

/* Whether refreshes are held, so that a restart does not undo a rollback. */
int tern_store_hold(struct tern_store *store, struct tern_sources_hold *hold,
                    struct tern_error *error);
int tern_store_set_hold(struct tern_store *store, const struct tern_sources_hold *hold,
                        struct tern_error *error);

/* How far the first load of the collection `name` has come, into the store of vectors with that id.
 */
enum tern_store_load_state {
    TERN_STORE_LOAD_NONE,
    TERN_STORE_LOAD_BEGUN,
    TERN_STORE_LOAD_DONE,
};
struct tern_store_load {
    enum tern_store_load_state state;
    uint64_t rows;    /* of the file, that are written */
    uint8_t file[16]; /* names the file, as it is now */
};
int tern_store_load(struct tern_store *store, const char *name, const uint8_t vectors_id[16],
                    struct tern_store_load *load, struct tern_error *error);
int tern_store_set_load(struct tern_store *store, const char *name, const uint8_t vectors_id[16],
                        const struct tern_store_load *load, struct tern_error *error);

struct tern_audit_row {
    uint64_t at_us; /* wall clock */
    uint32_t uid, pid;
    char *action, *outcome;
};
/* The newest `limit` records, freed by tern_audit_free. */
int tern_store_audits(struct tern_store *store, unsigned limit, struct tern_audit_row **rows,
                      unsigned *count, struct tern_error *error);
void tern_audit_free(struct tern_audit_row *rows, unsigned count);

/* XXH3-128 of a configuration's text, as kept in rows. */
void tern_store_config_hash(const char *text, size_t length, uint8_t hash[16]);

#endif
