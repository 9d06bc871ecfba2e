/* A configuration file from its bytes to struct tern_config. */
#include "controlplane/config/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define FILE_BYTES_MAX (64u << 20)

/* The configuration and all it points to go together. */
struct owner {
    struct tern_config config; /* first: what callers hold is a pointer to it */
    struct tern_memory memory;
};

/* ---- The file ---- */

static int fail(struct tern_diagnostics *diagnostics, const char *path, int code,
                const char *message)
{
    tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, (struct tern_place){path, 0, 0}, "%s",
                         message);
    return code;
}

static int fail_system(struct tern_diagnostics *diagnostics, const char *path, int saved_errno)
{
    struct tern_error error;

    tern_error_system(&error, saved_errno, "cannot read the configuration");
    return fail(diagnostics, path, error.code, error.message);
}

static int read_all(int fd, struct owner *owner, size_t size, struct tern_diagnostics *diagnostics)
{
    struct tern_config *config = &owner->config;
    ssize_t got = 1;

    config->text = tern_memory_take(&owner->memory, size + 2);
    if (config->text == NULL)
        return fail(diagnostics, config->path, TERN_ENOMEM, tern_error_text(TERN_ENOMEM));
    /* One byte more than fstat said, so that a file that grows meanwhile is seen. */
    while (config->text_length <= size && got > 0) {
        got = read(fd, config->text + config->text_length, size + 1 - config->text_length);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got < 0)
            return fail_system(diagnostics, config->path, errno);
        else
            config->text_length += (size_t)got;
    }
    if (config->text_length != size)
        return fail(diagnostics, config->path, TERN_EIO, "the file changes while it is read");
    return 0;
}

static int read_file(struct owner *owner, struct tern_diagnostics *diagnostics)
{
    const char *path = owner->config.path;
    /* Not blocking: a FIFO in place of a file is an error, not a hang. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    int result;

    if (fd < 0)
        return fail_system(diagnostics, path, errno);
    if (fstat(fd, &status) != 0)
        result = fail_system(diagnostics, path, errno);
    else if (!S_ISREG(status.st_mode))
        result = fail(diagnostics, path, TERN_EINVAL,
                      S_ISDIR(status.st_mode) ? "is a folder, not a configuration file"
                                              : "is no regular file");
    else if (status.st_size > FILE_BYTES_MAX)
        result = fail(diagnostics, path, TERN_EINVAL, "is larger than 64MiB");
    else
        result = read_all(fd, owner, (size_t)status.st_size, diagnostics);
    close(fd);
    return result;
}

/* ---- The top level ---- */

static void read_version(struct tern_config_reader *reader, const struct tern_config_key *key,
                         const struct tern_yaml_node *node, void *member)
{
    struct tern_text text = {0};

    (void)member;
    tern_config_read_text(reader, key, node, &text);
    if (text.text != NULL && strcmp(text.text, "1") != 0)
        TERN_CONFIG_ERROR(reader, text.place,
                          "'tern' is the version of the language: this build reads 1, not '%s'",
                          text.text);
}

static void read_workers(struct tern_config_reader *reader, const struct tern_config_key *key,
                         const struct tern_yaml_node *node, void *member)
{
    uint64_t workers = *(unsigned *)member;

    tern_config_read_count(reader, key, node, &workers);
    *(unsigned *)member = (unsigned)workers;
}

static const struct tern_config_choice unknown_fields_choices[] = {
    {"reject", 0}, {"ignore", 1}, {NULL, 0}};

static void read_unknown_fields(struct tern_config_reader *reader,
                                const struct tern_config_key *key,
                                const struct tern_yaml_node *node, void *member)
{
    int ignore = 0;

    tern_config_read_choice(reader, key, node, &ignore);
    *(bool *)member = ignore;
}

#define CONFIG(member_name) offsetof(struct tern_config, member_name)
static const struct tern_config_key top_keys[] = {
    {.name = "tern", .read = read_version, .required = true},
    {.name = "instance", .read = tern_config_read_identifier, .offset = CONFIG(instance)},
    {.name = "listen", .read = tern_config_read_listen},
    {.name = "workers",
     .read = read_workers,
     .offset = CONFIG(workers),
     .minimum = 1,
     .maximum = TERN_LOOPS_MAX},
    {.name = "helpers",
     .read = read_workers,
     .offset = CONFIG(helpers),
     .maximum = TERN_HELPERS_MAX},
    {.name = "arena",
     .read = tern_config_read_size,
     .offset = CONFIG(arena_bytes),
     .minimum = 8u << 20,
     .maximum = 16ull << 40},
    {.name = "limits", .read = tern_config_read_limits, .offset = CONFIG(limits)},
    {.name = "tokens", .read = tern_config_read_tokens},
    {.name = "decision_log", .read = tern_config_read_decision_log, .offset = CONFIG(decision_log)},
    {.name = "unknown_fields",
     .read = read_unknown_fields,
     .offset = CONFIG(ignore_unknown_fields),
     .choices = unknown_fields_choices},
    {.name = "fields", .read = tern_config_read_fields},
    {.name = "tables", .read = tern_config_read_tables},
    {.name = "collections", .read = tern_config_read_collections},
    {.name = "rules", .read = tern_config_read_rules},
    {.name = "thresholds", .read = tern_config_read_thresholds},
    {.name = "default",
     .read = tern_config_read_choice,
     .offset = CONFIG(default_action),
     .choices = tern_config_actions},
    {.name = "tests", .read = tern_config_read_tests},
};
#undef CONFIG

/* CPUs that this process may use, less one for everything else. */
static unsigned default_workers(void)
{
    cpu_set_t set;
    int count;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    count = CPU_COUNT(&set) - 1;
    return count < 1 ? 1 : count > (int)TERN_LOOPS_MAX ? TERN_LOOPS_MAX : (unsigned)count;
}

/* One is enough to keep long searches off the loops; a large machine can spare two. */
static unsigned default_helpers(unsigned workers)
{
    return workers >= 8 ? 2 : 1;
}

static int set_defaults(struct tern_config *config, struct tern_memory *memory)
{
    static const char listen[] = "tcp://127.0.0.1:7400", instance[] = "default";
    struct tern_place place = {config->path, 0, 0};

    config->workers = default_workers();
    config->helpers = default_helpers(config->workers);
    config->arena_bytes = 4ull << 30;
    config->limits = (struct tern_config_limits){
        .max_frame_bytes = TERN_MAX_FRAME_DEFAULT,
        .idle_us = 5 * 60 * 1000000ull,
        .half_frame_us = 10 * 1000000ull,
        .connections = 10000,
        .deadline_us = 10000,
        .rules_bytes = 64u << 20,
    };
    config->default_action = TERN_ALLOW;
    config->instance =
        (struct tern_text){.text = instance, .length = strlen(instance), .place = place};
    config->listen = tern_memory_take(memory, sizeof *config->listen);
    if (config->listen == NULL)
        return TERN_ENOMEM;
    *config->listen = (struct tern_text){.text = listen, .length = strlen(listen), .place = place};
    config->listen_count = 1;
    return 0;
}

static int read_tree(struct owner *owner, const struct tern_yaml_node *root,
                     struct tern_diagnostics *diagnostics)
{
    struct tern_config_reader reader = {&owner->config, &owner->memory, diagnostics, false};

    tern_config_read_mapping(&reader, root, "a configuration", top_keys, TERN_COUNT(top_keys),
                             &owner->config);
    if (!reader.out_of_memory) {
        tern_config_check_fields(&reader);
        tern_config_check_tables(&reader);
        tern_config_check_collections(&reader);
        tern_config_check_tests(&reader);
    }
    return reader.out_of_memory ? TERN_ENOMEM : 0;
}

/* `*tree_read` says whether there is anything in `owner` on TERN_EINVAL. */
static int read_config(struct owner *owner, struct tern_diagnostics *diagnostics, bool *tree_read)
{
    struct tern_config *config = &owner->config;
    size_t errors = diagnostics->error_count;
    struct tern_memory nodes = {0};
    struct tern_yaml_node *root;
    int result = config->text != NULL ? 0 : read_file(owner, diagnostics);

    if (result != 0)
        return result;
    result = set_defaults(config, &owner->memory);
    if (result == 0)
        result = tern_yaml_parse(config->path, config->text, config->text_length, &nodes,
                                 &owner->memory, diagnostics, &root);
    if (result == 0)
        result = read_tree(owner, root, diagnostics);
    tern_memory_free(&nodes);
    *tree_read = result == 0;
    if (result == TERN_ENOMEM)
        return fail(diagnostics, config->path, result, tern_error_text(result));
    return diagnostics->error_count != errors ? TERN_EINVAL : result;
}

/* `text` NULL: of the file. */
static int read_path(const char *path, const char *text, size_t length, struct tern_config **config,
                     bool partial, struct tern_diagnostics *diagnostics)
{
    struct owner *owner = calloc(1, sizeof *owner);
    bool tree_read = false;
    int result = TERN_ENOMEM;

    if (owner != NULL)
        owner->config.path = tern_memory_copy(&owner->memory, path, strlen(path));
    if (owner != NULL && text != NULL) {
        owner->config.text = tern_memory_copy(&owner->memory, text, length);
        owner->config.text_length = length;
    }
    if (owner == NULL || owner->config.path == NULL || (text != NULL && owner->config.text == NULL))
        fail(diagnostics, path, TERN_ENOMEM, tern_error_text(TERN_ENOMEM));
    else
        result = read_config(owner, diagnostics, &tree_read);
    if (result == 0 || (partial && tree_read))
        *config = &owner->config;
    else if (owner != NULL)
        tern_config_free(&owner->config);
    return result;
}

int tern_config_read(const char *path, struct tern_config **config,
                     struct tern_diagnostics *diagnostics)
{
    return read_path(path, NULL, 0, config, false, diagnostics);
}

int tern_config_read_kept(const char *path, const char *text, size_t length,
                          struct tern_config **config, struct tern_diagnostics *diagnostics)
{
    return read_path(path, text, length, config, false, diagnostics);
}

int tern_config_read_partial(const char *path, struct tern_config **config,
                             struct tern_diagnostics *diagnostics)
{
    return read_path(path, NULL, 0, config, true, diagnostics);
}

void tern_config_free(struct tern_config *config)
{
    struct owner *owner = (struct owner *)config;

    if (owner == NULL)
        return;
    tern_config_free(config->rules_of);
    tern_memory_free(&owner->memory);
    free(owner);
}

void tern_config_take_rules(struct tern_config *config, struct tern_config *rules)
{
    assert(config->rules_of == NULL && rules->rules_of == NULL);
    config->rules = rules->rules;
    config->rule_count = rules->rule_count;
    config->thresholds = rules->thresholds;
    config->threshold_count = rules->threshold_count;
    config->default_action = rules->default_action;
    config->tests = rules->tests;
    config->test_count = rules->test_count;
    config->rules_of = rules;
}

void tern_config_identity(const struct tern_config *config, uint8_t hash[16])
{
    const struct tern_config *rules = config->rules_of;
    XXH128_hash_t both[2] = {XXH3_128bits(config->text, config->text_length)};
    XXH128_canonical_t canonical;

    if (rules != NULL) {
        both[1] = XXH3_128bits(rules->text, rules->text_length);
        both[0] = XXH3_128bits(both, sizeof both);
    }
    XXH128_canonicalFromHash(&canonical, both[0]);
    memcpy(hash, canonical.digest, 16);
}
