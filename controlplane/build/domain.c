#include "controlplane/build/domain.h"

#include "shared/tables/domain.h"

int tern_domain_builder_add(struct tern_domain_builder *builder, const void *name, size_t length,
                            uint32_t value)
{
    const uint8_t *bytes = name;
    unsigned labels = 1;
    int status;

    for (size_t i = 0; i < length; i++)
        if (bytes[i] == '.') {
            if (i == 0 || bytes[i - 1] == '.')
                return TERN_EINVAL;
            labels++;
        }
    if (length == 0 || bytes[length - 1] == '.')
        return TERN_EINVAL;
    if (labels > TERN_DOMAIN_LABELS_MAX)
        return TERN_ELIMIT;
    status = tern_exact_builder_add(&builder->exact, name, length, value);
    if (status == 0)
        builder->label_counts |= 1u << (labels - 1);
    return status;
}

int tern_domain_builder_resolve(struct tern_domain_builder *builder, uint64_t seed)
{
    return tern_exact_builder_resolve(&builder->exact, seed);
}

int tern_domain_builder_pack(const struct tern_domain_builder *builder, bool has_values,
                             uint32_t value_limit, struct tern_buffer *out)
{
    struct tern_domain_header header = {
        .magic = TERN_DOMAIN_MAGIC,
        .label_counts = builder->label_counts,
    };
    size_t start = out->length;
    int status = tern_buffer_append(out, &header, sizeof header);

    if (status == 0)
        status = tern_exact_builder_pack(&builder->exact, has_values, value_limit, out);
    if (status != 0)
        out->length = start;
    return status;
}

void tern_domain_builder_free(struct tern_domain_builder *builder)
{
    tern_exact_builder_free(&builder->exact);
    *builder = (struct tern_domain_builder){0};
}
