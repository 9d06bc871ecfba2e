"""Figures of writing vectors: sent to acknowledged at a given rate, and found at once by another process."""

import json
import subprocess
from contextlib import closing

from .bench import Result, median
from .servers import Failure, Tern, free_port, pinned

DIM = 100
RATE = 1000

CONFIG = """\
tern: 1
instance: perf
listen: [ "{address}" ]
workers: 1
arena: 2GiB
fields: {{ ip: ip }}
collections:
  docs: {{ dim: {dim}, metric: cosine, m: 16, ef_construct: 128, quantize: int8, capacity: {capacity} }}
rules: []
default: allow
"""


def commit_alone(bench, turn, seconds):
    """What a commit takes at that rate on the same disk and CPU, with nothing of tern around the store."""
    folder = bench.folder / f"commits-{turn}"
    folder.mkdir()
    command = [bench.build / "perf/perf-commits", "--rate", RATE, "--seconds", seconds, "--dim", DIM, folder]
    done = subprocess.run(pinned(bench.server_cpu, command), capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise Failure(f"perf-commits ended with {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)["commit_us"]


def upsert(bench):
    """Vectors sent at 1,000/s: p99 until they are acknowledged against commits of the same store by itself, which
    take turns; each is searched for in ternd as soon as it is acknowledged."""
    fill = 1_000 if bench.small else 100_000
    seconds = 0.5 if bench.small else 10.0
    address = f"tcp://127.0.0.1:{free_port()}"
    path = bench.folder / "upsert.yaml"
    path.write_text(CONFIG.format(address=address, dim=DIM, capacity=2 * fill + bench.rounds * RATE * 12))
    late = Result("upsert-ack", "upsert sent → acknowledged, p99 at 1,000/s, against 2 × the store's commit p99 + 2 ms",
                  "≤ 1×", "×").no_more(1)
    missed = Result("upsert-found", "acknowledged, but not found at once by a search in ternd", "0",
                    "vectors").no_more(0)
    runs, commits = [], []
    with closing(Tern(bench, path, "upsert")) as tern:
        for turn in range(bench.rounds):
            command = [bench.build / "perf/perf-upsert", "--control", f"unix://{tern.run_dir}/control.sock", "--target",
                       address, "--rate", RATE, "--seconds", seconds, "--seed", turn + 1,
                       "--fill", fill if turn == 0 else 0]
            done = subprocess.run(pinned(bench.client_cpu, command), capture_output=True, text=True, timeout=900)
            if done.returncode not in (0, 1) or not done.stdout:
                raise Failure(f"perf-upsert ended with {done.returncode}: {done.stdout}{done.stderr}")
            run = json.loads(done.stdout)
            runs.append(run)
            run["commit_us"] = commit_alone(bench, turn, seconds)
            commits.append(run["commit_us"]["p99"])
            late.values.append(run["ack_us"]["p99"] / (2 * run["commit_us"]["p99"] + 2000))
            missed.values.append(run["missed"])
    for result in (late, missed):
        result.runs = {"upsert": runs}
        result.note(f"{fill:,} vectors of {DIM} dimensions, int8, {len(runs)} runs of {seconds:g} s at {RATE:,}/s")
    missed.note(f"{sum(run['searched'] for run in runs):,} of {sum(run['acknowledged'] for run in runs):,} were "
                "searched for within a few milliseconds")
    late.note(f"acknowledged p50 {median([run['ack_us']['p50'] for run in runs]) / 1e3:.2f} ms, "
              f"p99 {median([run['ack_us']['p99'] for run in runs]) / 1e3:.2f} ms; "
              f"a commit by itself p99 {median(commits) / 1e3:.2f} ms; sent late p99 "
              f"{median([run['late_us']['p99'] for run in runs]) / 1e3:.2f} ms; search p99 "
              f"{median([run['search_us']['p99'] for run in runs]) / 1e3:.2f} ms")
    return [late, missed]
