/* How the data plane runs, decided by the control plane: a section of every snapshot, and what a
 * starting ternd reads before the first one (envelope.settings). */
#ifndef TERN_SETTINGS_H
#define TERN_SETTINGS_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/layout.h"
#include "shared/limits.h"
#include "shared/sha256.h"

/* A client's token, as far as the data plane knows it: it cannot be told from this. */
struct tern_token {
    uint8_t digest[TERN_SHA256_BYTES]; /* SHA-256 of the salt, then the token */
    char name[TERN_NAME_MAX + 1];
};
TERN_LAYOUT_SIZE(tern_token, 96);
TERN_LAYOUT_FIELD(tern_token, digest, 0);
TERN_LAYOUT_FIELD(tern_token, name, 32);

#define TERN_TOKEN_SALT_BYTES 16

struct tern_settings {
    uint32_t workers;      /* request loops; taken at start */
    uint32_t listen_count; /* taken at start */
    uint64_t idle_us;
    uint64_t half_frame_us;
    uint64_t deadline_us;
    uint32_t max_frame_bytes;
    uint32_t connections; /* of the whole process */
    uint8_t ignore_unknown_fields;
    uint8_t token_count;          /* 0: nobody needs one */
    uint8_t log_on;               /* the decision log is drained to files */
    uint8_t log_always;           /* bit per enum tern_action: written whatever the sample */
    uint16_t log_files;           /* so many are kept */
    uint16_t log_sample_permille; /* of the other decisions */
    uint8_t helpers;              /* threads that search for the loops; taken at start */
    uint8_t reserved[7];
    char instance[TERN_NAME_MAX + 1];
    /* "tcp://127.0.0.1:7400", "tcp://[::1]:7400", "unix:///run/tern/edge.sock"; NUL-terminated */
    char listen[TERN_LISTEN_MAX][TERN_LISTEN_BYTES];
    uint8_t token_salt[TERN_TOKEN_SALT_BYTES]; /* of this instance */
    struct tern_token tokens[TERN_TOKENS_MAX];
    uint64_t log_file_bytes;                      /* the next file begins at this size, */
    uint64_t log_file_us;                         /* or at this age; 0: at no age */
    char log_directory[TERN_LOG_DIRECTORY_BYTES]; /* absolute; empty: the state directory's */
};
TERN_LAYOUT_SIZE(tern_settings, 2968);
TERN_LAYOUT_FIELD(tern_settings, workers, 0);
TERN_LAYOUT_FIELD(tern_settings, listen_count, 4);
TERN_LAYOUT_FIELD(tern_settings, idle_us, 8);
TERN_LAYOUT_FIELD(tern_settings, half_frame_us, 16);
TERN_LAYOUT_FIELD(tern_settings, deadline_us, 24);
TERN_LAYOUT_FIELD(tern_settings, max_frame_bytes, 32);
TERN_LAYOUT_FIELD(tern_settings, connections, 36);
TERN_LAYOUT_FIELD(tern_settings, ignore_unknown_fields, 40);
TERN_LAYOUT_FIELD(tern_settings, token_count, 41);
TERN_LAYOUT_FIELD(tern_settings, log_on, 42);
TERN_LAYOUT_FIELD(tern_settings, log_always, 43);
TERN_LAYOUT_FIELD(tern_settings, log_files, 44);
TERN_LAYOUT_FIELD(tern_settings, log_sample_permille, 46);
TERN_LAYOUT_FIELD(tern_settings, helpers, 48);
TERN_LAYOUT_FIELD(tern_settings, reserved, 49);
TERN_LAYOUT_FIELD(tern_settings, instance, 56);
TERN_LAYOUT_FIELD(tern_settings, listen, 120);
TERN_LAYOUT_FIELD(tern_settings, token_salt, 1144);
TERN_LAYOUT_FIELD(tern_settings, tokens, 1160);
TERN_LAYOUT_FIELD(tern_settings, log_file_bytes, 2696);
TERN_LAYOUT_FIELD(tern_settings, log_file_us, 2704);
TERN_LAYOUT_FIELD(tern_settings, log_directory, 2712);

/* Checks bounds and termination; TERN_ECORRUPT with a reason. */
int tern_settings_open(const void *section, size_t length, const struct tern_settings **settings,
                       struct tern_error *error);

/* The digest of a token under a salt. */
void tern_token_digest(const uint8_t salt[TERN_TOKEN_SALT_BYTES], const void *token, size_t length,
                       uint8_t digest[TERN_SHA256_BYTES]);

/* The number of the token from 1, 0 when it is none of them. Takes the same time for every answer.
 */
unsigned tern_settings_find_token(const struct tern_settings *settings, const void *token,
                                  size_t length);

#endif
