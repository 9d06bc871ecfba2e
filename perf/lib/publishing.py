"""Figures of change: publishes under load, one rule, a killed server, a build from nothing, sizes."""

import os
import signal
import threading
import time
from contextlib import closing

from . import config
from .bench import Result, median
from .servers import Failure, Tern, import_client
from .serving import prepare, remember, requests

USERS = 1_000_000
LOOK_SECONDS = 0.0003  # between two looks for a new answer, so that looking does not slow down what is looked for


class Publisher(threading.Thread):
    """Applies configurations in turn until it is told to stop."""

    def __init__(self, tern, paths):
        super().__init__(daemon=True)
        self.tern, self.paths = tern, paths
        self.count, self.failure = 0, None
        self.done = threading.Event()
        self.first = threading.Event()

    def run(self):
        try:
            while not self.done.is_set():
                self.tern.apply(self.paths[self.count % len(self.paths)])
                self.count += 1
                self.first.set()
        except Exception as failure:  # told by whoever joins
            self.failure = failure
            self.first.set()

    def stop(self):
        self.done.set()
        self.join()
        if self.failure:
            raise self.failure


def told(steps):
    """The medians of what tern-control says about its steps."""
    names = ("total", "read", "build", "compile", "verify", "announce", "publish")
    return ", ".join(f"{name} {median([each[name] for each in steps]):.1f} ms" for name in names)


def publish(bench):
    """An open loop with and without publishes of 1M-key tables all through it."""
    prepare(bench)
    folder = bench.folder
    count = bench.keys(USERS)
    rules = config.Rules(bench.data, 1000).lines
    paths = []
    for version in (0, 1):
        bench.data.write_users(folder / f"users-{version}.csv", count, version)
        bench.data.write_tokens(folder / f"tokens-{version}.txt", count, version)
        path = folder / f"publish-{version}.yaml"
        config.write(path, [bench.tcp], rules, users=f"users-{version}.csv",
                     tokens=f"tokens-{version}.txt")
        paths.append(path)
    rate = 2_000 if bench.small else 50_000
    seconds = 1.0 if bench.small else 8.0
    load = ["--rate", rate, "--connections", 32, "--check-same", *requests(bench)]
    publishes = []
    with closing(Tern(bench, paths[0], "publish")) as tern:
        def still():
            return bench.measure(bench.tcp, *load, server_pid=tern.pid, seconds=seconds, spin=True,
                                 may_fail=True)

        def changing():
            publisher = Publisher(tern, paths[::-1])
            publisher.start()
            try:
                run = still()
                publisher.first.wait(120)
            finally:
                publisher.stop()
            publishes.append(publisher.count)
            return run
        runs = bench.interleave({"still": still, "publishing": changing})
    mistakes = Result("publish-mistakes", "failed or wrong answers while 1M-key tables are published",
                      "0", "answers").no_more(0)
    mistakes.values = [run["failed"] + run["wrong"] for run in runs["publishing"]]
    tail = Result("publish-p99.9", "p99.9 while publishing against the same load without", "≤ 1.25×",
                  "×").no_more(1.25)
    tail.values = [a["latency_ns"]["p99.9"] / b["latency_ns"]["p99.9"]
                   for a, b in zip(runs["publishing"], runs["still"]) if a["valid"] and b["valid"]]
    for result in (mistakes, tail):
        result.note(f"{sum(publishes)} publishes of 2 × {count:,} keys in {len(publishes)} runs of "
                    f"{seconds:g} s at {rate:,}/s")
        remember(result, runs)
    tail.note(", ".join(
        f"{name} p99.9 {median([run['latency_ns']['p99.9'] for run in party]) / 1e3:.0f} µs"
        for name, party in runs.items()))
    invalid = [run["invalid"] for party in runs.values() for run in party if not run["valid"]]
    if invalid:
        tail.note(f"{len(invalid)} invalid runs: {invalid[0]}")
    return [mistakes, tail]


def ask(tern_module, address):
    """A function that decides one request: the action's name, or None when there is no answer."""
    state = {"client": None}

    def once():
        try:
            if state["client"] is None:
                state["client"] = tern_module.Client(address, timeout=1, connect_timeout=0.2)
            return state["client"].decide({"ip": "203.0.113.77"}).action.name.lower()
        except tern_module.TernError:
            if state["client"] is not None:
                state["client"].close()
            state["client"] = None
            return None
    return once


def one_rule(bench):
    """A rule added before 1,000 others over 1M-key tables: from the start of `ternctl apply` until the first
    answer that shows it."""
    module = import_client(bench.root)
    old = prepare(bench)
    paths = {"allow": old, "deny": bench.folder / "one-more.yaml"}
    config.write(paths["deny"], [bench.tcp, bench.unix], config.Rules(bench.data, 1000).lines,
                 first=["  - { id: new, when: 'ip == 203.0.113.77', then: deny }"])
    result = Result("one-rule", "a one-rule change over 1M-key tables: apply to served", "≤ 50 ms",
                    "ms").no_more(50)
    inner = []
    with closing(Tern(bench, old, "change")) as tern:
        once = ask(module, bench.tcp)
        if once() != "allow":
            raise Failure("the request that the new rule is for is not allowed before it")
        for i in range(2 * bench.rounds):
            wanted = "deny" if i % 2 == 0 else "allow"
            report = {}

            def apply():
                try:
                    report.update(tern.apply(paths[wanted], bench.client_cpu))
                except Exception as failure:
                    report["failure"] = failure
            thread = threading.Thread(target=apply)
            began = time.monotonic()
            thread.start()
            while once() != wanted:
                if "failure" in report:
                    raise report["failure"]
                if time.monotonic() - began > 60:
                    raise Failure("the changed rule was never served")
                time.sleep(LOOK_SECONDS)
            result.values.append((time.monotonic() - began) * 1e3)
            thread.join()
            if "failure" in report:
                raise report["failure"]
            inner.append(report["ms"])
    result.note("inside tern-control: " + told(inner) + "; the rest is the start of ternctl and the client's "
                "look")
    return [result]


def restart(bench):
    """kill -9 of ternd under `ternctl up`: until the next correct answer."""
    module = import_client(bench.root)
    path = prepare(bench)
    result = Result("restart", "ternd killed with -9: until the next correct answer", "≤ 100 ms",
                    "ms").no_more(100)
    with closing(Tern(bench, path, "restart")) as tern:
        once = ask(module, bench.tcp)
        expected = once()
        for _ in range(bench.rounds):
            if expected is None:
                raise Failure("there is no answer before the kill")
            pid = tern.status()["dataplane"]["pid"]
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            answer = None
            # The socket of the killed process may still hold an answer: only a new process counts.
            once_more = ask(module, bench.tcp)
            while answer is None:
                answer = once_more()
                if time.monotonic() - began > 30:
                    raise Failure("ternd did not come back")
            result.values.append((time.monotonic() - began) * 1e3)
            if answer != expected:
                raise Failure(f"after the restart the answer is {answer}, not {expected}")
            # A life shorter than a second would count as a quick death and slow the restarts down.
            time.sleep(0.1 if bench.small else 1.5)
    return [result]


def build(bench):
    """From changed sources to served, on one core: 1M exact keys, the full ASN table, 10,000 rules; and how
    large the tables are."""
    prepare(bench)
    folder = bench.folder
    count = bench.keys(USERS)
    rows, paths = 0, []
    rules = 200 if bench.small else 10_000
    for version in range(3):
        # Every source and every rule differs between versions: nothing can be reused.
        bench.data.write_tokens(folder / f"build-tokens-{version}.txt", count, version)
        rows = bench.data.write_asn(folder / f"build-asn-{version}.csv", skip=version)
        path = folder / f"build-{version}.yaml"
        config.write(path, [bench.tcp], config.Rules(bench.data, rules, seed=version + 1).lines,
                     users="few-users.csv", asn=f"build-asn-{version}.csv",
                     tokens=f"build-tokens-{version}.txt")
        paths.append(path)
    bench.data.write_users(folder / "few-users.csv", 1000)
    result = Result("build", f"compile and publish {count:,} exact keys + ASN ({rows:,} ranges, IPv4 and "
                    f"IPv6) + {rules:,} rules on one core", "≤ 2 s", "s").no_more(2)
    exact = Result("bytes-exact", "exact set: bytes a key", "≤ 12", "bytes").no_more(12)
    prefix = Result("bytes-asn", "prefix map of the full ASN table", "≤ 16 MiB", "MiB").no_more(16)
    steps = []
    with closing(Tern(bench, paths[0], "build")) as tern:
        for i in range(bench.rounds):
            report = tern.apply(paths[(i + 1) % 3], bench.client_cpu)
            result.values.append(report["ms"]["total"] / 1e3)
            steps.append(report["ms"])
            tables = {table["name"]: table for table in report["tables"]}
            if tables["tokens"]["reused"] or tables["asn"]["reused"]:
                raise Failure("a table was reused: the build was not measured")
            exact.values.append(tables["tokens"]["bytes"] / tables["tokens"]["keys"])
            prefix.values.append(tables["asn"]["bytes"] / (1 << 20))
    result.note(told(steps))
    return [result, exact, prefix]

