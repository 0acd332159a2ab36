"""What sounds in each beat or bar: rolls, chroma, density and polyphony, aligned with the frames of a grid.

Pure functions of note arrays (pianoroll.py) and a ``Grid`` (grid.py); ``FEATURES`` names them all, so that a store can
ask for one by name. No loop over notes: the time that a note sounds in each frame is the running sum of four numbers a
note, so a piece costs one ``bincount`` and one ``cumsum``. Axis legend: N notes, T frames, C columns.

    feature             shape     dtype    value
    piano_roll          (T, 128)  uint8    part of the frame in which the pitch sounds, in 255ths
    onset_roll          (T, 128)  uint8    notes of the pitch that begin in the frame, at most 255
    velocity_roll       (T, 128)  uint8    velocity of the loudest of them, 1 to 127; 0 where none begins
    chroma              (T, 12)   float16  notes of the pitch class that sound, on average over the frame
    density             (T,)      uint16   notes that begin in the frame
    polyphony           (T,)      float16  notes that sound, on average over the frame
    drum_onset_roll     (T, 128)  uint8    strokes of the drum key in the frame
    drum_velocity_roll  (T, 128)  uint8    velocity of the loudest of them
    drum_density        (T,)      uint16   drum strokes in the frame

The first six leave drums out. A note before the first edge counts nowhere, one that begins after the last edge counts
as an onset of the last frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.music.grid import Grid, Level, bar_grid, beat_grid, grid_of
from aurl.music.pianoroll import NoteArrays, note_arrays

__all__ = [
    "FEATURES",
    "Feature",
    "Grid",
    "bar_grid",
    "beat_grid",
    "chroma",
    "compute_feature",
    "compute_features",
    "density",
    "drum_density",
    "drum_onset_roll",
    "drum_velocity_roll",
    "grid_of",
    "notes_of",
    "onset_roll",
    "piano_roll",
    "polyphony",
    "velocity_roll",
]

PITCHES = 128
PITCH_CLASSES = 12
FULL = 255
"""Value of a piano roll where a pitch sounds throughout the frame."""
HALF_UP = 0.5 + 1e-6
"""Added before cutting off: halves go up, also those that floating point puts a hair below."""
Values = NDArray[Any]


def notes_of(score: Any, steps_per_quarter: int | None = None) -> NoteArrays:
    """The notes of a symusic score in ticks, optionally on the grid that its tokens have.

    Args:
        score: the score.
        steps_per_quarter: round onsets and ends to so many steps in a quarter note (halves to the even one, a note
            lasts at least one); None leaves them where they are.
    """
    notes = note_arrays(score)
    if steps_per_quarter is None:
        return notes
    if steps_per_quarter < 1:
        raise ValueError(f"steps_per_quarter={steps_per_quarter} is too small; allowed: 1 or more")
    onset, end = (np.rint(times * steps_per_quarter) for times in (notes.onset, notes.onset + notes.duration))
    return replace(notes, onset=onset / steps_per_quarter, duration=np.maximum(end - onset, 1) / steps_per_quarter)


# --- features ---------------------------------------------------------------------------------------------------------


def piano_roll(notes: NoteArrays, grid: Grid) -> NDArray[np.uint8]:
    """Part of each frame in which each pitch sounds, in 255ths, uint8 (T, 128); unisons do not add up beyond 255.

    Example:
        >>> roll = piano_roll(notes_of(score), grid_of(score, "beat"))  # doctest: +SKIP
    """
    pitched = _part(notes, drums=False)
    covered = np.minimum(_sounding(pitched, grid, pitched.pitch, PITCHES), 1.0)
    return (covered * FULL + HALF_UP).astype(np.uint8)


def onset_roll(notes: NoteArrays, grid: Grid) -> NDArray[np.uint8]:
    """Notes of each pitch that begin in each frame, uint8 (T, 128), at most 255."""
    return _onsets(_part(notes, drums=False), grid)


def velocity_roll(notes: NoteArrays, grid: Grid) -> NDArray[np.uint8]:
    """Velocity of the loudest note of each pitch that begins in each frame, uint8 (T, 128); 0 where none does."""
    return _velocities(_part(notes, drums=False), grid)


def chroma(notes: NoteArrays, grid: Grid) -> NDArray[np.float16]:
    """Notes of each pitch class (C first) that sound on average over each frame, float16 (T, 12)."""
    pitched = _part(notes, drums=False)
    return _sounding(pitched, grid, pitched.pitch % PITCH_CLASSES, PITCH_CLASSES).astype(np.float16)


def density(notes: NoteArrays, grid: Grid) -> NDArray[np.uint16]:
    """Notes that begin in each frame, uint16 (T,)."""
    return _counts(_part(notes, drums=False), grid)


def polyphony(notes: NoteArrays, grid: Grid) -> NDArray[np.float16]:
    """Notes that sound on average over each frame, float16 (T,)."""
    pitched = _part(notes, drums=False)
    return _sounding(pitched, grid, np.zeros_like(pitched.pitch), 1)[:, 0].astype(np.float16)


def drum_onset_roll(notes: NoteArrays, grid: Grid) -> NDArray[np.uint8]:
    """Strokes of each drum key in each frame, uint8 (T, 128), at most 255."""
    return _onsets(_part(notes, drums=True), grid)


def drum_velocity_roll(notes: NoteArrays, grid: Grid) -> NDArray[np.uint8]:
    """Velocity of the loudest stroke of each drum key in each frame, uint8 (T, 128); 0 where there is none."""
    return _velocities(_part(notes, drums=True), grid)


def drum_density(notes: NoteArrays, grid: Grid) -> NDArray[np.uint16]:
    """Drum strokes in each frame, uint16 (T,)."""
    return _counts(_part(notes, drums=True), grid)


# --- by name ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Feature:
    """A function of notes and a grid, and what it returns.

    Example:
        >>> FEATURES["chroma"].shape(16), FEATURES["chroma"].dtype
        ((16, 12), dtype('float16'))
    """

    name: str
    compute: Callable[[NoteArrays, Grid], Values]
    dtype: np.dtype[Any]
    columns: int | None = None
    """Columns of each frame; None for one number a frame."""

    def shape(self, frames: int) -> tuple[int, ...]:
        """Shape of the array of a piece with so many frames."""
        return (frames,) if self.columns is None else (frames, self.columns)


FEATURES: dict[str, Feature] = {
    function.__name__: Feature(function.__name__, function, np.dtype(dtype), columns)
    for function, dtype, columns in (
        (piano_roll, np.uint8, PITCHES),
        (onset_roll, np.uint8, PITCHES),
        (velocity_roll, np.uint8, PITCHES),
        (chroma, np.float16, PITCH_CLASSES),
        (density, np.uint16, None),
        (polyphony, np.float16, None),
        (drum_onset_roll, np.uint8, PITCHES),
        (drum_velocity_roll, np.uint8, PITCHES),
        (drum_density, np.uint16, None),
    )
}
"""Every feature by name; a new one is a function and a line here."""


def compute_feature(name: str, score: Any, level: Level = "beat", onsets: Values | None = None) -> Values:
    """One feature of a score, aligned with its beats or bars.

    Args:
        name: a key of ``FEATURES``.
        score: symusic score in ticks.
        level: "beat" (quarter notes) or "bar".
        onsets: (T,) where the beats or bars begin, in quarter notes, for instance those of its tokens; None takes the
            score's own up to its end.

    Returns:
        Array of shape ``FEATURES[name].shape(T)``.

    Raises:
        ValueError: another name or level, or onsets that do not increase.
        AurlError: more than ``grid.MOST_FRAMES`` frames.
    """
    return compute_features([name], score, level, onsets)[name]


def compute_features(
    names: Iterable[str], score: Any, level: Level = "beat", onsets: Values | None = None
) -> dict[str, Values]:
    """Several features of a score by name; see :func:`compute_feature`."""
    wanted = list(names)
    if unknown := [name for name in wanted if name not in FEATURES]:
        raise ValueError(f"feature {unknown[0]} is unknown; allowed: {', '.join(FEATURES)}")
    grid = grid_of(score, level) if onsets is None else Grid.from_onsets(onsets)
    notes = note_arrays(score)
    return {name: FEATURES[name].compute(notes, grid) for name in wanted}


# --- arithmetic -------------------------------------------------------------------------------------------------------


def drums_apart(notes: NoteArrays) -> tuple[NoteArrays, NoteArrays]:
    """Notes that have a pitch, and strokes of drum kits."""
    return _part(notes, drums=False), _part(notes, drums=True)


def _part(notes: NoteArrays, drums: bool) -> NoteArrays:
    """The notes of the drum kits, or all others."""
    if len(notes) == 0 or not any(notes.drums):
        wanted = np.full(len(notes), not drums)
    else:
        wanted = np.array(notes.drums)[notes.track] == drums
    if wanted.all():
        return notes
    columns = ("onset", "duration", "pitch", "velocity", "track")
    return replace(notes, **{name: getattr(notes, name)[wanted] for name in columns})


def _begins(notes: NoteArrays, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Frame in which each note begins (N,), and which notes begin in one at all (N,)."""
    frame = np.searchsorted(grid.edges, notes.onset, side="right") - 1
    return np.minimum(frame, len(grid) - 1), frame >= 0


def _counts(notes: NoteArrays, grid: Grid) -> NDArray[np.uint16]:
    frame, inside = _begins(notes, grid)
    counts = np.bincount(frame[inside], minlength=len(grid))
    return np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)


def _onsets(notes: NoteArrays, grid: Grid) -> NDArray[np.uint8]:
    frame, inside = _begins(notes, grid)
    cells = frame[inside] * PITCHES + notes.pitch[inside]
    counts = np.bincount(cells, minlength=len(grid) * PITCHES)
    return np.minimum(counts, FULL).astype(np.uint8).reshape(len(grid), PITCHES)


def _velocities(notes: NoteArrays, grid: Grid) -> NDArray[np.uint8]:
    frame, inside = _begins(notes, grid)
    roll = np.zeros(len(grid) * PITCHES, np.uint8)
    order = np.argsort(notes.velocity[inside], kind="stable")  # of several values for a cell the last one stays
    cells = frame[inside] * PITCHES + notes.pitch[inside]
    roll[cells[order]] = notes.velocity[inside][order]
    return roll.reshape(len(grid), PITCHES)


def _sounding(notes: NoteArrays, grid: Grid, column: NDArray[np.int64], columns: int) -> NDArray[np.float64]:
    """Notes that sound on average over each frame, float64 (T, C): the sum over notes of the part each one covers.

    With a note's onset at part f of frame i and its end at part g of frame j, what it covers is the running sum over
    frames of 1 - f at i, f at i + 1, g - 1 at j and -g at j + 1.
    """
    frames = len(grid)
    frame_on, part_on = _place(notes.onset, grid)
    frame_off, part_off = _place(notes.onset + notes.duration, grid)
    rows = np.concatenate([frame_on, frame_on + 1, frame_off, frame_off + 1])
    steps = np.concatenate([1 - part_on, part_on, part_off - 1, -part_off])
    cells = rows * columns + np.tile(column, 4)
    table = np.bincount(cells, weights=steps, minlength=(frames + 2) * columns).reshape(frames + 2, columns)
    return np.maximum(np.cumsum(table[:frames], axis=0), 0.0)  # the sum of what cancels may be a hair below 0


def _place(times: NDArray[np.float64], grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frame (N,) and part of it that has passed (N,) for times, which are moved inside the grid."""
    edges = grid.edges
    times = np.clip(times, edges[0], edges[-1])
    frame = np.minimum(np.searchsorted(edges, times, side="right") - 1, len(grid) - 1)
    return frame, (times - edges[frame]) / (edges[frame + 1] - edges[frame])
