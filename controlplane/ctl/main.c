/* ternctl: finds the command in the table, parses its options, runs it. */
#include "controlplane/ctl/command.h"

static const char exit_codes[] =
    "Exit codes: 0 ok, 1 refused, 2 usage, 3 not reachable, 4 published but not acknowledged.\n";

static void print_overview(FILE *to)
{
    fputs("usage: ternctl COMMAND [options]\n\nOperates tern, the decision server.\n\n", to);
    for (unsigned i = 0; i < tern_command_count; i++)
        fprintf(to, "  %-12s %-15s %s\n", tern_commands[i].name, tern_commands[i].arguments,
                tern_commands[i].summary);
    fputs("\n`ternctl COMMAND --help` says more. Without --run-dir, commands talk to the only "
          "instance\n"
          "below /run/tern, or below $XDG_RUNTIME_DIR/tern for an ordinary user.\n",
          to);
    fputs(exit_codes, to);
}

static void print_help(const struct tern_command *command)
{
    printf("usage: ternctl %s%s%s%s\n\n%s\n\n", command->name,
           command->arguments[0] != '\0' ? " " : "", command->arguments, " [options]",
           command->details);
    for (unsigned i = 0; i < TERN_CTL_OPTION_COUNT; i++) {
        const struct tern_ctl_option_text *option = &tern_ctl_options[i];
        char left[64];

        if (((command->options | TERN_CTL_HELP) & TERN_CTL_BIT(i)) == 0)
            continue;
        snprintf(left, sizeof left, "%s%c%s--%s%s%s", option->letter != 0 ? "-" : " ",
                 option->letter != 0 ? option->letter : ' ', option->letter != 0 ? ", " : "  ",
                 option->name, option->value != NULL ? " " : "",
                 option->value != NULL ? option->value : "");
        printf("  %-28s %s\n", left, option->help);
    }
    printf("\n%s", exit_codes);
}

int main(int argc, char **argv)
{
    struct tern_invocation invocation = {0};
    const struct tern_command *command;
    struct tern_error error;
    int code;

    if (argc < 2) {
        print_overview(stderr);
        return TERN_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        (strcmp(argv[1], "help") == 0 && argc == 2)) {
        print_overview(stdout);
        return TERN_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("ternctl " TERN_VERSION);
        return TERN_EXIT_OK;
    }
    command = tern_command_find(strcmp(argv[1], "help") == 0 ? argv[2] : argv[1]);
    if (command == NULL) {
        fprintf(stderr, "ternctl: there is no command '%s'; see ternctl --help\n", argv[1]);
        return TERN_EXIT_USAGE;
    }
    if (strcmp(argv[1], "help") == 0) {
        print_help(command);
        return TERN_EXIT_OK;
    }
    invocation.arguments = calloc((size_t)argc, sizeof *invocation.arguments);
    if (invocation.arguments == NULL) {
        fputs("ternctl: out of memory\n", stderr);
        return TERN_EXIT_REFUSED;
    }
    if (tern_invocation_parse(command, argc - 2, argv + 2, &invocation, &error) != 0) {
        fprintf(stderr, "ternctl: %s; see ternctl %s --help\n", error.message, command->name);
        code = TERN_EXIT_USAGE;
    } else if (invocation.given & TERN_CTL_HELP) {
        print_help(command);
        code = TERN_EXIT_OK;
    } else {
        code = command->run(&invocation);
    }
    free(invocation.arguments);
    return code;
}
