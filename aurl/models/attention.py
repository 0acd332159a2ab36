"""Causal self-attention over packed segments and, in decoding, over a static key/value cache.

Axes: N packed tokens, B batch, T new tokens, S cached tokens, D width, H query heads, G key/value heads, K head width.

Pieces of a batch lie one after the other without padding; each is attended on its own, so nothing
crosses a border. PyTorch's fused scaled_dot_product_attention does the work, except in training on a CPU
(blocked_attention.py). On a CPU segments are attended one by one, so that nothing is computed for padding; on an
accelerator, where starting a kernel costs more than padding, those of similar length together (layout.py). Attention
to the near past and summaries of bars is local_attention.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aurl.models.blocked_attention import LONGEST, blocked_causal_attention
from aurl.models.config import ModelConfig
from aurl.models.layout import Layout
from aurl.models.positions import MusicalTime, Rotation, rotate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aurl.models.listener import Listener
    from aurl.models.single_step import SingleStepper
    from aurl.models.stepping import Stepper


LEAST_SHARING, LEAST_SHARED = 8, 4096
"""Rows that begin alike, and tokens that they have in common, counted in every row, from which one copy for all is
faster on a CPU than one for each (experiments/generation_speed).
"""
LEAST_LEFT = 4
"""Rows below which each gets a copy after all."""


class LayerCache:
    """Keys and values of one layer in preallocated tensors ``(B, G, capacity, K)``.

    What all rows began with may be kept once for all of them (:meth:`share`): a step then reads it as one matrix
    product for all rows, in place of one product for each row, and it takes the memory of one row (Juravsky et al.
    2024, arXiv:2402.05099).
    """

    def __init__(self, batch_size: int, heads: int, capacity: int, head_dim: int, like: Tensor) -> None:
        self._capacity = capacity
        self.keys = like.new_empty(batch_size, heads, capacity, head_dim)
        """Of each row's own tokens, those behind the shared ones."""
        self.values = torch.empty_like(self.keys)
        self.beginning: tuple[Tensor, Tensor] | None = None
        """Keys and values ``(1, G, P, K)`` of what all rows began with."""

    @property
    def begun(self) -> int:
        """Tokens P that all rows began with and that are kept once."""
        return 0 if self.beginning is None else self.beginning[0].shape[2]

    def append(self, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Store ``(B, G, T, K)`` at ``start`` and return everything up to there ``(B, G, S, K)``, views unless
        something is shared.
        """
        first = start - self.begun
        stop = first + keys.shape[2]
        self.keys[:, :, first:stop] = keys
        self.values[:, :, first:stop] = values
        own = self.keys[:, :, :stop], self.values[:, :, :stop]
        if self.beginning is None:
            return own
        rows = len(keys)
        whole = [
            torch.cat((part.expand(rows, -1, -1, -1), mine), 2) for part, mine in zip(self.beginning, own, strict=True)
        ]
        return whole[0], whole[1]

    def share(self, batch_size: int, length: int) -> None:
        """Go on with so many rows that all begin with the first ``length`` tokens of the only one."""
        # A copy: whoever the row comes from may write on it.
        self.beginning = self.keys[:, :, :length].clone(), self.values[:, :, :length].clone()
        _, heads, _, head_dim = self.keys.shape
        self.keys = self.keys.new_empty(batch_size, heads, self._capacity - length, head_dim)
        self.values = torch.empty_like(self.keys)

    def take(self, rows: Tensor, length: int) -> None:
        """Keep (or repeat) batch rows; only the filled part is copied. Where few are left, each gets its beginning."""
        own, parted = length - self.begun, len(rows) < LEAST_LEFT
        parts: list[Tensor] = []
        for number, old in enumerate((self.keys, self.values)):
            kept = old[:, :, :own].index_select(0, rows)
            if self.beginning is not None and parted:
                kept = torch.cat((self.beginning[number].expand(len(rows), -1, -1, -1), kept), dim=2)
            slots = self._capacity - (0 if parted else self.begun)
            new = old.new_empty(len(rows), old.shape[1], slots, old.shape[3])
            new[:, :, : kept.shape[2]] = kept
            parts.append(new)
        self.keys, self.values = parts
        if parted:
            self.beginning = None

    def clear(self) -> None:
        """Make room for all tokens in every row."""
        if self.beginning is not None:
            rows, heads, _, head_dim = self.keys.shape
            self.keys = self.keys.new_empty(rows, heads, self._capacity, head_dim)
            self.values = torch.empty_like(self.keys)
            self.beginning = None


class GrowingCache(LayerCache):
    """The same where gradients shall flow: what is stored is never written over, and rows never begin alike."""

    def append(self, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Join ``(B, G, T, K)`` to what there is and return everything ``(B, G, S, K)``."""
        if start:
            keys = torch.cat((self.keys, keys), dim=2)
            values = torch.cat((self.values, values), dim=2)
        self.keys, self.values = keys, values
        return keys, values


class Cache:
    """Static key/value cache of a whole model; every row of the batch has the same length."""

    def __init__(self, layers: list[LayerCache], capacity: int) -> None:
        self.layers = layers
        self.capacity = capacity
        self.length = 0
        self.stepper: Stepper | SingleStepper | None = None
        """The decoder's weights as single steps read them; a cache serves one state of the weights."""
        self.arrays: list[tuple[Tensor, NDArray[np.float32], NDArray[np.float32]]] | None = None
        """Keys of each layer, and arrays that share the memory of its keys and values: what single steps write to."""
        self.listener: Listener | None = None
        """What each row has heard, where the model listens; made with the first tokens."""
        self.starts: Tensor | None = None
        """First slot of each row that holds a token ``(B,)``, where rows are padded on the left; None when none is."""
        self.condition: Tensor | None = None
        """What steers each row from outside, ``(B, bars, layers, D)`` from bar 0 on; None where nothing does."""

    def added(self, bar: Tensor) -> Tensor | None:
        """What steers tokens of the given bars ``(B, T)``: ``(B, T, layers, D)``, or None."""
        if self.condition is None:
            return None
        row = torch.arange(len(bar), device=bar.device)[:, None]
        return self.condition[row, bar.clamp(max=self.condition.shape[1] - 1)]

    def begin(self, time: MusicalTime, rotation: Rotation | None) -> None:
        """Be told of new tokens ``(B, T)`` before the layers are; a cache of all tokens has nothing to prepare."""

    def visible(self, new: int) -> Tensor | None:
        """Which slots the next ``new`` tokens see, ``(1 or B, 1, new, S)`` bool; None
        where plain causal attention is meant.
        """
        stop, device = self.length + new, self.layers[0].keys.device
        if self.starts is None:
            if new == 1 or not self.length:
                return None
            return torch.ones(1, 1, new, stop, dtype=torch.bool, device=device).tril(self.length)
        slots = torch.arange(stop, device=device)
        query = slots[self.length :, None]
        # Padding sees itself, so that no row of the softmax is empty.
        seen = (slots >= self.starts[:, None, None]) & (slots <= query) | (slots == query)
        return seen.unsqueeze(1)

    def select(self, rows: Tensor) -> None:
        """Keep the given batch rows, in that order (finished samples leave the batch)."""
        self._take(rows)
        if self.listener is not None:
            self.listener.select(rows)
        if self.condition is not None:
            self.condition = self.condition.index_select(0, rows)
        if self.starts is not None:
            self.starts = self.starts.index_select(0, rows)

    def _take(self, rows: Tensor) -> None:
        """Keep rows of the layers; many that begin alike, without padding, keep their beginning once on a CPU."""
        many = len(rows) >= LEAST_SHARING and len(rows) * self.length >= LEAST_SHARED
        alike = self.starts is None and len(self.layers[0].keys) == 1 and rows.device.type == "cpu"
        for layer in self.layers:
            if many and alike and isinstance(layer, LayerCache):
                layer.share(len(rows), self.length)
            else:
                layer.take(rows, self.length)

    def expand(self, batch_size: int) -> None:
        """Repeat a single row, so that a prompt is computed once for all its samples."""
        self.select(torch.zeros(batch_size, dtype=torch.long, device=self.layers[0].keys.device))

    def clear(self) -> None:
        """Forget all tokens; the memory and what steers stay."""
        for layer in self.layers:
            layer.clear()
        self.length = 0
        self.starts = None
        self.listener = None


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention of one segment, ``(H, n, K)`` tensors, by whichever way is fastest here."""
    if query.device.type == "cpu" and query.requires_grad and query.shape[1] <= LONGEST:
        return blocked_causal_attention(query, key, value)
    return F.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True)[0]


def attend_one_by_one(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Causal attention inside packed segments, ``(N, H, K)`` queries, ``(N, G, K)`` keys and values."""
    key, value = same_heads(query, key, value)
    heads_first = (part.transpose(0, 1).split(layout.lengths, dim=1) for part in (query, key, value))  # (H, n, K) each
    outputs = [_attend(q, k, v) for q, k, v in zip(*heads_first, strict=True)]
    return torch.cat(outputs, dim=1).transpose(0, 1)


def attend_together(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """The same, a kernel call for each group of segments of similar length."""
    key, value = same_heads(query, key, value)
    outputs = []
    for q, k, v in zip(*(layout.padded.spread(part) for part in (query, key, value)), strict=True):
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (S, H, L, K)
        # Padding comes after a segment's end, so causality hides it.
        outputs.append(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2))
    return layout.padded.gather(outputs)


def same_heads(query: Tensor, *shared: Tensor) -> tuple[Tensor, ...]:
    """Keys and values ``(..., G, K)`` repeated for every query head ``(..., H, K)``."""
    group = query.shape[-2] // shared[0].shape[-2]
    return shared if group == 1 else tuple(part.repeat_interleave(group, dim=-2) for part in shared)


class CausalSelfAttention(nn.Module):
    """Multi-head attention with rotary positions and optional grouped key/value heads (Ainslie et al. 2023)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.key_value_heads, config.head_dim
        self.to_qkv = nn.Linear(config.hidden_dim, (self.heads + 2 * self.kv_heads) * self.head_dim, bias=False)
        self.to_out = nn.Linear(self.heads * self.head_dim, config.hidden_dim, bias=False)

    def project(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries ``(..., H, K)``, keys and values ``(..., G, K)`` of inputs ``(..., D)``."""
        qkv = self.to_qkv(x).unflatten(-1, (-1, self.head_dim))
        turned, value = qkv.split([self.heads + self.kv_heads, self.kv_heads], dim=-2)
        if rotation is not None:  # queries and keys turn together: one pass over both
            turned = rotate(turned, rotation)
        query, key = turned.split([self.heads, self.kv_heads], dim=-2)
        return query, key, value

    def forward(self, x: Tensor, rotation: Rotation | None, layout: Layout) -> Tensor:
        """Attend inside each packed segment.

        Args:
            x: inputs ``(N, D)``.
            rotation: rotations ``(N, 1, K/2)``, or None without rotary positions.
            layout: where the segments lie.

        Returns:
            ``(N, D)``.
        """
        attend = attend_one_by_one if x.device.type == "cpu" else attend_together
        return self.to_out(attend(*self.project(x, rotation), layout).flatten(-2))

    def decode(
        self, x: Tensor, rotation: Rotation | None, cache: LayerCache, start: int, visible: Tensor | None
    ) -> Tensor:
        """Attend from new tokens ``(B, T, D)`` to themselves and to ``start`` cached
        tokens (``visible``); stores the new ones.
        """
        query, key, value = self.project(x, rotation)
        batch, new = x.shape[:2]
        keys, values = cache.append(key.transpose(1, 2), value.transpose(1, 2), start)
        if new == 1:
            # One query sees everything: the heads of a group become rows of one small matrix, no mask needed.
            q = query.view(batch, self.kv_heads, self.heads // self.kv_heads, self.head_dim)
            out = F.scaled_dot_product_attention(q, keys, values, attn_mask=visible).reshape(batch, 1, -1)
        else:
            out = F.scaled_dot_product_attention(
                query.transpose(1, 2),
                keys,
                values,
                attn_mask=visible,
                is_causal=visible is None,
                enable_gqa=self.kv_heads != self.heads,
            )  # (B, H, T, K)
            out = out.transpose(1, 2).flatten(-2)
        return self.to_out(out)
