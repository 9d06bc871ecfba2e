/* Host names in one canonical form, so that a rule, a table and a request compare bytes. */
#ifndef TERN_HOST_H
#define TERN_HOST_H

#include "shared/base.h"

/* Folds a host as it stands in a request: a port (":" and digits, possibly none) is dropped; ASCII
 * letters become lower case; names of other scripts become punycode (shared/idna.h); then one
 * trailing dot is dropped. "WWW.Example.COM.:443" becomes "www.example.com".
 *
 * An IPv6 literal keeps its brackets and loses what follows them ("[2001:DB8::1]:443" becomes
 * "[2001:db8::1]"); without brackets it has more than one colon, so nothing of it is taken for a
 * port. A host with bytes from 0x80 up that has no form in punycode (no UTF-8, too long for the
 * DNS) keeps them: it equals nothing but itself, and still lies below the names it ends in.
 *
 * `out` has room for `length` + TERN_HOST_GROWTH bytes; it may be `in` itself. Allocates nothing,
 * cannot fail, thread-safe: the request path calls it for every host field. */
#define TERN_HOST_GROWTH 256u /* punycode is longer than UTF-8, but no name is longer than this */

void tern_host_fold(const uint8_t *in, size_t length, uint8_t *out, size_t *out_length);

/* True when folding would change nothing, so that the host can be used where it lies. Says false,
 * to be fast, also of some that end in a digit or hold other bytes than names are made of. */
bool tern_host_is_folded(const uint8_t *in, size_t length);

/* The length of a host without its port. */
size_t tern_host_without_port(const uint8_t *in, size_t length);

#endif
