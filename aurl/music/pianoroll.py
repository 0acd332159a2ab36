"""Piano roll: note arrays of a score, where its bars are, and a picture that a musician can read.

Note arrays come straight from the note lists (symusic's own piano roll is unsafe on odd scores). Times are in quarter
notes. The page (page.py) draws the same arrays in the browser. N notes.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.music.instruments import DRUM_KEYS, pitch_name, track_labels
from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write_bytes

COLOURS = (
    "#2b6cb0", "#d1495b", "#2f9e6e", "#e08b1a", "#7b57b2", "#1795a8",
    "#b8487f", "#7a6a3a", "#5b7ce0", "#93a11b", "#c2602f", "#5d6b7a",
)  # fmt: skip
"""One colour a track, readable on light and dark ground, repeated when there are more tracks."""
BLACK_KEYS = (1, 3, 6, 8, 10)
INK, FAINT, STRIPE = "#20262e", "#9aa3ad", "#f3f5f7"
BARS_IN_A_ROW = 16
SPARE_BARS = 4
"""A few bars more than a row do not start another one."""
MOST_ROWS = 8
LONGEST_QUARTERS = 20_000
INCHES_PER_BAR = 0.72
NARROWEST_INCHES = 6.5
WIDEST_INCHES = 15.0
INCHES_PER_PITCH = 0.075
ROW_INCHES = (1.5, 4.2)
INCHES_PER_DRUM = 0.13
GAP_INCHES = 0.42
DOTS_PER_INCH = 110
LONGEST_LEGEND = 12
SHORTEST_SHARE = 0.0025  # of a row: so that a drum stroke of no length is seen
QUIETEST_OPACITY = 0.45


@dataclass(frozen=True)
class NoteArrays:
    """The notes of a score, sorted by onset."""

    onset: NDArray[np.float64]
    """(N,) quarter notes since the start."""
    duration: NDArray[np.float64]
    """(N,) quarter notes."""
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]
    track: NDArray[np.int64]
    """(N,) index into ``labels``."""
    labels: tuple[str, ...]
    """Name of each track that has notes."""
    drums: tuple[bool, ...]
    """Whether each track is a drum kit."""

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def end(self) -> float:
        """Quarter notes until the last note ends."""
        return float((self.onset + self.duration).max()) if len(self) else 0.0


def note_arrays(score: Any) -> NoteArrays:
    """The notes of a symusic score in ticks as arrays; tracks without notes are left out."""
    tracks = [track for track in score.tracks if len(track.notes)]
    columns: dict[str, list[NDArray[Any]]] = {"time": [], "duration": [], "pitch": [], "velocity": [], "track": []}
    for index, track in enumerate(tracks):
        notes = track.notes.numpy()
        for name in ("time", "duration", "pitch", "velocity"):
            columns[name].append(notes[name].astype(np.int64))
        columns["track"].append(np.full(len(track.notes), index, dtype=np.int64))
    flat = {name: np.concatenate(parts) if parts else np.zeros(0, np.int64) for name, parts in columns.items()}
    order = np.lexsort((flat["pitch"], flat["time"]))
    quarter = float(max(score.ticks_per_quarter, 1))
    return NoteArrays(
        onset=flat["time"][order] / quarter,
        duration=np.maximum(flat["duration"][order], 0) / quarter,
        pitch=flat["pitch"][order],
        velocity=flat["velocity"][order],
        track=flat["track"][order],
        labels=tuple(track_labels(tracks)),
        drums=tuple(bool(track.is_drum) for track in tracks),
    )


def bar_lines(score: Any, end: float) -> NDArray[np.float64]:
    """Starts of the bars in quarter notes, the first at 0, the last at or after ``end`` (quarter notes).

    A metre holds until the next; one that starts inside a bar cuts that bar. Without any metre: 4/4.

    Raises:
        AurlError: more than ``LONGEST_QUARTERS``.
    """
    if end > LONGEST_QUARTERS:
        raise AurlError(f"the score lasts {end:.0f} quarter notes; at most {LONGEST_QUARTERS} can be drawn: cut it")
    quarter = float(max(score.ticks_per_quarter, 1))
    metres = sorted((m.time / quarter, 4.0 * m.numerator / m.denominator) for m in score.time_signatures)
    if not metres or metres[0][0] > 0:
        metres.insert(0, (0.0, 4.0))
    lines: list[float] = []
    for index, (start, length) in enumerate(metres):
        last = index + 1 == len(metres)
        stop = end if last else min(metres[index + 1][0], end)
        if start > end or length <= 0 or (not last and stop <= start):
            continue
        lines.extend((start + length * np.arange(max(math.ceil((stop - start) / length - 1e-9), 0))).tolist())
        closing = start + length * max(math.ceil((stop - start) / length - 1e-9), 1)
    return np.array([*lines, closing if lines else end] if lines else [0.0, max(end, 4.0)])


def draw(score: Any, path: Path | None = None, title: str = "") -> bytes:
    """Draw a score as a piano roll: rows of bars like a printed score, drums on lines of their own below.

    Args:
        score: a symusic score in ticks.
        path: where to write the PNG (atomically); None writes nothing.
        title: printed above.

    Returns:
        The bytes of the PNG.

    Raises:
        AurlError: no notes, or the file cannot be written.

    Example:
        >>> png = draw(score, Path("song.png"), title="Song")  # doctest: +SKIP
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    notes = note_arrays(score)
    if len(notes) == 0:
        raise AurlError("the score has no notes, so there is nothing to draw")
    rows = bar_rows(bar_lines(score, notes.end))
    layout = Layout.of(notes, rows)
    figure = Figure(figsize=(layout.width, layout.height), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    for row, bars in enumerate(rows):
        draw_row(figure, layout, notes, row, bars, first_bar=1 + sum(len(other) - 1 for other in rows[:row]))
    draw_heading(figure, layout, notes, title)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    if path is not None:
        atomic_write_bytes(path, target.getvalue())
    return target.getvalue()


def bar_rows(lines: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Split bar lines into rows of equally many bars; each row holds its closing line too."""
    bars = len(lines) - 1
    rows = min(math.ceil(max(bars - SPARE_BARS, 1) / BARS_IN_A_ROW), MOST_ROWS)
    per_row = math.ceil(bars / rows)
    return [lines[at : at + per_row + 1] for at in range(0, bars, per_row)]


@dataclass(frozen=True)
class Layout:
    """Sizes in inches, pitch range and drum keys, the same for all rows."""

    width: float
    height: float
    heading: float
    left: float
    pitch_height: float
    drum_height: float
    span: float
    """Quarter notes of the longest row."""
    low: int
    high: int
    drum_keys: tuple[int, ...]

    @classmethod
    def of(cls, notes: NoteArrays, rows: list[NDArray[np.float64]]) -> Layout:
        """Fit the picture to the music."""
        is_drum = np.array(notes.drums)[notes.track]
        pitched = notes.pitch[~is_drum]
        low, high = (int(pitched.min()) - 2, int(pitched.max()) + 2) if len(pitched) else (0, 0)
        keys = tuple(sorted({int(key) for key in notes.pitch[is_drum]}))
        pitch_height = float(np.clip((high - low) * INCHES_PER_PITCH, *ROW_INCHES)) if len(pitched) else 0.0
        drum_height = max(len(keys), 2) * INCHES_PER_DRUM if keys else 0.0
        bars = max(len(row) - 1 for row in rows)
        width = float(np.clip(1.3 + bars * INCHES_PER_BAR, NARROWEST_INCHES, WIDEST_INCHES))
        legend_lines = math.ceil(min(len(notes.labels), LONGEST_LEGEND + 1) / legend_columns(width))
        heading = 0.42 + 0.19 * legend_lines
        height = heading + len(rows) * (pitch_height + drum_height + GAP_INCHES) + 0.1
        span = max(float(row[-1] - row[0]) for row in rows)
        return cls(width, height, heading, 0.95 if keys else 0.6, pitch_height, drum_height, span, low, high, keys)

    def box(self, row: int, drums: bool) -> tuple[float, float, float, float]:
        """Place of a row's panel as shares of the figure: left, bottom, width, height."""
        top = self.height - self.heading - row * (self.pitch_height + self.drum_height + GAP_INCHES)
        bottom = top - self.pitch_height - (self.drum_height if drums else 0.0)
        tall = self.drum_height if drums else self.pitch_height
        inner = self.width - self.left - 0.2
        return self.left / self.width, bottom / self.height, inner / self.width, tall / self.height


def legend_columns(width: float) -> int:
    """Legend entries side by side in a picture ``width`` inches wide."""
    return max(int(width / 1.9), 1)


def draw_row(figure: Any, layout: Layout, notes: NoteArrays, row: int, bars: NDArray[Any], first_bar: int) -> None:
    """One row: its pitched panel, its drum panel, bar lines and numbers."""
    is_drum = np.array(notes.drums)[notes.track]
    panels = []
    if layout.pitch_height:
        axes = figure.add_axes(layout.box(row, drums=False))
        dress_pitches(axes, layout)
        draw_notes(axes, layout, notes, bars, ~is_drum, notes.pitch.astype(np.float64))
        panels.append(axes)
    if layout.drum_height:
        axes = figure.add_axes(layout.box(row, drums=True))
        dress_drums(axes, layout)
        line_of = {key: float(line) for line, key in enumerate(layout.drum_keys)}
        draw_notes(axes, layout, notes, bars, is_drum, np.array([line_of.get(int(p), 0.0) for p in notes.pitch]))
        panels.append(axes)
    every = 2 ** math.ceil(math.log2(max((len(bars) - 1) / (BARS_IN_A_ROW + SPARE_BARS), 1.0)))
    for axes in panels:
        axes.set_xlim(bars[0], bars[0] + layout.span)
        axes.vlines(bars, *axes.get_ylim(), colors=FAINT, linewidth=0.6, zorder=1, clip_on=False)
        shown = [(line, str(first_bar + index)) for index, line in enumerate(bars[:-1]) if index % every == 0]
        axes.set_xticks([line for line, _ in shown], [text for _, text in shown] if axes is panels[-1] else [])
        axes.tick_params(axis="both", length=0, labelsize=7.5, labelcolor=INK, pad=3)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("left")
        for side in axes.spines.values():
            side.set_visible(False)


def dress_pitches(axes: Any, layout: Layout) -> None:
    """Ground of the pitched panel: stripes at the black keys, a line under each C, note names."""
    axes.set_ylim(layout.low - 0.5, layout.high + 0.5)
    keys = range(layout.low, layout.high + 1)
    for pitch in keys:
        if pitch % 12 in BLACK_KEYS:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color=STRIPE, linewidth=0, zorder=0)
    axes.hlines(
        [p - 0.5 for p in keys if p % 12 == 0], 0, 1, FAINT, "-", linewidth=0.5, transform=axes.get_yaxis_transform()
    )
    named: tuple[int, ...] = (0, 4, 7, 9) if (layout.high - layout.low) * 0.16 < layout.pitch_height * 2 else (0, 7)
    if layout.high - layout.low > 60:
        named = (0,)
    ticks = [p for p in keys if p % 12 in named]
    axes.set_yticks(ticks, [pitch_name(p) for p in ticks])
    for tick, label in zip(ticks, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if tick % 12 == 0 else "normal")


def dress_drums(axes: Any, layout: Layout) -> None:
    """Ground of the drum panel: a line a drum, with its name."""
    axes.set_ylim(-0.7, max(len(layout.drum_keys), 2) - 0.3)
    for line in range(0, len(layout.drum_keys), 2):
        axes.axhspan(line - 0.5, line + 0.5, color=STRIPE, linewidth=0, zorder=0)
    names = [DRUM_KEYS.get(key, f"key {key}") for key in layout.drum_keys]
    axes.set_yticks(range(len(names)), names)


def draw_notes(
    axes: Any, layout: Layout, notes: NoteArrays, bars: NDArray[Any], chosen: NDArray[np.bool_], y: Any
) -> None:
    """Notes that sound in ``bars`` as rectangles in their track's colour; softer notes are paler."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    start = np.maximum(notes.onset, bars[0])
    end = np.minimum(np.maximum(notes.onset + notes.duration, notes.onset + layout.span * SHORTEST_SHARE), bars[-1])
    index = np.nonzero(chosen & (end > start))[0]
    if len(index) == 0:
        return
    index = index[np.argsort(-notes.duration[index], kind="stable")]  # short notes on top
    left, right, low, high = start[index], end[index], y[index] - 0.42, y[index] + 0.42
    corners = np.stack([left, low, left, high, right, high, right, low], axis=1).reshape(-1, 4, 2)
    base = np.array([to_rgba(COLOURS[track % len(COLOURS)]) for track in range(len(notes.labels))])
    faces = base[notes.track[index]]
    faces[:, 3] = QUIETEST_OPACITY + (1.0 - QUIETEST_OPACITY) * np.clip(notes.velocity[index] / 100.0, 0.0, 1.0)
    axes.add_collection(PolyCollection(list(corners), facecolors=faces, edgecolors="white", linewidths=0.5, zorder=2))


def draw_heading(figure: Any, layout: Layout, notes: NoteArrays, title: str) -> None:
    """Title and a legend of the tracks."""
    from matplotlib.patches import Patch

    left = layout.left / layout.width
    if title:
        figure.text(left, 1 - 0.12 / layout.height, title, fontsize=11.5, fontweight="bold", color=INK, va="top")
    shown = min(len(notes.labels), LONGEST_LEGEND)
    handles = [Patch(color=COLOURS[i % len(COLOURS)], label=notes.labels[i][:24]) for i in range(shown)]
    if len(notes.labels) > shown:
        handles.append(Patch(color="none", label=f"and {len(notes.labels) - shown} more"))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left, 1 - 0.33 / layout.height),
        bbox_transform=figure.transFigure,
        ncols=min(legend_columns(layout.width), len(handles)),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handlelength=1.0,
        handleheight=0.9,
        borderpad=0,
        borderaxespad=0,
        columnspacing=1.6,
    )
