"""Connections that misbehave: silent, half-spoken, deaf, many. Others are served all the while."""
import socket
import time

import pytest
from instance import Instance, wait_until
from tern import Action, ConnectionClosed, Op, pack_frame

PING = pack_frame(Op.PING, b"x" * 1000)


@pytest.fixture(scope="module", params=["io_uring", "epoll"])
def impatient(request):
    """Short timeouts, few connections."""
    instance = Instance(backend=request.param, idle="1s", half_frame="300ms", connections=1200)
    try:
        instance.start()
        if instance.status()["dataplane"]["backend"] != request.param:
            pytest.skip(f"no {request.param} here")
        yield instance
    finally:
        problems = instance.dispose()
    assert not problems, problems


def closes_within(sock, least_s, most_s, began=None):
    """True when the other side closes between the two; what it says before does not matter. Counted from `began`,
    taken before what the other side counts from, so that no pause of ours makes it seem early."""
    began = time.monotonic() if began is None else began
    sock.settimeout(most_s)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except socket.timeout:
        return False
    return time.monotonic() - began >= least_s


def test_idle_connections_are_closed(impatient):
    before = impatient.stats()["timeouts_idle"]
    began = time.monotonic()
    silent = impatient.raw()
    spoke = impatient.raw()
    spoke.sendall(PING)
    assert closes_within(silent, 0.5, 10, began)
    assert closes_within(spoke, 0.0, 10)
    assert impatient.stats()["timeouts_idle"] >= before + 2


def test_a_busy_connection_is_not_idle(impatient):
    client = impatient.client()
    last = time.monotonic()
    until = last + 2.5
    while last < until:
        try:
            assert client.decide({"ip": "192.0.2.1"}).action is Action.DENY
        except ConnectionClosed:
            assert time.monotonic() > last + 0.5, "it was busy"
            client.reconnect()  # it was we who stood still: all over again
            until = time.monotonic() + 2.5
        last = time.monotonic()


def served(client):
    """Is, also when we stood still for so long that it had to begin anew."""
    try:
        return client.decide({"ip": "192.0.2.1"}).action is Action.DENY
    except ConnectionClosed:
        client.reconnect()
        return client.decide({"ip": "192.0.2.1"}).action is Action.DENY


@pytest.mark.parametrize("count", [1, 8, 16, 500])
def test_half_frames_are_closed(impatient, count):
    before = impatient.stats()["timeouts_half_frame"]
    sock = impatient.raw()
    began = time.monotonic()
    sock.sendall(PING[:count])
    assert closes_within(sock, 0.1, 10, began)
    assert impatient.stats()["timeouts_half_frame"] > before


def test_a_frame_that_trickles_does_not_renew_its_time(impatient):
    """The limit is on the frame, not on the pause between two bytes."""
    sock = impatient.raw()
    began = time.monotonic()
    sock.settimeout(0.05)
    closed = False
    for i in range(len(PING)):
        try:
            sock.sendall(PING[i:i + 1])
            closed = sock.recv(1) == b""
        except socket.timeout:
            continue
        except (ConnectionResetError, BrokenPipeError):
            closed = True
        if closed or time.monotonic() - began > 10:
            break
    assert closed and time.monotonic() - began < 5


def test_a_thousand_silent_connections(impatient):
    silent = []
    try:
        for _ in range(1000):
            silent.append(socket.create_connection(("127.0.0.1", impatient.port), timeout=10))
        client = impatient.client()
        for _ in range(200):
            assert served(client)
        assert closes_within(silent[-1], 0.0, 10)
    finally:
        for sock in silent:
            sock.close()
    wait_until(lambda: impatient.stats()["connections_opened"] -
               impatient.stats()["connections_closed"] < 20, "the connections are given back")


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_connections_over_the_limit_are_refused(make_instance, backend):
    instance = make_instance(backend=backend, connections=100).start()
    early = instance.client()
    opened = []
    try:
        for _ in range(200):
            opened.append(socket.create_connection(("127.0.0.1", instance.port), timeout=10))
        wait_until(lambda: instance.stats()["connections_refused"] >= 100, "the others are refused")
        early.ping()
    finally:
        for sock in opened:
            sock.close()
    wait_until(instance.answers, "room for new connections")


def test_a_client_that_never_reads(impatient):
    """Its requests stop being read, its memory is bounded, and after a while it is closed."""
    before = impatient.stats()
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(("127.0.0.1", impatient.port))
    deaf.settimeout(0.2)
    bystander = impatient.client()
    sent, closed = 0, False
    until = time.monotonic() + 30
    while time.monotonic() < until and not closed:
        try:
            sent += deaf.send(PING * 64)
        except socket.timeout:
            pass
        except (ConnectionResetError, BrokenPipeError):
            closed = True
        assert served(bystander)
    deaf.close()
    after = impatient.stats()
    assert closed, f"still open after {sent} bytes"
    assert sent < 64 << 20, "what it may have outstanding is bounded"
    assert after["backpressure"] > before["backpressure"]
    assert after["timeouts_stalled"] > before["timeouts_stalled"]


def test_a_slow_reader_gets_everything(impatient):
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", impatient.port))
    slow.settimeout(0.01)
    total, sent, got = len(PING) * 1000, 0, 0
    data = memoryview(PING * 1000)
    until = time.monotonic() + 30
    while got < total and time.monotonic() < until:
        try:
            if sent < total:
                sent += slow.send(data[sent:sent + 100000])
        except socket.timeout:
            pass
        try:
            got += len(slow.recv(20000))
        except socket.timeout:
            pass
    slow.close()
    assert got == total


def test_connections_that_come_and_go(impatient):
    pid = impatient.ternd_pid()
    for i in range(2000):
        sock = socket.create_connection(("127.0.0.1", impatient.port), timeout=10)
        if i % 3:
            sock.sendall(PING)
        if i % 5 == 0: # with a reset instead of an end
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    # They may all come before the first is taken: more than are allowed at once, until those that left are given back.
    wait_until(impatient.answers, "others are served")
    assert impatient.ternd_pid() == pid
    wait_until(lambda: impatient.stats()["connections_opened"] -
               impatient.stats()["connections_closed"] < 20, "all are given back")


def test_closing_at_the_end_answers_what_was_received(make_instance):
    instance = make_instance().start()
    client = instance.client()
    sent = [client.submit({"ip": "192.0.2.1"}) for _ in range(200)]
    client.ping() # all of them have been received
    assert instance.stop() == 0
    for identity in sent:
        assert client.collect_verdicts(identity, 1)[0].action is Action.DENY


def test_a_server_that_stops_says_goodbye(make_instance):
    instance = make_instance().start()
    clients = [instance.client(), instance.client(instance.unix)]
    for client in clients:
        client.ping()
    assert instance.stop() == 0
    for client in clients:
        with pytest.raises(ConnectionClosed):
            client.collect(0xfffffff0)  # nobody's id: reads until the end
        assert client.goaway is not None and client.goaway.drain_ms > 0
