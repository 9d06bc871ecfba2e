"""The regression gate: what is measured, and what is said about it."""

import json
import shutil
import subprocess
import time
from contextlib import ExitStack, closing

from . import programs, serving
from .bench import median, ratios
from .servers import Echo, Failure, Redis, Tern, pinned

# The part of its baseline that a figure must reach. Less where it depends on how large the caches are.
BOUND = 0.5
CACHE_BOUND = 0.35


def served(bench):
    """The ordinary case over 1,000 rules, with redis, the echo and the caller's own process beside it."""
    path = serving.prepare(bench)
    load = ["--connections", 32, "--depth", 64]
    program = [bench.build / "perf" / "perf-local", "--rounds", 1, "--requests", bench.folder / "requests.csv"]
    with ExitStack() as stack:
        tern = stack.enter_context(closing(Tern(bench, path)))
        redis = stack.enter_context(closing(Redis(bench, "tcp", bench.keys(100_000))))
        echo = stack.enter_context(closing(Echo(bench, "io_uring")))

        def local():
            done = subprocess.run(pinned(bench.client_cpu, [*program, "--run-dir", tern.run_dir]),
                                  capture_output=True, text=True, timeout=60)
            if done.returncode != 0:
                raise Failure(f"perf-local ended with {done.returncode}: {done.stdout}{done.stderr}")
            return dict((name, float(value)) for name, value in programs.FIGURE.findall(done.stdout))
        many = bench.interleave({
            "tern": lambda: bench.measure(bench.tcp, "--check-same", *serving.requests(bench), *load),
            "redis": lambda: bench.measure(redis.address, "--protocol", "resp", *redis.keys, *load),
            "echo": lambda: bench.measure(echo.address, "--protocol", "echo", *serving.requests(bench), *load),
        })
        one = bench.interleave({
            "tern": lambda: bench.measure(bench.tcp, "--check-same", *serving.requests(bench), spin=True),
            "redis": lambda: bench.measure(redis.address, "--protocol", "resp", *redis.keys, spin=True),
            "local": local,
        })
    rps = {name: [run["rps"] for run in party] for name, party in many.items()}
    p50 = {name: [run["latency_ns"]["p50"] for run in one[name]] for name in ("tern", "redis")}
    p50["local"] = [run["local-p50"] for run in one["local"]]
    return {
        "throughput-redis": median(ratios(rps["tern"], rps["redis"])),
        "throughput-echo": median(ratios(rps["tern"], rps["echo"])),
        "latency-redis": median(ratios(p50["redis"], p50["tern"])),
        "in-process": median(ratios(p50["tern"], p50["local"])),
    }


def inside(program, *figures):
    """A program that compares in one process: its figures by name."""
    def run(bench):
        seen = programs.run_program(bench, program, "--quick")
        return {name: seen[figure] for name, figure in figures}
    return run


# name: what it says
TEXTS = {
    "throughput-redis": "requests/s against redis GET, 32 × 64",
    "throughput-echo": "requests/s against the echo of the same frames, 32 × 64",
    "latency-redis": "p50 of redis against ours, one request at a time",
    "in-process": "p50 of the network client against a decision in the caller's process",
    "mmdb-single": "a prefix look-up against libmaxminddb",
    "mmdb-vector": "prefix look-ups, 32 together, against libmaxminddb",
    "map-number": "an exact set of numbers, 32 together, against GHashTable",
    "map-text": "an exact set of texts, 32 together, against GHashTable",
    "loop-1000": "1,000 rules against evaluating them one by one",
}
# what is measured together, what it needs, its figures, their bound
GROUPS = [
    (served, "redis-server", ["throughput-redis", "throughput-echo", "latency-redis", "in-process"], BOUND),
    (inside("perf-against-mmdb", ("mmdb-single", "single-ratio"), ("mmdb-vector", "vector-ratio")),
     "perf-against-mmdb", ["mmdb-single", "mmdb-vector"], CACHE_BOUND),
    (inside("perf-against-map", ("map-number", "number-vector-ratio"), ("map-text", "text-vector-ratio")),
     "perf-against-map", ["map-number", "map-text"], CACHE_BOUND),
    (inside("perf-against-loop", ("loop-1000", "ratio-1000")), "perf-against-loop", ["loop-1000"], BOUND),
]


def is_there(bench, what):
    return shutil.which(what) is not None or (bench.build / "perf" / what).exists()


def judge(measure, names, baseline, bound):
    """Measures, and again, up to twice, while a figure falls short: what has halved stays so, what else the machine
    did meanwhile does not. Yields (name, value, least, reached) for each; `least` is None where there is no baseline."""
    least = {name: bound * baseline[name] for name in names if name in baseline}
    seen = measure()
    for _ in range(2):
        if all(seen[name] >= least[name] for name in least):
            break
        again = measure()
        seen = {name: max(seen[name], again[name]) for name in seen}
    for name in names:
        reached = name in least and seen[name] >= least[name]
        yield name, seen[name], least.get(name), reached


def compare(bench, path, word=""):
    baseline = json.loads(path.read_text())["figures"]
    passed = failed = 0
    for measure, needs, names, bound in GROUPS:
        names = [name for name in names if word in f"gate: {TEXTS[name]}"]
        if not names:
            continue
        if not is_there(bench, needs):
            for name in names:
                print(f"SKIP 0.0s gate: {TEXTS[name]} | {needs} is missing")
            continue
        began = time.monotonic()
        try:
            judged = list(judge(lambda: measure(bench), names, baseline, bound))
        except Failure as failure:
            failed += len(names)
            for name in names:
                print(f"FAIL {time.monotonic() - began:.1f}s gate: {TEXTS[name]} | "
                      f"{' '.join(str(failure).split())[:300]}", flush=True)
            continue
        for name, value, least, reached in judged:
            limit = (f"at least {least:.2f}× of baseline {baseline[name]:.2f}×" if least is not None
                     else "no baseline: perf/gate --record")
            print(f"{'PASS' if reached else 'FAIL'} {time.monotonic() - began:.1f}s gate: {TEXTS[name]} | "
                  f"{value:.2f}×, {limit}", flush=True)
            began = time.monotonic()
            passed += reached
            failed += not reached
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


def record(bench, path):
    figures = {}
    for measure, needs, names, _ in GROUPS:
        if not is_there(bench, needs):
            raise SystemExit(f"perf/gate --record: {needs} is missing")
        runs = [measure(bench) for _ in range(3)]
        for name in names:
            figures[name] = round(median([run[name] for run in runs]), 3)
            print(f"{figures[name]:8.2f}×  {TEXTS[name]}", flush=True)
    path.parent.mkdir(exist_ok=True)
    document = {"environment": bench.environment(), "figures": figures}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return 0
