"""Figures of searching vectors beside whatever else goes on."""

import json
import subprocess
from contextlib import closing

from . import vectors
from .bench import Result, median
from .servers import Failure, Tern, free_port

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
    if words is None:
        return [], 24 if bench.small else 100, "synthetic vectors"
    return words[:-2], words[-1], "word vectors"


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
    loss = Result("search-writing-recall", "recall@10 lost by those writes", "≤ 0.5 points", "points").no_more(0.5)
    loss.values = [100 * (run["recall_before"] - run["recall_after"])]
    loss.note(f"{run['recall_before']:.4f} before, {run['recall_after']:.4f} after {run['written']:,} replacements")
    kept.runs = {"beside": [run]}
    return [kept, loss]
