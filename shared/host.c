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

void tern_host_fold(const uint8_t *in, size_t length, uint8_t *out, size_t *out_length)
{
    size_t end = without_port(in, length);

    end -= end > 0 && in[end - 1] == '.';
    for (size_t i = 0; i < end; i++) /* no branch inside: the compiler makes vectors of it */
        out[i] = (uint8_t)(in[i] | (((uint8_t)(in[i] - 'A') < 26) << 5));
    *out_length = end;
}
