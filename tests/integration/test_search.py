"""SEARCH through the processes: what is found, with filters and payload, in the loop and by helpers, while vectors
and generations change, and by `ternctl search`."""
import heapq
import json
import math
import os
import signal
import struct
import subprocess
import threading

import pytest
from instance import BUILD, CONFIG, Instance, is_running, wait_until
from tern import ConnectionClosed, EncodeError, Op, Status, StatusError, Type, pack_value
from tern.local import Local
from test_local import LIBRARY
from vectors import Vectors, random_rows

DIM = 16
COLLECTIONS = f"""\
collections:
  docs: {{{{ dim: {DIM}, capacity: 20k, payload: {{{{ label: string, tenant: u32, time: u64, ratio: f32, live: bool }}}} }}}}
  empty: {{{{ dim: 3, capacity: 1k, metric: l2 }}}}
"""
WITH_VECTORS = CONFIG.replace("rules:\n", COLLECTIONS + "rules:\n", 1)
COUNT = 3000
ROWS = random_rows(range(COUNT), DIM)
LABELS = ["fraud", "spam", "fine", "größe"]


def payload_of(identifier):
    payload = {"tenant": identifier % 10, "time": 1_700_000_000 + identifier, "ratio": identifier / COUNT,
               "live": identifier % 2}
    if identifier % 4 != 3:
        payload["label"] = LABELS[identifier % 3]
    return payload


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def nearest(query, k, passes=lambda payload: True):
    """The slow reference."""
    scores = ((cosine(query, row), identifier) for identifier, row in ROWS.items() if passes(payload_of(identifier)))
    return [identifier for _, identifier in heapq.nlargest(k, scores)]


@pytest.fixture(scope="module", params=["io_uring", "epoll"])
def filled(request):
    instance = Instance(backend=request.param, config=WITH_VECTORS)
    try:
        instance.start()
        if instance.status()["dataplane"]["backend"] != request.param:
            pytest.skip(f"this machine has no {request.param}")
        with Vectors(instance, "docs") as docs:
            for at in range(0, COUNT, 500):
                rows = {identifier: ROWS[identifier] for identifier in range(at, at + 500)}
                docs.upsert(rows, {identifier: payload_of(identifier) for identifier in rows})
        yield instance
    finally:
        problems = instance.dispose()
    assert not problems, problems


FILTERS = {
    'label == "fraud"': lambda p: p.get("label") == "fraud",
    'label != "fraud"': lambda p: "label" in p and p["label"] != "fraud",
    "not exists(label)": lambda p: "label" not in p,
    'label in {"spam", "never"} and tenant in {1..3, 7}': lambda p: p.get("label") == "spam" and p["tenant"] in (1, 2, 3, 7),
    "time >= 1700002900 or not ratio > 0.01": lambda p: p["time"] >= 1700002900 or not p["ratio"] > 0.01,
    "live == true and tenant == 4": lambda p: False,  # even tenants are never live
    'label ends_with "m" || label starts_with "fi" || label contains "rau"': lambda p: "label" in p,
}


def test_what_is_nearest_is_found(filled):
    client = filled.client()
    assert [(entry.name, entry.dim) for entry in client.hello().collections] == [("docs", DIM), ("empty", 3)]
    for seed in range(5):
        query = random_rows([0], DIM, seed + 100)[0]
        for exact in (False, True):  # below full_scan_vectors both compare all
            hits = client.search("docs", query, 20, exact=exact)
            assert [hit.id for hit in hits] == nearest(query, 20)
            assert all(abs(hit.score - cosine(query, ROWS[hit.id])) < 1e-5 for hit in hits)
    assert client.search("empty", [1, 2, 3]) == []


def test_a_collection_describes_itself(filled):
    client = filled.client()
    docs = client.describe_collection("docs")
    assert (docs.id, docs.metric, docs.quantize, docs.dim, docs.capacity, docs.ef) == (1, "cosine", "int8", DIM, 20000, 64)
    assert docs.vectors >= COUNT
    assert list(docs.columns.items()) == [("label", Type.STRING), ("tenant", Type.U32), ("time", Type.U64),
                                          ("ratio", Type.F32), ("live", Type.BOOL)]
    empty = client.describe_collection(2)
    assert (empty.metric, empty.dim, empty.columns) == ("l2", 3, {})
    assert client.describe().rules, "rules are described as ever"
    for body, status in ((struct.pack("<BH", 3, 3), Status.NOT_FOUND), (struct.pack("<BH", 3, 0), Status.NOT_FOUND),
                         (struct.pack("<BH", 2, 1), Status.UNSUPPORTED), (b"\3\1", Status.BAD_FRAME),
                         (struct.pack("<BHH", 3, 1, 0), Status.BAD_FRAME)):
        with pytest.raises(StatusError) as refused:
            client.collect(client.send_frame(Op.DESCRIBE, body))
        assert refused.value.status == status


@pytest.mark.parametrize("expression", FILTERS)
def test_filters_and_payload(filled, expression):
    client = filled.client()
    query = random_rows([0], DIM, 7)[0]
    hits = client.search("docs", query, 50, filter=expression, payload=True)
    assert [hit.id for hit in hits] == nearest(query, 50, FILTERS[expression])
    for hit in hits:
        expected = payload_of(hit.id)
        assert hit.payload["label"] == (LABELS[hit.id % 3] if "label" in expected else None)
        assert (hit.payload["tenant"], hit.payload["time"], hit.payload["live"]) == (
            expected["tenant"], expected["time"], bool(expected["live"]))


@pytest.mark.parametrize("arguments,status,message", [
    (dict(k=0), Status.BAD_FIELD, "k"), (dict(k=1001), Status.BAD_FIELD, "k"),
    (dict(ef=4097), Status.BAD_FIELD, "ef"),
    (dict(vector=pack_value(Type.VECTOR, [1.0] * 15)), Status.BAD_FRAME, "16 dimensions"),
    (dict(vector=pack_value(Type.VECTOR, [math.inf] * DIM)), Status.BAD_FIELD, "finite"),
    (dict(collection=3), Status.NOT_FOUND, "no such collection"),
    (dict(filter="tenant == 'x'"), Status.BAD_FIELD, "filter, byte 10"),
    (dict(filter="nothing == 1"), Status.BAD_FIELD, "unknown column 'nothing', there is label, tenant"),
])
def test_refusals(filled, arguments, status, message):
    client = filled.client()
    with pytest.raises(StatusError) as refused:
        client.search(**{"collection": 1, "vector": pack_value(Type.VECTOR, [1.0] * DIM), **arguments})
    assert refused.value.status == status and message in str(refused.value)
    client.ping()


def test_many_at_once_go_to_helpers_and_others_do_not_wait(filled):
    client = filled.client()
    query = random_rows([0], DIM, 9)[0]
    before = filled.stats()
    expected = nearest(query, 5)
    identities = [client.submit_search("docs", query, 5, deadline_us=20_000_000) for _ in range(60)]
    client.ping()
    for identity in identities:
        assert [hit.id for hit in client.collect_hits(identity)] == expected
    after = filled.stats()
    assert after["searches"] - before["searches"] == 60
    assert after["searches_offloaded"] > before["searches_offloaded"]
    stages = filled.ctl_json("stats")["stages"]
    assert any("search" in json.dumps(stage) for stage in stages)


def test_overload_deadline_and_cancel_are_told_apart(filled):
    client = filled.client()
    body = pack_value(Type.VECTOR, random_rows([0], DIM, 11)[0])
    identities = [client.submit_search(1, body, 1000, deadline_us=1 if number % 3 == 0 else 0, exact=True)
                  for number in range(300)]
    for identity in identities[::7]:
        client.collect(client.send_frame(Op.CANCEL, identity.to_bytes(4, "little")))
    outcomes = []
    for identity in identities:
        try:
            outcomes.append("hits" if len(client.collect_hits(identity)) == 1000 else "wrong")
        except StatusError as error:
            outcomes.append(error.status.name)
    assert set(outcomes) <= {"hits", "OVERLOADED", "DEADLINE", "CANCELLED"} and "hits" in outcomes
    assert len(client.search(1, body, 10)) == 10


def test_ternctl_search(filled):
    query = ",".join(map(str, ROWS[42]))
    found = filled.ctl_json("search", "docs", "--vector", query, "-k", "3", "--filter", "tenant == 2")
    assert [hit["id"] for hit in found["hits"]] == nearest(ROWS[42], 3, lambda p: p["tenant"] == 2)
    assert found["hits"][0]["id"] == 42 and abs(found["hits"][0]["score"] - 1) < 1e-5
    assert found["hits"][0]["payload"]["tenant"] == 2 and found["hits"][0]["payload"]["time"] == 1_700_000_042
    path = filled.directory / "query"
    path.write_bytes(pack_value(Type.VECTOR, ROWS[42]))
    assert filled.ctl_json("search", "docs", "--vector-file", str(path), "-k", "1", "--exact")["hits"][0]["id"] == 42
    path.write_text(json.dumps(ROWS[42]))
    done = filled.ctl("search", "docs", "--vector-file", str(path))
    assert "label" in done.stdout and " 42 " in done.stdout
    for arguments, message in [
            (("dogs", "--vector", "1"), "did you mean 'docs'?"), (("docs", "--vector", "1,2"), "has 2 numbers"),
            (("docs", "--vector", query, "--filter", "tenant ="), "filter, byte 7"),
            (("docs", "--vector", "x" + query), "is no number"), (("docs",), "--vector NUMBERS"),
            (("docs", "--vector", query, "--id", "1"), "needs one of")]:
        done = filled.ctl("search", *arguments, check=2)
        assert message in done.stderr, done.stderr


def test_ternctl_search_by_id(filled):
    found = filled.ctl_json("search", "docs", "--id", "42", "-k", "5")
    assert [hit["id"] for hit in found["hits"]] == [i for i in nearest(ROWS[42], 6) if i != 42]
    expected = payload_of(42)
    vector = found["vector"]
    assert (vector["id"], vector["dim"], vector["seq"]) == (42, DIM, 43)
    assert vector["payload"] == {"label": expected["label"], "tenant": expected["tenant"], "time": expected["time"],
                                 "ratio": expected["ratio"], "live": bool(expected["live"])}
    # what a filter leaves out is not taken for the vector itself
    found = filled.ctl_json("search", "docs", "--id", "43", "-k", "4", "--filter", "tenant == 2")
    assert [hit["id"] for hit in found["hits"]] == nearest(ROWS[43], 4, lambda p: p["tenant"] == 2)
    assert found["vector"]["payload"]["label"] is None and found["vector"]["payload"]["live"] is True
    assert len(filled.ctl_json("search", "docs", "--id", "42", "-k", "1000")["hits"]) >= 999
    done = filled.ctl("search", "docs", "--id", "42", "-k", "2")
    assert done.stdout.startswith('vector 42, write 43: label "fraud", tenant 2, time 1700000042, ratio 0.014, live false\n')
    done = filled.ctl("search", "docs", "--id", str(COUNT), check=1)
    assert f"collection docs has no vector {COUNT}" in done.stderr
    done = filled.ctl("search", "empty", "--id", "1", check=1)
    assert "collection empty has no vector 1" in done.stderr
    assert "did you mean 'docs'?" in filled.ctl("search", "dogs", "--id", "1", check=2).stderr
    with Vectors(filled, "empty") as empty:
        empty.upsert({1: [1, 2, 3], 2**64 - 1: [1, 2, 4]})
        assert [hit["id"] for hit in filled.ctl_json("search", "empty", "--id", str(2**64 - 1))["hits"]] == [1]
        empty.delete([1, 2**64 - 1])
    assert "has no vector 1" in filled.ctl("search", "empty", "--id", "1", check=1).stderr


def test_the_same_in_the_callers_own_process(filled):
    with Local(filled.run_dir, library=LIBRARY) as local:
        client, query = filled.client(), random_rows([0], DIM, 13)[0]
        for expression in [None, *FILTERS]:
            for payload in (False, True):
                assert local.search("docs", query, 30, filter=expression, payload=payload) == client.search(
                    "docs", query, 30, filter=expression, payload=payload)
        assert local.search("docs", query, 1000, payload=True) == client.search("docs", query, 1000, payload=True)
        assert local.search("empty", [1, 2, 3], payload=True) == []
        with pytest.raises(EncodeError, match="no collection 'dogs'"):
            local.search("dogs", query)
        with pytest.raises(EncodeError, match="16 dimensions, not 3"):
            local.search("docs", [1, 2, 3])
        with pytest.raises(EncodeError, match="filter, byte 7"):
            local.search("docs", query, filter="tenant = 1")
        with pytest.raises(EncodeError):
            local.search("docs", query, 0)


def test_payload_in_the_callers_process_outlives_the_vector(filled):
    identifier, row = COUNT + 7, [1.0] * DIM
    with Local(filled.run_dir, library=LIBRARY) as local, Vectors(filled, "docs") as docs:
        docs.upsert({identifier: row}, {identifier: {"label": "first", "tenant": 1}})
        found = local.search("docs", row, 1, payload=True)
        for step in range(20):
            docs.upsert({identifier: row}, {identifier: {"label": f"later {step}", "tenant": 2}})
        docs.delete([identifier])
        filled.apply()
        local.refresh()
        local.rest()
        assert [local._payload(0, column) for column in range(2)] == ["first", 1]
        assert found[0].payload["label"] == "first"
        assert local.search("docs", row, 1, payload=True)[0].id != identifier


def test_the_example_program(filled):
    def ask(*arguments, vectors):
        lines = "".join(" ".join(map(str, vector)) + "\n" for vector in vectors)
        return subprocess.run([BUILD / "clients/c/examples/local_search", filled.run_dir, *arguments], input=lines,
                              capture_output=True, text=True, timeout=30)

    done = ask("docs", "3", "tenant == 2", vectors=[ROWS[42], ROWS[7]])
    first, second, rest = done.stdout.split("\n\n")
    assert rest == "" and done.returncode == 0
    for text, row in ((first, ROWS[42]), (second, ROWS[7])):
        assert [int(line.split()[0]) for line in text.splitlines()] == nearest(row, 3, lambda p: p["tenant"] == 2)
    assert first.splitlines()[0] == "42 1.0000 label=fraud tenant=2 time=1700000042 ratio=0.014 live=0"
    assert "error: a vector of this collection has 16 dimensions, not 2" in ask("docs", "3", vectors=[[1, 2]]).stdout
    assert "error: no numbers" in ask("docs", "3", vectors=[["x"]]).stdout
    assert "no collection dogs" in ask("dogs", "3", vectors=[]).stderr


def test_searches_go_on_while_vectors_and_generations_change(make_instance):
    instance = make_instance(config=WITH_VECTORS).start()
    stop, problems, answers = threading.Event(), [], []

    def search(seed):
        client = instance.client()
        query = random_rows([0], DIM, seed)[0]
        while not stop.is_set():
            try:
                hits = client.search("docs", query, 10, filter="tenant >= 0", payload=True)
                if len({hit.id for hit in hits}) != len(hits) or any(hit.payload["tenant"] != hit.id % 10 for hit in hits):
                    problems.append(hits)
                answers.append(len(hits))
            except StatusError as error:
                problems.append(error)

    threads = [threading.Thread(target=search, args=(seed,)) for seed in (1, 2)]
    with Vectors(instance, "docs") as docs:
        docs.upsert({1: ROWS[1]}, {1: payload_of(1)})
        for thread in threads:
            thread.start()
        for step in range(12):
            rows = {identifier: ROWS[(identifier + step) % COUNT] for identifier in range(step * 20, step * 20 + 60)}
            docs.upsert(rows, {identifier: payload_of(identifier) for identifier in rows})
            docs.delete([step * 20])
            if step % 4 == 3:
                instance.apply()
    asked = len(answers)
    os.kill(instance.control_pid(), signal.SIGKILL)  # searches need no tern-control
    wait_until(lambda: len(answers) > asked + 20 or problems, "searches without tern-control")
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == [] and max(answers) == 10


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_a_stop_answers_every_search_that_was_sent(make_instance, backend):
    """All that has arrived when ternd is told to end is answered, parked or not, before it ends."""
    instance = make_instance(config=WITH_VECTORS, backend=backend).start()
    with Vectors(instance, "docs") as docs:
        for at in range(0, COUNT, 1000):
            docs.upsert({identifier: ROWS[identifier] for identifier in range(at, at + 1000)})
    client, ternd = instance.client(follow_goaway=False), instance.ternd_pid()
    client.hello()
    query = random_rows([0], DIM, 21)[0]
    expected = nearest(query, 1000)
    os.kill(ternd, signal.SIGSTOP)  # what is sent now waits in the socket, and is taken in one turn
    identities = [client.submit_search("docs", query, 1000, exact=True, deadline_us=20_000_000) for _ in range(100)]
    os.kill(ternd, signal.SIGTERM)
    os.kill(ternd, signal.SIGCONT)
    outcomes = {"OK": 0, "OVERLOADED": 0}
    for identity in identities:
        try:
            assert [hit.id for hit in client.collect_hits(identity)] == expected
            outcomes["OK"] += 1
        except StatusError as error:  # only a helper's full queue, as at any other time
            outcomes[error.status.name] += 1
    assert outcomes["OK"] >= 64 and sum(outcomes.values()) == 100
    wait_until(lambda: not is_running(ternd), "the end of ternd")
    assert client.goaway is not None
    with pytest.raises(ConnectionClosed):
        client.ping()
