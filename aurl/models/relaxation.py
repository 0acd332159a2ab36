"""Tokens that gradients pass through: one-hot going forward, softmax going back (straight-through Gumbel-softmax: Jang
et al. 2017, arXiv:1611.01144).

The token is drawn first. The noise that it was drawn with follows afterwards, from what it can have been given the
token (Maddison et al. 2014, arXiv:1411.0030; Paulus et al. 2021, arXiv:2010.04838). So writing needs no gradients and
runs through the cache, and one parallel pass over what was written gives them.

Axes: N tokens, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST, LARGEST = 1e-20, 1 - 1e-7
"""Uniform draws are kept between these, so that no logarithm is infinite."""
IMPOSSIBLE = -1e4
"""Stands for a logit of -inf, whose gradient would not be a number."""


def noisy_logits(logits: Tensor, ids: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Logits plus Gumbel noise under which the given tokens are the largest.

    Args:
        logits: ``(N, V)``, -inf for tokens that could not be drawn.
        ids: tokens drawn ``(N,)``, none of them impossible.
        generator: random numbers; None takes PyTorch's own.

    Returns:
        ``(N, V)``, distributed as Gumbel noise makes it where the argmax is ``ids``.
    """
    logits = logits.clamp(min=IMPOSSIBLE)
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=logits.dtype)
    exponential = -torch.log(uniform.clamp(SMALLEST, LARGEST))  # (N, V), mean 1
    log_total = logits.logsumexp(-1, keepdim=True)
    column = ids[:, None]
    # The race of exponential clocks with rates exp(logits): the winner arrives after E / total, the others later.
    winner = exponential.gather(1, column).log() - log_total
    others = torch.logaddexp(exponential.log() - logits, winner)
    arrival = others.scatter(1, column, winner)
    return -arrival


def straight_through(
    logits: Tensor, ids: Tensor, temperature: float, generator: torch.Generator | None = None
) -> Tensor:
    """One-hot tokens ``(N, V)`` whose gradient is that of the softmax of noisy logits.

    Args:
        logits: what the tokens were drawn from ``(N, V)``, -inf for tokens that could not be drawn.
        ids: the tokens ``(N,)``.
        temperature: of the softmax; lower is nearer to the token and noisier in its gradient.
        generator: random numbers; None takes PyTorch's own.

    Example:
        >>> straight_through(torch.zeros(1, 3), torch.tensor([2]), temperature=1.0)
        tensor([[0., 0., 1.]])
    """
    logits = logits.float()
    hard = F.one_hot(ids, logits.shape[-1]).to(logits.dtype)
    if not logits.requires_grad:
        return hard
    soft = (noisy_logits(logits, ids, generator) / temperature).softmax(-1)
    return hard + (soft - soft.detach())
