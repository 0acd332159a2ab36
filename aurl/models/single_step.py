"""One decoding step of a single sample on a CPU, in NumPy: the same numbers as ``Block.decode`` from the same weights.

A step of one row reads every weight once and computes little, so what is left to save is the calls around the matrix
products, and NumPy's cost a fraction of PyTorch's. Gains of the norms are multiplied into the matrices that follow them
and the scale of attention into the queries' rows, once. Keys and values stay in the tensors of the cache, of which the
arrays here are views. Weights are shared or copied: a :class:`SingleStepper` serves until they change.

Axes: D width, H heads, G key/value heads, K width of a head, I inner width of the feed-forward part, S slots, V
vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aurl.models.config import Attention
from aurl.models.lean_ear import LeanEar
from aurl.models.listener import Listener, Moment
from aurl.models.positions import MusicalTime, RotaryAngles

if TYPE_CHECKING:
    from aurl.models.attention import Cache
    from aurl.models.decoder import Block, Decoder

Floats = NDArray[np.float32]


def suits_single_steps(decoder: Decoder, rows: int) -> bool:
    """Whether :class:`SingleStepper` computes this decoder's step of so many rows."""
    weight = decoder.to_logits.weight
    is_plain = weight.device.type == "cpu" and weight.dtype == torch.float32
    return rows == 1 and is_plain and decoder.config.attention is Attention.full


class SingleStepper:
    """The decoder, prepared for single steps of one row.

    Args:
        decoder: in eval mode; one that :func:`suits_single_steps` accepts.
    """

    def __init__(self, decoder: Decoder) -> None:
        config = decoder.config
        self._decoder = decoder
        self._embedding = _array(decoder.embedding.weight)
        self._place = None if decoder.place is None else _array(decoder.place.weight)
        self._turns = None if decoder.angles is None else _Turns(decoder.angles)
        self._ear = None if decoder.ear is None else LeanEar(decoder.ear)
        self._norm = _Norm(decoder.norm)
        self._to_logits = self._norm.into(decoder.to_logits.weight)
        self._gain = _array(decoder.norm.weight)
        self._layers = [_Layer(cast("Block", block)) for block in decoder.blocks]
        self._heads = config.key_value_heads, config.heads // config.key_value_heads, config.head_dim

    def suits(self, rows: int) -> bool:
        """Whether it computes steps of so many rows."""
        return rows == 1

    def __call__(self, ids: Tensor, time: MusicalTime, cache: Cache) -> Tensor:
        """Logits ``(1, V)`` after one more token, ``(1, 1)`` each; it joins the cache."""
        # A gate far below zero closes: its exponential is infinite, the inverse of that 0.
        with np.errstate(over="ignore"):
            return torch.from_numpy(self._step(ids, time, cache)).unsqueeze(0)

    def _step(self, ids: Tensor, time: MusicalTime, cache: Cache) -> Floats:
        x = self._embedding[int(ids)].copy()
        moment = self._listen(ids, time.beat, cache)
        if moment is not None and self._ear is not None:
            x += self._ear.embed(moment).numpy()[0]
        if self._place is not None:
            x += self._place[int(time.index)]
        turns = None if self._turns is None else self._turns(time)
        added = cache.added(time.bar)
        steering = None if added is None else added[0, 0].numpy()  # (layers, D)
        first = 0 if cache.starts is None else int(cache.starts[0])
        slots = slice(first, cache.length + 1)
        for number, (layer, (_, keys, values)) in enumerate(zip(self._layers, self._seen(cache), strict=True)):
            if steering is not None:
                x += steering[number]
            layer.step(x, turns, keys, values, slots)
        normed = self._norm(x)
        logits = np.dot(normed, self._to_logits)
        if moment is not None and self._ear is not None:
            self._ear.judge(torch.from_numpy(logits)[None], torch.from_numpy(normed * self._gain)[None], moment)
        return logits

    def _listen(self, ids: Tensor, beat: Tensor, cache: Cache) -> Moment | None:
        """Let the cache's listener read the new token."""
        ear = self._decoder.ear
        if ear is None:
            return None
        if cache.listener is None:
            cache.listener = Listener(1, ear.meaning)
        return cache.listener.read(ids[:, 0], beat[:, 0])

    def _seen(self, cache: Cache) -> list[tuple[Tensor, Floats, Floats]]:
        """Keys and values ``(G, capacity, K)`` of each layer as arrays, made again when the cache has other tensors.

        The cache keeps them: a stepper serves several caches, and shall keep none of them alive.
        """
        layers = cache.layers
        if cache.arrays is None or cache.arrays[0][0] is not layers[0].keys:
            cache.arrays = [(layer.keys, layer.keys[0].numpy(), layer.values[0].numpy()) for layer in layers]
        return cache.arrays


def _array(weight: Tensor) -> Floats:
    return weight.detach().numpy()


class _Norm:
    """A layer norm, without a bias as all of the decoder, whose gains have gone into the matrix that follows it."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self._gain, self._epsilon = norm.weight.detach(), norm.eps
        self._width = len(self._gain)
        self._average = np.full(self._width, 1 / self._width, np.float32)

    def into(self, weight: Tensor) -> Floats:
        """``weight`` ``(out, D)`` with the gains, as ``(D, out)``."""
        return _array((weight.detach() * self._gain).t().contiguous())

    def __call__(self, x: Floats) -> Floats:
        """``x`` ``(D,)`` with mean 0 and variance 1."""
        centred = x - np.dot(x, self._average)
        centred *= np.float32(1 / math.sqrt(np.dot(centred, centred) / self._width + self._epsilon))
        return centred


class _Turns:
    """Rotation of one token: factors of a head's halves, and of its halves exchanged."""

    def __init__(self, angles: RotaryAngles) -> None:
        parts = [_array(each) for each in (angles.index_rate, angles.beat_rate, angles.bar_rate)]
        self._rates = np.concatenate(parts)  # (K/2,)
        self._which = np.repeat(np.arange(len(parts)), [len(part) for part in parts])

    def __call__(self, time: MusicalTime) -> tuple[Floats, Floats]:
        """``(2, K/2)`` each: first * cos - second * sin, second * cos + first * sin."""
        when = np.array([int(time.index), float(time.beat), int(time.bar)], np.float32)
        turns = when[self._which]
        turns *= self._rates
        turns -= np.floor(turns)  # the whole part of a turn changes nothing, but costs precision
        turns *= np.float32(2 * math.pi)
        cos, sin = np.cos(turns), np.sin(turns)
        return np.stack((cos, cos)), np.stack((-sin, sin))


class _Layer:
    """One block."""

    def __init__(self, block: Block) -> None:
        attention, forward = block.attention, block.feed_forward
        heads, kv_heads, width = attention.heads, attention.kv_heads, attention.head_dim
        self._queries, self._turned = heads * width, (heads + kv_heads) * width
        self._group_shape, self._key_shape = (kv_heads, heads // kv_heads, width), (kv_heads, width)
        self._halves = -1, 2, width // 2
        self._attention_norm, self._forward_norm = _Norm(block.attention_norm), _Norm(block.feed_forward_norm)
        to_qkv = attention.to_qkv.weight.detach().clone()
        to_qkv[: self._queries] *= width**-0.5  # scores are scaled here, not at every step
        self._to_qkv = self._attention_norm.into(to_qkv)
        self._to_out = _array(attention.to_out.weight.t().contiguous())
        self._to_hidden = self._forward_norm.into(forward.to_hidden.weight)
        self._inner = self._to_hidden.shape[1] // 2
        self._forward_out = _array(forward.to_out.weight.t().contiguous())

    def step(self, x: Floats, turns: tuple[Floats, Floats] | None, keys: Floats, values: Floats, slots: slice) -> None:
        """Add the block's outputs to the residual stream ``(D,)`` in place; its key and value join their slots."""
        qkv = np.dot(self._attention_norm(x), self._to_qkv)
        turned = qkv[: self._turned]
        if turns is not None:
            halves = turned.reshape(self._halves)
            straight = halves * turns[0]
            straight += halves[:, ::-1] * turns[1]
            turned = straight.reshape(-1)
        here = slots.stop - 1
        keys[:, here] = turned[self._queries :].reshape(self._key_shape)
        values[:, here] = qkv[self._turned :].reshape(self._key_shape)
        weights = np.matmul(turned[: self._queries].reshape(self._group_shape), keys[:, slots].swapaxes(1, 2))
        weights -= weights.max(-1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(-1, keepdims=True)
        x += np.dot(np.matmul(weights, values[:, slots]).reshape(-1), self._to_out)
        hidden = np.dot(self._forward_norm(x), self._to_hidden)
        gate = hidden[: self._inner]
        inner = np.exp(-gate)
        inner += 1
        np.divide(gate, inner, out=inner)  # SiLU (Elfwing et al. 2017)
        inner *= hidden[self._inner :]
        x += np.dot(inner, self._forward_out)
