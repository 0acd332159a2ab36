"""How it is played: velocity, micro-timing, articulation, pedal.

A notated score has one velocity, no deviation from the grid and no pedal: all of these then say so (zeros), and none
of them is a fault of the notes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from aurl.evaluation.metrics.pitch import entropy, histogram
from aurl.evaluation.metrics.rhythm import merge_overlaps
from aurl.evaluation.metrics.table import Floats, Ints, Music, NoteTable, as_table

VELOCITY_CLASSES, VELOCITY_WIDTH = 16, 8
GRID = np.array([0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1])
"""Places of a quarter that notation uses most: sixteenths and triplets."""
ON_GRID = 0.01
"""Quarters by which a note may miss the grid and still be on it: rounding, not playing."""


def velocity_mean(music: Music) -> float:
    """Mean velocity of notes, 1 to 127."""
    return _statistic(as_table(music), np.mean)


def velocity_std(music: Music) -> float:
    """Standard deviation of the velocities of notes; 0 for a notated score."""
    return _statistic(as_table(music), np.std)


def velocity_range(music: Music) -> float:
    """Distance of the 5th and 95th percentile of velocities: range without stray notes."""
    return _statistic(as_table(music), lambda values: np.percentile(values, 95) - np.percentile(values, 5))


def velocity_entropy(music: Music) -> float:
    """Entropy in bits of velocities in 16 classes, 0 to 4."""
    velocity = as_table(music).velocity
    return entropy(np.bincount(velocity // VELOCITY_WIDTH).astype(np.float64)) if len(velocity) else math.nan


def velocity_contour(music: Music) -> float:
    """Correlation of the mean velocity of neighbouring beats, -1 to 1: dynamics that swell and fade, not noise.

    NaN where velocities never change.
    """
    table = as_table(music)
    beat = np.floor(table.onset + 1e-9).astype(np.int64)
    if not len(beat):
        return math.nan
    count = np.bincount(beat)
    mean = np.bincount(beat, weights=table.velocity)[count > 0] / count[count > 0]
    if len(mean) < 3 or not mean[1:].std() or not mean[:-1].std():
        return math.nan
    return float(np.corrcoef(mean[1:], mean[:-1])[0, 1])


def accent_gain(music: Music) -> float:
    """Mean velocity of notes on quarters minus that of the others: metrical accent; 0 when flat."""
    table = as_table(music)
    strong = np.abs(table.onset - np.rint(table.onset)) <= ON_GRID
    if strong.all() or not strong.any():
        return math.nan
    return float(table.velocity[strong].mean() - table.velocity[~strong].mean())


def velocity_distribution(music: Music) -> Floats:
    """(16,) shares of velocities in classes of eight."""
    return histogram(np.clip(as_table(music).velocity // VELOCITY_WIDTH, 0, VELOCITY_CLASSES - 1), VELOCITY_CLASSES)


def timing_deviation(music: Music) -> float:
    """Mean distance of onsets from the nearest sixteenth or triplet eighth, in quarters; 0 when quantised, at most 1/8.

    Onsets that follow no beat at all average 0.047: in a performance with a nominal tempo it says only that.
    """
    distance = grid_distance(as_table(music))
    return float(distance.mean()) if len(distance) else math.nan


def off_grid_share(music: Music) -> float:
    """Share of onsets more than a hundredth of a quarter away from sixteenths and triplet eighths."""
    distance = grid_distance(as_table(music))
    return float((distance > ON_GRID).mean()) if len(distance) else math.nan


def articulation(music: Music) -> float:
    """Median length of melody notes as a share of the time to the next onset of the line: 1 is legato."""
    table = as_table(music)
    ratios = [table.length[line][:-1] / np.diff(table.onset[line]) for line in table.lines if len(line) > 1]
    return float(np.median(np.concatenate(ratios))) if ratios else math.nan


def pedal_share(music: Music) -> float:
    """Share of the piece during which the sustain pedal is down."""
    table = as_table(music)
    if not table.ticks:
        return math.nan
    if not table.pedals:
        return 0.0
    spans = np.minimum(np.array(table.pedals, dtype=np.int64), table.ticks)
    start, end, _ = merge_overlaps(spans[:, 0], spans[:, 1], np.zeros(len(spans), np.int64))
    return float((end - start).sum() / table.ticks)


def grid_distance(table: NoteTable) -> Floats:
    """(N,) distance of each onset from the nearest place of the grid, in quarters."""
    phase = table.onset % 1.0
    above = np.clip(np.searchsorted(GRID, phase), 1, len(GRID) - 1)
    result: Floats = np.minimum(np.abs(phase - GRID[above]), np.abs(phase - GRID[above - 1]))
    return result


def _statistic(table: NoteTable, statistic: Callable[[Ints], Any]) -> float:
    return float(statistic(table.velocity)) if len(table.velocity) else math.nan
