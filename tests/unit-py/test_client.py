"""The Python client against a fake server."""

import math
import struct
from ipaddress import ip_address

import pytest

from tern import (
    Action,
    Client,
    ConnectionClosed,
    EncodeError,
    Op,
    ProtocolError,
    RequestFlag,
    Status,
    StatusError,
    Timeout,
    Unreachable,
    pack_frame,
    pack_value,
    parse_address,
    unpack_value,
)


def verdict(item, action=1, rule=3, score=0.5, flags=0):
    return struct.pack("<HBBHHIf", item, action, 1, flags, 30, rule, score)


def decide_reply(header, items, more=False, detail=b""):
    body = struct.pack("<HHI", len(items), 0, 0) + b"".join(item + detail for item in items)
    return pack_frame(3, body, flags=1 if more else 0, request_id=header[5], deadline_us=7)


def test_hello_gives_the_schema(server):
    with Client(server.address, token="secret", name="me") as client:
        schema = client.hello()
    assert [field.name for field in schema.fields] == ["ip", "host", "user", "vector"]
    assert schema.field("vector").dim == 3
    assert (schema.generation, schema.hash, schema.max_frame) == (7, 0x1234, 1 << 20)
    assert server.frames[0][1] == b"\x01\x00\x06secret\x02me"


def test_ping(server):
    server.handler = lambda sock, h, b: sock.sendall(pack_frame(2, request_id=h[5]))
    with Client(server.address) as client:
        assert client.ping() >= 0


def test_decide_one_encodes_by_type(server):
    server.handler = lambda sock, h, b: sock.sendall(decide_reply(h, [verdict(0)]))
    with Client(server.address) as client:
        got = client.decide(
            {"ip": "192.0.2.1", "host": "a.example", "user": 5, "vector": [1, 2, 3], 0: 99},
            deadline_us=2500,
        )
    assert (got.action, got.rule, got.score, got.generation) == (Action.DENY, 3, 0.5, 7)
    assert not got.allowed
    header, body = server.frames[1]
    assert (header[1], header[2], header[6]) == (Op.DECIDE, 0, 2500)
    item = (
        b"\x01\x04\x00\xc0\x00\x02\x01" + b"\x02\x09\x00a.example"
        + b"\x03\x08\x00" + struct.pack("<Q", 5) + b"\x04\x0c\x00" + struct.pack("<3f", 1, 2, 3)
        + b"\x00\x08\x00" + struct.pack("<Q", 99)
    )
    assert body == struct.pack("<HH", 1, len(item)) + item


def test_batch_is_joined_over_more_frames_in_item_order(server):
    def handler(sock, header, body):
        first = decide_reply(header, [verdict(2), verdict(0, action=0, rule=0)], more=True)
        second = decide_reply(header, [verdict(1, action=2)])
        sock.sendall(first[:5])
        sock.sendall(first[5:] + second)

    server.handler = handler
    with Client(server.address) as client:
        got = client.decide([{1: b"\x01\x02\x03\x04"}] * 3)
    assert [v.item for v in got] == [0, 1, 2]
    assert [v.action for v in got] == [Action.ALLOW, Action.CHALLENGE, Action.DENY]
    assert len(server.frames) == 1, "numeric ids need no HELLO"


def test_detail_and_flags(server):
    detail = struct.pack("<QIHH", 99, 1500, 2, 0)
    server.handler = lambda sock, h, b: sock.sendall(decide_reply(h, [verdict(0)], detail=detail))
    with Client(server.address) as client:
        got = client.decide({"user": 1}, detail=True, fresh=True, trace=b"t" * 25)
    assert (got.detail.decision_key, got.detail.age_ms) == (99, 1500)
    assert got.detail.cause_name == "threshold"
    header, body = server.frames[1]
    assert header[2] == RequestFlag.DETAIL | RequestFlag.FRESH | RequestFlag.TRACE
    assert body.startswith(b"t" * 25 + b"\x01\x00")


def test_explain_is_json(server):
    server.handler = lambda sock, h, b: sock.sendall(pack_frame(3, b'{"a":1}', request_id=h[5]))
    with Client(server.address) as client:
        assert client.decide({"user": 1}, explain=True) == {"a": 1}
    assert server.frames[1][0][2] == RequestFlag.EXPLAIN


@pytest.mark.parametrize(
    "items", [[verdict(0)], [verdict(0), verdict(0)], [verdict(0), verdict(2)]]
)
def test_missing_repeated_or_foreign_items_are_a_protocol_error(server, items):
    server.handler = lambda sock, h, b: sock.sendall(decide_reply(h, items))
    with Client(server.address) as client, pytest.raises(ProtocolError):
        client.decide([{"user": 1}, {"user": 2}])


def test_pipelined_replies_are_told_apart(server):
    held = []

    def handler(sock, header, body):
        held.append(header)
        if len(held) == 2:  # answers in the other order
            later = decide_reply(held[1], [verdict(0, rule=2)])
            sock.sendall(later + decide_reply(held[0], [verdict(0, rule=1)]))

    server.handler = handler
    with Client(server.address) as client:
        first, second = client.submit({"user": 1}), client.submit({"user": 2})
        assert client.collect_verdicts(first, 1)[0].rule == 1
        assert client.collect_verdicts(second, 1)[0].rule == 2


def test_lookup(server):
    answers = {
        b"\x0a\x01\x02\x03": struct.pack("<HH", 3, 0) + b"\x08\x04\x00\x07\x00\x00\x00"
        + b"\x02\x02\x00de" + b"\x00\x00\x00",
    }

    def handler(sock, header, body):
        table, length = struct.unpack_from("<HH", body)
        assert table == 1 and length == len(body) - 4
        answer = answers.get(body[4:])
        status = 0 if answer is not None else Status.NOT_FOUND
        sock.sendall(pack_frame(4, answer or b"", request_id=header[5], status=status))

    server.handler = handler
    with Client(server.address) as client:
        assert client.lookup("nets", "10.1.2.3").values == (7, "de", None)
        assert client.lookup("nets", "10.1.2.4") is None
        with pytest.raises(EncodeError, match="nets, names"):
            client.lookup("elsewhere", 1)


def test_search(server):
    def handler(sock, header, body):
        assert header[1] == Op.SEARCH and header[6] == 500
        assert body[:8] == struct.pack("<HHHH", 4, 2, 50, 3)
        assert body[8:20] == struct.pack("<3f", 1, 2, 3)
        assert body[20:] == b"\x0btenant == 7"[:1] + b"\0" + b"tenant == 7"
        hits = struct.pack("<QfIQfI", 5, 0.5, 0, 1 << 63, 0.25, 0)
        payload = b"\x02\5label\x08\6tenant" + b"\2\5\0fraud\x08\4\0\7\0\0\0" + b"\0\0\0\x08\4\0\1\0\0\0"
        sock.sendall(pack_frame(5, struct.pack("<HHI", 2, 2, 0) + hits + payload, request_id=header[5]))

    server.handler = handler
    with Client(server.address) as client:
        hits = client.search(4, struct.pack("<3f", 1, 2, 3), 2, ef=50, filter="tenant == 7", exact=True,
                             payload=True, deadline_us=500)
        assert [(hit.id, hit.score, hit.payload) for hit in hits] == [
            (5, 0.5, {"label": "fraud", "tenant": 7}), (1 << 63, 0.25, {"label": None, "tenant": 1})]
        with pytest.raises(EncodeError, match="no collection 'docs'"):
            client.search("docs", [1, 2, 3])
        with pytest.raises(EncodeError):
            client.search(4, [1, 2, 3], 1 << 16)


@pytest.mark.parametrize("cut", [1, 9, 30, 38, 39])
def test_a_search_reply_that_is_cut_off(server, cut):
    body = (struct.pack("<HHI", 1, 1, 0) + struct.pack("<QfI", 5, 0.5, 0) + b"\x02\5label" + b"\2\5\0fraud")
    server.handler = lambda sock, h, b: sock.sendall(pack_frame(5, body[:cut], request_id=h[5]))
    with Client(server.address) as client:
        if cut >= len(body):
            assert client.search(1, b"")[0].payload == {"label": "fraud"}
        else:
            with pytest.raises(ProtocolError):
                client.search(1, b"")


def test_describe_pages_and_starts_over_after_a_publish(server):
    names = [b"own-net", b"bad-net", b"bad-host"]
    generations = iter([7, 8, 8, 8])

    def handler(sock, header, body):
        (first,) = struct.unpack("<I", body)
        page = names[first - 1 : first + 1]
        reply = struct.pack("<IIHHI", len(names), first, len(page), 0, 0)
        reply += b"".join(struct.pack("<BB", 1, len(name)) + name for name in page)
        sock.sendall(pack_frame(9, reply, request_id=header[5], deadline_us=next(generations)))

    server.handler = handler
    with Client(server.address) as client:
        description = client.describe()
    assert [rule.name for rule in description.rules] == ["own-net", "bad-net", "bad-host"]
    assert description.generation == 8
    assert (description.name(3), description.name(0)) == ("bad-host", "default")


def test_a_refusal_carries_status_and_message(server):
    server.handler = lambda sock, h, b: sock.sendall(
        pack_frame(3, "field 9: unknown".encode(), request_id=h[5], status=4, deadline_us=7)
    )
    with Client(server.address) as client:
        with pytest.raises(StatusError, match="BAD_FIELD: field 9: unknown") as caught:
            client.decide({9: b"x"})
        assert caught.value.status is Status.BAD_FIELD and caught.value.generation == 7
        assert client.connected


def test_timeout_keeps_the_connection_and_drops_the_late_reply(server):
    late = []

    def handler(sock, header, body):
        late.append(header)
        if len(late) == 2:
            sock.sendall(decide_reply(late[0], [verdict(0, rule=1)]))
            sock.sendall(decide_reply(late[1], [verdict(0, rule=2)]))

    server.handler = handler
    with Client(server.address, timeout=5) as client:
        first = client.submit({"user": 1})
        with pytest.raises(Timeout):
            client.collect(first, timeout=0.05)
        assert client.decide({"user": 2}).rule == 2
        assert not client._inbox


def test_a_closed_connection_is_told_and_reconnect_works(server):
    server.handler = lambda sock, h, b: "close"
    with Client(server.address) as client:
        with pytest.raises(ConnectionClosed):
            client.decide({"user": 1})
        assert not client.connected
        with pytest.raises(ConnectionClosed):
            client.ping()
        server.handler = lambda sock, h, b: sock.sendall(decide_reply(h, [verdict(0)]))
        client.reconnect()
        assert client.decide({"user": 1}).rule == 3


def test_goaway_is_noted_and_requests_are_still_answered(server):
    def handler(sock, header, body):
        sock.sendall(pack_frame(7, struct.pack("<I", 250) + b"new schema"))
        sock.sendall(decide_reply(header, [verdict(0)]))

    server.handler = handler
    with Client(server.address) as client:
        assert client.decide({"user": 1}).rule == 3
        assert (client.goaway.drain_ms, client.goaway.reason) == (250, "new schema")


def test_the_next_call_follows_goaway(server):
    sockets = []

    def handler(sock, header, body):
        if sock not in sockets:
            sockets.append(sock)
        if len(sockets) == 1:
            sock.sendall(pack_frame(7, struct.pack("<I", 250) + b"new schema"))
        sock.sendall(decide_reply(header, [verdict(0)]))

    server.handler = handler
    with Client(server.address) as client:
        first, second = client.submit({"user": 1}), client.submit({"user": 1})
        client.collect(first)
        assert client.goaway is not None
        third = client.submit({"user": 1})  # something is awaited: not yet
        client.collect(second)
        client.collect(third)
        assert len(sockets) == 1
        client.decide({"user": 1})
        assert len(sockets) == 2 and client.goaway is None
    with Client(server.address, follow_goaway=False) as client:
        sockets.clear()
        client.decide({"user": 1})
        client.decide({"user": 1})
        assert len(sockets) == 1 and client.goaway is not None


def test_raw_frames(server):
    server.handler = lambda sock, h, b: sock.sendall(pack_frame(h[1], b, request_id=h[5], status=2))
    with Client(server.address) as client:
        client.send_raw(pack_frame(77, b"abc", request_id=5))
        frame = client.recv_frame()
        assert (frame.op, frame.status, frame.request_id, frame.body) == (77, 2, 5, b"abc")
        with pytest.raises(Timeout):
            client.recv_frame(timeout=0.02)


def test_wrong_magic_from_the_server(server):
    server.handler = lambda sock, h, b: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with Client(server.address) as client, pytest.raises(ProtocolError):
        client.ping()


@pytest.mark.parametrize(
    "request_, message",
    [
        ({"nobody": 1}, "no field 'nobody'; there are ip, host"),
        ({"ip": "1.2.3"}, "field 'ip'"),
        ({"user": -1}, "out of range"),
        ({"user": "5"}, "expected an integer"),
        ({"vector": [1.0]}, "expected 3 numbers"),
        ({2: "text"}, "takes bytes"),
    ],
)
def test_bad_requests_are_refused_before_they_are_sent(server, request_, message):
    with Client(server.address) as client:
        with pytest.raises(EncodeError, match=message):
            client.decide(request_)
    assert all(header[1] == Op.HELLO for header, _ in server.frames)


def test_values_survive_the_round_trip():
    for kind, value in [
        (1, ip_address("2001:db8::1")), (1, ip_address("10.0.0.1")), (2, "grün"), (3, 2**64 - 1),
        (4, -5), (5, 0.25), (6, True), (7, (1.0, 2.0)), (8, 7),
    ]:
        assert unpack_value(kind, pack_value(kind, value)) == value
    with pytest.raises(ValueError):
        pack_value(5, math.nan)
    assert unpack_value(99, b"xy") == b"xy"


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:7400", "tcp://host", "tcp://:1", "tcp://h:0", "tcp://h:70000", "unix://",
     "tcp://::1:5"],
)
def test_bad_addresses(address):
    with pytest.raises(ValueError, match="expected tcp://host:port or unix:///path"):
        parse_address(address)


def test_good_addresses():
    assert parse_address("tcp://[::1]:7400")[1] == ("::1", 7400)
    assert parse_address("unix:///run/x.sock")[1] == "/run/x.sock"


def test_nobody_listens(tmp_path):
    with pytest.raises(Unreachable):
        Client("unix://%s/none" % tmp_path)
