"""Controllers, bends and pedals that the parser loses, put back.

The parser keeps controllers only where notes of their channel follow in the same track and program. It loses those of a
channel without notes (a conductor's track that sets up all channels, a pedal on a staff of its own) and those after a
last program change; and it lets the first pedal of all channels but the first begin at tick 0, and leaves out a pedal
that is never released. A count tells whether anything is missing, so whole files cost nothing.

Where a lost event goes: to the last track of its channel in its own MIDI track, else to the first track of its channel,
else to a track without notes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from symusic.core import (
    ControlChangeTickList,
    PedalTickList,
    PitchBendTickList,
    ScoreTick,
    TrackTick,
)

from aurl.music.midi_check import CONTROL, NOTE_ON, PITCH_BEND, track_bodies
from aurl.music.midi_events import SYSEX, walk_events

NOTE_OFF, PROGRAM = 0x80, 0xC0
DRUM_CHANNEL = 9
MELODIC_CHANNELS = [channel for channel in range(16) if channel != DRUM_CHANNEL]
MOST_STRETCHES = 4
"""So many MIDI tracks with the same first note are compared, for each channel, to find where a track comes from."""
SUSTAIN, PEDAL_DOWN = 64, 64
"""Number of the sustain pedal's controller, and the least value at which the pedal is down."""
BEND_CENTRE = 1 << 13

Event = tuple[int, int, int, int]
"""Tick, kind (CONTROL or PITCH_BEND), and the data: number and value, or 0 and the bend."""
Place = tuple[int, int]
"""MIDI track and channel, counted from 0."""


def count_controls(score: ScoreTick) -> int:
    """Controllers and bends of all tracks."""
    return sum(len(track.controls) + len(track.pitch_bends) for track in score.tracks)


def restore_controls(score: ScoreTick, data: bytes) -> None:
    """Put the controllers and bends of a file that its parsed score lacks into the score.

    Args:
        score: as the parser gave it.
        data: the exact file that it was parsed from.
    """
    channels = [_Channels(track) for track in track_bodies(data)]
    own: dict[Place, list[int]] = defaultdict(list)
    first: dict[int, int] = {}
    for index, place in enumerate(_owners(score, channels)):
        if place is not None:
            own[place].append(index)
            first.setdefault(place[1], index)
    lost: dict[int, list[Event]] = defaultdict(list)
    for number, track in enumerate(channels):
        for channel, events in track.events.items():
            indices = own.get((number, channel), [])
            missing = Counter(events)
            for index in indices:
                missing.subtract(_events_of(score.tracks[index]))
            rest = [event for event, count in missing.items() for _ in range(count)]
            if not rest:
                continue
            if not indices and channel not in first:
                first[channel] = len(score.tracks)
                score.tracks.append(TrackTick(track.name, track.program(channel), channel == DRUM_CHANNEL))
            lost[indices[-1] if indices else first[channel]] += rest
    for index, events in lost.items():
        _add(score.tracks[index], events)


def set_pedals(score: ScoreTick) -> None:
    """Make the pedals of each track from its sustain controllers.

    A pedal lasts from the first value of 64 or more to the next below; one that is never released, to the last event.
    """
    for track in score.tracks:
        if not len(track.controls):
            continue
        columns = track.controls.numpy()
        is_sustain = columns["number"] == SUSTAIN
        if not is_sustain.any():
            continue
        times = columns["time"][is_sustain].astype(np.int64)
        order = np.argsort(times, kind="stable")
        starts, ends = pedal_spans(times[order], columns["value"][is_sustain][order], _last_tick(track))
        track.pedals = PedalTickList.from_numpy(starts.astype(np.int32), (ends - starts).astype(np.int32))


def pedal_spans(
    times: NDArray[np.int64], values: NDArray[np.uint8], last: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When the pedal is down.

    Args:
        times: ticks of the sustain controllers, rising (N,).
        values: their values (N,).
        last: where a pedal ends that is never released.

    Returns:
        Starts and ends in ticks, (P,) each.

    Example:
        >>> pedal_spans(np.array([10, 20, 30]), np.array([127, 0, 100]), 50)
        (array([10, 30]), array([20, 50]))
    """
    down = values >= PEDAL_DOWN
    changes = np.flatnonzero(np.diff(np.concatenate([[False], down])))
    starts, ends = times[changes[0::2]], times[changes[1::2]]
    if len(ends) < len(starts):
        ends = np.append(ends, max(last, int(starts[-1])))
    return starts, ends


def _last_tick(track: TrackTick) -> int:
    """The last tick at which anything happens in a track."""
    notes, controls = track.notes.numpy(), track.controls.numpy()
    ends = [int((notes["time"].astype(np.int64) + notes["duration"]).max())] if len(track.notes) else []
    return max([*ends, int(controls["time"].max())])


class _Channels:
    """What one MIDI track holds, by channel."""

    def __init__(self, track: bytes) -> None:
        found = walk_events(track)
        status = found.statuses()
        is_channel = (status >= NOTE_OFF) & (status < SYSEX)
        data_at = found.at + (found.buffer[found.at] >= NOTE_OFF)
        first = found.buffer[data_at].astype(np.int64)
        second = found.buffer[data_at + 1].astype(np.int64)
        ticks = np.cumsum(found.deltas())
        kind, channel = status & 0xF0, status & 0x0F
        self.events: dict[int, list[Event]] = {}
        self.onsets: set[Event] = set()
        """(tick, channel, pitch, velocity)."""
        self.keys: set[tuple[int, int]] = set()
        """(channel, program) of the notes' ends, by which the parser makes its tracks."""
        self.programs: dict[int, int] = {}
        self.name = found.name()
        wanted = is_channel & ((kind <= NOTE_ON) | (kind == CONTROL) | (kind == PROGRAM) | (kind == PITCH_BEND))
        rows = zip(*(a[wanted].tolist() for a in (ticks, kind, channel, first, second)), strict=True)
        for tick, event, place, one, two in rows:
            if event == PROGRAM:
                self.programs[place] = one
            elif event == NOTE_ON and two > 0:
                self.onsets.add((tick, place, one, two))
            elif event <= NOTE_ON:
                self.keys.add((place, self.programs.get(place, 0)))
            else:
                value = (tick, CONTROL, one, two) if event == CONTROL else (
                    tick, PITCH_BEND, 0, (two << 7 | one) - BEND_CENTRE
                )  # fmt: skip
                self.events.setdefault(place, []).append(value)

    def program(self, channel: int) -> int:
        """The last program of a channel."""
        return self.programs.get(channel, 0)


def _owners(score: ScoreTick, channels: list[_Channels]) -> list[Place | None]:
    """For each track of the score the MIDI track and channel that it comes from, None for one without notes.

    The parser gives tracks in the order of MIDI track, channel and program; some of them may be missing.
    """
    places: list[tuple[int, int, int]] = []
    by_onset: dict[Event, list[range]] = defaultdict(list)
    """For each onset the stretches of places with notes of its MIDI track and channel."""
    for number, found in enumerate(channels):
        keys = sorted(found.keys)
        stretches = {}
        for channel, group in groupby(keys, key=lambda key: key[0]):
            start = len(places)
            places += [(number, *key) for key in group]
            stretches[channel] = range(start, len(places))
        for onset in found.onsets:
            if onset[1] in stretches:
                by_onset[onset].append(stretches[onset[1]])
    owners: list[Place | None] = []
    position = 0
    for track in score.tracks:
        owner: Place | None = None
        if len(track.notes):
            notes = track.notes.numpy()
            tick, pitch, velocity = (int(notes[column][0]) for column in ("time", "pitch", "velocity"))
            fitting: list[int] = []
            for channel in [DRUM_CHANNEL] if track.is_drum else MELODIC_CHANNELS:
                stretches_ahead = by_onset.get((tick, channel, pitch, velocity), [])
                start = bisect_right(stretches_ahead, position, key=lambda stretch: stretch.stop)
                for stretch in stretches_ahead[start : start + MOST_STRETCHES]:
                    fitting += stretch[max(position - stretch.start, 0) :]
            if fitting:  # a program change on the tick of a note's end may be counted otherwise than the parser does
                chosen = min(fitting, key=lambda place: (places[place][2] != track.program, place))
                owner, position = places[chosen][:2], chosen + 1
        owners.append(owner)
    return owners


def _events_of(track: TrackTick) -> Iterable[Event]:
    """Controllers and bends of a track of the score."""
    for control in track.controls:
        yield control.time, CONTROL, control.number, control.value
    for bend in track.pitch_bends:
        yield bend.time, PITCH_BEND, 0, bend.value


def _add(track: TrackTick, events: list[Event]) -> None:
    """Add controllers and bends to a track, times rising."""
    both = sorted([*_events_of(track), *events], key=lambda event: event[0])
    controls = np.array([event for event in both if event[1] == CONTROL], dtype=np.int32).reshape(-1, 4)
    bends = np.array([event for event in both if event[1] == PITCH_BEND], dtype=np.int32).reshape(-1, 4)
    track.controls = ControlChangeTickList.from_numpy(
        *(np.ascontiguousarray(controls[:, column], dtype=dtype) for column, dtype in ((0, "i4"), (2, "u1"), (3, "u1")))
    )
    track.pitch_bends = PitchBendTickList.from_numpy(*(np.ascontiguousarray(bends[:, column]) for column in (0, 3)))
