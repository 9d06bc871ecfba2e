/* Regular expressions checked and compiled by hyperscan: its compiler's only user.
 *
 * Expressions come from configurations and sources, and compiling one may take any time and memory,
 * or hit a defect in a library of a hundred thousand lines. So it happens in a child process with
 * limits on both, and what goes wrong there is an error that names the expression. */
#ifndef TERN_BUILD_HYPERSCAN_H
#define TERN_BUILD_HYPERSCAN_H

#include "shared/buffer.h"
#include "shared/error.h"

#define TERN_HYPERSCAN_REASON 320

struct tern_expression {
    const char *text; /* in hyperscan's dialect; see the two functions below */
};

/* Appends a regular expression as it is written, NUL-terminated; NUL bytes become escapes. */
int tern_hyperscan_regex(struct tern_buffer *out, const void *bytes, size_t length);
/* Appends an expression that matches exactly these bytes anywhere, NUL-terminated. */
int tern_hyperscan_literal(struct tern_buffer *out, const void *bytes, size_t length);

/* Calls `refused` for every expression that hyperscan does not take, in their order, with its
 * reason. 0, or TERN_ENOMEM, TERN_EIO when there can be no child. */
int tern_hyperscan_check(const struct tern_expression *expressions, size_t count,
                         void (*refused)(void *context, size_t index, const char *reason),
                         void *context, struct tern_error *error);

/* Appends the serialized database of all expressions, for this machine's processor; a match is
 * reported as the index of its expression. TERN_EINVAL
 * with
 * `*refused` and the reason in `error` when one is not taken; TERN_ELIMIT when all together are too
 * large or take too long; as above. */
int tern_hyperscan_compile(const struct tern_expression *expressions, size_t count,
                           struct tern_buffer *out, size_t *refused, struct tern_error *error);

/* What a database depends on besides its expressions: version, processor, flags. 0 or TERN_ENOTSUP
 * when hyperscan does not run on this processor. */
int tern_hyperscan_identity(struct tern_buffer *out);

#endif
