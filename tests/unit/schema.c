/* shared/schema.c and controlplane/build/schema.c: what one writes, the other reads. */
#include "tests/unit/unit.h"

#include "controlplane/build/schema.h"
#include "shared/error.h"
#include "shared/verdict.h"
#include "shared/wire.h"

#include <xxhash.h>

#define TEXT(string)                                                                               \
    {                                                                                              \
        .text = (string), .length = sizeof(string) - 1                                             \
    }

static struct tern_config_field fields[] = {
    {.name = TEXT("ip"), .type = TERN_TYPE_IP, .max_bytes = 16},
    {.name = TEXT("host"), .type = TERN_TYPE_STRING, .flags = TERN_FIELD_HOST, .max_bytes = 253},
    {.name = TEXT("path"),
     .type = TERN_TYPE_STRING,
     .max_bytes = 2048,
     .normalize = TERN_NORMALIZE_LOWER | TERN_NORMALIZE_PERCENT_DECODE},
    {.name = TEXT("vector"), .type = TERN_TYPE_VECTOR, .dim = 100},
    {.name = TEXT("user"), .type = TERN_TYPE_U64},
};
static struct tern_config_table tables[] = {
    {.name = TEXT("bad_nets"), .kind = TERN_TABLE_PREFIX_SET},
    {.name = TEXT("asn"), .kind = TERN_TABLE_PREFIX_MAP, .by_field = 1},
    {.name = TEXT("users"), .kind = TERN_TABLE_EXACT_MAP, .key_type = TERN_TYPE_U64, .by_field = 5},
    {.name = TEXT("bad_hosts"), .kind = TERN_TABLE_DOMAIN_SET},
    {.name = TEXT("crawlers"), .kind = TERN_TABLE_PATTERN_SET},
};
static struct tern_config_collection collections[] = {
    {.name = TEXT("docs"), .shape = {.dim = 100, .metric = TERN_METRIC_COSINE}},
    {.name = TEXT("faces"), .shape = {.dim = 512, .metric = TERN_METRIC_L2}},
};
static const struct tern_config config = {
    .fields = fields,
    .field_count = TERN_COUNT(fields),
    .tables = tables,
    .table_count = TERN_COUNT(tables),
    .collections = collections,
    .collection_count = TERN_COUNT(collections),
};

static uint8_t *build(size_t *length)
{
    struct tern_buffer buffer = {0};
    uint8_t *aligned;

    assert_int_equal(tern_schema_build(&config, &buffer), 0);
    *length = buffer.length;
    aligned = aligned_alloc(64, tern_align_up(buffer.length, 64));
    memcpy(aligned, buffer.data, buffer.length);
    tern_buffer_free(&buffer);
    return aligned;
}

static void what_is_built_is_found(TERN_TEST_STATE)
{
    const struct tern_schema *schema = NULL;
    const struct tern_schema_field *path;
    const struct tern_schema_table *users;
    const struct tern_schema_collection *faces;
    size_t length;
    uint8_t *section = build(&length);

    assert_int_equal(tern_schema_open(section, length, &schema), 0);
    assert_int_equal(schema->field_count, 5);
    assert_int_equal(schema->table_count, 5);
    path = tern_schema_find_field(schema, "path", 4);
    assert_non_null(path);
    assert_int_equal(path->id, 3);
    assert_int_equal(path->normalize, TERN_NORMALIZE_LOWER | TERN_NORMALIZE_PERCENT_DECODE);
    users = tern_schema_find_table(schema, "users", 5);
    assert_non_null(users);
    assert_int_equal(users->id, 3);
    assert_int_equal(users->by_field, 5);
    assert_int_equal(users->key_type, TERN_TYPE_U64);
    assert_int_equal(tern_schema_find_table(schema, "bad_hosts", 9)->key_flags, TERN_FIELD_HOST);
    assert_null(tern_schema_find_field(schema, "pat", 3));
    assert_null(tern_schema_find_field(schema, "users", 5));
    assert_null(tern_schema_find_table(schema, "", 0));
    assert_int_equal(schema->collection_count, 2);
    faces = tern_schema_find_collection(schema, "faces", 5);
    assert_non_null(faces);
    assert_int_equal(faces->id, 2);
    assert_int_equal(faces->dim, 512);
    assert_int_equal(faces->metric, TERN_METRIC_L2);
    assert_null(tern_schema_find_collection(schema, "users", 5));
    free(section);
}

static void the_hash_covers_everything_after_it(TERN_TEST_STATE)
{
    size_t length, again;
    uint8_t *section = build(&length), *same;

    assert_int_equal(tern_load_u64(section), XXH3_64bits(section + 8, length - 8));
    same = build(&again);
    assert_int_equal(length, again);
    assert_memory_equal(section, same, length);
    free(same);
    fields[4].type = TERN_TYPE_I64;
    same = build(&again);
    assert_int_not_equal(tern_load_u64(section), tern_load_u64(same));
    fields[4].type = TERN_TYPE_U64;
    free(same);
    free(section);
}

static void corrupt_sections_are_refused(TERN_TEST_STATE)
{
    const struct tern_schema *schema = NULL;
    size_t length;
    uint8_t *section = build(&length);

    for (size_t cut = 0; cut < length; cut += 17)
        assert_int_equal(tern_schema_open(section, cut, &schema), TERN_ECORRUPT);
    for (size_t at = 0; at < length; at++) {
        section[at] ^= 0x80;
        assert_int_equal(tern_schema_open(section, length, &schema), TERN_ECORRUPT);
        section[at] ^= 0x80;
    }
    /* A right hash over wrong content: ids, types, lengths and reserved bytes are looked at too. */
    for (size_t at = 8; at < length; at++) {
        bool text = false; /* another letter in a name, another dim, max or step is well-formed */
        size_t in = (at - 64) % 128;

        if (at >= 64 + 10 * 128) /* another dim */
            text = in == 4 || in == 5 || (in >= 9 && in < 73);
        else if (at >= 64)
            text = at < 64 + 5 * 128 ? in < 13 || in >= 14 : (in >= 2 && in < 8) || in >= 9;
        if (text && (at >= 64 + 5 * 128 ? in < 73 : in < 78))
            continue;
        section[at] ^= 0x80;
        tern_store_u64(section, XXH3_64bits(section + 8, length - 8));
        assert_int_equal(tern_schema_open(section, length, &schema), TERN_ECORRUPT);
        section[at] ^= 0x80;
    }
    assert_null(schema);
    free(section);
}

static const struct tern_schema *open_built(uint8_t **section)
{
    const struct tern_schema *schema = NULL;
    size_t length;

    *section = build(&length);
    assert_int_equal(tern_schema_open(*section, length, &schema), 0);
    return schema;
}

/* Ids of collections are kept by clients, as those of fields and tables are; how they are searched
 * is no part of what an id means. */
static void collections_only_join_at_the_end(TERN_TEST_STATE)
{
    const struct tern_config_collection before = collections[1];
    struct tern_error error = {0};
    uint8_t *section, *other;
    const struct tern_schema *live = open_built(&section), *next;

    collections[1].shape.metric = TERN_METRIC_DOT;
    collections[1].shape.m = 32;
    next = open_built(&other);
    assert_int_equal(tern_schema_extends(live, next, &error), 0);
    free(other);
    collections[1].shape.dim = 256;
    next = open_built(&other);
    assert_int_equal(tern_schema_extends(live, next, &error), TERN_EREFUSED);
    assert_non_null(strstr(error.message, "collection 2 was `faces` (512 dimensions)"));
    free(other);
    collections[1] = before;
    collections[1].name.text = "vaces";
    next = open_built(&other);
    assert_int_equal(tern_schema_extends(live, next, &error), TERN_EREFUSED);
    free(other);
    collections[1] = before;
    free(section);
}

static void every_number_has_a_name(TERN_TEST_STATE)
{
    for (unsigned i = 0; i <= TERN_TYPE_U32; i++)
        assert_string_not_equal(tern_type_name((enum tern_type)i), "?");
    assert_string_equal(tern_type_name((enum tern_type)99), "?");
    for (unsigned i = 0; i <= TERN_TABLE_PATTERN_SET; i++)
        assert_string_not_equal(tern_table_kind_name((enum tern_table_kind)i), "?");
    assert_string_equal(tern_table_kind_name((enum tern_table_kind)99), "?");
    assert_string_equal(tern_action_name(TERN_CHALLENGE), "challenge");
    assert_string_equal(tern_action_name((enum tern_action)99), "?");
    assert_string_equal(tern_status_name(TERN_STATUS_TOO_LARGE), "too large");
    assert_string_equal(tern_status_name(99), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_built_is_found),
        cmocka_unit_test(the_hash_covers_everything_after_it),
        cmocka_unit_test(corrupt_sections_are_refused),
        cmocka_unit_test(collections_only_join_at_the_end),
        cmocka_unit_test(every_number_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
