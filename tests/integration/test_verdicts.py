"""Every operation, answered right, over TCP and Unix sockets, with both backends."""
import ipaddress
import struct

import pytest
from tern import Action, Cause, Op, Status, StatusError, VerdictFlag

# request, action, rule, score
VERDICTS = [
    ({"ip": "10.1.2.3"}, Action.ALLOW, "own-net", 0),
    ({"ip": "192.0.2.200"}, Action.DENY, "bad-net", 1),
    ({"ip": "198.51.100.7"}, Action.DENY, "bad-net", 1),
    ({"ip": "198.51.100.8"}, Action.ALLOW, "default", 0),
    ({"ip": "2001:db8:bad::1"}, Action.DENY, "bad-net", 1),
    ({"ip": "2001:db8:bae::1"}, Action.ALLOW, "default", 0),
    ({"ip": "::ffff:192.0.2.200"}, Action.DENY, "bad-net", 1),
    ({"host": "bad.example"}, Action.DENY, "bad-host", 0),
    ({"host": "Deep.Below.BAD.example."}, Action.DENY, "bad-host", 0),
    ({"host": "bad.example:8443"}, Action.DENY, "bad-host", 0),
    ({"host": "notbad.example"}, Action.ALLOW, "default", 0),
    ({"ip": "203.0.113.200"}, Action.CHALLENGE, "bot-net", 0),
    ({"ip": "203.0.113.200", "user": 1}, Action.ALLOW, "default", 0),
    ({"ip": "203.0.113.1"}, Action.ALLOW, "default", 0),
    ({"path": "/login/step", "user": 2}, Action.CHALLENGE, "low-trust", 0),
    ({"path": "/login/step", "user": 1}, Action.ALLOW, "default", 0),
    ({"path": "/login/step", "user": 99}, Action.ALLOW, "default", 0),
    ({"path": "/../b"}, Action.CHALLENGE, "default", 4),
    ({"path": "/../b.php"}, Action.DENY, "default", 8),
    ({"path": "/b.php"}, Action.CHALLENGE, "default", 4),
    ({"level": -5}, Action.CHALLENGE, "level", 0),
    ({"level": -4}, Action.ALLOW, "default", 0),
    ({"ratio": 0.75}, Action.CHALLENGE, "level", 0),
    ({"ratio": 0.5}, Action.ALLOW, "default", 0),
    ({"flag": True}, Action.DENY, "flagged", 0),
    ({"flag": False}, Action.ALLOW, "default", 0),
    ({}, Action.ALLOW, "default", 0),
]


def check(verdict, names, expected):
    _, action, rule, score = expected
    assert (verdict.action, names.name(verdict.rule), verdict.score) == (action, rule, score), expected


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_verdicts(shared_instance, way):
    client = shared_instance.client(getattr(shared_instance, way))
    names = client.describe()
    for expected in VERDICTS:
        verdict = client.decide(expected[0])
        check(verdict, names, expected)
        assert verdict.generation == names.generation
        assert verdict.tier == (1 if expected[2] != "default" or expected[3] else 0)
        assert verdict.flags == 0


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 100, 1000, 4096])
def test_batches(shared_instance, count):
    client = shared_instance.client(shared_instance.unix)
    names = client.describe()
    chosen = [VERDICTS[i % len(VERDICTS)] for i in range(count)]
    verdicts = client.decide([entry[0] for entry in chosen])
    assert len(verdicts) == count
    for i, verdict in enumerate(verdicts):
        assert verdict.item == i
        check(verdict, names, chosen[i])


def test_a_large_batch_streams_and_lets_others_in_between(shared_instance):
    client, other = shared_instance.client(), shared_instance.client()
    identity = client.submit([entry[0] for entry in VERDICTS * 152][:4096], detail=True)
    other.ping()
    frames = client.collect(identity)
    assert len(frames) > 1
    assert all(frame.more for frame in frames[:-1]) and not frames[-1].more
    counts = [struct.unpack_from("<H", frame.body)[0] for frame in frames]
    assert sum(counts) == 4096
    assert len({frame.generation for frame in frames}) == 1


def test_pipelined_replies_match_their_requests(shared_instance):
    client = shared_instance.client()
    names = client.describe()
    sent = [(client.submit(entry[0]), entry) for entry in VERDICTS * 40]
    for identity, entry in reversed(sent):
        check(client.collect_verdicts(identity, 1)[0], names, entry)


def test_detail(shared_instance):
    client = shared_instance.client()
    verdict = client.decide({"ip": "192.0.2.1", 0: 0x1122334455667788}, detail=True)
    assert verdict.detail.decision_key == 0x1122334455667788
    assert verdict.detail.cause == Cause.RULE
    assert client.decide({"path": "/../"}, detail=True).detail.cause == Cause.THRESHOLD
    assert client.decide({}, detail=True).detail.cause == Cause.DEFAULT


def test_flags_that_change_nothing_without_tier_2(shared_instance):
    client = shared_instance.client()
    trace = bytes([0]) + bytes(range(1, 25))
    for options in ({"wait": True}, {"fresh": True}, {"trace": trace},
                    {"wait": True, "fresh": True, "trace": trace, "deadline_us": 500}):
        assert client.decide({"ip": "192.0.2.1"}, **options).action is Action.DENY


def test_explain_is_json_about_the_deciding_rule(shared_instance):
    client = shared_instance.client()
    told = client.decide({"ip": "192.0.2.1"}, explain=True)
    assert "bad-net" in str(told) and "deny" in str(told)


def test_hello(shared_instance):
    schema = shared_instance.client(name="tests", token="").hello()
    assert schema.version == 1
    assert schema.max_frame == 1 << 20
    assert schema.generation == shared_instance.generation()
    assert [entry.name for entry in schema.fields] == [
        "ip", "host", "path", "user", "level", "ratio", "flag"]
    assert [entry.id for entry in schema.fields] == list(range(1, 8))
    assert [entry.type for entry in schema.fields] == [1, 2, 2, 3, 4, 5, 6]
    assert [entry.name for entry in schema.tables] == [
        "bad_nets", "asn", "bad_hosts", "users", "tokens"]
    assert [entry.id for entry in schema.tables] == list(range(1, 6))
    assert schema.collections == ()


@pytest.mark.parametrize("body", [b"", b"\1", b"\1\0\5abc", b"\1\0\0\5abc", b"\1\0\0\0" + bytes(600)])
def test_malformed_hello(shared_instance, body):
    client = shared_instance.client()
    identity = client.send_frame(Op.HELLO, body)
    with pytest.raises(StatusError) as refused:
        client.collect(identity)
    assert refused.value.status in (Status.BAD_FRAME, Status.TOO_LARGE)
    client.ping()


def test_lookup(shared_instance):
    client = shared_instance.client()
    assert client.lookup("bad_nets", "192.0.2.9").values == ()
    assert client.lookup("bad_nets", "192.0.3.9") is None
    assert client.lookup("asn", "203.0.113.130").values == (64501, "hosting")
    assert client.lookup("bad_hosts", "www.evil.test").values == ()
    assert client.lookup("bad_hosts", "evil.tests") is None
    trust, age, plan = client.lookup("users", 2).values
    assert (round(trust, 3), age, plan) == (0.1, 3, "free")
    assert client.lookup("users", 4) is None
    assert client.lookup("tokens", "alpha").values == ()
    assert client.lookup("tokens", "alphabet") is None


@pytest.mark.parametrize("table, key, status", [
    (0, b"\0\0\0\0", Status.NOT_FOUND), (6, b"x", Status.NOT_FOUND), (0xffff, b"", Status.NOT_FOUND),
    (1, b"\0\0\0", Status.BAD_FIELD), (4, b"\0" * 4, Status.BAD_FIELD)])
def test_lookup_refusals(shared_instance, table, key, status):
    client = shared_instance.client()
    identity = client.send_frame(Op.LOOKUP, struct.pack("<HH", table, len(key)) + key)
    with pytest.raises(StatusError) as refused:
        client.collect(identity)
    assert refused.value.status == status
    client.ping()


def test_describe(shared_instance):
    description = shared_instance.client().describe()
    assert [rule.name for rule in description.rules] == [
        "own-net", "bad-net", "bad-host", "bot-net", "low-trust", "dots", "script", "level",
        "flagged"]
    assert description.rules[1].action is Action.DENY
    assert description.generation == shared_instance.generation()


@pytest.mark.parametrize("op", [Op.FEEDBACK, 0, 10, 200, 255, Op.GOAWAY])
def test_what_is_not_served_is_said_to_be_unsupported(shared_instance, op):
    client = shared_instance.client()
    identity = client.send_frame(op, b"abc")
    with pytest.raises(StatusError) as refused:
        client.collect(identity)
    assert refused.value.status == Status.UNSUPPORTED
    assert refused.value.message
    client.ping()


@pytest.mark.parametrize("flag", [32, 64, 128])
def test_unknown_flags(shared_instance, flag):
    client = shared_instance.client()
    identity = client.send_frame(Op.DECIDE, b"\1\0\0\0", flags=flag)
    with pytest.raises(StatusError) as refused:
        client.collect(identity)
    assert refused.value.status == Status.UNSUPPORTED
    client.ping()


def test_request_ids_are_echoed_even_when_repeated(shared_instance):
    client = shared_instance.client()
    for identity in (1, 0xffffffff, 7, 7):
        client.send_frame(Op.PING, b"body", request_id=identity)
        assert client.collect(identity)[0].body == b"body"


def test_addresses_compare_as_addresses(shared_instance):
    client = shared_instance.client()
    plain = client.decide({"ip": ipaddress.ip_address("192.0.2.5")})
    mapped = client.decide({"ip": ipaddress.ip_address("::ffff:192.0.2.5")})
    assert plain.action is mapped.action is Action.DENY


def test_verdict_flags_are_quiet_in_tier_1(shared_instance):
    verdicts = shared_instance.client().decide([entry[0] for entry in VERDICTS])
    assert all(verdict.flags == VerdictFlag(0) for verdict in verdicts)
