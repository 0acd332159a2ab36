"""The judge trained from scratch: a small network on piano rolls of excerpts and the lag map of the whole piece.

Two towers of convolutions: one reads eight bars note by note, the other what comes back in the piece (lag_maps.py); a
linear layer weighs both. Some 20,000 weights, trained in seconds on a hundred pieces.

Axes: E excerpts, S steps, P pitches, B bars, L lags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurl.evaluation.lag_maps import MAP_PLANES, Maps, lag_map
from aurl.evaluation.metrics.table import NoteTable
from aurl.evaluation.rolls import PLANES, Rolls, excerpt_rolls

EPOCHS, FEWEST_STEPS = 14, 120
"""Passes over the excerpts; more where a small set would otherwise give the network too few steps to learn anything."""
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
BATCH = 32
CHANNELS = (8, 16, 32)
MAP_CHANNELS = (8, 16, 32)
DROPOUT = 0.2
MOST_TRANSPOSED = 3
"""The network sees each excerpt moved by up to this many semitones."""


class View(NamedTuple):
    """What the network reads of a piece."""

    rolls: Rolls
    """(E, 4, S, P) excerpts."""
    picture: Maps
    """(3, B, L) lag map."""


def view_of(table: NoteTable) -> View:
    """Excerpts and lag map of a piece."""
    return View(excerpt_rolls(table), lag_map(table))


def fit_convolution(
    train: Sequence[View], labels: NDArray[np.int64], test: Sequence[View], seed: int
) -> NDArray[np.float64]:
    """Probability of set 1 for each test piece: trained on excerpts, judged by the mean of a piece's excerpts.

    Args:
        train: pieces that the network learns from.
        labels: (n,) their set, 0 or 1.
        test: other pieces.
        seed: of the first weights, the order of the excerpts and dropout.
    """
    import torch

    with torch.random.fork_rng(devices=[]):  # dropout and first weights: the caller's own draws are not disturbed
        torch.manual_seed(seed)
        network = build_network()
        train_network(network, train, labels)
    network.eval()
    logits = []
    with torch.inference_mode():
        for rolls, picture in test:
            pictures = torch.from_numpy(picture).expand(len(rolls), -1, -1, -1)
            logits.append(float(network(torch.from_numpy(rolls), pictures).mean()))
    return 1 / (1 + np.exp(-np.array(logits)))


def train_network(network: Any, train: Sequence[View], labels: NDArray[np.int64]) -> None:
    """Fit the network to excerpts; every piece weighs the same, and both sets together do."""
    import torch

    sizes = [len(view.rolls) for view in train]
    excerpts = torch.from_numpy(np.concatenate([view.rolls for view in train]))
    pictures = torch.from_numpy(np.stack([view.picture for view in train]))
    owner = torch.from_numpy(np.repeat(np.arange(len(train)), sizes))
    targets = torch.from_numpy(np.repeat(labels, sizes)).float()
    share = np.array([1 / np.sum(labels == label) for label in labels])
    weights = torch.from_numpy(np.repeat(share / sizes, sizes)).float()
    weights = weights / weights.mean()
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = math.ceil(len(excerpts) / BATCH)
    epochs = max(EPOCHS, math.ceil(FEWEST_STEPS / batches))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(excerpts)).split(BATCH):
            shift = int(torch.randint(-MOST_TRANSPOSED, MOST_TRANSPOSED + 1, (1,)))
            logits = network(torch.roll(excerpts[rows], shift, dims=3), pictures[owner[rows]])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[rows], weights[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def build_network() -> Any:
    """The two towers with new weights: maps excerpts (n, 4, S, P) and lag maps (n, 3, B, L) to logits (n,)."""
    import torch
    from torch import nn

    one, two, three = CHANNELS
    first, second, third = MAP_CHANNELS

    class Judge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.notes = nn.Sequential(
                nn.Conv2d(PLANES, one, (8, 12), stride=(2, 3)), nn.BatchNorm2d(one), nn.ReLU(),
                nn.Conv2d(one, two, (5, 3), stride=2), nn.BatchNorm2d(two), nn.ReLU(),
                nn.Conv2d(two, three, (5, 3), stride=2), nn.BatchNorm2d(three), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            )  # fmt: skip
            self.form = nn.Sequential(
                nn.Conv2d(MAP_PLANES, first, (8, 1), stride=(2, 1)), nn.BatchNorm2d(first), nn.ReLU(),
                nn.Conv2d(first, second, (4, 4), stride=2), nn.BatchNorm2d(second), nn.ReLU(),
                nn.Conv2d(second, third, 3, stride=2), nn.BatchNorm2d(third), nn.ReLU(),
            )  # fmt: skip
            self.out = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(three + 2 * third, 1))

        def forward(self, excerpts: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
            form = self.form(pictures)
            seen = torch.cat((self.notes(excerpts), form.mean(dim=(2, 3)), form.amax(dim=(2, 3))), dim=1)
            logits: torch.Tensor = self.out(seen).squeeze(1)
            return logits

    return Judge()
