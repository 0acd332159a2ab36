"""What sounds while a token is written: the notes that each token hears, and where it stands among them.

REMI spells a note as four tokens and its end as none, so a network would have to add up onsets and durations to know
which notes still sound. Here that is worked out once from the tokens themselves (a pure function of the past, as
musical time is), and given to the network as facts: pitch and track of every sounding note, whether it was struck just
now, goes on or has just ended, how long it still lasts, how far it is from the pitch that the track played last, and
the place in the bar.

Two ways to the same facts: :func:`listen` here for packed segments in training, listener.py for one token of each
sample in decoding. What they are turned into is counterpoint.py's business.

Axes: N packed tokens, B samples, R rows (N or B), K notes, E pairs of a row and a note that it hears, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MEMORY = 32
"""Notes a token can hear: the last so many of its piece; older ones are forgotten even if they sound."""
TICKS = 960
"""Ticks in a quarter note in which times are compared: whole for 2, 3, 4, 5, 6, 8, 10, 12, 16 and 24 positions a beat,
and coarser than the rounding of float32 up to 8,000 quarters. On other grids a note may seem to end a tick late."""
ENDLESS = 2**33
"""End of a note whose duration has not been written, in ticks; above any time."""
TIME_RANGE = 2**34
"""Factor that keeps ticks of different segments and tracks apart in one sorted list."""
WIDEST = 48
"""Intervals beyond so many semitones count as this one."""
NO_INTERVAL = 2 * WIDEST + 1
"""Stands for the interval where there is no pitch to compare with; the others are 0 to twice WIDEST."""
QUARTER_REMAINING = 8
"""Remaining times are told apart in so many steps of a quarter note, 32nd notes ..."""
REMAINING_STEP = TICKS // QUARTER_REMAINING
LONGEST_REMAINING = 99
"""... up to so many."""
STILL_UNKNOWN = LONGEST_REMAINING + 1
"""Stands for the remaining time of a note whose duration is not written."""
NONE = -1
"""Stands for a pitch that is not there."""
NO_TRACK = 0
"""Stands for the Program token of notes without one (PAD is token 0)."""
NOTE_TOKENS = 3
"""Tokens after a Program token that belong to its note: pitch, velocity, duration."""
DURATION_AFTER = 2
"""Tokens from a pitch to its duration."""


class Status(IntEnum):
    """A heard note at the moment of hearing."""

    HELD = 0
    ENDED = 1
    """It has ended since the last moment, and its track has not gone on yet."""
    STRUCK = 2


class TokenMeaning(NamedTuple):
    """What the model needs to know of each token id, ``(V,)`` each but for the last."""

    pitch: Tensor
    """MIDI pitch of Pitch tokens (drums are not heard), -1 for others; int64."""
    program: Tensor
    """True for Program tokens."""
    duration: Tensor
    """Length of Duration tokens in positions, 0 for others; int64."""
    place: Tensor
    """Position in the bar of Position tokens, 0 for Bar tokens, -1 for others; int64."""
    metre: Tensor
    """Quarters in a position after TimeSig tokens, 0 for others; float32."""
    first_metre: Tensor = torch.tensor(0.125)
    """Quarters in a position before any time signature; a single number, float32."""

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> TokenMeaning:
        """From arrays by field, as ``aurl.data.vocabulary.Vocabulary.meaning`` gives them."""
        return cls(**{name: torch.from_numpy(np.asarray(values)) for name, values in arrays.items()})

    @classmethod
    def unknown(cls, vocab_size: int) -> TokenMeaning:
        """Room for a meaning that a checkpoint brings along."""
        whole = torch.zeros(vocab_size, dtype=torch.int64)
        return cls(whole - 1, whole.bool(), whole.clone(), whole - 1, whole.float())


class Heard(NamedTuple):
    """Pairs of a row and a note that it hears, ``(E,)`` int64 each."""

    row: Tensor
    pitch: Tensor
    program: Tensor
    """Program token of the note's track."""
    status: Tensor
    """:class:`Status`."""
    previous: Tensor
    """Pitch that the track played at its last moment before this note, or NONE."""
    remaining: Tensor
    """Steps of REMAINING_STEP until it ends, rounded down, up to LONGEST_REMAINING; or STILL_UNKNOWN."""
    interval: Tensor
    """Semitones from the row's reference, plus WIDEST; or NO_INTERVAL."""


class Hearing(NamedTuple):
    """What the rows hear and where they stand, ``(R,)`` each beside the pairs."""

    heard: Heard
    track: Tensor
    """Program token of the note that is being written, NO_TRACK between notes; int64."""
    is_program: Tensor
    """Whether the token is a Program token (a pitch comes next); bool."""
    reference: Tensor
    """Last pitch that this track wrote, or NONE; int64."""
    repeats: Tensor
    """Whether the reference was struck at this very moment (as in a chord of one track); bool."""
    place: Tensor
    """Position in the bar; int64."""


def to_ticks(beat: Tensor) -> Tensor:
    """Quarter notes in ticks, int64."""
    return (beat * TICKS).round().long()


def note_ends(onset: Tensor, duration: Tensor, metre: Tensor) -> Tensor:
    """Ends in ticks of notes of ``duration`` positions of ``metre`` quarters; ENDLESS where the duration is 0."""
    return torch.where(duration > 0, onset + to_ticks(duration * metre), ENDLESS)


def statuses(onset: Tensor, end: Tensor, now: Tensor) -> Tensor:
    """:class:`Status` of notes at tick ``now``."""
    ended = torch.where(end <= now, int(Status.ENDED), int(Status.HELD))
    return torch.where(onset == now, int(Status.STRUCK), ended)


def intervals(pitch: Tensor, reference: Tensor) -> Tensor:
    """Semitones from ``reference`` to ``pitch`` plus WIDEST, at most WIDEST apart; NO_INTERVAL without reference."""
    interval = (pitch - reference).clamp(-WIDEST, WIDEST) + WIDEST
    return torch.where(reference == NONE, NO_INTERVAL, interval)


def _remaining(end: Tensor, now: Tensor) -> Tensor:
    steps = ((end - now).clamp(min=0) // REMAINING_STEP).clamp(max=LONGEST_REMAINING)
    return torch.where(end < ENDLESS, steps, STILL_UNKNOWN)


def _last_index(mask: Tensor, first: Tensor) -> Tensor:
    """Index of the last True at or before each token of its segment, -1 where there is none, ``(N,)``."""
    index = torch.where(mask, torch.arange(len(mask), device=mask.device), NONE).cummax(0).values
    return torch.where(index >= first, index, NONE)


class _Segments(NamedTuple):
    """Where each packed token is, ``(N,)`` int64 each."""

    number: Tensor
    first: Tensor
    """First token of the segment."""
    stop: Tensor
    """One past its last token."""
    tick: Tensor
    before: Tensor
    """Tick of the moment before this one, -1 in the first."""

    @classmethod
    def of(cls, beat: Tensor, lengths: list[int]) -> _Segments:
        sizes = torch.tensor(lengths, device=beat.device)
        number = torch.arange(len(lengths), device=beat.device).repeat_interleave(sizes)
        stop = sizes.cumsum(0)[number]
        first = stop - sizes[number]
        tick = to_ticks(beat)
        begins = torch.ones_like(first, dtype=torch.bool)
        begins[1:] = (tick[1:] != tick[:-1]) | (number[1:] != number[:-1])
        moment = _last_index(begins, first)  # first token of the moment
        before = torch.where(moment > first, tick[(moment - 1).clamp(min=0)], NONE)
        return cls(number, first, stop, tick, before)


class _Notes(NamedTuple):
    """Notes of packed segments in the order of their Pitch tokens, ``(K,)`` int64 each."""

    at: Tensor
    """Their Pitch token."""
    pitch: Tensor
    program: Tensor
    onset: Tensor
    end: Tensor
    voice: Tensor
    """Number that tells segments and tracks apart."""


def _read_notes(ids: Tensor, segments: _Segments, meaning: TokenMeaning) -> _Notes:
    at = (meaning.pitch[ids] >= 0).nonzero().squeeze(1)
    first, stop = segments.first[at], segments.stop[at]
    before = ids[(at - 1).clamp(min=0)]
    program = torch.where((at > first) & meaning.program[before], before, NO_TRACK)
    last = (at + DURATION_AFTER).clamp(max=len(ids) - 1)
    written = (at + DURATION_AFTER < stop) & (meaning.pitch[ids[(last - 1).clamp(min=0)]] < 0)
    duration = torch.where(written, meaning.duration[ids[last]], 0)
    metres = meaning.metre[ids]
    signed = _last_index(metres > 0, segments.first)[last]
    metre = torch.where(signed >= 0, metres[signed.clamp(min=0)], meaning.first_metre)
    onset = segments.tick[at]
    voice = segments.number[at] * len(meaning.pitch) + program
    return _Notes(at, meaning.pitch[ids[at]], program, onset, note_ends(onset, duration, metre), voice)


class _Voices(NamedTuple):
    """Notes sorted by voice, then in order of writing."""

    order: Tensor
    by_onset: Tensor
    by_token: Tensor

    @classmethod
    def of(cls, notes: _Notes) -> _Voices:
        order = notes.voice.argsort(stable=True)
        sorted_voice = notes.voice[order] * TIME_RANGE
        return cls(order, sorted_voice + notes.onset[order], sorted_voice + notes.at[order])

    def find(self, keys: Tensor, voice: Tensor, value: Tensor, notes: _Notes, step: int, right: bool) -> Tensor:
        """Note of ``voice`` at the place of ``value`` in sorted ``keys``, moved by ``step``; NONE if there is none."""
        if not len(self.order):
            return torch.full_like(voice, NONE)
        place = torch.searchsorted(keys, voice * TIME_RANGE + value, right=right) + step
        found = self.order[place.clamp(0, len(self.order) - 1)]
        inside = (place >= 0) & (place < len(self.order)) & (notes.voice[found] == voice)
        return torch.where(inside, found, NONE)


def _heard_until(notes: _Notes, segments: _Segments, voices: _Voices) -> Tensor:
    """One past the last token that hears each note, ``(K,)``."""
    own = segments.number[notes.at] * TIME_RANGE
    # Heard through the moment in which it ends ...
    moments = segments.number * TIME_RANGE + segments.before + 1
    until = torch.searchsorted(moments, own + notes.end + 1)
    # ... or until its track goes on ...
    after = voices.find(voices.by_onset, notes.voice, notes.end, notes, step=0, right=False)
    until = torch.where(after >= 0, torch.minimum(until, notes.at[after.clamp(min=0)]), until)
    # ... but never judged before its duration is written ...
    until = torch.maximum(until, notes.at + DURATION_AFTER)
    until = torch.minimum(until, segments.stop[notes.at])
    # ... and not when so many later notes were written.
    until[:-MEMORY] = torch.minimum(until[:-MEMORY], notes.at[MEMORY:])
    return until


def listen(ids: Tensor, beat: Tensor, lengths: list[int], meaning: TokenMeaning) -> Hearing:
    """What every token of packed segments hears; nothing crosses a border, nothing comes from the future.

    Args:
        ids: tokens ``(N,)`` int64.
        beat: onset of each token in quarter notes ``(N,)``, never falling inside a segment.
        lengths: tokens of each segment.
        meaning: what ids mean, on the same device.
    """
    segments = _Segments.of(beat, lengths)
    notes = _read_notes(ids, segments, meaning)
    voices = _Voices.of(notes)
    counts = _heard_until(notes, segments, voices) - notes.at
    note = torch.arange(len(counts), device=ids.device).repeat_interleave(counts)
    offset = torch.arange(len(note), device=ids.device) - (counts.cumsum(0) - counts)[note]
    row = notes.at[note] + offset
    now = segments.tick[row]
    end = torch.where(offset >= DURATION_AFTER, notes.end[note], ENDLESS)
    earlier = voices.find(voices.by_onset, notes.voice, notes.onset, notes, step=-1, right=False)
    previous = torch.where(earlier >= 0, notes.pitch[earlier.clamp(min=0)], NONE) if len(notes.at) else earlier
    tokens = torch.arange(len(ids), device=ids.device)
    is_program = meaning.program[ids]
    opened = _last_index(is_program, segments.first)
    writing = (opened >= 0) & (tokens - opened <= NOTE_TOKENS)
    track = torch.where(writing, ids[opened.clamp(min=0)], NO_TRACK)
    voice = segments.number * len(meaning.pitch) + track
    last = voices.find(voices.by_token, voice, tokens, notes, step=-1, right=True)
    last = torch.where(writing, last, NONE)
    known, index = last >= 0, last.clamp(min=0)
    reference = torch.where(known, notes.pitch[index], NONE) if len(notes.at) else last
    repeats = known & (notes.onset[index] == segments.tick) if len(notes.at) else known
    heard = Heard(
        row,
        notes.pitch[note],
        notes.program[note],
        statuses(notes.onset[note], end, now),
        previous[note],
        _remaining(end, now),
        intervals(notes.pitch[note], reference[row]),
    )
    places = meaning.place[ids]
    placed = _last_index(places >= 0, segments.first)
    place = torch.where(placed >= 0, places[placed.clamp(min=0)], 0)
    return Hearing(heard, track, is_program, reference, repeats, place)
