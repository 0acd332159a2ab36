"""Bars against bars: what comes back, after how many bars, in how long blocks, and where the music changes.

Two bars are compared by the Jaccard index of their notes (position in sixteenths, pitch), as in Museformer (Yu et al.
2022); novelty also reads rhythm and pitch classes. Bars without notes are like no other bar. Everything here comes
from one similarity matrix of bars, computed once for a table.

Axes: B bars, L lags.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from aurl.evaluation.metrics.pitch import shares
from aurl.evaluation.metrics.rhythm import LENGTH_CLASSES, LENGTH_EDGES
from aurl.evaluation.metrics.table import OCTAVE, PITCHES, STEPS_PER_QUARTER, Floats, Ints, Music, NoteTable, as_table

LAGS = 32
"""Longest distance of bars in a lag profile."""
MOST_BARS = 512
"""Later bars are not compared: the matrix grows with the square."""
FEWEST_PAIRS = 4
"""Fewest pairs of bars that a lag's mean is taken over for a peak."""
ALIKE = 0.75
"""Mean Jaccard index from which two blocks of bars are called a repetition: one note in seven may differ."""
LOOP_BARS = 8
"""Longest loop."""
HYPERMETRE = (4, 8, 16)
"""Lags at which phrases of four and eight bars come back."""
BESIDE = (3, 5, 7, 9, 15, 17)
NOVELTY_BARS = 4
"""Half width of Foote's kernel."""
CURVE_POINTS = 32
BRIDGE_BARS, EDGE_PARTS = 4, 5
"""Length of the blocks that come back over a bar line, and the part of the piece at either end without such lines."""


def lag_profile(music: Music) -> Floats:
    """(32,) mean Jaccard index of bars 1 to 32 bars apart; 0 for lags longer than the piece (Museformer)."""
    matrix = bar_similarity(as_table(music))
    profile = np.zeros(LAGS)
    for lag in range(1, min(LAGS, len(matrix) - 1) + 1):
        profile[lag - 1] = np.diagonal(matrix, lag).mean()
    return profile


def lag_peak(music: Music) -> float:
    """Highest mean similarity at any lag from 1 to 32: music that comes back in order; 1 for a loop."""
    matrix = bar_similarity(as_table(music))
    longest = min(LAGS, len(matrix) - FEWEST_PAIRS)
    if longest < 1:
        return math.nan
    return float(lag_profile(music)[:longest].max())


def hypermetre(music: Music) -> float:
    """Mean similarity of bars 4, 8 and 16 apart minus that of bars 3, 5, 7, 9, 15 and 17 apart.

    Positive where phrases of four and eight bars come back in step; 0 for shuffled bars and for aimless music.
    """
    table = as_table(music)
    matrix = bar_similarity(table)
    profile = lag_profile(table)
    longest = len(matrix) - FEWEST_PAIRS
    on = [profile[lag - 1] for lag in HYPERMETRE if lag <= longest]
    off = [profile[lag - 1] for lag in BESIDE if lag <= longest]
    return float(np.mean(on) - np.mean(off)) if on and off else math.nan


def repetition_share(music: Music, bars: int) -> float:
    """Share of bars that lie in a block of ``bars`` bars which came before (mean Jaccard index of 0.75 or more)."""
    matrix = bar_similarity(as_table(music))
    size = len(matrix)
    if size < 2 * bars:
        return math.nan
    blocks = block_similarity(matrix, bars)
    earlier = np.tril(np.ones(blocks.shape, dtype=bool), k=-bars)
    again = ((blocks >= ALIKE) & earlier).any(axis=1)
    covered = np.convolve(again, np.ones(bars))[:size] > 0
    return float(covered.mean())


def repetition_1_bar(music: Music) -> float:
    """Share of bars that nearly equal an earlier bar."""
    return repetition_share(music, 1)


def repetition_2_bars(music: Music) -> float:
    """Share of bars in a two-bar block that came before."""
    return repetition_share(music, 2)


def repetition_4_bars(music: Music) -> float:
    """Share of bars in a four-bar block that came before."""
    return repetition_share(music, 4)


def repetition_8_bars(music: Music) -> float:
    """Share of bars in an eight-bar block that came before."""
    return repetition_share(music, 8)


def loop_share(music: Music) -> float:
    """Largest share of bars that nearly equal the bar one to eight bars before: 1 for a stuck loop."""
    matrix = bar_similarity(as_table(music))
    found = [
        float((np.diagonal(matrix, lag) >= ALIKE).mean())
        for lag in range(1, LOOP_BARS + 1)
        if len(matrix) - lag >= FEWEST_PAIRS
    ]
    return max(found, default=math.nan)


def novelty_curve(music: Music) -> Floats:
    """(B + 1,) Foote's novelty at every bar line: bars before and after it unlike, but alike among themselves.

    Source: Foote (2000), "Automatic audio segmentation using a measure of audio novelty", with a Gaussian taper, on
    the mean of notes' and rhythms' Jaccard indices and the cosine of pitch classes. -1 to 1; 0 at the ends.
    """
    matrix = mixed_similarity(as_table(music))
    half = NOVELTY_BARS
    padded = np.pad(matrix, half)
    inside = np.pad(np.ones(matrix.shape), half)
    offsets = np.arange(-half, half) + 0.5
    taper = np.exp(-((offsets / half) ** 2) * 2)
    kernel = np.outer(np.sign(offsets) * taper, np.sign(offsets) * taper)
    curve = np.zeros(len(matrix) + 1)
    for line in range(1, len(matrix)):
        window = slice(line, line + 2 * half)
        weight = (np.abs(kernel) * inside[window, window]).sum()
        curve[line] = (kernel * padded[window, window]).sum() / weight
    return curve


def novelty_peak(music: Music) -> float:
    """Highest novelty of any bar line: the sharpest border between sections."""
    curve = novelty_curve(music)
    return float(curve.max()) if len(curve) > 2 else math.nan


def novelty_distribution(music: Music) -> Floats:
    """(32,) the novelty curve over the whole piece at 32 points of equal distance, negative values cut, sum 1."""
    curve = np.clip(novelty_curve(music), 0, None)
    points = np.interp(np.linspace(0, len(curve) - 1, CURVE_POINTS), np.arange(len(curve)), curve)
    return shares(points)


def bridge_similarity(music: Music) -> float:
    """The weakest link between before and after: how well the best four-bar block comes back over any bar line.

    For every bar line between the first and last fifth, the highest similarity of a four-bar block before it and one
    after it; the lowest of these. Songs bring material back over every line; two songs joined at one share nothing over
    the joint, wherever it is. Similarity is the mean of the Jaccard indices of notes and of rhythms with lengths, by
    track, so that a phrase with another harmony still counts. Through-composed music is low as well.
    """
    matrix = joint_similarity(as_table(music))
    size = len(matrix)
    first = max(size // EDGE_PARTS, BRIDGE_BARS)
    if size - first < first:
        return math.nan
    reach = block_reach(matrix, BRIDGE_BARS)
    lines = np.arange(first, size - first + 1)
    lines = lines[lines < len(reach)]
    return float(reach[lines - BRIDGE_BARS, lines].min()) if len(lines) else math.nan


def block_reach(matrix: Floats, bars: int) -> Floats:
    """(B - bars + 1, same) highest similarity of a block that begins at bar i or before to one at bar j or later."""
    blocks = block_similarity(matrix, bars)
    return np.maximum.accumulate(np.maximum.accumulate(blocks, axis=0)[:, ::-1], axis=1)[:, ::-1]


def joint_similarity(table: NoteTable) -> Floats:
    """(B, B) mean of the Jaccard indices of notes, and of rhythms with lengths by track."""
    return (bar_similarity(table) + table.once("length_similarity", _length_similarity)) / 2


def bar_similarity(table: NoteTable) -> Floats:
    """(B, B) Jaccard index of the notes (sixteenth in the bar, pitch) of bars; the diagonal is 1, 0 for empty bars."""
    return table.once("bar_similarity", _bar_similarity)


def mixed_similarity(table: NoteTable) -> Floats:
    """(B, B) mean of the Jaccard indices of notes and of onsets, and of the cosine of pitch classes."""
    return table.once("mixed_similarity", _mixed_similarity)


def _bar_similarity(table: NoteTable) -> Floats:
    bar, step = _bars_and_steps(table)
    pitch = np.where(table.drum, table.pitch + PITCHES, table.pitch)[: len(bar)]
    return jaccard(bar, step * 2 * PITCHES + pitch, min(table.bars, MOST_BARS))


def _length_similarity(table: NoteTable) -> Floats:
    """(B, B) Jaccard index of (position, class of length, track) of notes."""
    bar, step = _bars_and_steps(table)
    length = np.digitize(table.length[: len(bar)], LENGTH_EDGES)
    key = (step * LENGTH_CLASSES + length) * len(table.programs) + table.track[: len(bar)]
    return jaccard(bar, key, min(table.bars, MOST_BARS))


def _mixed_similarity(table: NoteTable) -> Floats:
    bar, step = _bars_and_steps(table)
    bars = min(table.bars, MOST_BARS)
    classes = np.zeros((bars, OCTAVE))
    pitched = table.pitched[: len(bar)]
    np.add.at(classes, (bar[pitched], table.pitch[: len(bar)][pitched] % OCTAVE), table.length[: len(bar)][pitched])
    unit = classes / np.maximum(np.linalg.norm(classes, axis=1, keepdims=True), 1e-12)
    return (bar_similarity(table) + jaccard(bar, step, bars) + unit @ unit.T) / 3


def _bars_and_steps(table: NoteTable) -> tuple[Ints, Ints]:
    """Bar and sixteenth within it of the notes of the first 512 bars (notes are in order, so these are the first)."""
    count = int(np.searchsorted(table.bar, MOST_BARS))
    return table.bar[:count], np.rint(table.position[:count] * STEPS_PER_QUARTER).astype(np.int64)


def block_similarity(matrix: Floats, bars: int) -> Floats:
    """(B - bars + 1, same) mean similarity of the blocks of ``bars`` bars that begin at two bars, bar by bar."""
    size = max(len(matrix) - bars + 1, 0)
    total = np.zeros((size, size))
    for shift in range(bars):
        total += matrix[shift : shift + size, shift : shift + size]
    return total / bars


def jaccard(bar: Ints, key: Ints, bars: int) -> Floats:
    """(B, B) Jaccard index of the sets of keys in each bar."""
    if not len(bar):
        return np.zeros((bars, bars))
    pairs = np.unique(np.stack([bar, key], axis=1), axis=0)
    _, column = np.unique(pairs[:, 1], return_inverse=True)
    ones = np.ones(len(pairs), dtype=np.float32)
    member = sparse.csr_array((ones, (pairs[:, 0], column)), shape=(bars, int(column.max()) + 1))
    shared = np.asarray((member @ member.T).todense(), dtype=np.float64)
    size = shared.diagonal()
    union = size[:, None] + size[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
