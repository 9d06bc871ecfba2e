/* Quantities with units: sizes, counts, durations, shares. All return 0, TERN_EINVAL when malformed
 * or TERN_ELIMIT when too large for the result. Thread-safe. */
#ifndef TERN_CONFIG_QUANTITY_H
#define TERN_CONFIG_QUANTITY_H

#include "shared/base.h"

/* "512", "512B", "64KiB", "1MiB", "4GiB", "1TiB": bytes. */
int tern_quantity_size(const char *text, size_t length, uint64_t *bytes);
/* "250", "10k", "1M", "2G": powers of 1000. */
int tern_quantity_count(const char *text, size_t length, uint64_t *count);
/* "250us", "10ms", "5s", "5m", "1h", "7d", or "0": microseconds. */
int tern_quantity_duration(const char *text, size_t length, uint64_t *duration_us);
/* "20%", "0.5%": thousandths. */
int tern_quantity_share(const char *text, size_t length, uint64_t *permille);

#define TERN_QUANTITY_TEXT 24
/* The shortest form that parses back to the same number. */
void tern_quantity_format_size(uint64_t bytes, char text[TERN_QUANTITY_TEXT]);
void tern_quantity_format_duration(uint64_t duration_us, char text[TERN_QUANTITY_TEXT]);

#endif
