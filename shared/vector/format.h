/* The bytes of a vector collection in the arena.
 *
 * A collection object is a range of the arena's address space, reserved at its full capacity: this
 * header, then one array for each part of a vector, addressed by slot. Pages are allocated as slots
 * come into use, before any reader learns of them. tern-control writes it in place, readers in
 * other processes search it meanwhile without a lock (DESIGN 6; the layout follows what research on
 * updatable HNSW graphs has found: docs/decisions names the sources).
 *
 * Rules that make this safe:
 * - Every change a reader may see is one aligned atomic store, ordered payload → links → state →
 *   entry. Any mix of old and new links is a valid list; holes (TERN_SLOT_NONE) are legal anywhere.
 * - A live slot's vector, code, payload and id never change: an upsert takes a new slot and leaves
 *   a tombstone. A slot is used again only after its links are repaired, the whole graph is swept
 *   of links to it and every reader has left the epoch (grace).
 * - A slot's level and its upper lines are drawn once and stay with it through all its uses.
 * - Readers check every slot number they read against `slot_count` (loaded acquire) and nothing
 *   else of the mutable part; constants are validated once, by tern_collection_open. */
#ifndef TERN_VECTOR_FORMAT_H
#define TERN_VECTOR_FORMAT_H

#include "shared/base.h"
#include "shared/layout.h"
#include "shared/limits.h"

#define TERN_COLLECTION_MAGIC 0x6e6f6974636c6c6full /* stored last */
#define TERN_COLLECTION_ABI   1u

#define TERN_SLOT_NONE           UINT32_MAX
#define TERN_SLOTS_MAX           (1u << 30)
#define TERN_M_MIN               4u
#define TERN_M_MAX               64u
#define TERN_LEVEL_MAX           15u
#define TERN_TAIL_MAX            2048u /* slots that are searchable but not linked yet; a power of two */
#define TERN_PAYLOAD_COLUMNS_MAX 16u
#define TERN_PAYLOAD_STRING_MAX  1024u /* bytes of one string of a payload */
#define TERN_SEARCH_K_MAX        1000u
#define TERN_SEARCH_EF_MAX       4096u

enum tern_metric {
    TERN_METRIC_COSINE =
        1, /* vectors are normalized on their way in; a zero vector is at distance 1 */
    TERN_METRIC_L2 = 2,
    TERN_METRIC_DOT = 3,
};

enum tern_quantize {
    TERN_QUANTIZE_NONE = 0, /* the graph is searched in f32 */
    TERN_QUANTIZE_INT8 =
        1, /* it is searched in int8, symmetric with a scale a vector; f32 reranks */
};

/* What a slot holds; in the low byte of tern_vector_meta.state. */
enum tern_slot_state {
    TERN_SLOT_FREE = 0,     /* never used, or given back */
    TERN_SLOT_LIVE = 1,     /* found by searches, linked or in the tail */
    TERN_SLOT_DELETED = 2,  /* tombstone: led through, never an answer */
    TERN_SLOT_REPLACED = 3, /* likewise; a newer slot holds its id */
    TERN_SLOT_DETACHED = 4, /* repaired and swept: waits for grace */
};

/* 32 bytes a slot. Everything but `state` and `anchor` is written before the slot is LIVE and stays
 * until it is free; `anchor` is the writer's own. */
struct tern_vector_meta {
    uint64_t id;     /* the caller's */
    uint64_t seq;    /* of the write in the store that put it here */
    uint32_t upper;  /* index of its first upper line; unused at level 0 */
    uint32_t anchor; /* the slot whose list holds its protected in-edge; its own number: the root;
                        TERN_SLOT_NONE: not linked yet */
    float norm;      /* cosine: length before normalizing; l2: squared length; dot: length */
    _Atomic uint32_t state; /* enum tern_slot_state | level << 8 | use count << 16 */
};
TERN_LAYOUT_SIZE(tern_vector_meta, 32);
TERN_LAYOUT_FIELD(tern_vector_meta, id, 0);
TERN_LAYOUT_FIELD(tern_vector_meta, seq, 8);
TERN_LAYOUT_FIELD(tern_vector_meta, upper, 16);
TERN_LAYOUT_FIELD(tern_vector_meta, anchor, 20);
TERN_LAYOUT_FIELD(tern_vector_meta, norm, 24);
TERN_LAYOUT_FIELD(tern_vector_meta, state, 28);

/* A code line begins with what its int8 values are multiplied with, so that one fetch brings both:
 * f32 scale, f32 squared length (l2) or 0, then int8 × dim, zero padded to the stride. */
struct tern_vector_code {
    float scale;
    float squared;
    int8_t values[];
};
TERN_LAYOUT_SIZE(tern_vector_code, 8);
TERN_LAYOUT_FIELD(tern_vector_code, scale, 0);
TERN_LAYOUT_FIELD(tern_vector_code, squared, 4);
TERN_LAYOUT_FIELD(tern_vector_code, values, 8);

/* One payload column: values by slot, `width` bytes each (1 bool, 4 u32, f32 and strings, 8 u64 and
 * i64); a string is an index into the dictionary. `present` has a bit per column and slot (u16). */
struct tern_payload_column {
    uint8_t type; /* enum tern_type */
    uint8_t width;
    uint8_t name_length;
    char name[TERN_NAME_MAX + 1];
    uint8_t reserved[5];
    uint64_t offset; /* of its array, from the header */
};
TERN_LAYOUT_SIZE(tern_payload_column, 80);
TERN_LAYOUT_FIELD(tern_payload_column, type, 0);
TERN_LAYOUT_FIELD(tern_payload_column, width, 1);
TERN_LAYOUT_FIELD(tern_payload_column, name_length, 2);
TERN_LAYOUT_FIELD(tern_payload_column, name, 3);
TERN_LAYOUT_FIELD(tern_payload_column, reserved, 67);
TERN_LAYOUT_FIELD(tern_payload_column, offset, 72);

/* Interned strings of a collection: append-only, an entry is immutable once counted.
 *
 * `dictionary_index` finds one by its bytes: open addressing from hash & mask on, linear, each u32
 * an entry's index + 1, 0 empty; the writer stores it (release) after the entry is counted. A
 * filter resolves its strings through it once a search. */
struct tern_dictionary_entry {
    uint64_t offset; /* into the dictionary's bytes */
    uint32_t length;
    uint32_t hash; /* low half of XXH3-64 of the bytes */
};
TERN_LAYOUT_SIZE(tern_dictionary_entry, 16);
TERN_LAYOUT_FIELD(tern_dictionary_entry, offset, 0);
TERN_LAYOUT_FIELD(tern_dictionary_entry, length, 8);
TERN_LAYOUT_FIELD(tern_dictionary_entry, hash, 12);

struct tern_collection_header {
    /* constants, written once, covered by `checksum`; offsets count from the header */
    _Atomic uint64_t magic;
    uint32_t abi;
    uint32_t dim;
    uint8_t object_id[16];        /* random: tells this object from another at the same place */
    uint64_t length;              /* of the whole range */
    uint64_t checksum;            /* XXH3-64 of the constants, this field taken as 0 */
    uint8_t metric;               /* enum tern_metric */
    uint8_t quantize;             /* enum tern_quantize */
    uint16_t m;                   /* links of an upper level; 2m on the lowest */
    uint32_t capacity;            /* slots */
    uint32_t upper_capacity;      /* upper lines */
    uint32_t dictionary_capacity; /* entries */
    uint64_t dictionary_bytes_capacity;
    uint32_t links_stride; /* bytes of a slot's lowest list: 2m u32, a multiple of 64 */
    uint32_t upper_stride; /* of an upper line: m u32, a multiple of 64 */
    uint32_t code_stride;  /* a multiple of 64; 0 without quantization */
    uint32_t vector_stride;
    uint64_t links, upper, code, vector, meta, present, dictionary, dictionary_bytes;
    uint64_t dictionary_index; /* of u32 */
    uint32_t column_count;
    uint32_t dictionary_index_mask; /* its size − 1: a power of two, over twice the capacity */
    uint32_t vector_capacity;       /* live vectors; the slots beyond it are for tombstones */
    uint32_t constants_reserved;
    struct tern_payload_column columns[TERN_PAYLOAD_COLUMNS_MAX];

    /* changed in place by an apply */
    _Atomic uint32_t ef_search TERN_ALIGNED(64);
    _Atomic uint32_t ef_construct;
    _Atomic uint32_t full_scan;
    uint32_t parameters_reserved;

    /* read by every search */
    _Atomic uint64_t entry TERN_ALIGNED(64); /* slot | level << 32 | count of changes << 40 */
    _Atomic uint32_t slot_count; /* slots below it have been in use: their pages are there */
    _Atomic uint32_t upper_count;
    _Atomic uint64_t tail; /* first | end << 32: positions in tail_slots, modulo its size */
    _Atomic uint32_t dictionary_count;
    _Atomic uint32_t live_count; /* vectors that searches find; for display and exact scans */
    uint64_t search_reserved[3];

    /* the writer's own, read for display */
    uint8_t store_id[16] TERN_ALIGNED(64);
    _Atomic uint64_t applied_seq; /* every write of the store up to it is in the index */
    _Atomic uint64_t intent;      /* what a crash would leave half done; 0: nothing */
    uint64_t intent_reserved[2];
    _Atomic uint32_t deleted_count; /* tombstones and detached slots */
    _Atomic uint32_t phase;         /* enum tern_collection_phase */
    _Atomic uint64_t phase_done, phase_total;
    uint64_t writer_reserved[8];

    _Atomic uint32_t tail_slots[TERN_TAIL_MAX] TERN_ALIGNED(64);
} TERN_ALIGNED(TERN_PAGE);

enum tern_collection_phase {
    TERN_COLLECTION_READY = 0,
    TERN_COLLECTION_FILLING = 1, /* from the store; what is in answers already */
};

/* What a root lists: struct tern_collection_list behind the manifest's sections, in order of ids.
 */
struct tern_collection_entry {
    uint64_t offset; /* into the arena, TERN_EXTENT aligned */
    uint64_t length;
    uint8_t object_id[16];
    uint32_t id; /* the collection's, as in the schema */
    uint32_t reserved;
};
TERN_LAYOUT_SIZE(tern_collection_entry, 40);
TERN_LAYOUT_FIELD(tern_collection_entry, offset, 0);
TERN_LAYOUT_FIELD(tern_collection_entry, length, 8);
TERN_LAYOUT_FIELD(tern_collection_entry, object_id, 16);
TERN_LAYOUT_FIELD(tern_collection_entry, id, 32);
TERN_LAYOUT_FIELD(tern_collection_entry, reserved, 36);

struct tern_collection_list {
    uint64_t checksum; /* XXH3-64 of count, reserved and the entries */
    uint32_t count;
    uint32_t reserved;
    struct tern_collection_entry entries[];
};
TERN_LAYOUT_SIZE(tern_collection_list, 16);
TERN_LAYOUT_FIELD(tern_collection_list, checksum, 0);
TERN_LAYOUT_FIELD(tern_collection_list, count, 8);
TERN_LAYOUT_FIELD(tern_collection_list, reserved, 12);
TERN_LAYOUT_FIELD(tern_collection_list, entries, 16);

#endif
