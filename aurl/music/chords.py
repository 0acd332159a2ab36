"""Chords as labels: root, quality, bass and further degrees; the closed list of qualities; Harte's notation.

Other notations (lead sheet, ABC, MusicXML) are in chord_symbols.py, chords of files in chord_sources.py, chords of
notes in chord_detection.py, and arrays beside tokens in chord_arrays.py.

Source of the notation: C. Harte, M. Sandler, S. Abdallah, E. Gomez, "Symbolic representation of musical chords", ISMIR
2005. Chords are pitch classes here, so a sharp and its flat are one; names are written with the spelling in ``ROOTS``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OCTAVE = 12
NO_PITCH = -1
"""Root and bass of "no chord"."""
ROOTS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"#": 1, "♯": 1, "x": 2, "b": -1, "♭": -1}
DEGREE_SEMITONES = {1: 0, 2: 2, 3: 4, 4: 5, 5: 7, 6: 9, 7: 11, 8: 12, 9: 14, 10: 16, 11: 17, 12: 19, 13: 21}
BASS_DEGREES = ("1", "b2", "2", "b3", "3", "4", "b5", "5", "b6", "6", "b7", "7")
"""Harte's name of a bass so many semitones above the root."""


@dataclass(frozen=True)
class Quality:
    """What a chord is apart from its root.

    Attributes:
        name: the name in arrays, configs and tables.
        tones: semitones above the root.
        harte: Harte's shorthand with degrees where there is none.
        suffix: how lead sheets write it after the root.
        kind: MusicXML's name.
    """

    name: str
    tones: tuple[int, ...]
    harte: str
    suffix: str
    kind: str


QUALITIES: tuple[Quality, ...] = (
    Quality("N", (), "N", "NC", "none"),
    Quality("maj", (0, 4, 7), "maj", "", "major"),
    Quality("min", (0, 3, 7), "min", "m", "minor"),
    Quality("dim", (0, 3, 6), "dim", "dim", "diminished"),
    Quality("aug", (0, 4, 8), "aug", "aug", "augmented"),
    Quality("sus2", (0, 2, 7), "sus2", "sus2", "suspended-second"),
    Quality("sus4", (0, 5, 7), "sus4", "sus4", "suspended-fourth"),
    Quality("7", (0, 4, 7, 10), "7", "7", "dominant"),
    Quality("maj7", (0, 4, 7, 11), "maj7", "maj7", "major-seventh"),
    Quality("min7", (0, 3, 7, 10), "min7", "m7", "minor-seventh"),
    Quality("hdim7", (0, 3, 6, 10), "hdim7", "m7b5", "half-diminished"),
    Quality("dim7", (0, 3, 6, 9), "dim7", "dim7", "diminished-seventh"),
    Quality("maj6", (0, 4, 7, 9), "maj6", "6", "major-sixth"),
    Quality("min6", (0, 3, 7, 9), "min6", "m6", "minor-sixth"),
    Quality("minmaj7", (0, 3, 7, 11), "minmaj7", "m(maj7)", "major-minor"),
    Quality("aug7", (0, 4, 8, 10), "aug(b7)", "aug7", "augmented-seventh"),
    Quality("7sus4", (0, 5, 7, 10), "sus4(b7)", "7sus4", "suspended-fourth"),
    Quality("5", (0, 7), "5", "5", "power"),
    Quality("9", (0, 4, 7, 10, 2), "9", "9", "dominant-ninth"),
    Quality("maj9", (0, 4, 7, 11, 2), "maj9", "maj9", "major-ninth"),
    Quality("min9", (0, 3, 7, 10, 2), "min9", "m9", "minor-ninth"),
    Quality("11", (0, 4, 7, 10, 2, 5), "11", "11", "dominant-11th"),
    Quality("min11", (0, 3, 7, 10, 2, 5), "min11", "m11", "minor-11th"),
    Quality("13", (0, 4, 7, 10, 2, 5, 9), "13", "13", "dominant-13th"),
    Quality("maj13", (0, 4, 7, 11, 2, 5, 9), "maj13", "maj13", "major-13th"),
    Quality("min13", (0, 3, 7, 10, 2, 5, 9), "min13", "m13", "minor-13th"),
)
"""All qualities; the place in this tuple is the number stored in arrays, so new ones go to the end."""
QUALITY_NUMBER: dict[str, int] = {quality.name: number for number, quality in enumerate(QUALITIES)}
QUALITY: dict[str, Quality] = {quality.name: quality for quality in QUALITIES}

_BY_TONES = {frozenset(quality.tones): quality.name for quality in QUALITIES if quality.tones}

_CONTRACTIONS: dict[tuple[str, str], str] = {
    ("maj", "b7"): "7",
    ("maj", "7"): "maj7",
    ("maj", "6"): "maj6",
    ("min", "b7"): "min7",
    ("min", "7"): "minmaj7",
    ("min", "6"): "min6",
    ("dim", "b7"): "hdim7",
    ("dim", "bb7"): "dim7",
    ("aug", "b7"): "aug7",
    ("sus4", "b7"): "7sus4",
    ("7", "9"): "9",
    ("maj7", "9"): "maj9",
    ("min7", "9"): "min9",
}
"""A quality with a further degree that is a quality of its own."""
_ALTERED_FIFTHS: dict[tuple[str, str], str] = {
    ("maj", "#5"): "aug",
    ("min", "b5"): "dim",
    ("min7", "b5"): "hdim7",
    ("7", "#5"): "aug7",
}
"""A quality whose fifth is left out and replaced, where that is a quality of its own."""
NO_FIFTH = "*5"
_DEGREE = re.compile(r"^(\*?)(b{0,2}|#{0,2})([1-9]|1[0-3])$")
_HARTE = re.compile(
    r"^([A-G][#b]*)(?::([a-z]*\d*(?:maj\d+)?)?(?:\(([^()]*)\))?)?(?:/((?:b{0,2}|#{0,2})(?:[1-9]|1[0-3])))?$"
)


@dataclass(frozen=True)
class Chord:
    """A chord symbol; ``Chord()`` is "no chord".

    Attributes:
        root: pitch class 0 to 11, -1 for no chord.
        quality: a name in ``QUALITIES``.
        bass: pitch class of the lowest note; -1 means the root.
        degrees: further degrees in Harte's notation (``b9``, ``#11``, ``*5`` for a fifth left out).

    A chord is brought to one form when it is made: a bass is always given, degrees are sorted and name a quality where
    there is one (``maj`` with ``b7`` is ``7``), and leaving out what is not there says nothing.

    Raises:
        ValueError: a part is not allowed.

    Example:
        >>> Chord(0, "maj", degrees=("b7",)) == Chord(0, "7")
        True
    """

    root: int = NO_PITCH
    quality: str = "N"
    bass: int = NO_PITCH
    degrees: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.quality not in QUALITY:
            raise ValueError(f"chord quality is {self.quality!r}; allowed: {' '.join(QUALITY)}")
        for name, value in (("root", self.root), ("bass", self.bass)):
            if not NO_PITCH <= value < OCTAVE:
                raise ValueError(f"chord {name} is {value}; allowed: 0 to 11 (C to B) or -1")
        if (self.quality == "N") != (self.root == NO_PITCH):
            raise ValueError(f"quality {self.quality!r} with root {self.root}; 'N' and -1 go together")
        if self.quality == "N" and (self.bass != NO_PITCH or self.degrees):
            raise ValueError("no chord (N) has neither a bass nor degrees")
        quality, degrees = _contracted(self.quality, self.degrees)
        object.__setattr__(self, "quality", quality)
        object.__setattr__(self, "degrees", degrees)
        if self.bass == NO_PITCH:
            object.__setattr__(self, "bass", self.root)

    @property
    def pitch_classes(self) -> frozenset[int]:
        """The pitch classes it asks for, its bass among them."""
        tones = set(QUALITY[self.quality].tones)
        for degree in self.degrees:
            semitones = degree_semitones(degree.lstrip("*"))
            tones = tones - {semitones} if degree.startswith("*") else tones | {semitones}
        bass = set() if self.bass == NO_PITCH else {self.bass}
        return frozenset((self.root + tone) % OCTAVE for tone in tones) | bass

    def transposed(self, semitones: int) -> Chord:
        """The same chord, moved; no chord stays no chord."""
        if self.root == NO_PITCH:
            return self
        root, bass = (self.root + semitones) % OCTAVE, (self.bass + semitones) % OCTAVE
        return Chord(root, self.quality, bass, self.degrees)

    def harte(self) -> str:
        """Harte's notation, such as ``C:maj7/3`` or ``F#:min7(11)``; ``N`` for no chord."""
        if self.root == NO_PITCH:
            return "N"
        base, _, own = QUALITY[self.quality].harte.partition("(")
        degrees = [*([own.rstrip(")")] if own else []), *self.degrees]
        slash = "" if self.bass == self.root else "/" + BASS_DEGREES[(self.bass - self.root) % OCTAVE]
        return f"{ROOTS[self.root]}:{base}" + (f"({','.join(degrees)})" if degrees else "") + slash


def parse_harte(text: str) -> Chord:
    """Read Harte's notation.

    Args:
        text: ``C:maj7/3``, ``A:min``, ``G`` (major), ``D:(1,3,5,b7)``, ``N``.

    Raises:
        ValueError: not Harte's notation, or a shorthand outside ``QUALITIES``.

    Example:
        >>> parse_harte("C:maj7/3")
        Chord(root=0, quality='maj7', bass=4, degrees=())
    """
    if text == "N":
        return NO_CHORD
    found = _HARTE.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no chord in Harte's notation; examples: C:maj7/3, F#:min(9), N")
    root = parse_pitch_class(found.group(1))
    shorthand, listed, slash = found.group(2), found.group(3), found.group(4)
    degrees = tuple(degree.strip() for degree in listed.split(",")) if listed else ()
    bass = (root + degree_semitones(slash)) % OCTAVE if slash else root
    if not shorthand and degrees:
        return _from_degrees(root, bass, degrees)
    shorthand = shorthand or "maj"
    if shorthand not in QUALITY or QUALITY[shorthand].harte != shorthand:
        raise ValueError(f"{text!r} has the unknown shorthand {shorthand!r}; allowed: {' '.join(SHORTHANDS)}")
    return Chord(root, shorthand, bass, degrees)


SHORTHANDS: tuple[str, ...] = tuple(quality.name for quality in QUALITIES[1:] if quality.harte == quality.name)


def _from_degrees(root: int, bass: int, degrees: tuple[str, ...]) -> Chord:
    """A chord given by its degrees: the quality with most tones among them, the rest as degrees."""
    present = {degree_semitones(degree) for degree in degrees if not degree.startswith("*")} | {0}
    fitting = [quality for quality in QUALITIES[1:] if set(quality.tones) <= present]
    if fitting:
        best = max(fitting, key=lambda quality: len(quality.tones))
        further = tuple(d for d in degrees if degree_semitones(d.lstrip("*")) not in best.tones)
        return Chord(root, best.name, bass, further)
    missing = tuple(f"*{d}" for d in ("3", "5") if degree_semitones(d) not in present)
    further = tuple(d for d in degrees if degree_semitones(d.lstrip("*")) not in QUALITY["maj"].tones)
    return Chord(root, "maj", bass, further + missing)


def parse_pitch_class(text: str) -> int:
    """``F#``, ``Bb``, ``C♯`` as a pitch class.

    Raises:
        ValueError: not a note name.
    """
    if not text or text[0] not in NATURALS or any(sign not in ACCIDENTALS for sign in text[1:]):
        raise ValueError(f"{text!r} is no note name; examples: C, F#, Bb")
    return (NATURALS[text[0]] + sum(ACCIDENTALS[sign] for sign in text[1:])) % OCTAVE


def degree_semitones(degree: str) -> int:
    """Semitones (0 to 11) of a degree such as ``b7``, ``#11`` or ``5`` above the root.

    Raises:
        ValueError: not a degree.
    """
    found = _DEGREE.match(degree)
    if found is None:
        raise ValueError(f"{degree!r} is no chord degree; examples: b7, #11, 5, *3 (left out)")
    change = found.group(2).count("#") - found.group(2).count("b")
    return (DEGREE_SEMITONES[int(found.group(3))] + change) % OCTAVE


def _contracted(quality: str, degrees: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Degrees sorted and without repeats, drawn into the quality where that has a name."""
    rest = sorted(set(degrees), key=_degree_order)
    altered = next((degree for degree in rest if (quality, degree) in _ALTERED_FIFTHS), None)
    if altered is not None and NO_FIFTH in rest:
        quality = _ALTERED_FIFTHS[quality, altered]
        rest = [degree for degree in rest if degree not in (altered, NO_FIFTH)]
    while (step := next(filter(None, (_step(quality, degree) for degree in rest)), None)) is not None:
        quality, drawn_in = step
        rest.remove(drawn_in)
    tones = QUALITY[quality].tones
    kept = [d for d in rest if not d.startswith("*") or degree_semitones(d) in tones]
    return quality, tuple(kept)


def _step(quality: str, degree: str) -> tuple[str, str] | None:
    """The quality that takes a degree in, and the degree; None where there is no such quality."""
    tones = QUALITY[quality].tones
    if not degree.startswith("*"):
        if degree_semitones(degree) in tones:
            return quality, degree
        return (_CONTRACTIONS[quality, degree], degree) if (quality, degree) in _CONTRACTIONS else None
    left = set(tones) - {degree_semitones(degree)}
    smaller = _BY_TONES.get(frozenset(left)) if len(left) < len(tones) else None
    return (smaller, degree) if smaller else None


def omission(quality: str, number: str) -> str:
    """The tone of a quality that "without its n-th" leaves out: ``*b7`` for 7 of a dominant seventh, ``*5`` for 5.

    Raises:
        ValueError: not the number of a degree.
    """
    tones = QUALITY[quality].tones
    names = [f"{sign}{number}" for sign in ("", "b", "#", "bb")]
    return "*" + next((name for name in names if degree_semitones(name) in tones), number)


def _degree_order(degree: str) -> tuple[bool, int, str]:
    degree_semitones(degree)  # raises where it is none
    return degree.startswith("*"), int(degree.lstrip("*b#")), degree


NO_CHORD = Chord()
