/* A client's token as a file holds it: one line. */
#ifndef TERN_TOKEN_H
#define TERN_TOKEN_H

#include "shared/error.h"
#include "shared/limits.h"

/* Checks the length of what `what` holds ("the file x"). TERN_EINVAL with what a token is. */
int tern_token_check_length(const char *what, size_t length, struct tern_error *error);

/* Reads the token in the regular file `path`, NUL-terminated; one newline at its end is not part of
 * it. TERN_EINVAL when it is too short, too long or not one line; the system's error otherwise. The
 * message never holds the token; the caller wipes `token`. Thread-safe. */
int tern_token_read_file(const char *path, char token[TERN_TOKEN_MAX + 1],
                         struct tern_error *error);

/* What a command line gives: the file, or without one the environment variable TERN_TOKEN, or
 * neither: then `token` is empty. Not thread-safe (getenv). */
int tern_token_choose(const char *path, char token[TERN_TOKEN_MAX + 1], struct tern_error *error);

#endif
