"""The ear of one decoding step on a CPU: the same numbers as counterpoint.py from the same weights, fewer operations.

A sample hears a handful of notes, so arithmetic costs less than calling for it. NumPy's calls are cheaper than
PyTorch's, and since tables are looked up by intervals, the entries for all 128 pitches lie side by side: a slice each.

Axes: B samples, E pairs of a sample and a heard note, D width, F forms of the tables, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from aurl.models.counterpoint import (
    FIRST_STRUCK,
    INTERVALS,
    MOTIONS,
    OCTAVE,
    PITCHES,
    RELATIONS,
    STATUSES,
)
from aurl.models.hearing import NONE, WIDEST, Status

if TYPE_CHECKING:
    from aurl.models.counterpoint import Ear
    from aurl.models.listener import Heard, Standing

STILL = MOTIONS // 2
"""Motion of two voices that both stay."""


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
        self._sound, self._interval, self._reference, self._place = (
            layer.weight.detach().numpy()
            for layer in (embedding.sound, embedding.interval, embedding.reference, embedding.place)
        )
        self._track = 1 + embedding.track.weight.detach().numpy()
        self._to_gate, self._gate = head.gate.weight.detach().numpy(), 1 + head.gate.bias.detach().numpy()
        tables = head.tables.detach().numpy()
        every = np.clip(np.arange(1 - PITCHES, PITCHES), -WIDEST, WIDEST) + WIDEST  # entry of each interval
        harmony = tables[: head.succession_at].reshape(RELATIONS * STATUSES, INTERVALS, -1)
        self._harmony = harmony[:, every]  # (blocks, 255, F)
        turns = np.arange(OCTAVE + PITCHES) % OCTAVE
        succession = tables[head.succession_at : head.own_at].reshape(MOTIONS, OCTAVE, OCTAVE, -1)
        self._succession = np.ascontiguousarray(succession[:, :, turns])  # (9, 12, 140, F)
        self._own = tables[head.own_at :][every]  # (255, F)
        pitch = ear.meaning.pitch.numpy()
        self._ids = np.flatnonzero(pitch >= 0)
        self._pitches = pitch[self._ids]

    def embed(self, heard: list[Heard], standing: list[Standing]) -> Tensor:
        """What samples hear as vectors ``(B, D)``."""
        farthest = len(self._place) - 1
        references = [PITCHES if at.reference == NONE else at.reference for at in standing]
        base = self._reference[references] + self._place[[min(at.place, farthest) for at in standing]]
        if heard:
            row, pitch, program, status, _, remaining, interval = np.array(heard).T
            note = self._sound[pitch] + self._sound[status + PITCHES]
            note += self._sound[remaining + (PITCHES + len(Status))]
            note *= self._track[program]
            note += self._interval[interval * len(Status) + status]
            if len(base) == 1:
                base += note.sum(0)
            else:
                starts = np.flatnonzero(np.diff(row, prepend=NONE))  # pairs come sample by sample
                base[row[starts]] += np.add.reduceat(note, starts, axis=0)
        return torch.from_numpy(base)

    def judge(self, logits: Tensor, hidden: Tensor, heard: list[Heard], standing: list[Standing]) -> None:
        """Add the counterpoint head's share to logits ``(B, V)`` of samples that write a pitch next, in place."""
        writing = {row: at for row, at in enumerate(standing) if at.is_program}
        if not writing:
            return
        scores, states = logits.numpy(), hidden.numpy()
        shares = {}
        for row, at in writing.items():
            gate = self._to_gate @ states[row] + self._gate
            shares[row] = gate, np.zeros(PITCHES, np.float32)
            if at.reference != NONE:
                shares[row][1][:] = self._own[_window(at.reference)] @ gate
        for note in heard:
            if note.row in shares:
                self._hear(note, writing[note.row], *shares[note.row])
        for row, (_, share) in shares.items():
            scores[row, self._ids] += share[self._pitches]

    def _hear(self, note: Heard, at: Standing, gate: np.ndarray, share: np.ndarray) -> None:
        """Add what one heard note says to a sample's share ``(128,)``."""
        status = note.status
        struck = status == Status.STRUCK
        if struck and note.previous == NONE:
            status = FIRST_STRUCK
        whose = RELATIONS - 1 if note.program == at.track else int(note.program > at.track)
        share += self._harmony[whose * STATUSES + status, _window(note.pitch)] @ gate
        moved = struck and note.previous != NONE and note.program != at.track
        if not moved or at.reference == NONE or at.repeats:
            return
        interval = (at.reference - note.previous) % OCTAVE
        turn = -note.pitch % OCTAVE
        motion = STILL + 3 * ((note.pitch > note.previous) - (note.pitch < note.previous))
        for begin, stop, own in (
            (0, at.reference, -1),
            (at.reference, at.reference + 1, 0),
            (at.reference + 1, PITCHES, 1),
        ):
            share[begin:stop] += self._succession[motion + own, interval, turn + begin : turn + stop] @ gate


def _window(pitch: int) -> slice:
    """Where the intervals of pitches 0 to 127 to ``pitch`` lie in a table of intervals from -127 to 127."""
    return slice(PITCHES - 1 - pitch, 2 * PITCHES - 1 - pitch)
