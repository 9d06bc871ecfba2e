#include "controlplane/ctl/command.h"

#define ANY 100000u

const struct tern_command tern_commands[] = {
    {"up", "CONFIG", 1, 1, TERN_CTL_RUN_DIR | TERN_CTL_STATE_DIR | TERN_CTL_BACKEND | TERN_CTL_LOG,
     "run both processes in the foreground",
     "Checks CONFIG, starts tern-control and ternd, and restarts whichever dies. Prints a line "
     "that\n"
     "starts with `ready` once requests are answered. SIGINT or SIGTERM stops both; the exit code "
     "is\n"
     "then 0. A configuration that cannot be served at the start ends it with 1.\n"
     "A restarted tern-control leaves alone what is being served; CONFIG is applied again by the "
     "next\n"
     "`up`, or by `ternctl apply`.",
     tern_ctl_up},
    {"check", "CONFIG", 1, 1, TERN_CTL_JSON, "find every error of a configuration",
     "Reads CONFIG and parses its rules, without a running tern and without opening any source.\n"
     "Prints every error and warning as file:line:column; exits with 1 when there are errors.",
     tern_ctl_check},
    {"test", "CONFIG", 1, 1, TERN_CTL_JSON | TERN_CTL_EXPLAIN, "run the tests of a configuration",
     "Builds CONFIG from its sources in memory of its own, as `apply` would, and decides the "
     "request of\n"
     "every one of its `tests:`. Needs no running tern and changes nothing. --explain says how "
     "each "
     "test\n"
     "that failed was decided: rules, atoms, look-ups. Exits with 1 when a test fails or the "
     "configuration\n"
     "cannot be built.",
     tern_ctl_test},
    {"apply", "CONFIG", 1, 1,
     TERN_CTL_RUN_DIR | TERN_CTL_MESSAGE | TERN_CTL_DRY_RUN | TERN_CTL_FORCE_CHANGE |
         TERN_CTL_NEW_SCHEMA | TERN_CTL_JSON,
     "build and publish a configuration",
     "tern-control reads CONFIG and its sources, builds what has changed, verifies it, lets every "
     "ternd\n"
     "prepare it, and swaps it in at once. When anything fails the generation before keeps "
     "serving.\n"
     "--dry-run stops before publishing and shows rules added, removed, changed and moved, and "
     "rows and\n"
     "bytes of every table. --force-change accepts tables that change by more than their\n"
     "max_change allows. --new-schema lets fields and tables be removed, moved or retyped: "
     "connected\n"
     "clients go on with the ids they know for a minute and are asked to connect again.\n"
     "Exit codes: 0 published and acknowledged, 1 refused, 3 tern-control is not reachable,\n"
     "4 published, but no ternd acknowledged it or one lags behind.",
     tern_ctl_apply},
    {"status", "", 0, 0, TERN_CTL_RUN_DIR | TERN_CTL_JSON, "what is served, and by whom",
     "Generation, processes, memory, a running build, the last publish and the last failure. With\n"
     "tern-control dead it shows what board and arena say, and exits with 3.",
     tern_ctl_status},
    {"stats", "", 0, 0,
     TERN_CTL_RUN_DIR | TERN_CTL_JSON | TERN_CTL_INTERVAL | TERN_CTL_RULES | TERN_CTL_LIMIT,
     "counters, verdicts, stage times, hits of rules",
     "Sums the counters and the stage histograms of all live ternd processes, since each started. "
     "Read\n"
     "from shared memory: works with tern-control dead, and costs the data plane nothing.\n"
     "With --interval it looks twice and adds rates, and what every loop is busy with; verdicts, "
     "stages\n"
     "and hits are then those of the interval. --rules lists rules by their hits (-n of them); "
     "what "
     "a\n"
     "rule hits in shadow is counted apart from what it decides. Counts of a rule go on through\n"
     "generations, as long as a ternd lives.",
     tern_ctl_stats},
    {"budget", "", 0, 0,
     TERN_CTL_RUN_DIR | TERN_CTL_JSON | TERN_CTL_INTERVAL | TERN_CTL_WINDOWS | TERN_CTL_BUDGET,
     "where the time of a request goes",
     "Every DECIDE request's time, from when it was there until the kernel has its reply, stage "
     "by\n"
     "stage: share of the whole, percentiles. Looks at --windows intervals of --interval (default "
     "3 "
     "of\n"
     "1s) and says how many requests took more than --budget, now and since the start, and how far "
     "the\n"
     "tail moves. Works with tern-control dead.",
     tern_ctl_budget},
    {"top", "", 0, 0, TERN_CTL_RUN_DIR | TERN_CTL_INTERVAL | TERN_CTL_JSON,
     "what tern is doing, live",
     "A full screen, renewed every --interval (default 1s): rates, verdicts, what is dropped, "
     "stages,\n"
     "loops, the rules that hit most. Keys: q quits, + and - change the interval, space looks at "
     "once.\n"
     "Where standard output is no terminal it looks once and prints; --json writes what `stats "
     "--interval\n"
     "--rules --json` does. Works with tern-control dead.",
     tern_ctl_top},
    {"readers", "", 0, 0, TERN_CTL_RUN_DIR | TERN_CTL_JSON,
     "who maps the arena, and what each pins",
     "Every live ternd seat with its loops: generation, epoch, pin and the age of its heartbeat. "
     "Read\n"
     "from shared memory: works with tern-control dead.",
     tern_ctl_readers},
    {"decide", "FIELD=VALUE ...", 1, ANY,
     TERN_CTL_RUN_DIR | TERN_CTL_JSON | TERN_CTL_EXIT_CODE | TERN_CTL_KEY | TERN_CTL_ADDRESS |
         TERN_CTL_TOKEN_FILE,
     "ask for one verdict",
     "Sends one DECIDE to ternd, as any client would. Values are given as in `tests:` of a\n"
     "configuration: ip=10.1.2.3 path=/login user=42 text_vector=0.1,0.2,...\n"
     "Exit codes: 0 answered, 1 refused by ternd (with --exit-code also: anything but allow),\n"
     "2 an unknown field or a value that does not fit, 3 ternd is not reachable.",
     tern_ctl_decide},
    {"explain", "FIELD=VALUE ...", 1, ANY,
     TERN_CTL_RUN_DIR | TERN_CTL_JSON | TERN_CTL_KEY | TERN_CTL_ADDRESS | TERN_CTL_TOKEN_FILE,
     "why one verdict is what it is",
     "Asks the running ternd to decide one request and to say how: look-ups, rules that matched, "
     "the\n"
     "first ones that did not with each of their atoms, and the time of every stage. The same code "
     "and\n"
     "the same snapshot as any request's.",
     tern_ctl_explain},
    {"log", "", 0, 0,
     TERN_CTL_RUN_DIR | TERN_CTL_STATE_DIR | TERN_CTL_LIMIT | TERN_CTL_FOLLOW | TERN_CTL_RULE |
         TERN_CTL_ACTION | TERN_CTL_KEY | TERN_CTL_JSON,
     "decisions that were written down",
     "The last decisions in the files of the decision log, the newest last; with --follow also "
     "what\n"
     "comes. What stands there is up to `decision_log:` of the configuration. --json prints the "
     "lines\n"
     "as they are. Works with tern-control dead.",
     tern_ctl_log},
    {"history", "[GENERATION]", 0, 1, TERN_CTL_RUN_DIR | TERN_CTL_JSON | TERN_CTL_LIMIT,
     "what was published, and what was refused",
     "Newest first. `*` marks the generation that is served. With GENERATION all that is kept of "
     "it:\n"
     "who published it and why, rules added, removed, changed and moved, rows and bytes of the "
     "tables\n"
     "that changed, its tests, its configuration (in the JSON). A row that stays `publishing` "
     "cannot be:\n"
     "what a crash interrupts is settled at the next start by what the arena says.",
     tern_ctl_history},
    {"rollback", "[GENERATION]", 0, 1,
     TERN_CTL_RUN_DIR | TERN_CTL_MESSAGE | TERN_CTL_RULES_ONLY | TERN_CTL_JSON,
     "publish a retained generation again",
     "Without GENERATION, the one served before the present one. Its packed sections are "
     "published\n"
     "under a new number: nothing is read from sources and nothing is compiled. Refreshes of "
     "sources\n"
     "are held until `ternctl resume`. The last three generations are retained, and the last one "
     "of\n"
     "each of the last three configurations.\n"
     "--rules-only compiles the rules of GENERATION (default: the newest one with other rules) "
     "over the\n"
     "tables and fields that are served now, which stay as they are, as do refreshes; it is "
     "refused when\n"
     "they do not fit. Exit codes as of `apply`.",
     tern_ctl_rollback},
    {"resume", "", 0, 0, TERN_CTL_RUN_DIR | TERN_CTL_MESSAGE | TERN_CTL_JSON,
     "let refreshes of sources run again",
     "A rollback holds them, also over restarts, so that they do not undo it. All that have a "
     "`refresh`\n"
     "are due at once.",
     tern_ctl_resume},
    {"audit", "", 0, 0, TERN_CTL_RUN_DIR | TERN_CTL_JSON | TERN_CTL_LIMIT,
     "who asked for what, and what came of it",
     "Every apply, dry run, rollback, resume and start: user, process, message, what changed or "
     "why it\n"
     "was refused. Newest first.",
     tern_ctl_audit},
    {"wait", "", 0, 0, TERN_CTL_RUN_DIR | TERN_CTL_GENERATION | TERN_CTL_TIMEOUT,
     "until a generation is served by every ternd",
     "Returns 0 once at least one ternd is alive and every loop of every live one serves "
     "generation N\n"
     "or a later one; 1 when the time is over. Works with tern-control dead.",
     tern_ctl_wait},
    {"table", "get TABLE KEY", 3, 3,
     TERN_CTL_RUN_DIR | TERN_CTL_JSON | TERN_CTL_ADDRESS | TERN_CTL_TOKEN_FILE,
     "look one key up in a table",
     "Sends one LOOKUP to ternd: the record of a map, or whether a set holds the key.\n"
     "Exit codes: 0 found, 1 not found, 2 no such table or a key that does not fit, 3 not "
     "reachable.",
     tern_ctl_table},
    {"ingest", "COLLECTION FILE", 2, 2,
     TERN_CTL_RUN_DIR | TERN_CTL_FORMAT | TERN_CTL_RAW | TERN_CTL_IDS | TERN_CTL_DELETE |
         TERN_CTL_JSON,
     "write vectors into a collection, or remove them",
     "Reads vectors with their payload from FILE (- is standard input; gzip is recognised) and "
     "gives\n"
     "them to tern-control, some batches ahead of their acknowledgements. What is acknowledged is "
     "on disk\n"
     "and found by every search. An id that is there gets the new vector and payload: after "
     "whatever went\n"
     "wrong, the same command may be given again.\n"
     "CSV: the first line names the columns: id; `vector` (numbers between blanks, with or without "
     "[ ])\n"
     "or v0, v1, ...; payload by its names. JSON lines: {\"id\": 7, \"vector\": [...], "
     "\"label\": \"spam\"}.\n"
     "An empty cell or null is no value. Raw: f32, little-endian, nothing between.\n"
     "--delete removes the ids of FILE: one a line, or the id of each row of any format above.\n"
     "Stops at the first row that is wrong, or when it is interrupted, and says how far it came.\n"
     "Exit codes: 0 all of it is acknowledged, 1 not all, 3 tern-control is not reachable.",
     tern_ctl_ingest},
    {"search", "COLLECTION", 1, 1,
     TERN_CTL_RUN_DIR | TERN_CTL_VECTOR | TERN_CTL_VECTOR_FILE | TERN_CTL_ID | TERN_CTL_K |
         TERN_CTL_EF | TERN_CTL_FILTER | TERN_CTL_EXACT | TERN_CTL_JSON | TERN_CTL_TIMEOUT |
         TERN_CTL_ADDRESS | TERN_CTL_TOKEN_FILE,
     "the vectors of a collection that resemble one most",
     "Sends one SEARCH to ternd, as any client would, and shows the hits with their payload, the "
     "best\n"
     "first. The score is the cosine similarity or the dot product; with metric l2 the distance. "
     "A filter\n"
     "is written like a rule's `when`, over the payload's columns:\n"
     "--filter 'label == \"fraud\" and tenant in {1, 2} and not time < 1700000000'\n"
     "With --id it first asks tern-control for the stored vector of that id, shows its payload, "
     "and "
     "looks\n"
     "for what resembles it: the vector itself is left out of the hits.\n"
     "Exit codes: 0 answered, also when nothing is found, 1 refused or no such id, 2 no such "
     "collection, a\n"
     "vector that does not fit it or a filter that is none, 3 not reachable.",
     tern_ctl_search},
    {"collection", "drop NAME", 2, 2,
     TERN_CTL_RUN_DIR | TERN_CTL_MESSAGE | TERN_CTL_YES | TERN_CTL_JSON,
     "drop what is stored of a collection that is not configured any more",
     "Vectors stay in the store when their collection is taken out of the configuration, so that a "
     "rollback\n"
     "finds them. This ends them: it says how many there are, asks, and drops them for good. A "
     "collection\n"
     "of that name then begins empty, and with its `source:` again. Refused while the generation "
     "that is\n"
     "served has it. Their room in the store is used again; the file does not shrink.\n"
     "Exit codes: 0 dropped, 1 refused, not wanted, or nothing there, 3 tern-control is not "
     "reachable.",
     tern_ctl_collection},
    {"support-dump", "[FILE]", 0, 1, TERN_CTL_RUN_DIR,
     "collect what a diagnosis needs in one archive",
     "Writes a tar archive (default: tern-support-TIME.tar here) with status, counters, readers, "
     "history and\n"
     "audit, the configuration that is served as it was written, what the kernel says of both "
     "processes and\n"
     "of the machine, and the names and sizes of the instance's files. No environment, no secrets, "
     "no\n"
     "requests and no contents of tables. What cannot be had is named in its MANIFEST: it works "
     "with\n"
     "either process dead. At most 4 MiB a part; nothing is overwritten.",
     tern_ctl_support_dump},
    {"completion", "bash|zsh|fish", 1, 1, 0, "a completion script for the shell",
     "bash: source <(ternctl completion bash)\n"
     "zsh:  source <(ternctl completion zsh), after compinit\n"
     "fish: ternctl completion fish | source",
     tern_ctl_completion},
};
const unsigned tern_command_count = TERN_COUNT(tern_commands);

const struct tern_command *tern_command_find(const char *name)
{
    for (unsigned i = 0; i < tern_command_count; i++)
        if (strcmp(tern_commands[i].name, name) == 0)
            return &tern_commands[i];
    return NULL;
}
