#!/usr/bin/env python3
"""Writes the tables of shared/idna.c from Python's Unicode data: idna_tables.py OUTPUT.

UTS 46 (non-transitional) maps a code point as NFKC_Casefold does, apart from what EXCEPTIONS lists.
What UTS 46 disallows is mapped like anything else here: a name that holds it is nobody's name, so
it matches nothing, however it is spelled. tests/unit/idna.c compares every code point with libidn2.
"""
import sys
import unicodedata

# Deviation characters stay themselves without transitional processing; full stops part labels.
EXCEPTIONS = {0xDF: "\u00df", 0x3C2: "\u03c2", 0x200C: "\u200c", 0x200D: "\u200d", 0x3002: ".", 0xFF61: "."}
# Default_Ignorable_Code_Point, which Python's data does not have (Unicode 14, DerivedCoreProperties).
IGNORED = [(0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
           (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F),
           (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A),
           (0xE0000, 0xE0FFF)]
HANGUL = range(0xAC00, 0xD7A4)  # by arithmetic


def ignored(point):
    return any(first <= point <= last for first, last in IGNORED)


def mapped(point):
    """The code point's mapping, canonically decomposed."""
    if point in EXCEPTIONS:
        return unicodedata.normalize("NFD", EXCEPTIONS[point])
    if ignored(point):
        return ""
    text = chr(point)
    while True:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        folded = "".join(letter for letter in folded if not ignored(ord(letter)))
        if folded == text:
            return unicodedata.normalize("NFD", folded)
        text = folded


def points():
    for point in range(0x80, 0x110000):
        if not 0xD800 <= point < 0xE000 and unicodedata.category(chr(point)) not in ("Cn", "Co"):
            yield point
        elif ignored(point):
            yield point


def array(out, name, kind, values, width):
    out.append(f"static const {kind} {name}[] = {{")
    for start in range(0, len(values), width):
        out.append("    " + ", ".join(f"0x{value:x}" for value in values[start:start + width]) + ",")
    out.append("};")


def main():
    keys, starts, pool, classes, pairs = [], [0], [], [], []
    for point in points():
        if unicodedata.combining(chr(point)):
            classes.append(point << 8 | unicodedata.combining(chr(point)))
        if point in HANGUL:
            continue
        result = [ord(letter) for letter in mapped(point)]
        if result != [point]:
            keys.append(point)
            pool += result
            starts.append(len(pool))
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.normalize("NFC", chr(point)) == chr(point):
            pairs.append((int(parts[0], 16) << 32 | int(parts[1], 16), point))
    assert len(pool) < 65536
    pairs.sort()
    out = [f"/* Made by shared/idna_tables.py from Unicode {unicodedata.unidata_version}. */"]
    array(out, "mapped_points", "uint32_t", keys, 12)
    array(out, "mapped_starts", "uint16_t", starts, 16)  # one more: the last one's end
    array(out, "mapped_pool", "uint32_t", pool, 12)
    array(out, "combining", "uint32_t", classes, 12)  # point << 8 | class
    array(out, "pair_keys", "uint64_t", [key for key, _ in pairs], 6)  # first << 32 | second
    array(out, "pair_points", "uint32_t", [point for _, point in pairs], 12)
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
