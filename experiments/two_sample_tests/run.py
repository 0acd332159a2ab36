"""Do the judges see planted damage, and nothing else? ``python -m experiments.two_sample_tests.run --data FOLDER``."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from aurl.evaluation.comparison import principal_components, scalar_values
from aurl.evaluation.corruptions import CORRUPTIONS
from aurl.evaluation.distances import frechet_infinity, frechet_interval
from aurl.evaluation.metrics.table import read_table
from aurl.evaluation.rolls import excerpt_rolls, random_features
from aurl.evaluation.two_sample import JUDGES, hand_features, judge_features, two_sample_test
from aurl.music.score import read_score
from experiments.metric_sensitivity.run import spliced

CORPORA = ("pop909", "nottingham")
FRECHET_DIMENSIONS = 16
NULL = "other real songs"


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


def measure(
    data: Path, corpus: str, count: int, seed: int, judges: list[str], wanted: list[str] | None
) -> dict[str, dict[str, Any]]:
    """Set -> judge or feature set -> figures."""
    rng = np.random.default_rng(seed)
    scores = load(data, corpus, 2 * count, seed)
    real, others = scores[:count], scores[count:]
    sets = {NULL: others, **{name: [damage(s, rng) for s in real] for name, damage in CORRUPTIONS.items()}}
    sets["splice"] = spliced(real, rng)
    sets = {name: part for name, part in sets.items() if wanted is None or name in wanted}
    tables = [read_table(score) for score in real]
    values = scalar_values(tables)
    features = {judge: judge_features(judge, tables, values) for judge in judges}
    # Frechet distances assume independent sets: damaged songs are compared with other songs, not with themselves.
    unrelated = [read_table(score) for score in others]
    hand = hand_features(scalar_values(unrelated))
    rolls = random_features([excerpt_rolls(table) for table in unrelated])
    own = hand_features(values), random_features([excerpt_rolls(table) for table in tables])
    results: dict[str, dict[str, Any]] = {}
    for name, damaged in sets.items():
        kept = [k for k, score in enumerate(damaged) if score is not None]
        theirs = [read_table(damaged[k]) for k in kept]
        their_values = scalar_values(theirs)
        songs = [f"other {k}" if name == NULL else str(k) for k in kept]
        row: dict[str, Any] = {}
        for judge in judges:
            begin = time.process_time()
            found = two_sample_test(
                judge,
                features[judge],
                judge_features(judge, theirs, their_values),
                ([str(k) for k in range(count)], songs),
                JUDGES[judge],
                seed,
            )
            row[judge] = {**found.to_dict(), "processor_seconds": time.process_time() - begin}
        damaged_features = hand_features(their_values), random_features([excerpt_rolls(table) for table in theirs])
        both = own if name == NULL else damaged_features
        for label, mine, other in (
            ("Frechet, metrics", both[0], hand),
            ("Frechet, random convolutions", both[1], rolls),
        ):
            first, second = principal_components(mine, other, FRECHET_DIMENSIONS)
            centre = frechet_infinity(first, second, np.random.default_rng(seed))
            interval = frechet_interval(first, second, np.random.default_rng(seed), centre)
            row[label] = {"distance": centre, "interval": list(interval)}
        results[name] = row
        cells = [
            f"{row[judge]['accuracy']:.3f} ({row[judge]['interval'][0]:.2f}-{row[judge]['interval'][1]:.2f})"
            for judge in judges
        ]
        cells += [f"{row[key]['distance']:.1f}" for key in row if key not in judges]
        print(f"| {corpus} | {name} | {' | '.join(cells)} |", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of unpacked corpora")
    parser.add_argument("--songs", type=int, default=150, help="songs of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judges", nargs="*", default=list(JUDGES))
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA))
    parser.add_argument("--sets", nargs="+", help=f"damage by name, or '{NULL}'; unset means all")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results.json")
    args = parser.parse_args()
    heads = ["corpus", "set", *args.judges, "Frechet, metrics", "Frechet, random convolutions"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    results = {
        corpus: measure(args.data, corpus, args.songs, args.seed, args.judges, args.sets) for corpus in args.corpora
    }
    args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
