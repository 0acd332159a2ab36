"""Which key profile finds the key of a piece most often?

    python experiments/key_estimate/run.py --data FOLDER [--every N]

FOLDER holds the unpacked corpora nottingham, openscore (key signatures of the files), pop909 (key_audio.txt, the key
that holds longest). For each profile of ``aurl.music.keys``: the share of
pieces whose key is found exactly, and the share whose notes are those of the key (a relative key counts).
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from aurl.music.keys import KEY_NAMES, PITCH_CLASSES, PROFILES, estimate_key
from aurl.music.score import read_score
from aurl.music.statistics import piece_statistics

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SIGNS = {"#": 1, "b": -1}
MINOR_TO_MAJOR = 3


def files_of(data: Path, corpus: str) -> list[Path]:
    folder = data / corpus
    lines = [line for split in ("train", "valid", "test") for line in (folder / "splits" / f"{split}.txt").open()]
    return [folder / line.strip() for line in lines if line.strip()]


def annotated_key(path: Path) -> int:
    """POP909: the key that holds longest, 0 to 23."""
    lengths: dict[str, float] = {}
    for line in path.with_name("key_audio.txt").read_text().splitlines():
        if line.strip():
            start, end, name = line.split()
            lengths[name] = lengths.get(name, 0.0) + float(end) - float(start)
    tonic, mode = max(lengths, key=lengths.__getitem__).split(":")
    pitch_class = (LETTERS[tonic[0]] + sum(SIGNS[sign] for sign in tonic[1:])) % PITCH_CLASSES
    return pitch_class + (PITCH_CLASSES if mode.startswith("min") else 0)


def white_keys(key: int) -> int:
    """The major key with the same notes."""
    return (key + (MINOR_TO_MAJOR if key >= PITCH_CLASSES else 0)) % PITCH_CLASSES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    heads = ["corpus", "pieces", *(f"{name}, exact" for name in PROFILES), *(f"{name}, notes" for name in PROFILES)]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for corpus in ("nottingham", "openscore", "pop909"):
        exact: Counter[str] = Counter()
        alike: Counter[str] = Counter()
        pieces = 0
        for path in files_of(options.data, corpus)[:: options.every]:
            found = piece_statistics(read_score(path))
            if corpus == "pop909":
                key = annotated_key(path)
            elif found["keys"]:
                key = KEY_NAMES.index(found["keys"][0])
            else:
                continue
            pieces += 1
            for profile in PROFILES:
                estimate = estimate_key(found["pitch_classes"], profile)
                index = KEY_NAMES.index(estimate.name) if estimate else -1
                exact[profile] += index == key
                alike[profile] += index >= 0 and white_keys(index) == white_keys(key)
        cells = [f"{table[profile] / pieces:.3f}" for table in (exact, alike) for profile in PROFILES]
        print(f"| {corpus} | {pieces} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
