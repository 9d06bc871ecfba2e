#!/usr/bin/env python3
"""The house's rules that a program can check: who includes whom, and what no file may hold.

    layering.py [-k WORD]"""
import argparse
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINES_MAX = 700
# file: why it may be longer
LONG_FILES = {
    "tests/unit/client.c": "one fake server, every reply it can give",
}
# A folder and what it must never include; `clients/c` is linked into other people's programs.
FORBIDDEN = {
    "shared": ["dataplane/", "controlplane/", "clients/"],
    "dataplane": ["controlplane/", "clients/"],
    "controlplane": ["dataplane/"],
    "clients/c": ["dataplane/", "controlplane/"],
}
# The only users of liburing's header.
URING = ["dataplane/uring", "perf/", "tests/unit/"]
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
SLEEPS = re.compile(r"\b(usleep|nanosleep|sleep|time\.sleep)\s*\(")
MACHINE_PATHS = re.compile(r"/work/|/home/\w|/root/")


def tracked():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.split("\n")
    else: # an unpacked archive
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
                 if not re.match(r"(build|\.git)", str(path.relative_to(ROOT)))]
    return sorted({name for name in names if name and (ROOT / name).is_file()})


def text_of(name):
    try:
        return (ROOT / name).read_text()
    except UnicodeDecodeError:
        return ""


def sources(names):
    return [name for name in names if name.endswith((".c", ".h"))]


def includes(name):
    return re.findall(r'^\s*#\s*include\s*[<"]([^">]+)[">]', text_of(name), re.M)


def check_layers(names):
    for name in sources(names):
        for folder, never in FORBIDDEN.items():
            if name.startswith(folder + "/"):
                for header in includes(name):
                    if any(header.startswith(prefix) for prefix in never):
                        yield f"{name} includes {header}"


def check_uring(names):
    for name in sources(names):
        if "liburing.h" in includes(name) and not any(name.startswith(user) for user in URING):
            yield f"{name} includes liburing.h; only {', '.join(URING)} may"


def check_length(names):
    for name in names:
        if name.endswith((".c", ".h", ".py", ".pml")) and name not in LONG_FILES:
            count = text_of(name).count("\n")
            if count > LINES_MAX:
                yield f"{name} has {count} lines, over {LINES_MAX}"


def check_unfinished(names):
    for name in names:
        for number, line in enumerate(text_of(name).split("\n"), 1):
            if UNFINISHED.search(line) and not name.startswith("tests/fuzz/corpus"):
                yield f"{name}:{number}: {line.strip()[:80]}"


def check_sleeps(names):
    for name in names:
        if name.startswith("tests/") and name.endswith((".c", ".h", ".py", ".sh")):
            for number, line in enumerate(text_of(name).split("\n"), 1):
                if SLEEPS.search(line) and "pause between looks" not in line:
                    yield f"{name}:{number}: a test waits for a condition, not for time"


def check_volatile(names):
    for name in sources(names):
        for number, line in enumerate(text_of(name).split("\n"), 1):
            code = re.sub(r"/\*.*?\*/|//.*|\"[^\"]*\"", "", line).split("/*")[0]
            if re.search(r"\bvolatile\b", code) and not code.lstrip().startswith("*") and \
                    not re.search(r"\b(asm|__asm__)\b|sig_atomic_t", code):
                yield f"{name}:{number}: volatile is no way to share memory"


def check_paths(names):
    for name in names:
        if name.startswith(("tests/layering.py", "docs/")) or name.endswith((".gz", ".csv", ".txt")):
            continue
        for number, line in enumerate(text_of(name).split("\n"), 1):
            if MACHINE_PATHS.search(line):
                yield f"{name}:{number}: names a place on one machine"


def check_listed(names):
    """Every source is compiled: named in the meson.build of its folder or of one above."""
    for name in names:
        if not name.endswith(".c"):
            continue
        path = pathlib.PurePath(name)
        listed = any(re.search(r"'([\w./-]*/)?" + re.escape(path.stem) + r"(\.c)?'",
                               text_of(str(folder / "meson.build")))
                     for folder in path.parents if (ROOT / folder / "meson.build").is_file())
        if not listed:
            yield f"{name} is in no meson.build"


CHECKS = [
    ("planes do not include each other", check_layers),
    ("only uring.c includes liburing", check_uring),
    ("no file is too long", check_length),
    ("nothing is left unfinished", check_unfinished),
    ("no test sleeps", check_sleeps),
    ("no volatile", check_volatile),
    ("no path of one machine", check_paths),
    ("every source is built", check_listed),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-k", default="", metavar="WORD", help="only checks whose name has WORD")
    word = parser.parse_args().k
    names = tracked()
    failed = passed = 0
    for title, check in CHECKS:
        if word not in "house: " + title:
            continue
        began = time.monotonic()
        problems = list(check(names))
        print(f"{'FAIL' if problems else 'PASS'} {time.monotonic() - began:.1f}s house: {title}")
        for problem in problems[:40]:
            print("    " + problem)
        failed += bool(problems)
        passed += not problems
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
