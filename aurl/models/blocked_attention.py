"""Causal attention in blocks of queries, for a CPU: over all of the past, or over the near past and summaries of bars.

PyTorch's fused CPU kernel computes blocks that causality throws away and leaves bf16 units idle. Here each block of
queries meets only the keys that it may see, in plain matrix products: the same mathematics (Vaswani et al. 2017,
eq. 1), faster in fp32 and about twice as fast in bf16 (experiments/training_speed). Probabilities of the blocks are
kept for the backward pass: of full attention half a T x T matrix a head (the fused kernel takes over where that would
be too much), of local attention T x (window + block + bars).

Axes: H heads, T tokens, S keys seen by a block, M summaries, K head width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

BLOCK = 128
"""Queries in a block: large enough for efficient products, small enough that a block's
scores stay in the processor's cache.
"""
LONGEST = 4096
"""Full attention of segments above this length uses the fused kernel, whose memory grows only linearly."""
HIDDEN = float("-inf")


class _Block(NamedTuple):
    """A block of queries ``start`` to ``stop`` and what it sees."""

    start: int
    stop: int
    first: int
    """First token whose key is looked at."""
    summaries: int
    """Summaries that its last query sees."""

    @property
    def queries(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def near(self) -> slice:
        return slice(self.first, self.stop)


def _blocks(tokens: int, window: int, complete: Tensor | None) -> list[_Block]:
    starts = range(0, tokens, BLOCK)
    stops = [min(start + BLOCK, tokens) for start in starts]
    seen = [0] * len(stops) if complete is None else complete[[stop - 1 for stop in stops]].tolist()
    return [_Block(*each) for each in zip(starts, stops, (max(0, s + 1 - window) for s in starts), seen, strict=True)]


def _dense(x: Tensor) -> Tensor:
    """The same without gaps in memory, where products need it.

    bf16 products copy what has gaps in any case, and transposed keys value by value; fp32 products read it as it lies.
    """
    return x if x.dtype == torch.float32 else x.contiguous()


def _cut(x: Tensor, rows: slice) -> Tensor:
    """Rows of ``(H, T, K)`` as products take them."""
    return _dense(x[:, rows])


def _hide(scores: Tensor, block: _Block, future: Tensor, window: int, complete: Tensor | None) -> None:
    """Minus infinity where a query ``(H, block, summaries + near)`` may not look; in place."""
    size, far = block.stop - block.start, block.summaries
    scores[:, :, far + block.start - block.first :] += future[:size, :size]
    # Query i sees tokens from i + 1 - window on: behind the first near token only from the second query on.
    begun = block.start + 1 - window
    gone = size - 1 if begun >= 0 else size - 1 + begun
    if gone > 0:
        rows = torch.arange(size, device=scores.device)[:, None] + min(begun, 0)
        scores[:, :, far : far + gone].masked_fill_(torch.arange(gone, device=scores.device) < rows, HIDDEN)
    if far:
        assert complete is not None
        unborn = torch.arange(far, device=scores.device) >= complete[block.queries, None]
        scores[:, :, :far].masked_fill_(unborn, HIDDEN)


class _BlockedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        summary_key: Tensor | None,
        summary_value: Tensor | None,
        complete: Tensor | None,
        window: int,
        keep: bool,
    ) -> Tensor:
        # Heads come first in memory too, so that a block's rows of a head lie together.
        query, key, value = _dense(query * query.shape[2] ** -0.5), _dense(key), _dense(value)
        summary_keys = None if summary_key is None else summary_key.transpose(1, 2)
        future = query.new_full((BLOCK, BLOCK), HIDDEN).triu_(1)
        out = torch.empty_like(query)
        kept = []
        for block in (blocks := _blocks(query.shape[1], window, complete)):
            part = _cut(query, block.queries)
            scores = part @ _cut(key, block.near).transpose(1, 2)  # (H, block, S)
            if summary_keys is not None and block.summaries:
                scores = torch.cat((part @ summary_keys[:, :, : block.summaries], scores), dim=-1)
            _hide(scores, block, future, window, complete)
            probabilities = scores.softmax(-1)
            far = block.summaries
            torch.matmul(_dense(probabilities[:, :, far:]), _cut(value, block.near), out=out[:, block.queries])
            if summary_value is not None and far:
                out[:, block.queries] += probabilities[:, :, :far] @ summary_value[:, :far]
            if keep:
                kept.append(probabilities)
        ctx.save_for_backward(query, key, value, summary_key, summary_value, out, *kept)
        ctx.blocks = blocks
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, summary_key, summary_value, out, *kept = ctx.saved_tensors
        grad = _dense(grads[0])
        query_grad = torch.empty_like(query)
        near_grads = _Sums(key, value)
        far_grads = None if summary_key is None else _Sums(summary_key, summary_value)
        row_sum = (grad * out).sum(-1, keepdim=True)  # the softmax's backward needs sum_j P_ij dP_ij = dO_i . O_i
        for probabilities, block in zip(kept, ctx.blocks, strict=True):
            far, part, block_grad = block.summaries, _cut(query, block.queries), _cut(grad, block.queries)
            score_grad = block_grad @ _cut(value, block.near).transpose(1, 2)
            if far:
                score_grad = torch.cat((block_grad @ summary_value[:, :far].transpose(1, 2), score_grad), dim=-1)
            score_grad -= row_sum[:, block.queries]
            score_grad *= probabilities
            near_grad = _dense(score_grad[:, :, far:])
            torch.matmul(near_grad, _cut(key, block.near), out=query_grad[:, block.queries])
            near_grads.add(block.near, near_grad, part, _dense(probabilities[:, :, far:]), block_grad)
            if far_grads is not None and far:
                query_grad[:, block.queries] += score_grad[:, :, :far] @ summary_key[:, :far]
                far_grads.add(slice(far), score_grad[:, :, :far], part, probabilities[:, :, :far], block_grad)
        far = (None, None) if far_grads is None else far_grads.of(summary_key)
        return query_grad.mul_(query.shape[2] ** -0.5), *near_grads.of(key), *far, None, None, None


class _Sums:
    """Gradients of keys and values ``(H, S, K)``, summed over blocks.

    Sums are kept in fp32: many small bf16 additions would lose the small ones.
    """

    def __init__(self, key: Tensor, value: Tensor) -> None:
        self.key = torch.zeros_like(key, dtype=torch.float32)
        self.value = torch.zeros_like(value, dtype=torch.float32)

    def add(self, seen: slice, score_grad: Tensor, query: Tensor, probabilities: Tensor, grad: Tensor) -> None:
        """What a block of queries ``(H, block, K)`` adds to the keys and values that it has seen."""
        self.value[:, seen] += probabilities.transpose(1, 2) @ grad
        self.key[:, seen] += score_grad.transpose(1, 2) @ query

    def of(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Both, in the precision of the keys."""
        return self.key.to(like.dtype), self.value.to(like.dtype)


def blocked_causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal softmax attention of ``(H, T, K)`` tensors; differentiable once."""
    keep = torch.is_grad_enabled()
    return _BlockedAttention.apply(query, key, value, None, None, None, query.shape[1], keep)


def blocked_local_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    summary_key: Tensor,
    summary_value: Tensor,
    complete: Tensor,
    window: int,
) -> Tensor:
    """Softmax attention of each token over the last ``window`` tokens, itself included, and the first ``complete``
    summaries; differentiable once.

    Args:
        query, key, value: ``(H, T, K)``.
        summary_key, summary_value: ``(H, M, K)``.
        complete: summaries that each token sees ``(T,)`` int64, never falling.
        window: tokens.

    Returns:
        ``(H, T, K)``.
    """
    keep = torch.is_grad_enabled()
    return _BlockedAttention.apply(query, key, value, summary_key, summary_value, complete, window, keep)
