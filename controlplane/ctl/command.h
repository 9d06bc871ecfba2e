/* ternctl's one table of commands, and what a command line is once parsed. */
#ifndef TERN_CTL_COMMAND_H
#define TERN_CTL_COMMAND_H

#include "shared/base.h"
#include "shared/error.h"

enum tern_exit {
    TERN_EXIT_OK = 0,
    TERN_EXIT_REFUSED = 1,
    TERN_EXIT_USAGE = 2,
    TERN_EXIT_UNREACHABLE = 3,
    TERN_EXIT_UNACKNOWLEDGED = 4, /* published, but no ternd said that it is ready */
};

/* Every option of every command: constant, short letter or 0, long name, value's name (NULL: none),
 * help. The list generates the parser, the help and the shell completion. */
#define TERN_CTL_OPTIONS(X)                                                                        \
    X(RUN_DIR, 0, "run-dir", "DIR", "the instance's run directory")                                \
    X(STATE_DIR, 0, "state-dir", "DIR", "where history and packed sections are kept")              \
    X(BACKEND, 0, "backend", "NAME", "of ternd: io_uring or epoll; default: the best there is")    \
    X(LOG, 0, "log", "FORMAT", "text (default) or json, on standard error")                        \
    X(MESSAGE, 'm', "message", "TEXT", "why, for the history")                                     \
    X(DRY_RUN, 0, "dry-run", NULL, "do everything but publish, and show the difference")           \
    X(FORCE_CHANGE, 0, "force-change", NULL, "accept tables that change by more than max_change")  \
    X(RULES_ONLY, 0, "rules-only", NULL, "its rules over the tables that are served now")          \
    X(NEW_SCHEMA, 0, "new-schema", NULL, "let fields and tables be removed, moved or retyped")     \
    X(JSON, 0, "json", NULL, "one JSON document on standard output")                               \
    X(EXIT_CODE, 0, "exit-code", NULL, "exit with 0 for allow, 1 for anything else")               \
    X(KEY, 0, "key", "NUMBER", "the decision key that goes with the request")                      \
    X(ADDRESS, 0, "address", "URL", "ask this listen address instead of the instance's")           \
    X(TOKEN_FILE, 0, "token-file", "FILE", "the token for ternd; default: $TERN_TOKEN, if any")    \
    X(GENERATION, 0, "generation", "N", "the generation to wait for")                              \
    X(TIMEOUT, 0, "timeout", "DURATION", "give up after (10ms, 5s, 2m; default 10s)")              \
    X(LIMIT, 'n', "limit", "N", "show at most N (default 20)")                                     \
    X(INTERVAL, 0, "interval", "DURATION", "look twice, so far apart, and show rates")             \
    X(WINDOWS, 0, "windows", "N", "look at so many intervals in turn (default 3)")                 \
    X(BUDGET, 0, "budget", "DURATION", "what a request may take; default: limits.deadline")        \
    X(RULES, 0, "rules", NULL, "what each rule has hit")                                           \
    X(EXPLAIN, 0, "explain", NULL, "say how each failed test was decided")                         \
    X(FOLLOW, 'f', "follow", NULL, "go on as more comes, until interrupted")                       \
    X(RULE, 0, "rule", "ID", "only what this rule decided")                                        \
    X(ACTION, 0, "action", "NAME", "only allow, deny, challenge or undecided")                     \
    X(FORMAT, 0, "format", "NAME", "csv, json (lines), raw (f32) or ids; default: by content")     \
    X(RAW, 0, "raw", NULL, "the same as --format raw")                                             \
    X(IDS, 0, "ids", "FILE", "of raw vectors: their ids, one a line; default: 0, 1, ...")          \
    X(DELETE, 0, "delete", NULL, "remove the ids of the file")                                     \
    X(VECTOR, 0, "vector", "NUMBERS", "what is looked for: 0.5,-1,...")                            \
    X(VECTOR_FILE, 0, "vector-file", "FILE",                                                       \
      "the same from a file, as text or raw f32; - is standard input")                             \
    X(YES, 'y', "yes", NULL, "do not ask")                                                         \
    X(ID, 0, "id", "N", "the collection's vector of that id is what is looked for")                \
    X(K, 'k', "k", "N", "how many hits, 1 to 1000 (default 10)")                                   \
    X(EF, 0, "ef", "N", "candidates the search keeps, up to 4096; default: the collection's")      \
    X(FILTER, 0, "filter", "EXPRESSION", "which vectors may be hits, by their payload")            \
    X(EXACT, 0, "exact", NULL, "compare every vector")                                             \
    X(HELP, 'h', "help", NULL, "this text")

enum tern_ctl_option_index {
#define X(constant, letter, name, value, help) TERN_CTL_INDEX_##constant,
    TERN_CTL_OPTIONS(X)
#undef X
        TERN_CTL_OPTION_COUNT
};
#define TERN_CTL_BIT(index) (UINT64_C(1) << (index))
enum tern_ctl_option { /* bits, for the sets that commands accept; wider than an int in GNU C */
#define X(constant, letter, name, value, help)                                                     \
    TERN_CTL_##constant = TERN_CTL_BIT(TERN_CTL_INDEX_##constant),
                       TERN_CTL_OPTIONS(X)
#undef X
};
_Static_assert(TERN_CTL_OPTION_COUNT <= 64, "a bit an option");

struct tern_ctl_option_text {
    char letter;
    const char *name;
    const char *value; /* NULL: takes none */
    const char *help;
};
extern const struct tern_ctl_option_text tern_ctl_options[TERN_CTL_OPTION_COUNT];

struct tern_invocation {
    uint64_t given; /* bits */
    const char *run_dir, *state_dir, *backend, *log, *message, *address, *token_file, *rule,
        *action, *format, *ids, *vector, *vector_file, *filter;
    bool json;
    uint64_t key, generation, timeout_us, id;
    uint64_t interval_us, budget_us; /* 0: not given */
    unsigned limit, windows, k, ef;
    unsigned argument_count;
    char **arguments; /* those that are no options, in order */
};

struct tern_command {
    const char *name;
    const char *arguments;                                /* "CONFIG", "FIELD=VALUE ...", or "" */
    unsigned minimum, maximum;                            /* how many arguments */
    uint64_t options;                                     /* besides HELP */
    const char *summary;                                  /* one line, for the list */
    const char *details;                                  /* paragraphs, for --help */
    int (*run)(const struct tern_invocation *invocation); /* returns an enum tern_exit */
};
extern const struct tern_command tern_commands[];
extern const unsigned tern_command_count;

const struct tern_command *tern_command_find(const char *name);

/* Parses what follows the command's name. Options and arguments may be mixed; "--" ends the
 * options;
 * `--name=value`, `--name value` and `-mvalue`, `-m value` all do. `invocation->arguments` must
 * have room for `argc` pointers. TERN_EINVAL with what was expected, also when the number of
 * arguments is wrong (but not with --help). */
int tern_invocation_parse(const struct tern_command *command, int argc, char **argv,
                          struct tern_invocation *invocation, struct tern_error *error);

/* "10ms", "5s", "2m", "1h", "250us". */
int tern_ctl_parse_duration(const char *text, uint64_t *us);
/* A whole decimal number, nothing else. */
int tern_ctl_parse_number(const char *text, uint64_t *number);

/* The handlers, one file each (history.c and rollback.c have two, decide.c two). */
int tern_ctl_up(const struct tern_invocation *invocation);
int tern_ctl_check(const struct tern_invocation *invocation);
int tern_ctl_apply(const struct tern_invocation *invocation);
int tern_ctl_status(const struct tern_invocation *invocation);
int tern_ctl_stats(const struct tern_invocation *invocation);
int tern_ctl_test(const struct tern_invocation *invocation);
int tern_ctl_budget(const struct tern_invocation *invocation);
int tern_ctl_log(const struct tern_invocation *invocation);
int tern_ctl_top(const struct tern_invocation *invocation);
int tern_ctl_readers(const struct tern_invocation *invocation);
int tern_ctl_search(const struct tern_invocation *invocation);
int tern_ctl_decide(const struct tern_invocation *invocation);
int tern_ctl_explain(const struct tern_invocation *invocation);
int tern_ctl_history(const struct tern_invocation *invocation);
int tern_ctl_rollback(const struct tern_invocation *invocation);
int tern_ctl_resume(const struct tern_invocation *invocation);
int tern_ctl_audit(const struct tern_invocation *invocation);
int tern_ctl_wait(const struct tern_invocation *invocation);
int tern_ctl_table(const struct tern_invocation *invocation);
int tern_ctl_support_dump(const struct tern_invocation *invocation);
int tern_ctl_collection(const struct tern_invocation *invocation);
int tern_ctl_ingest(const struct tern_invocation *invocation);
int tern_ctl_completion(const struct tern_invocation *invocation);

#endif
