"""Rules that ask what a request resembles, through the processes: collections that change under them, verdicts
that follow at once, in the request loop and in other programs."""
import json
import os
import random
import signal
import threading

import pytest
from instance import CONFIG, is_running, wait_until
from tern import Action, EncodeError, Op
from tern.local import Local
from tern.wire import pack_frame
from test_local import LIBRARY
from vectors import Vectors

DIM = 8
COLLECTIONS = f"""\
collections:
  docs: {{{{ dim: {DIM}, capacity: 4k, payload: {{{{ label: string, tenant: u32, time: u64 }}}} }}}}
  near: {{{{ dim: {DIM}, capacity: 4k, metric: l2, payload: {{{{ label: string }}}} }}}}
"""
WITH_VECTORS = CONFIG.replace("  flag: bool\n", f"  flag: bool\n  text_vector: vector({DIM})\n").replace(
    "rules:\n", COLLECTIONS + "rules:\n", 1)

RULES = """\
  - { id: own-net, when: 'ip in {10.0.0.0/8}', then: allow }
  - { id: fraud, when: 'similar(docs, text_vector, k: 10, min: 0.8).label in {"fraud", "abuse"}', then: deny }
  - { id: tenant, when: 'similar(docs, text_vector, k: 5).tenant == 7 and path starts_with "/t"', then: challenge }
  - { id: close, when: 'similar(near, text_vector, k: 1).score >= 0.5', then: challenge }
  - { id: unheard, when: 'exists(text_vector) and not exists(similar(docs, text_vector, k: 3, min: 0.2))', add: 4 }
"""
X = [1.0] + [0.0] * (DIM - 1)
Y = [0.0, 1.0] + [0.0] * (DIM - 2)


@pytest.fixture
def instance(make_instance):
    return make_instance(config=WITH_VECTORS, rules=RULES).start()


def turned(share):
    """A vector between X and Y."""
    return [1 - share, share] + [0.0] * (DIM - 2)


class Asking:
    """Who decides it names: the server, and a reader in this program."""

    def __init__(self, instance):
        self.client = instance.client()
        self.local = Local(instance.run_dir, library=LIBRARY)

    def __call__(self, **request):
        verdict, here = self.client.decide(request), self.local.decide(request)
        assert (verdict.action, verdict.rule) == (here.action, here.rule), request
        return self.client.describe().name(verdict.rule)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.local.close()


def test_verdicts_follow_the_collection_at_once(instance):
    with Asking(instance) as ask, Vectors(instance, "docs") as docs, Vectors(instance, "near") as near:
        assert ask() == "default"
        assert ask(text_vector=X) == "default" and ask.client.decide({"text_vector": X}).score == 4
        docs.upsert({1: turned(0.1)}, {1: {"label": "fraud", "tenant": 7}})
        assert ask(text_vector=X) == "fraud"
        assert ask(text_vector=X, ip="10.0.0.1") == "own-net"
        assert ask(text_vector=Y) == "default" and ask(text_vector=Y, path="/t") == "tenant"
        docs.upsert({2: X, 3: X}, {2: {"label": "fine"}, 3: {"label": "fine", "tenant": 8}})
        assert ask(text_vector=X) == "default" and ask(text_vector=X, path="/t") == "default"
        for step in range(60):  # the newest value of an id is the one that counts, the moment it is acknowledged
            label = "abuse" if step % 2 else "fine"
            docs.upsert({2: turned(step % 5 / 40), 3: X}, {2: {"label": label}, 3: {"label": label}})
            assert ask(text_vector=X) == ("fraud" if step % 2 else "default"), step
        assert docs.delete([2, 3]).removed == 2
        assert ask(text_vector=X) == "fraud"
        docs.delete([1])
        assert ask(text_vector=X) == "default" and ask.client.decide({"text_vector": X}).score == 4
        near.upsert({1: Y})
        assert ask(text_vector=[0.0, 1.9] + [0.0] * 6) == "close"
        assert ask(text_vector=[0.0, 2.1] + [0.0] * 6) == "default"
        with pytest.raises(EncodeError, match="expected 8 numbers"):
            ask.local.decide({"text_vector": [1.0]})


def test_it_is_explained(instance):
    with Vectors(instance, "docs") as docs:
        docs.upsert({1: turned(0.1), 2: turned(0.1), 3: Y}, {1: {"label": "fraud"}, 2: {"label": "fine"}})
    vector = ",".join(map(str, X))
    text = instance.ctl("explain", f"text_vector={vector}", check=0).stdout
    assert "similar in docs: 3 found, best 0.99" in text and "k 10, min 0.8: 2 found, label fraud by 50 %" in text
    explanation = instance.ctl_json("explain", f"text_vector={vector}")
    lookup = next(one for one in explanation["lookups"] if one["kind"] == "similar" and one["collection"] == "docs")
    assert lookup["needed"] and lookup["search_ns"] > 0 and lookup["found"] == 3
    assert lookup["score"] == pytest.approx(0.9939, abs=1e-4)
    explanation = instance.ctl_json("explain", f"text_vector={vector}", "ip=10.0.0.1")
    assert not any(one["needed"] for one in explanation["lookups"] if one["kind"] == "similar")
    explanation = instance.ctl_json("explain", "ip=192.0.2.1")
    assert all(one["outcome"] == "missing" for one in explanation["lookups"] if one["kind"] == "similar")


def test_rules_change_over_a_collection_that_changes(instance):
    """Each publication compares rules on samples, beside a writer; readers lose nothing."""
    generator = random.Random(5)
    written, stop = [0], threading.Event()

    def write():
        with Vectors(instance, "docs") as docs:
            while not stop.is_set():
                ids = generator.sample(range(400), 20)
                docs.upsert({i: [generator.gauss(0, 1) for _ in range(DIM)] for i in ids},
                            {i: {"label": generator.choice(["fraud", "fine", "abuse"]), "tenant": i % 9} for i in ids})
                docs.delete(generator.sample(range(400), 5))
                written[0] += 25

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with Asking(instance) as ask:
            for k in range(1, 9):
                before = written[0]
                rules = RULES.replace("k: 10", f"k: {k}").replace("own-net", f"net-{k}")
                instance.write_config(rules=rules)
                instance.ctl("apply", instance.config_path)
                wait_until(lambda: written[0] > before + 200, "the writer goes on")
                ask.local.refresh()
                for _ in range(50):
                    vector = [generator.gauss(0, 1) for _ in range(DIM)]
                    ask.client.decide({"text_vector": vector, "path": "/t"})
                    ask.local.decide({"text_vector": vector, "path": "/t"})
                assert ask(ip="10.0.0.1") == f"net-{k}"
    finally:
        stop.set()
        writer.join()


def test_collections_come_back_under_rules(instance):
    with Vectors(instance, "docs") as docs:
        docs.upsert({1: X}, {1: {"label": "fraud"}})
    pid = instance.ternd_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), "ternd is dead")
    wait_until(lambda: instance.answers(), "another ternd answers")
    assert instance.client().decide({"text_vector": X}).action == Action.DENY


def test_what_cannot_be_meant_is_refused(instance):
    instance.write_config(rules=RULES.replace("similar(docs", "similar(dosc"))
    refused = instance.ctl("apply", instance.config_path, check=1)
    assert "unknown collection 'dosc', did you mean 'docs'?" in refused.stderr
    instance.write_config(rules=RULES.replace("k: 10", "k: 0"))
    assert "'k' is 0; it may be 1 to 1000" in instance.ctl(
        "check", instance.config_path, run_dir=False, check=1).stderr
    assert json.loads(instance.ctl("status", "--json").stdout)["generation"] == 1


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_requests_that_search_together_share_the_turns(make_instance, backend):
    """64 requests in one write, each of whose searches takes a good part of a turn's share: they are spread over
    turns, answered in their order, and a connection that asks meanwhile is answered between them."""
    dim, count = 128, 64
    config = WITH_VECTORS.replace(f"vector({DIM})", f"vector({dim})").replace(f"dim: {DIM}", f"dim: {dim}")
    rules = "  - { id: fraud, when: 'similar(docs, text_vector, k: 1000).label == \"fraud\"', then: deny }\n"
    instance = make_instance(config=config, rules=rules, backend=backend).start()
    generator = random.Random(17)
    vectors = {i: [generator.gauss(1 if i % 2 else -1, 1) for _ in range(dim)] for i in range(2000)}
    with Vectors(instance, "docs") as docs:
        for first in range(0, 2000, 500):
            docs.upsert({i: vectors[i] for i in range(first, first + 500)},
                        {i: {"label": "fraud" if i % 2 else "fine"} for i in range(first, first + 500)})
    client, other = instance.client(), instance.client()
    bodies = [client.decide_body([{"text_vector": vectors[i]}]) for i in range(count)]
    other.decide({"ip": "192.0.2.1"})
    before = instance.ctl_json("stats")
    client.send_raw(b"".join(pack_frame(Op.DECIDE, body, request_id=1000 + i) for i, body in enumerate(bodies)))
    asked = 0
    for i in range(count):
        if i % 16 == 0: # the loop has the rest of them before it, and answers all the same
            assert other.decide({"ip": "192.0.2.1"}).action == Action.ALLOW
            asked += 1
        frame = client.recv_frame()
        assert (frame.request_id, frame.status) == (1000 + i, 0)
        assert frame.body[8 + 2] == (Action.DENY if i % 2 else Action.ALLOW), i
    after = instance.ctl_json("stats")

    def grown(name):
        return after["counters"][name] - before["counters"][name]
    turns = after["stages"]["search_turn"]["count"] - before["stages"]["search_turn"]["count"]
    assert grown("searches_similar") == count
    assert grown("decisions") == count + asked and grown("requests") == count + asked
    assert turns >= count / 4, turns # a search of 1,000 neighbours takes far more than 12.5 µs
    assert grown("searches_held") > 0
    assert after["stages"]["search_hold"]["count"] > 0
