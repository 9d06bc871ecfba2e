/* Frames being put together; source.c hands them on. */
#ifndef TERN_LOAD_BUILDER_H
#define TERN_LOAD_BUILDER_H

#include "perf/load/source.h"
#include "shared/buffer.h"

struct load_builder {
    struct tern_buffer bytes;
    struct tern_buffer frames; /* struct load_span */
    uint32_t longest;
};

/* 0 or TERN_ENOMEM. */
int load_builder_add(struct load_builder *builder, const void *bytes, size_t length);

/* searches.c: a SEARCH for each vector of a file, as the options say. The server is asked for the
 * collection. */
int load_searches_build(struct load_builder *builder, const struct load_options *options,
                        struct tern_error *error);

#endif
