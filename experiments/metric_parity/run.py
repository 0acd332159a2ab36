"""Are our metrics MusPy's where they carry its names? ``python -m experiments.metric_parity.run --data FOLDER``."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import muspy

from aurl.evaluation.metrics import pitch, rhythm
from aurl.evaluation.metrics.table import NoteTable, read_table
from aurl.music.score import read_score
from aurl.utils.errors import UnreadableFile

FILES = {
    "pop909": 20,
    "nottingham": 16,
    "jsb-chorales": 16,
    "groove": 16,
    "multitrack-free": 16,
    "asap-piano": 8,
    "openscore": 8,
}
"""Valid pieces taken from each corpus, spread over its list: 100 together."""
TOLERANCE = 1e-6
QUARTERS_PER_BAR = 4
SAME_NAME: dict[str, Callable[[NoteTable], float]] = {
    "n_pitches_used": pitch.n_pitches_used,
    "n_pitch_classes_used": pitch.n_pitch_classes_used,
    "pitch_range": pitch.pitch_range,
    "pitch_entropy": pitch.pitch_entropy,
    "pitch_class_entropy": pitch.pitch_class_entropy,
    "scale_consistency": pitch.scale_consistency,
    "empty_beat_rate": rhythm.empty_beat_rate,
    "polyphony": rhythm.polyphony,
    "polyphony_rate": rhythm.polyphony_rate,
    "drum_pattern_consistency": rhythm.drum_pattern_consistency,
}


def to_muspy(score: Any) -> muspy.Music:
    """The same notes as a MusPy object; MusPy's own MIDI reader is not under test."""
    return muspy.Music(
        resolution=score.ticks_per_quarter,
        tracks=[
            muspy.Track(
                program=int(track.program),
                is_drum=track.is_drum,
                notes=[muspy.Note(int(n.time), int(n.pitch), int(n.duration), int(n.velocity)) for n in track.notes],
            )
            for track in score.tracks
        ],
    )


def both(score: Any) -> dict[str, tuple[float, float]]:
    """Name -> (MusPy's value, ours)."""
    music, table = to_muspy(score), read_table(score)
    values = {name: (float(getattr(muspy.metrics, name)(music)), ours(table)) for name, ours in SAME_NAME.items()}
    bar = QUARTERS_PER_BAR * score.ticks_per_quarter
    values["groove_consistency"] = (
        float(muspy.metrics.groove_consistency(music, bar)),
        rhythm.groove_consistency(table, bar),
    )
    for root, mode in ((0, "major"), (9, "minor")):
        theirs = float(muspy.metrics.pitch_in_scale_rate(music, root, mode))
        values[f"pitch_in_scale_rate {root} {mode}"] = (theirs, pitch.pitch_in_scale_rate(table, root, mode))
    for metre in ("duple", "triple"):
        theirs = float(muspy.metrics.drum_in_pattern_rate(music, metre))
        values[f"drum_in_pattern_rate {metre}"] = (theirs, rhythm.drum_in_pattern_rate(table, metre))
    return values


def explained(name: str, table: NoteTable) -> bool:
    """The one difference meant: MusPy gives -127 as the range of a piece that has drums only."""
    return name == "pitch_range" and not table.pitched.any()


def sample(data: Path) -> list[Path]:
    """Files spread evenly over the valid lists."""
    files = []
    for corpus, count in FILES.items():
        lines = (data / corpus / "splits" / "valid.txt").read_text().splitlines()
        step = max(len(lines) // count, 1)
        files += [data / corpus / line for line in lines[::step][:count]]
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of unpacked corpora")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    worst: dict[str, float] = {}
    files = differing = meant = 0
    for path in sample(args.data):
        try:
            score = read_score(path)
        except UnreadableFile as error:
            print(f"skipped: {error}")
            continue
        files += 1
        for name, (theirs, ours) in both(score).items():
            if math.isnan(theirs) and math.isnan(ours):
                gap = 0.0
            elif explained(name, read_table(score)):
                meant += 1
                continue
            else:
                gap = math.inf if math.isnan(theirs) != math.isnan(ours) else abs(theirs - ours)
            worst[name] = max(worst.get(name, 0.0), gap)
            differing += gap > TOLERANCE
    print(f"{files} files, {differing} values that differ by more than {TOLERANCE}, {meant} explained (range of drums)")
    for name, gap in worst.items():
        print(f"| {name} | {gap:.1e} |")
    if args.json:
        args.json.write_text(json.dumps({"files": files, "differing": differing, "worst": worst}, indent=2) + "\n")


if __name__ == "__main__":
    main()
