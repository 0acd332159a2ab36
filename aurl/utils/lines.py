"""Lines over an axis, and two histograms one over the other, as inline SVG: pure functions from numbers to text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aurl.utils.charts import BOTTOM, GAP, HEIGHT, LEAST_HEIGHT, LEFT, RIGHT, TOP, WIDTH, nice_scale, short
from aurl.utils.pages import text

MOST_LABELS, MOST_EDGES = 9, 5
"""Labels below an axis: of places or bars, and of the edges of bins, which are longer."""
LABEL_HEIGHT = 15.0
"""Below the axis, for what the numbers are."""
LOWEST_SHARE = 0.6
"""A curve whose lowest value is above this share of the highest does not start its axis at 0."""
SERIES_CLASSES = ("one", "two", "three", "four")
"""Classes of the page's style that give a series its colour."""


@dataclass(frozen=True)
class Line:
    """One curve."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    low: Sequence[float] | None = None
    """Lower ends of a band round the curve."""
    high: Sequence[float] | None = None
    notes: Sequence[str] = ()
    """Tooltip of each point; without it x and y."""


def lines_svg(title: str, lines: Sequence[Line], x_label: str, y_label: str, log_x: bool = True) -> str:
    """Curves over a common axis.

    Args:
        title: said to readers of the page who do not see the drawing.
        lines: at least one curve with at least one point; more than four repeat colours.
        x_label: what the horizontal numbers are.
        y_label: what the vertical numbers are.
        log_x: logarithmic horizontal axis; all xs must be above 0.

    Example:
        >>> lines_svg("t", [Line("a", [1, 2], [3.0, 4.0])], "x", "y").startswith("<svg")
        True
    """
    place = (lambda x: math.log2(x)) if log_x else (lambda x: float(x))
    xs = sorted({x for line in lines for x in line.xs})
    first, last = place(xs[0]), place(xs[-1])
    floor = HEIGHT - BOTTOM
    bottom, top, step = _vertical(
        [y for line in lines for part in (line.ys, line.low or [], line.high or []) for y in part]
    )

    def x_of(x: float) -> float:
        share = (place(x) - first) / (last - first) if last > first else 0.5
        return LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24)

    def y_of(y: float) -> float:
        return floor - (floor - TOP) * (y - bottom) / (top - bottom)

    parts = []
    for index in range(round((top - bottom) / step) + 1):
        y = y_of(bottom + index * step)
        parts.append(f'<line class=grid x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{short(bottom + index * step)}</text>')
    every = math.ceil(len(xs) / MOST_LABELS)
    for x in xs[::every]:
        parts.append(f'<text x="{x_of(x):.1f}" y="{floor + 15:g}" text-anchor="middle">{short(x)}</text>')
    for number, line in enumerate(lines):
        parts += _curve(line, SERIES_CLASSES[number % len(SERIES_CLASSES)], x_of, y_of)
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:g}" y="{HEIGHT + 8:g}" text-anchor="middle">{text(x_label)}</text>')
    drawing = _svg(HEIGHT + LABEL_HEIGHT, parts, f"{title}: {y_label} by {x_label}")
    return _key([line.label for line in lines], y_label) + drawing


def overlay_svg(
    title: str, labels: Sequence[str], ours: Sequence[float], reference: Sequence[float] | None, edges: bool = False
) -> str:
    """Bars of ours with the outline of the reference over them.

    Args:
        title: said to readers who do not see the drawing.
        labels: below the bars, or, with ``edges``, between them (one more than bars).
        ours: heights.
        reference: heights of the outline, if there is one.
        edges: whether labels are edges of bins.
    """
    floor = HEIGHT - BOTTOM
    most = max([*ours, *(reference or [])], default=0.0)
    top, step = nice_scale(most, whole=False) if most > 0 else (1.0, 0.5)
    width = (WIDTH - LEFT - RIGHT) / len(ours)

    def y_of(value: float) -> float:
        return floor - (floor - TOP) * value / top

    parts = []
    for index in range(math.ceil(top / step - 1e-9) + 1):
        y = y_of(index * step)
        parts.append(f'<line class=grid x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{short(index * step)}</text>')
    gap = GAP if width > 3 * GAP else 0.0
    for index, value in enumerate(ours):
        if value > 0:
            height = max(floor - y_of(value), LEAST_HEIGHT)
            other = f", reference {short(reference[index])}" if reference else ""
            name = f"{labels[index]} to {labels[index + 1]}" if edges else labels[index]
            parts.append(
                f'<rect class=bar x="{LEFT + index * width + gap / 2:.1f}" y="{floor - height:.1f}" '
                f'width="{max(width - gap, 0.5):.1f}" height="{height:.1f}"><title>{text(name)}: {short(value)}{other}'
                "</title></rect>"
            )
    if reference:
        path = f"M{LEFT:g} {floor:g}" + "".join(
            f"V{y_of(value):.1f}H{LEFT + (index + 1) * width:.1f}" for index, value in enumerate(reference)
        )
        parts.append(f'<path class="curve two" d="{path}V{floor:g}"/>')
    every = math.ceil((len(labels) - 1) / (MOST_EDGES - 1)) if edges else math.ceil(len(labels) / MOST_LABELS)
    shift = 0.0 if edges else 0.5
    for index in range(0, len(labels), every):
        x = LEFT + (index + shift) * width
        parts.append(f'<text x="{x:.1f}" y="{floor + 15:g}" text-anchor="middle">{text(labels[index])}</text>')
    return _svg(HEIGHT, parts, title)


def _curve(line: Line, colour: str, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> list[str]:
    """Band, path and points of one curve."""
    parts = []
    if line.low is not None and line.high is not None:
        there = [f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in zip(line.xs, line.high, strict=True)]
        back = [f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in zip(line.xs, line.low, strict=True)]
        parts.append(f'<path class="band {colour}" d="M{"L".join([*there, *reversed(back)])}Z"/>')
    points = [(x_of(x), y_of(y)) for x, y in zip(line.xs, line.ys, strict=True)]
    parts.append(f'<path class="curve {colour}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>')
    notes = line.notes or [f"{short(x)}: {short(y)}" for x, y in zip(line.xs, line.ys, strict=True)]
    parts += [
        f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{text(note)}</title></circle>'
        for (x, y), note in zip(points, notes, strict=True)
    ]
    return parts


def _vertical(values: Sequence[float]) -> tuple[float, float, float]:
    """Bottom and top of the axis and the distance of its lines, all round."""
    low, high = min(values), max(values)
    if high == low == 0:
        return 0.0, 1.0, 0.5
    if (low >= 0 and low < LOWEST_SHARE * high) or high == low:
        low = min(low, 0.0)
    _, step = nice_scale(high - low or 1.0, whole=False)
    bottom = math.floor(low / step + 1e-9) * step
    return bottom, max(math.ceil(high / step - 1e-9) * step, bottom + step), step


def _key(labels: Sequence[str], y_label: str) -> str:
    """What is drawn, above the drawing."""
    names = [
        f'<span class="key {SERIES_CLASSES[index % len(SERIES_CLASSES)]}">{text(label)}</span>'
        for index, label in enumerate(labels)
        if len(labels) > 1
    ]
    return f"<p class=keys><span>{text(y_label)}</span>{''.join(names)}</p>"


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    drawing = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{text(label)}">{drawing}</svg>'
