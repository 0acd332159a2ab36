"""Scores to ids for tokenizers with compound tokens, written out: CPWord and Octuple.

A compound token becomes the ids of those of its parts that say something, in this order; the parts that miditok marks
``Ignore``, and the family of a CPWord token, follow from the others (compound.py goes both ways)::

    CPWord, bar        [ Bar       TimeSig                                              ]
    CPWord, position   [ Position  Tempo                                                ]
    CPWord, note       [                     Program  Pitch  Velocity  Duration         ]
    Octuple            [ Bar  TimeSig  Position  Tempo  Program  Pitch  Velocity  Duration ]

Axis legend: N notes, R rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aurl.data.decoder import note_list
from aurl.data.encoder import HIGH, ID, PAIR, Encoder, Quantised
from aurl.data.fitting import METRES_UNWRITTEN, NOTE_FIELDS, NOTES_AFTER_LAST_BAR, TEMPOS_UNWRITTEN
from aurl.data.vocabulary import Kind, Vocabulary
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from symusic.core import ScoreTick

    from aurl.data.tokenizer import AnyTokenizer

IntArray = npt.NDArray[np.int64]


class WordEncoder(Encoder):
    """Writes pieces as CPWord does: REMI's rows with the tempo in force at every position."""

    def _write(self, piece: Quantised) -> npt.NDArray[np.uint16]:
        metres, notes, onsets, durations, _, tempo_times, _, *_ = piece
        bar_times, bar_heads = self._bars(metres, piece.last)
        keys = np.concatenate([bar_times, tempo_times, onsets])
        keys += keys
        keys[len(bar_times) :] += 1  # a bar before all else at its tick, as in Encoder
        pairs = np.zeros((2, len(keys)), PAIR)
        pairs[0, : len(bar_times)] = bar_heads
        first_note = len(keys) - len(onsets)
        pairs[0, first_note:] = notes.heads
        pairs[1, first_note:] = self._velocities.take(notes.velocities)
        pairs[1, first_note:] += self._duration_ids(metres, onsets, durations)
        order = keys.argsort(kind="stable")
        keys = keys.take(order)
        rows = np.empty((len(keys), 3), PAIR)
        positions = self._position_ids(keys, metres)
        rows[0, 0] = 0  # the first row is a bar
        first = (keys[1:] != keys[:-1]) & (positions[1:] != 0)
        rows[1:, 0] = np.where(first, positions[1:] + (_tempos_at(piece, keys[1:] >> 1) << HIGH), 0)
        rows[:, 1], rows[:, 2] = pairs[0].take(order), pairs[1].take(order)
        ids = rows.view(ID).ravel()
        return ids[ids != 0]


class OctupleEncoder(Encoder):
    """Writes pieces as Octuple does."""

    def __init__(self, tokenizer: AnyTokenizer, vocabulary: Vocabulary) -> None:
        super().__init__(tokenizer, vocabulary)
        self._bar_ids = vocabulary.ids_of(Kind.BAR)

    def fit(self, score: ScoreTick) -> tuple[ScoreTick, dict[str, int]]:
        """Leave out the notes after the last bar that has a number, and count them, and the time signatures and tempi
        that no note carries; see ``Encoder.fit``.
        """
        piece = self._quantise(score)
        bars, _, _ = _places(piece)
        inside = bars < len(self._bar_ids)
        onsets = np.sort(piece.onsets[inside])
        counts = {
            NOTES_AFTER_LAST_BAR: int(np.count_nonzero(~inside)),
            METRES_UNWRITTEN: _lost_metres(piece, onsets),
            TEMPOS_UNWRITTEN: _without_notes(piece.tempo_times, onsets),
        }
        if inside.all():
            return score, counts
        score = score.copy()
        first = 0
        for track in score.tracks:
            size = len(track.notes)
            own = inside[first : first + size]
            arrays = track.notes.numpy()
            if size:
                track.notes = note_list(*(arrays[key][own] for key in NOTE_FIELDS))
            first += size
        return score, counts

    def _write(self, piece: Quantised) -> npt.NDArray[np.uint16]:
        metres, notes, onsets, durations, _, _, _, *_ = piece
        order = onsets.argsort(kind="stable")
        onsets = onsets.take(order)
        bars, places, at = (column.take(order) for column in _places(piece))
        if len(bars) and bars[-1] >= len(self._bar_ids):
            raise AurlError(
                f"the piece has {bars[-1] + 1} bars, tokenizer.max_bars={len(self._bar_ids)}; raise it, or call "
                "prepare_score, which leaves out the notes of later bars and counts them"
            )
        signatures = np.array([self._timesig[section.numerator, section.denominator] for section in metres.sections])
        rows = np.empty((len(onsets), 4), PAIR)
        rows[:, 0] = self._bar_ids[bars] + (signatures[at] << HIGH)
        rows[:, 1] = self._first_position + places + (_tempos_at(piece, onsets).astype(np.int64) << HIGH)
        rows[:, 2] = notes.heads.take(order)
        rows[:, 3] = self._velocities.take(notes.velocities.take(order))
        rows[:, 3] += self._duration_ids(metres, onsets, durations.take(order))
        return rows.view(ID).ravel()


def _places(piece: Quantised) -> tuple[IntArray, IntArray, IntArray]:
    """Bar, position in it and section of each note, (N,) each."""
    sections = np.array(piece.metres.sections)  # (S, fields)
    start, _, _, bar_ticks, position_ticks = sections.T
    first_bars = np.append(0, np.cumsum(np.diff(start) // bar_ticks[:-1]))
    at = start.searchsorted(piece.onsets, side="right") - 1
    elapsed = piece.onsets - start[at]
    return first_bars[at] + elapsed // bar_ticks[at], elapsed % bar_ticks[at] // position_ticks[at], at


def _lost_metres(piece: Quantised, onsets: IntArray) -> int:
    """How many time signatures are not where they were once decoded: the first without any note, later ones without a
    note in their first bar (the bars up to their first note then count as bars of the metre before).
    """
    sections = np.array(piece.metres.sections)
    first, last = sections[:, 0].copy(), sections[:, 0] + sections[:, 3]
    last[0] = sections[1, 0] if len(sections) > 1 else np.iinfo(np.int64).max
    return int(np.count_nonzero(onsets.searchsorted(first) == onsets.searchsorted(last)))


def _without_notes(marks: IntArray, onsets: IntArray) -> int:
    """How many marks no note follows before the next mark; both rising."""
    return int(np.count_nonzero(np.diff(np.append(onsets.searchsorted(marks), len(onsets))) == 0))


def _tempos_at(piece: Quantised, times: IntArray) -> npt.NDArray[np.uint32]:
    """Ids of the tempi in force at ``times`` (R,)."""
    ids = np.broadcast_to(np.asarray(piece.tempo_ids, PAIR), piece.tempo_times.shape)
    if len(ids) == 1:
        return np.full(len(times), ids[0], PAIR)
    return ids[piece.tempo_times.searchsorted(times, side="right") - 1]
