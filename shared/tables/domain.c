#include "shared/tables/domain.h"

#include "shared/tables/hash.h"

int tern_domain_open(struct tern_domain *domain, const void *section, size_t length,
                     struct tern_error *error)
{
    const struct tern_domain_header *header = section;
    struct tern_exact exact;
    int status;

    if ((uintptr_t)section % TERN_CACHE_LINE != 0)
        return tern_error_set(error, TERN_ECORRUPT, "domain index: not aligned to 64 bytes");
    if (length < sizeof *header)
        return tern_error_set(error, TERN_ECORRUPT, "domain index: %zu bytes, no header", length);
    if (header->magic != TERN_DOMAIN_MAGIC)
        return tern_error_set(error, TERN_ECORRUPT, "domain index: magic is %#x, expected %#x",
                              header->magic, TERN_DOMAIN_MAGIC);
    status = tern_exact_open(&exact, header + 1, length - sizeof *header, error);
    if (status != 0)
        return status;
    *domain = (struct tern_domain){.exact = exact, .label_counts = header->label_counts};
    return 0;
}

unsigned tern_domain_prefetch(const struct tern_domain *domain, const uint8_t *host, size_t length,
                              uint64_t *hashes)
{
    uint32_t counts = domain->label_counts;
    unsigned count = 0;
    size_t at = length;

    /* One label more each turn, from the right; `counts` moves along and ends the walk at the
     * longest entry. */
    while (at > 0 && counts != 0) {
        const uint8_t *dot = memrchr(host, '.', at);
        size_t start = dot == NULL ? 0 : (size_t)(dot - host) + 1;

        if (counts & 1) {
            hashes[count] = tern_hash_key(domain->exact.seed, host + start, length - start);
            tern_exact_prefetch(&domain->exact, hashes[count++]);
        }
        counts >>= 1;
        at = start == 0 ? 0 : start - 1;
    }
    return count;
}

uint32_t tern_domain_find(const struct tern_domain *domain, const uint64_t *hashes, unsigned count)
{
    while (count-- > 0) {
        uint32_t value = tern_exact_find(&domain->exact, hashes[count]);

        if (value != TERN_NOT_FOUND)
            return value;
    }
    return TERN_NOT_FOUND;
}
