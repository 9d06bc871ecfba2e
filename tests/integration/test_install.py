"""What `make install` puts on a machine is whole: units, pages, completion, headers, documents."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from instance import BUILD, ROOT

PROGRAMS = {"ternd": 8, "tern-control": 8, "ternctl": 1, "tern-load": 1}


def run(*line, **options):
    return subprocess.run([str(part) for part in line], capture_output=True, text=True, timeout=120, **options)


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not here")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The root of what was installed, and its prefix there."""
    root = tmp_path_factory.mktemp("root")
    done = run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", env={**os.environ, "DESTDIR": str(root)})
    assert done.returncode == 0, done.stderr
    prefix = next(root.rglob("bin/ternd")).parents[1]
    return root, prefix


def commands(ternctl):
    return re.findall(r"^  (\S+) ", run(ternctl, "--help").stdout.split("\n\n")[2], re.M)


def options_of(text):
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


def page(prefix, name, section):
    """The manual page as text, without what formatting adds."""
    text = (prefix / f"share/man/man{section}/{name}.{section}").read_text()
    return text.replace("\\-", "-").replace("\\(ga", "`").replace("\\&", "").replace("\\e", "\\")


def test_every_command_and_option_is_in_the_manual(installed):
    _, prefix = installed
    for program, section in PROGRAMS.items():
        text = page(prefix, program, section)
        said = set(re.findall(r"Fl (-[\w-]+)", text))
        names = [[]] if program != "ternctl" else [[name] for name in commands(prefix / "bin/ternctl")]
        for name in names:
            if name:
                assert re.search(rf"^\.Ss {name[0]}\b", text, re.M), name
            help_text = run(prefix / "bin" / program, *name, "--help").stdout
            missing = {option for option in options_of(help_text) if option[1:] not in said}
            assert not missing, (program, name, missing)


def test_no_manual_page_names_an_option_that_is_not_there(installed):
    _, prefix = installed
    for program, section in PROGRAMS.items():
        known = run(prefix / "bin" / program, "--help").stdout + " --help --version "
        if program == "ternctl":
            known += "".join(run(prefix / "bin/ternctl", name, "--help").stdout for name in commands(prefix / "bin/ternctl"))
        for option in re.findall(r"Fl (-[\w-]+)", page(prefix, program, section)):
            assert "-" + option in known, (program, option)


def test_manual_pages_are_well_formed(installed):
    need("mandoc")
    _, prefix = installed
    for path in sorted((prefix / "share/man").rglob("*.[158]")):
        done = run("mandoc", "-Tlint", "-Wwarning", path)
        assert done.returncode == 0, done.stdout
        assert path.stem in re.sub(".\b", "", run("mandoc", "-Tutf8", path).stdout)


def test_every_key_of_the_configuration_is_in_its_page(installed):
    _, prefix = installed
    text = page(prefix, "tern.yaml", 5)
    for key in re.findall(r"^([a-z_]+):", (ROOT / "configs/minimal.yaml").read_text(), re.M):
        assert re.search(rf"^\.It Cm {key}\b", text, re.M), key


@pytest.mark.parametrize("shell, path", [("bash", "bash-completion/completions/ternctl"),
                                         ("zsh", "zsh/site-functions/_ternctl"),
                                         ("fish", "fish/vendor_completions.d/ternctl.fish")])
def test_completion_knows_every_command_and_option(installed, shell, path):
    _, prefix = installed
    script = prefix / "share" / path
    text = script.read_text()
    assert text == run(prefix / "bin/ternctl", "completion", shell).stdout
    for name in commands(prefix / "bin/ternctl"):
        assert re.search(rf"\b{name}\b", text), name
        for option in options_of(run(prefix / "bin/ternctl", name, "--help").stdout.split("\n\n", 2)[-1]):
            assert (f"-l {option[2:]}" if shell == "fish" else option) in text, (name, option)
    need(shell)
    assert run(shell, "-n", script).returncode == 0


def test_bash_completes(installed):
    _, prefix = installed
    script = prefix / "share/bash-completion/completions/ternctl"

    def complete(*words):
        line = (f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _ternctl; "
                "printf '%s\\n' \"${COMPREPLY[@]}\"")
        return run("bash", "-c", line, cwd=ROOT).stdout.split()

    assert "decide" in complete("ternctl", "dec")
    assert complete("ternctl", "history", "--lim") == ["--limit"]
    assert "configs" in complete("ternctl", "apply", "conf")
    assert complete("ternctl", "status", "conf") == []


def test_units_are_what_systemd_expects(installed):
    need("systemd-analyze")
    root, prefix = installed
    units = next(root.rglob("systemd/system"))
    names = ["tern-control@edge.service", "ternd@edge.service"]
    # What the units refer to is another package's: its targets, nothing of this machine's services.
    for pattern in ("*.target", "*.slice"):
        for unit in pathlib.Path("/lib/systemd/system").glob(pattern):
            shutil.copy(unit, units)
    done = run("systemd-analyze", "verify", "--man=no", f"--root={root}", *names)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for name in names:
        done = run("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=30", f"--root={root}", name)
        assert done.returncode == 0, done.stdout[-400:]


def test_users_are_made(installed, tmp_path):
    need("systemd-sysusers")
    root, _ = installed
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr/lib/sysusers.d").mkdir(parents=True)
    shutil.copy(next(root.rglob("sysusers.d/tern.conf")), tmp_path / "usr/lib/sysusers.d")
    done = run("systemd-sysusers", f"--root={tmp_path}")
    if done.returncode != 0 and os.geteuid() != 0:
        pytest.skip("needs root")
    assert done.returncode == 0, done.stderr
    groups = {line.split(":")[0]: line.split(":")[2] for line in (tmp_path / "etc/group").read_text().splitlines()}
    users = {line.split(":")[0]: line.split(":")[3] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    assert users["tern"] == users["tern-control"] == groups["tern"]


PROGRAM = """\
#include <tern.h>
#include <stdio.h>
int main(void) { return printf("%s\\n", tern_action_name(TERN_DENY)) > 0 ? 0 : 1; }
"""


def test_a_program_builds_against_what_was_installed(installed, tmp_path):
    root, prefix = installed
    package = next(root.rglob("libtern.pc"))
    environment = {**os.environ, "PKG_CONFIG_PATH": str(package.parent), "PKG_CONFIG_SYSROOT_DIR": str(root)}
    flags = run("pkg-config", "--cflags", "--libs", "libtern", env=environment).stdout.split()
    (tmp_path / "program.c").write_text(PROGRAM)
    done = run("cc", "-Wall", "-Werror", tmp_path / "program.c", "-o", tmp_path / "program", *flags)
    assert done.returncode == 0, done.stderr
    library = next(root.rglob("libtern.so")).parent
    done = run(tmp_path / "program", env={**os.environ, "LD_LIBRARY_PATH": str(library)})
    assert done.stdout == "deny\n", done.stderr


def test_documents_and_examples_come_along(installed):
    _, prefix = installed
    documents = prefix / "share/doc/tern"
    for name in ("configuration.md", "operations.md", "protocol.md", "LICENSE", "examples/minimal.yaml"):
        assert (documents / name).is_file(), name
    done = run(prefix / "bin/ternctl", "check", documents / "examples/minimal.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
