"""What the grammars without Bar tokens share, those of grammar_shifts.py and grammar_numbered.py.

Each sample has a state, what its last token was, and a table says which tokens may follow it; rules about time and
notes are added by the grammar itself. Axes: B samples, V vocabulary, P tracks (Program tokens that may be played).
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from aurl.data.kinds import Kind
from aurl.data.vocabulary import Vocabulary
from aurl.generation.grammar import Rules, allowed_tokens, runs_of


class StepState(IntEnum):
    """What the last token was; each grammar reaches those whose tokens it has. Unlike the states of grammar.py they do
    not number rows of a table of linear steps, and a note ends in one state however it ends.
    """

    START = 0
    BAR = auto()
    TIMESIG = auto()
    POSITION = auto()
    TEMPO = auto()
    SHIFT = auto()
    PROGRAM = auto()
    DRUM_PROGRAM = auto()
    PITCH = auto()
    VELOCITY = auto()
    NOTE = auto()
    """A note is complete: Duration, or the end of a note."""
    DONE = auto()


STATES = {
    Kind.BAR: StepState.BAR,
    Kind.TIMESIG: StepState.TIMESIG,
    Kind.POSITION: StepState.POSITION,
    Kind.TEMPO: StepState.TEMPO,
    Kind.TIME_SHIFT: StepState.SHIFT,
    Kind.PROGRAM: StepState.PROGRAM,
    Kind.PITCH: StepState.PITCH,
    Kind.PITCH_DRUM: StepState.PITCH,
    Kind.VELOCITY: StepState.VELOCITY,
    Kind.DURATION: StepState.NOTE,
    Kind.NOTE_OFF: StepState.NOTE,
    Kind.NOTE_OFF_DRUM: StepState.NOTE,
    Kind.EOS: StepState.DONE,
    Kind.PAD: StepState.DONE,
}


class StepGrammar:
    """Tables for one vocabulary and one set of rules.

    Args:
        vocabulary: meaning of the token ids.
        rules: what is asked of the samples.
        device: where the tables live.

    Raises:
        ValueError: the rules leave nothing to write of a kind that every piece needs.
    """

    keeps_all_tracks = False
    """Whether programs that may not be played have tracks too, for the notes of a prompt that they have to end."""

    def __init__(self, vocabulary: Vocabulary, rules: Rules, device: torch.device | str = "cpu") -> None:
        self.vocabulary, self.rules, self.device = vocabulary, rules, torch.device(device)
        kind, value = np.asarray(vocabulary.kind), np.asarray(vocabulary.value)
        allowed = allowed_tokens(vocabulary, rules)
        is_program = (kind == Kind.PROGRAM) & (allowed | self.keeps_all_tracks)
        programs = np.flatnonzero(is_program)
        self.tracks = len(programs)
        track = np.full(vocabulary.size, self.tracks)
        track[programs] = np.arange(self.tracks)
        state = np.zeros(vocabulary.size, np.int64)
        for each, number in STATES.items():
            state[kind == each] = number
        state[(kind == Kind.PROGRAM) & (value < 0)] = StepState.DRUM_PROGRAM
        self.state = self._tensor(state)
        self.kind, self.value, self.track = self._tensor(kind), self._tensor(value), self._tensor(track)
        self.position_ticks = self._tensor(vocabulary.position_ticks)
        self.bar_ticks = self._tensor(vocabulary.bar_ticks)
        followers = self._followers(kind, value, allowed)
        nothing = np.zeros(vocabulary.size, dtype=bool)
        table = np.stack([followers.get(each, nothing) for each in StepState])
        self.barrier = self._tensor(np.where(table, 0.0, -np.inf), torch.float32)  # (len(StepState), V)
        (self.metre_run,) = runs_of(kind == Kind.TIMESIG)
        (self.tempo_run,) = runs_of(kind == Kind.TEMPO)
        self.program_runs = [(run, self.track[run]) for run in runs_of(is_program)]
        self.pitch_runs = self._value_runs(np.isin(kind, (Kind.PITCH, Kind.PITCH_DRUM)))
        drums = np.count_nonzero((kind == Kind.PITCH_DRUM) & allowed)
        melodic = np.count_nonzero((kind == Kind.PITCH) & allowed)
        room = np.where(value[programs] < 0, drums, melodic) * allowed[programs]
        self.room = self._tensor(np.append(room, 0))  # (P + 1,) notes that a track can play at one moment

    def _tensor(self, array: np.ndarray, dtype: torch.dtype = torch.long) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), device=self.device).to(dtype)

    def _value_runs(self, mask: np.ndarray) -> list[tuple[slice, Tensor]]:
        """Stretches of tokens and their values."""
        return [(run, self.value[run]) for run in runs_of(mask)]

    def _followers(self, kind: np.ndarray, value: np.ndarray, allowed: np.ndarray) -> dict[StepState, np.ndarray]:
        """Tokens that may follow in each state, time and notes apart, ``(V,)`` bool each."""
        raise NotImplementedError


G = TypeVar("G", bound=StepGrammar)


class StepWalk(Generic[G]):
    """Samples under way: what each may write next, and where it is in musical time; see ``walk.Walk``."""

    may_be_done = True

    def __init__(self, grammar: G, batch_size: int) -> None:
        self.grammar = grammar
        self._rows = torch.arange(batch_size, device=grammar.device)
        self.tokens = 0
        """Tokens written since ``start_counting``, the same for every sample."""
        self._state, self._tick = self._numbers(), self._numbers()
        self._metre = self._numbers(grammar.vocabulary.pad)
        self._bar_tokens, self._notes = self._numbers(), self._numbers()
        self._track, self._is_pitch = self._numbers(grammar.tracks), self._numbers() > 0

    def _numbers(self, first: int = 0, *shape: int) -> Tensor:
        return torch.full((len(self._rows), *shape), first, dtype=torch.long, device=self.grammar.device)

    @property
    def beat(self) -> Tensor:
        """Onset of the last token in quarter notes since the start of the piece, ``(B,)`` float32."""
        return (self._tick.double() / self.grammar.vocabulary.ticks_per_quarter).float()

    @property
    def sounding(self) -> Tensor:
        """Notes of each sample whose end is still to be written, ``(B,)``: none where notes have durations."""
        return torch.zeros_like(self._notes)

    @property
    def notes(self) -> Tensor:
        """Complete notes of each sample, ``(B,)``, the prompt's included."""
        return self._notes

    @property
    def done(self) -> Tensor:
        """Which samples have ended, ``(B,)`` bool."""
        return self._state == StepState.DONE

    @property
    def writes_pitch(self) -> Tensor:
        """Which samples write a pitch next (drums not counted), ``(B,)`` bool."""
        return self._state == StepState.PROGRAM

    @property
    def track(self) -> Tensor:
        """Track of the last Program token of each sample, ``(B,)`` int64 below P, or P for none."""
        return self._track

    @property
    def is_pitch(self) -> Tensor:
        """Where the last token was a pitch, ``(B,)`` bool."""
        return self._is_pitch

    def select(self, rows: Tensor) -> None:
        """Keep the given batch rows, in that order (one row may be repeated)."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and name != "_rows":
                setattr(self, name, value.index_select(0, rows))
        self._rows = torch.arange(len(rows), device=rows.device)
