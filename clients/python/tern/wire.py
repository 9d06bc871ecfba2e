"""The client protocol, version 1: header, codes, and how values become bytes.

docs/protocol.md is the specification; shared/wire.h is the same in C.
"""

from __future__ import annotations

import enum
import math
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Optional, Union

MAGIC = 0x54
VERSION = 1
HEADER = struct.Struct("<BBBBIII")
HEADER_BYTES = HEADER.size
MAX_FRAME_DEFAULT = 1 << 20
ITEMS_MAX = 4096
DESCRIBE_COLLECTION = 3
FIELD_BYTES_MAX = 0xFFFF


class Op(enum.IntEnum):
    HELLO = 1
    PING = 2
    DECIDE = 3
    LOOKUP = 4
    SEARCH = 5
    FEEDBACK = 6
    GOAWAY = 7
    CANCEL = 8
    DESCRIBE = 9


class RequestFlag(enum.IntFlag):
    WAIT = 1
    EXPLAIN = 2
    TRACE = 4
    FRESH = 8
    DETAIL = 16


class SearchFlag(enum.IntFlag):
    EXACT = 1
    PAYLOAD = 2


MORE = 1
"""The one reply flag: further frames with this id follow."""


class Status(enum.IntEnum):
    OK = 0
    BAD_FRAME = 1
    UNSUPPORTED = 2
    TOO_LARGE = 3
    BAD_FIELD = 4
    UNAUTHENTICATED = 5
    OVERLOADED = 6
    NOT_READY = 7
    DEADLINE = 8
    NOT_FOUND = 9
    INTERNAL = 10
    CANCELLED = 11


class Type(enum.IntEnum):
    NONE = 0
    IP = 1
    STRING = 2
    U64 = 3
    I64 = 4
    F32 = 5
    BOOL = 6
    VECTOR = 7
    U32 = 8


class Action(enum.IntEnum):
    ALLOW = 0
    DENY = 1
    CHALLENGE = 2
    UNDECIDED = 3


class VerdictFlag(enum.IntFlag):
    STALE = 1
    DEGRADED = 2
    PENDING = 4
    CANARY = 8
    CACHED = 16
    SHED = 32


class Cause(enum.IntEnum):
    DEFAULT = 0
    RULE = 1
    THRESHOLD = 2
    ESCALATION_UNAVAILABLE = 3


@dataclass(frozen=True)
class Frame:
    """One frame as it came. `op` and `status` are numbers: an unknown one is no error here."""

    op: int
    flags: int
    status: int
    request_id: int
    tail: int
    """In a reply the low 32 bits of the answering generation."""
    body: bytes

    @property
    def generation(self) -> int:
        return self.tail

    @property
    def more(self) -> bool:
        return bool(self.flags & MORE)


def pack_frame(
    op: int,
    body: bytes = b"",
    *,
    flags: int = 0,
    request_id: int = 0,
    deadline_us: int = 0,
    status: int = 0,
    magic: int = MAGIC,
    length: Optional[int] = None,
) -> bytes:
    """A frame's bytes. `length`, `magic` and `status` can be set wrong on purpose, for tests."""
    stated = len(body) if length is None else length
    return HEADER.pack(magic, op, flags, status, stated, request_id, deadline_us) + body


IpLike = Union[str, bytes, IPv4Address, IPv6Address]


def pack_value(kind: int, value: Any, dim: int = 0) -> bytes:
    """The wire form of one value. Raises ValueError or TypeError saying what was expected."""
    if kind == Type.IP:
        if isinstance(value, (bytes, bytearray)):
            if len(value) not in (4, 16):
                raise ValueError(f"an address is 4 or 16 bytes, not {len(value)}")
            return bytes(value)
        return ip_address(value).packed
    if kind == Type.STRING:
        data = value.encode() if isinstance(value, str) else bytes(value)
        if len(data) > FIELD_BYTES_MAX:
            raise ValueError(f"a string is at most {FIELD_BYTES_MAX} bytes, not {len(data)}")
        return data
    if kind == Type.BOOL:
        if not isinstance(value, bool):
            raise TypeError(f"expected True or False, not {value!r}")
        return b"\x01" if value else b"\x00"
    if kind in (Type.U64, Type.I64, Type.U32):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"expected an integer, not {value!r}")
        code = {Type.U64: "<Q", Type.I64: "<q", Type.U32: "<I"}[Type(kind)]
        try:
            return struct.pack(code, value)
        except struct.error:
            raise ValueError(f"{value} is out of range for {Type(kind).name.lower()}") from None
    if kind == Type.F32:
        if math.isnan(value):
            raise ValueError("NaN is not a value")
        return struct.pack("<f", value)
    if kind == Type.VECTOR:
        if dim and len(value) != dim:
            raise ValueError(f"expected {dim} numbers, not {len(value)}")
        return struct.pack(f"<{len(value)}f", *value)
    raise ValueError(f"unknown type {kind}")


Value = Union[None, str, bytes, int, float, bool, IPv4Address, IPv6Address, "tuple[float, ...]"]


def unpack_value(kind: int, data: bytes) -> Value:
    """The inverse of pack_value; an unknown type, or a size that does not fit, yields the bytes."""
    if kind == Type.NONE:
        return None
    if kind == Type.STRING:
        return data.decode("utf-8", "surrogateescape")
    if kind == Type.IP and len(data) in (4, 16):
        return ip_address(data)
    if kind == Type.VECTOR and len(data) % 4 == 0:
        return struct.unpack(f"<{len(data) // 4}f", data)
    code = {Type.U64: "<Q", Type.I64: "<q", Type.U32: "<I", Type.F32: "<f", Type.BOOL: "<?"}.get(
        kind  # type: ignore[call-overload]
    )
    if code is not None and struct.calcsize(code) == len(data):
        return struct.unpack(code, data)[0]  # type: ignore[no-any-return]
    return data


class Reader:
    """Takes a body apart; running past its end is one ValueError for all."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError(f"{count} bytes expected at {self.at} of {len(self.data)}")
        start, self.at = self.at, self.at + count
        return self.data[start : self.at]

    def unpack(self, layout: struct.Struct) -> "tuple[Any, ...]":
        return layout.unpack(self.take(layout.size))
