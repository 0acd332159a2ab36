"""How likely is a piece under a model with latents? The importance-weighted estimate, sample by sample.

The likelihood p(x) is the mean of the weights w = p(x|z) p(z) / q(z|x) over draws z of the encoder q(z|x). The mean
of log w is the evidence lower bound (ELBO); the log of the mean of K weights lies above it and rises to log p(x) as K
grows (Burda, Grosse and Salakhutdinov 2016, "Importance weighted autoencoders"). In expectation both are still below
log p(x): such a figure is a bound, and is to be called one. Its standard error and the effective number of samples
say how far it can be trusted: one weight that outweighs all others means that the encoder misses the posterior.

Only logarithms and sums are kept, so that any number of samples may be added in portions.

Axes: K samples, P pieces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FEWEST_EFFECTIVE = 10.0
"""Effective samples below which the standard error itself is a guess."""


@dataclass(frozen=True)
class ImportanceEstimate:
    """Estimates of log p(x), in nats, one for each piece."""

    log_likelihood: Floats
    """(P,) log of the mean weight: a lower bound in expectation."""
    standard_error: Floats
    """(P,) of ``log_likelihood``, by the delta method; NaN for one sample."""
    effective_samples: Floats
    """(P,) (sum of w)^2 / sum of w^2 (Kong 1992): K where all weights are equal, 1 where one outweighs all others; 0
    where every weight is 0."""
    elbo: Floats
    """(P,) mean of log w: the bound of one sample."""
    samples: int
    """K."""

    @property
    def bias(self) -> Floats:
        """(P,) by how much ``log_likelihood`` is too low, to first order: half its variance (Nowozin 2018)."""
        return self.standard_error**2 / 2

    @property
    def total(self) -> float:
        """Nats of all pieces together."""
        return float(self.log_likelihood.sum())

    @property
    def total_error(self) -> float:
        """Standard error of ``total``; draws for different pieces are independent."""
        return float(np.sqrt((self.standard_error**2).sum()))

    @property
    def doubtful(self) -> int:
        """Pieces with fewer than ten effective samples."""
        return int((self.effective_samples < FEWEST_EFFECTIVE).sum())


class ImportanceWeights:
    """Running sums of weights; portions are added in any sizes and order.

    Example:
        >>> weights = ImportanceWeights()
        >>> for _ in range(4):  # the decoder gives every z the same likelihood, and the encoder is the prior
        ...     weights.add([[-2.0]], [[-1.0]], [[-1.0]])
        >>> found = weights.estimate()
        >>> float(found.log_likelihood[0]), float(found.effective_samples[0])
        (-2.0, 4.0)
    """

    def __init__(self) -> None:
        self.samples = 0
        self._top: Floats = np.zeros(0)
        self._sum: Floats = np.zeros(0)
        self._square: Floats = np.zeros(0)
        self._logs: Floats = np.zeros(0)

    def add(self, log_px_given_z: ArrayLike, log_prior: ArrayLike, log_q: ArrayLike) -> None:
        """Add draws.

        Args:
            log_px_given_z: (K, P) log p(x|z), nats of all tokens of each piece.
            log_prior: (K, P) log p(z), summed over all latents of the piece.
            log_q: (K, P) log q(z|x) of the same draws.

        Raises:
            ValueError: shapes differ, or a number is NaN or cannot be (only ``log_px_given_z`` and ``log_prior`` may
                be minus infinity).
        """
        logs = log_weights(log_px_given_z, log_prior, log_q)
        if not self.samples:
            self._top = np.full(logs.shape[1], -np.inf)
            self._sum, self._square, self._logs = (np.zeros(logs.shape[1]) for _ in range(3))
        if logs.shape[1] != len(self._top):
            raise ValueError(f"this portion has {logs.shape[1]} pieces, those before had {len(self._top)}")
        top = np.maximum(self._top, logs.max(axis=0))
        # Weights are kept as multiples of e^top; where none has been above 0 yet, of e^0.
        level = np.where(np.isfinite(top), top, 0.0)
        before = np.exp(np.where(np.isfinite(self._top), self._top - level, -np.inf))
        scaled = np.exp(logs - level)
        self._sum = self._sum * before + scaled.sum(axis=0)
        self._square = self._square * before**2 + (scaled**2).sum(axis=0)
        self._logs = self._logs + logs.sum(axis=0)
        self._top = top
        self.samples += len(logs)

    def estimate(self) -> ImportanceEstimate:
        """What the draws so far say.

        Raises:
            ValueError: there were none.
        """
        if not self.samples:
            raise ValueError("an importance-weighted estimate needs at least one sample, got none")
        with np.errstate(divide="ignore", invalid="ignore"):
            effective = np.where(self._sum > 0, self._sum**2 / self._square, 0.0)
            # Variance of the mean weight over its square: (sum w^2 / (sum w)^2 - 1 / K) K / (K - 1).
            relative = np.maximum(1 / effective - 1 / self.samples, 0) * self.samples / (self.samples - 1)
            error = np.sqrt(relative) if self.samples > 1 else np.full(len(self._top), math.nan)
            likelihood = np.where(self._sum > 0, self._top, -np.inf) + np.log(self._sum) - math.log(self.samples)
        return ImportanceEstimate(likelihood, error, effective, self._logs / self.samples, self.samples)


def importance_estimate(log_px_given_z: ArrayLike, log_prior: ArrayLike, log_q: ArrayLike) -> ImportanceEstimate:
    """The estimate from all draws at once; see :meth:`ImportanceWeights.add` for arguments and errors."""
    weights = ImportanceWeights()
    weights.add(log_px_given_z, log_prior, log_q)
    return weights.estimate()


def log_weights(log_px_given_z: ArrayLike, log_prior: ArrayLike, log_q: ArrayLike) -> Floats:
    """(K, P) log p(x|z) + log p(z) - log q(z|x); for errors see :meth:`ImportanceWeights.add`."""
    names = ("log_px_given_z", "log_prior", "log_q")
    parts = [np.asarray(part, dtype=np.float64) for part in (log_px_given_z, log_prior, log_q)]
    shapes = {part.shape for part in parts}
    if len(shapes) > 1 or parts[0].ndim != 2 or not parts[0].size:
        told = ", ".join(f"{name} {part.shape}" for name, part in zip(names, parts, strict=True))
        raise ValueError(f"log densities must all have the same shape (samples, pieces), not empty; got {told}")
    for name, part in zip(names, parts, strict=True):
        wrong = np.isnan(part) | (part == np.inf) | ((part == -np.inf) & (name == "log_q"))
        if wrong.any():
            sample, piece = (int(index[0]) for index in np.nonzero(wrong))
            allowed = "a finite number" if name == "log_q" else "a number or minus infinity"
            raise ValueError(f"{name} of sample {sample}, piece {piece} is {part[sample, piece]}; allowed: {allowed}")
    logs: Floats = parts[0] + parts[1] - parts[2]
    return logs
