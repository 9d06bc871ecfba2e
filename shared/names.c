/* The words for numbers that people meet: types, table kinds, actions, wire statuses. */
#include "shared/schema.h"
#include "shared/verdict.h"
#include "shared/wire.h"

const char *tern_type_name(enum tern_type type)
{
    switch (type) {
    case TERN_TYPE_NONE:
        return "none";
    case TERN_TYPE_IP:
        return "ip";
    case TERN_TYPE_STRING:
        return "string";
    case TERN_TYPE_U64:
        return "u64";
    case TERN_TYPE_I64:
        return "i64";
    case TERN_TYPE_F32:
        return "f32";
    case TERN_TYPE_BOOL:
        return "bool";
    case TERN_TYPE_VECTOR:
        return "vector";
    case TERN_TYPE_U32:
        return "u32";
    }
    return "?";
}

const char *tern_table_kind_name(enum tern_table_kind kind)
{
    switch (kind) {
    case TERN_TABLE_NONE:
        return "none";
    case TERN_TABLE_EXACT_SET:
        return "exact_set";
    case TERN_TABLE_EXACT_MAP:
        return "exact_map";
    case TERN_TABLE_PREFIX_SET:
        return "prefix_set";
    case TERN_TABLE_PREFIX_MAP:
        return "prefix_map";
    case TERN_TABLE_DOMAIN_SET:
        return "domain_set";
    case TERN_TABLE_PATTERN_SET:
        return "pattern_set";
    }
    return "?";
}

const char *tern_action_name(enum tern_action action)
{
    switch (action) {
    case TERN_ALLOW:
        return "allow";
    case TERN_DENY:
        return "deny";
    case TERN_CHALLENGE:
        return "challenge";
    case TERN_UNDECIDED:
        return "undecided";
    }
    return "?";
}

const char *tern_status_name(unsigned status)
{
    switch (status) {
#define X(name, value, text)                                                                       \
    case value:                                                                                    \
        return text;
        TERN_STATUSES(X)
#undef X
    default:
        return "?";
    }
}
