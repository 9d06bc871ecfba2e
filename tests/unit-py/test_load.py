"""tern-load against its own echo server, redis, and a fake tern server: answers are counted, compared,
and what is wrong is seen. Nothing about time is asserted."""

import contextlib
import getpass
import json
import os
import shutil
import socket
import struct
import subprocess
import time

import pytest
from conftest import COLLECTIONS

from tern import Op, Status, pack_frame

LOAD = os.environ.get("TERN_LOAD")
pytestmark = pytest.mark.skipif(not LOAD, reason="TERN_LOAD does not name the program")


def load(*arguments, code=0, **options):
    done = subprocess.run(
        [LOAD, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def run(*arguments, code=0):
    return json.loads(load("run", "--json", *arguments, code=code).stdout)


class Echo:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [LOAD, "echo", *arguments], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline().split()
        assert line[0] == "ready"
        self.address = line[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(10) == 0
        self.process.stdout.close()


@pytest.fixture(params=["io_uring", "epoll"])
def backend(request):
    return request.param


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "unix"])
def test_echo_answers_everything_in_the_closed_loop(backend, listen, tmp_path):
    listen = "unix://%s/echo" % tmp_path if listen == "unix" else listen
    with Echo("--listen", listen, "--backend", backend) as echo:
        for connections, depth, size in [(1, 1, 16), (8, 16, 60), (3, 5, 100000), (64, 2, 2047)]:
            got = run(
                "--target", echo.address, "--protocol", "echo", "--count", 5000,
                "--connections", connections, "--depth", depth, "--frame-bytes", size,
                "--server-pid", echo.process.pid,
            )
            assert (got["replies"], got["failed"], got["wrong"]) == (5000, 0, 0)
            assert got["bytes_out"] == got["bytes_in"] == 5000 * size
            assert got["latency_ns"]["samples"] == 5000
            assert "server_cpu_us" in got and got["checksum"] != "0" * 16


def test_echo_answers_everything_in_the_open_loop(backend):
    with Echo("--listen", "tcp://127.0.0.1:0", "--backend", backend, "--spin-us", "50") as echo:
        for schedule in ["fixed", "poisson"]:
            got = run(
                "--target", echo.address, "--protocol", "echo", "--rate", 5000, "--count", 1000,
                "--schedule", schedule, "--connections", 4, "--check-same",
            )
            assert (got["replies"], got["failed"], got["wrong"]) == (1000, 0, 0)
            assert got["lag_ns"]["samples"] + got["blocked"] >= 1000


def test_the_checksum_repeats(backend):
    with Echo("--listen", "tcp://127.0.0.1:0", "--backend", backend) as echo:
        arguments = ["--target", echo.address, "--protocol", "echo", "--count", 300, "--depth", 7]
        assert run(*arguments)["checksum"] == run(*arguments)["checksum"]


def test_echo_survives_what_is_no_frame(backend):
    with Echo("--listen", "tcp://127.0.0.1:0", "--backend", backend) as echo:
        host, port = echo.address[6:].split(":")
        for bytes_ in [b"GET / HTTP/1.1\r\n\r\n", b"T", b"T" + b"\xff" * 15]:
            with socket.create_connection((host, int(port)), timeout=10) as sock:
                sock.sendall(bytes_)
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(100) == b""
        assert run("--target", echo.address, "--protocol", "echo", "--count", 10)["replies"] == 10


@pytest.fixture
def redis(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    path = tmp_path / "redis"
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "",
         "--appendonly", "no", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
            break
        except OSError:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)  # a pause between looks
    yield "unix://%s" % path
    process.terminate()
    process.wait(20)


def gets_what_was_filled(target, protocol, reply_bytes):
    get = ["--target", target, "--protocol", protocol, "--count", 3000, "--keys", 1000]
    missing = run(*get, code=1)
    assert missing["wrong"] == missing["replies"] == 3000
    load("fill", "--protocol", protocol, "--target", target, "--keys", 1000, "--value-bytes", 33)
    for more in [["--connections", 4, "--depth", 16], ["--rate", 5000]]:
        got = run(*get, "--check-same", *more)
        assert (got["replies"], got["failed"], got["wrong"]) == (3000, 0, 0)
        assert got["bytes_in"] == 3000 * reply_bytes


def test_redis_gets_what_was_filled(redis):
    gets_what_was_filled(redis, "resp", len("$33\r\n") + 33 + 2)


@pytest.fixture
def memcached(tmp_path):
    if shutil.which("memcached") is None:
        pytest.skip("memcached is not installed")
    path = tmp_path / "memcached.sock"
    process = subprocess.Popen(["memcached", "-s", str(path), "-m", "64", "-u", getpass.getuser()],
                               stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)  # a pause between looks
    yield "unix://%s" % path
    process.terminate()
    process.wait(20)


def test_memcached_gets_what_was_filled(memcached):
    reply_bytes = len("VALUE key:000000000001 0 33\r\n") + 33 + len("\r\nEND\r\n")
    gets_what_was_filled(memcached, "memcached", reply_bytes)


def test_a_spike_shows_in_its_seconds():
    with Echo("--listen", "tcp://127.0.0.1:0", "--spin-us", "50") as echo:
        got = run(
            "--target", echo.address, "--protocol", "echo", "--rate", 500, "--schedule", "fixed",
            "--duration", 3, "--warmup", 0, "--per-second", "--connections", 4,
            "--spike", 8, "--spike-at", 1, "--spike-for", 1,
        )
    assert [second["replies"] // 250 for second in got["per_second"]] == [2, 16, 2]
    assert sum(second["replies"] for second in got["per_second"]) == got["replies"]
    assert all(second["failed"] == 0 and second["p50"] <= second["p99"] <= second["max"]
               for second in got["per_second"])


def test_silent_connections_are_opened_and_answered_once(tmp_path):
    """A server that counts: every silent one has sent a PING and nothing else."""
    path, pings = tmp_path / "s", []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        process = subprocess.Popen(
            [LOAD, "run", "--target", "unix://%s" % path, "--idle", "20", "--count", "5", "--json"],
            stdout=subprocess.PIPE, text=True)
        held = []
        for number in range(21):
            connection = listener.accept()[0]
            held.append(connection)
            if number == 0:
                continue  # the one that is measured
            pings.append(connection.recv(1024))
            connection.sendall(pack_frame(Op.PING, request_id=1))
        assert pings == [pack_frame(Op.PING, request_id=1)] * 20
        for _ in range(5):
            request = struct.unpack_from("<I", held[0].recv(16), 8)[0]
            held[0].sendall(pack_frame(Op.PING, request_id=request))
        got = json.loads(process.communicate(timeout=20)[0])
        assert (got["replies"], got["failed"]) == (5, 0)
        for connection in held:
            connection.close()


@pytest.mark.parametrize("protocol, ask, answer", [
    ("tern", pack_frame(Op.PING, request_id=1), pack_frame(Op.PING, request_id=1)),
    ("resp", b"PING\r\n", b"+PONG\r\n"),
])
def test_idle_holds_connections_until_it_is_stopped(tmp_path, protocol, ask, answer):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        process = subprocess.Popen([LOAD, "idle", "--target", "unix://%s" % path, "--protocol", protocol,
                                    "--idle", "20"], stdout=subprocess.PIPE, text=True)
        held = [listener.accept()[0]]
        for _ in range(20):
            assert held[-1].recv(1024) == ask
            held[-1].sendall(answer)
            if len(held) < 20:
                held.append(listener.accept()[0])
        assert process.stdout.readline() == "ready 20\n"
        for connection in held:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
        process.terminate()
        assert process.wait(20) == 0
        for connection in held:
            connection.setblocking(True)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            connection.close()
        process.stdout.close()


def test_idle_says_what_is_missing():
    done = subprocess.run([LOAD, "idle", "--target", "tcp://127.0.0.1:1"], capture_output=True, text=True)
    assert done.returncode == 2 and "--idle N" in done.stderr
    done = subprocess.run([LOAD, "idle", "--target", "tcp://127.0.0.1:1", "--idle", "2", "--protocol", "memcached"],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "--protocol tern, echo or resp" in done.stderr


CSV = '''ip,host,user
192.0.2.1,a.example,7
2001:db8::1,"quoted, ""name""",
10.0.0.1,,9
'''


def decide_reply(header, rule, action=1):
    item = struct.pack("<HBBHHIf", 0, action, 1, 0, 0, rule, 0)
    return pack_frame(3, struct.pack("<HHI", 1, 0, 0) + item, request_id=header[5])


def test_requests_become_frames(server, tmp_path):
    requests, frames = tmp_path / "requests.csv", tmp_path / "frames"
    requests.write_text(CSV)
    load("frames", "--requests", requests, "--fields", "ip:ip,host:host,user:u64", "--out", frames)
    by_list = frames.read_bytes()
    load("frames", "--requests", requests, "--target", server.address, "--out", frames)
    assert frames.read_bytes() == by_list, "the server's schema gives the same ids"
    first = (
        b"\x01\x04\x00\xc0\x00\x02\x01" + b"\x02\x09\x00a.example"
        + b"\x03\x08\x00" + struct.pack("<Q", 7)
    )
    body = struct.pack("<HH", 1, len(first)) + first
    frame = pack_frame(3, body)
    assert by_list.startswith(struct.pack("<I", len(frame)) + frame)
    assert b"\x02\x0e\x00quoted, \"name\"" in by_list
    load("frames", "--requests", requests, "--fields", "ip:ip,host:host,user:u64", "--out", frames,
         "--items", 2)
    data = frames.read_bytes()
    counts = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        counts.append(struct.unpack_from("<H", data, 20)[0])
        data = data[4 + length :]
    assert counts == [2, 1]


def test_vectors_become_searches(server, tmp_path):
    id, _, dim, name = COLLECTIONS[0]
    vectors, frames = tmp_path / "vectors", tmp_path / "frames"
    rows = [struct.pack("<%df" % dim, *(value + row for value in range(dim))) for row in range(2)]
    vectors.write_bytes(b"".join(rows))
    ask = ["--search", name, "--vectors", vectors]
    load("frames", "--target", server.address, *ask, "--k", 3, "--ef", 70, "--filter", "a == 1", "--out", frames)
    expected = b""
    for row in rows:
        body = struct.pack("<HHHH", id, 3, 70, 0) + row + struct.pack("<H", 6) + b"a == 1"
        frame = pack_frame(Op.SEARCH, body)
        expected += struct.pack("<I", len(frame)) + frame
    assert frames.read_bytes() == expected
    vectors.write_bytes(rows[0] + rows[1][:-1])
    assert "ends within a vector" in load("run", "--target", server.address, *ask, code=2).stderr
    assert "no such collection" in load("run", "--target", server.address, "--search", "x", "--vectors", vectors,
                                        code=2).stderr


@pytest.mark.parametrize(
    "text, message",
    [
        ("ip,nobody\n1.2.3.4,1\n", 'no field "nobody"'),
        ("ip\n1.2.3\n", 'line 2, column 1: "1.2.3" is no ip'),
        ("user\n-1\n", "is no u64"),
        ('host\n"open\n', "line 2: a quote is not closed"),
        ("", "is empty"),
        ("ip\n", "no request"),
    ],
)
def test_bad_requests_are_placed(server, tmp_path, text, message):
    path = tmp_path / "requests.csv"
    path.write_text(text)
    done = load("run", "--target", server.address, "--requests", path, code=2)
    assert message in done.stderr


def test_answers_are_compared_with_what_is_expected(server, tmp_path):
    requests, expected = tmp_path / "requests.csv", tmp_path / "expected.csv"
    requests.write_text(CSV)
    server.handler = lambda sock, h, b: sock.sendall(decide_reply(h, len(b) % 7 + 1))
    arguments = ["--target", server.address, "--requests", requests, "--count", 30]
    assert run(*arguments, "--check-same")["wrong"] == 0
    rules = [len(frame[1]) % 7 + 1 for frame in server.frames if frame[0][1] == Op.DECIDE][:3]
    expected.write_text("action,rule\ndeny,%d\ndeny,%d\ndeny,\n" % (rules[0], rules[1]))
    assert run(*arguments, "--expect", expected)["wrong"] == 0
    expected.write_text("action,rule\ndeny,%d\nallow,%d\ndeny,99\n" % (rules[0], rules[1]))
    got = run(*arguments, "--expect", expected, code=1)
    assert (got["wrong"], got["failed"]) == (20, 0)
    expected.write_text("action\ndeny\n")
    assert "1 rows for 3 frames" in load("run", *arguments, "--expect", expected, code=2).stderr


def test_a_changed_answer_is_seen(server):
    rules = iter([1] * 10 + [2] + [1] * 100)
    server.handler = lambda sock, h, b: sock.sendall(decide_reply(h, next(rules)))
    got = run("--target", server.address, "--check-same", "--count", 20, code=1)
    assert (got["replies"], got["wrong"]) == (20, 1)


def test_refusals_are_counted_by_status(server):
    server.handler = lambda sock, h, b: sock.sendall(
        pack_frame(h[1], b"busy", request_id=h[5], status=Status.OVERLOADED)
    )
    got = run("--target", server.address, "--count", 12, "--depth", 3, code=1)
    assert (got["failed"], got["statuses"]) == (12, {"overloaded": 12})


def test_a_broken_connection_fails_what_it_held_and_is_made_anew(server):
    seen = []

    def handler(sock, header, body):
        seen.append(header)
        if len(seen) == 5:
            return "close"
        sock.sendall(pack_frame(header[1], request_id=header[5]))

    server.handler = handler
    got = run("--target", server.address, "--count", 20, code=1)
    assert (got["replies"], got["failed"], got["reconnects"]) == (19, 1, 1)


def test_nobody_there(tmp_path):
    done = load("run", "--target", "unix://%s/none" % tmp_path, code=2)
    assert "No such file" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run"], "expected --target"),
        (["walk"], "expected run or frames or idle or echo or fill"),
        (["run", "--target", "x", "--depth", "0"], "a number from 1 to"),
        (["run", "--target", "x", "--protocol", "http"], "expected tern or resp or echo or memcached"),
        (["run", "--target", "x", "--speed", "1"], "expected one that --help lists"),
        (["run", "--target", "nowhere"], "expected tcp://ip:port or unix:///path"),
        (["frames", "--requests", "x", "--out", "y"], "--fields or a --target"),
        (["run", "--target", "x", "--search", "docs"], "--search and --vectors"),
        (["run", "--target", "x", "--search", "docs", "--vectors", "v", "--frames", "f"], "expected one of them"),
    ],
)
def test_mistakes_are_explained(arguments, message):
    assert message in load(*arguments, code=2).stderr
