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
from aurl.models.layout import Layout, Padded, similar
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
    """Packed segments cut into chunks; each chunk looks at itself and at the one before it."""

    padded: Padded
    """The chunks: those of segments longer than the window in the first group, shorter segments whole after it."""
    summaries: list[Tensor]
    """Bars that the chunks of each group look at ``(S, M)``."""
    seen: list[Tensor]
    """What each place sees of them and of its tokens ``(S, 1, L, M + tokens)`` bool."""
    has_before: list[bool]
    """Whether the tokens are those of the chunk before, too."""


def chunk(layout: Layout, window: int) -> Chunks:
    """Cut segments into chunks of ``window`` tokens, so that little is computed that nobody sees."""
    long = [run for run in layout.segments if run[1] > window]
    cut = [(start + at, min(window, length - at), start) for start, length in long for at in range(0, length, window)]
    groups = [
        [(start, start, length) for start, length in group]
        for group in similar([run for run in layout.segments if run[1] <= window])
    ]
    if cut:
        groups.insert(0, [(origin, start, length) for start, length, origin in cut])
    padded = Padded([[(start, length) for _, start, length in group] for group in groups], layout.device)
    has_before = [bool(cut) and number == 0 for number in range(len(groups))]
    summaries, seen = [], []
    tokens = padded.tokens.split([rows * longest for rows, longest in padded.shapes])
    for group, shape, places, before in zip(groups, padded.shapes, tokens, has_before, strict=True):
        origin = torch.tensor([first for first, _, _ in group], device=layout.device)
        begins = torch.tensor([first == start for first, start, _ in group], device=layout.device)
        bars, far = _seen_bars(layout, origin, places.view(shape))
        near = _seen_tokens(begins, shape[1], window if before else 0)
        summaries.append(bars)
        seen.append(torch.cat((far, near.expand(shape[0], -1, -1)), dim=-1).unsqueeze(1))
    return Chunks(padded, summaries, seen, has_before)


def _seen_bars(layout: Layout, origin: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Bars of the segments that begin at ``origin`` ``(S,)``, as many as any of ``tokens`` ``(S, L)`` sees ``(S, M)``;
    and whether each token sees them ``(S, L, M)``.
    """
    complete = layout.bars.complete[tokens]
    number = torch.arange(int(complete.max()), device=tokens.device)
    bars = (layout.bars.of_token[origin, None] + number).clamp(max=len(layout.bars.first_token) - 1)
    return bars, number < complete.unsqueeze(-1)


def _seen_tokens(begins: Tensor, length: int, window: int) -> Tensor:
    """Which places of the chunk before (``window`` of them) and of its own each place sees ``(S or 1, L, S)``.

    Args:
        begins: chunks ``(S,)`` with none before them.
        length: places of a chunk.
        window: tokens that are seen one by one; 0 where chunks are whole segments that need no chunk before.
    """
    place = torch.arange(length, device=begins.device)[:, None]
    other = torch.arange(-window, length, device=begins.device)
    causal = (other <= place) & ((other > place - window) if window else True)
    return (causal & ((other >= 0) | ~begins[:, None, None])) if window else causal[None]


def attend_chunks(
    query: Tensor, key: Tensor, value: Tensor, summaries: Summaries, layout: Layout, window: int
) -> Tensor:
    """Local attention of all packed segments in a few fused kernel calls, for accelerators.

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
    spread = (chunks.padded.spread(part) for part in (query, key, value))
    outputs = []
    for q, k, v, bars, seen, before in zip(*spread, chunks.summaries, chunks.seen, chunks.has_before, strict=True):
        keys, values = (
            torch.cat((far.index_select(0, bars.flatten()).unflatten(0, bars.shape), _with_before(near, before)), dim=1)
            for far, near in ((far_key, k), (far_value, v))
        )  # (S, M + tokens, H, K)
        q, keys, values = (part.transpose(1, 2) for part in (q, keys, values))
        outputs.append(F.scaled_dot_product_attention(q, keys, values, attn_mask=seen).transpose(1, 2))
    return chunks.padded.gather(outputs)


def _with_before(part: Tensor, before: bool) -> Tensor:
    """Chunks ``(S, L, H, K)``, each after the one before it ``(S, 2 L, H, K)``; the first after the last, unseen."""
    return torch.cat((part.roll(1, 0), part), dim=1) if before else part


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
