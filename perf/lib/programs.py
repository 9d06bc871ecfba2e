"""Figures that a program of its own measures in one process: rules and decisions without a network."""

import re
import subprocess

from .bench import Result, median
from .servers import Failure, pinned

FIGURE = re.compile(r"^figure (\S+) ([0-9.]+)", re.M)


def run_program(bench, name, *arguments):
    """The lines `figure NAME VALUE …` of one run, by name."""
    command = [bench.build / "perf" / name, *arguments] + (["--small"] if bench.small else [])
    done = subprocess.run(pinned(bench.server_cpu, command), capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise Failure(f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return {figure: float(value) for figure, value in FIGURE.findall(done.stdout)}


def decide(bench):
    """A decision inside one process, 1M-key tables + ASN + 1,000 rules: median in dependent loads; and p99 with
    10,000 rules against 10."""
    arguments = []
    if bench.data.real:
        bench.data.write_asn(bench.folder / "asn.csv")
        arguments = ["--asn", bench.folder / "asn.csv"]
    runs = [run_program(bench, "perf-decide", *arguments) for _ in range(bench.rounds)]
    loads = Result("decide-loads", "in-process decision, 1M-key tables + full ASN + 1,000 rules: median in "
                   "dependent loads over a mapping of the same size", "≤ 5", "loads").no_more(5)
    loads.values = [run["decision-loads"] for run in runs]
    loads.note(f"median {median([run['decision-ns'] for run in runs]):.0f} ns a decision alone, "
               f"{median([run['vector-ns'] for run in runs]):.0f} ns in a vector of 32, "
               f"{median([run['load-ns'] for run in runs]):.0f} ns a dependent load over "
               f"{runs[0]['mapping-mib']:.0f} MiB")
    ratio = Result("rules-10000", "10,000 rules against 10: p99 of an in-process decision", "≤ 3×",
                   "×").no_more(3)
    ratio.values = [run["p99-ratio"] for run in runs]
    ratio.note(f"p99 {median([run['p99-many-ns'] for run in runs]):.0f} ns with 10,000 rules, "
               f"{median([run['p99-10-ns'] for run in runs]):.0f} ns with 10")
    for result in (loads, ratio):
        result.runs = {"decide": runs}
    return [loads, ratio]
