"""Vectors into a collection of a tern on this machine, through tern-control's socket.

The messages are those of shared/proto/tern.proto, made and read here, so that nothing else is needed."""

from __future__ import annotations

import array
import collections
import os
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Deque, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from .errors import (
    ConnectionClosed,
    EncodeError,
    NotWritten,
    ProtocolError,
    Timeout,
    Unreachable,
)

BATCH_MAX = 1024
IN_FLIGHT_MAX = 32
FRAME_MAX = 16 << 20

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_FAILURE, _ACKNOWLEDGEMENT, _COLLECTION = 3, 20, 21

Vector = Union[Sequence[float], "array.array[float]", bytes]


@dataclass(frozen=True)
class Collection:
    """What a collection takes: `columns` are names and types ("string", "bool", "u32", "u64", "i64",
    "f32") of its payload."""

    name: str
    id: int
    dim: int
    metric: str
    capacity: int
    columns: Dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ack:
    """A batch that is on disk, and that every search finds."""

    ticket: int
    seq: int
    """Grows with every write of the store; 0 when nothing had to change."""
    written: int
    removed: int
    """Ids of a delete that were there."""


# --- protobuf: a key (field number and wire type), then a varint or a length and so many bytes ---


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _fields(data: bytes) -> Iterator[Tuple[int, Union[int, bytes]]]:
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ProtocolError("a reply of tern-control makes no sense")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF

    while at < len(data):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            yield number, varint()
            continue
        if wire not in (_EIGHT, _BYTES, _FOUR):
            raise ProtocolError("a reply of tern-control makes no sense")
        length = {_EIGHT: 8, _FOUR: 4}.get(wire) or (varint() if wire == _BYTES else 0)
        if length > len(data) - at:
            raise ProtocolError("a reply of tern-control makes no sense")
        yield number, data[at : at + length]
        at += length


def _number(value: Union[int, bytes, None]) -> int:
    return value if isinstance(value, int) else 0


def _text(value: Union[int, bytes, None]) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _pack_ids(ids: Sequence[int]) -> bytes:
    try:
        return struct.pack(f"<{len(ids)}Q", *ids)
    except struct.error:
        raise EncodeError("an id is a whole number from 0 to 2^64 - 1") from None


def _pack_vector(vector: Vector, dim: int) -> bytes:
    if isinstance(vector, (bytes, bytearray, memoryview)):
        packed = bytes(vector)
    else:
        try:
            values = array.array("f", vector)
        except (TypeError, OverflowError) as error:
            raise EncodeError(f"a vector is a sequence of numbers: {error}") from None
        if sys.byteorder == "big":
            values.byteswap()
        packed = values.tobytes()
    if len(packed) != 4 * dim:
        raise EncodeError(f"a vector has {len(packed) // 4} values, the collection takes {dim}")
    return packed


def _pack_column(name: str, kind: str, values: Sequence[Any]) -> bytes:
    """None is no value."""
    if all(value is None for value in values):
        return b""
    present = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        if value is not None:
            present[index // 8] |= 1 << index % 8
    try:
        if kind == "string":
            body = b"".join(
                _bytes(3, b"" if value is None else value.encode()) for value in values
            )
        elif kind == "f32":
            body = _bytes(6, struct.pack(f"<{len(values)}f", *(value or 0.0 for value in values)))
        elif kind == "i64":
            numbers = [int(value or 0) for value in values]
            if any(not -(1 << 63) <= number < 1 << 63 for number in numbers):
                raise OverflowError
            body = _bytes(
                5, b"".join(_varint(number << 1 if number >= 0 else ~(number << 1)) for number in numbers)
            )
        else:
            numbers = [int(value or 0) for value in values]
            if any(not 0 <= number < 1 << 64 for number in numbers):
                raise OverflowError
            body = _bytes(4, b"".join(map(_varint, numbers)))
    except (AttributeError, TypeError, ValueError, OverflowError, struct.error):
        raise EncodeError(f"a value of payload {name} is no {kind}") from None
    return _bytes(5, _bytes(1, name.encode()) + _bytes(2, bytes(present)) + body)


class Vectors:
    """One connection to one collection, one thread.

        with Vectors("/run/tern/edge", "docs") as docs:
            docs.upsert({7: embedding}, {7: {"label": "spam"}})   # returns once it is acknowledged
            docs.delete([7])

    `run_dir` is the instance's run directory (its control.sock); only the user that runs tern-control
    and root may write. `timeout` is in seconds, for every call. `submit_…` and `collect` keep several
    batches in flight; acknowledgements come in their order. What tern-control refuses is NotWritten:
    nothing of that batch was written. A connection that breaks is ConnectionClosed and not made anew;
    what was not acknowledged may or may not have been written, and may be written again.
    """

    def __init__(
        self, run_dir: Union[str, "os.PathLike[str]"], collection: str, *, timeout: float = 10.0
    ) -> None:
        self.path = os.path.join(os.fspath(run_dir), "control.sock")
        self.timeout = timeout
        self._ticket = 0
        self._flying: Deque[int] = collections.deque()
        self._buffer = bytearray()
        self._socket: Optional[socket.socket] = self._connect()
        try:
            self.collection = self._ask(collection)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self.path)
        except OSError as error:
            sock.close()
            raise Unreachable(f"{self.path}: {error}") from error
        return sock

    def close(self) -> None:
        """Closes the connection; what was submitted is written all the same."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> "Vectors":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Frames

    def _send(self, number: int, body: bytes) -> None:
        message = _bytes(number, body)
        if self._socket is None:
            raise ConnectionClosed(f"{self.path}: the connection is closed")
        if len(message) > FRAME_MAX:
            raise EncodeError("a batch is larger than 16 MiB")
        try:
            self._socket.settimeout(self.timeout)
            self._socket.sendall(struct.pack("<I", len(message)) + message)
        except OSError as error:
            self.close()  # half a frame cannot be taken back
            if isinstance(error, socket.timeout):
                raise Timeout(f"{self.path}: tern-control takes nothing") from error
            raise ConnectionClosed(f"{self.path}: {error}") from error

    def _receive(self, length: int, until: float) -> None:
        while len(self._buffer) < length:
            if self._socket is None:
                raise ConnectionClosed(f"{self.path}: the connection is closed")
            left = until - time.monotonic()
            if left <= 0:
                raise Timeout(f"{self.path}: no answer within {self.timeout} s")
            try:
                self._socket.settimeout(left)
                data = self._socket.recv(65536)
            except socket.timeout:
                continue
            except OSError as error:
                self.close()
                raise ConnectionClosed(f"{self.path}: {error}") from error
            if not data:
                self.close()
                raise ConnectionClosed(f"{self.path}: tern-control has closed the connection")
            self._buffer += data

    def _hear(self) -> Tuple[int, Dict[int, Union[int, bytes]], bytes]:
        """Number, fields and bytes of the next reply that is one of ours."""
        until = time.monotonic() + self.timeout
        while True:
            self._receive(4, until)
            length = struct.unpack_from("<I", self._buffer)[0]
            if length > FRAME_MAX:
                self.close()
                raise ProtocolError(f"{self.path}: the other side does not speak tern")
            self._receive(4 + length, until)
            message = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            for number, body in _fields(message):
                if isinstance(body, bytes) and number in (_FAILURE, _ACKNOWLEDGEMENT, _COLLECTION):
                    return number, dict(_fields(body)), body

    def _ask(self, name: str) -> Collection:
        self._send(22, _bytes(1, name.encode()))
        number, body, raw = self._hear()
        if number == _FAILURE:
            raise NotWritten(_text(body.get(2)), _signed(_number(body.get(1))))
        if number != _COLLECTION:
            raise ProtocolError(f"{self.path}: the other side does not speak tern")
        columns = {}
        for key, value in _fields(raw):
            if key == 6 and isinstance(value, bytes):
                column = dict(_fields(value))
                columns[_text(column.get(1))] = _text(column.get(2))
        return Collection(
            _text(body.get(1)),
            _number(body.get(2)),
            _number(body.get(3)),
            _text(body.get(4)),
            _number(body.get(5)),
            columns,
        )

    # Batches

    @property
    def in_flight(self) -> int:
        """Batches that are submitted and not collected."""
        return len(self._flying)

    def _submit(self, number: int, ids: Sequence[int], rest: bytes) -> int:
        if not 1 <= len(ids) <= BATCH_MAX:
            raise EncodeError(f"a batch has 1 to {BATCH_MAX} ids, not {len(ids)}")
        if len(self._flying) == IN_FLIGHT_MAX:
            raise EncodeError(f"{IN_FLIGHT_MAX} batches are in flight: collect() one first")
        ticket = self._ticket + 1
        self._send(
            number,
            _bytes(1, self.collection.name.encode())
            + _varint(2 << 3 | _VARINT)
            + _varint(ticket)
            + _bytes(3, _pack_ids(ids))
            + rest,
        )
        self._ticket = ticket
        self._flying.append(ticket)
        return ticket

    def submit_upsert(
        self,
        vectors: Mapping[int, Vector],
        payload: Optional[Mapping[int, Mapping[str, Any]]] = None,
    ) -> int:
        """Sends a batch and does not wait; returns its ticket. `vectors` are by id: sequences of
        numbers, or bytes of f32. `payload` by id and column; what is left out, or None, is no value."""
        ids = list(vectors)
        packed = b"".join(_pack_vector(vectors[id], self.collection.dim) for id in ids)
        rows: List[Mapping[str, Any]] = [(payload or {}).get(id, {}) for id in ids]
        unknown = {name for row in rows for name in row} - set(self.collection.columns)
        if unknown:
            raise EncodeError(
                f"collection {self.collection.name} has no payload {', '.join(sorted(unknown))}"
            )
        columns = b"".join(
            _pack_column(name, kind, [row.get(name) for row in rows])
            for name, kind in self.collection.columns.items()
        )
        return self._submit(20, ids, _bytes(4, packed) + columns)

    def submit_delete(self, ids: Sequence[int]) -> int:
        """Likewise for ids that are to go; those that are not there are no error."""
        return self._submit(21, ids, b"")

    def collect(self) -> Ack:
        """Waits for the next acknowledgement. NotWritten when that batch was refused."""
        if not self._flying:
            raise EncodeError("nothing is in flight")
        number, body, _ = self._hear()
        if number != _ACKNOWLEDGEMENT:
            self.close()
            raise ConnectionClosed(f"{self.path}: {_text(body.get(2))}")
        self._flying.popleft()
        code = _signed(_number(body.get(5)))
        if code != 0:
            raise NotWritten(_text(body.get(6)), code, _number(body.get(1)), _number(body.get(7)))
        return Ack(
            _number(body.get(1)), _number(body.get(2)), _number(body.get(3)), _number(body.get(4))
        )

    def upsert(
        self,
        vectors: Mapping[int, Vector],
        payload: Optional[Mapping[int, Mapping[str, Any]]] = None,
    ) -> Ack:
        """One batch, acknowledged when it returns. With others in flight: collect() those first."""
        self._alone()
        self.submit_upsert(vectors, payload)
        return self.collect()

    def delete(self, ids: Sequence[int]) -> Ack:
        """Likewise."""
        self._alone()
        self.submit_delete(ids)
        return self.collect()

    def _alone(self) -> None:
        if self._flying:
            raise EncodeError(f"{len(self._flying)} batches are in flight: collect() them first")
