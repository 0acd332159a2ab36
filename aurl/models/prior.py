"""What latents of bars are expected to be, given the latent of the piece: learned, so that sampling leaves no holes.

Axes: M bars of a packed batch, S segments, B samples, T bars to come, Z latent of a bar, P latent of a piece.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from aurl.models.attention import GrowingCache, LayerCache
from aurl.models.bars import Bars
from aurl.models.conditions import ConditionEmbedding, Conditions
from aurl.models.config import Attention, ModelConfig, Positions, Prior
from aurl.models.decoder import Block
from aurl.models.gaussian import Gaussian, standard_like
from aurl.models.layout import Layout
from aurl.models.positions import MusicalTime, RotaryAngles


class Expectation(Protocol):
    """Distribution of the latents of all bars of a batch."""

    def divergence(self, posterior: Gaussian, value: Tensor) -> Tensor:
        """KL divergence of posteriors ``(M, Z)`` from it in nats, of each dimension ``(M, Z)``; by the draw ``value``
        ``(M, Z)`` where there is no closed form.
        """
        ...

    def log_density(self, value: Tensor) -> Tensor:
        """Log density ``(M,)`` in nats."""
        ...


class Expected:
    """Independent Gaussians.

    Args:
        gaussian: ``(M, Z)``.
    """

    def __init__(self, gaussian: Gaussian) -> None:
        self.gaussian = gaussian

    def divergence(self, posterior: Gaussian, value: Tensor) -> Tensor:
        """Closed form."""
        return posterior.divergence(self.gaussian)

    def log_density(self, value: Tensor) -> Tensor:
        """Sum over dimensions."""
        return self.gaussian.log_density(value).sum(-1)


class ExpectedMixture:
    """Mixtures of Gaussians.

    Args:
        log_share: log shares of the components ``(M, C)``.
        components: ``(C, Z)``.
    """

    def __init__(self, log_share: Tensor, components: Gaussian) -> None:
        self.log_share, self.components = log_share, components

    def divergence(self, posterior: Gaussian, value: Tensor) -> Tensor:
        """By the draw: its log density under the posterior less that under the mixture, spread over the dimensions."""
        under_posterior = posterior.log_density(value)
        share = self.log_density(value) / value.shape[-1]
        return under_posterior - share[:, None]

    def log_density(self, value: Tensor) -> Tensor:
        """Log of the weighted sum over components."""
        each = self.components.log_density(value[:, None]).sum(-1)  # (M, C)
        return (self.log_share + each).logsumexp(-1)


class NormalPrior(nn.Module):
    """Every bar is a standard normal, whatever the piece."""

    def forward(self, value: Tensor, piece: Tensor, bars: Bars, conditions: Conditions | None = None) -> Expectation:
        """Expectation of each bar."""
        return Expected(standard_like(value))

    def sample(
        self, piece: Tensor, noise: Tensor, given: Tensor | None = None, conditions: Conditions | None = None
    ) -> Tensor:
        """See :meth:`AutoregressivePrior.sample`."""
        return noise if given is None else torch.cat((given, noise), dim=1)


class MixturePrior(nn.Module):
    """Every bar is drawn from one mixture of Gaussians; how often each is chosen follows from the piece.

    A mixture in place of one Gaussian, as in Tomczak and Welling 2018 (arXiv:1705.07120), with free components.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(config.prior_components, config.latent_dim))
        self.log_variance = nn.Parameter(torch.zeros(config.prior_components, config.latent_dim))
        self.to_share = nn.Linear(config.piece_latent_dim, config.prior_components)

    def forward(self, value: Tensor, piece: Tensor, bars: Bars, conditions: Conditions | None = None) -> Expectation:
        """Expectation of each bar."""
        log_share = self.to_share(piece).float().log_softmax(-1)[bars.segment]
        return ExpectedMixture(log_share, Gaussian(self.mean, self.log_variance))

    def sample(
        self, piece: Tensor, noise: Tensor, given: Tensor | None = None, conditions: Conditions | None = None
    ) -> Tensor:
        """See :meth:`AutoregressivePrior.sample`; the component is chosen by the first dimension of the noise, whose
        place in the normal distribution is uniform, and that dimension is drawn again from what is left of it.
        """
        share = self.to_share(piece).float().softmax(-1)  # (B, C)
        uniform = torch.special.ndtr(noise[..., 0])  # (B, T)
        edges = share.cumsum(-1)
        chosen = torch.searchsorted(edges, uniform.contiguous()).clamp_(max=share.shape[1] - 1)
        low = torch.where(chosen > 0, edges.gather(1, (chosen - 1).clamp(min=0)), 0)
        inside = ((uniform - low) / share.gather(1, chosen)).clamp(1e-6, 1 - 1e-6)
        noise = torch.cat((torch.special.ndtri(inside)[..., None], noise[..., 1:]), dim=-1)
        drawn = Gaussian(self.mean[chosen], self.log_variance[chosen]).at(noise)
        return drawn if given is None else torch.cat((given, drawn), dim=1)


class AutoregressivePrior(nn.Module):
    """A small causal transformer over bars: each latent follows from those before it, from the piece, and from what is
    known of the bar (``config.prior_conditions``).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.start = nn.Parameter(torch.zeros(config.latent_dim))
        self.from_bar = nn.Linear(config.latent_dim, config.hidden_dim, bias=False)
        self.from_piece = nn.Linear(config.piece_latent_dim, config.hidden_dim)
        names = list(config.prior_conditions)
        self.conditions = ConditionEmbedding(names, config.hidden_dim) if names else None
        self.angles = RotaryAngles(config.head_dim, Positions.token)
        seeing_all = replace(config, attention=Attention.full)  # bars are few
        self.blocks = nn.ModuleList(Block(seeing_all) for _ in range(config.prior_layers))
        self.norm = nn.LayerNorm(config.hidden_dim, bias=False)
        self.to_gaussian = nn.Linear(config.hidden_dim, 2 * config.latent_dim)

    def forward(self, value: Tensor, piece: Tensor, bars: Bars, conditions: Conditions | None = None) -> Expectation:
        """Expectation of each bar.

        Args:
            value: latents of the bars ``(M, Z)``; those before a bar decide what is expected of it.
            piece: latents of the pieces ``(S, P)``.
            bars: which bars follow each other.
            conditions: what is known of each bar ``(M, C)``.
        """
        begins = torch.ones_like(bars.segment, dtype=torch.bool)
        begins[1:] = bars.segment[1:] != bars.segment[:-1]
        before = torch.where(begins[:, None], self.start, value.roll(1, 0))
        number = torch.arange(bars.count, device=value.device)
        first = number[begins]
        time = _bar_time(number - first[bars.segment])
        x = self.from_bar(before) + self.from_piece(piece)[bars.segment]
        if self.conditions is not None:
            x = x + self.conditions(conditions, bars.segment)
        rotation, layout = self.angles(time), Layout(bars.per_segment, time.bar)
        for block in self.blocks:
            x = block(x, rotation, layout)
        return Expected(Gaussian.of(self.to_gaussian(self.norm(x))))

    def sample(
        self, piece: Tensor, noise: Tensor, given: Tensor | None = None, conditions: Conditions | None = None
    ) -> Tensor:
        """Draw latents bar by bar, with gradients where they are on.

        Args:
            piece: latents of the pieces ``(B, P)``.
            noise: standard normal ``(B, T, Z)``.
            given: latents of bars before ``(B, G, Z)``.
            conditions: what is known of all bars, given and drawn ``(B, G + T, C)``.

        Returns:
            The given and the drawn latents ``(B, G + T, Z)``.
        """
        values = self.start.expand(len(piece), 1, -1)
        if given is not None:
            values = torch.cat((values, given), dim=1)
        capacity = values.shape[1] + noise.shape[1]
        config, bias = self.config, self.from_piece(piece)[:, None]
        cache_type = GrowingCache if torch.is_grad_enabled() else LayerCache
        caches = [
            cache_type(len(piece), config.key_value_heads, capacity, config.head_dim, values) for _ in self.blocks
        ]
        done, drawn, new = 0, [], values
        for step in range(noise.shape[1]):
            place = torch.arange(done, done + new.shape[1], device=piece.device).expand(len(piece), -1)
            x, rotation = self.from_bar(new) + bias, self.angles(_bar_time(place))
            if self.conditions is not None:
                known = None if conditions is None else {k: v[:, place[0]] for k, v in conditions.items()}
                x = x + self.conditions(known, place)
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block.decode(x, rotation, cache, done, None)  # type: ignore[operator]
            done += new.shape[1]
            new = Gaussian.of(self.to_gaussian(self.norm(x[:, -1:]))).at(noise[:, step : step + 1])
            drawn.append(new)
        return torch.cat((values[:, 1:], *drawn), dim=1)


def _bar_time(number: Tensor) -> MusicalTime:
    """Bars as steps of their own."""
    return MusicalTime(number, number.float(), number)


PRIORS = {
    Prior.autoregressive: AutoregressivePrior,
    Prior.mixture: MixturePrior,
    Prior.normal: lambda config: NormalPrior(),
}
"""What each choice builds."""
