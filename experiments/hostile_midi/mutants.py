"""Structural damage to real MIDI files: lost chunks, lying lengths, foreign bytes, files glued, packed and transcoded.

Each function takes a file's bytes and gives damaged ones; all that is random comes from the source. The byte noise of
the tests (tests/unit/music/test_midi_repair.py) shares no code with it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

CORPORA = (
    "multitrack-free",
    "pop909",
    "openscore",
    "groove",
    "nottingham",
    "asap-piano",
    "jsb-chorales",
    "hostile_midi",
)
FILES_A_CORPUS = 250
LARGEST_ORIGINAL, LARGEST_MUTANT = 150_000, 3_000_000
END = b"\x00\xff\x2f\x00"
FOREIGN = (
    bytes(300), b"\xff\xd8\xff\xe0JFIF", b"<html><body>404</body></html>", b"MThd\0\0\0\6\0\1\0\1\0\x60",
    b"MTrk\0\0\0\4",
    "Ã¤öü".encode(), b"\r\n", b"\xf0" * 20, b"\xf7" * 9,
)  # fmt: skip
NUMBERS = (b"\xff" * 9, b"\x80" * 300 + b"\x01", b"\xff\xff\xff\x7f\x90\x3c\x40")
STORMS = (
    b"\0\xff\x51\x03\0\0\0", b"\0\xff\x51\x03\xff\xff\xff", b"\0\xff\x58\x04\xff\xff\0\0",
    b"\0\xff\x58\x04\0\0\x18\x08",
    b"\0\xff\x59\x02\x7f\x07", b"\0\xe0\x7f\x7f", b"\0\xb0\x40\x7f\0\xb0\x40\0", b"\0\x90\x3c\x40", b"\0\x90\x3c\0",
    b"\xff\xff\xff\x7f\x90\x3c\x40", b"\0\xff\x7f\0", b"\0\xf0\0", b"\0\xff\x01\x05hello", b"\x7f\xc0\x05",
)  # fmt: skip
Chunk = tuple[bytes, int, bytes]
"""Name, the length that it says, content."""
Mutation = Callable[[bytes, random.Random], bytes]


def chunks_of(data: bytes) -> list[Chunk]:
    found, at = [], 0
    while at + 8 <= len(data) and len(found) < 500:
        length = int.from_bytes(data[at + 4 : at + 8], "big")
        found.append((data[at : at + 4], length, data[at + 8 : at + 8 + length]))
        at += 8 + length
    return found


def joined(chunks: list[Chunk]) -> bytes:
    return b"".join(name + struct.pack(">I", length % 2**32) + content for name, length, content in chunks)


def inserted(data: bytes, what: bytes, source: random.Random) -> bytes:
    """Bytes put into a chunk at random, whose length is made to fit."""
    chunks = chunks_of(data)
    number = source.randrange(len(chunks))
    name, _, content = chunks[number]
    at = source.randrange(len(content) + 1)
    content = content[:at] + what + content[at:]
    chunks[number] = (name, len(content), content)
    return joined(chunks)


def lost_chunk(data: bytes, source: random.Random) -> bytes:
    chunks = chunks_of(data)
    del chunks[source.randrange(len(chunks))]
    return joined(chunks)


def lying_lengths(data: bytes, source: random.Random) -> bytes:
    every = source.random() < 0.5
    chosen = source.randrange(len(chunks_of(data)))
    changed = []
    for number, (name, length, content) in enumerate(chunks_of(data)):
        lies = (0, 1, length - 1, length + 1, length // 2, length + 999, 2**31, 2**32 - 1, source.randrange(2**32))
        changed.append((name, source.choice(lies) if every or number == chosen else length, content))
    return joined(changed)


def endless_numbers(data: bytes, source: random.Random) -> bytes:
    for _ in range(source.choice((1, 3, 20))):
        data = inserted(data, source.choice(NUMBERS), source)
    return data


def foreign_bytes(data: bytes, source: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(source.choice((1, 2, 5, 30))):
        at = source.randrange(len(out) + 1)
        out[at:at] = source.choice((*FOREIGN, source.randbytes(50)))
    return bytes(out)


def packed(data: bytes, source: random.Random) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("a.mid", data)
    whole = source.choice((gzip.compress(data), bz2.compress(data), held.getvalue()))
    return whole[: source.choice((len(whole), source.randrange(1, len(whole))))]


def broken_header(data: bytes, source: random.Random) -> bytes:
    out = bytearray(data)
    for at, size in source.sample([(8, 2), (10, 2), (12, 2), (4, 4)], source.randrange(1, 4)):
        out[at : at + size] = source.choice(
            (bytes(size), b"\xff" * size, source.randbytes(size), b"\x80" + bytes(size - 1))
        )
    return bytes(out)


def transcoded(data: bytes, source: random.Random) -> bytes:
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b"\r\n", b"\n"),
        lambda: data.decode("latin-1").encode(),
        lambda: bytes(byte & 127 for byte in data),
        lambda: data.replace(b"\0", b""),
        lambda: data.decode("utf-8", "replace").encode(),
        lambda: data.hex().encode(),
        lambda: data.decode("cp437").encode("cp1252", "replace"),
    )
    return source.choice(ways)()


def swapped_bytes(data: bytes, source: random.Random) -> bytes:
    out = bytearray(data)
    begin = source.randrange(len(out)) // 2 * 2
    end = min(len(out) // 2 * 2, begin + source.choice((64, 512, 10**6)))
    out[begin:end:2], out[begin + 1 : end : 2] = out[begin + 1 : end : 2], out[begin:end:2]
    return bytes(out)


def storm(data: bytes, source: random.Random) -> bytes:
    body = source.choice(STORMS) * source.choice((100, 5000, 60_000)) + END
    return joined([*chunks_of(data), (b"MTrk", len(body), body)])


def many_chunks(data: bytes, source: random.Random) -> bytes:
    notes = b"\x00\x90\x3c\x40\x10\x80\x3c\x00"
    extra = source.choice([(b"MTrk", 4, END), (b"MTrk", 0, b""), (b"XFIH", 5, b"abcde"), (b"MTrk", 9, notes)])
    return joined([*chunks_of(data), *[extra] * source.choice((10, 300, 5000))])


def glued(data: bytes, source: random.Random) -> bytes:
    half = data[source.randrange(len(data)) :]
    wrapped = b"RIFF" + source.randbytes(4) + b"RMIDdata" + source.randbytes(4) + data
    return source.choice(
        (data * 3, data + half, half + data, wrapped, b"ID3\3" + bytes(500) + data, b"\xef\xbb\xbf" + data)
    )


def system_bytes(data: bytes, source: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(source.choice((1, 5, 50))):
        at = source.randrange(min(22, len(out)), len(out) + 1)
        out[at:at] = bytes([source.choice((0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF8, 0xF9, 0xFA, 0xFD, 0xFE, 0xFF))])
    return bytes(out)


def no_note_offs(data: bytes, source: random.Random) -> bytes:
    return bytes(source.choice((0x90, 0xA0, 0xB0)) | byte & 15 if byte & 0xF0 == 0x80 else byte for byte in data)


def mixed_channels(data: bytes, source: random.Random) -> bytes:
    return bytes(byte & 0xF0 | source.randrange(16) if 0x80 <= byte < 0xF0 else byte for byte in data)


def rotten_bits(data: bytes, source: random.Random) -> bytes:
    share = source.choice((0.0005, 0.003, 0.02, 0.1))
    return bytes(byte ^ 1 << source.randrange(8) if source.random() < share else byte for byte in data)


def lost_sectors(data: bytes, source: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(source.randrange(1, 4)):
        size = source.choice((16, 64, 512))
        at = source.randrange(max(1, len(out) // size)) * size
        out[at : at + size] = source.choice((bytes(size), b"\xf6" * size, data[-size:], b""))
    return bytes(out)


def long_events(data: bytes, source: random.Random) -> bytes:
    length = source.choice((b"\x00", b"\x03", b"\x83\x74", b"\xbd\x84\x40", b"\xff\xff\xff\x7f"))
    kind = source.choice(
        (b"\xf0", *(bytes((0xFF, kind)) for kind in (1, 3, 5, 0x20, 0x2F, 0x51, 0x54, 0x58, 0x59, 0x7F, 0xFF)))
    )
    return inserted(data, b"\0" + kind + length + source.randbytes(source.randrange(30)), source)


def lost_middle(data: bytes, source: random.Random) -> bytes:
    begin, end = sorted((source.randrange(len(data) + 1), source.randrange(len(data) + 1)))
    return data[:begin] + data[end:]


MUTATIONS: tuple[Mutation, ...] = (
    lost_chunk, lying_lengths, endless_numbers, foreign_bytes, packed, broken_header, transcoded, swapped_bytes, storm,
    many_chunks, glued, system_bytes, no_note_offs, mixed_channels, rotten_bits, lost_sectors, long_events, lost_middle,
)  # fmt: skip


def mutants(folder: Path, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Names of what was done, one to three things a file, and the bytes."""
    source = random.Random(seed)
    files: list[Path] = []
    for corpus in CORPORA:
        own = sorted(path for path in (folder / corpus).rglob("*.mid") if 20 < path.stat().st_size < LARGEST_ORIGINAL)
        files += source.sample(own, min(FILES_A_CORPUS, len(own)))
    for _ in range(count):
        data = source.choice(files).read_bytes()
        done = []
        for mutation in source.choices(MUTATIONS, k=source.choice((1, 1, 1, 2, 3))):
            if not chunks_of(data):
                break
            data = mutation(data, source)[:LARGEST_MUTANT]
            done.append(mutation.__name__)
        yield "+".join(done), data
