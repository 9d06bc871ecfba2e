#include "controlplane/message.h"

#include "shared/error.h"

int tern_message_append(struct tern_buffer *out, const ProtobufCMessage *message)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    int rc;

    if (bytes > TERN_MESSAGE_MAX)
        return TERN_ELIMIT;
    rc = tern_buffer_reserve(out, TERN_MESSAGE_HEADER + bytes);
    if (rc != 0)
        return rc;
    tern_store_u32(out->data + out->length, (uint32_t)bytes);
    protobuf_c_message_pack(message, out->data + out->length + TERN_MESSAGE_HEADER);
    out->length += TERN_MESSAGE_HEADER + bytes;
    return 0;
}

int tern_message_peek(const uint8_t *data, size_t length, size_t *frame_bytes)
{
    uint32_t bytes;

    if (length < TERN_MESSAGE_HEADER)
        return TERN_EAGAIN;
    bytes = tern_load_u32(data);
    if (bytes > TERN_MESSAGE_MAX)
        return TERN_ELIMIT;
    if (length - TERN_MESSAGE_HEADER < bytes)
        return TERN_EAGAIN;
    *frame_bytes = TERN_MESSAGE_HEADER + (size_t)bytes;
    return 0;
}
