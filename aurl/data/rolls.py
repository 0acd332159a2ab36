"""The features of aurl/music/features.py as arrays beside the tokens: ``beat_chroma``, ``bar_piano_roll`` and so on.

Each feature exists at both levels; names are the level and the name of the feature. aligned.py finds them here by
name.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.data.aligned import Level, Provider, RowTimes, unmoved
from aurl.data.augmentation.labels import transpose_chroma, transpose_pitch_axis
from aurl.music.features import FEATURES, Feature, notes_of
from aurl.music.grid import Grid, grid_of

LEVELS = (Level.beat, Level.bar)
TRANSPOSED = {
    "chroma": transpose_chroma,
    "piano_roll": transpose_pitch_axis,
    "onset_roll": transpose_pitch_axis,
    "velocity_roll": transpose_pitch_axis,
}
"""Features that move with the pitches; numbers of notes do not, and drums never do."""


def compute_rows(feature: Feature, level: Level, score: ScoreTick, grid: RowTimes) -> NDArray[Any]:
    """The feature of a piece, a row for each beat or bar of its tokens; bars that begin with the next stay 0."""
    with_length, frames = frames_of(level, score, grid)
    rows = np.zeros(feature.shape(len(with_length)), feature.dtype)
    rows[with_length] = feature.compute(notes_of(score), frames)
    return rows


def frames_of(level: Level, score: ScoreTick, grid: RowTimes) -> tuple[NDArray[np.bool_], Grid]:
    """The beats or bars of a piece's tokens as frames for the music room.

    Returns:
        Which beats or bars (rows of an array of this level) are frames, the others beginning with the next; the frames.
    """
    onsets = grid.beats if level is Level.beat else grid.bars
    with_length = np.append(np.diff(onsets) > 0, True)
    return with_length, Grid.from_onsets(onsets[with_length], _end(level, score, onsets))


def _end(level: Level, score: ScoreTick, onsets: NDArray[np.float64]) -> float | None:
    """Where the last bar ends by the metre of the score; None where its tokens have other bars."""
    if level is Level.beat:
        return None
    own = grid_of(score, "bar").edges
    same = len(own) > len(onsets) and np.allclose(own[: len(onsets)], onsets)
    return float(own[len(onsets)]) if same else None


ROLLS: dict[str, Provider] = {
    f"{level.value}_{name}": Provider(
        name=f"{level.value}_{name}",
        level=level,
        dtype=feature.dtype.str,
        shape=feature.shape(1)[1:],
        compute=partial(compute_rows, feature, level),
        code=(__name__,),
        transpose=TRANSPOSED.get(name, unmoved),
    )
    for level in LEVELS
    for name, feature in FEATURES.items()
}
"""Every feature at every level by name."""


def __getattr__(name: str) -> Provider:
    """Providers by name, as aligned.py asks for them."""
    if name in ROLLS:
        return ROLLS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
