"""What each token means, as arrays over token ids: everything that asks "what is id 412?" gathers from here.

Built from the names of the tokens alone (miditok's ``Type_Value`` spelling, in id order), so models, samplers and
datasets need numpy and nothing else. The tokenizer that makes the names is tokenizer.py; encoder.py and decoder.py use
the same arrays between scores and ids, timeline.py reads musical time from them. Axis legend: V vocabulary, N tokens of
one piece.

One idea carries the whole file: time inside a bar is counted in positions. A beat (the note value of the metre's
denominator) has ``positions_per_beat`` of them, so a position lasts ``4 / denominator / positions_per_beat`` quarters,
and durations are whole numbers of positions as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aurl.data import timeline
from aurl.data.augmentation.labels import transpose_pitch_classes
from aurl.data.chord_tokens import read_name
from aurl.data.kinds import Form, Kind
from aurl.data.timeline import QUARTERS_PER_WHOLE
from aurl.music.chords import NO_PITCH

DRUM_PROGRAM = -1
"""Program number that stands for drums, as in miditok."""
OCTAVE = 12
MIDI_PITCHES = 128
NOTE_KINDS = 2 * MIDI_PITCHES
"""Kinds of notes of a track: pitches, and pitches of drums."""
SMALL_PROGRAMS = 2**16 // NOTE_KINDS
NUMERATOR_SHIFT = 8
"""Value of a TIMESIG token: numerator * 2**8 + denominator."""


_KIND_OF_TYPE = {
    "PAD": Kind.PAD,
    "BOS": Kind.BOS,
    "EOS": Kind.EOS,
    "Bar": Kind.BAR,
    "TimeSig": Kind.TIMESIG,
    "Position": Kind.POSITION,
    "Tempo": Kind.TEMPO,
    "Program": Kind.PROGRAM,
    "Pitch": Kind.PITCH,
    "PitchDrum": Kind.PITCH_DRUM,
    "Velocity": Kind.VELOCITY,
    "Duration": Kind.DURATION,
    "TimeShift": Kind.TIME_SHIFT,
    "NoteOn": Kind.PITCH,
    "DrumOn": Kind.PITCH_DRUM,
    "NoteOff": Kind.NOTE_OFF,
    "DrumOff": Kind.NOTE_OFF_DRUM,
    "Chord": Kind.CHORD,
}
_PITCHED = (Kind.PITCH, Kind.PITCH_DRUM, Kind.NOTE_OFF, Kind.NOTE_OFF_DRUM)


class Vocabulary:
    """Meaning of every token id.

    Attributes:
        tokens: names in id order, e.g. ``"Pitch_60"``. Length V.
        index: id of each name.
        size: V.
        pad, bos, eos: ids of the special tokens.
        positions_per_beat: grid of the tokenizer.
        kind: ``Kind`` of each token, uint8 (V,).
        form: how the tokens say when notes begin and end.
        value: int32 (V,). BAR: its number, where bars are numbered; POSITION: index in the bar; PITCH, PITCH_DRUM,
            NOTE_OFF, NOTE_OFF_DRUM: MIDI pitch; PROGRAM: program, -1 for drums; VELOCITY: 1-127; DURATION, TIME_SHIFT:
            length in positions; TEMPO: quarters a minute, rounded (exact in ``tempo``);
            TIMESIG: numerator * 256 + denominator; CHORD: number of the quality, 0 for no chord; others 0.
        root: CHORD: pitch class of the root; -1 for no chord and all other tokens; int8 (V,).
        track: PROGRAM: which track of that program, 0 for the first; int8 (V,).
        tempo: TEMPO: quarters a minute; float64 (V,).
        numerator, denominator: TIMESIG; int32 (V,).
        bar_positions: TIMESIG: positions in a bar; int32 (V,).
        position_quarters: TIMESIG: quarters a position lasts; float32 (V,).
        bar_quarters: TIMESIG: quarters a bar lasts; float32 (V,).
        shift_positions: TIME_SHIFT: length in positions; 0 for all others; int64 (V,).
        ticks_per_quarter: of the grid on which every position of every metre is a whole number of ticks; float.
        position_ticks, bar_ticks: TIMESIG: ticks of a position and of a bar; int64 (V,). PAD, which stands for "no time
            signature yet": those of 4/4.

    Raises:
        ValueError: PAD, BOS or EOS is missing.

    Example:
        >>> vocabulary = Vocabulary(["PAD_None", "BOS_None", "EOS_None", "Bar_None", "Pitch_60"], positions_per_beat=8)
        >>> Kind(vocabulary.kind[4]).name, int(vocabulary.value[4])
        ('PITCH', 60)
    """

    def __init__(self, tokens: Sequence[str], positions_per_beat: int, form: Form | None = None) -> None:
        self.tokens = tuple(tokens)
        self.index = {token: id_ for id_, token in enumerate(self.tokens)}
        self.size = len(self.tokens)
        self.positions_per_beat = positions_per_beat
        missing = [name for name in ("PAD_None", "BOS_None", "EOS_None") if name not in self.index]
        if missing:
            raise ValueError(f"tokens lack {missing[0]}; the vocabulary needs PAD_None, BOS_None and EOS_None")
        self.pad, self.bos, self.eos = (self.index[name] for name in ("PAD_None", "BOS_None", "EOS_None"))
        self.kind = np.zeros(self.size, np.uint8)
        self.value = np.zeros(self.size, np.int32)
        self.root = np.full(self.size, NO_PITCH, np.int8)
        self.track = np.zeros(self.size, np.int8)
        self.tempo = np.zeros(self.size, np.float64)
        self.numerator = np.zeros(self.size, np.int32)
        self.denominator = np.zeros(self.size, np.int32)
        for id_, token in enumerate(self.tokens):
            self._read(id_, token)
        metre = self.kind == Kind.TIMESIG
        beat_quarters = np.where(metre, QUARTERS_PER_WHOLE / np.maximum(self.denominator, 1), 0.0)
        self.bar_positions = self.numerator * np.int32(positions_per_beat)
        self.position_quarters = (beat_quarters / positions_per_beat).astype(np.float32)
        self.bar_quarters = (beat_quarters * self.numerator).astype(np.float32)
        finest = max(int(self.denominator.max()), QUARTERS_PER_WHOLE)
        self.ticks_per_quarter = positions_per_beat * finest / QUARTERS_PER_WHOLE
        self.position_ticks = np.where(metre, finest // np.maximum(self.denominator, 1), 0).astype(np.int64)
        self.bar_ticks = self.position_ticks * self.bar_positions
        self.position_ticks[self.pad] = finest // QUARTERS_PER_WHOLE
        self.bar_ticks[self.pad] = finest * positions_per_beat
        self.shift_positions = np.where(self.kind == Kind.TIME_SHIFT, self.value, 0).astype(np.int64)
        drum = (self.kind == Kind.PITCH_DRUM) | (self.kind == Kind.NOTE_OFF_DRUM)
        self._note_kind = np.where(np.isin(self.kind, _PITCHED), self.value + drum * MIDI_PITCHES, 0).astype(np.uint16)
        self.form = form or self._form()

    def _form(self) -> Form:
        """The form that the names tell (those of CPWord are those of REMI)."""
        if (self.kind == Kind.NOTE_OFF).any():
            return Form.note_ends
        if (self.kind == Kind.TIME_SHIFT).any():
            return Form.shifts
        return Form.numbered if "Bar_0" in self.index else Form.bars

    def _read(self, id_: int, token: str) -> None:
        """Fill row ``id_`` of every array from the token's name."""
        type_, _, text = token.partition("_")
        kind = _KIND_OF_TYPE.get(type_, Kind.OTHER)
        self.kind[id_] = kind
        if kind in (Kind.POSITION, Kind.VELOCITY, *_PITCHED) or (kind == Kind.BAR and text.isdigit()):
            self.value[id_] = int(text)
        elif kind == Kind.PROGRAM:
            program, _, track = text.partition(".")
            self.value[id_], self.track[id_] = int(program), int(track or 0)
        elif kind == Kind.CHORD:
            self.root[id_], self.value[id_] = read_name(text)
        elif kind == Kind.TEMPO:
            self.tempo[id_] = float(text)
            self.value[id_] = round(float(text))
        elif kind == Kind.TIMESIG:
            numerator, denominator = map(int, text.split("/"))
            self.numerator[id_], self.denominator[id_] = numerator, denominator
            self.value[id_] = (numerator << NUMERATOR_SHIFT) + denominator
        elif kind in (Kind.DURATION, Kind.TIME_SHIFT):
            beats, positions, resolution = map(int, text.split("."))
            self.value[id_] = (beats * resolution + positions) * self.positions_per_beat // resolution

    @property
    def tells_what_sounds(self) -> bool:
        """Whether the tokens of a note say how long it lasts, which a model that listens (``meaning``) needs."""
        return self.form is not Form.note_ends

    def meaning(self) -> dict[str, npt.NDArray[Any]]:
        """What a model that listens needs to know of each token id, (V,) each but for the last: the fields of
        ``aurl.models.hearing.TokenMeaning``. Without Position tokens every note is heard at place 0 of its bar.
        """
        kind = self.kind
        place = np.where(kind == Kind.POSITION, self.value, np.where(kind == Kind.BAR, 0, -1))
        return {
            "pitch": np.where(kind == Kind.PITCH, self.value, -1).astype(np.int64),
            "program": kind == Kind.PROGRAM,
            "duration": np.where(kind == Kind.DURATION, self.value, 0).astype(np.int64),
            "place": place.astype(np.int64),
            "metre": self.position_quarters.copy(),
            "first_metre": np.float32(1 / self.positions_per_beat),  # 4/4, as in timeline
        }

    def ids_of(self, kind: Kind) -> npt.NDArray[np.int64]:
        """Ids of all tokens of one kind, rising."""
        return np.flatnonzero(self.kind == kind)

    def program_id(self, program: int, track: int = 0) -> int | None:
        """Id of the Program token of the ``track``-th track of ``program`` (-1: drums), or None if there is none."""
        return self.index.get(f"Program_{program}.{track}" if track else f"Program_{program}")

    def musical_time(self, ids: npt.ArrayLike) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Bar and beat of every token of a piece, read from the tokens themselves.

        What moves time is told in timeline.py, by form; every other token keeps the time of the one before it. A time
        shift carries the time that it leads to. Whatever stands before the first token that moves time has bar 0 and
        beat 0; a bar without time signature is 4/4.

        Args:
            ids: token ids of a whole piece, (N,).

        Returns:
            bar, int32 (N,), and beat, float32 (N,): quarters since the start of the piece.
        """
        bar, beat, _ = self.timeline(ids)
        return bar, beat.astype(np.float32)

    def timeline(
        self, ids: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Like ``musical_time``, in double precision, and with the metre in force at each token.

        Returns:
            bar (N,), beat in quarters (N,), and the id of the last TimeSig token at or before each token (N,); PAD
            where there is none yet.
        """
        array = np.asarray(ids, np.int64)
        if self.form in (Form.shifts, Form.note_ends):
            return timeline.of_shifts(self, array)
        if self.form is Form.numbered:
            return timeline.of_numbered_bars(self, array)
        return timeline.of_bars(self, array)

    def bar_lines(self, ids: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Where a sequence may be cut at a bar line: the tokens (N,) that are the first of their bar.

        Where bars have tokens of their own these are the Bar tokens; where they have numbers or none, the tokens at
        which the number of the bar rises.
        """
        array = np.asarray(ids, np.int64)
        is_bar = self.kind[array] == Kind.BAR
        if self.form in (Form.bars, Form.words):
            return is_bar
        bar, _, _ = self.timeline(array)
        return np.append(False, bar[1:] != bar[:-1])[: len(array)]

    def transposition_table(self, low: int, high: int) -> npt.NDArray[np.uint16]:
        """Ids after transposition: ``table[shift - low][ids]`` transposes ``ids`` by ``shift`` semitones.

        Roots of chords move along. Drums and all other tokens map to themselves. A pitch that would leave the
        vocabulary lands an octave nearer (in a vocabulary narrower than that it stays); callers who want none of this
        keep ``shift`` within the range of the piece.

        Args:
            low: lowest shift in semitones.
            high: highest shift in semitones, at least ``low``.

        Returns:
            uint16 (high - low + 1, V).
        """
        table = np.tile(np.arange(self.size, dtype=np.uint16), (high - low + 1, 1))
        for kind in (Kind.PITCH, Kind.NOTE_OFF):
            id_of_pitch = {int(self.value[id_]): int(id_) for id_ in self.ids_of(kind)}
            for row, shift in zip(table, range(low, high + 1), strict=True):
                back = -OCTAVE if shift > 0 else OCTAVE
                for pitch, id_ in id_of_pitch.items():
                    target = pitch + shift
                    while target not in id_of_pitch and (target - pitch) * back < 0:
                        target += back
                    row[id_] = id_of_pitch.get(target, id_)
        chords = self.ids_of(Kind.CHORD)
        if len(chords):
            known = {(int(self.root[id_]), int(self.value[id_])): id_ for id_ in chords.tolist()}
            for row, shift in zip(table, range(low, high + 1), strict=True):
                roots = transpose_pitch_classes(self.root[chords], shift).tolist()
                row[chords] = [known[key] for key in zip(roots, self.value[chords].tolist(), strict=True)]
        return table

    def note_starts(self, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Where complete notes begin: indices of pitch tokens that velocity and duration follow at once, or velocity
        at once and the end of the note later (see ``note_spans``).
        """
        array = np.asarray(ids, np.int64)
        if self.form is Form.note_ends:
            return self.note_spans(array)[0]
        kind = self.kind[array]
        is_pitch = (kind == Kind.PITCH) | (kind == Kind.PITCH_DRUM)
        complete = is_pitch[:-2] & (kind[1:-1] == Kind.VELOCITY) & (kind[2:] == Kind.DURATION)
        return np.flatnonzero(complete)

    def note_spans(self, ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """With ``Form.note_ends``: indices of the pitch tokens of complete notes (K,), rising, and of their ends (K,).

        Of several notes of one pitch and track that sound at once the one that began first ends first, as miditok has
        it. An end of what does not sound means nothing.
        """
        kind = self.kind[ids]
        begins = (kind == Kind.PITCH) | (kind == Kind.PITCH_DRUM)
        begins[:-1] &= kind[1:] == Kind.VELOCITY
        begins[-1:] = False
        at = np.flatnonzero(begins | (kind == Kind.NOTE_OFF) | (kind == Kind.NOTE_OFF_DRUM))
        says = np.flatnonzero(kind == Kind.PROGRAM)
        programs = np.append(self.program_id(0) or 0, ids[says])
        number = np.cumsum(np.bincount(programs) > 0) - 1  # of each program that occurs: 0, 1, 2 ...
        small = number[-1] < SMALL_PROGRAMS
        voice: npt.NDArray[Any] = number.astype(np.uint16 if small else np.int64)  # sixteen bits sort faster
        voice = np.repeat(voice[programs] * NOTE_KINDS, np.diff(says, prepend=0, append=len(ids)))[at]
        voice += self._note_kind[ids[at]]
        return timeline.first_in_first_out(voice, at, begins[at])

    def count_notes(self, ids: npt.ArrayLike) -> int:
        """Number of complete notes in ``ids`` (N,): a pitch with its velocity and its duration or its end."""
        return len(self.note_starts(ids))
