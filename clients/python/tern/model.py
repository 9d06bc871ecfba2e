"""What a server says about itself and about requests, as plain values."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Tuple, Union

from . import wire
from .wire import Action, Cause, Type, Value, VerdictFlag

_ENTRY = struct.Struct("<HBBIB")
_HELLO = struct.Struct("<HHIQQ")
_COUNT = struct.Struct("<H")
_REPLY = struct.Struct("<HHI")
_ITEM = struct.Struct("<HBBHHIf")
_DETAIL = struct.Struct("<QIHH")
_DESCRIBE = struct.Struct("<IIHHI")
_DESCRIBE_COLLECTION = struct.Struct("<HBBIIIIHH")
_FIELD = struct.Struct("<BH")
_COLUMN = struct.Struct("<BH")
_LOOKUP = struct.Struct("<HH")
_RULE = struct.Struct("<BB")
_GOAWAY = struct.Struct("<I")
_SEARCH = struct.Struct("<HHHH")
_HIT = struct.Struct("<QfI")
_NAME = struct.Struct("<BB")

DECISION_KEY = 0
"""The field id under which a request carries the client's own decision key."""

FieldName = Union[str, int]
Request = Mapping[FieldName, object]


@dataclass(frozen=True)
class Field:
    """A field, table or collection. A table's type is that of its key."""

    id: int
    type: int
    dim: int
    name: str


@dataclass(frozen=True)
class Schema:
    """What HELLO answers. Ids stay valid for the life of the connection."""

    version: int
    max_frame: int
    generation: int
    hash: int
    fields: Tuple[Field, ...]
    tables: Tuple[Field, ...]
    collections: Tuple[Field, ...]
    _fields: Dict[str, Field] = field(default_factory=dict, repr=False, compare=False)
    _tables: Dict[str, Field] = field(default_factory=dict, repr=False, compare=False)
    _collections: Dict[str, Field] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._fields.update((entry.name, entry) for entry in self.fields)
        self._tables.update((entry.name, entry) for entry in self.tables)
        self._collections.update((entry.name, entry) for entry in self.collections)

    def field(self, name: str) -> Field:
        """The field of that name; KeyError names the ones there are."""
        try:
            return self._fields[name]
        except KeyError:
            raise KeyError(f"no field {name!r}; there are {', '.join(self._fields)}") from None

    def table(self, name: str) -> Field:
        """The table of that name; KeyError names the ones there are."""
        try:
            return self._tables[name]
        except KeyError:
            raise KeyError(f"no table {name!r}; there are {', '.join(self._tables)}") from None

    def collection(self, name: str) -> Field:
        """The collection of that name; KeyError names the ones there are."""
        try:
            return self._collections[name]
        except KeyError:
            known = ", ".join(self._collections) or "none"
            raise KeyError(f"no collection {name!r}; there are {known}") from None


@dataclass(frozen=True)
class Detail:
    decision_key: int
    age_ms: int
    cause: int

    @property
    def cause_name(self) -> str:
        try:
            return Cause(self.cause).name.lower()
        except ValueError:
            return str(self.cause)


@dataclass(frozen=True)
class Verdict:
    item: int
    action: Action
    tier: int
    flags: VerdictFlag
    max_age_s: int
    rule: int
    """1-based index of the deciding rule in `generation`, 0 for the default; names: describe()."""
    score: float
    generation: int
    """The low 32 bits of the generation that answered."""
    detail: Optional[Detail] = None

    @property
    def allowed(self) -> bool:
        return self.action is Action.ALLOW


@dataclass(frozen=True)
class Record:
    """A look-up that hit. A set has no columns; a column that the record has not got is None."""

    values: Tuple[Value, ...]
    types: Tuple[int, ...]
    generation: int


@dataclass(frozen=True)
class Hit:
    """A vector that a search found."""

    id: int
    score: float
    """Cosine similarity or dot product, larger is nearer; with l2 the distance."""
    payload: Optional[Dict[str, Value]] = None
    """By column, where it was asked for; a column that the vector has not got is None."""


@dataclass(frozen=True)
class CollectionDescription:
    """A collection as it is served."""

    id: int
    metric: str
    """"cosine", "l2" or "dot"."""
    quantize: str
    """What its graph is searched in: "none" (f32) or "int8"."""
    dim: int
    capacity: int
    vectors: int
    """That are found at this moment."""
    ef: int
    """Candidates of a search that names none."""
    columns: Dict[str, Type]
    """Of the payload, in their order."""


@dataclass(frozen=True)
class Rule:
    index: int
    name: str
    action: Action


@dataclass(frozen=True)
class Description:
    generation: int
    rules: Tuple[Rule, ...]

    def name(self, index: int) -> str:
        """The rule's name; "default" for 0."""
        return "default" if index == 0 else self.rules[index - 1].name


@dataclass(frozen=True)
class GoAway:
    drain_ms: int
    reason: str


def pack_hello(token: bytes, name: bytes) -> bytes:
    return (
        struct.pack("<HB", wire.VERSION, len(token)) + token + struct.pack("<B", len(name)) + name
    )


def unpack_hello(body: bytes) -> Schema:
    reader = wire.Reader(body)
    version, _, max_frame, generation, schema_hash = reader.unpack(_HELLO)
    lists: List[Tuple[Field, ...]] = []
    for _ in range(3):
        (count,) = reader.unpack(_COUNT)
        entries = []
        for _ in range(count):
            entry, kind, _, dim, length = reader.unpack(_ENTRY)
            entries.append(Field(entry, kind, dim, reader.take(length).decode()))
        lists.append(tuple(entries))
    return Schema(version, max_frame, generation, schema_hash, lists[0], lists[1], lists[2])


def pack_item(request: Request, schema: Optional[Schema]) -> bytes:
    """One item with its length. Names need the schema; a numeric id takes bytes as they are."""
    parts = []
    for name, value in request.items():
        if isinstance(name, int):
            identity = name
            if identity == DECISION_KEY and isinstance(value, int):
                data = wire.pack_value(Type.U64, value)
            elif isinstance(value, (bytes, bytearray)):
                data = bytes(value)
            else:
                raise TypeError(f"field {name}: a field given by number takes bytes")
        else:
            if schema is None:
                raise TypeError(f"field {name!r}: names need the schema of HELLO")
            entry = schema.field(name)
            identity = entry.id
            try:
                data = wire.pack_value(entry.type, value, entry.dim)
            except (ValueError, TypeError) as error:
                raise type(error)(f"field {name!r}: {error}") from None
        parts.append(_FIELD.pack(identity, len(data)) + data)
    body = b"".join(parts)
    if len(body) > 0xFFFF:
        raise ValueError(f"an item is at most 65535 bytes, not {len(body)}")
    return _COUNT.pack(len(body)) + body


def unpack_decide(body: bytes, generation: int, detail: bool) -> List[Verdict]:
    reader = wire.Reader(body)
    count, _, _ = reader.unpack(_REPLY)
    verdicts = []
    for _ in range(count):
        item, action, tier, flags, max_age_s, rule, score = reader.unpack(_ITEM)
        more = None
        if detail:
            key, age_ms, cause, _ = reader.unpack(_DETAIL)
            more = Detail(key, age_ms, cause)
        known = Action(action)
        marks = VerdictFlag(flags)
        verdicts.append(
            Verdict(item, known, tier, marks, max_age_s, rule, score, generation, more)
        )
    return verdicts


def pack_lookup(table: int, key: bytes) -> bytes:
    return _LOOKUP.pack(table, len(key)) + key


def unpack_lookup(body: bytes, generation: int) -> Record:
    reader = wire.Reader(body)
    count, _ = reader.unpack(_LOOKUP)
    values, types = [], []
    for _ in range(count):
        kind, length = reader.unpack(_COLUMN)
        types.append(kind)
        values.append(wire.unpack_value(kind, reader.take(length)))
    return Record(tuple(values), tuple(types), generation)


def pack_search(
    collection: int, k: int, ef: int, flags: int, vector: bytes, expression: Optional[bytes]
) -> bytes:
    body = _SEARCH.pack(collection, k, ef, flags) + vector
    return body if expression is None else body + _COUNT.pack(len(expression)) + expression


def unpack_search(body: bytes) -> List[Hit]:
    reader = wire.Reader(body)
    count, columns, _ = reader.unpack(_REPLY)
    found = [reader.unpack(_HIT)[:2] for _ in range(count)]
    if columns == 0:
        return [Hit(identity, score) for identity, score in found]
    names = []
    for _ in range(columns):
        _, length = reader.unpack(_NAME)
        names.append(reader.take(length).decode())
    hits = []
    for identity, score in found:
        payload: Dict[str, Value] = {}
        for name in names:
            kind, length = reader.unpack(_COLUMN)
            payload[name] = wire.unpack_value(kind, reader.take(length))
        hits.append(Hit(identity, score, payload))
    return hits


def unpack_describe(body: bytes) -> Tuple[int, List[Rule]]:
    """The number of all rules, and this page of them."""
    reader = wire.Reader(body)
    total, first, count, _, _ = reader.unpack(_DESCRIBE)
    rules = []
    for index in range(first, first + count):
        action, length = reader.unpack(_RULE)
        rules.append(Rule(index, reader.take(length).decode(), Action(action)))
    return total, rules


def unpack_describe_collection(body: bytes) -> CollectionDescription:
    reader = wire.Reader(body)
    identity, metric, quantize, dim, capacity, vectors, ef, count, _ = reader.unpack(_DESCRIBE_COLLECTION)
    columns = {}
    for _ in range(count):
        kind, length = reader.unpack(_NAME)
        columns[reader.take(length).decode()] = Type(kind)
    metrics, quantizes = {1: "cosine", 2: "l2", 3: "dot"}, {0: "none", 1: "int8"}
    return CollectionDescription(identity, metrics.get(metric, str(metric)), quantizes.get(quantize, str(quantize)), dim,
                                 capacity, vectors, ef, columns)


def unpack_goaway(body: bytes) -> GoAway:
    reader = wire.Reader(body)
    (drain_ms,) = reader.unpack(_GOAWAY)
    return GoAway(drain_ms, body[reader.at :].decode("utf-8", "replace"))
