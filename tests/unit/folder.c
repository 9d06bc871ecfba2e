#include "tests/unit/folder.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/base.h"

int folder_make(char path[FOLDER_PATH])
{
    strcpy(path, "/dev/shm/tern-unit-XXXXXX");
    return mkdtemp(path) == NULL ? -1 : 0;
}

static int remove_entry(const char *path, TERN_UNUSED const struct stat *status,
                        TERN_UNUSED int type, TERN_UNUSED struct FTW *ftw)
{
    return remove(path);
}

int folder_remove(const char *path)
{
    return nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
