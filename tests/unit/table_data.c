/* The packed tables over real data with published answers (the environment variable TERN_DATA names
 * the folder; without it the tests say so and skip). The expected answers were computed by plain
 * bisection and dictionaries, by other people's code. */
#include "tests/unit/section.h"

#include "controlplane/build/domain.h"
#include "controlplane/build/table.h"
#include "shared/error.h"

#include <ctype.h>
#include <time.h>
#include <zlib.h>

#define CELLS_MAX 8u

/* One file, a line at a time; cells are unquoted in place. */
struct source {
    gzFile file;
    char line[65536];
    char *cells[CELLS_MAX];
    unsigned cell_count;
};

static bool source_open(struct source *source, const char *name)
{
    const char *folder = getenv("TERN_DATA");
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", folder == NULL ? "" : folder, name);
    source->file = folder == NULL ? NULL : gzopen(path, "rb");
    if (source->file == NULL) {
        print_message("skipped: no %s below TERN_DATA (%s)\n", name,
                      folder == NULL ? "not set" : folder);
        return false;
    }
    gzbuffer(source->file, 1 << 18);
    return true;
}

static bool source_next(struct source *source)
{
    char *from, *to;

    if (gzgets(source->file, source->line, sizeof source->line) == NULL) {
        gzclose(source->file);
        return false;
    }
    from = to = source->line;
    source->cell_count = 0;
    for (;;) {
        bool quoted = *from == '"';

        assert_true(source->cell_count < CELLS_MAX);
        source->cells[source->cell_count++] = to;
        from += quoted;
        while (*from != 0 && *from != '\n' && (quoted || *from != ',')) {
            if (quoted && *from == '"' && *++from != '"') {
                quoted = false;
                continue;
            }
            *to++ = *from++;
        }
        if (*from != ',') {
            *to = 0;
            return true;
        }
        from++;
        *to++ = 0;
    }
}

static double cpu_ms(void)
{
    struct timespec at;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

static struct tern_address parse(const char *text)
{
    struct tern_address address;

    assert_int_equal(tern_address_parse(text, strlen(text), &address), 0);
    return address;
}

static union tern_value text_value(const char *text)
{
    return (union tern_value){.string = {(const uint8_t *)text, (uint32_t)strlen(text)}};
}

/* ---- addresses ------------------------------------------------------------------------------- */

/* What the columns of a map over an address file are taken from. */
enum layout {
    LAYOUT_ASN,     /* start,end,asn,name → number, name */
    LAYOUT_COUNTRY, /* start,end,country → country */
    LAYOUT_CIDR,    /* cidr,owner → owner, bits */
};

static const struct tern_build_column layouts[][2] = {
    [LAYOUT_ASN] = {{"number", TERN_TYPE_U32, 0}, {"name", TERN_TYPE_STRING, 0}},
    [LAYOUT_COUNTRY] = {{"country", TERN_TYPE_STRING, 0}},
    [LAYOUT_CIDR] = {{"owner", TERN_TYPE_STRING, 0}, {"bits", TERN_TYPE_U32, 0}},
};

static bool add_file(struct tern_table_builder *builder, const char *name, enum layout layout)
{
    struct source source;

    if (!source_open(&source, name))
        return false;
    source_next(&source); /* the header */
    while (source_next(&source)) {
        struct tern_address_range range;
        union tern_value cells[2];

        if (layout == LAYOUT_CIDR) {
            const char *slash = strchr(source.cells[0], '/');
            bool v6 = strchr(source.cells[0], ':') != NULL;

            assert_int_equal(
                tern_address_parse_prefix(source.cells[0], strlen(source.cells[0]), &range), 0);
            cells[0] = text_value(source.cells[1]);
            cells[1].u64 = slash != NULL ? (uint64_t)atoi(slash + 1) : v6 ? 128 : 32;
        } else {
            range = (struct tern_address_range){parse(source.cells[0]), parse(source.cells[1])};
            cells[0] = layout == LAYOUT_ASN
                           ? (union tern_value){.u64 = strtoull(source.cells[2], NULL, 10)}
                           : text_value(source.cells[2]);
            if (layout == LAYOUT_ASN)
                cells[1] = text_value(source.cells[3]);
        }
        assert_int_equal(tern_table_builder_add_range(builder, &range, cells, 3), 0);
    }
    return true;
}

static bool build_map(struct tern_table *table, struct test_section *section, const char *first,
                      const char *second, enum layout layout, unsigned column_count)
{
    const struct tern_table_definition definition = {
        .kind = TERN_TABLE_PREFIX_MAP,
        .column_count = column_count,
        .columns = layouts[layout],
        .seed = 1,
    };
    struct tern_table_builder *builder = NULL;
    struct tern_build_report report;
    struct tern_buffer buffer = {0};
    struct tern_error error;
    double started;

    assert_int_equal(tern_table_builder_new(&builder, &definition, NULL), 0);
    if (!add_file(builder, first, layout) ||
        (second != NULL && !add_file(builder, second, layout))) {
        tern_table_builder_free(builder);
        return false;
    }
    started = cpu_ms();
    assert_int_equal(tern_table_builder_finish(builder, &buffer, &report, NULL, NULL, &error), 0);
    print_message("%s: %llu rows, %llu equal ranges, %.2f MiB, packed in %.0f ms of CPU\n", first,
                  (unsigned long long)report.rows, (unsigned long long)report.overlaps,
                  (double)buffer.length / (1 << 20), cpu_ms() - started);
    tern_table_builder_free(builder);
    *section = test_section_take(&buffer);
    started = cpu_ms();
    assert_int_equal(tern_table_open(table, section->data, section->length, &error), 0);
    print_message("    validated in %.1f ms of CPU; %u records, %u strings\n", cpu_ms() - started,
                  tern_records_count(&table->records), tern_records_string_count(&table->records));
    return true;
}

static bool text_is(union tern_value value, const char *text, size_t length)
{
    return value.string.length == length && memcmp(value.string.bytes, text, length) == 0;
}

/* `names` is a list separated by '|'. */
static bool text_among(union tern_value value, const char *names)
{
    for (;;) {
        size_t length = strcspn(names, "|");

        if (text_is(value, names, length))
            return true;
        if (names[length] == 0)
            return false;
        names += length + 1;
    }
}

static void check_owner(const struct tern_table *table, struct tern_address address,
                        const char *bits, const char *owners)
{
    uint32_t record = tern_table_find(table, &(union tern_value){.address = address});
    union tern_value owner, found_bits;

    if (bits[0] == 0) {
        assert_int_equal(record, TERN_NOT_FOUND);
        return;
    }
    assert_int_not_equal(record, TERN_NOT_FOUND);
    assert_true(tern_records_value(&table->records, record, 0, &owner));
    assert_true(tern_records_value(&table->records, record, 1, &found_bits));
    assert_int_equal(found_bits.u64, atoi(bits));
    assert_true(text_among(owner, owners));
}

static void addresses_get_their_published_answers(void **state)
{
    struct tern_table asn, country, cloud, vpn;
    struct test_section sections[4] = {0};
    struct source source;
    unsigned queries = 0;

    if (!source_open(&source, "ip/queries-expected.csv.gz") ||
        !build_map(&asn, &sections[0], "ip/asn-ipv4.csv.gz", "ip/asn-ipv6.csv.gz", LAYOUT_ASN, 2) ||
        !build_map(&country, &sections[1], "ip/country-ipv4.csv.gz", "ip/country-ipv6.csv.gz",
                   LAYOUT_COUNTRY, 1) ||
        !build_map(&cloud, &sections[2], "ip/cidr-cloud-providers.csv.gz", NULL, LAYOUT_CIDR, 2) ||
        !build_map(&vpn, &sections[3], "ip/cidr-vpn-datacenter.csv.gz", NULL, LAYOUT_CIDR, 2))
        skip();
    (void)state;
    assert_true(sections[0].length <= 16u << 20);
    source_next(&source);
    while (source_next(&source)) {
        struct tern_address address = parse(source.cells[0]);
        const union tern_value key = {.address = address};
        uint32_t record = tern_table_find(&asn, &key);
        union tern_value value;

        if (source.cells[1][0] == 0) {
            assert_int_equal(record, TERN_NOT_FOUND);
        } else {
            assert_int_not_equal(record, TERN_NOT_FOUND);
            assert_true(tern_records_value(&asn.records, record, 0, &value));
            assert_int_equal(value.u64, strtoull(source.cells[1], NULL, 10));
        }
        record = tern_table_find(&country, &key);
        if (source.cells[2][0] == 0) {
            assert_int_equal(record, TERN_NOT_FOUND);
        } else {
            assert_int_not_equal(record, TERN_NOT_FOUND);
            assert_true(tern_records_value(&country.records, record, 0, &value));
            assert_true(text_is(value, source.cells[2], strlen(source.cells[2])));
        }
        check_owner(&cloud, address, source.cells[4], source.cells[5]);
        check_owner(&vpn, address, source.cells[6], source.cells[7]);
        queries++;
    }
    print_message("%u addresses, four tables, all as published\n", queries);
    assert_true(queries > 10000);
    for (unsigned i = 0; i < TERN_COUNT(sections); i++)
        free(sections[i].data);
}

/* ---- domains --------------------------------------------------------------------------------- */

struct names { /* the names of a domain table, by value */
    struct tern_buffer bytes;
    struct tern_buffer starts;
    uint32_t count;
    struct tern_domain domain;
    struct test_section section;
};

static const char *name_of(const struct names *names, uint32_t value)
{
    return (const char *)names->bytes.data + ((const uint64_t *)names->starts.data)[value];
}

static bool names_build(struct names *names, const char *file, bool has_header)
{
    struct tern_domain_builder builder = {0};
    struct tern_buffer buffer = {0};
    struct tern_error error;
    struct source source;
    double started;

    *names = (struct names){0};
    if (!source_open(&source, file))
        return false;
    if (has_header)
        source_next(&source);
    while (source_next(&source)) {
        uint64_t start = names->bytes.length;
        size_t length = strlen(source.cells[0]);

        if (tern_domain_builder_add(&builder, source.cells[0], length, names->count) != 0)
            continue; /* not a name, e.g. an empty line */
        names->count++;
        assert_int_equal(tern_buffer_append(&names->starts, &start, sizeof start), 0);
        assert_int_equal(tern_buffer_append(&names->bytes, source.cells[0], length + 1), 0);
    }
    started = cpu_ms();
    assert_int_equal(tern_domain_builder_resolve(&builder, 4), 0);
    assert_int_equal(tern_domain_builder_pack(&builder, false, 1, &buffer), 0);
    print_message("%s: %u rows, %u names, %.2f bytes a name as a set, packed in %.0f ms of CPU\n",
                  file, names->count, builder.exact.entry_count,
                  (double)buffer.length / builder.exact.entry_count, cpu_ms() - started);
    buffer.length = 0;
    assert_int_equal(tern_domain_builder_pack(&builder, true, names->count, &buffer), 0);
    tern_domain_builder_free(&builder);
    names->section = test_section_take(&buffer);
    assert_int_equal(
        tern_domain_open(&names->domain, names->section.data, names->section.length, &error), 0);
    return true;
}

static void names_free(struct names *names)
{
    tern_buffer_free(&names->bytes);
    tern_buffer_free(&names->starts);
    free(names->section.data);
}

static void check_name(const struct names *names, const char *host, const char *expected)
{
    uint64_t hashes[TERN_DOMAIN_LABELS_MAX];
    unsigned count =
        tern_domain_prefetch(&names->domain, (const uint8_t *)host, strlen(host), hashes);
    uint32_t value = tern_domain_find(&names->domain, hashes, count);

    if (expected[0] == 0)
        assert_int_equal(value, TERN_NOT_FOUND);
    else
        assert_string_equal(name_of(names, value), expected);
}

static void hosts_get_their_published_answers(void **state)
{
    static struct names lists[4];
    static const char *const files[] = {
        "domains/block-stevenblack.txt.gz", "domains/block-categories.csv.gz",
        "domains/threat-maltrail.csv.gz", "domains/disposable-email.csv.gz"};
    static const unsigned answers[] = {1, 2, 4, 6};
    struct source source;
    unsigned queries = 0;

    if (!source_open(&source, "domains/queries-expected.csv.gz"))
        skip();
    for (unsigned i = 0; i < TERN_COUNT(files); i++)
        if (!names_build(&lists[i], files[i], i > 0))
            skip();
    (void)state;
    source_next(&source);
    while (source_next(&source)) {
        char *host = source.cells[0];
        size_t length = strlen(host);

        for (size_t i = 0; i < length; i++)
            host[i] = (char)tolower((unsigned char)host[i]);
        if (length > 0 && host[length - 1] == '.')
            host[length - 1] = 0;
        for (unsigned i = 0; i < TERN_COUNT(files); i++)
            check_name(&lists[i], host, source.cells[answers[i]]);
        queries++;
    }
    print_message("%u hosts, four lists, all as published\n", queries);
    assert_true(queries > 10000);
    for (unsigned i = 0; i < TERN_COUNT(files); i++)
        names_free(&lists[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_get_their_published_answers),
        cmocka_unit_test(hosts_get_their_published_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
