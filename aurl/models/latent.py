"""The latent space of a variational autoencoder of music: a latent for each bar under one for the piece.

Generative story: ``z_piece ~ N(0, 1)``; latents of bars follow from it and from each other (prior.py); tokens of a bar
follow from all tokens before them and from the latents of the bars up to their own (in-attention: Wu and Yang 2021,
arXiv:2105.04090). The encoder reads each bar by itself (bar_encoder.py), the piece's latent is read off its bars. What
each choice costs in likelihood is ``Latents.divergence``. With ``model.hierarchy=false`` a segment counts as one long
bar, so that a single latent stands for all of it: the flat baseline.

Axes: N packed tokens, M bars of the batch, S segments, Z latent of a bar, P latent of a piece, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aurl.models.bar_encoder import BarEncoder, Pooling
from aurl.models.bars import Bars, bars_of
from aurl.models.conditions import Conditions, hide_some
from aurl.models.config import ModelConfig
from aurl.models.gaussian import Gaussian, standard_like
from aurl.models.positions import MusicalTime
from aurl.models.prior import PRIORS, AutoregressivePrior, Expectation

FIRST_LOG_VARIANCE = -3.0
"""Posteriors begin narrow: with wide ones the decoder would learn to overhear the latent before it says anything."""
SPREAD_DECAY = 0.99
"""Decay of the running mean and deviation of the latents."""


class Encoded(NamedTuple):
    """Posteriors of a batch."""

    bars: Bars
    bar: Gaussian
    """Of each bar ``(M, Z)``."""
    piece: Gaussian
    """Of each segment ``(S, P)``."""


class Latents(NamedTuple):
    """Latents of a batch, and what they cost."""

    bars: Bars
    bar: Tensor
    """Of each bar ``(M, Z)``, as drawn."""
    piece: Tensor
    """Of each segment ``(S, P)``, as drawn."""
    posterior: Encoded | None
    """What they were drawn from; None where they were given."""
    bar_divergence: Tensor
    """Nats of each dimension of each bar beyond what was expected ``(M, Z)``."""
    piece_divergence: Tensor
    """Nats of each dimension of each piece ``(S, P)``."""
    conditions: Conditions | None = None
    """What the prior was told of each bar ``(M, C)``."""


class LatentSpace(nn.Module):
    """Encoder, prior, and the way from latents into the decoder.

    Args:
        config: a config with latents.
        vocab_size: number of tokens V.
    """

    spread_mean: Tensor
    spread_std: Tensor

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = BarEncoder(config, vocab_size)
        self.to_bar = nn.Linear(config.hidden_dim, 2 * config.latent_dim)
        self.pool_piece = Pooling(config.hidden_dim, config.heads)
        self.to_piece = nn.Linear(config.hidden_dim, 2 * config.piece_latent_dim)
        self.prior = PRIORS[config.prior](config)
        self.to_layers = nn.Linear(config.latent_dim, config.layers * config.hidden_dim, bias=False)
        self.register_buffer("spread_mean", torch.zeros(config.latent_dim))
        self.register_buffer("spread_std", torch.ones(config.latent_dim))

    def begin(self) -> None:
        """Put the heads where training starts: narrow posteriors, a prior that is a standard normal."""
        for head in (self.to_bar, self.to_piece):
            nn.init.zeros_(head.bias)
            nn.init.constant_(head.bias[len(head.bias) // 2 :], FIRST_LOG_VARIANCE)
        if isinstance(self.prior, AutoregressivePrior):
            nn.init.zeros_(self.prior.to_gaussian.weight)
            nn.init.zeros_(self.prior.to_gaussian.bias)

    def bars(self, bar: Tensor, lengths: list[int]) -> Bars:
        """What has a latent of its own: the bars ``(N,)`` of packed segments, or without hierarchy each segment as one
        long bar.
        """
        return bars_of(bar if self.config.hierarchy else torch.zeros_like(bar), lengths)

    def encode(self, ids: Tensor, time: MusicalTime, lengths: list[int], bars: Bars | None = None) -> Encoded:
        """Posteriors of packed segments ``(N,)``."""
        bars = self.bars(time.bar, lengths) if bars is None else bars
        summary = self.encoder(ids, time, bars)
        piece = self.pool_piece(summary, bars.segment, len(lengths))
        return Encoded(bars, Gaussian.of(self.to_bar(summary)), Gaussian.of(self.to_piece(piece)))

    def draw(
        self,
        encoded: Encoded,
        generator: torch.Generator | None = None,
        conditions: Conditions | None = None,
    ) -> Latents:
        """Draw latents from posteriors and say what they cost.

        Args:
            encoded: posteriors.
            generator: random numbers; None takes PyTorch's own.
            conditions: what is known of each bar ``(M, C)``; training hides some of it.
        """
        bar = encoded.bar.at(_noise(encoded.bar.mean, generator))
        piece = encoded.piece.at(_noise(encoded.piece.mean, generator))
        if self.training:
            self._note_spread(encoded.bar.mean.detach())
            if conditions:
                conditions = hide_some(conditions, encoded.bars.segment)
        expected: Expectation = self.prior(bar, piece, encoded.bars, conditions)
        return Latents(
            encoded.bars,
            bar,
            piece,
            encoded,
            expected.divergence(encoded.bar, bar),
            encoded.piece.divergence(standard_like(piece)),
            conditions,
        )

    def prior_divergence(self, latents: Latents) -> Tensor:
        """The same cost of bars ``(M, Z)`` with gradients for the prior alone."""
        assert latents.posterior is not None
        bar = latents.bar.detach()
        expected: Expectation = self.prior(bar, latents.piece.detach(), latents.bars, latents.conditions)
        return expected.divergence(latents.posterior.bar.detach(), bar)

    def sample(
        self, noise: Tensor, piece: Tensor, given: Tensor | None = None, conditions: Conditions | None = None
    ) -> Tensor:
        """Latents of bars from the prior: see :meth:`aurl.models.prior.AutoregressivePrior.sample`."""
        return self.prior.sample(piece, noise, given, conditions)  # type: ignore[operator]

    def for_layers(self, bar: Tensor) -> Tensor:
        """What latents ``(..., Z)`` add to the input of each decoder layer ``(..., layers, D)``."""
        return self.to_layers(bar).unflatten(-1, (self.config.layers, -1))

    @torch.no_grad()
    def _note_spread(self, mean: Tensor) -> None:
        """Follow how latents are distributed: sliders move them in standard deviations."""
        self.spread_mean.lerp_(mean.mean(0), 1 - SPREAD_DECAY)
        if len(mean) > 1:
            self.spread_std.lerp_(mean.std(0), 1 - SPREAD_DECAY)


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def cost_of_tokens(latents: Latents, scored: Tensor) -> Tensor:
    """Nats that latents add to the tokens' own, shared out ``(N,)``: each scored bar's at its first scored token, each
    piece's at the first scored token of its segment. The sum is the negative evidence lower bound less the
    reconstruction.

    Args:
        latents: of the batch.
        scored: which tokens count ``(N,)`` bool; bars without one cost nothing here.
    """
    cost = torch.zeros(len(scored), device=scored.device)
    bar_cost = latents.bar_divergence.sum(-1)
    piece_cost = latents.piece_divergence.sum(-1)
    token = scored.nonzero().squeeze(1)
    bar = latents.bars.of_token[token]
    first_of_bar = torch.ones_like(bar, dtype=torch.bool)
    first_of_bar[1:] = bar[1:] != bar[:-1]
    segment = latents.bars.segment[bar]
    first_of_segment = torch.ones_like(bar, dtype=torch.bool)
    first_of_segment[1:] = segment[1:] != segment[:-1]
    cost = cost.index_add(0, token[first_of_bar], bar_cost[bar[first_of_bar]])
    return cost.index_add(0, token[first_of_segment], piece_cost[segment[first_of_segment]])


def scored_bars(latents: Latents, scored: Tensor) -> Tensor:
    """Which bars hold a scored token ``(M,)`` bool."""
    hits = torch.zeros(latents.bars.count, device=scored.device).index_add(0, latents.bars.of_token, scored.float())
    return hits > 0
