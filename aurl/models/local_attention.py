"""Attention for long pieces: the near past token by token, and every earlier bar by a learned summary.

Token t of bar b sees the tokens t - window + 1 to t, and of each bar before b one key and one value. A bar's summary is
a weighted mean of the keys and values of its tokens, made anew in every layer::

    w_j = softmax over the bar's tokens of (p . k_j) / sqrt(K)      p learned, one for each key/value head
    summary value = sum_j w_j v_j,   summary key = R(bar line) sum_j w_j k_j

with keys before their rotation; R turns the summary as if it were a token at the bar's beginning, so that heads can
listen to "four bars ago" exactly. A summary is visible once a later bar has begun, when no token can change it any
more: causality holds. Learned pooling over segments is as in Compressive Transformers (Rae et al. 2020), bars as the
units as in Museformer (Yu et al. 2022). Work and memory for T tokens in M bars: T x (window + M).

What is here: the layer and its ways to compute the same numbers in training. Cached decoding is local_cache.py.

Axes: N packed tokens, C chunks, L tokens of a chunk, M bars, B batch rows, T new tokens, D width, H query heads, G
key/value heads, K head width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aurl.models.attention import CausalSelfAttention, LayerCache, same_heads
from aurl.models.blocked_attention import blocked_local_attention
from aurl.models.config import ModelConfig
from aurl.models.layout import Layout
from aurl.models.local_cache import LocalLayerCache
from aurl.models.positions import Rotation, rotate


class Summaries(NamedTuple):
    """What bars are reduced to."""

    key: Tensor
    """Rotated ``(M, G, K)``."""
    value: Tensor
    """``(M, G, K)``."""
    top: Tensor
    """Largest pooling score of each bar ``(M, G)`` float32, so that decoding can go on with a bar."""
    mass: Tensor
    """Sum of ``exp(score - top)`` over the bar's tokens ``(M, G)`` float32."""


def pooling_scores(plain: Tensor, pool: Tensor) -> Tensor:
    """Scores ``(..., G)`` float32 of keys before their rotation ``(..., G, K)`` with pooling queries ``(G K,)``."""
    return (plain.float() * pool.view(plain.shape[-2:])).sum(-1) * plain.shape[-1] ** -0.5


def summarise(plain: Tensor, value: Tensor, pool: Tensor, rotation: Rotation | None, layout: Layout) -> Summaries:
    """Pool the tokens of every bar of packed segments.

    Args:
        plain: keys before their rotation ``(N, G, K)``.
        value: ``(N, G, K)``.
        pool: pooling queries of all heads ``(G K,)``.
        rotation: rotations ``(N, 1, K/2)``, or None.
        layout: where segments and bars lie.
    """
    bars = layout.bars
    scores, of_token = pooling_scores(plain, pool), bars.of_token
    count, (heads, width) = len(bars.first_token), plain.shape[-2:]
    index = of_token[:, None].expand(-1, heads)
    lowest = scores.new_full((count, heads), float("-inf"))
    top = lowest.scatter_reduce(0, index, scores.detach(), "amax")
    share = (scores - top.index_select(0, of_token)).exp()
    mass = scores.new_zeros(count, heads).index_add(0, of_token, share)
    share = (share / mass.index_select(0, of_token)).unsqueeze(-1)
    both = torch.cat((plain, value), dim=-1).float() * share
    key, mean = both.new_zeros(count, heads, 2 * width).index_add(0, of_token, both).split(width, dim=-1)
    if rotation is not None:
        key = rotate(key.contiguous(), Rotation(*(part[bars.first_token] for part in rotation)))
    return Summaries(key.to(value.dtype), mean.to(value.dtype), top, mass.detach())


class Chunks(NamedTuple):
    """Packed segments cut into chunks of equal length, and what their tokens see."""

    queries: Tensor
    """Packed token of each place ``(C, L)``; places after a segment's end repeat its last token."""
    keys: Tensor
    """Tokens that a chunk looks at ``(C, window + L)``."""
    summaries: Tensor
    """Bars that it looks at ``(C, M)``."""
    seen: Tensor
    """Which of these each place sees, summaries first ``(C, 1, L, M + window + L)`` bool."""
    restored: Tensor
    """Place of each packed token in the flattened ``(C, L)``, ``(N,)``."""


def chunk(layout: Layout, window: int) -> Chunks:
    """Cut segments into chunks of about ``window`` tokens, so that little is computed that nobody sees."""
    bars, lengths = layout.bars, layout.lengths
    device = bars.of_token.device
    size = min(window, max(lengths))
    counts = torch.tensor([-(-length // size) for length in lengths])
    lasts = torch.tensor(lengths).cumsum(0) - 1
    firsts = lasts + 1 - torch.tensor(lengths)
    segment = torch.arange(len(lengths)).repeat_interleave(counts)
    number = torch.arange(len(segment)) - (counts.cumsum(0) - counts)[segment]
    start = (firsts[segment] + number * size)[:, None].to(device)
    first, last = (ends[segment][:, None].to(device) for ends in (firsts, lasts))
    place = start + torch.arange(size, device=device)
    queries = torch.minimum(place, last)  # (C, L)
    near = start + torch.arange(-window, size, device=device)  # (C, window + L)
    back = queries[:, :, None] - near[:, None]
    seen_near = (back >= 0) & (back < window) & (near >= first)[:, None]
    bar = torch.arange(max(bars.counts), device=device)
    seen_far = (bar < bars.complete[queries][:, :, None]).expand(-1, -1, len(bar))
    summaries = (bars.of_token[first] + bar).clamp(max=len(bars.first_token) - 1)
    keys = torch.minimum(torch.maximum(near, first), last)
    restored = (place <= last).flatten().nonzero().squeeze(1)
    return Chunks(queries, keys, summaries, torch.cat((seen_far, seen_near), dim=-1).unsqueeze(1), restored)


def attend_chunks(
    query: Tensor, key: Tensor, value: Tensor, summaries: Summaries, layout: Layout, window: int
) -> Tensor:
    """Local attention of all packed segments in one fused kernel call, for accelerators.

    Args:
        query: ``(N, H, K)``.
        key: ``(N, G, K)``.
        value: ``(N, G, K)``.
        summaries: of the bars.
        layout: where segments and bars lie.
        window: tokens that are seen one by one.

    Returns:
        ``(N, H, K)``.
    """
    chunks = layout.shared(("chunks", window), lambda: chunk(layout, window))
    key, value, far_key, far_value = same_heads(query, key, value, summaries.key, summaries.value)
    keys = torch.cat((far_key[chunks.summaries], key[chunks.keys]), dim=1).transpose(1, 2)  # (C, H, M + window + L, K)
    values = torch.cat((far_value[chunks.summaries], value[chunks.keys]), dim=1).transpose(1, 2)
    out = F.scaled_dot_product_attention(query[chunks.queries].transpose(1, 2), keys, values, attn_mask=chunks.seen)
    return out.transpose(1, 2).flatten(0, 1).index_select(0, chunks.restored)


def attend_blocks(
    query: Tensor, key: Tensor, value: Tensor, summaries: Summaries, layout: Layout, window: int
) -> Tensor:
    """The same segment by segment, in blocks of queries that meet only what they see, for a CPU."""
    bars = layout.bars
    key, value, far_key, far_value = same_heads(query, key, value, summaries.key, summaries.value)
    near = [part.transpose(0, 1).split(layout.lengths, dim=1) for part in (query, key, value)]
    far = [part.transpose(0, 1).split(bars.counts, dim=1) for part in (far_key, far_value)]
    complete = bars.complete.split(layout.lengths)
    parts = zip(*near, *far, complete, strict=True)
    outputs = [blocked_local_attention(q, k, v, far_k, far_v, seen, window) for q, k, v, far_k, far_v, seen in parts]
    return torch.cat(outputs, dim=1).transpose(0, 1)


class LocalSelfAttention(CausalSelfAttention):
    """Attention to the last tokens and to summaries of earlier bars; weights as in full attention, and ``pool``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.window = config.window
        # A vector, as norms are: neither decayed nor orthogonalised. Zeros: fresh summaries are plain means.
        self.pool = nn.Parameter(torch.zeros(self.kv_heads * self.head_dim))

    def project_all(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys, values as in full attention, and keys before their rotation ``(..., G, K)``."""
        query, plain, value = self.project(x, None)
        if rotation is None:
            return query, plain, value, plain
        query, key = rotate(torch.cat((query, plain), dim=-2), rotation).split([self.heads, self.kv_heads], dim=-2)
        return query, key, value, plain

    def forward(self, x: Tensor, rotation: Rotation | None, layout: Layout) -> Tensor:
        """Attend inside each packed segment, ``(N, D)`` to ``(N, D)``."""
        query, key, value, plain = self.project_all(x, rotation)
        summaries = summarise(plain, value, self.pool, rotation, layout)
        attend = attend_blocks if x.device.type == "cpu" else attend_chunks
        return self.to_out(attend(query, key, value, summaries, layout, self.window).flatten(-2))

    def decode(
        self,
        x: Tensor,
        rotation: Rotation | None,
        cache: LayerCache | LocalLayerCache,
        start: int,
        visible: Tensor | None,
    ) -> Tensor:
        """One new token of each row, or the first tokens ``(B, T, D)`` of an empty cache; stores them."""
        assert isinstance(cache, LocalLayerCache)
        query, key, value, plain = self.project_all(x, rotation)
        if x.shape[1] == 1:
            query = query[:, 0] * self.head_dim**-0.5
            scores = pooling_scores(plain[:, 0], self.pool)
            return self.to_out(cache.step(query, key[:, 0], value[:, 0], plain[:, 0], scores)).unsqueeze(1)
        prefill = cache.shared.prefill
        assert prefill is not None and not start
        turned = None if rotation is None else Rotation(*(prefill.pack(part) for part in rotation))
        layout = prefill.layout
        summaries = summarise(prefill.pack(plain), prefill.pack(value), self.pool, turned, layout)
        cache.fill(key, value, summaries.key, summaries.value, summaries.top, summaries.mass)
        q, k, v = (prefill.pack(part) for part in (query, key, value))
        attend = attend_blocks if x.device.type == "cpu" else attend_chunks
        out = attend(q, k, v, summaries, layout, self.window)
        return self.to_out(prefill.unpack(out.flatten(-2)))
