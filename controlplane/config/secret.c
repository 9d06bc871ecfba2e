#include "controlplane/config/secret.h"

#include "shared/token.h"

#include <limits.h>

static const char env_prefix[] = "${env:", file_prefix[] = "${file:";

/* What stands between the prefix and the brace; false when it is not of this form. */
static bool between(const struct tern_text *text, const char *prefix, const char **name,
                    size_t *length)
{
    size_t prefix_length = strlen(prefix);

    if (text->length < prefix_length + 2 || strncmp(text->text, prefix, prefix_length) != 0 ||
        text->text[text->length - 1] != '}' || memchr(text->text, '\0', text->length) != NULL)
        return false;
    *name = text->text + prefix_length;
    *length = text->length - prefix_length - 1;
    return memchr(*name, '}', *length) == NULL;
}

bool tern_secret_is_reference(const struct tern_text *text)
{
    const char *name;
    size_t length;

    return between(text, env_prefix, &name, &length) || between(text, file_prefix, &name, &length);
}

static int read_environment(const char *name, char value[TERN_TOKEN_MAX + 1],
                            struct tern_error *error)
{
    const char *found = getenv(name);
    char what[TERN_TOKEN_MAX + 64];
    int result;

    if (found == NULL)
        return tern_error_set(error, TERN_ENOENT,
                              "tern-control has no environment variable '%.200s'", name);
    snprintf(what, sizeof what, "the environment variable '%.200s'", name);
    result = tern_token_check_length(what, strlen(found), error);
    if (result == 0)
        memcpy(value, found, strlen(found) + 1);
    return result;
}

static int read_file(const char *name, const char *config_path, char value[TERN_TOKEN_MAX + 1],
                     struct tern_error *error)
{
    const char *slash = strrchr(config_path, '/');
    size_t folder = name[0] == '/' || slash == NULL ? 0 : (size_t)(slash + 1 - config_path);
    char path[PATH_MAX];

    if (folder + strlen(name) >= sizeof path)
        return tern_error_set(error, TERN_EINVAL, "the path of a secret is too long");
    snprintf(path, sizeof path, "%.*s%s", (int)folder, config_path, name);
    return tern_token_read_file(path, value, error);
}

int tern_secret_read(const struct tern_text *reference, const char *config_path,
                     char value[TERN_TOKEN_MAX + 1], struct tern_error *error)
{
    bool is_env = strncmp(reference->text, env_prefix, strlen(env_prefix)) == 0;
    char copy[PATH_MAX];
    const char *name;
    size_t length;

    if (!between(reference, is_env ? env_prefix : file_prefix, &name, &length) ||
        length >= sizeof copy)
        return tern_error_set(error, TERN_EINVAL, "a secret is '${env:NAME}' or '${file:PATH}'");
    memcpy(copy, name, length);
    copy[length] = '\0';
    return is_env ? read_environment(copy, value, error)
                  : read_file(copy, config_path, value, error);
}

/* From the instance's secret, which never leaves the state directory. */
static void make_salt(const uint8_t instance_secret[32], uint8_t salt[TERN_TOKEN_SALT_BYTES])
{
    static const char purpose[] = "tern: salt of tokens";
    uint8_t digest[TERN_SHA256_BYTES];
    struct tern_sha256 sha;

    tern_sha256_begin(&sha);
    tern_sha256_add(&sha, instance_secret, 32);
    tern_sha256_add(&sha, purpose, sizeof purpose);
    tern_sha256_end(&sha, digest);
    memcpy(salt, digest, TERN_TOKEN_SALT_BYTES);
}

int tern_secret_digest_tokens(const struct tern_config *config, const uint8_t instance_secret[32],
                              struct tern_settings *settings, struct tern_diagnostics *diagnostics)
{
    char value[TERN_TOKEN_MAX + 1];
    struct tern_error error;
    int result = 0;

    if (config->token_count == 0)
        return 0;
    make_salt(instance_secret, settings->token_salt);
    settings->token_count = (uint8_t)config->token_count;
    for (unsigned i = 0; i < config->token_count; i++) {
        const struct tern_config_token *token = &config->tokens[i];
        struct tern_token *into = &settings->tokens[i];

        if (tern_secret_read(&token->secret, config->path, value, &error) != 0) {
            tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, token->secret.place,
                                 "token '%s': %s", token->name.text, error.message);
            result = TERN_EINVAL;
            continue;
        }
        memcpy(into->name, token->name.text, token->name.length);
        tern_token_digest(settings->token_salt, value, strlen(value), into->digest);
        for (unsigned before = 0; before < i; before++)
            if (tern_sha256_same(into->digest, settings->tokens[before].digest)) {
                tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, token->secret.place,
                                     "token '%s' is the same as token '%s'", token->name.text,
                                     config->tokens[before].name.text);
                result = TERN_EINVAL;
            }
    }
    explicit_bzero(value, sizeof value);
    return result;
}
