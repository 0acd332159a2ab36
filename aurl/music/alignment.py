"""A performance moved onto beats that were annotated in seconds: bars become bars, and it still sounds the same.

:func:`lay_out_beats` gives each beat its place in quarters and finds the metres; :func:`align_to_beats` moves every
event there and writes a tempo for each beat, so that every note still sounds when it did.

- A beat is as long as its metre and the usual number of beats in its bars say: two beats in 6/8 are dotted quarters.
- Every annotated downbeat begins a bar. A bar with another number of beats than usual gets a metre of its own length;
  one with twice as many or more is several bars.
- Beats before the first downbeat are a pick-up. Bars are put before it as far as notes reach.
- A beat that would need a tempo outside 10 to 1,000 quarters a minute is passed over: its time is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from symusic.core import ScoreTick, TempoTickList, TimeSignatureTick, TimeSignatureTickList

from aurl.music.marks import FASTEST_MSPQ, MAX_METRE_NUMERATOR, SLOWEST_MSPQ, is_possible_metre
from aurl.music.note_arrays import (
    FloatArray,
    IntArray,
    check_range,
    copy_with_resolution,
    move_keys_and_markers,
    move_performance,
    notes_of,
    with_notes,
)
from aurl.music.tempo_map import MICROSECONDS, tempo_map
from aurl.utils.errors import UnreadableFile

ALIGNED_TICKS = 1920
"""Ticks a quarter of an aligned score: notes move by at most a quarter of a millisecond at 60 quarters a minute."""
EARLY = 0.125
"""Quarters: a first note that comes so little before the first beat is that beat."""
QUARTER = 4
COMMON_TIME = (4, 4)
MILLISECONDS = 1000.0
Metre = tuple[int, int]


class BeatLayout(NamedTuple):
    """Where B beats lie, in quarters from the first bar line at or before the first beat."""

    quarters: FloatArray
    """Place of each beat (B,)."""
    metres: list[tuple[Fraction, Metre]]
    """Bar line and the metre that begins there; the first at 0."""


@dataclass(frozen=True)
class Aligned:
    """A score on its beats, what had to be done, and how exactly it still sounds."""

    score: ScoreTick
    counts: dict[str, int]
    """beats_aligned, and beats_passed_over for their tempo."""
    measures: dict[str, float]
    """alignment_deviation_ms: the most a note begins or ends elsewhere, the constant alignment_shift_seconds (silence
    put before or taken from the beginning) set aside; alignment_metres: how many metres were written."""


def lay_out_beats(beats: FloatArray) -> BeatLayout:
    """Find metres, lengths of beats and bar lines.

    Args:
        beats: (B, 4), see beats.py, B at least 2; or (B,) seconds alone, which are taken as quarters in 4/4 from the
            first on.

    Example:
        >>> lay_out_beats(np.array([[0, 0, 3, 4], [1, 1, 3, 4], [2, 0, 3, 4], [3, 0, 3, 4], [4, 1, 3, 4.0]])).quarters
        array([2., 3., 4., 5., 6.])
    """
    count = len(beats)
    if beats.ndim == 1:
        return BeatLayout(np.arange(count, dtype=np.float64), [(Fraction(0), COMMON_TIME)])
    metres = [(int(n), int(d)) for n, d in beats[:, 2:]]
    downbeats = np.flatnonzero(beats[:, 1] > 0).tolist() or [0]
    usual = _usual_counts(metres, downbeats)
    first = downbeats[0]
    metre = _known(metres[first], usual)
    beat = _beat_length(metre, usual[metres[first]])
    bars_before = -(-first // usual[metres[first]])
    place = bars_before * beat * usual[metres[first]]
    places = [place - (first - index) * beat for index in range(first)]
    signs: list[tuple[Fraction, Metre]] = [(Fraction(0), metre)]
    for start, stop in zip(downbeats, [*downbeats[1:], count], strict=True):
        written, own = metres[start], usual[metres[start]]
        metre, inside = _known(written, usual), stop - start
        beat = _beat_length(metre, own)
        rest = inside if own < inside < 2 * own or inside < own else inside % own
        full = inside - rest
        if full and signs[-1][1] != metre:
            signs.append((place, metre))
        places += [place + index * beat for index in range(full)]
        place += full * beat
        if rest:
            is_last = stop == count
            odd, beat = (metre, beat) if is_last and rest < own else _metre_of(rest, beat, metre)
            if signs[-1][1] != odd:
                signs.append((place, odd))
            places += [place + index * beat for index in range(rest)]
            place += rest * beat
    return BeatLayout(np.array([float(value) for value in places]), _last_of_each_place(signs))


def align_to_beats(score: ScoreTick, beats: FloatArray) -> Aligned:
    """Move a performance onto annotated beats.

    Args:
        score: its tempo map gives the seconds of its events; it is not changed.
        beats: see :func:`lay_out_beats`; times rise.

    Returns:
        A score of 1,920 ticks a quarter: a tempo for each beat, the annotation's metres; the file's own are left out.
        Events at tick 0 stay there.

    Raises:
        ValueError: fewer than two beats, or times that do not rise.
        UnreadableFile: the piece does not fit MIDI ticks, or a bar has more than 64 beats.
    """
    seconds = np.array(beats if beats.ndim == 1 else beats[:, 0], dtype=np.float64)
    if len(seconds) < 2 or not (np.diff(seconds) > 0).all():
        raise ValueError(f"{len(seconds)} beats; at least two are needed, with times that rise")
    layout = lay_out_beats(beats)
    clock, notes = tempo_map(score), notes_of(score)
    onsets, ends = clock.to_seconds(notes.time), clock.to_seconds(notes.end)
    quarters = layout.quarters
    if len(onsets) and quarters[0] == 0.0:
        lead = (seconds[0] - onsets.min()) / (seconds[1] - seconds[0]) * (quarters[1] - quarters[0])
        if 0 < lead < EARLY:
            seconds[0] = onsets.min()
    chosen = _playable(seconds, quarters)
    passed_over = len(seconds) - len(chosen)
    seconds, quarters = seconds[chosen], quarters[chosen]
    if len(onsets):
        first = float(_places(onsets.min(), seconds, quarters))
        bar = QUARTER * layout.metres[0][1][0] / layout.metres[0][1][1]
        quarters = quarters + max(-(first // bar), 0) * bar
    ahead = float(quarters[0] - layout.quarters[chosen[0]])

    def move(times: IntArray) -> IntArray:
        ticks = np.floor(_places(clock.to_seconds(times), seconds, quarters) * ALIGNED_TICKS + 0.5)
        return np.where(times == 0, 0, np.maximum(ticks, 0)).astype(np.int64)

    new = [np.floor(_places(at, seconds, quarters) * ALIGNED_TICKS + 0.5).astype(np.int64) for at in (onsets, ends)]
    moved = notes._replace(time=new[0], end=np.maximum(new[1], new[0] + 1))
    check_range(moved.end)
    result = copy_with_resolution(score, ALIGNED_TICKS)
    move_keys_and_markers(result, move)
    for track in result.tracks:
        move_performance(track, move)
    result.tempos = _tempi(seconds, quarters)
    shift = round(ahead * ALIGNED_TICKS)
    result.time_signatures = TimeSignatureTickList(
        [TimeSignatureTick(round(at * ALIGNED_TICKS) + (shift if at else 0), *metre) for at, metre in layout.metres]
    )
    result = with_notes(result, moved)
    counts = {"beats_aligned": len(chosen), "beats_passed_over": passed_over}
    measures = _deviation(result, onsets, ends, moved.time, moved.end) | {"alignment_metres": float(len(layout.metres))}
    return Aligned(result, counts, measures)


def _usual_counts(metres: list[Metre], downbeats: list[int]) -> dict[Metre, int]:
    """Beats in the usual bar of each metre; where there is no whole bar, as many as the metre counts."""
    seen: dict[Metre, list[int]] = {metre: [] for metre in metres}
    for start, stop in pairwise(downbeats):
        seen[metres[start]].append(stop - start)
    return {metre: int(np.bincount(counts).argmax()) if counts else max(metre[0], 1) for metre, counts in seen.items()}


def _known(metre: Metre, usual: dict[Metre, int]) -> Metre:
    """The metre, or as many quarters as its bars have beats where the annotation does not say."""
    return metre if metre[1] else _in_quarters(usual[metre])


def _in_quarters(beats: int) -> Metre:
    """The metre of a bar of so many quarters, refused where no bar is so long."""
    if not is_possible_metre(beats, QUARTER):
        raise UnreadableFile("beats", f"{beats} beats in a bar; allowed: up to {MAX_METRE_NUMERATOR}")
    return beats, QUARTER


def _beat_length(metre: Metre, count: int) -> Fraction:
    """Quarters of a beat of which ``count`` make a bar."""
    return Fraction(QUARTER * metre[0], metre[1] * count)


def _metre_of(count: int, beat: Fraction, like: Metre) -> tuple[Metre, Fraction]:
    """A metre of ``count`` beats, with the denominator of ``like`` or a finer one, and the length of a beat in it.

    Beats that no metre can count (thirds of a bar of 4/4) become quarters.
    """
    denominator = like[1]
    while is_possible_metre(1, denominator):
        above = count * beat * denominator / QUARTER
        if above.denominator == 1 and is_possible_metre(int(above), denominator):
            return (int(above), denominator), beat
        denominator *= 2
    return _in_quarters(count), Fraction(1)


def _last_of_each_place(signs: list[tuple[Fraction, Metre]]) -> list[tuple[Fraction, Metre]]:
    """Of several metres at one bar line the last; none that repeats the one before."""
    at = dict(signs)
    kept: list[tuple[Fraction, Metre]] = []
    for place, metre in at.items():
        if not kept or kept[-1][1] != metre:
            kept.append((place, metre))
    return kept


def _playable(seconds: FloatArray, quarters: FloatArray) -> IntArray:
    """The beats between which every tempo is one that MIDI readers accept; the first and the last stay."""
    slowest, fastest = SLOWEST_MSPQ / MICROSECONDS, FASTEST_MSPQ / MICROSECONDS

    def fits(before: int, last: int) -> bool:
        return bool(fastest <= (seconds[last] - seconds[before]) / (quarters[last] - quarters[before]) <= slowest)

    kept = [0]
    for index in range(1, len(seconds)):
        kept.append(index)
        # The stretch that begins with the first beat is judged once there is another beat to end it.
        while len(kept) > 2 and not (fits(kept[-3], kept[-2]) and fits(kept[-2], kept[-1])):
            kept.pop(-2)
    return np.array(kept)


def _places(at: FloatArray | float, seconds: FloatArray, quarters: FloatArray) -> FloatArray:
    """Quarters at these seconds; before the first and after the last beat the tempo there goes on."""
    times = np.asarray(at, dtype=np.float64)
    stretch = np.clip(np.searchsorted(seconds, times, side="right") - 1, 0, len(seconds) - 2)
    rate = np.diff(quarters) / np.diff(seconds)
    return quarters[stretch] + (times - seconds[stretch]) * rate[stretch]


def _tempi(seconds: FloatArray, quarters: FloatArray) -> TempoTickList:
    """A tempo for each beat, from tick 0; rounding to microseconds is made up for in the next one."""
    lengths = np.diff(seconds) / np.diff(quarters)
    begin = float(seconds[0] - quarters[0] * lengths[0])
    starts = np.floor(quarters[:-1] * ALIGNED_TICKS + 0.5).astype(np.int64)
    starts[0] = 0
    stops = np.append(starts[1:], np.floor(quarters[-1] * ALIGNED_TICKS + 0.5).astype(np.int64))
    mspq, sounding = [], begin
    for start, stop, target in zip(starts.tolist(), stops.tolist(), seconds[1:].tolist(), strict=True):
        span = max(stop - start, 1) / ALIGNED_TICKS
        value = max(round((target - sounding) / span * MICROSECONDS), 1)
        mspq.append(value)
        sounding += value / MICROSECONDS * span
    return TempoTickList.from_numpy(starts.astype(np.int32), np.array(mspq, dtype=np.int32))


def _deviation(
    score: ScoreTick, onsets: FloatArray, ends: FloatArray, new_onsets: IntArray, new_ends: IntArray
) -> dict[str, float]:
    """How far notes sound from where they did, the constant shift set aside."""
    if not len(onsets):
        return {"alignment_deviation_ms": 0.0, "alignment_shift_seconds": 0.0}
    clock = tempo_map(score)
    moves = np.concatenate([clock.to_seconds(new_onsets) - onsets, clock.to_seconds(new_ends) - ends])
    shift = float(np.median(moves))
    return {
        "alignment_deviation_ms": float(np.abs(moves - shift).max()) * MILLISECONDS,
        "alignment_shift_seconds": shift,
    }
