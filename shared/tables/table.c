#include "shared/tables/table.h"

#include "shared/tables/hash.h"

static bool part_is_inside(uint64_t offset, uint64_t bytes, size_t length)
{
    return offset % TERN_CACHE_LINE == 0 && offset >= sizeof(struct tern_table_header) &&
           tern_range_inside(offset, bytes, length);
}

static bool key_is_sound(const struct tern_table_header *header)
{
    switch (header->kind) {
    case TERN_TABLE_EXACT_SET:
    case TERN_TABLE_EXACT_MAP:
        if (header->key_type == TERN_TYPE_STRING)
            return header->key_flags == 0 || header->key_flags == TERN_FIELD_HOST;
        return (header->key_type == TERN_TYPE_IP || header->key_type == TERN_TYPE_U64 ||
                header->key_type == TERN_TYPE_I64) &&
               header->key_flags == 0;
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        return header->key_type == TERN_TYPE_IP && header->key_flags == 0;
    case TERN_TABLE_DOMAIN_SET:
        return header->key_type == TERN_TYPE_STRING && header->key_flags == TERN_FIELD_HOST;
    case TERN_TABLE_PATTERN_SET:
        return header->key_type == TERN_TYPE_STRING && header->key_flags == 0;
    default:
        return false;
    }
}

/* Opens the index and yields the bound of its values. */
static int open_index(struct tern_table *table, const void *index, size_t length,
                      uint32_t *value_limit, struct tern_error *error)
{
    int status;

    switch (table->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        status = tern_prefix_open(&table->prefix, index, length, error);
        if (status == 0)
            *value_limit = table->prefix.value_limit;
        return status;
    case TERN_TABLE_DOMAIN_SET:
        status = tern_domain_open(&table->domain, index, length, error);
        if (status == 0)
            *value_limit = table->domain.exact.value_limit;
        return status;
    case TERN_TABLE_PATTERN_SET:
        *value_limit = 1;
        return tern_patterns_open(&table->patterns, index, length, error);
    default:
        status = tern_exact_open(&table->exact, index, length, error);
        if (status == 0)
            *value_limit = table->exact.value_limit;
        return status;
    }
}

int tern_table_open(struct tern_table *table, const void *section, size_t length,
                    struct tern_error *error)
{
    const struct tern_table_header *header = section;
    struct tern_table found = {0};
    uint32_t value_limit = 0;
    bool is_map;
    int status;

    if ((uintptr_t)section % TERN_CACHE_LINE != 0)
        return tern_error_set(error, TERN_ECORRUPT, "table: not aligned to 64 bytes");
    if (length < sizeof *header)
        return tern_error_set(error, TERN_ECORRUPT, "table: %zu bytes, no header", length);
    if (header->magic != TERN_TABLE_MAGIC)
        return tern_error_set(error, TERN_ECORRUPT, "table: magic is %#x, expected %#x",
                              header->magic, TERN_TABLE_MAGIC);
    is_map = header->kind == TERN_TABLE_EXACT_MAP || header->kind == TERN_TABLE_PREFIX_MAP;
    if (!key_is_sound(header) || is_map != (header->records_bytes != 0) ||
        !part_is_inside(header->index_offset, header->index_bytes, length) ||
        !part_is_inside(header->records_offset, header->records_bytes, length))
        return tern_error_set(error, TERN_ECORRUPT, "table: the header does not fit %zu bytes",
                              length);
    found.kind = (enum tern_table_kind)header->kind;
    found.key_type = (enum tern_type)header->key_type;
    found.key_flags = header->key_flags;
    found.key_count = header->key_count;
    found.has_records = is_map;
    status = open_index(&found, (const uint8_t *)section + header->index_offset,
                        header->index_bytes, &value_limit, error);
    if (status != 0)
        return status;
    if (is_map) {
        status =
            tern_records_open(&found.records, (const uint8_t *)section + header->records_offset,
                              header->records_bytes, error);
        if (status != 0)
            return status;
        if (value_limit > found.records.record_count)
            return tern_error_set(error, TERN_ECORRUPT,
                                  "table: the index refers to %u records, there are %u",
                                  value_limit, found.records.record_count);
    } else if (value_limit > 1) {
        return tern_error_set(error, TERN_ECORRUPT, "table: a set with values up to %u",
                              value_limit - 1);
    }
    *table = found;
    return 0;
}

const void *tern_table_key_bytes(enum tern_type type, const union tern_value *value,
                                 uint8_t scratch[16], size_t *length)
{
    switch (type) {
    case TERN_TYPE_STRING:
        *length = value->string.length;
        return value->string.bytes;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        tern_store_u64(scratch, value->u64);
        *length = 8;
        return scratch;
    case TERN_TYPE_IP:
        tern_store_u64(scratch, value->address.high);
        tern_store_u64(scratch + 8, value->address.low);
        *length = 16;
        return scratch;
    default:
        return NULL;
    }
}

uint32_t tern_table_find(const struct tern_table *table, const union tern_value *key)
{
    uint64_t hashes[TERN_DOMAIN_LABELS_MAX];
    unsigned count;
    uint8_t scratch[16];
    const void *bytes;
    size_t length;

    switch (table->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        return tern_prefix_find(&table->prefix, key->address);
    case TERN_TABLE_DOMAIN_SET:
        count = tern_domain_prefetch(&table->domain, key->string.bytes, key->string.length, hashes);
        return tern_domain_find(&table->domain, hashes, count);
    case TERN_TABLE_PATTERN_SET:
        return TERN_NOT_FOUND; /* asked by rules, all patterns at once */
    default:
        bytes = tern_table_key_bytes(table->key_type, key, scratch, &length);
        return tern_exact_find(&table->exact, tern_hash_key(table->exact.seed, bytes, length));
    }
}
