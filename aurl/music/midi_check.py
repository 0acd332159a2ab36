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
from dataclasses import dataclass, replace

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
    TrackEvents,
    vlq_lengths,
    walk_tracks,
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

Edit = tuple[int, int, bytes]
"""Byte, bytes left out, bytes put in."""


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
    walked: list[TrackEvents]
    """The events of its tracks."""
    changes: dict[str, int]
    """What was left out or added, counted by kind; empty for a file that is as the standard wants it."""


@dataclass(frozen=True)
class _Header:
    format: int
    tracks: int
    division: int
    end: int


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
    spans = _track_spans(data, header)
    if len(spans) > limits.tracks:
        raise LimitReached(limits.message("tracks", len(spans)))
    walked = walk_tracks(data, spans)
    counts = _Counts(walked, limits)
    end = spans[-1][1] if spans else header.end
    if data.startswith(b"MThd", end) and header.tracks:
        raise DamagedMidi(f"another file begins at byte {end}")
    changes = Counter(
        missing_end_of_track=sum(not track.has_end for track in walked),
        bytes_after_end_of_track=sum(track.end < end for track, (_, end) in zip(walked, spans, strict=True)),
        status_after_system_event=sum(len(track.missing) for track in walked),
        impossible_smpte_offsets=len(counts.offsets),
        bytes_after_last_track=int(start <= 0 and _is_stray(data, end)),
    )
    edits = [*counts.escapes, *counts.offsets]
    tracks = [_exact_track(data, begin, track, edits) for (begin, _), track in zip(spans, walked, strict=True)]
    kind = header.format if header.format < 2 else 0
    exact = write_midi(kind, header.division, tracks)
    if exact == data:
        exact = data
    else:
        walked = walk_tracks(exact, _track_spans(exact, _read_header(exact, 0)))
    found = {name: count for name, count in changes.items() if count}
    return ExactMidi(exact, len(tracks), counts.onsets, counts.controls, walked, found)


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


def _exact_track(data: bytes, begin: int, track: TrackEvents, edits: list[Edit]) -> bytes:
    """The bytes of a track with an end event, nothing after it, and those of all edits made that lie in it."""
    pieces = []
    statuses = [(at, 0, bytes([status])) for at, status in track.missing]
    for at, left_out, put_in in sorted(statuses + [edit for edit in edits if begin <= edit[0] < track.end]):
        pieces += [data[begin:at], put_in]
        begin = at + left_out
    pieces.append(data[begin : track.end])
    return b"".join(pieces) + (b"" if track.has_end else END_EVENT)


class _Counts:
    """What is counted in all tracks together, and what has to be written differently.

    Args:
        walked: the events of the tracks.
        limits: every event must come before its ``ticks``; no more events and tempi than it allows.

    Attributes:
        onsets, controls: note-ons; controllers and bends.
        escapes, offsets: edits.

    Raises:
        LimitReached: too many events or tempi.
        DamagedMidi: a time that is too late.
    """

    def __init__(self, walked: list[TrackEvents], limits: ReadLimits) -> None:
        self.onsets = self.controls = 0
        self.escapes: list[Edit] = []
        self.offsets: list[Edit] = []
        bounds = np.cumsum([0, *(len(track.at) for track in walked)])
        if bounds[-1] > limits.events:
            raise LimitReached(limits.message("events", f"more than {limits.events}"))
        if bounds[-1] == 0:
            return
        at, delta_bytes = (
            np.concatenate([getattr(track, field) for track in walked]) for field in ("at", "delta_bytes")
        )
        events = replace(walked[0], at=at, delta_bytes=delta_bytes)
        sums = np.append(0, np.cumsum(events.deltas()))[bounds]
        if (ticks := int(np.diff(sums).max())) >= limits.ticks:
            raise DamagedMidi(f"its time reaches {ticks} ticks; allowed: below {limits.ticks}")
        buffer, first, status = events.buffer, events.buffer[at], events.statuses()
        kind = status & 0xF0
        notes = at[kind == NOTE_ON]
        self.onsets = int(np.count_nonzero(buffer[notes + 2 - (buffer[notes] < DATA_LIMIT)]))
        self.controls = int(np.count_nonzero(kind == CONTROL) + np.count_nonzero(kind == PITCH_BEND))
        metas = at[first == META]
        types = buffer[metas + 1]
        if np.count_nonzero(types == TEMPO) > limits.tempi:
            raise LimitReached(limits.message("tempi", f"more than {limits.tempi}"))
        # The parser reads the bytes of an escape event as events of their own; everyone skips sequencer-specific ones.
        self.escapes = [(place, 1, ESCAPE_AS_META) for place in at[first == SYSEX_ESCAPE].tolist()]
        self.offsets = _offset_edits(buffer, metas[types == SMPTE_OFFSET])


def is_possible_offset(payload: bytes) -> bool:
    """Whether the five bytes of an SMPTE offset are a time that a clock shows."""
    values = (payload[0] & HOUR_BITS, *payload[1:])
    return all(value < most for value, most in zip(values, SMPTE_OFFSET_BELOW, strict=True))


def _offset_edits(buffer: NDArray[np.uint8], places: NDArray[np.int64]) -> list[Edit]:
    """SMPTE offsets of times that no clock shows, set to zero."""
    size = META_SIZES[SMPTE_OFFSET]
    bodies = (places + 2 + vlq_lengths(buffer, places + 2)).tolist()
    return [(at, size, bytes(size)) for at in bodies if not is_possible_offset(buffer[at : at + size].tobytes())]
