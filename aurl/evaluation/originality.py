"""Is it copied, and does it repeat itself: a copy report for every file, and how varied a batch is.

- ``CopyChecker``: the lines of a training set in a :class:`~aurl.music.similarity.MelodyIndex`; ``report`` names the
  richest equal run, the nearest passage with edits, and gives a verdict. Where a line is shared, all that sounds with
  it is compared too: a passage is copied with its voices, while people have always set one tune in several ways (a
  third of Bach's chorales share theirs with others of the corpus), which is called a shared melody.
- ``check_copies``: a batch against a training set, with the base rate of real music beside it. Music of one style
  shares phrases: what counts is whether a batch shares more than people do (Yin et al. 2022, "Measuring when a music
  generation algorithm copies too much", use the same yardstick).
- ``measure_diversity``: different n-grams, and how much of each file stands in others of the batch.

All of it is blind to transposition and to notation in doubled or halved values. Drums are not looked at: patterns are
shared by trade.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from aurl.evaluation.metrics.table import Bools, Floats, Ints, NoteTable
from aurl.music.similarity import WINDOW, Line, MelodyIndex, Passage, Run, gram_hashes, symbols_of

COPIED_NOTES = 20
"""A run of this many equal notes, repetition inside it not counted, is called copied; see experiments/retrieval."""
COPIED_SIMILARITY = 0.85
"""So is a window of 24 notes that aligns with a training passage for this share of the points of an exact copy."""
RICH_WINDOW = 0.8
"""Windows poorer than this (accompaniment figures) are shared by unrelated music and are not looked for."""
GRAM_SIZES = (4, 8, 12)
"""Symbols (interval and proportion of times) of the n-grams that are counted."""
COMPANY_SHARE = 0.9
"""Share of the notes beside a shared line that are those of the source, from which the passage is copied and not only
its melody; see experiments/retrieval."""
ONSET_TOLERANCE = 0.13
"""Quarters by which a note may begin beside that of the source: half a sixteenth, and rounding."""
COPIED, MELODY, ORIGINAL, TOO_SHORT = "copied", "shared melody", "original", "too short"
SHORTEST_LINE = 8
"""Notes below which a line can neither be copied nor original."""


@dataclass(frozen=True)
class CopyReport:
    """What one file shares with a training set."""

    path: str
    verdict: str
    """copied, shared melody, original, or too short to say."""
    run: Run
    """Richest equal run of one voice."""
    nearest: Passage | None
    """Most similar passage of a rich window; None where no window is rich enough."""
    reasons: tuple[str, ...] = ()
    """Why it is called copied, or its melody shared."""
    company: float = 0.0
    """Largest share of what sounds beside a shared line that is the source's; 0 where no line is shared."""

    @property
    def longest_run(self) -> int:
        """Notes of the longest equal run, repetition inside it not counted."""
        return self.run.rich

    @property
    def similarity(self) -> float:
        """Similarity of the nearest passage, 0 where there is none."""
        return self.nearest.similarity if self.nearest is not None else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        return {**values, "reasons": list(self.reasons), "longest_run": self.longest_run, "similarity": self.similarity}


@dataclass(frozen=True)
class CopyResult:
    """Copy reports of a batch, and what real music shares with the same training set."""

    files: list[CopyReport]
    human: list[CopyReport]
    """Reports of real pieces that are not in the training set (or, for lack of others, of training pieces, each
    without itself)."""
    human_is_held_out: bool
    """Whether ``human`` are pieces of their own; otherwise training pieces against the rest."""
    p_value: float
    """Kolmogorov-Smirnov, one-sided: small where the batch shares longer runs than real music does."""

    @property
    def copied(self) -> float:
        """Share of files called copied."""
        return copied_share(self.files)

    @property
    def melodies(self) -> float:
        """Share of files that have a melody, but not what sounds with it, from the training set."""
        return copied_share(self.files, MELODY)

    @property
    def human_melodies(self) -> float:
        """The same of real music."""
        return copied_share(self.human, MELODY)

    @property
    def human_copied(self) -> float:
        """The same of real music: the rate of false alarms; NaN without real music."""
        return copied_share(self.human)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what cannot be said is null."""
        return {
            "copied": plain(self.copied),
            "human_copied": plain(self.human_copied),
            "shared_melodies": plain(self.melodies),
            "human_shared_melodies": plain(self.human_melodies),
            "human_is_held_out": self.human_is_held_out,
            "longest_run": run_quantiles(self.files),
            "human_longest_run": run_quantiles(self.human),
            "p_value": plain(self.p_value),
            "files": [report.to_dict() for report in self.files],
            "human": [report.to_dict() for report in self.human],
        }


@dataclass(frozen=True)
class Diversity:
    """How varied the files of a batch are."""

    distinct: dict[int, float]
    """n -> different n-grams as a share of all, each counted over at most ``grams`` of them."""
    shared_run: dict[str, int]
    """File -> notes of the richest run that it shares with another file of the batch."""
    duplicates: list[tuple[str, str]]
    """Pairs of files whose pitched lines are equal up to transposition and notation."""
    reference_distinct: dict[int, float] = field(default_factory=dict)
    """The same over as many n-grams of the reference."""
    reference_shared_run: list[int] = field(default_factory=list)
    """The same for as many pieces of the reference, among each other."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "distinct": {str(size): plain(value) for size, value in self.distinct.items()},
            "reference_distinct": {str(size): plain(value) for size, value in self.reference_distinct.items()},
            "shared_run": dict(self.shared_run),
            "reference_shared_run": list(self.reference_shared_run),
            "duplicates": [list(pair) for pair in self.duplicates],
        }


def lines_of(table: NoteTable, piece: str) -> list[Line]:
    """The upper line of each pitched track."""
    return [Line(piece, table.pitch[notes], table.onset[notes]) for notes in table.lines]


class CopyChecker:
    """A training set that files are compared with.

    Args:
        training: name -> table of each piece.
        copied_notes: richness from which a run is called shared.
        copied_similarity: similarity from which a passage is called shared.
        company_share: share of equal notes beside either from which it is called copied, and not its melody alone.

    Example:
        >>> checker = CopyChecker({"song": table})  # doctest: +SKIP
        >>> checker.report("mine.mid", table).verdict  # doctest: +SKIP
        'copied'
    """

    def __init__(
        self,
        training: Mapping[str, NoteTable],
        copied_notes: int = COPIED_NOTES,
        copied_similarity: float = COPIED_SIMILARITY,
        company_share: float = COMPANY_SHARE,
    ) -> None:
        self.copied_notes, self.copied_similarity = copied_notes, copied_similarity
        self.company_share, self.training = company_share, training
        self.index = MelodyIndex([line for name, table in training.items() for line in lines_of(table, name)])

    def report(self, path: str, table: NoteTable, without: str | None = None) -> CopyReport:
        """Compare one piece; ``without`` names a training piece that is left out (itself)."""
        voices = [notes for notes in table.lines if len(notes) >= SHORTEST_LINE]
        run, nearest = Run(0), None
        shared: list[tuple[float, str]] = []
        for notes in voices:
            line = Line(path, table.pitch[notes], table.onset[notes])
            found = self.index.longest_run(line, without)
            run = max(run, found, key=lambda one: (one.rich, one.notes))
            if found.rich >= self.copied_notes:
                beside = company_match(table, notes, self.training[found.piece], found)
                shared.append((beside, f"{found.notes} equal notes with {found.piece}{_beside(beside)}"))
            for passage in self.index.nearest(line, 1, without, RICH_WINDOW) if len(notes) >= WINDOW else ():
                if nearest is None or passage.similarity > nearest.similarity:
                    nearest = passage
                if passage.similarity >= self.copied_similarity:
                    beside = company_match(table, notes, self.training[passage.piece], passage)
                    words = f"{100 * passage.similarity:.0f} % of a passage of {passage.piece}"
                    shared.append((beside, f"{words}{_beside(beside)}"))
        if not shared:
            return CopyReport(path, ORIGINAL if voices else TOO_SHORT, run, nearest)
        shared.sort(key=lambda one: -one[0])
        company = shared[0][0]
        copied = company >= self.company_share
        reasons = tuple(words for beside, words in shared if not copied or beside >= self.company_share)
        return CopyReport(path, COPIED if copied else MELODY, run, nearest, reasons, company)


def company_match(table: NoteTable, line: Ints, source: NoteTable, shared: Run | Passage) -> float:
    """Share of what sounds with a shared line that stands in the source at the same place.

    Args:
        table: the piece.
        line: its notes that make up the line.
        source: the training piece.
        shared: where the line stands in the source; its transposition and speed are taken as those of all voices.

    Returns:
        Share of the other pitched notes of the passage that have one of equal pitch, half a sixteenth beside at most;
        1 where nothing else sounds, because then the line is all there is.
    """
    scale = shared.length / shared.source_length if shared.source_length else 1.0
    others = table.pitched.copy()
    others[line] = False
    pitch, onset = _passage(table, others, shared.query_onset, shared.length, 1.0)
    source_pitch, source_onset = _passage(source, source.pitched, shared.onset, shared.source_length, scale)
    if not len(pitch):
        return 1.0
    near = np.abs(onset[:, None] - source_onset) <= ONSET_TOLERANCE
    return float((near & (pitch[:, None] == source_pitch + shared.transposition)).any(axis=1).mean())


def _passage(table: NoteTable, chosen: Bools, begin: float, length: float, scale: float) -> tuple[Ints, Floats]:
    """Pitches and onsets (quarters since ``begin``, scaled) of the chosen notes of a passage."""
    slack = ONSET_TOLERANCE / scale
    inside = chosen & (table.onset >= begin - slack) & (table.onset <= begin + length + slack)
    return table.pitch[inside], (table.onset[inside] - begin) * scale


def _beside(company: float) -> str:
    return f" ({100 * company:.0f} % of what sounds beside)"


def check_copies(
    files: Mapping[str, NoteTable],
    training: Mapping[str, NoteTable],
    held_out: Mapping[str, NoteTable] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    most_human: int | None = None,
    seed: int = 0,
) -> CopyResult:
    """Copy reports of a batch beside those of real music.

    Args:
        files: name -> table of what may be copied.
        training: name -> table of what it may be copied from.
        held_out: real pieces that are not in ``training``; without them training pieces are compared with the rest.
        on_progress: is told how many pieces of how many are done.
        most_human: real pieces that are compared at most, drawn at random; unset means as many as there are files.
        seed: of that draw.
    """
    checker = CopyChecker(training)
    real = held_out if held_out is not None else training
    most = min(most_human if most_human is not None else len(files), len(real))
    names = sorted(np.random.default_rng(seed).choice(sorted(real), most, replace=False).tolist()) if most else []
    total = len(files) + len(names)
    reports, human = [], []
    for done, (path, table) in enumerate(files.items(), start=1):
        reports.append(checker.report(path, table))
        on_progress(done, total)
    for done, name in enumerate(names, start=len(files) + 1):
        human.append(checker.report(name, real[name], name if held_out is None else None))
        on_progress(done, total)
    return CopyResult(reports, human, held_out is not None, longer_runs(reports, human))


def longer_runs(files: Sequence[CopyReport], human: Sequence[CopyReport]) -> float:
    """One-sided Kolmogorov-Smirnov p-value for files sharing longer runs than real music; NaN where one is empty."""
    if not files or not human:
        return math.nan
    # The distribution function of longer runs lies below: "less".
    result = stats.ks_2samp([one.longest_run for one in files], [one.longest_run for one in human], alternative="less")
    return float(result.pvalue)


def measure_diversity(
    files: Mapping[str, NoteTable], reference: Mapping[str, NoteTable] | None = None, seed: int = 0
) -> Diversity:
    """How varied a batch is, and as many pieces of a reference.

    The share of different n-grams falls as music gets longer, so both are counted over equally many n-grams.
    """
    rng = np.random.default_rng(seed)
    lines = {name: lines_of(table, name) for name, table in files.items()}
    others: dict[str, list[Line]] = {}
    if reference:
        names = rng.choice(sorted(reference), min(len(files), len(reference)), replace=False).tolist()
        others = {name: lines_of(reference[name], name) for name in names}
    grams = {size: (all_grams(lines, size, rng), all_grams(others, size, rng)) for size in GRAM_SIZES}
    counted = {size: min((len(part) for part in both if len(part)), default=0) for size, both in grams.items()}
    return Diversity(
        distinct={size: distinct_share(both[0][: counted[size]]) for size, both in grams.items()},
        shared_run=shared_runs(lines),
        duplicates=duplicates(lines),
        reference_distinct={size: distinct_share(both[1][: counted[size]]) for size, both in grams.items()}
        if others
        else {},
        reference_shared_run=list(shared_runs(others).values()),
    )


def all_grams(lines: Mapping[str, Sequence[Line]], size: int, rng: np.random.Generator) -> np.ndarray:
    """(G,) n-grams of all lines as numbers; whole pieces in random order, so that a beginning of it is a fair part."""
    order = rng.permutation(len(lines)).tolist()
    pieces = list(lines.values())
    parts = [gram_hashes(symbols_of(line), size) for number in order for line in pieces[number]]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)


def distinct_share(grams: np.ndarray) -> float:
    """Different ones as a share of all; NaN of none."""
    return len(np.unique(grams)) / len(grams) if len(grams) else math.nan


def shared_runs(lines: Mapping[str, Sequence[Line]]) -> dict[str, int]:
    """Name -> notes of the richest run that the piece shares with another one."""
    index = MelodyIndex([line for group in lines.values() for line in group])
    return {
        name: max((index.longest_run(line, without=name).rich for line in group), default=0)
        for name, group in lines.items()
    }


def duplicates(lines: Mapping[str, Sequence[Line]]) -> list[tuple[str, str]]:
    """Pairs of pieces whose lines are equal up to transposition and notation; the first of several equal ones twice."""
    first: dict[tuple[bytes, ...], str] = {}
    pairs = []
    for name, group in lines.items():
        key = tuple(symbols_of(line).tobytes() for line in group)
        if not any(key):
            continue
        if key in first:
            pairs.append((first[key], name))
        else:
            first[key] = name
    return pairs


def copied_share(reports: Sequence[CopyReport], verdict: str = COPIED) -> float:
    """Share of pieces of a verdict among those long enough to say; NaN where there are none."""
    judged = [report for report in reports if report.verdict != TOO_SHORT]
    return sum(report.verdict == verdict for report in judged) / len(judged) if judged else math.nan


def run_quantiles(reports: Sequence[CopyReport]) -> list[float]:
    """Median, 95 % and maximum of the longest runs; empty where there are none."""
    return (
        [float(value) for value in np.percentile([one.longest_run for one in reports], (50, 95, 100))]
        if reports
        else []
    )


def plain(value: float) -> float | None:
    """A number that JSON has; None for NaN."""
    return value if math.isfinite(value) else None
