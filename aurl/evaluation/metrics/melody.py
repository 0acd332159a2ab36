"""Lines: intervals, steps and leaps, and the likeness of contours.

A piece's melody is its skyline (:attr:`NoteTable.melody`); ``lines`` are the upper lines of its tracks, so that in a
chorale every voice counts. Two contours are compared by Pearson correlation over equal time, by dynamic time warping
or by edit distance of interval directions: shape only, so transposition and register do not matter.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from aurl.evaluation.metrics.pitch import entropy, histogram
from aurl.evaluation.metrics.table import OCTAVE, Floats, Ints, Music, NoteTable, as_table

WIDEST = 12
"""Intervals beyond an octave count as one."""
CONTOUR_SAMPLES = 32
"""Points of equal time at which a contour is read."""
CONTOUR_BARS = 2
"""Bars of one contour in contour_self_similarity."""
MOST_CONTOURS = 512
"""Later contours are not compared: the work grows with the square."""
FEWEST_NOTES = 3
"""A contour needs as many notes."""
STEP, LEAP = 2, 5
"""Up to a whole tone is a step; a fourth and more is a leap (semitones)."""


def mean_interval(music: Music) -> float:
    """Mean size of melodic intervals in semitones (mgeval's avg_pitch_shift), in the upper lines of all tracks."""
    moves = np.abs(line_intervals(as_table(music)))
    return float(moves.mean()) if len(moves) else math.nan


def step_share(music: Music) -> float:
    """Share of melodic intervals of a whole tone or less that are not repetitions."""
    moves = np.abs(line_intervals(as_table(music)))
    return float(((moves > 0) & (moves <= STEP)).mean()) if len(moves) else math.nan


def leap_share(music: Music) -> float:
    """Share of melodic intervals of a fourth or more."""
    moves = np.abs(line_intervals(as_table(music)))
    return float((moves >= LEAP).mean()) if len(moves) else math.nan


def interval_entropy(music: Music) -> float:
    """Entropy in bits of the melodic intervals (-12 to 12) of all upper lines."""
    moves = np.clip(line_intervals(as_table(music)), -WIDEST, WIDEST) + WIDEST
    return entropy(np.bincount(moves).astype(np.float64)) if len(moves) else math.nan


def interval_distribution(music: Music) -> Floats:
    """(25,) shares of melodic intervals from -12 to 12 semitones; wider ones count as an octave."""
    moves = np.clip(line_intervals(as_table(music)), -WIDEST, WIDEST)
    return histogram(moves + WIDEST, 2 * WIDEST + 1)


def pitch_class_transitions(music: Music) -> Floats:
    """(144,) shares of pairs of neighbouring pitch classes in the melody, by row (mgeval's transition matrix)."""
    table = as_table(music)
    classes = table.pitch[table.melody] % OCTAVE
    return histogram(classes[:-1] * OCTAVE + classes[1:], OCTAVE**2)


def direction_changes(music: Music) -> float:
    """Share of neighbouring melodic moves that turn around; 2/3 for independent pitches, lower for sung lines."""
    turned = moved = 0
    table = as_table(music)
    for line in table.lines:
        signs = np.sign(np.diff(table.pitch[line]))
        signs = signs[signs != 0]
        turned += int((signs[1:] != signs[:-1]).sum())
        moved += max(len(signs) - 1, 0)
    return turned / moved if moved else math.nan


def contour_self_similarity(music: Music) -> float:
    """Mean over two-bar contours of the highest Pearson correlation with an earlier one, -1 to 1.

    High where melodic shapes come back. Sees permuted pitches and random lines; does not see where shapes come back.
    """
    shapes = _unit_contours(as_table(music))
    if len(shapes) < 2:
        return math.nan
    alike = np.tril(shapes @ shapes.T, k=-1) + np.triu(np.full((len(shapes), len(shapes)), -2.0))
    return float(alike.max(axis=1)[1:].mean())


def contour_similarity(first: Music, second: Music, method: str = "pearson") -> float:
    """Likeness of two melodies' contours; 1 for equal shapes whatever their key, tempo and (for dtw, edit) timing.

    Args:
        first: a melody.
        second: another one.
        method: pearson (correlation over 32 points of equal time), dtw (1 / (1 + mean distance in semitones along the
            best warping of the centred contours)), or edit (1 - edit distance of the ups, downs and repetitions,
            divided by the longer one's length).

    Raises:
        ValueError: unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method={method} is unknown; allowed: {', '.join(METHODS)}")
    one, two = as_table(first), as_table(second)
    if method == "edit":
        return _edit_similarity(np.sign(np.diff(one.pitch[one.melody])), np.sign(np.diff(two.pitch[two.melody])))
    shapes = [sample_contour(table, 0.0, table.quarters) for table in (one, two)]
    if any(shape is None for shape in shapes):
        return math.nan
    centred = [shape - shape.mean() for shape in shapes if shape is not None]
    if method == "dtw":
        return 1 / (1 + dtw_distance(*centred))
    norms = [float(np.linalg.norm(shape)) for shape in centred]
    return float(centred[0] @ centred[1] / (norms[0] * norms[1])) if min(norms) > 0 else math.nan


METHODS = ("pearson", "dtw", "edit")


def sample_contour(table: NoteTable, begin: float, end: float, line: Ints | None = None) -> Floats | None:
    """Pitch of the melody at 32 points between two times in quarters, held through rests.

    Returns:
        (32,) MIDI pitch, or None with fewer than three notes in between.
    """
    line = table.melody if line is None else line
    first, last = np.searchsorted(table.onset[line], [begin - 1e-9, end - 1e-9])
    if last - first < FEWEST_NOTES:
        return None
    times = begin + (np.arange(CONTOUR_SAMPLES) + 0.5) * (end - begin) / CONTOUR_SAMPLES
    index = np.clip(np.searchsorted(table.onset[line[first:last]], times, side="right") - 1, 0, None)
    return table.pitch[line[first:last][index]].astype(np.float64)


def dtw_distance(first: Floats, second: Floats) -> float:
    """Mean absolute distance along the best warping of two sequences (Sakoe and Chiba 1978, steps 1-0, 0-1, 1-1)."""
    cost = np.abs(first[:, None] - second[None])
    total = np.full((len(first) + 1, len(second) + 1), np.inf)
    total[0, 0] = 0
    for row in range(len(first)):
        for column in range(len(second)):
            before = min(total[row, column], total[row, column + 1], total[row + 1, column])
            total[row + 1, column + 1] = cost[row, column] + before
    return float(total[-1, -1] / max(len(first), len(second)))


def line_intervals(table: NoteTable) -> Ints:
    """Signed intervals in semitones between neighbours of every track's upper line, one line after the other."""
    moves = [np.diff(table.pitch[line]) for line in table.lines]
    return np.concatenate(moves) if moves else np.zeros(0, np.int64)


def _unit_contours(table: NoteTable) -> Floats:
    """(contours, 32) two-bar contours, centred, of length one; flat ones and those of few notes left out."""
    edges = table.bar_starts[::CONTOUR_BARS]
    if table.bars % CONTOUR_BARS == 1:
        edges = edges[: table.bars // CONTOUR_BARS + 1]
    shapes = [sample_contour(table, begin, end) for begin, end in pairwise(edges[: MOST_CONTOURS + 1])]
    rows = np.array([shape - shape.mean() for shape in shapes if shape is not None and shape.std() > 0])
    if not len(rows):
        return np.zeros((0, CONTOUR_SAMPLES))
    result: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return result


def _edit_similarity(first: Ints, second: Ints) -> float:
    """1 - Levenshtein distance / longer length."""
    longer = max(len(first), len(second))
    if not longer:
        return math.nan
    row = np.arange(len(second) + 1)
    for index, symbol in enumerate(first.tolist(), start=1):
        before, row = row, np.empty_like(row)
        row[0] = index
        best = np.minimum(before[1:] + 1, before[:-1] + (second != symbol))
        # A row's own insertions: cost[j] = min over k <= j of best[k] + (j - k), a running minimum after a shift.
        shifted = np.minimum.accumulate(np.concatenate([[index], best - np.arange(1, len(second) + 1)]))
        row[1:] = shifted[1:] + np.arange(1, len(second) + 1)
    return 1 - float(row[-1]) / longer
