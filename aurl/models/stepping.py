"""One decoding step for every row of a batch, lean: the same numbers as ``Block.decode``, fewer operations.

Axes as in attention.py. A step of a small model costs less arithmetic than bookkeeping, so weights are put once into
the form in which this machine reads them fastest, rotation is one multiply and one multiply-add over queries, keys and
values together (values turn by nothing), and everything stays two-dimensional. Weights are copied: a :class:`Stepper`
serves until they change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aurl.models.config import Attention
from aurl.models.lean_ear import LeanEar, suits
from aurl.models.listener import Listener
from aurl.models.local_attention import LocalSelfAttention, pooling_scores
from aurl.models.local_cache import LocalCache, LocalLayerCache
from aurl.models.positions import MusicalTime, RotaryAngles
from aurl.models.single_step import suits_single_steps

if TYPE_CHECKING:
    from aurl.models.attention import Cache, LayerCache
    from aurl.models.counterpoint import Ear
    from aurl.models.decoder import Block, Decoder

PACKED_ROWS = 4
"""Rows from which oneDNN's packed matrices beat MKL's (at 64 rows twice, on a CPU that is not Intel's)."""

SUM_MODE = 0
"""Embedding bags add up their rows."""

Linear = Callable[[Tensor], Tensor]
"""Inputs ``(B, in)`` to outputs ``(B, out)``."""
AddedLinear = Callable[[Tensor, Tensor], Tensor]
"""Residual stream ``(B, out)`` and inputs ``(B, in)`` to their sum after the linear map ``(B, out)``."""


def _has_bag_kernel(weight: Tensor) -> bool:
    """Whether embedding bags of such a tensor run in the vectorised kernel that fetches memory ahead."""
    is_plain = weight.device.type == "cpu" and weight.dtype == torch.float32
    return is_plain and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def _sum_rows(table: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums ``(bags, D)`` of rows of ``table`` ``(rows, D)``: what embedding bags are.

    A matrix-vector product is such a sum too. Where matrices do not fit into the processor's caches, this kernel reads
    memory up to twice as fast as a matrix product, because it fetches rows ahead.
    """
    return torch.embedding_bag(table, indices, starts, False, SUM_MODE, False, weights.view(-1))[0]


class _BagLinear:
    """``x @ weight.T`` for fewer than :data:`PACKED_ROWS` rows as weighted sums of columns of the weight."""

    def __init__(self, weight: Tensor) -> None:
        self._table = weight.t().contiguous()
        width = len(self._table)
        counts = range(1, PACKED_ROWS)
        self._indices = [torch.arange(width, dtype=torch.int32).repeat(count) for count in counts]
        self._starts = [torch.arange(count, dtype=torch.int32) * width for count in counts]

    def __call__(self, x: Tensor) -> Tensor:
        count = x.shape[0] - 1
        return _sum_rows(self._table, self._indices[count], self._starts[count], x)


def _is_packed(rows: int) -> bool:
    has_operator = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return rows >= PACKED_ROWS and torch.backends.mkldnn.is_available() and has_operator


def fast_linear(weight: Tensor, rows: int) -> tuple[Linear, AddedLinear]:
    """``x @ weight.T``, alone and added to a residual, for inputs of about ``rows`` rows.

    Args:
        weight: ``(out, in)``; float32 on a CPU is copied into another layout, anything else is used as it is.
        rows: number of rows B that it is meant for; on the other side of :data:`PACKED_ROWS` another one is needed.
    """
    weight = weight.detach()
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return (lambda x: F.linear(x, weight)), (lambda residual, x: residual + F.linear(x, weight))
    if _is_packed(rows):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        linear = torch.ops.mkldnn._linear_pointwise
        return (
            lambda x: linear(x, packed, None, "none", [], ""),
            lambda residual, x: residual + linear(x, packed, None, "none", [], ""),
        )
    if rows < PACKED_ROWS and _has_bag_kernel(weight):
        bag = _BagLinear(weight)
        return bag, (lambda residual, x: residual + bag(x))
    turned = weight.t().contiguous()  # a single row runs through this twice as fast as through (out, in)
    return (lambda x: torch.mm(x, turned)), (lambda residual, x: torch.addmm(residual, x, turned))


class _Listened(NamedTuple):
    """What a step has heard."""

    vectors: Tensor
    """Added to the embeddings ``(B, D)``."""
    judge: AddedLinear
    """Logits ``(B, V)`` and hidden states ``(B, D)`` to the logits with the counterpoint head's share."""


class Stepper:
    """The decoder, prepared for single steps of a certain number of rows.

    Args:
        decoder: in eval mode.
        rows: batch rows B.
    """

    def __init__(self, decoder: Decoder, rows: int) -> None:
        self._decoder, self._is_many = decoder, rows >= PACKED_ROWS
        self._layers = [_Layer(cast("Block", block), rows) for block in decoder.blocks]
        self._norm = _Norm(decoder.norm)
        self._to_logits, _ = fast_linear(decoder.to_logits.weight, rows)
        weight, config = decoder.to_logits.weight, decoder.config
        self._ear = LeanEar(decoder.ear) if decoder.ear is not None and suits(decoder.ear) else None
        plain = config.key_value_heads == config.heads and config.attention is Attention.full
        self._uses_bags = self._is_many and _has_bag_kernel(weight) and plain
        self._slots: Tensor | None = None
        turned = config.heads + config.key_value_heads
        self._turns = None if decoder.angles is None else _Turns(decoder.angles, turned, config.key_value_heads)

    def suits(self, rows: int) -> bool:
        """Whether its matrices are laid out for so many rows, and nothing steps faster."""
        return self._is_many == (rows >= PACKED_ROWS) and not suits_single_steps(self._decoder, rows)

    def __call__(self, ids: Tensor, time: MusicalTime, cache: Cache) -> Tensor:
        """Logits ``(B, V)`` after one more token of each row, ``(B, 1)`` each; it joins the cache."""
        decoder = self._decoder
        x = decoder.embedding.weight.index_select(0, ids.view(-1))
        if decoder.ear is not None:
            listened = self._listen(decoder.ear, ids, time.beat, cache)
            x += listened.vectors
        if decoder.place is not None:
            x += decoder.place.weight.index_select(0, time.index.view(-1))
        turns = None if self._turns is None else self._turns(time)
        if isinstance(cache, LocalCache):
            cache.begin(time, None if decoder.angles is None else decoder.angles(time))
        visible = cache.visible(1)
        bags = self._value_bags(x.shape[0], cache) if self._uses_bags else None
        added = cache.added(time.bar)
        for number, (layer, slots) in enumerate(zip(self._layers, cache.layers, strict=True)):
            if added is not None:
                x = x + added[:, 0, number]
            x = layer.step(x, turns, slots, cache.length, visible, bags)
        hidden = self._norm(x)
        logits = self._to_logits(hidden)
        return logits if decoder.ear is None else listened.judge(logits, hidden)

    def _listen(self, ear: Ear, ids: Tensor, beat: Tensor, cache: Cache) -> _Listened:
        """Let the cache's listener read the new tokens."""
        if cache.listener is None:
            cache.listener = Listener(len(ids), ear.meaning)
        if self._ear is None:
            hearing = cache.listener(ids[:, 0], beat[:, 0])
            return _Listened(
                ear.embedding(hearing), lambda logits, hidden: ear.head(logits, hidden, hearing, ear.meaning)
            )
        lean = self._ear
        moment = cache.listener.read(ids[:, 0], beat[:, 0])

        def judge(logits: Tensor, hidden: Tensor) -> Tensor:
            lean.judge(logits, hidden, moment)
            return logits

        return _Listened(lean.embed(moment), judge)

    def _value_bags(self, batch: int, cache: Cache) -> tuple[Tensor, Tensor]:
        """Which values of a row's own each head sums up: indices of all filled slots, and where those of each head
        begin.
        """
        rows, own = batch * self._decoder.config.heads, cache.layers[0]
        stop, capacity = cache.length + 1 - own.begun, own.keys.shape[2]
        if self._slots is None or self._slots.shape != (rows, capacity):
            self._slots = torch.arange(rows * capacity, dtype=torch.int32).view(rows, capacity)
        return self._slots[:, :stop].reshape(-1), torch.arange(0, rows * stop, stop, dtype=torch.int32)


class _Turns:
    """Rotation of one token in the form of factors of a head's halves, and of its halves exchanged."""

    def __init__(self, angles: RotaryAngles, turned: int, kept: int) -> None:
        parts = (angles.index_rate, angles.beat_rate, angles.bar_rate)
        rates = torch.block_diag(*(part[None] for part in parts))  # (3, K/2)
        head = torch.cat((-rates, rates), dim=-1)  # halves: first * cos - second * sin, second * cos + first * sin
        self._rates = torch.cat((head.repeat(1, turned), torch.zeros_like(head).repeat(1, kept)), dim=-1)
        self._shape = (-1, turned + kept, 2, rates.shape[1])

    def __call__(self, time: MusicalTime) -> tuple[Tensor, Tensor]:
        """Factors ``(B, H + 2G, 2, K/2)``; values turn by nothing."""
        parts = torch.cat((time.index, time.beat, time.bar), dim=1).unsqueeze(-1)  # (B, 3, 1)
        turns = (parts * self._rates).sum(1)  # (B, (H + 2G) K); not a matrix product, which may round to fewer digits
        angle = turns.frac_().mul_(2 * math.pi)  # the whole part of a turn changes nothing, but costs precision
        return angle.cos().view(self._shape), angle.sin().view(self._shape)


class _Norm:
    """A layer norm without a module's look-up of its weights, which costs as much as a row's arithmetic."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self._settings = norm.normalized_shape, norm.weight, norm.bias, norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, *self._settings)


class _Layer:
    """One block."""

    def __init__(self, block: Block, rows: int) -> None:
        attention, forward = block.attention, block.feed_forward
        self.heads, self.kv_heads, self.head_dim = attention.heads, attention.kv_heads, attention.head_dim
        self._attention_norm, self._forward_norm = _Norm(block.attention_norm), _Norm(block.feed_forward_norm)
        self._pool = attention.pool.detach() if isinstance(attention, LocalSelfAttention) else None
        self._sizes = [self.heads, self.kv_heads, self.kv_heads]
        to_qkv = attention.to_qkv.weight.detach().clone()
        to_qkv[: self.heads * self.head_dim] *= self.head_dim**-0.5  # scores are scaled here, not at every step
        self._to_qkv, _ = fast_linear(to_qkv, rows)
        _, self._add_attention = fast_linear(attention.to_out.weight, rows)
        self._to_hidden, _ = fast_linear(forward.to_hidden.weight, rows)
        _, self._add_forward = fast_linear(forward.to_out.weight, rows)

    def step(
        self,
        x: Tensor,
        turns: tuple[Tensor, Tensor] | None,
        slots: LayerCache | LocalLayerCache,
        start: int,
        visible: Tensor | None,
        bags: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """``(B, D)`` to ``(B, D)``."""
        plain = qkv = self._to_qkv(self._attention_norm(x))
        if turns is not None:
            halves = qkv.view(x.shape[0], -1, 2, self.head_dim // 2)
            qkv = torch.mul(halves, turns[0]).addcmul_(halves.flip(2), turns[1])
        qkv = qkv.view(x.shape[0], -1, self.head_dim)  # (B, H + 2G, K)
        query, key, value = torch.split_with_sizes(qkv, self._sizes, 1)
        if isinstance(slots, LocalLayerCache):
            attended = self._attend_locally(query, key, value, plain, slots)
        else:
            here = start - slots.begun
            slots.keys[:, :, here] = key
            slots.values[:, :, here] = value
            attended = self._attend(query, slots, here + 1, visible, bags)
        x = self._add_attention(x, attended)
        gate, up = self._to_hidden(self._forward_norm(x)).chunk(2, dim=-1)
        return self._add_forward(x, F.silu(gate).mul_(up))

    def _attend_locally(
        self, query: Tensor, key: Tensor, value: Tensor, plain: Tensor, slots: LocalLayerCache
    ) -> Tensor:
        """Attention output ``(B, H K)`` over the near past and summaries; ``plain`` are the projections ``(B, ...)``
        before rotation.
        """
        assert self._pool is not None
        keys = plain.view(len(plain), -1, self.head_dim)[:, self.heads : self.heads + self.kv_heads]
        return slots.step(query, key, value, keys, pooling_scores(keys, self._pool))

    def _attend(
        self, query: Tensor, slots: LayerCache, stop: int, visible: Tensor | None, bags: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Attention output ``(B, H K)`` of one scaled query ``(B, H, K)`` over what is shared and the first ``stop``
        slots.
        """
        batch = query.shape[0]
        rows, group = batch * self.kv_heads, self.heads // self.kv_heads
        if query.device.type != "cpu":
            q = query.reshape(batch, self.kv_heads, group, self.head_dim)
            keys, values = slots.keys[:, :, :stop], slots.values[:, :, :stop]
            out = F.scaled_dot_product_attention(q, keys, values, attn_mask=visible, scale=1.0)
            return out.reshape(batch, -1)
        # One query is a matrix-vector product: plain ones beat the fused kernel, which is made for many queries.
        keys = slots.keys.view(rows, -1, self.head_dim)[:, :stop]
        q = query.reshape(rows, group, self.head_dim)
        if bags is None:
            scores = torch.bmm(q, keys.transpose(1, 2))  # (B G, H/G, S)
        else:
            scores = torch.bmm(keys, q.transpose(1, 2)).transpose(1, 2)
        if visible is not None:
            scores = scores.view(batch, -1, stop).masked_fill(~visible[:, 0], float("-inf")).view(rows, group, stop)
        if slots.beginning is None:  # as with padding, which alone makes slots invisible
            return self._sum_values(scores.softmax(-1), slots, stop, bags).view(batch, -1)
        beginning = _Beginning(q.view(batch, self.kv_heads, group, self.head_dim), *slots.beginning)
        highest = torch.maximum(beginning.highest(), scores.amax(-1, keepdim=True))  # (B G, H/G, 1)
        weights = scores.sub_(highest).exp_()
        own = self._sum_values(weights, slots, stop, bags).view(rows, group, -1)
        values, mass = beginning.sums(highest)
        return values.add_(own).div_(mass.add_(weights.sum(-1, keepdim=True))).view(batch, -1)

    def _sum_values(self, weights: Tensor, slots: LayerCache, stop: int, bags: tuple[Tensor, Tensor] | None) -> Tensor:
        """Values of each row's own tokens, weighted ``(B G, H/G, S)``: ``(B G, H/G, K)`` or as many numbers."""
        if bags is None:
            return torch.bmm(weights, slots.values.view(len(weights), -1, self.head_dim)[:, :stop])
        return _sum_rows(slots.values.view(-1, self.head_dim), *bags, weights)


class _Beginning:
    """Attention of all rows to what they all began with: one matrix product for each head in place of one for each row.
    The softmax is that over both parts, shared and own, whose sums are added up behind a common maximum (the online
    softmax of Milakov and Gimelshein 2018, arXiv:1805.02867).

    Args:
        query: one scaled query of each row ``(B, G, H/G, K)``.
        keys: shared ``(1, G, P, K)``.
        values: shared ``(1, G, P, K)``.
    """

    def __init__(self, query: Tensor, keys: Tensor, values: Tensor) -> None:
        self._batch, _, self._group, _ = query.shape
        self._values = values[0]
        self._scores = torch.bmm(query.transpose(0, 1).flatten(1, 2), keys[0].transpose(1, 2))  # (G, B H/G, P)

    def highest(self) -> Tensor:
        """Highest score of each query ``(B G, H/G, 1)``."""
        return self._by_row(self._scores.amax(-1, keepdim=True))

    def sums(self, highest: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of weighted values ``(B G, H/G, K)`` and of weights ``(B G, H/G, 1)`` behind the maximum
        ``(B G, H/G, 1)``.
        """
        by_head = highest.view(self._batch, -1, self._group, 1).transpose(0, 1).flatten(1, 2)
        weights = self._scores.sub_(by_head).exp_()
        return self._by_row(torch.bmm(weights, self._values)), self._by_row(weights.sum(-1, keepdim=True))

    def _by_row(self, part: Tensor) -> Tensor:
        """``(G, B H/G, X)`` to ``(B G, H/G, X)``."""
        return part.unflatten(1, (self._batch, self._group)).transpose(0, 1).flatten(0, 1)
