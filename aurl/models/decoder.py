"""The autoregressive backbone: token embedding, pre-norm blocks, output projection. Axes
as in attention.py, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aurl.models.attention import Cache, CausalSelfAttention, LayerCache
from aurl.models.config import Attention, ModelConfig, Positions
from aurl.models.counterpoint import GATE_STD, Ear
from aurl.models.dropout import dropout
from aurl.models.hearing import Hearing, TokenMeaning, listen
from aurl.models.layout import Layout
from aurl.models.listener import Listener
from aurl.models.local_attention import LocalSelfAttention
from aurl.models.local_cache import LocalCache, LocalLayerCache
from aurl.models.positions import MusicalTime, RotaryAngles, Rotation
from aurl.models.single_step import SingleStepper, suits_single_steps
from aurl.models.stepping import Stepper

INIT_STD = 0.02
"""Standard deviation of initial weights (Radford et al. 2019)."""


class Condition(NamedTuple):
    """What steers the decoder from outside: added to the input of each layer (in-attention: Wu and Yang 2021,
    arXiv:2105.04090).
    """

    table: Tensor
    """``(M, layers, D)``."""
    row: Tensor
    """Row of the table for each token ``(N,)`` int64."""

    def of_layer(self, layer: int) -> Tensor:
        """``(N, D)``."""
        return self.table[:, layer].index_select(0, self.row)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202); gate and value come from one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.to_hidden = nn.Linear(config.hidden_dim, 2 * config.feed_forward_dim, bias=False)
        self.to_out = nn.Linear(config.feed_forward_dim, config.hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., D)``."""
        gate, value = self.to_hidden(x).chunk(2, dim=-1)
        return self.to_out(F.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream.

    LayerNorm without bias takes the place of RMSNorm: PyTorch fuses it on every device,
    RMSNorm on a CPU is three times slower.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_dim, bias=False)
        local = config.attention is Attention.local
        self.attention = LocalSelfAttention(config) if local else CausalSelfAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_dim, bias=False)
        self.feed_forward = FeedForward(config)
        self.dropout = config.dropout

    def _add(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + dropout(branch, self.dropout, self.training)

    def forward(self, x: Tensor, rotation: Rotation | None, layout: Layout) -> Tensor:
        """Packed training path, ``(N, D)`` to ``(N, D)``."""
        x = self._add(x, self.attention(self.attention_norm(x), rotation, layout))
        return self._add(x, self.feed_forward(self.feed_forward_norm(x)))

    def decode(
        self, x: Tensor, rotation: Rotation | None, cache: LayerCache, start: int, visible: Tensor | None
    ) -> Tensor:
        """Cached decoding path, ``(B, T, D)`` to ``(B, T, D)``."""
        x = x + self.attention.decode(self.attention_norm(x), rotation, cache, start, visible)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Decoder(nn.Module):
    """Tokens in, next-token logits out."""

    def __init__(self, config: ModelConfig, vocab_size: int, meaning: TokenMeaning | None = None) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocab_size, config.hidden_dim)
        absolute = config.positions is Positions.absolute
        self.place = nn.Embedding(config.context, config.hidden_dim) if absolute else None
        self.angles = None if absolute else RotaryAngles(config.head_dim, config.positions)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.hidden_dim, bias=False)
        self.to_logits = nn.Linear(config.hidden_dim, vocab_size, bias=False)
        if config.tie_embeddings:
            self.to_logits.weight = self.embedding.weight
        self.ear = None
        if config.hearing:
            if meaning is None:
                raise ValueError("model.hearing=true needs the meaning of the tokens; give it or use hearing=false")
            self.ear = Ear(config, vocab_size, meaning)
        self._initialise()

    def _initialise(self) -> None:
        initialise(self, self.config.layers)
        if self.ear is not None:
            nn.init.normal_(self.ear.embedding.track.weight, std=GATE_STD)

    def _embed(
        self, ids: Tensor, time: MusicalTime, heard: Tensor | None, hidden: float = 0.0
    ) -> tuple[Tensor, Rotation | None]:
        """Vectors of tokens and where they stand; a share ``hidden`` of the tokens is known by its place alone."""
        x = self.embedding(ids)
        if hidden:
            x = x * (torch.rand(len(ids), 1, device=x.device) >= hidden).to(x.dtype)
        if heard is not None:
            x = x + heard
        if self.place is not None:
            return x + self.place(time.index), None
        assert self.angles is not None
        return x, self.angles(time)

    def forward(self, ids: Tensor, time: MusicalTime, lengths: list[int], condition: Condition | None = None) -> Tensor:
        """Logits ``(N, V)`` of packed tokens ``(N,)``."""
        return self.project(*self.states(ids, time, lengths, condition))

    def states(
        self, ids: Tensor, time: MusicalTime, lengths: list[int], condition: Condition | None = None
    ) -> tuple[Tensor, Hearing | None]:
        """Normalised hidden states ``(N, D)`` after the last block, and what is heard: all that logits follow from."""
        hearing = None if self.ear is None else listen(ids, time.beat, lengths, self.ear.meaning)
        x, rotation = self._embed(ids, time, self._hear(hearing), self.config.token_dropout if self.training else 0.0)
        x = dropout(x, self.config.dropout, self.training)
        layout = Layout(lengths, time.bar)
        recompute = self.config.gradient_checkpointing and torch.is_grad_enabled()
        for number, block in enumerate(self.blocks):
            if condition is not None:
                x = x + condition.of_layer(number)
            run: Callable[..., Tensor] = block
            x = checkpoint(run, x, rotation, layout, use_reentrant=False) if recompute else run(x, rotation, layout)
        return self.norm(x), hearing

    def _hear(self, hearing: Hearing | None) -> Tensor | None:
        return None if self.ear is None or hearing is None else self.ear.embedding(hearing)

    def project(self, hidden: Tensor, hearing: Hearing | None) -> Tensor:
        """Logits ``(R, V)`` of normalised hidden states ``(R, D)``."""
        logits = self.to_logits(hidden)
        if self.ear is None or hearing is None:
            return logits
        return self.ear.head(logits, hidden, hearing, self.ear.meaning)

    def _follow(self, ids: Tensor, beat: Tensor, cache: Cache) -> tuple[Hearing | None, Tensor | None]:
        """Let the cache's listener read new tokens ``(B, T)``: what the last of them hears, and the vectors ``(B, T,
        D)`` of what all hear.
        """
        if self.ear is None:
            return None, None
        if cache.listener is None:
            cache.listener = Listener(len(ids), self.ear.meaning)
        hearing, heard = None, []
        for column in range(ids.shape[1]):
            if cache.starts is not None:  # what stands left of a row's first token is padding
                cache.listener.forget(cache.starts == cache.length + column)
            hearing = cache.listener(ids[:, column], beat[:, column])
            heard.append(self.ear.embedding(hearing))
        return hearing, torch.stack(heard, dim=1)

    def decode(self, ids: Tensor, time: MusicalTime, cache: Cache) -> Tensor:
        """Logits ``(B, V)`` after the last of the new tokens ``(B, T)``; they join the cache.

        Raises:
            ValueError: the cache has no room left.
        """
        start, new = cache.length, ids.shape[1]
        if start + new > cache.capacity:
            raise ValueError(
                f"cache of {cache.capacity} tokens cannot take {new} more after {start}; make a larger one"
            )
        if new == 1 and not torch.is_grad_enabled():
            if cache.stepper is None or not cache.stepper.suits(len(ids)):
                single = suits_single_steps(self, len(ids))
                cache.stepper = SingleStepper(self) if single else Stepper(self, len(ids))
            logits = cache.stepper(ids, time, cache)
            cache.length = start + 1
            return logits
        if start and new > 1 and isinstance(cache, LocalCache):
            columns = (MusicalTime(*(part[:, at : at + 1] for part in time)) for at in range(new))
            steps = [self.decode(ids[:, at : at + 1], now, cache) for at, now in enumerate(columns)]
            return steps[-1]
        hearing, heard = self._follow(ids, time.beat, cache)
        x, rotation = self._embed(ids, time, heard)
        cache.begin(time, rotation)
        visible = cache.visible(new)
        added = cache.added(time.bar)
        for number, (block, layer) in enumerate(zip(self.blocks, cache.layers, strict=True)):
            if added is not None:
                x = x + added[:, :, number]
            x = cast(Block, block).decode(x, rotation, layer, start, visible)
        cache.length = start + new
        return self.project(self.norm(x[:, -1]), hearing)

    def new_cache(self, batch_size: int, capacity: int) -> Cache:
        """An empty cache for ``batch_size`` rows of up to ``capacity`` tokens."""
        config = self.config
        if config.attention is Attention.local:
            slots, like = LocalCache.slots(capacity, config.window), self.to_logits.weight
            size = batch_size, config.key_value_heads, slots, config.head_dim
            return LocalCache([LocalLayerCache(*size, like) for _ in range(config.layers)], capacity, config.window)
        layers = [
            LayerCache(batch_size, config.key_value_heads, capacity, config.head_dim, self.to_logits.weight)
            for _ in range(config.layers)
        ]
        return Cache(layers, capacity)


def initialise(module: nn.Module, layers: int) -> None:
    """Draw the weights of embeddings and matrices; those that write to the residual stream smaller the more layers
    there are, which keeps the stream's variance from growing with depth (Radford et al. 2019).
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=INIT_STD)
    for name, weight in module.named_parameters():
        if name.endswith("to_out.weight"):
            nn.init.normal_(weight, std=INIT_STD / math.sqrt(2 * layers))
