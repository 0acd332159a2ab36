"""What do real pieces do at most, and how many held-out ones fail? ``python -m experiments.validation_limits.run``."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from aurl.evaluation.corruptions import CORRUPTIONS, edit_notes
from aurl.evaluation.validation import CHECKS, COHERENCE, Verdict, long_term_coherence, measure, validate
from aurl.music.score import read_score
from aurl.utils.errors import UnreadableFile

CORPORA = (
    "pop909", "nottingham", "jsb-chorales", "multitrack-free", "groove", "openscore", "asap-piano", "giantmidi-sample",
)  # fmt: skip
TRAINING = 150
"""Training pieces of each corpus, spread over its list, so that no corpus decides alone."""
HANGING = 0.15
"""Share of notes that hang after the planted fault."""
UPPER, LOWER = 99.5, 0.5
"""Percentiles over all corpora on which the limits rest."""


def load(data: Path, corpus: str, split: str, most: int | None = None) -> list[Any]:
    """Pieces spread over a list; pop909 quantised, without chord labels."""
    lines = (data / corpus / "splits" / f"{split}.txt").read_text().splitlines()
    step = max(len(lines) // most, 1) if most else 1
    pieces = []
    for line in lines[::step][:most]:
        path = data / corpus / line
        try:
            score = read_score(path.parent / "cl.mid" if corpus == "pop909" else path)
        except UnreadableFile as error:
            print(f"skipped: {error}")
            continue
        while corpus == "pop909" and len(score.tracks) > 1:
            score.tracks.pop()
        pieces.append(score)
    return pieces


def faults() -> dict[str, Any]:
    """Planted faults, each aimed at one check (``loop`` at two)."""

    def edit(name: str, change: Any) -> Any:
        def fault(score: Any, rng: np.random.Generator) -> Any:
            def columns(values: dict[str, Any]) -> None:
                values[name] = change(values[name], score.ticks_per_quarter, rng)

            return edit_notes(score, columns, pitched_only=name == "pitch")

        return fault

    def hang(lengths: Any, quarter: int, rng: np.random.Generator) -> Any:
        return np.where(rng.random(len(lengths)) < HANGING, 40 * quarter, lengths)

    def pause(times: Any, quarter: int, rng: np.random.Generator) -> Any:
        return times + np.where(times > np.median(times), 60 * quarter, 0)

    return {
        "range": edit("pitch", lambda pitch, quarter, rng: np.clip(pitch + rng.choice([-48, 48]), 0, 127)),
        "hanging": edit("duration", hang),
        "overlap": edit("duration", lambda lengths, quarter, rng: np.full(len(lengths), 12 * quarter)),
        "silence": edit("time", pause),
        "loop": CORRUPTIONS["four_bar_loop"],
        "metre": edit("time", lambda times, quarter, rng: times + quarter // 4),
        "tiny": edit("duration", lambda lengths, quarter, rng: np.ones(len(lengths), dtype=np.int64)),
        "sparse": edit("time", lambda times, quarter, rng: times * 30),
        "dense": edit("time", lambda times, quarter, rng: times // 12),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of unpacked corpora")
    parser.add_argument("--split", default="test")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    training = {corpus: [measure(s) for s in load(args.data, corpus, "train", TRAINING)] for corpus in CORPORA}
    print(f"{sum(map(len, training.values()))} training pieces")
    print("| check | 0.5 % | median | 99.5 % | most |\n|---|---|---|---|---|")
    for check in CHECKS:
        values = np.array([row[check] for rows in training.values() for row in rows])
        values = values[np.isfinite(values)]
        cells = [np.percentile(values, LOWER), np.median(values), np.percentile(values, UPPER), values.max()]
        print(f"| {check} | " + " | ".join(f"{cell:.3g}" for cell in cells) + " |")
    held = {corpus: load(args.data, corpus, args.split) for corpus in CORPORA}
    print("\n| corpus | held-out pieces | fail | reasons |\n|---|---|---|---|")
    failed = total = 0
    for corpus, scores in held.items():
        verdicts: list[Verdict] = [validate(score) for score in scores]
        reasons = Counter(f.check for v in verdicts for f in v.findings if not f.passed)
        bad = sum(not v.passed for v in verdicts)
        failed, total = failed + bad, total + len(verdicts)
        print(f"| {corpus} | {len(scores)} | {bad} | {', '.join(f'{k} {n}' for k, n in reasons.most_common())} |")
    print(f"| all | {total} | {failed} ({100 * failed / total:.1f} %) | |")
    print("\n| planted fault | corpus | caught by its check | by any |\n|---|---|---|---|")
    rng = np.random.default_rng(0)
    for name, fault in faults().items():
        for corpus in ("pop909", "nottingham", "jsb-chorales"):
            found = [validate(fault(score, rng)) for score in held[corpus]]
            own = np.mean([any(f.check == name and not f.passed for f in v.findings) for v in found])
            print(f"| {name} | {corpus} | {own:.2f} | {np.mean([not v.passed for v in found]):.2f} |")
    print("\n| long-term coherence | corpus | pieces | 5 % | median | 95 % |\n|---|---|---|---|---|---|")
    for corpus in ("pop909", "openscore", "multitrack-free"):
        rows = [long_term_coherence(score) for score in held[corpus]]
        for name in COHERENCE:
            values = np.array([row[name] for row in rows if math.isfinite(row[name])])
            cells = np.percentile(values, [5, 50, 95]) if len(values) else [math.nan] * 3
            print(f"| {name} | {corpus} | {len(values)} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    if args.json:
        args.json.write_text(json.dumps({"failed": failed, "pieces": total}) + "\n")


if __name__ == "__main__":
    main()
