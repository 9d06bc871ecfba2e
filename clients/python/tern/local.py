"""Decisions in this process, from the memory that ternd serves: libtern-local through ctypes.

    from tern.local import Local

    with Local("/run/tern/edge") as local:
        verdict = local.decide({"ip": "192.0.2.7", "path": "/login"})

No server is asked. One Local belongs to one thread at a time. A look at whether something newer is
published comes before every decision and costs next to nothing. What the library can do and what this user
must be allowed: clients/c/tern_local.h.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from typing import Any, List, Optional, Sequence, Union, overload

from . import wire
from .errors import EncodeError, TernError, Unreachable
from .model import Hit, Request, Rule, Verdict
from .wire import Action, SearchFlag, Type, Value, VerdictFlag

_EINVAL, _ENOENT, _EBUSY, _EAGAIN = -1, -4, -6, -16


class _Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("message", ctypes.c_char * 512)]


class _Options(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("follow", ctypes.c_bool)]


class _Name(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint16), ("type", ctypes.c_uint8), ("name_length", ctypes.c_uint8),
                ("dim", ctypes.c_uint32), ("name", ctypes.c_char * 256)]


class _Schema(ctypes.Structure):
    _fields_ = [("hash", ctypes.c_uint64), ("generation", ctypes.c_uint64), ("max_frame_bytes", ctypes.c_uint32),
                ("field_count", ctypes.c_uint16), ("table_count", ctypes.c_uint16),
                ("collection_count", ctypes.c_uint16), ("fields", ctypes.POINTER(_Name)),
                ("tables", ctypes.POINTER(_Name)), ("collections", ctypes.POINTER(_Name)),
                ("serial", ctypes.c_uint32)]


class _Decision(ctypes.Structure):
    _fields_ = [("action", ctypes.c_uint8), ("tier", ctypes.c_uint8), ("flags", ctypes.c_uint16),
                ("max_age_s", ctypes.c_uint16), ("cause", ctypes.c_uint16), ("rule", ctypes.c_uint32),
                ("score", ctypes.c_float), ("generation", ctypes.c_uint32), ("age_ms", ctypes.c_uint32),
                ("decision_key", ctypes.c_uint64), ("answered", ctypes.c_bool)]


class _Search(ctypes.Structure):
    _fields_ = [("collection", ctypes.c_int), ("dim", ctypes.c_uint32), ("vector", ctypes.POINTER(ctypes.c_float)),
                ("k", ctypes.c_uint32), ("ef", ctypes.c_uint32), ("flags", ctypes.c_uint16),
                ("filter", ctypes.c_char_p), ("deadline_us", ctypes.c_uint32)]


class _Hit(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint64), ("score", ctypes.c_float)]


class _Column(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint8), ("length", ctypes.c_uint16), ("value", ctypes.c_void_p)]


class _Rule(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint32), ("action", ctypes.c_uint8), ("name_length", ctypes.c_uint8),
                ("name", ctypes.c_char * 256)]


def _load(path: Optional[str]) -> ctypes.CDLL:
    path = path or os.environ.get("TERN_LOCAL_LIBRARY") or ctypes.util.find_library("tern-local")
    if path is None:
        raise Unreachable("libtern-local is not installed; name it with TERN_LOCAL_LIBRARY")
    # libtern, which builds the requests, comes with it: its symbols are found through this handle
    library = ctypes.CDLL(path)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    error = ctypes.POINTER(_Error)
    for name, result, arguments in [
        ("tern_local_open", ctypes.c_int, [text, ctypes.POINTER(_Options), ctypes.POINTER(pointer), error]),
        ("tern_local_close", None, [pointer]),
        ("tern_local_context_open", ctypes.c_int, [pointer, ctypes.POINTER(pointer), error]),
        ("tern_local_context_close", None, [pointer]),
        ("tern_local_refresh", ctypes.c_int, [pointer, error]),
        ("tern_local_rest", None, [pointer]),
        ("tern_local_generation", ctypes.c_uint64, [pointer]),
        ("tern_local_schema", ctypes.POINTER(_Schema), [pointer]),
        ("tern_local_decide", ctypes.c_int, [pointer, pointer, ctypes.POINTER(_Decision), error]),
        ("tern_local_collection", ctypes.c_int, [pointer, text]),
        ("tern_local_search", ctypes.c_int, [pointer, ctypes.POINTER(_Search), ctypes.POINTER(_Hit),
                                             ctypes.POINTER(ctypes.c_uint), error]),
        ("tern_local_payload_columns", ctypes.c_uint, [pointer]),
        ("tern_local_payload_name", ctypes.c_int, [pointer, ctypes.c_uint, ctypes.POINTER(pointer),
                                                   ctypes.POINTER(ctypes.c_size_t)]),
        ("tern_local_payload", ctypes.c_int, [pointer, ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(_Column)]),
        ("tern_local_rule", ctypes.c_int, [pointer, ctypes.c_uint32, ctypes.POINTER(_Rule)]),
        ("tern_request_new_for", ctypes.c_int, [ctypes.POINTER(_Schema), ctypes.c_uint32, ctypes.POINTER(pointer)]),
        ("tern_request_free", None, [pointer]),
        ("tern_request_reset", None, [pointer]),
        ("tern_item_add", ctypes.c_int, [pointer]),
        ("tern_item_set_ip", ctypes.c_int, [pointer, ctypes.c_int, text, ctypes.c_size_t]),
        ("tern_item_set_string", ctypes.c_int, [pointer, ctypes.c_int, text, ctypes.c_size_t]),
        ("tern_item_set_u64", ctypes.c_int, [pointer, ctypes.c_int, ctypes.c_uint64]),
        ("tern_item_set_i64", ctypes.c_int, [pointer, ctypes.c_int, ctypes.c_int64]),
        ("tern_item_set_f32", ctypes.c_int, [pointer, ctypes.c_int, ctypes.c_float]),
        ("tern_item_set_bool", ctypes.c_int, [pointer, ctypes.c_int, ctypes.c_bool]),
        ("tern_item_set_vector", ctypes.c_int, [pointer, ctypes.c_int, ctypes.POINTER(ctypes.c_float), ctypes.c_uint32]),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Local:
    """The hold on one instance, with one context. `follow`: a thread of the library's prepares what is new."""

    def __init__(self, run_dir: str, *, name: str = "python", follow: bool = False,
                 library: Optional[str] = None) -> None:
        self._library = _load(library)
        self._local, self._context, self._request = (ctypes.c_void_p() for _ in range(3))
        self._error = _Error()
        options = _Options(name.encode(), follow)
        self._check(self._library.tern_local_open(os.fsencode(run_dir), ctypes.byref(options),
                                                  ctypes.byref(self._local), ctypes.byref(self._error)))
        try:
            self._check(self._library.tern_local_context_open(self._local, ctypes.byref(self._context),
                                                              ctypes.byref(self._error)))
            self._check(self._library.tern_request_new_for(self._library.tern_local_schema(self._context), 0,
                                                           ctypes.byref(self._request)))
        except TernError:
            self.close()
            raise

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of everything; more than once is fine."""
        self._library.tern_request_free(self._request)
        self._library.tern_local_context_close(self._context)
        self._library.tern_local_close(self._local)
        self._local, self._context, self._request = (ctypes.c_void_p() for _ in range(3))

    def _check(self, code: int) -> int:
        if code >= 0:
            return code
        message = self._error.message.decode(errors="replace") or f"error {code}"
        if code in (_ENOENT, _EBUSY, _EAGAIN):
            raise Unreachable(message)
        raise (EncodeError if code == _EINVAL else TernError)(message)

    def _open(self) -> None:
        if not self._context:
            raise TernError("it is closed")

    @property
    def generation(self) -> int:
        """The one that decided last, 0 after rest()."""
        self._open()
        return self._library.tern_local_generation(self._context)

    def refresh(self) -> bool:
        """Adopts what is newer, if anything is. Raises TernError when that cannot be served; what is in use
        stays."""
        self._open()
        return self._check(self._library.tern_local_refresh(self._context, ctypes.byref(self._error))) > 0

    def rest(self) -> None:
        """Keeps no memory of the instance from being freed until the next decision."""
        self._open()
        self._library.tern_local_rest(self._context)

    def rule(self, index: int) -> Rule:
        """A rule of the generation used last; KeyError when there is none."""
        self._open()
        found = _Rule()
        if self._library.tern_local_rule(self._context, index, ctypes.byref(found)) != 0:
            raise KeyError(f"no rule {index}")
        return Rule(index, found.name.decode(), Action(found.action))

    def search(self, collection: str, vector: Sequence[float], k: int = 10, *, ef: int = 0,
               filter: Optional[str] = None, exact: bool = False, payload: bool = False) -> List[Hit]:
        """The k vectors of a collection that resemble `vector` most, the best first."""
        self.refresh()
        search = _Search(self._library.tern_local_collection(self._context, collection.encode()), len(vector),
                         (ctypes.c_float * len(vector))(*vector), k, ef,
                         (SearchFlag.EXACT if exact else 0) | (SearchFlag.PAYLOAD if payload else 0),
                         None if filter is None else filter.encode(), 0)
        if search.collection < 0:
            raise EncodeError(f"no collection {collection!r}")
        hits, count = (_Hit * max(k, 1))(), ctypes.c_uint()
        self._check(self._library.tern_local_search(self._context, ctypes.byref(search), hits, ctypes.byref(count),
                                                    ctypes.byref(self._error)))
        if not payload:
            return [Hit(hit.id, hit.score) for hit in hits[:count.value]]
        names = self._payload_names()
        return [Hit(hit.id, hit.score, {name: self._payload(number, column) for column, name in enumerate(names)})
                for number, hit in enumerate(hits[:count.value])]

    def _payload_names(self) -> List[str]:
        name, length, names = ctypes.c_void_p(), ctypes.c_size_t(), []
        for column in range(self._library.tern_local_payload_columns(self._context)):
            self._check(self._library.tern_local_payload_name(self._context, column, ctypes.byref(name),
                                                              ctypes.byref(length)))
            names.append(ctypes.string_at(name.value or 0, length.value).decode())
        return names

    def _payload(self, hit: int, column: int) -> Value:
        value = _Column()
        self._check(self._library.tern_local_payload(self._context, hit, column, ctypes.byref(value)))
        return wire.unpack_value(value.type, ctypes.string_at(value.value or 0, value.length))

    def _set(self, name: str, value: Any) -> None:
        schema = self._library.tern_local_schema(self._context).contents
        field = next((schema.fields[i] for i in range(schema.field_count)
                      if schema.fields[i].name == name.encode()), None)
        if field is None:
            raise EncodeError(f"no field {name!r}")
        try:
            data = wire.pack_value(field.type, value, field.dim) # says what was expected
        except (TypeError, ValueError) as problem:
            raise EncodeError(f"field {name!r}: {problem}") from None
        library, request, ident = self._library, self._request, field.id
        if field.type == Type.IP:
            code = library.tern_item_set_ip(request, ident, data, len(data))
        elif field.type == Type.STRING:
            code = library.tern_item_set_string(request, ident, data, len(data))
        elif field.type == Type.U64:
            code = library.tern_item_set_u64(request, ident, value)
        elif field.type == Type.I64:
            code = library.tern_item_set_i64(request, ident, value)
        elif field.type == Type.F32:
            code = library.tern_item_set_f32(request, ident, value)
        elif field.type == Type.BOOL:
            code = library.tern_item_set_bool(request, ident, value)
        else:
            code = library.tern_item_set_vector(request, ident, (ctypes.c_float * len(value))(*value), len(value))
        if code != 0:
            raise EncodeError(f"field {name!r}: refused ({code})")

    @overload
    def decide(self, request: Request) -> Verdict: ...

    @overload
    def decide(self, request: Sequence[Request]) -> List[Verdict]: ...

    def decide(self, request: Union[Request, Sequence[Request]]) -> Union[Verdict, List[Verdict]]:
        """One request, or a list of them with one generation, which is the newest; fields by name."""
        if isinstance(request, dict):
            return self._decide([request])[0]
        return self._decide(request)

    def _decide(self, requests: Sequence[Request]) -> List[Verdict]:
        self.refresh()
        self._library.tern_request_reset(self._request)
        count = 0
        for request in requests:
            if self._library.tern_item_add(self._request) != 0:
                raise EncodeError("more items than a request takes")
            for name, value in request.items():
                if not isinstance(name, str):
                    raise EncodeError(f"field {name!r}: fields are given by name")
                self._set(name, value)
            count += 1
        decisions = (_Decision * max(count, 1))()
        self._check(self._library.tern_local_decide(self._context, self._request, decisions,
                                                    ctypes.byref(self._error)))
        return [Verdict(item, Action(one.action), one.tier, VerdictFlag(one.flags), one.max_age_s, one.rule,
                        one.score, one.generation)
                for item, one in enumerate(decisions[:count])]
