/* Host names in one canonical form, so that a rule, a table and a request compare bytes. */
#ifndef TERN_HOST_H
#define TERN_HOST_H

#include "shared/base.h"

/* Folds a host as it stands in a request: ASCII letters become lower case; a port (":" and digits,
 * possibly none) is dropped; then one trailing dot is dropped. "WWW.Example.COM.:443" becomes
 * "www.example.com".
 *
 * An IPv6 literal keeps its brackets and loses what follows them ("[2001:DB8::1]:443" becomes
 * "[2001:db8::1]"); without brackets it has more than one colon, so nothing of it is taken for a
 * port. Bytes from 0x80 up stay as they are.
 *
 * `out` has room for `length` bytes and may be `in` itself; `*out_length` is at most `length`.
 * Cannot fail, allocates nothing, thread-safe: the request path calls it for every host field. */
void tern_host_fold(const uint8_t *in, size_t length, uint8_t *out, size_t *out_length);

/* True when folding would change nothing, so that the host can be used where it lies. Says false,
 * to be fast, also of some that end in a digit or hold other bytes than names are made of. */
bool tern_host_is_folded(const uint8_t *in, size_t length);

#endif
