/* shared/tables/{table,records}.c and controlplane/build/{table,records}.c: whole tables. */
#include "tests/unit/section.h"

#include "controlplane/build/table.h"
#include "shared/error.h"

#define STRING(text)                                                                               \
    {                                                                                              \
        .string = {(const uint8_t *)(text), sizeof(text) - 1 }                                     \
    }

static const struct tern_build_column columns[] = {
    {"flag", TERN_TYPE_BOOL, 0},
    {"name", TERN_TYPE_STRING, 0},
    {"seen_at", TERN_TYPE_U64, 0},
    {"delta", TERN_TYPE_I64, 0},
    {"ratio", TERN_TYPE_F32, 0},
    {"home", TERN_TYPE_IP, 0},
    {"host", TERN_TYPE_STRING, TERN_FIELD_HOST},
    {"number", TERN_TYPE_U32, 0},
};
#define COLUMNS TERN_COUNT(columns)

struct cells {
    union tern_value value[COLUMNS];
    uint64_t present;
    char name[24], host[24];
};

static void make_cells(struct cells *cells, uint64_t number)
{
    uint64_t seed = number;
    int name = snprintf(cells->name, sizeof cells->name, "n%u", (unsigned)(number % 37));
    int host = snprintf(cells->host, sizeof cells->host, "h%u.example", (unsigned)(number % 11));

    cells->present = tern_test_random(&seed) & tern_test_random(&seed) & 0xff;
    if (number % 3 == 0)
        cells->present = 0xff;
    cells->value[0].boolean = number & 1;
    cells->value[1].string.bytes = (const uint8_t *)cells->name;
    cells->value[1].string.length = (uint32_t)name;
    cells->value[2].u64 = tern_test_random(&seed);
    cells->value[3].i64 = -(int64_t)number;
    cells->value[4].f32 = (float)number / 3;
    cells->value[5].address = (struct tern_address){number, tern_test_random(&seed)};
    cells->value[6].string.bytes = (const uint8_t *)cells->host;
    cells->value[6].string.length = (uint32_t)host;
    cells->value[7].u64 = (uint32_t)tern_test_random(&seed);
}

static void check_cells(const struct tern_table *table, uint32_t record, const struct cells *cells)
{
    for (unsigned column = 0; column < COLUMNS; column++) {
        union tern_value value;
        bool present = tern_records_value(&table->records, record, column, &value);

        assert_int_equal(present, cells->present >> column & 1);
        if (!present)
            continue;
        switch (columns[column].type) {
        case TERN_TYPE_STRING:
            assert_int_equal(value.string.length, cells->value[column].string.length);
            assert_memory_equal(value.string.bytes, cells->value[column].string.bytes,
                                value.string.length);
            break;
        case TERN_TYPE_BOOL:
            assert_int_equal(value.boolean, cells->value[column].boolean);
            break;
        case TERN_TYPE_F32:
            assert_true(value.f32 == cells->value[column].f32);
            break;
        case TERN_TYPE_IP:
            assert_int_equal(tern_address_compare(value.address, cells->value[column].address), 0);
            break;
        default:
            assert_int_equal(value.u64, cells->value[column].u64);
            break;
        }
    }
}

static struct tern_table_builder *new_builder(enum tern_table_kind kind, enum tern_type key_type)
{
    bool is_map = kind == TERN_TABLE_EXACT_MAP || kind == TERN_TABLE_PREFIX_MAP;
    const struct tern_table_definition definition = {
        .kind = kind,
        .key_type = key_type,
        .column_count = is_map ? COLUMNS : 0,
        .columns = columns,
        .seed = 77,
    };
    struct tern_table_builder *builder = NULL;

    assert_int_equal(tern_table_builder_new(&builder, &definition, NULL), 0);
    return builder;
}

static struct test_section finish(struct tern_table_builder *builder,
                                  struct tern_build_report *report)
{
    struct tern_buffer buffer = {0};
    struct tern_error error;
    int status = tern_table_builder_finish(builder, &buffer, report, NULL, NULL, &error);

    assert_int_equal(status, 0);
    tern_table_builder_free(builder);
    return test_section_take(&buffer);
}

/* Key `k` of row `i` is i % distinct: later rows win. */
static struct test_section build_map(uint32_t rows, uint32_t distinct,
                                     struct tern_build_report *report)
{
    struct tern_table_builder *builder = new_builder(TERN_TABLE_EXACT_MAP, TERN_TYPE_U64);

    for (uint32_t i = 0; i < rows; i++) {
        union tern_value key = {.u64 = i % distinct};
        struct cells cells;

        make_cells(&cells, i);
        assert_int_equal(tern_table_builder_add(builder, &key, cells.value, cells.present), 0);
    }
    return finish(builder, report);
}

static void maps_give_back_their_cells(TERN_TEST_STATE)
{
    static const uint32_t shapes[][2] = {
        {1, 1}, {5, 5}, {1000, 1000}, {1000, 300}, {100000, 90000}};

    for (unsigned shape = 0; shape < TERN_COUNT(shapes); shape++) {
        uint32_t rows = shapes[shape][0], distinct = shapes[shape][1];
        struct tern_build_report report, again_report;
        struct test_section section = build_map(rows, distinct, &report);
        struct test_section again = build_map(rows, distinct, &again_report);
        struct tern_table table;
        struct tern_error error;

        assert_int_equal(section.length, again.length);
        assert_memory_equal(section.data, again.data, section.length);
        assert_int_equal(report.rows, rows);
        assert_int_equal(report.keys, distinct);
        assert_int_equal(report.duplicates, rows - distinct);
        assert_int_equal(tern_table_open(&table, section.data, section.length, &error), 0);
        assert_int_equal(table.key_count, distinct);
        assert_true(tern_records_count(&table.records) <= distinct);
        for (uint32_t key = 0; key < distinct; key++) {
            uint32_t last = rows - 1 - (rows - 1 - key) % distinct; /* the row that won */
            uint32_t record = tern_table_find(&table, &(union tern_value){.u64 = key});
            struct cells cells;

            assert_int_not_equal(record, TERN_NOT_FOUND);
            make_cells(&cells, last);
            check_cells(&table, record, &cells);
        }
        assert_int_equal(tern_table_find(&table, &(union tern_value){.u64 = distinct}),
                         TERN_NOT_FOUND);
        free(section.data);
        free(again.data);
    }
}

static void strings_are_sorted_and_equal_rows_stored_once(TERN_TEST_STATE)
{
    static const struct tern_build_column name = {"name", TERN_TYPE_STRING, 0};
    const struct tern_table_definition definition = {
        .kind = TERN_TABLE_PREFIX_MAP, .column_count = 1, .columns = &name};
    static const union tern_value names[] = {STRING("zebra"), STRING("ant"), STRING(""),
                                             STRING("zebu"),  STRING("an"),  STRING("lost")};
    struct tern_table_builder *builder = NULL;
    struct tern_build_report report;
    struct test_section section;
    struct tern_table table;
    const uint8_t *text;
    uint32_t length;

    assert_int_equal(tern_table_builder_new(&builder, &definition, NULL), 0);
    for (uint32_t i = 0; i < 1000; i++) {
        struct tern_address_range range = {tern_address_from_v4(i * 4),
                                           tern_address_from_v4(i * 4 + 1)};
        assert_int_equal(
            tern_table_builder_add_range(builder, &range, &names[i == 0 ? 5 : i % 5], 1), 0);
        if (i == 0) /* the same range again: "lost" loses, and nothing of it stays */
            assert_int_equal(tern_table_builder_add_range(builder, &range, &names[0], 1), 0);
    }
    section = finish(builder, &report);
    assert_int_equal(report.rows, 1001);
    assert_int_equal(report.keys, 1000);
    assert_int_equal(report.overlaps, 1);
    assert_int_equal(report.duplicates, 0);
    assert_int_equal(tern_table_open(&table, section.data, section.length, NULL), 0);
    assert_int_equal(tern_records_count(&table.records), 5);
    assert_int_equal(tern_records_string_count(&table.records), 5);
    text = tern_records_string(&table.records, 0, &length);
    assert_int_equal(length, 0);
    text = tern_records_string(&table.records, 4, &length);
    assert_int_equal(length, 4);
    assert_memory_equal(text, "zebu", 4);
    for (uint32_t i = 0; i < 4000; i++) {
        uint32_t record =
            tern_table_find(&table, &(union tern_value){.address = tern_address_from_v4(i)});
        if (i % 4 >= 2) {
            assert_int_equal(record, TERN_NOT_FOUND);
            continue;
        }
        text = tern_records_string(&table.records,
                                   tern_records_string_id(&table.records, record, 0), &length);
        assert_int_equal(length, names[i / 4 % 5].string.length);
        assert_memory_equal(text, names[i / 4 % 5].string.bytes, length);
    }
    free(section.data);
}

static void sets_of_every_key_answer(TERN_TEST_STATE)
{
    static const enum tern_type types[] = {TERN_TYPE_STRING, TERN_TYPE_U64, TERN_TYPE_I64,
                                           TERN_TYPE_IP};

    for (unsigned type = 0; type < TERN_COUNT(types); type++) {
        struct tern_table_builder *builder = new_builder(TERN_TABLE_EXACT_SET, types[type]);
        struct tern_build_report report;
        struct test_section section;
        struct tern_table table;
        char text[24];

        for (uint32_t i = 0; i < 4000; i++) {
            union tern_value key = {.address = {i, i % 2000}};

            if (types[type] == TERN_TYPE_STRING) {
                key.string.length = (uint32_t)sprintf(text, "key %u", i % 2000);
                key.string.bytes = (const uint8_t *)text;
            } else if (types[type] != TERN_TYPE_IP) {
                key.i64 = -(int64_t)(i % 2000);
            }
            if (i >= 2000 && types[type] == TERN_TYPE_IP)
                key.address.high -= 2000;
            assert_int_equal(tern_table_builder_add(builder, &key, NULL, 0), 0);
        }
        section = finish(builder, &report);
        assert_int_equal(report.keys, 2000);
        assert_int_equal(report.duplicates, 2000);
        assert_int_equal(tern_table_open(&table, section.data, section.length, NULL), 0);
        for (uint32_t i = 0; i < 4000; i++) {
            union tern_value key = {.address = {i, i}};

            if (types[type] == TERN_TYPE_STRING) {
                key.string.length = (uint32_t)sprintf(text, "key %u", i);
                key.string.bytes = (const uint8_t *)text;
            } else if (types[type] != TERN_TYPE_IP) {
                key.i64 = -(int64_t)i;
            }
            assert_int_equal(tern_table_find(&table, &key), i < 2000 ? 0 : TERN_NOT_FOUND);
        }
        free(section.data);
    }
}

static void empty_tables_are_tables(TERN_TEST_STATE)
{
    static const enum tern_table_kind kinds[] = {TERN_TABLE_EXACT_SET, TERN_TABLE_EXACT_MAP,
                                                 TERN_TABLE_PREFIX_SET, TERN_TABLE_PREFIX_MAP,
                                                 TERN_TABLE_DOMAIN_SET};

    for (unsigned kind = 0; kind < TERN_COUNT(kinds); kind++) {
        struct tern_build_report report;
        struct test_section section = finish(new_builder(kinds[kind], TERN_TYPE_STRING), &report);
        static const union tern_value text = STRING("example.com");
        struct tern_table table;

        assert_int_equal(report.keys, 0);
        assert_int_equal(tern_table_open(&table, section.data, section.length, NULL), 0);
        if (table.key_type == TERN_TYPE_IP)
            assert_int_equal(
                tern_table_find(&table, &(union tern_value){.address = tern_address_from_v4(1)}),
                TERN_NOT_FOUND);
        else
            assert_int_equal(tern_table_find(&table, &text), TERN_NOT_FOUND);
        free(section.data);
    }
}

static void bad_definitions_and_cells_are_refused(TERN_TEST_STATE)
{
    static const struct tern_build_column twice[] = {{"a", TERN_TYPE_U32, 0},
                                                     {"a", TERN_TYPE_U64, 0}};
    static const struct tern_build_column vector = {"v", TERN_TYPE_VECTOR, 0};
    struct tern_table_definition definition = {.kind = TERN_TABLE_EXACT_MAP,
                                               .key_type = TERN_TYPE_U64};
    struct tern_table_builder *builder = NULL;
    struct tern_error error = {0};
    struct cells cells;
    const union tern_value key = {.u64 = 1};

    assert_int_equal(tern_table_builder_new(&builder, &definition, &error), TERN_EINVAL);
    assert_string_equal(error.message, "a map needs at least one column");
    definition.columns = twice;
    definition.column_count = 2;
    assert_int_equal(tern_table_builder_new(&builder, &definition, &error), TERN_EINVAL);
    definition.columns = &vector;
    definition.column_count = 1;
    assert_int_equal(tern_table_builder_new(&builder, &definition, &error), TERN_EINVAL);
    definition.columns = columns;
    definition.key_type = TERN_TYPE_F32;
    assert_int_equal(tern_table_builder_new(&builder, &definition, &error), TERN_EINVAL);
    definition.kind = TERN_TABLE_NONE;
    assert_int_equal(tern_table_builder_new(&builder, &definition, &error), TERN_ENOTSUP);
    assert_null(builder);

    builder = new_builder(TERN_TABLE_EXACT_MAP, TERN_TYPE_U64);
    make_cells(&cells, 3);
    cells.value[7].u64 = 1ull << 32;
    assert_int_equal(tern_table_builder_add(builder, &key, cells.value, 0xff), TERN_EINVAL);
    make_cells(&cells, 3);
    cells.value[4].f32 = __builtin_nanf("");
    assert_int_equal(tern_table_builder_add(builder, &key, cells.value, 0xff), TERN_EINVAL);
    assert_int_equal(
        tern_table_builder_add_range(builder, &(struct tern_address_range){0}, NULL, 0),
        TERN_EINVAL);
    tern_table_builder_free(builder);
}

static struct test_section build_any(unsigned kind)
{
    static const enum tern_table_kind kinds[] = {TERN_TABLE_EXACT_SET,  TERN_TABLE_EXACT_MAP,
                                                 TERN_TABLE_PREFIX_SET, TERN_TABLE_PREFIX_MAP,
                                                 TERN_TABLE_DOMAIN_SET, TERN_TABLE_PATTERN_SET};
    struct tern_table_builder *builder = new_builder(kinds[kind], TERN_TYPE_U64);
    struct tern_build_report report;
    uint64_t seed = kind;

    for (uint32_t i = 0; i < 300; i++) {
        struct cells cells;
        char text[24];

        make_cells(&cells, i);
        if (kind == 2 || kind == 3) {
            uint32_t first = (uint32_t)tern_test_random(&seed), size = i * 977;
            struct tern_address_range range = {tern_address_from_v4(first), {0, 0}};

            range.last = tern_address_from_v4(first + size < first ? first : first + size);
            assert_int_equal(
                tern_table_builder_add_range(builder, &range, cells.value, cells.present), 0);
        } else if (kind == 5) {
            size_t length = (size_t)sprintf(text, "n%u.*x", i);

            assert_int_equal(tern_table_builder_add_pattern(builder, text, length, i + 1), 0);
        } else {
            union tern_value key = {.u64 = i};

            if (kind == 4) {
                key.string.length = (uint32_t)sprintf(text, "n%u.example.com", i);
                key.string.bytes = (const uint8_t *)text;
            }
            assert_int_equal(tern_table_builder_add(builder, &key, cells.value, cells.present), 0);
        }
    }
    return finish(builder, &report);
}

/* Everything a reader can do with a table that opened, on keys that were built and others. */
static void use(const struct tern_table *table, uint64_t *seed)
{
    uint32_t count = table->has_records ? tern_records_count(&table->records) : 1;

    if (table->kind == TERN_TABLE_PATTERN_SET)
        for (uint32_t i = 0; i < table->patterns.count; i++)
            for (uint32_t at = 0; at < table->patterns.entries[i].length; at++)
                *seed += table->patterns.bytes[table->patterns.entries[i].offset + at];
    for (uint32_t i = 0; i < 300; i++) {
        union tern_value key = {.address = tern_address_from_v4((uint32_t)tern_test_random(seed))};
        char text[24];
        uint32_t found;

        if (table->key_type == TERN_TYPE_STRING) {
            key.string.length = (uint32_t)sprintf(text, "n%u.example.com", i);
            key.string.bytes = (const uint8_t *)text;
        } else if (table->key_type != TERN_TYPE_IP) {
            key.u64 = i;
        }
        found = tern_table_find(table, &key);
        assert_true(found == TERN_NOT_FOUND || found < count);
    }
    if (!table->has_records)
        return;
    for (uint32_t record = 0; record < count; record++)
        for (unsigned column = 0; column < tern_records_column_count(&table->records); column++) {
            union tern_value value;

            if (tern_records_value(&table->records, record, column, &value) &&
                tern_records_column(&table->records, column)->type == TERN_TYPE_STRING)
                for (uint32_t at = 0; at < value.string.length; at++)
                    *seed += value.string.bytes[at];
        }
}

static void damaged_sections_stay_inside(TERN_TEST_STATE)
{
    uint64_t seed = 31;

    for (unsigned kind = 0; kind < 6; kind++) {
        struct test_section whole = build_any(kind);
        unsigned opened = 0, refused = 0;

        for (unsigned round = 0; round < 3000; round++) {
            struct test_section section = test_section_copy(
                whole, round % 4 ? whole.length : tern_test_random(&seed) % whole.length);
            struct tern_table table;
            struct tern_error error = {0};

            if (round % 4)
                test_section_damage(section, &seed);
            if (tern_table_open(&table, section.data, section.length, &error) == 0) {
                opened++;
                use(&table, &seed);
            } else {
                refused++;
                assert_int_equal(error.code, TERN_ECORRUPT);
                assert_true(error.message[0] != 0);
            }
            free(section.data);
        }
        assert_true(opened > 0 && refused > 0);
        free(whole.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_give_back_their_cells),
        cmocka_unit_test(strings_are_sorted_and_equal_rows_stored_once),
        cmocka_unit_test(sets_of_every_key_answer),
        cmocka_unit_test(empty_tables_are_tables),
        cmocka_unit_test(bad_definitions_and_cells_are_refused),
        cmocka_unit_test(damaged_sections_stay_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
