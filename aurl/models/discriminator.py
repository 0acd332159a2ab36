"""The discriminator: is this what the corpus is like, or what the model makes up?

Two critics in one. One looks at latents of bars, one by one and four in a row: those that the encoder finds in real
music against those that the prior draws. The other looks at music, at the scales of the token, the bar and four bars:
the decoder's states over it, its tokens, and what a listener counts in its bars (musical_features.py). Each matrix can
be divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957), so that scores cannot become steep.
Windows over tokens and bars are laid out as rows of one matrix rather than convolved, so that the singular value is
that of the matrix that is applied.

Axes: R windows of L tokens, N = R L tokens, M bars, C width, V vocabulary, D width of the decoder, Z latent.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from aurl.models.config import ModelConfig, Sees
from aurl.models.hearing import TokenMeaning
from aurl.models.musical_features import MusicalFeatures, WindowBars

SLOPE = 0.2
"""Of leaky rectifiers below 0, usual in discriminators (Radford et al. 2016)."""
TOKEN_REACH = 5
"""Tokens that a layer sees at once: a note and the token after it."""
BARS_TOGETHER = 4
"""Bars of the widest scale."""


class Evidence(NamedTuple):
    """Windows of music to judge, of equal length, end to end."""

    tokens: Tensor
    """One-hot, real ones and written ones alike; gradients pass through the written ``(N, V)``."""
    ids: Tensor
    """The same as numbers ``(N,)``."""
    states: Tensor
    """Of the decoder after reading each token ``(N, D)``."""
    bars: WindowBars
    windows: int
    """Number of windows R."""

    @property
    def rows(self) -> Tensor:
        """Window of each token ``(N,)``."""
        return torch.arange(len(self.ids), device=self.ids.device) // (len(self.ids) // self.windows)


class Judgement(NamedTuple):
    """What the discriminator says."""

    scores: dict[str, Tensor]
    """For each scale, higher where it takes something for real: ``token`` ``(N,)``, ``bar`` and ``four_bars`` ``(M,)``,
    ``latent`` and ``four_latents``, one for each bar."""
    layers: list[Tensor]
    """Hidden features ``(rows, C)`` that feature matching compares."""
    owners: dict[str, Tensor] = {}  # noqa: RUF012  # nobody writes to it
    """For each scale which window, or piece, each score is of."""


class Discriminator(nn.Module):
    """Judges latents of bars and windows of music.

    Args:
        config: a config with a discriminator.
        meaning: what each token id means.

    Example:
        >>> critic = Discriminator(ModelConfig(mode=Mode.vae_gan, latent_dim=8), meaning)
        >>> critic.judge_latents(torch.zeros(6, 8), torch.tensor([0, 0, 0, 0, 1, 1])).scores["latent"].shape
        torch.Size([6])
    """

    def __init__(self, config: ModelConfig, meaning: TokenMeaning) -> None:
        super().__init__()
        width, vocab_size = config.critic_dim, len(meaning.pitch)
        normalised = config.spectral_norm
        self.features = MusicalFeatures(meaning)
        self.from_token = _linear(vocab_size, width, normalised)
        self.from_state = _linear(config.hidden_dim, width, normalised)
        self.from_music = _linear(self.features.width, width, normalised)
        self.token_layers = nn.ModuleList(
            _linear(TOKEN_REACH * width, width, normalised) for _ in range(config.critic_layers)
        )
        self.token_score = _linear(width, 1, normalised)
        self.bar_layer = _linear(width, width, normalised)
        self.wide = _Wide(width, normalised)
        self.from_latent = _linear(config.latent_dim, width, normalised)
        self.latent_layer = _linear(width, width, normalised)
        self.wide_latent = _Wide(width, normalised)
        self.act = nn.LeakyReLU(SLOPE)

    def judge_latents(self, latents: Tensor, piece: Tensor) -> Judgement:
        """Judge latents of bars.

        Args:
            latents: ``(M, Z)``.
            piece: which piece each is of ``(M,)``, rising.
        """
        x = self.act(self.from_latent(latents))
        x = self.act(self.latent_layer(x))
        wide, wide_score = self.wide_latent(x, piece)
        scores = {"latent": self.wide_latent.score(x), "four_latents": wide_score}
        return Judgement(scores, [x, wide], dict.fromkeys(scores, piece))

    def judge_music(self, evidence: Evidence, sees: Collection[Sees]) -> Judgement:
        """Judge windows of music.

        Args:
            evidence: the windows.
            sees: which of states, tokens and music are looked at; at least one.
        """
        parts = []
        if Sees.states in sees:
            parts.append(self.from_state(evidence.states))
        if Sees.tokens in sees:
            parts.append(self.from_token(evidence.tokens))
        scores, layers = {}, []
        bars, size = evidence.bars, evidence.bars.count
        bar = evidence.ids.new_zeros(size, self.from_state.out_features, dtype=evidence.tokens.dtype)
        if parts:
            x = self.act(torch.stack(parts).sum(0)).unflatten(0, (evidence.windows, -1))  # (R, L, C)
            for layer in self.token_layers:
                x = self.act(layer(_neighbours(x)))
            token = x.flatten(0, 1)
            scores["token"] = self.token_score(token).squeeze(-1)
            layers.append(token)
            counts = torch.bincount(bars.of_token, minlength=size).clamp(min=1)
            bar = bar.index_add(0, bars.of_token, token) / counts[:, None]
        if Sees.music in sees:
            bar = bar + self.from_music(self.features(evidence.tokens, evidence.ids, bars, evidence.rows))
        bar = self.act(self.bar_layer(self.act(bar)))
        wide, scores["four_bars"] = self.wide(bar, bars.window)
        scores["bar"] = self.wide.score(bar)
        owners = {name: evidence.rows if name == "token" else bars.window for name in scores}
        return Judgement(scores, [*layers, bar, wide], owners)


class _Wide(nn.Module):
    """Scores of single bars and of four bars in a row."""

    def __init__(self, width: int, normalised: bool) -> None:
        super().__init__()
        self.layer = _linear(BARS_TOGETHER * width, width, normalised)
        self.to_score = _linear(width, 1, normalised)
        self.to_bar_score = _linear(width, 1, normalised)
        self.act = nn.LeakyReLU(SLOPE)

    def score(self, bar: Tensor) -> Tensor:
        """``(M, C)`` to ``(M,)``."""
        return self.to_bar_score(bar).squeeze(-1)

    def forward(self, bar: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(M, C)`` and scores ``(M,)`` of each bar with the three after it; the last bars of an owner, a
        piece or a window ``(M,)``, repeat its last.
        """
        size = len(bar)
        number = torch.arange(size, device=bar.device)
        last = torch.zeros_like(number).scatter_reduce(0, owner, number, "amax", include_self=False)[owner]
        together = [bar[torch.minimum(number + step, last)] for step in range(BARS_TOGETHER)]
        x = self.act(self.layer(torch.cat(together, dim=-1)))
        return x, self.to_score(x).squeeze(-1)


def _linear(width: int, out: int, normalised: bool) -> nn.Linear:
    layer = nn.Linear(width, out)
    nn.init.orthogonal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return cast(nn.Linear, spectral_norm(layer)) if normalised else layer


def _neighbours(x: Tensor) -> Tensor:
    """``(R, L, C)`` to the ``TOKEN_REACH`` tokens around each ``(R, L, TOKEN_REACH C)``, zeros beyond the ends."""
    reach = TOKEN_REACH // 2
    padded = nn.functional.pad(x, (0, 0, reach, reach))
    return padded.unfold(1, TOKEN_REACH, 1).flatten(2)
