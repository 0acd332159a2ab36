"""Whether latents are used: what to watch against posterior collapse. Pure functions of posteriors.

Axes: M bars, Z latent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aurl.models.gaussian import Gaussian

ACTIVE_SHARE = 0.01
"""Share of a dimension's variance that lies between bars above which it counts as active."""


def active_units(posterior: Gaussian) -> Tensor:
    """Which dimensions say different things of different bars ``(Z,)`` bool.

    Burda et al. 2016 (arXiv:1509.00519) count a dimension whose posterior means have a variance above 0.01, where all
    of a dimension's variance, means and posteriors together, is 1 because the prior's is. A learned prior has any
    scale, so the same threshold is applied to the share.

    Args:
        posterior: of M bars ``(M, Z)``.
    """
    between = posterior.mean.var(0)
    return between > ACTIVE_SHARE * (between + posterior.log_variance.exp().mean(0))


def exchanged(count: int, generator: torch.Generator | None = None) -> Tensor | None:
    """A random order ``(count,)`` in which nothing keeps its place: one cycle through all; None where there is but one.

    Args:
        count: how many there are.
        generator: random numbers.
    """
    if count < 2:
        return None
    device = None if generator is None else generator.device
    cycle = torch.randperm(count, generator=generator, device=device)
    order = torch.empty_like(cycle)
    order[cycle] = cycle.roll(1)
    return order


def mutual_information(posterior: Gaussian, generator: torch.Generator | None = None) -> float:
    """Estimate of the information in nats that a latent holds about which of the M bars it belongs to: the mean of
    ``log q(z | x) - log mean over bars q(z | x')`` (Hoffman and Johnson 2016); at most ``log M``.

    Args:
        posterior: ``(M, Z)``.
        generator: random numbers of one draw for each bar.
    """
    noise = torch.randn(posterior.mean.shape, generator=generator, device=posterior.mean.device)
    drawn = posterior.at(noise)
    own = posterior.log_density(drawn).sum(-1)  # (M,)
    every = torch.stack([posterior.log_density(each).sum(-1) for each in drawn])  # (M, M)
    aggregated = every.logsumexp(-1) - math.log(len(drawn))
    return float((own - aggregated).mean())
