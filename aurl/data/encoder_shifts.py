"""Scores to ids for tokenizers that move by time shifts: TSD and MIDI-like.

A piece is a list of rows in order of time (time signatures, tempi, then notes, or their beginnings and ends), and
before each row stand the shifts from the row before::

    time signature [ shifts ... TimeSig                              ]
    tempo          [ shifts ... Tempo                                ]
    note           [ shifts ... Program  Pitch    Velocity  Duration ]
    note begins    [ shifts ... Program  NoteOn   Velocity           ]
    note ends      [ shifts ... Program  NoteOff                     ]

miditok writes a shift as the longest one that fits, again and again; the shifts of every length up to the longest token
stand in a table, and what is longer puts rows of the longest token before. Axis legend: N notes, R rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aurl.data.encoder import HIGH, ID, MIDI_VALUES, PAIR, Encoder, Quantised
from aurl.data.fitting import NOTES_CUT
from aurl.data.metre import Metres
from aurl.data.overlaps import cut_durations
from aurl.data.vocabulary import DRUM_PROGRAM, Kind, Vocabulary

if TYPE_CHECKING:
    from symusic.core import ScoreTick

    from aurl.data.tokenizer import AnyTokenizer

IntArray = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.uint32]


class ShiftEncoder(Encoder):
    """Writes pieces as TSD does."""

    def __init__(self, tokenizer: AnyTokenizer, vocabulary: Vocabulary) -> None:
        super().__init__(tokenizer, vocabulary)
        self._shifts = {
            ticks: _shift_table(bins, vocabulary.ids_of(Kind.TIME_SHIFT))
            for ticks, bins in tokenizer._tpb_to_time_array.items()
        }

    def _write(self, piece: Quantised) -> npt.NDArray[np.uint16]:
        times, bodies = self._note_rows(piece)
        sections = piece.metres.sections
        marks = np.array([section.tick for section in sections])
        keys = np.concatenate([marks, piece.tempo_times, times])
        first_tempo, first_note = len(marks), len(marks) + len(piece.tempo_times)
        pairs = np.zeros((len(keys), 2), PAIR)
        pairs[:first_tempo, 0] = [self._timesig[section.numerator, section.denominator] for section in sections]
        pairs[first_tempo:first_note, 0] = piece.tempo_ids
        pairs[first_note:] = bodies
        order = keys.argsort(kind="stable")
        return self._join(keys.take(order), pairs.take(order, axis=0), piece.metres)

    def _note_rows(self, piece: Quantised) -> tuple[IntArray, Pairs]:
        """Times and tokens of the rows of notes, simultaneous ones in the order in which they stand."""
        pairs = np.empty((len(piece.onsets), 2), PAIR)
        pairs[:, 0] = piece.notes.heads
        pairs[:, 1] = self._velocities.take(piece.notes.velocities)
        pairs[:, 1] += self._duration_ids(piece.metres, piece.onsets, piece.durations)
        return piece.onsets, pairs

    def _join(self, times: IntArray, pairs: Pairs, metres: Metres) -> npt.NDArray[np.uint16]:
        """Put the shifts before the rows, and drop what is absent."""
        before = np.append(0, times[:-1])
        gaps = times - before
        if metres.grids is None:
            shifts, extra = self._shifts_of(gaps, metres.sections[0].beat_ticks(self._positions))
        else:
            starts = np.array([section.tick for section in metres.sections])
            section = starts.searchsorted(before, side="right") - 1
            beats = np.array([section.beat_ticks(self._positions) for section in metres.sections])[section]
            width = max(table.shape[1] for table in self._shifts.values())
            shifts, extra = np.zeros((len(gaps), width), ID), np.zeros(len(gaps), np.int64)
            for beat in np.unique(beats).tolist():
                here = beats == beat
                found, extra[here] = self._shifts_of(gaps[here], beat)
                shifts[here, : found.shape[1]] = found
        rows = np.concatenate([shifts, pairs.view(ID)], axis=1)
        if extra.any():
            longest = np.zeros(rows.shape[1], ID)
            longest[0] = next(iter(self._shifts.values()))[-1, 0]
            rows = np.insert(rows, np.repeat(np.arange(len(rows)), extra), longest, axis=0)
        ids = rows.ravel()
        return ids[ids != 0]

    def _shifts_of(self, gaps: IntArray, beat_ticks: int) -> tuple[npt.NDArray[np.uint16], IntArray]:
        """Ids of the shifts of each gap (R, W), 0 where there is none, and how many of the longest stand before."""
        table = self._shifts[beat_ticks]
        longest = len(table) - 1
        extra = np.maximum(gaps - 1, 0) // longest  # the table has the longest itself
        return table.take(gaps - extra * longest, axis=0), extra


class NoteEndEncoder(ShiftEncoder):
    """Writes pieces as MIDI-like does."""

    _pitch_types = ("NoteOn", "DrumOn")

    def __init__(self, tokenizer: AnyTokenizer, vocabulary: Vocabulary) -> None:
        super().__init__(tokenizer, vocabulary)
        ends = np.zeros(vocabulary.size, PAIR)
        for program in (0, DRUM_PROGRAM):
            begin, end = (("NoteOn", "NoteOff"), ("DrumOn", "DrumOff"))[program == DRUM_PROGRAM]
            for pitch in range(MIDI_VALUES):
                if f"{begin}_{pitch}" in vocabulary.index:
                    ends[vocabulary.index[f"{begin}_{pitch}"]] = vocabulary.index[f"{end}_{pitch}"]
        self._end_of = ends
        """Id of the token that ends what a token begins (V,)."""

    def fit(self, score: ScoreTick) -> tuple[ScoreTick, dict[str, int]]:
        """Count the notes that end earlier because the next of their track and pitch begins; see ``Encoder.fit``."""
        piece = self._quantise(score)
        durations, cut = self._durations_of(piece)
        return score, {NOTES_CUT: int(np.count_nonzero(cut < durations))}

    def _note_rows(self, piece: Quantised) -> tuple[IntArray, Pairs]:
        heads, onsets = piece.notes.heads, piece.onsets
        ends = onsets + self._durations_of(piece)[1]
        times = np.empty(2 * len(onsets), np.int64)
        times[0::2], times[1::2] = onsets, ends
        pairs = np.zeros((len(times), 2), PAIR)
        pairs[0::2, 0] = heads
        pairs[0::2, 1] = self._velocities.take(piece.notes.velocities)
        pairs[1::2, 0] = (heads & ((1 << HIGH) - 1)) + (self._end_of[heads >> HIGH] << HIGH)
        return times, pairs

    def _durations_of(self, piece: Quantised) -> tuple[IntArray, IntArray]:
        """Ticks that each note lasts to the grid where it ends, and when cut where the next of its pitch begins."""
        onsets, durations = piece.onsets, np.maximum(piece.durations, 1)
        if piece.metres.grids is not None:
            ends = piece.metres.to_grid(piece.raw_onsets + durations)
            least = piece.metres.grids.steps[piece.metres.grid_of(onsets)]
            durations = np.where(ends <= onsets, least, ends - onsets)
        track = np.repeat(np.arange(len(piece.notes.sizes)), piece.notes.sizes)
        voice = track * (MIDI_VALUES << HIGH) + (piece.notes.heads >> HIGH)
        return durations, cut_durations(onsets, durations, voice)


def _shift_table(bins: npt.NDArray[np.intc], ids: IntArray) -> npt.NDArray[np.uint16]:
    """Ids of the shifts for each number of ticks up to the longest bin (ticks, W), 0 behind the last."""
    rows: list[list[int]] = [[]]
    for ticks in range(1, int(bins[-1]) + 1):
        index = int(np.searchsorted(bins, ticks, side="right")) - 1
        # Below the shortest shift nothing is written, as in miditok; no time of a piece lies between positions.
        rows.append([int(ids[index]), *rows[ticks - int(bins[index])]] if index >= 0 else [])
    width = max(map(len, rows))
    return np.array([row + [0] * (width - len(row)) for row in rows], ID)
