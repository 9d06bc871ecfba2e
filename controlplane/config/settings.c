#include "controlplane/config/settings.h"

#include "controlplane/config/secret.h"
#include "shared/settings.h"

/* The reader has bounded the text; the rest of `room` stays zero. */
static void copy_text(char *into, size_t room, const struct tern_text *text)
{
    assert(text->length < room);
    memcpy(into, text->text, text->length < room ? text->length : room - 1);
}

static void describe_log(const struct tern_config_decision_log *log, struct tern_settings *settings)
{
    settings->log_on = log->on;
    settings->log_always = log->always;
    settings->log_sample_permille = (uint16_t)log->sample_permille;
    settings->log_files = (uint16_t)log->files;
    settings->log_file_bytes = log->file_bytes;
    settings->log_file_us = log->file_us;
    if (log->directory != NULL)
        snprintf(settings->log_directory, sizeof settings->log_directory, "%s", log->directory);
}

int tern_settings_build(const struct tern_config *config, const uint8_t instance_secret[32],
                        struct tern_buffer *out, struct tern_diagnostics *diagnostics)
{
    struct tern_settings settings = {
        .workers = config->workers,
        .helpers = (uint8_t)config->helpers,
        .listen_count = config->listen_count,
        .idle_us = config->limits.idle_us,
        .half_frame_us = config->limits.half_frame_us,
        .deadline_us = config->limits.deadline_us,
        .max_frame_bytes = (uint32_t)config->limits.max_frame_bytes,
        .connections = (uint32_t)config->limits.connections,
        .ignore_unknown_fields = config->ignore_unknown_fields,
    };
    int result = tern_secret_digest_tokens(config, instance_secret, &settings, diagnostics);

    if (result != 0)
        return result;
    describe_log(&config->decision_log, &settings);
    copy_text(settings.instance, sizeof settings.instance, &config->instance);
    for (unsigned i = 0; i < config->listen_count; i++)
        copy_text(settings.listen[i], sizeof settings.listen[i], &config->listen[i]);
    return tern_buffer_append(out, &settings, sizeof settings);
}
