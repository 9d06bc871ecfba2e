"""Vector collections against hnswlib and faiss: recall@10 against queries a second, build rate, memory."""

import gzip
import pathlib
import re
import shutil
import subprocess

from .bench import Result
from .servers import Failure, pinned

FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
CURVE = re.compile(r"^(\S+)-ef([0-9]+)-(recall|qps)$")
FIGURE = re.compile(r"^figure (\S+) (-?[0-9.]+)", re.M)
IDX_HEADER = 16


def unpack(source, target, skip=0):
    with gzip.open(source, "rb") as packed, open(target, "wb") as plain:
        packed.read(skip)
        shutil.copyfileobj(packed, plain)
    return target


def words(bench):
    """The word vectors beside the repository; None when they are not there."""
    folder = bench.data.folder / "vectors" / "wink100" if bench.data.folder else None
    if folder is None or not folder.exists():
        return None
    return ["--vectors", unpack(folder / "vectors.f32.gz", bench.folder / "wink-vectors"),
            "--queries", unpack(folder / "queries.f32.gz", bench.folder / "wink-queries"), "--dim", 100]


def fashion(bench):
    if not FASHION.exists():
        return None
    return ["--vectors", unpack(FASHION / "train-images-idx3-ubyte.gz", bench.folder / "fashion", IDX_HEADER),
            "--queries", unpack(FASHION / "t10k-images-idx3-ubyte.gz", bench.folder / "fashion-q", IDX_HEADER),
            "--dim", 784, "--bytes", "--l2"]


def curves(figures):
    """By peer: (recall, queries a second), as ef grows."""
    points = {}
    for name, value in figures.items():
        found = CURVE.match(name)
        if found:
            points.setdefault(found[1], {}).setdefault(int(found[2]), {})[found[3]] = value
    return {peer: [[point["recall"], point["qps"]] for _, point in sorted(of_peer.items())]
            for peer, of_peer in points.items()}


def measure(bench, name, text, arguments, targets, build):
    command = [str(word) for word in [bench.build / "perf" / "perf-vector", *arguments]]
    command += ["--small"] if bench.small else ["--rounds", str(bench.rounds)]
    done = subprocess.run(pinned(bench.server_cpu, command), capture_output=True, text=True, timeout=7200)
    if done.returncode != 0:
        raise Failure(f"perf-vector ended with {done.returncode}: {done.stdout}{done.stderr}")
    figures = {figure: float(value) for figure, value in FIGURE.findall(done.stdout)}
    if "hnswlib-build" not in figures:
        raise Failure("there is no hnswlib to compare with: scripts/deps --perf, then configure again")
    results = []
    for percent, least in targets:
        result = Result(f"{name}-{percent}", f"{text}: queries/s at recall@10 0.{percent} against hnswlib",
                        f"≥ {least}×", "×").at_least(least)
        seen = {peer: figures.get(f"{peer}-qps-{percent}") for peer in ("tern", "hnswlib", "faiss")}
        if seen["tern"] and seen["hnswlib"]:
            result.values = [seen["tern"] / seen["hnswlib"]]
        result.note(", ".join(f"{peer} {qps:,.0f}" if qps else f"{peer} does not reach it"
                              for peer, qps in seen.items()) + " a second")
        results.append(result)
    results[0].runs = {"curves": curves(figures)}
    if build:
        result = Result(f"{name}-build", f"{text}: inserts/s against hnswlib", "≥ 1.3×", "×").at_least(1.3)
        result.values = [figures["tern-build"] / figures["hnswlib-build"]]
        result.note(", ".join(f"{peer} {figures[peer + '-build']:,.0f}/s"
                              for peer in ("tern", "hnswlib", "faiss") if peer + "-build" in figures))
        room = Result(f"{name}-bytes", f"{text}: bytes of arena a vector, int8 and f32", "≤ 720 B",
                      "B").no_more(720)
        room.values = [figures["tern-bytes"]]
        results += [result, room]
    return results


def _compare(bench, name, text, arguments, targets, build=False):
    """Small mode generates its vectors, whatever is compared otherwise."""
    if bench.small:
        return measure(bench, name, f"generated vectors instead of {text}", [], targets, build)
    if arguments is None:
        raise Failure(f"there are no {text}")
    return measure(bench, name, text, arguments, targets, build)


def vector_words(bench):
    """Word vectors against hnswlib and faiss on one thread, same m and ef_construct: recall against searches/s, inserts/s,
    bytes."""
    files = words(bench)
    return _compare(bench, "vector-words", "200k word vectors, 100-d cosine", files and [*files, "--queries-max", 2000],
                    [(95, 2.5), (99, 2.3)], build=True)


def vector_images(bench):
    """Images (Debian's dataset-fashion-mnist) against hnswlib and faiss likewise."""
    files = fashion(bench)
    return _compare(bench, "vector-images", "fashion-mnist, 784-d l2", files and [*files, "--queries-max", 1000],
                    [(95, 2.3), (99, 2.5)])


def vector_lifted(bench):
    """Word vectors lifted to 768 dimensions (synthetic) against hnswlib and faiss likewise."""
    files = words(bench)
    return _compare(bench, "vector-lifted", "100k word vectors lifted to 768-d, synthetic",
                    files and [*files, "--lift", 768, "--vectors-max", 100000, "--queries-max", 1000], [(95, 2.5)])
