"""Where the events of a track stand: fast, because most of it is done for all bytes at once.

numpy works out for every byte "were an event to begin here, where would the next one begin?"; what is left for Python
is one lookup an event. midi_check.py decides with it which files are exact, midi_controls.py reads controllers with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_VLQ_BYTES = 4
DATA_LIMIT = 0x80
META, SYSEX, SYSEX_ESCAPE = 0xFF, 0xF0, 0xF7
TRACK_NAME = 0x03
END_OF_TRACK, TEMPO, SMPTE_OFFSET, METRE, KEY = 0x2F, 0x51, 0x54, 0x58, 0x59
META_SIZES = {0x2F: 0, 0x51: 3, 0x54: 5, 0x58: 4, 0x59: 2}
"""Bytes that a meta event of this type has: end of track, tempo, SMPTE offset, metre, key."""
META_NAMES = {0x2F: "end of track", 0x51: "tempo", 0x54: "SMPTE offset", 0x58: "time signature", 0x59: "key signature"}

# What an event that begins at a byte would be.
_BAD, _ONE_DATA, _TWO_DATA, _RUNNING_ONE, _RUNNING_TWO, _META, _END = range(7)
_RUNNING_OFFSET = _RUNNING_ONE - _ONE_DATA
_PADDING = np.full(MAX_VLQ_BYTES * 3, 0xFF, dtype=np.uint8)


class DamagedMidi(Exception):
    """Why the bytes are refused, in words for a list of skipped files."""


@dataclass(frozen=True)
class TrackEvents:
    """Where the events of a track stand; N events."""

    buffer: NDArray[np.uint8]
    """The bytes of the track, with padding after them."""
    at: NDArray[np.int64]
    """The first byte of each event after its time: its status, or its data under running status (N,)."""
    delta_bytes: NDArray[np.int64]
    """Bytes of the time before each (N,)."""
    used: int
    """Bytes up to the end event, or all."""
    has_end: bool
    missing: list[tuple[int, int]]
    """(byte, status) of events that rely on running status across a system event."""

    def deltas(self) -> NDArray[np.int64]:
        """Ticks since the event before, (N,)."""
        return vlq_values(self.buffer, self.at - self.delta_bytes, self.delta_bytes)

    def statuses(self) -> NDArray[np.uint8]:
        """Status of each event, also where it is running, (N,)."""
        first = self.buffer[self.at]
        speaks = (first >= DATA_LIMIT) & (first < SYSEX)
        last = np.maximum.accumulate(np.where(speaks, np.arange(len(first)), 0))
        return np.where(first < DATA_LIMIT, first[last], first) if len(first) else first

    def payloads(self, kind: int) -> tuple[NDArray[np.int64], list[bytes]]:
        """Numbers of the meta events of one type (M,), and what each holds."""
        first = self.buffer[self.at]
        rows = np.flatnonzero((first == META) & (self.buffer[self.at + 1] == kind))
        places = self.at[rows] + 2
        sizes = vlq_lengths(self.buffer >= DATA_LIMIT, places)
        begins = places + sizes
        ends = begins + vlq_values(self.buffer, places, sizes)
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        return rows, [self.buffer[begin:end].tobytes() for begin, end in spans]

    def name(self) -> str:
        """The name of the track, as far as it is text; empty without one."""
        _, names = self.payloads(TRACK_NAME)
        return names[-1].decode("utf-8", errors="ignore") if names else ""


def walk_events(track: bytes, offset: int = 0) -> TrackEvents:
    """Find the events of a track.

    Args:
        track: the bytes of the chunk.
        offset: where it begins in the file, for messages.

    Raises:
        DamagedMidi: an event is no event; the text names the byte.
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
    places = np.array(starts, dtype=np.int64)
    before = delta_bytes[places].astype(np.int64)
    return TrackEvents(buffer, places + before, before, position, ended, missing)


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
    length_bytes = vlq_lengths(high, length_at)
    lengths = vlq_values(buffer, length_at, length_bytes)
    good = (length_bytes <= MAX_VLQ_BYTES) & (lengths <= size)
    for kind, expected in META_SIZES.items():
        good &= ~(is_meta & (types == kind) & (lengths != expected))
    kinds[rows[good]] = np.where(is_meta & (types == END_OF_TRACK), _END, _META)[good]
    after[rows[good]] = (length_at + length_bytes + lengths)[good]

    kinds[delta_bytes > MAX_VLQ_BYTES] = _BAD
    return kinds, after, delta_bytes


def vlq_lengths(high: NDArray[np.bool_], at: NDArray[Any]) -> NDArray[np.int64]:
    """Bytes of the variable-length number at each place; MAX_VLQ_BYTES + 1 for one that is too long."""
    lengths = np.ones(len(at), dtype=np.int64)
    more = high[at]
    for step in range(1, MAX_VLQ_BYTES + 1):
        lengths += more
        if step < MAX_VLQ_BYTES:
            more = more & high[at + step]
    return lengths


def vlq_values(buffer: NDArray[np.uint8], at: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.int64]:
    """The variable-length numbers (7 bits a byte, most significant first)."""
    values = np.zeros(len(at), dtype=np.int64)
    for step in range(MAX_VLQ_BYTES):
        within = lengths > step
        values = np.where(within, (values << 7) | (buffer[at + step] & 0x7F), values)
    return values


def _describe(buffer: NDArray[np.uint8], size: int, position: int, running: int, offset: int) -> str:
    """What is wrong with the event at ``position`` of a track."""
    where = f"at byte {offset + position}"
    delta = int(vlq_lengths(buffer >= DATA_LIMIT, np.array([position]))[0])
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
