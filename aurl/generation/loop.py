"""The cached decoding loop: one batch of samples from a prompt to their ends.

Axes: B samples still in the batch, T tokens. A prompt is computed once and repeated; samples that have ended leave the
batch; what a step needs lies in tensors made before, and nothing in it loops over the batch. Musical time comes from
walk.py.

Pieces longer than the model's context: when the cache is full it is filled again with the last half of the context,
each sample from its first Bar token there (rows are padded on the left), as training windows of long pieces start at
bar lines too. Only differences of musical time matter to the model, so the piece goes on as before; what happened
earlier is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aurl.generation.config import SamplerConfig
from aurl.generation.grammar_merged import MergedGrammar, MergedWalk
from aurl.generation.grammars import AnyGrammar, make_walk
from aurl.generation.sampling import (
    NOTHING,
    RecentPitches,
    UniformStreams,
    choose,
    draw,
    filtered_weights,
    penalise_recent,
)
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.utils.errors import AurlError
from aurl.utils.threads import single_blas_thread

LEAVE_SHARE = 8
"""Ended samples leave when they are at least one in so many: each leaving copies the cache of those who stay."""
GROWTH = 2048
"""Steps by which the record of tokens grows."""
FRESH_DIGITS = 4096
"""A random number's later digits, multiplied up by this, serve when a drawn token is refused: one number a token keeps
each sample's stream independent of the batch."""
DEVICE_CHECK_STEPS = 16
"""Steps between two looks at who has ended, on devices where looking means waiting."""


@dataclass
class Finished:
    """One sample as it left the batch."""

    number: int
    """Which of the batch's seeds it has."""
    ids: np.ndarray
    """Tokens without BOS and EOS, the prompt's included, int64."""
    ended: bool
    """Whether the piece came to its end, rather than to max_tokens."""


class Decoding:
    """A batch of samples under way.

    Args:
        model: in eval mode.
        grammar: tables of the automaton, on the model's device.
        sampler: how tokens are drawn.
        prompt: ids without BOS and EOS that every sample begins with.
        seeds: one for each sample.

    Raises:
        AurlError: the model's weights give logits that are not numbers.
    """

    def __init__(
        self,
        model: MusicTransformerVAEGAN,
        grammar: AnyGrammar,
        sampler: SamplerConfig,
        prompt: np.ndarray,
        seeds: Sequence[int],
    ) -> None:
        self.model, self.grammar, self.sampler = model, grammar, sampler
        self.device = grammar.device
        self._streams = UniformStreams(list(seeds), self.device)
        self._numbers = list(range(len(seeds)))
        ids = np.concatenate([[grammar.vocabulary.bos], np.asarray(prompt, dtype=np.int64)])
        with torch.inference_mode():
            self._record = torch.empty(len(ids) + GROWTH, 1, dtype=torch.long, device=self.device)
            self._length = len(ids)
            self._record[: len(ids), 0] = torch.from_numpy(ids)
            self._recent = self._recent_pitches()
            self._begin(ids, torch.zeros(len(seeds), dtype=torch.long, device=self.device))
        if not bool(self._logits.isfinite().all()):
            raise AurlError("the checkpoint's weights give values that are not numbers; use an earlier checkpoint")

    def _begin(self, ids: np.ndarray, everyone: Tensor) -> None:
        """Read the beginning ``(T,)``, the same for all samples: computed once, then repeated for ``everyone``
        ``(B,)``, all zeros.
        """
        self._cache = self.model.new_cache(1, min(self.model.config.context, len(ids) + self.grammar.rules.max_tokens))
        self._walk = make_walk(self.grammar, 1)
        self._read_all(ids)
        self._logits = self._fill()
        self._select(everyone)
        self._logits = self._logits.expand(len(everyone), -1).clone()

    def _read_all(self, ids: np.ndarray) -> None:
        """Let the one row's walk read what stands before the first token that is written."""
        for token in torch.from_numpy(ids).to(self.device).unsqueeze(-1):
            self._read(token)
        self._walk.start_counting()

    def _recent_pitches(self) -> RecentPitches | None:
        """What repetition_penalty looks back over, for one row; None where it is off."""
        if self.sampler.repetition_penalty <= 1.0 or isinstance(self.grammar, MergedGrammar):
            return None
        tracks, size = self.grammar.tracks, self.grammar.vocabulary.size
        return RecentPitches(1, tracks, size, self.sampler.repetition_window, self.device)

    @property
    def active(self) -> int:
        """Samples still in the batch."""
        return len(self._numbers)

    @property
    def notes(self) -> int:
        """Complete notes of the samples still in the batch, the prompt's included."""
        return int(self._walk.notes.sum())

    @torch.inference_mode()
    @single_blas_thread()
    def run(self, steps: int) -> list[Finished]:
        """Write up to ``steps`` tokens of every sample and return the samples that left the batch meanwhile."""
        finished: list[Finished] = []
        wait = 1 if self.device.type == "cpu" else DEVICE_CHECK_STEPS
        for step in range(1, steps + 1):
            if not self.active:
                break
            token = self._choose(self._logits)
            self._write(token)
            if step % wait == 0 or step == steps:
                finished += self._release()
            if self.active:
                self._logits = self._next_logits()
        return finished

    def _choose(self, logits: Tensor) -> Tensor:
        """The next token of each sample ``(B,)``."""
        logits = self._walk.restrict(logits)
        if not isinstance(self._walk, MergedWalk):
            return self._drawn(logits, None if self.sampler.is_greedy else self._streams.next())
        uniform = None if self.sampler.is_greedy else self._streams.next()
        token = self._drawn(logits, uniform)
        while bool((refused := self._walk.refused(token)).any()):
            rows = refused.nonzero().squeeze(1)
            logits[rows, token[rows]] = NOTHING
            if uniform is not None:  # digits that the first draw did not look at
                uniform = torch.where(refused, (uniform * FRESH_DIGITS) % 1, uniform)
            token = torch.where(refused, self._drawn(logits, uniform), token)
        return token

    def _drawn(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        """A token of each sample ``(B,)`` from restricted logits and a random number of each (None: the likeliest)."""
        if self._recent is not None:
            logits = penalise_recent(logits, self._recent.mask(self._walk.track), self.sampler.repetition_penalty)
        if uniform is None:
            return choose(logits)
        if self.sampler.pitch_temperature is not None:
            ratio = self.sampler.temperature / self.sampler.pitch_temperature
            logits = torch.where(self._walk.writes_pitch[:, None], logits * ratio, logits)
        return draw(filtered_weights(logits, self.sampler), uniform)

    def _read(self, token: Tensor) -> None:
        self._walk.advance(token)
        if self._recent is not None:
            self._recent.add(self._walk.track, token, self._walk.is_pitch)

    def _write(self, token: Tensor) -> None:
        self._read(token)
        if self._length == len(self._record):
            self._record = torch.cat([self._record, torch.empty_like(self._record[:GROWTH])])
        self._record[self._length] = token
        self._length += 1

    def _next_logits(self) -> Tensor:
        """Logits ``(B, V)`` after the last token."""
        if self._cache.length == self._cache.capacity:
            return self._fill()
        self._index += 1
        walk = self._walk
        time = MusicalTime(self._index, walk.beat.unsqueeze(1), walk.bar.long().unsqueeze(1))
        return self.model.decode(self._record[self._length - 1].unsqueeze(1), time, self._cache)

    def _fill(self) -> Tensor:
        """Fill the cache with the tokens so far, or the last half of the context; logits ``(B, V)`` after the last."""
        tokens = self._record[: self._length]
        rows = tokens.cpu().numpy()
        lines = np.stack([self.grammar.vocabulary.bar_lines(row) for row in rows.T], axis=1)
        first, starts = window_starts(lines, self._cache.capacity)
        pad = torch.from_numpy(starts - first).to(self.device)  # (B,) slots of padding
        tokens = tokens[first:].t()  # (B, T)
        bar, beat = self._times(first)
        index = torch.arange(tokens.shape[1], device=self.device) - pad[:, None]
        self._cache.clear()
        if int(pad.max()):
            self._cache.starts = pad
        self._index = index[:, -1:].clone()
        return self.model.decode(tokens, MusicalTime(index.clamp_(min=0), beat, bar), self._cache)

    def _times(self, first: int) -> tuple[Tensor, Tensor]:
        """Bar and beat ``(B, T)`` of the recorded tokens from ``first`` on."""
        rows = [self.grammar.vocabulary.musical_time(row) for row in self._record[: self._length].t().cpu().numpy()]
        bar = torch.from_numpy(np.stack([bar[first:] for bar, _ in rows])).long()
        beat = torch.from_numpy(np.stack([beat[first:] for _, beat in rows]))
        return bar.to(self.device), beat.to(self.device)

    def _release(self) -> list[Finished]:
        """Take samples that have ended out of the batch, when there are enough of them."""
        if not self._walk.may_be_done:
            return []
        done = self._walk.done
        count = int(done.sum())
        if not count or (count < self.active and count * LEAVE_SHARE < self.active):
            return []
        leave = done.nonzero().squeeze(1).tolist()
        stay = (~done).nonzero().squeeze(1)
        tokens = self._record[: self._length].cpu().numpy()
        finished = [self._finish(self._numbers[row], tokens[:, row]) for row in leave]
        self._numbers = [self._numbers[row] for row in stay.tolist()]
        self._streams.select(stay.tolist())
        self._select(stay)
        return finished

    def _finish(self, number: int, tokens: np.ndarray) -> Finished:
        end = int(np.flatnonzero(tokens == self.grammar.vocabulary.eos)[0])
        written = end + 1 - (self._length - self._walk.tokens)
        ended = written <= self.grammar.rules.max_tokens - self.grammar.closing_tokens
        return Finished(number, tokens[1:end].copy(), ended)

    def _select(self, rows: Tensor) -> None:
        """Keep (or repeat) batch rows everywhere."""
        if len(rows):
            self._cache.select(rows)
        self._index = self._index.index_select(0, rows)
        self._walk.select(rows)
        self._record = self._record.index_select(1, rows)
        if self._recent is not None:
            self._recent.select(rows)


def window_starts(lines: np.ndarray, capacity: int) -> tuple[int, np.ndarray]:
    """What is put into a cache that is filled (again).

    Args:
        lines: ``(T, B)`` which of the tokens so far begin a bar.
        capacity: tokens that the cache holds.

    Returns:
        The first token that gets a slot, 0 when all fit with room to go on, else that of the last ``capacity // 2``;
        and ``(B,)`` int64, from which token on each sample sees them: from its first bar line, or from the first slot
        where a single bar is longer than all slots. When the next filling is due does not depend on where the bars are,
        so it is the same in any batch.
    """
    length, batch = lines.shape
    if length < capacity:
        return 0, np.zeros(batch, dtype=np.int64)
    first = length - capacity // 2
    is_bar = lines[first:]
    return first, first + np.where(is_bar.any(0), is_bar.argmax(0), 0)
