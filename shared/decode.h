/* DECIDE items as they stand in a frame, decoded into facts.
 *
 * Values are taken where they lie: strings point into the received bytes; only a host or a
 * normalized string that is not in its normal form yet is written anew, into space the caller
 * lends. Strings are bytes: what is no UTF-8 or has NUL bytes is decided on like anything else. */
#ifndef TERN_DECODE_H
#define TERN_DECODE_H

#include "shared/facts.h"
#include "shared/host.h"
#include "shared/schema.h"
#include "shared/wire.h"

struct tern_decode_field {
    uint8_t type;         /* enum tern_type, TERN_TYPE_NONE where there is no such field */
    uint8_t flags;        /* enum tern_field_flags */
    uint8_t normalize;    /* enum tern_normalize bits; never of hosts */
    uint8_t raw;          /* the slot of the untouched value, 0: nobody looks at it */
    uint16_t least_bytes; /* a value has so many, */
    uint16_t spare_bytes; /* and so many more at most */
};
_Static_assert(sizeof(struct tern_decode_field) == 8, "eight fields a cache line");

/* A schema in the form that decoding wants: one small array by field id. */
struct tern_decoder {
    unsigned field_count;
    unsigned slot_count; /* of facts */
    bool ignore_unknown;
    struct tern_decode_field fields[TERN_FIELDS_MAX + 1];
};

/* An item is at most 64 KiB long and normalizing never grows a value; folding grows a host by a
 * bounded number of bytes. */
#define TERN_DECODE_ITEM_BYTES (65536u + TERN_FIELDS_MAX * TERN_HOST_GROWTH)

struct tern_decode_failure {
    enum tern_status status;
    char message[160];
};

/* `raw_fields`: a bit per field id whose untouched value is wanted (tern_rules_raw_fields); NULL:
 * none. */
void tern_decoder_init(struct tern_decoder *decoder, const struct tern_schema *schema,
                       const uint64_t raw_fields[4], bool ignore_unknown);

/* How a value of that type is decoded. `dim`: of vectors; `max_bytes`: of strings, 0 for the limit
 * of all. Of TERN_TYPE_NONE, and of types that no request carries, no value is right. */
struct tern_decode_field tern_decode_field_of(enum tern_type type, uint8_t flags, uint32_t dim,
                                              uint32_t max_bytes);

/* Decodes one item's fields, all `length` bytes. `space` has room for TERN_DECODE_ITEM_BYTES from
 * `*space_used`, which moves past what values written anew took of it. `facts` has the schema's
 * slots. Returns how many unknown fields were ignored, or TERN_EINVAL with `failure` filled in
 * (`item` is only for its message); `facts` is then garbage. */
int tern_decode_item(const struct tern_decoder *decoder, const uint8_t *bytes, size_t length,
                     unsigned item, struct tern_facts *facts, uint8_t *space, size_t *space_used,
                     struct tern_decode_failure *failure);

/* One value as it stands on the wire (also the key of a LOOKUP), canonical in `*value`. NULL, or
 * what was expected. `space` as above. */
const char *tern_decode_value(const struct tern_decode_field *field, const uint8_t *bytes,
                              size_t length, union tern_value *value, uint8_t *space,
                              size_t *space_used);

/* The other way: a column's value as LOOKUP answers it. The address of its bytes, `*length` of
 * them; `scratch` is filled where the value itself has none. */
const uint8_t *tern_encode_value(enum tern_type type, const union tern_value *value,
                                 uint8_t scratch[16], size_t *length);

#endif
