"""Which bar of a packed batch each token belongs to, and bars laid side by side for attention inside them.

Axes: N packed tokens, S segments, M bars of all segments, L tokens of the longest bar of a group.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class BarGroup(NamedTuple):
    """Bars of similar length, side by side."""

    rows: Tensor
    """Token of the batch in each place ``(m, L)`` int64; places behind a bar's end hold its last token."""
    mask: Tensor
    """Which places hold a token of the bar ``(m, L)`` bool."""
    filled: Tensor
    """The places that do, counted through the group ``(tokens of the group,)`` int64."""


class Bars(NamedTuple):
    """Bars of a packed batch."""

    of_token: Tensor
    """Bar of each token ``(N,)`` int64, 0 to M - 1."""
    segment: Tensor
    """Segment of each bar ``(M,)`` int64."""
    start: Tensor
    """First token of each bar ``(M,)`` int64."""
    per_segment: list[int]
    """Bars of each segment, summing to M."""
    groups: tuple[BarGroup, ...]
    """All bars, those of similar length together."""
    back: Tensor
    """Where each token of the batch lies among the filled places of all groups ``(N,)`` int64."""

    @property
    def count(self) -> int:  # type: ignore[override]  # hides tuple.count, which nobody calls
        """Number of bars M."""
        return len(self.segment)


def bars_of(bar: Tensor, lengths: list[int]) -> Bars:
    """Find the bars of a packed batch.

    Args:
        bar: bar number of each token ``(N,)``; never falls inside a segment.
        lengths: tokens of each segment.

    Example:
        >>> bars_of(torch.tensor([0, 0, 1, 4, 4]), [3, 2]).of_token
        tensor([0, 0, 1, 2, 2])
    """
    device = bar.device
    sizes = torch.tensor(lengths)
    first_tokens = sizes.cumsum(0) - sizes
    begins = torch.ones(len(bar), dtype=torch.bool, device=device)
    begins[1:] = bar[1:] != bar[:-1]
    begins[first_tokens.to(device)] = True
    of_token = begins.cumsum(0) - 1
    start = begins.nonzero().squeeze(1)
    segment_of_token = torch.repeat_interleave(torch.arange(len(lengths)), sizes).to(device)
    segment = segment_of_token[start]
    per_segment = torch.bincount(segment, minlength=len(lengths)).tolist()
    stop = torch.cat([start[1:], start.new_tensor([len(bar)])])
    groups = _grouped(start, stop - start)
    order = torch.cat([group.rows.flatten()[group.filled] for group in groups])
    return Bars(of_token, segment, start, per_segment, groups, order.argsort())


def _grouped(start: Tensor, size: Tensor) -> tuple[BarGroup, ...]:
    """Bars whose lengths lie between the same powers of two, so that at most half of the places are empty."""
    power = torch.frexp((size - 1).clamp(min=1).float()).exponent  # 2**power is the least power of two that holds it
    groups = []
    for each in power.unique().tolist():
        chosen = (power == each).nonzero().squeeze(1)
        length = size[chosen]
        places = torch.arange(int(length.max()), device=start.device)
        mask = places < length[:, None]
        rows = start[chosen, None] + torch.minimum(places, length[:, None] - 1)
        groups.append(BarGroup(rows, mask, mask.flatten().nonzero().squeeze(1)))
    return tuple(groups)
