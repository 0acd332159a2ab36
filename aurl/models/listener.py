"""What the samples of a batch hear while they are decoded: the facts of hearing.py, token by token.

A sample remembers a handful of notes in slots, the oldest of which is written over; all samples are read at once. The
arrays are NumPy's: they are so small that calling costs more than counting, and NumPy's calls are the cheaper ones.

Axes: B samples, M slots for notes, E pairs of a sample and a note that it hears, P tracks, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aurl.models import hearing
from aurl.models.hearing import (
    DURATION_AFTER,
    ENDLESS,
    LONGEST_REMAINING,
    MEMORY,
    NO_INTERVAL,
    NO_TRACK,
    NONE,
    NOTE_TOKENS,
    REMAINING_STEP,
    STILL_UNKNOWN,
    TICKS,
    WIDEST,
    Hearing,
    Status,
    TokenMeaning,
)

Integers = NDArray[np.int64]
Truths = NDArray[np.bool_]
GONE = NONE
"""End of a note that is not heard any more: no moment is before it."""
NEVER = NONE - 1
"""Onset of a voice that has written nothing."""


class Pairs(NamedTuple):
    """The fields of :class:`aurl.models.hearing.Heard` as arrays ``(E,)``, sample by sample."""

    row: Integers
    pitch: Integers
    program: Integers
    status: Integers
    previous: Integers
    remaining: Integers
    interval: Integers


class Moment(NamedTuple):
    """The fields of :class:`aurl.models.hearing.Hearing` as arrays ``(B,)`` beside the pairs."""

    heard: Pairs
    track: Integers
    is_program: Truths
    reference: Integers
    repeats: Truths
    place: Integers


class _Notes(NamedTuple):
    """Notes that samples may still hear ``(B, M)``; times in ticks."""

    pitch: Integers
    program: Integers
    onset: Integers
    end: Integers
    previous: Integers


class _Voices(NamedTuple):
    """What each track of each sample wrote last ``(B, P)``."""

    pitch: Integers
    onset: Integers
    before: Integers
    """Its pitch at the moment before."""


class _Places(NamedTuple):
    """Where each sample stands ``(B,)``; times in ticks."""

    tick: Integers
    before: Integers
    program: Integers
    since_program: Integers
    since_pitch: Integers
    place: Integers
    struck: Integers
    """Notes so far."""


class Listener:
    """The same facts token by token: what each sample of a batch has heard so far.

    Args:
        batch_size: samples B.
        meaning: what ids mean; facts are told on its device.
    """

    def __init__(self, batch_size: int, meaning: TokenMeaning) -> None:
        self.device = meaning.pitch.device
        arrays = (each.cpu().numpy() for each in meaning)
        self._pitch, self._program, self._duration, self._place, self._metre_of, first = arrays
        self._first_metre = np.float32(first)
        self._voice = np.where(self._program, self._program.cumsum(), 0)  # (V,) number of each track; 0 is no track
        notes, voices = (batch_size, MEMORY), (batch_size, int(self._voice.max()) + 1)
        self._notes = _Notes(*(np.full(notes, GONE) for _ in _Notes._fields))
        self._voices = _Voices(np.full(voices, NONE), np.full(voices, NEVER), np.full(voices, NONE))
        self._beginning = (NONE, NONE, NO_TRACK, NOTE_TOKENS + 1, DURATION_AFTER + 1, 0, 0)
        self._at = _Places(*(np.full(batch_size, value) for value in self._beginning))
        self._metre = np.full(batch_size, self._first_metre)

    def select(self, rows: Tensor) -> None:
        """Keep (or repeat) the given samples, in that order."""
        chosen = rows.cpu().numpy()
        self._notes = _Notes(*(values[chosen] for values in self._notes))
        self._voices = _Voices(*(values[chosen] for values in self._voices))
        self._at = _Places(*(values[chosen] for values in self._at))
        self._metre = self._metre[chosen]

    def forget(self, rows: Tensor) -> None:
        """Start afresh where ``rows`` ``(B,)`` is True."""
        chosen = rows.cpu().numpy()
        self._notes.end[chosen] = GONE
        for values, first in zip(self._voices, (NONE, NEVER, NONE), strict=True):
            values[chosen] = first
        for places, start in zip(self._at, self._beginning, strict=True):
            places[chosen] = start
        self._metre[chosen] = self._first_metre

    def read(self, token: Tensor, beat: Tensor) -> Moment:
        """Read one token of each sample and its onset in quarter notes, ``(B,)`` each."""
        ids = token.cpu().numpy()
        at = self._go_on(ids, _to_ticks(beat.cpu().numpy()))
        pitch = self._pitch[ids]
        struck = (pitch >= 0).nonzero()[0]
        at.since_pitch[:] += 1
        at.since_pitch[struck] = 0
        if len(struck):
            self._strike(struck, pitch[struck])
        durations = self._duration[ids]
        lasting = ((durations > 0) & (at.since_pitch == DURATION_AFTER)).nonzero()[0]
        if len(lasting):
            length = _to_ticks(durations[lasting].astype(np.float32) * self._metre[lasting])
            slot = lasting, (at.struck[lasting] - 1) % MEMORY
            self._notes.end[slot] = self._notes.onset[slot] + length
        return self._tell()

    def __call__(self, token: Tensor, beat: Tensor) -> Hearing:
        """The same as tensors."""
        moment = self.read(token, beat)
        pairs = torch.from_numpy(np.stack(moment.heard)).to(self.device).unbind(0)
        places = (torch.from_numpy(values).to(self.device) for values in moment[1:])
        return Hearing(hearing.Heard(*pairs), *places)

    def _go_on(self, ids: Integers, tick: Integers) -> _Places:
        """Time goes on, and everything but notes is read."""
        at = self._at
        at.before[:] = np.where(tick != at.tick, at.tick, at.before)
        at.tick[:] = tick
        is_program = self._program[ids]
        at.since_program[:] += 1
        at.since_program[is_program] = 0
        at.program[is_program] = ids[is_program]
        place, metre = self._place[ids], self._metre_of[ids]
        at.place[:] = np.where(place >= 0, place, at.place)
        self._metre = np.where(metre > 0, metre, self._metre)
        return at

    def _strike(self, rows: Integers, pitch: Integers) -> None:
        """Pitch tokens of some samples."""
        at, notes, voices = self._at, self._notes, self._voices
        tick = at.tick[rows]
        program = np.where(at.since_program[rows] == 1, at.program[rows], NO_TRACK)
        voice = rows, self._voice[program]
        before = np.where(voices.onset[voice] < tick, voices.pitch[voice], voices.before[voice])
        voices.pitch[voice], voices.onset[voice], voices.before[voice] = pitch, tick, before
        ends = notes.end[rows]
        gone = (notes.program[rows] == program[:, None]) & (ends <= tick[:, None])  # the voice has gone on
        notes.end[rows] = np.where(gone, GONE, ends)
        slot = rows, at.struck[rows] % MEMORY
        notes.pitch[slot], notes.program[slot], notes.onset[slot] = pitch, program, tick
        notes.end[slot], notes.previous[slot] = ENDLESS, before
        at.struck[rows] += 1

    def _tell(self) -> Moment:
        """What is heard, and where everyone stands."""
        at, voices = self._at, self._voices
        writing = at.since_program <= NOTE_TOKENS
        track = np.where(writing, at.program, NO_TRACK)
        voice = np.arange(len(track)), self._voice[track]
        reference = np.where(writing, voices.pitch[voice], NONE)
        repeats = writing & (voices.onset[voice] == at.tick)
        alive = (self._notes.end > at.before[:, None]).ravel().nonzero()[0]
        row = alive // MEMORY
        pitch, program, onset, end, previous = (values.ravel()[alive] for values in self._notes)
        now = at.tick[row]
        status = np.where(end <= now, int(Status.ENDED), int(Status.HELD))
        status[onset == now] = int(Status.STRUCK)
        remaining = np.minimum(np.maximum(end - now, 0) // REMAINING_STEP, LONGEST_REMAINING)
        remaining[end == ENDLESS] = STILL_UNKNOWN
        compared = reference[row]
        interval = np.minimum(np.maximum(pitch - compared, -WIDEST), WIDEST) + WIDEST
        interval[compared == NONE] = NO_INTERVAL
        heard = Pairs(row, pitch, program, status, previous, remaining, interval)
        return Moment(heard, track, at.since_program == 0, reference, repeats, at.place.copy())


def _to_ticks(quarters: NDArray[np.float32]) -> Integers:
    """Quarter notes in ticks, rounded as ``hearing.to_ticks`` rounds."""
    return np.rint(quarters * np.float32(TICKS)).astype(np.int64)
