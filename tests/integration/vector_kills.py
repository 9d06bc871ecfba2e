"""Vectors written and searched while tern-control dies again and again: who writes and remembers, who searches,
and what must be there afterwards. An instance needs `run_dir` and `tcp` only (perf/lib/killing.py has another)."""
import random
import threading

from tern import Client, ConnectionClosed, NotWritten, TernError, Unreachable, Vectors

GONE = None


class Writer(threading.Thread):
    """Writes until it is stopped. `known[id]` is what the id may be: the version that was acknowledged last, and
    those that were sent after it without an answer."""

    def __init__(self, instance, ids, dim, seed):
        super().__init__(daemon=True)
        self.instance, self.dim, self.random = instance, dim, random.Random(seed)
        self.known = {id: [GONE] for id in range(ids)}
        self.sent = []  # batches: ids, and the version or GONE
        self.done, self.failure = threading.Event(), None
        self.version = self.acknowledged = self.broken = 0

    def vector(self, id, version):
        generator = random.Random(id * 1_000_003 + version)
        return [generator.gauss(0, 1) for _ in range(self.dim)]

    def run(self):
        try:
            while not self.done.is_set():
                try:
                    with Vectors(self.instance.run_dir, "docs", timeout=20) as docs:
                        self.write(docs)
                except (Unreachable, ConnectionClosed):
                    self.broken += 1
                except NotWritten as refused: # its start is not over: the collection is not there yet
                    if "no collection" not in str(refused):
                        raise
                self.done.wait(0.01)
        except Exception as failure: # told by whoever joins
            self.failure = failure

    def write(self, docs):
        flying = []
        while flying or not self.done.is_set():
            while len(flying) < 4 and not self.done.is_set():
                flying.append(self.next_batch())
                self.submit(docs, *flying[-1])
            docs.collect()
            ids, version = flying.pop(0)
            self.acknowledged += 1
            for id in ids: # whatever was sent before it is over
                del self.known[id][:self.known[id].index(version)]

    def next_batch(self):
        ids = self.random.sample(range(len(self.known)), self.random.randrange(1, 12))
        self.version += 1
        version = GONE if self.random.random() < 0.25 else self.version
        for id in ids:
            self.known[id].append(version)
        self.sent.append((ids, version))
        return ids, version

    def submit(self, docs, ids, version):
        if version is GONE:
            docs.submit_delete(ids)
        else:
            docs.submit_upsert({id: self.vector(id, version) for id in ids},
                               {id: {"version": version} for id in ids})


class Searcher(threading.Thread):
    """Searches without a pause until it is stopped; keeps whatever was not as it should be."""

    def __init__(self, instance, ids, dim, seed):
        super().__init__(daemon=True)
        self.instance, self.ids, self.dim, self.seed = instance, ids, dim, seed
        self.done = threading.Event()
        self.searches, self.failures = 0, []

    def run(self):
        generator = random.Random(self.seed + 1)
        with Client(self.instance.tcp, timeout=20) as client:
            while not self.done.is_set():
                try:
                    hits = client.search("docs", [generator.gauss(0, 1) for _ in range(self.dim)], 10)
                    if len({hit.id for hit in hits}) != len(hits) or any(hit.id >= self.ids for hit in hits):
                        self.failures.append(hits)
                except TernError as failure:
                    self.failures.append(failure)
                self.searches += 1


def inspect(instance, writer):
    """By searches that look at everything: the version of each id that is there, and what of it must not be."""
    state, wrong = {}, []
    with Client(instance.tcp, timeout=20) as client:
        for id, versions in writer.known.items():
            wanted = [version for version in versions if version is not GONE]
            found = set()
            for version in wanted:
                hit = client.search("docs", writer.vector(id, version), 1, exact=True, payload=True)
                if hit and hit[0].id == id:
                    found.add(hit[0].payload["version"])
            if len(found) > 1 or not found <= set(wanted):
                wrong.append(f"id {id} is {found}, not one of {versions}")
            elif not found and GONE not in versions:
                wrong.append(f"id {id} is lost, not one of {versions}")
            if found:
                state[id] = max(found)
    return state, wrong
