"""Is an edited melody found again, is real music left alone? ``python -m experiments.retrieval.run --data FOLDER``."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from aurl.evaluation.metrics.seam import join_tables
from aurl.evaluation.metrics.table import read_table, upper_line
from aurl.evaluation.originality import COPIED, MELODY, ORIGINAL, TOO_SHORT, CopyChecker, CopyReport
from aurl.music.alignment_local import align
from aurl.music.score import read_score
from aurl.music.similarity import UNITS_PER_QUARTER, WIDEST, Line, MelodyIndex, gap_units, gram_hashes
from aurl.utils.errors import UnreadableFile

MELODIES = ("pop909", "nottingham")
HELD_OUT = ("nottingham", "pop909", "openscore", "multitrack-free", "jsb-chorales")
EXCERPT = 24
RATES = (0.0, 0.1, 0.2, 0.3, 0.4)
GRAM = 4
COPIES = 50
"""Training pieces, and planted passages of them, that are to be found."""


def melody(path: Path) -> Line | None:
    """The upper line of the first track."""
    score = read_score(path)
    notes = score.tracks[0].notes.numpy()
    start, pitch = notes["time"].astype(np.int64), notes["pitch"].astype(np.int64)
    order = np.lexsort((pitch, start))
    start, pitch, end = start[order], pitch[order], (start + notes["duration"])[order]
    kept = upper_line(start, end, pitch)
    if len(kept) < EXCERPT + 2:
        return None
    return Line(path.name, pitch[kept], start[kept] / score.ticks_per_quarter)


def edited(line: Line, begin: int, rate: float, rng: np.random.Generator) -> Line:
    """An excerpt, transposed; each note with probability ``rate`` changed in pitch (up to a fourth), changed in length,
    left out, or split by another note, all four alike."""
    pitches, gaps = [], []
    shift = int(rng.integers(-6, 7))
    window = slice(begin, begin + EXCERPT)
    for pitch, gap in zip((line.pitch + shift)[window].tolist(), gap_units(line.onset)[window].tolist(), strict=True):
        kind = int(rng.integers(4)) if rng.random() < rate else -1
        if kind == 2:
            if gaps:
                gaps[-1] += gap
            continue
        pitches.append(pitch + (int(rng.choice([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5])) if kind == 0 else 0))
        gaps.append(max(round(gap * float(rng.choice([0.5, 1.5, 2.0]))), 1) if kind == 1 else gap)
        if kind == 3:
            gaps[-1] = max(gap // 2, 1)
            pitches.append(pitch + int(rng.integers(-4, 5)))
            gaps.append(max(gap - gap // 2, 1))
    onset = np.concatenate([[0], np.cumsum(gaps)[:-1]]) / UNITS_PER_QUARTER
    return Line("query", np.array(pitches), onset)


def by_grams(lines: list[Line], query: Line) -> str:
    """Peer: most shared 4-grams of intervals."""

    def grams(line: Line) -> set[int]:
        return set(gram_hashes(np.clip(np.diff(line.pitch), -WIDEST, WIDEST) + WIDEST, GRAM).tolist())

    wanted = grams(query)
    return max(lines, key=lambda line: len(wanted & grams(line))).piece


def by_intervals(lines: list[Line], query: Line) -> str:
    """Peer: Smith-Waterman on (interval, time to the next note) against every whole melody."""
    width = max(len(line.pitch) for line in lines)
    pitch, gap = np.full((len(lines), width), 10_000), np.zeros((len(lines), width), dtype=np.int64)
    for row, line in enumerate(lines):
        pitch[row, : len(line.pitch) - 1] = np.diff(line.pitch)
        gap[row, : len(line.pitch) - 1] = gap_units(line.onset)[:-1]
    found = align(np.diff(query.pitch), gap_units(query.onset)[:-1], pitch, gap)
    return lines[int(found.points.argmax())].piece


def retrieval(
    lines: list[Line], queries: int, peers: int, seed: int, rates: list[float]
) -> dict[str, dict[str, float]]:
    """Edit rate -> top-1 shares and milliseconds."""
    rng = np.random.default_rng(seed)
    index = MelodyIndex(lines)
    results: dict[str, dict[str, float]] = {}
    for rate in rates:
        right, seconds, peer_right = [], [], {"4-grams": [], "interval alignment": []}
        for number in range(queries):
            line = lines[int(rng.integers(len(lines)))]
            query = edited(line, int(rng.integers(len(line.pitch) - EXCERPT)), rate, rng)
            begin = time.process_time()
            found = index.nearest(query)
            seconds.append(time.process_time() - begin)
            right.append(bool(found) and found[0].piece == line.piece)
            if number < peers:
                peer_right["4-grams"].append(by_grams(lines, query) == line.piece)
                peer_right["interval alignment"].append(by_intervals(lines, query) == line.piece)
        results[f"{rate:.1f}"] = {
            "top1": float(np.mean(right)),
            "queries": queries,
            "milliseconds_median": 1000 * float(np.median(seconds)),
            "milliseconds_95": 1000 * float(np.percentile(seconds, 95)),
            **{name: float(np.mean(values)) for name, values in peer_right.items() if values},
        }
        row = results[f"{rate:.1f}"]
        print(f"| {100 * rate:.0f} % | " + " | ".join(f"{value:.3g}" for value in row.values()) + " |", flush=True)
    return results


def tables(data: Path, corpus: str, split: str, most: int | None) -> dict[str, Any]:
    found = {}
    for name in (data / corpus / "splits" / f"{split}.txt").read_text().splitlines()[:most]:
        try:
            found[name] = read_table(read_score(data / corpus / name))
        except UnreadableFile:
            continue
    return found


def planted(training: dict[str, Any], held_out: dict[str, Any], count: int, seed: int) -> dict[str, Any]:
    """Held-out pieces whose end, from the middle third on, is that of a training piece, moved into their key."""
    rng = np.random.default_rng(seed)
    sources = list(training.values())
    found = {}
    for name in rng.permutation(sorted(held_out))[:count].tolist():
        table = held_out[name]
        cut = max(round(table.bars / 3), 1)
        source = sources[int(rng.integers(len(sources)))]
        found[name] = join_tables(table, source, cut, int(rng.integers(-5, 7)))
    return found


def order(report: CopyReport) -> float:
    """By verdict, then by the longest run: what copies are told from real pieces by."""
    return 1000.0 * (TOO_SHORT, ORIGINAL, MELODY, COPIED).index(report.verdict) + min(report.longest_run, 999)


def auc(high: list[CopyReport], low: list[CopyReport]) -> float:
    """Probability that a report of the first list stands above one of the second."""
    first, second = (np.array([order(one) for one in part]) for part in (high, low))
    return float(((np.sign(first[:, None] - second) + 1) / 2).mean())


def false_flags(data: Path, corpus: str, splits: list[str], most: int | None) -> dict[str, Any]:
    """What held-out real pieces, copies of training pieces, and planted passages of them, are called."""
    training = tables(data, corpus, "train", None)
    checker = CopyChecker(training)
    pieces = {name: table for split in splits for name, table in tables(data, corpus, split, most).items()}
    held_out = [checker.report(name, table) for name, table in pieces.items()]
    names = np.random.default_rng(0).choice(sorted(training), min(len(training), most or COPIES), replace=False)
    copies = [checker.report(name, training[name]) for name in names.tolist()]
    passages = [checker.report(name, table) for name, table in planted(training, pieces, most or COPIES, 1).items()]
    told = [one for verdict in (COPIED, MELODY) for one in held_out if one.verdict == verdict]
    for one in told:
        print(f"  {one.verdict}: {one.path}: {'; '.join(one.reasons[:2])}", flush=True)
    return {
        "held_out": len(held_out),
        "copied": sum(one.verdict == COPIED for one in told),
        "shared_melody": sum(one.verdict == MELODY for one in told),
        "run_median": float(np.median([one.longest_run for one in held_out])),
        "run_99": float(np.percentile([one.longest_run for one in held_out], 99)),
        "similarity_99": float(np.percentile([one.similarity for one in held_out], 99)),
        "copies": len(copies),
        "copies_found": sum(one.verdict == COPIED for one in copies),
        "auc_of_copies": auc(copies, held_out),
        "passages": len(passages),
        "passages_found": sum(one.verdict == COPIED for one in passages),
        "auc_of_passages": auc(passages, held_out),
        "told": [[one.verdict, one.path, round(one.company, 3), list(one.reasons)] for one in told],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of unpacked corpora")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--peer-queries", type=int, default=40)
    parser.add_argument("--splits", nargs="+", default=["test", "valid"])
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--most", type=int, help="held-out pieces of each list, for a quick look")
    parser.add_argument("--melodies", nargs="*", default=list(MELODIES), help="corpora that excerpts are looked for in")
    parser.add_argument("--corpora", nargs="+", default=list(HELD_OUT))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results.json")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for corpus in args.melodies:
        names = [
            line
            for split in ("train", "valid", "test")
            for line in (args.data / corpus / "splits" / f"{split}.txt").read_text().splitlines()
        ]
        lines = [line for name in names if (line := melody(args.data / corpus / name)) is not None]
        print(f"\n{corpus}: {len(lines)} melodies, {sum(len(line.pitch) for line in lines)} notes")
        print(
            "| edits | top-1 | queries | ms | ms 95 % | 4-grams | interval alignment |\n|---|---|---|---|---|---|---|"
        )
        results[corpus] = retrieval(lines, args.queries, args.peer_queries, 0, args.rates)
    for corpus in args.corpora:
        row = results[f"{corpus} held out"] = false_flags(args.data, corpus, args.splits, args.most)
        print(corpus, {name: value for name, value in row.items() if name != "told"}, flush=True)
        args.output.write_text(json.dumps(results, indent=1) + "\n")
    args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
