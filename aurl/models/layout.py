"""Where packed segments and their bars lie: index tensors that every layer of a pass shares, made when first asked for.

Axes: N packed tokens, S segments of a group, L longest of them, M bars of all segments.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")
FILLED = 0.5
"""Segments are padded to one length together as long as the shortest has this share of the longest."""


class Bars(NamedTuple):
    """The bars of packed segments in order; a bar that a border cuts counts on both sides.

    Attributes are ``(M,)`` or ``(N,)`` int64 on the device of the tokens, or lists.
    """

    of_token: Tensor
    """Bar of each token ``(N,)``, 0 to M - 1."""
    first_token: Tensor
    """First token of each bar ``(M,)``."""
    complete: Tensor
    """Bars of its own segment that ended before the bar of each token ``(N,)``."""
    counts: list[int]
    """Bars of each segment."""

    @classmethod
    def of(cls, bar: Tensor, lengths: list[int]) -> Bars:
        """From bar numbers ``(N,)`` that never fall inside a segment."""
        sizes = torch.tensor(lengths, device=bar.device)
        starts = sizes.cumsum(0) - sizes
        begins = torch.ones_like(bar, dtype=torch.bool)
        begins[1:] = bar[1:] != bar[:-1]
        begins[starts] = True
        of_token = begins.cumsum(0) - 1
        first_bar = of_token[starts]
        counts = torch.diff(first_bar, append=of_token[-1:] + 1)
        complete = of_token - first_bar.repeat_interleave(sizes)
        return cls(of_token, begins.nonzero().squeeze(1), complete, counts.tolist())


class Padded(NamedTuple):
    """A few segments of similar length as one tensor."""

    tokens: Tensor
    """Packed token of each place ``(S, L)``; places after a segment's end repeat its last token."""
    kept: Tensor
    """Places that hold a token, as numbers in the flattened ``(S, L)``, segment by segment ``(tokens,)``."""


class Layout:
    """What attention needs to know of a packed batch.

    Args:
        lengths: tokens of each segment.
        bar: bar number of each token ``(N,)``; only local attention asks for it.

    Example:
        >>> Layout([3, 2], torch.tensor([0, 0, 1, 4, 5])).bars.complete
        tensor([0, 0, 1, 0, 1])
    """

    def __init__(self, lengths: list[int], bar: Tensor) -> None:
        self.lengths = lengths
        self._bar = bar
        self._shared: dict[Hashable, Any] = {}

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What a layer needs and all layers need alike: made by the first that asks."""
        if key not in self._shared:
            self._shared[key] = make()
        return cast(T, self._shared[key])

    @cached_property
    def bars(self) -> Bars:
        """The bars of all segments."""
        return Bars.of(self._bar, self.lengths)

    @cached_property
    def groups(self) -> list[Padded]:
        """All segments, those of similar length together: a kernel call each instead of one for every segment."""
        order = sorted(range(len(self.lengths)), key=lambda number: -self.lengths[number])
        starts = [0]
        for length in self.lengths:
            starts.append(starts[-1] + length)
        groups: list[list[int]] = []
        for number in order:
            if not groups or self.lengths[number] < FILLED * self.lengths[groups[-1][0]]:
                groups.append([])
            groups[-1].append(number)
        return [self._pad(group, starts) for group in groups]

    def _pad(self, group: list[int], starts: list[int]) -> Padded:
        first = torch.tensor([starts[number] for number in group])[:, None]
        size = torch.tensor([self.lengths[number] for number in group])[:, None]
        place = torch.arange(int(size.max()))
        tokens = first + torch.minimum(place, size - 1)
        kept = (place < size).flatten().nonzero().squeeze(1)
        return Padded(tokens.to(self._bar.device), kept.to(self._bar.device))

    @cached_property
    def restored(self) -> Tensor:
        """Where each packed token lies among the kept places of all groups, one group after the other ``(N,)``."""
        tokens = torch.cat([group.tokens.flatten()[group.kept] for group in self.groups])
        return tokens.argsort()
