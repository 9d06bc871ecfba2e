#include "shared/host.h"

#include "shared/idna.h"

size_t tern_host_without_port(const uint8_t *in, size_t length)
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

_Static_assert(TERN_HOST_GROWTH >= TERN_IDNA_BYTES_MAX, "a name in punycode fits its room");

/* Bit 6 of each byte says whether it is one of 0x40 to 0x5f, capitals among them, or of 0xc0 to
 * 0xdf: those have bit 6 set and bit 5 not. Bit 7 is that of the byte. */
static inline uint64_t oddities(uint64_t bytes)
{
    return bytes & ~(bytes << 1 & 0x4040404040404040);
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
            found |= oddities(tern_load_u64(in + at));
        found |= oddities(tern_load_u64(in + length - 8));
    } else if (length >= 4) {
        found = oddities(tern_load_u32(in)) | oddities(tern_load_u32(in + length - 4));
    } else {
        found = oddities(in[0]) | oddities(in[length / 2]) | oddities(in[length - 1]);
    }
    return (found & 0xc0c0c0c0c0c0c0c0) == 0;
}

static inline size_t without_dot(const uint8_t *in, size_t length)
{
    return length - (length > 0 && in[length - 1] == '.');
}

/* Out of the way of the ASCII names, which is what nearly all are. */
static __attribute__((noinline, cold)) void fold_name(uint8_t *name, size_t *length)
{
    uint8_t mapped[TERN_IDNA_BYTES_MAX];
    size_t mapped_length;

    if (tern_idna_to_ascii(name, *length, mapped, &mapped_length) != 0)
        return;
    /* Full stops and colons of other scripts have become ours. */
    mapped_length = without_dot(mapped, tern_host_without_port(mapped, mapped_length));
    memcpy(name, mapped, mapped_length);
    *length = mapped_length;
}

void tern_host_fold(const uint8_t *in, size_t length, uint8_t *out, size_t *out_length)
{
    uint8_t every = 0;

    length = without_dot(in, tern_host_without_port(in, length));
    for (size_t i = 0; i < length; i++) { /* no branch inside: the compiler makes vectors of it */
        every |= in[i];
        out[i] = (uint8_t)(in[i] | (((uint8_t)(in[i] - 'A') < 26) << 5));
    }
    *out_length = length;
    if (TERN_UNLIKELY(every >= 0x80))
        fold_name(out, out_length);
}
