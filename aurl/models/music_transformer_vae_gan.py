"""The one model. What a mode adds (encoder and latent, discriminator) is built beside the
decoder, which every mode shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aurl.models.attention import Cache
from aurl.models.conditions import Conditions
from aurl.models.config import ModelConfig
from aurl.models.decoder import Condition, Decoder, initialise
from aurl.models.discriminator import Discriminator
from aurl.models.hearing import TokenMeaning
from aurl.models.latent import Latents, LatentSpace
from aurl.models.positions import MusicalTime

CRITIC_PREFIX = "discriminator."
"""Names of the discriminator's weights begin so."""


class ModelOutput(NamedTuple):
    """What a forward pass returns."""

    logits: Tensor
    """Next-token logits ``(N, V)``."""
    latents: Latents | None = None
    """What the latents of the bars were and cost; None in a model without."""


class MusicTransformerVAEGAN(nn.Module):
    """Autoregressive model of token sequences of music, steered by a latent of each bar in modes that have one.

    Args:
        config: size and shape.
        vocab_size: number of tokens V.
        meaning: what each token id means; needed where ``config.hearing`` is on or there is a discriminator.

    Raises:
        ValueError: ``meaning`` is needed and missing.

    Example:
        >>> model = MusicTransformerVAEGAN(ModelConfig(hidden_dim=64, layers=2), vocab_size=500)
        >>> output = model(ids, time, lengths=[300, 212])  # 512 packed tokens of two pieces
        >>> output.logits.shape
        torch.Size([512, 500])
    """

    def __init__(self, config: ModelConfig, vocab_size: int, meaning: TokenMeaning | None = None) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.decoder = Decoder(config, vocab_size, meaning)
        self.latent: LatentSpace | None = None
        if config.has_latent:
            self.latent = LatentSpace(config, vocab_size)
            initialise(self.latent, config.layers)
            self.latent.begin()
        self.discriminator: Discriminator | None = None
        if config.has_discriminator:
            if meaning is None:
                raise ValueError("model=vae_gan needs the meaning of the tokens; give it or use model=vae")
            self.discriminator = Discriminator(config, meaning)

    def forward(
        self,
        ids: Tensor,
        time: MusicalTime,
        lengths: list[int],
        generator: torch.Generator | None = None,
        bar_latents: Tensor | None = None,
        conditions: Conditions | None = None,
    ) -> ModelOutput:
        """Logits for packed segments.

        Args:
            ids: tokens ``(N,)`` int64; segments lie one after the other.
            time: musical time of each token, ``(N,)`` each.
            lengths: tokens of each segment; attention is causal inside a segment and never crosses into another.
            generator: random numbers that latents are drawn with; None takes PyTorch's own.
            bar_latents: latents ``(M, Z)`` of the bars of all segments, in place of those that the encoder would draw.
            conditions: what the prior is told of the bar of each token ``(N, C)``.
        """
        if self.latent is None:
            return ModelOutput(self.decoder(ids, time, lengths))
        bars = self.latent.bars(time.bar, lengths)
        if bar_latents is not None:
            condition = Condition(self.latent.for_layers(bar_latents), bars.of_token)
            return ModelOutput(self.decoder(ids, time, lengths, condition))
        known = None if conditions is None else {name: values[bars.start] for name, values in conditions.items()}
        latents = self.latent.draw(self.latent.encode(ids, time, lengths, bars), generator, known)
        condition = Condition(self.latent.for_layers(latents.bar), bars.of_token)
        return ModelOutput(self.decoder(ids, time, lengths, condition), latents)

    def decode(self, ids: Tensor, time: MusicalTime, cache: Cache) -> Tensor:
        """Append tokens ``(B, T)`` to the cache and return the logits ``(B, V)`` after the
        last (T > 1 prefills, T = 1 steps).

        Raises:
            ValueError: the cache has no room left, or has no latents where the model needs them.
        """
        if self.latent is not None and cache.condition is None:
            raise ValueError("a model with latents decodes only with latents of bars; give them by steer")
        return self.decoder.decode(ids, time, cache)

    def new_cache(self, batch_size: int, capacity: int) -> Cache:
        """An empty static key/value cache for ``batch_size`` rows of up to ``capacity`` tokens."""
        return self.decoder.new_cache(batch_size, capacity)

    def steer(self, cache: Cache, bar_latents: Tensor) -> None:
        """Give a cache the latents of its rows' bars; later tokens follow them.

        Args:
            cache: of this model.
            bar_latents: ``(B, bars, Z)`` for bar 0 on; bars after the last take the last one's.
        """
        assert self.latent is not None
        cache.condition = self.latent.for_layers(bar_latents.to(self.latent.to_layers.weight.device))

    def written_with(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of all that music is read and written with: everything but the discriminator."""
        for name, parameter in self.named_parameters():
            if not name.startswith(CRITIC_PREFIX):
                yield name, parameter

    def without_discriminator(self) -> MusicTransformerVAEGAN:
        """This model, its discriminator taken away: for all uses but its training."""
        self.discriminator = None
        return self

    @property
    def parameter_count(self) -> int:
        """Trainable numbers without the discriminator's; tied weights count once."""
        return sum(parameter.numel() for _, parameter in self.written_with() if parameter.requires_grad)
