"""The decoding loop with latents: every row of the batch is steered by latents of its own, bar by bar.

What a model makes of a piece up to a bar line is a :class:`Known`; a :class:`Reading` has one for every bar of a piece
and computes each bar once, however often the piece is edited. Rows of a batch share what stands before the first bar in
which their latents differ. Axes as in loop.py, and Z latent of a bar.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aurl.generation.config import SamplerConfig
from aurl.generation.grammar_merged import MergedGrammar, MergedWalk
from aurl.generation.grammars import AnyGrammar, AnyWalk, make_walk
from aurl.generation.loop import Decoding
from aurl.models.attention import Cache
from aurl.models.listener import Listener
from aurl.models.local_cache import LocalCache
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime

ROOM_SHARE = 4
"""One part in so many of the context stays free for what is written after a reading."""


class Known(NamedTuple):
    """What is known of the tokens before a bar line."""

    cache: Cache
    """One row, a copy that may be written on; its oldest token is ``first``."""
    walk: AnyWalk
    """To be copied before it goes on (:func:`copy_walk`)."""
    tokens: int
    """Tokens before the bar line, BOS included."""
    first: int
    """First of them that the cache holds."""


class Reading:
    """What a model makes of a piece and its latents, bar line by bar line; bars are read when they are asked for.

    Args:
        model: a model with latents, in eval mode.
        grammar: tables of the automaton, on the model's device.
        ids: the piece as the model reads it, without BOS and EOS.
        latents: ``(bars, Z)`` from bar 0 on; later bars take the last one.
        capacity: tokens that the cache holds; None for the model's context.

    Raises:
        ValueError: the model has no latents.
    """

    def __init__(
        self,
        model: MusicTransformerVAEGAN,
        grammar: AnyGrammar,
        ids: np.ndarray,
        latents: Tensor,
        capacity: int | None = None,
    ) -> None:
        self.model, self.grammar, self.latents = model, grammar, latents.to(grammar.device)
        self.ids = np.concatenate([[grammar.vocabulary.bos], np.asarray(ids, np.int64)])
        self.bar, self.beat = grammar.vocabulary.musical_time(self.ids)
        with torch.inference_mode():
            self._cache = model.new_cache(1, model.config.context if capacity is None else capacity)
            self._cache.condition = condition_of(model, self.latents[None])
        self._walks = [make_walk(grammar, 1)]
        self._forget(0)

    @property
    def capacity(self) -> int:
        """Tokens that the cache holds."""
        return self._cache.capacity

    def _forget(self, first: int) -> None:
        """Empty the cache; its first token will be ``first``."""
        self._cache.clear()
        self._first = first
        self._listeners: dict[int, Listener | None] = {first: None}

    def line(self, bar: int) -> int:
        """Token at which a bar begins; BOS belongs to bar 0."""
        return int(np.searchsorted(self.bar, bar))

    def before(self, bar: int) -> Known:
        """What is known before a bar line, to be written on; with local attention nothing, since what has been summed
        up cannot be cut at a bar line.
        """
        stop = self.line(bar)
        with torch.inference_mode():
            if isinstance(self._cache, LocalCache):
                cache = self.model.new_cache(1, self.capacity)
                cache.stepper = self._cache.stepper
                return Known(cache, self._walks[0], 0, 0)
            self._walk_to(bar)
            first = self._first_for(stop)
            if first != self._first:
                self._forget(first)
            self._read_to(stop)
            return Known(self._copy(stop), self._walks[bar], stop, self._first)

    def edit(self, ids: np.ndarray, latents: Tensor, bar: int) -> None:
        """Go over to a piece that is the same before a bar line, in tokens and in latents.

        Args:
            ids: the whole piece, without BOS and EOS.
            latents: ``(bars, Z)``.
            bar: the first bar that may differ, from 0.
        """
        stop = min(self.line(bar), self._first + self._cache.length)
        self.ids = np.concatenate([[self.grammar.vocabulary.bos], np.asarray(ids, np.int64)])
        self.bar, self.beat = self.grammar.vocabulary.musical_time(self.ids)
        self.latents = latents.to(self.grammar.device)
        with torch.inference_mode():
            self._cache.condition = condition_of(self.model, self.latents[None])
        del self._walks[bar + 1 :]
        if stop <= self._first:
            self._forget(0)
            return
        self._cache.length = stop - self._first
        self._listeners = {line: each for line, each in self._listeners.items() if line <= stop}
        self._cache.listener = copy_listener(self._listeners[stop])

    def keep_weights(self, cache: Cache) -> None:
        """Take over the weights as a copy of the cache has put them for its steps."""
        self._cache.stepper = cache.stepper

    def _walk_to(self, bar: int) -> None:
        for number in range(len(self._walks), bar + 1):
            walk = copy_walk(self._walks[-1], self.grammar)
            for token in torch.from_numpy(self.ids[self.line(number - 1) : self.line(number)]).to(self.grammar.device):
                walk.advance(token[None])
            self._walks.append(walk)

    def _first_for(self, stop: int) -> int:
        """First token of a cache that ends at ``stop`` with room to go on: 0, or a bar line in its last half."""
        capacity = self._cache.capacity
        if self._first <= stop <= self._first + capacity - capacity // ROOM_SHARE:
            return self._first
        if stop <= capacity - capacity // ROOM_SHARE:
            return 0
        lines = np.flatnonzero(np.diff(self.bar[: stop + 1], prepend=-1))
        later = lines[(lines >= stop - capacity // 2) & (lines < stop)]
        return int(later[0]) if len(later) else stop - capacity // 2

    def _read_to(self, stop: int) -> None:
        """Put the tokens before ``stop`` into the cache, a bar at a time."""
        done = self._first + self._cache.length
        lines = [*(np.flatnonzero(np.diff(self.bar)) + 1).tolist(), len(self.ids)]
        for line in lines:
            if not done < line <= stop:
                continue
            tokens = torch.from_numpy(self.ids[done:line])[None].to(self.grammar.device)
            self.model.decode(tokens, self.time(done, line, self._first), self._cache)
            self._listeners[line] = copy_listener(self._cache.listener)
            done = line

    def time(self, start: int, stop: int, first: int) -> MusicalTime:
        """Musical time ``(1, T)`` of some tokens in a cache that begins with ``first``."""
        device = self.grammar.device
        index = torch.arange(start - first, stop - first, device=device)[None]
        beat = torch.from_numpy(self.beat[start:stop])[None].to(device)
        return MusicalTime(index, beat, torch.from_numpy(self.bar[start:stop]).long()[None].to(device))

    def _copy(self, stop: int) -> Cache:
        """The cache up to a bar line; its memory is shared until rows are selected."""
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in cache.layers]
        cache.length = stop - self._first
        cache.listener = copy_listener(self._listeners[stop])
        return cache


class SteeredDecoding(Decoding):
    """A batch of samples under way, each with its own latents.

    Args:
        model: a model with latents, in eval mode.
        grammar: tables of the automaton, on the model's device.
        sampler: how tokens are drawn.
        prompt: ids without BOS and EOS that every sample begins with.
        seeds: one for each sample.
        latents: ``(B, bars, Z)`` of bars 0 on, those of the prompt included; later bars take the last one.
        reading: of a piece that begins as the prompt does, up to a bar line; None reads the prompt.

    Raises:
        AurlError: the model's weights give logits that are not numbers.
        ValueError: not as many latents as seeds, a model without latents, or a reading of another piece.
    """

    def __init__(
        self,
        model: MusicTransformerVAEGAN,
        grammar: AnyGrammar,
        sampler: SamplerConfig,
        prompt: np.ndarray,
        seeds: Sequence[int],
        latents: Tensor,
        reading: Reading | None = None,
    ) -> None:
        if len(latents) != len(seeds):
            raise ValueError(f"latents of {len(latents)} samples for {len(seeds)} seeds")
        self._latents = latents.to(grammar.device)
        self._is_read = reading is not None
        if reading is None:
            room = len(prompt) + 1 + grammar.rules.max_tokens
            reading = Reading(model, grammar, prompt, latents[0], min(model.config.context, room))
        self._reading = reading
        with torch.inference_mode():
            self._condition = condition_of(model, self._latents)
        super().__init__(model, grammar, sampler, prompt, seeds)
        self._reading.keep_weights(self._cache)

    def _begin(self, ids: np.ndarray, everyone: Tensor) -> None:
        bar, beat = self.grammar.vocabulary.musical_time(ids)
        known = self._reading.before(self._first_steered(len(ids), int(bar[-1])))
        if not np.array_equal(ids[: known.tokens], self._reading.ids[: known.tokens]):
            raise ValueError("the prompt does not begin as the piece of the reading does")
        self._cache, self._walk = known.cache, copy_walk(known.walk, self.grammar)
        self._index = torch.full((1, 1), len(ids) - 1 - known.first, device=self.device)
        if self._recent is None:
            self._read_all(ids[known.tokens :])
        else:  # which pitches were heard last is not kept at bar lines
            self._walk = make_walk(self.grammar, 1)
            self._read_all(ids)
        self._select(everyone)
        self._cache.condition = self._condition
        if len(ids) - known.first >= self._cache.capacity:
            self._logits = self._fill()
            return
        new = slice(known.tokens, len(ids))
        index = torch.arange(known.tokens - known.first, len(ids) - known.first)
        parts = (index, torch.from_numpy(beat[new]), torch.from_numpy(bar[new]).long())
        time = MusicalTime(*(part.to(self.device).expand(len(everyone), -1) for part in parts))
        self._logits = self.model.decode(self._record[new].t(), time, self._cache)

    def _first_steered(self, tokens: int, last: int) -> int:
        """The first bar in which a row has other latents than the reading, at most the ``last`` bar of the prompt; 0
        for a long prompt that was not read before, which is read with the window that the plain loop has.
        """
        capacity = self._reading.capacity
        if not self._is_read and tokens > capacity - capacity // ROOM_SHARE:
            return 0
        bars = min(last, self._latents.shape[1] - 1, len(self._reading.latents) - 1)
        differs = (self._latents[:, :bars] != self._reading.latents[:bars]).any(-1).any(0)
        found = differs.nonzero()
        return int(found[0]) if len(found) else bars


def condition_of(model: MusicTransformerVAEGAN, latents: Tensor) -> Tensor:
    """What latents ``(B, bars, Z)`` add to the input of each layer ``(B, bars, layers, D)``.

    Raises:
        ValueError: the model has no latents.
    """
    if model.latent is None:
        raise ValueError("a model without latents cannot be steered by them; train one with model=vae")
    return model.latent.for_layers(latents)


def copy_walk(walk: AnyWalk, grammar: AnyGrammar) -> AnyWalk:
    """A walk of one row that goes on by itself, under the rules of a grammar of the same tokens."""
    copied = copy.copy(walk)
    copied.grammar = grammar
    if isinstance(copied, MergedWalk) and isinstance(grammar, MergedGrammar):
        copied.base = copy_walk(copied.base, grammar.base)  # type: ignore[assignment]
    else:
        copied.select(torch.zeros(1, dtype=torch.long, device=grammar.device))
    return copied


def copy_listener(listener: Listener | None) -> Listener | None:
    """A listener of one row that goes on by itself."""
    if listener is None:
        return None
    copied = copy.copy(listener)
    copied.select(torch.zeros(1, dtype=torch.long))
    return copied


def begin(
    model: MusicTransformerVAEGAN,
    grammar: AnyGrammar,
    sampler: SamplerConfig,
    prompt: np.ndarray,
    seeds: Sequence[int],
    latents: Tensor | None,
) -> Decoding:
    """A batch of samples under way, steered where there are latents; arguments as of :class:`SteeredDecoding`."""
    start = model, grammar, sampler, prompt, seeds
    return Decoding(*start) if latents is None else SteeredDecoding(*start, latents)
