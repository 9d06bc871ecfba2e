/* shared/rules/trie.c and controlplane/compile/classifier_trie.c: whatever the literals, two values
 * are in one class exactly when the same atoms hold of both. The oracle compares byte by byte. */
#include "tests/unit/unit.h"

#include "controlplane/compile/classifier.h"

#define ATOMS  24
#define VALUES 400

static uint64_t seed;
static uint64_t kinds_met[TERN_TRIE_FAN_4 + 1];

struct literal {
    uint8_t bytes[256];
    uint32_t length;
};

/* Few distinct bytes, so that literals are prefixes of one another and of values; now and then any
 * byte, NUL included. */
static void random_string(struct literal *string, uint32_t most)
{
    static const uint8_t alphabet[] = {'/', 'a', 'b', 0xc3, 0};

    string->length = (uint32_t)(tern_test_random(&seed) % (most + 1));
    for (uint32_t i = 0; i < string->length; i++)
        string->bytes[i] = tern_test_random(&seed) % 20 == 0
                               ? (uint8_t)tern_test_random(&seed)
                               : alphabet[tern_test_random(&seed) % 12 < 9
                                              ? 1
                                              : tern_test_random(&seed) % sizeof alphabet];
}

static bool holds(const struct tern_unit_atom *atom, const struct literal *value)
{
    const struct tern_string *string = &atom->strings[0];
    uint32_t skipped = value->length - string->length;

    if (string->length > value->length || (atom->kind == TERN_ATOM_EQUALS && skipped != 0))
        return false;
    return memcmp(value->bytes + (atom->kind == TERN_ATOM_ENDS ? skipped : 0), string->bytes,
                  string->length) == 0;
}

/* A copy that ends where the allocation ends: the address sanitizer sees a byte too many. */
static uint32_t class_of(const struct tern_trie *trie, const struct literal *value, bool reversed)
{
    uint8_t *exact = malloc(value->length + (value->length == 0));
    struct tern_trie_key key = {exact, value->length};
    uint32_t class;

    memcpy(exact, value->bytes, value->length);
    tern_trie_find(trie, &key, 1, reversed, &class);
    free(exact);
    return class;
}

static void count_kinds(const void *image)
{
    const struct tern_trie_header *header = image;
    const struct tern_trie_node *nodes = (const void *)(header + 1);

    for (uint32_t i = 0; i < header->node_count; i++)
        kinds_met[tern_trie_head_kind(nodes[i].head)]++;
}

static void check_set(bool reversed, uint32_t most)
{
    static struct literal literals[ATOMS];
    struct tern_unit_atom atoms[ATOMS];
    struct tern_string strings[ATOMS];
    uint32_t indexes[ATOMS];
    uint32_t truths[2 * ATOMS + VALUES], count = 1 + (uint32_t)(tern_test_random(&seed) % ATOMS);
    struct tern_classifier classifier = {0};
    struct tern_trie trie;
    bool seen[2 * ATOMS + VALUES] = {false};
    uint32_t classes;
    void *image;

    for (uint32_t i = 0; i < count; i++) {
        random_string(&literals[i], most);
        if (i > 0 && tern_test_random(&seed) % 2) { /* goes on from another one */
            uint32_t shared = literals[i - 1].length;

            if (shared + literals[i].length <= sizeof literals[i].bytes) {
                memmove(literals[i].bytes + shared, literals[i].bytes, literals[i].length);
                memcpy(literals[i].bytes, literals[i - 1].bytes, shared);
                literals[i].length += shared;
            }
        }
        strings[i] = (struct tern_string){literals[i].bytes, literals[i].length};
        atoms[i] =
            (struct tern_unit_atom){.kind = reversed                           ? TERN_ATOM_ENDS
                                            : tern_test_random(&seed) % 3 == 0 ? TERN_ATOM_EQUALS
                                                                               : TERN_ATOM_STARTS,
                                    .column = -1,
                                    .count = 1,
                                    .strings = &strings[i]};
        indexes[i] = i;
    }
    assert_int_equal(tern_classifier_build(&classifier,
                                           reversed ? TERN_UNIT_SUFFIX : TERN_UNIT_STRING,
                                           TERN_TYPE_STRING, atoms, indexes, count, UINT32_MAX),
                     0);
    classes = tern_signatures_count(&classifier.signatures);
    assert_true(classes <= sizeof seen);
    image = aligned_alloc(64, tern_align_up(classifier.bytes.length, 64));
    memcpy(image, classifier.bytes.data, classifier.bytes.length);
    assert_int_equal(tern_trie_open(&trie, image, classifier.bytes.length,
                                    &(struct tern_class_bounds){.class_count = classes}, NULL),
                     0);
    count_kinds(image);

    for (unsigned i = 0; i < VALUES; i++) {
        struct literal value;
        uint32_t truth = 0, class;

        if (i < count) {
            value = literals[i];
        } else {
            random_string(&value, most);
            if (tern_test_random(&seed) %
                2) { /* near a literal: its first or last bytes, and more */
                const struct literal *near = &literals[tern_test_random(&seed) % count];
                uint32_t kept = (uint32_t)(tern_test_random(&seed) % (near->length + 1));
                uint32_t more = (uint32_t)tern_min_u64(value.length, sizeof value.bytes - kept);
                struct literal joined = {.length = kept + more};

                memcpy(joined.bytes + (reversed ? more : 0),
                       near->bytes + (reversed ? near->length - kept : 0), kept);
                memcpy(joined.bytes + (reversed ? 0 : kept), value.bytes, more);
                value = joined;
            }
        }
        for (uint32_t a = 0; a < count; a++)
            truth |= (uint32_t)holds(&atoms[a], &value) << a;
        class = class_of(&trie, &value, reversed);
        assert_true(class >= TERN_CLASS_BASE && class < classes);
        for (uint32_t c = 0; c < classes; c++)
            if (seen[c] && (c == class) != (truths[c] == truth))
                fail_msg("value %u: class %u with truth %x, class %u has %x", i, class, truth, c,
                         truths[c]);
        seen[class] = true;
        truths[class] = truth;
    }
    free(image);
    tern_classifier_free(&classifier);
}

static void classes_tell_values_apart(TERN_TEST_STATE)
{
    seed = 1;
    for (unsigned i = 0; i < 2000; i++)
        check_set(i % 2, i % 5 == 0 ? 3 : i % 5 == 1 ? 120 : 20);
    for (size_t kind = 0; kind < TERN_COUNT(kinds_met); kind++)
        if (kinds_met[kind] < 20)
            fail_msg("nodes of kind %zu: only %llu", kind, (unsigned long long)kinds_met[kind]);
}

/* Nodes of every kind. */
static void damage_is_refused_or_harmless(TERN_TEST_STATE)
{
    static const char *const literals[] = {
        "/a/rather/long/path/that/needs/more/than/one/node/of/it",
        "/b1",
        "/b2",
        "/c1",
        "/c2",
        "/c3",
        "/c4",
        "/d1/more/than/eleven",
        "/d2",
        "/e1234",
        "/e2",
        "/e3",
        "/e41",
    };
    struct tern_string strings[TERN_COUNT(literals)];
    struct tern_unit_atom atoms[TERN_COUNT(literals)];
    struct tern_classifier classifier = {0};
    uint32_t indexes[TERN_COUNT(literals)], classes;
    uint8_t *image;

    for (uint32_t i = 0; i < TERN_COUNT(literals); i++) {
        strings[i] =
            (struct tern_string){(const uint8_t *)literals[i], (uint32_t)strlen(literals[i])};
        atoms[i] = (struct tern_unit_atom){.kind = i % 2 ? TERN_ATOM_EQUALS : TERN_ATOM_STARTS,
                                           .column = -1,
                                           .count = 1,
                                           .strings = &strings[i]};
        indexes[i] = i;
    }
    assert_int_equal(tern_classifier_build(&classifier, TERN_UNIT_STRING, TERN_TYPE_STRING, atoms,
                                           indexes, TERN_COUNT(literals), UINT32_MAX),
                     0);
    classes = tern_signatures_count(&classifier.signatures);
    image = aligned_alloc(64, tern_align_up(classifier.bytes.length, 64));
    memcpy(image, classifier.bytes.data, classifier.bytes.length);
    memset(kinds_met, 0, sizeof kinds_met);
    count_kinds(image);
    for (size_t kind = 0; kind < TERN_COUNT(kinds_met); kind++)
        assert_true(kinds_met[kind] > 0);
    seed = 5;
    for (unsigned i = 0; i < 50000; i++) {
        const struct tern_string *string = &strings[i % TERN_COUNT(literals)];
        struct literal value = {.length = string->length};
        struct tern_trie trie;

        memcpy(value.bytes, string->bytes, string->length);
        memcpy(image, classifier.bytes.data, classifier.bytes.length);
        /* half of the time past the header, most of which is zeros */
        image[i % 2 ? tern_test_random(&seed) % classifier.bytes.length
                    : sizeof(struct tern_trie_header) +
                          tern_test_random(&seed) %
                              (classifier.bytes.length - sizeof(struct tern_trie_header))] ^=
            (uint8_t)(1 + tern_test_random(&seed) % 255);
        if (tern_trie_open(&trie, image, classifier.bytes.length,
                           &(struct tern_class_bounds){.class_count = classes}, NULL) == 0)
            assert_true(class_of(&trie, &value, i % 2) < classes);
    }
    free(image);
    tern_classifier_free(&classifier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_tell_values_apart),
        cmocka_unit_test(damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
