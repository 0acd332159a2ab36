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
from collections import defaultdict
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

from aurl.music.midi_check import CONTROL, NOTE_ON, PITCH_BEND
from aurl.music.midi_events import SYSEX, TrackEvents

NOTE_OFF, PROGRAM = 0x80, 0xC0
DRUM_CHANNEL = 9
MELODIC_CHANNELS = [channel for channel in range(16) if channel != DRUM_CHANNEL]
MOST_STRETCHES = 4
"""So many MIDI tracks with the same first note are compared, for each channel, to find where a track comes from."""
SUSTAIN, PEDAL_DOWN = 64, 64
"""Number of the sustain pedal's controller, and the least value at which the pedal is down."""
BEND_CENTRE = 1 << 13

VALUE_BITS, NUMBER_BITS = 14, 7
IS_BEND = 1 << (VALUE_BITS + NUMBER_BITS)
TICK_AT = VALUE_BITS + NUMBER_BITS + 1
"""A controller or bend in one number: its tick, whether it is a bend, the controller's number, and the value."""
DATA_BITS = 7
Codes = NDArray[np.int64]
Onset = tuple[int, int, int, int]
"""Tick, channel, pitch and velocity."""
Place = tuple[int, int]
"""MIDI track and channel, counted from 0."""


def count_controls(score: ScoreTick) -> int:
    """Controllers and bends of all tracks."""
    return sum(len(track.controls) + len(track.pitch_bends) for track in score.tracks)


def restore_controls(score: ScoreTick, walked: list[TrackEvents]) -> None:
    """Put the controllers and bends of a file that its parsed score lacks into the score.

    Args:
        score: as the parser gave it.
        walked: the tracks of the exact file that it was parsed from.
    """
    firsts = _first_notes(score)
    channels = [_Channels(track, firsts) for track in walked]
    own: dict[Place, list[int]] = defaultdict(list)
    first: dict[int, int] = {}
    for index, place in enumerate(_owners(score, channels)):
        if place is not None:
            own[place].append(index)
            first.setdefault(place[1], index)
    lost: dict[int, list[Codes]] = defaultdict(list)
    for number, track in enumerate(channels):
        for channel, events in track.events.items():
            indices = own.get((number, channel), [])
            rest = _without(events, [_codes_of(score.tracks[index]) for index in indices])
            if not len(rest):
                continue
            if not indices and channel not in first:
                first[channel] = len(score.tracks)
                score.tracks.append(TrackTick(track.name(), track.program(channel), channel == DRUM_CHANNEL))
            lost[indices[-1] if indices else first[channel]].append(rest)
    for index, codes in lost.items():
        _add(score.tracks[index], codes)


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
    """What one MIDI track holds, by channel.

    Args:
        track: its events.
        firsts: the first notes of the score's tracks, see :func:`_first_notes`.

    Attributes:
        events: controllers and bends of each channel, in the order of the file.
        onsets: the notes that may be first ones of the score's tracks.
        keys: (channel, program) of the notes' ends, by which the parser makes its tracks.
    """

    def __init__(self, track: TrackEvents, firsts: Codes) -> None:
        self._track = track
        status = track.statuses()
        rows = np.flatnonzero((status >= NOTE_OFF) & (status < SYSEX))
        at = track.at[rows]
        at = at + (track.buffer[at] >= NOTE_OFF)
        ticks, first = track.ticks()[rows], track.buffer[at].astype(np.int64)
        second = track.buffer[at + 1].astype(np.int64)
        kind, channel = status[rows] & 0xF0, status[rows] & 0x0F
        is_change = kind == PROGRAM
        begins = (kind == NOTE_ON) & (second > 0)
        ends = (kind <= NOTE_ON) & ~begins
        bend = (second << DATA_BITS) | first
        codes = (ticks << TICK_AT) + np.where(kind == CONTROL, (first << VALUE_BITS) + second, IS_BEND + bend)
        is_event = (kind == CONTROL) | (kind == PITCH_BEND)
        self.events: dict[int, Codes] = {}
        self.keys: set[tuple[int, int]] = set()
        self._programs: dict[int, int] = {}
        for number in np.flatnonzero(np.bincount(channel)).tolist():
            here = channel == number
            if (found := codes[here & is_event]).size:
                self.events[number] = found
            changes = np.flatnonzero(here & is_change)
            programs = np.append(0, first[changes])
            self._programs[number] = int(programs[-1])
            in_force = programs[changes.searchsorted(np.flatnonzero(here & ends))]
            self.keys |= {(number, program) for program in np.unique(in_force).tolist()}
        notes = np.flatnonzero(begins)
        notes = notes[np.isin(_note_codes(ticks[notes], first[notes], second[notes]), firsts)]
        self.onsets: set[Onset] = set(
            zip(*(column[notes].tolist() for column in (ticks, channel, first, second)), strict=True)
        )

    def program(self, channel: int) -> int:
        """The last program of a channel."""
        return self._programs.get(channel, 0)

    def name(self) -> str:
        """The name of the track."""
        return self._track.name()


def _note_codes(ticks: NDArray[np.int64], pitch: NDArray[np.int64], velocity: NDArray[np.int64]) -> Codes:
    """The beginnings of notes as numbers."""
    return (((ticks << DATA_BITS) + pitch) << DATA_BITS) + velocity


def _first_notes(score: ScoreTick) -> Codes:
    """The first note of each track that has notes, as a number."""
    notes = [track.notes.numpy() for track in score.tracks if len(track.notes)]
    columns = ([int(own[column][0]) for own in notes] for column in ("time", "pitch", "velocity"))
    return _note_codes(*(np.array(column, np.int64) for column in columns))


def _owners(score: ScoreTick, channels: list[_Channels]) -> list[Place | None]:
    """For each track of the score the MIDI track and channel that it comes from, None for one without notes.

    The parser gives tracks in the order of MIDI track, channel and program; some of them may be missing.
    """
    places: list[tuple[int, int, int]] = []
    by_onset: dict[Onset, list[range]] = defaultdict(list)
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


def _codes_of(track: TrackTick) -> Codes:
    """Controllers and bends of a track of the score."""
    controls, bends = track.controls.numpy(), track.pitch_bends.numpy()
    of_controls = (controls["time"].astype(np.int64) << TICK_AT) + (controls["number"].astype(np.int64) << VALUE_BITS)
    of_bends = (bends["time"].astype(np.int64) << TICK_AT) + IS_BEND + BEND_CENTRE
    return np.concatenate([of_controls + controls["value"], of_bends + bends["value"]])


def _without(codes: Codes, taken: list[Codes]) -> Codes:
    """The events that are left when those of some tracks are taken away, each as often as it is there; order kept."""
    values, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *taken]), return_counts=True)
    order = codes.argsort(kind="stable")
    ranked = codes[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    which = np.arange(len(ranked)) - np.repeat(starts, np.diff(np.append(starts, len(ranked))))
    place = values.searchsorted(ranked)
    there = np.append(counts, 0)[place] * (np.append(values, -1)[place] == ranked)
    return codes[np.sort(order[which >= there])]


def _add(track: TrackTick, codes: list[Codes]) -> None:
    """Add controllers and bends to a track, times rising."""
    every = np.concatenate([_codes_of(track), *codes])
    every = every[(every >> TICK_AT).argsort(kind="stable")]
    is_bend = (every & IS_BEND) > 0
    times, values = (every >> TICK_AT).astype(np.int32), every & ((1 << VALUE_BITS) - 1)
    numbers = (every >> VALUE_BITS) & ((1 << NUMBER_BITS) - 1)
    track.controls = ControlChangeTickList.from_numpy(
        times[~is_bend], numbers[~is_bend].astype(np.uint8), values[~is_bend].astype(np.uint8)
    )
    track.pitch_bends = PitchBendTickList.from_numpy(times[is_bend], (values[is_bend] - BEND_CENTRE).astype(np.int32))
