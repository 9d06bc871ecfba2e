"""Nothing on the request path allocates: the allocator's own count of the loop's thread stands still."""
import struct

import pytest
from bodies import batch, field, item
from instance import CONFIG
from tern import Op, RequestFlag, pack_frame
from vectors import Vectors, random_rows

ROUNDS_STILL = 10
ROUNDS_MOST = 60


ITEM = item(field(1, bytes([192, 0, 2, 1])), field(2, b"WWW.Bad.Example.:443"),
            field(3, b"/login/index.php"), field(4, struct.pack("<Q", 2)))

# Written anew before rules see it: a name in punycode, one that has none, a path of every oddity.
ODD = item(field(2, "WWW.BÜCHER。example:8080".encode()), field(3, b"/x/%2e%2e//./L%4Fgin/index.PHP?a#b" * 50))
ODDER = item(field(2, b"\xff\xfe." + b"\xc3\xbc" * 100), field(3, b"%" * 3000 + b"/.." * 500))

FRAMES = [
    (Op.DECIDE, batch(*[ODD, ODDER] * 40), 0),
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


def run_round(instance, frames):
    """Every operation, pipelined, on connections that come and go."""
    for _ in range(4):
        sock = instance.raw()
        sock.settimeout(20)
        identity, expected = 0, 0
        data = b""
        for _ in range(5):
            for op, body, flags in frames:
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


def settle(instance, frames=FRAMES):
    run_round(instance, frames)
    if instance.stats()["heap_bytes"] == 0:
        pytest.skip("this build's allocator does not count (sanitizers)")
    still, before = 0, None
    # Free lists grow to the peak of what is under way at once, which differs a little from round to
    # round at first. One allocation in each request, or each connection, would never stand still.
    for _ in range(ROUNDS_MOST):
        run_round(instance, frames)
        now = instance.stats()["heap_bytes"]
        still = still + 1 if now == before else 0
        before = now
        if still == ROUNDS_STILL:
            return
    pytest.fail(f"still growing after {ROUNDS_MOST} rounds: {before} bytes")


def test_requests_take_nothing_from_the_heap(shared_instance):
    settle(shared_instance)


def test_normalizing_takes_nothing_either(make_instance):
    steps = "[ strip_query, percent_decode, merge_slashes, dot_segments, lower ]"
    instance = make_instance(
        config=CONFIG.replace("path: string", f"path: {{{{ type: string, normalize: {steps} }}}}"),
        rules="  - { id: raw, when: 'path.raw ends_with \".PHP?a#b\" or host.raw == \"x\"', add: 4 }\n"
              "  - { id: login, when: 'path starts_with \"/login/index\" or host in $bad_hosts', then: deny }\n")
    settle(instance.start())


def test_searching_takes_nothing_either(make_instance):
    collections = "collections:\n  docs: {{ dim: 4, capacity: 1k, payload: {{ label: string }} }}\n"
    instance = make_instance(
        config=CONFIG.replace("  flag: bool\n", "  flag: bool\n  shape: vector(4)\n").replace(
            "rules:\n", collections + "rules:\n", 1),
        rules="  - { id: like, when: 'similar(docs, shape, k: 10, min: 0.1).label == \"a\"', then: deny }\n")
    instance.start()
    rows = random_rows(range(60), 4)
    with Vectors(instance, "docs") as docs:
        docs.upsert(rows, {identifier: {"label": "ab"[identifier % 2]} for identifier in rows})
    body = batch(*[item(field(8, struct.pack("<4f", *rows[i]))) for i in range(40)])
    settle(instance, [*FRAMES, (Op.DECIDE, body, 0)])
