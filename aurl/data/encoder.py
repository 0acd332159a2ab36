"""Scores to ids, vectorised: what miditok's event path does note by note, done on whole arrays.

``Encoder.encode`` gives exactly the ids of ``TrackREMI`` (and of stock REMI where no program repeats); the tables below
are filled by asking the tokenizer itself, so its rounding is copied rather than imitated. metre.py settles the time
signatures, decoder.py goes the other way. Everything up to the quantised piece (``Quantised``) is the same for all
tokenizers; how the others write it is in encoder_shifts.py and encoder_words.py.

The idea: a piece is a list of rows that a stable sort by time puts in order, and a row is at most six ids::

    bar    [ -        -   Bar      TimeSig  -         -        ]
    tempo  [ Position -   Tempo    -        -         -        ]
    chord  [ Position -   Chord    -        -         -        ]
    note   [ Position -   Program  Pitch    Velocity  Duration ]

Absent ids are 0 (PAD, which no row contains), so dropping the zeros of the flattened rows leaves the sequence. Pairs of
ids are kept as one uint32, low half first. Axis legend: N notes, R rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from miditok.utils.utils import np_get_closest
from symusic import Tempo
from symusic.core import TempoTick

from aurl.data.harmony import chord_changes
from aurl.data.kinds import Form, Kind
from aurl.data.metre import Metres, settle_metres
from aurl.data.vocabulary import DRUM_PROGRAM, Vocabulary
from aurl.music.chords import NO_PITCH

if TYPE_CHECKING:
    from symusic.core import ScoreTick, TrackTick

    from aurl.data.tokenizer import AnyTokenizer

PAIR = np.dtype("<u4")
ID = np.dtype("<u2")
HALF = np.nextafter(0.5, 0.0)
"""Adding this and cutting off rounds halves up exactly as C++ ``std::round`` does for times from 0 on."""
MIDI_VALUES = 128
HIGH = 16
"""Bits by which the second id of a pair is shifted."""

IntArray = npt.NDArray[np.int64]
NO_CHORDS = (np.zeros(0, np.int64), np.zeros(0, PAIR))


class _Notes(NamedTuple):
    """Notes of all tracks, one track after the other."""

    spans: IntArray
    """Onsets, then durations, in the score's own ticks (2N,)."""
    heads: npt.NDArray[np.uint32]
    """Program and Pitch ids (N,)."""
    velocities: npt.NDArray[np.int8]
    """MIDI velocities (N,)."""
    sizes: list[int]
    """Notes of each track."""


class Quantised(NamedTuple):
    """A piece on the grid of the tokens, before it is written; times in ticks of ``metres``."""

    metres: Metres
    notes: _Notes
    onsets: IntArray
    """(N,)."""
    durations: IntArray
    """(N,), resampled, but not yet those that have tokens."""
    raw_onsets: IntArray
    """(N,), resampled, before each was moved to the grid of its own metre."""
    tempo_times: IntArray
    """Rising, the first 0 (T,)."""
    tempo_ids: npt.NDArray[np.uint32] | int
    """(T,), or one for all."""
    chord_times: IntArray
    """Rising (C,); none where there are no chord tokens."""
    chord_ids: npt.NDArray[np.uint32]
    """(C,)."""

    @property
    def last(self) -> int:
        """Tick of the last event."""
        onset = int(self.onsets.max()) if len(self.onsets) else 0
        return max(onset, int(self.tempo_times[-1]), self.metres.sections[-1].tick)


class Encoder:
    """Turns scores into ids: those of REMI; the other tokenizers' encoders say how they write a piece (``_write``).

    Args:
        tokenizer: the tokenizer whose ids are wanted.
        vocabulary: its vocabulary.
    """

    _pitch_types = ("Pitch", "PitchDrum")
    """Types of the tokens that begin notes, of drums the second."""

    def __init__(self, tokenizer: AnyTokenizer, vocabulary: Vocabulary) -> None:
        self._tokenizer = tokenizer
        self._positions = vocabulary.positions_per_beat
        self._tracks_per_program = tokenizer.tracks_per_program
        self._metres = frozenset(tokenizer.time_signatures)
        self._bar = vocabulary.index.get("Bar_None", 0)
        self._first_position = vocabulary.index.get("Position_0", 0)
        self._timesig = {metre: vocabulary.index[f"TimeSig_{metre[0]}/{metre[1]}"] for metre in self._metres}
        self._heads = self._make_heads(vocabulary)
        closest = np_get_closest(tokenizer.velocities, np.arange(MIDI_VALUES))
        self._velocities = np.array([vocabulary.index[f"Velocity_{v}"] for v in closest], PAIR)
        self._durations = (
            {}
            if vocabulary.form is Form.note_ends
            else {ticks: self._make_durations(ticks, vocabulary) for ticks in tokenizer._tpb_to_time_array}
        )
        chords = vocabulary.ids_of(Kind.CHORD).tolist()
        self._chord_ids = {(int(vocabulary.root[id_]), int(vocabulary.value[id_])): id_ for id_ in chords}
        self._make_tempos(vocabulary)
        self._known_tempos: dict[int, int] = {}
        self._position_tables: dict[tuple[int, int], npt.NDArray[np.uint32]] = {}

    def _make_heads(self, vocabulary: Vocabulary) -> npt.NDArray[np.uint32]:
        """Program and Pitch ids by (program + 1, track, pitch), flattened; 0 where the pitch has no token."""
        heads = np.zeros((MIDI_VALUES + 1, self._tracks_per_program, MIDI_VALUES), PAIR)
        for program in self._tokenizer.config.programs:
            type_ = self._pitch_types[program == DRUM_PROGRAM]
            pitches = np.array([vocabulary.index.get(f"{type_}_{pitch}", 0) for pitch in range(MIDI_VALUES)], PAIR)
            for track in range(self._tracks_per_program):
                id_ = vocabulary.program_id(program, track) or 0
                heads[program + 1, track] = np.where(pitches, (pitches << HIGH) + id_, 0)
        return heads.ravel()

    def _make_durations(self, ticks_per_beat: int, vocabulary: Vocabulary) -> npt.NDArray[np.uint32]:
        """Duration ids by ticks, in the high half; beyond the end of the table the last one holds."""
        bins = self._tokenizer._tpb_to_time_array[ticks_per_beat]
        names = self._tokenizer._tpb_ticks_to_tokens[ticks_per_beat]
        closest = np_get_closest(bins, np.arange(int(bins[-1]) + 1))
        ids = [vocabulary.index[f"Duration_{names[int(ticks)]}"] << HIGH for ticks in closest]
        return np.array(ids, PAIR)

    def _make_tempos(self, vocabulary: Vocabulary) -> None:
        """Tempo ids by bin, and which bins count as the default tempo, after symusic's rounding of each tempo."""
        self._tempo_bins = self._tokenizer._tempos_mspq
        default = self._tokenizer.default_tempo
        written = Tempo.from_numpy(np.zeros(len(self._tempo_bins), np.int32), self._tempo_bins.astype(np.int32))
        self._tempo_ids = np.array([vocabulary.index[f"Tempo_{round(tempo.tempo, 2)}"] for tempo in written], PAIR)
        self._is_default_tempo = np.array([tempo.tempo == default for tempo in written])
        self._default_tempo = vocabulary.index[f"Tempo_{round(TempoTick(0, default).tempo, 2)}"]

    def encode(self, score: ScoreTick) -> npt.NDArray[np.uint16]:
        """Ids of a score in ticks.

        Args:
            score: any ``symusic.Score`` in ticks with non-negative times; it is not changed.

        Returns:
            uint16 (tokens,), without BOS and EOS.
        """
        return self._write(self._quantise(score))

    def fit(self, score: ScoreTick) -> tuple[ScoreTick, dict[str, int]]:
        """What this way of writing cannot say is left out of a score that fits the vocabulary, and counted.

        Args:
            score: all its pitches and metres have tokens.

        Returns:
            The score (the same object where nothing is left out of it) and counts by name, empty where bars, positions
            and durations say everything.
        """
        return score, {}

    def _quantise(self, score: ScoreTick) -> Quantised:
        """The piece on the grid."""
        metres = settle_metres(score, self._metres, self._positions)
        notes = self._gather(score)
        count = len(notes.heads)
        if score.ticks_per_quarter != metres.ticks_per_quarter:
            spans = (notes.spans * (metres.ticks_per_quarter / score.ticks_per_quarter) + HALF).astype(np.int64)
        else:
            spans = notes.spans
        raw, durations = spans[:count], spans[count:]
        onsets = raw if metres.grids is None else metres.to_grid(raw)
        chords = self._chords(score, metres, onsets) if self._chord_ids else NO_CHORDS
        return Quantised(metres, notes, onsets, durations, raw, *self._tempos(score, metres), *chords)

    def _chords(self, score: ScoreTick, metres: Metres, onsets: IntArray) -> tuple[IntArray, npt.NDArray[np.uint32]]:
        """Ticks and ids of the chord changes up to the last note; the last of one tick wins, repetitions go."""
        changes = chord_changes(score)
        times = (changes.onsets * metres.ticks_per_quarter + HALF).astype(np.int64)
        if metres.grids is not None:
            times = metres.to_grid(times)
        ids = np.array([self._chord_ids[root, quality] for root, quality in changes.chords.tolist()], PAIR)
        keep = np.append(times[1:] != times[:-1], True)[: len(times)] & (times <= onsets.max(initial=-1))
        times, ids = times[keep], ids[keep]
        keep = np.diff(ids, prepend=self._chord_ids[NO_PITCH, 0]) != 0  # a piece begins with no chord
        return times[keep], ids[keep]

    def _write(self, piece: Quantised) -> npt.NDArray[np.uint16]:
        """Ids of a piece."""
        metres, notes, onsets, durations, _, tempo_times, tempo_ids, chord_times, chord_ids = piece
        count = len(onsets)
        bar_times, bar_heads = self._bars(metres, piece.last)
        # Twice the time, plus one for what is no bar: sorts a bar before all else at its tick, and sets it apart.
        keys = np.concatenate([bar_times, tempo_times, chord_times, onsets])
        keys += keys
        first_note = len(keys) - count
        keys[len(bar_times) :] += 1
        pairs = np.empty((2, len(keys)), PAIR)
        pairs[0, : len(bar_times)] = bar_heads
        first_chord = first_note - len(chord_ids)
        pairs[0, len(bar_times) : first_chord] = tempo_ids
        pairs[0, first_chord:first_note] = chord_ids
        pairs[0, first_note:] = notes.heads
        pairs[1, :first_note] = 0
        tails = self._velocities.take(notes.velocities)
        tails += self._duration_ids(metres, onsets, durations)
        pairs[1, first_note:] = tails
        return self._join(keys, pairs, metres)

    def _join(self, keys: IntArray, pairs: npt.NDArray[np.uint32], metres: Metres) -> npt.NDArray[np.uint16]:
        """Sort the rows, put a Position before the first row at each time, and drop what is absent."""
        order = keys.argsort(kind="stable")
        keys = keys.take(order)
        rows = np.empty((len(keys), 3), PAIR)
        positions = self._position_ids(keys, metres)
        rows[0, 0] = 0  # the first row is a bar
        np.multiply(positions[1:], keys[1:] != keys[:-1], out=rows[1:, 0])
        rows[:, 1] = pairs[0].take(order)
        rows[:, 2] = pairs[1].take(order)
        ids = rows.view(ID).ravel()
        return ids[ids != 0]

    def _position_ids(self, keys: IntArray, metres: Metres) -> npt.NDArray[np.uint32]:
        """Position id of every row by its key; 0 for bars."""
        if len(metres.sections) == 1:
            section = metres.sections[0]
            bar, step = section.bar_ticks, section.position_ticks
            table = self._position_tables.get((bar, step))
            if table is None:
                ticks = np.arange(2 * bar)
                table = np.where(ticks % 2, self._first_position + ticks // 2 // step, 0).astype(PAIR)
                self._position_tables[bar, step] = table
            return table.take(keys % (2 * bar))
        at = np.array(metres.sections)  # (sections, fields)
        ticks = keys >> 1
        section_of = np.searchsorted(at[:, 0], ticks, side="right") - 1
        start, _, _, bars, steps = at.take(section_of, axis=0).T
        return np.where(keys & 1, self._first_position + (ticks - start) % bars // steps, 0).astype(PAIR)

    def _bars(self, metres: Metres, last: int) -> tuple[IntArray, npt.NDArray[np.uint32] | int]:
        """Ticks of all bars up to tick ``last``, and the Bar and TimeSig ids of each."""
        times, heads = [], []
        ends = [section.tick for section in metres.sections[1:]] + [last + 1]
        for section, end in zip(metres.sections, ends, strict=True):
            times.append(np.arange(section.tick, end, section.bar_ticks))
            heads.append(self._bar + (self._timesig[section.numerator, section.denominator] << HIGH))
        if len(times) == 1:
            return times[0], heads[0]
        return np.concatenate(times), np.repeat(np.array(heads, PAIR), [len(t) for t in times])

    def _duration_ids(self, metres: Metres, onsets: IntArray, durations: IntArray) -> npt.NDArray[np.uint32]:
        """Duration ids in the high half: the nearest duration of the metre in force at each onset."""
        if metres.grids is None:
            return self._durations[metres.sections[0].beat_ticks(self._positions)].take(durations, mode="clip")
        ids = np.empty(len(onsets), PAIR)
        grid_of = metres.grid_of(onsets)
        for grid, step in enumerate(metres.grids.steps):
            here = grid_of == grid
            ids[here] = self._durations[int(step) * self._positions].take(durations[here], mode="clip")
        return ids

    def _tempos(self, score: ScoreTick, metres: Metres) -> tuple[IntArray, npt.NDArray[np.uint32] | int]:
        """Ticks and ids of the tempo changes, the first at tick 0; the last of one tick wins, repetitions go."""
        changes = score.tempos
        if len(changes) == 0:
            return np.zeros(1, np.int64), self._default_tempo
        if len(changes) == 1 and changes[0].time == 0:
            return np.zeros(1, np.int64), self._only_tempo(changes[0].mspq)
        arrays = changes.numpy()
        times, nearest = arrays["time"].astype(np.int64), self._nearest_tempos(arrays["mspq"])
        if score.ticks_per_quarter != metres.ticks_per_quarter:
            times = (times * (metres.ticks_per_quarter / score.ticks_per_quarter) + HALF).astype(np.int64)
        if metres.grids is not None:
            times = metres.to_grid(times)
        if len(times) > 1:
            keep = np.append(times[1:] != times[:-1], True)
            times, nearest = times[keep], nearest[keep]
            keep = np.append(True, nearest[1:] != nearest[:-1])
            times, nearest = times[keep], nearest[keep]
        if self._is_default_tempo[nearest[0]]:
            times[0] = 0
        elif times[0] != 0:
            return np.append(0, times), np.append(self._default_tempo, self._tempo_ids[nearest]).astype(PAIR)
        return times, self._tempo_ids[nearest]

    def _nearest_tempos(self, mspq: npt.NDArray[np.int32]) -> IntArray:
        """Bins nearest to tempi in microseconds a quarter; the slower one of two."""
        bins = self._tempo_bins
        nearest = bins.searchsorted(mspq)
        before, after = bins[np.maximum(nearest - 1, 0)], bins[np.minimum(nearest, len(bins) - 1)]
        nearest -= (nearest == len(bins)) | (np.fabs(mspq - before) < np.fabs(mspq - after))
        return nearest

    def _only_tempo(self, mspq: int) -> int:
        """Id of the tempo of a piece that never changes it; most pieces are such, so answers are kept."""
        if mspq not in self._known_tempos:
            self._known_tempos[mspq] = int(self._tempo_ids[self._nearest_tempos(np.array([mspq]))[0]])
        return self._known_tempos[mspq]

    def _gather(self, score: ScoreTick) -> _Notes:
        """Notes of all tracks; pitches without a token are dropped, and tracks are counted after that."""
        tracks = [(track, track.notes.numpy()) for track in score.tracks if len(track.notes)]
        notes = self._concatenate(tracks)
        if notes.heads.all():
            return notes
        kept = []
        for track, arrays in tracks:
            program = DRUM_PROGRAM if track.is_drum else track.program
            first = (program + 1) * self._tracks_per_program * MIDI_VALUES
            known = self._heads[first + arrays["pitch"].astype(np.int64)] != 0
            if known.any():
                kept.append((track, {key: array[known] for key, array in arrays.items()}))
        return self._concatenate(kept)

    def _concatenate(self, tracks: list[tuple[TrackTick, dict[str, npt.NDArray[np.int32]]]]) -> _Notes:
        if not tracks:
            return _Notes(np.zeros(0, np.int64), np.zeros(0, PAIR), np.zeros(0, np.int8), [])
        seen: dict[int, int] = {}
        heads = []
        for track, arrays in tracks:
            program = DRUM_PROGRAM if track.is_drum else track.program
            number = seen.get(program, 0)
            seen[program] = number + 1
            slot = (program + 1) * self._tracks_per_program + min(number, self._tracks_per_program - 1)
            heads.append(self._heads[slot * MIDI_VALUES : (slot + 1) * MIDI_VALUES].take(arrays["pitch"]))
        return _Notes(
            np.concatenate([arrays[key] for key in ("time", "duration") for _, arrays in tracks]),
            np.concatenate(heads),
            np.concatenate([arrays["velocity"] for _, arrays in tracks]),
            [len(arrays["pitch"]) for _, arrays in tracks],
        )
