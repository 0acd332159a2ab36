"""Causal attention in blocks of queries, for training on a CPU.

PyTorch's fused CPU kernel computes blocks that causality throws away and leaves bf16 units idle. Here each block of
queries meets only the keys before its end, in plain matrix products: the same mathematics (Vaswani et al. 2017, eq. 1),
faster in fp32 and about twice as fast in bf16 (experiments/training_speed). Probabilities of the blocks are kept for
the backward pass, half a T x T matrix a head; the fused kernel takes over where that would be too much.

Axes: H heads, T tokens, S keys seen by a block, K head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 128
"""Queries in a block: large enough for efficient products, small enough that a block's
scores stay in the processor's cache.
"""
LONGEST = 4096
"""Segments above this length use the fused kernel, whose memory grows only linearly."""


class _BlockedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        tokens, scale = query.shape[1], query.shape[2] ** -0.5
        query = query * scale
        keys = key.transpose(1, 2)
        future = query.new_full((BLOCK, BLOCK), float("-inf")).triu_(1)
        out = torch.empty_like(query)
        kept = []
        for start in range(0, tokens, BLOCK):
            stop = min(start + BLOCK, tokens)
            scores = query[:, start:stop] @ keys[:, :, :stop]  # (H, block, S)
            scores[:, :, start:] += future[: stop - start, : stop - start]
            probabilities = scores.softmax(-1)
            torch.matmul(probabilities, value[:, :stop], out=out[:, start:stop])
            kept.append(probabilities)
        ctx.save_for_backward(query, key, value, out, *kept)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, out, *kept = ctx.saved_tensors
        grad = grads[0]
        query_grad = torch.empty_like(query)
        # Sums over blocks are kept in fp32: many small bf16 additions would lose the small ones.
        key_grad = torch.zeros_like(key, dtype=torch.float32)
        value_grad = torch.zeros_like(value, dtype=torch.float32)
        values = value.transpose(1, 2)
        row_sum = (grad * out).sum(-1, keepdim=True)  # the softmax's backward needs sum_j P_ij dP_ij = dO_i . O_i
        for probabilities, start in zip(kept, range(0, query.shape[1], BLOCK), strict=True):
            stop = start + probabilities.shape[1]
            block_grad = grad[:, start:stop]
            value_grad[:, :stop] += probabilities.transpose(1, 2) @ block_grad
            score_grad = block_grad @ values[:, :, :stop]
            score_grad -= row_sum[:, start:stop]
            score_grad *= probabilities
            torch.matmul(score_grad, key[:, :stop], out=query_grad[:, start:stop])
            key_grad[:, :stop] += score_grad.transpose(1, 2) @ query[:, start:stop]
        return query_grad.mul_(ctx.scale), key_grad.to(key.dtype), value_grad.to(value.dtype)


def blocked_causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal softmax attention of ``(H, T, K)`` tensors; differentiable once."""
    return _BlockedAttention.apply(query, key, value)
