"""Malformed, truncated, oversized and slow frames: the status or close of the protocol, and nobody
else notices."""
import random
import socket
import struct

import pytest
from bodies import batch, field, item
from tern import Action, Op, RequestFlag, Status, StatusError, pack_frame

HEADER = struct.Struct("<BBBBIII")


def refuse(instance, body, *, flags=0, op=Op.DECIDE):
    """Sends a body that must be refused on a connection that must survive it."""
    client = instance.client()
    identity = client.send_frame(op, body, flags=flags)
    with pytest.raises(StatusError) as refused:
        client.collect(identity)
    assert refused.value.message, "a refusal says why"
    assert client.decide({"ip": "192.0.2.1"}).action is Action.DENY
    client.close()
    return refused.value.status


IP = field(1, bytes([192, 0, 2, 1]))

BAD_FRAMES = {
    "no body": b"",
    "half a count": b"\1",
    "count of 0": batch(),
    "count over 4096": struct.pack("<H", 4097) + item() * 4097,
    "count of 65535": struct.pack("<H", 0xffff),
    "fewer items than counted": struct.pack("<H", 2) + item(IP),
    "item past the body": struct.pack("<HH", 1, 100) + IP,
    "half an item length": struct.pack("<H", 1) + b"\1",
    "trailing byte": batch(item(IP)) + b"\0",
    "trailing item": struct.pack("<H", 1) + item(IP) + item(IP),
    "field header cut": batch(item(b"\1\4")),
    "field past the item": batch(item(struct.pack("<BH", 1, 16) + bytes(4))),
    "second field cut": batch(item(IP + b"\2")),
    "cut in a large batch": struct.pack("<H", 1000) + item(IP) * 999 + b"\7\0",
    "trailing after a large batch": struct.pack("<H", 1000) + item(IP) * 1000 + b"\7\0",
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_unparsable_bodies(shared_instance, name):
    assert refuse(shared_instance, BAD_FRAMES[name]) == Status.BAD_FRAME


NAN = struct.pack("<f", float("nan"))
BAD_FIELDS = {
    "unknown field": field(8, b"x"),
    "unknown field 255": field(255, b""),
    "repeated field": IP + IP,
    "ip of 3 bytes": field(1, b"\1\2\3"),
    "ip of 5 bytes": field(1, b"\1\2\3\4\5"),
    "ip of 17 bytes": field(1, bytes(17)),
    "empty ip": field(1, b""),
    "u64 of 4 bytes": field(4, bytes(4)),
    "u64 of 9 bytes": field(4, bytes(9)),
    "i64 of 0 bytes": field(5, b""),
    "f32 of 8 bytes": field(6, bytes(8)),
    "NaN": field(6, NAN),
    "bool of 2": field(7, b"\2"),
    "bool of 2 bytes": field(7, b"\0\1"),
    "string over 8 KiB": field(3, b"x" * 8193),
    "decision key of 4 bytes": field(0, bytes(4)),
    "repeated decision key": field(0, bytes(8)) + field(0, bytes(8)),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_bad_fields(shared_instance, name):
    assert refuse(shared_instance, batch(item(BAD_FIELDS[name]))) == Status.BAD_FIELD


def test_one_bad_item_refuses_the_whole_batch(shared_instance):
    for count, at in ((2, 1), (40, 39), (4096, 4095)):
        items = [item(IP)] * count
        items[at] = item(field(1, b"\1"))
        before = shared_instance.stats()["decisions"]
        client = shared_instance.client()
        with pytest.raises(StatusError) as refused:
            client.collect(client.send_frame(Op.DECIDE, batch(*items)))
        assert refused.value.status == Status.BAD_FIELD
        assert str(at) in refused.value.message
        assert shared_instance.stats()["decisions"] == before, "nothing was decided"


def test_trace_needs_its_25_bytes(shared_instance):
    assert refuse(shared_instance, b"\0" * 24, flags=RequestFlag.TRACE) == Status.BAD_FRAME
    assert refuse(shared_instance, b"\0" * 25, flags=RequestFlag.TRACE) == Status.BAD_FRAME


TRACE = bytes(range(1, 17)) + bytes(range(17, 25)) + bytes([1])


@pytest.mark.parametrize("context", [bytes(16) + TRACE[16:], TRACE[:16] + bytes(8) + TRACE[24:]])
def test_invalid_trace_contexts(shared_instance, context):
    refused = refuse(shared_instance, context + batch(item(IP)), flags=RequestFlag.TRACE)
    assert refused == Status.BAD_FRAME


def test_a_traced_request_is_answered_as_any_other(shared_instance):
    client = shared_instance.client()
    assert client.decide({"ip": "192.0.2.1"}, trace=TRACE).action is Action.DENY
    verdicts = client.decide([{"ip": "192.0.2.1"}] * 100, trace=TRACE, detail=True)
    assert {verdict.action for verdict in verdicts} == {Action.DENY}


@pytest.mark.parametrize("body", [b"", b"\1\0\0", b"\1\0\0\0\0", bytes(4)])
def test_unparsable_cancels(shared_instance, body):
    assert refuse(shared_instance, body, op=Op.CANCEL) == Status.BAD_FRAME


def test_cancel_of_what_is_not_under_way_does_nothing(shared_instance):
    client = shared_instance.client()
    before = shared_instance.stats()["cancelled"]
    client.cancel(12345)
    identity = client.submit({"ip": "192.0.2.1"})
    client.cancel(identity)
    assert client.collect_verdicts(identity, 1)[0].action is Action.DENY
    assert shared_instance.stats()["cancelled"] == before


def test_cancel_ends_a_batch_and_nothing_else(shared_instance):
    before = shared_instance.stats()["cancelled"]
    sock = shared_instance.raw()
    large = batch(*[item(IP)] * 4096)
    small = batch(item(IP))

    def cancel(identity, target):
        return pack_frame(Op.CANCEL, struct.pack("<I", target), request_id=identity)

    sock.sendall(pack_frame(Op.DECIDE, large, request_id=1)
                 + pack_frame(Op.DECIDE, small, request_id=2)
                 + pack_frame(Op.DECIDE, large, request_id=3)
                 + cancel(4, 1) + cancel(5, 3) + cancel(6, 2)
                 + pack_frame(Op.DECIDE, small, request_id=7))
    sock.shutdown(socket.SHUT_WR)
    reply = read_to_end(sock)
    last, items, at = {}, {}, 0
    while at < len(reply):
        _, _, flags, status, length, identity, _ = HEADER.unpack_from(reply, at)
        assert identity not in last, "nothing follows the last frame"
        if not flags & 1:
            last[identity] = status
        if status == Status.OK and identity in (1, 2, 3, 7):
            items[identity] = items.get(identity, 0) + struct.unpack_from("<H", reply, at + 16)[0]
        at += HEADER.size + length
    assert list(last) == [1, 2, 3, 4, 5, 6, 7], "in order"
    cancelled = [identity for identity in (1, 3) if last[identity] == Status.CANCELLED]
    for identity in (1, 3):
        assert identity in cancelled or items[identity] == 4096
        assert identity not in cancelled or items.get(identity, 0) < 4096
    assert (items[2], items[7], last[2], last[7]) == (1, 1, 0, 0)
    assert last[4] == last[5] == last[6] == Status.OK
    # The third one begins when its CANCEL has long been there.
    assert 3 in cancelled
    assert shared_instance.stats()["cancelled"] == before + len(cancelled)


def test_status_of_a_request_is_0(shared_instance):
    client = shared_instance.client()
    identity = client.send_frame(Op.PING, b"", status=3)
    with pytest.raises(StatusError) as refused:
        client.collect(identity)
    assert refused.value.status == Status.BAD_FRAME


@pytest.mark.parametrize("body", [b"", b"\1\0", b"\1\0\4\0", b"\1\0\4\0abc", b"\1\0\4\0abcde"])
def test_unparsable_lookups(shared_instance, body):
    assert refuse(shared_instance, body, op=Op.LOOKUP) == Status.BAD_FRAME


@pytest.mark.parametrize("body", [b"\0\0\0\0", b"\1", b"\1\0\0\0\0"])
def test_unparsable_describes(shared_instance, body):
    assert refuse(shared_instance, body, op=Op.DESCRIBE) == Status.BAD_FRAME


def read_to_end(sock, deadline_s=10.0):
    """Everything until the other side closes."""
    sock.settimeout(deadline_s)
    data = b""
    while True:
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 16, b"\x55",
                                     b"\xff" * 100000])
def test_wrong_magic_is_told_and_closed(shared_instance, garbage):
    bystander = shared_instance.client()
    sock = shared_instance.raw()
    sock.sendall(garbage)
    reply = read_to_end(sock)
    assert len(reply) >= HEADER.size
    magic, _, _, status, length, _, _ = HEADER.unpack_from(reply)
    assert (magic, status) == (0x54, Status.BAD_FRAME)
    assert len(reply) == HEADER.size + length
    bystander.ping()


def test_wrong_magic_behind_good_frames_does_not_lose_their_answers(shared_instance):
    sock = shared_instance.raw()
    good = b"".join(pack_frame(Op.PING, b"%d" % i, request_id=i) for i in range(1, 50))
    sock.sendall(good + b"garbage that is no frame")
    reply = read_to_end(sock)
    seen, at = [], 0
    while at < len(reply):
        _, _, _, status, length, identity, _ = HEADER.unpack_from(reply, at)
        seen.append((status, identity))
        at += HEADER.size + length
    assert seen[:-1] == [(0, i) for i in range(1, 50)]
    assert seen[-1][0] == Status.BAD_FRAME


@pytest.mark.parametrize("length", [(1 << 20) + 1, 1 << 24, 0xffffffff])
def test_too_long_is_told_and_closed(shared_instance, length):
    sock = shared_instance.raw()
    sock.sendall(HEADER.pack(0x54, Op.DECIDE, 0, 0, length, 99, 0))
    reply = read_to_end(sock)
    _, op, _, status, _, identity, _ = HEADER.unpack_from(reply)
    assert (op, status, identity) == (Op.DECIDE, Status.TOO_LARGE, 99)


def test_the_longest_frame_is_served(shared_instance):
    client = shared_instance.client(timeout=20.0)
    body = bytes(range(256)) * 4096
    assert len(body) == 1 << 20
    assert client.collect(client.send_frame(Op.PING, body))[0].body == body


def test_a_frame_a_byte_at_a_time(shared_instance):
    sock = shared_instance.raw()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    frame = pack_frame(Op.DECIDE, batch(item(IP)), request_id=5)
    for i in range(len(frame)):
        sock.sendall(frame[i:i + 1])
    sock.settimeout(10)
    reply = b""
    while len(reply) < HEADER.size + 8 + 16:
        reply += sock.recv(1000)
    _, op, _, status, length, identity, _ = HEADER.unpack_from(reply)
    assert (op, status, length, identity) == (Op.DECIDE, Status.OK, 24, 5)
    assert reply[HEADER.size + 8 + 2] == Action.DENY


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 30])
def test_a_frame_cut_by_the_end_of_the_connection(shared_instance, cut):
    frame = pack_frame(Op.DECIDE, batch(item(IP)), request_id=5)
    sock = shared_instance.raw()
    sock.sendall(pack_frame(Op.PING, b"x", request_id=4) + frame[:cut])
    sock.shutdown(socket.SHUT_WR)
    reply = read_to_end(sock)
    assert HEADER.unpack_from(reply)[5] == 4, "what was whole is answered"
    shared_instance.client().ping()


def test_end_of_input_after_whole_frames_answers_them_all(shared_instance):
    sock = shared_instance.raw()
    frame = pack_frame(Op.DECIDE, batch(item(IP)))
    sock.sendall(frame * 500)
    sock.shutdown(socket.SHUT_WR)
    assert len(read_to_end(sock)) == 500 * (HEADER.size + 24)


def test_random_bytes_never_hurt(shared_instance):
    generator = random.Random(20240914)
    bystander = shared_instance.client()
    pid = shared_instance.ternd_pid()
    for _ in range(300):
        kind = generator.randrange(3)
        if kind == 0:
            data = generator.randbytes(generator.randrange(1, 200))
        elif kind == 1: # a good header, a random body
            data = pack_frame(generator.randrange(12), generator.randbytes(generator.randrange(100)),
                              flags=generator.randrange(32))
        else: # a good frame with one byte changed
            good = bytearray(pack_frame(Op.DECIDE, batch(item(IP), item(field(2, b"bad.example")))))
            good[generator.randrange(len(good))] = generator.randrange(256)
            data = bytes(good)
        sock = shared_instance.raw()
        sock.sendall(data)
        sock.close()
        assert bystander.decide({"ip": "192.0.2.1"}).action is Action.DENY
    assert shared_instance.ternd_pid() == pid


def test_refusals_are_counted(shared_instance):
    before = shared_instance.stats()
    refuse(shared_instance, b"")
    refuse(shared_instance, batch(item(field(8, b"x"))))
    after = shared_instance.stats()
    assert after["bad_frames"] == before["bad_frames"] + 1
    assert after["bad_fields"] == before["bad_fields"] + 1
