"""Learned tokens obey the grammar: each is a sequence of base tokens, and the base grammar walks through all of them.

Axes: B samples, V base vocabulary, W merged vocabulary, L parts of the longest learned token.

A learned token may be drawn where its first part may follow. That its other parts may follow too is seen when one is
drawn (``refused``): the few that break a rule only then (a pitch twice at one moment, a track that is full) are drawn
again, which leaves every allowed token its share of probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from aurl.data.kinds import Kind
from aurl.data.merges import MergedVocabulary, Merges
from aurl.generation.grammar import allowed_tokens
from aurl.generation.sampling import NOTHING
from aurl.generation.walk import Walk

if TYPE_CHECKING:
    from aurl.generation.grammars import BaseGrammar, BaseWalk

SAFE_TOKENS = 4
"""Tokens for each part of the longest learned token that are kept in reserve: a note with an end costs five."""


class MergedGrammar:
    """A base grammar and the learned tokens.

    Args:
        base: grammar of the base tokens.
        merges: the learned tokens.
    """

    def __init__(self, base: BaseGrammar, merges: Merges) -> None:
        self.base, self.merges = base, merges
        self.rules, self.device, self.tracks = base.rules, base.device, base.tracks
        self.closing_tokens = base.closing_tokens
        self.vocabulary = MergedVocabulary(base.vocabulary, merges)
        allowed = allowed_tokens(base.vocabulary, base.rules) | np.isin(
            base.vocabulary.kind, (Kind.NOTE_OFF, Kind.NOTE_OFF_DRUM)
        )
        learned = merges.parts[merges.base_size :]
        self.parts = torch.from_numpy(merges.parts).to(self.device)
        self.lengths = torch.from_numpy(merges.lengths).to(self.device)
        self.first = self.parts[merges.base_size :, 0]
        self.forbidden = torch.from_numpy(~(allowed[learned] | (learned < 0)).all(1)).to(self.device)
        self.reserve = SAFE_TOKENS * merges.parts.shape[1]


class MergedWalk:
    """Samples under way in merged tokens; see ``walk.Walk``, whose answers are passed on."""

    def __init__(self, grammar: MergedGrammar, base: BaseWalk) -> None:
        self.grammar, self.base = grammar, base

    @property
    def tokens(self) -> int:
        """Merged tokens written since the prompt."""
        return self.base.tokens

    def start_counting(self) -> None:
        """The prompt ends here."""
        self.base.start_counting()

    def advance(self, token: Tensor) -> None:
        """Read one merged token of each sample, ``(B,)`` int64."""
        parts, lengths = self.grammar.parts[token], self.grammar.lengths[token]
        self.base.advance(parts[:, 0])
        written = self.base.tokens
        for place in range(1, int(lengths.max())):
            self._advance_some(parts[:, place], lengths > place)
        self.base.tokens = written

    def _advance_some(self, token: Tensor, some: Tensor) -> None:
        saved = _saved(self.base)
        self.base.advance(torch.where(some, token, self.grammar.vocabulary.pad))
        _restore(self.base, saved, ~some)

    def restrict(self, logits: Tensor) -> Tensor:
        """Set the logits ``(B, W)`` of tokens that may not be written next to -inf, in place; see ``refused``."""
        grammar = self.grammar
        base, learned = logits[:, : grammar.merges.base_size], logits[:, grammar.merges.base_size :]
        self.base.restrict(base)
        learned.masked_fill_(~torch.isfinite(base).index_select(1, grammar.first) | grammar.forbidden, NOTHING)
        reserve = grammar.reserve + grammar.closing_tokens
        sounding = self.base.sounding
        left = grammar.rules.max_tokens - self.tokens - 2 * sounding
        learned.masked_fill_((left < reserve)[:, None], NOTHING)
        return logits

    def refused(self, token: Tensor) -> Tensor:
        """Where a part of a drawn token ``(B,)`` may not follow the parts before it, ``(B,)`` bool."""
        grammar = self.grammar
        parts, lengths = grammar.parts[token], grammar.lengths[token]
        refused = torch.zeros_like(lengths, dtype=torch.bool)
        most = int(lengths.max())
        if most == 1:
            return refused
        saved, written = _saved(self.base), self.base.tokens
        for place in range(most):
            some = lengths > place
            at = torch.where(some, parts[:, place], grammar.vocabulary.pad)
            if place:
                logits = torch.zeros(len(token), grammar.merges.base_size, device=grammar.device)
                follows = torch.isfinite(self.base.restrict(logits)).gather(1, at[:, None]).squeeze(1)
                refused |= some & ~follows
            self.base.advance(at)
        _restore(self.base, saved, torch.ones_like(refused))
        self.base.tokens = written
        return refused

    @property
    def beat(self) -> Tensor:
        """Onset of the last token, which all its parts have, ``(B,)`` float32."""
        return self.base.beat

    @property
    def bar(self) -> Tensor:
        """Bar number of the last token, ``(B,)`` float32."""
        return self.base.bar

    @property
    def notes(self) -> Tensor:
        """Complete notes of each sample, ``(B,)``."""
        return self.base.notes

    @property
    def may_be_done(self) -> bool:
        """False when it is known without waiting that no sample has ended."""
        return self.base.may_be_done

    @property
    def done(self) -> Tensor:
        """Which samples have ended, ``(B,)`` bool."""
        return self.base.done

    @property
    def writes_pitch(self) -> Tensor:
        """Which samples write a pitch next, ``(B,)`` bool."""
        return self.base.writes_pitch

    @property
    def track(self) -> Tensor:
        """Track of the last Program token of each sample, ``(B,)`` int64."""
        return self.base.track

    @property
    def is_pitch(self) -> Tensor:
        """Where the last token was a pitch (or ended with one), ``(B,)`` bool."""
        return self.base.is_pitch

    def select(self, rows: Tensor) -> None:
        """Keep the given batch rows, in that order."""
        self.base.select(rows)


def _saved(walk: BaseWalk) -> dict[str, Tensor]:
    """Copies of what a walk remembers of each sample."""
    if isinstance(walk, Walk):
        return {name: getattr(walk, name).clone() for name in ("_state", "_played", "_played_now")}
    return {name: value.clone() for name, value in vars(walk).items() if isinstance(value, Tensor)}


def _restore(walk: BaseWalk, saved: dict[str, Tensor], rows: Tensor) -> None:
    """Give the rows ``(B,)`` bool back what was saved of them."""
    for name, old in saved.items():
        value = getattr(walk, name)
        samples = rows if name == "_state" and value.ndim == 2 else rows.view(-1, *[1] * (value.ndim - 1))
        value.copy_(torch.where(samples, old, value))
    if isinstance(walk, Walk):
        walk.look_again()
