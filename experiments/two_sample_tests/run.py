"""Do the judges see planted damage, and nothing else? ``python -m experiments.two_sample_tests.run --data FOLDER``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aurl.evaluation.comparison import principal_components, scalar_values
from aurl.evaluation.corruptions import CORRUPTIONS
from aurl.evaluation.distances import frechet_infinity, frechet_interval
from aurl.evaluation.lag_maps import lag_map, random_map_features
from aurl.evaluation.metrics.table import NoteTable, read_table
from aurl.evaluation.rolls import excerpt_rolls, random_features
from aurl.evaluation.two_sample import JUDGES, hand_features, judge_features, pick, two_sample_test
from aurl.music.score import read_score
from experiments.metric_sensitivity.run import SPLICE, spliced

CORPORA = ("pop909", "nottingham")
FRECHET_DIMENSIONS = 16
FRECHET: dict[str, Callable[[Sequence[NoteTable]], Any]] = {
    "metrics": lambda tables: hand_features(scalar_values(list(tables))),
    "random_convolutions": lambda tables: random_features([excerpt_rolls(table) for table in tables]),
    "lag_maps": lambda tables: random_map_features([lag_map(table) for table in tables]),
}
"""Features that Frechet distances are taken between."""
NULL = "other real songs"
MANY_DRAWS = 10
BAND = (0.05, 0.95)
SETS = (*CORRUPTIONS, SPLICE)
IMPOSSIBLE = {("nottingham", "velocity_flattening")}
"""Nottingham has one velocity throughout."""


def load(data: Path, corpus: str, count: int, seed: int) -> list[Any]:
    """Songs of the training list in random order; of pop909 the quantised arrangement without its chord labels."""
    lines = (data / corpus / "splits" / "train.txt").read_text().splitlines()
    pieces = []
    for row in np.random.default_rng(seed).permutation(len(lines))[:count]:
        path = data / corpus / lines[row]
        score = read_score(path.parent / "cl.mid" if corpus == "pop909" else path)
        while corpus == "pop909" and len(score.tracks) > 1:
            score.tracks.pop()
        pieces.append(score)
    return pieces


class Pieces:
    """Tables of songs and what judges read of them, computed once."""

    def __init__(self, tables: Sequence[NoteTable], judges: Sequence[str]) -> None:
        self.tables = list(tables)
        values = scalar_values(self.tables) if "forest" in judges else []
        self.features = {judge: judge_features(judge, self.tables, values) for judge in judges}
        self._frechet: dict[str, Any] = {}

    def frechet(self, name: str) -> Any:
        """Features that Frechet distances are taken between."""
        if name not in self._frechet:
            self._frechet[name] = FRECHET[name](self.tables)
        return self._frechet[name]


def ask(judge: str, first: Any, second: Any, songs: tuple[list[str], list[str]], seed: int) -> dict[str, Any]:
    begin = time.process_time()
    found = two_sample_test(judge, first, second, songs, JUDGES[judge], seed)
    return {**found.to_dict(), "processor_seconds": round(time.process_time() - begin, 1)}


def frechet(mine: Pieces, others: Pieces, names: Sequence[str], seed: int) -> dict[str, Any]:
    """Distances of damaged songs from other songs: Frechet distances assume independent sets."""
    row = {}
    for name in names:
        both = (part.frechet(name) for part in (mine, others))
        reduced = principal_components(*both, FRECHET_DIMENSIONS)
        centre = frechet_infinity(*reduced, np.random.default_rng(seed))
        interval = frechet_interval(*reduced, np.random.default_rng(seed), centre)
        row[f"Frechet, {name}"] = {"distance": centre, "interval": list(interval)}
    return row


def damage(scores: Sequence[Any], name: str, rng: np.random.Generator) -> list[Any]:
    return spliced(list(scores), rng) if name == SPLICE else [CORRUPTIONS[name](score, rng) for score in scores]


def corruptions(data: Path, corpus: str, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Damage -> judge or feature set -> figures."""
    scores = load(data, corpus, 2 * args.songs, args.seed)
    real, names = scores[: args.songs], [str(k) for k in range(args.songs)]
    originals = Pieces([read_table(score) for score in real], args.judges)
    others = Pieces([read_table(score) for score in scores[args.songs :]], ()) if args.frechet else None
    results: dict[str, dict[str, Any]] = {}
    if others:
        results["real"] = frechet(originals, others, args.frechet, args.seed)
        show(corpus, "real", results["real"])
    for number, name in enumerate(SETS):
        if name not in args.sets or (corpus, name) in IMPOSSIBLE:
            continue
        damaged = damage(real, name, np.random.default_rng([args.seed, number]))
        kept = [k for k, score in enumerate(damaged) if score is not None]
        theirs = Pieces([read_table(damaged[k]) for k in kept], args.judges)
        songs = names, [str(k) for k in kept]
        row = {j: ask(j, originals.features[j], theirs.features[j], songs, args.seed) for j in args.judges}
        results[name] = row | (frechet(theirs, others, args.frechet, args.seed) if others else {})
        show(corpus, name, results[name])
    return results


def null(data: Path, corpus: str, args: argparse.Namespace) -> dict[str, Any]:
    """Judge -> figures of real songs against other real songs, dealt anew ``null_draws`` times."""
    every = Pieces([read_table(score) for score in load(data, corpus, 2 * args.null_songs, args.seed)], args.judges)
    half = len(every.tables) // 2
    row: dict[str, Any] = {}
    for judge in args.judges:
        draws = []
        for draw in range(args.null_draws):
            order = np.random.default_rng([args.seed, draw]).permutation(2 * half)
            first, second = order[:half], order[half:]
            songs = [str(k) for k in first], [str(k) for k in second]
            features = every.features[judge]
            draws.append(ask(judge, pick(features, first), pick(features, second), songs, draw))
        row[judge] = draws[0] | {"draws": [one["accuracy"] for one in draws]}
    show(corpus, NULL, row)
    return row


def dealt(accuracies: Sequence[float]) -> str:
    """Accuracies between halves that were dealt anew: all of a few, mean and band of many."""
    if len(accuracies) < MANY_DRAWS:
        return " ".join(f"{accuracy:.3f}" for accuracy in accuracies[1:])
    low, high = np.quantile(accuracies, BAND)
    return f"mean of {len(accuracies)} {np.mean(accuracies):.3f}, 5-95 % {low:.3f}-{high:.3f}"


def show(corpus: str, name: str, row: dict[str, Any]) -> None:
    cells = []
    for key, found in row.items():
        if "accuracy" in found:
            low, high = found["interval"]
            more = dealt(found.get("draws", ()))
            cells.append(f"{key} {found['accuracy']:.3f} ({low:.2f}-{high:.2f}) {more}".strip())
        else:
            cells.append(f"{key} {found['distance']:.1f}")
    pieces = "+".join(str(n) for n in next(iter(row.values())).get("pieces", ()))
    print(f"| {corpus} | {name} | {pieces} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of unpacked corpora")
    parser.add_argument("--songs", type=int, default=100, help="songs that are damaged")
    parser.add_argument("--null-songs", type=int, default=370, help="songs of each half of the null; 0 leaves it out")
    parser.add_argument("--null-draws", type=int, default=1, help="how often the halves are dealt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judges", nargs="*", default=list(JUDGES), choices=list(JUDGES))
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA))
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS, help="damage; none: the null alone")
    parser.add_argument("--frechet", nargs="*", default=[], choices=FRECHET, help="features of Frechet distances")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results.json")
    args = parser.parse_args()
    results = json.loads(args.output.read_text()) if args.output.exists() else {}
    for corpus in args.corpora:
        found = corruptions(args.data, corpus, args) if args.sets else {}
        if args.null_songs:
            found[NULL] = null(args.data, corpus, args)
        kept = results.setdefault(corpus, {})  # judges that were asked in other runs stay
        for name, row in found.items():
            kept[name] = {**kept.get(name, {}), **row}
        args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
