"""What the samples of a batch hear while they are decoded: the facts of hearing.py, token by token.

A sample has a handful of notes in its ear, so it keeps them as plain numbers; tensors are made once a step.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
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
    WIDEST,
    Hearing,
    Status,
    TokenMeaning,
    note_ends,
    to_ticks,
)


class Heard(NamedTuple):
    """A pair of a sample and a note that it hears: one entry of :class:`aurl.models.hearing.Heard`."""

    row: int
    pitch: int
    program: int
    status: int
    previous: int
    remaining: int
    interval: int


class Standing(NamedTuple):
    """Where a sample stands: one entry of the other fields of :class:`aurl.models.hearing.Hearing`."""

    track: int
    is_program: bool
    reference: int
    repeats: bool
    place: int


class _Note(NamedTuple):
    """A note that a sample may still hear; times in ticks."""

    number: int
    pitch: int
    program: int
    onset: int
    end: int
    previous: int


class _Voice(NamedTuple):
    """What one track of a sample wrote last."""

    pitch: int
    onset: int
    before: int
    """Its pitch at the moment before."""


class _Sample:
    """What one sample has heard. Plain numbers: for a handful of notes they are faster than tensors."""

    def __init__(self, metre: float) -> None:
        self.tick = self.before = NONE
        self.program = NO_TRACK
        self.since_program = NOTE_TOKENS + 1
        self.since_pitch = DURATION_AFTER + 1
        self.place = 0
        self.metre = metre
        self.count = 0
        self.notes: list[_Note] = []
        self.voices: dict[int, _Voice] = {}

    def copy(self) -> _Sample:
        """An independent sample with the same past."""
        other = copy.copy(self)
        other.notes, other.voices = list(self.notes), dict(self.voices)
        return other

    def at(self, tick: int) -> None:
        """Time goes on to a tick."""
        if tick != self.tick:
            self.before, self.tick = self.tick, tick
            self.notes = [note for note in self.notes if note.end > self.before]

    def strike(self, pitch: int) -> None:
        """A Pitch token."""
        program = self.program if self.since_program == 1 else NO_TRACK
        voice = self.voices.get(program)
        before = NONE
        if voice is not None:
            before = voice.pitch if voice.onset < self.tick else voice.before
        self.voices[program] = _Voice(pitch, self.tick, before)
        self.notes = [
            note
            for note in self.notes
            if note.number > self.count - MEMORY and not (note.program == program and note.end <= self.tick)
        ]
        self.notes.append(_Note(self.count, pitch, program, self.tick, ENDLESS, before))
        self.count += 1

    def last(self, ticks: int) -> None:
        """The Duration token of the note struck last."""
        note = self.notes.pop()
        if note.onset + ticks > self.before:  # always so where time stands still inside a note
            self.notes.append(note._replace(end=note.onset + ticks))

    def heard(self, row: int, reference: int) -> list[Heard]:
        """What it hears, as sample ``row`` of a batch."""
        found = []
        for note in self.notes:
            if note.onset == self.tick:
                status = Status.STRUCK
            else:
                status = Status.ENDED if note.end <= self.tick else Status.HELD
            remaining = STILL_UNKNOWN
            if note.end < ENDLESS:
                remaining = min(max(note.end - self.tick, 0) // REMAINING_STEP, LONGEST_REMAINING)
            interval = NO_INTERVAL
            if reference != NONE:
                interval = min(max(note.pitch - reference, -WIDEST), WIDEST) + WIDEST
            found.append(Heard(row, note.pitch, note.program, status.value, note.previous, remaining, interval))
        return found

    def standing(self) -> Standing:
        """Where it stands."""
        if self.since_program > NOTE_TOKENS:
            return Standing(NO_TRACK, False, NONE, False, self.place)
        voice = self.voices.get(self.program)
        pitch, onset = (voice.pitch, voice.onset) if voice is not None else (NONE, NONE - 1)
        return Standing(self.program, self.since_program == 0, pitch, onset == self.tick, self.place)


class Listener:
    """The same facts token by token: what each sample of a batch has heard so far.

    Args:
        batch_size: samples B.
        meaning: what ids mean; facts are told on its device.
    """

    def __init__(self, batch_size: int, meaning: TokenMeaning) -> None:
        self.device = meaning.pitch.device
        self._pitch, self._program, self._duration, self._place, self._metre = (each.tolist() for each in meaning[:-1])
        self._first_metre = float(meaning.first_metre)
        self._samples = [_Sample(self._first_metre) for _ in range(batch_size)]
        self._ticks: dict[tuple[int, float], int] = {}

    def select(self, rows: Tensor) -> None:
        """Keep (or repeat) the given samples, in that order."""
        self._samples = [self._samples[row].copy() for row in rows.tolist()]

    def forget(self, rows: Tensor) -> None:
        """Start afresh where ``rows`` ``(B,)`` is True."""
        for row in rows.nonzero().squeeze(1).tolist():
            self._samples[row] = _Sample(self._first_metre)

    def read(self, token: Tensor, beat: Tensor) -> tuple[list[Heard], list[Standing]]:
        """Read one token of each sample and its onset in quarter notes, ``(B,)`` each: what the samples hear, sample by
        sample, and where each stands.
        """
        heard: list[Heard] = []
        standing = []
        tokens = token.tolist()
        for row, (sample, id_, tick) in enumerate(zip(self._samples, tokens, to_ticks(beat).tolist(), strict=True)):
            sample.at(tick)
            self._read(sample, id_)
            at = sample.standing()
            heard += sample.heard(row, at.reference)
            standing.append(at)
        return heard, standing

    def __call__(self, token: Tensor, beat: Tensor) -> Hearing:
        """The same as tensors."""
        heard, standing = self.read(token, beat)
        track, is_program, reference, repeats, place = torch.tensor(standing, device=self.device).unbind(1)
        pairs = torch.tensor(heard, dtype=torch.int64, device=self.device).view(-1, len(Heard._fields)).unbind(1)
        return Hearing(hearing.Heard(*pairs), track, is_program.bool(), reference, repeats.bool(), place)

    def _read(self, sample: _Sample, token: int) -> None:
        is_program = self._program[token]
        sample.since_program = 0 if is_program else sample.since_program + 1
        if is_program:
            sample.program = token
        if self._place[token] >= 0:
            sample.place = self._place[token]
        sample.metre = self._metre[token] or sample.metre
        pitch, duration = self._pitch[token], self._duration[token]
        sample.since_pitch = 0 if pitch >= 0 else sample.since_pitch + 1
        if pitch >= 0:
            sample.strike(pitch)
        elif duration and sample.since_pitch == DURATION_AFTER:
            sample.last(self._length(duration, sample.metre))

    def _length(self, duration: int, metre: float) -> int:
        """Ticks of a duration, rounded as :func:`note_ends` rounds."""
        if (duration, metre) not in self._ticks:
            length = note_ends(torch.tensor(0), torch.tensor(duration), torch.tensor(metre))
            self._ticks[duration, metre] = int(length)
        return self._ticks[duration, metre]
