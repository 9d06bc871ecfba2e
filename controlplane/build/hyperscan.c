#include "controlplane/build/hyperscan.h"

#include <errno.h>
#include <hs/hs.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* One hit an id and value is enough. Values are bytes, not characters: HS_FLAG_UTF8 is undefined
 * for what is not UTF-8, and values come from outside. */
#define FLAGS HS_FLAG_SINGLEMATCH

#define ONE_S    10u  /* to compile one expression; the worst of sane ones take a second */
#define ALL_S    120u /* to compile all together */
#define MEMORY   (2ull << 30)
#define LOST_MAX 4 /* children that a check spends on expressions that exhaust them */
#define NOT_ONE  UINT32_MAX

enum child_code { /* how a child ends when it ends by itself */
                  CHILD_DONE = 0,
                  CHILD_REFUSED = 1, /* what it wrote is one reason */
                  CHILD_FULL = 2,    /* no room for the work or its result */
};

int tern_hyperscan_regex(struct tern_buffer *out, const void *bytes, size_t length)
{
    const uint8_t *byte = bytes;
    bool escaped = false, quoted = false; /* behind a backslash, between \Q and \E */
    int status = 0;

    for (size_t i = 0; i < length && status == 0; i++) {
        if (byte[i] == 0 && quoted)
            status = tern_buffer_append(out, "\\E\\x00\\Q", 8);
        else if (byte[i] == 0) /* an escaped one has its backslash already */
            status =
                escaped ? tern_buffer_append(out, "x00", 3) : tern_buffer_append(out, "\\x00", 4);
        else
            status = tern_buffer_append(out, &byte[i], 1);
        quoted = escaped && (byte[i] == 'Q' || byte[i] == 'E') ? byte[i] == 'Q' : quoted;
        escaped = byte[i] == '\\' && !(escaped && !quoted);
    }
    return status != 0 ? status : tern_buffer_append(out, "", 1);
}

int tern_hyperscan_literal(struct tern_buffer *out, const void *bytes, size_t length)
{
    const uint8_t *byte = bytes;
    int status = 0;

    for (size_t i = 0; i < length && status == 0; i++) {
        bool plain = (byte[i] >= 'a' && byte[i] <= 'z') || (byte[i] >= 'A' && byte[i] <= 'Z') ||
                     (byte[i] >= '0' && byte[i] <= '9');

        status = plain ? tern_buffer_append(out, &byte[i], 1)
                       : tern_buffer_printf(out, "\\x%02x", byte[i]);
    }
    return status != 0 ? status : tern_buffer_append(out, "", 1);
}

int tern_hyperscan_identity(struct tern_buffer *out)
{
    hs_platform_info_t platform;

    memset(&platform, 0, sizeof platform);
    if (hs_valid_platform() != HS_SUCCESS || hs_populate_platform(&platform) != HS_SUCCESS)
        return TERN_ENOTSUP;
    return tern_buffer_printf(out, "%s;%u;%llx;%x;", hs_version(), platform.tune,
                              platform.cpu_features, FLAGS);
}

/* ---- in the child ---- */

struct child {
    const struct tern_expression *expressions;
    size_t count;
    _Atomic uint32_t *at; /* shared: the expression at hand */
    int result;           /* a file of memory */
};

static void put(const struct child *child, const void *data, size_t length)
{
    const uint8_t *byte = data;

    while (length > 0) {
        ssize_t done = write(child->result, byte, length);

        if (done <= 0)
            _exit(CHILD_FULL);
        byte += done;
        length -= (size_t)done;
    }
}

static void put_reason(const struct child *child, uint32_t index, const char *reason)
{
    uint32_t head[2] = {index, (uint32_t)strnlen(reason, TERN_HYPERSCAN_REASON - 1)};

    head[1] -= head[1] > 0 && reason[head[1] - 1] == '.';
    put(child, head, sizeof head);
    put(child, reason, head[1]);
}

static const char *refusal(const char *message)
{
    return strstr(message, "ALLOWEMPTY") != NULL
               ? "it matches the empty string, so it would hold for every value"
               : message;
}

static const char *forbidden(const char *expression)
{
    return strncmp(expression, "(*", 2) == 0
               ? "option verbs such as (*UTF8) are not available: values are matched as bytes"
               : NULL;
}

/* NULL when it is taken. */
static const char *check_one(const struct tern_expression *expression)
{
    hs_compile_error_t *failure = NULL;
    hs_database_t *database = NULL;
    hs_expr_info_t *info = NULL;

    if (forbidden(expression->text) != NULL)
        return forbidden(expression->text);
    /* it knows within milliseconds of repetitions on which the compiler spends half a minute */
    if (hs_expression_info(expression->text, FLAGS, &info, &failure) != HS_SUCCESS)
        return refusal(failure->message);
    free(info);
    if (hs_compile(expression->text, FLAGS, HS_MODE_BLOCK, NULL, &database, &failure) != HS_SUCCESS)
        return refusal(failure->message);
    hs_free_database(database);
    return NULL;
}

static void check_each(const struct child *child)
{
    for (uint32_t i = atomic_load(child->at); i < child->count; i++) {
        const char *reason;

        atomic_store(child->at, i);
        alarm(ONE_S);
        reason = check_one(&child->expressions[i]);
        if (reason != NULL)
            put_reason(child, i, reason);
    }
}

static int note_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                      void *context)
{
    (void)id, (void)from, (void)to, (void)flags;
    *(bool *)context = true;
    return 0;
}

/* False for a library of the same interface that misses matches, as vectorscan 5.4.9 does: a
 * one-byte pattern at the end of a value of more than 64 bytes (docs/decisions/0019-hyperscan.md).
 * What it compiles would let through what a rule forbids. */
static bool finds_its_matches(void)
{
    char value[200];
    hs_database_t *database = NULL;
    hs_compile_error_t *failure = NULL;
    hs_scratch_t *scratch = NULL;
    bool found = hs_compile("x", FLAGS, HS_MODE_BLOCK, NULL, &database, &failure) == HS_SUCCESS &&
                 hs_alloc_scratch(database, &scratch) == HS_SUCCESS;

    memset(value, '.', sizeof value);
    for (unsigned length = 1; found && length <= sizeof value; length++) {
        value[length - 1] = 'x';
        found = false;
        hs_scan(database, value, length, 0, scratch, note_match, &found);
        value[length - 1] = '.';
    }
    hs_free_scratch(scratch);
    hs_free_database(database);
    return found;
}

/* The database, or which expression is not taken (NOT_ONE: no single one) and why. */
static void compile_all(const struct child *child)
{
    const char **texts = calloc(child->count + 1, sizeof(char *));
    unsigned *flags = calloc(child->count + 1, sizeof *flags);
    unsigned *ids = calloc(child->count + 1, sizeof *ids);
    hs_compile_error_t *failure = NULL;
    hs_database_t *database = NULL;
    hs_platform_info_t platform;
    char *bytes = NULL;
    size_t length = 0;

    if (texts == NULL || flags == NULL || ids == NULL)
        _exit(CHILD_FULL);
    for (size_t i = 0; i < child->count; i++) {
        texts[i] = child->expressions[i].text;
        flags[i] = FLAGS;
        ids[i] =
            (unsigned)i; /* one for several would send the compiler looking for what to merge */
        if (forbidden(texts[i]) != NULL) {
            put_reason(child, (uint32_t)i, forbidden(texts[i]));
            _exit(CHILD_REFUSED);
        }
    }
    alarm(ALL_S);
    if (!finds_its_matches()) {
        put_reason(child, NOT_ONE,
                   "the pattern library of this machine fails its test, it misses matches: put "
                   "hyperscan (Debian's libhyperscan5) in the place of vectorscan");
        _exit(CHILD_REFUSED);
    }
    memset(&platform, 0, sizeof platform);
    hs_populate_platform(&platform);
    if (hs_compile_multi(texts, flags, ids, (unsigned)child->count, HS_MODE_BLOCK, &platform,
                         &database, &failure) != HS_SUCCESS) {
        put_reason(child, failure->expression >= 0 ? (uint32_t)failure->expression : NOT_ONE,
                   refusal(failure->message));
        _exit(CHILD_REFUSED);
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the child's memory ends with it */
    if (hs_serialize_database(database, &bytes, &length) != HS_SUCCESS)
        _exit(CHILD_FULL);
    put(child, bytes, length);
}

static void limit_child(pid_t parent)
{
    char statm[64] = "";
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long long pages = 0;
    struct rlimit limit = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};

    if (file != NULL) {
        if (fgets(statm, sizeof statm, file) != NULL)
            pages = strtoull(statm, NULL, 10);
        fclose(file);
    }
    limit.rlim_cur = pages * (unsigned long long)sysconf(_SC_PAGESIZE) + MEMORY;
    if (pages > 0)
        setrlimit(RLIMIT_AS, &limit);
    limit = (struct rlimit){0, 0};
    setrlimit(RLIMIT_CORE, &limit);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(CHILD_FULL);
}

static void be_child(const struct child *child, void (*work)(const struct child *child),
                     pid_t parent)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* locks on the arena live as long as anybody has its file open */
    if (child->result > 3)
        close_range(3, (unsigned)child->result - 1, 0);
    close_range((unsigned)child->result + 1, ~0u, 0);
    limit_child(parent);
    work(child);
    _exit(CHILD_DONE);
}

/* ---- in the parent ---- */

/* Runs `work` in a child and appends what it wrote to `out`, whatever became of it: `*ending` is
 * its enum child_code, or minus the signal that ended it. */
static int run(struct child *child, void (*work)(const struct child *child),
               struct tern_buffer *out, int *ending, struct tern_error *error)
{
    pid_t parent = getpid(), pid;
    struct stat written;
    int wait_status = 0, status = 0;

    child->result = memfd_create("tern-patterns", MFD_CLOEXEC);
    if (child->result < 0)
        return tern_error_system(error, errno, "no memory file for patterns");
    pid = fork();
    if (pid == 0)
        be_child(child, work, parent);
    if (pid < 0) {
        status = tern_error_system(error, errno, "no process to compile patterns in");
        close(child->result);
        return status;
    }
    while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
    }
    *ending = WIFSIGNALED(wait_status) ? -WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    if (fstat(child->result, &written) != 0)
        status = tern_error_system(error, errno, "cannot read what was compiled");
    else
        status = tern_buffer_reserve(out, (size_t)written.st_size);
    for (off_t at = 0; status == 0 && at < written.st_size;) {
        ssize_t got =
            pread(child->result, out->data + out->length, (size_t)(written.st_size - at), at);

        if (got <= 0) {
            status = tern_error_set(error, TERN_EIO, "cannot read what was compiled");
        } else {
            out->length += (size_t)got;
            at += got;
        }
    }
    close(child->result);
    return status == TERN_ENOMEM ? tern_error_set(error, status, "no memory for patterns") : status;
}

/* Why a child did not come to its end. */
static const char *loss(int ending, unsigned limit_s, char text[TERN_HYPERSCAN_REASON])
{
    if (ending == -SIGALRM)
        snprintf(text, TERN_HYPERSCAN_REASON, "takes more than %u s to compile", limit_s);
    else if (ending < 0)
        snprintf(text, TERN_HYPERSCAN_REASON, "ends the compiler with signal %d", -ending);
    else
        snprintf(text, TERN_HYPERSCAN_REASON, "takes more than %llu MiB to compile", MEMORY >> 20);
    return text;
}

/* The next of the reasons that a child wrote; false at their end. */
static bool next_reason(const struct tern_buffer *bytes, size_t *at, uint32_t *index,
                        char reason[TERN_HYPERSCAN_REASON])
{
    uint32_t length;

    if (bytes->length - *at < 8)
        return false;
    *index = tern_load_u32(bytes->data + *at);
    length = tern_load_u32(bytes->data + *at + 4);
    if (length >= TERN_HYPERSCAN_REASON || length > bytes->length - *at - 8)
        return false;
    memcpy(reason, bytes->data + *at + 8, length);
    reason[length] = '\0';
    *at += 8 + length;
    return true;
}

static _Atomic uint32_t *shared_word(struct tern_error *error)
{
    void *word =
        mmap(NULL, sizeof(uint32_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (word == MAP_FAILED) {
        tern_error_set(error, TERN_ENOMEM, "no memory for patterns");
        return NULL;
    }
    return word;
}

int tern_hyperscan_check(const struct tern_expression *expressions, size_t count,
                         void (*refused)(void *context, size_t index, const char *reason),
                         void *context, struct tern_error *error)
{
    struct child child = {.expressions = expressions, .count = count};
    char reason[TERN_HYPERSCAN_REASON];
    int status = 0;

    if (count == 0)
        return 0;
    child.at = shared_word(error);
    if (child.at == NULL)
        return TERN_ENOMEM;
    for (unsigned losses = 0; losses < LOST_MAX && status == 0; losses++) {
        struct tern_buffer reasons = {0};
        size_t at = 0;
        uint32_t index;
        int ending = CHILD_DONE;

        status = run(&child, check_each, &reasons, &ending, error);
        while (status == 0 && next_reason(&reasons, &at, &index, reason))
            refused(context, index, reason);
        tern_buffer_free(&reasons);
        if (status != 0 || ending == CHILD_DONE)
            break;
        index = atomic_load(child.at);
        refused(context, index, loss(ending, ONE_S, reason));
        if (index + 1 >= count)
            break;
        atomic_store(child.at, index + 1);
    }
    munmap((void *)child.at, sizeof(uint32_t));
    return status;
}

int tern_hyperscan_compile(const struct tern_expression *expressions, size_t count,
                           struct tern_buffer *out, size_t *refused, struct tern_error *error)
{
    struct child child = {.expressions = expressions, .count = count};
    char reason[TERN_HYPERSCAN_REASON];
    size_t start = out->length, at = start;
    uint32_t index = NOT_ONE;
    int ending = CHILD_DONE, status = run(&child, compile_all, out, &ending, error);

    if (status != 0 || ending == CHILD_DONE)
        return status;
    if (ending != CHILD_REFUSED || !next_reason(out, &at, &index, reason))
        loss(ending, ALL_S, reason);
    out->length = start;
    if (index >= count)
        return tern_error_set(error, TERN_ELIMIT, "all patterns together: %s", reason);
    *refused = index;
    return tern_error_set(error, TERN_EINVAL, "%s", reason);
}
