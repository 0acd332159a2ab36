"""How the weights are learned: optimiser, schedule, averaging. Epochs, devices and precision are Lightning's keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Rule(str, Enum):
    """How gradients move weights."""

    adamw = "adamw"
    """AdamW for everything."""
    muon = "muon"
    """Muon for the matrices of the blocks, AdamW for embeddings and norms; fewer steps for the same likelihood."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW or Muon with linear warm-up and cosine decay.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    rule: Rule = Rule.adamw
    """adamw, or muon for the matrices inside the blocks."""
    lr: float = 1e-3
    """Peak learning rate."""
    min_lr_share: float = 0.05
    """Learning rate at the end, as a share of the peak."""
    warmup_steps: int = 100
    """Optimiser steps of linear warm-up."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices; norms and biases are not decayed."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    """Decay rates of AdamW's two moments."""
    clip_norm: float = 1.0
    """Largest global gradient norm; 0 switches clipping off."""
    accumulate: int = 1
    """Batches whose gradients are added up for one optimiser step."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights that is validated and sampled; 0 switches it off."""
    label_smoothing: float = 0.0
    """Share of probability spread over all tokens in the training loss; figures reported are without it."""
    critic_lr: float = 1e-3
    """Peak learning rate of the discriminator; warm-up and cosine as above."""

    def __post_init__(self) -> None:
        for key, low, high in (
            ("lr", 0.0, 1.0),
            ("critic_lr", 0.0, 1.0),
            ("min_lr_share", 0.0, 1.0),
            ("weight_decay", 0.0, 10.0),
            ("clip_norm", 0.0, 1e6),
            ("label_smoothing", 0.0, 0.5),
        ):
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(f"optim.{key}={value} is out of range; allowed: {low:g} to {high:g}")
        if self.lr == 0.0:
            raise ValueError("optim.lr=0 would learn nothing; allowed: above 0")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"optim.ema_decay={self.ema_decay} is out of range; allowed: 0 up to, not including, 1")
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"optim.betas={self.betas} must be two numbers from 0 up to, not including, 1")
        if self.warmup_steps < 0:
            raise ValueError(f"optim.warmup_steps={self.warmup_steps} is out of range; allowed: 0 or more")
        if self.accumulate < 1:
            raise ValueError(f"optim.accumulate={self.accumulate} is out of range; allowed: 1 or more")
