"""Vectors written through the control API, by libtern."""
import array
import ctypes
import random

from instance import BUILD

library = ctypes.CDLL(str(BUILD / "clients/c/libtern.so"))


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("message", ctypes.c_char * 512)]


class Item(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint64), ("values", ctypes.c_void_p), ("payload", ctypes.c_void_p)]


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

    def upsert(self, rows):
        """`rows`: {id: values}."""
        values = [array.array("f", row) for row in rows.values()]
        items = (Item * len(rows))(*(Item(identifier, row.buffer_info()[0], None)
                                     for identifier, row in zip(rows, values)))
        error = Error()
        rc = library.tern_vectors_upsert(self.handle, items, len(rows), None, ctypes.byref(error))
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
