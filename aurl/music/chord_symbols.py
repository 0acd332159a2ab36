"""Chord symbols as people write them: lead sheets, ABC and MusicXML, to and from :class:`aurl.music.chords.Chord`.

One grammar reads all of them: a root, the longest known start of the rest (``maj7``, ``m``, ``dim`` ...), then any
number of additions and alterations, then a bass after a slash. What does not parse to its end is refused, so that
words are not taken for chords.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aurl.music.chords import (
    BASS_DEGREES,
    NATURALS,
    NO_CHORD,
    NO_FIFTH,
    NO_PITCH,
    OCTAVE,
    QUALITIES,
    QUALITY,
    ROOTS,
    Chord,
    degree_semitones,
    omission,
    parse_pitch_class,
)

NO_CHORD_NAMES = frozenset({"NC", "N.C.", "N.C", "N", "nc", "n.c.", "No Chord", "no chord"})
MAX_SYMBOL_LENGTH = 64
"""Longer texts are no chord symbols."""
LETTERS = "CDEFGAB"
ALTERED_FIFTHS = ("b5", "#5")
ABC_ANNOTATION_SIGNS = "^_<>@"
"""A quoted text of ABC that begins with one of these is a remark beside the notes."""

_STARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "": ("maj", ()),
    **dict.fromkeys(("maj", "Maj", "MAJ", "major", "M", "ma"), ("maj", ())),
    **dict.fromkeys(("m", "min", "Min", "MIN", "minor", "mi", "-"), ("min", ())),
    **dict.fromkeys(("dim", "Dim", "o", "°", "º"), ("dim", ())),
    **dict.fromkeys(("aug", "Aug", "+"), ("aug", ())),
    **dict.fromkeys(("7", "dom7", "dom"), ("7", ())),
    **dict.fromkeys(("maj7", "Maj7", "MAJ7", "major7", "M7", "ma7", "j7", "Δ7", "Δ", "^7", "^"), ("maj7", ())),
    **dict.fromkeys(("m7", "min7", "Min7", "MIN7", "minor7", "mi7", "-7"), ("min7", ())),
    **dict.fromkeys(("ø7", "ø", "hdim7", "hdim", "h7", "m7b5", "min7b5", "mi7b5", "-7b5"), ("hdim7", ())),
    **dict.fromkeys(("dim7", "Dim7", "o7", "°7", "º7"), ("dim7", ())),
    **dict.fromkeys(("aug7", "Aug7", "+7", "7+", "7aug"), ("aug7", ())),
    **dict.fromkeys(("6", "maj6", "M6", "ma6"), ("maj6", ())),
    **dict.fromkeys(("m6", "min6", "mi6", "-6"), ("min6", ())),
    **dict.fromkeys(("6/9", "69", "6add9"), ("maj6", ("9",))),
    **dict.fromkeys(("m6/9", "m69", "min6/9", "min69"), ("min6", ("9",))),
    **dict.fromkeys(
        ("m(maj7)", "mmaj7", "mM7", "minmaj7", "min(maj7)", "-maj7", "-M7", "-Δ7", "-Δ", "mΔ7", "mΔ", "m+7"),
        ("minmaj7", ()),
    ),
    **dict.fromkeys(("sus2",), ("sus2", ())),
    **dict.fromkeys(("sus4", "sus"), ("sus4", ())),
    **dict.fromkeys(("7sus4", "7sus", "sus7"), ("7sus4", ())),
    **dict.fromkeys(("9sus4", "9sus"), ("7sus4", ("9",))),
    "2": ("maj", ("9",)),
    "5": ("5", ()),
    "9": ("9", ()),
    **dict.fromkeys(("maj9", "Maj9", "M9", "ma9", "Δ9"), ("maj9", ())),
    **dict.fromkeys(("m9", "min9", "mi9", "-9"), ("min9", ())),
    "11": ("11", ()),
    **dict.fromkeys(("m11", "min11", "mi11", "-11"), ("min11", ())),
    "13": ("13", ()),
    **dict.fromkeys(("maj13", "Maj13", "M13", "ma13", "Δ13"), ("maj13", ())),
    **dict.fromkeys(("m13", "min13", "mi13", "-13"), ("min13", ())),
    **dict.fromkeys(("7alt", "alt"), ("7", ("b9", "#9", "b5", "#5", NO_FIFTH))),
}
_NOTTINGHAM_STARTS = {"d": ("dim", ()), "a": ("aug", ()), "a7": ("aug7", ()), "d7": ("dim7", ())}
_LONGEST_FIRST: Sequence[str] = sorted({*_STARTS, *_NOTTINGHAM_STARTS}, key=len, reverse=True)
_ADDITION = re.compile(r"(?P<word>add|no|omit)?(?P<sign>[b#♭♯+-]{0,2})(?P<number>1[0-3]|[1-9])|(?P<sus>sus[24]?)")
_BASS = re.compile(r"/([A-Ga-g])([#b♯♭+]?)$")
_SEPARATORS = re.compile(r"[\s(),]+")
_PLAIN_SIGNS = str.maketrans("+-♯♭", "#b#b")
_SUSPENDED = {"maj": {"2": "sus2", "4": "sus4", "": "sus4"}, "7": {"4": "7sus4", "": "7sus4"}}


def parse_lead_sheet(text: str) -> Chord:
    """Read a chord symbol of a lead sheet.

    Args:
        text: ``Cmaj7``, ``F#m7b5/A``, ``Bbsus4``, ``C7(b9)``, ``C 7``, ``NC`` ...

    Raises:
        ValueError: not a chord symbol.

    Example:
        >>> parse_lead_sheet("F#m7b5/A").harte()
        'F#:hdim7/b3'
    """
    return _parse(text, bass_in_lower_case=False)


def parse_abc_symbol(text: str) -> Chord:
    """Read the quoted chord symbol of an ABC tune.

    Beyond lead sheets: a bass in small letters with ``+`` for a sharp (``D7/f+``), ``d`` and ``a`` for diminished and
    augmented, as tune books write them, and brackets around a symbol.

    Raises:
        ValueError: a remark (``^slow``) or no chord symbol.
    """
    if text[:1] and text[0] in ABC_ANNOTATION_SIGNS:
        raise ValueError(f"{text!r} is a remark, not a chord symbol")
    return _parse(text, bass_in_lower_case=True)


def _parse(text: str, bass_in_lower_case: bool) -> Chord:
    symbol = text.strip()
    if symbol in NO_CHORD_NAMES:
        return NO_CHORD
    if symbol.startswith("(") and symbol.endswith(")"):
        symbol = symbol[1:-1].strip()
    head = re.match(r"([A-G][#b♯♭]?)", symbol)
    if head is None or len(symbol) > MAX_SYMBOL_LENGTH:
        raise ValueError(f"{text!r} is no chord symbol; examples: Cmaj7, F#m7b5/A, Bbsus4, C7(b9), NC")
    root = parse_pitch_class(head.group(1))
    rest, bass = symbol[head.end() :], root
    slash = _BASS.search(rest)
    if slash is not None and (bass_in_lower_case or slash.group(1).isupper()):
        bass = parse_pitch_class(slash.group(1).upper() + slash.group(2).replace("+", "#"))
        rest = rest[: slash.start()]
    starts = {**_STARTS, **_NOTTINGHAM_STARTS} if bass_in_lower_case else _STARTS
    for candidate in (rest.strip(), _SEPARATORS.sub("", rest)):
        for start in _LONGEST_FIRST:
            if start in starts and candidate.startswith(start):
                found = _added(*starts[start], candidate[len(start) :])
                if found is not None:
                    return Chord(root, found[0], bass, found[1])
    raise ValueError(f"{text!r} is no chord symbol: {rest.strip()!r} after the root is not understood")


def _added(quality: str, degrees: tuple[str, ...], rest: str) -> tuple[str, tuple[str, ...]] | None:
    """Quality and degrees after the additions in ``rest``; None where they cannot be read to the end."""
    rest = _SEPARATORS.sub("", rest)
    while rest:
        token = _ADDITION.match(rest)
        if token is None:
            return None
        rest = rest[token.end() :]
        if token["sus"]:
            suspended = _SUSPENDED.get(quality, {}).get(token["sus"].removeprefix("sus"))
            if suspended is None:
                return None
            quality = suspended
            continue
        sign = token["sign"].translate(_PLAIN_SIGNS)
        number = token["number"]
        if sign not in ("", "b", "bb", "#", "##"):
            return None
        if token["word"] in ("no", "omit"):
            degrees = (*degrees, omission(quality, number))
        elif number == "5" and sign and not token["word"]:
            degrees = (*degrees, sign + number, NO_FIFTH)
        elif not token["word"] and not sign and number not in ("6", "9", "11", "13"):
            return None
        else:
            degrees = (*degrees, sign + number)
    return quality, degrees


def lead_sheet(chord: Chord) -> str:
    """Write a chord as lead sheets do; :func:`parse_lead_sheet` reads it back.

    Example:
        >>> lead_sheet(Chord(6, "hdim7", 9))
        'F#m7b5/A'
    """
    if chord.root == NO_PITCH:
        return "NC"
    altered = NO_FIFTH in chord.degrees and any(degree in ALTERED_FIFTHS for degree in chord.degrees)
    parts = []
    for degree in chord.degrees:
        if degree.startswith("*"):
            if not (altered and degree == NO_FIFTH):
                parts.append("no" + degree.lstrip("*b#"))
        elif degree in ALTERED_FIFTHS:
            parts.append(degree if altered else "add" + degree)
        else:
            parts.append(degree if degree[0] in "b#" else "add" + degree)
    slash = "" if chord.bass == chord.root else "/" + _spelled(chord.root, chord.bass)
    further = f"({','.join(parts)})" if parts else ""
    return ROOTS[chord.root] + QUALITY[chord.quality].suffix + further + slash


def _spelled(root: int, pitch_class: int) -> str:
    """A bass named as its place above the root: the third of E is G#, not Ab."""
    semitones = (pitch_class - root) % OCTAVE
    steps = int(BASS_DEGREES[semitones].lstrip("b")) - 1
    letter = LETTERS[(LETTERS.index(ROOTS[root][0]) + steps) % len(LETTERS)]
    change = (pitch_class - NATURALS[letter] + OCTAVE // 2) % OCTAVE - OCTAVE // 2
    return ROOTS[pitch_class] if abs(change) > 1 else letter + {-1: "b", 0: "", 1: "#"}[change]


# --- MusicXML ---

_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    **{quality.kind: (quality.name, ()) for quality in QUALITIES if quality.name != "7sus4"},
    "major-11th": ("maj9", ("11",)),
    "Neapolitan": ("maj", ()),
    "Italian": ("7", (NO_FIFTH,)),
    "French": ("7", (NO_FIFTH, "b5")),
    "German": ("7", ()),
    "pedal": ("5", (NO_FIFTH,)),
}


def from_musicxml(kind: str, root: int, bass: int = NO_PITCH, degrees: Sequence[tuple[str, int, int]] = ()) -> Chord:
    """A chord of MusicXML's ``<harmony>``.

    Args:
        kind: text of ``<kind>``.
        root: pitch class of the root (any for kind ``none``).
        bass: pitch class of the bass, -1 without.
        degrees: ``(add | alter | subtract, degree, semitones)`` of each ``<degree>``.

    Raises:
        ValueError: an unknown kind or degree.
    """
    if kind == "none":
        return NO_CHORD
    if kind not in _KINDS:
        raise ValueError(f"MusicXML chord kind is {kind!r}; allowed: {' '.join(sorted(_KINDS))}")
    quality, further = _KINDS[kind]
    for action, number, alter in degrees:
        sign = ("#" if alter > 0 else "b") * abs(alter)
        if action == "subtract":
            further = (*further, omission(quality, str(number)))
        elif action == "add":
            # A seventh is counted from that of a dominant chord, the other degrees from those of a major scale.
            flat = alter - 1 if number == 7 else alter
            further = (*further, ("#" if flat > 0 else "b") * abs(flat) + str(number))
        elif action == "alter":
            further = (*further, f"{sign}{number}", *([NO_FIFTH] if number == 5 and alter else []))
        else:
            raise ValueError(f"MusicXML degree type is {action!r}; allowed: add alter subtract")
    for degree in further:
        degree_semitones(degree.lstrip("*"))
    return Chord(root, quality, bass, further)


def to_musicxml(chord: Chord) -> tuple[str, list[tuple[str, int, int]]]:
    """Kind and degrees of MusicXML's ``<harmony>``; :func:`from_musicxml` reads them back.

    Example:
        >>> to_musicxml(Chord(0, "7", degrees=("b9",)))
        ('dominant', [('add', 9, -1)])
    """
    degrees: list[tuple[str, int, int]] = []
    if chord.quality == "7sus4":
        degrees.append(("add", 7, 0))
    for degree in chord.degrees:
        name = degree.lstrip("*")
        number, alter = int(name.lstrip("b#")), name.count("#") - name.count("b")
        if degree.startswith("*"):
            degrees.append(("subtract", number, 0))
        else:
            degrees.append(("add", number, alter + (1 if number == 7 else 0)))
    return QUALITY[chord.quality].kind, degrees
