#include "shared/address.h"

#include "shared/error.h"

#include <arpa/inet.h>

size_t tern_address_to_bytes(struct tern_address address, uint8_t bytes[16])
{
    if (tern_address_is_v4(address)) {
        uint32_t v4 = __builtin_bswap32((uint32_t)address.low);

        memcpy(bytes, &v4, 4);
        return 4;
    }
    tern_store_u64(bytes, __builtin_bswap64(address.high));
    tern_store_u64(bytes + 8, __builtin_bswap64(address.low));
    return 16;
}

/* Four decimal numbers up to 255 without leading zeros. Written out, because sources hold millions.
 */
static bool parse_v4(const char *text, size_t length, uint32_t *host_order)
{
    const char *end = text + length;
    uint32_t address = 0;

    for (unsigned octet = 0; octet < 4; octet++) {
        const char *start = text;
        unsigned value = 0;

        while (text < end && text - start < 3 && (uint8_t)(*text - '0') < 10)
            value = value * 10 + (unsigned)(*text++ - '0');
        if (text == start || value > 255 || (*start == '0' && text - start > 1))
            return false;
        address = address << 8 | value;
        if (octet < 3 && (text == end || *text++ != '.'))
            return false;
    }
    *host_order = address;
    return text == end;
}

/* Tells through `is_v4` which notation was used: a prefix length counts from there. */
static int parse(const char *text, size_t length, struct tern_address *address, bool *is_v4)
{
    char copy[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    uint32_t v4;

    if (parse_v4(text, length, &v4)) {
        *address = tern_address_from_v4(v4);
        *is_v4 = true;
        return 0;
    }
    /* Longer than any address; an embedded NUL would hide what follows it from inet_pton. */
    if (length == 0 || length >= sizeof copy || memchr(text, 0, length) != NULL)
        return TERN_EINVAL;
    memcpy(copy, text, length);
    copy[length] = 0;
    if (inet_pton(AF_INET6, copy, bytes) != 1)
        return TERN_EINVAL;
    *address = tern_address_from_16(bytes);
    *is_v4 = false;
    return 0;
}

int tern_address_parse(const char *text, size_t length, struct tern_address *address)
{
    bool is_v4;

    return parse(text, length, address, &is_v4);
}

/* Decimal 0…128 without sign or leading zeros. */
static int parse_prefix_length(const char *text, size_t length, unsigned *bits)
{
    unsigned value = 0;

    if (length == 0 || length > 3 || (length > 1 && text[0] == '0'))
        return TERN_EINVAL;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return TERN_EINVAL;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *bits = value;
    return 0;
}

int tern_address_parse_prefix(const char *text, size_t length, struct tern_address_range *range)
{
    const char *slash = memchr(text, '/', length);
    struct tern_address address;
    uint64_t host_high, host_low; /* the bits past the prefix */
    unsigned bits;
    bool is_v4;

    if (slash == NULL) {
        if (parse(text, length, &address, &is_v4) != 0)
            return TERN_EINVAL;
        *range = (struct tern_address_range){address, address};
        return 0;
    }
    if (parse(text, (size_t)(slash - text), &address, &is_v4) != 0 ||
        parse_prefix_length(slash + 1, length - (size_t)(slash + 1 - text), &bits) != 0 ||
        bits > (is_v4 ? 32 : 128))
        return TERN_EINVAL;
    if (is_v4)
        bits += 96;
    host_high = bits >= 64 ? 0 : UINT64_MAX >> bits;
    host_low = bits <= 64 ? UINT64_MAX : bits == 128 ? 0 : UINT64_MAX >> (bits - 64);
    range->first = (struct tern_address){address.high & ~host_high, address.low & ~host_low};
    range->last = (struct tern_address){address.high | host_high, address.low | host_low};
    return tern_address_compare(range->first, address) == 0 ? 0 : TERN_EREFUSED;
}

void tern_address_format(struct tern_address address, char text[TERN_ADDRESS_TEXT])
{
    unsigned groups[8];
    int zeros_at = -1, zeros = 1; /* the longest run of at least two zero groups; the first wins */
    char *at = text;

    if (tern_address_is_v4(address)) {
        uint32_t v4 = (uint32_t)address.low;

        snprintf(text, TERN_ADDRESS_TEXT, "%u.%u.%u.%u", v4 >> 24, v4 >> 16 & 255, v4 >> 8 & 255,
                 v4 & 255);
        return;
    }
    for (int i = 0; i < 8; i++) {
        uint64_t half = i < 4 ? address.high : address.low;

        groups[i] = (unsigned)(half >> (48 - 16 * (i & 3)) & 0xffff);
    }
    for (int i = 0; i < 8; i++) {
        int run = 0;

        while (i + run < 8 && groups[i + run] == 0)
            run++;
        if (run > zeros) {
            zeros = run;
            zeros_at = i;
        }
        i += run;
    }
    for (int i = 0; i < 8; i++) {
        if (i == zeros_at) {
            *at++ = ':';
            *at++ = ':';
            i += zeros - 1;
            continue;
        }
        if (i > 0 && at[-1] != ':')
            *at++ = ':';
        at += sprintf(at, "%x", groups[i]);
    }
    *at = 0;
}
