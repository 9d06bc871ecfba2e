#!/usr/bin/env python3
"""Writes ternctl(1) from what ternctl says of itself: manual.py TERNCTL OUTPUT.

The table of commands in controlplane/ctl/commands.c is the one place where commands and options are
described; --help, completion and this page come from it."""
import re
import subprocess
import sys

HEAD = """\
.Dd November 28, 2026
.Dt TERNCTL 1
.Os
.Sh NAME
.Nm ternctl
.Nd operate the tern decision server
.Sh SYNOPSIS
.Nm
.Ar COMMAND
.Op Ar options
.Sh DESCRIPTION
.Nm
checks and publishes configurations, says what is served and by whom, asks for
verdicts, and starts both processes in the foreground.
Every command takes
.Fl -help ;
those that answer with data take
.Fl -json .
"""
TAIL = """\
.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev TERN_TOKEN
What ternd is shown where it wants a token and
.Fl -token-file
is not given.
.It Ev XDG_RUNTIME_DIR
Where an ordinary user's instances are.
.El
.Sh EXIT STATUS
.Bl -tag -width Ds
.It 0
Done.
.It 1
Refused: nothing changed.
.It 2
An unknown command, option, field or value.
.It 3
tern\\-control or ternd cannot be reached.
.It 4
Published, but no ternd acknowledged it, or one lags behind.
.El
.Sh SEE ALSO
.Xr tern-load 1 ,
.Xr tern.yaml 5 ,
.Xr tern-control 8 ,
.Xr ternd 8
"""
OPTION = re.compile(r"  (?:-(\w), |    )--([\w-]+)(?: (\S+))? +(.*)")


def plain(text):
    """Text that roff takes as it stands, a sentence a line."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    lines = re.sub(r"(?<=[.:;]) +(?=[A-Z])", "\n", " ".join(text.split())).split("\n")
    return "\n".join(("\\&" if line[0] in ".'" else "") + line for line in lines)


def ask(ternctl, *arguments):
    return subprocess.run([ternctl, *arguments], check=True, capture_output=True, text=True).stdout


def page(ternctl):
    out = [HEAD]
    overview = ask(ternctl, "--help")
    commands = re.findall(r"^  (\S+) +.*$", overview.split("\n\n")[2], re.M)
    for name in commands:
        usage, details, *rest = ask(ternctl, name, "--help").rstrip("\n").split("\n\n")
        arguments = usage.removeprefix(f"usage: ternctl {name}").removesuffix(" [options]").strip()
        out.append(f".Ss {name}{' ' + plain(arguments) if arguments else ''}\n{plain(details)}\n")
        options = [OPTION.fullmatch(line) for line in rest[0].split("\n")]
        out.append(".Bl -tag -width Ds\n")
        for letter, long, value, text in (found.groups() for found in options):
            short = f"Fl {letter} , " if letter else ""
            out.append(f".It {short}Fl -{long}{' Ar ' + value if value else ''}\n{plain(text)}\n")
        out.append(".El\n")
    return "".join(out) + TAIL


def main():
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(page(sys.argv[1]))


if __name__ == "__main__":
    main()
