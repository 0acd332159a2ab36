"""Cutting pieces into windows: ranges of tokens that become packed segments.

Training cuts at bar lines, with remembered context on request; evaluation by tokens, half a context of past for each.
Nothing here reads tokens: bar numbers suffice, and of those only the few that a binary search touches.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Window(NamedTuple):
    """A range of tokens of one piece that becomes one packed segment."""

    piece: int
    """Index in the store."""
    start: int
    """First input token."""
    stop: int
    """One past the last target token; inputs end one token earlier."""
    scored_from: int
    """First target token that counts; targets before it are context."""


WINDOW_FIELDS = len(Window._fields)


class WindowTable:
    """Windows as one array: 16 bytes each.

    Args:
        rows: int32 (W, 4), the fields of :class:`Window`.
    """

    def __init__(self, rows: npt.NDArray[np.int32]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Window:
        return Window(*self.rows[number].tolist())

    def inputs(self, block: slice) -> npt.NDArray[np.int64]:
        """Input tokens of some of the windows."""
        return self.rows[block, 2].astype(np.int64) - self.rows[block, 1] - 1


def item_generator(seed: int, epoch: int, item: int) -> np.random.Generator:
    """Random numbers that depend on (seed, epoch, item) only, whatever process draws them."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{item}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def scoring_windows(tokens: int, context: int) -> list[tuple[int, int, int]]:
    """Cut a piece so that every token after the first is scored once.

    A piece of up to ``context`` inputs is one window. A longer one is covered by windows that overlap by half, so that
    each scored token sees at least ``context // 2`` tokens of the past (or everything before it).

    Args:
        tokens: length of the piece with BOS and EOS.
        context: most input tokens of a window.

    Returns:
        ``(start, stop, scored_from)`` triples as in :class:`Window`.
    """
    windows = []
    start, scored_from = 0, 1
    while scored_from < tokens:
        stop = min(start + context + 1, tokens)
        windows.append((start, stop, scored_from))
        scored_from = stop
        start = max(0, stop - 1 - context // 2)
    return windows


def scoring_bars(bars: npt.NDArray[np.integer], context: int) -> list[tuple[int, int, int]]:
    """Like :func:`scoring_windows`, but windows begin and end at bar lines: for models with a latent for each bar,
    which must see a bar whole and pay for it once.

    Args:
        bars: bar number of each token, never falling (N,).
        context: most input tokens of a window.
    """
    return bar_windows(bars, context, 0, context // 2)


def bar_windows(
    bars: npt.NDArray[np.integer], context: int, first: int, overlap: int = 0
) -> list[tuple[int, int, int]]:
    """Cut a piece at bar lines into training windows of at most ``context`` inputs.

    Args:
        bars: bar number of each token, never falling (N,); the first token of a number is the bar line.
        context: most input tokens of a window.
        first: tokens of the first cut, so that epochs cut at different bars (0: the first
            window is as long as possible).
        overlap: most tokens before a cut that the window after it repeats, as whole bars, without scoring them again.
            Fewer where the next bar would not fit otherwise.

    Returns:
        ``(start, stop, scored_from)`` triples as in :class:`Window`, which score every transition once; only a bar
        longer than the context is cut inside.

    Example:
        >>> bar_windows(np.repeat(np.arange(6), 10), context=40, first=0, overlap=20)
        [(0, 41, 1), (20, 60, 41)]
    """
    last = len(bars) - 1
    if last <= context:
        return [(0, last + 1, 1)]
    windows = []
    start = cut = 0
    limit = min(first, context) or context
    while cut < last:
        end = start + limit
        if end < last:
            line = int(np.searchsorted(bars, bars[end]))  # the last bar line up to there
            if line <= cut:  # then the next one, as far as the context reaches
                line = min(int(np.searchsorted(bars, bars[cut], side="right")), start + context)
            end = line
        end = min(end, last)
        windows.append((start, end + 1, cut + 1))
        cut, limit = end, context
        start = _remembered(bars, cut, context, overlap) if overlap and cut < last else cut
    return windows


def _remembered(bars: npt.NDArray[np.integer], cut: int, context: int, overlap: int) -> int:
    """Where the window after a cut begins: at a bar line so that the next bar fits, or at the cut itself."""
    next_line = min(int(np.searchsorted(bars, bars[cut], side="right")), len(bars) - 1)
    earliest = max(cut - overlap, next_line - context, 0)
    line = int(np.searchsorted(bars, bars[earliest]))
    if line < earliest:
        line = int(np.searchsorted(bars, bars[earliest], side="right"))
    return min(line, cut)
