/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput; it is linked with
 * libFuzzer (make fuzz) or with replay.c, which runs a corpus and needs no clang. Every input must
 * come back in bounded time and memory, and FUZZ_CHECK must hold whatever the input is. */
#ifndef TERN_TESTS_FUZZ_H
#define TERN_TESTS_FUZZ_H

#include "shared/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that no input may break; unlike assert it is there in every build. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Numbers off the front of an input; zeros when it is used up. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint64_t fuzz_take(struct fuzz_input *input, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && input->left > 0; i++, input->at++, input->left--)
        value |= (uint64_t)*input->at << (8 * i);
    return value;
}

/* The path of a file in memory that holds these bytes, valid until the next call. */
const char *fuzz_file(const void *data, size_t size);

/* A directory on tmpfs of this process alone, made once; `fuzz_directory_remove` takes it away with
 * the plain files and directories in it. What is mapped from it stays. */
const char *fuzz_directory(void);
void fuzz_directory_remove(void);

#endif
