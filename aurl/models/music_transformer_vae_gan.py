"""The one model. What a mode adds (encoder and latent, discriminator) is built beside the
decoder, which every mode shares.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from aurl.models.attention import Cache
from aurl.models.config import ModelConfig
from aurl.models.decoder import Decoder
from aurl.models.hearing import TokenMeaning
from aurl.models.positions import MusicalTime


class ModelOutput(NamedTuple):
    """What a forward pass returns."""

    logits: Tensor
    """Next-token logits ``(N, V)``."""


class MusicTransformerVAEGAN(nn.Module):
    """Autoregressive model of token sequences of music.

    Args:
        config: size and shape.
        vocab_size: number of tokens V.
        meaning: what each token id means; needed where ``config.hearing`` is on.

    Raises:
        ValueError: ``config.hearing`` without ``meaning``.

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

    def forward(self, ids: Tensor, time: MusicalTime, lengths: list[int]) -> ModelOutput:
        """Logits for packed segments.

        Args:
            ids: tokens ``(N,)`` int64; segments lie one after the other.
            time: musical time of each token, ``(N,)`` each.
            lengths: tokens of each segment; attention is causal inside a segment and never crosses into another.
        """
        return ModelOutput(self.decoder(ids, time, lengths))

    def decode(self, ids: Tensor, time: MusicalTime, cache: Cache) -> Tensor:
        """Append tokens ``(B, T)`` to the cache and return the logits ``(B, V)`` after the
        last (T > 1 prefills, T = 1 steps).

        Raises:
            ValueError: the cache has no room left.
        """
        return self.decoder.decode(ids, time, cache)

    def new_cache(self, batch_size: int, capacity: int) -> Cache:
        """An empty static key/value cache for ``batch_size`` rows of up to ``capacity`` tokens."""
        return self.decoder.new_cache(batch_size, capacity)

    @property
    def parameter_count(self) -> int:
        """Trainable numbers; tied weights count once."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
