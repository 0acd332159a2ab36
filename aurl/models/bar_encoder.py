"""The encoder: reads each bar by itself, in both directions, and sums it up in one vector.

A bar's summary depends on nothing outside the bar, so an edited bar changes its own latent only. Positions are the
decoder's: rotary in musical time. Axes as in attention.py and bars.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aurl.models.attention import CausalSelfAttention
from aurl.models.bars import Bars
from aurl.models.config import ModelConfig, Positions
from aurl.models.decoder import FeedForward
from aurl.models.dropout import dropout
from aurl.models.positions import MusicalTime, RotaryAngles, Rotation

LONGEST_PLAIN = 256
"""Bars of up to so many tokens are attended by plain matrix products on a CPU."""


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention of ``(m, H, L, K)`` tensors where ``mask`` ``(m, 1, 1, L)`` allows it, by whichever way is fastest."""
    if query.device.type != "cpu" or query.shape[2] > LONGEST_PLAIN:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    # PyTorch's fused CPU kernel is made for long sequences; the backward pass of these products is twice as fast.
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.masked_fill(~mask, float("-inf")).softmax(-1).to(value.dtype) @ value


class BarAttention(CausalSelfAttention):
    """Multi-head attention among the tokens of each bar, in both directions."""

    def attend(self, x: Tensor, rotation: Rotation, bars: Bars) -> Tensor:
        """``(N, D)`` to ``(N, D)``; nothing crosses a bar line."""
        query, key, value = self._project(x, rotation)
        together = torch.cat((query, key, value), dim=1)  # (N, H + 2G, K): gathered at once
        sizes = [self.heads, self.kv_heads, self.kv_heads]
        parts = []
        for rows, mask, filled in bars.groups:
            placed = together.index_select(0, rows.flatten()).view(*rows.shape, *together.shape[1:])
            q, k, v = placed.transpose(1, 2).split(sizes, dim=1)  # (m, heads, L, K) each
            if self.kv_heads != self.heads:
                k, v = (part.repeat_interleave(self.heads // self.kv_heads, dim=1) for part in (k, v))
            attended = _attend(q, k, v, mask[:, None, None])
            parts.append(attended.transpose(1, 2).flatten(0, 1).index_select(0, filled))
        return self.to_out(torch.cat(parts).index_select(0, bars.back).flatten(-2))


class BarBlock(nn.Module):
    """Pre-norm attention inside bars and feed-forward, as the decoder's blocks are."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_dim, bias=False)
        self.attention = BarAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_dim, bias=False)
        self.feed_forward = FeedForward(config)
        self.dropout = config.dropout

    def forward(self, x: Tensor, rotation: Rotation, bars: Bars) -> Tensor:
        """``(N, D)`` to ``(N, D)``."""
        attended = self.attention.attend(self.attention_norm(x), rotation, bars)
        x = x + dropout(attended, self.dropout, self.training)
        return x + dropout(self.feed_forward(self.feed_forward_norm(x)), self.dropout, self.training)


class Pooling(nn.Module):
    """Sum up the rows of each group by attention with one learned query for each head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, bias=False)
        self.score = nn.Linear(width, heads, bias=False)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, group: Tensor, groups: int) -> Tensor:
        """``(R, D)`` rows, their groups ``(R,)`` of ``groups``, to one row for each group ``(groups, D)``."""
        x = self.norm(x)
        score = self.score(x).float()  # (R, H)
        index = group[:, None].expand_as(score)
        highest = score.new_full((groups, self.heads), float("-inf")).scatter_reduce(0, index, score.detach(), "amax")
        weight = (score - highest[group]).exp()
        total = weight.new_zeros(groups, self.heads).index_add(0, group, weight)
        value = self.value(x).float().unflatten(-1, (self.heads, -1))  # (R, H, D/H)
        share = (weight / total[group]).unsqueeze(-1)
        return value.new_zeros(groups, *value.shape[1:]).index_add(0, group, share * value).flatten(-2)


class BarEncoder(nn.Module):
    """One vector for each bar of a packed batch.

    Args:
        config: width, heads, dropout of the decoder; ``encoder_layers`` blocks.
        vocab_size: number of tokens V.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, config.hidden_dim)
        self.angles = RotaryAngles(config.head_dim, Positions.musical)
        self.blocks = nn.ModuleList(BarBlock(config) for _ in range(config.encoder_layers))
        self.pool = Pooling(config.hidden_dim, config.heads)
        self.dropout = config.dropout

    def forward(self, ids: Tensor, time: MusicalTime, bars: Bars) -> Tensor:
        """Tokens ``(N,)`` to bars ``(M, D)`` float32."""
        rotation = self.angles(time)
        x = dropout(self.embedding(ids), self.dropout, self.training)
        for block in self.blocks:
            x = block(x, rotation, bars)
        return self.pool(x, bars.of_token, bars.count)
