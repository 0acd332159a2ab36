"""Likelihood of a split as a torchmetrics metric: sums over batches and processes, figures at the end."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from aurl.data.batching import IGNORED, PackedBatch


class Likelihood(Metric):
    """Nats per note, nats per beat and token perplexity.

    The negative log-likelihood of all tokens (bar lines, times and ends included) is divided by what a musician counts,
    so that tokenisations can be compared; perplexity per token cannot, and is there as a log line.

    Sums are float32, which every device has; published figures come from aurl-evaluate, which adds in float64.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("nats", "tokens", "notes", "beats"):
            self.add_state(name, default=torch.zeros(()), dist_reduce_fx="sum")
        self.nats: Tensor
        self.tokens: Tensor
        self.notes: Tensor
        self.beats: Tensor

    def update(self, token_nats: Tensor, batch: PackedBatch) -> None:
        """Add a batch; ``token_nats`` ``(N,)`` is zero where a target is ignored."""
        # Not in place: a trainer that validates before it trains does so in inference
        # mode, whose tensors are frozen after.
        self.nats = self.nats + token_nats.sum()
        self.tokens = self.tokens + (batch.targets != IGNORED).sum()
        self.notes = self.notes + batch.notes
        self.beats = self.beats + batch.beats

    def compute(self) -> dict[str, float]:
        """``nats_per_note``, ``nats_per_beat``, ``token_perplexity``."""
        nats = self.nats.item()
        return {
            "nats_per_note": nats / max(self.notes.item(), 1.0),
            "nats_per_beat": nats / max(self.beats.item(), 1.0),
            "token_perplexity": math.exp(nats / max(self.tokens.item(), 1.0)),
        }
