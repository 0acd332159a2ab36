"""Which tokens may follow: an automaton over the whole batch that makes every sampled sequence a complete piece.

Here are the rules for all tokenizers and the tables for those with Bar and Position tokens, REMI and CPWord; the others
have theirs in grammar_shifts.py and grammar_numbered.py, and grammars.py picks.

Axes: B samples, V vocabulary, S state variables, P tracks (Program tokens that may be played).

The language::

    piece    = BOS bar+ EOS
    bar      = Bar TimeSig moment*
    moment   = Position [Tempo] [Chord] note* (a note at least where neither stands), positions rising inside the bar's
               metre; in CPWord a Tempo stands at every position; Chord only in vocabularies that have it
    note     = Program Pitch Velocity Duration (PitchDrum for drums), no pitch twice in one track at one moment
    EOS      only after a complete note

The one idea: what a token does to a sample is linear, ``state * keep[token] + put[token]``, so one step of the
automaton is two table look-ups and a multiply-add for all samples and all variables at once. The same variables give
musical time (bar and onset), so decoding needs no second bookkeeping. Here are the tables; the samples under way are in
walk.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto

import numpy as np
import torch
from torch import Tensor

from aurl.data.kinds import Form, Kind
from aurl.data.vocabulary import Vocabulary

CLOSING_TOKENS = 5
"""Tokens that complete a piece from any point: Program Pitch Velocity Duration EOS. One more where a Tempo is due."""
SHORTEST_PIECE = 16
"""Least max_tokens: room for BOS, Bar, TimeSig, Position, Tempo, a note and its end, twice over."""
PITCHES = 128


class Ending(str, Enum):
    """Who ends a piece whose length in bars is given."""

    exact = "exact"
    """The piece has exactly that many bars: it may not end earlier."""
    model = "model"
    """The model may end the piece earlier; the number of bars is the most."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is asked of every sample beyond being a piece.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    bars: int | None = None
    """Bars that are written (after the prompt's); None leaves the length to the model."""
    ending: Ending = Ending.exact
    """Who ends the piece when ``bars`` is given."""
    max_tokens: int = 65_536
    """Most tokens that are written; on reaching it the note under way is completed and the piece ends."""
    max_bar_tokens: int = 1024
    """Most tokens of one bar (a few more to complete its last note); on reaching it the bar ends."""
    programs: frozenset[int] | None = None
    """Programs that may be played (-1 drums); None allows all."""
    pitches: frozenset[int] | None = None
    """Pitches that tracks other than drums may play; None allows all."""
    forbidden: frozenset[int] = field(default_factory=frozenset)
    """Ids of tokens that may never be written."""

    def __post_init__(self) -> None:
        if self.bars is not None and self.bars < 1:
            raise ValueError(
                f"bars={self.bars} is out of range; allowed: 1 or more, or null to let the model end the piece"
            )
        if self.max_tokens < SHORTEST_PIECE:
            raise ValueError(f"max_tokens={self.max_tokens} is too small; allowed: {SHORTEST_PIECE} or more")
        if self.max_bar_tokens < SHORTEST_PIECE:
            raise ValueError(f"max_bar_tokens={self.max_bar_tokens} is too small; allowed: {SHORTEST_PIECE} or more")


class State(IntEnum):
    """What the last token was."""

    START = 0
    BAR = auto()
    TIMESIG = auto()
    POSITION = auto()
    TEMPO = auto()
    CHORD = auto()
    PROGRAM = auto()
    DRUM_PROGRAM = auto()
    PITCH = auto()
    VELOCITY = auto()
    DURATION = auto()
    DONE = auto()


class Var(IntEnum):
    """Rows of the state matrix (S, B)."""

    ROW = 0
    """State times :data:`MODES`: the first of the state's rows in the table of forbidden tokens."""
    BARS = auto()
    """Bars begun."""
    BAR_TOKENS = auto()
    """Tokens since the last Bar."""
    POSITION = auto()
    """One past the last position in this bar, 0 before the first."""
    METRE = auto()
    """Which time signature is in force: the first row of its positions in the table of late positions."""
    MOMENT = auto()
    """Number of the moment, so that "now" can be told from earlier."""
    KEEP_MOMENT = auto()
    """0 where the last token began a moment."""
    NOTES_NOW = auto()
    """Notes begun at this moment."""
    TRACK = auto()
    """Track of the last Program token; P (no track) where it may not be played."""
    IS_PITCH = auto()
    """1 where the last token was a pitch."""
    PITCH = auto()
    """MIDI pitch of the last pitch token."""
    NOTES = auto()
    """Complete notes."""
    IS_BAR = auto()
    """1 where the last token was a Bar."""
    OFFSET = auto()
    """Position that counts for the onset: 0 at the bar line."""
    POSITION_QUARTERS = auto()
    """Quarter notes in a position."""
    BAR_QUARTERS = auto()
    """Quarter notes in this bar."""
    BAR_START = auto()
    """Onset of this bar in quarter notes."""


MODES = 4
"""Rows of a state: room left, bar full, last bar, last bar full."""
FULL, LAST = 1, 2
CLOSING = len(State) * MODES
"""First of the rows used when the piece has to end: one for each state."""


class Grammar:
    """Tables of the automaton for one vocabulary and one set of rules.

    Args:
        vocabulary: meaning of the token ids.
        rules: what is asked of the samples.
        device: where the tables live.

    Raises:
        ValueError: the rules leave no note, metre or position to write, or the vocabulary lacks bars, metres or notes.
    """

    def __init__(self, vocabulary: Vocabulary, rules: Rules, device: torch.device | str = "cpu") -> None:
        self.vocabulary, self.rules, self.device = vocabulary, rules, torch.device(device)
        self.closing_tokens = CLOSING_TOKENS + (vocabulary.form is Form.words)
        kind, value = np.asarray(vocabulary.kind), np.asarray(vocabulary.value)
        allowed = allowed_tokens(vocabulary, rules)
        programs = np.flatnonzero((kind == Kind.PROGRAM) & allowed)
        self.tracks = len(programs)
        track = np.full(vocabulary.size, self.tracks)
        track[programs] = np.arange(self.tracks)

        def tensor(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(array), device=self.device).to(dtype)

        self.bar = int(vocabulary.ids_of(Kind.BAR)[0])
        late, metre = _late_positions(vocabulary)
        keep, put = _effects(vocabulary, track, metre)
        self.keep, self.put = tensor(keep), tensor(put)
        self.barrier = tensor(np.where(_followers(vocabulary, allowed, rules), 0.0, -np.inf))
        self.positions = runs_of(kind == Kind.POSITION)
        self.late = [tensor(np.where(late[:, value[run]], -np.inf, 0.0)) for run in self.positions]
        is_pitch = (kind == Kind.PITCH) | (kind == Kind.PITCH_DRUM)
        self.pitches = [(run, tensor(value[run], torch.long)) for run in runs_of(is_pitch)]
        self.programs = [(run, tensor(track[run], torch.long)) for run in runs_of((kind == Kind.PROGRAM) & allowed)]
        drums = np.count_nonzero((kind == Kind.PITCH_DRUM) & allowed)
        melodic = np.count_nonzero((kind == Kind.PITCH) & allowed)
        room = np.where(value[programs] < 0, drums, melodic)
        self.room = tensor(np.append(room, np.inf))  # (P + 1,) notes that a track can play at one moment
        self.least_room = int(room.min())


def allowed_tokens(vocabulary: Vocabulary, rules: Rules) -> np.ndarray:
    """Which tokens the rules leave, ``(V,)`` bool.

    Raises:
        ValueError: nothing is left of a kind that every piece needs.
    """
    kind, value = np.asarray(vocabulary.kind), np.asarray(vocabulary.value)
    allowed = kind != Kind.OTHER
    allowed[list(rules.forbidden)] = False
    is_program = kind == Kind.PROGRAM
    if rules.programs is not None:
        allowed &= ~is_program | np.isin(value, list(rules.programs))
    if rules.pitches is not None:
        allowed &= (kind != Kind.PITCH) | np.isin(value, list(rules.pitches))
    if not (allowed & (kind == Kind.PITCH)).any():
        allowed &= ~(is_program & (value >= 0))
    if not (allowed & (kind == Kind.PITCH_DRUM)).any():
        allowed &= ~(is_program & (value < 0))
    needs: tuple[Kind, ...] = (Kind.BAR, Kind.TIMESIG, Kind.POSITION, Kind.PROGRAM, Kind.VELOCITY, Kind.DURATION)
    if vocabulary.form in (Form.shifts, Form.note_ends):
        needs = (Kind.TIMESIG, Kind.TIME_SHIFT, Kind.PROGRAM, Kind.VELOCITY)
    for needed in needs:
        if not (allowed & (kind == needed)).any():
            raise ValueError(
                f"programs={_listed(rules.programs)} with pitches={_listed(rules.pitches)} leave no "
                f"{needed.name.lower()} token to write; allow more"
            )
    return allowed


def _listed(values: frozenset[int] | None) -> str:
    return "all" if values is None else str(sorted(values))


def _followers(vocabulary: Vocabulary, allowed: np.ndarray, rules: Rules) -> np.ndarray:
    """Tokens that may follow in each row (state and mode, then closing), ``(len(State) * (MODES + 1), V)`` bool."""
    kind, value = np.asarray(vocabulary.kind), np.asarray(vocabulary.value)
    of = {each: (kind == each) & allowed for each in Kind}
    program, drum_program = of[Kind.PROGRAM] & (value >= 0), of[Kind.PROGRAM] & (value < 0)
    eos, pad = kind == Kind.EOS, kind == Kind.PAD
    fixed = {
        State.START: of[Kind.BAR],
        State.BAR: of[Kind.TIMESIG],
        State.PROGRAM: of[Kind.PITCH],
        State.DRUM_PROGRAM: of[Kind.PITCH_DRUM],
        State.PITCH: of[Kind.VELOCITY],
        State.VELOCITY: of[Kind.DURATION],
        State.DONE: pad,
    }
    if vocabulary.form is Form.words:
        fixed[State.POSITION] = of[Kind.TEMPO]
    may_end = rules.bars is None or rules.ending is Ending.model
    table = np.zeros((len(State) * (MODES + 1), vocabulary.size), dtype=bool)
    for state, mode in ((state, mode) for state in State for mode in range(MODES)):
        full, last = bool(mode & FULL), bool(mode & LAST)
        row = table[state * MODES + mode]
        if state in fixed:
            row |= fixed[state]
            continue
        row |= (program | drum_program) & (state != State.TIMESIG) & (not full or state != State.DURATION)
        row |= of[Kind.TEMPO] & (state == State.POSITION) & (not full)
        row |= of[Kind.CHORD] & (state in (State.POSITION, State.TEMPO)) & (not full)
        row |= of[Kind.POSITION] & (state != State.POSITION) & (not full or (last and state == State.TIMESIG))
        row |= of[Kind.BAR] & (state != State.POSITION) & (not last)
        row |= eos & (state == State.DURATION) & (last or may_end)
    for state in State:  # the shortest way to the end
        row = table[CLOSING + state]
        if state in (State.TIMESIG, State.DURATION):
            row |= eos
        else:
            row |= fixed.get(state, program | drum_program)
    return table


def runs_of(mask: np.ndarray) -> list[slice]:
    """Stretches of True, so that columns can be reached by slices instead of index lists."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _late_positions(vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Which positions may not follow, by metre and by what has been passed already.

    Returns:
        ``(metres * (positions + 1), positions)`` bool, and the first row of each TimeSig token's metre ``(V,)``.
    """
    kind, value = np.asarray(vocabulary.kind), np.asarray(vocabulary.value)
    count = int(value[kind == Kind.POSITION].max()) + 1
    lengths, metre = np.unique(np.asarray(vocabulary.bar_positions), return_inverse=True)
    position = np.arange(count)
    passed = position < np.arange(count + 1)[:, None]  # (count + 1, count)
    outside = position >= lengths[:, None]  # (metres, count)
    return (passed | outside[:, None]).reshape(-1, count), metre * (count + 1)


def _effects(vocabulary: Vocabulary, track: np.ndarray, metre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each token does to each variable: factors and summands, both ``(S, V)``."""
    kind, value = np.asarray(vocabulary.kind), np.asarray(vocabulary.value)
    keep, put = np.ones((len(Var), vocabulary.size), np.float32), np.zeros((len(Var), vocabulary.size), np.float32)
    states = {
        Kind.BAR: State.BAR,
        Kind.TIMESIG: State.TIMESIG,
        Kind.POSITION: State.POSITION,
        Kind.TEMPO: State.TEMPO,
        Kind.CHORD: State.CHORD,
        Kind.PROGRAM: State.PROGRAM,
        Kind.PITCH: State.PITCH,
        Kind.PITCH_DRUM: State.PITCH,
        Kind.VELOCITY: State.VELOCITY,
        Kind.DURATION: State.DURATION,
        Kind.PAD: State.DONE,
        Kind.EOS: State.DONE,
    }

    def on(mask: np.ndarray, variable: Var, summand: np.ndarray | float, factor: float = 0.0) -> None:
        keep[variable, mask] = factor
        put[variable, mask] = summand[mask] if isinstance(summand, np.ndarray) else summand

    for each, state in states.items():
        on(kind == each, Var.ROW, state * MODES)
    on((kind == Kind.PROGRAM) & (value < 0), Var.ROW, State.DRUM_PROGRAM * MODES)
    bar, position, timesig = kind == Kind.BAR, kind == Kind.POSITION, kind == Kind.TIMESIG
    pitch = (kind == Kind.PITCH) | (kind == Kind.PITCH_DRUM)
    everything = np.ones(vocabulary.size, dtype=bool)
    on(bar, Var.BARS, 1.0, factor=1.0)
    on(everything, Var.BAR_TOKENS, 1.0, factor=1.0)
    on(bar, Var.BAR_TOKENS, 1.0)
    on(position, Var.POSITION, value + 1)
    on(bar, Var.POSITION, 0.0)
    on(timesig, Var.METRE, metre)
    on(bar | position, Var.MOMENT, 1.0, factor=1.0)
    on(bar | position, Var.NOTES_NOW, 0.0)
    on(pitch, Var.NOTES_NOW, 1.0, factor=1.0)
    on(everything, Var.KEEP_MOMENT, (~(bar | position)).astype(np.float32))
    on(kind == Kind.PROGRAM, Var.TRACK, track)
    on(everything, Var.IS_PITCH, pitch.astype(np.float32))
    on(pitch, Var.PITCH, value)
    on(kind == Kind.DURATION, Var.NOTES, 1.0, factor=1.0)
    on(everything, Var.IS_BAR, bar.astype(np.float32))
    on(position, Var.OFFSET, value)
    on(bar, Var.OFFSET, 0.0)
    on(timesig, Var.POSITION_QUARTERS, np.asarray(vocabulary.position_quarters))
    on(timesig, Var.BAR_QUARTERS, np.asarray(vocabulary.bar_quarters))
    return keep, put
