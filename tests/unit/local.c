/* The in-process reader against generations that the control plane's own code publishes, in one
 * process: locks are per open file description, so the reader is one like any other. */
#include "tests/unit/unit.h"

#include "clients/c/tern_local.h"
#include "shared/manifest.h"
#include "shared/reader_page.h"
#include "shared/schema.h"
#include "tests/unit/publisher.h"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ARENA_BYTES (32u << 20)

static struct publisher publisher;

static const char fields[] = "fields:\n  ip: ip\n  host: host\n  path: { type: string, max: 64 }\n"
                             "  user: u64\n  level: i64\n  ratio: f32\n  flag: bool\n";
static const char tables[] =
    "tables:\n"
    "  bad_nets: { type: prefix_set, source: nets.txt }\n"
    "  asn: { type: prefix_map, by: ip, source: asn.csv, columns: { number: u32, kind: string } }\n"
    "  bad_hosts: { type: domain_set, source: hosts.txt }\n";
static const char rules[] =
    "rules:\n"
    "  - { id: bad-net, when: 'ip in $bad_nets', then: deny, score: 1.0 }\n"
    "  - { id: bad-host, when: 'host in $bad_hosts', then: deny }\n"
    "  - { id: hosting, when: 'asn.kind == \"hosting\"', then: challenge }\n"
    "  - { id: users, when: 'user >= 100 and user <= 199', then: deny }\n"
    "  - { id: php, when: 'path ends_with \".php\"', add: 4 }\n"
    "thresholds: [ { at: 4, then: challenge } ]\n";

/* Publishes a configuration of these parts; its generation. */
static uint64_t publish_schema(const char *with_fields, const char *with_rules, const char *rest)
{
    uint64_t generation = 0;
    char text[8192];

    snprintf(text, sizeof text, "tern: 1\ninstance: test\n%s%s%s%s", with_fields, tables,
             with_rules, rest);
    publisher_write(&publisher, "tern.yaml", text);
    assert_int_equal(publisher_apply(&publisher, "tern.yaml", &generation), 0);
    return generation;
}

static uint64_t publish(const char *rest)
{
    return publish_schema(fields, rules, rest);
}

static int setup(TERN_TEST_STATE)
{
    if (publisher_make(&publisher, ARENA_BYTES) != 0)
        return -1;
    publisher_write(&publisher, "nets.txt", "192.0.2.0/24\n2001:db8:bad::/48\n");
    publisher_write(&publisher, "asn.csv",
                    "start,end,number,kind\n203.0.113.0,203.0.113.127,64500,isp\n"
                    "203.0.113.128,203.0.113.255,64501,hosting\n");
    publisher_write(&publisher, "hosts.txt", "bad.example\n");
    return 0;
}

static int teardown(TERN_TEST_STATE)
{
    return publisher_free(&publisher);
}

struct reader {
    struct tern_local *local;
    struct tern_local_context *context;
    struct tern_request *request;
};

static void open_reader(struct reader *reader, bool follow)
{
    const struct tern_local_options options = {.name = "unit test", .follow = follow};
    struct tern_error error = {0};

    if (tern_local_open(publisher.run_dir, &options, &reader->local, &error) != 0 ||
        tern_local_context_open(reader->local, &reader->context, &error) != 0)
        fail_msg("%s", error.message);
    assert_int_equal(tern_request_new_for(tern_local_schema(reader->context), 0, &reader->request),
                     0);
}

static void close_reader(struct reader *reader)
{
    tern_request_free(reader->request);
    tern_local_context_close(reader->context);
    tern_local_close(reader->local);
}

static void add_ip(struct reader *reader, const char *field, uint32_t address)
{
    const uint8_t bytes[4] = {(uint8_t)(address >> 24), (uint8_t)(address >> 16),
                              (uint8_t)(address >> 8), (uint8_t)address};

    tern_item_set_ip(reader->request, tern_local_field(reader->context, field), bytes, 4);
}

static struct tern_decision decide(struct reader *reader)
{
    struct tern_decision decision = {0};
    struct tern_error error = {0};

    if (tern_local_decide(reader->context, reader->request, &decision, &error) != 0)
        fail_msg("%s", error.message);
    assert_true(decision.answered);
    return decision;
}

/* One item with one string. */
static struct tern_decision decide_text(struct reader *reader, const char *field, const char *text)
{
    tern_request_reset(reader->request);
    tern_item_add(reader->request);
    tern_item_set_string(reader->request, tern_local_field(reader->context, field), text,
                         strlen(text));
    return decide(reader);
}

static struct tern_decision decide_ip(struct reader *reader, uint32_t address)
{
    tern_request_reset(reader->request);
    tern_item_add(reader->request);
    add_ip(reader, "ip", address);
    return decide(reader);
}

static void there_is_nothing_to_open(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    struct tern_local *local = NULL;
    char readers[128];

    assert_int_equal(tern_local_open("/dev/shm/no-such-instance", NULL, &local, &error),
                     TERN_ENOENT);
    assert_int_equal(tern_local_open(publisher.run_dir, NULL, &local, &error), TERN_EAGAIN);
    assert_non_null(strstr(error.message, "nothing is published"));
    assert_null(local);
    publish("default: allow\n");
    snprintf(readers, sizeof readers, "%s/readers", publisher.run_dir);
    assert_int_equal(folder_remove(readers), 0);
    assert_int_equal(tern_local_open(publisher.run_dir, NULL, &local, &error), TERN_ENOENT);
    assert_non_null(strstr(error.message, "readers/0"));
}

static void it_decides_what_the_rules_say(TERN_TEST_STATE)
{
    struct reader reader;
    struct tern_decision decision;
    struct tern_client_rule rule;
    uint64_t generation = publish("default: allow\n");

    open_reader(&reader, false);
    assert_int_equal(tern_local_generation(reader.context), generation);
    decision = decide_ip(&reader, 0xc0000207);
    assert_int_equal(decision.verdict.action, TERN_DENY);
    assert_int_equal(decision.verdict.cause, TERN_CAUSE_RULE);
    assert_true(decision.verdict.score == 1.0f);
    assert_int_equal(decision.generation, generation);
    assert_int_equal(tern_local_rule(reader.context, decision.verdict.rule, &rule), 0);
    assert_string_equal(rule.name, "bad-net");
    assert_int_equal(rule.action, TERN_DENY);
    assert_int_equal(tern_local_rule(reader.context, 0, &rule), TERN_ENOENT);
    assert_int_equal(tern_local_rule(reader.context, 6, &rule), TERN_ENOENT);

    assert_int_equal(decide_ip(&reader, 0xcb0071c8).verdict.rule, 3);
    assert_int_equal(decide_ip(&reader, 0xcb007101).verdict.action, TERN_ALLOW);
    assert_int_equal(decide_text(&reader, "host", "WWW.bad.example.:80").verdict.rule, 2);
    assert_int_equal(decide_text(&reader, "path", "/x.php").verdict.action, TERN_CHALLENGE);

    tern_request_reset(reader.request);
    tern_item_add(reader.request);
    tern_item_set_key(reader.request, 77);
    assert_int_equal(decide(&reader).decision_key, 77);
    close_reader(&reader);
}

/* Each generation has patterns of its own, and so has each thread what they need. */
static void patterns_come_with_their_generation(TERN_TEST_STATE)
{
    static const char *const words[] = {"sqlmap", "nikto", "masscan"};
    struct reader reader, other;

    for (unsigned i = 0; i < TERN_COUNT(words); i++) {
        char with[512];

        snprintf(with, sizeof with,
                 "rules:\n  - { id: tool, when: 'path contains \"%s\"', then: deny }\n"
                 "  - { id: digits, when: 'path matches r\"/[0-9]{4}$\"', then: challenge }\n",
                 words[i]);
        publish_schema(fields, with, "default: allow\n");
        if (i == 0) {
            open_reader(&reader, false);
            other.local = reader.local;
            assert_int_equal(tern_local_context_open(other.local, &other.context, NULL), 0);
            assert_int_equal(
                tern_request_new_for(tern_local_schema(other.context), 0, &other.request), 0);
        } else {
            assert_int_equal(tern_local_refresh(reader.context, NULL), 1);
        }
        for (unsigned k = 0; k < TERN_COUNT(words); k++) {
            char path[64];

            snprintf(path, sizeof path, "/x?%s=1", words[k]);
            assert_int_equal(decide_text(&reader, "path", path).verdict.action,
                             k == i ? TERN_DENY : TERN_ALLOW);
            assert_int_equal(decide_text(&other, "path", path).verdict.action,
                             k == i ? TERN_DENY : TERN_ALLOW);
        }
        assert_int_equal(decide_text(&reader, "path", "/a/2026").verdict.action, TERN_CHALLENGE);
    }
    tern_request_free(other.request);
    tern_local_context_close(other.context);
    close_reader(&reader);
}

static void batches_are_decided_item_by_item(TERN_TEST_STATE)
{
    static struct tern_decision decisions[1000];
    struct reader reader;
    uint64_t seed = 5;

    publish("default: allow\n");
    open_reader(&reader, false);
    for (unsigned count = 1; count <= TERN_COUNT(decisions); count = count * 3 + 1) {
        uint64_t users[TERN_COUNT(decisions)];

        tern_request_reset(reader.request);
        for (unsigned i = 0; i < count; i++) {
            users[i] = tern_test_random(&seed) % 300;
            tern_item_add(reader.request);
            tern_item_set_u64(reader.request, tern_local_field(reader.context, "user"), users[i]);
            tern_item_set_key(reader.request, i);
        }
        memset(decisions, 0xff, sizeof decisions);
        assert_int_equal(tern_local_decide(reader.context, reader.request, decisions, NULL), 0);
        for (unsigned i = 0; i < count; i++) {
            bool denied = users[i] >= 100 && users[i] <= 199;

            assert_int_equal(decisions[i].verdict.action, denied ? TERN_DENY : TERN_ALLOW);
            assert_int_equal(decisions[i].decision_key, i);
        }
    }
    close_reader(&reader);
}

static void what_is_malformed_is_refused_whole(TERN_TEST_STATE)
{
    struct reader reader;
    struct tern_decision decisions[40];
    struct tern_error error = {0};
    static char text[66];

    publish("default: allow\n");
    open_reader(&reader, false);
    memset(text, 'a', 65);
    for (unsigned count = 1; count <= TERN_COUNT(decisions); count += 39) {
        tern_request_reset(reader.request);
        for (unsigned i = 0; i < count; i++) {
            tern_item_add(reader.request);
            tern_item_set_string(reader.request, tern_local_field(reader.context, "path"), text,
                                 i == count - 1 ? 65 : 64);
        }
        memset(decisions, 0x5a, sizeof decisions);
        assert_int_equal(tern_local_decide(reader.context, reader.request, decisions, &error),
                         TERN_EINVAL);
        assert_non_null(strstr(error.message, count == 1 ? "item 0: field 3 of 65 bytes"
                                                         : "item 39: field 3 of 65 bytes"));
        for (size_t i = 0; i < sizeof decisions; i++)
            assert_int_equal(((const uint8_t *)decisions)[i], 0x5a);
    }
    tern_request_reset(reader.request);
    assert_int_equal(tern_local_decide(reader.context, reader.request, decisions, &error),
                     TERN_EINVAL);
    tern_item_add(reader.request);
    assert_int_equal(
        tern_item_set_u64(reader.request, tern_local_field(reader.context, "nothing"), 1),
        TERN_ENOENT);
    assert_int_equal(tern_item_set_u64(reader.request, tern_local_field(reader.context, "path"), 1),
                     TERN_EINVAL);
    assert_int_equal(tern_local_decide(reader.context, reader.request, decisions, &error),
                     TERN_ENOENT);
    close_reader(&reader);
}

static void look_ups_and_explanations(TERN_TEST_STATE)
{
    const uint8_t hosting[4] = {203, 0, 113, 200}, nowhere[4] = {8, 8, 8, 8};
    struct tern_client_column columns[4];
    struct tern_error error = {0};
    struct reader reader;
    const char *json;
    size_t length;
    unsigned count = 0;
    int asn, nets, hosts;

    publish("default: allow\n");
    open_reader(&reader, false);
    asn = tern_local_table(reader.context, "asn");
    nets = tern_local_table(reader.context, "bad_nets");
    hosts = tern_local_table(reader.context, "bad_hosts");
    assert_int_equal(tern_local_lookup(reader.context, asn, hosting, 4, columns, 4, &count, &error),
                     0);
    assert_int_equal(count, 2);
    assert_int_equal(columns[0].type, TERN_TYPE_U32);
    assert_int_equal(tern_load_u32(columns[0].value), 64501);
    assert_int_equal(columns[1].type, TERN_TYPE_STRING);
    assert_int_equal(columns[1].length, 7);
    assert_memory_equal(columns[1].value, "hosting", 7);
    assert_int_equal(tern_local_lookup(reader.context, asn, hosting, 4, columns, 0, &count, &error),
                     0);
    assert_int_equal(count, 2);
    assert_int_equal(tern_local_lookup(reader.context, asn, nowhere, 4, columns, 4, &count, &error),
                     TERN_ENOENT);
    assert_int_equal(
        tern_local_lookup(reader.context, nets, hosting, 3, columns, 4, &count, &error),
        TERN_EINVAL);
    assert_non_null(strstr(error.message, "bad_nets"));
    assert_int_equal(
        tern_local_lookup(reader.context, hosts, "A.BAD.example", 13, columns, 4, &count, &error),
        0);
    assert_int_equal(count, 0);
    assert_int_equal(tern_local_lookup(reader.context, 9, hosting, 4, columns, 4, &count, &error),
                     TERN_ENOENT);

    decide_ip(&reader, 0xc0000207);
    assert_int_equal(tern_local_explain(reader.context, reader.request, &json, &length, &error), 0);
    assert_true(length > 2 && json[0] == '{' && json[length - 1] == '}');
    assert_non_null(memmem(json, length, "bad-net", 7));
    tern_item_add(reader.request);
    assert_int_equal(tern_local_explain(reader.context, reader.request, &json, &length, &error),
                     TERN_EINVAL);
    close_reader(&reader);
}

static void refresh_adopts_what_is_new(TERN_TEST_STATE)
{
    struct reader reader;
    struct tern_error error = {0};
    uint64_t first = publish("default: allow\n"), second;

    open_reader(&reader, false);
    assert_int_equal(tern_local_refresh(reader.context, &error), 0);
    second = publish("default: challenge\n");
    assert_int_equal(decide_ip(&reader, 0x08080808).generation, first);
    assert_int_equal(tern_local_refresh(reader.context, &error), 1);
    assert_int_equal(tern_local_refresh(reader.context, &error), 0);
    assert_int_equal(tern_local_generation(reader.context), second);
    assert_int_equal(decide_ip(&reader, 0x08080808).verdict.action, TERN_CHALLENGE);
    close_reader(&reader);
}

/* What one context prepares, the others adopt; each keeps what it uses until then. */
static void contexts_share_what_is_prepared(TERN_TEST_STATE)
{
    struct reader reader, other;
    struct tern_pipeline_status status;
    uint64_t second;

    publish("default: allow\n");
    open_reader(&reader, false);
    other.local = reader.local;
    assert_int_equal(tern_local_context_open(other.local, &other.context, NULL), 0);
    assert_int_equal(tern_request_new_for(tern_local_schema(other.context), 0, &other.request), 0);
    decide_ip(&other, 0x08080808);
    second = publish("default: deny\n");
    assert_int_equal(tern_local_refresh(reader.context, NULL), 1);
    tern_pipeline_tick(publisher.pipeline);
    tern_pipeline_status(publisher.pipeline, &status);
    assert_int_equal(status.reader_count, 1);
    assert_string_equal(status.readers[0].name, "unit test");
    assert_int_equal(status.readers[0].contexts, 2);
    assert_int_equal(status.readers[0].generation, second - 1);
    assert_true(status.readers[0].quarantined_bytes > 0);

    assert_int_equal(decide_ip(&other, 0x08080808).generation, second);
    tern_pipeline_tick(publisher.pipeline);
    tern_pipeline_status(publisher.pipeline, &status);
    assert_int_equal(status.readers[0].generation, second);
    assert_int_equal(status.quarantined_bytes, 0);
    tern_request_free(other.request);
    tern_local_context_close(other.context);
    close_reader(&reader);
    tern_pipeline_status(publisher.pipeline, &status);
    assert_int_equal(status.reader_count, 0);
}

static void who_rests_holds_nothing(TERN_TEST_STATE)
{
    struct reader reader, other;
    struct tern_pipeline_status status;

    publish("default: allow\n");
    open_reader(&reader, false);
    other.local = reader.local;
    assert_int_equal(tern_local_context_open(other.local, &other.context, NULL), 0);
    tern_local_rest(other.context);
    tern_local_rest(other.context);
    assert_int_equal(tern_local_generation(other.context), 0);
    publish("default: deny\n");
    assert_int_equal(tern_local_refresh(reader.context, NULL), 1);
    tern_pipeline_tick(publisher.pipeline);
    tern_pipeline_status(publisher.pipeline, &status);
    assert_int_equal(status.quarantined_bytes, 0);
    assert_int_equal(tern_local_refresh(other.context, NULL), 1);
    assert_int_equal(tern_local_generation(other.context), tern_local_generation(reader.context));
    tern_local_context_close(other.context);
    close_reader(&reader);
}

static void contexts_have_a_limit(TERN_TEST_STATE)
{
    struct tern_local_context *contexts[TERN_READER_CONTEXTS_MAX], *more;
    struct tern_error error = {0};
    struct tern_local *local;

    publish("default: allow\n");
    assert_int_equal(tern_local_open(publisher.run_dir, NULL, &local, NULL), 0);
    for (unsigned i = 0; i < TERN_READER_CONTEXTS_MAX; i++)
        assert_int_equal(tern_local_context_open(local, &contexts[i], NULL), 0);
    assert_int_equal(tern_local_context_open(local, &more, &error), TERN_ELIMIT);
    assert_non_null(strstr(error.message, "30"));
    tern_local_context_close(contexts[4]);
    assert_int_equal(tern_local_context_open(local, &contexts[4], NULL), 0);
    for (unsigned i = 0; i < TERN_READER_CONTEXTS_MAX; i++)
        tern_local_context_close(contexts[i]);
    tern_local_close(local);
}

/* Ids that keep their meaning keep requests good; others refuse them. */
static void schemas_that_grow_and_that_change(TERN_TEST_STATE)
{
    struct reader reader;
    struct tern_decision decision;
    struct tern_error error = {0};
    char grown[512], changed[512];

    publish("default: allow\n");
    open_reader(&reader, false);
    decide_ip(&reader, 0xc0000207);
    snprintf(grown, sizeof grown, "%s  token: string\n", fields);
    publish_schema(grown, rules, "default: allow\n");
    assert_int_equal(tern_local_field(reader.context, "token"), TERN_ENOENT);
    assert_int_equal(tern_local_refresh(reader.context, NULL), 1);
    assert_int_equal(tern_local_field(reader.context, "token"), 8);
    assert_int_equal(tern_local_decide(reader.context, reader.request, &decision, &error), 0);
    assert_int_equal(decision.verdict.action, TERN_DENY);

    /* another instance in the same place: a new arena, a new schema */
    tern_pipeline_close(publisher.pipeline);
    snprintf(changed, sizeof changed, "%s/arena", publisher.run_dir);
    assert_int_equal(unlink(changed), 0);
    assert_int_equal(folder_remove(publisher.state_dir), 0);
    assert_int_equal(mkdir(publisher.state_dir, 0700), 0);
    publisher_open(&publisher);
    snprintf(changed, sizeof changed, "fields:\n  token: string\n%s", fields + strlen("fields:\n"));
    publish_schema(changed, rules, "default: allow\n");
    tern_local_rest(reader.context); /* so that the look at the file is not put off */
    for (int code = 0; code == 0;) {
        code = tern_local_refresh(reader.context, &error);
        assert_true(code >= 0);
        code = tern_local_field(reader.context, "token") == 1;
    }
    assert_int_equal(tern_local_decide(reader.context, reader.request, &decision, &error),
                     TERN_EABI);
    assert_int_equal(decide_ip(&reader, 0xc0000207).verdict.action, TERN_DENY);
    close_reader(&reader);
}

/* A new arena in the old one's place is followed; what is in use stays until it is let go. */
static void a_replaced_arena_is_followed(TERN_TEST_STATE)
{
    struct reader reader;
    struct tern_pipeline_status status;
    struct tern_local_context *idle;
    struct timespec start, now;
    char path[128];

    publish("default: allow\n");
    open_reader(&reader, true);
    assert_int_equal(tern_local_context_open(reader.local, &idle, NULL), 0);
    tern_pipeline_close(publisher.pipeline);
    snprintf(path, sizeof path, "%s/arena", publisher.run_dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(decide_ip(&reader, 0x08080808).verdict.action, TERN_ALLOW);
    publisher_open(&publisher);
    publish("default: deny\n");
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (decide_ip(&reader, 0x08080808).verdict.action != TERN_DENY) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        assert_true(now.tv_sec - start.tv_sec < 20);
        sched_yield();
    }
    /* the idle context keeps the old arena and its page; the new one is free of it */
    publish("default: challenge\n");
    tern_pipeline_status(publisher.pipeline, &status);
    assert_int_equal(status.reader_count, 1);
    assert_int_equal(status.readers[0].contexts, 1);
    assert_int_not_equal(status.readers[0].page, 0);
    assert_true(tern_local_generation(idle) > 0);
    tern_local_context_close(idle);
    close_reader(&reader);
}

static void a_follower_needs_no_refresh(TERN_TEST_STATE)
{
    struct reader reader;
    struct timespec start, now;
    uint64_t last = publish("default: allow\n");

    open_reader(&reader, true);
    for (unsigned i = 0; i < 5; i++) {
        last = publish(i % 2 == 0 ? "default: deny\n" : "default: allow\n");
        clock_gettime(CLOCK_MONOTONIC, &start);
        while (decide_ip(&reader, 0x08080808).generation != last) {
            clock_gettime(CLOCK_MONOTONIC, &now);
            assert_true(now.tv_sec - start.tv_sec < 20);
            sched_yield();
        }
    }
    close_reader(&reader);
}

/* Overwrites one byte of the newest rules, as a broken machine would. */
static void damage_rules(void)
{
    struct tern_arena arena;
    const struct tern_root *root;
    const struct tern_manifest *manifest;
    const struct tern_section *sections;
    char path[128];
    int fd;

    assert_int_equal(tern_arena_open(publisher.run_dir, &arena, NULL), 0);
    root = tern_arena_at(&arena, tern_arena_root(&arena), sizeof *root, 64);
    manifest = tern_arena_at(&arena, root->stable, sizeof *manifest, 64);
    sections = (const struct tern_section *)(manifest + 1);
    snprintf(path, sizeof path, "%s/arena", publisher.run_dir);
    fd = open(path, O_RDWR);
    for (unsigned i = 0; i < manifest->count; i++)
        if (sections[i].kind == TERN_SECTION_RULES)
            assert_int_equal(pwrite(fd, "!", 1, (off_t)(sections[i].offset + 70)), 1);
    close(fd);
    tern_arena_close(&arena);
}

static void a_damaged_generation_is_not_served(TERN_TEST_STATE)
{
    struct reader reader;
    struct tern_error error = {0};
    struct tern_local *local = NULL;
    uint64_t first = publish("default: allow\n"), third;

    open_reader(&reader, false);
    publish("default: deny\n");
    damage_rules();
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(tern_local_refresh(reader.context, &error), TERN_ECORRUPT);
        assert_non_null(strstr(error.message, "fails its checksum"));
        assert_int_equal(decide_ip(&reader, 0x08080808).generation, first);
    }
    assert_int_equal(tern_local_open(publisher.run_dir, NULL, &local, &error), TERN_ECORRUPT);
    third = publish("default: challenge\n");
    assert_int_equal(tern_local_refresh(reader.context, &error), 1);
    assert_int_equal(decide_ip(&reader, 0x08080808).generation, third);
    close_reader(&reader);
}

static void deciding_takes_nothing_from_the_heap(TERN_TEST_STATE)
{
    struct tern_client_column columns[4];
    const uint8_t key[4] = {203, 0, 113, 200};
    struct reader reader;
    struct mallinfo2 before, after;
    unsigned count;

    publish("default: allow\n");
    open_reader(&reader, false);
    decide_ip(&reader, 0x08080808);
    before = mallinfo2();
    for (unsigned i = 0; i < 1000; i++) {
        decide_ip(&reader, i << 20);
        tern_local_refresh(reader.context, NULL);
        tern_local_lookup(reader.context, tern_local_table(reader.context, "asn"), key, 4, columns,
                          4, &count, NULL);
    }
    after = mallinfo2();
    assert_int_equal(after.uordblks, before.uordblks);
    assert_int_equal(after.hblks, before.hblks);
    close_reader(&reader);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(there_is_nothing_to_open),
        T(it_decides_what_the_rules_say),
        T(patterns_come_with_their_generation),
        T(batches_are_decided_item_by_item),
        T(what_is_malformed_is_refused_whole),
        T(look_ups_and_explanations),
        T(refresh_adopts_what_is_new),
        T(contexts_share_what_is_prepared),
        T(who_rests_holds_nothing),
        T(contexts_have_a_limit),
        T(schemas_that_grow_and_that_change),
        T(a_replaced_arena_is_followed),
        T(a_follower_needs_no_refresh),
        T(a_damaged_generation_is_not_served),
        T(deciding_takes_nothing_from_the_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
