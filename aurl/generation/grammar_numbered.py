"""Which tokens may follow where every note says its place: Octuple, written out.

Axes: B samples, V vocabulary, P tracks (Program tokens), K numbered bars.

The language::

    piece    = BOS note+ EOS
    note     = Bar TimeSig Position Tempo Program Pitch Velocity Duration      (PitchDrum for drums)

Bars rise, and positions inside a bar; a note of the same bar has its metre, one of the same moment its tempo; no pitch
stands twice in one track at one moment. A bar without notes is not written: its number is left out.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from aurl.data.kinds import Kind
from aurl.data.vocabulary import Vocabulary
from aurl.generation.grammar import PITCHES, Ending, Rules, runs_of
from aurl.generation.grammar_steps import StepGrammar, StepState, StepWalk
from aurl.generation.sampling import NOTHING
from aurl.utils.errors import AurlError

NOTE_TOKENS = 8
CLOSING_TOKENS = NOTE_TOKENS + 1
"""Tokens that complete a piece from any point: a note and EOS."""


class NumberedGrammar(StepGrammar):
    """Tables for one vocabulary and one set of rules; ``walk`` starts samples.

    Args:
        vocabulary: meaning of the token ids, with numbered bars.
        rules: what is asked of the samples.
        device: where the tables live.

    Raises:
        ValueError: the rules leave no note, metre or position to write, or ask for more bars than have numbers.
    """

    closing_tokens = CLOSING_TOKENS

    def __init__(self, vocabulary: Vocabulary, rules: Rules, device: torch.device | str = "cpu") -> None:
        super().__init__(vocabulary, rules, device)
        kind = np.asarray(vocabulary.kind)
        self.bars = int(np.count_nonzero(kind == Kind.BAR))
        if rules.bars is not None and rules.bars > self.bars:
            raise ValueError(f"bars={rules.bars} is out of range; allowed: up to {self.bars}, the tokenizer's max_bars")
        self.bar_positions = self._tensor(np.asarray(vocabulary.bar_positions))
        (self.bar_run,), (self.position_run,) = runs_of(kind == Kind.BAR), runs_of(kind == Kind.POSITION)

    def _followers(self, kind: np.ndarray, value: np.ndarray, allowed: np.ndarray) -> dict[StepState, np.ndarray]:
        """See ``StepGrammar._followers``."""
        of = {each: (kind == each) & allowed for each in Kind}
        return {
            StepState.START: of[Kind.BAR],
            StepState.BAR: of[Kind.TIMESIG],
            StepState.TIMESIG: of[Kind.POSITION],
            StepState.POSITION: of[Kind.TEMPO],
            StepState.TEMPO: of[Kind.PROGRAM],
            StepState.PROGRAM: of[Kind.PITCH],
            StepState.DRUM_PROGRAM: of[Kind.PITCH_DRUM],
            StepState.PITCH: of[Kind.VELOCITY],
            StepState.VELOCITY: of[Kind.DURATION],
            StepState.NOTE: of[Kind.BAR] | (kind == Kind.EOS),
            StepState.DONE: kind == Kind.PAD,
        }

    def walk(self, batch_size: int) -> NumberedWalk:
        """Samples at their beginning."""
        return NumberedWalk(self, batch_size)


class NumberedWalk(StepWalk[NumberedGrammar]):
    """Samples under way: what each may write next, and where it is in musical time; see ``walk.Walk``."""

    def __init__(self, grammar: NumberedGrammar, batch_size: int) -> None:
        super().__init__(grammar, batch_size)
        self.bar_limit = grammar.bars
        """One past the number of the last bar that may be written."""
        self._is_limited = False
        self._bar_start, self._bar = self._numbers(), self._numbers()
        self._position, self._moment = self._numbers(-1), self._numbers()
        self._tempo = self._numbers(grammar.vocabulary.pad)
        self._stays = self._numbers() > 0
        """The note under way belongs to the bar of the one before it."""
        self._same = self._numbers() > 0
        """It belongs to its moment."""
        self._played = self._numbers(-1, grammar.tracks + 1, PITCHES).to(torch.int32)
        self._now = self._numbers(0, grammar.tracks + 1)
        """Notes of each track at this moment; the last track is a bin."""

    def start_counting(self) -> None:
        """The prompt ends here: bars and tokens are counted from now on.

        Raises:
            AurlError: there are fewer numbers of bars left than are asked for.
        """
        self.tokens = 0
        bars, grammar = self.grammar.rules.bars, self.grammar
        self._is_limited = bars is not None
        if bars is None:
            return
        # The prompt's last Bar token, where nothing follows it, begins the first bar that is written.
        begun = int(self._bar[0]) + int(self._state[0] not in (StepState.START, StepState.BAR))
        if begun + bars > grammar.bars:
            raise AurlError(
                f"bars={bars} after a prompt of {begun} are more than the {grammar.bars} bars that the tokenizer has "
                f"numbers for; ask for up to {grammar.bars - begun}, or train with a larger tokenizer.max_bars"
            )
        self.bar_limit = begun + bars

    def advance(self, token: Tensor) -> None:
        """Read one token of each sample, ``(B,)`` int64."""
        grammar, kind = self.grammar, self.grammar.kind[token]
        self.tokens += 1
        value, vocabulary = grammar.value[token], grammar.vocabulary
        is_bar, is_metre, is_position = kind == Kind.BAR, kind == Kind.TIMESIG, kind == Kind.POSITION
        is_first = self._metre == vocabulary.pad
        rise = torch.where(is_bar, value - self._bar, 0).clamp_(min=0)
        is_new = is_bar & ((rise > 0) | is_first)
        jump = torch.where(is_first, 0, rise * grammar.bar_ticks[self._metre])
        self._bar_start += jump
        self._bar += rise
        # Bars before the first one have its own metre, which is known from here on.
        at_first = is_metre & is_first
        self._bar_start = torch.where(at_first, self._bar * grammar.bar_ticks[token], self._bar_start)
        self._metre = torch.where(is_metre, token, self._metre)
        self._tick = torch.where((is_new & ~is_first) | at_first, self._bar_start, self._tick)
        self._stays = torch.where(is_bar, ~is_new, self._stays)
        self._same = torch.where(is_position, self._stays & (value == self._position), self._same)
        place = self._bar_start + value * grammar.position_ticks[self._metre]
        self._tick = torch.where(is_position, place, self._tick)
        self._position = torch.where(is_position, value, torch.where(is_new, -1, self._position))
        fresh = is_new | (is_position & ~self._same)
        self._moment += fresh
        self._now.masked_fill_(fresh[:, None], 0)
        self._tempo = torch.where(kind == Kind.TEMPO, token, self._tempo)
        self._bar_tokens = torch.where(is_new, 1, self._bar_tokens + 1)
        self._track = torch.where(kind == Kind.PROGRAM, grammar.track[token], self._track)
        self._is_pitch = (kind == Kind.PITCH) | (kind == Kind.PITCH_DRUM)
        self._notes += kind == Kind.DURATION
        track = torch.where(self._is_pitch, self._track, grammar.tracks)
        at = (self._rows, track, torch.where(self._is_pitch, value, 0))
        self._played[at] = self._moment.to(torch.int32)
        self._now[at[:2]] += self._is_pitch
        self._state = grammar.state[token]

    def restrict(self, logits: Tensor) -> Tensor:
        """Set the logits ``(B, V)`` of tokens that may not be written next to -inf, in place.

        Every row keeps at least one token.
        """
        grammar, rules, state = self.grammar, self.grammar.rules, self._state
        closing = self.tokens >= rules.max_tokens - CLOSING_TOKENS
        full = self._bar_tokens >= rules.max_bar_tokens
        last = self._bar + 1 >= self.bar_limit
        may_end = last | closing | (rules.bars is None or rules.ending is Ending.model)
        number = torch.arange(grammar.bars, device=logits.device)
        free = self._now[:, :-1] < grammar.room[:-1]  # (B, P)
        crowded = ~free.any(1)  # every track has played all its pitches at this moment
        stuck = crowded & (self._position + 1 >= grammar.bar_positions[self._metre])
        stays = (number == self._bar[:, None]) & ~(full | stuck)[:, None]
        first = (self._position < 0)[:, None]  # nothing is written yet
        later = (number > self._bar[:, None]) | (first & (number == self._bar[:, None]))
        allowed = (stays | later) & (number < self.bar_limit)
        if self._is_limited:
            self._meet_the_end(logits, may_end, allowed)
        if closing:
            allowed &= (state == StepState.START)[:, None]
        logits += grammar.barrier.index_select(0, state)
        logits[:, grammar.bar_run].masked_fill_(~allowed, NOTHING)
        logits[:, grammar.vocabulary.eos].masked_fill_(~may_end & (state != StepState.DONE), NOTHING)
        self._keep(logits[:, grammar.metre_run], self._metre - grammar.metre_run.start, self._stays)
        position = torch.arange(grammar.position_run.stop - grammar.position_run.start, device=logits.device)
        earliest = torch.where(self._stays, self._position + crowded, 0)
        outside = (position < earliest[:, None]) | (position >= grammar.bar_positions[self._metre][:, None])
        logits[:, grammar.position_run].masked_fill_(outside, NOTHING)
        self._keep(logits[:, grammar.tempo_run], self._tempo - grammar.tempo_run.start, self._same)
        for run, track in grammar.program_runs:
            logits[:, run].masked_fill_(~free.index_select(1, track), NOTHING)
        heard = self._played[self._rows, self._track] == self._moment[:, None]
        for run, pitch in grammar.pitch_runs:
            logits[:, run].masked_fill_(heard.index_select(1, pitch), NOTHING)
        return logits

    @staticmethod
    def _keep(columns: Tensor, only: Tensor, where: Tensor) -> None:
        """In the rows ``where`` (B,), forbid all ``columns`` (B, n) but the one ``only`` (B,)."""
        others = torch.arange(columns.shape[1], device=columns.device) != only[:, None]
        columns.masked_fill_(others & where[:, None], NOTHING)

    def _meet_the_end(self, logits: Tensor, may_end: Tensor, allowed: Tensor) -> None:
        """Later bars than the last give their probability to the end; where the piece may not end yet, the end gives it
        to the next bar. See ``Walk._meet_the_end``.
        """
        grammar, end = self.grammar, self.grammar.vocabulary.eos
        bars = logits[:, grammar.bar_run]
        beyond = torch.arange(grammar.bars, device=logits.device) >= self.bar_limit
        leaving = bars.masked_fill(~beyond, NOTHING).logsumexp(1)
        following = (self._bar + 1).clamp(max=grammar.bars - 1)[:, None]
        onto = bars.gather(1, following)
        grown = torch.logaddexp(onto, logits[:, end : end + 1])
        ends = may_end | ~allowed.gather(1, following).squeeze(1)
        bars.scatter_(1, following, torch.where(ends[:, None], onto, grown))
        logits[:, end] = torch.where(may_end, torch.logaddexp(logits[:, end], leaving), logits[:, end])

    @property
    def bar(self) -> Tensor:
        """Bar number of the last token, ``(B,)`` float32."""
        return self._bar.float()
