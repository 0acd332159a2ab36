"""Which attributes of bars vary in which corpus, and how much does one say about another?

    python experiments/bar_attributes/run.py --data FOLDER [--pieces 40] [corpus ...]

FOLDER holds unpacked corpora. Two tables a corpus, over its validation pieces.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import rankdata

from aurl.music.attributes import ATTRIBUTES, UNITS, bar_attributes
from aurl.music.grid import grid_of
from aurl.music.score import read_score

CORPORA = ("pop909", "nottingham", "jsb-chorales")
QUANTILES = (5, 25, 50, 75, 95)
FILES = {"pop909": "cl.mid"}
"""Corpora whose listed files have no usable bars: the file beside them that has."""


def listed(folder: Path, pieces: int) -> Iterator[Path]:
    """Files of the validation split."""
    for line in (folder / "splits" / "valid.txt").read_text(encoding="utf-8").split("\n")[:pieces]:
        if line:
            yield (folder / line).with_name(FILES.get(folder.name, Path(line).name))


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation over bars in which both are defined."""
    both = ~(np.isnan(first) | np.isnan(second))
    ranks = [rankdata(values[both]) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1]) if min(np.ptp(each) if both.any() else 0 for each in ranks) > 0 else np.nan


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table."""
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def report(corpus: str, folder: Path, pieces: int) -> None:
    """Print both tables of a corpus."""
    scores = [read_score(path) for path in listed(folder, pieces)]
    grids = [grid_of(score, "bar").edges for score in scores]
    begin = time.process_time()
    found = [bar_attributes(score, edges) for score, edges in zip(scores, grids, strict=True)]
    spent = 1000 * (time.process_time() - begin) / len(found)
    rows = np.concatenate(found).astype(np.float64)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # an attribute that no bar of a piece has
        centred = np.concatenate([part - np.nanmean(part, axis=0) for part in found])
    print(f"**{corpus}**: {len(found)} pieces, {len(rows)} bars, {spent:.1f} ms of processor time a piece\n")
    lines = []
    for column, (name, unit) in enumerate(zip(ATTRIBUTES, UNITS, strict=True)):
        values = rows[~np.isnan(rows[:, column]), column]
        commonest = np.unique(values, return_counts=True)[1].max() / len(values)
        quantiles = ", ".join(f"{value:.2f}" for value in np.percentile(values, QUANTILES))
        cells = (f"{1 - len(values) / len(rows):.2f}", quantiles, f"{np.nanstd(centred[:, column]):.2f}")
        lines.append((name, unit, *cells, f"{commonest:.2f}"))
    table(
        ("attribute", "unit", "undefined", "quantiles 5, 25, 50, 75, 95 %", "sd in a piece", "commonest value"), lines
    )
    table(
        ("Spearman in a piece", *ATTRIBUTES),
        [
            (name, *(f"{spearman(centred[:, i], centred[:, j]):.2f}" for j in range(len(ATTRIBUTES))))
            for i, name in enumerate(ATTRIBUTES)
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=40)
    parser.add_argument("corpora", nargs="*", default=CORPORA)
    options = parser.parse_args()
    for corpus in options.corpora:
        report(corpus, options.data / corpus, options.pieces)


if __name__ == "__main__":
    main()
