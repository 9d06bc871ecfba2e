/* A vector's payload as the store keeps it: u32 number of the columns it was written under (a shape
 * of the store), u16 a bit for each column that has a value, then these values in order: bool 1
 * byte, u32 and f32 4, u64 and i64 8, string u16 length and its bytes. Little-endian.
 *
 * Columns are found by name and type: a row that was written before a column came has no value
 * there, and a column that went or changed its type is passed over. */
#ifndef TERN_COLLECTIONS_PAYLOAD_H
#define TERN_COLLECTIONS_PAYLOAD_H

#include "controlplane/build/graph.h"
#include "shared/buffer.h"

/* 0, or TERN_EINVAL and which column does not take its value: a number past u32, a bool that is
 * neither, an f32 that is not finite, a string that is too long or no UTF-8. */
int tern_payload_check(const struct tern_graph_column *columns, unsigned count,
                       const struct tern_graph_value *values, struct tern_error *error);

/* Appends the bytes of values that passed the check. 0 or TERN_ENOMEM. */
int tern_payload_encode(struct tern_buffer *out, uint32_t shape,
                        const struct tern_graph_column *columns, unsigned count,
                        const struct tern_graph_value *values);

/* How many bytes encode wrote at `bytes` for these columns. */
size_t tern_payload_bytes(const uint8_t *bytes, const struct tern_graph_column *columns,
                          unsigned count);

/* The shape that the bytes were written under; 0: they are too short to say. */
uint32_t tern_payload_shape(const uint8_t *bytes, size_t length);

/* For each column of `to`, its index in `from`, or −1. */
void tern_payload_match(const struct tern_graph_column *from, unsigned from_count,
                        const struct tern_graph_column *to, unsigned to_count,
                        int8_t matches[TERN_PAYLOAD_COLUMNS_MAX]);

/* Reads bytes of the columns `from` into values in the order of `matches`; strings point into the
 * bytes. TERN_ECORRUPT when they are not what encode writes. */
int tern_payload_decode(const uint8_t *bytes, size_t length, const struct tern_graph_column *from,
                        unsigned from_count, const int8_t *matches, unsigned to_count,
                        struct tern_graph_value values[TERN_PAYLOAD_COLUMNS_MAX]);

#endif
