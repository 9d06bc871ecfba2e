#include "controlplane/compile/compile.h"

#include "controlplane/compile/normal.h"

int tern_compile_check(const struct tern_config *config, struct tern_diagnostics *diagnostics)
{
    struct tern_program *program;
    struct tern_normal *normal;
    int status = tern_program_new(config, diagnostics, &program);

    if (status != 0)
        return status;
    status = tern_normal_new(program, diagnostics, &normal);
    if (status == 0)
        tern_normal_free(normal);
    tern_program_free(program);
    return status;
}
