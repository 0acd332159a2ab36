"""Chord tokens: their names and what these mean.

A token says root and quality, ``Chord_C:maj`` to ``Chord_B:min13`` in Harte's spelling, or ``Chord_N`` for no chord;
what sounds in the bass is left to the notes. It stands before the notes of the position at which the chord changes, and
a piece begins with no chord. The encoder takes the chords from ``harmony.chord_changes``; the decoder writes them into
the markers of a score, where MIDI files keep them.
"""

from __future__ import annotations

from aurl.music.chords import NO_PITCH, OCTAVE, QUALITIES, QUALITY_NUMBER, ROOTS

NO_CHORD_TOKEN = "Chord_N"
NAMES: tuple[str, ...] = (
    NO_CHORD_TOKEN,
    *(f"Chord_{ROOTS[root]}:{quality.name}" for root in range(OCTAVE) for quality in QUALITIES if quality.tones),
)
"""All chord tokens, in the order of their ids."""


def read_name(text: str) -> tuple[int, int]:
    """Root and number of the quality of a token's name after ``Chord_``.

    Example:
        >>> read_name("F#:min7"), read_name("N")
        ((6, 9), (-1, 0))
    """
    root, _, quality = text.partition(":")
    return (ROOTS.index(root), QUALITY_NUMBER[quality]) if quality else (NO_PITCH, QUALITY_NUMBER["N"])
