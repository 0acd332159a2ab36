"""Note ends that were lost, impossible marks, and tracks written as clean bytes: the last steps of a repair.

How notes are paired follows the parser: a note-off ends the oldest sounding note of its channel and pitch, so notes of
one pitch may overlap. Where a pitch has more beginnings than ends, some end was lost, and which one is unknown:
then a note ends where the next one of its pitch begins, at the latest after a whole note or with its track.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque

from aurl.music.marks import clamped_mspq, is_possible_key, is_possible_metre
from aurl.music.midi_check import END_EVENT, ESCAPE_AS_META, NOTE_ON, is_possible_offset
from aurl.music.midi_events import (
    DATA_LIMIT,
    KEY,
    META,
    METRE,
    SMPTE_OFFSET,
    SYSEX,
    SYSEX_ESCAPE,
    TEMPO,
)
from aurl.music.midi_scan import LARGEST_SILENCE, Event

NOTE_OFF = 0x80
FILLER = b"\xff\x01\x00"
"""An empty text: the stepping stone across a longer time."""
HANGING_QUARTERS = 4
"""A note whose end was lost sounds at most so long."""


def close_notes(events: list[Event], ticks_per_quarter: int, repairs: Counter[str]) -> list[Event]:
    """Give every note of a track an end, and leave out ends that end nothing.

    Args:
        events: times rising.
        ticks_per_quarter: of the file.
        repairs: counts ``hanging_notes`` and ``orphan_note_offs``.

    Returns:
        Events with times rising; at one tick ends stand before beginnings that follow them.
    """
    keys: dict[int, list[int]] = defaultdict(list)
    for number, event in enumerate(events):
        if event.status & 0xE0 == NOTE_OFF:
            keys[(event.status & 0x0F) << 7 | event.first].append(number)
    dropped: set[int] = set()
    added: list[Event] = []
    last = events[-1].tick if events else 0
    for numbers in keys.values():
        orphans, hanging = _unmatched([events[number] for number in numbers])
        if hanging:
            orphans, ends = _close_key([events[number] for number in numbers], ticks_per_quarter, last)
            added += ends
        dropped.update(numbers[place] for place in orphans)
        repairs["hanging_notes"] += hanging
        repairs["orphan_note_offs"] += len(orphans)
    kept = [event for number, event in enumerate(events) if number not in dropped]
    # Added ends come first among the events of their tick: what begins there is the next note.
    return _merged(added, kept) if added else kept


def leave_out_hanging(events: list[Event], repairs: Counter[str]) -> list[Event]:
    """Leave out notes without an end, as the parser does; counted as ``left_out_hanging_notes``.

    Args:
        events: times rising.
        repairs: counts.
    """
    sounding: dict[int, deque[int]] = defaultdict(deque)
    for number, event in enumerate(events):
        key = (event.status & 0x0F) << 7 | event.first
        if is_onset(event):
            sounding[key].append(number)
        elif event.status & 0xE0 == NOTE_OFF and sounding[key]:
            sounding[key].popleft()
    hanging = {number for numbers in sounding.values() for number in numbers}
    repairs["left_out_hanging_notes"] += len(hanging)
    return [event for number, event in enumerate(events) if number not in hanging] if hanging else events


def lengthen_notes(events: list[Event], repairs: Counter[str]) -> list[Event]:
    """Let notes that end on the tick where they begin last one tick; counted as ``zero_length_notes``.

    Args:
        events: times rising, every note with an end.
        repairs: counts.
    """
    sounding: dict[int, deque[int]] = defaultdict(deque)
    moved: list[Event] = []
    left_out: set[int] = set()
    for number, event in enumerate(events):
        key = (event.status & 0x0F) << 7 | event.first
        if is_onset(event):
            sounding[key].append(event.tick)
        elif event.status & 0xE0 == NOTE_OFF and sounding[key] and sounding[key].popleft() == event.tick:
            left_out.add(number)
            moved.append(event._replace(tick=event.tick + 1))
    if not moved:
        return events
    repairs["zero_length_notes"] += len(moved)
    return _merged(moved, [event for number, event in enumerate(events) if number not in left_out])


def mend_marks(events: list[Event], repairs: Counter[str]) -> list[Event]:
    """Clamp tempi, zero SMPTE offsets that no clock shows, leave out impossible metres and keys; counted by kind."""
    mended = []
    for event in events:
        if event.status != META or event.first not in (TEMPO, METRE, KEY, SMPTE_OFFSET):
            mended.append(event)
        elif event.first == SMPTE_OFFSET:
            is_possible = is_possible_offset(event.payload)
            repairs["impossible_smpte_offsets"] += not is_possible
            mended.append(event if is_possible else event._replace(payload=bytes(len(event.payload))))
        elif event.first == TEMPO:
            mspq = int.from_bytes(event.payload, "big")
            repairs["clamped_tempi"] += mspq != clamped_mspq(mspq)
            mended.append(event._replace(payload=clamped_mspq(mspq).to_bytes(len(event.payload), "big")))
        elif event.first == METRE:
            is_possible = is_possible_metre(event.payload[0], 1 << event.payload[1])
            repairs["impossible_metres"] += not is_possible
            mended += [event] * is_possible
        else:
            is_possible = is_possible_key(int.from_bytes(event.payload[:1], signed=True), event.payload[1])
            repairs["impossible_keys"] += not is_possible
            mended += [event] * is_possible
    return mended


def _merged(first: list[Event], others: list[Event]) -> list[Event]:
    """Two lists of events in one, times rising; at one tick those of ``first`` stand before the others."""
    ranked = [(event.tick, 0, event) for event in first] + [(event.tick, 1, event) for event in others]
    return [event for _, _, event in sorted(ranked, key=lambda entry: entry[:2])]


def is_onset(event: Event) -> bool:
    """Whether a note begins."""
    return event.status & 0xF0 == NOTE_ON and event.second > 0


def _unmatched(events: list[Event]) -> tuple[list[int], int]:
    """Of one channel and pitch: the ends that end nothing, and how many notes have no end."""
    sounding = 0
    orphans = []
    for place, event in enumerate(events):
        if is_onset(event):
            sounding += 1
        elif sounding:
            sounding -= 1
        else:
            orphans.append(place)
    return orphans, sounding


def _close_key(events: list[Event], ticks_per_quarter: int, last: int) -> tuple[list[int], list[Event]]:
    """End the notes of one channel and pitch of which some have no end.

    Returns:
        Places of ends that end nothing, and the ends to add. Notes that begin together end together.
    """
    longest = HANGING_QUARTERS * ticks_per_quarter
    orphans: list[int] = []
    ends: list[Event] = []
    start, sounding = 0, 0

    def end(tick: int, count: int) -> None:
        off = Event(tick, NOTE_OFF | events[0].status & 0x0F, events[0].first, 0, b"")
        ends.extend([off] * count)

    for place, event in enumerate(events):
        if is_onset(event):
            if sounding and event.tick > start:
                end(min(event.tick, start + longest), sounding)
                sounding = 0
            start = event.tick
            sounding += 1
        elif sounding:
            end(max(event.tick, start + 1), sounding - 1)
            sounding = 0
        else:
            orphans.append(place)
    end(max(min(last, start + longest), start + 1), sounding)
    return orphans, ends


def track_bytes(events: list[Event]) -> bytes:
    """The events as the body of a track chunk, every status written out, with an end event."""
    parts: list[bytes] = []
    now = 0
    for event in events:
        while event.tick - now > LARGEST_SILENCE:
            parts += [_number(LARGEST_SILENCE), FILLER]
            now += LARGEST_SILENCE
        parts.append(_number(event.tick - now))
        now = event.tick
        if event.status < SYSEX:
            two = event.status < 0xC0 or event.status >= 0xE0
            parts.append(bytes((event.status, event.first, event.second) if two else (event.status, event.first)))
        elif event.status == META:
            parts += [bytes((META, event.first)), _number(len(event.payload)), event.payload]
        elif event.status == SYSEX_ESCAPE:
            parts += [ESCAPE_AS_META, _number(len(event.payload)), event.payload]
        else:
            parts += [bytes((event.status,)), _number(len(event.payload)), event.payload]
    parts.append(END_EVENT)
    return b"".join(parts)


def _number(value: int) -> bytes:
    """A variable-length number: 7 bits a byte, the most significant first."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | DATA_LIMIT)
    return bytes(reversed(digits))
