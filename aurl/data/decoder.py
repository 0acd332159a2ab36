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

from aurl.data import timeline
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


class _Tokens(NamedTuple):
    """The tokens of a piece without special ones, and what is true at each, (N,)."""

    ids: IntArray
    kind: npt.NDArray[np.uint8]
    ticks: IntArray
    track: IntArray
    """Code of the track that the last Program token names, piano without one; see ``_Notes.track``."""
    metre: IntArray
    """Id of the TimeSig token in force, PAD before the first."""

    def at(self, kind: Kind) -> IntArray:
        """Where tokens of one kind stand."""
        return np.flatnonzero(self.kind == kind)


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
        ticks = int(vocabulary.ticks_per_quarter)
        while ticks < MIN_TICKS_PER_QUARTER:
            ticks *= 2
        self.ticks_per_quarter = ticks
        self._scale = ticks // int(vocabulary.ticks_per_quarter)
        self._position_ticks = vocabulary.position_ticks * self._scale
        self._track_code = (vocabulary.value.astype(np.int64) + 1) * TRACKS_LIMIT + vocabulary.track
        """Of each Program token; see ``_Notes.track``."""

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
        tokens = self._read(np.asarray(ids, np.int64))
        score = ScoreTick(self.ticks_per_quarter)
        spans = self._vocabulary.note_spans(tokens.ids) if self._vocabulary.form is Form.note_ends else None
        notes = self._notes(tokens, spans)
        if spans is None:
            order = track_order(notes.onset, notes.track)
        else:  # where a note ends its track is named again
            written = np.zeros(len(tokens.ids), np.bool_)
            written[spans[0]] = written[spans[1]] = True
            order = track_order(tokens.ticks[written], tokens.track[written])
        if cut_overlaps:
            notes = _cut_overlaps(notes, order)
        self._add_tracks(score, notes, order)
        self._add_tempos(score, tokens)
        self._add_metres(score, tokens)
        self._add_chords(score, tokens)
        return score

    def _read(self, ids: IntArray) -> _Tokens:
        """The tokens with their times and tracks."""
        vocabulary = self._vocabulary
        kind = vocabulary.kind[ids]
        plain = kind > Kind.EOS
        if not plain.all():
            ids, kind = ids[plain], kind[plain]
        if vocabulary.form in (Form.shifts, Form.note_ends):
            ticks, metre = timeline.shifted_ticks(vocabulary, ids)
            ticks *= self._scale
        else:
            _, beat, metre = vocabulary.timeline(ids)
            ticks = np.rint(beat * self.ticks_per_quarter).astype(np.int64)
        names = np.flatnonzero(kind == Kind.PROGRAM)
        codes = self._track_code[np.append(vocabulary.program_id(0) or 0, ids[names])]
        return _Tokens(ids, kind, ticks, np.repeat(codes, np.diff(names, prepend=0, append=len(ids))), metre)

    def _notes(self, tokens: _Tokens, spans: tuple[IntArray, IntArray] | None) -> _Notes:
        """Complete notes, by time; ``spans`` says where they begin and end, None that they have durations."""
        vocabulary, ids = self._vocabulary, tokens.ids
        if spans is not None:
            starts, ends = spans
            onset, duration = tokens.ticks[starts], tokens.ticks[ends] - tokens.ticks[starts]
            if not duration.all():  # what ends where it begins is no note
                starts, onset, duration = starts[duration > 0], onset[duration > 0], duration[duration > 0]
        else:
            starts = vocabulary.note_starts(ids)
            onset = tokens.ticks[starts]
            duration = vocabulary.value[ids[starts + 2]] * self._position_ticks[tokens.metre[starts]]
        notes = _Notes(
            onset=onset,
            duration=duration,
            pitch=vocabulary.value[ids[starts]].astype(np.int64),
            velocity=vocabulary.value[ids[starts + 1]].astype(np.int64),
            track=tokens.track[starts],
        )
        return notes if (onset[1:] >= onset[:-1]).all() else notes.take(onset.argsort(kind="stable"))

    def _add_tracks(self, score: ScoreTick, notes: _Notes, order: list[int]) -> None:
        programs = [code // TRACKS_LIMIT - 1 for code in order]
        numbers = dict.fromkeys(programs, 0)
        for code, program in zip(order, programs, strict=True):
            own = notes if len(order) == 1 else notes.take(np.flatnonzero(notes.track == code))
            name = DRUM_CHANNEL_NAME if program == DRUM_PROGRAM else MIDI_INSTRUMENTS[program]["name"]
            numbers[program] += 1
            if programs.count(program) > 1:
                name = f"{name} {numbers[program]}"
            track = TrackTick(name, max(program, 0), program == DRUM_PROGRAM)
            track.notes = note_list(own.onset, own.duration, own.pitch, own.velocity)
            score.tracks.append(track)

    def _add_tempos(self, score: ScoreTick, tokens: _Tokens) -> None:
        """Tempo changes; of several at one tick the last holds. Where every position or note says its tempo, only what
        differs from the one before is a change, and the first holds from the start.
        """
        at = tokens.at(Kind.TEMPO)
        first = 0
        if self._vocabulary.form in (Form.words, Form.numbered):
            at = _changes(at, tokens.ids)
            first = len(at[:1])
        ticks = [0] * first + tokens.ticks[at[first:]].tolist()
        tempos = dict(zip(ticks, self._vocabulary.tempo[tokens.ids[at]].tolist(), strict=True))
        for tick, tempo in sorted(tempos.items()) or [(0, DEFAULT_TEMPO)]:
            score.tempos.append(TempoTick(tick, tempo))

    def _add_chords(self, score: ScoreTick, tokens: _Tokens) -> None:
        """Chord symbols as markers, where the chord changes; of several at one tick the last holds."""
        vocabulary, ids, ticks = self._vocabulary, tokens.ids, tokens.ticks
        at = tokens.at(Kind.CHORD)
        if not len(at):
            return
        at = _changes(at[np.append(ticks[at[1:]] != ticks[at[:-1]], True)], ids)
        names = [quality.name for quality in QUALITIES]
        chords = [Chord(int(vocabulary.root[id_]), names[vocabulary.value[id_]]) for id_ in ids[at].tolist()]
        add_symbols(score, zip(ticks[at].tolist(), chords, strict=True))

    def _add_metres(self, score: ScoreTick, tokens: _Tokens) -> None:
        """Time signatures, at the bar lines where they change."""
        vocabulary = self._vocabulary
        if vocabulary.form not in (Form.bars, Form.words):
            self._add_written_metres(score, tokens)
            return
        opens = tokens.at(Kind.BAR)
        closes = np.append(opens[1:], len(tokens.ids))[: len(opens)]
        metre_of_bar = tokens.metre[closes - 1]  # the last one of a bar counts
        for index in _changes(np.arange(len(opens)), metre_of_bar).tolist():
            id_ = int(metre_of_bar[index])
            if id_ != vocabulary.pad:
                numerator, denominator = int(vocabulary.numerator[id_]), int(vocabulary.denominator[id_])
                score.time_signatures.append(TimeSignatureTick(int(tokens.ticks[opens[index]]), numerator, denominator))
        if not len(score.time_signatures) or score.time_signatures[0].time != 0:
            score.time_signatures.insert(0, TimeSignatureTick(0, QUARTERS_PER_WHOLE, QUARTERS_PER_WHOLE))

    def _add_written_metres(self, score: ScoreTick, tokens: _Tokens) -> None:
        """Time signatures where bars have no tokens of their own: where they are written, or, where every note says its
        metre, at the bar line of the first note that says another.
        """
        vocabulary = self._vocabulary
        at = tokens.at(Kind.TIMESIG)
        if vocabulary.form is Form.numbered:
            at = _changes(at, tokens.ids)
        times = tokens.ticks[at]
        if vocabulary.form is Form.numbered:
            times[:1] = 0  # bars before the first note have its metre
        metres = {0: (QUARTERS_PER_WHOLE, QUARTERS_PER_WHOLE)}
        for tick, id_ in zip(times.tolist(), tokens.ids[at].tolist(), strict=True):
            metres[tick] = (int(vocabulary.numerator[id_]), int(vocabulary.denominator[id_]))
        for tick, (numerator, denominator) in sorted(metres.items()):
            score.time_signatures.append(TimeSignatureTick(tick, numerator, denominator))


def _changes(at: IntArray, values: IntArray) -> IntArray:
    """Of the places ``at`` those whose value is not that of the one before."""
    keep = np.ones(len(at), np.bool_)
    keep[1:] = values[at[1:]] != values[at[:-1]]
    return at[keep]


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
    codes = np.flatnonzero(np.bincount(track))
    count = len(codes)
    if count < 2:
        return [int(code) for code in codes]
    rank = np.zeros(int(codes[-1]) + 1, np.int64)
    rank[codes] = np.arange(count)
    index = rank[track]
    first = np.empty(count, np.int64)
    first[index[::-1]] = np.arange(len(index))[::-1]  # of several values for one place the last stays
    meets = np.flatnonzero((onset[1:] == onset[:-1]) & (track[1:] != track[:-1]))
    pairs = np.flatnonzero(np.bincount(index[meets] * count + index[meets + 1]))
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
