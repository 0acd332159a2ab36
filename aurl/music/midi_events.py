"""Where the events of tracks stand: fast, because most of it is done for all bytes at once.

numpy works out for every byte of a file "were an event to begin here, where would the next one begin?", and then where
the 32nd from there would; what is left for Python is one lookup for 32 events. midi_check.py decides with it which
files are exact, midi_controls.py and midi_texts.py read with it what the parser loses.
"""

from __future__ import annotations

from collections.abc import Sequence
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
LEAP_BITS = 5
LEAP = 1 << LEAP_BITS
"""Python looks at one event in so many, numpy at the others."""
_PADDING = np.full(MAX_VLQ_BYTES * 3, 0xFF, dtype=np.uint8)


class DamagedMidi(Exception):
    """Why the bytes are refused, in words for a list of skipped files."""


@dataclass(frozen=True)
class TrackEvents:
    """Where the events of a track stand; N events."""

    buffer: NDArray[np.uint8]
    """The bytes of the whole file, with padding after them."""
    at: NDArray[np.int64]
    """The first byte of each event after its time: its status, or its data under running status (N,)."""
    delta_bytes: NDArray[np.int64]
    """Bytes of the time before each (N,)."""
    end: int
    """The byte after the end event, or after the track."""
    has_end: bool
    missing: list[tuple[int, int]]
    """(byte, status) of events that rely on running status across a system event."""

    def deltas(self) -> NDArray[np.int64]:
        """Ticks since the event before, (N,)."""
        return vlq_values(self.buffer, self.at - self.delta_bytes, self.delta_bytes)

    def ticks(self) -> NDArray[np.int64]:
        """Time of each event, (N,)."""
        return np.cumsum(self.deltas())

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
        sizes = vlq_lengths(self.buffer, places)
        begins = places + sizes
        ends = begins + vlq_values(self.buffer, places, sizes)
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        return rows, [self.buffer[begin:end].tobytes() for begin, end in spans]

    def name(self) -> str:
        """The name of the track, as far as it is text; empty without one."""
        _, names = self.payloads(TRACK_NAME)
        return names[-1].decode("utf-8", errors="ignore") if names else ""


def walk_tracks(data: bytes, spans: Sequence[tuple[int, int]]) -> list[TrackEvents]:
    """Find the events of tracks.

    Args:
        data: the whole file.
        spans: first byte of the events of each track, and the byte after them.

    Raises:
        DamagedMidi: an event is no event; the text names the byte.
    """
    buffer = np.concatenate([np.frombuffer(data, dtype=np.uint8), _PADDING])
    kinds, after, delta_bytes = _event_table(buffer, len(data))
    follows = after + np.where(kinds == _RUNNING_TWO, np.int32(2), np.int32(0))
    following = np.empty(len(data) + 1, np.int32)
    np.minimum(follows, len(data), out=following[:-1])
    following[:-1][kinds == _END] = following[-1] = len(data)  # the last place leads to itself
    leap = following
    for _ in range(LEAP_BITS):
        leap = leap[leap]
    tracks = []
    for begin, end in spans:
        starts = _jump(kinds, following, leap, begin, end)
        if (len(starts) and follows[starts[-1]] > end) or not _is_plain(kinds[starts]):
            # Damaged, or one of the few in which running status stands for one data byte.
            starts = _step(data[begin:end], begin)
        tracks.append(_track(buffer, kinds, after, delta_bytes, starts, end))
    return tracks


def _track(
    buffer: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    after: NDArray[np.int32],
    delta_bytes: NDArray[np.int32],
    starts: NDArray[np.int64],
    end: int,
) -> TrackEvents:
    """The events that begin at some bytes."""
    walked = kinds[starts]
    is_running = (walked >= _RUNNING_ONE) & (walked <= _RUNNING_TWO)
    missing: list[tuple[int, int]] = []
    alone = np.flatnonzero(is_running[1:] & (walked[:-1] >= _META)) + 1  # running status after a system event
    if len(alone):
        speaking = starts[_last_speaking(walked)[alone]]
        missing = list(
            zip(after[starts[alone]].tolist(), buffer[speaking + delta_bytes[speaking]].tolist(), strict=True)
        )
    before = delta_bytes[starts].astype(np.int64)
    has_end = len(walked) > 0 and bool(walked[-1] == _END)
    return TrackEvents(buffer, starts + before, before, int(after[starts[-1]]) if has_end else end, has_end, missing)


def _jump(
    kinds: NDArray[np.uint8], following: NDArray[np.int32], leap: NDArray[np.int32], begin: int, end: int
) -> NDArray[np.int64]:
    """Where the events of a track begin, if running status always stands for two data bytes, as it nearly always does:
    then the place of an event decides that of the next.

    Args:
        kinds: what an event would be, for each byte.
        following: where the next event would begin.
        leap: where the one LEAP events later would.
        begin: first byte of the track.
        end: the byte after it.
    """
    landings, place, leaps = [], begin, leap.data
    while place < end:
        landings.append(place)
        place = leaps[place]
    rows = np.empty((len(landings), LEAP), np.int64)
    here: NDArray[Any] = np.array(landings, np.int64)
    for column in range(LEAP):
        rows[:, column] = here
        here = following[here]
    starts = rows.ravel()
    return starts[: np.searchsorted(starts, end)]


def _last_speaking(walked: NDArray[np.uint8]) -> NDArray[np.int64]:
    """For each event the number of the last one that has a channel status of its own; 0 before the first."""
    return np.maximum.accumulate(np.where(walked <= _TWO_DATA, np.arange(len(walked)), 0))


def _is_plain(walked: NDArray[np.uint8]) -> bool:
    """Whether all events, by kind, are exact, and running status stands for two data bytes."""
    running = walked == _RUNNING_TWO
    odd = (walked == _BAD) | (walked == _RUNNING_ONE)
    if odd.any():
        return False
    return not running.any() or bool((walked[_last_speaking(walked)[running]] == _TWO_DATA).all())


def _step(track: bytes, offset: int) -> NDArray[np.int64]:
    """Where the events of any track begin, looking at one after the other.

    Args:
        track: the bytes of the chunk.
        offset: where it begins in the file.

    Raises:
        DamagedMidi: an event is no event.
    """
    buffer = np.concatenate([np.frombuffer(track, dtype=np.uint8), _PADDING])
    size = len(track)
    kinds_array, after_array, _ = _event_table(buffer, size)
    kinds, after = kinds_array.tobytes(), after_array.data
    starts: list[int] = []
    position, running, ended = 0, 0, False
    while position < size and not ended:
        starts.append(position)
        kind = kinds[position]
        if kind == _BAD:
            raise DamagedMidi(_describe(buffer, size, position, running, offset))
        if kind <= _TWO_DATA:
            running = kind
            position = after[position]
        elif kind <= _RUNNING_TWO:
            if running == 0 or running > kind - _RUNNING_OFFSET:
                raise DamagedMidi(_describe(buffer, size, position, running, offset))
            position = after[position] + running
        else:
            position, ended = after[position], kind == _END
    if position > size:
        raise DamagedMidi(f"the event at byte {offset + starts[-1]} runs past the end of its track")
    return np.array(starts, dtype=np.int64) + offset


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
    length_bytes = vlq_lengths(buffer, length_at)
    lengths = vlq_values(buffer, length_at, length_bytes)
    good = (length_bytes <= MAX_VLQ_BYTES) & (lengths <= size)
    for kind, expected in META_SIZES.items():
        good &= ~(is_meta & (types == kind) & (lengths != expected))
    kinds[rows[good]] = np.where(is_meta & (types == END_OF_TRACK), _END, _META)[good]
    after[rows[good]] = (length_at + length_bytes + lengths)[good]

    kinds[delta_bytes > MAX_VLQ_BYTES] = _BAD
    return kinds, after, delta_bytes


def vlq_lengths(buffer: NDArray[np.uint8], at: NDArray[Any]) -> NDArray[np.int64]:
    """Bytes of the variable-length number at each place; MAX_VLQ_BYTES + 1 for one that is too long."""
    lengths = np.ones(len(at), dtype=np.int64)
    more = buffer[at] >= DATA_LIMIT
    for step in range(1, MAX_VLQ_BYTES + 1):
        lengths += more
        if step < MAX_VLQ_BYTES:
            more = more & (buffer[at + step] >= DATA_LIMIT)
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
    delta = int(vlq_lengths(buffer, np.array([position]))[0])
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
