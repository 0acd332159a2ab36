"""Samples on their way through the grammar: what each may write next, and where it is in musical time.

Axes: B samples, V vocabulary, S state variables, P tracks. The tables and their meaning are in grammar.py; nothing here
loops over the batch or waits for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aurl.generation.grammar import CLOSING, LAST, MODES, PITCHES, Ending, Grammar, State, Var
from aurl.generation.sampling import NOTHING


def _rows_of(*states: State) -> frozenset[float]:
    """The values of ``Var.ROW`` in those states."""
    return frozenset(float(state * MODES) for state in states)


MOMENT_STATES = _rows_of(State.BAR, State.POSITION)
PITCH_STATES = _rows_of(State.PITCH)
PITCH_FOLLOWS = _rows_of(State.PROGRAM, State.DRUM_PROGRAM)
POSITION_FOLLOWS = _rows_of(State.TIMESIG, State.TEMPO, State.CHORD, State.DURATION)
PROGRAM_FOLLOWS = _rows_of(State.POSITION, State.TEMPO, State.CHORD, State.DURATION)
DONE_STATES = _rows_of(State.DONE)


class Walk:
    """Samples under way: what each may write next, and where it is in musical time.

    Float32 holds every count exactly up to 2**24, far beyond any piece.
    """

    def __init__(self, grammar: Grammar, batch_size: int) -> None:
        self.grammar = grammar
        device, tracks = grammar.device, grammar.tracks
        self.tokens = 0
        """Tokens written since :meth:`start_counting`, the same for every sample."""
        self.bar_limit = float("inf")
        self._state = torch.zeros(len(Var), batch_size, device=device)
        self._state[Var.TRACK] = tracks
        # When each track last played each pitch, as the number of a moment; the last track is a bin.
        self._played = torch.full((batch_size, tracks + 1, PITCHES), -1.0, device=device)
        self._played_now = torch.zeros(batch_size, tracks + 1, device=device)
        self._name_rows()

    def _name_rows(self) -> None:
        """Views of the state's rows, made once: slicing at every step would cost more than the arithmetic."""
        self._rows = self._state.unbind(0)
        self._columns = [row.unsqueeze(1) for row in self._rows]
        batch, tracks = self._played_now.shape
        self._first_track = torch.arange(batch, device=self._state.device) * tracks
        self._track_slots = self._played.view(-1, PITCHES)
        self._states = self._look()

    def start_counting(self) -> None:
        """The prompt ends here: bars and tokens are counted from now on."""
        self.tokens = 0
        bars = self.grammar.rules.bars
        # The prompt's last Bar token, where there is one, already begins the first bar that is written.
        begun = int(self._rows[Var.BARS][0]) - int(self._rows[Var.IS_BAR][0])
        self.bar_limit = float("inf") if bars is None else begun + bars

    def advance(self, token: Tensor) -> None:
        """Read one token of each sample, ``(B,)`` int64."""
        grammar, rows = self.grammar, self._rows
        self.tokens += 1
        self._state.mul_(grammar.keep.index_select(1, token)).add_(grammar.put.index_select(1, token))
        self._states = self._look()
        if self._is_any(MOMENT_STATES):
            rows[Var.BAR_START].addcmul_(rows[Var.IS_BAR], rows[Var.BAR_QUARTERS])
            self._played_now.mul_(self._columns[Var.KEEP_MOMENT])
        if not self._is_any(PITCH_STATES):
            return
        # A pitch is entered for its track; every other token is entered in the bin, the last track.
        track = torch.where(rows[Var.IS_PITCH] > 0, rows[Var.TRACK], grammar.tracks).long().add_(self._first_track)
        slot = track.mul(PITCHES).add_(rows[Var.PITCH].long())
        self._played.view(-1).index_copy_(0, slot, rows[Var.MOMENT])
        self._played_now.view(-1).index_add_(0, track, rows[Var.IS_PITCH])

    def _look(self) -> set[float] | None:
        """States of all samples (times MODES), so that what concerns none of them is left out; elsewhere than on the
        CPU the question would wait for the device, and everything is done.
        """
        return set(self._rows[Var.ROW].tolist()) if self._state.device.type == "cpu" else None

    def look_again(self) -> None:
        """Note the states of all samples after they were changed from outside."""
        self._states = self._look()

    def _is_any(self, states: frozenset[float]) -> bool:
        return self._states is None or not states.isdisjoint(self._states)

    def restrict(self, logits: Tensor) -> Tensor:
        """Set the logits ``(B, V)`` of tokens that may not be written next to -inf, in place.

        Every row keeps at least one token.
        """
        grammar, rows = self.grammar, self._rows
        if grammar.rules.bars is not None:
            self._meet_the_end(logits)
        if self.tokens >= grammar.rules.max_tokens - grammar.closing_tokens:
            row = rows[Var.ROW].div(MODES).add_(CLOSING)
        else:
            full = rows[Var.BAR_TOKENS] >= grammar.rules.max_bar_tokens
            row = rows[Var.ROW].add(full).add_(rows[Var.BARS] >= self.bar_limit, alpha=LAST)
        logits += grammar.barrier.index_select(0, row.long())
        if self._is_any(POSITION_FOLLOWS):
            place = rows[Var.METRE].add(rows[Var.POSITION]).long()
            for run, late in zip(grammar.positions, grammar.late, strict=True):
                logits[:, run] += late.index_select(0, place)
        if self._is_any(PITCH_FOLLOWS):
            self._forbid_heard(logits)
        if self._is_any(PROGRAM_FOLLOWS):
            self._forbid_exhausted(logits)
        return logits

    def _meet_the_end(self, logits: Tensor) -> None:
        """Where the length asked for forbids a bar line, the end takes its probability, and the other way round.

        Without this a model that is sure of the next bar line would spend the last bar on notes it finds unlikely, and
        one that is sure of its end would go on with them.
        """
        bar, end = self.grammar.bar, self.grammar.vocabulary.eos
        over = torch.logaddexp(logits[:, bar], logits[:, end])
        is_last = self._rows[Var.BARS] >= self.bar_limit
        logits[:, end] = torch.where(is_last, over, logits[:, end])
        if self.grammar.rules.ending is Ending.exact:
            logits[:, bar] = torch.where(is_last, logits[:, bar], over)

    def _forbid_heard(self, logits: Tensor) -> None:
        """No pitch twice in one track at one moment."""
        grammar, columns = self.grammar, self._columns
        now = self._track_slots.index_select(0, self._track_rows()) == columns[Var.MOMENT]
        for run, pitch in grammar.pitches:
            logits[:, run].masked_fill_(now.index_select(1, pitch), NOTHING)

    def _forbid_exhausted(self, logits: Tensor) -> None:
        """No further note for a track that has played all its pitches at this moment."""
        grammar = self.grammar
        if self._states is not None and int(self._rows[Var.NOTES_NOW].max()) < grammar.least_room:
            return
        exhausted = self._played_now >= grammar.room
        for run, track in grammar.programs:
            logits[:, run].masked_fill_(exhausted.index_select(1, track), NOTHING)

    def _track_rows(self) -> Tensor:
        return self._rows[Var.TRACK].long().add_(self._first_track)

    @property
    def beat(self) -> Tensor:
        """Onset of the last token in quarter notes since the start of the piece, ``(B,)`` float32."""
        rows = self._rows
        return torch.addcmul(rows[Var.BAR_START], rows[Var.OFFSET], rows[Var.POSITION_QUARTERS])

    @property
    def bar(self) -> Tensor:
        """Bar number of the last token, ``(B,)`` float32; 0 in the first bar and before it."""
        return (self._rows[Var.BARS] - 1).clamp_(min=0)

    @property
    def sounding(self) -> Tensor:
        """Notes of each sample whose end is still to be written, ``(B,)``: none, as notes have durations."""
        return torch.zeros_like(self._rows[Var.NOTES])

    @property
    def notes(self) -> Tensor:
        """Complete notes of each sample, ``(B,)`` float32, the prompt's included."""
        return self._rows[Var.NOTES]

    @property
    def may_be_done(self) -> bool:
        """False when it is known without waiting that no sample has ended."""
        return self._is_any(DONE_STATES)

    @property
    def done(self) -> Tensor:
        """Which samples have ended, ``(B,)`` bool."""
        return self._rows[Var.ROW] == State.DONE * MODES

    @property
    def writes_pitch(self) -> Tensor:
        """Which samples write a pitch next (drums not counted), ``(B,)`` bool."""
        return self._rows[Var.ROW] == State.PROGRAM * MODES

    @property
    def track(self) -> Tensor:
        """Track of the last Program token of each sample, ``(B,)`` int64 below P, or P for none."""
        return self._rows[Var.TRACK].long()

    @property
    def is_pitch(self) -> Tensor:
        """Where the last token was a pitch, ``(B,)`` bool."""
        return self._rows[Var.IS_PITCH] > 0

    def select(self, rows: Tensor) -> None:
        """Keep the given batch rows, in that order (one row may be repeated)."""
        self._state = self._state.index_select(1, rows)
        self._played = self._played.index_select(0, rows)
        self._played_now = self._played_now.index_select(0, rows)
        self._name_rows()
