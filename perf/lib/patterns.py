"""User agents scanned against a large pattern set: every request has its value matched by 1,500 regular
expressions. Against redis GET, which looks at nothing, and against the echo of the same frames."""

import csv
import random
from contextlib import ExitStack, closing

from .bench import Result, median, ratios
from .data import SEED, _rows
from .serving import no_mistakes, remember
from .servers import Echo, Redis, Tern, free_port

FIELDS = "user_agent:string"
PATTERNS = 1500


def real(data):
    names = ("crawler-patterns", "browsers", "crawlers", "queries-expected", "uap-tests")
    return data.folder is not None and all((data.folder / f"ua/{name}.csv.gz").exists() for name in names)


def write_patterns(data, path):
    if real(data):
        lines = [row[1] for row in _rows(data.folder / "ua/crawler-patterns.csv.gz")][1:]
    else:
        chance = random.Random(SEED + 20)
        lines = [data._word(chance) + chance.choice(["bot", "spider", "crawler", r"\/[0-9]+", ""])
                 + data._word(chance) for _ in range(PATTERNS)]
    data.write_lines(path, lines)
    return len(lines)


def weighted(data):
    """(user agent, weight): what browsers send as often as they do, one in five a crawler."""
    if real(data):
        browsers = [(row[0], float(row[1])) for row in list(_rows(data.folder / "ua/browsers.csv.gz"))[1:]]
        crawlers = [row[0] for row in list(_rows(data.folder / "ua/crawlers.csv.gz"))[1:]]
    else:
        chance = random.Random(SEED + 21)
        browsers = [(f"Mozilla/5.0 (X11; Linux x86_64; rv:{i}.0) Gecko/20100101 Firefox/{i}.0 {data._word(chance)}",
                     1 / (i + 1)) for i in range(700)]
        crawlers = [f"{data._word(chance)}bot/{i}.0 (+http://{data._word(chance)}.example/bot.html)"
                    for i in range(1600)]
    total = sum(weight for _, weight in browsers)
    return [(agent, 0.8 * weight / total) for agent, weight in browsers] + \
           [(agent, 0.2 / len(crawlers)) for agent in crawlers]


def write_repeating(data, path, count):
    agents = weighted(data)
    chance = random.Random(SEED + 22)
    chosen = chance.choices([agent for agent, _ in agents], [weight for _, weight in agents], k=count)
    write(path, chosen)
    return len(set(chosen))


def write_distinct(data, path, count):
    """None twice: real ones, the later rounds with a build number of their own."""
    if real(data):
        agents = [row[0] for row in list(_rows(data.folder / "ua/queries-expected.csv.gz"))[1:]]
        agents += [row[0] for row in list(_rows(data.folder / "ua/uap-tests.csv.gz"))[1:]]
    else:
        agents = [agent for agent, _ in weighted(data)]
    agents = list(dict.fromkeys(agents))
    random.Random(SEED + 23).shuffle(agents)
    write(path, [agents[i % len(agents)] + (f" Build/{i:06d}" if i >= len(agents) else "")
                 for i in range(count)])


def write(path, agents):
    with open(path, "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["user_agent"])
        out.writerows([agent] for agent in agents)


def write_config(path, listen, source):
    path.write_text("\n".join([
        "tern: 1", "instance: perf", f'listen: [ "{listen}" ]', "workers: 1", "arena: 1GiB",
        "fields: { user_agent: string }",
        f"tables: {{ crawlers: {{ type: pattern_set, source: {source} }} }}",
        "rules:",
        "  - { id: crawler, when: 'user_agent matches $crawlers', then: challenge }",
        "default: allow", ""]))


def patterns(bench):
    """32 × 64, user agents against 1,500 crawler patterns: repeating as browsers do, and none twice."""
    folder, data = bench.folder, bench.data
    count = write_patterns(data, folder / "crawlers.txt")
    frames = bench.keys(100_000)
    repeating = write_repeating(data, folder / "agents-repeating.csv", frames)
    write_distinct(data, folder / "agents-distinct.csv", frames)
    address = f"tcp://127.0.0.1:{free_port()}"
    write_config(folder / "patterns.yaml", address, "crawlers.txt")
    load = ["--connections", 32, "--depth", 64]
    results = []
    with ExitStack() as stack:
        tern = stack.enter_context(closing(Tern(bench, folder / "patterns.yaml")))
        redis = stack.enter_context(closing(Redis(bench, "tcp", bench.keys(100_000))))
        echo = stack.enter_context(closing(Echo(bench, "io_uring")))
        for kind in ("repeating", "distinct"):
            asked = ["--requests", folder / f"agents-{kind}.csv", "--fields", FIELDS]
            runs = bench.interleave({
                "tern": lambda: bench.measure(address, "--protocol", "tern", "--check-same", *asked, *load,
                                              server_pid=tern.pid),
                "redis": lambda: bench.measure(redis.address, "--protocol", "resp", *redis.keys, *load,
                                               server_pid=redis.pid),
                "echo": lambda: bench.measure(echo.address, "--protocol", "echo", *asked, *load,
                                              server_pid=echo.pid),
            })
            results += figures(kind, runs, f"{count} patterns, " + (
                f"{repeating} different user agents in {frames}" if kind == "repeating"
                else f"{frames} different user agents"), "real" if real(data) else "synthetic")
    return results


def figures(kind, runs, what, origin):
    rps = {name: [run["rps"] for run in party] for name, party in runs.items()}
    cpu = {name: [run["server_cpu_us"] for run in party] for name, party in runs.items()}
    told = f"{what} ({origin}): " + ", ".join(
        f"{name} {median(rps[name]) / 1e3:.0f} k/s at {median(cpu[name]):.2f} µs CPU" for name in runs)
    made = []
    for peer, limit in (("redis", 1.5), ("echo", 0.35)):
        result = Result(f"patterns-{kind}-{peer}",
                        f"user agents against 1,500 patterns, {kind}: requests/s against "
                        + ("redis GET" if peer == "redis" else "the io_uring echo of the same frames"),
                        f"≥ {limit}×", "×").at_least(limit)
        result.values = ratios(rps["tern"], rps[peer])
        used = Result(f"patterns-{kind}-{peer}-cpu", f"user agents against 1,500 patterns, {kind}: server CPU a request, {peer} against tern",
                      f"≥ {limit}×", "×").at_least(limit)
        used.values = ratios(cpu[peer], cpu["tern"])
        used.note("counts where the client is the limit; CPU time includes spinning")
        made += [result, used]
    for result in made:
        result.note(told)
        remember(result, runs)
        no_mistakes(result, runs)
    return made
