#include "tests/unit/unit.h"

#include "controlplane/build/load.h"
#include "shared/tables/table.h"
#include "tests/unit/folder.h"

/* A folder with a configuration and one source; what loading its only table gave. */
struct fixture {
    char folder[FOLDER_PATH];
    struct tern_config *config;
    struct tern_diagnostics diagnostics;
    struct tern_error error;
    struct tern_buffer section;
    struct tern_load_report report;
    uint8_t digest[16];
    int result;
    unsigned last_permille;
    uint64_t last_rows;
};

static void write_file(const struct fixture *fixture, const char *name, const void *text,
                       size_t length)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    if (length > 0)
        assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void note_progress(void *context, unsigned permille, uint64_t rows)
{
    struct fixture *fixture = context;

    assert_true(permille >= fixture->last_permille && permille <= 1000);
    assert_true(rows >= fixture->last_rows);
    fixture->last_permille = permille;
    fixture->last_rows = rows;
}

/* Loads table t: "t: { <definition>, source: s }" from the bytes of `source`; NULL: no such file.
 */
static void load_bytes(struct fixture *fixture, const char *definition, const void *source,
                       size_t length)
{
    char text[1024], path[128];

    memset(fixture, 0, sizeof *fixture);
    assert_int_equal(folder_make(fixture->folder), 0);
    snprintf(text, sizeof text,
             "tern: 1\nfields: { ip: ip, host: host, name: string, user: u64 }\n"
             "tables:\n  t: { %s, source: s }\n",
             definition);
    write_file(fixture, "c.yaml", text, strlen(text));
    if (source != NULL)
        write_file(fixture, "s", source, length);
    snprintf(path, sizeof path, "%s/c.yaml", fixture->folder);
    if (tern_config_read(path, &fixture->config, &fixture->diagnostics) != 0)
        fail_msg("%s", fixture->diagnostics.items[0].message);
    fixture->result = tern_table_load(&fixture->config->tables[0], 7, &fixture->section,
                                      &fixture->report, fixture->digest, note_progress, fixture,
                                      &fixture->diagnostics, &fixture->error);
    if (fixture->result != 0) {
        assert_int_equal(fixture->error.code, fixture->result);
        assert_memory_equal(fixture->error.message, "table t: ", 9);
        assert_true(fixture->diagnostics.error_count > 0);
        assert_int_equal(fixture->section.length, 0);
    }
}

static void load(struct fixture *fixture, const char *definition, const char *source)
{
    load_bytes(fixture, definition, source, source == NULL ? 0 : strlen(source));
}

static void drop(struct fixture *fixture)
{
    assert_int_equal(folder_remove(fixture->folder), 0);
    tern_config_free(fixture->config);
    tern_diagnostics_free(&fixture->diagnostics);
    tern_buffer_free(&fixture->section);
}

/* The section where a reader would have it: aligned. Free `*memory`. */
static struct tern_table open_section(struct fixture *fixture, void **memory)
{
    struct tern_table table;
    struct tern_error error;

    if (fixture->result != 0)
        fail_msg("%s", fixture->error.message);
    *memory = aligned_alloc(64, tern_align_up(fixture->section.length, 64));
    assert_non_null(*memory);
    memcpy(*memory, fixture->section.data, fixture->section.length);
    if (tern_table_open(&table, *memory, fixture->section.length, &error) != 0)
        fail_msg("%s", error.message);
    return table;
}

static union tern_value string(const char *text)
{
    return (union tern_value){
        .string = {.bytes = (const uint8_t *)text, .length = (uint32_t)strlen(text)}};
}

static union tern_value ip(const char *text)
{
    union tern_value value;

    assert_int_equal(tern_address_parse(text, strlen(text), &value.address), 0);
    return value;
}

static bool holds(struct tern_table *table, union tern_value key)
{
    return tern_table_find(table, &key) != TERN_NOT_FOUND;
}

static void sets_are_read_from_lines(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_table table;
    void *memory;

    load(&fixture, "type: prefix_set",
         "# networks\n192.0.2.0/24\n\n  198.51.100.7  # one host\r\n2001:db8::/32#not a comment\n");
    assert_int_equal(fixture.result, TERN_EINVAL); /* a comment needs a blank before it */
    assert_int_equal(fixture.diagnostics.items[0].place.line, 5);
    drop(&fixture);

    load(&fixture, "type: prefix_set",
         "# networks\n192.0.2.0/24\n\n  198.51.100.7  # one host\r\n2001:db8::/32\n");
    table = open_section(&fixture, &memory);
    assert_int_equal(fixture.report.build.rows, 3);
    assert_true(holds(&table, ip("192.0.2.255")));
    assert_true(holds(&table, ip("::ffff:198.51.100.7")));
    assert_true(holds(&table, ip("2001:db8:1::1")));
    assert_false(holds(&table, ip("192.0.3.0")));
    assert_int_equal(fixture.last_permille, 1000);
    assert_int_equal(fixture.last_rows, 3);
    free(memory);
    drop(&fixture);

    load(&fixture, "type: domain_set", "Bad.Example.\nxn--bcher-kva.example # x\n_dmarc.a-b.c\n");
    table = open_section(&fixture, &memory);
    assert_true(holds(&table, string("www.bad.example")));
    assert_false(holds(&table, string("notbad.example")));
    free(memory);
    drop(&fixture);

    load(&fixture, "type: exact_set, of: string", "#no\n a #b \nx,\"y\"\n");
    table = open_section(&fixture, &memory);
    assert_int_equal(fixture.report.build.rows, 2);
    assert_true(holds(&table, string(" a #b ")));
    assert_true(holds(&table, string("x,\"y\"")));
    assert_false(holds(&table, string("a")));
    free(memory);
    drop(&fixture);

    load(&fixture, "type: exact_set, of: i64", "-5\n 7 # seven\n-5\n");
    table = open_section(&fixture, &memory);
    assert_int_equal(fixture.report.build.duplicates, 1);
    assert_int_equal(fixture.diagnostics.count, 0); /* twice in a set is no matter */
    assert_true(holds(&table, (union tern_value){.i64 = -5}));
    assert_true(holds(&table, (union tern_value){.i64 = 7}));
    free(memory);
    drop(&fixture);
}

static void sets_are_read_from_a_column(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_table table;
    void *memory;

    load(&fixture, "type: prefix_set, key: net", "name,net\n\"a, b\",10.0.0.0/8\nc,\"::1\"\n");
    table = open_section(&fixture, &memory);
    assert_int_equal(fixture.report.build.rows, 2);
    assert_true(holds(&table, ip("10.9.9.9")));
    assert_true(holds(&table, ip("::1")));
    free(memory);
    drop(&fixture);
}

static void maps_have_typed_records(TERN_TEST_STATE)
{
    static const char source[] = "id,trust,plan,home,old,n\n"
                                 "5,0.25,\"team, yearly\",WWW.Example.,true,\n"
                                 "6,,,,0,-3\n";
    struct fixture fixture;
    struct tern_table table;
    union tern_value key = {.u64 = 5}, value;
    uint32_t record;
    void *memory;

    load(&fixture,
         "type: exact_map, by: user, key: id, columns: { plan: string, score: { type: f32, from: "
         "trust }, home: host, old: bool, n: i64 }",
         source);
    table = open_section(&fixture, &memory);
    record = tern_table_find(&table, &key);
    assert_int_not_equal(record, TERN_NOT_FOUND);
    assert_true(tern_records_value(&table.records, record, 0, &value));
    assert_int_equal(value.string.length, 12);
    assert_memory_equal(value.string.bytes, "team, yearly", 12);
    assert_true(tern_records_value(&table.records, record, 1, &value));
    assert_true(value.f32 == 0.25f);
    assert_true(tern_records_value(&table.records, record, 2, &value));
    assert_memory_equal(value.string.bytes, "www.example", 11);
    assert_true(tern_records_value(&table.records, record, 3, &value));
    assert_true(value.boolean);
    assert_false(tern_records_value(&table.records, record, 4, &value)); /* empty: missing */
    key.u64 = 6;
    record = tern_table_find(&table, &key);
    assert_false(tern_records_value(&table.records, record, 0, &value));
    assert_false(tern_records_value(&table.records, record, 1, &value));
    assert_true(tern_records_value(&table.records, record, 3, &value));
    assert_false(value.boolean);
    assert_true(tern_records_value(&table.records, record, 4, &value));
    assert_true(value.i64 == -3);
    free(memory);
    drop(&fixture);
}

static void prefix_maps_take_ranges_or_prefixes(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_table table;
    union tern_value key, value;
    void *memory;

    load(&fixture, "type: prefix_map, by: ip, columns: { c: string }",
         "start,end,c\n10.0.0.5,10.0.0.9,NZ\n2001:db8::,2001:db8::ff,PT\n10.0.0.5,10.0.0.9,CH\n");
    table = open_section(&fixture, &memory);
    assert_int_equal(fixture.report.build.overlaps, 1);
    assert_int_equal(fixture.diagnostics.count, 1);
    assert_int_equal(fixture.diagnostics.items[0].severity, TERN_SEVERITY_WARNING);
    key = ip("10.0.0.9");
    assert_true(tern_records_value(&table.records, tern_table_find(&table, &key), 0, &value));
    assert_memory_equal(value.string.bytes, "CH", 2);
    assert_false(holds(&table, ip("10.0.0.10")));
    free(memory);
    drop(&fixture);

    load(&fixture, "type: prefix_map, by: ip, columns: { n: u32 }",
         "n,cidr\n1,0.0.0.0/0\n2,10.0.0.0/8\n");
    table = open_section(&fixture, &memory);
    key = ip("10.0.0.9");
    assert_true(tern_records_value(&table.records, tern_table_find(&table, &key), 0, &value));
    assert_int_equal(value.u64, 2);
    free(memory);
    drop(&fixture);
}

/* ---- Bad rows ---- */

static void assert_bad_row(const char *definition, const char *source, uint32_t line,
                           uint32_t column, const char *message)
{
    struct fixture fixture;
    const struct tern_diagnostic *said;

    load(&fixture, definition, source);
    assert_int_equal(fixture.result, TERN_EINVAL);
    said = &fixture.diagnostics.items[0];
    assert_int_equal(fixture.diagnostics.error_count, 1);
    if (strcmp(said->place.file, fixture.config->tables[0].source_path) != 0 ||
        said->place.line != line || said->place.column != column ||
        strstr(said->message, message) == NULL)
        fail_msg("%s:%u:%u: %s", said->place.file, said->place.line, said->place.column,
                 said->message);
    drop(&fixture);
}

static void bad_rows_say_where_and_what(TERN_TEST_STATE)
{
    static const char map[] = "type: exact_map, by: user, key: id, columns: { n: u32, f: f32 }";
    static const char ranges[] = "type: prefix_map, by: ip, columns: { n: u32 }";

    assert_bad_row("type: prefix_set", "10.0.0.0/8\n 10.0.0.300\n", 2, 2,
                   "expected an address or a prefix");
    assert_bad_row("type: prefix_set", "10.0.0.1/8\n", 1, 1, "the network is 10.0.0.0/8");
    assert_bad_row("type: domain_set", "a.example\n*.b.example\n", 2, 1, "expected a domain name");
    assert_bad_row("type: domain_set", "a.example\n.b.example\n", 2, 1, "empty label");
    assert_bad_row("type: domain_set", "http://b.example/\n", 1, 1, "expected a domain name");
    assert_bad_row("type: domain_set", "0.0.0.0 b.example\n", 1, 1, "expected a domain name");
    assert_bad_row("type: exact_set, of: u64", "1\n2\n-3\n", 3, 1, "expected a u64 number");
    assert_bad_row("type: exact_set, of: ip", "1.2.3.4\n1.2.3.0/24\n", 2, 1, "expected an address");
    assert_bad_row(map, "id,n,f\n1,2,0.5\nx,2,0.5\n", 3, 1, "column 'id': expected a u64");
    assert_bad_row(map, "id,n,f\n1,4294967296,0.5\n", 2, 3, "out of range");
    assert_bad_row(map, "id,n,f\n1,4,nan\n", 2, 5, "column 'f': expected a number");
    assert_bad_row(map, "id,n,f\n,4,1\n", 2, 1, "found nothing");
    assert_bad_row(map, "id,n,f\n1,4\n", 2, 0, "the row has 2 cells, the header 3");
    assert_bad_row(map, "id,n,f\n1,\"4\"x,1\n", 2, 6, "closing quote");
    assert_bad_row(map, "id,n,f\n\"1\",\"\n\",1\n", 2, 5, "expected a u32");
    assert_bad_row(ranges, "start,end,n\n10.0.0.9,10.0.0.5,1\n", 2, 1, "ends before it begins");
    assert_bad_row(ranges, "start,end,n\n10.0.0.9,::1,1\n", 2, 1, "mixes IPv4 and IPv6");
}

static void some_bad_rows_may_be_tolerated(TERN_TEST_STATE)
{
    struct tern_buffer source = {0};
    struct fixture fixture;

    load(&fixture, "type: exact_set, of: u64, max_bad_rows: 2", "1\nx\n2\ny\n");
    assert_int_equal(fixture.result, 0);
    assert_int_equal(fixture.report.bad_rows, 2);
    assert_int_equal(fixture.report.build.rows, 2);
    assert_int_equal(fixture.diagnostics.error_count, 0);
    assert_int_equal(fixture.diagnostics.count, 2);
    drop(&fixture);

    for (int i = 0; i < 100; i++)
        tern_buffer_printf(&source, "%d\nbad\n", i);
    load_bytes(&fixture, "type: exact_set, of: u64, max_bad_rows: 99", source.data, source.length);
    assert_int_equal(fixture.result, TERN_EINVAL);
    assert_int_equal(fixture.diagnostics.error_count, 21); /* twenty, and how many more */
    assert_string_equal(fixture.diagnostics.items[20].message, "80 more bad rows follow");
    assert_non_null(strstr(fixture.error.message, "100 bad rows, max_bad_rows is 99"));
    drop(&fixture);
    tern_buffer_free(&source);
}

/* ---- Bad sources ---- */

static void assert_bad_source(const char *definition, const void *source, size_t length, int code,
                              const char *message)
{
    struct fixture fixture;

    load_bytes(&fixture, definition, source, length);
    assert_int_equal(fixture.result, code);
    if (strstr(fixture.diagnostics.items[0].message, message) == NULL)
        fail_msg("%s", fixture.diagnostics.items[0].message);
    drop(&fixture);
}

static void bad_sources_are_refused(TERN_TEST_STATE)
{
    static const char set[] = "type: exact_set, of: u64";
    static const char map[] = "type: exact_map, by: user, key: id, columns: { n: u32 }";
    static const uint8_t cut[] = {0x1f, 0x8b, 8, 0, 0, 0};

    assert_bad_source(set, NULL, 0, TERN_ENOENT, "No such file");
    assert_bad_source(set, "", 0, TERN_EINVAL, "min_rows: 0 allows");
    assert_bad_source(map, "", 0, TERN_EINVAL, "is empty");
    assert_bad_source(map, "id,n\n", 5, TERN_EINVAL, "has 0 rows");
    assert_bad_source("type: exact_set, of: u64, min_rows: 3", "1\n2\n", 4, TERN_EINVAL,
                      "has 2 rows, min_rows is 3");
    assert_bad_source("type: exact_set, of: u64, max_bytes: 3", "1\n2\n", 4, TERN_ELIMIT,
                      "max_bytes");
    assert_bad_source(set, "1\n\0\n", 4, TERN_EINVAL, "NUL");
    assert_bad_source(set, cut, sizeof cut, TERN_ECORRUPT, "cut off");
    assert_bad_source(map, "id,m\n1,2\n", 9, TERN_EINVAL, "no column 'n'");
    assert_bad_source(map, "id,n,n\n1,2,3\n", 13, TERN_EINVAL, "column 'n' twice");
    assert_bad_source(map, "id,n\n1,\"2\n", 10, TERN_EINVAL, "never closed");
    assert_bad_source("type: prefix_map, by: ip, columns: { n: u32 }", "from,to,n\n", 10,
                      TERN_EINVAL, "'start' and 'end', or 'cidr'");
}

static void an_empty_table_may_be_wanted(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_table table;
    void *memory;

    load(&fixture, "type: exact_set, of: u64, min_rows: 0", "# none today\n");
    table = open_section(&fixture, &memory);
    assert_false(holds(&table, (union tern_value){.u64 = 1}));
    free(memory);
    drop(&fixture);
}

static void the_same_source_gives_the_same_bytes(TERN_TEST_STATE)
{
    static const char definition[] = "type: prefix_map, by: ip, columns: { c: string }";
    struct tern_source_identity identity = {0};
    struct tern_buffer source = {0};
    struct fixture first, second;
    uint64_t seed = 4;

    tern_buffer_printf(&source, "c,cidr\n");
    for (int i = 0; i < 3000; i++) {
        unsigned a = (unsigned)tern_test_random(&seed);

        tern_buffer_printf(&source, "n%u,%u.%u.%u.0/24\n", a % 50, a >> 24, a >> 16 & 255,
                           a >> 8 & 255);
    }
    load_bytes(&first, definition, source.data, source.length);
    load_bytes(&second, definition, source.data, source.length);
    assert_int_equal(first.result, 0);
    assert_int_equal(first.section.length, second.section.length);
    assert_memory_equal(first.section.data, second.section.data, first.section.length);
    assert_memory_equal(first.digest, second.digest, 16);
    assert_int_equal(
        tern_source_digest(first.config->tables[0].source_path, &identity, &first.error), 0);
    assert_memory_equal(identity.digest, first.digest, 16);
    drop(&first);
    drop(&second);
    tern_buffer_free(&source);
}

static void patterns_are_lines_as_they_are(TERN_TEST_STATE)
{
    struct fixture fixture;
    struct tern_table table;
    void *memory;

    load(&fixture, "type: pattern_set",
         "# comment\n(?i)bot\n\n  two blanks \n\\#hash # no comment\nlast[0-9]+$");
    table = open_section(&fixture, &memory);
    assert_int_equal(table.kind, TERN_TABLE_PATTERN_SET);
    assert_int_equal(table.key_count, 4);
    assert_int_equal(table.patterns.count, 4);
    assert_int_equal(table.patterns.entries[1].length, 13);
    assert_memory_equal(table.patterns.bytes + table.patterns.entries[1].offset, "  two blanks ",
                        13);
    assert_int_equal(table.patterns.entries[1].line, 4);
    assert_memory_equal(table.patterns.bytes + table.patterns.entries[3].offset, "last[0-9]+$", 11);
    free(memory);
    drop(&fixture);

    load(&fixture, "type: pattern_set, key: regex", "row,regex\n1,Googlebot\\/\n2,\"a,b\"\n");
    table = open_section(&fixture, &memory);
    assert_int_equal(table.patterns.count, 2);
    assert_memory_equal(table.patterns.bytes + table.patterns.entries[1].offset, "a,b", 3);
    free(memory);
    drop(&fixture);
}

static void patterns_that_are_not_taken_have_their_line(TERN_TEST_STATE)
{
    static const char source[] = "good\n(open\nalso good\nx*\n(?<=a)b\n";
    struct fixture fixture;
    struct tern_table table;
    void *memory;

    load(&fixture, "type: pattern_set", source);
    assert_int_equal(fixture.result, TERN_EINVAL);
    assert_int_equal(fixture.diagnostics.error_count, 3);
    assert_int_equal(fixture.diagnostics.items[0].place.line, 2);
    assert_non_null(strstr(fixture.diagnostics.items[0].message,
                           "hyperscan does not take '(open': Missing close parenthesis"));
    assert_int_equal(fixture.diagnostics.items[1].place.line, 4);
    assert_non_null(strstr(fixture.diagnostics.items[1].message, "it matches the empty string"));
    assert_int_equal(fixture.diagnostics.items[2].place.line, 5);
    drop(&fixture);

    load(&fixture, "type: pattern_set, max_bad_rows: 3", source);
    table = open_section(&fixture, &memory);
    assert_int_equal(fixture.report.bad_rows, 3);
    assert_int_equal(table.patterns.count, 2);
    free(memory);
    drop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_read_from_lines),
        cmocka_unit_test(sets_are_read_from_a_column),
        cmocka_unit_test(maps_have_typed_records),
        cmocka_unit_test(prefix_maps_take_ranges_or_prefixes),
        cmocka_unit_test(bad_rows_say_where_and_what),
        cmocka_unit_test(some_bad_rows_may_be_tolerated),
        cmocka_unit_test(bad_sources_are_refused),
        cmocka_unit_test(an_empty_table_may_be_wanted),
        cmocka_unit_test(the_same_source_gives_the_same_bytes),
        cmocka_unit_test(patterns_are_lines_as_they_are),
        cmocka_unit_test(patterns_that_are_not_taken_have_their_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
