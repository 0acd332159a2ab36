"""Chord symbols that a file brings along: texts of MIDI files, quoted symbols of ABC, ``<harmony>`` of MusicXML.

Notation readers write the symbols of ABC and MusicXML into a score's markers, by their lead-sheet names; MIDI files
bring theirs as markers, lyrics or texts. So one question, :func:`chord_symbols`, is asked of every score. A stream of
texts counts as chord symbols only when nearly all of its texts are, for "A", "Am" and "Go" are words as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick, TextMetaTick

from aurl.music.chord_symbols import from_musicxml, lead_sheet, parse_lead_sheet
from aurl.music.chords import NATURALS, NO_PITCH, OCTAVE, Chord
from aurl.utils.logging import get_logger

log = get_logger(__name__)

MIN_SYMBOL_SHARE = 0.9
"""A stream with a smaller share of texts that are chord symbols is taken for words. In the free MIDI files that have
been looked at, streams of chords have 1.0 and streams of lyrics or section names at most 0.5."""
MIN_SYMBOLS = 2
"""Fewer symbols than this are taken for words: a single "A" is a rehearsal mark."""


@dataclass(frozen=True)
class ChordTrack:
    """Chords in time; each lasts until the next.

    Attributes:
        onsets: quarters, rising, float64 ``(chords,)``.
        chords: the chords, as many.
        source: which stream they are from: ``markers`` or ``lyrics of track N``.
        refused: texts of that stream that are no chord symbols.
    """

    onsets: NDArray[np.float64]
    chords: tuple[Chord, ...]
    source: str
    refused: int = 0


def chord_symbols(score: ScoreTick) -> ChordTrack | None:
    r"""Chord symbols of a score, from the stream of texts that has most of them.

    Args:
        score: any score; of ABC and MusicXML, as :func:`aurl.music.score.read_score` gives it.

    Returns:
        The symbols, or None where no stream of texts holds chords. Of several symbols at one time the last counts.

    Example:
        >>> from aurl.music.abc import abc_to_score
        >>> track = chord_symbols(abc_to_score('X:1\nL:1/4\nK:C\n"C"CEG2|"G7/B"D4|'))
        >>> [chord.harte() for chord in track.chords], track.onsets.tolist()
        (['C:maj', 'G:7/3'], [0.0, 4.0])
    """
    streams = [("markers", score.markers)]
    streams += [(f"lyrics of track {number}", track.lyrics) for number, track in enumerate(score.tracks, start=1)]
    found = [track for name, texts in streams if (track := _read_texts(name, texts, score.tpq)) is not None]
    return max(found, key=lambda track: len(track.chords), default=None)


def _read_texts(name: str, texts: Iterable[TextMetaTick], ticks_per_quarter: int) -> ChordTrack | None:
    """One stream of texts; None where it is no stream of chords."""
    chords: dict[int, Chord] = {}
    read = refused = 0
    for event in sorted(texts, key=lambda event: event.time):
        if not event.text.strip():
            continue
        try:
            chords[event.time] = parse_lead_sheet(event.text)
            read += 1
        except ValueError:
            refused += 1
    if read < MIN_SYMBOLS or read < MIN_SYMBOL_SHARE * (read + refused) or len(set(chords.values())) < MIN_SYMBOLS:
        return None
    if refused:
        log.info("%s: %d texts among %d chord symbols are none", name, refused, read)
    onsets = np.array(sorted(chords), np.float64) / ticks_per_quarter
    return ChordTrack(onsets, tuple(chords[time] for time in sorted(chords)), name, refused)


def add_symbols(score: ScoreTick, symbols: Iterable[tuple[int, Chord]]) -> None:
    """Write chord symbols into a score's markers.

    Args:
        score: changed in place.
        symbols: ``(tick, chord)``.
    """
    for tick, chord in symbols:
        score.markers.append(TextMetaTick(tick, lead_sheet(chord)))
    score.markers.sort()


# --- MusicXML ---------------------------------------------------------------------------------------------------------


def musicxml_symbols(text: str) -> list[tuple[int, float, Chord]]:
    """Chord symbols of a MusicXML file (``score-partwise``), from the first part that has any.

    Args:
        text: the file.

    Returns:
        ``(measure, quarters after its beginning, chord)``, measures counted from 0. Symbols that cannot be understood
        (kind ``other``, roots by function) are left out and counted in the log.

    Raises:
        xml.etree.ElementTree.ParseError: no XML.
    """
    if "<harmony" not in text:
        return []
    root = ElementTree.fromstring(text)
    for part in root.iter("part"):
        if part.find(".//harmony") is not None:
            return _part_symbols(part)
    return []


def _part_symbols(part: ElementTree.Element) -> list[tuple[int, float, Chord]]:
    symbols: list[tuple[int, float, Chord]] = []
    divisions, left_out = 1.0, 0
    for number, measure in enumerate(part.iter("measure")):
        time = 0.0
        for element in measure:
            if element.tag == "attributes":
                divisions = max(_number(element, "divisions", divisions), 1.0)
            duration = _number(element, "duration", 0.0) / divisions
            if element.tag == "backup":
                time -= duration
            elif element.tag == "forward" or (element.tag == "note" and element.find("chord") is None):
                time += duration
            elif element.tag == "harmony":
                try:
                    symbols.append((number, time + _number(element, "offset", 0.0) / divisions, _harmony(element)))
                except (ValueError, OverflowError) as error:
                    left_out += 1
                    log.debug("chord symbol left out: %s", error)
    if left_out:
        log.warning("%d chord symbols cannot be understood and are left out", left_out)
    return symbols


def _number(element: ElementTree.Element, name: str, default: float) -> float:
    """Number in a child element."""
    try:
        number = float(element.findtext(name, "").strip() or default)
    except ValueError:
        return default
    return number if math.isfinite(number) else default


def _harmony(element: ElementTree.Element) -> Chord:
    kind = element.findtext("kind", "").strip()
    degrees = [
        (
            degree.findtext("degree-type", "").strip(),
            int(degree.findtext("degree-value", "")),
            int(float(degree.findtext("degree-alter", "0"))),
        )
        for degree in element.iter("degree")
    ]
    root = NO_PITCH if kind == "none" else _step(element, "root")
    return from_musicxml(kind, root, _step(element, "bass", root), degrees)


def _step(element: ElementTree.Element, name: str, default: int | None = None) -> int:
    """Pitch class of ``<root>`` or ``<bass>``."""
    step = element.findtext(f"{name}/{name}-step")
    if step is None and default is not None:
        return default
    if step not in NATURALS:
        raise ValueError(f"a chord symbol without {name}-step")
    return (NATURALS[step] + int(float(element.findtext(f"{name}/{name}-alter", "0") or 0))) % OCTAVE
