"""`tokens:`: who shows none gets nothing but PING, and not for long; tokens come and go while
connections stay."""
import struct
import time

import pytest
from instance import CONFIG, wait_until
from tern import Action, ConnectionClosed, Op, Status, StatusError, pack_frame

TOKENS = CONFIG + """\
tokens:
{tokens}
"""
FIRST, SECOND = "first-token-0123456789", "second-token-0123456789"
ONE = "  - {{ name: first, secret: '${{file:first.token}}' }}\n".format()
TWO = ONE + "  - {{ name: second, secret: '${{file:second.token}}' }}\n".format()
ONLY_SECOND = TWO[len(ONE):]
IP = {"ip": "192.0.2.1"}


@pytest.fixture
def guarded(make_instance):
    return make_instance(config=TOKENS, tokens=ONE, data={
        "first.token": FIRST + "\n", "second.token": SECOND + "\n"}).start()


def status_of(call):
    with pytest.raises(StatusError) as refused:
        call()
    return refused.value.status


def test_nothing_without_a_token(guarded):
    client = guarded.client()
    client.ping()
    body = client.decide_body([{1: bytes([192, 0, 2, 1])}])
    before = guarded.stats()["unauthenticated"]
    for op in (Op.DECIDE, Op.LOOKUP, Op.DESCRIBE, Op.CANCEL, Op.SEARCH):
        identity = client.send_frame(op, body)
        assert status_of(lambda: client.collect(identity)) == Status.UNAUTHENTICATED
    client.ping()  # still open
    assert guarded.stats()["unauthenticated"] == before + 5
    assert status_of(client.hello) == Status.UNAUTHENTICATED
    client.recv_closed()


def test_the_right_one_opens_and_a_wrong_one_closes(guarded):
    client = guarded.client(token=FIRST)
    client.hello()
    assert client.decide(IP).action is Action.DENY
    client.hello()  # once more is fine
    assert client.decide(IP).action is Action.DENY
    for wrong in (FIRST[:-1], FIRST + "0", FIRST[:-1] + "8", SECOND, "x", "y" * 255):
        stranger = guarded.client(token=wrong)
        assert status_of(stranger.hello) == Status.UNAUTHENTICATED
        stranger.recv_closed()
    assert client.decide(IP).action is Action.DENY


def test_before_hello_frames_are_short(guarded):
    client = guarded.client(token=FIRST)
    identity = client.send_frame(Op.PING, b"x" * 512)
    assert client.collect(identity)[0].body == b"x" * 512
    identity = client.send_frame(Op.PING, b"x" * 513)
    assert status_of(lambda: client.collect(identity)) == Status.TOO_LARGE
    client.recv_closed()
    client = guarded.client(token=FIRST)
    client.hello()
    assert len(client.collect(client.send_frame(Op.PING, b"x" * 513))[0].body) == 513


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_who_does_not_say_hello_is_closed(make_instance, backend):
    guarded = make_instance(backend=backend, config=TOKENS, tokens=ONE,
                            data={"first.token": FIRST}).start()
    started = time.monotonic()
    silent, chatty, known = guarded.client(), guarded.client(), guarded.client(token=FIRST)
    known.hello()
    # Talking does not buy time.
    with pytest.raises(ConnectionClosed):
        while time.monotonic() < started + 20:
            chatty.ping()
    assert time.monotonic() - started >= 5
    silent.recv_closed(timeout=20)
    assert known.decide(IP).action is Action.DENY
    assert guarded.stats()["timeouts_hello"] == 2


def test_hello_and_requests_in_one_go(guarded):
    sock = guarded.raw()
    token = FIRST.encode()
    hello = struct.pack("<HB", 1, len(token)) + token + b"\0"
    body = struct.pack("<HHBH", 1, 7, 1, 4) + bytes([192, 0, 2, 1])
    sock.sendall(pack_frame(Op.HELLO, hello, request_id=1)
                 + pack_frame(Op.DECIDE, body, request_id=2)
                 + pack_frame(Op.PING, b"z" * 5000, request_id=3))
    seen, data = [], b""
    while len(seen) < 3:
        data += sock.recv(65536)
        while len(data) >= 16:
            length = struct.unpack_from("<I", data, 4)[0]
            if len(data) < 16 + length:
                break
            seen.append((data[3], struct.unpack_from("<I", data, 8)[0]))
            data = data[16 + length:]
    assert seen == [(0, 1), (0, 2), (0, 3)]


def test_one_guess_a_connection(guarded):
    """What follows a wrong token in the same send is not looked at, not even the right one."""
    def hello(token):
        return struct.pack("<HB", 1, len(token)) + token.encode() + b"\0"

    sock = guarded.raw()
    sock.sendall(pack_frame(Op.HELLO, hello("guess"), request_id=1)
                 + pack_frame(Op.HELLO, hello(FIRST), request_id=2)
                 + pack_frame(Op.PING, b"", request_id=3))
    data = b""
    while piece := sock.recv(65536):
        data += piece
    length = struct.unpack_from("<I", data, 4)[0]
    assert (data[3], struct.unpack_from("<I", data, 8)[0]) == (Status.UNAUTHENTICATED, 1)
    assert len(data) == 16 + length


def test_tokens_rotate_without_losing_anybody(guarded):
    old = guarded.client(token=FIRST)
    old.hello()
    guarded.apply(guarded.write_config(tokens=TWO))
    new = guarded.client(token=SECOND)
    new.hello()
    for client in (old, new):
        assert client.decide(IP).action is Action.DENY
    guarded.apply(guarded.write_config(tokens=ONLY_SECOND))
    wait_until(lambda: guarded.stats()["adoptions"] >= 3, "adopted")
    assert new.decide(IP).action is Action.DENY
    assert status_of(lambda: old.decide(IP)) == Status.UNAUTHENTICATED, "revoked"


def test_the_first_tokens_ask_who_is_connected(make_instance):
    config = CONFIG + "{more}"
    guarded = make_instance(config=config, more="", data={"first.token": FIRST}).start()
    late, early = guarded.client(), guarded.client(token=FIRST)
    for client in (late, early):
        client.hello()
        assert client.decide(IP).action is Action.DENY
    guarded.apply(guarded.write_config(more="tokens:\n" + ONE))
    wait_until(lambda: guarded.stats()["adoptions"] >= 2, "adopted")
    assert status_of(lambda: late.decide(IP)) == Status.UNAUTHENTICATED
    assert status_of(lambda: early.decide(IP)) == Status.UNAUTHENTICATED
    early.hello()
    assert early.decide(IP).action is Action.DENY
    late.recv_closed(timeout=10)
    guarded.apply(guarded.write_config(more=""))
    wait_until(lambda: guarded.stats()["adoptions"] >= 3, "adopted")
    assert guarded.client().decide(IP).action is Action.DENY, "nobody needs one any more"


def test_secrets_are_read_and_never_kept(guarded):
    done = guarded.ctl("decide", "ip=192.0.2.1")
    assert done.returncode == 1 and "unauthenticated" in done.stderr
    path = guarded.write_source("mine.token", FIRST)
    assert guarded.ctl_json("decide", "ip=192.0.2.1", "--token-file", path)["action"] == "deny"
    guarded.write_source("first.token", "short")
    done = guarded.ctl("apply", guarded.config_path)
    assert done.returncode == 1
    assert "less than 16 bytes" in done.stderr and "tern.yaml:" in done.stderr
    guarded.write_source("first.token", "")
    (guarded.sources / "first.token").unlink()
    done = guarded.ctl("apply", guarded.config_path)
    assert done.returncode == 1 and "cannot open" in done.stderr
    for file in [*guarded.state_dir.rglob("*"), guarded.run_dir / "arena", guarded.log]:
        if file.is_file():
            assert FIRST.encode() not in file.read_bytes(), file
