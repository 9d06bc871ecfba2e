/* Runs a target over corpora without libFuzzer: replay FILE|DIRECTORY…
 * Each input lies in a block of its own, exactly as long as it is, for the address sanitizer. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static unsigned replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat status;
    uint8_t *data;

    if (file == NULL || fstat(fileno(file), &status) != 0) {
        perror(path);
        exit(1);
    }
    data = malloc((size_t)status.st_size + (status.st_size == 0));
    if (data == NULL || fread(data, 1, (size_t)status.st_size, file) != (size_t)status.st_size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    fclose(file);
    fprintf(stderr, "%s\n", path); /* the last one printed is the one that failed */
    LLVMFuzzerTestOneInput(data, (size_t)status.st_size);
    free(data);
    return 1;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static unsigned replay(const char *path)
{
    struct dirent **entries;
    unsigned count = 0;
    int found = scandir(path, &entries, is_visible, alphasort);

    if (found < 0)
        return replay_file(path);
    for (int i = 0; i < found; i++) {
        char name[4096];

        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        count += replay_file(name);
        free(entries[i]);
    }
    free(entries);
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;

    for (int i = 1; i < argc; i++)
        count += replay(argv[i]);
    printf("%u inputs replayed\n", count);
    return count > 0 ? 0 : 1;
}
