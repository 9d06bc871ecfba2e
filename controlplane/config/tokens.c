/* `tokens:`, what a client has to show, and `decision_log:`, what is kept of the decisions. */
#include "controlplane/config/quantity.h"
#include "controlplane/config/reader.h"
#include "controlplane/config/secret.h"

#define DAY_US (86400 * 1000000ull)

/* A text that says where a secret is. What stands there instead may be one, so it is not repeated.
 */
static void read_secret(struct tern_config_reader *reader, const struct tern_config_key *key,
                        const struct tern_yaml_node *node, void *member)
{
    if (!tern_config_expect(reader, node, TERN_YAML_SCALAR, key->name))
        return;
    if (tern_secret_is_reference(&node->text))
        *(struct tern_text *)member = node->text;
    else
        TERN_CONFIG_ERROR(reader, node->place,
                          "'%s' does not stand in a configuration: write where it is, "
                          "'${env:NAME}' or '${file:PATH}'",
                          key->name);
}

static void read_token(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                       void *element)
{
#define TOKEN(member_name) offsetof(struct tern_config_token, member_name)
    static const struct tern_config_key keys[] = {
        {.name = "name",
         .read = tern_config_read_identifier,
         .offset = TOKEN(name),
         .required = true},
        {.name = "secret", .read = read_secret, .offset = TOKEN(secret), .required = true},
    };
#undef TOKEN
    tern_config_read_mapping(reader, node, "a token", keys, TERN_COUNT(keys), element);
}

void tern_config_read_tokens(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, void *member)
{
    struct tern_config *config = member;

    config->tokens = tern_config_read_list(reader, key, node, sizeof *config->tokens,
                                           TERN_TOKENS_MAX, read_token, &config->token_count);
    tern_config_check_unique(reader, "token", config->tokens, config->token_count,
                             sizeof *config->tokens);
}

/* ---- decision_log ---- */

static void read_always(struct tern_config_reader *reader, const struct tern_config_key *key,
                        const struct tern_yaml_node *node, void *member)
{
    uint8_t actions = 0;

    if (!tern_config_expect(reader, node, TERN_YAML_SEQUENCE, key->name))
        return;
    for (const struct tern_yaml_node *item = node->first; item != NULL; item = item->next) {
        int action;

        if (!tern_config_expect(reader, item, TERN_YAML_SCALAR, key->name))
            continue;
        action = tern_config_choose(reader, key->name, &item->text, tern_config_answers);
        if (action >= 0)
            actions |= (uint8_t)(1 << action);
    }
    *(uint8_t *)member = actions;
}

static void read_share(struct tern_config_reader *reader, const struct tern_config_key *key,
                       const struct tern_yaml_node *node, void *member)
{
    uint64_t permille;

    if (!tern_config_expect(reader, node, TERN_YAML_SCALAR, key->name))
        return;
    if (tern_quantity_share(node->text.text, node->text.length, &permille) != 0 || permille > 1000)
        TERN_CONFIG_ERROR(reader, node->text.place,
                          "'%s' takes a share such as 1%%, 0.5%% or 100%%, not '%s'", key->name,
                          node->text.text);
    else
        *(uint64_t *)member = permille;
}

/* Relative to the configuration file; ends up absolute where the file's path is. */
static void read_directory(struct tern_config_reader *reader, const struct tern_config_key *key,
                           const struct tern_yaml_node *node, void *member)
{
    const char *path = reader->config->path, *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash + 1 - path);
    struct tern_text text = {0};
    char *joined;

    tern_config_read_text(reader, key, node, &text);
    if (text.text == NULL)
        return;
    if (text.text[0] == '/')
        folder = 0;
    if (folder + text.length >= TERN_LOG_DIRECTORY_BYTES) {
        TERN_CONFIG_ERROR(reader, text.place, "the path of '%s' has at most %u bytes", key->name,
                          TERN_LOG_DIRECTORY_BYTES - 1);
        return;
    }
    joined = tern_config_take(reader, folder + text.length + 1);
    if (joined == NULL)
        return;
    memcpy(joined, path, folder);
    memcpy(joined + folder, text.text, text.length);
    *(const char **)member = joined;
}

void tern_config_read_decision_log(struct tern_config_reader *reader,
                                   const struct tern_config_key *key,
                                   const struct tern_yaml_node *node, void *member)
{
#define LOG(member_name) offsetof(struct tern_config_decision_log, member_name)
    static const struct tern_config_key keys[] = {
        {.name = "always", .read = read_always, .offset = LOG(always)},
        {.name = "sample", .read = read_share, .offset = LOG(sample_permille)},
        {.name = "rotate",
         .read = tern_config_read_size,
         .offset = LOG(file_bytes),
         .minimum = TERN_LOG_FILE_MIN,
         .maximum = 1ull << 40},
        {.name = "rotate_every",
         .read = tern_config_read_duration,
         .offset = LOG(file_us),
         .minimum = 1000000,
         .maximum = 365 * DAY_US},
        {.name = "keep",
         .read = tern_config_read_count,
         .offset = LOG(files),
         .minimum = 1,
         .maximum = TERN_LOG_FILES_MAX},
        {.name = "directory", .read = read_directory, .offset = LOG(directory)},
    };
#undef LOG
    struct tern_config_decision_log *log = member;

    (void)key;
    *log = (struct tern_config_decision_log){
        .on = true,
        .always = 1 << TERN_DENY,
        .sample_permille = 10,
        .file_bytes = 64ull << 20,
        .files = 16,
    };
    tern_config_read_mapping(reader, node, "'decision_log'", keys, TERN_COUNT(keys), log);
}
