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
FIGURE = re.compile(r"^figure (\S+) ([0-9.]+)", re.M)
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


def vector(bench):
    """Vector collections against hnswlib and faiss on one thread, same data, m and ef_construct: word vectors,
    images, word vectors lifted to 768 dimensions (synthetic)."""
    of_words, of_images = words(bench), fashion(bench)
    if bench.small:
        return measure(bench, "vector", "generated vectors", [], [(95, 2.5)], True)
    if of_words is None and of_images is None:
        raise Failure("neither the word vectors nor Debian's dataset-fashion-mnist are there")
    results = []
    if of_words is not None:
        results += measure(bench, "vector-words", "200k word vectors, 100-d cosine",
                           [*of_words, "--queries-max", 2000], [(95, 2.5), (99, 2.3)], True)
    if of_images is not None:
        results += measure(bench, "vector-images", "fashion-mnist, 784-d l2",
                           [*of_images, "--queries-max", 1000], [(95, 2.3), (99, 2.5)], False)
    if of_words is not None:
        results += measure(bench, "vector-lifted", "100k word vectors lifted to 768-d, synthetic",
                           [*of_words, "--lift", 768, "--vectors-max", 100000, "--queries-max", 1000],
                           [(95, 2.5)], False)
    return results
