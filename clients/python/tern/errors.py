"""What can go wrong. Every error of this package is a TernError."""

from __future__ import annotations

from .wire import Status


class TernError(Exception):
    """The base of all errors of this package."""


class Unreachable(TernError):
    """No connection could be made."""


class ConnectionClosed(TernError):
    """The server closed the connection; whether it acted on what was in flight is not known."""


class Timeout(TernError):
    """Nothing, or not all, arrived in time. The connection is still usable: a late reply to a
    request that was given up is thrown away."""


class ProtocolError(TernError):
    """The server sent something that version 1 of the protocol does not allow."""


class EncodeError(TernError, ValueError):
    """A request cannot be put on the wire: unknown field, wrong type, value out of range."""


class StatusError(TernError):
    """The server answered with a status other than OK."""

    def __init__(self, status: Status, message: str, generation: int) -> None:
        super().__init__(f"{status.name}: {message}" if message else status.name)
        self.status = status
        self.message = message
        self.generation = generation


class NotWritten(TernError):
    """tern-control refused a batch of vectors: nothing of it was written. `code` is one of libtern's
    (shared/error.h), `refused` the place of the one that is the reason, from 1; 0: no single one is."""

    def __init__(self, message: str, code: int, ticket: int = 0, refused: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.ticket = ticket
        self.refused = refused
