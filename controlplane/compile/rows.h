/* Rows: for every class of every unit, the bits in which it differs from the unit's base row.
 *
 * Unit by unit, the caller walks the classes in an order of its choice by toggling atoms; each
 * toggle touches only the leaves that name the atom and the bits of those leaves, so the work
 * follows what changes from class to class. Masks of 512 bits and whole rows are stored once.
 * Residual leaves take no part: they hold in every row. */
#ifndef TERN_COMPILE_ROWS_H
#define TERN_COMPILE_ROWS_H

#include "controlplane/compile/costs.h"
#include "controlplane/compile/digest.h"
#include "controlplane/compile/normal.h"
#include "shared/rules/format.h"

struct tern_mask {
    uint64_t words[8];
};

struct tern_rows {
    const struct tern_normal *normal;
    uint64_t limit_bytes;
    uint32_t bit_count;
    uint32_t block_count;
    /* results */
    struct tern_list masks;      /* struct tern_mask */
    struct tern_list deltas;     /* struct tern_delta */
    struct tern_list class_rows; /* struct tern_class_row */
    struct tern_list blocks;     /* struct tern_block, after finish; without their bits */
    struct tern_list always;     /* u32, after finish */
    uint8_t *leaf_based;         /* per leaf: true in its unit's base row */
    uint8_t *leaf_missing;       /* per leaf: true when the value is missing */
    uint8_t *leaf_possible;      /* per leaf: true in some class */
    uint8_t *leaf_certain;       /* per leaf: true in every class */
    /* private */
    struct tern_digest_map mask_map, row_map;
    uint32_t *leaf_bits_start, *leaf_bits; /* the bits of each leaf */
    uint16_t *needs;                       /* per bit */
    struct tern_rows_unit *unit;
    struct tern_costs *costs; /* not NULL: they are measured, and no row is kept */
};

/* `limit_bytes` bounds what is built. A survey learns only what the leaves can be: no bits, no
 * rows. 0 or TERN_ENOMEM. */
int tern_rows_start(struct tern_rows *rows, const struct tern_normal *normal, uint64_t limit_bytes,
                    bool survey);

/* Begins a unit with room for `class_count` rows; `there` is the only atom that holds in its class
 * 1, UINT32_MAX when none does. No atom holds to begin with. `*first_row` is where its rows are. */
int tern_rows_unit(struct tern_rows *rows, uint32_t unit, uint32_t class_count, uint32_t there,
                   uint32_t *first_row);
int tern_rows_toggle(struct tern_rows *rows, uint32_t atom);
/* The current state is that of `class`. TERN_ELIMIT past the limit. */
int tern_rows_class(struct tern_rows *rows, uint32_t class);
/* Flips an up of the current state by itself, whatever the atoms say: of the rows that stand for a
 * value that is not known yet. */
void tern_rows_flip(struct tern_rows *rows, uint32_t bit);
void tern_rows_unit_end(struct tern_rows *rows);

/* From now on rows are not built but only measured: what each leaf costs goes to `costs`, which
 * outlives `rows`. To be called after tern_rows_start. */
void tern_rows_measure(struct tern_rows *rows, struct tern_costs *costs);

/* After the last unit. 0, TERN_ENOMEM, or TERN_ELIMIT when all together is past the limit. */
int tern_rows_finish(struct tern_rows *rows);

/* What rows and masks take in the section. */
uint64_t tern_rows_bytes(const struct tern_rows *rows);
void tern_rows_free(struct tern_rows *rows);

#endif
