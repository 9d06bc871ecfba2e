"""Vectors written by Python's client: every type of payload, many batches in flight, refusals, and two at once."""
import array
import os
import signal

import pytest
from instance import CONFIG, is_running, wait_until
from tern import ConnectionClosed, EncodeError, NotWritten, Timeout, Unreachable, Vectors
from vectors import live, random_rows

DIM = 8
KEYS = "{{ dim: 8, capacity: 5k, m: 8, payload: {{ label: string, good: bool, tenant: u32, time: u64, delta: i64, " \
       "weight: f32 }} }}"


@pytest.fixture
def instance(make_instance):
    return make_instance(config=CONFIG.replace("rules:\n", f"collections:\n  docs: {KEYS}\nrules:\n", 1)).start()


def test_upsert_and_delete(instance):
    rows = random_rows(range(100), DIM)
    with Vectors(instance.run_dir, "docs") as docs:
        assert docs.collection.dim == DIM and docs.collection.metric == "cosine"
        assert docs.collection.capacity == 5000 and docs.collection.columns == {
            "label": "string", "good": "bool", "tenant": "u32", "time": "u64", "delta": "i64", "weight": "f32"}
        ack = docs.upsert(rows, {3: {"label": "späm", "good": True, "tenant": 2 ** 32 - 1, "time": 2 ** 64 - 1,
                                     "delta": -2 ** 63, "weight": -0.5}, 4: {"good": None, "tenant": 0}})
        assert ack.written == 100 and ack.removed == 0 and ack.seq >= 100 and live(instance) == 100
        packed = {2 ** 64 - 1: array.array("f", rows[0]).tobytes(), 0: array.array("f", rows[1])}
        later = docs.upsert(packed)
        assert later.seq > ack.seq and live(instance) == 101
        assert docs.delete([0, 1, 2 ** 64 - 1, 777]).removed == 3
        assert docs.delete([777]).seq == 0
    assert live(instance) == 98


def test_many_batches_in_flight(instance):
    with Vectors(instance.run_dir, "docs", timeout=60) as docs:
        tickets, collected = [], []
        for batch in range(100):
            if docs.in_flight == 32:
                collected.append(docs.collect().ticket)
            tickets.append(docs.submit_upsert(random_rows(range(batch * 20, batch * 20 + 20), DIM, seed=batch)))
        while docs.in_flight:
            collected.append(docs.collect().ticket)
    assert collected == tickets and live(instance) == 2000


def test_a_full_collection_takes_other_vectors_of_its_ids(make_instance):
    keys = KEYS.replace("capacity: 5k", "capacity: 100")
    instance = make_instance(config=CONFIG.replace("rules:\n", f"collections:\n  docs: {keys}\nrules:\n", 1)).start()
    with Vectors(instance.run_dir, "docs") as docs:
        docs.upsert(random_rows(range(100), DIM))
        assert docs.upsert(random_rows(range(50, 100), DIM, seed=1)).written == 50
        with pytest.raises(NotWritten, match="is full: it holds 100 of 100 vectors"):
            docs.upsert(random_rows(range(99, 101), DIM, seed=2))
        docs.delete([7])
        assert docs.upsert(random_rows([1000, 8], DIM, seed=3)).written == 2
    assert live(instance) == 100 and instance.status()["controlplane"]["pid"] is not None


def test_refusals(instance):
    zero = [0.0] * DIM
    with Vectors(instance.run_dir, "docs") as docs, Vectors(instance.run_dir, "docs") as other:
        for vectors, payload, message in (
                ({1: [1.0]}, None, "a vector has 1 values, the collection takes 8"),
                ({1: ["x"] * DIM}, None, "a sequence of numbers"),
                ({-1: zero}, None, "an id is a whole number"),
                ({}, None, "1 to 1024 ids"),
                ({1: zero}, {1: {"colour": "red"}}, "collection docs has no payload colour"),
                ({1: zero}, {1: {"label": 5}}, "a value of payload label is no string"),
                ({1: zero}, {1: {"time": -1}}, "a value of payload time is no u64"),
                ({1: zero}, {1: {"delta": 2 ** 63}}, "a value of payload delta is no i64"),
                ({1: zero}, {1: {"weight": "heavy"}}, "a value of payload weight is no f32")):
            with pytest.raises(EncodeError, match=message):
                docs.upsert(vectors, payload)
        with pytest.raises(NotWritten, match="id 2: .*finite") as refused:
            docs.upsert({1: zero, 2: [float("nan")] * DIM})
        assert refused.value.code == -1 and refused.value.refused == 2
        with pytest.raises(NotWritten, match="payload tenant is a u32, 4294967296 is too large"):
            docs.upsert({1: zero}, {1: {"tenant": 2 ** 32}})
        with pytest.raises(NotWritten, match="payload weight is not a finite number"):
            docs.upsert({1: zero}, {1: {"weight": float("inf")}})
        assert live(instance) == 0, "nothing of them was written"
        assert docs.upsert({1: zero}).written == 1, "a vector of zeros is one"
        other.submit_upsert({5: zero})
        with pytest.raises(EncodeError, match="in flight"):
            other.upsert({6: zero})
        assert other.collect().written == 1
    with pytest.raises(NotWritten, match="there is no collection 'dogs'; there are: docs"):
        Vectors(instance.run_dir, "dogs")
    with pytest.raises(Unreachable):
        Vectors(instance.directory, "docs")


def test_a_tern_control_that_goes(instance):
    docs = Vectors(instance.run_dir, "docs", timeout=0.2)
    pid = instance.control_pid()
    os.kill(pid, signal.SIGSTOP)
    docs.submit_upsert(random_rows([1], DIM))
    with pytest.raises(Timeout):
        docs.collect()
    os.kill(pid, signal.SIGCONT)
    docs.timeout = 20
    assert docs.collect().written == 1, "late, but it came"
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), "tern-control is dead")
    with pytest.raises(ConnectionClosed):
        for _ in range(3):
            docs.upsert(random_rows([2], DIM))
    instance.await_control(pid)
    with Vectors(instance.run_dir, "docs") as again:
        again.upsert(random_rows([2, 3], DIM))
    assert live(instance) == 3
