"""A new schema: who is connected goes on under his own and is asked to move; nobody is lost."""
import json
import struct
import subprocess
import threading

import pytest
from instance import BUILD, wait_until
from tern import Action, Client, Op, Status, StatusError

SCHEMA = """\
tern: 1
instance: test
listen: [ "tcp://127.0.0.1:{port}", "unix://{socket}" ]
workers: {workers}
arena: {arena}
unknown_fields: {unknown}
fields: {{ {fields} }}
tables: {{ {tables} }}
rules:
{rules}
"""
FIRST = dict(
    unknown="reject",
    fields="ip: ip, path: string, user: u64, host: host",
    tables="nets: { type: prefix_set, source: bad-nets.txt }, "
           "tokens: { type: exact_set, of: string, source: tokens.txt }",
    rules="  - { id: net, when: 'ip in $nets', then: deny }\n"
          "  - { id: root, when: 'user == 7', then: challenge }\n"
          "  - { id: login, when: 'path == \"/login\"', then: challenge }\n")
# path is gone, user is another type, ip and host have changed places; the tables too.
SECOND = dict(
    unknown="reject",
    fields="host: host, user: string, ip: ip, level: i64",
    tables="tokens: { type: exact_set, of: string, source: tokens.txt }, "
           "nets: { type: prefix_set, source: bad-nets.txt }",
    rules="  - { id: net, when: 'ip in $nets', then: deny }\n"
          "  - { id: name, when: 'exists(user)', then: challenge }\n"
          "  - { id: bad, when: 'host == \"bad.example\"', then: deny }\n"
          "  - { id: level, when: 'exists(level)', then: deny }\n")
IP, GOOD_IP = bytes([192, 0, 2, 1]), bytes([203, 0, 113, 1])


@pytest.fixture(params=["io_uring", "epoll"])
def instance(make_instance, request):
    return make_instance(backend=request.param, config=SCHEMA, **FIRST).start()


def publish(instance, schema, *arguments):
    instance.apply(instance.write_config(**schema), *arguments)
    generation = instance.generation()
    wait_until(lambda: all(loop["generation"] >= generation for seat in
                           instance.ctl_json("readers")["seats"] for loop in seat["loops"]),
               "adopted")
    return generation


def decide(client, *fields, detail=False):
    """By raw ids, as of the connection's own schema."""
    body = b"".join(struct.pack("<BH", identity, len(value)) + value for identity, value in fields)
    identity = client.send_frame(Op.DECIDE, struct.pack("<HH", 1, len(body)) + body)
    return client.collect_verdicts(identity, 1)[0]


def test_it_is_refused_unless_meant(instance):
    done = instance.ctl("apply", instance.write_config(**SECOND))
    assert done.returncode == 1
    assert "field 1 was `ip: ip`" in done.stderr and "--new-schema" in done.stderr
    assert instance.generation() == 1
    assert instance.ctl("apply", instance.config_path, "--new-schema", "--dry-run").returncode == 0
    assert instance.generation() == 1


def test_an_old_connection_keeps_its_ids(instance):
    old = instance.client(follow_goaway=False)
    schema = old.hello()
    assert decide(old, (1, IP)).action is Action.DENY
    generation = publish(instance, SECOND, "--new-schema")

    # Its ids, its types, its complaints; the rules are the new ones.
    verdict = decide(old, (1, IP))
    assert (verdict.action, verdict.generation) == (Action.DENY, generation)
    assert decide(old, (1, GOOD_IP)).action is Action.ALLOW
    assert decide(old, (4, b"BAD.example:80")).rule == 3, "its host is the first field now"
    assert decide(old, (2, b"/login")).action is Action.ALLOW, "gone: no rule can ask for it"
    assert decide(old, (3, struct.pack("<Q", 7))).action is Action.ALLOW, "retyped: as if gone"
    for bad in ((1, b"123"), (3, b"seven"), (5, b"x"), (4, b"x" * 9000)):
        with pytest.raises(StatusError) as refused:
            decide(old, bad)
        assert refused.value.status is Status.BAD_FIELD
        assert f"field {bad[0]}" in refused.value.message
    with pytest.raises(StatusError):
        decide(old, (1, IP), (1, IP))
    batch = struct.pack("<H", 200) + (struct.pack("<HBH", 7, 1, 4) + IP
                                      + struct.pack("<HBH", 7, 1, 4) + GOOD_IP) * 100
    verdicts = old.collect_verdicts(old.send_frame(Op.DECIDE, batch), 200)
    assert [v.action for v in verdicts] == [Action.DENY, Action.ALLOW] * 100
    # Tables by their old ids.
    lookup = struct.pack("<HH", 1, 4) + IP
    assert old.collect(old.send_frame(Op.LOOKUP, lookup))[0].status == 0
    lookup = struct.pack("<HH", 2, 5) + b"alpha"
    assert old.collect(old.send_frame(Op.LOOKUP, lookup))[0].status == 0
    # HELLO tells the same as before, as long as the connection lives.
    again = old.hello()
    assert (again.fields, again.tables, again.hash) == (schema.fields, schema.tables, schema.hash)
    explained = old.collect(old.send_frame(
        Op.DECIDE, struct.pack("<HHBH", 1, 7, 1, 4) + IP, flags=2))[0].body
    assert b'"net"' in explained
    assert old.goaway is not None and "schema" in old.goaway.reason
    assert old.goaway.drain_ms == 60000

    new = instance.client()
    assert [field.name for field in new.hello().fields] == ["host", "user", "ip", "level"]
    assert new.decide({"user": "x"}).rule == 2
    assert new.goaway is None


def test_fields_that_are_only_added_disturb_nobody(instance):
    old = instance.client(follow_goaway=False)
    old.hello()
    more = {**FIRST, "fields": FIRST["fields"] + ", level: i64"}
    publish(instance, more)
    assert decide(old, (1, IP)).action is Action.DENY
    assert old.goaway is None
    assert decide(old, (5, struct.pack("<q", 1))).action is Action.ALLOW, "it may use them"


def test_clients_move_when_they_have_what_they_asked_for(instance):
    client = instance.client()
    assert client.decide({"path": "/login"}).action is Action.CHALLENGE
    waiting = client.submit({"ip": "192.0.2.1"})
    publish(instance, SECOND, "--new-schema")
    later = client.submit({"ip": "192.0.2.1"})
    assert client.collect_verdicts(waiting, 1)[0].action is Action.DENY
    assert client.collect_verdicts(later, 1)[0].action is Action.DENY
    assert client.goaway is not None
    assert client.decide({"user": "x"}).rule == 2, "moved, with the names of the new schema"
    assert client.goaway is None


def test_schemas_come_and_go_under_load(make_instance):
    instance = make_instance(config=SCHEMA, workers=2, **FIRST).start()
    stop, failures, counts = threading.Event(), [], []

    def ask():
        count = 0
        try:
            with Client(instance.tcp, timeout=20.0) as client:
                while not stop.is_set():
                    verdicts = client.decide([{"ip": "192.0.2.1"}, {"ip": "203.0.113.1"}] * 20)
                    assert [v.action for v in verdicts] == [Action.DENY, Action.ALLOW] * 20
                    count += 1
        except BaseException as error:
            failures.append(error)
        counts.append(count)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    stubborn = [instance.client(follow_goaway=False)]
    stubborn[0].hello()
    try:
        for round_ in range(3):
            for schema in (SECOND, FIRST):
                publish(instance, schema, "--new-schema")
                stubborn.append(instance.client(follow_goaway=False))
                stubborn[-1].hello()
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    assert not failures
    assert all(count > 0 for count in counts)
    # Of seven schemas the present one and four former ones are kept.
    for client, ip in zip(stubborn[2:], [1, 3, 1, 3, 1]):
        assert decide(client, (ip, IP)).action is Action.DENY
    for client in stubborn[:2]:
        while client.recv_frame().request_id == 0:
            if client.goaway.reason.startswith("another schema"):
                break
        client.recv_closed()


def test_a_load_in_c_does_not_notice(instance):
    requests = instance.write_source("requests.csv", "ip\n192.0.2.1\n203.0.113.9\n")
    load = subprocess.Popen(
        [str(BUILD / "tern-load"), "run", "--target", instance.tcp, "--requests", str(requests),
         "--connections", "4", "--depth", "8", "--warmup", "0", "--duration", "1.5", "--json",
         "--check-same"], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: instance.stats()["decisions"] > 1000, "under load")
    publish(instance, SECOND, "--new-schema")
    result = json.loads(load.communicate(timeout=60)[0])
    assert load.returncode == 0
    assert (result["failed"], result["wrong"]) == (0, 0)


def test_rollback_across_schemas(instance):
    old = instance.client(follow_goaway=False)
    old.hello()
    publish(instance, SECOND, "--new-schema")
    middle = instance.client(follow_goaway=False)
    middle.hello()
    instance.ctl("rollback", check=0)
    wait_until(lambda: decide(old, (1, IP)).generation == 3, "adopted")
    assert decide(old, (1, IP)).action is Action.DENY
    assert decide(middle, (3, IP)).action is Action.DENY
    assert middle.goaway is not None
    assert instance.client().decide({"path": "/login"}).action is Action.CHALLENGE
