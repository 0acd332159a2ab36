"""Musical time read from tokens, vectorised: one function for each way in which tokens move time.

``Vocabulary.timeline`` picks the function. All of them are causal: what a token's time is depends on the tokens up to
it alone, so that a piece being written has the same times (aurl/generation keeps them token by token).

- Bars and positions (REMI, CPWord): a Bar token opens the next bar (the first one bar 0) where the last one ends; a
  TimeSig token sets the length of its bar; a Position token moves inside the bar.
- Time shifts (TSD, MIDI-like): a TimeShift token moves by its positions of the metre in force; bars follow from the
  time signatures, each of which begins a bar.
- Numbered bars (Octuple): a Bar token of a higher number than all before moves to the start of that bar, bars in
  between having the metre of the bar before; a Position token moves inside it. Bars before the first one have its own
  metre, so there it is the TimeSig token behind the Bar token that moves.

Axis legend: N tokens of one piece, S sections of one metre, K notes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aurl.data.kinds import Kind

if TYPE_CHECKING:
    from aurl.data.vocabulary import Vocabulary

QUARTERS_PER_WHOLE = 4
DEFAULT_BAR_QUARTERS = 4.0
"""Length of a bar before any time signature: 4/4, as MIDI and miditok have it."""

IntArray = npt.NDArray[np.int64]
Timeline = tuple[npt.NDArray[np.int32], npt.NDArray[np.float64], IntArray]
"""Bar (N,), beat in quarters (N,), id of the TimeSig token in force or PAD (N,)."""


def of_bars(vocabulary: Vocabulary, ids: IntArray) -> Timeline:
    """Time of tokens with Bar and Position tokens; ids of a whole piece (N,)."""
    kind = vocabulary.kind[ids]
    is_bar = kind == Kind.BAR
    bar = np.cumsum(is_bar, dtype=np.int32) - np.int32(1)  # (N,), -1 before the first Bar
    metres, metre = _metres(vocabulary, ids)
    beat_quarters = QUARTERS_PER_WHOLE / np.maximum(vocabulary.denominator[metres], 1)
    lengths = beat_quarters * vocabulary.numerator[metres]
    lengths[0] = DEFAULT_BAR_QUARTERS
    beat_quarters[0] = 1.0
    opens = np.flatnonzero(is_bar)
    starts = np.zeros(max(len(opens), 1))
    np.cumsum(lengths[metre[opens[1:] - 1]], out=starts[1:])  # a bar is as long as its last time signature says
    anchors = np.flatnonzero((is_bar | (kind == Kind.POSITION)) & (bar >= 0))
    positions = np.where(is_bar[anchors], 0, vocabulary.value[ids[anchors]])
    inside = positions * beat_quarters[metre[anchors]] / vocabulary.positions_per_beat
    return np.maximum(bar, 0), _held(starts[bar[anchors]] + inside, anchors, len(ids)), metres[metre]


def of_shifts(vocabulary: Vocabulary, ids: IntArray) -> Timeline:
    """Time of tokens with TimeShift tokens; ids of a whole piece (N,)."""
    metres, metre = _metres(vocabulary, ids)
    bar_ticks = vocabulary.bar_ticks[metres]  # (S,)
    tick, metre_id = shifted_ticks(vocabulary, ids)
    starts = np.append(0, tick[vocabulary.kind[ids] == Kind.TIMESIG])  # (S,)
    bars = -(-np.diff(starts) // bar_ticks[:-1])
    first = np.append(0, np.cumsum(bars))  # (S,) number of each section's first bar
    bar = first[metre] + (tick - starts[metre]) // bar_ticks[metre]
    return bar.astype(np.int32), tick / vocabulary.ticks_per_quarter, metre_id


def shifted_ticks(vocabulary: Vocabulary, ids: IntArray) -> tuple[IntArray, IntArray]:
    """Time of tokens with TimeShift tokens, without bars: ticks of ``vocabulary.ticks_per_quarter`` (N,), and the id of
    the TimeSig token in force or PAD (N,); ids of a whole piece (N,).
    """
    signs = np.flatnonzero(vocabulary.kind[ids] == Kind.TIMESIG)
    metres = np.append(vocabulary.pad, ids[signs])  # (S,)
    lengths = np.diff(signs, prepend=0, append=len(ids))
    steps = vocabulary.shift_positions[ids] * np.repeat(vocabulary.position_ticks[metres], lengths)
    return np.cumsum(steps), np.repeat(metres, lengths)


def of_numbered_bars(vocabulary: Vocabulary, ids: IntArray) -> Timeline:
    """Time of tokens with numbered Bar tokens; ids of a whole piece (N,)."""
    kind = vocabulary.kind[ids]
    is_bar = kind == Kind.BAR
    metres, metre = _metres(vocabulary, ids)
    opens = np.flatnonzero(is_bar)
    number = np.maximum.accumulate(vocabulary.value[ids[opens]].astype(np.int64)) if len(opens) else opens
    rise = np.diff(number, prepend=0)
    length = vocabulary.bar_ticks[metres[metre[opens]]]  # of the bar before
    signed = np.flatnonzero((kind == Kind.TIMESIG) & (np.cumsum(is_bar) > 0))[:1]  # the first one behind a Bar token
    if len(opens):
        length[0] = vocabulary.bar_ticks[ids[signed[0]] if len(signed) else vocabulary.pad]
    starts = np.append(0, np.cumsum(rise * length))
    at = np.cumsum(is_bar)  # (N,): how many Bar tokens so far, an index into starts
    moves = is_bar.copy()
    moves[opens] = rise > 0
    moves[opens[:1]] = False
    moves[signed] = True
    moves |= (kind == Kind.POSITION) & (at > 0)
    anchors = np.flatnonzero(moves)
    positions = np.where(kind[anchors] == Kind.POSITION, vocabulary.value[ids[anchors]], 0)
    inside = positions * vocabulary.position_ticks[metres[metre[anchors]]]
    bar = np.append(0, number)[at].astype(np.int32)
    return bar, _held(starts[at[anchors]] + inside, anchors, len(ids)) / vocabulary.ticks_per_quarter, metres[metre]


def _metres(vocabulary: Vocabulary, ids: IntArray) -> tuple[IntArray, IntArray]:
    """Ids of the time signatures, PAD in front of them (S,), and which of them is in force at each token (N,)."""
    is_metre = vocabulary.kind[ids] == Kind.TIMESIG
    return np.append(vocabulary.pad, ids[is_metre]).astype(np.int64), np.cumsum(is_metre)


def _held(values: npt.NDArray[np.generic], anchors: IntArray, count: int) -> npt.NDArray[np.float64]:
    """Each token's value: that of the last anchor at or before it, 0 before the first; (count,)."""
    return np.repeat(np.append(0.0, values), np.diff(anchors, prepend=0, append=count))


def first_in_first_out(voice: IntArray, at: IntArray, begins: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Pair beginnings and ends of notes: in each voice the note that began first ends first.

    An end is left out where nothing of its voice sounds, a beginning where no end is left for it.

    Args:
        voice: number of track and pitch of each event, in the order of the events.
        at: what identifies each event, rising.
        begins: whether it is a beginning.

    Returns:
        ``at`` of the beginnings and of the ends of all pairs (K,), in the order of the beginnings.

    Example:
        >>> first_in_first_out(np.array([7, 7, 7]), np.array([0, 4, 9]), np.array([True, False, False]))
        (array([0]), array([4]))
    """
    order = voice.argsort(kind="stable")
    voices, opening = voice[order], begins[order]
    if not _all_paired(voices, opening):
        order, opening = _without_lonely(order, voices, opening)
    end_of = np.full(len(at), -1)  # of each beginning
    end_of[order[opening]] = order[~opening]
    first = np.flatnonzero(end_of >= 0)
    return at[first], at[end_of[first]]


def _all_paired(voices: IntArray, opening: npt.NDArray[np.bool_]) -> bool:
    """Whether, in events sorted by voice, all notes end and nothing ends that does not sound: most pieces."""
    sounding = np.cumsum(np.where(opening, 1, -1))
    lasts = np.append(voices[1:] != voices[:-1], True)[: len(voices)]
    return not sounding[lasts].any() and bool((sounding >= 0).all())


def _without_lonely(
    order: IntArray, voices: IntArray, opening: npt.NDArray[np.bool_]
) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """The events, sorted by voice, that have partners: in each voice as many beginnings as ends."""
    new = np.append(True, voices[1:] != voices[:-1])
    step = np.where(opening, 1, -1)
    level = np.cumsum(step)
    start = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    level -= (level[start] - step[start])[group]  # notes sounding after each event, were no end idle
    # The lowest level so far below zero counts the idle ends; groups are kept apart by a falling offset.
    span = 2 * len(order) + 2
    lowest = np.minimum.accumulate(level - group * span) + group * span
    lowest_before = np.where(new, 0, np.minimum(np.append(0, lowest[:-1]), 0))
    keep = opening | (level >= lowest_before)
    order, opening, group = order[keep], opening[keep], group[keep]
    count = len(start)
    opened, closed = np.bincount(group[opening], minlength=count), np.bincount(group[~opening], minlength=count)
    rank = np.arange(opened.sum()) - np.repeat(np.cumsum(opened) - opened, opened)
    keep = np.ones(len(order), np.bool_)
    keep[opening] = rank < np.repeat(closed, opened)
    return order[keep], opening[keep]
