"""Figures of decisions beside requests whose rules search: how long one connection's searches hold up another."""

import json
import struct
from contextlib import closing

from . import searching
from .bench import Result, median
from .servers import Tern, free_port

RULES = """\
  - {{ id: alike, when: 'similar(docs, text_vector, k: {k}).score > 2', then: deny }}
"""
DEPTH = 64


def _write_config(bench, dim, capacity, k):
    """The configuration of searching.py with a rule that needs a search for whatever has a vector, and never holds."""
    path, address = bench.folder / "similar-beside.yaml", f"tcp://127.0.0.1:{free_port()}"
    text = searching.CONFIG.format(address=address, dim=dim, capacity=capacity, helpers=1)
    text = text.replace("path: string }", f"path: string, text_vector: vector({dim}) }}")
    path.write_text(text.replace("default: allow", RULES.format(k=k) + "default: allow"))
    return path, address


def _write_frames(bench, queries, dim, count=500):
    """DECIDE requests of one item with nothing but a vector."""
    path = bench.folder / "similar.frames"
    vectors = open(queries, "rb").read(count * dim * 4)
    with open(path, "wb") as out:
        for at in range(0, len(vectors) // (dim * 4) * dim * 4, dim * 4):
            item = struct.pack("<BH", 3, dim * 4) + vectors[at:at + dim * 4]
            body = struct.pack("<HH", 1, len(item)) + item
            frame = struct.pack("<BBBBIII", 0x54, 3, 0, 0, len(body), 1, 0) + body
            out.write(struct.pack("<I", len(frame)) + frame)
    return path


def _decide(bench, address, server_pid):
    return bench.measure(address, "--connections", 1, "--rate", 500, "--requests", bench.folder / "plain.csv", "--fields",
                         "ip:ip,path:string", server_pid=server_pid, seconds=2 * bench.seconds)


def _beside(bench, address, server_pid, frames):
    """The same while another process keeps 64 requests that search under way on one connection."""
    run, per_s = searching.beside(bench, address, ["--frames", frames, "--depth", DEPTH],
                                  3 * bench.seconds + 2 * bench.warmup, lambda: _decide(bench, address, server_pid))
    run["similar_per_s"] = per_s
    return run


def similar_beside(bench):
    """p99 of DECIDE on one connection while another pipelines 64 requests with `similar`, against without it."""
    fill, k = (1_500, 10) if bench.small else (100_000, 10)
    files, dim, kind = searching.input_of(bench)
    queries = files[files.index("--queries") + 1]
    frames = _write_frames(bench, queries, dim)
    (bench.folder / "plain.csv").write_text(
        "ip,path\n" + "".join(f"{i % 200 + 1}.2.3.4,/page/{i}\n" for i in range(1000)))
    path, address = _write_config(bench, dim, fill, k)
    with closing(Tern(bench, path, "similar-beside")) as tern:
        searching.in_process(bench, tern, ["--fill", fill, *files])
        runs = bench.interleave({
            "alone": lambda: _decide(bench, address, tern.pid),
            "beside": lambda: _beside(bench, address, tern.pid, frames),
            "one search": lambda: bench.measure(address, "--frames", frames, server_pid=tern.pid),
        }, min(bench.rounds, 3))
        stages = json.loads(tern.ternctl("stats", "--json"))["stages"]
    result = Result("similar-beside", "p99 of DECIDE at 500/s beside a connection with 64 requests under way that search, "
                    "against alone and two turns of searches (50 µs and one search)", "≤ 1×", "×").no_more(1)
    search_us = [run["latency_ns"]["p50"] / 1e3 for run in runs["one search"]]
    p99_us = {name: [run["latency_ns"]["p99"] / 1e3 for run in runs[name]] for name in ("alone", "beside")}
    result.values = [beside / (alone + 2 * (50 + one))
                     for beside, alone, one in zip(p99_us["beside"], p99_us["alone"], search_us)]
    p50_us = {name: median([run["latency_ns"]["p50"] for run in runs[name]]) / 1e3 for name in p99_us}
    result.note(f"{fill:,} {kind} × {dim}, int8: p50 {p50_us['alone']:.0f} µs alone and {p50_us['beside']:.0f} µs beside, p99 "
                f"{median(p99_us['alone']):.0f} and {median(p99_us['beside']):.0f} µs, beside "
                f"{median([run['similar_per_s'] for run in runs['beside']]):,.0f} such requests/s; one alone takes "
                f"{median(search_us):.0f} µs, {DEPTH} of them in one turn {DEPTH * median(search_us) / 1e3:.1f} ms")
    turn = stages.get("search_turn")
    if turn is not None:
        result.note(f"searches of one turn: p50 {turn['p50_ns'] / 1e3:.0f} µs, p99 {turn['p99_ns'] / 1e3:.0f} µs")
    result.runs = runs
    return [result]
