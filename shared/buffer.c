#include "shared/buffer.h"

#include "shared/error.h"
#include "shared/utf8.h"

#include <stdarg.h>

#define FIRST_CAPACITY 256u

int tern_buffer_reserve(struct tern_buffer *buffer, size_t more)
{
    size_t need, capacity;
    uint8_t *data;

    if (more <= buffer->capacity - buffer->length)
        return 0;
    if (more > SIZE_MAX / 2 - buffer->length)
        return TERN_ENOMEM;
    need = buffer->length + more;
    capacity = buffer->capacity < FIRST_CAPACITY ? FIRST_CAPACITY : buffer->capacity;
    while (capacity < need)
        capacity *= 2;
    data = realloc(buffer->data, capacity);
    if (data == NULL)
        return TERN_ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int tern_buffer_append(struct tern_buffer *buffer, const void *data, size_t length)
{
    if (length == 0)
        return 0;
    if (tern_buffer_reserve(buffer, length) != 0)
        return TERN_ENOMEM;
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
    return 0;
}

int tern_buffer_append_zero(struct tern_buffer *buffer, size_t length)
{
    if (length == 0)
        return 0;
    if (tern_buffer_reserve(buffer, length) != 0)
        return TERN_ENOMEM;
    memset(buffer->data + buffer->length, 0, length);
    buffer->length += length;
    return 0;
}

int tern_buffer_align(struct tern_buffer *buffer, size_t alignment)
{
    return tern_buffer_append_zero(buffer, -buffer->length & (alignment - 1));
}

int tern_buffer_printf(struct tern_buffer *buffer, const char *format, ...)
{
    va_list arguments, again;
    int length, status = TERN_ENOMEM;

    va_start(arguments, format);
    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, arguments);
    if (length >= 0 && tern_buffer_reserve(buffer, (size_t)length + 1) == 0) {
        vsnprintf((char *)buffer->data + buffer->length, (size_t)length + 1, format, again);
        buffer->length += (size_t)length;
        status = 0;
    }
    va_end(again);
    va_end(arguments);
    return status;
}

static int append_escape(struct tern_buffer *buffer, uint8_t byte)
{
    switch (byte) {
    case '"':
        return tern_buffer_append(buffer, "\\\"", 2);
    case '\\':
        return tern_buffer_append(buffer, "\\\\", 2);
    case '\n':
        return tern_buffer_append(buffer, "\\n", 2);
    case '\r':
        return tern_buffer_append(buffer, "\\r", 2);
    case '\t':
        return tern_buffer_append(buffer, "\\t", 2);
    default:
        return tern_buffer_printf(buffer, "\\u%04x", byte);
    }
}

int tern_buffer_json_string(struct tern_buffer *buffer, const void *text, size_t length)
{
    const uint8_t *bytes = text;
    size_t at = 0, plain = 0; /* bytes[plain..at) go out as they are */
    size_t start = buffer->length;

    if (tern_buffer_append(buffer, "\"", 1) != 0)
        return TERN_ENOMEM;
    while (at < length) {
        size_t step = tern_utf8_length(bytes + at, length - at);
        bool escape =
            bytes[at] < 0x20 || bytes[at] == 0x7f || bytes[at] == '"' || bytes[at] == '\\';

        if (step != 0 && !escape) {
            at += step;
            continue;
        }
        if (tern_buffer_append(buffer, bytes + plain, at - plain) != 0 ||
            (escape ? append_escape(buffer, bytes[at])
                    : tern_buffer_append(buffer, "\xef\xbf\xbd", 3)) != 0)
            goto failed;
        plain = ++at;
    }
    if (tern_buffer_append(buffer, bytes + plain, at - plain) != 0 ||
        tern_buffer_append(buffer, "\"", 1) != 0)
        goto failed;
    return 0;
failed:
    buffer->length = start;
    return TERN_ENOMEM;
}

void tern_buffer_free(struct tern_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct tern_buffer){0};
}
