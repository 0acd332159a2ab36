"""Excerpts of pieces as piano rolls, and random convolutions of them: features that nobody trained.

A roll has four planes: velocity where a note begins, a note that sounds, how far beginnings lie off the grid, and how
far their velocities lie from the mean of their track (velocities around 90 and velocities of 90 look nearly the same,
but an empty plane does not). The random convolutions follow Dempster et al. 2020, "ROCKET: Exceptionally fast and
accurate time series classification using random convolutional kernels": many fixed random kernels, of each the highest
answer and the share of positive ones. Half of the kernels read one plane alone, so that a faint plane is not drowned.
Nothing in them has seen music: they cannot favour the model that is judged, and they see less than a trained encoder
would.

Axes: E excerpts, S steps, P pitches, K kernels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aurl.evaluation.metrics.table import NoteTable

STEPS_PER_QUARTER = 4
EXCERPT_STEPS = 128
"""Eight bars of 4/4."""
LOWEST, PITCHES = 28, 72
"""Pitches below and above are folded in by octaves."""
PLANES = 4
EXCERPTS = 4
"""Excerpts of a piece at most, evenly spread."""
VELOCITIES = 127.0
VELOCITY_SPREAD = 32.0
"""A velocity this far from the mean of its track counts 1."""
OCTAVE = 12
KERNELS = 256
KERNEL_STEPS, KERNEL_PITCHES = (2, 4, 8, 16), (5, 12)
"""Sizes that kernels are drawn from."""
POOL = 4
"""Kernels answer at every POOL-th step and third pitch."""
PITCH_STRIDE = 3
BATCH = 64

Rolls = NDArray[np.float32]


def excerpt_rolls(table: NoteTable, most: int = EXCERPTS) -> Rolls:
    """(E, 4, S, P) evenly spread excerpts of a piece; at least one, padded with silence where it is short.

    Args:
        table: the piece; drums are left out unless there is nothing else.
        most: excerpts at most; they do not overlap.
    """
    chosen = table.pitched if table.pitched.any() else np.ones(len(table.pitch), dtype=bool)
    onset, offset = table.onset[chosen] * STEPS_PER_QUARTER, table.offset[chosen] * STEPS_PER_QUARTER
    first = np.rint(onset).astype(np.int64)
    last = np.maximum(np.rint(offset).astype(np.int64), first + 1)
    steps = max(int(last.max(initial=1)), EXCERPT_STEPS)
    pitch = fold(table.pitch[chosen])
    roll = np.zeros((PLANES, steps + 1, PITCHES), dtype=np.float32)
    velocity = table.velocity[chosen].astype(np.float64)
    np.maximum.at(roll[0], (first, pitch), (velocity / VELOCITIES).astype(np.float32))
    np.add.at(roll[1], (first, pitch), 1)
    np.add.at(roll[1], (last, pitch), -1)
    roll[1] = np.minimum(np.cumsum(roll[1], axis=0), 1)
    roll[2, first, pitch] = np.abs(onset - first) * 2
    apart = np.abs(velocity - track_means(velocity, table.track[chosen])) / VELOCITY_SPREAD
    np.maximum.at(roll[3], (first, pitch), apart.astype(np.float32))
    count = int(np.clip(steps // EXCERPT_STEPS, 1, most))
    begins = np.linspace(0, steps - EXCERPT_STEPS, count).round().astype(int)
    return np.stack([roll[:, begin : begin + EXCERPT_STEPS] for begin in begins])


def track_means(values: NDArray[np.float64], track: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) mean value of the notes of each note's track."""
    count = np.bincount(track)
    means: NDArray[np.float64] = (np.bincount(track, values) / np.maximum(count, 1))[track]
    return means


def fold(pitch: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) rows of the roll, octaves outside folded in."""
    row = pitch - LOWEST
    row = np.where(row < 0, row % OCTAVE, row)
    high = row >= PITCHES
    return np.where(high, PITCHES - OCTAVE + (row - PITCHES) % OCTAVE, row)


def random_features(rolls: Sequence[Rolls], seed: int = 0) -> NDArray[np.float64]:
    """(n, 2 K) features of pieces: mean over excerpts of the highest answer and the share of positive answers.

    Args:
        rolls: for each piece its excerpts (E, 4, S, P).
        seed: of the kernels; equal seeds give equal features on every machine.

    Returns:
        One row a piece.
    """
    import torch

    owner = np.repeat(np.arange(len(rolls)), [len(part) for part in rolls])
    excerpts = torch.from_numpy(np.concatenate(list(rolls)))
    rng = np.random.default_rng(seed)
    shapes = [(steps, pitches) for steps in KERNEL_STEPS for pitches in KERNEL_PITCHES]
    parts = []
    with torch.inference_mode():
        for steps, pitches in shapes:
            count = KERNELS // len(shapes)
            weights = rng.standard_normal((count, PLANES, steps, pitches))
            weights -= weights.mean(axis=(2, 3), keepdims=True)
            alone = np.arange(count // 2)
            weights[alone] *= (np.arange(PLANES) == alone[:, None] % PLANES)[:, :, None, None]
            kernel = torch.from_numpy(weights.astype(np.float32))
            bias = torch.from_numpy(rng.uniform(-1, 1, count).astype(np.float32))
            answers = [
                torch.nn.functional.conv2d(part, kernel, bias, stride=(POOL, PITCH_STRIDE)).flatten(2)
                for part in excerpts.split(BATCH)
            ]
            parts.append(torch.cat([answer.amax(2) for answer in answers]))
            parts.append(torch.cat([(answer > 0).float().mean(2) for answer in answers]))
    features = torch.cat(parts, dim=1).double().numpy()
    total = np.zeros((len(rolls), features.shape[1]))
    np.add.at(total, owner, features)
    return total / np.bincount(owner)[:, None]
