"""Likelihood of a split as a torchmetrics metric: sums over batches and processes, figures at the end."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from aurl.data.batching import IGNORED, PackedBatch
from aurl.models.gaussian import Gaussian
from aurl.models.latent_use import active_units, mutual_information
from aurl.models.music_transformer_vae_gan import ModelOutput

MOST_BARS = 2048
"""Bars of a validation pass that tell whether latents are used."""


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


class LatentUse:
    """Whether the decoder listens to the latents of bars (posterior collapse), over MOST_BARS bars of one process.

    Figures: ``active_units`` share of dimensions with different posterior means; ``bar_kl`` nats of a bar's latent
    beyond what was expected; ``least_dimension_kl`` and ``most_dimension_kl`` of its dimensions; ``piece_kl``;
    ``information`` nats that a latent tells about its bar, at most log of the bars seen; ``shuffled_gap`` nats a token
    by which the reconstruction gets worse when latents are exchanged among bars. Of a single bar (or segment, where
    there is one latent for each) the first, ``information`` and ``shuffled_gap`` say nothing and are left out.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._posteriors: list[Gaussian] = []
        self._bar_kl: list[Tensor] = []
        self._piece_kl: list[Tensor] = []
        self._gap = 0.0
        self._tokens = 0
        self.bars = 0

    @property
    def has_room(self) -> bool:
        """Whether more bars are wanted."""
        return self.bars < MOST_BARS

    def update(self, output: ModelOutput, shuffled: ModelOutput | None, targets: Tensor) -> None:
        """Add a batch: its output, that with latents exchanged (None where there is but one), targets ``(N,)``."""
        latents = output.latents
        assert latents is not None and latents.posterior is not None
        self._posteriors.append(Gaussian(*(part.cpu() for part in latents.posterior.bar)))
        self._bar_kl.append(latents.bar_divergence.cpu())
        self._piece_kl.append(latents.piece_divergence.sum(-1).cpu())
        self.bars += latents.bars.count
        if shuffled is None:
            return
        own, other = (
            F.cross_entropy(each.logits.float(), targets, ignore_index=IGNORED, reduction="sum").item()
            for each in (output, shuffled)
        )
        self._gap += other - own
        self._tokens += int((targets != IGNORED).sum())

    def compute(self) -> dict[str, float]:
        """The figures."""
        together = (torch.cat([getattr(each, name) for each in self._posteriors]) for name in Gaussian._fields)
        posterior = Gaussian(*(part[:MOST_BARS] for part in together))
        by_dimension = torch.cat(self._bar_kl).mean(0)
        figures = {
            "bar_kl": float(by_dimension.sum()),
            "least_dimension_kl": float(by_dimension.min()),
            "most_dimension_kl": float(by_dimension.max()),
            "piece_kl": float(torch.cat(self._piece_kl).mean()),
        }
        if self.bars > 1:
            figures["active_units"] = float(active_units(posterior).float().mean())
            figures["information"] = mutual_information(posterior, torch.Generator().manual_seed(0))
        if self._tokens:
            figures["shuffled_gap"] = self._gap / self._tokens
        return figures
