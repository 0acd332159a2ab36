"""Progressions of textbooks in two textures, with their exact chords: what any recogniser should hear."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from symusic.core import NoteTick, ScoreTick, TimeSignatureTick, TrackTick

from aurl.music.chords import Chord, parse_harte
from experiments.chord_detection.labels import Song

PROGRESSIONS = {
    "pop": ["C:maj", "G:maj", "A:min", "F:maj"],
    "two-five-one": ["D:min7", "G:7", "C:maj7", "C:maj7"],
    "inversions": ["C:maj", "G:maj/3", "A:min", "C:maj/5"],
    "minor": ["A:min", "D:min", "E:7", "A:min"],
    "suspension": ["C:maj", "G:sus4", "G:maj", "C:maj"],
    "colour": ["C:maj", "C:aug", "F:maj", "B:hdim7"],
}
BEATS_IN_BAR = 4
TICKS_PER_QUARTER = 480
LOW, HIGH = 36, 60
Note = tuple[float, float, int]


def block(chord: Chord, onset: float) -> list[Note]:
    """A bar of one chord, struck once: the bass, all tones two octaves above, and the root on top of them.

    The root is doubled because a tone that only the highest voice has may as well be melody.
    """
    upper = [HIGH + tone for tone in chord.pitch_classes]
    return [(onset, 4.0, pitch) for pitch in (LOW + chord.bass, *upper, HIGH + 12 + chord.root)]


def arpeggio(chord: Chord, onset: float) -> list[Note]:
    """A bar of one chord in eighths: the bass, then the tones from the bass upwards, again and again."""
    tones = sorted((pitch - chord.bass) % 12 for pitch in chord.pitch_classes)
    figure = [LOW + chord.bass, *(LOW + 12 + chord.bass + tone for tone in tones)]
    return [(onset + step / 2, 0.5, figure[step % len(figure)]) for step in range(8)]


TEXTURES: dict[str, Callable[[Chord, float], list[Note]]] = {"block": block, "arpeggio": arpeggio}


def textbook_song(name: str, texture: str, key: int = 0) -> Song:
    """A progression, a bar a chord, ``key`` semitones up."""
    chords = [parse_harte(text).transposed(key) for text in PROGRESSIONS[name]]
    score = ScoreTick(TICKS_PER_QUARTER)
    score.time_signatures.append(TimeSignatureTick(0, BEATS_IN_BAR, 4))
    track = TrackTick("piano", 0, False)
    for bar, chord in enumerate(chords):
        for onset, length, pitch in TEXTURES[texture](chord, float(BEATS_IN_BAR * bar)):
            track.notes.append(NoteTick(round(onset * TICKS_PER_QUARTER), round(length * TICKS_PER_QUARTER), pitch, 80))
    score.tracks.append(track)
    starts = np.arange(len(chords)) * float(BEATS_IN_BAR)
    return Song(f"{name} {texture}", score, np.stack([starts, starts + BEATS_IN_BAR], 1), [c.harte() for c in chords])
