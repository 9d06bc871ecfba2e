#include "shared/settings.h"

static bool is_terminated(const char *text, size_t room)
{
    return memchr(text, 0, room) != NULL;
}

int tern_settings_open(const void *section, size_t length, const struct tern_settings **settings,
                       struct tern_error *error)
{
    const struct tern_settings *found = section;

    if (length != sizeof *found || (uintptr_t)section % alignof(struct tern_settings) != 0)
        return tern_error_set(error, TERN_ECORRUPT, "settings: %zu bytes, expected %zu", length,
                              sizeof *found);
    if (found->workers < 1 || found->workers > TERN_LOOPS_MAX)
        return tern_error_set(error, TERN_ECORRUPT, "settings: %u workers", found->workers);
    if (found->helpers > TERN_HELPERS_MAX)
        return tern_error_set(error, TERN_ECORRUPT, "settings: %u helpers", found->helpers);
    if (found->listen_count > TERN_LISTEN_MAX)
        return tern_error_set(error, TERN_ECORRUPT, "settings: %u endpoints", found->listen_count);
    if (found->max_frame_bytes < TERN_FRAME_HEADER || found->max_frame_bytes > TERN_MAX_FRAME_LIMIT)
        return tern_error_set(error, TERN_ECORRUPT, "settings: frames of %u bytes",
                              found->max_frame_bytes);
    if (found->connections == 0 || found->idle_us == 0 || found->half_frame_us == 0 ||
        found->deadline_us == 0 || found->ignore_unknown_fields > 1)
        return tern_error_set(error, TERN_ECORRUPT, "settings: a limit is zero");
    if (!is_terminated(found->instance, sizeof found->instance))
        return tern_error_set(error, TERN_ECORRUPT, "settings: the instance's name has no end");
    for (uint32_t i = 0; i < found->listen_count; i++)
        if (!is_terminated(found->listen[i], sizeof found->listen[i]))
            return tern_error_set(error, TERN_ECORRUPT, "settings: endpoint %u has no end", i);
    if (found->token_count > TERN_TOKENS_MAX)
        return tern_error_set(error, TERN_ECORRUPT, "settings: %u tokens", found->token_count);
    for (unsigned i = 0; i < found->token_count; i++)
        if (!is_terminated(found->tokens[i].name, sizeof found->tokens[i].name))
            return tern_error_set(error, TERN_ECORRUPT, "settings: the name of token %u has no end",
                                  i);
    if (found->log_on > 1 || found->log_sample_permille > 1000 ||
        (found->log_on && (found->log_files < 1 || found->log_file_bytes < TERN_LOG_FILE_MIN)))
        return tern_error_set(error, TERN_ECORRUPT, "settings: the decision log has no bounds");
    if (!is_terminated(found->log_directory, sizeof found->log_directory))
        return tern_error_set(error, TERN_ECORRUPT,
                              "settings: the decision log's directory has no end");
    *settings = found;
    return 0;
}

void tern_token_digest(const uint8_t salt[TERN_TOKEN_SALT_BYTES], const void *token, size_t length,
                       uint8_t digest[TERN_SHA256_BYTES])
{
    struct tern_sha256 sha;

    tern_sha256_begin(&sha);
    tern_sha256_add(&sha, salt, TERN_TOKEN_SALT_BYTES);
    tern_sha256_add(&sha, token, length);
    tern_sha256_end(&sha, digest);
}

unsigned tern_settings_find_token(const struct tern_settings *settings, const void *token,
                                  size_t length)
{
    uint8_t digest[TERN_SHA256_BYTES];
    unsigned found = 0;

    tern_token_digest(settings->token_salt, token, length, digest);
    for (unsigned i = 0; i < settings->token_count; i++)
        found = tern_sha256_same(digest, settings->tokens[i].digest) ? i + 1 : found;
    return found;
}
