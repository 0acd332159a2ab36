"""Planted damage: functions that spoil a real score in one known way, to see which metrics notice.

Each takes a score and a seeded NumPy generator and returns a new score; the original is not touched. What each leaves
alone is as important as what it changes, because a metric that sees it must see just that.

``CORRUPTIONS`` names those that need one score; ``splice`` needs a second. A copied training piece is no corruption of
a score: it is a real one, and only an originality check can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from symusic.core import NoteTickList

from aurl.evaluation.metrics.pitch import find_key, sounding_classes
from aurl.evaluation.metrics.table import OCTAVE, PITCHES, Floats, Ints, NoteTable, read_table

if TYPE_CHECKING:
    from symusic.core import ScoreTick

    Corruption = Callable[[ScoreTick, np.random.Generator], ScoreTick]

NOTE_COLUMNS = ("time", "duration", "pitch", "velocity")
WRONG_SHARE = 0.10
JITTER_QUARTERS = 0.15
LOOP_BARS = 4
LENGTH_TOLERANCE = 1e-6


def bar_shuffle(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """The bars of equal length in random order; notes move with the bar in which they start and keep their lengths.

    Keeps every count of pitches, lengths and positions within the bar.
    """
    table = read_table(score)
    order = np.arange(table.bars)
    for length in np.unique(table.bar_lengths):
        alike = np.flatnonzero(np.abs(table.bar_lengths - length) < LENGTH_TOLERANCE)
        order[alike] = rng.permutation(alike)
    return arrange_bars(score, order, table.bar_starts)


def wrong_notes(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """A tenth of the pitched notes moved by a semitone up or down. Keeps rhythm, contour nearly, and register."""

    def change(columns: dict[str, Ints]) -> None:
        wrong = rng.random(len(columns["pitch"])) < WRONG_SHARE
        moved = columns["pitch"] + np.where(rng.random(len(wrong)) < 0.5, 1, -1)
        columns["pitch"] = np.where(wrong, np.clip(moved, 0, PITCHES - 1), columns["pitch"])

    return edit_notes(score, change, pitched_only=True)


def four_bar_loop(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """Four bars in a row from somewhere in the middle, repeated to the length of the piece. Keeps every bar real."""
    table = read_table(score)
    first = int(rng.integers(0, max(table.bars - LOOP_BARS, 0) + 1))
    order = first + np.arange(table.bars) % min(LOOP_BARS, table.bars)
    return arrange_bars(score, order, table.bar_starts)


def timing_jitter(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """Every onset moved by a normal deviate of 15 % of a quarter. Keeps pitches, lengths and roughly the order."""
    scale = JITTER_QUARTERS * score.ticks_per_quarter

    def change(columns: dict[str, Ints]) -> None:
        moved = columns["time"] + np.rint(rng.normal(0, scale, len(columns["time"]))).astype(np.int64)
        columns["time"] = np.maximum(moved, 0)

    return edit_notes(score, change)


def pitch_permutation(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """The pitches of each pitched track dealt out to its notes at random. Keeps rhythm and all counts of pitches."""

    def change(columns: dict[str, Ints]) -> None:
        columns["pitch"] = rng.permutation(columns["pitch"])

    return edit_notes(score, change, pitched_only=True)


def velocity_flattening(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """Every note at the mean velocity of its track. Keeps all else; changes nothing where velocities never vary."""

    def change(columns: dict[str, Ints]) -> None:
        if len(columns["velocity"]):
            columns["velocity"] = np.full(len(columns["velocity"]), round(float(columns["velocity"].mean())))

    return edit_notes(score, change)


def splice(score: ScoreTick, other: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """The beginning of one score and, from a bar line in the middle third on, the end of another in the same key.

    The other is transposed to the tonic of the first (nearest profile, the shorter way); its tracks are matched in
    order; tempo and length stay those of the first, as far as the other has as many bars. Keeps the key, and
    everything inside each part. Choose another of the same mode and metre (:func:`fits_splice`).
    """
    first, second = read_table(score), read_table(other)
    third = first.bars / 3
    cut = int(rng.integers(max(round(third), 1), max(round(2 * third), 1) + 1))
    begin_other = max(second.bars - (first.bars - cut), 0)
    shift = (find_key(sounding_classes(first))[0] - find_key(sounding_classes(second))[0] + 6) % OCTAVE - 6
    result = score.copy()
    line, source = float(first.bar_starts[cut]), float(second.bar_starts[begin_other])
    for index, track in enumerate(result.tracks):
        mine = _columns(track)
        kept = {name: column[mine["time"] < line * score.ticks_per_quarter] for name, column in mine.items()}
        if index < len(other.tracks):
            theirs = _columns(other.tracks[index])
            late = theirs["time"] >= source * other.ticks_per_quarter
            theirs = {name: column[late] for name, column in theirs.items()}
            scale = score.ticks_per_quarter / other.ticks_per_quarter
            quarters = theirs["time"] / other.ticks_per_quarter - source + line
            theirs["time"] = np.rint(quarters * score.ticks_per_quarter).astype(np.int64)
            theirs["duration"] = np.maximum(np.rint(theirs["duration"] * scale).astype(np.int64), 1)
            if not track.is_drum:
                theirs["pitch"] = np.clip(theirs["pitch"] + shift, 0, PITCHES - 1)
            kept = {name: np.concatenate([column, theirs[name]]) for name, column in kept.items()}
        _store(track, kept)
    return result


def fits_splice(first: NoteTable, second: NoteTable) -> bool:
    """Whether two pieces share mode and usual bar length, so that a splice keeps key and metre."""
    same_mode = find_key(sounding_classes(first))[1] == find_key(sounding_classes(second))[1]
    return same_mode and float(np.median(first.bar_lengths)) == float(np.median(second.bar_lengths))


CORRUPTIONS: dict[str, Corruption] = {
    "bar_shuffle": bar_shuffle,
    "wrong_notes": wrong_notes,
    "four_bar_loop": four_bar_loop,
    "timing_jitter": timing_jitter,
    "pitch_permutation": pitch_permutation,
    "velocity_flattening": velocity_flattening,
}
"""Corruptions of one score, by name."""


def arrange_bars(score: ScoreTick, order: Ints, bar_starts: Floats) -> ScoreTick:
    """A score whose bar number i is bar ``order[i]`` of another; bars may be left out or come several times.

    Args:
        score: the source; its tempi, metres and controllers stay where they are.
        order: (B,) number of the bar put at each place.
        bar_starts: (B + 1,) bar lines of the source in quarters.
    """
    result = score.copy()
    quarter = score.ticks_per_quarter
    for track in result.tracks:
        columns = _columns(track)
        onset = columns["time"] / quarter
        owner = np.clip(np.searchsorted(bar_starts, onset + 1e-9, side="right") - 1, 0, len(order) - 1)
        parts: dict[str, list[Ints]] = {name: [] for name in NOTE_COLUMNS}
        for place, source in enumerate(order.tolist()):
            mine = owner == source
            for name in NOTE_COLUMNS:
                parts[name].append(columns[name][mine])
            shift = round((bar_starts[place] - bar_starts[source]) * quarter)
            parts["time"][-1] = parts["time"][-1] + shift
        _store(track, {name: np.concatenate(column) for name, column in parts.items()})
    return result


def edit_notes(score: ScoreTick, change: Callable[[dict[str, Ints]], None], pitched_only: bool = False) -> ScoreTick:
    """A copy whose tracks' note columns went through ``change``."""
    result = score.copy()
    for track in result.tracks:
        if pitched_only and track.is_drum:
            continue
        columns = _columns(track)
        change(columns)
        _store(track, columns)
    return result


def _columns(track: object) -> dict[str, Ints]:
    arrays = track.notes.numpy()  # type: ignore[attr-defined]
    return {name: arrays[name].astype(np.int64) for name in NOTE_COLUMNS}


def _store(track: object, columns: dict[str, Ints]) -> None:
    """Put the columns into the track, ordered by onset."""
    order = np.lexsort((columns["pitch"], columns["time"]))
    kinds = {"time": np.int32, "duration": np.int32, "pitch": np.int8, "velocity": np.int8}
    track.notes = NoteTickList.from_numpy(  # type: ignore[attr-defined]
        *(columns[name][order].astype(kinds[name]) for name in NOTE_COLUMNS)
    )
