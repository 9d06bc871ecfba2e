/* How the data plane runs, decided by the control plane: a section of every snapshot, and what a
 * starting ternd reads before the first one (envelope.settings). */
#ifndef TERN_SETTINGS_H
#define TERN_SETTINGS_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/layout.h"
#include "shared/limits.h"

struct tern_settings {
    uint32_t workers;      /* request loops; taken at start */
    uint32_t listen_count; /* taken at start */
    uint64_t idle_us;
    uint64_t half_frame_us;
    uint64_t deadline_us;
    uint32_t max_frame_bytes;
    uint32_t connections; /* of the whole process */
    uint8_t ignore_unknown_fields;
    uint8_t reserved[15];
    char instance[TERN_NAME_MAX + 1];
    /* "tcp://127.0.0.1:7400", "tcp://[::1]:7400", "unix:///run/tern/edge.sock"; NUL-terminated */
    char listen[TERN_LISTEN_MAX][TERN_LISTEN_BYTES];
};
TERN_LAYOUT_SIZE(tern_settings, 1144);
TERN_LAYOUT_FIELD(tern_settings, workers, 0);
TERN_LAYOUT_FIELD(tern_settings, listen_count, 4);
TERN_LAYOUT_FIELD(tern_settings, idle_us, 8);
TERN_LAYOUT_FIELD(tern_settings, half_frame_us, 16);
TERN_LAYOUT_FIELD(tern_settings, deadline_us, 24);
TERN_LAYOUT_FIELD(tern_settings, max_frame_bytes, 32);
TERN_LAYOUT_FIELD(tern_settings, connections, 36);
TERN_LAYOUT_FIELD(tern_settings, ignore_unknown_fields, 40);
TERN_LAYOUT_FIELD(tern_settings, reserved, 41);
TERN_LAYOUT_FIELD(tern_settings, instance, 56);
TERN_LAYOUT_FIELD(tern_settings, listen, 120);

/* Checks bounds and termination; TERN_ECORRUPT with a reason. */
int tern_settings_open(const void *section, size_t length, const struct tern_settings **settings,
                       struct tern_error *error);

#endif
