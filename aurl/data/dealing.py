"""Windows dealt to the batches of an epoch: each to the batch in which its middle falls, so that all are about as full.

Axis legend: W windows, B batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.data.windows import Window, WindowTable
from aurl.utils.rows import RowSpool, blocks


class EpochPlan(Sequence[list[Window]]):
    """The batches of an epoch, in order; each is made when it is asked for.

    Args:
        windows: all windows in the order in which they are drawn.
        ranges: first window of each batch, and one past its last (B, 2).
    """

    def __init__(self, windows: WindowTable, ranges: NDArray[np.int32]) -> None:
        self.windows, self._ranges = windows, ranges

    def __len__(self) -> int:
        return len(self._ranges)

    def __getitem__(self, batch: Any) -> Any:
        number = range(len(self))[batch]
        if isinstance(number, range):
            return [self[each] for each in number]
        first, end = self._ranges[number].tolist()
        return [self.windows[each] for each in range(first, end)]


def deal(windows: WindowTable, batches: int) -> EpochPlan:
    """Deal windows to batches.

    Args:
        windows: in the order in which they are drawn.
        batches: how many there are to be. With fewer windows than that, or a very long one, a batch that would have
            none takes the nearest.

    Example:
        >>> table = WindowTable(np.array([[0, 0, 5, 1], [1, 0, 5, 1], [2, 0, 9, 1]], np.int32))
        >>> [[window.piece for window in batch] for batch in deal(table, 2)]
        [[0, 1], [2]]
    """
    total = sum(int(windows.inputs(block).sum()) for block in blocks(len(windows)))
    counts = np.zeros(batches, np.int64)
    before = 0
    for block in blocks(len(windows)):
        sizes = windows.inputs(block)
        ends = before + np.cumsum(sizes)
        batch_of = np.minimum(((ends - sizes / 2) * batches / total).astype(np.int64), batches - 1)
        first, last = int(batch_of[0]), int(batch_of[-1])
        counts[first : last + 1] += np.bincount(batch_of - first)
        before = int(ends[-1])
    spool = RowSpool(2)
    spool.add(_ranges(counts, len(windows)))
    return EpochPlan(windows, spool.finish())


def _ranges(counts: NDArray[np.int64], windows: int) -> NDArray[np.int64]:
    """First and one past the last window of each batch (B, 2); an empty one gets the nearest window."""
    borders = np.concatenate([[0], np.cumsum(counts)])
    ranges = np.stack([borders[:-1], borders[1:]], 1)
    empty = np.flatnonzero(counts == 0)
    right = np.minimum(borders[empty], windows - 1)
    left = np.maximum(right - 1, 0)
    left_batch, right_batch = (np.searchsorted(borders, side, side="right") - 1 for side in (left, right))
    nearest = np.where(np.abs(left_batch - empty) <= np.abs(right_batch - empty), left, right)
    ranges[empty] = np.stack([nearest, nearest + 1], 1)
    return ranges
