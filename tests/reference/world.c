#include "tests/reference/world.h"

#include "controlplane/build/schema.h"
#include "controlplane/build/table.h"

static struct tern_text text_of(const char *text)
{
    return (struct tern_text){.text = text, .length = strlen(text), .place = {"world.yaml", 1, 1}};
}

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static union tern_value string_value(uint8_t text[64], const char *format, uint64_t number)
{
    union tern_value value = {0};

    value.string.length = (uint32_t)snprintf((char *)text, 64, format, (unsigned long long)number);
    value.string.bytes = text;
    return value;
}

union tern_value world_key(enum world_field field, uint64_t number, uint8_t text[64])
{
    union tern_value value = {0};
    float values[WORLD_DIM];

    switch (field) {
    case WORLD_IP:
    case WORLD_PEER:
        if (number % 4 == 3)
            value.address =
                (struct tern_address){0x20010db800000000ull | (number << 4), mix(number)};
        else
            value.address = tern_address_from_v4((uint32_t)(number << 8) + 0x0a000000u + 1);
        return value;
    case WORLD_HOST:
        return string_value(text, number % 3 ? "h%llu.example.com" : "www.a.h%llu.example.com",
                            number);
    case WORLD_PATH:
        return string_value(text, "/p%llu/x", number);
    case WORLD_AGENT:
        return string_value(text, number % 3 ? "Mozilla/5.%llu (like Gecko)" : "curlbot/%llu",
                            number);
    case WORLD_RATIO:
        value.f32 = (float)number / 8;
        return value;
    case WORLD_SECURE:
        value.boolean = number & 1;
        return value;
    case WORLD_SHAPE:
        world_vector_values(number, values);
        memcpy(text, values, sizeof values);
        value.string.bytes = text;
        value.string.length = sizeof values;
        return value;
    default:
        value.u64 = number;
        return value;
    }
}

static const char *const countries[] = {"DE", "FR", "US", "BR", "", "CN", "longer than others"};

static void add_rows(struct tern_table_builder *builder, enum world_table table, uint32_t scale)
{
    for (uint32_t i = 0; i < scale; i++) {
        union tern_value key = {0}, cells[5] = {{{0}}};
        uint8_t text[64], name[64];
        uint64_t present = i % 5 == 4 ? mix(i) : UINT64_MAX;
        struct tern_address_range range;
        const char *country = countries[mix(i) % TERN_COUNT(countries)];
        int status;

        switch (table) {
        case WORLD_BAD_NETS:
        case WORLD_ASN:
            range.first = world_key(WORLD_IP, table == WORLD_ASN ? i : i * 3ull, text).address;
            range.last = range.first;
            range.first.low &= ~0xffull;
            range.last.low |= i % 7 == 0 ? 0xffff : 0xff;
            range.first.low &= i % 7 == 0 ? ~0xffffull : ~0ull;
            cells[0].u64 = i % 50;
            cells[1].string.bytes = (const uint8_t *)country;
            cells[1].string.length = (uint32_t)strlen(country);
            cells[2].f32 = (float)(int)(i % 9) - 4;
            status = tern_table_builder_add_range(builder, &range, cells, present);
            break;
        case WORLD_BAD_HOSTS:
            key = string_value(text, i % 2 ? "h%llu.example.com" : "a.h%llu.example.com", i * 3);
            status = tern_table_builder_add(builder, &key, NULL, 0);
            break;
        case WORLD_USERS:
            key.u64 = i * 2;
            cells[0].f32 = (float)(i % 11) / 10;
            cells[1].i64 = (int64_t)(i % 40) - 20;
            cells[2] = string_value(name, "user%llu", i % 30);
            cells[3].boolean = i % 3 == 0;
            cells[4] = world_key(WORLD_IP, i % 64, text);
            status = tern_table_builder_add(builder, &key, cells, present);
            break;
        case WORLD_TOKENS:
            key = string_value(text, i % 2 ? "user%llu" : "/p%llu/x", i);
            status = tern_table_builder_add(builder, &key, NULL, 0);
            break;
        case WORLD_IDS:
            key.u64 = i * 5;
            status = tern_table_builder_add(builder, &key, NULL, 0);
            break;
        case WORLD_PEERS:
            key = world_key(WORLD_PEER, i * 2ull, text);
            cells[0] = string_value(name, "note%llu", i % 5);
            status = tern_table_builder_add(builder, &key, cells, present);
            break;
        case WORLD_BOTS:
            snprintf((char *)text, sizeof text, i % 3 ? "bot/%u$" : "(?i)agent[^0-9]?%u( |$)", i);
            status = tern_table_builder_add_pattern(builder, text, strlen((char *)text), i + 1);
            break;
        default:
            key = world_key(WORLD_PATH, i, text);
            cells[0].i64 = (int64_t)(i % 20) - 10;
            cells[1].u64 = i;
            status = tern_table_builder_add(builder, &key, cells, present);
            break;
        }
        assert(status == 0);
        (void)status;
    }
}

static const struct {
    const char *name;
    enum tern_type type;
    uint8_t flags;
} field_list[WORLD_FIELDS] = {
    {"ip", TERN_TYPE_IP, 0},        {"host", TERN_TYPE_STRING, TERN_FIELD_HOST},
    {"path", TERN_TYPE_STRING, 0},  {"user", TERN_TYPE_U64, 0},
    {"delta", TERN_TYPE_I64, 0},    {"ratio", TERN_TYPE_F32, 0},
    {"secure", TERN_TYPE_BOOL, 0},  {"peer", TERN_TYPE_IP, 0},
    {"agent", TERN_TYPE_STRING, 0}, {"shape", TERN_TYPE_VECTOR, 0},
};

static const struct {
    const char *name;
    enum tern_table_kind kind;
    enum tern_type key_type;
    uint8_t key_flags;
    unsigned by;
    struct {
        const char *name;
        enum tern_type type;
    } columns[5];
} table_list[WORLD_TABLES] = {
    {"bad_nets", TERN_TABLE_PREFIX_SET, TERN_TYPE_IP, 0, 0, {{NULL, 0}}},
    {"asn",
     TERN_TABLE_PREFIX_MAP,
     TERN_TYPE_IP,
     0,
     WORLD_IP,
     {{"number", TERN_TYPE_U32}, {"country", TERN_TYPE_STRING}, {"weight", TERN_TYPE_F32}}},
    {"bad_hosts", TERN_TABLE_DOMAIN_SET, TERN_TYPE_STRING, TERN_FIELD_HOST, 0, {{NULL, 0}}},
    {"users",
     TERN_TABLE_EXACT_MAP,
     TERN_TYPE_U64,
     0,
     WORLD_USER,
     {{"trust", TERN_TYPE_F32},
      {"age", TERN_TYPE_I64},
      {"name", TERN_TYPE_STRING},
      {"vip", TERN_TYPE_BOOL},
      {"home", TERN_TYPE_IP}}},
    {"tokens", TERN_TABLE_EXACT_SET, TERN_TYPE_STRING, 0, 0, {{NULL, 0}}},
    {"ids", TERN_TABLE_EXACT_SET, TERN_TYPE_U64, 0, 0, {{NULL, 0}}},
    {"paths",
     TERN_TABLE_EXACT_MAP,
     TERN_TYPE_STRING,
     0,
     0,
     {{"score", TERN_TYPE_I64}, {"hits", TERN_TYPE_U64}}},
    {"peers", TERN_TABLE_EXACT_MAP, TERN_TYPE_IP, 0, WORLD_PEER, {{"note", TERN_TYPE_STRING}}},
    {"bots", TERN_TABLE_PATTERN_SET, TERN_TYPE_STRING, 0, 0, {{NULL, 0}}},
};

static void *aligned_copy(const void *data, size_t length)
{
    void *copy = aligned_alloc(64, tern_align_up(length + 1, 64));

    assert(copy != NULL);
    memcpy(copy, data, length);
    return copy;
}

static void build_table(struct world *world, unsigned id, uint32_t scale)
{
    struct tern_build_column columns[5];
    struct tern_table_definition definition = {.kind = table_list[id - 1].kind,
                                               .key_type = table_list[id - 1].key_type,
                                               .key_flags = table_list[id - 1].key_flags,
                                               .columns = columns,
                                               .seed = id};
    struct tern_table_builder *builder;
    struct tern_build_report report;
    struct tern_buffer out = {0};
    struct tern_error error = {0};
    int status;

    while (definition.column_count < 5 &&
           table_list[id - 1].columns[definition.column_count].name != NULL) {
        unsigned i = definition.column_count++;

        columns[i] = (struct tern_build_column){table_list[id - 1].columns[i].name,
                                                table_list[id - 1].columns[i].type, 0};
        world->columns[id - 1][i] =
            (struct tern_config_column){.name = text_of(columns[i].name), .type = columns[i].type};
    }
    world->tables[id - 1] = (struct tern_config_table){.name = text_of(table_list[id - 1].name),
                                                       .kind = definition.kind,
                                                       .key_type = definition.key_type,
                                                       .key_flags = definition.key_flags,
                                                       .by_field = table_list[id - 1].by,
                                                       .columns = world->columns[id - 1],
                                                       .column_count = definition.column_count};
    status = tern_table_builder_new(&builder, &definition, &error);
    assert(status == 0);
    add_rows(builder, (enum world_table)id, id == WORLD_BOTS || scale < 16 ? 16 : scale);
    status = tern_table_builder_finish(builder, &out, &report, NULL, NULL, &error);
    assert(status == 0);
    tern_table_builder_free(builder);
    world->images[id] = aligned_copy(out.data, out.length);
    status = tern_table_open(&world->opened[id], world->images[id], out.length, &error);
    assert(status == 0);
    (void)status;
    memset(world->hashes[id], (int)id, 16);
    tern_store_u32(world->hashes[id], scale);
    tern_buffer_free(&out);
}

void world_make(struct world *world, uint32_t scale)
{
    struct tern_config config;
    int status;

    memset(world, 0, sizeof *world);
    for (unsigned i = 0; i < WORLD_FIELDS; i++)
        world->fields[i] = (struct tern_config_field){.name = text_of(field_list[i].name),
                                                      .type = field_list[i].type,
                                                      .flags = field_list[i].flags,
                                                      .max_bytes = TERN_STRING_MAX};
    world->fields[WORLD_SHAPE - 1].dim = WORLD_DIM;
    world->fields[WORLD_PATH - 1].normalize =
        TERN_NORMALIZE_STRIP_QUERY | TERN_NORMALIZE_PERCENT_DECODE | TERN_NORMALIZE_MERGE_SLASHES;
    for (unsigned slot = WORLD_HOST_RAW; slot <= WORLD_PATH_RAW; slot++)
        world->fields[slot - 1] = (struct tern_config_field){
            .name = text_of(slot == WORLD_HOST_RAW ? "host.raw" : "path.raw"),
            .type = TERN_TYPE_STRING,
            .max_bytes = TERN_STRING_MAX,
            .raw_of = slot == WORLD_HOST_RAW ? WORLD_HOST : WORLD_PATH};
    for (unsigned id = 1; id <= WORLD_TABLES; id++)
        build_table(world, id, scale);
    world_collections_make(world);
    config = world_config(world, NULL, 0);
    status = world_schema(world, &config);
    assert(status == 0);
    (void)status;
}

int world_schema(struct world *world, const struct tern_config *config)
{
    struct tern_buffer schema = {0};
    int status = tern_schema_build(config, &schema);

    if (status == 0)
        world->schema = aligned_copy(schema.data, schema.length);
    tern_buffer_free(&schema);
    return status;
}

void world_free(struct world *world)
{
    for (unsigned id = 1; id <= WORLD_TABLES; id++)
        free(world->images[id]);
    world_collections_free(world);
    free(world->schema);
}

struct tern_config_rule world_rule(const char *id, const char *when)
{
    return (struct tern_config_rule){
        .id = text_of(id), .when = text_of(when), .then = TERN_THEN_ACTION, .action = TERN_DENY};
}

struct tern_config world_config(struct world *world, struct tern_config_rule *rules,
                                unsigned rule_count)
{
    return (struct tern_config){.fields = world->fields,
                                .field_count = WORLD_FIELDS,
                                .slot_count = WORLD_SLOTS,
                                .tables = world->tables,
                                .table_count = WORLD_TABLES,
                                .collections = world->collections,
                                .collection_count = WORLD_COLLECTIONS,
                                .rules = rules,
                                .rule_count = rule_count,
                                .limits.rules_bytes = 1ull << 30,
                                .default_action = TERN_ALLOW};
}

int world_compile(struct world *world, const struct tern_config *config,
                  struct world_rules *compiled)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_compile_input input = {
        .config = config,
        .schema = world->schema,
        .tables = world->opened,
        .table_hashes = (const uint8_t(*)[16])world->hashes,
    };
    struct tern_error error = {0};
    int status;

    memset(compiled, 0, sizeof *compiled);
    status = tern_compile(&input, &compiled->compiled, &diagnostics);
    if (status != 0 && status != TERN_ELIMIT) {
        struct tern_buffer out = {0};

        tern_diagnostics_print(&diagnostics, &out);
        fprintf(stderr, "%.*s", (int)out.length, (const char *)out.data);
        tern_buffer_free(&out);
    }
    tern_diagnostics_free(&diagnostics);
    if (status != 0)
        return status;
    compiled->section =
        aligned_copy(compiled->compiled.rules.data, compiled->compiled.rules.length);
    compiled->classes = calloc(compiled->compiled.classes_count + 1, sizeof(void *));
    compiled->patterns = calloc(compiled->compiled.patterns_count + 1, sizeof(void *));
    for (unsigned i = 0; i < compiled->compiled.classes_count; i++)
        compiled->classes[i] = aligned_copy(compiled->compiled.classes[i].bytes.data,
                                            compiled->compiled.classes[i].bytes.length);
    for (unsigned i = 0; i < compiled->compiled.patterns_count; i++)
        compiled->patterns[i] = aligned_copy(compiled->compiled.patterns[i].bytes.data,
                                             compiled->compiled.patterns[i].bytes.length);
    status = world_open(world, compiled, compiled->section, compiled->compiled.rules.length,
                        &compiled->rules, &error);
    if (status != 0)
        fprintf(stderr, "open: %s\n", error.message);
    return status;
}

int world_open(const struct world *world, const struct world_rules *compiled, const void *section,
               size_t length, struct tern_rules **rules, struct tern_error *error)
{
    const struct tern_compiled *made = &compiled->compiled;
    struct tern_classes_section *classes = calloc(made->classes_count + 1, sizeof *classes);
    struct tern_patterns_section *patterns = calloc(made->patterns_count + 1, sizeof *patterns);
    struct tern_rules_parts parts = {.schema = world->schema,
                                     .tables = world->opened,
                                     .table_count = WORLD_TABLES,
                                     .classes = classes,
                                     .classes_count = made->classes_count,
                                     .patterns = patterns,
                                     .patterns_count = made->patterns_count,
                                     .collections = world->served,
                                     .collection_count = WORLD_COLLECTIONS};
    int status;

    for (unsigned i = 0; i < made->classes_count; i++)
        classes[i] = (struct tern_classes_section){
            compiled->classes[i], made->classes[i].bytes.length, made->classes[i].unit};
    for (unsigned i = 0; i < made->patterns_count; i++)
        patterns[i] = (struct tern_patterns_section){
            compiled->patterns[i], made->patterns[i].bytes.length, made->patterns[i].unit};
    status = tern_rules_open(rules, section, length, &parts, error);
    free(classes);
    free(patterns);
    return status;
}

void world_rules_free(struct world_rules *compiled)
{
    tern_rules_close(compiled->rules);
    for (unsigned i = 0; i < compiled->compiled.classes_count; i++)
        free(compiled->classes[i]);
    for (unsigned i = 0; i < compiled->compiled.patterns_count; i++)
        free(compiled->patterns[i]);
    free(compiled->patterns);
    free(compiled->classes);
    free(compiled->section);
    tern_compiled_free(&compiled->compiled);
}

void world_set_string(union world_facts *facts, enum world_field field, const char *text)
{
    facts->head.values[field].string.bytes = (const uint8_t *)text;
    facts->head.values[field].string.length = (uint32_t)strlen(text);
    tern_facts_set_present(&facts->head, field);
}
