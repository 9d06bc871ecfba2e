/* ternctl completion: scripts made from the tables of commands and options. */
#include "controlplane/ctl/command.h"

static bool takes_file(const struct tern_command *command)
{
    return strcmp(command->arguments, "CONFIG") == 0 || strstr(command->arguments, "FILE") != NULL;
}

static bool takes(const struct tern_command *command, unsigned option)
{
    return ((command->options | TERN_CTL_HELP) & TERN_CTL_BIT(option)) != 0;
}

/* Text within '…' of a shell; each of `special` gets a backslash before it. */
static void print_quoted(const char *text, const char *special)
{
    for (; *text != '\0'; text++)
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr(special, *text) != NULL)
            printf("\\%c", *text);
        else
            putchar(*text);
}

static int print_bash(void)
{
    puts("_ternctl() {\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words= files=\n"
         "    if [ \"$COMP_CWORD\" -eq 1 ]; then");
    fputs("        words='", stdout);
    for (unsigned i = 0; i < tern_command_count; i++)
        printf("%s%s", i != 0 ? " " : "", tern_commands[i].name);
    puts("'\n    else\n        case $command in");
    for (unsigned i = 0; i < tern_command_count; i++) {
        printf("        %s) words='", tern_commands[i].name);
        for (unsigned option = 0; option < TERN_CTL_OPTION_COUNT; option++)
            if (takes(&tern_commands[i], option))
                printf(" --%s", tern_ctl_options[option].name);
        printf("'%s ;;\n", takes_file(&tern_commands[i]) ? " files=1" : "");
    }
    puts("        esac\n"
         "    fi\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
         "    [ -n \"$files\" ] && COMPREPLY+=($(compgen -f -- \"$word\"))\n"
         "    return 0\n"
         "}\n"
         "complete -o filenames -F _ternctl ternctl");
    return TERN_EXIT_OK;
}

/* A file for $fpath, and for `source` as well. */
static int print_zsh(void)
{
    puts("#compdef ternctl\n"
         "_ternctl() {\n"
         "    local -a commands\n"
         "    commands=(");
    for (unsigned i = 0; i < tern_command_count; i++) {
        printf("        '%s:", tern_commands[i].name);
        print_quoted(tern_commands[i].summary, ":\\");
        puts("'");
    }
    puts("    )\n"
         "    if (( CURRENT == 2 )); then\n"
         "        _describe command commands\n"
         "        return\n"
         "    fi\n"
         "    case $words[2] in");
    for (unsigned i = 0; i < tern_command_count; i++) {
        printf("    %s) _arguments", tern_commands[i].name);
        for (unsigned option = 0; option < TERN_CTL_OPTION_COUNT; option++) {
            if (!takes(&tern_commands[i], option))
                continue;
            printf(" \\\n        '--%s[", tern_ctl_options[option].name);
            print_quoted(tern_ctl_options[option].help, "[]:\\");
            putchar(']');
            if (tern_ctl_options[option].value != NULL)
                printf(":%s:_files", tern_ctl_options[option].value);
            putchar('\'');
        }
        puts(takes_file(&tern_commands[i]) ? " \\\n        '*:file:_files' ;;" : " ;;");
    }
    puts("    esac\n"
         "}\n"
         "if [ \"$funcstack[1]\" = _ternctl ]; then\n"
         "    _ternctl \"$@\"\n"
         "else\n"
         "    compdef _ternctl ternctl\n"
         "fi");
    return TERN_EXIT_OK;
}

static int print_fish(void)
{
    puts("complete -c ternctl -f");
    for (unsigned i = 0; i < tern_command_count; i++) {
        const struct tern_command *command = &tern_commands[i];

        printf("complete -c ternctl -n __fish_use_subcommand -a %s -d '", command->name);
        print_quoted(command->summary, "\\");
        puts("'");
        if (takes_file(command))
            printf("complete -c ternctl -n '__fish_seen_subcommand_from %s' -F\n", command->name);
        for (unsigned option = 0; option < TERN_CTL_OPTION_COUNT; option++) {
            const struct tern_ctl_option_text *text = &tern_ctl_options[option];

            if (!takes(command, option))
                continue;
            printf("complete -c ternctl -n '__fish_seen_subcommand_from %s' -l %s", command->name,
                   text->name);
            if (text->letter != 0)
                printf(" -s %c", text->letter);
            printf("%s -d '", text->value != NULL ? " -r" : "");
            print_quoted(text->help, "\\");
            puts("'");
        }
    }
    return TERN_EXIT_OK;
}

int tern_ctl_completion(const struct tern_invocation *invocation)
{
    const char *shell = invocation->arguments[0];

    if (strcmp(shell, "bash") == 0)
        return print_bash();
    if (strcmp(shell, "zsh") == 0)
        return print_zsh();
    if (strcmp(shell, "fish") == 0)
        return print_fish();
    fprintf(stderr, "ternctl: completion knows bash, zsh and fish, not '%s'\n", shell);
    return TERN_EXIT_USAGE;
}
