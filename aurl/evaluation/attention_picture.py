"""Attention maps as pictures: a panel for each layer and head, with bar lines.

By token: rows look at columns, the first bars of a piece. By bar: the whole piece. With local attention the summaries
of bars stand left of the tokens. Weights come from aurl/models/attention_maps.py.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aurl.models.attention_maps import AttentionMaps
from aurl.utils.files import atomic_write, atomic_write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

PANEL_INCHES = 2.6
HEADING_INCHES = 0.75
LEAST_INCHES = 5.0
DOTS_PER_INCH = 110
COLOURS = "magma_r"
CONTRAST = 0.5
"""Weights are drawn to this power: most are small, and the eye shall see them."""
SUMMARY_WIDTH = 4
"""Columns that the summary of a bar is wide, among tokens that are one."""
MOST_LABELS = 12
"""Bars that are numbered along an axis."""
LINE = {"color": "#2060c0", "linewidth": 0.5, "alpha": 0.5}


def draw_tokens(maps: AttentionMaps, path: Path, title: str = "") -> bytes:
    """Who looks at whom among the first tokens; bar lines are blue.

    Args:
        maps: the weights.
        path: PNG, written atomically.
        title: printed above.

    Returns:
        The bytes of the PNG.

    Raises:
        AurlError: the file cannot be written.
    """
    bar_of = maps.bar_of[: maps.tokens.shape[2]].numpy()
    lines = np.flatnonzero(np.diff(bar_of, prepend=bar_of[0] - 1))
    seen = int(bar_of[-1])  # summaries of later bars are seen by no shown token
    summaries = maps.summaries.numpy()[..., :seen].repeat(SUMMARY_WIDTH, axis=-1)
    offset = summaries.shape[-1]
    weights = np.concatenate((summaries, maps.tokens.numpy()), axis=-1)

    def finish(axes: Any) -> None:
        for line in lines:
            axes.axhline(line - 0.5, **LINE)
            axes.axvline(offset + line - 0.5, **LINE)
        _number(axes.set_yticks, lines, bar_of[lines] + 1)
        _number(axes.set_xticks, offset + lines, bar_of[lines] + 1)
        if offset:
            axes.axvline(offset - 0.5, color="black", linewidth=0.8)

    kinds = "summaries of bars | tokens looked at, bar by bar" if offset else "tokens looked at, bar by bar"
    return _draw(maps, weights, finish, path, title, f"{kinds} →", "↓ tokens that look, bar by bar")


def draw_bars(maps: AttentionMaps, path: Path, title: str = "") -> bytes:
    """Which bars look at which, in the mean of their tokens: the whole piece. Arguments as in :func:`draw_tokens`."""

    def finish(axes: Any) -> None:
        bars = np.arange(maps.bars.shape[-1])
        _number(axes.set_yticks, bars, bars + 1)
        _number(axes.set_xticks, bars, bars + 1)

    return _draw(maps, maps.bars.numpy(), finish, path, title, "bars looked at →", "↓ bars that look")


def save(maps: AttentionMaps, path: Path) -> None:
    """The weights as a compressed NPZ: layers, heads, tokens, summaries, bars, bar_of.

    Raises:
        AurlError: the file cannot be written.
    """
    arrays = {name: np.asarray(value) for name, value in vars(maps).items()}
    atomic_write(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def _number(set_ticks: Callable[..., object], places: NDArray[Any], numbers: NDArray[Any]) -> None:
    every = max(1, -(-len(places) // MOST_LABELS))
    set_ticks(places[::every], [str(number) for number in numbers[::every]], fontsize=6)


def _draw(
    maps: AttentionMaps,
    weights: NDArray[Any],
    finish: Callable[[Any], None],
    path: Path,
    title: str,
    across: str,
    down: str,
) -> bytes:
    """Panels of weights ``(A, H, rows, columns)``, layers down, heads across."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    rows, columns = len(maps.layers), len(maps.heads)
    size = max(LEAST_INCHES, columns * PANEL_INCHES), max(LEAST_INCHES, rows * PANEL_INCHES) + HEADING_INCHES
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False)
    norm = PowerNorm(CONTRAST, vmin=0.0, vmax=1.0)
    for row, layer in enumerate(maps.layers):
        for column, head in enumerate(maps.heads):
            axes = panels[row][column]
            seen = np.where(weights[row, column] > 0, weights[row, column], np.nan)  # white where nobody may look
            image = axes.imshow(seen, cmap=COLOURS, norm=norm, aspect="auto", interpolation="nearest")
            axes.set_title(f"layer {layer}, head {head}", fontsize=8)
            finish(axes)
    figure.supxlabel(across, fontsize=8)
    figure.supylabel(down, fontsize=8)
    figure.colorbar(image, ax=panels, shrink=0.6, label="attention weight")
    if title:
        figure.suptitle(title, fontsize=10)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    atomic_write_bytes(path, target.getvalue())
    return target.getvalue()
