#include "shared/host.h"

/* The length of `in` without its port. */
static size_t without_port(const uint8_t *in, size_t length)
{
    size_t end = length;

    while (end > 0 && (uint8_t)(in[end - 1] - '0') < 10)
        end--;
    if (end == 0 || in[end - 1] != ':')
        return length;
    end--;
    if (end > 0 && in[0] == '[')
        return in[end - 1] == ']' ? end : length;
    return memchr(in, ':', end) == NULL ? end : length;
}

/* Bit 6 of each byte says whether it is one of 0x40 to 0x5f, capitals among them, or of 0xc0 to
 * 0xdf: those have bit 6 set and bit 5 not. */
static inline uint64_t capitals(uint64_t bytes)
{
    return bytes & ~(bytes << 1);
}

bool tern_host_is_folded(const uint8_t *in, size_t length)
{
    uint64_t found = 0;

    if (length == 0)
        return true;
    if (in[length - 1] <= ':') /* a port's digits or colon, a dot */
        return false;
    /* The last words may overlap: that is cheaper than to look at their bytes one by one. */
    if (length >= 8) {
        for (size_t at = 0; at + 8 < length; at += 8)
            found |= capitals(tern_load_u64(in + at));
        found |= capitals(tern_load_u64(in + length - 8));
    } else if (length >= 4) {
        found = capitals(tern_load_u32(in)) | capitals(tern_load_u32(in + length - 4));
    } else {
        found = capitals(in[0]) | capitals(in[length / 2]) | capitals(in[length - 1]);
    }
    return (found & 0x4040404040404040) == 0;
}

void tern_host_fold(const uint8_t *in, size_t length, uint8_t *out, size_t *out_length)
{
    size_t end = without_port(in, length);

    end -= end > 0 && in[end - 1] == '.';
    for (size_t i = 0; i < end; i++) /* no branch inside: the compiler makes vectors of it */
        out[i] = (uint8_t)(in[i] | (((uint8_t)(in[i] - 'A') < 26) << 5));
    *out_length = end;
}
