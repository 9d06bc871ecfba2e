"""tern-control killed again and again while vectors are written and searched, and started again by us: a supervisor
pauses after a few quick deaths, and those pauses are not what is asked for."""

import json
import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack, closing

from .bench import Result, median
from .searching import CONFIG, input_of, program
from .servers import Failure, TernApart, free_port, import_client, pinned

SEED = 20240917
DIM, IDS = 32, 5000
EF, K = 64, 10
INSTANT_S = 0.2  # a kill comes within so long after writing has begun again, or after the start


class Killable(TernApart):
    """Its tern-control dies when it is told to. Has what tests/integration/vector_kills.py needs of an instance."""

    def __init__(self, bench, name, dim, capacity):
        self.tcp = f"tcp://127.0.0.1:{free_port()}"
        path = bench.folder / f"{name}.yaml"
        path.write_text(CONFIG.format(address=self.tcp, dim=dim, capacity=capacity, helpers=1).replace(
            "full_scan_vectors: 0,", "full_scan_vectors: 0, payload: { version: u64 },"))
        self.state_dir = bench.folder / f"{name}-state"
        super().__init__(bench, path, name, [])

    def kill_control(self):
        self.processes[0].kill()
        self.processes[0].wait()

    def start_control(self):
        self.processes[0] = subprocess.Popen(
            pinned(self.bench.server_cpu, [self.bench.build / "tern-control", "--run-dir", self.run_dir, "--state-dir",
                                           self.state_dir, "--resume"]),
            stdout=subprocess.DEVNULL, stderr=self.log)

    def await_mended(self, seconds=60):
        """Nothing waits to be linked, repaired or swept."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            status = json.loads(self.ternctl("status", "--json", allowed=(0, 3))) # 3: it is not there yet
            docs = status.get("collections")
            if docs and not status["controlplane"]["starting"] and docs[0]["state"] == "ready" \
                    and docs[0]["tail"] == 0 and docs[0]["deleted"] == 0:
                return
            time.sleep(0.02)
        raise Failure("vectors are still being linked or mended:\n" + self.log_tail())


def _await(condition, what, threads, seconds=30):
    limit = time.monotonic() + seconds
    while not condition():
        for thread in threads:
            if thread.failure:
                raise Failure(f"{what}: {thread.failure}")
        if time.monotonic() > limit:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.001)


def _kill(bench, instance, writer, searcher, kills):
    generator = random.Random(SEED + 2)
    began = time.monotonic()
    for kill in range(kills):
        if kill == 0 or generator.random() >= 0.2: # else while it starts
            before = writer.acknowledged
            _await(lambda: writer.acknowledged > before, "it writes again", [writer])
        time.sleep(generator.random() * INSTANT_S)
        instance.kill_control()
        instance.start_control()
        if (kill + 1) % 50 == 0 and not bench.small:
            each = (time.monotonic() - began) / (kill + 1)
            print(f"  {kill + 1:,} of {kills:,} kills, {each:.2f} s each, {each * (kills - kill - 1):.0f} s left; "
                  f"{writer.acknowledged:,} batches acknowledged, {searcher.searches:,} searches, "
                  f"{len(searcher.failures)} failed", flush=True)
    return time.monotonic() - began


def _write_again(instance, writer, state, Vectors):
    """The same batches in the same order, nobody killed; then what became of those that a death cut off."""
    flying = 0
    with Vectors(instance.run_dir, "docs", timeout=60) as docs:
        def submit(ids, version):
            nonlocal flying
            if flying == 8:
                docs.collect()
                flying -= 1
            writer.submit(docs, ids, version)
            flying += 1
        last = {}
        for ids, version in writer.sent:
            submit(ids, version)
            last.update((id, version) for id in ids)
        for id, version in last.items():
            if state.get(id) != version:
                submit([id], state.get(id))
        while flying:
            docs.collect()
            flying -= 1


def _recall(instance, queries, client_of):
    """recall@10 against exact searches, and those searches' answers."""
    found, answers = 0, []
    with client_of(instance.tcp, timeout=20) as client:
        for query in queries:
            exact = [hit.id for hit in client.search("docs", query, K, exact=True)]
            found += len(set(exact) & {hit.id for hit in client.search("docs", query, K, ef=EF)})
            answers.append(exact)
    return found / (K * len(queries)), answers


def kills(bench):
    """tern-control killed with -9 at 1,000 random instants while vectors are written and searched, and started again
    each time: failed searches, acknowledged vectors lost, recall against the same writes without a kill."""
    tern = import_client(bench.root)
    sys.path.insert(0, os.fspath(bench.root / "tests" / "integration"))
    from vector_kills import Searcher, Writer, inspect # shared with the test
    count = int(os.environ.get("TERN_KILLS", 3 if bench.small else 1000))
    ids = 300 if bench.small else IDS
    generator = random.Random(SEED + 3)
    queries = [[generator.gauss(0, 1) for _ in range(DIM)] for _ in range(20 if bench.small else 4000)]
    with closing(Killable(bench, "kills", DIM, 4 * IDS)) as instance:
        writer, searcher = Writer(instance, ids, DIM, SEED), Searcher(instance, ids, DIM, SEED)
        writer.start()
        try:
            _await(lambda: writer.acknowledged > (20 if bench.small else ids), "writing begins", [writer], 120)
            searcher.start()
            took = _kill(bench, instance, writer, searcher, count)
        finally:
            writer.done.set()
            searcher.done.set()
        writer.join(60)
        searcher.join(60)
        if writer.failure or writer.is_alive():
            raise Failure(f"the writer: {writer.failure or 'does not end'}")
        instance.await_mended()
        state, wrong = inspect(instance, writer)
        recall, answers = _recall(instance, queries, tern.Client)
    with closing(Killable(bench, "no-kills", DIM, 4 * IDS)) as instance:
        _write_again(instance, writer, state, tern.Vectors)
        instance.await_mended()
        undisturbed, same = _recall(instance, queries, tern.Client)
    if same != answers:
        raise Failure("exact searches differ from those of the same vectors written without kills")
    failed = Result("kills-failed", f"searches that failed while tern-control was killed {count:,} times", "0",
                    "searches").no_more(0)
    failed.values = [len(searcher.failures)]
    failed.note(f"{count:,} kills in {took:.0f} s, {searcher.searches:,} searches")
    failed.notes += [str(failure) for failure in searcher.failures[:3]]
    lost = Result("kills-lost", "acknowledged vectors that were lost, or came back", "0", "vectors").no_more(0)
    lost.values = [len(wrong)]
    lost.note(f"{writer.acknowledged:,} batches acknowledged, {writer.broken:,} connections broken, {len(state):,} "
              f"vectors × {DIM}")
    lost.notes += wrong[:3]
    loss = Result("kills-recall", f"recall@{K} lost against the same writes without a kill, ef {EF}", "≤ 0.2 points",
                  "points").no_more(0.2)
    loss.values = [100 * (undisturbed - recall)]
    loss.note(f"{undisturbed:.4f} without, {recall:.4f} with, {len(queries):,} queries")
    return [failed, lost, loss]


def _restart_ms(instance, tern, vector):
    """From the death of tern-control, started again at once, to the first acknowledgement of a write."""
    instance.kill_control()
    began = time.monotonic()
    instance.start_control()
    while True:
        try:
            with tern.Vectors(instance.run_dir, "docs", timeout=60) as docs:
                docs.submit_upsert({0: vector})
                docs.collect()
                return 1000 * (time.monotonic() - began)
        except (tern.Unreachable, tern.ConnectionClosed):
            pass
        except tern.NotWritten as refused: # the collection is not there yet
            if "no collection" not in str(refused):
                raise
        if time.monotonic() > began + 60:
            raise Failure("no write is acknowledged a minute after the start:\n" + instance.log_tail())
        time.sleep(0.001)


def vectors_restart(bench):
    """tern-control killed and started again on an arena that is intact: until a write is acknowledged, with many
    vectors less the same with a thousand, a million vectors."""
    tern = import_client(bench.root)
    counts = (1_000, 4_000) if bench.small else (1_000, 500_000)
    files, dim, kind = input_of(bench)
    vector = [1.0] * dim
    with ExitStack() as stack:
        instances = {}
        for count in counts:
            instance = stack.enter_context(closing(Killable(bench, f"restart-{count}", dim, count)))
            program("perf-beside", [bench.build / "perf/perf-beside", "--run-dir", instance.run_dir, "--only-rest",
                                    "--rounds", 1, "--seconds", 0.01, "--recalls", 1, "--fill", count, "--multiply",
                                    "--reader-cpu", bench.client_cpu, "--writer-cpu", bench.client_cpu, *files])
            instance.await_mended()
            instances[count] = instance
        runs = bench.interleave({count: lambda instance=instance: _restart_ms(instance, tern, vector)
                                 for count, instance in instances.items()})
    few, many = counts
    result = Result("vectors-restart", "tern-control killed and started again, the arena intact: until a write is "
                    "acknowledged, less the same with 1,000 vectors, a million vectors", "≤ 200 ms", "ms").no_more(200)
    result.values = [(b - a) * 1e6 / (many - few) for a, b in zip(runs[few], runs[many])]
    result.note(f"{median(runs[many]):.0f} ms with {many:,} vectors × {dim}, {median(runs[few]):.0f} ms with {few:,}; {kind}"
                + (", multiplied with noise: synthetic" if many > 200_000 else ""))
    result.runs = {str(count): values for count, values in runs.items()}
    return [result]
