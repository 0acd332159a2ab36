"""(2) Free-running greedy reconstruction: from latents alone, and in the middle of a piece after its true beginning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aurl.data.kinds import Kind
from aurl.generation.latent_tools import LatentTools
from aurl.generation.prompt import first_bars
from experiments.latent.setting import Row, Setting, at_least

LENGTHS = ((2, 0.95), (16, 0.80))
"""Bars, and the goal."""


def bar_tokens(tools: LatentTools, tokens: np.ndarray) -> list[np.ndarray]:
    """Tokens bar by bar."""
    starts = np.flatnonzero(tools.codec.vocabulary.kind[tokens] == Kind.BAR)
    return np.split(tokens, starts[1:])


def agreement(tools: LatentTools, original: np.ndarray, written: np.ndarray) -> tuple[int, int, int, int]:
    """Tokens of the original, and how many are found again: at their place in the sequence, at their place in their
    bar, in order (the longest common subsequence of each bar).
    """
    same = min(len(original), len(written))
    placed = int((original[:same] == written[:same]).sum())
    in_bar = ordered = 0
    for one, other in zip(bar_tokens(tools, original), bar_tokens(tools, written), strict=False):
        same = min(len(one), len(other))
        in_bar += int((one[:same] == other[:same]).sum())
        ordered += common_length(one, other)
    return len(original), placed, in_bar, ordered


def common_length(one: np.ndarray, other: np.ndarray) -> int:
    """Length of the longest common subsequence."""
    longest = np.zeros(len(other) + 1, np.int64)
    for token in one:
        longest[1:] = np.maximum.accumulate(np.maximum(longest[1:], longest[:-1] + (other == token)))
    return int(longest[-1])


def from_latents(tools: LatentTools, pieces: Sequence, bars: int) -> np.ndarray:
    """Sums of :func:`agreement` over beginnings of pieces."""
    samples = tools.decode(np.stack([piece.bar_latents for piece in pieces]))
    return np.sum(
        [agreement(tools, piece.tokens, each.ids) for piece, each in zip(pieces, samples, strict=True)], axis=0
    )


def in_the_middle(setting: Setting, bars: int, most: int) -> tuple[np.ndarray, int]:
    """Sums over stretches from the middle of pieces, after what stands before them; and how many stretches."""
    tools, sums, count = setting.tools, np.zeros(4, np.int64), 0
    for piece in setting.encoded:
        start = piece.bars // 2 - bars // 2
        if start < 1 or start + bars > piece.bars or count == most:
            continue
        beginning = tools.beginning(piece, start + 1)
        target = first_bars(piece.tokens, tools.codec.vocabulary, start + bars)
        written = tools.write_bars(beginning, piece.bar_latents[None, : start + bars])[0].ids
        sums += agreement(tools, target[len(beginning) :], written[len(beginning) :])
        count += 1
    return sums, count


def measure(setting: Setting, middles: int, name: str = "") -> list[Row]:
    """Shares of tokens, for each length."""
    rows = []
    for bars, goal in LENGTHS:
        pieces = list(setting.beginnings(bars))
        if not pieces:
            continue
        total, placed, in_bar, ordered = from_latents(setting.tools, pieces, bars)
        what = f"tokens found again over {bars} bars from latents alone{name}"
        note = f"in the whole sequence {placed / total:.3f}, in order {ordered / total:.3f}; {len(pieces)} pieces"
        rows.append(at_least(what, in_bar / total, goal, note))
        if middles:
            (total, placed, in_bar, ordered), count = in_the_middle(setting, bars, middles)
            if total:
                note = f"in the whole sequence {placed / total:.3f}, in order {ordered / total:.3f}; {count} pieces"
                rows.append(Row(f"the same in the middle, after the true bars before{name}", in_bar / total, note=note))
    return rows
