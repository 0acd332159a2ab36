"""How a made-up piece is written: metres and rhythms, chord progressions, the notes of each track over a phrase.

Everything here is a pure function of a random generator and what it is given; :mod:`aurl.data.synth` decides on key,
form and metre and puts phrases together. Onsets and lengths of notes are in eighth notes, those of chords in quarters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

BARS_IN_PHRASE = 4

PITCH_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
LEADING_TONE = 11
QUALITIES = {"maj": (0, 4, 7), "min": (0, 3, 7), "dim": (0, 3, 6)}

# Each mode's chords: roman numeral -> (semitones above the tonic, quality).
CHORDS = {
    "major": {
        "I": (0, "maj"),
        "ii": (2, "min"),
        "iii": (4, "min"),
        "IV": (5, "maj"),
        "V": (7, "maj"),
        "vi": (9, "min"),
    },
    "minor": {
        "i": (0, "min"),
        "iio": (2, "dim"),
        "III": (3, "maj"),
        "iv": (5, "min"),
        "V": (7, "maj"),
        "VI": (8, "maj"),
    },
}
# What may follow what inside a phrase; the cadence is set apart.
FOLLOWS = {
    "major": {
        "I": ("IV", "vi", "ii", "iii", "V"),
        "ii": ("V",),
        "iii": ("vi", "IV"),
        "IV": ("ii", "V", "I"),
        "V": ("I", "vi"),
        "vi": ("ii", "IV"),
    },
    "minor": {
        "i": ("iv", "VI", "iio", "III", "V"),
        "iio": ("V",),
        "III": ("VI", "iv"),
        "iv": ("iio", "V", "i"),
        "V": ("i", "VI"),
        "VI": ("iio", "iv"),
    },
}
BEFORE_DOMINANT = {"major": ("ii", "IV", "I"), "minor": ("iio", "iv", "i")}


@dataclass(frozen=True, kw_only=True)
class Metre:
    """A metre, its beat, how a bar is cut in two, and rhythms of one bar, all in eighth notes."""

    numerator: int
    denominator: int
    beat: int
    halves: tuple[int, int]
    rhythms: tuple[tuple[int, ...], ...]
    drums: tuple[tuple[int, int], ...]
    """(General MIDI drum, eighth) of each stroke besides the hi-hat on every eighth."""

    @property
    def bar(self) -> int:
        """Eighth notes in a bar."""
        return sum(self.halves)


KICK, SNARE, CLOSED_HAT = 36, 38, 42
METRES = (
    Metre(
        numerator=4,
        denominator=4,
        beat=2,
        halves=(4, 4),
        rhythms=((2, 2, 2, 2), (2, 1, 1, 2, 2), (3, 1, 2, 2), (4, 2, 2), (2, 2, 1, 1, 2), (1, 1, 2, 3, 1)),
        drums=((KICK, 0), (SNARE, 2), (KICK, 4), (SNARE, 6)),
    ),
    Metre(
        numerator=3,
        denominator=4,
        beat=2,
        halves=(4, 2),
        rhythms=((2, 2, 2), (4, 2), (2, 1, 1, 2), (3, 1, 2), (1, 1, 2, 2)),
        drums=((KICK, 0), (SNARE, 2), (SNARE, 4)),
    ),
    Metre(
        numerator=6,
        denominator=8,
        beat=3,
        halves=(3, 3),
        rhythms=((3, 3), (2, 1, 2, 1), (1, 1, 1, 3), (3, 2, 1), (2, 1, 3)),
        drums=((KICK, 0), (SNARE, 3)),
    ),
)
METRE_CHANCES = (0.5, 0.25, 0.25)

MELODY_PROGRAMS = (73, 40, 65, 56, 71, 0)
CHORD_PROGRAMS = (0, 24, 48, 4)
BASS_PROGRAM = 32
MELODY_RANGE = (60, 84)
CHORD_RANGE = (52, 72)
BASS_LOWEST = 36
MELODY_VELOCITY, ACCENT, CHORD_VELOCITY, BASS_VELOCITY, DRUM_VELOCITY = 84, 12, 60, 72, 70
LEAP_CHANCE = 0.25
SPLIT_BAR_CHANCE = 0.5


@dataclass(frozen=True)
class ChordLabel:
    """One chord: onset and duration in quarters, root as pitch class 0-11, quality maj/min/dim, roman numeral."""

    onset: float
    duration: float
    root: int
    quality: str
    roman: str

    @property
    def name(self) -> str:
        """The chord as root and quality, such as ``"Eb:maj"``."""
        return f"{PITCH_NAMES[self.root]}:{self.quality}"

    @property
    def pitch_classes(self) -> frozenset[int]:
        """Pitch classes that belong to the chord."""
        return frozenset((self.root + step) % 12 for step in QUALITIES[self.quality])


@dataclass(frozen=True)
class Event:
    """A note inside a phrase or piece: onset and length in eighths."""

    onset: int
    length: int
    pitch: int
    velocity: int


def make_progression(rng: np.random.Generator, mode: str, tonic: int, metre: Metre, closes: bool) -> list[ChordLabel]:
    """Four bars: tonic, free steps, predominant and dominant in bar three, tonic (or a half close) in bar four."""
    home = "I" if mode == "major" else "i"
    second = str(rng.choice(FOLLOWS[mode][home]))
    if second == "V" or rng.random() > SPLIT_BAR_CHANCE:
        slots = [(home, metre.bar), (second, metre.bar)]
    else:
        slots = [
            (home, metre.bar),
            (second, metre.halves[0]),
            (str(rng.choice(FOLLOWS[mode][second])), metre.halves[1]),
        ]
    slots += [(str(rng.choice(BEFORE_DOMINANT[mode])), metre.halves[0])]
    slots += [("V", metre.halves[1]), (home, metre.bar)] if closes else [(home, metre.halves[1]), ("V", metre.bar)]
    chords: list[ChordLabel] = []
    onset = 0
    for roman, length in slots:
        step, quality = CHORDS[mode][roman]
        if chords and chords[-1].roman == roman:  # the same chord goes on: one label, not two
            last = chords.pop()
            chords.append(ChordLabel(last.onset, last.duration + length / 2, last.root, quality, roman))
        else:
            chords.append(ChordLabel(onset / 2, length / 2, (tonic + step) % 12, quality, roman))
        onset += length
    return chords


def make_phrase(
    rng: np.random.Generator,
    chords: list[ChordLabel],
    tonic: int,
    mode: str,
    metre: Metre,
    broken: bool,
    has_drums: bool,
) -> dict[str, list[Event]]:
    """The notes of every track over one progression."""
    parts = {
        "Melody": _melody(rng, chords, tonic, mode, metre),
        "Chords": _accompaniment(chords, metre, broken),
        "Bass": _bass(chords, metre),
    }
    if has_drums:
        parts["Drums"] = _drums(metre)
    return parts


def _melody(rng: np.random.Generator, chords: list[ChordLabel], tonic: int, mode: str, metre: Metre) -> list[Event]:
    """Chord tones on beats, scale steps between; bars one and two share a rhythm; the last bar is one long note."""
    opening, other = (metre.rhythms[i] for i in rng.choice(len(metre.rhythms), 2, replace=False))
    lengths = [*opening, *opening, *other, metre.bar]
    events: list[Event] = []
    pitch = int(rng.integers(MELODY_RANGE[0] + 5, MELODY_RANGE[1] - 7))
    onset = 0
    for length in lengths:
        chord = _chord_at(chords, onset)
        last = onset + length == metre.bar * BARS_IN_PHRASE
        if last:
            candidates = [p for p in range(*MELODY_RANGE) if p % 12 == chord.root]
        elif onset % metre.beat == 0:
            candidates = [p for p in range(*MELODY_RANGE) if p % 12 in chord.pitch_classes]
        else:
            candidates = [p for p in range(*MELODY_RANGE) if p % 12 in _scale(tonic, mode, chord) and p != pitch]
        candidates.sort(key=lambda candidate: (abs(candidate - pitch), candidate))
        leap = not last and onset % metre.beat == 0 and rng.random() < LEAP_CHANCE
        reach = 4 if leap else 2
        pitch = candidates[0] if last else candidates[int(rng.integers(min(reach, len(candidates))))]
        events.append(Event(onset, length, pitch, MELODY_VELOCITY + (ACCENT if onset % metre.bar == 0 else 0)))
        onset += length
    return events


def _scale(tonic: int, mode: str, chord: ChordLabel) -> frozenset[int]:
    """Pitch classes for passing notes: the key's, with the leading tone over a dominant in minor."""
    steps = set(SCALES[mode])
    if mode == "minor" and chord.roman == "V":
        steps = steps - {SCALES["minor"][6]} | {LEADING_TONE}
    return frozenset((tonic + step) % 12 for step in steps)


def _chord_at(chords: list[ChordLabel], onset: int) -> ChordLabel:
    return [chord for chord in chords if chord.onset * 2 <= onset][-1]


def _accompaniment(chords: list[ChordLabel], metre: Metre, broken: bool) -> list[Event]:
    """Triads in the position nearest to the one before; struck at each change and bar line, or broken into eighths."""
    events: list[Event] = []
    middle = sum(CHORD_RANGE) / 2
    for chord in chords:
        pitches = [p for p in range(*CHORD_RANGE) if p % 12 in chord.pitch_classes]
        triads = [pitches[i : i + 3] for i in range(len(pitches) - 2)]
        triad = min(triads, key=lambda notes: abs(sum(notes) / 3 - middle))
        middle = (sum(triad) / 3 + sum(CHORD_RANGE) / 2) / 2
        for start, stop in _spans(chord, metre):
            if broken and stop - start >= len(triad):
                events += [Event(t, 1, triad[(t - start) % 3], CHORD_VELOCITY) for t in range(start, stop)]
            else:
                events += [Event(start, stop - start, pitch, CHORD_VELOCITY) for pitch in triad]
    return events


def _bass(chords: list[ChordLabel], metre: Metre) -> list[Event]:
    """The root at each change and bar line."""
    return [
        Event(start, stop - start, BASS_LOWEST + (chord.root - BASS_LOWEST) % 12, BASS_VELOCITY)
        for chord in chords
        for start, stop in _spans(chord, metre)
    ]


def _spans(chord: ChordLabel, metre: Metre) -> list[tuple[int, int]]:
    """A chord cut at bar lines, in eighths."""
    start, end = round(chord.onset * 2), round((chord.onset + chord.duration) * 2)
    cuts = [start, *(line for line in range(0, end, metre.bar) if start < line), end]
    return list(pairwise(cuts))


def _drums(metre: Metre) -> list[Event]:
    strokes = [*metre.drums, *((CLOSED_HAT, eighth) for eighth in range(metre.bar))]
    return [
        Event(bar * metre.bar + eighth, 1, drum, DRUM_VELOCITY)
        for bar in range(BARS_IN_PHRASE)
        for drum, eighth in strokes
    ]
