"""POP909-CL's chord labels: block chords of the track "chords" of cl.mid, as names that mir_eval reads.

A block is named from its pitch classes: the lowest note is tried as the root first, then the others upwards, for C-F-G
is Csus4 over a C and Fsus2 over an F. Blocks without a name are X, which mir_eval leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.music.chords import QUALITIES, Chord
from aurl.music.score import read_score

NAMED = {frozenset(q.tones): q.name for q in QUALITIES[1:] if len(q.tones) <= 4}
INCOMPLETE = {(0, 4): "maj", (0, 3): "min", (0, 4, 10): "7", (0, 3, 10): "min7", (0, 4, 11): "maj7"}
NAMED |= {frozenset(tones): name for tones, name in INCOMPLETE.items()}
UNUSABLE = frozenset({"367", "658"})
"""Songs whose cl.mid lacks the track of notes or of chords."""
KNOWN_BAD = frozenset({"518", "620"})
"""Songs whose labels are known to be wrong (README of the archive)."""


@dataclass(frozen=True)
class Song:
    """A song without its labels, and the labels: quarters ``(chords, 2)`` and Harte names."""

    name: str
    score: ScoreTick
    intervals: NDArray[np.float64]
    labels: list[str]


def name_block(pitches: list[int]) -> str:
    """Harte name of a block chord, X where it has none."""
    classes = sorted({pitch % 12 for pitch in pitches})
    bass = min(pitches) % 12
    for root in [bass, *(pitch_class for pitch_class in classes if pitch_class != bass)]:
        quality = NAMED.get(frozenset((pitch_class - root) % 12 for pitch_class in classes))
        if quality is not None:
            return Chord(root, quality, bass).harte()
    return "X"


def list_songs(data: Path, split: str) -> list[str]:
    """Names of the songs of a split that can be used."""
    names = [line.split("/")[0] for line in (data / "splits" / f"{split}.txt").read_text().split()]
    return [name for name in names if name not in UNUSABLE | KNOWN_BAD]


def read_song(data: Path, name: str) -> Song:
    """Read cl.mid: the notes without the chord track, and the chords."""
    score = read_score(data / name / "cl.mid")
    blocks: dict[int, list[tuple[int, int]]] = {}
    for note in score.tracks[1].notes:
        blocks.setdefault(note.time, []).append((note.pitch, note.time + note.duration))
    starts = sorted(blocks)
    rows, labels = [], []
    for place, start in enumerate(starts):
        end = max(end for _, end in blocks[start])
        if place + 1 < len(starts):
            end = min(end, starts[place + 1])
        rows.append((start / score.tpq, end / score.tpq))
        labels.append(name_block([pitch for pitch, _ in blocks[start]]))
    del score.tracks[1]
    return Song(name, score, np.array(rows), labels)


def read_performed(data: Path, name: str) -> tuple[Song, NDArray[np.float64], NDArray[np.float64]] | None:
    """The performed file with the annotated beats and downbeats in quarters, and the labels of chord_midi.txt (another
    labelling than POP909-CL's); None for songs of more than one tempo.
    """
    score = read_score(data / name / f"{name}.mid")
    if len(score.tempos) != 1:
        return None
    quarters_a_second = score.tempos[0].qpm / 60
    beats = np.loadtxt(data / name / "beat_midi.txt")
    rows = [line.split() for line in (data / name / "chord_midi.txt").read_text().splitlines()]
    intervals = np.array([row[:2] for row in rows], float) * quarters_a_second
    times = beats[:, 0] * quarters_a_second
    return Song(name, score, intervals, [row[2] for row in rows]), times, times[beats[:, 1] > 0]
