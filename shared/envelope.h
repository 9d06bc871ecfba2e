/* The first page of the arena: frozen, fingerprinted apart from snapshots and board.
 *
 * Written by tern-control only; everyone else maps it read-only. Two roots, one per snapshot ABI,
 * let a new control plane publish for a new ternd beside the old one during an upgrade. */
#ifndef TERN_ENVELOPE_H
#define TERN_ENVELOPE_H

#include "shared/base.h"
#include "shared/layout.h"

#define TERN_ENVELOPE_MAGIC                                                                        \
    0x616e6572612d6e72ull /* stored last: a half-built arena is never joinable */
#define TERN_ENVELOPE_ABI 1u
#define TERN_SNAPSHOT_ABI                                                                          \
    3u /* of root, manifest, sections; raised when their bytes change meaning */
#define TERN_ROOTS 2u

struct tern_envelope {
    /* written once */
    _Atomic uint64_t magic;
    uint32_t abi;
    uint32_t reserved0;
    uint8_t arena_id[16];
    uint64_t size; /* of the file: address space, not memory */
    uint8_t reserved1[24];
    /* written at every publish; read by every loop once an iteration */
    _Atomic uint64_t epoch TERN_ALIGNED(64);
    _Atomic uint64_t high_water; /* no section reaches past it */
    struct {
        uint64_t abi;            /* written once, with the magic */
        _Atomic uint64_t offset; /* of struct tern_root, 0: nothing published */
    } roots[TERN_ROOTS];
    uint8_t reserved2[16];
    /* read by housekeeping threads */
    _Atomic uint64_t announced TERN_ALIGNED(64); /* offset of the candidate root, 0: none */
    _Atomic uint32_t bell; /* futex word: bumped with every announcement, withdrawal and swap */
    uint32_t reserved3;
    _Atomic uint64_t settings; /* offset of the newest settings, 0: none yet */
    _Atomic uint64_t settings_length;
    _Atomic uint64_t
        announcement; /* highest seq ever used: survives a crash between two publishes */
    uint64_t reserved4[3];
};
TERN_LAYOUT_SIZE(tern_envelope, 192);
TERN_LAYOUT_FIELD(tern_envelope, magic, 0);
TERN_LAYOUT_FIELD(tern_envelope, abi, 8);
TERN_LAYOUT_FIELD(tern_envelope, reserved0, 12);
TERN_LAYOUT_FIELD(tern_envelope, arena_id, 16);
TERN_LAYOUT_FIELD(tern_envelope, size, 32);
TERN_LAYOUT_FIELD(tern_envelope, reserved1, 40);
TERN_LAYOUT_FIELD(tern_envelope, epoch, 64);
TERN_LAYOUT_FIELD(tern_envelope, high_water, 72);
TERN_LAYOUT_FIELD(tern_envelope, roots, 80);
TERN_LAYOUT_FIELD(tern_envelope, reserved2, 112);
TERN_LAYOUT_FIELD(tern_envelope, announced, 128);
TERN_LAYOUT_FIELD(tern_envelope, bell, 136);
TERN_LAYOUT_FIELD(tern_envelope, reserved3, 140);
TERN_LAYOUT_FIELD(tern_envelope, settings, 144);
TERN_LAYOUT_FIELD(tern_envelope, settings_length, 152);
TERN_LAYOUT_FIELD(tern_envelope, announcement, 160);
TERN_LAYOUT_FIELD(tern_envelope, reserved4, 168);

#endif
