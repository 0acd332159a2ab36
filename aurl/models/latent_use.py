"""Whether latents are used: what to watch against posterior collapse. Pure functions of posteriors.

Axes: M bars, Z latent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aurl.models.gaussian import Gaussian

ACTIVE_VARIANCE = 0.01
"""Variance of a dimension's posterior means above which it counts as active (Burda et al. 2016)."""


def active_units(mean: Tensor) -> Tensor:
    """Which dimensions say different things of different bars ``(Z,)`` bool (Burda et al. 2016, arXiv:1509.00519).

    Args:
        mean: posterior means ``(M, Z)``.
    """
    return mean.var(0) > ACTIVE_VARIANCE


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
