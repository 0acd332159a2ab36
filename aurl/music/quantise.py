"""Quantisation: onsets and ends of notes move to the metre's grid, and how far they moved is measured.

Three grids: ``sixteenths``, ``triplets`` (three to the pulse), and ``mixed``, which takes for every pulse of every
track the grid that explains its onsets best (:func:`choose_grids`). What the notation says (metre, key, tempo, markers)
keeps its place on the beat; what a player does (controllers, pedals, bends, lyrics) moves along with the notes of its
track. Ends move as onsets do, so what was legato stays legato; no note becomes shorter than one step, and of the notes
of a track that meet in onset and pitch one remains, as long as the longest and as loud as the loudest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick, TempoTickList, TimeSignatureTickList

from aurl.music.metrical_grid import MetricalGrid, grid_resolution, metrical_grid
from aurl.music.note_arrays import (
    FloatArray,
    IntArray,
    TickNotes,
    check_range,
    copy_with_resolution,
    move_keys_and_markers,
    move_performance,
    notes_of,
    with_notes,
)
from aurl.music.tempo_map import tempo_map

TIMING_SPREAD = 0.03
"""Standard deviation of a played onset around its grid position, in quarters (15 ms at 120 quarters a minute)."""
FARTHEST = 3.0
"""Standard deviations beyond which an onset speaks against neither grid any more."""
TERNARY_COST = 4.0
"""What a ternary pulse costs more than a binary one, in nats: triplets are the rarer case."""
NEIGHBOUR_WEIGHT = 0.5
"""How much the pulses before and after count: triplets seldom come alone."""
NEIGHBOUR_LIMIT = 4.0
"""Nats that one neighbour can count at most: a lone triplet among sixteenths must stay possible."""
PERCENTILE = 95
MILLISECONDS = 1000.0


class Quantise(str, Enum):
    """Which grid."""

    none = "none"
    """Times stay as they were played."""
    sixteenths = "sixteenths"
    """Sixteenth notes."""
    triplets = "triplets"
    """Three to the pulse: triplets of eighths in metres of quarters."""
    mixed = "mixed"
    """For each pulse of each track the better of the two."""


@dataclass(frozen=True)
class Quantised:
    """A score on the grid, what was lost and how far notes moved."""

    score: ScoreTick
    counts: dict[str, int]
    """notes_merged: of those that met in track, onset and pitch; notes_lengthened: to one step; ternary_pulses;
    metres_moved: that stood off the grid."""
    errors: dict[str, float]
    """Mean and 95th percentile of the distances, for instance ``onset_error_mean_ms`` (see :func:`errors_of`)."""


def quantise(score: ScoreTick, grid: Quantise, subdivide: int = 1) -> Quantised:
    """Move a score to a grid.

    Args:
        score: in ticks, its time signatures sorted; it is not changed.
        grid: which grid.
        subdivide: 1 for sixteenths and triplets, 2 for half of these, and so on.

    Returns:
        The score at a resolution that holds the grid, counts and errors.

    Raises:
        UnreadableFile: the piece is too long for MIDI ticks at that resolution.

    Example:
        >>> quantise(score, Quantise.mixed).errors["onset_error_p95_ms"]  # doctest: +SKIP
        31.2
    """
    if grid is Quantise.none:
        return Quantised(score, {}, {})
    resolution = grid_resolution(score, subdivide)
    notes, scale = notes_of(score), resolution / score.ticks_per_quarter
    check_range(np.ceil(notes.end * scale).astype(np.int64))
    positions, metres = metrical_grid(score, resolution, subdivide)
    time, end = (notes.time * scale).astype(np.float64), (notes.end * scale).astype(np.float64)
    tracks = max(len(score.tracks), 1)
    ternary = choose_grids(positions, time, notes.track, tracks, grid, resolution)
    new_time, new_end = ternary.round(time, notes.track), ternary.round(end, notes.track)
    least = _next_position(ternary, new_time, notes.track)
    moved = notes._replace(time=new_time, end=np.maximum(new_end, least))
    result = copy_with_resolution(score, resolution)
    _move_the_rest(result, notes.time, new_time, notes.track, scale, metres)
    merged = merge_unisons(moved)
    counts = {
        "notes_merged": len(moved.time) - len(merged.time),
        "notes_lengthened": int((new_end < least).sum()),
        "ternary_pulses": ternary.count if grid is Quantise.mixed else 0,
        "metres_moved": int((np.array([s.time for s in score.time_signatures], dtype=float) * scale != metres).sum()),
    }
    return Quantised(with_notes(result, merged), counts, errors_of(score, notes, moved, scale))


def _next_position(grid: GridChoice, time: IntArray, track: IntArray) -> IntArray:
    """The shortest end of notes that begin at positions: one step on, and on the grid where steps change there."""
    stepped = time + grid.step(time.astype(np.float64), track)
    on_grid = grid.round(stepped.astype(np.float64), track)
    return np.where(on_grid > time, on_grid, stepped)


class GridChoice:
    """Which pulses of which track are ternary, and times rounded accordingly.

    Args:
        positions: the metre's grids.
        chosen: ternary or not for each pulse of each track (tracks, pulses), or one answer for all.
    """

    def __init__(self, positions: MetricalGrid, chosen: NDArray[np.bool_] | bool) -> None:
        self._positions = positions
        self._chosen = chosen

    @property
    def count(self) -> int:
        """Ternary pulses, each track's own."""
        return int(np.sum(self._chosen))

    def is_ternary(self, times: FloatArray, track: IntArray) -> NDArray[np.bool_]:
        """Whether each time lies in a ternary pulse of its track; pulses after the last onset are binary."""
        if isinstance(self._chosen, bool):
            return np.full(len(times), self._chosen)
        cells = self._positions.cells(times)
        known = cells < self._chosen.shape[1]
        return known & self._chosen[track, np.where(known, cells, 0)]

    def round(self, times: FloatArray, track: IntArray) -> IntArray:
        """The position next to each time; never out of order within a track."""
        ternary, grid = self.is_ternary(times, track), self._positions
        return np.where(ternary, grid.nearest(times, True), grid.nearest(times, False))

    def step(self, times: FloatArray, track: IntArray) -> IntArray:
        """Distance to the following position where each time lies."""
        ternary, grid = self.is_ternary(times, track), self._positions
        return np.where(ternary, grid.steps(times, True), grid.steps(times, False))


def choose_grids(
    positions: MetricalGrid,
    times: FloatArray,
    track: IntArray,
    tracks: int,
    grid: Quantise,
    resolution: int,
    neighbour_weight: float = NEIGHBOUR_WEIGHT,
) -> GridChoice:
    """Decide for every pulse of every track between the two grids.

    The cost of a grid is the negative log likelihood of the pulse's distinct onsets: each chose one of the grid's
    k positions (ln k) and was played with a normal error of :data:`TIMING_SPREAD` (d^2 / 2 s^2, at most that of
    :data:`FARTHEST`). The difference, binary less ternary, plus half of the neighbours', must exceed
    :data:`TERNARY_COST`.

    Args:
        positions: the metre's grids.
        times: onsets in ticks (N,).
        track: of each onset (N,).
        tracks: how many there are.
        grid: sixteenths and triplets choose one grid for all.
        resolution: ticks a quarter.
        neighbour_weight: how much the pulses beside count.
    """
    if grid is not Quantise.mixed or not len(times):
        return GridChoice(positions, grid is Quantise.triplets)
    order = np.lexsort((times, track))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(times[order]) > 0) | (np.diff(track[order]) > 0)
    onset, own = times[order][first], track[order][first]
    stretch = positions.stretch_of(onset)
    costs = []
    for ternary in (False, True):
        distance = (onset - positions.nearest(onset, ternary)) / (resolution * TIMING_SPREAD)
        step = (positions.ternary if ternary else positions.binary)[stretch]
        costs.append(np.minimum(distance**2, FARTHEST**2) / 2 + np.log(positions.pulses[stretch] / step))
    cells = positions.cells(onset)
    gain = np.zeros((tracks, int(cells.max()) + 1))
    np.add.at(gain, (own, cells), costs[0] - costs[1])
    total, beside = gain.copy(), neighbour_weight * np.clip(gain, -NEIGHBOUR_LIMIT, NEIGHBOUR_LIMIT)
    total[:, 1:] += beside[:, :-1]
    total[:, :-1] += beside[:, 1:]
    return GridChoice(positions, total > TERNARY_COST)


def merge_unisons(notes: TickNotes) -> TickNotes:
    """Of the notes of a track that begin together at one pitch keep one, with the last end and the highest velocity."""
    order = np.lexsort((notes.pitch, notes.time, notes.track))
    ordered = notes.take(order)
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (np.diff(ordered.time) == 0) & (np.diff(ordered.pitch) == 0) & (np.diff(ordered.track) == 0)
    if not same.any():
        return notes
    first = np.flatnonzero(~same)
    end, velocity = np.maximum.reduceat(ordered.end, first), np.maximum.reduceat(ordered.velocity, first)
    return ordered.take(first)._replace(end=end, velocity=velocity)


def errors_of(score: ScoreTick, before: TickNotes, after: TickNotes, scale: float) -> dict[str, float]:
    """Mean and 95th percentile of how far notes moved.

    Args:
        score: gives the tempo map, which quantisation does not change.
        before: notes at its resolution (N,).
        after: the same notes in new ticks.
        scale: new ticks for one old tick.

    Returns:
        ``{onset,duration}_error_{mean,p95}_{ms,quarters}``; all 0 for a score without notes.
    """
    tempi, quarter = tempo_map(score), score.ticks_per_quarter * scale
    seconds = [
        (tempi.to_seconds(times), tempi.to_seconds(ends))
        for times, ends in ((before.time, before.end), (after.time / scale, after.end / scale))
    ]
    (played, stopped), (moved, ended) = seconds
    values = {
        ("onset", "ms"): np.abs(moved - played) * MILLISECONDS,
        ("onset", "quarters"): np.abs(after.time - before.time * scale) / quarter,
        ("duration", "ms"): np.abs((ended - moved) - (stopped - played)) * MILLISECONDS,
        ("duration", "quarters"): np.abs((after.end - after.time) - (before.end - before.time) * scale) / quarter,
    }
    errors: dict[str, float] = {}
    for (what, unit), distances in values.items():
        errors[f"{what}_error_mean_{unit}"] = float(distances.mean()) if len(distances) else 0.0
        errors[f"{what}_error_p95_{unit}"] = float(np.percentile(distances, PERCENTILE)) if len(distances) else 0.0
    return errors


def _move_the_rest(
    score: ScoreTick, time: IntArray, new_time: IntArray, track: IntArray, scale: float, metres: IntArray
) -> None:
    """Everything but notes: marks to their place at the new resolution, a player's events along with the notes."""

    def scaled(times: IntArray) -> IntArray:
        return np.floor(times * scale + 0.5).astype(np.int64)

    if len(score.tempos):
        tempi = score.tempos.numpy()
        score.tempos = TempoTickList.from_numpy(scaled(tempi["time"]).astype(np.int32), tempi["mspq"])
    if len(score.time_signatures):
        signs = score.time_signatures.numpy()
        score.time_signatures = TimeSignatureTickList.from_numpy(
            metres.astype(np.int32), signs["numerator"], signs["denominator"]
        )
    move_keys_and_markers(score, scaled)
    order = np.argsort(track, kind="stable")
    bounds = np.searchsorted(track[order], np.arange(len(score.tracks) + 1))
    for index, own in enumerate(score.tracks):
        mine = order[bounds[index] : bounds[index + 1]]
        old, first = np.unique(time[mine], return_index=True)
        shift = new_time[mine][first] - old * scale

        def follow(times: IntArray, old: IntArray = old, shift: FloatArray = shift) -> IntArray:
            by = np.interp(times, old, shift) if len(old) else 0.0
            return np.maximum(np.floor(times * scale + by + 0.5), 0).astype(np.int64)

        move_performance(own, follow)
