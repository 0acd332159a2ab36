"""Which MIDI bytes may be parsed: an exact walk over chunks and events before a parser in native code sees them.

Such a parser can crash on damaged bytes, and wraps times beyond 2^31 without a word. So every file is walked here
first, event by event, and what goes on is rebuilt from the parts that passed: header, tracks, each up to its end event.
Bytes that no reader needs (a RIFF envelope, foreign chunks, what follows the last track or an end event) are left
behind; anything damaged is refused with the byte where it happens.

The events of a track are found in midi_events.py.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aurl.music.limits import ReadLimits
from aurl.music.midi_events import (
    DATA_LIMIT,
    META,
    META_SIZES,
    SMPTE_OFFSET,
    SYSEX_ESCAPE,
    TEMPO,
    DamagedMidi,
    vlq_lengths,
    walk_events,
)

HEADER_BYTES = 6
CHUNK_HEAD_BYTES = 8
NOTE_ON, CONTROL, PITCH_BEND = 0x90, 0xB0, 0xE0
ESCAPE_AS_META = b"\xff\x7f"
HOUR_BITS = 0x1F
"""The other bits of the first byte of an SMPTE offset tell the frames a second."""
SMPTE_OFFSET_BELOW = (24, 60, 60, 30, 100)
"""Hours, minutes, seconds, frames and hundredths of an SMPTE offset are below these."""
END_EVENT = b"\x00\xff\x2f\x00"
RIFF_DATA_START = 20


class LimitReached(DamagedMidi):
    """The file is larger than ReadLimits allow: no repair helps."""


@dataclass(frozen=True)
class ExactMidi:
    """Bytes that are safe to parse, and what was counted on the way."""

    data: bytes
    """The file itself if it was exact, else the same music in an exact file."""
    tracks: int
    onsets: int
    """Note-on events: a parser that finds fewer notes has dropped some."""
    controls: int
    """Controller and pitch bend events; see midi_controls.py."""
    changes: dict[str, int]
    """What was left out or added, counted by kind; empty for a file that is as the standard wants it."""


@dataclass(frozen=True)
class _Header:
    format: int
    tracks: int
    division: int
    end: int


@dataclass(frozen=True)
class _Walk:
    """One track's events: how many, the bytes they use, whether an end event came, and what to write differently.

    ``missing`` holds (byte, status) of events that rely on running status across a system event, which ends it;
    ``edits`` (byte, bytes left out, bytes put in), in any order.
    """

    events: int
    used: int
    has_end: bool
    missing: list[tuple[int, int]]
    edits: list[tuple[int, int, bytes]]
    offsets: int
    onsets: int
    controls: int
    tempi: int


def walk_midi(data: bytes, limits: ReadLimits) -> ExactMidi:
    """Walk a Standard MIDI File and return bytes that are safe to parse.

    Args:
        data: the whole file.
        limits: what is refused for its size.

    Raises:
        LimitReached: too large; the text names the limit.
        DamagedMidi: anything else; the text names the byte.
    """
    start = 0
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        start = data.find(b"MThd", RIFF_DATA_START - CHUNK_HEAD_BYTES)
    header = _read_header(data, max(start, 0))
    changes: Counter[str] = Counter()
    tracks: list[bytes] = []
    events = onsets = controls = tempi = end = 0
    spans = _track_spans(data, header)
    if len(spans) > limits.tracks:
        raise LimitReached(limits.message("tracks", len(spans)))
    for begin, end in spans:
        track = data[begin:end]
        walk = _walk_track(track, begin, limits)
        events, onsets, tempi = events + walk.events, onsets + walk.onsets, tempi + walk.tempi
        controls += walk.controls
        for name, found in (("events", events), ("tempi", tempi)):
            if found > getattr(limits, name):
                raise LimitReached(limits.message(name, f"more than {getattr(limits, name)}"))
        changes["missing_end_of_track"] += not walk.has_end
        changes["bytes_after_end_of_track"] += walk.used < len(track)
        changes["status_after_system_event"] += len(walk.missing)
        changes["impossible_smpte_offsets"] += walk.offsets
        tracks.append(_exact_track(track, walk))
    if data.startswith(b"MThd", end or header.end) and header.tracks:
        raise DamagedMidi(f"another file begins at byte {end}")
    changes["bytes_after_last_track"] += start <= 0 and _is_stray(data, end or header.end)
    kind = header.format if header.format < 2 else 0
    exact = write_midi(kind, header.division, tracks)
    counted = {name: count for name, count in changes.items() if count}
    return ExactMidi(data if exact == data else exact, len(tracks), onsets, controls, counted)


def write_midi(kind: int, division: int, tracks: list[bytes]) -> bytes:
    """A file from its parts.

    Args:
        kind: format 0 or 1.
        division: ticks a quarter.
        tracks: the events of each track, the end event included.
    """
    parts = [b"MThd", struct.pack(">IHHH", HEADER_BYTES, kind, len(tracks), division)]
    for track in tracks:
        parts += [b"MTrk", struct.pack(">I", len(track)), track]
    return b"".join(parts)


def track_bodies(data: bytes) -> Iterator[bytes]:
    """The events of each track of an exact file."""
    position = CHUNK_HEAD_BYTES + HEADER_BYTES
    while position + CHUNK_HEAD_BYTES <= len(data):
        begin = position + CHUNK_HEAD_BYTES
        position = begin + int.from_bytes(data[position + 4 : begin], "big")
        yield data[begin:position] if data.startswith(b"MTrk", begin - CHUNK_HEAD_BYTES) else b""


def _is_stray(data: bytes, end: int) -> bool:
    """Whether what follows the last track is neither nothing nor whole chunks of another kind, which are allowed."""
    while end + CHUNK_HEAD_BYTES <= len(data) and data[end : end + 4].isalnum():
        end += CHUNK_HEAD_BYTES + int.from_bytes(data[end + 4 : end + CHUNK_HEAD_BYTES], "big")
    return end != len(data)


def _read_header(data: bytes, start: int) -> _Header:
    """The header chunk, refused where its music could not be placed in time."""
    if data[start : start + 4] != b"MThd":
        raise DamagedMidi("empty file" if not data else "no MIDI header (MThd) at the start")
    if len(data) < start + CHUNK_HEAD_BYTES + HEADER_BYTES:
        raise DamagedMidi("the header is cut off")
    length, kind, tracks, division = struct.unpack_from(">IHHH", data, start + 4)
    if length != HEADER_BYTES:
        raise DamagedMidi(f"the header says it is {length} bytes long, not {HEADER_BYTES}")
    if kind > 2:
        raise DamagedMidi(f"unknown MIDI format {kind}; allowed: 0, 1, or 2 with one track")
    if kind == 2 and tracks > 1:
        raise DamagedMidi("MIDI format 2 with several independent sequences")
    if division == 0 or division & 0x8000:
        raise DamagedMidi("time in SMPTE frames, not in ticks a quarter" if division else "0 ticks a quarter")
    return _Header(kind, tracks, division, start + CHUNK_HEAD_BYTES + HEADER_BYTES)


def _track_spans(data: bytes, header: _Header) -> list[tuple[int, int]]:
    """(begin, end) of each track's events; foreign chunks are stepped over."""
    spans: list[tuple[int, int]] = []
    position = header.end
    while position + CHUNK_HEAD_BYTES <= len(data):
        name = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + CHUNK_HEAD_BYTES], "big")
        begin, end = position + CHUNK_HEAD_BYTES, position + CHUNK_HEAD_BYTES + length
        if name != b"MTrk" and len(spans) >= header.tracks:
            break  # whatever follows the last track is not music
        if end > len(data):
            raise DamagedMidi(
                f"the chunk at byte {position} says it is {length} bytes long; {len(data) - begin} are left"
            )
        if name == b"MTrk":
            spans.append((begin, end))
        position = end
    if len(spans) != header.tracks:
        raise DamagedMidi(f"the header promises {header.tracks} tracks, the file holds {len(spans)}")
    return spans


def _exact_track(track: bytes, walk: _Walk) -> bytes:
    """The bytes of a track with an end event, nothing after it, and all edits made."""
    pieces = []
    begin = 0
    statuses = [(at, 0, bytes([status])) for at, status in walk.missing]
    for at, left_out, put_in in sorted(statuses + walk.edits):
        pieces += [track[begin:at], put_in]
        begin = at + left_out
    pieces.append(track[begin : walk.used])
    return b"".join(pieces) + (b"" if walk.has_end else END_EVENT)


def _walk_track(track: bytes, offset: int, limits: ReadLimits) -> _Walk:
    """Walk one track's events.

    Args:
        track: the bytes of the chunk.
        offset: where it begins in the file, for messages.
        limits: every event must come before its ``ticks``.
    """
    events = walk_events(track, offset)
    buffer, at = events.buffer, events.at
    ticks = int(events.deltas().sum())
    if ticks >= limits.ticks:
        raise DamagedMidi(f"its time reaches {ticks} ticks; allowed: below {limits.ticks}")
    status = events.statuses()
    velocity = buffer[at + 2 - (buffer[at] < DATA_LIMIT)]
    onsets = ((status & 0xF0 == NOTE_ON) & (velocity > 0)).sum()
    controls = (status & 0xF0 == CONTROL) | (status & 0xF0 == PITCH_BEND)
    tempi = (buffer[at] == META) & (buffer[at + 1] == TEMPO)
    escapes, offsets = _escape_edits(buffer, at), _offset_edits(buffer, at)
    return _Walk(
        events=len(at),
        used=events.used,
        has_end=events.has_end,
        missing=events.missing,
        edits=escapes + offsets,
        offsets=len(offsets),
        onsets=int(onsets),
        controls=int(controls.sum()),
        tempi=int(tempi.sum()),
    )


def _escape_edits(buffer: NDArray[np.uint8], at: NDArray[np.int64]) -> list[tuple[int, int, bytes]]:
    """Escape events as sequencer-specific meta events, which everyone skips.

    The parser reads the bytes of an escape event as events of their own.
    """
    return [(place, 1, ESCAPE_AS_META) for place in at[buffer[at] == SYSEX_ESCAPE].tolist()]


def is_possible_offset(payload: bytes) -> bool:
    """Whether the five bytes of an SMPTE offset are a time that a clock shows."""
    values = (payload[0] & HOUR_BITS, *payload[1:])
    return all(value < most for value, most in zip(values, SMPTE_OFFSET_BELOW, strict=True))


def _offset_edits(buffer: NDArray[np.uint8], at: NDArray[np.int64]) -> list[tuple[int, int, bytes]]:
    """SMPTE offsets of times that no clock shows, set to zero."""
    size = META_SIZES[SMPTE_OFFSET]
    edits = []
    for place in at[(buffer[at] == META) & (buffer[at + 1] == SMPTE_OFFSET)].tolist():
        body = place + 2 + int(vlq_lengths(buffer >= DATA_LIMIT, np.array([place + 2]))[0])
        if not is_possible_offset(buffer[body : body + size].tobytes()):
            edits.append((body, size, bytes(size)))
    return edits
