/* Frames of the control API: u32 little-endian length, then a protobuf message (shared/proto). */
#ifndef TERN_MESSAGE_H
#define TERN_MESSAGE_H

#include "shared/base.h"
#include "shared/buffer.h"

#include <protobuf-c/protobuf-c.h>

#define TERN_MESSAGE_HEADER 4u
#define TERN_MESSAGE_MAX    (16u << 20) /* of the message; bounds what one peer can make us hold */

/* A text, NULL as "", for a message's member: protobuf-c's texts are not const, though packing only
 * reads them. */
static inline char *tern_message_text(const char *text)
{
    return (char *)(uintptr_t)(text != NULL ? text : "");
}

/* Appends `message` as one frame. 0, TERN_ENOMEM, TERN_ELIMIT (larger than TERN_MESSAGE_MAX). */
int tern_message_append(struct tern_buffer *out, const ProtobufCMessage *message);

/* Looks for a whole frame at the start of `length` bytes: 0 with `*frame_bytes` (header included)
 * when it is there, TERN_EAGAIN when more must come, TERN_ELIMIT as soon as the header promises
 * more than TERN_MESSAGE_MAX. */
int tern_message_peek(const uint8_t *data, size_t length, size_t *frame_bytes);

#endif
