/* A collection that has payloads and no vectors, for filters; and what rules say of its payloads:
 * the same expression, parsed and walked by the slow evaluator of rules. */
#ifndef TERN_TESTS_PAYLOAD_H
#define TERN_TESTS_PAYLOAD_H

#include "shared/vector/collection.h"

#define PAYLOAD_SLOTS   200u
#define PAYLOAD_STRINGS 24u

enum payload_column {
    PAYLOAD_LABEL,  /* string */
    PAYLOAD_SOURCE, /* string */
    PAYLOAD_TENANT, /* u32 */
    PAYLOAD_TIME,   /* u64 */
    PAYLOAD_DELTA,  /* i64 */
    PAYLOAD_WEIGHT, /* f32 */
    PAYLOAD_LIVE,   /* bool */
    PAYLOAD_COLUMNS,
};
extern const char *const payload_names[PAYLOAD_COLUMNS];

struct payload { /* about 60 KiB: not for the stack */
    struct tern_collection collection;
    struct tern_collection_header header;
    uint16_t present[PAYLOAD_SLOTS];
    uint32_t numbers[2][PAYLOAD_SLOTS]; /* of the strings */
    uint32_t tenant[PAYLOAD_SLOTS];
    uint64_t time[PAYLOAD_SLOTS];
    int64_t delta[PAYLOAD_SLOTS];
    float weight[PAYLOAD_SLOTS];
    uint8_t live[PAYLOAD_SLOTS];
    struct tern_dictionary_entry entries[PAYLOAD_STRINGS];
    _Atomic uint32_t index[64]; /* a power of two */
    uint8_t bytes[2048];
};

/* Random payloads; some values are missing. */
void payload_make(struct payload *payload, uint64_t *random);

/* The rules' word on every slot. False when no rule may say `text`. */
bool payload_judge(const struct payload *payload, const char *text, size_t length,
                   uint8_t matches[PAYLOAD_SLOTS]);

#endif
