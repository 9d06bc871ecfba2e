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
    *settings = found;
    return 0;
}
