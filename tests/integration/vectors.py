"""Vectors written through the control API, by libtern."""
import array
import ctypes
import random

from instance import BUILD, wait_until

library = ctypes.CDLL(str(BUILD / "clients/c/libtern.so"))


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("message", ctypes.c_char * 512)]


class Item(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint64), ("values", ctypes.c_void_p), ("payload", ctypes.c_void_p)]


class String(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char_p), ("length", ctypes.c_uint32)]


class Number(ctypes.Union):
    _fields_ = [("u64", ctypes.c_uint64), ("i64", ctypes.c_int64), ("f32", ctypes.c_float), ("string", String)]


class Value(ctypes.Structure):
    _fields_ = [("present", ctypes.c_bool), ("of", Number)]


class Column(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 64), ("type", ctypes.c_uint8)]


class Collection(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint32), ("dim", ctypes.c_uint32), ("capacity", ctypes.c_uint64),
                ("metric", ctypes.c_char * 8), ("column_count", ctypes.c_uint), ("columns", Column * 16)]


library.tern_vectors_collection.restype = ctypes.POINTER(Collection)
MEMBERS = {2: "string", 3: "u64", 4: "i64", 5: "f32", 6: "u64", 8: "u64"}  # by type on the wire


class Ack(ctypes.Structure):
    _fields_ = [("ticket", ctypes.c_uint64), ("seq", ctypes.c_uint64), ("written", ctypes.c_uint32),
                ("removed", ctypes.c_uint32), ("rc", ctypes.c_int), ("refused", ctypes.c_uint32),
                ("message", ctypes.c_char * 512)]


class NotWritten(Exception):
    pass


class Vectors:
    """One connection, one batch at a time; what returns is acknowledged."""

    def __init__(self, instance, collection):
        self.handle = ctypes.c_void_p()
        error = Error()
        rc = library.tern_vectors_open(f"unix://{instance.run_dir}/control.sock".encode(), collection.encode(),
                                       None, ctypes.byref(self.handle), ctypes.byref(error))
        if rc != 0:
            raise NotWritten(error.message.decode())

    def _payload(self, payload):
        """The columns' values in their order."""
        described = library.tern_vectors_collection(self.handle).contents
        values = (Value * described.column_count)()
        for value, column in zip(values, described.columns):
            given = payload.get(column.name.decode())
            if given is not None:
                value.present = True
                setattr(value.of, MEMBERS[column.type],
                        String(given.encode(), len(given.encode())) if column.type == 2 else given)
        return values

    def upsert(self, rows, payloads=None):
        """`rows`: {id: values}; `payloads`: {id: {column: value}}."""
        values = [array.array("f", row) for row in rows.values()]
        kept = {identifier: self._payload(payload) for identifier, payload in (payloads or {}).items()}
        items = (Item * len(rows))(*(Item(identifier, row.buffer_info()[0],
                                          ctypes.cast(kept[identifier], ctypes.c_void_p) if identifier in kept else None)
                                     for identifier, row in zip(rows, values)))
        error = Error()
        rc = library.tern_vectors_upsert(self.handle, items, len(rows), None, ctypes.byref(error))
        if rc != 0:
            raise NotWritten(error.message.decode())
        return self._collect()

    def delete(self, ids):
        error = Error()
        rc = library.tern_vectors_delete(self.handle, (ctypes.c_uint64 * len(ids))(*ids), len(ids), None,
                                         ctypes.byref(error))
        if rc != 0:
            raise NotWritten(error.message.decode())
        return self._collect()

    def _collect(self):
        ack, error = Ack(), Error()
        rc = library.tern_vectors_collect(self.handle, ctypes.byref(ack), ctypes.byref(error))
        if rc != 0:
            raise NotWritten(error.message.decode())
        if ack.rc != 0:
            raise NotWritten(ack.message.decode())
        return ack

    def close(self):
        library.tern_vectors_close(self.handle)
        self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def random_rows(ids, dim, seed=1):
    generator = random.Random(seed)
    return {identifier: [generator.gauss(0, 1) for _ in range(dim)] for identifier in ids}


def write(instance, collection, rows, batch=200):
    with Vectors(instance, collection) as vectors:
        ids = list(rows)
        for at in range(0, len(ids), batch):
            vectors.upsert({identifier: rows[identifier] for identifier in ids[at:at + batch]})


def collection(instance, name="docs"):
    """What `status` says of the served one of that name."""
    return next((item for item in instance.status()["collections"] if item["name"] == name and item["served"]),
                None)


def live(instance, name="docs"):
    return collection(instance, name)["live"]


def is_complete(instance, vectors, name="docs"):
    found = collection(instance, name)
    return found is not None and found["state"] == "ready" and found["live"] == vectors


def await_complete(instance, vectors, name="docs"):
    """A name that comes (back) into the configuration, or into an arena that is new, answers while it is filled from
    the store: nothing that was given back by then says that all of it is there."""
    wait_until(lambda: is_complete(instance, vectors, name), f"{vectors} vectors in {name}")
