"""What is done to a score between reading and tokenising; by default nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """How scores are prepared before they are tokenised; the default changes nothing."""


@dataclass(frozen=True)
class Preprocessed:
    """A score after preprocessing."""

    score: ScoreTick
    counts: dict[str, int] = field(default_factory=dict)
    """What was changed, counted by kind."""
    measures: dict[str, float] = field(default_factory=dict)
    """What was measured, such as a mean quantisation error."""


def preprocess_score(
    score: ScoreTick, config: PreprocessConfig, beats: NDArray[np.float64] | None = None
) -> Preprocessed:
    """Apply a configuration to a score.

    Args:
        score: a checked score in ticks.
        config: what is done.
        beats: onsets of annotated beats in seconds, where they are known.
    """
    return Preprocessed(score)
