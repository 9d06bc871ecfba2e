/* Built sections for the tests of the packed tables: aligned as in the arena, and exactly as long
 * as they are, so that the address sanitizer sees one byte too many. */
#ifndef TERN_TESTS_SECTION_H
#define TERN_TESTS_SECTION_H

#include "tests/unit/unit.h"

#include "shared/buffer.h"

struct test_section {
    uint8_t *data;
    size_t length;
};

/* Takes over what `buffer` holds from `start` on, and empties it. */
static inline struct test_section test_section_take(struct tern_buffer *buffer)
{
    struct test_section section = {NULL, buffer->length};
    void *data = NULL;

    assert_int_equal(posix_memalign(&data, 64, section.length), 0);
    memcpy(data, buffer->data, section.length);
    section.data = data;
    tern_buffer_free(buffer);
    return section;
}

static inline struct test_section test_section_copy(struct test_section from, size_t length)
{
    struct test_section section = {NULL, length};
    void *data = NULL;

    assert_int_equal(posix_memalign(&data, 64, length == 0 ? 1 : length), 0);
    memcpy(data, from.data, length);
    section.data = data;
    return section;
}

/* Damages a section: a few bytes anywhere, with a bias to the first kilobyte, where the headers
 * are. */
static inline void test_section_damage(struct test_section section, uint64_t *seed)
{
    unsigned flips = 1 + (unsigned)(tern_test_random(seed) % 4);

    for (unsigned i = 0; i < flips; i++) {
        uint64_t span = tern_test_random(seed) % 2 && section.length > 1024 ? 1024 : section.length;
        section.data[tern_test_random(seed) % span] ^= (uint8_t)(1 + tern_test_random(seed) % 255);
    }
}

#endif
