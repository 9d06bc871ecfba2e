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
    "shared": ["dataplane/", "controlplane/", "clients/", "perf/", "tests/"],
    "dataplane": ["controlplane/", "clients/", "perf/", "tests/"],
    "controlplane": ["dataplane/", "perf/", "tests/"],
    "clients/c": ["dataplane/", "controlplane/", "perf/", "tests/"],
}
# A library's header and the only ones that include it: what could be replaced in one place stays so.
LIBRARIES = {
    "liburing.h": ["dataplane/uring", "perf/", "tests/"],
    "yaml.h": ["controlplane/config/yaml", "tests/"],
    "zlib.h": ["controlplane/build/source", "tests/"],
    "hs/hs.h": ["controlplane/build/hyperscan", "tests/"],
    "hs/hs_runtime.h": ["shared/rules/room", "shared/rules/scan", "tests/"],
    "sqlite3.h": ["controlplane/database", "tests/"],
    "maxminddb.h": ["perf/"],
    "idn2.h": ["controlplane/config/host_name", "perf/", "tests/"],
    "protobuf-c/protobuf-c.h": ["controlplane/message", "controlplane/reply", "tests/"],
}
# What runs for every request: it neither allocates nor locks, sleeps, logs or asks the kernel. Every file of
# these patterns, and what in it is allowed all the same, because it runs at start, on adoption, on an error
# or once a turn.
HOT = re.compile(r"(shared/(language|rules|tables|vector)/\w+|shared/(decode|host|idna|normalize|utf8|histogram|address|facts)|"
                 r"clients/c/local/(decide|query)|"
                 r"dataplane/(batch|connection|decide|decode|helper|offer|park|pool|request|ring|search|traffic|wheel|worker))\.[ch]$")
HOT_NAMES = re.compile(
    r"\b(malloc|calloc|realloc|aligned_alloc|posix_memalign|free|strdup|asprintf|mmap|munmap|madvise|"
    r"pthread_(?:mutex|rwlock|spin|cond)_\w+|mtx_\w+|cnd_\w+|sem_\w+|s?n?printf|vs?n?printf|fprintf|puts|"
    r"tern_log|syslog|perror|open|openat|read|write|pread|pwrite|close|ioctl|getsockopt|setsockopt|shutdown|"
    r"fcntl|poll|ppoll|nanosleep|clock_nanosleep|usleep|syscall|sendmsg|recvmsg|recv|getenv|gettimeofday|"
    r"sched_yield|backtrace|system|fork)\s*\(")
HOT_ALLOWED = {
    "dataplane/batch.c": "snprintf",              # a refusal's message
    "dataplane/connection.c": "mmap munmap",      # the table of connections, at start
    "dataplane/decide.c": "aligned_alloc malloc free",  # a loop's vector, at start
    "dataplane/helper.c": "aligned_alloc free syscall",  # at start; to sleep, and to wake one that sleeps
    "dataplane/park.c": "calloc free",            # at start
    "dataplane/pool.c": "malloc free",            # until traffic has seen its peak
    "dataplane/request.c": "snprintf",            # a refusal's message
    "dataplane/search.c": "calloc free snprintf",  # at start; a refusal's message
    "dataplane/traffic.c": "close shutdown getsockopt ioctl",  # a connection's end; one that stalls
    "dataplane/worker.c": "close write",          # a loop's start and end; waking one that sleeps
    "shared/address.c": "snprintf sprintf",       # an address as text
    "shared/decode.c": "vsnprintf",               # a refusal's message
    "shared/rules/evaluate.c": "aligned_alloc free",  # a loop's scratch, at start
    "shared/rules/open.c": "calloc free",         # validation
    "shared/rules/similar_open.c": "calloc free", # validation, and a loop's part of a generation
    "shared/rules/room.c": "calloc free",         # a loop's part of a generation, before it is served
    "shared/tables/prefix.c": "calloc free",      # validation
    "shared/vector/filter.c": "snprintf vsnprintf",  # a refusal's message
    "shared/vector/scratch.c": "aligned_alloc calloc free malloc",  # a thread's, at start
}
# The network client is linked into other people's programs: all it may know of the server is the wire. The
# reader in their process (clients/c/local) has the whole reading side, in a library of its own.
CLIENT_MAY = {"shared/base.h", "shared/clock.h", "shared/error.h", "shared/schema.h",
              "shared/verdict.h", "shared/wire.h"}
# What their programs include stands alone once it is installed.
PUBLIC = ["clients/c/tern.h", "clients/c/tern_local.h", "clients/c/tern_vectors.h"]
PUBLIC_MAY = {"tern.h", "shared/base.h", "shared/error.h", "shared/limits.h", "shared/verdict.h",
              "shared/wire.h"}
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


def check_client(names):
    for name in sources(names):
        if name.startswith("clients/c/") and "/" not in name[len("clients/c/"):]:
            for header in includes(name):
                if header.startswith("shared/") and header not in CLIENT_MAY:
                    yield f"{name} includes {header}, which is not the wire's"
                if header.startswith("clients/c/local/"):
                    yield f"{name} includes {header}: the network client does not need the reader"
        if name in PUBLIC:
            for header in includes(name):
                if "/" in header and header not in PUBLIC_MAY:
                    yield f"{name} includes {header}, which is not installed"


def check_libraries(names):
    for name in sources(names):
        for header, users in LIBRARIES.items():
            if header in includes(name) and not any(name.startswith(user) for user in users):
                yield f"{name} includes {header}; only {', '.join(users)} may"


def code_of(name):
    """The text without comments and strings, line for line."""
    def blank(found):
        return re.sub(r"[^\n]", " ", found[0])

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text_of(name), flags=re.S)


def check_hot_path(names):
    unused = {name: set(allowed.split()) for name, allowed in HOT_ALLOWED.items()}
    for name in names:
        if not HOT.match(name):
            continue
        allowed = HOT_ALLOWED.get(name, "").split()
        for number, line in enumerate(code_of(name).split("\n"), 1):
            for call in HOT_NAMES.findall(line):
                if call in allowed:
                    unused[name].discard(call)
                elif not re.search(r"->\s*" + call + r"\s*\(", line): # a backend's operation
                    yield f"{name}:{number}: {call} on the way of a request"
    for name, calls in unused.items():
        for call in sorted(calls):
            yield f"tests/layering.py allows {name} {call}, which it does not use"


def body_of(code, struct):
    """What stands between the braces of `struct NAME {…}`, nested ones emptied; None when not here."""
    start = re.search(r"\bstruct\s+" + struct + r"\s*\{", code)
    if start is None:
        return None
    depth, out = 1, ""
    for letter in code[start.end():]:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth == 0:
            return out
        if depth == 1:
            out += letter
    return None


def check_layouts(names):
    """Each member of a struct whose size is asserted has its offset asserted, too."""
    for name in names:
        if not name.endswith(".h") or name.startswith("tests/"):
            continue
        code = code_of(name)
        for struct in re.findall(r"^TERN_LAYOUT_SIZE\((\w+),", code, re.M):
            body = body_of(code, struct)
            if body is None:
                yield f"{name}: TERN_LAYOUT_SIZE of {struct}, which is not defined there"
                continue
            if "#define" in body or "TERN_COUNTERS" in body:
                continue # made from a list
            asserted = set(re.findall(r"TERN_LAYOUT_FIELD\(" + struct + r",\s*(\w+)", code))
            for member in body.split(";")[:-1]:
                member = re.sub(r"TERN_ALIGNED\([^)]*\)|\[[^]]*\]|\}", " ", member)
                for declared in member.split(","):
                    words = re.findall(r"\w+", declared)
                    if words and words[-1] not in asserted:
                        yield f"{name}: the offset of {struct}.{words[-1]} is not asserted"


def check_readmes(names):
    """A folder's README names every file in it; a folder without one is named by the README above."""
    for name in names:
        path = pathlib.PurePath(name)
        if not name.endswith((".c", ".h", ".py", ".pml")) or len(path.parts) < 2 or path.stem == "__init__":
            continue
        readme, word = path.parent / "README.md", path.stem
        while not (ROOT / readme).is_file() and len(readme.parts) > 1:
            readme, word = readme.parent.parent / "README.md", readme.parent.name
        if not re.search(r"(?<![\w])" + re.escape(word) + r"(?![\w])", text_of(str(readme))):
            yield f"{readme} does not mention {word} ({name})"


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
        if name == "tests/layering.py" or name.endswith((".gz", ".csv", ".txt")):
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
    ("the network client knows only the wire", check_client),
    ("each library has its few users", check_libraries),
    ("the request's way asks nobody", check_hot_path),
    ("every offset in shared memory is asserted", check_layouts),
    ("every file is in its folder's README", check_readmes),
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
