"""Arrays that lie beside the tokens, a row for each token, beat or bar: what there is, and how one is added.

A :class:`Provider` computes the rows of one piece. ``PROVIDERS`` maps the name that ``data.features`` lists to where
the provider is defined, so listing names imports nothing. A beat is a quarter note, as everywhere in prepared
corpora.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.music.features import FEATURES

MOST_BEATS = 100_000
"""Most beats of a piece with arrays beside its tokens (14 hours at 120 a minute); what chord detection allows."""


class Level(str, Enum):
    """What a row of an aligned array belongs to."""

    token = "token"
    beat = "beat"
    bar = "bar"


@dataclass(frozen=True)
class RowTimes:
    """Where the rows of a piece (those of tokens, beats and bars) lie in time, in quarter notes."""

    tokens: NDArray[np.float32]
    """Onset of each token (T,)."""
    token_bars: NDArray[np.int32]
    """Bar of each token (T,), counted from 0."""
    beats: NDArray[np.float64]
    """Onset of each beat (B,): 0, 1, 2 ... up to the end of the last note."""
    bars: NDArray[np.float64]
    """Onset of each bar (K,)."""

    def rows(self, level: Level) -> int:
        """Rows of an array of this level."""
        return {Level.token: len(self.tokens), Level.beat: len(self.beats), Level.bar: len(self.bars)}[level]

    @classmethod
    def of(cls, beats: NDArray[np.float32], bars: NDArray[np.int32], length: float) -> RowTimes:
        """The grid of a piece from the musical time of its tokens.

        Args:
            beats: onset of each token in quarters (T,).
            bars: bar of each token (T,).
            length: quarters to the end of the last note.

        Raises:
            ValueError: more than ``MOST_BEATS``.
        """
        if length > MOST_BEATS:
            raise ValueError(f"{length:.0f} beats are too many for data.features; allowed: {MOST_BEATS}")
        onsets = np.full(int(bars.max(initial=0)) + 1, np.inf)
        np.minimum.at(onsets, bars, beats)
        # A bar without a token of its own (none in REMI) begins with the next.
        onsets = np.minimum.accumulate(onsets[::-1])[::-1]
        return cls(beats, bars, np.arange(max(1, int(np.ceil(length))), dtype=np.float64), onsets)


def unmoved(rows: NDArray[Any], semitones: int) -> NDArray[Any]:
    """What transposition does not change."""
    return rows


@dataclass(frozen=True)
class Provider:
    """One kind of aligned array.

    Example:
        >>> times = RowTimes.of(np.zeros(2, np.float32), np.zeros(2, np.int32), 2.0)
        >>> onset_density.compute(ScoreTick(480), times).tolist()
        [0.0, 0.0]
    """

    name: str
    level: Level
    dtype: str
    """NumPy type such as ``<f4``."""
    shape: tuple[int, ...]
    """Shape of one row; () for a number."""
    compute: Callable[[ScoreTick, RowTimes], NDArray[Any]]
    """(score as it is tokenised, grid) -> array (rows, ``*shape``)."""
    code: tuple[str, ...] = (__name__,)
    """Modules that decide the values (with what they import): when one changes, the array is computed again."""
    transpose: Callable[[NDArray[Any], int], NDArray[Any]] = unmoved
    """(rows, semitones) -> the rows of the music transposed by so much, in a new array or the same one."""
    count: Callable[[ScoreTick], dict[str, int]] | None = None
    """What is summed over the pieces of a corpus and logged, for instance where the values come from."""


ROLLS = [f"{level}_{feature}" for level in ("beat", "bar") for feature in FEATURES]
HARMONY = ("chords", "key")
PROVIDERS = (
    {"onset_density": f"{__name__}:onset_density"}
    | {name: f"aurl.data.harmony:{name}" for name in HARMONY}
    | {name: f"aurl.data.rolls:{name}" for name in ROLLS}
    | {"bar_attributes": "aurl.data.bar_attributes:bar_attributes"}
)
"""Name -> ``module:attribute`` of the provider."""


def provider(name: str) -> Provider:
    """The provider of this name.

    Raises:
        ValueError: there is none.
    """
    check_features([name])
    module, _, attribute = PROVIDERS[name].partition(":")
    found: Provider = getattr(importlib.import_module(module), attribute)
    return found


def check_features(names: Sequence[str]) -> None:
    """Refuse names that no provider has.

    Raises:
        ValueError: an unknown or repeated name.
    """
    for name in names:
        if name not in PROVIDERS:
            raise ValueError(f"data.features: there is no '{name}'; allowed: {', '.join(sorted(PROVIDERS))}")
    if len(set(names)) != len(names):
        raise ValueError(f"data.features={list(names)} names an array twice")


def compute(kind: Provider, score: ScoreTick, grid: RowTimes) -> NDArray[Any]:
    """The array of a piece, checked against what its provider declares.

    Raises:
        ValueError: another number of rows or another shape of a row.
    """
    array = np.asarray(kind.compute(score, grid)).astype(kind.dtype)
    expected = (grid.rows(kind.level), *kind.shape)
    if array.shape != expected:
        raise ValueError(f"feature {kind.name} has shape {array.shape} instead of {expected}")
    return array


def _onset_density(score: ScoreTick, grid: RowTimes) -> NDArray[Any]:
    """Notes that begin in each beat."""
    beats = [track.notes.numpy()["time"] // score.ticks_per_quarter for track in score.tracks if len(track.notes)]
    onsets = np.concatenate([np.zeros(0, dtype=np.int64), *beats])
    return np.bincount(onsets, minlength=len(grid.beats))[: len(grid.beats)]


onset_density = Provider("onset_density", Level.beat, "<f4", (), _onset_density)
"""Notes that begin in each beat, all tracks together."""
