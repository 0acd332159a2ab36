"""Fit a score to a vocabulary before it is encoded: what has no token is replaced by rule, and every change is counted.

The encoder alone would drop notes and metres without a token silently, as miditok does. ``prepare_score`` is the place
where that becomes a documented decision.
"""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from symusic.core import ScoreTick, TempoTick, TimeSignatureTick, TimeSignatureTickList, TrackTick

from aurl.data.decoder import DEFAULT_TEMPO, note_list
from aurl.data.metre import settle_metres
from aurl.data.vocabulary import DRUM_PROGRAM, OCTAVE

METRES_REPLACED = "metres_replaced"
PITCHES_MOVED = "pitches_moved"
NOTES_DROPPED = "notes_dropped"
TRACKS_JOINED = "tracks_joined"
NOTES_CUT = "notes_cut"
"""Notes that end where the next of their track and pitch begins (MIDI-like)."""
NOTES_AFTER_LAST_BAR = "notes_after_last_bar"
"""Notes in bars beyond ``tokenizer.max_bars`` (Octuple)."""
METRES_UNWRITTEN = "metres_without_notes"
TEMPOS_UNWRITTEN = "tempos_without_notes"
"""Time signatures and tempi that no note carries (Octuple)."""
NOTE_FIELDS = ("time", "duration", "pitch", "velocity")
Arrays = dict[str, npt.NDArray[np.int32]]
"""Notes of a track by field, as symusic gives them."""


class Limits(NamedTuple):
    """What a tokenizer has tokens for."""

    metres: AbstractSet[tuple[int, int]]
    """(numerator, denominator)."""
    positions_per_beat: int
    pitches: tuple[int, int]
    """Lowest and highest pitch."""
    drum_pitches: tuple[int, int]
    tracks_per_program: int


def prepare_score(score: ScoreTick, limits: Limits) -> tuple[ScoreTick, dict[str, int]]:
    """A score that the encoder can write without loss other than quantisation, and what had to change.

    Rules: a metre without a token becomes one of equal bar length, else the nearest in bar length; a pitch outside the
    range moves by octaves to the nearest inside (in a range without that pitch class it is dropped); a drum pitch
    outside its range is dropped, since another octave is another instrument; tracks of a program beyond the last that
    has tokens give their notes to that one. A piece whose first tempo comes late begins at 120, as MIDI says.

    Args:
        score: a score in ticks; it is not changed.
        limits: what the vocabulary holds.

    Returns:
        The score (the same object when nothing had to change) and counts of the metres replaced, pitches moved, notes
        dropped and tracks joined; each key is always present.
    """
    counts = {METRES_REPLACED: 0, PITCHES_MOVED: 0, NOTES_DROPPED: 0, TRACKS_JOINED: 0}
    marks = _fitted_metres(score, limits, counts)
    fitted = [_fitted_notes(track, limits, counts) for track in score.tracks]
    notes: list[Arrays | None] = [arrays for arrays, _ in fitted]
    joined = _join_surplus(score, notes, limits.tracks_per_program, counts)
    changed = joined or any(new for _, new in fitted)
    late_tempo = len(score.tempos) > 0 and score.tempos[0].time > 0
    if marks is None and not changed and not late_tempo:
        return score, counts
    score = score.copy()
    if marks is not None:
        score.time_signatures = TimeSignatureTickList([TimeSignatureTick(*mark) for mark in marks])
    if late_tempo:
        score.tempos.insert(0, TempoTick(0, DEFAULT_TEMPO))
    for track, arrays in zip(score.tracks, notes, strict=True):
        if changed:
            columns = [arrays[key] for key in NOTE_FIELDS] if arrays else [np.zeros(0, np.int32)] * len(NOTE_FIELDS)
            track.notes = note_list(*columns)
    return score, counts


def nearest_metre(numerator: int, denominator: int, known: AbstractSet[tuple[int, int]]) -> tuple[int, int]:
    """The metre that stands for one without a token.

    Nearest in bar length, the longer of two; of several the one whose beat is nearest, the finer of two.
    """
    bar = numerator / denominator

    def distance(metre: tuple[int, int]) -> tuple[float, float, float, int]:
        length = metre[0] / metre[1]
        return abs(length - bar), -length, abs(math.log2(metre[1] / denominator)), -metre[1]

    return min(known, key=distance)


def _fitted_metres(score: ScoreTick, limits: Limits, counts: dict[str, int]) -> list[tuple[int, int, int]] | None:
    """Time signatures with tokens, or None if all are well.

    One that never takes effect is left out where it would make the grid of the piece finer than its metres.
    """
    given = [(mark.time, mark.numerator, mark.denominator) for mark in score.time_signatures]
    marks = []
    for time, numerator, denominator in given:
        if (numerator, denominator) not in limits.metres:
            numerator, denominator = nearest_metre(numerator, denominator, limits.metres)
            counts[METRES_REPLACED] += 1
        marks.append((time, numerator, denominator))
    while True:
        fitted = _without_idle_marks(score, marks, limits)
        if fitted == marks:
            return None if marks == given else marks
        marks = fitted


def _without_idle_marks(
    score: ScoreTick, marks: list[tuple[int, int, int]], limits: Limits
) -> list[tuple[int, int, int]]:
    """Drop time signatures of the finest beat if no section of the piece has that beat."""
    if len(marks) < 2:
        return marks
    probe = ScoreTick(score.ticks_per_quarter)
    probe.time_signatures = TimeSignatureTickList([TimeSignatureTick(*mark) for mark in marks])
    used = {section.denominator for section in settle_metres(probe, limits.metres, limits.positions_per_beat).sections}
    finest = max(mark[2] for mark in marks)
    return marks if finest in used else [mark for mark in marks if mark[2] != finest]


def _fitted_notes(track: TrackTick, limits: Limits, counts: dict[str, int]) -> tuple[Arrays | None, bool]:
    """Notes inside the range, None if there are none, and whether they differ from the track's."""
    if not len(track.notes):
        return None, False
    arrays: Arrays = track.notes.numpy()
    pitch = arrays["pitch"]
    low, high = limits.drum_pitches if track.is_drum else limits.pitches
    if low <= pitch.min() and pitch.max() <= high:
        return arrays, False
    moved = pitch.astype(np.int64)
    if not track.is_drum:
        moved = np.where(moved < low, low + (moved - low) % OCTAVE, moved)
        moved = np.where(moved > high, high - (high - moved) % OCTAVE, moved)
    inside = (moved >= low) & (moved <= high)
    counts[PITCHES_MOVED] += int(np.count_nonzero(inside & (moved != pitch)))
    counts[NOTES_DROPPED] += int(np.count_nonzero(~inside))
    arrays["pitch"] = moved.astype(pitch.dtype)
    return ({key: array[inside] for key, array in arrays.items()} if inside.any() else None), True


def _join_surplus(score: ScoreTick, notes: list[Arrays | None], most: int, counts: dict[str, int]) -> bool:
    """Move the notes of tracks beyond the ``most``-th of a program into that one, sorted as readers sort them."""
    tracks: dict[int, list[int]] = {}
    for index, track in enumerate(score.tracks):
        if notes[index] is not None:
            tracks.setdefault(DRUM_PROGRAM if track.is_drum else track.program, []).append(index)
    for own in tracks.values():
        surplus = own[most - 1 :]
        if len(surplus) < 2:
            continue
        parts = [arrays for index in surplus if (arrays := notes[index])]
        joined = {key: np.concatenate([part[key] for part in parts]) for key in NOTE_FIELDS}
        order = np.lexsort((joined["pitch"], joined["duration"], joined["time"]))
        notes[surplus[0]] = {key: array[order] for key, array in joined.items()}
        for index in surplus[1:]:
            notes[index] = None
        counts[TRACKS_JOINED] += len(surplus) - 1
    return counts[TRACKS_JOINED] > 0
