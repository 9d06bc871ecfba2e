"""Figures of searching vectors beside whatever else goes on."""

import array
import json
import random
import subprocess
from contextlib import ExitStack, closing

from . import vectors
from .bench import Result, median, ratios
from .programs import run_program
from .servers import Failure, Tern, free_port, pinned

CONFIG = """\
tern: 1
instance: perf
listen: [ "{address}" ]
workers: 1
helpers: {helpers}
arena: 2GiB
limits: {{ deadline: 1s }}
fields: {{ ip: ip, path: string }}
collections:
  docs: {{ dim: {dim}, metric: cosine, m: 16, ef_construct: 128, quantize: int8, full_scan_vectors: 0, capacity: {capacity} }}
rules:
  - {{ id: nets, when: 'ip in {{10.0.0.0/8, 192.168.0.0/16}}', then: deny }}
  - {{ id: admin, when: 'path starts_with "/admin"', then: challenge }}
default: allow
"""


def write_config(bench, name, dim, capacity, helpers=1):
    """The path of a configuration with one collection, and the address that it listens on."""
    address = f"tcp://127.0.0.1:{free_port()}"
    path = bench.folder / f"{name}.yaml"
    path.write_text(CONFIG.format(address=address, dim=dim, capacity=capacity, helpers=helpers))
    return path, address


def input_of(bench):
    """Arguments that name files of vectors and queries, their dimensions, and what they are called."""
    words = None if bench.small else vectors.words(bench)
    if words is not None:
        return words[:-2], words[-1], "word vectors"
    dim = 24 if bench.small else 100
    files = []
    for option, count in (("--vectors", 4_000 if bench.small else 200_000), ("--queries", 200 if bench.small else 2000)):
        path = bench.folder / f"synthetic-{count}.f32"
        if not path.exists():
            path.write_bytes(_synthetic(count, dim))
        files += [option, path]
    return files, dim, "synthetic vectors"


def _synthetic(count, dim):
    """Normal numbers around a hundred centers, as f32."""
    generator = random.Random(count)
    centers = [[generator.gauss(0, 1) for _ in range(dim)] for _ in range(100)]
    values = array.array("f")
    for _ in range(count):
        values.extend(value + generator.gauss(0, 1) for value in generator.choice(centers))
    return values.tobytes()


def program(name, command, codes=(0,)):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1800)
    if done.returncode not in codes or not done.stdout:
        raise Failure(f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def search_writing(bench):
    """Searches in process on one CPU while upserts that replace everything in turn saturate the writer on the
    other: searches/s against a writer at rest."""
    fill = 1_500 if bench.small else 100_000
    files, dim, kind = input_of(bench)
    path, _ = write_config(bench, "search-writing", dim, 2 * fill)
    with closing(Tern(bench, path, "search-writing", cpu=bench.client_cpu)) as tern:
        run = program("perf-beside", [
            bench.build / "perf/perf-beside", "--run-dir", tern.run_dir, "--control-pid",
            tern.status()["controlplane"]["pid"], "--fill", fill, *files, "--rounds", bench.rounds, "--seconds",
            0.05 if bench.small else 2, "--reader-cpu", bench.server_cpu, "--writer-cpu", bench.client_cpu,
            "--recalls", 20 if bench.small else 1000])
    with closing(Tern(bench, path, "search-anew")) as tern:
        anew = program("perf-beside", [
            bench.build / "perf/perf-beside", "--run-dir", tern.run_dir, "--only-rest", "--fill", fill, "--first",
            run["next"] - fill, *files, "--rounds", 1, "--seconds", 0.01, "--reader-cpu", bench.server_cpu,
            "--writer-cpu", bench.client_cpu, "--recalls", 20 if bench.small else 1000])["recall_before"]
    rest, busy, writing = run["rest"], run["busy"], run["writing"]
    kept = Result("search-writing", "searches/s while the writer saturates the other CPU, against one at rest",
                  "≥ 0.85×", "×").at_least(0.85)
    kept.values = [writing["qps"] / rest["qps"]]
    kept.note(f"{fill:,} {kind} × {dim}, int8: {rest['qps']:,.0f}/s at rest, {busy['qps']:,.0f}/s while the other CPU "
              f"computes in its registers, {writing['qps']:,.0f}/s while {writing['written_per_s']:,.0f} vectors/s are "
              f"replaced; in CPU time of the thread {writing['qps_cpu'] / rest['qps_cpu']:.2f}×")
    kept.note(f"p50 {rest['p50_us']:.0f} and {writing['p50_us']:.0f} µs, p99 {rest['p99_us']:.0f} and "
              f"{writing['p99_us']:.0f} µs; meanwhile {writing['tail']:.0f} vectors in the tail, "
              f"{writing['tombstones']:,.0f} tombstones; tern-control took {writing['control_cpu']:.0%} of its CPU")
    loss = Result("search-writing-recall", "recall@10 lost by those writes, against the same vectors written once",
                  "≤ 0.5 points", "points").no_more(0.5)
    loss.values = [100 * (anew - run["recall_after"])]
    loss.note(f"{run['recall_after']:.4f} after {run['next'] - fill:,} replacements, {anew:.4f} written once "
              f"({run['recall_before']:.4f} of those before)")
    kept.runs = {"beside": [run]}
    return [kept, loss]


def _searches(queries, ef):
    return ["--search", "docs", "--vectors", queries, "--k", 10, "--ef", ef]


def beside(bench, address, load, seconds, measure):
    """What `measure` yields while another process sends `load` without a pause; and how many of those a second."""
    process = subprocess.Popen(
        pinned(bench.client_cpu, [bench.load, "run", "--json", "--target", address, *load, "--warmup", 0,
                                  "--duration", seconds]), stdout=subprocess.PIPE, text=True)
    try:
        run = measure()
    finally:
        process.terminate() # it ends as if its time were over
        text, _ = process.communicate(timeout=60)
    other = json.loads(text)
    if other["failed"]:
        raise Failure(f"requests that search failed beside decisions: {other['statuses']}")
    return run, other["rps"]


def _beside(bench, instance, address, searches):
    """DECIDE in an open loop while another process searches; and what that one saw."""
    run, per_s = beside(bench, address, [*searches, "--connections", 4], 2 * bench.seconds + 2 * bench.warmup,
                            lambda: _decide(bench, instance, address))
    run["searches_per_s"] = per_s
    return run


def _decide(bench, instance, address):
    return bench.measure(address, "--connections", 8, "--rate", 5_000, "--requests", bench.folder / "decide.csv",
                         "--fields", "ip:ip,path:string", server_pid=instance.pid)


def search(bench):
    """SEARCH through the socket, k 10: at 1 and 32 connections, in the loop and with a helper, against searches in
    process; and DECIDE beside it."""
    fill = 1_500 if bench.small else 100_000
    files, dim, kind = input_of(bench)
    queries = files[files.index("--queries") + 1]
    (bench.folder / "decide.csv").write_text(
        "ip,path\n" + "".join(f"{i % 200 + 1}.2.3.4,/page/{i}\n" for i in range(1000)))
    efs = (64, 256)
    instances = {}
    with ExitStack() as stack:
        for helpers in (0, 1):
            path, address = write_config(bench, f"search-{helpers}", dim, fill, helpers)
            instance = stack.enter_context(closing(Tern(bench, path, f"search-{helpers}")))
            instances[helpers] = instance, address
            in_process(bench, instance, ["--fill", fill, *files])
        parties = {}
        for ef in efs:
            parties[f"in process, ef {ef}"] = lambda ef=ef: in_process(
                bench, instances[0][0], ["--fill", 0, "--queries", queries, "--ef", ef])
            for helpers, (instance, address) in instances.items():
                for connections in (1, 32):
                    parties[f"{connections}, {helpers} helpers, ef {ef}"] = \
                        lambda address=address, instance=instance, ef=ef, connections=connections: bench.measure(
                            address, *_searches(queries, ef), "--check-same", "--connections", connections,
                            server_pid=instance.pid, spin=connections == 1)
        for helpers, (instance, address) in instances.items():
            parties[f"decide, {helpers} helpers"] = lambda instance=instance, address=address: _decide(
                bench, instance, address)
            for ef in efs:
                parties[f"decide, {helpers} helpers, beside ef {ef}"] = \
                    lambda instance=instance, address=address, ef=ef: _beside(
                        bench, instance, address, _searches(queries, ef))
        runs = bench.interleave(parties, min(bench.rounds, 3))
    return [_socket_figure(runs, efs, f"{fill:,} {kind} × {dim}, int8"), _decide_figure(runs, efs)]


def in_process(bench, instance, arguments):
    run = program("perf-beside", [bench.build / "perf/perf-beside", "--run-dir", instance.run_dir, "--only-rest",
                                  "--rounds", 1, "--recalls", 10, "--seconds", bench.seconds, "--reader-cpu",
                                  bench.server_cpu, "--writer-cpu", bench.client_cpu, *arguments])
    return run["rest"]


def _socket_figure(runs, efs, what):
    result = Result("search-socket", "SEARCH over 32 connections against searches in process, searches/s; the worse "
                    "of ef 64 and 256, the better of with and without a helper", "≥ 0.7×", "×").at_least(0.7)
    inside = {ef: [run["qps"] for run in runs[f"in process, ef {ef}"]] for ef in efs}
    served = {ef: [max(pair) for pair in zip(*([run["rps"] for run in runs[f"32, {helpers} helpers, ef {ef}"]]
                                               for helpers in (0, 1)))] for ef in efs}
    result.values = [min(values) for values in zip(*(ratios(served[ef], inside[ef]) for ef in efs))]
    result.note(what)
    for ef in efs:
        result.note(f"ef {ef}: in process {median(inside[ef]):,.0f}/s; " + "; ".join(
            f"{connections} connection{'s' * (connections > 1)}, {'a helper' if helpers else 'no helper'} "
            f"{median([run['rps'] for run in runs[name]]):,.0f}/s, p50 "
            f"{median([run['latency_ns']['p50'] for run in runs[name]]) / 1e3:.0f} µs, p99 "
            f"{median([run['latency_ns']['p99'] for run in runs[name]]) / 1e3:.0f} µs"
            for connections in (1, 32) for helpers in (0, 1)
            for name in [f"{connections}, {helpers} helpers, ef {ef}"]))
        result.note(f"CPU time a search: in process {median([1e6 / run['qps_cpu'] for run in runs[f'in process, ef {ef}']]):.0f} "
                    "µs, ternd's over 32 connections "
                    f"{median([run['server_cpu_us'] for run in runs[f'32, 0 helpers, ef {ef}']]):.0f} µs, with a helper "
                    f"{median([run['server_cpu_us'] for run in runs[f'32, 1 helpers, ef {ef}']]):.0f} µs")
    mistakes = sum(run["failed"] + run["wrong"] for party in runs.values() for run in party if "failed" in run)
    if mistakes:
        result.note(f"{mistakes} failed or wrong answers")
        result.values = []
    result.runs = runs
    return result


def _decide_figure(runs, efs):
    result = Result("search-decide", "p99 of DECIDE at 5,000/s beside 4 connections that search without a pause, with a "
                    "helper, against p99 alone and two searches of ef 256", "≤ 1×", "×").no_more(1)

    def p99_us(name):
        return [run["latency_ns"]["p99"] / 1e3 for run in runs[name]]
    result.values = [beside / (alone + 2 * 1e6 / of_search["qps"]) for beside, alone, of_search in zip(
        p99_us(f"decide, 1 helpers, beside ef {efs[-1]}"), p99_us("decide, 1 helpers"),
        runs[f"in process, ef {efs[-1]}"])]
    for helpers in (0, 1):
        result.note(f"{'a helper' if helpers else 'no helper'}: p99 alone {median(p99_us(f'decide, {helpers} helpers')):.0f} µs"
                    + "".join(f", beside {median([run['searches_per_s'] for run in runs[name]]):,.0f} searches/s of ef {ef} "
                              f"{median(p99_us(name)):.0f} µs"
                              for ef in efs for name in [f"decide, {helpers} helpers, beside ef {ef}"]))
    return result


def filters(bench):
    """Searches with filters that let 50 %, 5 % and 0.5 % through: searches/s against unfiltered ones, recall@10."""
    arguments, kind = [], "synthetic vectors"
    if not bench.small and vectors.words(bench) is not None:
        arguments, kind = [bench.folder / "wink-vectors", "100"], "word vectors"
    runs = [run_program(bench, "perf-filters", *arguments) for _ in range(min(bench.rounds, 3))]
    names = ("all", "50", "5", "0.5")
    seen = {f"{name}-{what}": median([run[f"{name}-{what}"] for run in runs])
            for name in names for what in ("qps", "recall", "estimate-ns")}
    speed = Result("filters", "searches/s with a filter, the slowest of 50 %, 5 % and 0.5 %, against none", "–", "×")
    speed.values = [min(run[f"{name}-qps"] for name in names[1:]) / run["all-qps"] for run in runs]
    speed.note(f"{kind}, ef 64: {seen['all-qps']:,.0f}/s; " + ", ".join(
        f"{name} %: {seen[f'{name}-qps']:,.0f}/s" for name in names[1:]))
    speed.runs = {"filters": runs}
    worst = Result("filters-recall", "recall@10 lost by a filter, the worst of them against none", "≤ 1 point",
                   "points").no_more(1)
    worst.values = [100 * (run["all-recall"] - min(run[f"{name}-recall"] for name in names[1:])) for run in runs]
    worst.note(f"none {seen['all-recall']:.4f}, " + ", ".join(
        f"{name} %: {seen[f'{name}-recall']:.4f}" for name in names[1:]))
    return [speed, worst]
