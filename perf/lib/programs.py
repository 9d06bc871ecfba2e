"""Figures that a program of its own measures in one process: rules and decisions without a network."""

import re
import subprocess

from . import config
from .bench import Result, median, ratios
from .servers import Failure, Tern, pinned
from .serving import no_mistakes, prepare, remember, requests

FIGURE = re.compile(r"^figure (\S+) (-?[0-9.]+)", re.M)


def run_program(bench, name, *arguments):
    """The lines `figure NAME VALUE …` of one run, by name."""
    command = [bench.build / "perf" / name, *arguments] + (["--small"] if bench.small else [])
    done = subprocess.run(pinned(bench.server_cpu, command), capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise Failure(f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return {figure: float(value) for figure, value in FIGURE.findall(done.stdout)}


def in_process(bench):
    """The same requests decided in the caller's own process (libtern-local) and by the server, one at a time
    over a network client that spins: p50."""
    path = prepare(bench)
    tern = Tern(bench, path)
    try:
        program = [bench.build / "perf" / "perf-local", "--run-dir", tern.run_dir, "--rounds", 1,
                   "--requests", bench.folder / "requests.csv"]

        def local():
            done = subprocess.run(pinned(bench.client_cpu, program), capture_output=True, text=True,
                                  timeout=600)
            if done.returncode != 0:
                raise Failure(f"perf-local ended with {done.returncode}: {done.stdout}{done.stderr}")
            return {figure: float(value) for figure, value in FIGURE.findall(done.stdout)}
        runs = bench.interleave({
            "local": local,
            "network": lambda: bench.measure(bench.tcp, "--check-same", *requests(bench),
                                             server_pid=tern.pid, spin=True),
        })
    finally:
        tern.close()
    local_runs = runs.pop("local")
    result = Result("in-process", "a decision in the caller's process against the network client at depth 1, "
                    "p50", "≤ 0.05×", "×").no_more(0.05)
    result.values = ratios([run["local-p50"] for run in local_runs],
                           [run["latency_ns"]["p50"] for run in runs["network"]])
    result.note(f"in process p50 {median([run['local-p50'] for run in local_runs]):.0f} ns, "
                f"p99 {median([run['local-p99'] for run in local_runs]):.0f} ns, "
                f"{median([run['local-batch'] for run in local_runs]):.0f} ns an item in batches of 32; network "
                f"p50 {median([run['latency_ns']['p50'] for run in runs['network']]) / 1e3:.1f} µs")
    remember(result, runs)
    result.runs["local"] = local_runs
    no_mistakes(result, runs)
    return [result]


def against_mmdb(bench):
    """Look-ups in the full ASN table against libmaxminddb on the same ranges, random present addresses."""
    arguments = []
    if bench.data.real:
        bench.data.write_asn(bench.folder / "asn.csv")
        arguments = ["--asn", bench.folder / "asn.csv"]
    runs = [run_program(bench, "perf-against-mmdb", *arguments) for _ in range(bench.rounds)]
    one = Result("mmdb-single", "prefix look-up, full ASN table, against libmaxminddb on the same data", "≥ 10×",
                 "×").at_least(10)
    one.values = [run["single-ratio"] for run in runs]
    many = Result("mmdb-vector", "the same, 32 addresses together", "≥ 10×", "×").at_least(10)
    many.values = [run["vector-ratio"] for run in runs]
    one.note(f"{median([run['tern-ns'] for run in runs]):.0f} ns, 32 together "
             f"{median([run['tern-vector-ns'] for run in runs]):.0f} ns; libmaxminddb "
             f"{median([run['mmdb-ns'] for run in runs]):.0f} ns; {runs[0]['tern-mib']:.1f} MiB against "
             f"{runs[0]['mmdb-mib']:.1f} MiB")
    for result in (one, many):
        result.runs = {"mmdb": runs}
    return [one, many]


def against_map(bench):
    """Exact sets of a million keys against GLib's hash map, half of the keys absent."""
    runs = [run_program(bench, "perf-against-map") for _ in range(bench.rounds)]
    results = []
    for kind, text in (("number", "64-bit numbers"), ("text", "texts of 20 bytes")):
        result = Result(f"map-{kind}", f"exact set of 1M {text}, 32 together, against GHashTable", "≥ 1×",
                        "×").at_least(1)
        result.values = [run[f"{kind}-vector-ratio"] for run in runs]
        result.note(f"one at a time {median([run[f'{kind}-single-ratio'] for run in runs]):.2f}×; "
                    f"{median([run[f'{kind}-tern-ns'] for run in runs]):.0f} ns, 32 together "
                    f"{median([run[f'{kind}-tern-vector-ns'] for run in runs]):.0f} ns, GHashTable "
                    f"{median([run[f'{kind}-map-ns'] for run in runs]):.0f} ns")
        result.runs = {"map": runs}
        results.append(result)
    return results


def against_loop(bench):
    """Compiled rules against evaluating parsed conditions one by one, 10 to 10,000 rules."""
    runs = [run_program(bench, "perf-against-loop") for _ in range(bench.rounds)]
    counts = sorted(int(name.split("-")[-1]) for name in runs[0] if name.startswith("ratio-"))
    most = counts[-1] if bench.small else 1000
    result = Result("one-by-one", f"{most:,} rules compiled against evaluated one by one", "≥ 1×",
                    "×").at_least(1)
    result.values = [run[f"ratio-{most}"] for run in runs]
    result.note("; ".join(
        f"{count:,} rules {median([run[f'tern-ns-{count}'] for run in runs]):.0f} ns against "
        f"{median([run[f'loop-ns-{count}'] for run in runs]):.0f} ns" for count in counts))
    result.runs = {"loop": runs}
    return [result]


def units(bench):
    """Micro benchmarks: decisions over rules that all ask the same kind of thing; tables; texts. For reading."""
    runs = [run_program(bench, "perf-units") for _ in range(bench.rounds)]
    for name in ("perf-tables", "perf-texts"):
        command = [bench.build / "perf" / name] + (["--small"] if bench.small else [])
        done = subprocess.run(pinned(bench.server_cpu, command), capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise Failure(f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")
        bench.texts[f"{name}.txt"] = done.stdout
    result = Result("units", "the dearest kind of unit, 1,000 rules of it, 32 decisions together", "≤ 2,000 ns",
                    "ns").no_more(2000)
    kinds = [figure[: -len("-vector")] for figure in runs[0] if figure.endswith("-vector")]
    result.values = [max(run[f"{kind}-vector"] for kind in kinds) for run in runs]
    result.note("alone / together: " + ", ".join(
        f"{kind} {median([run[f'{kind}-one'] for run in runs]):.0f} / "
        f"{median([run[f'{kind}-vector'] for run in runs]):.0f} ns" for kind in kinds))
    result.runs = {"units": runs}
    return [result]


def decide(bench):
    """A decision inside one process, 1M-key tables + ASN + 1,000 rules: median in dependent loads; and p99 with
    10,000 rules against 10."""
    arguments = []
    if bench.data.real:
        bench.data.write_asn(bench.folder / "asn.csv")
        arguments = ["--asn", bench.folder / "asn.csv"]
    runs = [run_program(bench, "perf-decide", *arguments) for _ in range(bench.rounds)]
    growth = [run_program(bench, "perf-growth", "--rules", "10000") for _ in range(bench.rounds)]
    loads = Result("decide-loads", "in-process decision, 1M-key tables + full ASN + 1,000 rules: median in "
                   "dependent loads over a mapping of the same size", "≤ 5", "loads").no_more(5)
    loads.values = [run["decision-loads"] for run in runs]
    loads.note(f"median {median([run['decision-ns'] for run in runs]):.0f} ns a decision alone, mean "
               f"{median([run['mean-ns'] for run in runs]):.0f} ns, {median([run['vector-ns'] for run in runs]):.0f} ns "
               f"in a vector of 32, "
               f"{median([run['load-ns'] for run in runs]):.0f} ns a dependent load over "
               f"{runs[0]['mapping-mib']:.0f} MiB")
    loads.runs = {"decide": runs}
    return [loads, growth_ratio("rules-10000", "10,000", 3, growth)]


def growth_ratio(name, count, limit, runs):
    ratio = Result(name, f"{count} rules against 10: p99 of an in-process decision", f"≤ {limit}×",
                   "×").no_more(limit)
    ratio.values = [run["p99-ratio"] for run in runs]
    ratio.note(f"p99 {median([run['p99-many-ns'] for run in runs]):.0f} ns with {count} rules, "
               f"{median([run['p99-10-ns'] for run in runs]):.0f} ns with 10")
    ratio.runs = {"growth": runs}
    return ratio


def rules_65k(bench):
    """As many rules as are possible: compile time on one core, rows in memory, p99 of a decision against 10.
    Rules of one comparison each, and rules over real literals and the tables; the worse of both counts."""
    count = 300 if bench.small else 65536
    plain = [run_program(bench, "perf-growth", "--rules", str(count)) for _ in range(bench.rounds)]
    prepare(bench)
    path = bench.folder / "rules-65k.yaml"
    config.write(path, [bench.tcp], config.Rules(bench.data, count - 2).lines)  # write() adds two
    real = [run_program(bench, "perf-growth", "--compile", path) for _ in range(bench.rounds)]

    def worse(name, figure, target, unit, limit, key):
        result = Result(name, figure, target, unit).no_more(limit)
        result.values = [max(a[key], b[key]) for a, b in zip(plain, real)]
        result.note(", ".join(f"{kind} {median([run[key] for run in runs]):.2f} {unit}"
                              for kind, runs in (("plain rules", plain), ("rules over data", real))))
        result.runs = {"plain": plain, "real": real}
        return result
    compiled = worse("rules-65k-compile", "65,536 rules: compile time on one core", "≤ 10 s", "s", 10,
                     "compile-s")
    compiled.note(f"whole publish {median([run['publish-s'] for run in real]):.2f} s, of which verify "
                  f"{median([run['verify-s'] for run in real]):.2f} s")
    rows = worse("rules-65k-rows", "65,536 rules: rows in memory", "≤ 64 MiB", "MiB", 64, "rows-mib")
    return [compiled, rows, growth_ratio("rules-65k-p99", "65,536", 4, plain)]
