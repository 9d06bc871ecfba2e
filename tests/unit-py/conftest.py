"""A small fake server: it speaks just enough of the protocol to test the client against."""

import pathlib
import socket
import struct
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients" / "python"))

from tern import Op, pack_frame  # noqa: E402

FIELDS = [(1, 1, 0, "ip"), (2, 2, 0, "host"), (3, 3, 0, "user"), (4, 7, 3, "vector")]
TABLES = [(1, 1, 0, "nets"), (2, 2, 0, "names")]
COLLECTIONS = [(1, 7, 3, "shapes")]


def hello_body(version=1, generation=7):
    body = struct.pack("<HHIQQ", version, 0, 1 << 20, generation, 0x1234)
    for entries in (FIELDS, TABLES, COLLECTIONS):
        body += struct.pack("<H", len(entries))
        for entry, kind, dim, name in entries:
            body += struct.pack("<HBBIB", entry, kind, 0, dim, len(name)) + name.encode()
    return body + b"later versions may add"  # clients ignore trailing bytes


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class FakeServer:
    """Calls `handler(sock, header, body)` for every frame but HELLO, which it answers itself.
    header is (magic, op, flags, status, length, id, tail)."""

    def __init__(self, listener, address):
        self.listener = listener
        self.address = address
        self.handler = None
        self.frames = []
        self.failures = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                try:
                    while True:
                        header = struct.unpack("<BBBBIII", read_exactly(sock, 16))
                        body = read_exactly(sock, header[4])
                        self.frames.append((header, body))
                        if header[1] == Op.HELLO:
                            reply = pack_frame(1, hello_body(), request_id=header[5], deadline_us=7)
                            sock.sendall(reply)
                        elif self.handler(sock, header, body) == "close":
                            break
                except (EOFError, ConnectionError):
                    pass
                except Exception as error:  # shown by the fixture
                    self.failures.append(error)


@pytest.fixture(params=["tcp", "unix"])
def server(request, tmp_path):
    if request.param == "tcp":
        listener = socket.create_server(("127.0.0.1", 0))
        address = "tcp://127.0.0.1:%d" % listener.getsockname()[1]
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        address = "unix://%s/s" % tmp_path
    fake = FakeServer(listener, address)
    yield fake
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    assert not fake.failures
