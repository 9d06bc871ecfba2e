#include "tests/unit/unit.h"

#include "controlplane/build/schema.h"
#include "controlplane/config/config.h"

#include <unistd.h>

/* A configuration read from a text, with what was said about it. */
struct fixture {
    char path[64];
    struct tern_config *config;
    struct tern_diagnostics diagnostics;
    int result;
};

static void read_bytes(struct fixture *fixture, const char *text, size_t length)
{
    int fd;

    memset(fixture, 0, sizeof *fixture);
    strcpy(fixture->path, "/tmp/tern-unit-XXXXXX");
    fd = mkstemp(fixture->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, length), length);
    close(fd);
    fixture->result = tern_config_read(fixture->path, &fixture->config, &fixture->diagnostics);
    unlink(fixture->path);
}

static void drop(struct fixture *fixture)
{
    tern_config_free(fixture->config);
    tern_diagnostics_free(&fixture->diagnostics);
}

static void read_text(struct fixture *fixture, const char *text)
{
    read_bytes(fixture, text, strlen(text));
}

static struct tern_config *read_valid(struct fixture *fixture, const char *text)
{
    read_text(fixture, text);
    if (fixture->result != 0)
        fail_msg("refused: %s", fixture->diagnostics.items[0].message);
    return fixture->config;
}

static void assert_refused(const char *text, uint32_t line, uint32_t column, const char *message)
{
    struct fixture fixture;

    read_text(&fixture, text);
    assert_int_equal(fixture.result, TERN_EINVAL);
    assert_null(fixture.config);
    assert_int_equal(fixture.diagnostics.error_count, 1);
    assert_int_equal(fixture.diagnostics.items[0].place.line, line);
    assert_int_equal(fixture.diagnostics.items[0].place.column, column);
    if (strstr(fixture.diagnostics.items[0].message, message) == NULL)
        fail_msg("\"%s\" is not in: %s", message, fixture.diagnostics.items[0].message);
    drop(&fixture);
}

static void defaults_are_those_of_the_design(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_config *config = read_valid(&fixture, "tern: 1\n");

    assert_string_equal(config->instance.text, "default");
    assert_int_equal(config->listen_count, 1);
    assert_string_equal(config->listen[0].text, "tcp://127.0.0.1:7400");
    assert_in_range(config->workers, 1, TERN_LOOPS_MAX);
    assert_int_equal(config->arena_bytes, 4ull << 30);
    assert_int_equal(config->limits.max_frame_bytes, 1 << 20);
    assert_int_equal(config->limits.idle_us, 300 * 1000000ull);
    assert_int_equal(config->limits.half_frame_us, 10 * 1000000ull);
    assert_int_equal(config->limits.connections, 10000);
    assert_int_equal(config->limits.deadline_us, 10000);
    assert_int_equal(config->limits.rules_bytes, 64 << 20);
    assert_false(config->ignore_unknown_fields);
    assert_int_equal(config->default_action, TERN_ALLOW);
    assert_int_equal(config->field_count + config->table_count + config->rule_count +
                         config->threshold_count + config->test_count,
                     0);
    assert_string_equal(config->text, "tern: 1\n");
    assert_int_equal(config->text_length, 8);
    drop(&fixture);
}

static const char whole[] =
    "tern: 1\n"
    "instance: edge-1\n"
    "listen: [ 'tcp://[::1]:0', unix:///run/tern/edge.sock ]\n"
    "workers: 3\n"
    "arena: 64MiB\n"
    "limits: { max_frame: 2MiB, idle: 1h, half_frame: 500ms,\n"
    "          connections: 20k, deadline: 250us, rules_bytes: 1MiB }\n"
    "unknown_fields: ignore\n"
    "fields:\n"
    "  ip: ip\n"
    "  host: host\n"
    "  path: { type: string, max: 2KiB }\n"
    "  user: u64\n"
    "  v: vector(100)\n"
    "tables:\n"
    "  nets: { type: prefix_set, source: data/nets.txt }\n"
    "  asn: { type: prefix_map, by: ip, source: /abs/asn.csv,\n"
    "         columns: { number: { type: u32, from: asn }, kind: host } }\n"
    "  users: { type: exact_map, by: host, key: name, source: u.csv,\n"
    "           columns: { trust: f32 }, max_bad_rows: 1k, min_rows: 0,\n"
    "           max_bytes: 1GiB }\n"
    "  tokens: { type: exact_set, of: i64, source: t.txt }\n"
    "  bad: { type: domain_set, source: d.txt, key: domain }\n"
    "rules:\n"
    "  - { id: a-1, when: 'ip in $nets', then: deny, score: 0.5,\n"
    "      mode: shadow, missing: skip, note: 'why: ${env:X}', owner: me,\n"
    "      tags: [ x, y ] }\n"
    "  - { id: b, when: 'path contains \"${env:\"', add: -4 }\n"
    "  - { id: c, when: exists(ip), then: escalate(deep), meanwhile: deny }\n"
    "  - { id: d, when: exists(ip), then: escalate(deep) }\n"
    "thresholds: [ { at: 4, then: challenge }, { at: 8, then: deny } ]\n"
    "default: challenge\n"
    "tests:\n"
    "  - { request: { ip: 10.1.2.3, host: NO }, expect: undecided, rule: a-1 }\n";

/* The configuration and the schema number untouched values alike, up to where the numbers end. */
static void slots_of_untouched_values_are_those_of_the_schema(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_buffer text = {0}, section = {0};
    const struct tern_schema *schema;
    uint8_t slots[TERN_FIELDS_MAX + 1], *aligned;
    unsigned with = 0, last;
    struct tern_config *config;

    tern_buffer_printf(&text, "tern: 1\nfields:\n");
    for (unsigned i = 1; i <= 200; i++)
        tern_buffer_printf(&text,
                           i % 3 == 0   ? "  f%u: host\n"
                           : i % 3 == 1 ? "  f%u: { type: string, normalize: [ lower ] }\n"
                                        : "  f%u: string\n",
                           i);
    tern_buffer_append_zero(&text, 1);
    config = read_valid(&fixture, (const char *)text.data);
    assert_int_equal(tern_schema_build(config, &section), 0);
    aligned = aligned_alloc(64, tern_align_up(section.length, 64));
    memcpy(aligned, section.data, section.length);
    assert_int_equal(tern_schema_open(aligned, section.length, &schema), 0);
    last = tern_schema_raw_slots(schema, slots);
    assert_int_equal(last, TERN_FIELDS_MAX);
    assert_int_equal(config->slot_count, last);
    for (unsigned id = 1; id <= 200; id++) {
        const struct tern_schema_field *field;
        bool raw;

        assert_int_equal(tern_config_raw_slot(config, id), slots[id]);
        if (slots[id] == 0)
            continue;
        with++;
        field = tern_schema_slot(schema, slots[id], &raw);
        assert_true(raw && field != NULL && field->id == id);
        assert_int_equal(config->fields[slots[id] - 1].raw_of, id);
        assert_int_equal(config->fields[slots[id] - 1].flags, 0);
    }
    assert_int_equal(with, 55); /* 255 numbers for 200 fields */
    free(aligned);
    tern_buffer_free(&section);
    tern_buffer_free(&text);
    drop(&fixture);
}

static void everything_is_read_into_its_place(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_config *config = read_valid(&fixture, whole);
    const struct tern_config_table *tables = config->tables;
    const struct tern_config_rule *rules = config->rules;

    assert_string_equal(config->instance.text, "edge-1");
    assert_int_equal(config->listen_count, 2);
    assert_int_equal(config->workers, 3);
    assert_int_equal(config->arena_bytes, 64 << 20);
    assert_int_equal(config->limits.connections, 20000);
    assert_int_equal(config->limits.deadline_us, 250);
    assert_true(config->ignore_unknown_fields);

    assert_int_equal(config->field_count, 5);
    assert_int_equal(config->fields[1].type, TERN_TYPE_STRING);
    assert_int_equal(config->fields[1].flags, TERN_FIELD_HOST);
    assert_int_equal(config->fields[2].max_bytes, 2048);
    assert_int_equal(config->fields[3].max_bytes, 8);
    assert_int_equal(config->fields[4].dim, 100);
    assert_int_equal(config->fields[4].max_bytes, 400);

    assert_int_equal(config->table_count, 5);
    assert_int_equal(tables[0].kind, TERN_TABLE_PREFIX_SET);
    assert_string_equal(tables[0].source_path, "/tmp/data/nets.txt");
    assert_int_equal(tables[0].key_type, TERN_TYPE_IP);
    assert_int_equal(tables[0].min_rows, 1);
    assert_string_equal(tables[1].source_path, "/abs/asn.csv");
    assert_int_equal(tables[1].by_field, 1);
    assert_string_equal(tables[1].columns[0].from.text, "asn");
    assert_int_equal(tables[1].columns[0].type, TERN_TYPE_U32);
    assert_string_equal(tables[1].columns[1].from.text, "kind");
    assert_int_equal(tables[1].columns[1].flags, TERN_FIELD_HOST);
    assert_int_equal(tables[2].by_field, 2);
    assert_int_equal(tables[2].key_type, TERN_TYPE_STRING);
    assert_int_equal(tables[2].key_flags, TERN_FIELD_HOST);
    assert_int_equal(tables[2].max_bad_rows, 1000);
    assert_int_equal(tables[2].min_rows, 0);
    assert_int_equal(tables[2].max_bytes, 1 << 30);
    assert_int_equal(tables[3].key_type, TERN_TYPE_I64);
    assert_int_equal(tables[4].key_flags, TERN_FIELD_HOST);
    assert_string_equal(tables[4].key.text, "domain");

    assert_int_equal(config->rule_count, 4);
    assert_int_equal(rules[0].then, TERN_THEN_ACTION);
    assert_int_equal(rules[0].action, TERN_DENY);
    assert_true(rules[0].score == 0.5f);
    assert_int_equal(rules[0].mode, TERN_RULE_SHADOW);
    assert_true(rules[0].missing_skip);
    assert_string_equal(rules[0].owner.text, "me");
    assert_int_equal(rules[1].then, TERN_THEN_ADD);
    assert_true(rules[1].score == -4.0f);
    assert_int_equal(rules[2].then, TERN_THEN_ESCALATE);
    assert_int_equal(rules[2].action, TERN_DENY);
    assert_string_equal(rules[2].escalate.text, "deep");
    assert_int_equal(rules[3].action, TERN_UNDECIDED);

    assert_true(config->thresholds[0].at == 8.0f);
    assert_int_equal(config->thresholds[0].action, TERN_DENY);
    assert_int_equal(config->default_action, TERN_CHALLENGE);
    assert_int_equal(config->tests[0].value_count, 2);
    assert_string_equal(config->tests[0].values[1].value.text, "NO");
    assert_int_equal(config->tests[0].expect, TERN_UNDECIDED);
    assert_int_equal(fixture.diagnostics.error_count, 0);
    assert_int_equal(fixture.diagnostics.count, 2); /* the two escalations warn */
    drop(&fixture);
}

static void collections_have_defaults(TERN_TEST_STATE)
{
    struct fixture fixture;
    const struct tern_config *config =
        read_valid(&fixture, "tern: 1\n"
                             "collections:\n"
                             "  docs: { dim: 100 }\n"
                             "  faces: { dim: 512, metric: l2, m: 24, ef_construct: 200,\n"
                             "    ef_search: 80, full_scan_vectors: 0, quantize: none,\n"
                             "    capacity: 2k, payload: { label: string, at: u64, ok: bool },\n"
                             "    source: data/faces.csv.gz }\n");
    const struct tern_config_collection *docs = &config->collections[0];
    const struct tern_config_collection *faces = &config->collections[1];

    assert_int_equal(config->collection_count, 2);
    assert_string_equal(docs->name.text, "docs");
    assert_int_equal(docs->shape.dim, 100);
    assert_int_equal(docs->shape.metric, TERN_METRIC_COSINE);
    assert_int_equal(docs->shape.quantize, TERN_QUANTIZE_INT8);
    assert_int_equal(docs->shape.m, 16);
    assert_int_equal(docs->shape.capacity, 1000000);
    assert_int_equal(docs->shape.column_count, 0);
    assert_int_equal(docs->parameters.ef_construct, 128);
    assert_int_equal(docs->parameters.ef_search, 64);
    assert_int_equal(docs->parameters.full_scan, 10000);
    assert_null(docs->source_path);
    assert_int_equal(faces->shape.metric, TERN_METRIC_L2);
    assert_int_equal(faces->shape.quantize, TERN_QUANTIZE_NONE);
    assert_int_equal(faces->shape.m, 24);
    assert_int_equal(faces->shape.capacity, 2000);
    assert_int_equal(faces->shape.column_count, 3);
    assert_string_equal(faces->shape.columns[1].name, "at");
    assert_int_equal(faces->shape.columns[1].type, TERN_TYPE_U64);
    assert_int_equal(faces->parameters.full_scan, 0);
    assert_string_equal(faces->source_path, "/tmp/data/faces.csv.gz");
    drop(&fixture);
}

static void files_that_are_no_configuration_are_refused(TERN_TEST_STATE)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    char path[] = "/tmp/tern-unit-XXXXXX";
    struct fixture fixture;
    int fd;

    assert_int_equal(tern_config_read("/nonexistent/tern.yaml", &config, &diagnostics),
                     TERN_ENOENT);
    assert_int_equal(diagnostics.items[0].place.line, 0);
    tern_diagnostics_free(&diagnostics);
    assert_int_equal(tern_config_read("/tmp", &config, &diagnostics), TERN_EINVAL);
    assert_non_null(strstr(diagnostics.items[0].message, "folder"));
    tern_diagnostics_free(&diagnostics);
    assert_int_equal(tern_config_read("/dev/zero", &config, &diagnostics), TERN_EINVAL);
    tern_diagnostics_free(&diagnostics);

    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (64 << 20) + 1), 0);
    close(fd);
    assert_int_equal(tern_config_read(path, &config, &diagnostics), TERN_EINVAL);
    assert_non_null(strstr(diagnostics.items[0].message, "64MiB"));
    tern_diagnostics_free(&diagnostics);
    unlink(path);
    assert_null(config);

    assert_refused("", 0, 0, "empty");
    assert_refused("# only a comment\n", 0, 0, "empty");
    read_bytes(&fixture, "tern: 1\n\0", 9);
    assert_int_equal(fixture.result, TERN_EINVAL);
    assert_int_equal(fixture.diagnostics.items[0].place.line, 2);
    assert_non_null(strstr(fixture.diagnostics.items[0].message, "NUL"));
    drop(&fixture);
    assert_refused("tern: 1 # \xc3\xa4\xff\n", 1, 12, "not UTF-8");
    assert_refused("tern: 1 # \xed\xa0\x80\n", 1, 11, "not UTF-8");
}

static void a_byte_order_mark_and_crlf_are_fine(TERN_TEST_STATE)
{
    struct fixture fixture;

    read_valid(&fixture, "\xef\xbb\xbftern: 1\r\ninstance: x\r\n");
    assert_string_equal(fixture.config->instance.text, "x");
    assert_int_equal(fixture.config->instance.place.line, 2);
    assert_int_equal(fixture.config->instance.place.column, 11);
    drop(&fixture);
}

static void deep_nesting_ends(TERN_TEST_STATE)
{
    char text[4096] = "tern: ";
    size_t start = strlen(text);

    memset(text + start, '[', sizeof text - start - 1);
    assert_refused(text, 1, (uint32_t)start + 32, "deeper");
}

static void more_errors_than_anyone_reads_are_counted(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_buffer text = {0};
    struct tern_buffer printed = {0};

    tern_buffer_printf(&text, "tern: 1\n");
    for (int i = 0; i < 5000; i++)
        tern_buffer_printf(&text, "wrong%d: 1\n", i);
    read_bytes(&fixture, (const char *)text.data, text.length);
    assert_int_equal(fixture.result, TERN_EINVAL);
    assert_int_equal(fixture.diagnostics.error_count, 5000);
    assert_int_equal(fixture.diagnostics.count, TERN_DIAGNOSTICS_MAX);
    assert_int_equal(tern_diagnostics_print(&fixture.diagnostics, &printed), 0);
    assert_memory_equal(printed.data + printed.length - 14, "and 4000 more\n", 14);
    tern_buffer_free(&printed);
    tern_buffer_free(&text);
    drop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_design),
        cmocka_unit_test(everything_is_read_into_its_place),
        cmocka_unit_test(slots_of_untouched_values_are_those_of_the_schema),
        cmocka_unit_test(collections_have_defaults),
        cmocka_unit_test(files_that_are_no_configuration_are_refused),
        cmocka_unit_test(a_byte_order_mark_and_crlf_are_fine),
        cmocka_unit_test(deep_nesting_ends),
        cmocka_unit_test(more_errors_than_anyone_reads_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
