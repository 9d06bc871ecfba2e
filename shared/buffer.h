/* A growable byte buffer for everything off the request path: builders, encoders, messages.
 * Zero-initialise it to start (`struct tern_buffer b = {0}`); not thread-safe. */
#ifndef TERN_BUFFER_H
#define TERN_BUFFER_H

#include "shared/base.h"

struct tern_buffer {
    uint8_t *data;
    size_t length;
    size_t capacity;
};

/* Makes room for `more` bytes past `length`. Returns 0 or TERN_ENOMEM. */
int tern_buffer_reserve(struct tern_buffer *buffer, size_t more);
/* Appends `length` bytes. Returns 0 or TERN_ENOMEM. */
int tern_buffer_append(struct tern_buffer *buffer, const void *data, size_t length);
/* Appends `length` zero bytes. Returns 0 or TERN_ENOMEM. */
int tern_buffer_append_zero(struct tern_buffer *buffer, size_t length);
/* Pads with zero bytes to a multiple of `alignment` (a power of two). Returns 0 or TERN_ENOMEM. */
int tern_buffer_align(struct tern_buffer *buffer, size_t alignment);
/* Appends formatted text without its terminating NUL. Returns 0 or TERN_ENOMEM. */
int tern_buffer_printf(struct tern_buffer *buffer, const char *format, ...) TERN_PRINTF(2, 3);
/* Appends `text` as a quoted JSON string (invalid UTF-8 bytes become U+FFFD). 0 or TERN_ENOMEM. */
int tern_buffer_json_string(struct tern_buffer *buffer, const void *text, size_t length);
/* Frees the memory and zeroes the buffer; it can be used again. */
void tern_buffer_free(struct tern_buffer *buffer);

#endif
