#include "controlplane/config/host_name.h"

#include <idn2.h>

bool tern_host_name_is_ascii(const uint8_t *text, size_t length)
{
    uint8_t every = 0;

    for (size_t i = 0; i < length; i++)
        every |= text[i];
    return every < 0x80;
}

/* What libidn2 says of the folded name's spelling: 0, or why it is no name. It has the last word on
 * what may be a name; how a name is written is shared/idna.c's affair, because requests are. */
static int check(const char *name, const char *ours, struct tern_error *error)
{
    char *theirs = NULL;
    int code = idn2_to_ascii_8z(name, &theirs, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    int result = 0;

    if (code == IDN2_MALLOC)
        result = tern_error_set(error, TERN_ENOMEM, "no memory to check a host name");
    else if (code != IDN2_OK)
        result = tern_error_set(error, TERN_EINVAL, "'%.80s' is no host name: %s", name,
                                idn2_strerror(code));
    else if (strcasecmp(theirs, ours) != 0)
        result =
            tern_error_set(error, TERN_EINVAL,
                           "'%.80s' is spelled in two ways, '%.80s' and '%.80s': write the one "
                           "that is meant",
                           name, ours, theirs);
    idn2_free(theirs);
    return result;
}

int tern_host_name_convert(const uint8_t *text, size_t length, uint8_t *out, size_t *out_length,
                           struct tern_error *error)
{
    char name[TERN_IDNA_INPUT_MAX + 1], ours[TERN_IDNA_BYTES_MAX + 1];
    size_t name_length;

    if (length > TERN_IDNA_INPUT_MAX)
        return tern_error_set(error, TERN_EINVAL,
                              "a host name has at most %u bytes, not %zu, before it is written in "
                              "punycode",
                              TERN_IDNA_INPUT_MAX, length);
    tern_host_fold(text, length, out, &name_length);
    if (!tern_host_name_is_ascii(out, name_length))
        return tern_error_set(error, TERN_EINVAL,
                              "'%.*s' is no host name: it is not UTF-8, or a label of it has more "
                              "than %u bytes in punycode, or all of it more than %u",
                              (int)tern_min_u64(length, 80), (const char *)text,
                              TERN_IDNA_LABEL_MAX, TERN_IDNA_BYTES_MAX);
    if (memchr(text, 0, length) != NULL)
        return tern_error_set(error, TERN_EINVAL, "a host name has no NUL byte");
    /* The name as it was written, without what folding cuts off. */
    length = tern_host_without_port(text, length);
    length -= length > 0 && text[length - 1] == '.';
    memcpy(name, text, length);
    name[length] = '\0';
    memcpy(ours, out, name_length);
    ours[name_length] = '\0';
    *out_length = name_length;
    return check(name, ours, error);
}
