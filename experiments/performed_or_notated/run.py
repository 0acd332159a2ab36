"""Are performances told from notated music, and those with beats from those without?

    python experiments/performed_or_notated/run.py --data FOLDER [--every N]

FOLDER holds unpacked corpora. Every main file is counted by ``aurl.music.statistics.piece_statistics``; the table gives
quantiles of the share of onsets off the grid, and how many pieces are called performed and shifted. CPU time is
that of ``piece_statistics`` alone.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from aurl.music.score import read_score
from aurl.music.statistics import piece_statistics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    heads = ("corpus", "pieces", "off grid, 5 %", "median", "95 %", "performed", "shifted", "ms")
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for folder in sorted(path.parent for path in options.data.glob("*/splits")):
        lines = [
            line.strip() for split in ("train", "valid", "test") for line in (folder / f"splits/{split}.txt").open()
        ]
        rows, spent = [], 0.0
        for line in [line for line in lines if line][:: options.every]:
            score = read_score(folder / line)
            begin = time.process_time()
            rows.append(piece_statistics(score))
            spent += time.process_time() - begin
        quantiles = [f"{value:.2f}" for value in np.quantile([row["off_grid"] for row in rows], (0.05, 0.5, 0.95))]
        shares = [f"{np.mean([row[name] for row in rows]):.1%}" for name in ("performed", "shifted")]
        cells = [folder.name, str(len(rows)), *quantiles, *shares]
        print("| " + " | ".join([*cells, f"{1000 * spent / len(rows):.2f}"]) + " |")


if __name__ == "__main__":
    main()
