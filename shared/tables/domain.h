/* Domain sets: an entry matches its name and everything below it.
 *
 * Every suffix of the host that begins at a label is one independent probe of an exact table, so the
 * lines of all probes are fetched at once; a bitmap of the label counts that occur skips the rest.
 * Hosts are folded beforehand (lower case, no trailing dot, no port). Thread-safe (read-only). */
#ifndef TERN_TABLES_DOMAIN_H
#define TERN_TABLES_DOMAIN_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/tables/exact.h"

#define TERN_DOMAIN_LABELS_MAX 32 /* suffixes of a host that are looked up, counted from the right */

struct tern_domain; /* handle */

struct tern_domain_probe { /* the hashes of one host's suffixes, between prefetch and find */
    unsigned count;
    uint64_t hash[TERN_DOMAIN_LABELS_MAX];
};

int tern_domain_open(struct tern_domain *domain, const void *section, size_t length,
                     struct tern_error *error);

/* Hashes the suffixes of `host` into `probe` and starts fetching their lines. */
void tern_domain_prefetch(const struct tern_domain *domain, const uint8_t *host, size_t length,
                          struct tern_domain_probe *probe);

/* The value of the longest entry that matches, or TERN_NOT_FOUND. */
uint32_t tern_domain_find(const struct tern_domain *domain, const struct tern_domain_probe *probe);

#endif
