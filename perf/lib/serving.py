"""Figures of a server that answers: throughput, latency, an open loop, against redis and a raw echo."""

from contextlib import ExitStack, closing

from . import config
from .bench import Result, median, ratios
from .servers import Echo, Memcached, Redis, Tern, free_port

RULES = 1000


def write_input(bench, users_file, users, requests):
    """So many users, the other tables, and requests over all of them."""
    folder = bench.folder
    stable = bench.data.write_users(folder / users_file, users)
    bench.data.write_asn(folder / "asn.csv")
    bench.data.write_lines(folder / "bad-nets.txt", bench.data.bad_addresses())
    bench.data.write_lines(folder / "bad-hosts.txt", bench.data.bad_hosts())
    bench.data.write_requests(folder / "requests.csv", requests, stable)


def prepare(bench, rules=RULES, users=1_000_000, frames=100_000):
    """Tables, configuration and frames of the ordinary case, once."""
    folder = bench.folder
    path = folder / f"serve-{rules}.yaml"
    if not path.exists():
        write_input(bench, "users.csv", bench.keys(users), bench.keys(frames))
        bench.tcp = f"tcp://127.0.0.1:{free_port()}"
        bench.unix = f"unix://{folder}/tern.sock"
        config.write(path, [bench.tcp, bench.unix], config.Rules(bench.data, rules).lines)
    return path


def requests(bench):
    return ["--requests", bench.folder / "requests.csv", "--fields", config.FIELDS]


def no_mistakes(result, runs):
    failed = sum(run["failed"] + run["wrong"] for party in runs.values() for run in party)
    if failed:
        result.note(f"{failed} failed or wrong answers")
        result.values = []


def summarize(run):
    keep = ("connections", "rps", "latency_ns", "server_cpu_us", "client_cpu_us", "failed", "wrong", "valid", "invalid",
            "lag_ns", "offered", "replies", "checksum")
    return {key: run[key] for key in keep if key in run}


def remember(result, runs):
    result.runs = {name: [summarize(run) for run in party] for name, party in runs.items()}


def throughput(bench, transport="tcp"):
    """32 connections × depth 64: requests/s against redis and memcached GET and against the echo of the same frames."""
    path = prepare(bench)
    load = ["--connections", 32, "--depth", 64]
    with ExitStack() as stack:
        tern = stack.enter_context(closing(Tern(bench, path)))
        redis = stack.enter_context(closing(Redis(bench, transport, bench.keys(100_000))))
        memcached = stack.enter_context(closing(Memcached(bench, transport, bench.keys(100_000))))
        echo = stack.enter_context(closing(Echo(bench, "io_uring", transport)))
        address = bench.tcp if transport == "tcp" else bench.unix
        runs = bench.interleave({
            "tern": lambda: bench.measure(address, "--protocol", "tern", "--check-same",
                                          *requests(bench), *load, server_pid=tern.pid),
            "redis": lambda: bench.measure(redis.address, "--protocol", "resp", *redis.keys, *load,
                                           server_pid=redis.pid),
            "memcached": lambda: bench.measure(memcached.address, "--protocol", "memcached", *memcached.keys,
                                               *load, server_pid=memcached.pid),
            "echo": lambda: bench.measure(echo.address, "--protocol", "echo", *requests(bench), *load,
                                          server_pid=echo.pid),
        })
    suffix = "" if transport == "tcp" else ", AF_UNIX"
    rps = {name: [run["rps"] for run in party] for name, party in runs.items()}
    cpu = {name: [run["server_cpu_us"] for run in party] for name, party in runs.items()}
    told = ", ".join(f"{name} {median(rps[name]) / 1e3:.0f} k/s at {median(cpu[name]):.2f} µs CPU"
                     for name in runs)
    redis_figure = Result(f"throughput-{transport}-redis",
                          f"requests/s against redis GET, 32 × 64{suffix}", "≥ 3×", "×").at_least(3)
    redis_figure.values = ratios(rps["tern"], rps["redis"])
    memcached_figure = Result(f"throughput-{transport}-memcached",
                              f"requests/s against memcached GET, 32 × 64{suffix}", "≥ 1×", "×").at_least(1)
    memcached_figure.values = ratios(rps["tern"], rps["memcached"])
    echo_figure = Result(f"throughput-{transport}-echo",
                         f"requests/s against the io_uring echo of the same frames{suffix}", "≥ 0.6×",
                         "×").at_least(0.6)
    echo_figure.values = ratios(rps["tern"], rps["echo"])
    cpu_figure = Result(f"throughput-{transport}-echo-cpu",
                        f"server CPU per request, echo against tern{suffix}", "≥ 0.6×",
                        "×").at_least(0.6)
    cpu_figure.values = ratios(cpu["echo"], cpu["tern"])
    cpu_figure.note("counts where the client is the limit; CPU time includes spinning")
    for result in (redis_figure, memcached_figure, echo_figure, cpu_figure):
        result.note(told)
        remember(result, runs)
        no_mistakes(result, runs)
    return [redis_figure, memcached_figure, echo_figure, cpu_figure]


def throughput_unix(bench):
    """The same over Unix sockets, which leaves TCP out."""
    return throughput(bench, "unix")


def latency(bench):
    """One connection, one request at a time, a client that spins: p50 against redis; memcached and the echo beside it."""
    path = prepare(bench)
    with ExitStack() as stack:
        tern = stack.enter_context(closing(Tern(bench, path)))
        redis = stack.enter_context(closing(Redis(bench, "tcp", bench.keys(100_000))))
        memcached = stack.enter_context(closing(Memcached(bench, "tcp", bench.keys(100_000))))
        echo = stack.enter_context(closing(Echo(bench, "io_uring")))
        runs = bench.interleave({
            "tern": lambda: bench.measure(bench.tcp, "--check-same", *requests(bench),
                                          server_pid=tern.pid, spin=True),
            "redis": lambda: bench.measure(redis.address, "--protocol", "resp", *redis.keys,
                                           server_pid=redis.pid, spin=True),
            "memcached": lambda: bench.measure(memcached.address, "--protocol", "memcached", *memcached.keys,
                                               server_pid=memcached.pid, spin=True),
            "echo": lambda: bench.measure(echo.address, "--protocol", "echo", *requests(bench),
                                          server_pid=echo.pid, spin=True),
        })
    p50 = {name: [run["latency_ns"]["p50"] for run in party] for name, party in runs.items()}
    result = Result("latency-redis", "p50 of one request at a time against redis, spinning client",
                    "≤ 0.55×", "×").no_more(0.55)
    result.values = ratios(p50["tern"], p50["redis"])
    result.note(", ".join(f"{name} {median(p50[name]) / 1e3:.1f} µs" for name in runs))
    remember(result, runs)
    no_mistakes(result, runs)
    return [result]


def open_loop(bench):
    """50,000 requests a second on a Poisson schedule: p99 from the intended send time against redis."""
    path = prepare(bench)
    rate = 2_000 if bench.small else 50_000
    load = ["--rate", rate, "--connections", 32]
    with ExitStack() as stack:
        tern = stack.enter_context(closing(Tern(bench, path)))
        redis = stack.enter_context(closing(Redis(bench, "tcp", bench.keys(100_000))))
        runs = bench.interleave({
            "tern": lambda: bench.measure(bench.tcp, "--check-same", *requests(bench), *load,
                                          server_pid=tern.pid, spin=True),
            "redis": lambda: bench.measure(redis.address, "--protocol", "resp", *redis.keys, *load,
                                           server_pid=redis.pid, spin=True),
        })
    result = Result("open-loop-redis", f"p99 at {rate:,}/s against redis", "≤ 1.1×", "×").no_more(1.1)
    pairs = [(a, b) for a, b in zip(runs["tern"], runs["redis"]) if a["valid"] and b["valid"]]
    result.values = [a["latency_ns"]["p99"] / b["latency_ns"]["p99"] for a, b in pairs]
    if len(pairs) < bench.rounds:
        result.note(f"{bench.rounds - len(pairs)} of {bench.rounds} rounds were invalid: "
                    + "; ".join(sorted({run["invalid"] for party in runs.values() for run in party
                                        if not run["valid"]})))
    result.note(", ".join(
        f"{name} p99 {median([run['latency_ns']['p99'] for run in party]) / 1e3:.0f} µs"
        for name, party in runs.items()))
    remember(result, runs)
    no_mistakes(result, runs)
    return [result]
