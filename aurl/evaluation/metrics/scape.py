"""Scape plot of a symbolic piece: for every stretch of bars, how well its repetitions explain the piece.

Source: fitness of Müller, Jiang and Grosche (2013), "A robust fitness measure for capturing repetitions in music
recordings"; the structure indicators are its maxima over ranges of length, as in MusDr (Wu and Yang 2020). MusDr reads
rendered audio; bars of a score need no rendering and no warping, so paths here are plain diagonals of the similarity
matrix of bars, and the best set of repetitions that do not overlap is found exactly by dynamic programming.

Axes: B bars, L lengths in bars.
"""

from __future__ import annotations

import math

import numpy as np

from aurl.evaluation.metrics.structure import bar_similarity
from aurl.evaluation.metrics.table import Floats, Music, NoteTable, as_table

MOST_BARS = 128
"""Bars that are read: the work grows with bars squared times lengths."""
LONGEST = 32
"""Longest stretch in bars."""
PENALTY = 0.25
"""Similarity below which a bar counts against a path (taken from every bar, the rest scaled to at most 1)."""
SHORT, MIDDLE, LONG = (1, 4), (5, 8), (9, 32)
"""Lengths in bars of the three structure indicators."""


def scape_plot(music: Music) -> Floats:
    """(L, B) fitness of the stretch of l + 1 bars that begins at each bar, 0 to 1; NaN where it does not fit.

    Fitness is the harmonic mean of the score of its repetitions and of the share of the piece that they cover, both
    less what the stretch itself gives.
    """
    table: NoteTable = as_table(music)
    return table.once("scape_plot", _scape_plot)


def structure_indicator_short(music: Music) -> float:
    """Highest fitness of stretches of 1 to 4 bars: motifs, riffs and loops."""
    return _indicator(music, *SHORT)


def structure_indicator_middle(music: Music) -> float:
    """Highest fitness of stretches of 5 to 8 bars: phrases."""
    return _indicator(music, *MIDDLE)


def structure_indicator_long(music: Music) -> float:
    """Highest fitness of stretches of 9 to 32 bars: sections that come back whole."""
    return _indicator(music, *LONG)


def _indicator(music: Music, shortest: int, longest: int) -> float:
    rows = scape_plot(music)[shortest - 1 : longest]
    values = rows[np.isfinite(rows)]
    return float(values.max()) if len(values) else math.nan


def _scape_plot(table: NoteTable) -> Floats:
    matrix = bar_similarity(table)[:MOST_BARS, :MOST_BARS]
    gain = (matrix - PENALTY) / (1 - PENALTY)
    size = len(gain)
    plot = np.full((LONGEST, size), np.nan)
    for length in range(1, min(LONGEST, size // 2) + 1):
        plot[length - 1, : size - length + 1] = fitness(gain, length)
    return plot


def fitness(gain: Floats, length: int) -> Floats:
    """(B - length + 1,) fitness of every stretch of ``length`` bars.

    Args:
        gain: (B, B) similarity of bars less the penalty; 1 for equal bars.
        length: bars.
    """
    size = len(gain)
    count = size - length + 1
    paths = np.zeros((count, count))  # begin of the stretch, begin of its repetition
    for shift in range(length):
        paths += gain[shift : shift + count, shift : shift + count]
    np.fill_diagonal(paths, length)  # the stretch itself, also where it is silent
    best = np.zeros((size + 1, count))  # best score of repetitions that end by a bar, for every stretch
    covered = np.zeros((size + 1, count))
    for end in range(length, size + 1):
        with_this = best[end - length] + np.maximum(paths[:, end - length], 0)
        better = with_this > best[end - 1]
        best[end] = np.where(better, with_this, best[end - 1])
        covered[end] = np.where(better, covered[end - length] + length, covered[end - 1])
    score = np.clip((best[-1] - length) / np.maximum(covered[-1], 1), 0, 1)
    coverage = np.clip((covered[-1] - length) / size, 0, 1)
    total = score + coverage
    return np.divide(2 * score * coverage, total, out=np.zeros(count), where=total > 0)
