"""Whole pieces as pictures of what comes back, and random convolutions of these: features that nobody trained.

Eight bars of piano roll show neither loops of four bars nor bars out of order. A lag map does: the self-similarity of
bars in (time, lag) form (Goto 2003, "A chorus-section detecting method for musical audio signals"). Music that comes
back in order is a line along time; shuffled bars leave dots, a loop leaves lines from end to end, and over a joint
between two pieces nothing comes back.

Axes: B bars, L lags, K kernels, n pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aurl.evaluation.metrics import structure
from aurl.evaluation.metrics.table import NoteTable
from aurl.evaluation.rolls import BATCH

if TYPE_CHECKING:
    from torch import Tensor

MAP_BARS = 128
"""Bars that are drawn: the first of longer pieces, all of shorter ones and nothing after them."""
MAP_LAGS = 64
"""Longest distance between two bars: a second verse comes back over the middle of a song."""
LIKENESSES = 2
"""Planes of likeness; one more says where there is any."""
MAP_PLANES = LIKENESSES + 1
KERNELS = 384
KERNEL_SHAPES = (
    *((4, 1), (8, 1), (16, 1), (2, 4), (4, 4), (8, 4), (4, 8), (8, 16)),
    *((4, 16), (4, 24), (8, 24), (16, 16)),
)
"""Bars and lags that kernels cover, as many kernels each."""

Maps = NDArray[np.float32]


def lag_map(table: NoteTable) -> Maps:
    """(3, B, L) how alike bar b and bar b - 1 - l are: in notes; in notes, rhythms and lengths; and whether both exist.

    Args:
        table: the piece.

    Returns:
        MAP_BARS bars and MAP_LAGS lags; likenesses (Jaccard indices) from 0 to 1.
    """
    picture = np.zeros((MAP_PLANES, MAP_BARS, MAP_LAGS), dtype=np.float32)
    planes = structure.bar_similarity(table), structure.joint_similarity(table)
    bars = min(len(planes[0]), MAP_BARS)
    for lag in range(1, min(MAP_LAGS, bars - 1) + 1):
        for plane, matrix in enumerate(planes):
            picture[plane, lag:bars, lag - 1] = np.diagonal(matrix, -lag)[: bars - lag]
        picture[LIKENESSES, lag:bars, lag - 1] = 1
    return picture


def random_map_features(maps: Sequence[Maps], seed: int = 0) -> NDArray[np.float64]:
    """(n, 3 K) highest answer, share of positive answers and mean answer of each kernel, where all its cells exist.

    Kernels are drawn as in :func:`aurl.evaluation.rolls.random_features`, but not centred: how alike bars are counts.
    A kernel that is larger than the piece gives 0.

    Args:
        maps: of each piece its (3, B, L) lag map.
        seed: of the kernels.
    """
    import torch

    rng = np.random.default_rng(seed)
    count = KERNELS // len(KERNEL_SHAPES)
    kernels = []
    for shape in KERNEL_SHAPES:
        kernel = torch.from_numpy(rng.standard_normal((count, LIKENESSES, *shape)).astype(np.float32))
        kernels.append((kernel, torch.from_numpy(rng.uniform(-1, 1, count).astype(np.float32))))
    portions = []
    with torch.inference_mode():
        for pictures in torch.from_numpy(np.stack(list(maps))).split(BATCH):
            portions.append(_answers(pictures, kernels))
    return torch.cat(portions).double().numpy()


def _answers(pictures: Tensor, kernels: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """(n, 3 K) what kernels and biases answer to lag maps (n, 3, B, L)."""
    import torch

    likeness, exists = pictures[:, :LIKENESSES], pictures[:, LIKENESSES:]
    parts = []
    for kernel, bias in kernels:
        bars, lags = kernel.shape[2:]
        answer = torch.nn.functional.conv2d(likeness, kernel, bias).flatten(2)  # (n, count, places)
        covered = torch.nn.functional.avg_pool2d(exists, (bars, lags), 1).flatten(2) == 1
        places = covered.sum(2)
        highest = answer.masked_fill(~covered, -torch.inf).amax(2)
        parts.append(torch.where(places > 0, highest, 0))
        parts.append(((answer > 0) & covered).sum(2) / places.clamp(min=1))
        parts.append(answer.masked_fill(~covered, 0).sum(2) / places.clamp(min=1))
    return torch.cat(parts, dim=1)
