"""What do beat- and bar-aligned features of whole corpora cost, against pretty_midi?

    python experiments/feature_speed/run.py --data FOLDER [CORPUS ...] [--every N]

FOLDER holds unpacked corpora, each with manifest.jsonl. Every main file is read once; CPU time is taken of all features
(``aurl.music.features.FEATURES``) at both levels, of reading, and on every 20th file of pretty_midi's
``get_piano_roll`` with the seconds of the same beats against our piano roll of the beats, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pretty_midi

from aurl.music.features import FEATURES, compute_features, grid_of, notes_of, piano_roll
from aurl.music.score import read_score

PEER_EVERY = 20


def files_of(data: Path, corpus: str) -> list[Path]:
    lines = (data / corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [data / corpus / json.loads(line)["path"] for line in lines]


def clock() -> float:
    return time.process_time()


def peer_times(path: Path, score: object) -> tuple[float, float]:
    """CPU seconds of one piano roll of the beats: pretty_midi's and ours, notes already in memory."""
    midi = pretty_midi.PrettyMIDI(str(path))
    ticks = (grid_of(score, "beat").edges * midi.resolution).astype(int)
    seconds = np.array([midi.tick_to_time(int(tick)) for tick in ticks])
    begin = clock()
    midi.get_piano_roll(times=seconds[:-1])
    middle = clock()
    piano_roll(notes_of(score), grid_of(score, "beat"))
    return middle - begin, clock() - middle


def measure(data: Path, corpus: str, every: int) -> dict[str, float]:
    totals = dict.fromkeys(("files", "notes", "beats", "read", "features", "bytes", "peer", "ours"), 0.0)
    for index, path in enumerate(files_of(data, corpus)[::every]):
        begin = clock()
        score = read_score(path)
        middle = clock()
        by_level = [compute_features(FEATURES, score, level) for level in ("beat", "bar")]
        end = clock()
        totals["files"] += 1
        totals["notes"] += score.note_num()
        totals["beats"] += len(by_level[0]["density"])
        totals["bytes"] += sum(array.nbytes for arrays in by_level for array in arrays.values())
        totals["read"] += middle - begin
        totals["features"] += end - middle
        if index % PEER_EVERY == 0:
            theirs, ours = peer_times(path, score)
            totals["peer"] += theirs
            totals["ours"] += ours
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="*")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    corpora = options.corpora or sorted(file.parent.name for file in options.data.glob("*/splits"))
    heads = ("corpus", "files", "notes", "beats", "read", "all features, both levels", "MB", "pretty_midi roll", "ours")
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    rows = {corpus: measure(options.data, corpus, options.every) for corpus in corpora}
    rows["**all**"] = {key: sum(row[key] for row in rows.values()) for key in next(iter(rows.values()))}
    for corpus, row in rows.items():
        ratio = row["peer"] / max(row["ours"], 1e-9)
        print(
            f"| {corpus} | {row['files']:.0f} | {row['notes']:,.0f} | {row['beats']:,.0f} | {row['read']:.1f} s | "
            f"{row['features']:.1f} s | {row['bytes'] / 1e6:.0f} | {row['peer']:.2f} s | "
            f"{row['ours']:.3f} s, {ratio:.0f}x |"
        )
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
