/* A collection as one process has opened it: the header's constants validated and resolved to
 * pointers. Searched with shared/vector/search.h by any number of threads while tern-control
 * writes. */
#ifndef TERN_VECTOR_COLLECTION_H
#define TERN_VECTOR_COLLECTION_H

#include "shared/error.h"
#include "shared/vector/format.h"

struct tern_collection {
    const struct tern_collection_header *header;
    const uint8_t *base; /* the header's address */
    const uint8_t *links, *upper, *code, *vector;
    const struct tern_vector_meta *meta;
    const uint16_t *present;
    const struct tern_dictionary_entry *dictionary;
    const uint8_t *dictionary_bytes;
    const _Atomic uint32_t *dictionary_index;
    uint32_t dictionary_index_mask;
    uint32_t dim, links_stride, upper_stride, code_stride, vector_stride;
    uint32_t capacity, upper_capacity, m;
    enum tern_metric metric;
    enum tern_quantize quantize;
};

/* Checks magic, ABI, checksum, and that every array lies within `length` bytes at `object`, where
 * only the header needs to be backed by pages. The handle refers to the object and is a value: copy
 * it freely while the object stays. TERN_EABI, TERN_ECORRUPT with the reason. */
int tern_collection_open(struct tern_collection *collection, const void *object, uint64_t length,
                         struct tern_error *error);

/* XXH3-64 of the header's constants. */
uint64_t tern_collection_checksum(const struct tern_collection_header *header);

/* Bytes of a slot's part of each array; 0 where there is none. */
uint32_t tern_collection_links_stride(uint32_t m);
uint32_t tern_collection_upper_stride(uint32_t m);
uint32_t tern_collection_code_stride(uint32_t dim, enum tern_quantize quantize);
uint32_t tern_collection_vector_stride(uint32_t dim);
uint8_t tern_collection_column_width(uint8_t type); /* 0: no type of a payload */

/* The payload column of that name, or -1. */
int tern_collection_find_column(const struct tern_collection *collection, const char *name,
                                size_t length);

/* One value of a payload as a search's caller sees it. Strings point into the dictionary and stay
 * as long as the object. `type` is TERN_TYPE_NONE when the slot has no value there. */
struct tern_payload_value {
    uint8_t type;        /* enum tern_type */
    uint32_t dictionary; /* of a string: its index */
    union {
        uint64_t u64; /* u64, u32, bool */
        int64_t i64;
        float f32;
        struct {
            const uint8_t *bytes;
            uint32_t length;
        } string;
    };
};

/* Reads column `column` of a slot that a search has returned (bounds were checked then). */
struct tern_payload_value tern_collection_payload(const struct tern_collection *collection,
                                                  uint32_t slot, unsigned column);

/* The dictionary's entry `index`; false when there is none. */
bool tern_collection_string(const struct tern_collection *collection, uint32_t index,
                            const uint8_t **bytes, uint32_t *length);

/* The dictionary's index of a string; false when no payload held it at the time of the call. */
bool tern_collection_find_string(const struct tern_collection *collection, const uint8_t *bytes,
                                 uint32_t length, uint32_t *index);

#endif
