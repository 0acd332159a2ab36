"""What the data report measures in each piece, and the arithmetic of its charts: bins, robust scores, splits compared.

A row is what :func:`aurl.music.statistics.piece_statistics` says of a piece, with its split and tokens. A chart is
plain JSON: bins with a label, a value and the numbers of the pieces behind it. Who fills them is report.py, who draws
them report_page.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.utils.charts import short

SPLITS = ("train", "valid", "test")
Row = Mapping[str, Any]
Chart = dict[str, Any]

MOST_BINS = 16
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
DECADES: tuple[tuple[float, ...], ...] = (
    (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8),
    (1, 1.5, 2, 3, 5, 7),
    (1, 2, 5),
    (1,),
)
"""Edges of a logarithmic axis within a factor of ten, from fine to coarse."""
CORE = (0.01, 0.99)
STEP_OF_SHARES = 0.1
ROUNDING = 1e-9
SMALLEST = 1e-6
"""Values and differences smaller than this are drawn as none."""
OUTLIER_SCORE = 3.5
"""Robust z-scores beyond this are outliers (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers)."""
HIGHEST_SCORE = 99.0
MAD_TO_DEVIATION, MEAN_TO_DEVIATION = 1.4826, 1.2533
"""A normal distribution's standard deviation over its median, and its mean, absolute deviation."""
LEAST_FOR_OUTLIERS = 8
"""Fewer pieces than this have no usual value to differ from."""


@dataclass(frozen=True)
class Measure:
    """One number a piece, its chart and its outliers."""

    name: str
    """Key of the row."""
    title: str
    unit: str
    shows: str
    """What the chart shows, in a sentence."""
    worry: str
    """When to worry, in a sentence."""
    log: bool = False
    """Compared by ratio: twice as long is as odd as half as long."""
    whole: bool = False
    """A count."""
    low: float = 0.0
    """On a logarithmic scale smaller values count as this."""
    least: float = 0.0
    """A robust standard deviation counts as at least this (in logarithms with ``log``): what no one would notice is not
    unusual, however alike the pieces are.
    """
    optional: bool = False
    """Only shown where a piece has it: what preprocessing measured."""


MEASURES: tuple[Measure, ...] = (
    Measure(
        "beats", "Length in beats", "beats", "How long the pieces are, in quarter notes.",
        "Very short pieces are often sound effects or broken files; very long ones several pieces in one file.",
        log=True, least=0.15,
    ),
    Measure(
        "bars", "Length in bars", "bars", "How many bars the pieces have, by their metres.",
        "A piece of many more bars than beats allow has a wrong metre, such as 1/4.",
        log=True, whole=True, least=0.15,
    ),
    Measure(
        "seconds", "Length in seconds", "seconds", "How long the pieces play, by their tempi.",
        "Hours are a sign of a wrong tempo or of a note that was left hanging.", log=True, least=0.15,
    ),
    Measure(
        "tokens", "Length in tokens", "tokens", "How long the pieces are for the model.",
        "Pieces longer than the model's context (model.context) are learned in parts.",
        log=True, whole=True, least=0.15,
    ),
    Measure(
        "density", "Density", "notes a beat", "How many notes begin in a quarter note on average.",
        "Low: long silences or a wrong tempo. High: controllers or noise written as notes.", log=True, least=0.15,
    ),
    Measure(
        "notes_per_second", "Speed", "notes a second", "How many notes begin in a second on average.",
        "No player plays more than about 20 a second alone; many more are black MIDI or a wrong tempo.",
        log=True, least=0.15,
    ),
    Measure(
        "polyphony", "Polyphony", "notes at once", "How many notes sound together on average, silence aside, no drums.",
        "Above ten or so, notes may have been left hanging, or tracks are doubled.", log=True, least=0.15,
    ),
    Measure(
        "tempo", "Tempo", "quarters a minute", "The mean tempo of each piece.",
        "One high bar at 120 often means that no one ever set a tempo.", log=True, least=0.15,
    ),
    Measure(
        "pitch_low", "Lowest pitch", "MIDI pitch", "The lowest note of each piece (60 is middle C), no drums.",
        "Below 21 there is no key on a piano: often a drum track or a key switch that is not marked as one.",
        whole=True, least=3.0,
    ),
    Measure(
        "pitch_high", "Highest pitch", "MIDI pitch", "The highest note of each piece (60 is middle C), no drums.",
        "Above 108 there is no key on a piano: often a sound effect.", whole=True, least=3.0,
    ),
    Measure(
        "velocity", "Loudness", "velocity", "The mean velocity of each piece, 1 to 127.",
        "One high bar means that the loudness was never played, only set.", least=5.0,
    ),
    Measure(
        "velocity_spread", "Dynamics", "velocity, standard deviation", "How much velocity varies in each piece.",
        "Near 0 the music has no dynamics, and a model cannot learn any from it.", least=3.0,
    ),
    Measure(
        "tracks", "Tracks", "tracks", "How many tracks with notes the pieces have.",
        "Beyond tokenizer.tracks_per_program tracks of one instrument are joined.", log=True, whole=True, least=0.3,
    ),
    Measure(
        "off_grid", "Off the grid", "share of onsets, relative to chance",
        "The share of onsets on no sixteenth or triplet, as a multiple of what onsets at random would have.",
        "Near 1 a piece was played freely; above it lies beside its beats as a whole; tokens round its rhythm.",
        least=0.1,
    ),
    Measure(
        "key_correlation", "Clearness of key", "correlation", "How well the notes fit the nearest major or minor key.",
        "Below 0.6 the music is hardly in one key, or pitches are wrong.", least=0.03,
    ),
    Measure(
        "silence", "Longest silence", "beats", "The longest stretch of each piece without any sound.",
        "Long silences are often a cut, a hidden second piece or a wrong time.", log=True, low=1.0, least=0.5,
    ),
    Measure(
        "doubled", "Doubled notes", "share of notes", "The share of notes that another track plays at the same time.",
        "A high share is often the same track twice; the model then learns to write everything twice.", least=0.05,
    ),
    Measure(
        "off_grid_before", "Off the grid before", "share of onsets, relative to chance",
        "The share of onsets on no sixteenth or triplet as the files have them, before preprocessing.",
        "Near 1 the beats are not those of the music, and a grid on them has no meaning: align them first "
        "(preprocess.align_beats).",
        least=0.1, optional=True,
    ),
    Measure(
        "onset_error_mean", "Quantisation error, onsets", "milliseconds",
        "How far quantisation moved the notes of each piece on average.",
        "Beyond about 30 ms it is heard; then the rhythm is on another grid, or the beats are not those of the music.",
        least=5.0, optional=True,
    ),
    Measure(
        "onset_error_p95", "Quantisation error, 95 of 100 onsets", "milliseconds",
        "How far quantisation moved notes of each piece; 95 of 100 moved less.",
        "High beside a low mean: ornaments and rolled chords, which a grid makes simultaneous.",
        least=5.0, optional=True,
    ),
    Measure(
        "duration_error_mean", "Quantisation error, lengths", "milliseconds",
        "By how much quantisation changed the lengths of notes on average.",
        "High values are usual where notes are played short; their rhythm is in the onsets.",
        least=10.0, optional=True,
    ),
)  # fmt: skip


def measures_of(rows: Sequence[Row]) -> list[Measure]:
    """The measures to show: optional ones only where a piece has them."""
    return [one for one in MEASURES if not one.optional or any(row.get(one.name) is not None for row in rows)]


def measured(rows: Sequence[Row], name: str) -> tuple[NDArray[np.float64], list[int]]:
    """The values of a measure and the numbers of the pieces that have one."""
    pairs = [(float(row[name]), number) for number, row in enumerate(rows) if row.get(name) is not None]
    return np.array([value for value, _ in pairs]), [number for _, number in pairs]


def histogram(measure: Measure, rows: Sequence[Row]) -> Chart:
    """The chart of a measure: each bin counts pieces from its low edge up to, not including, its high edge."""
    values, numbers = measured(rows, measure.name)
    edges = bin_edges(values, measure)
    members: list[list[int]] = [[] for _ in edges[1:]]
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    for bin_, number in zip(place.tolist(), numbers, strict=True):
        members[bin_].append(number)
    bins = [
        {"label": _bin_label(low, high, measure), "low": low, "high": high, "value": len(found), "pieces": found}
        for low, high, found in zip(edges[:-1], edges[1:], members, strict=True)
    ]
    return chart(measure.name, measure.title, measure.unit, measure.shows, measure.worry, bins) | {
        "kind": "histogram",
        "summary": summary(values),
        "splits": {split: summary(measured(of_split(rows, split), measure.name)[0]) for split in SPLITS},
        "missing": len(rows) - len(values),
    }


def _bin_label(low: float, high: float, measure: Measure) -> str:
    """``4`` or ``4 to 7`` for counts, else both edges."""
    if not measure.whole:
        return f"{short(low)} to {short(high)}"
    first, last = math.ceil(low), math.ceil(high) - 1
    return short(first) if last <= first else f"{short(first)} to {short(last)}"


def chart(
    name: str, title: str, unit: str, shows: str, worry: str, bins: list[dict[str, Any]], counts: str = "pieces"
) -> Chart:
    """A chart as JSON; ``counts`` says what the values of its bins are."""
    return {
        "name": name, "title": title, "unit": unit, "shows": shows, "worry": worry, "counts": counts,
        "kind": "bars", "bins": bins,
    }  # fmt: skip


def of_split(rows: Sequence[Row], split: str) -> list[Row]:
    """The rows of a split."""
    return [row for row in rows if row["split"] == split]


def summary(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Lowest, median and highest value, and the quartiles between; None without values."""
    names = ("lowest", "quarter", "median", "three_quarters", "highest")
    if len(values) == 0:
        return dict.fromkeys(names)
    return dict(zip(names, np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist(), strict=True))


def bin_edges(values: NDArray[np.float64], measure: Measure) -> list[float]:
    """Round edges of about ``MOST_BINS`` bins that hold all values; none without values.

    What lies beyond the middle 98 of 100 values shares a wide first and last bin, or a single piece of a million beats
    would leave one bar for all others.
    """
    if len(values) == 0:
        return []
    lowest, highest = float(values.min()), float(values.max())
    low, high = (float(edge) for edge in np.quantile(values, CORE, method="nearest"))
    low = max(low, measure.low, SMALLEST if measure.log else low)
    if measure.log and high > low > 0:
        edges = _log_edges(low, high)
        edges = [float(edge) for edge in sorted({math.ceil(edge) for edge in edges})] if measure.whole else edges
    else:
        edges = _linear_edges(min(low, high), max(low, high), measure.whole)
    if lowest < edges[0]:
        edges.insert(0, _rounded(lowest, math.floor))
    if highest > edges[-1] or (measure.whole and highest == edges[-1]):
        edges.append(_rounded(highest + 1.0 if measure.whole else highest, math.ceil))
    return edges


def _rounded(value: float, way: Callable[[float], int]) -> float:
    """A number down or up to one digit."""
    if abs(value) < SMALLEST:
        return 0.0 if way is math.floor else SMALLEST
    power = 10.0 ** math.floor(math.log10(abs(value)))
    return round(way(value / power) * power, 12)


def _linear_edges(low: float, high: float, whole: bool) -> list[float]:
    """Multiples of a round step; the last bin of a measure that is no count holds its high edge too."""
    step = 1.0 if whole or abs(high) >= 1 else STEP_OF_SHARES
    if high - low > SMALLEST * max(high / 1000, 1.0):
        power = 10.0 ** math.floor(math.log10((high - low) / MOST_BINS))
        step = next(factor * power for factor in STEPS if factor * power * MOST_BINS >= high - low)
        step = max(math.ceil(step), 1) if whole else step
    first = math.floor(low / step + ROUNDING)
    last = math.floor(high / step) + 1 if whole else max(math.ceil(high / step - ROUNDING), first + 1)
    return [round(step * index, 10) for index in range(first, last + 1)]


def _log_edges(low: float, high: float) -> list[float]:
    """Round numbers at equal ratios, roughly."""
    edges: list[float] = []
    for decade in DECADES:
        powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 2)
        marks = [round(factor * 10.0**power, 10) for power in powers for factor in decade]
        below = [mark for mark in marks if mark <= low]
        above = [mark for mark in marks if mark > high]
        edges = [below[-1], *(mark for mark in marks if low < mark <= high), above[0]]
        if len(edges) <= MOST_BINS + 1:
            break
    return edges


def robust_scores(values: NDArray[np.float64], measure: Measure) -> NDArray[np.float64]:
    """How many robust standard deviations each value (N,) lies from the median; 0 where nothing varies.

    Above and below the median have a deviation each, since most measures are skewed: the median absolute deviation of
    that side, or the mean one where more than half of its values equal the median.
    """
    if len(values) == 0:
        return values
    if measure.log:
        positive = values[values > 0]
        floor = measure.low or (float(positive.min()) if len(positive) else 1.0)
        values = np.log(np.maximum(values, floor))
    distance = values - np.median(values)
    scores = np.zeros_like(distance)
    for side in (distance <= 0, distance >= 0):
        away = np.abs(distance[side])
        deviation = MAD_TO_DEVIATION * float(np.median(away)) or MEAN_TO_DEVIATION * float(away.mean())
        deviation = max(deviation, measure.least)
        if deviation > 0:
            scores[side] = distance[side] / deviation
    return scores


def outliers(measure: Measure, rows: Sequence[Row]) -> dict[str, Any]:
    """The pieces whose value is unusual, the oddest first."""
    values, numbers = measured(rows, measure.name)
    scores = np.clip(robust_scores(values, measure), -HIGHEST_SCORE, HIGHEST_SCORE)
    found = [
        {"piece": numbers[index], "value": float(values[index]), "z": round(float(scores[index]), 2)}
        for index in np.argsort(-np.abs(scores), kind="stable").tolist()
        if abs(scores[index]) > OUTLIER_SCORE and len(values) >= LEAST_FOR_OUTLIERS
    ]
    return {
        "name": measure.name,
        "title": measure.title,
        "unit": measure.unit,
        "median": float(np.median(values)) if len(values) else None,
        "pieces": found,
    }
