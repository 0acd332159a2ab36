"""The ear of one decoding step on a CPU: the same numbers as counterpoint.py from the same weights, fewer operations.

A sample hears a handful of notes, so arithmetic costs less than calling for it, and NumPy's calls are cheaper than
PyTorch's. What the head says is looked up: one small product makes the tables of each sample that writes a pitch, and
which entries its 128 pitches need is known beforehand for every pitch that it may hear.

Axes: B samples, W samples that write a pitch, E pairs of a sample and a heard note, D width, F forms of the tables, J
entries of all tables, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aurl.models.counterpoint import (
    FIRST_STRUCK,
    INTERVALS,
    LASTING,
    MOTIONS,
    OCTAVE,
    PITCHES,
    RELATIONS,
    SHORT_STATUSES,
    STATUSES,
)
from aurl.models.hearing import NONE, STILL_UNKNOWN, WIDEST, Status

if TYPE_CHECKING:
    from aurl.models.counterpoint import Ear
    from aurl.models.listener import Integers, Moment

CLASSES = OCTAVE * OCTAVE
"""Entries of one motion: interval before, interval after."""
UNKNOWNS = STILL_UNKNOWN + 1
"""Entries for remaining times."""


def suits(ear: Ear) -> bool:
    """Whether its weights are where and what NumPy computes with."""
    weight = ear.head.tables
    return weight.device.type == "cpu" and weight.dtype == torch.float32


class LeanEar:
    """An ear prepared for single steps; weights are shared or copied, so it serves until they change.

    Args:
        ear: float32, on the CPU.
    """

    def __init__(self, ear: Ear) -> None:
        embedding, head = ear.embedding, ear.head
        sound, self._interval, self._reference, self._place = (
            layer.weight.detach().numpy()
            for layer in (embedding.sound, embedding.interval, embedding.reference, embedding.place)
        )
        self._sound = sound[:PITCHES]
        status, remaining = np.split(sound[PITCHES:], [len(Status)])
        self._state = (status[:, None] + remaining).reshape(-1, sound.shape[1])  # of status and remaining time together
        self._track = 1 + embedding.track.weight.detach().numpy()
        self._to_gate = head.gate.weight.detach().numpy().T.copy()
        self._gate = 1 + head.gate.bias.detach().numpy()
        self._tables = head.tables.detach().numpy().T.copy()  # (F, J)
        self._succession_at, self._own_at = head.succession_at, head.own_at
        pitches = np.arange(PITCHES)
        apart = pitches - pitches[:, None]  # (128 heard pitches, 128 pitches)
        self._intervals = np.clip(apart, -WIDEST, WIDEST) + WIDEST
        self._motions = np.sign(apart) * CLASSES
        self._turns = apart % OCTAVE
        pitch = ear.meaning.pitch.numpy()
        self._ids = (pitch >= 0).nonzero()[0]
        self._pitches = pitch[self._ids]

    def embed(self, moment: Moment) -> Tensor:
        """What samples hear as vectors ``(B, D)``."""
        references = np.where(moment.reference == NONE, PITCHES, moment.reference)
        base = self._reference[references] + self._place[np.minimum(moment.place, len(self._place) - 1)]
        row, pitch, program, status, _, remaining, interval = moment.heard
        if len(row):
            note = self._sound.take(pitch, axis=0)
            note += self._state.take(status * UNKNOWNS + remaining, axis=0)
            note *= self._track.take(program, axis=0)
            note += self._interval.take(interval * len(Status) + status, axis=0)
            _add_by_row(base, row, note)
        return torch.from_numpy(base)

    def judge(self, logits: Tensor, hidden: Tensor, moment: Moment) -> None:
        """Add the counterpoint head's share to logits ``(B, V)`` of samples that write a pitch next, in place."""
        writing = moment.is_program.nonzero()[0]
        if not len(writing):
            return
        tables = ((hidden.numpy()[writing] @ self._to_gate + self._gate) @ self._tables).ravel()  # (W J)
        begin = np.zeros(len(moment.track), np.int64)
        begin[writing] = np.arange(len(writing)) * self._tables.shape[1]
        share = np.zeros((len(writing), PITCHES), np.float32)
        reference = moment.reference[writing]
        known = (reference != NONE).nonzero()[0]
        own = (begin[writing[known]] + self._own_at)[:, None] + self._intervals[reference[known]]
        share[known] = tables[own]
        place = np.cumsum(moment.is_program) - 1  # (B,)
        for pairs, entries in (self._harmony(moment), self._succession(moment)):
            if len(pairs):
                row = moment.heard.row[pairs]
                entries += begin[row, None]
                _add_by_row(share, place[row], tables[entries])
        logits.numpy()[writing[:, None], self._ids] += share[:, self._pitches]

    def _harmony(self, moment: Moment) -> tuple[Integers, Integers]:
        """Which pairs, and their entries ``(pairs, 128)``: the interval of each pitch to the note."""
        heard = moment.heard
        pairs = moment.is_program[heard.row].nonzero()[0]
        track, program, status = moment.track[heard.row[pairs]], heard.program[pairs], heard.status[pairs]
        remaining = heard.remaining[pairs]
        whose = np.where(program == track, RELATIONS - 1, program > track)
        alone = (status == Status.STRUCK) & (heard.previous[pairs] == NONE)
        lasts = (remaining >= LASTING) & (remaining != STILL_UNKNOWN)
        table = (whose * STATUSES + np.where(alone, FIRST_STRUCK, status) + lasts * SHORT_STATUSES) * INTERVALS
        return pairs, table[:, None] + self._intervals[heard.pitch[pairs]]

    def _succession(self, moment: Moment) -> tuple[Integers, Integers]:
        """The same for voices that have moved just now: interval before, motions, interval after."""
        heard = moment.heard
        row = heard.row
        moved = (heard.status == Status.STRUCK) & (heard.previous != NONE) & (heard.program != moment.track[row])
        asked = moment.is_program & (moment.reference != NONE) & ~moment.repeats
        pairs = (moved & asked[row]).nonzero()[0]
        pitch, before, reference = heard.pitch[pairs], heard.previous[pairs], moment.reference[row[pairs]]
        motion = np.sign(pitch - before) * 3 + MOTIONS // 2
        first = self._succession_at + motion * CLASSES + (reference - before) % OCTAVE * OCTAVE
        return pairs, first[:, None] + self._motions[reference] + self._turns[pitch]


def _add_by_row(sums: NDArray[np.float32], row: Integers, values: NDArray[np.float32]) -> None:
    """Add ``values`` ``(E, ...)`` to the rows of ``sums`` that rising ``row`` ``(E,)`` names."""
    begins = np.ones(len(row), bool)
    np.not_equal(row[1:], row[:-1], out=begins[1:])
    starts = begins.nonzero()[0]
    sums[row[starts]] += np.add.reduceat(values, starts, axis=0)
