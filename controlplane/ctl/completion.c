/* ternctl completion: scripts made from the tables of commands and options. */
#include "controlplane/ctl/command.h"

static void print_words(const struct tern_command *command)
{
    for (unsigned i = 0; i < TERN_CTL_OPTION_COUNT; i++)
        if ((command->options | TERN_CTL_HELP) & (1u << i))
            printf(" --%s", tern_ctl_options[i].name);
}

/* The same function serves both shells: zsh runs it through bashcompinit. */
static void print_function(void)
{
    puts("_ternctl() {\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words=\n"
         "    if [ \"$COMP_CWORD\" -eq 1 ]; then");
    fputs("        words='", stdout);
    for (unsigned i = 0; i < tern_command_count; i++)
        printf("%s%s", i != 0 ? " " : "", tern_commands[i].name);
    puts("'\n    else\n        case $command in");
    for (unsigned i = 0; i < tern_command_count; i++) {
        printf("        %s) words='", tern_commands[i].name);
        print_words(&tern_commands[i]);
        puts("' ;;");
    }
    puts("        esac\n"
         "    fi\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
         "    [ \"$COMP_CWORD\" -gt 1 ] && case $command in\n"
         "    up|check|test|apply) COMPREPLY+=($(compgen -f -- \"$word\")) ;;\n"
         "    esac\n"
         "}\n"
         "complete -o filenames -F _ternctl ternctl");
}

int tern_ctl_completion(const struct tern_invocation *invocation)
{
    const char *shell = invocation->arguments[0];

    if (strcmp(shell, "zsh") == 0) {
        puts("autoload -Uz bashcompinit && bashcompinit");
    } else if (strcmp(shell, "bash") != 0) {
        fprintf(stderr, "ternctl: completion knows bash and zsh, not '%s'\n", shell);
        return TERN_EXIT_USAGE;
    }
    print_function();
    return TERN_EXIT_OK;
}
