"""A blocking connection to a tern server."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import time
from typing import Any, Dict, List, Literal, Optional, Sequence, Set, Tuple, Union, overload

from . import model, wire
from .errors import (
    ConnectionClosed,
    EncodeError,
    ProtocolError,
    StatusError,
    Timeout,
    Unreachable,
)
from .model import (
    CollectionDescription,
    Description,
    GoAway,
    Hit,
    Record,
    Request,
    Rule,
    Schema,
    Verdict,
)
from .wire import Frame, Op, RequestFlag, SearchFlag, Status, Type


def parse_address(address: str) -> Tuple[int, Any]:
    """tcp://host:port, tcp://[::1]:port or unix:///path → (family or 0, what connect takes)."""
    scheme, found, rest = address.partition("://")
    if found and scheme == "unix" and rest:
        return socket.AF_UNIX, rest
    if found and scheme == "tcp":
        host, colon, port = rest.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            colon = ""
        if host and colon and port.isdigit() and 0 < int(port) < 65536:
            return 0, (host, int(port))
    raise ValueError(f"address {address!r}: expected tcp://host:port or unix:///path")


class Client:
    """One connection, one thread.

    `address` is "tcp://host:port" or "unix:///path". `timeout` and `connect_timeout` are seconds;
    the former bounds every call as a whole. `token` and `name` go into HELLO, which is sent when it
    is first needed (or by hello()). A connection that the server asks to leave (GOAWAY) is left when
    nothing is awaited on it; the next one has a schema of its own. A broken connection raises
    ConnectionClosed and is not repaired behind the caller's back: reconnect() does it.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: Optional[float] = 5.0,
        connect_timeout: float = 5.0,
        token: Union[str, bytes] = b"",
        name: str = "",
        follow_goaway: bool = True,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self.follow_goaway = follow_goaway
        self.schema: Optional[Schema] = None
        self.goaway: Optional[GoAway] = None
        """Set once the server has said that it will close; what was sent is still answered. The
        next call that awaits nothing else moves to a new connection, if `follow_goaway`."""
        self._family, self._target = parse_address(address)
        self._token = token.encode() if isinstance(token, str) else token
        self._name = name.encode()
        self._socket: Optional[socket.socket] = None
        self._ids = itertools.cycle(range(1, 1 << 32))
        self._buffer = bytearray()
        self._inbox: Dict[int, List[Frame]] = {}
        self._abandoned: Set[int] = set()
        self._awaited: Set[int] = set()  # submitted, not collected
        self.reconnect()

    # Life

    def reconnect(self) -> None:
        """Closes what is open and connects anew; schema and replies of the old one are gone."""
        self.close()
        self._adopt(None)
        self._adopt(self._connect())

    def _adopt(self, sock: Optional[socket.socket]) -> None:
        self.close()
        self.schema = None
        self.goaway = None
        self._buffer.clear()
        self._inbox.clear()
        self._abandoned.clear()
        self._awaited.clear()
        self._socket = sock

    def _connect(self) -> socket.socket:
        try:
            if self._family == socket.AF_UNIX:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    sock.settimeout(self.connect_timeout)
                    sock.connect(self._target)
                except BaseException:
                    sock.close()
                    raise
            else:
                sock = socket.create_connection(self._target, timeout=self.connect_timeout)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise Unreachable(f"{self.address}: {error}") from error
        return sock

    def _follow_goaway(self) -> None:
        """Moves to a new connection, and so to a new schema, once the server has asked for it and
        nothing is awaited on this one. A server that takes none is still good for what it has."""
        if self.goaway is None or self._awaited or not self.follow_goaway:
            return
        try:
            sock = self._connect()
        except Unreachable:
            return
        self._adopt(sock)

    def close(self) -> None:
        """Closes the connection; it is fine to call it twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def fileno(self) -> int:
        """The socket's descriptor, for select()."""
        return self._live().fileno()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Requests

    def hello(self) -> Schema:
        """Introduces the client and learns fields, tables and collections."""
        frames = self._call(Op.HELLO, model.pack_hello(self._token, self._name))
        schema: Schema = self._parse(model.unpack_hello, frames[0].body)
        self.schema = schema
        return schema

    def ping(self) -> float:
        """Round trip time in seconds. The server answers it even before the first snapshot."""
        start = time.perf_counter()
        self._call(Op.PING, b"")
        return time.perf_counter() - start

    @overload
    def decide(
        self, request: Request, *, detail: bool = ..., explain: Literal[False] = ...,
        wait: bool = ..., fresh: bool = ..., deadline_us: int = ..., trace: Optional[bytes] = ...,
    ) -> Verdict: ...

    @overload
    def decide(
        self, request: Sequence[Request], *, detail: bool = ..., explain: Literal[False] = ...,
        wait: bool = ..., fresh: bool = ..., deadline_us: int = ..., trace: Optional[bytes] = ...,
    ) -> List[Verdict]: ...

    @overload
    def decide(
        self, request: Union[Request, Sequence[Request]], *, explain: Literal[True],
        detail: bool = ..., wait: bool = ..., fresh: bool = ..., deadline_us: int = ...,
        trace: Optional[bytes] = ...,
    ) -> Any: ...

    def decide(
        self,
        request: Union[Request, Sequence[Request]],
        *,
        detail: bool = False,
        explain: bool = False,
        wait: bool = False,
        fresh: bool = False,
        deadline_us: int = 0,
        trace: Optional[bytes] = None,
    ) -> Any:
        """Asks for the verdict of one request, or of a list of them in one frame.

        Keys are field names; values are what the field's type takes (an ip as text, bytes or an
        ipaddress object). The key 0 carries the client's own decision key, and any field id may be
        used with raw bytes. With `explain` the parsed JSON is returned instead of verdicts.
        """
        request_id = self.submit(
            request, detail=detail, explain=explain, wait=wait, fresh=fresh,
            deadline_us=deadline_us, trace=trace,
        )
        frames = self.collect(request_id)
        if explain:
            return self._parse(json.loads, b"".join(frame.body for frame in frames))
        single = hasattr(request, "items")
        verdicts = self._verdicts(frames, 1 if single else len(request), detail)
        return verdicts[0] if single else verdicts

    def submit(
        self,
        request: Union[Request, Sequence[Request]],
        *,
        detail: bool = False,
        explain: bool = False,
        wait: bool = False,
        fresh: bool = False,
        deadline_us: int = 0,
        trace: Optional[bytes] = None,
    ) -> int:
        """Sends a DECIDE without waiting and returns its id for collect(): pipelining."""
        self._follow_goaway()
        items: Sequence[Any] = [request] if hasattr(request, "items") else request
        flags = (
            (RequestFlag.DETAIL if detail else 0)
            | (RequestFlag.EXPLAIN if explain else 0)
            | (RequestFlag.WAIT if wait else 0)
            | (RequestFlag.FRESH if fresh else 0)
            | (RequestFlag.TRACE if trace is not None else 0)
        )
        body = self.decide_body(items)
        if trace is not None:
            if len(trace) != 25:
                raise EncodeError(f"a trace context is 25 bytes, not {len(trace)}")
            body = trace + body
        identity = self.send_frame(Op.DECIDE, body, flags=flags, deadline_us=deadline_us)
        self._awaited.add(identity)
        return identity

    def decide_body(self, items: Sequence[Request]) -> bytes:
        """The body of a DECIDE for these items (HELLO is sent when names need it)."""
        if len(items) > 0xFFFF:
            raise EncodeError(f"a batch is at most {wire.ITEMS_MAX} items, not {len(items)}")
        if self.schema is None and any(isinstance(name, str) for item in items for name in item):
            self.hello()
        try:
            parts = [model.pack_item(item, self.schema) for item in items]
        except KeyError as error:
            raise EncodeError(str(error.args[0])) from None
        except (ValueError, TypeError) as error:
            raise EncodeError(str(error)) from None
        return struct.pack("<H", len(items)) + b"".join(parts)

    def collect(self, request_id: int, *, timeout: Optional[float] = None) -> List[Frame]:
        """All frames of one reply, in order. Replies to other requests met on the way are kept for
        their own collect(). Raises StatusError when the server refused."""
        limit = self.timeout if timeout is None else timeout
        deadline = None if limit is None else time.monotonic() + limit
        self._awaited.discard(request_id)
        try:
            while True:
                frames = self._inbox.get(request_id)
                if frames and not frames[-1].more:
                    break
                self._keep(self._recv(deadline))
        except Timeout:
            self._inbox.pop(request_id, None)
            self._abandoned.add(request_id)
            raise
        del self._inbox[request_id]
        for frame in frames:
            self._check(frame)
        return frames

    def cancel(self, request_id: int) -> None:
        """Asks the server to stop working on a submitted request; collect() it as before. It then
        raises StatusError with CANCELLED, or is answered all the same when the server was done
        first: only a batch that takes several frames, and a search, are ever cut short."""
        self.collect(self.send_frame(Op.CANCEL, struct.pack("<I", request_id)))

    def collect_verdicts(
        self, request_id: int, count: int, *, detail: bool = False
    ) -> List[Verdict]:
        """The verdicts of a submit() of `count` items, in the order of its items."""
        return self._verdicts(self.collect(request_id), count, detail)

    def lookup(self, table: Union[str, int], key: object) -> Optional[Record]:
        """Looks a key up in a table: None when it is not there (a set's hit is an empty Record)."""
        self._follow_goaway()
        if isinstance(table, str) or not isinstance(key, (bytes, bytearray)):
            schema = self.schema or self.hello()
            try:
                entry = (
                    schema.table(table)
                    if isinstance(table, str)
                    else next(e for e in schema.tables if e.id == table)
                )
            except KeyError as error:
                raise EncodeError(str(error.args[0])) from None
            except StopIteration:
                raise EncodeError(f"no table with id {table}") from None
            raw = isinstance(key, (bytes, bytearray)) and entry.type != Type.STRING
            try:
                data = bytes(key) if raw else wire.pack_value(entry.type, key)  # type: ignore
            except (ValueError, TypeError) as error:
                raise EncodeError(f"table {entry.name!r}: {error}") from None
            identity = entry.id
        else:
            identity, data = table, bytes(key)
        try:
            frames = self._call(Op.LOOKUP, model.pack_lookup(identity, data))
        except StatusError as error:
            if error.status is Status.NOT_FOUND:
                return None
            raise
        record: Record = self._parse(
            model.unpack_lookup, frames[0].body, frames[0].generation
        )
        return record

    def search(
        self,
        collection: Union[str, int],
        vector: Union[bytes, Sequence[float]],
        k: int = 10,
        *,
        ef: int = 0,
        filter: Optional[str] = None,
        exact: bool = False,
        payload: bool = False,
        deadline_us: int = 0,
    ) -> List[Hit]:
        """The k vectors of a collection that resemble `vector` most, the best first.

        `vector` is a sequence of numbers, or their bytes (float32, little-endian). `filter` is an
        expression over the payload's columns: 'label == "fraud" and tenant in {1, 2}'.
        """
        return self.collect_hits(
            self.submit_search(
                collection, vector, k, ef=ef, filter=filter, exact=exact, payload=payload,
                deadline_us=deadline_us,
            )
        )

    def submit_search(
        self,
        collection: Union[str, int],
        vector: Union[bytes, Sequence[float]],
        k: int = 10,
        *,
        ef: int = 0,
        filter: Optional[str] = None,
        exact: bool = False,
        payload: bool = False,
        deadline_us: int = 0,
    ) -> int:
        """Sends a SEARCH without waiting and returns its id for collect_hits()."""
        self._follow_goaway()
        collection, dim = self._collection(collection)
        flags = (SearchFlag.EXACT if exact else 0) | (SearchFlag.PAYLOAD if payload else 0)
        try:
            raw = (
                bytes(vector)
                if isinstance(vector, (bytes, bytearray, memoryview))
                else wire.pack_value(Type.VECTOR, vector, dim)
            )
            body = model.pack_search(
                collection, k, ef, flags, raw, None if filter is None else filter.encode()
            )
        except (ValueError, TypeError, struct.error) as error:
            raise EncodeError(str(error)) from None
        identity = self.send_frame(Op.SEARCH, body, deadline_us=deadline_us)
        self._awaited.add(identity)
        return identity

    def _collection(self, collection: Union[str, int]) -> Tuple[int, int]:
        """Its id and, where it is given by name, how many dimensions it has."""
        if not isinstance(collection, str):
            return collection, 0
        try:
            entry = (self.schema or self.hello()).collection(collection)
        except KeyError as error:
            raise EncodeError(str(error.args[0])) from None
        return entry.id, entry.dim

    def collect_hits(self, request_id: int) -> List[Hit]:
        """The hits of a submit_search()."""
        frames = self.collect(request_id)
        hits: List[Hit] = self._parse(model.unpack_search, frames[0].body)
        return hits

    def describe(self) -> Description:
        """The rules of the generation that answers, all from one generation."""
        while True:
            rules: List[Rule] = []
            generation = None
            while True:
                frame = self._call(Op.DESCRIBE, struct.pack("<I", len(rules) + 1))[0]
                total, page = self._parse(model.unpack_describe, frame.body)
                if generation is not None and frame.generation != generation:
                    break  # a publish came between two pages: start over
                generation = frame.generation
                rules += page
                if len(rules) >= total:
                    return Description(generation, tuple(rules))
                if not page:
                    raise ProtocolError(f"an empty page after {len(rules)} of {total} rules")

    def describe_collection(self, collection: Union[str, int]) -> CollectionDescription:
        """What a collection is, as it is served at this moment."""
        self._follow_goaway()
        number, _ = self._collection(collection)
        frame = self._call(Op.DESCRIBE, struct.pack("<BH", wire.DESCRIBE_COLLECTION, number))[0]
        described: CollectionDescription = self._parse(model.unpack_describe_collection, frame.body)
        return described

    # Raw access, for tests and tools

    def send_raw(self, data: bytes) -> None:
        """Sends bytes as they are."""
        sock = self._live()
        try:
            sock.settimeout(self.timeout)
            sock.sendall(data)
        except socket.timeout:
            self.close()  # how much of the frame went out is not known
            raise Timeout("the server does not read") from None
        except OSError as error:
            # What the server said before it closed is still worth reading.
            raise ConnectionClosed(f"{self.address}: {error}") from error

    def send_frame(
        self,
        op: int,
        body: bytes = b"",
        *,
        flags: int = 0,
        request_id: Optional[int] = None,
        deadline_us: int = 0,
        magic: int = wire.MAGIC,
        status: int = 0,
        length: Optional[int] = None,
    ) -> int:
        """Sends one frame and returns its id (the next free one unless given)."""
        identity = next(self._ids) if request_id is None else request_id
        self.send_raw(
            wire.pack_frame(
                op, body, flags=flags, request_id=identity, deadline_us=deadline_us, status=status,
                magic=magic, length=length,
            )
        )
        return identity

    def recv_frame(self, timeout: Optional[float] = None) -> Frame:
        """The next frame whatever it is: kept ones first, GOAWAY included. Raises ConnectionClosed
        at the end of the stream, Timeout when no whole frame came in time."""
        for request_id, frames in self._inbox.items():
            frame = frames.pop(0)
            if not frames:
                del self._inbox[request_id]
            return frame
        limit = self.timeout if timeout is None else timeout
        return self._recv(None if limit is None else time.monotonic() + limit)

    def recv_closed(self, timeout: Optional[float] = None) -> None:
        """Waits until the server closes; a frame instead is a ProtocolError."""
        try:
            frame = self.recv_frame(timeout)
        except ConnectionClosed:
            return
        raise ProtocolError(f"expected the end of the stream, not {frame}")

    # Inside

    def _live(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionClosed(f"{self.address}: not connected")
        return self._socket

    def _call(self, op: int, body: bytes) -> List[Frame]:
        self._follow_goaway()
        return self.collect(self.send_frame(op, body))

    def _recv(self, deadline: Optional[float]) -> Frame:
        header = wire.HEADER_BYTES
        while True:
            if len(self._buffer) >= header:
                magic, op, flags, status, length, request_id, tail = wire.HEADER.unpack_from(
                    self._buffer
                )
                if magic != wire.MAGIC:
                    self.close()
                    raise ProtocolError(f"a frame starts with {magic:#04x}, not {wire.MAGIC:#04x}")
                if len(self._buffer) >= header + length:
                    body = bytes(self._buffer[header : header + length])
                    del self._buffer[: header + length]
                    frame = Frame(op, flags, status, request_id, tail, body)
                    if op == Op.GOAWAY and request_id == 0:
                        self.goaway = self._parse(model.unpack_goaway, body)
                    return frame
            self._fill(deadline)

    def _fill(self, deadline: Optional[float]) -> None:
        sock = self._live()
        remaining = None if deadline is None else deadline - time.monotonic()
        if remaining is not None and remaining <= 0:
            raise Timeout(f"{self.address}: no answer in time")
        try:
            sock.settimeout(remaining)
            data = sock.recv(1 << 18)
        except socket.timeout:
            raise Timeout(f"{self.address}: no answer in time") from None
        except OSError as error:
            self.close()
            raise ConnectionClosed(f"{self.address}: {error}") from error
        if not data:
            self.close()
            raise ConnectionClosed(f"{self.address}: closed by the server")
        self._buffer += data

    def _keep(self, frame: Frame) -> None:
        if frame.request_id == 0:
            # The server's own: GOAWAY is noted; an error without a request ends the connection.
            if frame.op != Op.GOAWAY:
                self._check(frame)
            return
        if frame.request_id in self._abandoned:
            if not frame.more:
                self._abandoned.discard(frame.request_id)
            return
        self._inbox.setdefault(frame.request_id, []).append(frame)

    def _check(self, frame: Frame) -> None:
        if frame.status == 0:
            return
        try:
            status = Status(frame.status)
        except ValueError:
            raise ProtocolError(f"unknown status {frame.status}") from None
        raise StatusError(status, frame.body.decode("utf-8", "replace"), frame.generation)

    def _parse(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (ValueError, struct.error) as error:
            raise ProtocolError(f"{self.address}: malformed reply: {error}") from error

    def _verdicts(self, frames: List[Frame], count: int, detail: bool) -> List[Verdict]:
        found: List[Optional[Verdict]] = [None] * count
        for frame in frames:
            for verdict in self._parse(model.unpack_decide, frame.body, frame.generation, detail):
                if verdict.item >= count or found[verdict.item] is not None:
                    raise ProtocolError(f"item {verdict.item} was not asked for, or came twice")
                found[verdict.item] = verdict
        verdicts = [verdict for verdict in found if verdict is not None]
        if len(verdicts) != count:
            raise ProtocolError(f"{len(verdicts)} of {count} items were answered")
        return verdicts

