#include "tests/reference/generate.h"

#include "tests/unit/unit.h"

static uint64_t below(uint64_t *random, uint64_t bound)
{
    return tern_test_random(random) % bound;
}

static const char *one_of(uint64_t *random, const char *const *list, size_t count)
{
    return list[below(random, count)];
}

static const char *const string_literals[] = {"\"/\"",
                                              "\"/p1\"",
                                              "\"/p1/x\"",
                                              "\"/p2/x\"",
                                              "\"/p10\"",
                                              "\"\"",
                                              "\"x\"",
                                              "\"/x\"",
                                              "\"/p\"",
                                              "\"user1\"",
                                              "\"user10\"",
                                              "\"user\"",
                                              "\"DE\"",
                                              "\"D\"",
                                              "\"US\"",
                                              "\"longer\"",
                                              "\"longer than others\"",
                                              "\"others\"",
                                              "\"1\"",
                                              "\"0\"",
                                              "'FR'",
                                              "\"/a/very/long/prefix/over/one/node\"",
                                              "\"/a/very/long/prefix/over/one/nodes\"",
                                              "\"/a/very/long/prefix/over/two\""};
static const char *const host_literals[] = {"\"h1.example.com\"",
                                            "\"EXAMPLE.com.\"",
                                            "\".example.com\"",
                                            "\"www.a.h3.example.com\"",
                                            "\"h\"",
                                            "\"com\"",
                                            "\"m\"",
                                            "\"h4.example.com\""};
static const char *const address_literals[] = {"10.0.1.1",
                                               "10.0.0.0/8",
                                               "10.0.0.0/16",
                                               "10.0.2.0/24",
                                               "10.0.1.1..10.0.3.1",
                                               "2001:db8::/32",
                                               "::/0",
                                               "0.0.0.0/0",
                                               "2001:db8:0:30::/60",
                                               "::ffff:10.0.5.1",
                                               "255.255.255.255",
                                               "::1",
                                               "2001:db8::..2001:db9::",
                                               "0.0.0.0..10.0.0.255"};
static const char *const single_addresses[] = {"10.0.1.1", "10.0.5.1",        "2001:db8:0:30::1",
                                               "::",       "::ffff:10.0.2.1", "255.255.255.255"};
static const char *const comparisons[] = {"==", "!=", "<", "<=", ">", ">="};

static void number_literal(uint64_t *random, enum tern_type type, struct tern_buffer *out)
{
    static const char *const unsigned_edges[] = {"0", "1", "18446744073709551615",
                                                 "18446744073709551614"};
    static const char *const signed_edges[] = {"-9223372036854775808", "9223372036854775807", "-1",
                                               "0"};
    static const char *const float_edges[] = {"-0.0", "0", "0.1", "1e30", "-1e30", "0.30000001"};

    if (below(random, 6) == 0) {
        tern_buffer_printf(out, "%s",
                           type == TERN_TYPE_I64   ? one_of(random, signed_edges, 4)
                           : type == TERN_TYPE_F32 ? one_of(random, float_edges, 6)
                           : type == TERN_TYPE_U32 ? (below(random, 2) ? "0" : "4294967295")
                                                   : one_of(random, unsigned_edges, 4));
    } else if (type == TERN_TYPE_I64) {
        tern_buffer_printf(out, "%d", (int)below(random, 50) - 25);
    } else if (type == TERN_TYPE_F32) {
        tern_buffer_printf(out, "%.3f", ((double)below(random, 80) - 40) / 10);
    } else {
        tern_buffer_printf(out, "%u", (unsigned)below(random, 60));
    }
}

/* Two literals in order need values: small whole numbers suit every numeric type. */
static void number_range(uint64_t *random, enum tern_type type, struct tern_buffer *out)
{
    int first = (int)below(random, 40), length = (int)below(random, 20);

    if (type == TERN_TYPE_I64 || type == TERN_TYPE_F32)
        first -= 20;
    tern_buffer_printf(out, "%d..%d", first, first + length);
}

static void comparison(uint64_t *random, const char *operand, enum tern_type type, bool host,
                       struct tern_buffer *out)
{
    unsigned count = 1 + (unsigned)below(random, 4);
    bool many = below(random, 3) == 0;

    if (type == TERN_TYPE_BOOL) {
        tern_buffer_printf(out, "%s %s %s", operand, one_of(random, comparisons, 2),
                           below(random, 2) ? "true" : "false");
        return;
    }
    if (type == TERN_TYPE_STRING && !many) {
        static const char *const tests[] = {"==", "!=", "starts_with", "ends_with"};

        tern_buffer_printf(out, "%s %s %s", operand, one_of(random, tests, 4),
                           host ? one_of(random, host_literals, TERN_COUNT(host_literals))
                                : one_of(random, string_literals, TERN_COUNT(string_literals)));
        return;
    }
    if (!many) {
        tern_buffer_printf(out, "%s %s ", operand,
                           one_of(random, comparisons, type == TERN_TYPE_IP ? 2 : 6));
        if (type == TERN_TYPE_IP)
            tern_buffer_printf(out, "%s",
                               one_of(random, single_addresses, TERN_COUNT(single_addresses)));
        else
            number_literal(random, type, out);
        return;
    }
    tern_buffer_printf(out, "%s in {", operand);
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            tern_buffer_printf(out, ", ");
        if (type == TERN_TYPE_STRING)
            tern_buffer_printf(out, "%s",
                               host ? one_of(random, host_literals, TERN_COUNT(host_literals))
                                    : one_of(random, string_literals, TERN_COUNT(string_literals)));
        else if (type == TERN_TYPE_IP)
            tern_buffer_printf(out, "%s",
                               one_of(random, address_literals, TERN_COUNT(address_literals)));
        else if (below(random, 2))
            number_range(random, type, out);
        else
            number_literal(random, type, out);
    }
    tern_buffer_printf(out, "}");
}

bool generate_patterns = true;

/* Random expressions that the slow matcher knows and hyperscan takes: never empty, no repetition
 * of a repetition. */
static void regex_piece(uint64_t *random, struct tern_buffer *out)
{
    static const char *const pieces[] = {"a",     "p",         "1",      "x",          "/",   "bot",
                                         "\\.",   "[0-9]",     "[^/p]",  "\\d",        "\\w", ".",
                                         "(a|p)", "(?:x|/p1)", "[a-f.]", "(?i:AGENT)", "e"};
    static const char *const quantifiers[] = {"", "", "", "", "+", "*", "?", "{2}", "{1,3}", "+?"};

    tern_buffer_printf(out, "%s%s", one_of(random, pieces, TERN_COUNT(pieces)),
                       one_of(random, quantifiers, TERN_COUNT(quantifiers)));
}

static void regex(uint64_t *random, struct tern_buffer *out)
{
    static const char *const starts[] = {"", "", "", "^", "(?i)", "\\b"};
    static const char *const cores[] = {"a", "p", "/", "1", "x", "[a-z]", "bot", "like", "\\d/"};
    static const char *const ends[] = {"", "", "", "", "$", "\\b", "\\z"};
    uint64_t branches = 1 + (below(random, 5) == 0);

    for (uint64_t branch = 0; branch < branches; branch++) {
        tern_buffer_printf(out, "%s%s", branch == 0 ? "" : "|",
                           one_of(random, starts, TERN_COUNT(starts)));
        for (uint64_t i = below(random, 3); i > 0; i--)
            regex_piece(random, out);
        tern_buffer_printf(out, "%s", one_of(random, cores, TERN_COUNT(cores)));
        for (uint64_t i = below(random, 3); i > 0; i--)
            regex_piece(random, out);
        tern_buffer_printf(out, "%s", one_of(random, ends, TERN_COUNT(ends)));
    }
}

/* Something that is found by scanning a field. */
static void pattern(uint64_t *random, struct tern_buffer *out)
{
    static const char *const fields[] = {"path", "agent", "host"};
    static const char *const literals[] = {
        "\"p\"",       "\"/\"", "\"1\"",     "\"/p1\"", "\"bot\"",   "\"like\"",    "\".\"",
        "\"example\"", "\"\"",  "\"\\x00\"", "\"5.1\"", "\"ozill\"", "\"www.a.h2\""};
    const char *field = one_of(random, fields, TERN_COUNT(fields));

    switch (below(random, 4)) {
    case 0:
        tern_buffer_printf(out, "%s matches $bots", field);
        break;
    case 1:
        tern_buffer_printf(out, "%s matches r\"", field);
        regex(random, out);
        tern_buffer_printf(out, "\"");
        break;
    default:
        tern_buffer_printf(out, "%s contains %s", field,
                           one_of(random, literals, TERN_COUNT(literals)));
    }
}

/* Something that neighbours are asked. */
static void neighbours(uint64_t *random, struct tern_buffer *out)
{
    static const char *const collections[] = {"docs", "docs", "near", "mass", "unserved"};
    static const char *const minima[] = {"-1",    "0",   "0.25", "0.5", "0.75",
                                         "0.875", "1.0", "0.1",  "0.2", "0.33"};
    static const struct {
        const char *name;
        enum tern_type type;
    } columns[] = {{"label", TERN_TYPE_STRING}, {"label", TERN_TYPE_STRING},
                   {"tier", TERN_TYPE_U32},     {"age", TERN_TYPE_I64},
                   {"vip", TERN_TYPE_BOOL},     {"big", TERN_TYPE_U64},
                   {"score", TERN_TYPE_F32}};
    const char *collection = one_of(random, collections, TERN_COUNT(collections));
    bool l2 = strcmp(collection, "near") == 0;
    size_t column = below(random, TERN_COUNT(columns));
    char operand[128];
    int length = snprintf(operand, sizeof operand, "similar(%s, shape, k: %u", collection,
                          1 + (unsigned)below(random, below(random, 4) == 0 ? 15 : 5));

    if (below(random, 2) == 0) /* similarities of l2 collections are never negative */
        length += snprintf(operand + length, sizeof operand - (size_t)length, ", min: %s",
                           one_of(random, minima + l2, TERN_COUNT(minima) - l2));
    length += snprintf(operand + length, sizeof operand - (size_t)length, ")");
    if (below(random, 6) == 0) {
        tern_buffer_printf(out, "exists(%s)", operand);
        return;
    }
    snprintf(operand + length, sizeof operand - (size_t)length, ".%s", columns[column].name);
    if (below(random, 8) == 0)
        tern_buffer_printf(out, "exists(%s)", operand);
    else if (columns[column].type == TERN_TYPE_F32)
        tern_buffer_printf(out, "%s %s %s", operand, one_of(random, comparisons, 6),
                           one_of(random, minima, TERN_COUNT(minima)));
    else
        comparison(random, operand, columns[column].type, false, out);
}

static void atom(uint64_t *random, struct tern_buffer *out)
{
    static const struct {
        const char *name;
        enum tern_type type;
        bool host;
    } operands[] = {{"ip", TERN_TYPE_IP, false},
                    {"host", TERN_TYPE_STRING, true},
                    {"path", TERN_TYPE_STRING, false},
                    {"path.raw", TERN_TYPE_STRING, false},
                    {"host.raw", TERN_TYPE_STRING, false},
                    {"paths[path.raw].score", TERN_TYPE_I64, false},
                    {"agent", TERN_TYPE_STRING, false},
                    {"user", TERN_TYPE_U64, false},
                    {"delta", TERN_TYPE_I64, false},
                    {"ratio", TERN_TYPE_F32, false},
                    {"secure", TERN_TYPE_BOOL, false},
                    {"peer", TERN_TYPE_IP, false},
                    {"asn.number", TERN_TYPE_U32, false},
                    {"asn.country", TERN_TYPE_STRING, false},
                    {"asn.weight", TERN_TYPE_F32, false},
                    {"asn[peer].number", TERN_TYPE_U32, false},
                    {"users.trust", TERN_TYPE_F32, false},
                    {"users.age", TERN_TYPE_I64, false},
                    {"users.name", TERN_TYPE_STRING, false},
                    {"users.vip", TERN_TYPE_BOOL, false},
                    {"users.home", TERN_TYPE_IP, false},
                    {"paths[path].score", TERN_TYPE_I64, false},
                    {"paths[path].hits", TERN_TYPE_U64, false},
                    {"peers.note", TERN_TYPE_STRING, false},
                    {"peers[ip].note", TERN_TYPE_STRING, false}};
    static const char *const memberships[] = {"ip in $bad_nets",
                                              "peer in $bad_nets",
                                              "host in $bad_hosts",
                                              "path in $tokens",
                                              "path.raw in $tokens",
                                              "user in $ids",
                                              "ip in $asn",
                                              "peer in $asn",
                                              "user in $users",
                                              "users.name in $tokens",
                                              "users.home in $bad_nets",
                                              "asn.number in $ids",
                                              "users.home in $asn",
                                              "paths[path].hits in $ids",
                                              "ip in $peers"};
    static const char *const presences[] = {
        "exists(ip)",          "exists(path)",    "exists(secure)", "exists(asn)",
        "exists(users)",       "exists(user)",    "exists(peer)",   "exists(asn[peer])",
        "exists(users.trust)", "exists(delta)",   "exists(host)",   "exists(paths[path].hits)",
        "exists(peers)",       "exists(path.raw)"};
    uint64_t which = below(random, 14);

    if (which >= 12) {
        neighbours(random, out);
    } else if (which >= 10 && generate_patterns) {
        pattern(random, out);
    } else if (which < 2) {
        tern_buffer_printf(out, "%s", one_of(random, memberships, TERN_COUNT(memberships)));
    } else if (which < 3) {
        tern_buffer_printf(out, "%s", one_of(random, presences, TERN_COUNT(presences)));
    } else {
        size_t operand = below(random, TERN_COUNT(operands));

        comparison(random, operands[operand].name, operands[operand].type, operands[operand].host,
                   out);
    }
}

void generate_expression(uint64_t *random, unsigned atoms, struct tern_buffer *out)
{
    unsigned left;

    if (below(random, 5) == 0) {
        tern_buffer_printf(out, below(random, 2) ? "not (" : "!(");
        generate_expression(random, atoms, out);
        tern_buffer_printf(out, ")");
        return;
    }
    if (atoms <= 1) {
        if (below(random, 4) == 0)
            tern_buffer_printf(out, "not ");
        atom(random, out);
        return;
    }
    left = 1 + (unsigned)below(random, atoms - 1);
    tern_buffer_printf(out, "(");
    generate_expression(random, left, out);
    tern_buffer_printf(out, below(random, 2) ? ") and (" : ") or (");
    generate_expression(random, atoms - left, out);
    tern_buffer_printf(out, ")");
}

static char *kept(struct tern_region *region, const struct tern_buffer *text)
{
    char *copy = tern_region_take(region, text->length + 1);

    assert(copy != NULL);
    memcpy(copy, text->data, text->length);
    return copy;
}

struct tern_config generate_config(struct world *world, uint64_t *random, unsigned rule_count,
                                   struct tern_region *region)
{
    struct tern_config_rule *rules = tern_region_take(region, rule_count * sizeof *rules);
    struct tern_config_threshold *thresholds = tern_region_take(region, 3 * sizeof *thresholds);
    struct tern_config config;
    struct tern_buffer text = {0};
    float at = (float)below(random, 40) / 4;

    assert(rules != NULL && thresholds != NULL);
    for (unsigned i = 0; i < rule_count; i++) {
        char *id;

        text.length = 0;
        tern_buffer_printf(&text, "rule-%u", i + 1);
        id = kept(region, &text);
        text.length = 0;
        generate_expression(random, 1 + (unsigned)below(random, 6), &text);
        rules[i] = world_rule(id, kept(region, &text));
        rules[i].action = (enum tern_action)below(random, 4);
        rules[i].score = (float)below(random, 20) / 4 - 1;
        switch (below(random, 4)) {
        case 0:
            rules[i].then = TERN_THEN_ESCALATE;
            break;
        case 1:
            break;
        default:
            rules[i].then = TERN_THEN_ADD;
        }
        rules[i].mode = below(random, 12) == 0  ? TERN_RULE_OFF
                        : below(random, 6) == 0 ? TERN_RULE_SHADOW
                                                : TERN_RULE_LIVE;
        rules[i].missing_skip = below(random, 6) == 0;
    }
    tern_buffer_free(&text);
    config = world_config(world, rules, rule_count);
    config.default_action = (enum tern_action)below(random, 4);
    config.thresholds = thresholds;
    config.threshold_count = (unsigned)below(random, 4);
    for (unsigned i = 0; i < config.threshold_count; i++, at -= 1.5f)
        thresholds[i] =
            (struct tern_config_threshold){.at = at, .action = (enum tern_action)below(random, 4)};
    return config;
}

void generate_facts(uint64_t *random, uint32_t scale, uint8_t (*scratch)[64],
                    struct tern_facts *facts)
{
    tern_facts_clear(facts);
    for (unsigned field = 1; field <= WORLD_FIELDS; field++) {
        if (below(random, 6) == 0)
            continue;
        facts->values[field] =
            world_key((enum world_field)field, below(random, scale + 8), scratch[field - 1]);
        tern_facts_set_present(facts, field);
    }
    for (unsigned slot = WORLD_HOST_RAW; slot <= WORLD_PATH_RAW; slot++) {
        unsigned field = slot == WORLD_HOST_RAW ? WORLD_HOST : WORLD_PATH;

        if (!tern_facts_has(facts, field))
            continue;
        /* The two need not belong together: each is only looked at. */
        facts->values[slot] = facts->values[field];
        facts->values[slot].string.length -= (uint32_t)below(random, 3) % 2;
        tern_facts_set_present(facts, slot);
    }
}
