"""The events of a damaged MIDI track, as far as they can be told: a scan that goes on where midi_check.py refuses.

At an event that is not exact there are a few readings: a data byte is too large, a real-time byte lies in between, a
length lies, bytes are missing. Each reading says where the next event would begin; the one after which the longest
stretch of exact events follows is taken (:func:`_clean_run`). What is skipped or changed is counted by kind.
Chunks, headers and songs are midi_repair.py; note ends are midi_notes.py.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from aurl.music.limits import ReadLimits
from aurl.music.midi_check import LimitReached
from aurl.music.midi_events import (
    DATA_LIMIT,
    END_OF_TRACK,
    MAX_VLQ_BYTES,
    META,
    META_SIZES,
    SYSEX,
    SYSEX_ESCAPE,
)

TRACK_NAME = b"MTrk"
LARGEST_DATA = DATA_LIMIT - 1
REALTIME = 0xF8
"""From this status on a system message is one byte, and may stand between the bytes of others."""
SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1}
"""Data bytes of system messages that have no place in a file."""
LONGEST_SILENCE_QUARTERS = 4096
"""A longer wait between two events of a damaged track is damage too: 34 minutes at 120 quarters a minute."""
LARGEST_SILENCE = 2**28 - 1
"""What the four bytes of a time can hold."""
LOOK_AHEAD_EVENTS = 12
"""Exact events after which a reading is believed."""
KNOWN_SCORE = 8
"""Worth of taking a byte over 127 for a status that the track has used: a lost byte leads to it."""
LONG_BLOCK_BYTES = 512
"""A meta or system exclusive event longer than this is believed only if exact events follow it."""
GIVE_UP_BYTES = 2**17
"""After so many bytes that make no sense the rest of a track is not looked at."""
RESYNC_BYTES = 512
"""How far the next exact event is looked for, one byte after another."""
ENOUGH_SCORE = 8
EXPLICIT_SCORE, RUNNING_SCORE, END_SCORE = 2, 1, 24
"""Worth of an exact event: with a status of its own, under running status, and the end event."""
KEPT_SCORE = 3
"""Worth of keeping the damaged event itself: wrong readings fall into step again after an event or two."""


class Event(NamedTuple):
    """One event at an absolute time."""

    tick: int
    status: int
    """0x80 to 0xEF with data ``first`` and ``second``; 0xF0, 0xF7 or 0xFF with ``payload``."""
    first: int
    """First data byte; the type of a meta event."""
    second: int
    payload: bytes


class _Reading(NamedTuple):
    """One way to read a damaged place."""

    after: int
    """Where the next event begins."""
    status: int
    """Running status from then on."""
    event: tuple[int, int, int] | None
    """Status and data of the event, or None where nothing is kept."""
    kind: str
    """What is counted."""


class TrackScan:
    """One track of a damaged file.

    Args:
        data: the whole file.
        begin: first byte of its events.
        end: the byte after the last one that may belong to it.
        ticks_per_quarter: of the file.
        limits: what is refused for its size.
        longest: longest time in ticks between two events that is believed; LONGEST_SILENCE_QUARTERS when None.

    Attributes:
        events: what was found, times rising.
        end: the byte after the last one that belongs to the track.
        skipped: bytes that made no sense.
        repairs: what was changed, counted by kind.
    """

    def __init__(
        self,
        data: bytes,
        begin: int,
        end: int,
        ticks_per_quarter: int,
        limits: ReadLimits,
        longest: int | None = None,
    ) -> None:
        self.data, self.begin, self.bound, self.limits = data, begin, end, limits
        self.events: list[Event] = []
        self.end, self.skipped = begin, 0
        self.repairs: Counter[str] = Counter()
        self.longest = LONGEST_SILENCE_QUARTERS * ticks_per_quarter if longest is None else longest
        self.tick, self.running, self.damages = 0, 0, 0
        self.ended = False
        self.seen: set[int] = set()

    def run(self, events_left: int) -> TrackScan:
        """Read the track.

        Args:
            events_left: how many events the limit leaves for it.

        Raises:
            LimitReached: too many events or damaged places.
        """
        position = self.begin
        while position < self.bound and not self.ended:
            if self.data.startswith(TRACK_NAME, position):
                break  # the next track begins although this one claims to go on
            position = self._read_event(position)
            if self.skipped > GIVE_UP_BYTES:
                self.skipped += max(self.bound - position, 0)
                position = self.bound
            if len(self.events) > events_left:
                raise LimitReached(self.limits.message("events", f"more than {self.limits.events}", "events"))
        self.end = min(position, self.bound)
        if not self.ended:
            self.repairs["missing_end_of_track"] += 1
        return self

    def _read_event(self, position: int) -> int:
        """Read the event at a byte and return where the next begins."""
        if self.data[position] in self.seen and self.longest < LARGEST_SILENCE and self._lacks_time(position):
            self._count("missing_times")
            return self._read_body(position, position)
        delta, at = self._read_delta(position)
        if at >= self.bound:
            self._count("truncated_events")
            self.skipped += self.bound - position
            return self.bound
        self.tick += delta
        return self._read_body(position, at)

    def _read_body(self, position: int, at: int) -> int:
        """Read the event that begins at ``position`` and has its status, or its first data byte, at ``at``."""
        data, bound = self.data, self.bound
        status = data[at]
        if status < DATA_LIMIT:
            status, at = self.running, at - 1
        if DATA_LIMIT <= status < SYSEX:
            after = at + 2 + _has_second(status)
            if after <= bound:
                first, second = data[at + 1], data[at + 2] if after > at + 2 else 0
                if first < DATA_LIMIT and second < DATA_LIMIT:
                    self.running = status
                    self.seen.add(status)
                    self.events.append(Event(self.tick, status, first, second, b""))
                    return after
            return self._recover(position, at, status)
        if status in (META, SYSEX, SYSEX_ESCAPE):
            return self._read_block(position, at, status)
        if status == 0:
            return self._recover(position, at + 1, 0)
        self._count("illegal_system_bytes")
        return at + 1 + (0 if status >= REALTIME else self._system_data(at, status))

    def _read_delta(self, position: int) -> tuple[int, int]:
        """The time before an event, 0 where it is impossible, and the byte after it."""
        value, at = 0, position
        while at < min(self.bound, position + RESYNC_BYTES):
            byte = self.data[at]
            at += 1
            if at - position <= MAX_VLQ_BYTES:
                value = (value << 7) | (byte & LARGEST_DATA)
            if byte < DATA_LIMIT:
                break
        if at - position > MAX_VLQ_BYTES or value > self.longest or self.tick + value >= self.limits.ticks:
            self._count("impossible_times")
            return 0, self._status_within(position, at)
        return value, at

    def _status_within(self, position: int, after: int) -> int:
        """Where the status stands in what was read as a time: after it, or inside it because the time is missing."""
        best, best_score = after, self._score(after, self.running, timeless=True)
        for at in range(position, min(after, position + RESYNC_BYTES)):
            if (score := self._score(at, 0, timeless=True)) > best_score:
                best, best_score = at, score
        return best

    def _score(self, position: int, running: int, timeless: bool = False) -> int:
        return _clean_run(self.data, position, self.bound, running, self.longest, timeless)

    def _system_data(self, at: int, status: int) -> int:
        """Data bytes that really follow a system status."""
        wanted = SYSTEM_DATA.get(status, 0)
        following = self.data[at + 1 : min(at + 1 + wanted, self.bound)]
        return wanted if len(following) == wanted and all(byte < DATA_LIMIT for byte in following) else 0

    def _read_block(self, position: int, at: int, status: int) -> int:
        """A meta or system exclusive event, whose length is in the file."""
        data, bound = self.data, self.bound
        kind = data[at + 1] if status == META and at + 1 < bound else 0
        length_at = at + (2 if status == META else 1)
        length, body = _vlq(data, length_at, bound)
        after = body + length
        is_lie = length > LONG_BLOCK_BYTES and self._score(after, self.running) < ENOUGH_SCORE
        if body < 0 or after > bound or is_lie:
            self._count("impossible_lengths")
            return self._resync(max(length_at, position + 1))
        if status == META and kind == END_OF_TRACK and length == 0:
            self.ended = True
        elif status == META and (kind >= DATA_LIMIT or META_SIZES.get(kind, length) != length):
            self._count("damaged_meta_events")
        else:
            self.events.append(Event(self.tick, status, kind, 0, data[body:after]))
        return after

    # --- damaged places -----------------------------------------------------------------------------------------------

    def _recover(self, position: int, at: int, status: int) -> int:
        """Choose the reading of a damaged channel event after which the longest exact stretch follows.

        Args:
            position: where the event with its time begins.
            at: the byte before its data.
            status: its status, 0 where there is none.
        """
        best, best_score = None, -1
        for reading in self._readings(at, status):
            score = self._score(reading.after, reading.status)
            score += KEPT_SCORE if reading.event is not None else KNOWN_SCORE * self._is_known(reading.after)
            if score > best_score:
                best, best_score = reading, score
        if self.data[position] >= DATA_LIMIT and self._score(position, 0, timeless=True) > max(
            best_score, ENOUGH_SCORE
        ):
            self._count("missing_times")
            return self._read_body(position, position)
        enough = ENOUGH_SCORE if best is None or best.event is None else KEPT_SCORE + EXPLICIT_SCORE
        if best is None or best_score < min(enough, self.bound - best.after):
            return self._resync(position + 1)
        self._count(best.kind)
        self.running = best.status
        if best.event is None:
            self.skipped += best.after - position
        else:
            self.events.append(Event(self.tick, *best.event, b""))
        return best.after

    def _lacks_time(self, position: int) -> bool:
        """Whether what would be the first byte of a long time is far more likely a status."""
        score = self._score(position, 0, timeless=True)
        return score > KEPT_SCORE and score > self._score(position, self.running) + KEPT_SCORE

    def _is_known(self, position: int) -> bool:
        """Whether an event with a short time and a status that the track has used begins at a byte."""
        following = self.data[position : min(position + 2, self.bound)]
        return len(following) == 2 and following[0] < DATA_LIMIT and following[1] in self.seen

    def _readings(self, at: int, status: int) -> list[_Reading]:
        """The ways to read a channel event whose data are not data; the likelier come first."""
        if status == 0:
            return self._readings_without_status(at)
        data, bound, two = self.data, self.bound, _has_second(status)
        readings = []
        if at + 2 + two <= bound:
            first = min(data[at + 1], LARGEST_DATA)
            second = min(data[at + 2], LARGEST_DATA) if two else 0
            readings.append(_Reading(at + 2 + two, status, (status, first, second), "clamped_data_bytes"))
        kept = [
            (data[i], i) for i in range(at + 1, min(at + 6, bound)) if data[i] < REALTIME or data[i] == META
        ]  # 0xFF begins a meta event
        if len(kept) > two and all(byte < DATA_LIMIT for byte, _ in kept[: 1 + two]):
            first, second = kept[0][0], kept[1][0] if two else 0
            readings.append(_Reading(kept[two][1] + 1, status, (status, first, second), "illegal_system_bytes"))
        readings += [_Reading(at + skip, status, None, "dropped_events") for skip in (1, 2) if at + skip <= bound]
        if data[at] < DATA_LIMIT:  # under running status the byte before the data is a time: that of the next event
            readings.append(_Reading(at, status, None, "dropped_events"))
        return readings

    def _readings_without_status(self, at: int) -> list[_Reading]:
        """An event without status at the head of a track: it is of the channel that speaks first, or is dropped."""
        data, bound = self.data, self.bound
        readings = []
        for status in _first_statuses(data, at, bound):
            after = at + 1 + _has_second(status)
            if after <= bound and data[at] < DATA_LIMIT and data[after - 1] < DATA_LIMIT:
                event = (status, data[at], data[at + 1] if _has_second(status) else 0)
                readings.append(_Reading(after, status, event, "missing_status"))
        readings += [_Reading(at + skip, 0, None, "missing_status") for skip in (1, 2) if at + skip <= bound]
        return readings

    def _resync(self, start: int) -> int:
        """Go on at the next byte from which exact events follow; the bytes before it are skipped."""
        self._count("skipped_stretches")
        stop = min(start + RESYNC_BYTES, self.bound)
        for position in range(start, stop):
            score = self._score(position, self.running)
            if score >= ENOUGH_SCORE and _delta_is_short(self.data, position):
                self.skipped += position - start + 1
                return position
        self.skipped += stop - start + 1
        return stop

    def _count(self, kind: str) -> None:
        self.repairs[kind] += 1
        self.damages += 1
        if self.damages > self.limits.damages:
            raise LimitReached(self.limits.message("damages", f"more than {self.limits.damages}", "damaged places"))


def _has_second(status: int) -> int:
    """1 for a channel message with two data bytes, 0 for one with one."""
    return 0 if 0xC0 <= status < 0xE0 else 1


def _delta_is_short(data: bytes, position: int) -> bool:
    """Whether the time at a byte is at most two bytes long, as nearly all are."""
    return data[position] < DATA_LIMIT or (position + 1 < len(data) and data[position + 1] < DATA_LIMIT)


def _first_statuses(data: bytes, at: int, bound: int) -> list[int]:
    """Note-on of the channel whose status comes first after a byte, and that status itself."""
    for byte in data[at : min(at + RESYNC_BYTES, bound)]:
        if DATA_LIMIT <= byte < SYSEX:
            return [0x90 | byte & 0x0F, byte] if byte >> 4 != 9 else [byte]
    return []


def _vlq(data: bytes, at: int, bound: int) -> tuple[int, int]:
    """A variable-length number and the byte after it; (0, -1) where it is longer than four bytes or cut off."""
    value = 0
    for position in range(at, min(at + MAX_VLQ_BYTES, bound)):
        byte = data[position]
        value = (value << 7) | (byte & LARGEST_DATA)
        if byte < DATA_LIMIT:
            return value, position + 1
    return 0, -1


def _clean_run(data: bytes, position: int, bound: int, running: int, longest: int, timeless: bool) -> int:
    """How believable it is that an event begins at a byte: the worth of the exact events that follow from there.

    Args:
        data: the whole file.
        position: the byte.
        bound: where the track ends.
        running: status from before.
        longest: longest time in ticks that is believed.
        timeless: whether the first event has no time.
    """
    score = 0
    for _ in range(LOOK_AHEAD_EVENTS):
        if position >= bound or data.startswith(TRACK_NAME, position):
            return score + END_SCORE * (position <= bound)
        delta, at = (0, position) if timeless else _vlq(data, position, bound)
        timeless = False
        if at < 0 or at >= bound or delta > longest:
            return score
        status, worth = data[at], EXPLICIT_SCORE
        if status < DATA_LIMIT:
            status, at, worth = running, at - 1, RUNNING_SCORE
        if DATA_LIMIT <= status < SYSEX:
            position = at + 2 + _has_second(status)
            if position > bound or data[at + 1] >= DATA_LIMIT or data[position - 1] >= DATA_LIMIT:
                return score
            running = status
        elif status in (META, SYSEX, SYSEX_ESCAPE):
            kind = data[at + 1] if status == META and at + 1 < bound else 0
            length, body = _vlq(data, at + (2 if status == META else 1), bound)
            if body < 0 or body + length > bound or (status == META and not _is_meta(kind, length)):
                return score
            if status == META and kind == END_OF_TRACK:
                return score + END_SCORE
            position = body + length
        else:
            return score
        score += worth
    return score


def _is_meta(kind: int, length: int) -> bool:
    """Whether a meta event of this type may have this length."""
    return kind < DATA_LIMIT and META_SIZES.get(kind, length) == length
