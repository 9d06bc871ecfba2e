"""Nothing on the request path allocates: the allocator's own count of the loop's thread stands still."""
import struct

import pytest
from tern import Op, RequestFlag, pack_frame

ROUNDS_STILL = 10
ROUNDS_MOST = 60


def field(identity, value):
    return struct.pack("<BH", identity, len(value)) + value


def item(*fields):
    body = b"".join(fields)
    return struct.pack("<H", len(body)) + body


def batch(*items):
    return struct.pack("<H", len(items)) + b"".join(items)


ITEM = item(field(1, bytes([192, 0, 2, 1])), field(2, b"WWW.Bad.Example.:443"),
            field(3, b"/login/index.php"), field(4, struct.pack("<Q", 2)))

FRAMES = [
    (Op.PING, b"x" * 5000, 0),
    (Op.DECIDE, batch(ITEM), 0),
    (Op.DECIDE, batch(ITEM), RequestFlag.DETAIL | RequestFlag.FRESH | RequestFlag.WAIT),
    (Op.DECIDE, batch(*[ITEM] * 20), 0),
    (Op.DECIDE, batch(*[ITEM] * 4096), 0),
    (Op.DECIDE, batch(item(field(200, b"?"))), 0),
    (Op.DECIDE, b"\1", 0),
    (Op.LOOKUP, struct.pack("<HHQ", 4, 8, 2), 0),
    (Op.LOOKUP, struct.pack("<HHQ", 4, 8, 77), 0),
    (Op.DESCRIBE, b"", 0),
    (Op.HELLO, struct.pack("<HBB", 1, 0, 0), 0),
    (77, b"", 0),
]


def run_round(instance):
    """Every operation, pipelined, on connections that come and go."""
    for _ in range(4):
        sock = instance.raw()
        sock.settimeout(20)
        identity, expected = 0, 0
        data = b""
        for _ in range(5):
            for op, body, flags in FRAMES:
                identity += 1
                data += pack_frame(op, body, request_id=identity, flags=flags)
        sock.sendall(data)
        reader = sock.makefile("rb")
        while expected < identity:
            header = reader.read(16)
            assert len(header) == 16
            _, _, flags, _, length, answered, _ = struct.unpack("<BBBBIII", header)
            assert len(reader.read(length)) == length
            if not flags & 1:  # MORE
                expected += 1
                assert answered == expected
        reader.close()
        sock.close()


def test_requests_take_nothing_from_the_heap(shared_instance):
    run_round(shared_instance)
    if shared_instance.stats()["heap_bytes"] == 0:
        pytest.skip("this build's allocator does not count (sanitizers)")
    still, before = 0, None
    # Free lists grow to the peak of what is under way at once, which differs a little from round to
    # round at first. One allocation in each request, or each connection, would never stand still.
    for _ in range(ROUNDS_MOST):
        run_round(shared_instance)
        now = shared_instance.stats()["heap_bytes"]
        still = still + 1 if now == before else 0
        before = now
        if still == ROUNDS_STILL:
            return
    pytest.fail(f"still growing after {ROUNDS_MOST} rounds: {before} bytes")
