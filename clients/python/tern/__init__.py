"""Client of the tern decision server.

    from tern import Client

    with Client("tcp://127.0.0.1:7400") as client:
        verdict = client.decide({"ip": "192.0.2.7", "path": "/login"})
        if not verdict.allowed:
            ...
"""

from .client import Client, parse_address
from .errors import (
    ConnectionClosed,
    EncodeError,
    NotWritten,
    ProtocolError,
    StatusError,
    TernError,
    Timeout,
    Unreachable,
)
from .model import (
    DECISION_KEY,
    CollectionDescription,
    Description,
    Detail,
    Field,
    GoAway,
    Hit,
    Record,
    Request,
    Rule,
    Schema,
    Verdict,
)
from .vectors import Ack, Collection, Vectors
from .wire import (
    HEADER_BYTES,
    ITEMS_MAX,
    MAGIC,
    Action,
    Cause,
    Frame,
    Op,
    RequestFlag,
    SearchFlag,
    Status,
    Type,
    VerdictFlag,
    pack_frame,
    pack_value,
    unpack_value,
)

__version__ = "0.1.0"

__all__ = [
    "Ack",
    "Action",
    "Cause",
    "Client",
    "Collection",
    "CollectionDescription",
    "ConnectionClosed",
    "DECISION_KEY",
    "Description",
    "Detail",
    "EncodeError",
    "Field",
    "Frame",
    "GoAway",
    "HEADER_BYTES",
    "Hit",
    "ITEMS_MAX",
    "MAGIC",
    "NotWritten",
    "Op",
    "ProtocolError",
    "Record",
    "Request",
    "RequestFlag",
    "Rule",
    "Schema",
    "SearchFlag",
    "Status",
    "StatusError",
    "TernError",
    "Timeout",
    "Type",
    "Unreachable",
    "Vectors",
    "Verdict",
    "VerdictFlag",
    "pack_frame",
    "pack_value",
    "parse_address",
    "unpack_value",
]
