"""What the decision log costs: the same ternd with nothing written, and with every decision written."""

import json
from contextlib import ExitStack

from . import config
from .bench import Result, median, ratios
from .serving import RULES, no_mistakes, remember, requests, write_input
from .servers import Tern, free_port, wait_until

PARTIES = {"off": None, "all": "{ sample: 100%, rotate: 64MiB, keep: 4 }",
           "default": "{ rotate: 64MiB, keep: 4 }"}
RATE = 100_000
COUNTS = ("written", "skipped", "lost", "failed")


def _start(bench, stack):
    folder = bench.folder
    write_input(bench, "log-users.csv", bench.keys(100_000), bench.keys(100_000))
    rules = config.Rules(bench.data, RULES).lines
    servers = {}
    for name, log in PARTIES.items():
        path, address = folder / f"log-{name}.yaml", f"tcp://127.0.0.1:{free_port()}"
        config.write(path, [address], rules, users="log-users.csv")
        if log:
            path.write_text(path.read_text() + f"decision_log: {log}\n")
        servers[name] = Tern(bench, path, f"log-{name}")
        stack.callback(servers[name].close)
        servers[name].address = address
    return servers


def _counts(server):
    """What has become of the decisions so far, when all of them are accounted for."""
    def settled():
        log = server.status()["decision_log"]
        if not log["on"]:
            return log
        counters = json.loads(server.ternctl("stats", "--json"))["counters"]
        return log if sum(log[name] for name in COUNTS) >= counters["decisions"] else None
    log = wait_until(settled, 30, "the decision log has seen everything")
    return {name: log[name] for name in COUNTS}


def _measured(bench, server, *load):
    before = _counts(server)
    run = bench.measure(server.address, "--protocol", "tern", "--check-same", *requests(bench), *load,
                        server_pid=server.pid)
    after = _counts(server)
    run["log"] = {name: after[name] - before[name] for name in COUNTS}
    return run


def _told(party):
    sums = {name: sum(run["log"][name] for run in party) for name in COUNTS}
    return ", ".join(f"{count:,} {name}" for name, count in sums.items() if count)


def decision_log(bench):
    """Every decision written against none: throughput at 32 × 64, records written and lost; and what is kept of 100,000 a second."""
    with ExitStack() as stack:
        servers = _start(bench, stack)
        load = ["--connections", 32, "--depth", 64]
        runs = bench.interleave({
            name: (lambda server=server: _measured(bench, server, *load))
            for name, server in servers.items()})
        steady = bench.interleave({
            "all": lambda: _measured(bench, servers["all"], "--connections", 32, "--rate", RATE)})
    rps = {party: [run["rps"] for run in some] for party, some in runs.items()}
    cost = Result("decision-log", "throughput with every decision logged against none", "≥ 0.95×",
                  "×").at_least(0.95)
    cost.values = ratios(rps["all"], rps["off"])
    cost.note(f"with the default sample: {median(ratios(rps['default'], rps['off'])):.3f}×")
    for party in ("all", "default"):
        cost.note(f"{party}: {median(rps[party]) / 1e3:.0f} k/s; records: {_told(runs[party])}")
    cost.note("the drain runs at nice 19 on the server's CPU: what it does not get to is lost, and counted")
    kept = Result("decision-log-kept", f"decisions written of {RATE:,} a second, every one wanted", "≥ 0.99×",
                  "×").at_least(0.99)
    kept.values = [run["log"]["written"] / max(1, sum(run["log"].values())) for run in steady["all"]]
    kept.note(f"records: {_told(steady['all'])}")
    for result, some in ((cost, runs), (kept, steady)):
        remember(result, some)
        no_mistakes(result, some)
    return [cost, kept]
