"""Does the order of bars matter? Every piece against its own bars in random order.

The usual metrics are blind to order: pitch-class entropy or scale consistency of shuffled bars are those of the song.
Here a statistic of the order (how far voices leap over bar lines, how alike bars a phrase apart are) is compared with
the same statistic of the piece's own bars in two hundred random orders, and told in standard deviations: around 0
when the order could be any, well above where it was meant. So long pieces with many small clues and short ones
with clear ones share a scale, and no reference corpus is needed. Only bars of equal length trade places.

Axes: B bars, K random orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from aurl.evaluation.metrics.structure import bar_similarity
from aurl.evaluation.metrics.table import Floats, Ints, Music, NoteTable, as_table

ORDERS = 200
SEED = 20201
"""Of the random orders: the same for every call, so that a metric is a function of its score."""
FEWEST_BARS = 6
"""With fewer bars there are too few orders for a deviation."""
PHRASE_LAGS = (4, 8)
FARTHEST = 12
"""A leap over the bar line counts up to an octave."""
MOST_BARS = 256
"""Later bars are not read."""


def line_order(music: Music) -> float:
    """How much closer the upper lines of all tracks connect over bar lines than in random orders, in deviations."""
    return order_evidence(as_table(music), _closeness, lags=(1,))


def phrase_order(music: Music) -> float:
    """How much more alike bars 4 and 8 apart are than in random orders of the same bars, in deviations."""
    return order_evidence(as_table(music), bar_similarity, lags=PHRASE_LAGS)


def bar_order(music: Music) -> float:
    """The larger of line_order and phrase_order: evidence of either kind that the order was meant.

    Songs show it by phrases that come back, chorales by voices that connect.
    """
    table = as_table(music)
    found = [value for value in (line_order(table), phrase_order(table)) if math.isfinite(value)]
    return max(found, default=math.nan)


def order_evidence(table: NoteTable, affinity: Callable[[NoteTable], Floats], lags: tuple[int, ...]) -> float:
    """The mean affinity of bars ``lags`` apart, in standard deviations from its mean over random orders of the bars.

    Args:
        table: the piece.
        affinity: gives (B, B) how well bar j follows bar i; NaN where nothing can be said.
        lags: distances in bars.

    Returns:
        Deviations; NaN for fewer than six bars or where every order is alike.
    """
    bars = min(table.bars, MOST_BARS)
    if bars < FEWEST_BARS:
        return math.nan
    matrix = affinity(table)[:bars, :bars]
    matrix = np.where(np.isfinite(matrix), matrix, np.nanmean(matrix) if np.isfinite(matrix).any() else 0.0)
    orders = np.vstack([np.arange(bars), random_orders(table, bars)])
    values = np.zeros(len(orders))
    for lag in lags:
        if bars - lag >= 2:
            values += matrix[orders[:, :-lag], orders[:, lag:]].mean(axis=1)
    spread = values[1:].std()
    return float((values[0] - values[1:].mean()) / spread) if spread > 1e-9 else math.nan


def random_orders(table: NoteTable, bars: int) -> Ints:
    """(K, B) random orders in which bars of one length trade places among themselves."""
    rng = np.random.default_rng(SEED)
    orders = np.tile(np.arange(bars), (ORDERS, 1))
    for length in np.unique(table.bar_lengths[:bars]):
        alike = np.flatnonzero(table.bar_lengths[:bars] == length)
        orders[:, alike] = rng.permuted(np.tile(alike, (ORDERS, 1)), axis=1)
    return orders


def line_costs(table: NoteTable) -> Floats:
    """(B, B) mean leap in semitones from the last note of each track's line in bar i to its first in bar j."""
    bars = min(table.bars, MOST_BARS)
    total, count = np.zeros((bars, bars)), np.zeros((bars, bars))
    for whole in table.lines:
        line = whole[table.bar[whole] < bars]
        first, last = np.full(bars, np.nan), np.full(bars, np.nan)
        bar, pitch = table.bar[line], table.pitch[line].astype(np.float64)
        last[bar] = pitch  # of several notes of one bar the last assignment stays
        first[bar[::-1]] = pitch[::-1]
        leap = np.minimum(np.abs(last[:, None] - first[None]), FARTHEST)
        heard = np.isfinite(leap)
        total[heard] += leap[heard]
        count += heard
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _closeness(table: NoteTable) -> Floats:
    return -line_costs(table)
