"""Pictures of latents and of what they do: the map of bars, attributes bar by bar, a grid of small piano rolls.

Each function returns the bytes of a PNG. Axes: M bars, Z latent of a bar, A attributes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurl.music.attributes import ATTRIBUTES, UNITS
from aurl.music.pianoroll import COLOURS, DOTS_PER_INCH, FAINT, INK, note_arrays

PANELS_IN_A_ROW = 4
PANEL_INCHES = (3.1, 2.3)
DOT_AREA = 14.0
MOST_LEGEND = 12
ROLL_INCHES = (1.9, 1.15)
SHORTEST_NOTE = 0.08
"""Quarters: so that a stroke without length is seen in a small roll."""
MAP_COLOURS = "viridis"


class Principal(NamedTuple):
    """Directions in which latents vary most."""

    mean: NDArray[np.float64]
    """``(Z,)``."""
    axes: NDArray[np.float64]
    """``(2, Z)``, of length 1 and orthogonal; the second is 0 where there is no second direction."""
    shares: NDArray[np.float64]
    """``(2,)`` part of the variance along each."""

    def place(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """``(M, Z)`` latents to ``(M, 2)`` places on the map."""
        places: NDArray[np.float64] = (np.asarray(latents, np.float64) - self.mean) @ self.axes.T
        return places


def principal_axes(latents: NDArray[Any]) -> Principal:
    """The first two principal components of latents ``(M, Z)`` (Pearson 1901); signs make the largest entry positive.

    Example:
        >>> principal_axes(np.array([[0.0, 0.0], [2.0, 0.0]])).shares.tolist()
        [1.0, 0.0]
    """
    values = np.asarray(latents, np.float64)
    mean = values.mean(axis=0)
    _, size, directions = np.linalg.svd(values - mean, full_matrices=False)
    axes, variance = np.zeros((2, values.shape[1])), np.zeros(2)
    count = min(2, len(size))
    axes[:count], variance[:count] = directions[:count], size[:count] ** 2
    axes[variance <= 0] = 0
    largest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    axes *= np.where(largest < 0, -1.0, 1.0)[:, None]
    return Principal(mean, axes, variance / max(float((size**2).sum()), np.finfo(np.float64).tiny))


@dataclass(frozen=True)
class Curve:
    """Attributes of one piece, bar by bar or step by step."""

    label: str
    values: NDArray[Any]
    """``(M, A)``."""
    dashed: bool = False


def map_picture(latents: NDArray[Any], attributes: NDArray[Any], owners: NDArray[Any], names: Sequence[str]) -> bytes:
    """Bars on the plane of their first two principal components: a panel for each attribute, and one by piece.

    Args:
        latents: ``(M, Z)``.
        attributes: ``(M, A)``; bars where one is NaN are grey in its panel.
        owners: ``(M,)`` index into ``names``.
        names: of the pieces.
    """
    principal = principal_axes(latents)
    x, y = principal.place(latents).T
    figure, panels = _panels(len(ATTRIBUTES) + 1)
    for column, (axes, name) in enumerate(zip(panels, ATTRIBUTES, strict=False)):
        defined = ~np.isnan(attributes[:, column])
        axes.scatter(x[~defined], y[~defined], s=DOT_AREA / 2, color=FAINT, linewidths=0)
        dots = axes.scatter(
            x[defined], y[defined], s=DOT_AREA, c=attributes[defined, column], cmap=MAP_COLOURS, linewidths=0
        )
        bar = figure.colorbar(dots, ax=axes)
        bar.ax.tick_params(labelsize=6.5)
        _dress(axes, f"{_words(name)} ({UNITS[column]})")
    last = panels[len(ATTRIBUTES)]
    for number, name in enumerate(names):
        mine = owners == number
        label = name if number < MOST_LEGEND else None
        last.scatter(x[mine], y[mine], s=DOT_AREA, color=COLOURS[number % len(COLOURS)], linewidths=0, label=label)
    _dress(last, "piece" if len(names) <= MOST_LEGEND else f"piece (the first {MOST_LEGEND} named)")
    legend = last.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5))
    legend.set_in_layout(False)  # there is no panel right of it
    figure.supxlabel(f"first component, {principal.shares[0]:.0%} of the variance", fontsize=8, color=INK)
    figure.supylabel(f"second component, {principal.shares[1]:.0%}", fontsize=8, color=INK)
    return _png(figure)


def attribute_picture(curves: Sequence[Curve], across: str = "bar") -> bytes:
    """A panel for each attribute with a line for each piece.

    Args:
        curves: at least one.
        across: what the values of a curve follow each other by.
    """
    from matplotlib.ticker import MaxNLocator

    figure, panels = _panels(len(ATTRIBUTES))
    for column, (axes, name) in enumerate(zip(panels, ATTRIBUTES, strict=True)):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no bar 2.5
        for number, curve in enumerate(curves):
            axes.plot(
                np.arange(1, len(curve.values) + 1),
                curve.values[:, column],
                color=COLOURS[number % len(COLOURS)],
                linestyle="--" if curve.dashed else "-",
                marker="o",
                markersize=2.5,
                linewidth=1.1,
                label=curve.label if number < MOST_LEGEND else None,
            )
        _dress(axes, f"{_words(name)} ({UNITS[column]})")
    if len(curves) > 1:
        panels[0].legend(fontsize=6, frameon=False)
    figure.supxlabel(across, fontsize=8, color=INK)
    return _png(figure)


def grid_picture(scores: Sequence[Sequence[Any]], rows: Sequence[str], columns: Sequence[str]) -> bytes:
    """Small piano rolls: a row for each dimension, a column for each value.

    Args:
        scores: symusic scores in ticks.
        rows: names of the rows.
        columns: heads of the columns.
    """
    figure = _figure(0.7 + ROLL_INCHES[0] * len(columns), 0.3 + ROLL_INCHES[1] * len(rows))
    panels = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for row, name in enumerate(rows):
        for column, head in enumerate(columns):
            axes, notes = panels[row, column], note_arrays(scores[row][column])
            length = np.maximum(notes.duration, SHORTEST_NOTE)
            axes.barh(notes.pitch, length, 0.9, notes.onset, color=[COLOURS[n % len(COLOURS)] for n in notes.track])
            _dress(axes, head if row == 0 else "")
            axes.set_xticks([])
            axes.tick_params(labelsize=6)
            if column == 0:
                axes.set_ylabel(_words(name), fontsize=8, color=INK)
    return _png(figure)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _panels(count: int) -> tuple[Any, list[Any]]:
    """A figure with so many panels, rows of PANELS_IN_A_ROW."""
    rows = math.ceil(count / PANELS_IN_A_ROW)
    figure = _figure(PANEL_INCHES[0] * PANELS_IN_A_ROW, PANEL_INCHES[1] * rows)
    panels = list(figure.subplots(rows, PANELS_IN_A_ROW, squeeze=False).flat)
    for spare in panels[count:]:
        spare.remove()
    return figure, panels[:count]


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=8, color=INK)
    axes.tick_params(labelsize=6.5, colors=INK)
    for side in axes.spines.values():
        side.set_color(FAINT)


def _png(figure: Any) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()
