"""Ids to scores, vectorised: the inverse of encoder.py on the grid of the tokens.

Whatever the encoder wrote comes back: notes, tempi and metres exactly, tracks in their old order, so that encoding the
result gives the same ids again. Any other sequence decodes too: what is incomplete is dropped. The one thing that is
changed on request is what MIDI cannot say: two notes of one pitch sounding at once in one track (``cut_overlaps``).

Axis legend: N tokens, K notes.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from miditok.constants import MIDI_INSTRUMENTS
from symusic import Note
from symusic.core import NoteTickList, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from aurl.data.kinds import Form, Kind
from aurl.data.vocabulary import DRUM_PROGRAM, QUARTERS_PER_WHOLE, Vocabulary
from aurl.music.chord_sources import add_symbols
from aurl.music.chords import QUALITIES, Chord

MIN_TICKS_PER_QUARTER = 384
"""Decoded scores have the grid's ticks, doubled until there are at least this many, as notation programs expect."""
DEFAULT_TEMPO = 120.0
"""Quarters a minute where no tempo is given, as in MIDI."""
DRUM_CHANNEL_NAME = "Drums"
TRACKS_LIMIT = 128
"""Above any number of tracks of one program, and above any pitch."""
MOST_SMALL_TRACKS = 2**16 // TRACKS_LIMIT

IntArray = npt.NDArray[np.int64]


class _Notes(NamedTuple):
    """Notes in the order of their tokens, each (K,); times in ticks."""

    onset: IntArray
    duration: IntArray
    pitch: IntArray
    velocity: IntArray
    track: IntArray
    """(program + 1) * TRACKS_LIMIT + number of the track."""

    def take(self, indices: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> _Notes:
        """The notes at ``indices``."""
        return _Notes(*(field[indices] for field in self))


class Decoder:
    """Turns ids into scores.

    Args:
        vocabulary: the meaning of the ids.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        finest = int(vocabulary.denominator.max())
        ticks = max(vocabulary.positions_per_beat * finest // QUARTERS_PER_WHOLE, 1)
        while ticks < MIN_TICKS_PER_QUARTER:
            ticks *= 2
        self.ticks_per_quarter = ticks

    def decode(self, ids: npt.ArrayLike, cut_overlaps: bool = True) -> ScoreTick:
        """A score in ticks from ids.

        BOS, EOS and PAD are ignored. A note needs pitch, velocity and duration in a row (where notes have ends instead
        of durations: pitch and velocity in a row and an end later), and belongs to the last
        Program token before it (piano without one); what is incomplete is dropped. Time is that of
        ``Vocabulary.musical_time``.

        Args:
            ids: (N,).
            cut_overlaps: end a note where the next one of its track and pitch begins, and of several notes of one
                track, pitch and onset keep the longest, so that every note-on has its own note-off. False keeps the
                notes as written, which makes decoding the exact inverse of encoding.

        Returns:
            The score; its tracks stand in the order in which the encoder met them.
        """
        every: IntArray = np.asarray(ids, np.int64)
        tokens = every[self._vocabulary.kind[every] > Kind.EOS]
        _, beat, metre = self._vocabulary.timeline(tokens)
        ticks = np.rint(beat * self.ticks_per_quarter).astype(np.int64)
        score = ScoreTick(self.ticks_per_quarter)
        spans = self._vocabulary.note_spans(tokens) if self._vocabulary.form is Form.note_ends else None
        notes = self._notes(tokens, ticks, metre, spans)
        order = track_order(*self._meetings(tokens, ticks, notes, spans))
        if cut_overlaps:
            notes = _cut_overlaps(notes, order)
        self._add_tracks(score, notes, order)
        self._add_tempos(score, tokens, ticks)
        self._add_metres(score, tokens, ticks, metre)
        self._add_chords(score, tokens, ticks)
        return score

    def _notes(
        self, ids: IntArray, ticks: IntArray, metre: IntArray, spans: tuple[IntArray, IntArray] | None
    ) -> _Notes:
        """Complete notes, by time; ``spans`` says where they begin and end, None that they have durations."""
        vocabulary = self._vocabulary
        if spans is not None:
            starts, ends = spans
            lasts = ticks[ends] > ticks[starts]  # what ends where it begins is no note
            starts, ends = starts[lasts], ends[lasts]
            duration = ticks[ends] - ticks[starts]
        else:
            starts = vocabulary.note_starts(ids)
            denominator = np.maximum(vocabulary.denominator[metre[starts]], 1)
            beat_ticks = QUARTERS_PER_WHOLE * self.ticks_per_quarter // denominator
            beat_ticks[metre[starts] == vocabulary.pad] = self.ticks_per_quarter
            duration = vocabulary.value[ids[starts + 2]] * beat_ticks // vocabulary.positions_per_beat
        notes = _Notes(
            onset=ticks[starts],
            duration=duration,
            pitch=vocabulary.value[ids[starts]].astype(np.int64),
            velocity=vocabulary.value[ids[starts + 1]].astype(np.int64),
            track=self._tracks_of(ids, starts),
        )
        return notes.take(notes.onset.argsort(kind="stable"))

    def _meetings(
        self, ids: IntArray, ticks: IntArray, notes: _Notes, spans: tuple[IntArray, IntArray] | None
    ) -> tuple[IntArray, IntArray]:
        """Times and tracks of what the encoder wrote in track order: notes, or where they begin and end."""
        if spans is None:
            return notes.onset, notes.track
        at = np.sort(np.concatenate(spans))
        return ticks[at], self._tracks_of(ids, at)

    def _tracks_of(self, ids: IntArray, at: IntArray) -> IntArray:
        """Code of the track of the tokens at some places: that of the last Program token, piano without one."""
        vocabulary = self._vocabulary
        is_program = vocabulary.kind[ids] == Kind.PROGRAM
        programs = np.concatenate([[vocabulary.program_id(0) or 0], ids[is_program]])
        program = programs[np.cumsum(is_program)[at]]
        return (vocabulary.value[program].astype(np.int64) + 1) * TRACKS_LIMIT + vocabulary.track[program]

    def _add_tracks(self, score: ScoreTick, notes: _Notes, order: list[int]) -> None:
        programs = [code // TRACKS_LIMIT - 1 for code in order]
        numbers = dict.fromkeys(programs, 0)
        for code, program in zip(order, programs, strict=True):
            own = notes.take(notes.track == code)
            name = DRUM_CHANNEL_NAME if program == DRUM_PROGRAM else MIDI_INSTRUMENTS[program]["name"]
            numbers[program] += 1
            if programs.count(program) > 1:
                name = f"{name} {numbers[program]}"
            track = TrackTick(name, max(program, 0), program == DRUM_PROGRAM)
            track.notes = note_list(own.onset, own.duration, own.pitch, own.velocity)
            score.tracks.append(track)

    def _add_tempos(self, score: ScoreTick, ids: IntArray, ticks: IntArray) -> None:
        """Tempo changes; of several at one tick the last holds. Where every position or note says its tempo, only what
        differs from the one before is a change, and the first holds from the start.
        """
        at = np.flatnonzero(self._vocabulary.kind[ids] == Kind.TEMPO)
        if self._vocabulary.form in (Form.words, Form.numbered) and len(at):
            at = at[np.append(True, np.diff(ids[at]) != 0)]
            ticks = ticks.copy()
            ticks[at[0]] = 0
        tempos = dict(zip(ticks[at].tolist(), self._vocabulary.tempo[ids[at]].tolist(), strict=True))
        for tick, tempo in sorted(tempos.items()) or [(0, DEFAULT_TEMPO)]:
            score.tempos.append(TempoTick(tick, tempo))

    def _add_chords(self, score: ScoreTick, ids: IntArray, ticks: IntArray) -> None:
        """Chord symbols as markers, where the chord changes; of several at one tick the last holds."""
        vocabulary = self._vocabulary
        at = np.flatnonzero(vocabulary.kind[ids] == Kind.CHORD)
        at = at[np.append(ticks[at[1:]] != ticks[at[:-1]], True)[: len(at)]]
        at = at[np.append(True, ids[at[1:]] != ids[at[:-1]])[: len(at)]]
        names = [quality.name for quality in QUALITIES]
        chords = [Chord(int(vocabulary.root[id_]), names[vocabulary.value[id_]]) for id_ in ids[at].tolist()]
        add_symbols(score, zip(ticks[at].tolist(), chords, strict=True))

    def _add_metres(self, score: ScoreTick, ids: IntArray, ticks: IntArray, metre: IntArray) -> None:
        """Time signatures, at the bar lines where they change."""
        vocabulary = self._vocabulary
        if vocabulary.form not in (Form.bars, Form.words):
            self._add_written_metres(score, ids, ticks)
            return
        opens = np.flatnonzero(vocabulary.kind[ids] == Kind.BAR)
        closes = np.append(opens[1:], len(ids))[: len(opens)]
        metre_of_bar = metre[closes - 1]  # the last one of a bar counts
        changes = np.append(True, metre_of_bar[1:] != metre_of_bar[:-1])[: len(opens)]
        for index in np.flatnonzero(changes).tolist():
            id_ = int(metre_of_bar[index])
            if id_ != vocabulary.pad:
                numerator, denominator = int(vocabulary.numerator[id_]), int(vocabulary.denominator[id_])
                score.time_signatures.append(TimeSignatureTick(int(ticks[opens[index]]), numerator, denominator))
        if not len(score.time_signatures) or score.time_signatures[0].time != 0:
            score.time_signatures.insert(0, TimeSignatureTick(0, QUARTERS_PER_WHOLE, QUARTERS_PER_WHOLE))

    def _add_written_metres(self, score: ScoreTick, ids: IntArray, ticks: IntArray) -> None:
        """Time signatures where bars have no tokens of their own: where they are written, or, where every note says its
        metre, at the bar line of the first note that says another.
        """
        vocabulary = self._vocabulary
        at = np.flatnonzero(vocabulary.kind[ids] == Kind.TIMESIG)
        if vocabulary.form is Form.numbered:
            at = at[np.append(True, ids[at[1:]] != ids[at[:-1]])[: len(at)]]
        times = ticks[at].copy()
        if vocabulary.form is Form.numbered:
            times[:1] = 0  # bars before the first note have its metre
        metres = {0: (QUARTERS_PER_WHOLE, QUARTERS_PER_WHOLE)}
        for tick, id_ in zip(times.tolist(), ids[at].tolist(), strict=True):
            metres[tick] = (int(vocabulary.numerator[id_]), int(vocabulary.denominator[id_]))
        for tick, (numerator, denominator) in sorted(metres.items()):
            score.time_signatures.append(TimeSignatureTick(tick, numerator, denominator))


def note_list(
    onset: npt.NDArray[np.integer],
    duration: npt.NDArray[np.integer],
    pitch: npt.NDArray[np.integer],
    velocity: npt.NDArray[np.integer],
) -> NoteTickList:
    """Notes of a track from arrays (K,) of equal length; times in ticks."""
    fields = (onset.astype(np.int32), duration.astype(np.int32), pitch.astype(np.int8), velocity.astype(np.int8))
    return cast(NoteTickList, Note.from_numpy(*fields))


def track_order(onset: IntArray, track: IntArray) -> list[int]:
    """The order of the tracks of a score, read from the order of notes that begin together.

    The encoder writes simultaneous notes in track order, and numbers the tracks of one program in that order, so every
    meeting of two tracks says which stands first. Tracks that no meeting orders stand as they first appear, and so do
    those that contradict each other, which only sequences from elsewhere can do.

    Args:
        onset: onset of each note, not falling (K,).
        track: code of each note's track (K,).
    """
    codes, first, index = np.unique(track, return_index=True, return_inverse=True)
    count = len(codes)
    meets = (onset[1:] == onset[:-1]) & (index[1:] != index[:-1])
    pairs = np.unique(index[:-1][meets] * count + index[1:][meets])
    before: list[set[int]] = [set() for _ in range(count)]
    for pair in pairs.tolist():
        before[pair % count].add(pair // count)
    for later in range(1, count):  # codes rise, so tracks of one program are neighbours
        if codes[later] // TRACKS_LIMIT == codes[later - 1] // TRACKS_LIMIT:
            before[later].add(later - 1)
    left = sorted(range(count), key=lambda i: int(first[i]))
    order: list[int] = []
    while left:
        waiting = set(left)
        chosen = next((i for i in left if not before[i] & waiting), left[0])
        left.remove(chosen)
        order.append(int(codes[chosen]))
    return order


def _cut_overlaps(notes: _Notes, tracks: list[int]) -> _Notes:
    """At most one note of a track and pitch at a time; the order of the notes, by onset, is kept.

    Args:
        notes: all notes.
        tracks: code of every track.
    """
    voice = np.searchsorted(np.sort(tracks), notes.track) * TRACKS_LIMIT + notes.pitch
    if len(tracks) <= MOST_SMALL_TRACKS:
        voice = voice.astype(np.uint16)  # numpy sorts sixteen bits by counting
    order = voice.argsort(kind="stable")
    voices, onset = voice[order], notes.onset[order]
    same, gap = voices[1:] == voices[:-1], np.diff(onset)
    doubled = same & (gap == 0)
    if doubled.any():  # of notes that begin together the longest stays
        places = np.flatnonzero(np.append(doubled, False) | np.append(False, doubled))
        among = order[places]
        order[places] = among[np.lexsort((-notes.duration[among], notes.onset[among], voice[among]))]
        order = order[np.append(True, ~doubled)]
        voices, onset = voice[order], notes.onset[order]
        same, gap = voices[1:] == voices[:-1], np.diff(onset)
    duration = notes.duration.copy()
    duration[order[:-1]] = np.minimum(duration[order[:-1]], np.where(same, gap, np.iinfo(np.int64).max))
    notes = notes._replace(duration=duration)
    return notes if len(order) == len(duration) else notes.take(np.sort(order))
