"""What measuring costs: the same ternd with and without stage times and hits of rules."""

from contextlib import ExitStack

from . import config
from .bench import Result, median, ratios
from .serving import RULES, no_mistakes, remember, requests, write_input
from .servers import TernApart, free_port

# Hidden options of ternd: what each party goes without.
PARTIES = {"all": [], "no stages": ["--no-stages"], "no hits": ["--no-hits"],
           "neither": ["--no-stages", "--no-hits"]}


def _start(bench, stack):
    """A server for each party, on the same tables and rules. Tables are small: what they would cost in
    cache misses would only hide the cost that is looked for."""
    folder = bench.folder
    write_input(bench, "measuring-users.csv", bench.keys(100_000), bench.keys(100_000))
    rules = config.Rules(bench.data, RULES).lines
    servers = {}
    for i, (name, options) in enumerate(PARTIES.items()):
        path, address = folder / f"measuring-{i}.yaml", f"tcp://127.0.0.1:{free_port()}"
        config.write(path, [address], rules, users="measuring-users.csv")
        servers[name] = TernApart(bench, path, f"measuring-{i}", options)
        stack.callback(servers[name].close)
        servers[name].address = address
    return servers


def _figures(name, what, runs):
    rps = {party: [run["rps"] for run in some] for party, some in runs.items()}
    cpu = {party: [run["server_cpu_us"] for run in some] for party, some in runs.items()}
    result = Result(f"measuring-{name}", f"throughput with everything measured against nothing, {what}",
                    "≥ 0.98×", "×").at_least(0.98)
    result.values = ratios(rps["all"], rps["neither"])
    for party in ("no stages", "no hits"):
        result.note(f"against {party}: {median(ratios(rps['all'], rps[party])):.3f}×")
    result.note("server CPU a request: " + ", ".join(f"{party} {median(cpu[party]):.3f} µs" for party in runs))
    remember(result, runs)
    no_mistakes(result, runs)
    return result


def measuring(bench):
    """Stage times and hits of rules, on against off: throughput at 32 × 64 and one request at a time."""
    with ExitStack() as stack:
        servers = _start(bench, stack)

        def run(load, spin=False):
            return bench.interleave({
                name: (lambda server=server: bench.measure(
                    server.address, "--protocol", "tern", "--check-same", *requests(bench), *load,
                    server_pid=server.pid, spin=spin))
                for name, server in servers.items()})
        return [_figures("deep", "32 × 64", run(["--connections", 32, "--depth", 64])),
                _figures("single", "one at a time", run([], spin=True))]
