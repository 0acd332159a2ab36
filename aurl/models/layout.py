"""Where packed segments and their bars lie: index tensors that every layer of a pass shares, made when first asked for.

Axes: N packed tokens, S runs of a group, L longest of them, P places of all groups, M bars of all segments.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")
FILLED = 0.5
"""Runs are padded to one length together as long as the shortest has this share of the longest."""


class BarSpans(NamedTuple):
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
    def of(cls, bar: Tensor, lengths: list[int]) -> BarSpans:
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


Run = tuple[int, int]
"""First packed token and number of tokens."""


class Padded:
    """Runs of packed tokens as a few rectangular tensors, those of similar length together.

    Args:
        groups: runs that share a tensor; every token is in one run.
        device: of the tokens.

    Example:
        >>> padded = Padded([[(0, 3), (3, 2)]], torch.device("cpu"))
        >>> padded.spread(torch.tensor([5, 6, 7, 8, 9]))
        [tensor([[5, 6, 7],
                [8, 9, 9]])]
    """

    def __init__(self, groups: list[list[Run]], device: torch.device) -> None:
        self.groups = groups
        self.shapes = [(len(group), max(length for _, length in group)) for group in groups]
        tokens, kept = [], []
        for group, (_, longest) in zip(groups, self.shapes, strict=True):
            first, size = torch.tensor(group).unsqueeze(-1).unbind(1)
            place = torch.arange(longest)
            tokens.append((first + torch.minimum(place, size - 1)).flatten())  # padding repeats the last token
            kept.append((place < size).flatten())
        spread = torch.cat(tokens)
        places = torch.cat(kept).nonzero().squeeze(1)
        self.tokens = spread.to(device)
        """Token of each place of all groups, one after the other ``(P,)``."""
        self.places = places[spread[places].argsort()].to(device)
        """Place of each token ``(N,)``."""

    def spread(self, part: Tensor) -> list[Tensor]:
        """``(N, ...)`` to ``(S, L, ...)`` for each group. Gradients of padding are dropped: nobody may look at it."""
        whole = cast(Tensor, _Spread.apply(part, self.tokens, self.places))
        sizes = [rows * longest for rows, longest in self.shapes]
        return [each.unflatten(0, shape) for each, shape in zip(whole.split(sizes), self.shapes, strict=True)]

    def gather(self, parts: list[Tensor]) -> Tensor:
        """``(S, L, ...)`` of each group to ``(N, ...)``."""
        return torch.cat([part.flatten(0, 1) for part in parts]).index_select(0, self.places)


class _Spread(torch.autograd.Function):
    """``part[tokens]`` whose backward is a look-up too, several times faster than adding up."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return part.index_select(0, tokens)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return grads[0].index_select(0, places), None, None


def similar(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups of runs of similar length, the longest first.

    Example:
        >>> similar([(0, 100), (100, 8), (108, 60)])
        [[(0, 100), (108, 60)], [(100, 8)]]
    """
    groups: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: -run[1]):
        if not groups or run[1] < FILLED * groups[-1][0][1]:
            groups.append([])
        groups[-1].append(run)
    return groups


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
        self.device = bar.device
        self._bar = bar
        self._shared: dict[Hashable, Any] = {}

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What a layer needs and all layers need alike: made by the first that asks."""
        if key not in self._shared:
            self._shared[key] = make()
        return cast(T, self._shared[key])

    @cached_property
    def bars(self) -> BarSpans:
        """The bars of all segments."""
        return BarSpans.of(self._bar, self.lengths)

    @cached_property
    def segments(self) -> list[Run]:
        """First token and length of each."""
        return [(stop - length, length) for stop, length in zip(accumulate(self.lengths), self.lengths, strict=True)]

    @cached_property
    def padded(self) -> Padded:
        """All segments, those of similar length together: a kernel call each instead of one for every segment."""
        return Padded(similar(self.segments), self.device)
