"""Figures of many connections and of sudden load."""

import json
import pathlib
import subprocess
from contextlib import closing

from . import config
from .bench import Result, median, ratios
from .servers import Failure, Tern, pinned, stop, wait_until
from .serving import RULES, no_mistakes, prepare, remember, requests

IDLE = 10_000
ACTIVE = 32
SPIKE, SPIKE_AT, SPIKE_FOR, AFTER = 10, 5, 5, 10


def prepare_many(bench):
    """The ordinary case, for more connections than the default allows."""
    prepare(bench)
    path = bench.folder / "many.yaml"
    config.write(path, [bench.tcp, bench.unix], config.Rules(bench.data, RULES).lines,
                 limits="{ connections: 30000 }")
    return path


def memory(pid):
    """Bytes of its own and of the memory it shares that a process has in use, without files."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                  if ":" in line)
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


def memory_a_connection(bench, tern, count):
    """What ternd grows by, for each of so many connections that have been answered once."""
    def open_now():
        counters = json.loads(tern.ternctl("stats", "--json"))["counters"]
        return counters["connections_opened"] - counters["connections_closed"]
    bench.measure(bench.tcp, *requests(bench), "--connections", ACTIVE, "--depth", 64, seconds=0.5, warmup=0)
    wait_until(lambda: open_now() == 0, 20, "the connections before are closed")
    before = memory(tern.pid)
    client = subprocess.Popen(
        pinned(bench.client_cpu, [bench.load, "run", "--target", bench.tcp, "--idle", count, "--rate", 10,
                                  "--duration", 600]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: client.poll() is not None or open_now() > count, 60, "all connections are open")
        if client.poll() is not None:
            raise Failure(f"{count} connections could not be opened (limit of descriptors?)")
        return (memory(tern.pid) - before) / count
    finally:
        stop(client)


def connections(bench):
    """10,000 silent connections: what each costs in memory, and the p99 of 32 that are not silent against none
    silent; and 1 to 10,000 that all ask."""
    path = prepare_many(bench)
    idle = bench.keys(IDLE)
    rate = 2_000 if bench.small else 20_000
    load = ["--rate", rate, "--connections", ACTIVE, "--check-same", *requests(bench)]
    asking = [1, 64, bench.keys(2_000), bench.keys(10_000)]
    with closing(Tern(bench, path)) as tern:
        bytes_each = [memory_a_connection(bench, tern, idle)]
        runs = bench.interleave({
            "none": lambda: bench.measure(bench.tcp, *load, server_pid=tern.pid, spin=True),
            "idle": lambda: bench.measure(bench.tcp, *load, "--idle", idle, server_pid=tern.pid, spin=True),
        })
        many = [bench.measure(bench.tcp, *requests(bench), "--connections", count, "--check-same",
                              server_pid=tern.pid, seconds=None if count < 2_000 else 2 * bench.seconds)
                for count in asking]
    memory_figure = Result("idle-memory", f"memory of ternd for each of {idle:,} idle connections", "≤ 4 KiB",
                           "bytes").no_more(4096)
    memory_figure.values = bytes_each
    memory_figure.note("the kernel's own of a socket is not in it")
    latency = Result("idle-p99", f"p99 of {ACTIVE} connections at {rate:,}/s beside {idle:,} idle ones against none",
                     "≤ 1.2×", "×").no_more(1.2)
    pairs = [(a, b) for a, b in zip(runs["idle"], runs["none"]) if a["valid"] and b["valid"]]
    latency.values = ratios([a["latency_ns"]["p99"] for a, _ in pairs],
                            [b["latency_ns"]["p99"] for _, b in pairs])
    if len(pairs) < bench.rounds:
        latency.note(f"{bench.rounds - len(pairs)} of {bench.rounds} rounds were invalid: the client lagged")
    latency.note(", ".join(f"{name} p99 {median([run['latency_ns']['p99'] for run in party]) / 1e3:.0f} µs"
                           for name, party in runs.items()))
    latency.note("all asking, one request in flight each: "
                 + "; ".join(f"{count:,} connections {run['rps'] / 1e3:.0f} k/s, p99 "
                             f"{run['latency_ns']['p99'] / 1e6:.2f} ms" for count, run in zip(asking, many)))
    runs["asking"] = many
    remember(latency, runs)
    no_mistakes(latency, runs)
    return [memory_figure, latency]


def recovery_s(seconds, end, usual_ns):
    """Whole seconds after the spike until p99 is within twice the usual and nothing fails."""
    for i, second in enumerate(seconds[end:]):
        if second["replies"] and second["p99"] <= 2 * usual_ns and second["failed"] == 0:
            return i
    return float("inf")


def spike(bench):
    """An open loop whose rate is ten times as high for five seconds: how soon p99 is what it was, what was shed."""
    path = prepare(bench)
    rate = 300 if bench.small else 50_000
    at, lasting, after = (1, 1, 2) if bench.small else (SPIKE_AT, SPIKE_FOR, AFTER)
    load = ["--rate", rate, "--connections", ACTIVE, "--spike", SPIKE, "--spike-at", at, "--spike-for", lasting,
            "--per-second", "--check-same", *requests(bench)]
    with closing(Tern(bench, path)) as tern:
        runs = [bench.measure(bench.tcp, *load, server_pid=tern.pid, spin=True, seconds=at + lasting + after,
                              may_fail=True) for _ in range(bench.rounds)]
    result = Result("spike-recovery", f"a spike from {rate:,}/s to {SPIKE * rate:,}/s for {lasting} s: until p99 is "
                    "within twice of before", "≤ 1 s", "s").no_more(1)
    for run in runs:
        seconds = run["per_second"]
        usual = median([second["p99"] for second in seconds[:at]])
        result.values.append(recovery_s(seconds, at + lasting, usual))
    middle = runs[len(runs) // 2]["per_second"]
    result.note("p99 by second, ms: " + " ".join(f"{second['p99'] / 1e6:.2f}" for second in middle))
    result.note(f"{sum(run['statuses'].get('overloaded', 0) for run in runs)} shed, "
                f"{sum(run['failed'] for run in runs)} failed, {sum(run['wrong'] for run in runs)} wrong in "
                f"{len(runs)} runs")
    result.runs = {"tern": [{**run, "per_second": run["per_second"]} for run in runs]}
    if any(run["wrong"] for run in runs):
        result.values = []
    return [result]
