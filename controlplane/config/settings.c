#include "controlplane/config/settings.h"

#include "shared/settings.h"

/* The reader has bounded the text; the rest of `room` stays zero. */
static void copy_text(char *into, size_t room, const struct tern_text *text)
{
    assert(text->length < room);
    memcpy(into, text->text, text->length < room ? text->length : room - 1);
}

int tern_settings_build(const struct tern_config *config, struct tern_buffer *out)
{
    struct tern_settings settings = {
        .workers = config->workers,
        .listen_count = config->listen_count,
        .idle_us = config->limits.idle_us,
        .half_frame_us = config->limits.half_frame_us,
        .deadline_us = config->limits.deadline_us,
        .max_frame_bytes = (uint32_t)config->limits.max_frame_bytes,
        .connections = (uint32_t)config->limits.connections,
        .ignore_unknown_fields = config->ignore_unknown_fields,
    };

    copy_text(settings.instance, sizeof settings.instance, &config->instance);
    for (unsigned i = 0; i < config->listen_count; i++)
        copy_text(settings.listen[i], sizeof settings.listen[i], &config->listen[i]);
    return tern_buffer_append(out, &settings, sizeof settings);
}
