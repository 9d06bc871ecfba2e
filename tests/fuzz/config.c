/* A configuration file: YAML to structures, then every expression parsed and typed; and what could
 * be read of a file with errors in it, as `ternctl check` does. */
#include "tests/fuzz/fuzz.h"

#include "controlplane/compile/compile.h"

static void check_places(const struct tern_diagnostics *diagnostics)
{
    struct tern_buffer out = {0};

    FUZZ_CHECK(tern_diagnostics_print(diagnostics, &out) == 0);
    tern_buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    int code = tern_config_read_partial(path, &config, &diagnostics);

    FUZZ_CHECK((code == 0) == (diagnostics.error_count == 0));
    FUZZ_CHECK(code != 0 || config != NULL);
    if (config != NULL)
        tern_compile_check(config, &diagnostics);
    check_places(&diagnostics);
    tern_config_free(config);
    tern_diagnostics_free(&diagnostics);
    return 0;
}
