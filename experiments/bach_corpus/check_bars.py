"""Compare every chorale's notes and their places in bars with music21's own measures.

    python experiments/bach_corpus/check_bars.py [--limit N]

music21 parses the same files by code of its own. For each note it gives the place in the measure (a pick-up counts from
the end of its bar), the pitch, and the length with ties joined. Grace notes are left out on both sides.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

from symusic.core import ScoreTick

from aurl.data.bach import corpus_folder, load_file, split_table

PlacedNote = tuple[Fraction, int, Fraction]
"""Quarters since the bar line, MIDI pitch, length in quarters."""


def notes_of_aurl(score: ScoreTick) -> list[list[PlacedNote]]:
    """Placed notes of each voice of a loaded chorale."""
    quarter = score.ticks_per_quarter
    metres = [(sign.time, 4 * quarter * sign.numerator // sign.denominator) for sign in score.time_signatures]
    voices = []
    for track in score.tracks:
        voice = []
        for note in track.notes:
            start, bar = [metre for metre in metres if metre[0] <= note.time][-1]
            place = Fraction((note.time - start) % bar, quarter)
            voice.append((place, note.pitch, Fraction(note.duration, quarter)))
        voices.append(voice)
    return voices


def notes_of_music21(path: Path) -> tuple[list[list[PlacedNote]], bool]:
    """Placed notes of each voice by music21, and whether the piece begins with a pick-up."""
    from music21 import converter

    score = converter.parse(path).stripTies()
    voices: list[list[PlacedNote]] = []
    pickup = False
    for part in score.parts:
        voice: list[PlacedNote] = []
        for number, measure in enumerate(part.getElementsByClass("Measure")):
            pickup |= number == 0 and measure.paddingLeft > 0
            for element in measure.recurse().notes:
                if element.quarterLength > 0:
                    place = Fraction(element.getOffsetInHierarchy(measure)) + Fraction(measure.paddingLeft)
                    voice.append((place, max(pitch.midi for pitch in element.pitches), Fraction(element.quarterLength)))
        if voice:
            voices.append(voice)
    return voices, pickup


def compare(name: str) -> tuple[str, bool, int, int, int]:
    """File name, pick-up, notes of music21, notes in the same place, and of these with the same length."""
    path = corpus_folder() / name
    ours = notes_of_aurl(load_file(path))
    theirs, pickup = notes_of_music21(path)
    placed = same = 0
    for mine, other in zip(ours, theirs, strict=True):
        placed += (Counter(note[:2] for note in mine) & Counter(note[:2] for note in other)).total()
        same += (Counter(mine) & Counter(other)).total()
    return name, pickup, sum(map(len, theirs)), placed, same


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="only so many chorales")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    names = [row["file"] for row in split_table()["chorales"]][: options.limit]
    with ProcessPoolExecutor(options.workers) as pool:
        results = list(pool.map(compare, names, chunksize=4))
    for wanted, label in ((False, "without pick-up"), (True, "with pick-up")):
        rows = [row for row in results if row[1] == wanted]
        notes, placed, same = (sum(row[column] for row in rows) for column in (2, 3, 4))
        exact = sum(row[2] == row[4] for row in rows)
        sys.stdout.write(
            f"{label}: {len(rows)} chorales, {exact} exact; {notes} notes, {placed} in place, {same} of these as long\n"
        )
    for name, _, notes, placed, same in results:
        if same < notes:
            sys.stdout.write(f"  {name}: {notes} notes, {placed} in place, {same} as long\n")


if __name__ == "__main__":
    main()
