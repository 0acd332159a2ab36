"""Weights of terms that are learned with the model (Kendall et al. 2018, arXiv:1705.07115).

The other automatic balance, by the norms of gradients, is loss.adversarial_share (adversary.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class UncertaintyWeights(nn.Module):
    """Adds up terms as ``sum of exp(-s_i) L_i + s_i / 2``, with a learned log variance s_i for each.

    At the best s_i a term weighs ``1 / (2 L_i)``: a change by one share of itself then counts alike for all terms.

    Args:
        names: of the terms.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.log_variance = nn.Parameter(torch.zeros(len(names)))

    def forward(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum; every term has to be there."""
        values = torch.stack([terms[name] for name in self.names])
        return ((-self.log_variance).exp() * values + self.log_variance / 2).sum()

    def weights(self) -> dict[str, float]:
        """Weights as they are now."""
        return dict(zip(self.names, (-self.log_variance.detach()).exp().tolist(), strict=True))
