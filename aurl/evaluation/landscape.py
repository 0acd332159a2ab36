"""The loss around a trained model: how it rises along two random directions through the weights (Li et al. 2018,
arXiv:1712.09913).

Directions are normalised filter by filter: each row of a matrix has the length of the model's own row, so that models
with small and with large weights can be compared; vectors (norms, biases) stay where they are.

Axes: n points a side.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aurl.evaluation.likelihood import TokenPiece, score_corpus
from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write

log = logging.getLogger("aurl.evaluation.landscape")

TINY = 1e-12
LEVELS = 24
"""Contour lines of the picture."""
MOST_RISE = 3.0
"""Losses beyond so many times the least are drawn alike: far from the model they rise without end."""
PICTURE_INCHES, PICTURE_DPI = (6.4, 5.2), 120


@dataclass(frozen=True)
class Landscape:
    """Losses on a square grid."""

    steps: NDArray[np.float64]
    """(n,) how far along a direction, in lengths of the weights; 0 is the model."""
    nats_per_note: NDArray[np.float64]
    """(n, n) first direction down, second across; NaN where the model gives no numbers."""
    notes: int
    """Notes that the losses were measured on."""

    @property
    def at_model(self) -> float:
        """Loss of the model itself."""
        middle = len(self.steps) // 2
        return float(self.nats_per_note[middle, middle])


def random_direction(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """A filter-normalised direction, one tensor for each parameter.

    Args:
        model: whose parameters give the lengths.
        generator: random numbers, on the CPU.
    """
    direction = {}
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator).to(weight.device)
        if weight.ndim < 2:
            direction[name] = torch.zeros_like(noise)
            continue
        rows = noise.flatten(1)
        lengths = weight.detach().flatten(1).norm(dim=1, keepdim=True)
        direction[name] = (rows / rows.norm(dim=1, keepdim=True).clamp(min=TINY) * lengths).view_as(weight)
    return direction


def measure_landscape(
    model: Any,
    pieces: Sequence[TokenPiece],
    context: int,
    size: int,
    span: float,
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Landscape:
    """Measure losses on a grid around a model, whose weights are afterwards what they were.

    Args:
        model: a trained one.
        pieces: music that the losses are of.
        context: longest input in tokens.
        size: points a side, odd, so that the model is one of them.
        span: how far the grid goes to each side, in lengths of the weights.
        seed: of both directions.
        device: where the model is.
        on_progress: is told how many points of how many are done.

    Example:
        >>> measure_landscape(model, pieces, context=1024, size=11, span=0.5).at_model  # doctest: +SKIP
        5.31
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = (random_direction(model, generator) for _ in range(2))
    kept = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    steps = np.linspace(-span, span, size)
    losses, notes, failed = np.full((size, size), np.nan), 0, 0
    try:
        for number, (row, column) in enumerate(np.ndindex(size, size), start=1):
            for name, weight in model.named_parameters():
                moved = kept[name] + float(steps[row]) * first[name] + float(steps[column]) * second[name]
                weight.data.copy_(moved)
            try:
                result = score_corpus(model, pieces, context, device=device)
                losses[row, column], notes = result.nats_per_note, result.notes
            except AurlError:  # so far from the model that it gives no numbers
                failed += 1
            on_progress(number, size * size)
    finally:
        for name, weight in model.named_parameters():
            weight.data.copy_(kept[name])
    if failed:
        log.warning("%d of %d points give no numbers and are left white; lower landscape_span", failed, size * size)
    return Landscape(steps, losses, notes)


def write_landscape(found: Landscape, picture: Path, title: str) -> list[Path]:
    """Draw the landscape as a PNG and write its numbers beside it as an NPZ (steps, nats_per_note).

    Args:
        found: what was measured.
        picture: the PNG file.
        title: above the picture.

    Returns:
        Both files.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=PICTURE_INCHES, dpi=PICTURE_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = np.minimum(found.nats_per_note, MOST_RISE * np.nanmin(found.nats_per_note))
    filled = axes.contourf(found.steps, found.steps, shown, levels=LEVELS, cmap="viridis")
    axes.contour(found.steps, found.steps, shown, levels=LEVELS, colors="white", linewidths=0.4, alpha=0.6)
    axes.plot(0, 0, "+", color="red", markersize=12)
    axes.set(title=title, xlabel="second direction (lengths of the weights)", ylabel="first direction", aspect="equal")
    figure.colorbar(filled, label="nats per note")
    atomic_write(picture, lambda file: figure.savefig(file, format="png"))
    numbers = picture.with_suffix(".npz")
    atomic_write(numbers, lambda file: np.savez(file, steps=found.steps, nats_per_note=found.nats_per_note))
    return [picture, numbers]
