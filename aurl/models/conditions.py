"""What a prior of latents can be told of each bar: numbers of its key or chord, embedded and added up.

Axes: R bars of any leading shape, C columns of a condition, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

COLUMNS: dict[str, tuple[int, ...]] = {"key": (24,), "chords": (12, 32)}
"""Condition, by its name in ``data.features`` -> how many values each of its columns has: keys; roots and qualities of
chords."""
UNKNOWN = -1
"""Value of a column that is not known; it has an embedding of its own."""
HIDDEN_SHARE = 0.1
"""Share of segments that training hides the conditions of, so that the prior knows what to do without them."""

Conditions = Mapping[str, Tensor]
"""Name -> values ``(R, C)`` int64."""


class ConditionEmbedding(nn.Module):
    """Sum of the embeddings of all columns of the named conditions.

    Args:
        names: keys of COLUMNS.
        width: D.
    """

    def __init__(self, names: list[str], width: int) -> None:
        super().__init__()
        self.names = names
        self.tables = nn.ModuleDict(
            {name: nn.ModuleList(nn.Embedding(count + 1, width) for count in COLUMNS[name]) for name in names}
        )

    def forward(self, conditions: Conditions | None, like: Tensor) -> Tensor:
        """Vectors ``(R, D)``; names that are not given are unknown.

        Args:
            conditions: what is known.
            like: a tensor with the leading shape R.
        """
        total = torch.zeros((), device=like.device)
        for name in self.names:
            given = None if conditions is None else conditions.get(name)
            tables = cast("list[nn.Embedding]", self.tables[name])
            for column, table in enumerate(tables):
                if given is None:
                    total = total + table.weight[-1]
                else:
                    value = given[..., column].long()
                    total = total + table(torch.where(value < 0, table.num_embeddings - 1, value))
        return total


def hide_some(conditions: Conditions, segment: Tensor) -> Conditions:
    """Make the conditions of about HIDDEN_SHARE of the segments unknown.

    Args:
        conditions: of bars ``(M, C)``.
        segment: segment of each bar ``(M,)``.
    """
    hidden = torch.rand(int(segment.max()) + 1, device=segment.device)[segment] < HIDDEN_SHARE
    return {name: values.masked_fill(hidden[:, None], UNKNOWN) for name, values in conditions.items()}
