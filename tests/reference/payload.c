#include "tests/reference/payload.h"

#include "controlplane/compile/reference.h"
#include "tests/unit/unit.h"

#include <xxhash.h>

const char *const payload_names[PAYLOAD_COLUMNS] = {"label", "source", "tenant", "time",
                                                    "delta", "weight", "live"};

static const struct {
    const char *text;
    uint32_t length;
} texts[PAYLOAD_STRINGS] = {{"fraud", 5},
                            {"ok", 2},
                            {"", 0},
                            {"fr", 2},
                            {"FRAUD", 5},
                            {"frauds", 6},
                            {"a\0b", 3},
                            {"a\0c", 3},
                            {"\xff\xfe", 2},
                            {"x", 1},
                            {"xx", 2},
                            {"a string that is longer than the others", 39},
                            {"the others", 10},
                            {"gr\xc3\xbc\xc3\x9f", 6},
                            {"0", 1},
                            {"1", 1},
                            {"true", 4},
                            {"abcabcabd", 9},
                            {"abcabd", 6},
                            {"d", 1},
                            {"not", 3},
                            {"\"", 1},
                            {"\\", 1},
                            {"spam", 4}};

static const uint64_t times[] = {0,   1,          9,          10,         99,         100,
                                 101, UINT32_MAX, 1ull << 32, 1ull << 63, UINT64_MAX, 7};
static const int64_t deltas[] = {0, -1, 1, INT64_MIN, INT64_MAX, -100, 100, 5};
static const uint32_t tenants[] = {0, 1, 2, 3, 10, 1000, UINT32_MAX, UINT32_MAX - 1};
static const float weights[] = {0.0f,   -0.0f,   0.5f,          1.0f,           -1.0f,
                                1e-45f, -1e-45f, 3.4028235e38f, -3.4028235e38f, 2.5f};

static void add_column(struct payload *payload, unsigned column, enum tern_type type,
                       const void *values)
{
    struct tern_payload_column *described = &payload->header.columns[column];

    described->type = (uint8_t)type;
    described->width = type == TERN_TYPE_BOOL                           ? 1
                       : type == TERN_TYPE_U64 || type == TERN_TYPE_I64 ? 8
                                                                        : 4;
    described->name_length = (uint8_t)strlen(payload_names[column]);
    memcpy(described->name, payload_names[column], described->name_length);
    described->offset = (uint64_t)((const uint8_t *)values - (const uint8_t *)&payload->header);
}

static void add_strings(struct payload *payload)
{
    uint32_t mask = TERN_COUNT(payload->index) - 1, at = 0;

    for (uint32_t i = 0; i < PAYLOAD_STRINGS; i++) {
        uint32_t hash = (uint32_t)XXH3_64bits(texts[i].text, texts[i].length), place = hash & mask;

        memcpy(payload->bytes + at, texts[i].text, texts[i].length);
        payload->entries[i] = (struct tern_dictionary_entry){at, texts[i].length, hash};
        at += texts[i].length;
        while (payload->index[place] != 0)
            place = (place + 1) & mask;
        payload->index[place] = i + 1;
    }
    payload->header.dictionary_index_mask = mask;
    payload->header.dictionary_capacity = PAYLOAD_STRINGS;
    payload->header.dictionary_bytes_capacity = sizeof payload->bytes;
    payload->header.dictionary_count = PAYLOAD_STRINGS;
}

void payload_make(struct payload *payload, uint64_t *random)
{
    memset(payload, 0, sizeof *payload);
    payload->header.column_count = PAYLOAD_COLUMNS;
    add_column(payload, PAYLOAD_LABEL, TERN_TYPE_STRING, payload->numbers[0]);
    add_column(payload, PAYLOAD_SOURCE, TERN_TYPE_STRING, payload->numbers[1]);
    add_column(payload, PAYLOAD_TENANT, TERN_TYPE_U32, payload->tenant);
    add_column(payload, PAYLOAD_TIME, TERN_TYPE_U64, payload->time);
    add_column(payload, PAYLOAD_DELTA, TERN_TYPE_I64, payload->delta);
    add_column(payload, PAYLOAD_WEIGHT, TERN_TYPE_F32, payload->weight);
    add_column(payload, PAYLOAD_LIVE, TERN_TYPE_BOOL, payload->live);
    add_strings(payload);
    for (unsigned i = 0; i < PAYLOAD_SLOTS; i++) {
        payload->present[i] = (uint16_t)(tern_test_random(random) | tern_test_random(random));
        payload->numbers[0][i] = (uint32_t)(tern_test_random(random) % PAYLOAD_STRINGS);
        payload->numbers[1][i] = (uint32_t)(tern_test_random(random) % PAYLOAD_STRINGS);
        payload->tenant[i] = tenants[tern_test_random(random) % TERN_COUNT(tenants)];
        payload->time[i] = times[tern_test_random(random) % TERN_COUNT(times)];
        payload->delta[i] = deltas[tern_test_random(random) % TERN_COUNT(deltas)];
        payload->weight[i] = weights[tern_test_random(random) % TERN_COUNT(weights)];
        payload->live[i] = tern_test_random(random) & 1;
    }
    payload->collection = (struct tern_collection){
        .header = &payload->header,
        .base = (const uint8_t *)&payload->header,
        .present = payload->present,
        .dictionary = payload->entries,
        .dictionary_bytes = payload->bytes,
        .dictionary_index = payload->index,
        .dictionary_index_mask = payload->header.dictionary_index_mask,
        .capacity = PAYLOAD_SLOTS,
    };
}

static void fact_of(const struct payload *payload, unsigned slot, unsigned column,
                    union tern_value *value)
{
    const struct tern_dictionary_entry *entry;

    switch (column) {
    case PAYLOAD_LABEL:
    case PAYLOAD_SOURCE:
        entry = &payload->entries[payload->numbers[column][slot]];
        value->string.bytes = payload->bytes + entry->offset;
        value->string.length = entry->length;
        break;
    case PAYLOAD_TENANT:
        value->u64 = payload->tenant[slot];
        break;
    case PAYLOAD_TIME:
        value->u64 = payload->time[slot];
        break;
    case PAYLOAD_DELTA:
        value->i64 = payload->delta[slot];
        break;
    case PAYLOAD_WEIGHT:
        value->f32 = payload->weight[slot] + 0.0f;
        break;
    default:
        value->boolean = payload->live[slot];
        break;
    }
}

bool payload_judge(const struct payload *payload, const char *text, size_t length,
                   uint8_t matches[PAYLOAD_SLOTS])
{
    static union {
        struct tern_facts head;
        uint8_t room[sizeof(struct tern_facts) + (PAYLOAD_COLUMNS + 1) * sizeof(union tern_value)];
    } item;
    struct tern_config_field fields[PAYLOAD_COLUMNS];
    struct tern_config_rule rule = {.id = {.text = "r", .length = 1},
                                    .when = {.text = text, .length = length},
                                    .then = TERN_THEN_ACTION,
                                    .action = TERN_DENY};
    struct tern_config config = {.fields = fields,
                                 .field_count = PAYLOAD_COLUMNS,
                                 .rules = &rule,
                                 .rule_count = 1,
                                 .limits.rules_bytes = 64 << 20};
    struct tern_diagnostics diagnostics = {0};
    struct tern_reference *reference;
    int code;

    memset(fields, 0, sizeof fields);
    for (unsigned i = 0; i < PAYLOAD_COLUMNS; i++) {
        fields[i].name.text = payload_names[i];
        fields[i].name.length = strlen(payload_names[i]);
        fields[i].type =
            i == PAYLOAD_TENANT ? TERN_TYPE_U64 : (enum tern_type)payload->header.columns[i].type;
    }
    code = tern_reference_new(&config, NULL, 0, &diagnostics, &reference);
    tern_diagnostics_free(&diagnostics);
    if (code != 0)
        return false;
    for (unsigned slot = 0; slot < PAYLOAD_SLOTS; slot++) {
        struct tern_verdict verdict;

        tern_facts_clear(&item.head);
        for (unsigned i = 0; i < PAYLOAD_COLUMNS; i++) {
            fact_of(payload, slot, i, &item.head.values[i + 1]);
            if (payload->present[slot] >> i & 1)
                tern_facts_set_present(&item.head, i + 1);
        }
        tern_reference_decide(reference, &item.head, &verdict);
        matches[slot] = verdict.action == TERN_DENY;
    }
    tern_reference_free(reference);
    return true;
}
