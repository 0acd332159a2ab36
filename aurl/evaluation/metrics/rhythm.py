"""When notes start and how long they last: density, metre, syncopation, groove, polyphony.

MusPy's names keep MusPy's definitions (muspy.metrics), which count in ticks; where those mislead, a better one stands
beside and the docstring says how they differ. Bars follow the time signatures, so a performance without a beat
(nominal 120 bpm) has no bars worth the name: there only the figures a second and the inter-onset ones mean something.
"""

from __future__ import annotations

import math

import numpy as np

from aurl.evaluation.metrics.pitch import entropy, histogram
from aurl.evaluation.metrics.table import STEPS_PER_QUARTER, Floats, Ints, Music, NoteTable, as_table
from aurl.music.metrical_weights import metrical_weights

GRID_PER_QUARTER = 12
"""Steps a quarter of onset patterns: holds sixteenths and triplets (MMT's resolution)."""
POSITIONS_PER_BAR = 16
"""Classes of the position within the bar, whatever its metre."""
LENGTH_EDGES = (0.1875, 0.3125, 0.4375, 0.625, 0.875, 1.25, 1.75, 2.5, 3.5, 6.0)
"""Edges in quarters between the classes of note lengths and inter-onset intervals."""
LENGTH_CLASSES = len(LENGTH_EDGES) + 1
DRUM_PATTERNS = {"duple": (2, 4), "triple": (3,)}
MUSPY_POLYPHONY_THRESHOLD = 2
MOST_PATTERN_BARS = 512
"""Bars compared with each other by grooving_similarity (all pairs)."""


def note_density(music: Music) -> float:
    """Notes a quarter note, drums included."""
    table = as_table(music)
    return _ratio(len(table.start), table.quarters)


def notes_per_second(music: Music) -> float:
    """Notes a second by the tempo map, drums included."""
    table = as_table(music)
    return _ratio(len(table.start), table.seconds)


def empty_beat_rate(music: Music) -> float:
    """Share of quarters in which no note sounds, as MusPy counts.

    MusPy counts the quarter in which a note ends as filled even when it ends on its first tick, and counts a last
    quarter of zero ticks; silence_share has neither flaw.
    """
    table = as_table(music)
    if table.ticks < 1:
        return math.nan
    quarter = table.ticks_per_quarter
    beats = table.ticks // quarter + 1
    edges = np.zeros(beats + 1)
    np.add.at(edges, table.start // quarter, 1)
    np.add.at(edges, table.end // quarter + 1, -1)
    return float(1 - np.count_nonzero(np.cumsum(edges)[:-1]) / beats)


def silence_share(music: Music) -> float:
    """Share of the time from the first to the last note in which nothing sounds."""
    table = as_table(music)
    if not len(table.start):
        return math.nan
    _, length, sounding = _stretches(table.start, table.end)
    return float(length[sounding == 0].sum() / max(length.sum(), 1))


def polyphony(music: Music) -> float:
    """Mean number of different pitches sounding while any sounds (MusPy)."""
    length, sounding = _pitch_stretches(as_table(music))
    heard = sounding > 0
    return _ratio(float((length * sounding).sum()), float(length[heard].sum()))


def polyphony_rate(music: Music, threshold: int = MUSPY_POLYPHONY_THRESHOLD) -> float:
    """Share of all ticks with more than ``threshold`` different pitches (MusPy: more than two, so three or more)."""
    table = as_table(music)
    length, sounding = _pitch_stretches(table)
    return _ratio(float(length[sounding > threshold].sum()), table.ticks)


def groove_consistency(music: Music, bar_ticks: int | None = None) -> float:
    """1 minus the mean Hamming distance of neighbouring bars' onset patterns (MusPy; MMT).

    Args:
        music: the piece.
        bar_ticks: with it, exactly MusPy's: patterns in ticks, one bar length for the whole piece. Patterns in ticks
            are nearly empty, so the figure is near 1 for anything. Without it, patterns have 12 steps a quarter as in
            MMT, bars follow the time signatures, and only neighbours of one length are compared.
    """
    table = as_table(music)
    if bar_ticks is not None:
        return _ticks_groove(table, bar_ticks)
    patterns, lengths = onset_patterns(table)
    alike = lengths[1:] == lengths[:-1]
    if not alike.any():
        return math.nan
    differing = (patterns[1:] != patterns[:-1]).sum(axis=1)[alike]
    return float(1 - differing.sum() / lengths[1:][alike].sum())


def grooving_similarity(music: Music) -> float:
    """Mean over all pairs of bars of 1 minus the Hamming distance of their onset patterns, 12 steps a quarter.

    Source: GS of MusDr (Wu and Yang 2020), which samples pairs at 64 positions a bar; all pairs here, bars of equal
    length only. Blind to which bar stands where.
    """
    patterns, lengths = onset_patterns(as_table(music))
    patterns, lengths = patterns[:MOST_PATTERN_BARS], lengths[:MOST_PATTERN_BARS]
    flat = patterns.astype(np.float64)
    ones = flat.sum(axis=1)
    differing = ones[:, None] + ones[None] - 2 * flat @ flat.T
    pairs = np.triu(lengths[:, None] == lengths[None], k=1)
    return float((1 - differing / lengths[:, None])[pairs].mean()) if pairs.any() else math.nan


def drum_in_pattern_rate(music: Music, metre: str) -> float:
    """Share of drum notes on the even divisions of the quarter (MusPy).

    Args:
        music: the piece.
        metre: duple (halves and quarters of it) or triple.

    Raises:
        ValueError: unknown metre.
    """
    if metre not in DRUM_PATTERNS:
        raise ValueError(f"metre={metre} is unknown; allowed: {', '.join(DRUM_PATTERNS)}")
    table = as_table(music)
    pattern = np.zeros(table.ticks_per_quarter, dtype=bool)
    pattern[0] = True
    for parts in DRUM_PATTERNS[metre]:
        if table.ticks_per_quarter % parts == 0:
            pattern[:: table.ticks_per_quarter // parts] = True
    hits = pattern[table.start[table.drum] % table.ticks_per_quarter]
    return float(hits.mean()) if len(hits) else math.nan


def drum_pattern_consistency(music: Music) -> float:
    """The larger of the duple and triple drum_in_pattern_rate (MusPy); NaN without drums."""
    return max(drum_in_pattern_rate(music, metre) for metre in DRUM_PATTERNS)


def onset_entropy(music: Music) -> float:
    """Entropy in bits of where onsets fall within the bar, 12 steps a quarter: how many positions are in use."""
    table = as_table(music)
    position = np.rint(table.position * GRID_PER_QUARTER).astype(np.int64)
    return entropy(np.bincount(position).astype(np.float64)) if len(position) else math.nan


def rhythm_entropy(music: Music) -> float:
    """Entropy in bits of the bars' onset patterns, divided by the most that as many bars can have: 0 to 1.

    1 where every bar has a rhythm of its own, 0 where all have the same.
    """
    patterns, _ = onset_patterns(as_table(music))
    _, counts = np.unique(patterns[patterns.any(axis=1)], axis=0, return_counts=True)
    total = int(counts.sum())
    return entropy(counts.astype(np.float64)) / math.log2(total) if total > 1 else math.nan


def syncopation(music: Music) -> float:
    """Mean syncopation a bar, after Longuet-Higgins and Lee (1984), over bars with notes.

    Every sixteenth of a bar has a weight: 0 on the bar line, one less for each level of the metre below. A note
    followed by a rest or held over a position heavier than its own adds the difference of the weights. Bars follow
    each other without a break, so that a note held over the bar line counts. Finer onsets count at the nearest
    sixteenth.
    """
    table = as_table(music)
    if not len(table.start):
        return math.nan
    steps = np.maximum(np.rint(table.bar_lengths * STEPS_PER_QUARTER).astype(np.int64), 1)
    first = np.concatenate([[0], np.cumsum(steps)])
    shapes = {int(count): metrical_weights(int(count)) for count in np.unique(steps)}
    weights = np.concatenate([shapes[int(count)] for count in steps])
    step = np.minimum(np.rint(table.position * STEPS_PER_QUARTER).astype(np.int64), steps[table.bar] - 1)
    onset = np.unique(first[table.bar] + step)
    follows = onset + 1
    # The last note has nothing after it in the piece; a note right before the next one skips nothing.
    skipped = np.append(np.diff(onset) > 1, False)
    edges = np.stack([follows, np.append(onset[1:], onset[-1] + 1)], axis=1)[skipped]
    heaviest = np.maximum.reduceat(weights, edges.ravel())[::2] if len(edges) else np.zeros(0, np.int64)
    gain = np.maximum(heaviest - weights[onset[skipped]], 0)
    return float(gain.sum() / len(np.unique(table.bar)))


def weighted_note_to_beat(music: Music) -> float:
    """Mean weighted note-to-beat distance of onsets (WNBD; Gómez, Melvin, Rappaport and Toussaint 2005).

    With T the distance to the nearest quarter as a share of a quarter: 0 on the beat; else 2/T for a note held past the
    next beat but not past the one after it, 1/T for a shorter or longer one.
    """
    table = as_table(music)
    onset = np.rint(table.onset * GRID_PER_QUARTER).astype(np.int64)
    end = np.maximum(np.rint(table.offset * GRID_PER_QUARTER).astype(np.int64), onset + 1)
    rest = onset % GRID_PER_QUARTER
    near = np.minimum(rest, GRID_PER_QUARTER - rest) / GRID_PER_QUARTER
    following = onset - rest + GRID_PER_QUARTER
    held = (end > following) & (end <= following + GRID_PER_QUARTER)
    weight = np.divide(np.where(held, 2.0, 1.0), near, out=np.zeros(len(near)), where=near > 0)
    return float(weight.mean()) if len(weight) else math.nan


def inter_onset_mean(music: Music) -> float:
    """Mean time between neighbouring onsets in quarters (mgeval's avg_IOI, there in seconds)."""
    gaps = np.diff(as_table(music).onsets)
    return float(gaps.mean()) if len(gaps) else math.nan


def note_length_mean(music: Music) -> float:
    """Mean length of pitched notes in quarters."""
    table = as_table(music)
    length = table.length[table.pitched]
    return float(length.mean()) if len(length) else math.nan


def onset_position_distribution(music: Music) -> Floats:
    """(16,) share of notes that start in each sixteenth part of their bar."""
    table = as_table(music)
    part = table.position / table.bar_lengths[table.bar] * POSITIONS_PER_BAR
    return histogram(np.clip(np.rint(part).astype(np.int64) % POSITIONS_PER_BAR, 0, None), POSITIONS_PER_BAR)


def note_length_distribution(music: Music) -> Floats:
    """(11,) shares of note lengths by class, from under a dotted thirty-second to over a whole (mgeval: 12 classes)."""
    table = as_table(music)
    return histogram(np.digitize(table.length[table.pitched], LENGTH_EDGES), LENGTH_CLASSES)


def inter_onset_distribution(music: Music) -> Floats:
    """(11,) shares of the times between neighbouring onsets, same classes as note lengths."""
    return histogram(np.digitize(np.diff(as_table(music).onsets), LENGTH_EDGES), LENGTH_CLASSES)


def note_length_transitions(music: Music) -> Floats:
    """(121,) shares of pairs of neighbouring lengths in the melody (mgeval's note_length_transition_matrix), by row."""
    table = as_table(music)
    kind = np.digitize(table.length[table.melody], LENGTH_EDGES)
    return histogram(kind[:-1] * LENGTH_CLASSES + kind[1:], LENGTH_CLASSES**2)


def onset_patterns(table: NoteTable) -> tuple[np.ndarray, Ints]:
    """Onset patterns of all bars and their lengths, in steps of a twelfth of a quarter.

    Returns:
        (B, longest bar) bool, and (B,) steps in each bar; a shorter bar's row ends in False.
    """
    lengths = np.maximum(np.rint(table.bar_lengths * GRID_PER_QUARTER).astype(np.int64), 1)
    step = np.rint(table.position * GRID_PER_QUARTER).astype(np.int64)
    patterns = np.zeros((table.bars, int(lengths.max())), dtype=bool)
    patterns[table.bar, np.minimum(step, lengths[table.bar] - 1)] = True
    return patterns, lengths


def _ticks_groove(table: NoteTable, bar_ticks: int) -> float:
    """MusPy's groove consistency, in ticks."""
    if bar_ticks < 1:
        raise ValueError(f"bar_ticks={bar_ticks} is out of range; allowed: 1 or more")
    bars = table.ticks // bar_ticks + 1
    if bars < 2:
        return math.nan
    marks = np.unique(table.start)
    bar = marks // bar_ticks
    # Two neighbouring bars differ where exactly one has an onset: onsets of both, less twice the shared ones.
    shared = np.isin(marks + bar_ticks, marks, assume_unique=True).sum()
    differing = (bar < bars - 1).sum() + (bar > 0).sum() - 2 * shared
    return float(1 - differing / (bar_ticks * (bars - 1)))


def _stretches(start: Ints, end: Ints) -> tuple[Ints, Ints, Ints]:
    """Start and length of every stretch between changes, and how many notes sound in it."""
    times = np.concatenate([start, end])
    change = np.concatenate([np.ones(len(start), np.int64), -np.ones(len(end), np.int64)])
    marks, index = np.unique(times, return_inverse=True)
    sounding = np.cumsum(np.bincount(index, weights=change, minlength=len(marks)).astype(np.int64))
    return marks[:-1], np.diff(marks), sounding[:-1]


def _pitch_stretches(table: NoteTable) -> tuple[Ints, Ints]:
    """Length of every stretch between changes, and how many different pitches sound in it; notes of one pitch merge."""
    mine = table.pitched & (table.end > table.start)
    if not mine.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    start, end, _ = merge_overlaps(table.start[mine], table.end[mine], table.pitch[mine])
    _, length, sounding = _stretches(start, end)
    return length, sounding


def merge_overlaps(start: Ints, end: Ints, key: Ints) -> tuple[Ints, Ints, Ints]:
    """Intervals of one key that touch or overlap become one.

    Args:
        start: (N,) begins.
        end: (N,) ends.
        key: (N,) what must be equal for two intervals to merge.
    """
    order = np.lexsort((start, key))
    start, end, key = start[order], end[order], key[order]
    offset = key * (int(end.max()) + 1)  # makes keys lie one after another on a single time line
    reach = np.maximum.accumulate(end + offset)
    fresh = np.append(True, (start + offset)[1:] > reach[:-1])
    first = np.flatnonzero(fresh)
    last = np.append(first[1:], len(start)) - 1
    return start[first], reach[last] - offset[last], key[first]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
