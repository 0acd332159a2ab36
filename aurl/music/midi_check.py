"""Which MIDI bytes may be parsed: an exact walk over chunks and events before a parser in native code sees them.

Such a parser can crash on damaged bytes, and wraps times beyond 2^31 without a word. So every file is walked here
first, event by event, and what goes on is rebuilt from the parts that passed: header, tracks, each up to its end event.
Bytes that no reader needs (a RIFF envelope, foreign chunks, what follows the last track or an end event) are left
behind; anything damaged is refused with the byte where it happens.

The walk is fast because numpy works out for every byte "were an event to begin here, where would the next one begin?";
what is left for Python is one lookup an event.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.music.limits import ReadLimits

HEADER_BYTES = 6
CHUNK_HEAD_BYTES = 8
MAX_VLQ_BYTES = 4
DATA_LIMIT = 0x80
META, SYSEX, SYSEX_ESCAPE = 0xFF, 0xF0, 0xF7
NOTE_ON = 0x90
END_OF_TRACK, TEMPO, SMPTE_OFFSET, METRE, KEY = 0x2F, 0x51, 0x54, 0x58, 0x59
ESCAPE_AS_META = b"\xff\x7f"
HOUR_BITS = 0x1F
"""The other bits of the first byte of an SMPTE offset tell the frames a second."""
SMPTE_OFFSET_BELOW = (24, 60, 60, 30, 100)
"""Hours, minutes, seconds, frames and hundredths of an SMPTE offset are below these."""
META_SIZES = {0x2F: 0, 0x51: 3, 0x54: 5, 0x58: 4, 0x59: 2}
"""Bytes that a meta event of this type has: end of track, tempo, SMPTE offset, metre, key."""
META_NAMES = {0x2F: "end of track", 0x51: "tempo", 0x54: "SMPTE offset", 0x58: "time signature", 0x59: "key signature"}
END_EVENT = b"\x00\xff\x2f\x00"
RIFF_DATA_START = 20

# What an event that begins at a byte would be.
_BAD, _ONE_DATA, _TWO_DATA, _RUNNING_ONE, _RUNNING_TWO, _META, _END = range(7)
_RUNNING_OFFSET = _RUNNING_ONE - _ONE_DATA
_PADDING = np.full(MAX_VLQ_BYTES * 3, 0xFF, dtype=np.uint8)


class DamagedMidi(Exception):
    """Why the bytes are refused, in words for a list of skipped files."""


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
    events = onsets = tempi = end = 0
    spans = _track_spans(data, header)
    if len(spans) > limits.tracks:
        raise LimitReached(limits.message("tracks", len(spans)))
    for begin, end in spans:
        track = data[begin:end]
        walk = _walk_track(track, begin, limits)
        events, onsets, tempi = events + walk.events, onsets + walk.onsets, tempi + walk.tempi
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
    return ExactMidi(data if exact == data else exact, len(tracks), onsets, counted)


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
    buffer = np.concatenate([np.frombuffer(track, dtype=np.uint8), _PADDING])
    size = len(track)
    kinds_array, after_array, delta_bytes = _event_table(buffer, size)
    kinds, after = kinds_array.tobytes(), after_array.data
    starts: list[int] = []
    missing: list[tuple[int, int]] = []
    position, running, status_at, system, ended = 0, 0, 0, False, False
    while position < size and not ended:
        starts.append(position)
        kind = kinds[position]
        if kind == _BAD:
            raise DamagedMidi(_describe(buffer, size, position, running, offset))
        if kind <= _TWO_DATA:
            running, status_at, system = kind, position, False
            position = after[position]
        elif kind <= _RUNNING_TWO:
            if running == 0 or running > kind - _RUNNING_OFFSET:
                raise DamagedMidi(_describe(buffer, size, position, running, offset))
            if system:
                missing.append((after[position], int(buffer[status_at + delta_bytes[status_at]])))
                system = False
            position = after[position] + running
        else:
            position, system, ended = after[position], True, kind == _END
    if position > size:
        raise DamagedMidi(f"the event at byte {offset + starts[-1]} runs past the end of its track")
    at = np.array(starts, dtype=np.int64)
    ticks = int(_vlq_values(buffer, at, delta_bytes[at]).sum())
    if ticks >= limits.ticks:
        raise DamagedMidi(f"its time reaches {ticks} ticks; allowed: below {limits.ticks}")
    at += delta_bytes[at]
    onsets, tempi = _count_notes_and_tempi(buffer, at)
    escapes, offsets = _escape_edits(buffer, at), _offset_edits(buffer, at)
    return _Walk(len(starts), position, ended, missing, escapes + offsets, len(offsets), onsets, tempi)


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
        body = place + 2 + int(_vlq_lengths(buffer >= DATA_LIMIT, np.array([place + 2]))[0])
        if not is_possible_offset(buffer[body : body + size].tobytes()):
            edits.append((body, size, bytes(size)))
    return edits


def _count_notes_and_tempi(buffer: NDArray[np.uint8], at: NDArray[np.int64]) -> tuple[int, int]:
    """Note-on events with a velocity, and tempo events, of a track whose events have their first byte at ``at``."""
    first = buffer[at]
    is_running = first < DATA_LIMIT
    last_status = np.maximum.accumulate(np.where((first >= DATA_LIMIT) & (first < SYSEX), np.arange(len(at)), 0))
    status = np.where(is_running, first[last_status], first) if len(at) else first
    velocity = buffer[at + 2 - is_running]
    tempi = (first == META) & (buffer[at + 1] == TEMPO)
    return int(((status & 0xF0 == NOTE_ON) & (velocity > 0)).sum()), int(tempi.sum())


def _event_table(
    buffer: NDArray[np.uint8], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """For every byte: the kind of event that would begin there, where the next one would, and the bytes of its delta.

    Shapes: (size,) each. For a running-status event "next" is where its data begin: their number is not known yet.
    """
    high = buffer >= DATA_LIMIT
    more = high[:size].copy()
    delta_bytes = np.ones(size, dtype=np.int32)
    for step in range(1, MAX_VLQ_BYTES + 1):
        delta_bytes += more
        more &= high[step : size + step]
    at = np.arange(size, dtype=np.int32) + delta_bytes  # the status byte, or the first data byte under running status
    status = buffer[at]
    first_good, second_good = ~high[at + 1], ~high[at + 2]
    after = at.copy()

    pair_good = first_good & second_good
    one = (status >= 0xC0) & (status < 0xE0) & first_good
    two = ((status >= DATA_LIMIT) & (status < 0xC0) | (status >= 0xE0) & (status < SYSEX)) & pair_good
    running = status < DATA_LIMIT
    kinds = np.where(running, np.where(first_good, _RUNNING_TWO, _RUNNING_ONE), one * _ONE_DATA + two * _TWO_DATA)
    kinds = kinds.astype(np.uint8)
    after += one * np.int32(2) + two * np.int32(3)

    rows = np.flatnonzero((status == META) | (status == SYSEX) | (status == SYSEX_ESCAPE))
    is_meta = status[rows] == META
    types = buffer[at[rows] + 1]
    length_at = at[rows] + np.where(is_meta, 2, 1)
    inside = (length_at < size) & ~(is_meta & (types >= DATA_LIMIT))
    rows, is_meta, types, length_at = rows[inside], is_meta[inside], types[inside], length_at[inside]
    length_bytes = _vlq_lengths(high, length_at)
    lengths = _vlq_values(buffer, length_at, length_bytes)
    good = (length_bytes <= MAX_VLQ_BYTES) & (lengths <= size)
    for kind, expected in META_SIZES.items():
        good &= ~(is_meta & (types == kind) & (lengths != expected))
    kinds[rows[good]] = np.where(is_meta & (types == END_OF_TRACK), _END, _META)[good]
    after[rows[good]] = (length_at + length_bytes + lengths)[good]

    kinds[delta_bytes > MAX_VLQ_BYTES] = _BAD
    return kinds, after, delta_bytes


def _vlq_lengths(high: NDArray[np.bool_], at: NDArray[Any]) -> NDArray[np.int64]:
    """Bytes of the variable-length number at each place; MAX_VLQ_BYTES + 1 for one that is too long."""
    lengths = np.ones(len(at), dtype=np.int64)
    more = high[at]
    for step in range(1, MAX_VLQ_BYTES + 1):
        lengths += more
        if step < MAX_VLQ_BYTES:
            more = more & high[at + step]
    return lengths


def _vlq_values(buffer: NDArray[np.uint8], at: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.int64]:
    """The variable-length numbers (7 bits a byte, most significant first)."""
    values = np.zeros(len(at), dtype=np.int64)
    for step in range(MAX_VLQ_BYTES):
        within = lengths > step
        values = np.where(within, (values << 7) | (buffer[at + step] & 0x7F), values)
    return values


def _describe(buffer: NDArray[np.uint8], size: int, position: int, running: int, offset: int) -> str:
    """What is wrong with the event at ``position`` of a track."""
    where = f"at byte {offset + position}"
    delta = int(_vlq_lengths(buffer >= DATA_LIMIT, np.array([position]))[0])
    if delta > MAX_VLQ_BYTES:
        return f"a time {where} is longer than {MAX_VLQ_BYTES} bytes"
    at = position + delta
    if at >= size:
        return f"the event {where} runs past the end of its track"
    status, following = int(buffer[at]), int(buffer[at + 1])
    if status < DATA_LIMIT:
        return f"an event {where} has no status" if running == 0 else f"a data byte over 127 in the event {where}"
    if status < SYSEX:
        return f"a data byte over 127 in the event {where}" if at + 2 < size else f"the event {where} is cut off"
    if status == META and following in META_NAMES:
        return f"a {META_NAMES[following]} event of the wrong length {where}"
    if status in (META, SYSEX, SYSEX_ESCAPE):
        return f"the meta or system event {where} is damaged"
    return f"status 0x{status:02X} {where} has no place in a file"
