/* Texts in normal form: what `normalize:` of a string field does to a value before any rule sees
 * it, so that "/%4Cogin", "//login" and "/x/../login" are the same to a rule as to a web server.
 *
 * The steps run in one fixed order, whatever order a configuration lists them in; each is bytewise
 * and knows nothing of the locale:
 *
 *   1. strip_query     cuts at the first '?' or '#' (RFC 3986, 3.3: a path ends there). First,
 *                      because a '?' that was encoded is a letter of the path.
 *   2. percent_decode  "%41" becomes "A", once (RFC 3986, 2.4: nothing is decoded twice). "%" with
 *                      anything but two hexadecimal digits behind it stays. A NUL is a byte like
 *                      others.
 *   3. merge_slashes   "//" becomes "/".
 *   4. dot_segments    "/./" and "/../" are resolved (RFC 3986, 5.2.4), also those that were
 *                      encoded; after merge_slashes, so that "/a//../b" is "/b" as in a file
 *                      system.
 *   5. lower           A to Z become a to z; bytes from 0x80 up stay.
 *
 * Doing it again changes nothing, except that percent_decode would decode what was encoded twice.
 * docs/configuration.md says what all this does not do. */
#ifndef TERN_NORMALIZE_H
#define TERN_NORMALIZE_H

#include "shared/schema.h"

/* Writes the normal form of `in` under `steps` (enum tern_normalize bits) to `out`, which has room
 * for `length` bytes and may be `in` itself, and returns its length, at most `length`. Takes time
 * in proportion to `length`; cannot fail, allocates nothing, thread-safe. */
size_t tern_normalize(unsigned steps, const uint8_t *in, size_t length, uint8_t *out);

/* True when tern_normalize would change nothing, so that the value can be used where it lies. Says
 * false, to be fast, also of some that are normal already. */
bool tern_normalize_is_normal(unsigned steps, const uint8_t *in, size_t length);

#endif
