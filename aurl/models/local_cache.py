"""Cached decoding of local attention: the last tokens of each row, the summaries of its bars, and the bar under way.

The keys and values of tokens lie in a buffer of two windows; when it is full, the last window moves to its front. A
bar's summary is kept as a running mean (an online softmax, Milakov and Gimelshein 2018) in the slot after the last
complete bar, and becomes visible when the row's next bar begins. So a row's memory is two windows and its bars, however
long the piece. What all layers share, and what changes once a token, is :class:`LocalCache`.

Axes: B batch rows, T new tokens, S slots, M summaries, H query heads, G key/value heads, K head width, N packed tokens.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from aurl.models.attention import Cache
from aurl.models.layout import Layout
from aurl.models.positions import MusicalTime, Rotation, rotate

SPARE = 64
"""Slots by which the room for summaries grows."""
NO_BAR = -(2**31)
"""Bar number before the first token."""
HIDDEN = float("-inf")


class Prefill(NamedTuple):
    """The first tokens of all rows, packed without their padding."""

    layout: Layout
    places: Tensor
    """Place of each packed token in the flattened ``(B, T)``, ``(N,)``."""
    shape: tuple[int, int]
    """B and T."""

    def pack(self, part: Tensor) -> Tensor:
        """``(B, T, ...)`` to ``(N, ...)``."""
        return part.flatten(0, 1).index_select(0, self.places)

    def unpack(self, packed: Tensor) -> Tensor:
        """``(N, D)`` to ``(B, T, D)``, zero where there is padding."""
        whole = packed.new_zeros(self.shape[0] * self.shape[1], packed.shape[1])
        return whole.index_copy(0, self.places, packed).unflatten(0, self.shape)


class LocalLayerCache:
    """Keys, values and summaries of one layer."""

    def __init__(self, batch_size: int, heads: int, slots: int, head_dim: int, like: Tensor) -> None:
        self.keys = like.new_zeros(batch_size, heads, slots, head_dim)
        self.values = torch.zeros_like(self.keys)
        self.summary_keys = like.new_zeros(batch_size, heads, SPARE, head_dim)
        self.summary_values = torch.zeros_like(self.summary_keys)
        self.top = like.new_zeros(batch_size, heads, dtype=torch.float32)
        self.mass = torch.zeros_like(self.top)
        self.shared: LocalCache

    def take(self, rows: Tensor, length: int) -> None:
        """Keep (or repeat) batch rows."""
        for name in ("keys", "values", "summary_keys", "summary_values", "top", "mass"):
            setattr(self, name, getattr(self, name).index_select(0, rows))

    def clear(self) -> None:
        """Nothing is shared by rows here, so there is no room to be made."""

    def move(self, kept: int) -> None:
        """Bring the last ``kept`` tokens to the front."""
        for part in (self.keys, self.values):
            part[:, :, :kept] = part[:, :, part.shape[2] - kept :].clone()

    def grow(self, room: int) -> None:
        """Make room for so many summaries."""
        for name in ("summary_keys", "summary_values"):
            old: Tensor = getattr(self, name)
            if old.shape[2] < room:
                new = old.new_zeros(*old.shape[:2], room, old.shape[3])
                new[:, :, : old.shape[2]] = old
                setattr(self, name, new)

    def fill(
        self, key: Tensor, value: Tensor, summary_key: Tensor, summary_value: Tensor, top: Tensor, mass: Tensor
    ) -> None:
        """Take the first tokens ``(B, T, G, K)`` and the packed summaries of their bars ``(M, G, ...)``."""
        kept = self.shared.length_of_fill
        self.keys[:, :, :kept] = key[:, key.shape[1] - kept :].transpose(1, 2)
        self.values[:, :, :kept] = value[:, value.shape[1] - kept :].transpose(1, 2)
        assert self.shared.prefill is not None
        bar = 0
        for row, count in enumerate(self.shared.prefill.layout.bars.counts):
            self.summary_keys[row, :, :count] = summary_key[bar : bar + count].transpose(0, 1)
            self.summary_values[row, :, :count] = summary_value[bar : bar + count].transpose(0, 1)
            bar += count
            self.top[row], self.mass[row] = top[bar - 1], mass[bar - 1]

    def step(self, query: Tensor, key: Tensor, value: Tensor, plain: Tensor, scores: Tensor) -> Tensor:
        """Store a token of each row and attend from it.

        Args:
            query: scaled ``(B, H, K)``.
            key: ``(B, G, K)``.
            value: ``(B, G, K)``.
            plain: keys before their rotation ``(B, G, K)``.
            scores: pooling scores ``(B, G)``.

        Returns:
            ``(B, H K)``.
        """
        shared = self.shared
        self.keys[:, :, shared.slot] = key
        self.values[:, :, shared.slot] = value
        self._pool(plain, value, scores)
        keys, values = self.keys[:, :, shared.near], self.values[:, :, shared.near]
        heads, group = key.shape[1], query.shape[1] // key.shape[1]
        q = query.unflatten(1, (heads, group))  # (B, G, H/G, K)
        near = q @ keys.transpose(2, 3)
        if shared.near_hidden is not None:
            near = near.masked_fill(shared.near_hidden, HIDDEN)
        if not shared.most:
            return (near.softmax(-1) @ values).reshape(len(query), -1)
        far = q @ self.summary_keys[:, :, : shared.most].transpose(2, 3)
        far = far.masked_fill(shared.far_hidden, HIDDEN)
        weights = torch.cat((far, near), dim=-1).softmax(-1)  # (B, G, H/G, M + S)
        out = weights[..., shared.most :] @ values
        out += weights[..., : shared.most] @ self.summary_values[:, :, : shared.most]
        return out.reshape(len(query), -1)

    def _pool(self, plain: Tensor, value: Tensor, scores: Tensor) -> None:
        """Let the token join the summary of its bar, which nobody sees yet."""
        shared = self.shared
        begins = shared.begins[:, None]
        before = self.top.masked_fill(begins, HIDDEN)
        top = torch.maximum(before, scores)
        new = (scores - top).exp()
        self.mass = self.mass.masked_fill(begins, 0.0) * (before - top).exp() + new
        self.top = top
        share = (new / self.mass).unsqueeze(-1)
        key = plain if shared.turn is None else rotate(plain, shared.turn)
        place = shared.rows, slice(None), shared.complete
        for means, now in ((self.summary_keys, key), (self.summary_values, value)):
            means[place] = means[place].lerp(now.to(means.dtype), share.to(means.dtype))


class LocalCache(Cache):
    """Cache of a model with local attention.

    Args:
        layers: of the same rows.
        capacity: tokens after which the model's context is full.
        window: tokens that are seen one by one.
    """

    def __init__(self, layers: list[LocalLayerCache], capacity: int, window: int) -> None:
        super().__init__(cast(list, layers), capacity)
        self.window = window
        for layer in layers:
            layer.shared = self
        self._device, self._room = layers[0].keys.device, layers[0].keys.shape[2]
        self._forget(len(layers[0].keys))

    @staticmethod
    def slots(capacity: int, window: int) -> int:
        """Tokens that a layer has to hold."""
        return min(capacity, 2 * window)

    def _forget(self, rows: int) -> None:
        self._held_from = 0
        self._bar = torch.full((rows,), NO_BAR, device=self._device)
        self.complete = torch.full((rows,), -1, device=self._device)
        """Complete bars of each row ``(B,)``, which is also the slot of the bar under way."""
        self.most = 0
        """Summaries that are looked at, at least as many as any row has complete."""
        self.rows = torch.arange(rows, device=self._device)
        self.turn: Rotation | None = None
        """Rotation of the first token of each row's bar, ``(B, 1, K/2)``."""
        self.prefill: Prefill | None = None
        self.near_hidden: Tensor | None = None
        """Slots in sight that hold padding ``(B, 1, 1, S)``."""

    def begin(self, time: MusicalTime, rotation: Rotation | None) -> None:
        """Prepare for new tokens ``(B, T)``: the first ones of an empty cache, or one more of each row."""
        if time.bar.shape[1] == 1:
            self._begin_step(time.bar[:, 0], rotation)
        else:
            self._begin_fill(time.bar, rotation)

    def _begin_step(self, bar: Tensor, rotation: Rotation | None) -> None:
        self.prefill = None
        if self.length - self._held_from == self._room:
            for layer in self._layers():
                layer.move(self.window - 1)
            self._held_from = self.length - (self.window - 1)
        self.slot = self.length - self._held_from
        first = max(self.slot + 1 - self.window, 0)
        self.near = slice(first, self.slot + 1)
        self.begins = bar != self._bar
        self._bar = bar
        self.complete = self.complete + self.begins
        if rotation is not None:
            now = Rotation(*(part[:, 0] for part in rotation))  # (B, 1, K/2)
            self.turn = now if self.turn is None else self._turned(now)
        self._look(grown=1)
        self.far_hidden = (torch.arange(self.most, device=self._device) >= self.complete[:, None])[:, None, None]
        self.near_hidden = None
        if self.starts is not None:
            places = torch.arange(first, self.slot + 1, device=self._device) + self._held_from
            self.near_hidden = (places < self.starts[:, None])[:, None, None]

    def _turned(self, now: Rotation) -> Rotation:
        assert self.turn is not None
        begins = self.begins[:, None, None]
        return Rotation(*(torch.where(begins, new, old) for new, old in zip(now, self.turn, strict=True)))

    def _look(self, grown: int) -> None:
        """Keep ``most`` an upper bound; on accelerators the count is looked up only when room would run out."""
        self.most += grown
        room = self._layers()[0].summary_keys.shape[2]
        on_cpu = self._device.type == "cpu"
        if not on_cpu and self.most < room:
            return
        self.most = int(self.complete.max())
        if self.most >= room or not on_cpu:
            for layer in self._layers():
                layer.grow(self.most + SPARE)

    def _begin_fill(self, bar: Tensor, rotation: Rotation | None) -> None:
        batch, tokens = bar.shape
        places = torch.ones_like(bar, dtype=torch.bool)
        lengths = [tokens] * batch
        if self.starts is not None:
            places = torch.arange(tokens, device=self._device) >= self.starts[:, None]
            lengths = (tokens - self.starts).tolist()
        chosen = places.flatten().nonzero().squeeze(1)
        layout = Layout(lengths, bar.flatten()[chosen])
        self.prefill = Prefill(layout, chosen, (batch, tokens))
        self.length_of_fill = min(tokens, self.window)
        self._held_from = tokens - self.length_of_fill
        self._bar = bar[:, -1]
        counts = torch.tensor(layout.bars.counts, device=self._device)
        self.complete = counts - 1
        if rotation is not None:
            lines = layout.bars.first_token[counts.cumsum(0) - 1]  # where the bar under way began
            self.turn = Rotation(*(self.prefill.pack(part)[lines] for part in rotation))
        self._look(grown=int(max(layout.bars.counts)))

    def _layers(self) -> list[LocalLayerCache]:
        return cast(list[LocalLayerCache], self.layers)

    def visible(self, new: int) -> Tensor | None:
        """Each layer knows itself."""
        return None

    def select(self, rows: Tensor) -> None:
        """Keep the given batch rows, in that order."""
        super().select(rows)
        self._bar, self.complete = self._bar[rows], self.complete[rows]
        self.rows = torch.arange(len(rows), device=self._device)
        if self.turn is not None:
            self.turn = Rotation(*(part[rows] for part in self.turn))

    def clear(self) -> None:
        """Forget everything; the memory stays."""
        super().clear()
        self._forget(len(self._bar))
