/* Schemas that connections were opened under and that are not served any more.
 *
 * A connection keeps its schema for as long as it lives: its ids mean what HELLO told. When another
 * one is served (`ternctl apply --new-schema`), what old connections send is checked against theirs
 * and then put into the ids of the present one, where a field of the same name and type has one;
 * what has gone is left out, so rules find it missing. */
#ifndef TERN_DATAPLANE_FORMER_H
#define TERN_DATAPLANE_FORMER_H

#include "shared/decode.h"
#include "shared/error.h"

/* So many at a time; connections under an older one are ended when another comes. */
#define TERN_FORMERS_MAX 4u

/* How long connections under a schema that is not served have left, as GOAWAY tells them. */
#define TERN_FORMER_DRAIN_NS 60000000000ull

struct tern_former {
    uint32_t era; /* which schemas follow each other; connections note theirs */
    struct tern_schema *schema;
    struct tern_decoder decoder;         /* says what was right under it */
    uint8_t fields[TERN_FIELDS_MAX + 1]; /* by its ids: the present id, 0: gone */
    uint16_t *tables;                    /* likewise */
    uint16_t collections[TERN_COLLECTIONS_MAX + 1];
};

/* Makes `former` of a copy of `schema`, against the `present` one. TERN_ENOMEM. */
int tern_former_make(struct tern_former *former, uint32_t era, const struct tern_schema *schema,
                     const struct tern_schema *present, bool ignore_unknown,
                     struct tern_error *error);
void tern_former_clear(struct tern_former *former);

/* Puts an item that former->decoder has found right into present ids. Returns the length of what it
 * wrote to `out`, at most `length`. */
size_t tern_former_translate(const struct tern_former *former, const uint8_t *bytes, size_t length,
                             uint8_t *out);

#endif
