"""Make aurl/data/bach_split.json: which chorales are in the corpus, and which split each belongs to.

    python experiments/bach_corpus/make_split.py PATH_TO/jsb-chorales [--write]

PATH_TO/jsb-chorales is the unpacked archive with jsb16_separated.json (official train and valid lists, and part of the
official test list). Without --write the result is only compared with the shipped file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from aurl.data.bach import (
    SPLIT_FILE,
    UnreadableFile,
    corpus_folder,
    harmony_ngrams,
    load_file,
    similarity,
    voice_grid,
)
from aurl.data.duplicates import group_near_duplicates
from aurl.utils.files import atomic_write_text

SAME_CHORALE = 0.6
"""Shared part of harmony n-grams from which a chorale counts as the JSB piece (see the histogram in README.md)."""
NEAR_DUPLICATE = 0.25
"""Shared part from which two chorales must not stand on two sides of a split."""
HELD_OUT = ("valid", "test")
STRICTEST_LAST = ("train", *HELD_OUT)
SHIPPED_SUFFIXES = (".mxl", ".xml")  # the three .krn files encode chorales that are there as .mxl


def jsb_signatures(folder: Path) -> dict[str, set[int]]:
    """Harmony n-grams of every piece of the JSB grids, by id such as train_017."""
    grids = json.loads((folder / "jsb16_separated.json").read_text(encoding="utf-8"))
    return {piece["id"]: harmony_ngrams(np.array(piece["steps"])) for pieces in grids.values() for piece in pieces}


def describe(path: Path) -> dict[str, Any] | None:
    """Facts and n-grams of one file, or None when it is not in four parts."""
    from music21 import converter

    try:
        score = load_file(path)
    except UnreadableFile:
        return None
    metre = score.time_signatures[0]
    key = converter.parse(path).analyze("key")
    return {
        "file": path.name,
        "bwv": path.stem.removeprefix("bwv"),
        "key": f"{key.tonic.name.replace('-', 'b')} {key.mode}",
        "meter": f"{metre.numerator}/{metre.denominator}",
        "notes": sum(len(track.notes) for track in score.tracks),
        "signature": harmony_ngrams(voice_grid(score)),
    }


def titles() -> dict[str, str]:
    """Titles by BWV number, from music21's lists of chorales."""
    from music21.corpus.chorales import ChoraleList, ChoraleListRKBWV

    found: dict[str, str] = {}
    for listing in (ChoraleList(), ChoraleListRKBWV()):
        found |= {
            str(bwv): str(row["title"]).replace("’", "'").replace("&nbsp;", " ").strip()
            for bwv, row in listing.byBWV.items()
        }
    return found


def choose_split(signature: set[int], jsb: dict[str, set[int]]) -> tuple[str, str | None, float]:
    """Split by the JSB lists alone, the most similar JSB piece (or None) and how similar it is."""
    best: dict[str, tuple[float, str]] = {}
    for name, other in jsb.items():
        split = name.partition("_")[0]
        best[split] = max(best.get(split, (0.0, "")), (similarity(signature, other), name))
    share, name = max(best.values())
    if best["train"][0] >= SAME_CHORALE and max(best[split][0] for split in HELD_OUT) < NEAR_DUPLICATE:
        return "train", best["train"][1], best["train"][0]
    if best["valid"][0] >= SAME_CHORALE and best["test"][0] < NEAR_DUPLICATE:
        return "valid", best["valid"][1], best["valid"][0]
    return "test", name if share >= SAME_CHORALE else None, share


def settle_groups(rows: list[dict[str, Any]]) -> None:
    """Give every group of near-duplicates one split, the strictest of its members': test, then valid, then train.

    A train group with more chorales than matching train pieces goes to test: one of them may be a piece of the official
    test list that the archive does not hold.
    """
    groups = group_near_duplicates([row["signature"] for row in rows], shared_part=NEAR_DUPLICATE)
    for group in set(groups):
        members = [row for row, number in zip(rows, groups, strict=True) if number == group]
        split = max((row["split"] for row in members), key=STRICTEST_LAST.index)
        if split == "train" and len({row["match"] for row in members}) < len(members):
            split = "test"
        for row in members:
            row["moved"] = row["split"] != split
            row["split"] = split


def build(jsb_folder: Path, workers: int) -> list[dict[str, Any]]:
    """All rows, in order of file name."""
    jsb = jsb_signatures(jsb_folder)
    names = titles()
    paths = sorted(path for path in corpus_folder().iterdir() if path.suffix in SHIPPED_SUFFIXES)
    with ProcessPoolExecutor(workers) as pool:
        rows = [row for row in pool.map(describe, paths, chunksize=8) if row is not None]
    for row in rows:
        row["split"], row["match"], share = choose_split(row["signature"], jsb)
        row["similarity"] = round(share, 2)
        row["title"] = names.get(row["bwv"], names.get(row["bwv"].partition("-")[0], f"Chorale BWV {row['bwv']}"))
    settle_groups(rows)
    return rows


def to_text(rows: list[dict[str, Any]]) -> str:
    """The shipped JSON: one chorale a line."""
    about = {
        "source": "four-part chorales in music21's corpus; match: piece of the JSB lists (Boulanger-Lewandowski 2012)",
        "rule": "train = matches the official train list only; valid = matches valid; test = matches test, or nothing",
        "same_chorale": SAME_CHORALE,
        "near_duplicate": NEAR_DUPLICATE,
        "count": dict(sorted(Counter(row["split"] for row in rows).items())),
    }
    keys = ("file", "bwv", "title", "key", "meter", "split", "match", "similarity")
    lines = [json.dumps({key: row[key] for key in keys}, ensure_ascii=False) for row in rows]
    return '{\n"about": ' + json.dumps(about) + ',\n"chorales": [\n' + ",\n".join(lines) + "\n]\n}\n"


def report(rows: list[dict[str, Any]]) -> None:
    """Counts of splits, matches and moves."""
    for split in STRICTEST_LAST:
        members = [row for row in rows if row["split"] == split]
        matched = Counter((row["match"] or "nothing").partition("_")[0] for row in members)
        sys.stdout.write(
            f"{split:5} {len(members):4} chorales {sum(row['notes'] for row in members):6} notes, "
            f"matching {dict(matched)}\n"
        )
    moved = [row["bwv"] for row in rows if row["moved"]]
    sys.stdout.write(f"moved with a near-duplicate: {', '.join(moved)}\n")
    histogram, _ = np.histogram([row["similarity"] for row in rows], bins=np.linspace(0, 1.0001, 11))
    sys.stdout.write(f"similarity to the best JSB piece, in tenths: {histogram.tolist()}\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jsb", type=Path, help="unpacked jsb-chorales archive")
    parser.add_argument("--write", action="store_true", help="replace the shipped file")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rows = build(options.jsb, options.workers)
    report(rows)
    text = to_text(rows)
    if options.write:
        atomic_write_text(SPLIT_FILE, text)
    same = SPLIT_FILE.exists() and SPLIT_FILE.read_text(encoding="utf-8") == text
    sys.stdout.write(f"{SPLIT_FILE.name}: {'identical' if same else 'DIFFERENT'}\n")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
