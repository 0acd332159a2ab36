"""What do chord tokens add to a piece, and what do they cost when it is encoded?

    python experiments/chord_tokens/run.py --data FOLDER [--pieces 60]

FOLDER holds unpacked corpora. Tokens a note and milliseconds a piece (median of single runs) of REMI without and with
chord tokens on the same fitted scores; the peer of the cost is chord detection alone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.harmony import chord_changes
from aurl.data.kinds import Kind
from aurl.music.chord_sources import chord_symbols
from aurl.music.score import read_score

CORPORA = ("pop909", "nottingham", "jsb-chorales")


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=60)
    options = parser.parse_args()
    plain, chords = (Codec.from_config(TokenizerConfig(chords=on)) for on in (False, True))
    heads = ("corpus", "pieces", "with symbols", "tokens a note", "with chords", "chord tokens a bar")
    heads += ("ms a piece", "with chords", "detection alone")
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for corpus in CORPORA:
        suffix = ".abc" if corpus == "nottingham" else ".mid"
        paths = [p for p in sorted((options.data / corpus).rglob(f"*{suffix}")) if p.name != "cl.mid"]
        counts, times, symbols = np.zeros(5), [], 0
        for path in paths[: options.pieces]:
            score, _ = chords.prepare_score(read_score(path))
            symbols += chord_symbols(score) is not None
            short, long = plain.encode(score), chords.encode(score)
            kind = chords.vocabulary.kind[long]
            bars = np.count_nonzero(kind == Kind.BAR)
            chord_tokens = np.count_nonzero(kind == Kind.CHORD)
            counts += plain.vocabulary.count_notes(short), len(short), len(long), chord_tokens, bars
            ways: list[Callable[[], object]] = [
                lambda s=score: plain.encode(s),
                lambda s=score: chords.encode(s),
                lambda s=score: chord_changes(s),
            ]
            times.append([timed(way) for way in ways])
        notes, short, long, written, bars = counts
        without, with_chords, alone = np.median(times, axis=0)
        cells = (corpus, str(len(times)), str(symbols), f"{short / notes:.2f}", f"{long / notes:.2f}")
        cells += (f"{written / bars:.2f}", f"{without:.2f}", f"{with_chords:.2f}", f"{alone:.2f}")
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
