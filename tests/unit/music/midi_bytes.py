"""MIDI files made byte by byte, for tests that need to know every byte."""

from __future__ import annotations

import struct

END = b"\x00\xff\x2f\x00"
TWO_NOTES = b"\x00\x90\x3c\x40" + b"\x60\x80\x3c\x00" + b"\x00\x90\x3e\x40" + b"\x60\x80\x3e\x00"
"""C and D, 96 ticks each."""


def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    return name + struct.pack(">I", len(body) if length is None else length) + body


def midi(*tracks: bytes, kind: int = 1, count: int | None = None, division: int = 96) -> bytes:
    """A file of tracks given by their events, without the end event."""
    header = struct.pack(">HHH", kind, len(tracks) if count is None else count, division)
    return chunk(b"MThd", header) + b"".join(chunk(b"MTrk", track + END) for track in tracks)
