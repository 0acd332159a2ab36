"""What a training step minimises: weights and schedules of the terms of losses.py."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from aurl.training.adversarial_config import AdversarialConfig


class Annealing(str, Enum):
    """How the weight of the KL term goes over training."""

    constant = "constant"
    """Full weight from the first step."""
    linear = "linear"
    """0 for ``kl_zero_steps``, then up in ``kl_rise_steps``, then full."""
    cyclic = "cyclic"
    """0 for ``kl_zero_steps``, then cycles of ``kl_rise_steps``: half of each rising, half full (Fu et al. 2019)."""


@dataclass(frozen=True, kw_only=True)
class LossConfig(AdversarialConfig):
    """Weights of the terms; those of latents belong to models that have them, and so on (adversarial_config.py).

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    kl_weight: float = 0.2
    """Full weight beta of the KL term; 1 is the evidence lower bound."""
    kl_annealing: Annealing = Annealing.linear
    """constant, linear or cyclic."""
    kl_zero_steps: int = 200
    """Optimiser steps without the KL term."""
    kl_rise_steps: int = 800
    """Steps of the rise, or of a cycle."""
    free_bits: float = 0.02
    """Nats of each dimension of a bar's latent that cost nothing."""
    piece_free_bits: float = 0.02
    """Nats of each dimension of a piece's latent that cost nothing."""
    attribute_weight: float = 0.3
    """Weight of the order of named dimensions."""
    attribute_exclusion: float = 0.0
    """Weight of what unnamed dimensions tell of attributes; 0.1 was too much (experiments/latent)."""
    attribute_slope: float = 3.0
    """How sharply their order is judged: latents a third apart count as ordered."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, high in (
            ("kl_weight", 100.0),
            ("free_bits", 10.0),
            ("piece_free_bits", 10.0),
            ("attribute_weight", 100.0),
            ("attribute_exclusion", 100.0),
        ):
            value = getattr(self, key)
            if not 0.0 <= value <= high:
                raise ValueError(f"loss.{key}={value} is out of range; allowed: 0 to {high:g}")
        if self.attribute_slope <= 0:
            raise ValueError(f"loss.attribute_slope={self.attribute_slope} is out of range; allowed: above 0")
        if self.kl_zero_steps < 0:
            raise ValueError(f"loss.kl_zero_steps={self.kl_zero_steps} is out of range; allowed: 0 or more")
        if self.kl_rise_steps < 1:
            raise ValueError(f"loss.kl_rise_steps={self.kl_rise_steps} is out of range; allowed: 1 or more")
