#include "shared/manifest.h"

#include <xxhash.h>

uint64_t tern_manifest_checksum(const struct tern_manifest *manifest)
{
    const uint8_t *from = (const uint8_t *)manifest + sizeof manifest->checksum;

    return XXH3_64bits(from, sizeof *manifest - sizeof manifest->checksum +
                                 manifest->count * sizeof(struct tern_section));
}

uint64_t tern_root_checksum(const struct tern_root *root)
{
    return XXH3_64bits((const uint8_t *)root + sizeof root->checksum,
                       sizeof *root - sizeof root->checksum);
}
