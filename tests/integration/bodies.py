"""Bodies of DECIDE, byte by byte: what the client would not send as well."""
import struct


def field(identity, value):
    return struct.pack("<BH", identity, len(value)) + value


def item(*fields):
    body = b"".join(fields)
    return struct.pack("<H", len(body)) + body


def batch(*items):
    return struct.pack("<H", len(items)) + b"".join(items)
