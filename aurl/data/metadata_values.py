"""One form for what collections write in many: ``canonical_composer`` is composer, ``4-4`` is 4/4, ``F#m`` F# minor.

Pure functions of JSON-like values; which file a row belongs to is decided in metadata_tables.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ALIASES: dict[str, str] = {
    alias: name
    for name, aliases in {
        "title": "canonical_title song_name song_title piece_title track_title name song piece",
        "composer": "canonical_composer composer_name composers",
        "artist": "artist_name artists performer band singer",
        "genre": "genres style canonical_genre",
        "source": "dataset collection corpus",
        "licence": "license licence_name license_name",
        "key": "key_signature tonality key_name",
        "meter": "metre time_signature time_signatures meters metres",
        "tempo": "bpm qpm tempo_bpm",
        "year": "date released release_year release_date year_composed composition_year",
        "split": "subset partition fold",
    }.items()
    for alias in aliases.split()
}
"""Other name to ours, both in lower case."""
FIELDS = frozenset(ALIASES.values())
TEXT_FIELDS = frozenset({"title", "composer", "artist", "genre", "source", "licence", "album"})
"""Values that stay text even where they look like numbers (songs are called 1999)."""
SPLIT_NAMES = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid", "testing": "test"}
MISSING = frozenset({"", "nan", "none", "null", "n/a"})
MINOR_KEYS = frozenset({1})
"""How a MIDI key signature writes minor."""

MAJOR_NAMES = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
MINOR_NAMES = ("Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")
"""Tonic by accidentals, from seven flats to seven sharps."""
MOST_FLATS = 7

_METER = re.compile(r"(\d{1,2})\s*[/\-:_]\s*(\d{1,2})")
_KEY = re.compile(
    r"([A-Ha-h])\s*[-_]?\s*(#|♯|sharp|b|♭|flat)?\s*[-_:]?\s*(major|maj|dur|minor|min|moll|m|M)?", re.IGNORECASE
)
_YEAR = re.compile(r"(?<!\d)(1[0-9]\d\d|20\d\d)(?!\d)")
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)\.\d+([eE][-+]?\d+)?")


def key_name(accidentals: int, is_minor: bool) -> str:
    """Name of a key.

    Args:
        accidentals: sharps above 0, flats below, -7 to 7.
        is_minor: the mode.

    Example:
        >>> key_name(-3, True), key_name(2, False)
        ('C minor', 'D major')
    """
    names = MINOR_NAMES if is_minor else MAJOR_NAMES
    return f"{names[accidentals + MOST_FLATS]} {'minor' if is_minor else 'major'}"


def normalised(row: Mapping[Any, Any], from_text: bool = False) -> dict[str, Any]:
    """A row with our field names and forms; what is empty is left out, everything else is kept under its own name.

    Args:
        row: field to value.
        from_text: the values come from a text table, where numbers are text.

    Example:
        >>> normalised({"canonical_composer": "J. S. Bach", "time_signature": "4-4", "Key": "f#m", "opus": 3})
        {'composer': 'J. S. Bach', 'meter': '4/4', 'key': 'F# minor', 'opus': 3}
    """
    found: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    for written, value in row.items():
        if written is None or _is_missing(value):
            continue
        plain = re.sub(r"[\s\-]+", "_", str(written).strip().casefold())
        name = ALIASES.get(plain, plain)
        if name not in FIELDS:
            found[str(written).strip()] = _number(value) if from_text else value
            continue
        if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict | list):
            value = value[0]
        if isinstance(value, dict | list):  # several metres or composers: which of them counts is not ours to say
            found[str(written).strip()] = value
            continue
        rank = 0 if plain == name else 2 if plain in ("name", "song", "piece", "date", "performer") else 1
        if rank < ranks.get(name, 3):  # our own name before others, clear names before vague ones
            ranks[name] = rank
            found[name] = _value(name, value)
    return found


def _is_missing(value: Any) -> bool:
    """Whether a value says nothing."""
    if isinstance(value, str):
        return value.strip().casefold() in MISSING
    return value is None or value == [] or value == {} or value != value  # NaN differs from itself


def _value(name: str, value: Any) -> Any:
    """The value of one of our fields in its form; what has no such form stays as it is."""
    text = " ".join(str(value).split())
    if name in TEXT_FIELDS:
        return text.strip("/ ") or text
    if name == "meter":
        return f"{int(match[1])}/{int(match[2])}" if (match := _METER.fullmatch(text)) else text
    if name == "key":
        return _key(text)
    if name == "year":
        return int(match[1]) if (match := _YEAR.search(text)) else value
    if name == "split":
        return SPLIT_NAMES.get(text.casefold(), text.casefold())
    return _number(value)


def _key(text: str) -> str:
    """``F# minor`` from ``f#m``, ``F sharp minor``, ``F#:min`` and their like."""
    match = _KEY.fullmatch(text)
    if not match:
        return text
    sign = {"#": "#", "♯": "#", "sharp": "#"}.get((match[2] or "").casefold(), "b" if match[2] else "")
    mode = match[3] or ""
    is_minor = mode == "m" or mode.casefold() in ("min", "minor", "moll") or (not mode and match[1].islower())
    return f"{match[1].upper()}{sign} {'minor' if is_minor else 'major'}"


def _number(value: Any) -> Any:
    """Text that is written as a number, as that number: 7 and 3.5, but not 007."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text
