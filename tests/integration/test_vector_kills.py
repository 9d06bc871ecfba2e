"""tern-control killed at random instants while vectors are written and searched: no search fails, nothing that was
acknowledged is lost or comes back, and the store says the same once the arena is gone.

TERN_KILLS=1000 takes its time; the seed is printed with a failure."""
import os
import random
import shutil
import signal
import threading

import pytest
from instance import CONFIG, is_running, wait_until
from tern import Client, ConnectionClosed, NotWritten, TernError, Timeout, Unreachable, Vectors

DIM, IDS = 12, 400
KILLS = int(os.environ.get("TERN_KILLS", "8"))
SEED = int(os.environ.get("TERN_SEED", "20240917"))
KEYS = "{{ dim: 12, capacity: 5k, m: 8, full_scan_vectors: 0, payload: {{ version: u64 }} }}"
GONE = None


class Writer(threading.Thread):
    """Writes until it is stopped. `known[id]` is what the id may be: the version that was acknowledged last, and
    those that were sent after it without an answer."""

    def __init__(self, instance):
        super().__init__(daemon=True)
        self.instance, self.random = instance, random.Random(SEED)
        self.known = {id: [GONE] for id in range(IDS)}
        self.done, self.failure = threading.Event(), None
        self.version = self.acknowledged = self.broken = 0

    @staticmethod
    def vector(id, version):
        generator = random.Random(id * 1_000_003 + version)
        return [generator.gauss(0, 1) for _ in range(DIM)]

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
                ids = self.random.sample(range(IDS), self.random.randrange(1, 12))
                self.version += 1
                remove = self.random.random() < 0.25
                for id in ids:
                    self.known[id].append(GONE if remove else self.version)
                flying.append((ids, GONE if remove else self.version))
                if remove:
                    docs.submit_delete(ids)
                else:
                    docs.submit_upsert({id: self.vector(id, self.version) for id in ids},
                                       {id: {"version": self.version} for id in ids})
            docs.collect()
            ids, version = flying.pop(0)
            self.acknowledged += 1
            for id in ids: # whatever was sent before it is over
                del self.known[id][:self.known[id].index(version)]


class Searcher(threading.Thread):
    def __init__(self, instance):
        super().__init__(daemon=True)
        self.instance, self.done = instance, threading.Event()
        self.searches, self.failures = 0, []

    def run(self):
        generator = random.Random(SEED + 1)
        with Client(self.instance.tcp, timeout=20) as client:
            while not self.done.is_set():
                try:
                    hits = client.search("docs", [generator.gauss(0, 1) for _ in range(DIM)], 10)
                    if len({hit.id for hit in hits}) != len(hits) or any(hit.id >= IDS for hit in hits):
                        self.failures.append(hits)
                except TernError as failure:
                    self.failures.append(failure)
                self.searches += 1


def check(instance, known):
    """What each id is, by searches that look at everything."""
    with Client(instance.tcp, timeout=20) as client:
        for id, versions in known.items():
            wanted = [version for version in versions if version is not GONE]
            found = set()
            for version in wanted:
                hit = client.search("docs", Writer.vector(id, version), 1, exact=True, payload=True)
                if hit and hit[0].id == id:
                    found.add(hit[0].payload["version"])
            assert len(found) <= 1, f"id {id} is {found} (seed {SEED})"
            assert found or GONE in versions, f"id {id} is lost, not one of {versions} (seed {SEED})"
            assert found <= set(wanted), f"id {id} is {found}, not one of {versions} (seed {SEED})"


def live(instance):
    return next(item for item in instance.status()["collections"] if item["name"] == "docs" and item["served"])


def await_control(instance, before):
    wait_until(lambda: (instance.try_status() or {"controlplane": {"pid": before}})["controlplane"]["pid"]
               not in (None, before), "another tern-control")
    wait_until(lambda: not instance.status()["controlplane"]["starting"], "its start is over")


def test_nothing_that_was_acknowledged_is_lost(make_instance):
    instance = make_instance(config=CONFIG.replace("rules:\n", f"collections:\n  docs: {KEYS}\nrules:\n", 1)).start()
    writer, searcher = Writer(instance), Searcher(instance)
    generator = random.Random(SEED + 2)
    writer.start()
    wait_until(lambda: writer.acknowledged > 50 or writer.failure, "writing has begun")
    searcher.start()
    for _ in range(KILLS):
        pid, acknowledged = instance.control_pid(), writer.acknowledged
        wait_until(lambda before=acknowledged: writer.acknowledged > before + generator.randrange(40)
                   or writer.failure, "it writes again")
        threading.Event().wait(generator.random() * 0.05) # a random instant, not a condition
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda killed=pid: not is_running(killed), "tern-control is dead")
        await_control(instance, pid)
    writer.done.set()
    writer.join(60)
    searcher.done.set()
    searcher.join(60)
    assert writer.failure is None and not writer.is_alive(), writer.failure
    assert searcher.failures == [] and searcher.searches > KILLS
    assert writer.broken >= KILLS
    wait_until(lambda: live(instance)["state"] == "ready", "it is current")
    check(instance, writer.known)
    # the arena is gone: what the store says
    assert instance.stop() == 0
    shutil.rmtree(instance.run_dir)
    instance.run_dir.mkdir()
    instance.start()
    wait_until(lambda: live(instance)["state"] == "ready", "filled again")
    check(instance, writer.known)
