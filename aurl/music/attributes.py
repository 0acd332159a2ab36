"""Eight numbers that say what a bar is like; dimensions of the latent are named after them (aurl/models).

A bar's attributes are those of the notes that begin in it, sounding no longer than to its end, because these are the
notes that its tokens hold: what an earlier bar left sounding changes none of them, so a bar can be steered alone.
Pure functions of notes and bar lines, without a loop over notes or bars. Definitions were chosen so that on pop songs
each varies from bar to bar and says little about the others (experiments/bar_attributes).

Axes: N notes, B bars, S stretches of time in which the same notes sound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.music.consonance import roughness
from aurl.music.features import drums_apart
from aurl.music.grid import Grid
from aurl.music.keys import PITCH_CLASSES
from aurl.music.metrical_weights import metrical_weights
from aurl.music.pianoroll import NoteArrays, note_arrays
from aurl.music.polyphony import outermost

ATTRIBUTES = ("density", "polyphony", "mean_pitch", "range", "velocity", "syncopation", "tension", "contour")
"""Columns of :func:`bar_attributes`, in this order."""
UNITS = (
    "onsets a quarter",
    "notes",
    "MIDI pitch",
    "semitones",
    "MIDI velocity",
    "-r",
    "-consonance",
    "semitones a bar",
)
"""What each is counted in."""
ONSETS_PER_QUARTER = 12
"""Notes that fall on one twelfth of a quarter begin together: holds sixteenths and triplets apart."""
STEPS_PER_QUARTER = 4
"""Syncopation is read in sixteenths."""
MOST_STEPS = 4096
"""Sixteenths of the longest bar (256 bars of 4/4) whose metre is read."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def bar_attributes(score: Any, edges: NDArray[Any]) -> NDArray[np.float32]:
    """What each bar of a score is like, float32 (B, 8), columns as in ``ATTRIBUTES``.

    - density: different onsets a quarter note, of drums too; 0 in an empty bar. A chord is one onset, so that density
      and polyphony say different things.
    - polyphony: notes that sound on average while any does (after MusPy's polyphony: Dong et al. 2020).
    - mean_pitch: mean MIDI pitch of the notes.
    - range: highest minus lowest pitch, in semitones (pitch range of jSymbolic: McKay 2010).
    - velocity: mean MIDI velocity, of drums too.
    - syncopation: minus Pearson's r between how many notes begin on each sixteenth and the metrical weight of that
      sixteenth (weights: Longuet-Higgins and Lee 1984; comparing onset counts with the hierarchy: Palmer and Krumhansl
      1990, "Mental representations for musical meter"), of drums too. Near -1 where notes follow the metre,
      0 where they do not care (as many on every sixteenth), above 0 where they avoid its beats.
    - tension: roughness of what sounds together, minus the consonance of all pairs of pitch classes (Huron 1994), on
      average over the time in which there are such pairs: about -0.7 for triads, 1.4 for a semitone alone.
    - contour: slope of the highest sounding pitch by least squares over the time in which anything sounds, in
      semitones a bar; rising above 0, falling below.

    NaN where nothing in the bar defines a number: everything but density in an empty bar, what needs pitches in a bar
    of drums, tension in a bar of one line.

    Args:
        score: symusic score in ticks.
        edges: (B + 1,) bar lines in quarter notes, increasing. Notes before the first count nowhere, those that begin
            after the last in the last bar.

    Raises:
        ValueError: edges that do not increase.

    Example:
        >>> from aurl.music.grid import grid_of
        >>> bar_attributes(score, grid_of(score, "bar").edges)[:, ATTRIBUTES.index("mean_pitch")]  # doctest: +SKIP
        array([62.4, 60.1], dtype=float32)
    """
    return attributes_of(note_arrays(score), Grid(np.asarray(edges, dtype=np.float64)))


def attributes_of(notes: NoteArrays, grid: Grid) -> NDArray[np.float32]:
    """:func:`bar_attributes` of notes that are arrays already."""
    bar = np.minimum(np.searchsorted(grid.edges, notes.onset, side="right") - 1, len(grid) - 1)
    pitched, _ = drums_apart(notes)
    pitched_bar = np.minimum(np.searchsorted(grid.edges, pitched.onset, side="right") - 1, len(grid) - 1)
    inside, pitched_inside = bar >= 0, pitched_bar >= 0
    onset, bar = notes.onset[inside], bar[inside]
    pitch, pitched_bar = pitched.pitch[pitched_inside], pitched_bar[pitched_inside]
    begin = pitched.onset[pitched_inside]
    end = np.clip(begin + pitched.duration[pitched_inside], begin, np.maximum(grid.edges[pitched_bar + 1], begin))
    columns = {
        "density": _density(onset, bar, grid),
        "mean_pitch": _mean(pitch, pitched_bar, len(grid)),
        "range": _range(pitch, pitched_bar, len(grid)),
        "velocity": _mean(notes.velocity[inside], bar, len(grid)),
        "syncopation": _syncopation(onset, bar, grid),
        **_sounding(begin, end, pitch, grid),
    }
    return np.stack([columns[name] for name in ATTRIBUTES], axis=1).astype(np.float32)


def transpose_attributes(rows: NDArray[Any], semitones: int) -> NDArray[Any]:
    """Attributes (..., 8) of the same music so many semitones higher."""
    moved = rows.copy()
    moved[..., ATTRIBUTES.index("mean_pitch")] += semitones
    return moved


def _mean(values: NDArray[Any], bar: Ints, bars: int) -> Floats:
    """Mean of the notes of each bar (B,); NaN without notes."""
    return _ratio(np.bincount(bar, weights=values, minlength=bars), np.bincount(bar, minlength=bars))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """``part / whole``, NaN where the whole is 0."""
    nothing: Floats = np.full(len(whole), np.nan)
    return np.divide(part, whole, out=nothing, where=whole > 0)


def _density(onset: Floats, bar: Ints, grid: Grid) -> Floats:
    """Different onsets a quarter (B,)."""
    steps = np.rint((onset - grid.edges[bar]) * ONSETS_PER_QUARTER).astype(np.int64)
    order = np.lexsort((steps, bar))
    fresh = np.append(True, (np.diff(bar[order]) != 0) | (np.diff(steps[order]) != 0))[: len(order)]
    density: Floats = np.bincount(bar[order[fresh]], minlength=len(grid)) / np.diff(grid.edges)
    return density


def _range(pitch: Ints, bar: Ints, bars: int) -> Floats:
    """Highest minus lowest pitch (B,)."""
    highest, lowest = np.full(bars, -np.inf), np.full(bars, np.inf)
    np.maximum.at(highest, bar, pitch)
    np.minimum.at(lowest, bar, pitch)
    return np.where(np.isfinite(highest), highest - lowest, np.nan)


def _syncopation(onset: Floats, bar: Ints, grid: Grid) -> Floats:
    """Minus the correlation of notes and metrical weights over the sixteenths (B,)."""
    steps = np.clip(np.rint(np.diff(grid.edges) * STEPS_PER_QUARTER), 1, MOST_STEPS).astype(np.int64)
    step = np.rint((onset - grid.edges[bar]) * STEPS_PER_QUARTER).astype(np.int64)
    step = np.minimum(step, steps[bar] - 1)
    notes = np.bincount(bar, minlength=len(grid))
    found = np.full(len(grid), np.nan)
    for size in np.unique(steps[notes > 0]):  # a metre or two in a piece
        weights = metrical_weights(int(size)).astype(np.float64)
        weights -= weights.mean()
        mine = steps[bar] == size
        # Only sums over notes are needed, so that no bar is as large as it is long.
        own, cells = bar[mine], bar[mine] * size + step[mine]
        agreement = np.bincount(own, weights=weights[step[mine]], minlength=len(grid))
        cell, count = np.unique(cells, return_counts=True)
        squares = np.bincount(cell // size, weights=count**2, minlength=len(grid))
        spread = np.sqrt(np.maximum(squares - notes**2 / size, 0.0) * (weights**2).sum())
        defined = (steps == size) & (notes > 0) & (size > 1)
        found[defined] = -np.divide(agreement, spread, out=np.zeros(len(grid)), where=spread > 0)[defined]
    return found


def _sounding(begin: Floats, end: Floats, pitch: Ints, grid: Grid) -> dict[str, Floats]:
    """What depends on how long notes sound: polyphony, tension and contour (B,) each."""
    marks = np.unique(np.concatenate([grid.edges, begin, end]))
    first, stop = np.searchsorted(marks, begin), np.searchsorted(marks, end)
    start, length = marks[:-1], np.diff(marks)
    bars, stretches = len(grid), len(start)
    bar = np.clip(np.searchsorted(grid.edges, start, side="right") - 1, 0, bars - 1)

    def over_time(values: NDArray[Any], where: NDArray[np.bool_]) -> Floats:
        """Integral of values over the part of each bar where something holds (B,)."""
        total = np.bincount(bar[where], weights=(length * values)[where], minlength=bars)
        return np.asarray(total, dtype=np.float64)

    sounding = _running(first, stop, np.zeros_like(pitch), stretches, 1)[:, 0]
    heard = sounding > 0
    time = over_time(np.ones(stretches), heard)
    rough = roughness(_running(first, stop, pitch % PITCH_CLASSES, stretches, PITCH_CLASSES))
    together = ~np.isnan(rough)
    # A line that is held is a staircase: its moments are integrals over the steps, not sums over their middles.
    top = np.where(heard, outermost(pitch, first, stop, stretches), 0).astype(np.float64)
    middle = start + length / 2
    away = middle - _ratio(over_time(middle, heard), time)[bar]
    height = top - _ratio(over_time(top, heard), time)[bar]
    slope = _ratio(over_time(away * height, heard), over_time(away**2 + length**2 / 12, heard))
    return {
        "polyphony": _ratio(over_time(sounding, heard), time),
        "tension": _ratio(over_time(rough, together), over_time(np.ones(stretches), together)),
        "contour": slope * np.diff(grid.edges),
    }


def _running(first: Ints, stop: Ints, column: Ints, stretches: int, columns: int) -> Ints:
    """Notes of each column that sound in each stretch, (S, columns); a note sounds from ``first`` until ``stop``."""
    size = (stretches + 1) * columns
    change = np.bincount(first * columns + column, minlength=size) - np.bincount(
        stop * columns + column, minlength=size
    )
    return np.cumsum(change.reshape(stretches + 1, columns), axis=0)[:stretches]
