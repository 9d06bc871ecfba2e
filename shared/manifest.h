/* Snapshots in the arena: sections, the manifest that lists them, the root that publishes one.
 * All are immutable once written, validated by readers before use, and refer by offset. */
#ifndef TERN_MANIFEST_H
#define TERN_MANIFEST_H

#include "shared/base.h"
#include "shared/layout.h"
#include "shared/limits.h"

enum tern_section_kind {
    TERN_SECTION_NONE = 0,
    TERN_SECTION_SETTINGS = 1,
    TERN_SECTION_SCHEMA = 2,
    TERN_SECTION_TABLE = 3,   /* owner: table id */
    TERN_SECTION_CLASSES = 4, /* owner: unit index */
    TERN_SECTION_RULES = 5,
    TERN_SECTION_PATTERNS = 6, /* owner: unit index */
};

struct tern_section {
    uint16_t kind; /* enum tern_section_kind */
    uint16_t reserved;
    uint32_t owner;
    uint8_t content_hash[16]; /* of what it was built from; equal hash, equal bytes */
    uint64_t offset;          /* into the arena, 4 KiB aligned (2 MiB when that long) */
    uint64_t length;
    uint64_t checksum; /* XXH3-64 of the bytes */
};
TERN_LAYOUT_SIZE(tern_section, 48);
TERN_LAYOUT_FIELD(tern_section, kind, 0);
TERN_LAYOUT_FIELD(tern_section, reserved, 2);
TERN_LAYOUT_FIELD(tern_section, owner, 4);
TERN_LAYOUT_FIELD(tern_section, content_hash, 8);
TERN_LAYOUT_FIELD(tern_section, offset, 24);
TERN_LAYOUT_FIELD(tern_section, length, 32);
TERN_LAYOUT_FIELD(tern_section, checksum, 40);

struct tern_manifest { /* followed by `count` sections */
    uint64_t checksum; /* XXH3-64 of count, reserved and the sections */
    uint32_t count;
    uint32_t reserved;
};
TERN_LAYOUT_SIZE(tern_manifest, 16);
TERN_LAYOUT_FIELD(tern_manifest, checksum, 0);
TERN_LAYOUT_FIELD(tern_manifest, count, 8);
TERN_LAYOUT_FIELD(tern_manifest, reserved, 12);

enum tern_root_mode {
    TERN_ROOT_LIVE = 0,
    TERN_ROOT_SHADOW = 1,
};

/* One release store of a root's offset changes all of this together. `seq` is the announcement it
 * was announced under: unique among all roots ever, so a reader never takes one for another at the
 * same offset. */
struct tern_root {
    uint64_t checksum; /* XXH3-64 of the rest */
    uint64_t seq;
    uint64_t generation;
    uint64_t schema_hash;
    uint64_t stable; /* manifest offset */
    uint64_t canary; /* manifest offset, 0: none */
    uint64_t salt;
    uint32_t canary_share; /* of 2^32 */
    uint16_t sticky_field;
    uint8_t mode; /* enum tern_root_mode */
    uint8_t reserved0;
    uint64_t collections;     /* offset of the list, 0: none */
    uint64_t published_at_us; /* wall clock, for display */
    uint8_t reserved[48];
};
TERN_LAYOUT_SIZE(tern_root, 128);
TERN_LAYOUT_FIELD(tern_root, checksum, 0);
TERN_LAYOUT_FIELD(tern_root, seq, 8);
TERN_LAYOUT_FIELD(tern_root, generation, 16);
TERN_LAYOUT_FIELD(tern_root, schema_hash, 24);
TERN_LAYOUT_FIELD(tern_root, stable, 32);
TERN_LAYOUT_FIELD(tern_root, canary, 40);
TERN_LAYOUT_FIELD(tern_root, salt, 48);
TERN_LAYOUT_FIELD(tern_root, canary_share, 56);
TERN_LAYOUT_FIELD(tern_root, sticky_field, 60);
TERN_LAYOUT_FIELD(tern_root, mode, 62);
TERN_LAYOUT_FIELD(tern_root, reserved0, 63);
TERN_LAYOUT_FIELD(tern_root, collections, 64);
TERN_LAYOUT_FIELD(tern_root, published_at_us, 72);
TERN_LAYOUT_FIELD(tern_root, reserved, 80);

/* XXH3-64 over a manifest or root as stored, leaving out the checksum itself. */
uint64_t tern_manifest_checksum(const struct tern_manifest *manifest);
uint64_t tern_root_checksum(const struct tern_root *root);

#endif
