/* Builds the index of shared/tables/domain.h: names in, an exact table of them out. The same steps
 * and rules as build/exact.h. An entry below another one is kept: it is a key of its own, and with
 * values it is the longer match. */
#ifndef TERN_BUILD_DOMAIN_H
#define TERN_BUILD_DOMAIN_H

#include "controlplane/build/exact.h"

struct tern_domain_builder { /* zero-initialise */
    struct tern_exact_builder exact;
    uint32_t label_counts; /* bit k − 1: some name has k labels */
};

/* Adds a folded name. Returns 0; TERN_EINVAL for an empty name or one with an empty label ("a..b",
 * ".a"); TERN_ELIMIT for more than TERN_DOMAIN_LABELS_MAX labels or too many rows; TERN_ENOMEM. */
int tern_domain_builder_add(struct tern_domain_builder *builder, const void *name, size_t length,
                            uint32_t value);

/* As tern_exact_builder_resolve on `exact`, whose entries may then be renumbered. */
int tern_domain_builder_resolve(struct tern_domain_builder *builder, uint64_t seed);

/* As tern_exact_builder_pack. */
int tern_domain_builder_pack(const struct tern_domain_builder *builder, bool has_values,
                             uint32_t value_limit, struct tern_buffer *out);

void tern_domain_builder_free(struct tern_domain_builder *builder);

#endif
