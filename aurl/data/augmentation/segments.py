"""A batch of token ranges laid end to end, as augmentation takes and gives it. N tokens, S segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass
class Segments:
    """Ranges of tokens of pieces, targets included."""

    ids: IntArray
    """Token ids (N,)."""
    source: IntArray
    """Token of its piece that each token is, or stands for (N,)."""
    bar: IntArray
    """Bar number in the piece (N,)."""
    beat: npt.NDArray[np.float32]
    """Onset in quarter notes since the start of the piece (N,)."""
    lengths: IntArray
    """Tokens of each segment (S,)."""
    piece: IntArray
    """Index of each segment's piece in the store (S,)."""
    scored_from: IntArray
    """Token of the piece that is the first target to count (S,)."""

    @property
    def segment(self) -> IntArray:
        """Segment of each token (N,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def starts(self) -> IntArray:
        """Index of each segment's first token (S,)."""
        return np.cumsum(self.lengths) - self.lengths

    def select(self, chosen: IntArray) -> Segments:
        """Some of the segments."""
        kept = np.concatenate(
            [np.arange(a, a + n) for a, n in zip(self.starts[chosen], self.lengths[chosen], strict=True)]
        )
        return Segments(
            self.ids[kept],
            self.source[kept],
            self.bar[kept],
            self.beat[kept],
            self.lengths[chosen],
            self.piece[chosen],
            self.scored_from[chosen],
        )

    def replace(self, chosen: IntArray, others: Segments) -> Segments:
        """Put ``others`` where the segments ``chosen`` were."""
        borders, other_borders = np.cumsum(self.lengths)[:-1], np.cumsum(others.lengths)[:-1]
        columns: list[npt.NDArray[Any]] = []
        for name in ("ids", "source", "bar", "beat"):
            parts = np.split(getattr(self, name), borders)
            for index, part in zip(chosen.tolist(), np.split(getattr(others, name), other_borders), strict=True):
                parts[index] = part
            columns.append(np.concatenate(parts))
        lengths = self.lengths.copy()
        lengths[chosen] = others.lengths
        ids, source, bar, beat = columns
        return Segments(ids, source, bar, beat, lengths, self.piece, self.scored_from)
