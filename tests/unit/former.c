#include "tests/unit/unit.h"

#include "dataplane/former.h"

/* A schema as a builder would write it: names, types, in this order. */
struct built {
    struct tern_schema schema;
    struct tern_schema_field fields[4];
    struct tern_schema_table tables[2];
};

static void add_field(struct built *built, const char *name, enum tern_type type, uint32_t dim)
{
    struct tern_schema_field *field = &built->fields[built->schema.field_count];

    field->id = ++built->schema.field_count;
    field->type = (uint8_t)type;
    field->dim = dim;
    field->max_bytes = type == TERN_TYPE_STRING ? TERN_STRING_MAX : 0;
    field->name_length = (uint8_t)strlen(name);
    memcpy(field->name, name, strlen(name));
}

/* Of four fields always: tables lie right behind. */
static void add_table(struct built *built, const char *name, enum tern_table_kind kind,
                      enum tern_type key)
{
    struct tern_schema_table *table = &built->tables[built->schema.table_count];

    assert_int_equal(built->schema.field_count, 4);
    table->id = ++built->schema.table_count;
    table->kind = (uint8_t)kind;
    table->key_type = (uint8_t)key;
    table->name_length = (uint8_t)strlen(name);
    memcpy(table->name, name, strlen(name));
}

static void make_old(struct built *old)
{
    *old = (struct built){0};
    add_field(old, "ip", TERN_TYPE_IP, 0);
    add_field(old, "path", TERN_TYPE_STRING, 0);
    add_field(old, "user", TERN_TYPE_U64, 0);
    add_field(old, "like", TERN_TYPE_VECTOR, 3);
    add_table(old, "nets", TERN_TABLE_PREFIX_SET, TERN_TYPE_IP);
    add_table(old, "keys", TERN_TABLE_EXACT_SET, TERN_TYPE_STRING);
}

/* user moved, path gone, like of another size, ip last; one table moved, one of another key. */
static void make_new(struct built *new)
{
    *new = (struct built){0};
    add_field(new, "user", TERN_TYPE_U64, 0);
    add_field(new, "like", TERN_TYPE_VECTOR, 4);
    add_field(new, "other", TERN_TYPE_STRING, 0);
    add_field(new, "ip", TERN_TYPE_IP, 0);
    add_table(new, "keys", TERN_TABLE_EXACT_SET, TERN_TYPE_U64);
    add_table(new, "nets", TERN_TABLE_PREFIX_SET, TERN_TYPE_IP);
}

static size_t put(uint8_t *out, uint8_t id, unsigned length)
{
    out[0] = id;
    tern_store_u16(out + 1, (uint16_t)length);
    memset(out + 3, id ^ 0x55, length);
    return 3 + length;
}

static void items_are_put_into_present_ids(TERN_TEST_STATE)
{
    struct tern_former former;
    struct built old, new;
    uint64_t seed = 9;

    make_old(&old);
    make_new(&new);
    assert_int_equal(tern_former_make(&former, 3, &old.schema, &new.schema, false, NULL), 0);
    for (unsigned round = 0; round < 5000; round++) {
        static const unsigned lengths[] = {8, 16, 40, 8, 12};
        static const uint8_t now[] = {0, 4, 0, 1, 0};
        uint8_t item[512], wanted[512], out[512];
        size_t length = 0, wanted_length = 0;

        for (unsigned i = 0; i < 6; i++) {
            unsigned id = tern_test_random(&seed) % 5;

            length += put(item + length, (uint8_t)id, lengths[id]);
            if (id != 0 && now[id] == 0)
                continue;
            put(wanted + wanted_length, (uint8_t)id, lengths[id]);
            wanted[wanted_length] = now[id];
            wanted_length += 3 + lengths[id];
        }
        assert_int_equal(tern_former_translate(&former, item, length, out), wanted_length);
        assert_memory_equal(out, wanted, wanted_length);
    }
    assert_int_equal(former.tables[1], 2);
    assert_int_equal(former.tables[2], 0);
    assert_int_equal(former.era, 3);
    tern_former_clear(&former);
}

static void a_schema_extends_another_or_says_where_it_does_not(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    struct built old, new, less;

    make_old(&old);
    make_new(&new);
    assert_int_equal(tern_schema_extends(&old.schema, &old.schema, &error), 0);
    assert_int_equal(tern_schema_extends(&old.schema, &new.schema, &error), TERN_EREFUSED);
    assert_non_null(strstr(error.message, "field 1 was `ip: ip`"));
    less = old;
    less.schema.table_count = 1;
    assert_int_equal(tern_schema_extends(&less.schema, &old.schema, &error), 0);
    assert_int_equal(tern_schema_extends(&old.schema, &less.schema, &error), TERN_EREFUSED);
    assert_non_null(strstr(error.message, "table 2 was `keys`"));
    less = old;
    less.fields[3].dim = 4;
    assert_int_equal(tern_schema_extends(&old.schema, &less.schema, &error), TERN_EREFUSED);
    less = old;
    less.tables[0].key_type = TERN_TYPE_STRING;
    assert_int_equal(tern_schema_extends(&old.schema, &less.schema, &error), TERN_EREFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_put_into_present_ids),
        cmocka_unit_test(a_schema_extends_another_or_says_where_it_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
