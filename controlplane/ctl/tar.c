#include "controlplane/ctl/tar.h"

#include "shared/error.h"

struct header { /* POSIX.1-1988, ustar */
    char name[100];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link[100];
    char magic[6];
    char version[2];
    char owner[32];
    char group[32];
    char device[2][8];
    char prefix[155];
    char padding[12];
};
_Static_assert(sizeof(struct header) == TERN_TAR_BLOCK, "a header is a block");

int tern_tar_add(FILE *to, const char *name, const void *bytes, size_t length, uint64_t time_s)
{
    static const uint8_t zeros[TERN_TAR_BLOCK];
    struct header header = {.type = '0', .magic = "ustar", .version = {'0', '0'}};
    const uint8_t *at = (const uint8_t *)&header;
    size_t rest = (TERN_TAR_BLOCK - length % TERN_TAR_BLOCK) % TERN_TAR_BLOCK;
    unsigned sum = 0;

    if (strlen(name) > TERN_TAR_NAME_MAX || length >> 33 != 0 || time_s >> 33 != 0)
        return TERN_ELIMIT;
    strcpy(header.name, name);
    snprintf(header.mode, sizeof header.mode, "%07o", 0600u);
    snprintf(header.uid, sizeof header.uid, "%07o", 0u);
    snprintf(header.gid, sizeof header.gid, "%07o", 0u);
    snprintf(header.size, sizeof header.size, "%011llo", (unsigned long long)length);
    snprintf(header.mtime, sizeof header.mtime, "%011llo", (unsigned long long)time_s);
    memset(header.checksum, ' ', sizeof header.checksum);
    for (size_t i = 0; i < sizeof header; i++)
        sum += at[i];
    snprintf(header.checksum, sizeof header.checksum, "%06o", sum);
    if (fwrite(&header, sizeof header, 1, to) != 1 ||
        (length > 0 && fwrite(bytes, length, 1, to) != 1) ||
        (rest > 0 && fwrite(zeros, rest, 1, to) != 1))
        return TERN_EIO;
    return 0;
}

int tern_tar_end(FILE *to)
{
    static const uint8_t zeros[2 * TERN_TAR_BLOCK];

    return fwrite(zeros, sizeof zeros, 1, to) == 1 && fflush(to) == 0 ? 0 : TERN_EIO;
}
