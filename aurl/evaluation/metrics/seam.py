"""Is there a bar line at which two pieces were joined? Every bar line beside what a reference has at its own.

At a joint the voices jump, and what lies before differs from what lies after: the registers of the voices, note values,
where in the bar things happen; and little comes back over it. No one of these is rare at a bar line of real music, all
of them together are. So a :class:`SeamModel` learns how much each clue tells: bar lines of real pieces against bar
lines at which two of them, of one mode and metre and moved into one key, were joined (noise contrast, Gutmann and
Hyvärinen 2010). It gives the logarithm of the likelihood ratio of each bar line, and for a piece that of "joined at one
bar line, unknown which" against "not joined" (the mean ratio, as for a change point at an unknown place): below 0 for
most real music.

Axes: B bars, L inner bar lines, V tracks, F clues, K bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aurl.evaluation.metrics import structure
from aurl.evaluation.metrics.pitch import find_key, sounding_classes
from aurl.evaluation.metrics.rhythm import LENGTH_CLASSES, LENGTH_EDGES
from aurl.evaluation.metrics.table import OCTAVE, PITCHES, STEPS_PER_QUARTER, Floats, Ints, NoteTable

CLUES = (
    "leap_widest",
    "leap_together",
    "leap_rank",
    "pause",
    "register",
    "register_together",
    "pitches",
    "positions",
    "positions_and_lengths",
    "lengths_by_track",
    "long_notes",
    "pulse",
    "bridge_4",
    "bridge_2",
    "bridge_1",
    "edge",
)
"""Names of the clues, in the order of the columns of :func:`seam_clues`."""
FEWEST_BARS = 6
EDGE_PARTS = 5
"""Bar lines in the first and last fifth are not looked at: too little lies on one side of them."""
WIDEST_LEAP = 12
"""Leaps count up to an octave."""
MOST_STEPS = 32
"""Sixteenths of a bar that are told apart."""
LONGEST_PAUSE = 4.0
"""A note before the bar line counts up to four quarters."""
LONG_QUARTERS = 1.9
"""A note of (nearly) a half and more: where phrases end."""
PRIOR = 0.1
"""Added to the counts of every bin before the two sides of a bar line are compared."""
SPLICES = 400
"""Joined pieces that a model learns from, at least (as long as there are pairs) one for each piece."""
MOST_DEVIATIONS = 3.0
"""Squares of clues grow no further from here."""
RIDGE = 0.3
"""Inverse strength of the penalty on the weights (scikit-learn's C)."""
MOST_STEPS_OF_FIT = 1000
SEED = 20202
TINY = 1e-9


def seam_clues(table: NoteTable) -> tuple[Ints, Floats]:
    """What speaks for a joint at each inner bar line.

    Returns:
        (L,) bar that begins at the line, and (L, F) clues (CLUES), larger where the sides belong together less; NaN
        where a clue cannot be had. No line where the piece has fewer than six bars.
    """
    return table.once("seam_clues", _seam_clues)


def _seam_clues(table: NoteTable) -> tuple[Ints, Floats]:
    bars = min(table.bars, structure.MOST_BARS)
    first = max(bars // EDGE_PARTS, 1)
    lines = np.arange(first, bars - first + 1) if bars >= FEWEST_BARS else np.zeros(0, dtype=np.int64)
    if not len(lines) or not table.lines:
        return np.zeros(0, dtype=np.int64), np.zeros((0, len(CLUES)))
    columns = [
        *_leaps(table, lines),
        *_registers(table, lines, bars),
        *_divergences(table, lines, bars),
        *_bridges(table, lines),
        1 / lines + 1 / (bars - lines),  # the fewer bars on one side, the more it differs by chance
    ]
    return lines, np.stack(columns, axis=1)


def _leaps(table: NoteTable, lines: Ints) -> list[Floats]:
    """How far, how jointly, how unusually for the piece, and after how long notes the tracks move over bar lines."""
    times = table.bar_starts[lines] - 1e-9
    shape = len(lines), len(table.lines)
    move, rank, pause = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for track, line in enumerate(table.lines):
        pitch = table.pitch[line].astype(np.float64)
        after = np.searchsorted(table.onset[line], times)
        inside = np.flatnonzero((after > 0) & (after < len(line)))
        before, after = line[after[inside] - 1], line[after[inside]]
        step = (table.pitch[after] - table.pitch[before]).astype(np.float64)
        usual = np.sort(np.abs(np.diff(pitch)))
        move[inside, track] = np.clip(step, -WIDEST_LEAP, WIDEST_LEAP)
        rank[inside, track] = np.searchsorted(usual, np.abs(step)) / max(len(usual), 1)
        pause[inside, track] = np.minimum(table.length[before], LONGEST_PAUSE)
    widest = np.where(np.isfinite(move), np.abs(move), -1).max(axis=1)
    return [np.where(widest < 0, np.nan, widest), np.abs(_mean(move)), _mean(rank), _mean(pause)]


def _registers(table: NoteTable, lines: Ints, bars: int) -> list[Floats]:
    """How far the mean pitch of the tracks differs before and after: each for itself, and all one way."""
    count, total = np.zeros((bars, len(table.lines))), np.zeros((bars, len(table.lines)))
    for track, line in enumerate(table.lines):
        mine = line[table.bar[line] < bars]
        count[:, track] = np.bincount(table.bar[mine], minlength=bars)
        total[:, track] = np.bincount(table.bar[mine], table.pitch[mine], minlength=bars)
    means = []
    for before in (True, False):
        notes = _side(count, lines, before)
        means.append(np.where(notes > 0, _side(total, lines, before) / np.maximum(notes, 1), np.nan))
    shift = means[0] - means[1]  # (L, V)
    return [_mean(np.abs(shift)), np.abs(_mean(shift))]


def _divergences(table: NoteTable, lines: Ints, bars: int) -> list[Floats]:
    """How far distributions before and after differ (Jensen-Shannon, nats), and how unlike the beats are stressed."""
    step = np.clip(np.rint(table.position * STEPS_PER_QUARTER).astype(np.int64), 0, MOST_STEPS - 1)
    length = np.digitize(table.length, LENGTH_EDGES)
    quarter = step // STEPS_PER_QUARTER
    keys: tuple[tuple[Ints, Floats | None], ...] = (
        (table.pitch, table.length),
        (step, None),
        (step * LENGTH_CLASSES + length, None),
        (table.track * LENGTH_CLASSES + length, None),
        (np.where(table.length >= LONG_QUARTERS, quarter + 1, 0), None),
    )
    results = []
    for key, weight in keys:
        counts = _bar_counts(table, key, weight, bars)
        first, second = _side(counts, lines, True) + PRIOR, _side(counts, lines, False) + PRIOR
        first, second = (part / part.sum(axis=1, keepdims=True) for part in (first, second))
        middle = np.log((first + second) / 2)
        nats = first * (np.log(first) - middle) + second * (np.log(second) - middle)
        results.append(nats.sum(axis=1) / 2)
    stress = _bar_counts(table, quarter, np.where(step % STEPS_PER_QUARTER == 0, table.length, 0.0), bars)
    sides = [_side(stress, lines, before) for before in (True, False)]
    first, second = (side - side.mean(axis=1, keepdims=True) for side in sides)
    norm = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    alike = np.divide((first * second).sum(axis=1), norm, out=np.full(len(lines), np.nan), where=norm > 0)
    return [*results, 1 - alike]


def _bar_counts(table: NoteTable, key: Ints, weight: Floats | None, bars: int) -> Floats:
    """(B, K) weights of the notes of each bar by key; keys that the piece never has are left out."""
    kept = table.bar < bars
    names, column = np.unique(key[kept], return_inverse=True)
    place = table.bar[kept] * len(names) + column
    counts = np.bincount(place, None if weight is None else weight[kept], minlength=bars * len(names))
    return counts.astype(np.float64).reshape(bars, len(names))


def _bridges(table: NoteTable, lines: Ints) -> list[Floats]:
    """How little the best block of four, two and one bars comes back over each bar line; 1 is not at all."""
    matrix = structure.joint_similarity(table)
    results = []
    for bars in (4, 2, 1):
        reach = structure.block_reach(matrix, bars)
        inside = (lines >= bars) & (lines < len(reach))
        column = np.full(len(lines), np.nan)
        column[inside] = 1 - reach[lines[inside] - bars, lines[inside]]
        results.append(column)
    return results


def _side(values: Floats, lines: Ints, before: bool) -> Floats:
    """(L, K) sums of (B, K) rows before each bar line, or from it on."""
    total = np.cumsum(values, axis=0, dtype=np.float64)
    left = total[lines - 1]
    side: Floats = left if before else total[-1] - left
    return side


def _mean(values: Floats) -> Floats:
    """(L,) means of (L, V) over what is known; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def join_tables(first: NoteTable, second: NoteTable, cut: int, shift: int) -> NoteTable:
    """The bars of one piece before bar ``cut``, and after it the last bars of another, as the planted splice has them.

    Args:
        first: gives the beginning, bar lines and tempi.
        second: gives as many of its last bars as the first would have had left; tracks are matched in order.
        cut: first bar that is not of the first piece.
        shift: semitones by which the second is moved.
    """
    begin = max(second.bars - (first.bars - cut), 0)
    line, source = float(first.bar_starts[cut]), float(second.bar_starts[begin])
    scale = first.ticks_per_quarter / second.ticks_per_quarter
    mine = first.onset < line
    theirs = (second.onset >= source) & (second.track < len(first.programs))
    moved = np.rint((second.onset[theirs] - source + line) * first.ticks_per_quarter).astype(np.int64)
    lengths = np.maximum(np.rint((second.end - second.start)[theirs] * scale).astype(np.int64), 1)
    pitch = second.pitch[theirs] + np.where(second.drum[theirs], 0, shift)
    start = np.concatenate([first.start[mine], moved])
    joined: dict[str, Any] = {
        "start": start,
        "end": np.concatenate([first.end[mine], moved + lengths]),
        "pitch": np.concatenate([first.pitch[mine], np.clip(pitch, 0, PITCHES - 1)]),
        "velocity": np.concatenate([first.velocity[mine], second.velocity[theirs]]),
        "track": np.concatenate([first.track[mine], second.track[theirs]]),
        "drum": np.concatenate([first.drum[mine], second.drum[theirs]]),
    }
    order = np.lexsort((joined["pitch"], joined["start"]))
    bars = cut + second.bars - begin
    return replace(
        first,
        **{name: column[order] for name, column in joined.items()},
        bar_starts=first.bar_starts[: min(bars, first.bars) + 1],
    )


@dataclass(frozen=True)
class SeamModel:
    """How much each clue speaks for a joint; see :meth:`fit`."""

    centre: Floats
    """(F,) taken from the clues; a missing clue counts as this."""
    scale: Floats
    """(F,) that they are divided by."""
    weights: Floats
    """(2 F,) of the clues and of their squares: a clue may tell more the farther it goes, or nothing past a point."""
    bias: float

    @classmethod
    def fit(cls, corpus: Sequence[NoteTable], splices: int = SPLICES, seed: int = SEED) -> SeamModel:
        """Learn from real pieces and from joints between them.

        Raises:
            ValueError: no two pieces of six bars or more share mode and metre.

        Example:
            >>> model = SeamModel.fit(training_tables)  # doctest: +SKIP
            >>> model.evidence(table)  # doctest: +SKIP
            -1.9
        """
        from sklearn.linear_model import LogisticRegression

        real = [seam_clues(table)[1] for table in corpus]
        joints = [clues for first, second, cut, shift in draw_joints(corpus, splices, seed)
                  if (clues := _at_joint(join_tables(first, second, cut, shift), cut)) is not None]  # fmt: skip
        rows = np.concatenate([*real, np.stack(joints)]) if joints else np.zeros((0, len(CLUES)))
        if not joints or len(rows) == len(joints):
            raise ValueError("a seam model needs two pieces of six bars or more of one mode and metre, got none")
        known = np.isfinite(rows)
        centre = np.where(known, rows, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        spread = np.sqrt((np.where(known, rows - centre, 0) ** 2).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
        scale = np.where(spread > TINY, spread, 1)
        labels = np.repeat([0, 1], [len(rows) - len(joints), len(joints)])
        judge = LogisticRegression(C=RIDGE, class_weight="balanced", max_iter=MOST_STEPS_OF_FIT)
        judge.fit(expand(rows, centre, scale), labels)
        return cls(centre, scale, judge.coef_[0].astype(np.float64), float(judge.intercept_[0]))

    def ratios(self, table: NoteTable) -> tuple[Ints, Floats]:
        """(L,) bar that begins at each inner bar line, and nats by which the clues speak for a joint there."""
        lines, clues = seam_clues(table)
        return lines, expand(clues, self.centre, self.scale) @ self.weights + self.bias

    def evidence(self, table: NoteTable) -> float:
        """Nats for a joint at one of the inner bar lines against none; NaN for fewer than six bars."""
        _, nats = self.ratios(table)
        return float(np.logaddexp.reduce(nats) - math.log(len(nats))) if len(nats) else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "clues": list(CLUES),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "bias": self.bias,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SeamModel:
        """The model of :meth:`to_dict`.

        Raises:
            ValueError: it was made with other clues.
        """
        if tuple(values["clues"]) != CLUES:
            raise ValueError(f"clues={values['clues']} are those of another version; fit the seam model again")
        centre, scale, weights = (np.array(values[name], dtype=np.float64) for name in ("centre", "scale", "weights"))
        return cls(centre, scale, weights, float(values["bias"]))


def expand(clues: Floats, centre: Floats, scale: Floats) -> Floats:
    """(L, 2 F) clues in deviations, and their squares; what is missing is an average clue."""
    deviations = np.where(np.isfinite(clues), clues - centre, 0) / scale
    return np.concatenate([deviations, np.clip(deviations, -MOST_DEVIATIONS, MOST_DEVIATIONS) ** 2], axis=1)


def draw_joints(corpus: Sequence[NoteTable], count: int, seed: int) -> list[tuple[NoteTable, NoteTable, int, int]]:
    """Pairs of pieces of one mode and metre, the bar at which the second takes over, and how far it is moved.

    Args:
        corpus: real pieces; those of fewer than six bars are left out.
        count: pairs, dealt out evenly over the pieces; at least one for each piece that fits another.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    pieces = [table for table in corpus if table.bars >= FEWEST_BARS and len(table.pitch)]
    keys = [find_key(sounding_classes(table)) for table in pieces]
    frames: dict[tuple[bool, float], list[int]] = {}
    for index, table in enumerate(pieces):
        frames.setdefault((bool(keys[index][1]), float(np.median(table.bar_lengths))), []).append(index)
    fitting = {index: group for group in frames.values() if len(group) > 1 for index in group}
    times = max(round(count / max(len(fitting), 1)), 1)
    drawn = []
    for index in sorted(fitting) * times:
        other = index
        while other == index:
            other = int(rng.choice(fitting[index]))
        third = pieces[index].bars / 3
        cut = int(rng.integers(max(round(third), 1), max(round(2 * third), 1) + 1))
        shift = (keys[index][0] - keys[other][0] + OCTAVE // 2) % OCTAVE - OCTAVE // 2
        drawn.append((pieces[index], pieces[other], cut, int(shift)))
    return drawn


def _at_joint(table: NoteTable, cut: int) -> Floats | None:
    """(F,) the clues at the joint; None where it is not an inner bar line any more."""
    lines, clues = seam_clues(table)
    at = np.flatnonzero(lines == cut)
    return clues[at[0]] if len(at) else None
