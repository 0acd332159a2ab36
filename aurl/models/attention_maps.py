"""Who looks at whom: the attention weights of chosen layers and heads for one piece, by token and by bar.

Weights are worked out again from what each attention layer is given, block by block, so that no matrix of all tokens
with all tokens is made unless it is asked for; by bar they fit for pieces of any length. Drawing is
aurl/evaluation/attention_picture.py.

Axes: A layers, H heads, T tokens, S shown tokens, M bars, G key/value heads, K head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from aurl.models.attention import CausalSelfAttention, same_heads
from aurl.models.decoder import Block
from aurl.models.layout import Layout
from aurl.models.local_attention import LocalSelfAttention, summarise
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime, Rotation

BLOCK = 256
"""Queries whose weights are worked out at once."""
SHOWN = 512
"""Tokens from the beginning whose weights are kept one by one unless more are asked for."""
HIDDEN = float("-inf")


@dataclass(frozen=True)
class AttentionMaps:
    """Attention weights, float32 on the CPU; those of one token over all that it sees add up to 1."""

    layers: tuple[int, ...]
    """Numbers of the layers, from 0."""
    heads: tuple[int, ...]
    """Numbers of the heads, from 0."""
    tokens: Tensor
    """``(A, H, S, S)``: how much each of the first S tokens (rows) looks at each (columns)."""
    summaries: Tensor
    """``(A, H, S, M)``: how much it looks at the summary of each bar; M is 0 with full attention."""
    bars: Tensor
    """``(A, H, M, M)``: how much the tokens of each bar (rows) look, in the mean, at each bar, summaries included."""
    bar_of: Tensor
    """Bar of each token of the piece ``(T,)``, 0 to M - 1."""


def attention_maps(
    model: MusicTransformerVAEGAN,
    ids: Tensor,
    time: MusicalTime,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    shown: int = SHOWN,
) -> AttentionMaps:
    """Attention weights of one piece.

    Args:
        model: in eval mode; dropout plays no part in weights.
        ids: tokens of the piece ``(T,)``, BOS first.
        time: their musical time, ``(T,)`` each.
        layers: numbers from 0; None takes all.
        heads: numbers from 0; None takes all.
        shown: tokens from the beginning whose weights are kept one by one; memory grows with its square.

    Raises:
        ValueError: a layer or head that the model does not have, no token, or none shown.

    Example:
        >>> maps = attention_maps(model, ids, time, layers=[0], heads=[2])  # doctest: +SKIP
        >>> maps.tokens[0, 0].sum(-1)  # with full attention all ones
    """
    config = model.config
    chosen = _chosen("layers", layers, config.layers), _chosen("heads", heads, config.heads)
    if shown < 1 or not len(ids):
        raise ValueError(f"shown={shown} of {len(ids)} tokens shows nothing; allowed: 1 or more of a piece with tokens")
    found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    handles = []
    for number in chosen[0]:
        attention = cast(Block, model.decoder.blocks[number]).attention

        def look(module: torch.nn.Module, given: tuple[Tensor, Rotation | None, Layout], number: int = number) -> None:
            found[number] = _weights(cast(CausalSelfAttention, module), *given, list(chosen[1]), shown)

        handles.append(attention.register_forward_pre_hook(look))
    try:
        with torch.no_grad():
            model(ids, time, [len(ids)])
    finally:
        for handle in handles:
            handle.remove()
    tokens, summaries, bars = (torch.stack(parts) for parts in zip(*(found[n] for n in chosen[0]), strict=True))
    return AttentionMaps(*chosen, tokens, summaries, bars, Layout([len(ids)], time.bar).bars.of_token.cpu())


def _chosen(key: str, asked: Sequence[int] | None, count: int) -> tuple[int, ...]:
    if asked is None:
        return tuple(range(count))
    wrong = [number for number in asked if not 0 <= number < count]
    if wrong or not asked:
        raise ValueError(
            f"{key}={list(asked)} names {wrong[0] if wrong else 'none'}; this model has {key} 0 to {count - 1}"
        )
    return tuple(asked)


def _weights(
    layer: CausalSelfAttention, x: Tensor, rotation: Rotation | None, layout: Layout, heads: list[int], shown: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights by token ``(H, S, S)``, of summaries ``(H, S, M or 0)`` and by bar ``(H, M, M)`` of one segment."""
    query, key, value = layer.project(x, rotation)
    count, of_token = len(layout.bars.first_token), layout.bars.of_token
    window, far_key = len(x), key[:0]
    if isinstance(layer, LocalSelfAttention):
        plain = layer.project(x, None)[1]
        window, far_key = layer.window, summarise(plain, value, layer.pool, rotation, layout).key
    key, far_key = (part[:, heads].float() for part in same_heads(query, key, far_key))
    query = query[:, heads].float() * layer.head_dim**-0.5
    belongs = torch.zeros(len(x), count, device=x.device).scatter_(1, of_token[:, None], 1.0)  # (T, M)
    shown, far = min(shown, len(x)), len(far_key)
    tokens = torch.zeros(len(heads), shown, shown)
    summaries = torch.zeros(len(heads), shown, far)
    bars = torch.zeros(len(heads), count, count, device=x.device)
    every = torch.arange(len(x), device=x.device)
    for start in range(0, len(x), BLOCK):
        part = every[start : start + BLOCK]
        stop = start + len(part)
        near = torch.einsum("qhk,shk->hqs", query[part], key[:stop])
        back = part[:, None] - every[:stop]
        near = near.masked_fill((back < 0) | (back >= window), HIDDEN)
        summed = torch.einsum("qhk,mhk->hqm", query[part], far_key)
        summed = summed.masked_fill(every[:far] >= layout.bars.complete[part, None], HIDDEN)
        weights = torch.cat((summed, near), dim=-1).softmax(-1)
        by_bar = weights[:, :, far:] @ belongs[:stop]
        by_bar[:, :, :far] += weights[:, :, :far]
        bars.index_add_(1, of_token[part], by_bar)
        if start < shown:
            kept = min(stop, shown)
            tokens[:, start:kept, :kept] = weights[:, : kept - start, far : far + kept].cpu()
            summaries[:, start:kept] = weights[:, : kept - start, :far].cpu()
    return tokens, summaries, (bars / belongs.sum(0)[:, None]).cpu()
