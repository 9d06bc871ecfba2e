/* A source file into a table: unpacked, cut into lines or CSV, parsed, built, opened and asked.
 *
 * Three bytes say which kind of table, what is allowed, and whether the rest is packed first (so
 * that what is inside of a gzip file is reached; a broken one comes without). */
#include "tests/fuzz/fuzz.h"

#include "controlplane/build/load.h"

#include <zlib.h>

enum { PACKED = 1, SMALL = 2, CSV_KEY = 4, HOST_KEY = 8 };

static struct tern_text text_of(const char *text)
{
    return (struct tern_text){.text = text, .length = strlen(text), .place = {"fuzz.yaml", 1, 1}};
}

static struct tern_config_column columns[8];

static void make_columns(void)
{
    static const struct {
        const char *name;
        enum tern_type type;
        uint8_t flags;
    } list[] = {{"a", TERN_TYPE_STRING, 0}, {"b", TERN_TYPE_U32, 0},
                {"c", TERN_TYPE_F32, 0},    {"d", TERN_TYPE_I64, 0},
                {"e", TERN_TYPE_BOOL, 0},   {"f", TERN_TYPE_IP, 0},
                {"g", TERN_TYPE_U64, 0},    {"h", TERN_TYPE_STRING, TERN_FIELD_HOST}};

    for (unsigned i = 0; i < TERN_COUNT(columns); i++)
        columns[i] = (struct tern_config_column){.name = text_of(list[i].name),
                                                 .from = text_of(list[i].name),
                                                 .type = list[i].type,
                                                 .flags = list[i].flags};
}

static struct tern_config_table describe(uint8_t kind, uint8_t flags, uint8_t bad)
{
    static const struct {
        enum tern_table_kind kind;
        enum tern_type key;
    } list[] = {{TERN_TABLE_EXACT_SET, TERN_TYPE_STRING}, {TERN_TABLE_EXACT_SET, TERN_TYPE_U64},
                {TERN_TABLE_EXACT_SET, TERN_TYPE_I64},    {TERN_TABLE_EXACT_SET, TERN_TYPE_IP},
                {TERN_TABLE_EXACT_MAP, TERN_TYPE_STRING}, {TERN_TABLE_EXACT_MAP, TERN_TYPE_U64},
                {TERN_TABLE_PREFIX_SET, TERN_TYPE_IP},    {TERN_TABLE_PREFIX_MAP, TERN_TYPE_IP},
                {TERN_TABLE_DOMAIN_SET, TERN_TYPE_STRING}};
    unsigned chosen = kind % TERN_COUNT(list);
    struct tern_config_table table = {
        .name = text_of("t"),
        .kind = list[chosen].kind,
        .source = text_of("source"),
        .key_type = list[chosen].key,
        .max_bad_rows = bad,
        .min_rows = 1,
        .max_change_permille = UINT32_MAX,
        .max_bytes = flags & SMALL ? 1000 : 1 << 20,
    };
    bool map = table.kind == TERN_TABLE_EXACT_MAP || table.kind == TERN_TABLE_PREFIX_MAP;

    if (map) {
        table.columns = columns;
        table.column_count = TERN_COUNT(columns);
    }
    if (table.kind == TERN_TABLE_EXACT_MAP || (flags & CSV_KEY && !map))
        table.key = text_of("k");
    if (table.kind == TERN_TABLE_DOMAIN_SET ||
        (table.key_type == TERN_TYPE_STRING && (flags & HOST_KEY) != 0))
        table.key_flags = TERN_FIELD_HOST;
    return table;
}

static size_t pack(const uint8_t *data, size_t size, uint8_t *out, size_t room)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)data,
                       .avail_in = (uInt)size,
                       .next_out = out,
                       .avail_out = (uInt)room};

    FUZZ_CHECK(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    FUZZ_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&stream);
    return room - stream.avail_out;
}

/* Opens what was built and looks for a few keys in it. */
static void ask(const struct tern_config_table *table, const struct tern_buffer *built,
                uint64_t number)
{
    uint8_t *section = aligned_alloc(64, tern_align_up(built->length + 1, 64));
    struct tern_table opened;
    struct tern_error error;
    uint8_t text[24];

    FUZZ_CHECK(section != NULL);
    memcpy(section, built->data, built->length);
    FUZZ_CHECK(tern_table_open(&opened, section, built->length, &error) == 0);
    for (unsigned i = 0; i < 8; i++) {
        union tern_value key = {.u64 = number >> i};
        uint32_t found;

        if (table->key_type == TERN_TYPE_IP)
            key.address = tern_address_from_v4((uint32_t)(number >> i));
        if (table->key_type == TERN_TYPE_STRING) {
            key.string.length =
                (uint32_t)snprintf((char *)text, sizeof text, "%x.a", (unsigned)(number >> i));
            key.string.bytes = text;
        }
        found = tern_table_find(&opened, &key);
        for (unsigned c = 0; found != TERN_NOT_FOUND && c < table->column_count; c++)
            tern_records_value(&opened.records, found, c, &key);
    }
    free(section);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    uint8_t kind = (uint8_t)fuzz_take(&input, 1);
    uint8_t flags = (uint8_t)fuzz_take(&input, 1);
    struct tern_config_table table = describe(kind, flags, (uint8_t)fuzz_take(&input, 1));
    struct tern_diagnostics diagnostics = {0};
    struct tern_load_report report = {0};
    struct tern_buffer built = {0};
    struct tern_error error;
    uint8_t digest[16];
    int code;

    make_columns();
    if (flags & PACKED) {
        size_t room = input.left + input.left / 100 + 64;
        uint8_t *packed = malloc(room);

        FUZZ_CHECK(packed != NULL);
        table.source_path =
            (char *)(uintptr_t)fuzz_file(packed, pack(input.at, input.left, packed, room));
        free(packed);
    } else {
        table.source_path = (char *)(uintptr_t)fuzz_file(input.at, input.left);
    }
    code = tern_table_load(&table, 1, &built, &report, digest, NULL, NULL, &diagnostics, &error);
    FUZZ_CHECK(code != 0 || diagnostics.error_count == 0);
    if (code == 0)
        ask(&table, &built, report.build.rows * 0x0123456789abcdefu);
    tern_buffer_free(&built);
    tern_diagnostics_free(&diagnostics);
    return 0;
}
