/* Domain sets: an entry matches its name and everything below it.
 *
 * Every suffix of the host that begins at a label is one independent probe of an exact table, so
 * the lines of all probes are fetched at once; a bitmap of the label counts that occur skips the
 * rest. Hosts are folded beforehand (lower case, no trailing dot, no port). Thread-safe
 * (read-only). */
#ifndef TERN_TABLES_DOMAIN_H
#define TERN_TABLES_DOMAIN_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/layout.h"
#include "shared/tables/exact.h"

#define TERN_DOMAIN_LABELS_MAX                                                                     \
    32 /* suffixes of a host that are looked up, counted from the right */

#define TERN_DOMAIN_MAGIC 0x6e6d6f64u /* "domn" */

/* Section bytes: this header, then an exact table of the entries' names. */
struct tern_domain_header {
    uint32_t magic;
    uint32_t label_counts; /* bit k − 1: there are entries of k labels */
    uint8_t reserved[56];
};
TERN_LAYOUT_SIZE(tern_domain_header, 64);
TERN_LAYOUT_FIELD(tern_domain_header, magic, 0);
TERN_LAYOUT_FIELD(tern_domain_header, label_counts, 4);
TERN_LAYOUT_FIELD(tern_domain_header, reserved, 8);

struct tern_domain { /* a handle private to the process; plain values, nothing to free */
    struct tern_exact exact;
    uint32_t label_counts;
};

/* Validates `length` bytes at `section` (64-byte aligned). TERN_ECORRUPT with a reason. */
int tern_domain_open(struct tern_domain *domain, const void *section, size_t length,
                     struct tern_error *error);

/* Hashes the suffixes of `host` that can be entries, the shortest first, into `hashes` (room for
 * TERN_DOMAIN_LABELS_MAX) and starts fetching their lines; returns how many there are. */
unsigned tern_domain_prefetch(const struct tern_domain *domain, const uint8_t *host, size_t length,
                              uint64_t *hashes);

/* The value of the longest entry that matches (sets: 0), or TERN_NOT_FOUND. */
uint32_t tern_domain_find(const struct tern_domain *domain, const uint64_t *hashes, unsigned count);

#endif
