"""Which tokens may follow where time moves by shifts: TSD (notes with durations) and MIDI-like (notes with ends).

Axes: B samples, V vocabulary, P tracks (Program tokens), H TimeShift tokens.

The language::

    piece    = BOS moment (TimeShift+ moment)* EOS
    moment   = [TimeSig] [Tempo] event*     (TimeSig first of all, later only at a bar line; an event or one of them)
    event    = Program Pitch Velocity Duration                      (TSD; PitchDrum for drums)
             | Program NoteOn Velocity | Program NoteOff            (MIDI-like; DrumOn, DrumOff for drums)
    EOS      only after a complete note and, with note ends, only when nothing sounds

No pitch begins twice in one track at one moment, or while it sounds; only what sounds since an earlier moment may end.
Where the piece has a given number of bars no shift leaves the last one, but for notes that end at its end. Every sample
can always go on: what still has to be written to end all notes is kept within max_tokens.

Musical time is kept in whole ticks, as in ``aurl.data.timeline``; nothing here loops over the batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from aurl.data.kinds import Form, Kind
from aurl.data.vocabulary import Vocabulary
from aurl.generation.grammar import CLOSING_TOKENS, PITCHES, Ending, Rules, runs_of
from aurl.generation.grammar_steps import StepGrammar, StepState, StepWalk
from aurl.generation.sampling import NOTHING

CLOSING_MARGIN = 8
"""Tokens kept for the end of a piece with note ends, beside two for each note that sounds: a note under way (Program,
NoteOn, Velocity, and its end), a shift to where it may end, EOS."""
FAR = 2**40
"""A tick after any piece."""


class ShiftGrammar(StepGrammar):
    """Tables for one vocabulary and one set of rules; ``walk`` starts samples.

    Args:
        vocabulary: meaning of the token ids, with time shifts.
        rules: what is asked of the samples.
        device: where the tables live.

    Raises:
        ValueError: the rules leave no note, metre or shift to write.
    """

    keeps_all_tracks = True

    def __init__(self, vocabulary: Vocabulary, rules: Rules, device: torch.device | str = "cpu") -> None:
        self.has_ends = vocabulary.form is Form.note_ends
        self.closing_tokens = CLOSING_MARGIN if self.has_ends else CLOSING_TOKENS
        super().__init__(vocabulary, rules, device)
        kind = np.asarray(vocabulary.kind)
        (self.shift_run,) = runs_of(kind == Kind.TIME_SHIFT)
        self.shifts = self.value[self.shift_run]  # (H,) positions
        self.end_runs = self._value_runs(np.isin(kind, (Kind.NOTE_OFF, Kind.NOTE_OFF_DRUM)))

    def _followers(self, kind: np.ndarray, value: np.ndarray, allowed: np.ndarray) -> dict[StepState, np.ndarray]:
        """See ``StepGrammar._followers``."""
        of = {each: (kind == each) & allowed for each in Kind}
        program = kind == Kind.PROGRAM  # those that may not be played may still have notes to end
        shift, eos = kind == Kind.TIME_SHIFT, kind == Kind.EOS
        moment = program | shift
        return {
            StepState.START: of[Kind.TIMESIG],
            StepState.TIMESIG: of[Kind.TEMPO] | moment | eos,
            StepState.TEMPO: moment,
            StepState.SHIFT: of[Kind.TIMESIG] | of[Kind.TEMPO] | moment,
            StepState.PROGRAM: of[Kind.PITCH] | (kind == Kind.NOTE_OFF),
            StepState.DRUM_PROGRAM: of[Kind.PITCH_DRUM] | (kind == Kind.NOTE_OFF_DRUM),
            StepState.PITCH: of[Kind.VELOCITY],
            StepState.VELOCITY: moment if self.has_ends else of[Kind.DURATION],
            StepState.NOTE: moment | eos,
            StepState.DONE: kind == Kind.PAD,
        }

    def walk(self, batch_size: int) -> ShiftWalk:
        """Samples at their beginning."""
        return ShiftWalk(self, batch_size)


class ShiftWalk(StepWalk[ShiftGrammar]):
    """Samples under way: what each may write next, and where it is in musical time; see ``walk.Walk``."""

    def __init__(self, grammar: ShiftGrammar, batch_size: int) -> None:
        super().__init__(grammar, batch_size)
        self.bar_limit: int | None = None
        """One past the number of the last bar; None leaves the length to the model."""
        self._section, self._first_bar = self._numbers(), self._numbers()
        self._sounding = self._numbers(0, grammar.tracks + 1, PITCHES).to(torch.int16)
        self._begun = self._numbers(-1, grammar.tracks + 1, PITCHES).to(torch.int32)
        """Tick at which each track last began each pitch."""
        self._count, self._new, self._new_tick = (self._numbers(first, grammar.tracks + 1) for first in (0, 0, -1))
        """Notes of each track that sound, and those begun at the tick ``_new_tick``; the last track is a bin."""

    def start_counting(self) -> None:
        """The prompt ends here: bars and tokens are counted from now on."""
        self.tokens = 0
        bars = self.grammar.rules.bars
        self.bar_limit = None if bars is None else int(self._bar_number()[0]) + bars

    def advance(self, token: Tensor) -> None:
        """Read one token of each sample, ``(B,)`` int64."""
        grammar, kind = self.grammar, self.grammar.kind[token]
        self.tokens += 1
        self._state = grammar.state[token]
        value = grammar.value[token]
        before = self._bar_number()
        is_shift, is_metre = kind == Kind.TIME_SHIFT, kind == Kind.TIMESIG
        self._tick += torch.where(is_shift, value * grammar.position_ticks[self._metre], 0)
        into, length = self._tick - self._section, grammar.bar_ticks[self._metre]
        begun = self._first_bar + torch.div(into + length - 1, length, rounding_mode="floor")
        self._first_bar = torch.where(is_metre, begun, self._first_bar)
        self._section = torch.where(is_metre, self._tick, self._section)
        self._metre = torch.where(is_metre, token, self._metre)
        self._bar_tokens = torch.where(self._bar_number() > before, 1, self._bar_tokens + 1)
        is_program = kind == Kind.PROGRAM
        self._track = torch.where(is_program, grammar.track[token], self._track)
        self._is_pitch = (kind == Kind.PITCH) | (kind == Kind.PITCH_DRUM)
        self._enter(kind, value)

    def _enter(self, kind: Tensor, value: Tensor) -> None:
        """Begin and end notes; every other token is entered in the bin, the last track."""
        grammar = self.grammar
        is_end = (kind == Kind.NOTE_OFF) | (kind == Kind.NOTE_OFF_DRUM)
        self._notes += kind == Kind.DURATION
        track = torch.where(self._is_pitch | is_end, self._track, grammar.tracks)
        pitch = torch.where(self._is_pitch | is_end, value, 0)
        at = (self._rows, track, pitch)
        new = torch.where(self._new_tick[at[:2]] == self._tick, self._new[at[:2]], 0)
        self._new[at[:2]] = new + self._is_pitch
        self._new_tick[at[:2]] = torch.where(self._is_pitch, self._tick, self._new_tick[at[:2]])
        if grammar.has_ends:
            ended = is_end & (self._sounding[at] > 0)
            self._notes += ended
            change = self._is_pitch.to(torch.int16) - ended.to(torch.int16)
            self._sounding[at] += change
            self._count[at[:2]] += change
        self._begun[at] = torch.where(self._is_pitch, self._tick, self._begun[at]).to(torch.int32)

    def restrict(self, logits: Tensor) -> Tensor:
        """Set the logits ``(B, V)`` of tokens that may not be written next to -inf, in place.

        Every row keeps at least one token.
        """
        grammar, rules = self.grammar, self.grammar.rules
        sounding = self.sounding
        if grammar.has_ends:
            closing = self.tokens >= rules.max_tokens - CLOSING_MARGIN - 2 * sounding
        else:
            closing = torch.full_like(sounding, self.tokens >= rules.max_tokens - CLOSING_TOKENS) > 0
        length = grammar.bar_ticks[self._metre]
        to_line = length - (self._tick - self._section) % length  # (B,) ticks to the next bar line
        if self.bar_limit is None:
            room = torch.full_like(self._tick, FAR)
        else:
            room = self._section + (self.bar_limit - self._first_bar) * length - self._tick
        last = room <= to_line
        full = (self._bar_tokens >= rules.max_bar_tokens) & ~closing
        may_end = closing | last | (rules.bars is None or rules.ending is Ending.model)
        may_end &= (sounding == 0) & ((self._state == StepState.NOTE) | closing)
        ticks = grammar.shifts * grammar.position_ticks[self._metre][:, None]  # (B, H)
        inside = ticks < room[:, None]
        if grammar.has_ends:
            inside |= (ticks == room[:, None]) & (sounding > 0)[:, None]
        if self.bar_limit is not None:
            self._meet_the_end(logits, ticks, inside, may_end, to_line, sounding)
        logits += grammar.barrier.index_select(0, self._state)
        logits[:, grammar.vocabulary.eos].masked_fill_(~may_end & (self._state != StepState.DONE), NOTHING)
        self._restrict_shifts(logits, ticks, inside, to_line, closing, full, last, sounding)
        over = closing | (room <= 0)
        marks = over | full
        logits[:, grammar.tempo_run].masked_fill_(marks[:, None], NOTHING)
        starts = self._state == StepState.START
        here = (to_line == length) & ~marks  # a bar line
        logits[:, grammar.metre_run].masked_fill_(~(here | starts)[:, None], NOTHING)
        same = (self._metre - grammar.metre_run.start).clamp(min=0)[:, None]
        known = (self._metre != grammar.vocabulary.pad)[:, None]
        columns = logits[:, grammar.metre_run]
        columns.scatter_(1, same, torch.where(known, NOTHING, columns.gather(1, same)))
        self._restrict_notes(logits, closing, full, last, room, sounding)
        return logits

    def _meet_the_end(
        self, logits: Tensor, ticks: Tensor, inside: Tensor, may_end: Tensor, to_line: Tensor, sounding: Tensor
    ) -> None:
        """What leads out of the last bar gives its probability to the end or, while notes sound, to the bar's end;
        and where the piece may not end yet, the end gives it to the way into the next bar. See ``Walk._meet_the_end``.
        """
        grammar, end = self.grammar, self.grammar.vocabulary.eos
        shifts = logits[:, grammar.shift_run]
        leaving = shifts.masked_fill(inside, NOTHING).logsumexp(1)
        longest = torch.where(inside, ticks, -1).argmax(1, keepdim=True)
        fits = inside.any(1)
        to_shift = ~may_end & fits & (sounding > 0)
        onto = shifts.gather(1, longest)
        grown = torch.logaddexp(onto, leaving[:, None])
        if grammar.rules.ending is Ending.exact:
            line = torch.where(inside & (ticks <= to_line[:, None]), ticks, -1).argmax(1, keepdim=True)
            to_next = ~may_end & fits & (self._state == StepState.NOTE)
            ended = torch.logaddexp(shifts.gather(1, line), logits[:, end : end + 1])
            shifts.scatter_(1, line, torch.where(to_next[:, None], ended, shifts.gather(1, line)))
        leaves = torch.isfinite(leaving) & to_shift
        shifts.scatter_(1, longest, torch.where(leaves[:, None], grown, shifts.gather(1, longest)))
        logits[:, end] = torch.where(may_end, torch.logaddexp(logits[:, end], leaving), logits[:, end])

    def _restrict_shifts(
        self,
        logits: Tensor,
        ticks: Tensor,
        inside: Tensor,
        to_line: Tensor,
        closing: Tensor,
        full: Tensor,
        last: Tensor,
        sounding: Tensor,
    ) -> None:
        """Where time may move to: not out of the last bar; out of a bar that is full; not while a piece closes, but for
        the one shift after which notes that began just now may end.
        """
        allowed = inside
        line = to_line[:, None]
        nearest = torch.where(ticks <= line, ticks, -1).amax(1, keepdim=True)
        allowed = torch.where((full & ~last)[:, None], allowed & ((ticks >= line) | (ticks == nearest)), allowed)
        allowed = torch.where(((full & last) & (sounding == 0))[:, None], False, allowed)
        waits = (sounding > 0) & (self._old().sum(1) == 0)
        allowed = torch.where(closing[:, None], allowed & waits[:, None], allowed)
        logits[:, self.grammar.shift_run].masked_fill_(~allowed, NOTHING)

    def _restrict_notes(
        self, logits: Tensor, closing: Tensor, full: Tensor, last: Tensor, room: Tensor, sounding: Tensor
    ) -> None:
        """Which tracks may write, and which pitches begin and end."""
        grammar = self.grammar
        ends_here = self._old() if grammar.has_ends else torch.zeros_like(self._count)
        old = ends_here > 0  # (B, P + 1): something of the track may end
        playing = self._count if grammar.has_ends else torch.where(self._new_tick == self._tick[:, None], self._new, 0)
        free = playing < grammar.room
        state = self._state
        waits = (state != StepState.NOTE) & (sounding == 0)  # nothing sounds, and the piece cannot end without a note
        may_begin = torch.where(closing, waits & (state != StepState.TIMESIG), torch.where(full, waits & last, True))
        may_begin &= room > 0
        writes = old | (free & may_begin[:, None])
        for run, track in grammar.program_runs:
            logits[:, run].masked_fill_(~writes.index_select(1, track), NOTHING)
        at = (self._rows, self._track)
        begun = self._begun[at]  # (B, 128)
        taken = self._sounding[at] > 0 if grammar.has_ends else begun == self._tick[:, None]
        only_ends = (closing | full | (room <= 0)) & old[at] if grammar.has_ends else torch.zeros_like(closing)
        for run, pitch in grammar.pitch_runs:
            blocked = taken.index_select(1, pitch) | only_ends[:, None]
            logits[:, run].masked_fill_(blocked, NOTHING)
        may_stop = (self._sounding[at] > 0) & (begun < self._tick[:, None])
        for run, pitch in grammar.end_runs:
            logits[:, run].masked_fill_(~may_stop.index_select(1, pitch), NOTHING)

    def _old(self) -> Tensor:
        """Notes of each track that sound since an earlier moment ``(B, P + 1)``; nothing in the bin."""
        new = torch.where(self._new_tick == self._tick[:, None], self._new, 0)
        old = (self._count - new).clamp_(min=0)
        old[:, -1] = 0
        return old

    def _bar_number(self) -> Tensor:
        length = self.grammar.bar_ticks[self._metre]
        return self._first_bar + torch.div(self._tick - self._section, length, rounding_mode="floor")

    @property
    def bar(self) -> Tensor:
        """Bar number of the last token, ``(B,)`` float32."""
        return self._bar_number().float()

    @property
    def sounding(self) -> Tensor:
        """Notes of each sample whose end is still to be written, ``(B,)``."""
        return self._count[:, :-1].sum(1)
