/* A generation's list in the state directory: what a reboot believes before it reads any section.
 * The checksum at its end is put right, so that what is behind it is reached. */
#include "tests/fuzz/fuzz.h"

#include "controlplane/archive.h"

#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tern_archive_list list;
    struct tern_buffer bytes = {0};
    struct tern_error error;
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/generations", fuzz_directory());
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/generations/1", fuzz_directory());
    file = fopen(path, "w");
    FUZZ_CHECK(file != NULL && fwrite(data, 1, size, file) == size);
    if (size > 0 && data[size - 1] == '\n')
        fprintf(file, "end %016llx\n", (unsigned long long)XXH3_64bits(data, size));
    fclose(file);
    if (tern_archive_read(fuzz_directory(), 0, &list, &error) != 0)
        return 0;
    FUZZ_CHECK(list.count > 0 && list.count <= TERN_SECTIONS_MAX);
    for (unsigned i = 0; i < list.count; i++)
        FUZZ_CHECK(memchr(list.infos[i].name, 0, sizeof list.infos[i].name) != NULL);
    /* no section is there, whatever the list calls it */
    FUZZ_CHECK(tern_archive_section(fuzz_directory(), &list.sections[0], &bytes, &error) != 0);
    tern_archive_list_free(&list);
    return 0;
}
