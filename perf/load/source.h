/* What is sent: frames made ready before the first one goes out, and what their answers should be.
 */
#ifndef TERN_LOAD_SOURCE_H
#define TERN_LOAD_SOURCE_H

#include "perf/load/options.h"
#include "shared/error.h"

struct load_span {
    uint64_t offset; /* into bytes */
    uint32_t length;
};

#define LOAD_RULE_ANY UINT32_MAX

struct load_expectation {
    uint32_t rule; /* LOAD_RULE_ANY: only the action is checked */
    uint8_t action;
};

struct load_source {
    uint8_t *bytes;
    struct load_span *frames;
    uint32_t count;
    uint32_t longest;
    struct load_expectation *expected; /* NULL: not checked */
};

/* Makes the frames as the options say: from a frame file, from requests in CSV, generated, or RESP.
 */
int load_source_open(const struct load_options *options, struct load_source *source,
                     struct tern_error *error);
/* Writes them as a frame file. */
int load_source_write(const struct load_source *source, const char *path, struct tern_error *error);
void load_source_free(struct load_source *source);

/* The key of `index` as run gets it and fill sets it; returns its length. */
#define LOAD_KEY_BYTES 24
size_t load_key_format(char text[LOAD_KEY_BYTES], unsigned index);

/* splitmix64 (Steele, Lea, Flood 2014): schedules and keys. */
static inline uint64_t load_random(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

#endif
