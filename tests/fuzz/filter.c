/* Filters of searches: what is accepted is a rule as well and means what it means there; what is
 * refused has a place in the text and a reason.
 *
 * The first byte says how many strings of the dictionary are new to the filter. */
#include "tests/fuzz/fuzz.h"

#include "shared/vector/filter.h"
#include "tests/reference/payload.h"

static struct payload payload;
static struct tern_filter filter;

static void compare(const char *text, size_t size, unsigned new_strings)
{
    uint8_t expected[PAYLOAD_SLOTS], actual[PAYLOAD_SLOTS];
    uint32_t slots[PAYLOAD_SLOTS];

    for (uint32_t i = 0; i < PAYLOAD_SLOTS; i++)
        slots[i] = i;
    payload.header.dictionary_count = PAYLOAD_STRINGS - new_strings % (PAYLOAD_STRINGS + 1);
    tern_filter_bind(&filter, &payload.collection);
    payload.header.dictionary_count = PAYLOAD_STRINGS;
    tern_filter_match(&filter, &payload.collection, slots, PAYLOAD_SLOTS, actual);
    FUZZ_CHECK(payload_judge(&payload, text, size, expected));
    FUZZ_CHECK(memcmp(expected, actual, PAYLOAD_SLOTS) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tern_filter_failure failure = {.offset = UINT32_MAX};
    uint64_t random = 7;
    unsigned new_strings;
    char *text;

    if (size == 0)
        return 0;
    if (payload.collection.header == NULL)
        payload_make(&payload, &random);
    new_strings = *data++;
    size--;
    text = malloc(size > 0 ? size : 1); /* exactly: nothing is read behind it */
    FUZZ_CHECK(text != NULL);
    memcpy(text, data, size);
    if (tern_filter_parse(&filter, &payload.collection, text, size, &failure) == 0) {
        compare(text, size, new_strings);
    } else {
        FUZZ_CHECK(failure.offset <= size);
        FUZZ_CHECK(failure.message[0] != '\0' && strlen(failure.message) < sizeof failure.message);
    }
    free(text);
    return 0;
}
