"""Diagonal Gaussians: what posteriors and priors of latents are. Any leading shape; the last axis is the latent's."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOWEST_LOG_VARIANCE = -12.0
HIGHEST_LOG_VARIANCE = 6.0
"""Log variances are kept between these, so that no exponential overflows while training finds its way."""


class Gaussian(NamedTuple):
    """Independent normal distributions."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> Gaussian:
        """From a network's output ``(..., 2 Z)``."""
        mean, log_variance = parameters.float().chunk(2, dim=-1)
        return cls(mean, log_variance.clamp(LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE))

    @property
    def std(self) -> Tensor:
        """Standard deviations."""
        return (0.5 * self.log_variance).exp()

    def at(self, noise: Tensor) -> Tensor:
        """The draw that standard normal ``noise`` leads to (Kingma and Welling 2014, arXiv:1312.6114, section 2.4)."""
        return self.mean + self.std * noise

    def log_density(self, value: Tensor) -> Tensor:
        """Log density in nats of each dimension, the shape of ``value``."""
        squared = (value - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (squared + self.log_variance + math.log(2 * math.pi))

    def divergence(self, other: Gaussian) -> Tensor:
        """Kullback-Leibler divergence to ``other`` in nats, of each dimension."""
        difference = self.log_variance - other.log_variance
        squared = (self.mean - other.mean).square() * (-other.log_variance).exp()
        return 0.5 * (difference.exp() + squared - 1 - difference)

    def detach(self) -> Gaussian:
        """The same without gradients."""
        return Gaussian(self.mean.detach(), self.log_variance.detach())


def standard_like(value: Tensor) -> Gaussian:
    """Standard normals of the shape of ``value``."""
    return Gaussian(torch.zeros_like(value), torch.zeros_like(value))
