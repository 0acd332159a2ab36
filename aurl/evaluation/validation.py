"""Is this file music at all? Faults that a listener hears at once, file by file, with reasons.

``validate`` looks at playable ranges, crossing voices, hanging and overlapping notes, silence, stuck loops, metre,
note lengths, density and the number of notes at once. Each check measures one number and compares it with a limit;
the limits are percentiles of 1,078 real pieces of eight corpora, rounded outwards (experiments/validation_limits says
how, and how many real pieces that were held out fail). A check that a piece cannot have (crossing voices of a piano,
the metre of a performance without a beat) is left out.

Style against a reference corpus is :class:`StyleBand`; whether a long piece holds together is
:func:`long_term_coherence`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from aurl.evaluation.chorale import band, share_inside, spacing
from aurl.evaluation.metrics import dynamics, structure
from aurl.evaluation.metrics.harmony import four_voices
from aurl.evaluation.metrics.pitch import window_classes
from aurl.evaluation.metrics.registry import choose_metrics, score_metrics
from aurl.evaluation.metrics.table import Floats, Music, NoteTable, as_table
from aurl.music.instruments import PROGRAMS

PLAYABLE: tuple[tuple[range, int, int], ...] = (
    (range(8), 21, 108),  # pianos, harpsichord, clavinet
    (range(8, 16), 45, 108),  # celesta to dulcimer
    (range(16, 21), 24, 108),  # organs
    (range(21, 24), 29, 101),  # accordion, harmonica
    (range(24, 32), 38, 91),  # guitars, dropped D included
    (range(32, 40), 23, 72),  # basses, five strings included
    (range(40, 41), 55, 105),  # violin
    (range(41, 42), 48, 93),  # viola
    (range(42, 43), 36, 84),  # cello
    (range(43, 44), 23, 67),  # contrabass
    (range(44, 47), 23, 105),  # tremolo, pizzicato, harp
    (range(47, 48), 36, 60),  # timpani
    (range(48, 52), 23, 105),  # string ensembles
    (range(52, 55), 36, 88),  # voices
    (range(56, 57), 52, 88),  # trumpet
    (range(57, 58), 34, 77),  # trombone
    (range(58, 59), 22, 67),  # tuba
    (range(59, 60), 52, 88),  # muted trumpet
    (range(60, 61), 34, 79),  # horn
    (range(61, 64), 24, 96),  # brass sections
    (range(64, 65), 56, 91),  # soprano saxophone
    (range(65, 66), 49, 86),  # alto saxophone
    (range(66, 67), 44, 82),  # tenor saxophone
    (range(67, 68), 36, 75),  # baritone saxophone
    (range(68, 69), 58, 93),  # oboe
    (range(69, 70), 52, 84),  # English horn
    (range(70, 71), 34, 77),  # bassoon
    (range(71, 72), 50, 96),  # clarinet
    (range(72, 73), 74, 108),  # piccolo
    (range(73, 80), 55, 100),  # flutes, recorder, whistle
)
"""(General MIDI programs, lowest, highest sounding pitch) of good players; programs left out play anything."""
TINY = 1 / 16
"""A note shorter than this many quarters is tiny."""
LONG_QUARTERS = 16.0
"""A note longer than four bars of 4/4 hangs."""
LOOP_BARS = 4
"""Longest loop that counts as stuck."""
FEWEST_LOOPED = 8
"""Bars of the shortest piece that can be one loop."""
BEAT_KNOWN = 0.03
"""Mean distance from the grid (quarters) up to which the notated beat is taken for the real one."""
LONG_PIECE_SECONDS = 120.0
"""Long-term coherence is measured from here on."""
STYLE_LOW, STYLE_HIGH = 5.0, 95.0
THIRDS = 3


@dataclass(frozen=True, kw_only=True)
class ValidationLimits:
    """What a file may do and still pass; the defaults come from experiments/validation_limits."""

    out_of_range_share: float = 0.15
    """Share of notes that the instrument cannot play."""
    crossed_percent: float = 35.0
    """Percent of the time in which two of four voices cross."""
    hanging_share: float = 0.02
    """Share of notes longer than 16 quarters."""
    overlap_share: float = 0.25
    """Share of notes that begin while the same pitch of the same track sounds."""
    longest_silence: float = 15.0
    """Seconds without a note."""
    stuck_bars: float = 16.0
    """Bars in a row that equal the bar one to four bars before."""
    looped_share: float = 0.75
    """Share of the piece (of eight bars or more) that one loop of up to four bars fills."""
    weak_metre: float = 0.45
    """Share of onsets on weak sixteenths (the second and fourth of a quarter) minus the share on quarters."""
    tiny_share: float = 0.2
    """Share of pitched notes shorter than a sixty-fourth."""
    lowest_density: float = 1.5
    """Notes a second."""
    highest_density: float = 48.0
    """Notes a second."""
    most_at_once: float = 40.0
    """Pitched notes sounding together."""
    fewest_notes: float = 5.0
    """Notes in the file."""


@dataclass(frozen=True)
class Finding:
    """One check of one file."""

    check: str
    value: float
    passed: bool
    reason: str
    """Empty when passed."""


@dataclass(frozen=True)
class Verdict:
    """All checks of one file."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(finding.passed for finding in self.findings)

    @property
    def reasons(self) -> list[str]:
        """Why it did not pass, one line for each failed check."""
        return [finding.reason for finding in self.findings if not finding.passed]


def validate(music: Music, limits: ValidationLimits | None = None) -> Verdict:
    """Check one score.

    Example:
        >>> verdict = validate(score)  # doctest: +SKIP
        >>> verdict.passed, verdict.reasons  # doctest: +SKIP
        (False, ['48 bars in a row repeat a loop of up to four bars (at most 16)'])
    """
    limits = limits or ValidationLimits()
    values = measure(music)
    findings = []
    for check, (limit_name, upper, text) in CHECKS.items():
        value, limit = values[check], getattr(limits, limit_name)
        if math.isnan(value):
            continue
        passed = value <= limit if upper else value >= limit
        shown, bound = _number(check, value), _number(check, limit)
        reason = "" if passed else f"{shown} {text} ({'at most' if upper else 'at least'} {bound})"
        findings.append(Finding(check, value, passed, reason))
    return Verdict(tuple(findings))


CHECKS: dict[str, tuple[str, bool, str]] = {
    "notes": ("fewest_notes", False, "notes in the file"),
    "range": ("out_of_range_share", True, "of the notes are out of their instrument's range"),
    "crossing": ("crossed_percent", True, "percent of the time voices cross"),
    "hanging": ("hanging_share", True, "of the notes last longer than four bars"),
    "overlap": ("overlap_share", True, "of the notes begin while the same pitch still sounds in their track"),
    "silence": ("longest_silence", True, "seconds of silence in one stretch"),
    "loop": ("stuck_bars", True, "bars in a row repeat a loop of up to four bars"),
    "looped": ("looped_share", True, "of the piece is one loop of up to four bars"),
    "metre": ("weak_metre", True, "more onsets on weak sixteenths than on beats, as a share of all"),
    "tiny": ("tiny_share", True, "of the notes are shorter than a sixty-fourth"),
    "sparse": ("lowest_density", False, "notes a second"),
    "dense": ("highest_density", True, "notes a second"),
    "at_once": ("most_at_once", True, "notes sound together"),
}
"""Check -> (field of the limits, whether it is an upper limit, words for the reason)."""
SHARES = frozenset({"range", "hanging", "overlap", "looped", "metre", "tiny"})


def measure(music: Music) -> dict[str, float]:
    """The number behind every check; NaN where the piece cannot have it."""
    table = as_table(music)
    measured: dict[str, Callable[[NoteTable], float]] = {
        "notes": lambda piece: float(len(piece.start)),
        "range": out_of_range_share,
        "crossing": crossed_percent,
        "hanging": lambda piece: _share(piece.length[piece.pitched] > LONG_QUARTERS),
        "overlap": overlap_share,
        "silence": longest_silence,
        "loop": stuck_bars,
        "looped": looped_share,
        "metre": weak_metre,
        "tiny": lambda piece: _share(piece.length[piece.pitched] < TINY),
        "sparse": _density,
        "dense": _density,
        "at_once": lambda piece: float(piece.roll.sum(axis=1).max(initial=0)),
    }
    return {check: measured[check](table) for check in CHECKS}


def out_of_range_share(table: NoteTable) -> float:
    """Share of pitched notes below or above what the track's instrument can play."""
    lowest, highest = np.zeros(len(PROGRAMS) + 1), np.full(len(PROGRAMS) + 1, 127)
    for programs, low, high in PLAYABLE:
        lowest[list(programs)], highest[list(programs)] = low, high
    program = np.array(table.programs, dtype=np.int64)[table.track]
    outside = (table.pitch < lowest[program]) | (table.pitch > highest[program])
    return _share(outside[table.pitched])


def crossed_percent(table: NoteTable) -> float:
    """Percent of the time in which voices of four-part music cross; NaN for other music."""
    voices = four_voices(table)
    return math.nan if voices is None else spacing(voices)["crossed_percent"]


def overlap_share(table: NoteTable) -> float:
    """Share of pitched notes that begin before the same pitch of their track has ended."""
    mine = table.pitched
    key = table.track[mine] * 128 + table.pitch[mine]
    order = np.lexsort((table.start[mine], key))
    key, start, end = key[order], table.start[mine][order], table.end[mine][order]
    if not len(key):
        return math.nan
    again = (key[1:] == key[:-1]) & (start[1:] < end[:-1])
    return float(again.sum() / len(key))


def longest_silence(table: NoteTable) -> float:
    """Seconds of the longest stretch without a note, before the first one included."""
    if not len(table.start):
        return math.nan
    reached = np.maximum.accumulate(np.concatenate([[0.0], table.offset]))[:-1]
    gaps = table.seconds_at(table.onset) - table.seconds_at(np.minimum(reached, table.onset))
    return float(gaps.max())


def stuck_bars(table: NoteTable) -> float:
    """Bars in the longest run in which every bar equals the one one to four bars before (same distance)."""
    return float(_longest_loop(table)[0])


def looped_share(table: NoteTable) -> float:
    """Share of the piece that its longest loop of up to four bars fills, first time included; NaN below eight bars."""
    run, lag = _longest_loop(table)
    if table.bars < FEWEST_LOOPED:
        return math.nan
    return (run + lag) / table.bars if run else 0.0


def _longest_loop(table: NoteTable) -> tuple[int, int]:
    """Bars that repeat in the longest loop, and its length in bars."""
    matrix = structure.bar_similarity(table)
    longest = (0, 0)
    for lag in range(1, min(LOOP_BARS, len(matrix) - 1) + 1):
        same = np.diagonal(matrix, lag) == 1
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int64), [0]])))
        runs = edges[1::2] - edges[::2]
        longest = max(longest, (int(runs.max(initial=0)), lag))
    return longest


def weak_metre(table: NoteTable) -> float:
    """Share of onsets on the second and fourth sixteenth of quarters minus that on quarters; NaN without a beat."""
    if not len(table.start) or not dynamics.timing_deviation(table) <= BEAT_KNOWN:
        return math.nan
    place = np.rint(table.onset * 4).astype(np.int64) % 4
    return float((place % 2 == 1).mean() - (place == 0).mean())


@dataclass(frozen=True)
class StyleBand:
    """The band that a reference corpus spans, metric by metric, and how many metrics its own pieces have inside."""

    limits: dict[str, tuple[float, float]]
    """Metric -> percentiles 5 and 95 of the reference."""
    usual: float
    """Share of metrics inside that all but the strangest twentieth of the reference's pieces reach."""

    @classmethod
    def fit(cls, reference: Iterable[Music], names: Sequence[str] | None = None) -> StyleBand:
        """Measure the reference.

        Args:
            reference: at least two pieces.
            names: metrics; those advertised without it.

        Raises:
            ValueError: fewer than two pieces.
        """
        chosen = names or [
            spec.name
            for spec in choose_metrics(scalars_only=True)
            if not (spec.comparability_only or spec.needs_reference)
        ]
        rows = [{name: float(value) for name, value in score_metrics(piece, chosen).items()} for piece in reference]
        if len(rows) < 2:
            raise ValueError(f"a style needs at least two reference pieces, got {len(rows)}")
        limits = {name: ends for name, ends in band(rows, STYLE_LOW, STYLE_HIGH).items() if math.isfinite(ends[0])}
        shares = [_inside(row, limits)[0] for row in rows]
        return cls(limits, float(np.nanpercentile(shares, STYLE_LOW)))

    def consistency(self, music: Music) -> tuple[float, list[str]]:
        """Share of metrics inside the reference's band, and the names of those outside."""
        row = {name: float(value) for name, value in score_metrics(music, list(self.limits)).items()}
        return _inside(row, self.limits)

    def fits(self, music: Music) -> bool:
        """Whether as many metrics lie inside as for all but a twentieth of the reference's own pieces."""
        return self.consistency(music)[0] >= self.usual


def long_term_coherence(music: Music) -> dict[str, float]:
    """Does a long piece hold together? NaN below two minutes.

    Returns:
        ``bridge_similarity``: how well material comes back over any bar line (1 is exact; the weakest line counts);
        ``late_recurrence``: mean over the bars of the last third of the highest similarity with a bar of the first;
        ``key_drift``: 1 - cosine of the pitch-class times of the first and last third, 0 to 1;
        ``density_drift``: absolute log2 of the ratio of notes a quarter in the last and first third;
        ``novelty_peak``: the sharpest border.
    """
    table = as_table(music)
    if table.seconds < LONG_PIECE_SECONDS or table.bars < 2 * THIRDS:
        return dict.fromkeys(COHERENCE, math.nan)
    matrix = structure.mixed_similarity(table)
    third = len(matrix) // THIRDS
    classes = window_classes(table, 1)
    first, last = classes[:third].sum(axis=0), classes[-third:].sum(axis=0)
    lengths = np.linalg.norm(first) * np.linalg.norm(last)
    notes = np.bincount(table.bar, minlength=table.bars)
    density = [float(notes[part].sum() / table.bar_lengths[part].sum()) for part in (slice(third), slice(-third, None))]
    return {
        "bridge_similarity": structure.bridge_similarity(table),
        "late_recurrence": float(matrix[-third:, :third].max(axis=1).mean()),
        "key_drift": 1 - float(first @ last / lengths) if lengths else math.nan,
        "density_drift": abs(math.log2(density[1] / density[0])) if min(density) > 0 else math.inf,
        "novelty_peak": structure.novelty_peak(table),
    }


COHERENCE = ("bridge_similarity", "late_recurrence", "key_drift", "density_drift", "novelty_peak")


def _inside(row: dict[str, float], limits: dict[str, tuple[float, float]]) -> tuple[float, list[str]]:
    """Share of a piece's finite values inside their limits, and the names of those outside."""
    present = [name for name in limits if math.isfinite(row[name])]
    outside = [name for name in present if not share_inside(np.array([row[name]]), limits[name])]
    return (1 - len(outside) / len(present) if present else math.nan), outside


def _density(table: NoteTable) -> float:
    return len(table.start) / table.seconds if table.seconds else math.nan


def _share(flags: Floats | np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else math.nan


def _number(check: str, value: float) -> str:
    return f"{100 * value:.0f} %" if check in SHARES else f"{value:.3g}"
