/* Memory that is freed all at once: what a configuration owns. Not thread-safe. */
#ifndef TERN_CONFIG_MEMORY_H
#define TERN_CONFIG_MEMORY_H

#include "shared/base.h"

struct tern_memory_block;

struct tern_memory { /* zero-initialise */
    struct tern_memory_block *blocks;
};

/* `bytes` zeroed bytes, aligned for any type; NULL when out of memory. */
void *tern_memory_take(struct tern_memory *memory, size_t bytes);
/* A NUL-terminated copy, or NULL. */
char *tern_memory_copy(struct tern_memory *memory, const char *text, size_t length);
void tern_memory_free(struct tern_memory *memory);

#endif
