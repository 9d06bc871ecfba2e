/* IP addresses in one canonical form: a 128-bit number, IPv4 as ::ffff:a.b.c.d. An IPv4-mapped IPv6
 * address therefore *is* its IPv4 address, and IPv4 prefixes match nothing else of IPv6. */
#ifndef TERN_ADDRESS_H
#define TERN_ADDRESS_H

#include "shared/base.h"

struct tern_address {
    uint64_t high; /* host order: most significant half */
    uint64_t low;
};

static inline bool tern_address_is_v4(struct tern_address address)
{
    return address.high == 0 && (address.low >> 32) == 0xffff;
}

static inline struct tern_address tern_address_from_v4(uint32_t host_order)
{
    return (struct tern_address){0, 0xffff00000000ull | host_order};
}

/* From 4 or 16 bytes in network order, as on the wire. The caller has checked the length. */
static inline struct tern_address tern_address_from_4(const uint8_t bytes[4])
{
    return tern_address_from_v4(__builtin_bswap32(tern_load_u32(bytes)));
}

static inline struct tern_address tern_address_from_16(const uint8_t bytes[16])
{
    return (struct tern_address){__builtin_bswap64(tern_load_u64(bytes)),
                                 __builtin_bswap64(tern_load_u64(bytes + 8))};
}

static inline int tern_address_compare(struct tern_address a, struct tern_address b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    if (a.low != b.low)
        return a.low < b.low ? -1 : 1;
    return 0;
}

/* An inclusive range; a prefix is a range too. */
struct tern_address_range {
    struct tern_address first;
    struct tern_address last;
};

/* Writes the address in network order: 4 bytes for IPv4, else 16; returns how many. */
size_t tern_address_to_bytes(struct tern_address address, uint8_t bytes[16]);

/* Parses "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1". `text` need not be NUL-terminated.
 * Returns 0, or TERN_EINVAL when it is not exactly one address. */
int tern_address_parse(const char *text, size_t length, struct tern_address *address);

/* Parses an address or a CIDR prefix ("192.0.2.0/24"); bits past the prefix must be zero.
 * Returns 0; TERN_EINVAL malformed; TERN_EREFUSED when host bits are set (the range of the masked
 * prefix is still written, for callers that prefer to accept it). */
int tern_address_parse_prefix(const char *text, size_t length, struct tern_address_range *range);

#define TERN_ADDRESS_TEXT 46
/* Formats the shortest standard text form into `text`. */
void tern_address_format(struct tern_address address, char text[TERN_ADDRESS_TEXT]);

#endif
