/* Internationalized host names in the form that the DNS has: "BÜCHER.example" becomes
 * "xn--bcher-kva.example".
 *
 * Unicode TS 46, non-transitional: code points are mapped and composed (NFC, UAX 15), then each
 * label that is not ASCII is written in punycode (RFC 3492). What is disallowed is not refused but
 * mapped like anything else, so that `evil.example` still stands behind whatever is put before it;
 * the control plane refuses such names in configurations and sources (libidn2), so they match
 * nothing. libidn2 itself allocates, which a request must not: docs/decisions/0011-hosts.md. */
#ifndef TERN_IDNA_H
#define TERN_IDNA_H

#include "shared/base.h"

#define TERN_IDNA_INPUT_MAX 512u /* bytes of a name that is mapped at all */
#define TERN_IDNA_BYTES_MAX 253u /* of the result: what the DNS can hold (RFC 1035) */
#define TERN_IDNA_LABEL_MAX 63u

/* Writes the ASCII form of `in` to `out`, which has room for TERN_IDNA_BYTES_MAX bytes and does not
 * overlap `in`. TERN_EINVAL when `in` is no UTF-8, or longer than TERN_IDNA_INPUT_MAX, or has more
 * than 30 combining marks in a row (the stream-safe format of UAX 15), or its result is longer than
 * a name or a label may be. Takes a bounded time (some ten microseconds at worst), allocates
 * nothing, thread-safe. */
int tern_idna_to_ascii(const uint8_t *in, size_t length, uint8_t *out, size_t *out_length);

#endif
