"""Figures of many connections and of sudden load.

What silent connections cost those that ask is a ratio of two p99s, and the p99 of a quiet server is made of whatever
else ran on its CPU or the client's for a few hundred µs: 1 % of a second is all it takes. Two runs of the very same
thing, seconds apart, differ by several times on a machine that is not quiet. Therefore:

- the silent connections belong to a process of their own (`tern-load idle`), which sleeps: the client that measures is
  the same with and without them;
- runs are short and many, with and without in turn, and the figure is the median of their ratios;
- before a run without, as many are opened and closed again: what a machine shares out is shared out by what happened
  just before, and opening 10,000 connections is a second of sleeping and waking;
- each round measures the state without silent ones twice: the ratio of these two is what the machine makes of nothing,
  and is reported beside the figure. A figure within its spread says nothing;
- the io_uring echo and redis take their turns with as many silent connections of their own: what the kernel does by
  itself is in both."""

import json
import pathlib
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager

from . import config
from .bench import Result, median, ratios
from .servers import Echo, Failure, Redis, Tern, pinned, stop, wait_until
from .serving import RULES, no_mistakes, prepare, remember, requests

IDLE = 10_000
ACTIVE = 32
SHORT_S = 1.0     # of a run with or without silent connections: 20,000 answers
SETTLE_S = 0.4    # before it, for servers to end with what was closed
SHORT_ROUNDS = 2  # for each round of other experiments
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


@contextmanager
def silent(bench, address, protocol, count):
    """So many connections of a process of their own that have been answered once."""
    client = subprocess.Popen(
        pinned(bench.client_cpu, [bench.load, "idle", "--target", address, "--protocol", protocol, "--idle", count]),
        stdout=subprocess.PIPE, text=True)
    try:
        if not client.stdout.readline().startswith("ready"):
            raise Failure(f"{count} connections to {address} could not be opened (limit of descriptors?)")
        yield
    finally:
        stop(client)
        client.stdout.close()


def memory_a_connection(bench, tern, count):
    """What ternd grows by, for each of so many connections that have been answered once."""
    def none_open():
        counters = json.loads(tern.ternctl("stats", "--json"))["counters"]
        return counters["connections_opened"] == counters["connections_closed"]
    bench.measure(bench.tcp, *requests(bench), "--connections", ACTIVE, "--depth", 64, seconds=0.5, warmup=0)
    wait_until(none_open, 20, "the connections before are closed")
    before = memory(tern.pid)
    with silent(bench, bench.tcp, "tern", count):
        return (memory(tern.pid) - before) / count


def beside_silent(bench, servers, rate, count):
    """Short runs of each server {name: (address, protocol, options, pid)}: with silent connections, without, and the
    first of them without once more, in turn. Returns the runs by "name idle", "name none", "name again"."""
    def short(name):
        address, protocol, options, pid = servers[name]
        time.sleep(0 if bench.small else SETTLE_S)
        return bench.measure(address, "--protocol", protocol, "--rate", rate, "--connections", ACTIVE, *options,
                             server_pid=pid, spin=True, seconds=bench.seconds if bench.small else SHORT_S,
                             warmup=bench.warmup if bench.small else 0.1)

    def with_silent(name):
        with silent(bench, *servers[name][:2], count):
            return short(name)

    def without(name):
        with silent(bench, *servers[name][:2], count):
            pass
        return short(name)
    parties = {}
    for name in servers:
        parties[f"{name} none"] = lambda name=name: without(name)
        parties[f"{name} idle"] = lambda name=name: with_silent(name)
        if name == next(iter(servers)):
            parties[f"{name} again"] = lambda name=name: without(name)
    return bench.interleave(parties, 1 if bench.small else SHORT_ROUNDS * bench.rounds)


def p99_ratios(upper, lower):
    """Of the rounds in which both runs count."""
    pairs = [(a, b) for a, b in zip(upper, lower) if a["valid"] and b["valid"]]
    return ratios([a["latency_ns"]["p99"] for a, _ in pairs], [b["latency_ns"]["p99"] for _, b in pairs])


def spread(values):
    return f"{median(values):.2f}× ({min(values):.2f} to {max(values):.2f})" if values else "no valid pair"


def connections(bench):
    """10,000 silent connections: what each costs in memory, and the p99 of 32 that are not silent against none
    silent; and 1 to 10,000 that all ask."""
    path = prepare_many(bench)
    idle = bench.keys(IDLE)
    rate = 2_000 if bench.small else 20_000
    asking = [1, 64, bench.keys(2_000), bench.keys(10_000)]
    with ExitStack() as stack:
        tern = stack.enter_context(closing(Tern(bench, path)))
        echo = stack.enter_context(closing(Echo(bench, "io_uring")))
        redis = stack.enter_context(closing(Redis(bench, keys=bench.keys(100_000))))
        bytes_each = [memory_a_connection(bench, tern, idle)]
        runs = beside_silent(bench, {
            "tern": (bench.tcp, "tern", ["--check-same", *requests(bench)], tern.pid),
            "echo": (echo.address, "echo", requests(bench), echo.pid),
            "redis": (redis.address, "resp", redis.keys, redis.pid),
        }, rate, idle)
        many = [bench.measure(bench.tcp, *requests(bench), "--connections", count, "--check-same",
                              server_pid=tern.pid, seconds=None if count < 2_000 else 2 * bench.seconds)
                for count in asking]
    memory_figure = Result("idle-memory", f"memory of ternd for each of {idle:,} idle connections", "≤ 4 KiB",
                           "bytes").no_more(4096)
    memory_figure.values = bytes_each
    memory_figure.note("the kernel's own of a socket is not in it")
    latency = Result("idle-p99", f"p99 of {ACTIVE} connections at {rate:,}/s beside {idle:,} idle ones against none",
                     "≤ 1.2×", "×").no_more(1.2)
    latency.values = p99_ratios(runs["tern idle"], runs["tern none"])
    for name in ("tern", "echo", "redis"):
        none, some = runs[f"{name} none"], runs[f"{name} idle"]
        latency.note(f"{name}: p99 none {p99_us(none):.0f} µs, idle {p99_us(some):.0f} µs, "
                     f"{spread(p99_ratios(some, none))}")
    latency.note(f"tern, none against none: {spread(p99_ratios(runs['tern again'], runs['tern none']))}")
    invalid = sum(not run["valid"] for party in runs.values() for run in party)
    if invalid:
        latency.note(f"{invalid} of {sum(len(party) for party in runs.values())} short runs were invalid: the client "
                     "lagged")
    latency.note("all asking, one request in flight each: "
                 + "; ".join(f"{count:,} connections {run['rps'] / 1e3:.0f} k/s, p99 "
                             f"{run['latency_ns']['p99'] / 1e6:.2f} ms" for count, run in zip(asking, many)))
    runs["asking"] = many
    remember(latency, runs)
    no_mistakes(latency, runs)
    return [memory_figure, latency]


def p99_us(party):
    return median([run["latency_ns"]["p99"] for run in party]) / 1e3


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
