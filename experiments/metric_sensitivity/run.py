"""Which metric notices which planted damage? ``python -m experiments.metric_sensitivity.run --data FOLDER``."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from aurl.evaluation.corruptions import CORRUPTIONS, fits_splice, splice
from aurl.evaluation.metrics.reference import Reference
from aurl.evaluation.metrics.registry import all_metrics, choose_metrics, score_metrics
from aurl.evaluation.metrics.table import read_table
from aurl.music.score import read_score

CORPORA = ("pop909", "nottingham", "jsb-chorales")
REFERENCE_PIECES = 200
"""Training pieces that the chord and seam models are fitted on."""
RESAMPLES = 1000
INTERVAL = (2.5, 97.5)
NULL_RESAMPLES = 50_000
"""For ``--null``: so many that a tail of 0.05 / 206 / 2 still holds six of them."""
CHUNK = 5_000
FAMILY_LEVEL = 0.05
"""Chance, without any difference, that one or more of all intervals together leave 0.5 out."""
GOAL = 0.85
COPY, SPLICE, NULL = "copy", "splice", "null"
COLUMNS = (*CORRUPTIONS, SPLICE, COPY)
Values = dict[str, dict[str, np.ndarray]]
"""real, null or corruption -> metric -> (pieces,) values."""


def load(data: Path, corpus: str, split: str, most: int | None = None) -> list[Any]:
    """The pieces of a list; of pop909 the quantised arrangement without its track of chord labels."""
    pieces = []
    for line in (data / corpus / "splits" / f"{split}.txt").read_text().splitlines()[:most]:
        path = data / corpus / line
        score = read_score(path.parent / "cl.mid" if corpus == "pop909" else path)
        while corpus == "pop909" and len(score.tracks) > 1:
            score.tracks.pop()
        pieces.append(score)
    return pieces


def spliced(scores: list[Any], rng: np.random.Generator) -> list[Any]:
    """Each piece with the end of another one of its list; None where no other has its mode and metre."""
    tables = [read_table(score) for score in scores]
    result: list[Any] = []
    for index, score in enumerate(scores):
        others = [k for k in range(len(scores)) if k != index and fits_splice(tables[index], tables[k])]
        result.append(splice(score, scores[int(rng.choice(others))], rng) if others else None)
    return result


def measure(scores: list[Any], model: Reference, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """All numbers (or those named) of all pieces; NaN for a piece that is None."""
    specs = choose_metrics(names, scalars_only=True)
    rows = np.full((len(scores), len(specs)), np.nan)
    for index, score in enumerate(scores):
        if score is not None:
            values = score_metrics(score, [spec.name for spec in specs], model)
            rows[index] = [values[spec.name] for spec in specs]
    return {spec.name: rows[:, column] for column, spec in enumerate(specs)}


def measure_corpus(
    data: Path, corpus: str, split: str, other: str, most: int | None, names: list[str] | None = None
) -> Values:
    """Real pieces, every corruption of them, copies of training pieces, and other real pieces (the null)."""
    rng = np.random.default_rng(sum(corpus.encode()) + len(split))
    training = load(data, corpus, "train", most or REFERENCE_PIECES)
    model = Reference.fit(training)
    real = load(data, corpus, split, most)
    sets = {"real": real, NULL: load(data, corpus, other, most)}
    sets |= {name: [damage(score, rng) for score in real] for name, damage in CORRUPTIONS.items()}
    sets[SPLICE] = spliced(real, rng)
    sets[COPY] = [training[k] for k in rng.choice(len(training), min(len(real), len(training)), replace=False)]
    return {name: measure(scores, model, names) for name, scores in sets.items()}


def auc(real: np.ndarray, damaged: np.ndarray, paired: bool, rng: np.random.Generator) -> dict[str, float]:
    """Probability that a real piece has the higher value (ties count half), with its interval over pieces.

    A piece is not compared with its own copy: drawn twice by the bootstrap, such a pair would count four times.

    Args:
        real: (R,) values.
        damaged: (D,) values; of the same pieces if ``paired``, and then a piece is drawn with its damaged copy.
        paired: also gives ``wins``, how often a piece is above its own copy.
        rng: of the bootstrap.
    """
    if paired:
        both = np.isfinite(real) & np.isfinite(damaged)
        real, damaged = real[both], damaged[both]
    real, damaged = real[np.isfinite(real)], damaged[np.isfinite(damaged)]
    if len(real) < 8 or len(damaged) < 8:
        return {"auc": math.nan, "low": math.nan, "high": math.nan, "wins": math.nan}
    above = (np.sign(real[:, None] - damaged[None]) + 1) / 2
    first = rng.multinomial(len(real), np.full(len(real), 1 / len(real)), RESAMPLES)
    second = first if paired else rng.multinomial(len(damaged), np.full(len(damaged), 1 / len(damaged)), RESAMPLES)
    wins = float(np.diagonal(above).mean()) if paired else math.nan
    others = 1.0 - np.eye(len(real)) if paired else np.ones(above.shape)
    drawn = ((first @ (above * others)) * second).sum(axis=1) / ((first @ others) * second).sum(axis=1)
    low, high = np.percentile(drawn, INTERVAL)
    middle = float((above * others).sum() / others.sum())
    return {"auc": middle, "low": float(low), "high": float(high), "wins": wins}


def measure_null(data: Path, corpus: str, split: str, other: str, most: int | None) -> dict[str, np.ndarray]:
    """Metric -> (NULL_RESAMPLES + 1,) AUCs of real against other real pieces: as found, then of the bootstrap."""
    model = Reference.fit(load(data, corpus, "train", most or REFERENCE_PIECES))
    real, others = (measure(load(data, corpus, name, most), model) for name in (split, other))
    rng = np.random.default_rng(0)
    drawn: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    found = {}
    for name in real:
        one, two = (values[name][np.isfinite(values[name])] for values in (real, others))
        if min(len(one), len(two)) < 8:
            continue
        sizes = len(one), len(two)
        if sizes not in drawn:  # the same songs are drawn for all metrics that as many pieces have
            drawn[sizes] = [
                tuple(rng.multinomial(size, np.full(size, 1 / size), CHUNK).astype(np.float32) for size in sizes)
                for _ in range(NULL_RESAMPLES // CHUNK)
            ]
        above = ((np.sign(one[:, None] - two[None]) + 1) / 2).astype(np.float32)
        means = [((first @ above) * second).sum(axis=1) / (sizes[0] * sizes[1]) for first, second in drawn[sizes]]
        found[name] = np.concatenate([[above.mean()], *means])
    return found


def ends_of(aucs: np.ndarray) -> tuple[float, float, float]:
    """Ends of the 95 % interval, and the AUC as found."""
    low, high = np.percentile(aucs[1:], INTERVAL)
    return float(low), float(high), float(aucs[0])


def report_null(found: dict[str, dict[str, np.ndarray]]) -> None:
    """Intervals of 95 % each, and those that all hold together with 95 % (Bonferroni), of real against real."""
    cells = {f"{corpus} {name}": aucs for corpus, table in found.items() for name, aucs in table.items()}
    widened = 100 * FAMILY_LEVEL / len(cells) / 2
    print("| corpus | metric | AUC | 95 % | all together 95 % |\n|---|---|---|---|---|")
    alone = together = 0
    for name, aucs in cells.items():
        ends = [np.percentile(aucs[1:], ends) for ends in (INTERVAL, (widened, 100 - widened))]
        outside = [not low <= 0.5 <= high for low, high in ends]
        alone, together = alone + outside[0], together + outside[1]
        if outside[0]:
            corpus, _, metric = name.partition(" ")
            words = " | ".join(f"{low:.3f}-{high:.3f}" for low, high in ends)
            print(f"| {corpus} | `{metric}` | {aucs[0]:.3f} | {words} |")
    print(f"\n{len(cells)} intervals; {alone} of 95 % leave 0.5 out, {together} of {100 - 2 * widened:.4f} %")
    as_cells = {name: dict(zip(("low", "high", "auc"), ends_of(aucs), strict=True)) for name, aucs in cells.items()}
    print(f"after Holm's correction over all of them differ: {holm(as_cells) or 'none'}")


def table_of(values: Values) -> dict[str, dict[str, dict[str, float]]]:
    """Metric -> column -> AUC with interval."""
    rng = np.random.default_rng(0)
    return {
        name: {
            column: auc(values["real"][name], values[column][name], column not in (COPY, NULL), rng)
            for column in (*COLUMNS, NULL)
        }
        for name in values["real"]
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """The matrix of all corpora as one picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    measured = next(iter(results.values()))
    names = [name for name, spec in all_metrics().items() if spec.group != "chorale" and name in measured]
    figure, axes = plt.subplots(1, len(results), figsize=(4.6 * len(results) + 2, 0.19 * len(names) + 2), sharey=True)
    for axis, (corpus, table) in zip(np.atleast_1d(axes), results.items(), strict=True):
        grid = np.array([[table[name][column]["auc"] for column in (*COLUMNS, NULL)] for name in names])
        image = axis.imshow(grid, cmap="RdBu", vmin=0, vmax=1, aspect="auto")
        for row, column in np.ndindex(grid.shape):
            if np.isfinite(grid[row, column]):
                strong = abs(grid[row, column] - 0.5) >= GOAL - 0.5
                text = f"{grid[row, column]:.2f}"
                axis.text(column, row, text, ha="center", va="center", fontsize=5.5, color="w" if strong else "k")
        axis.set_xticks(
            range(len(COLUMNS) + 1), [c.replace("_", " ") for c in (*COLUMNS, NULL)], rotation=45, ha="left"
        )
        axis.xaxis.tick_top()
        axis.set_yticks(range(len(names)), names, fontsize=6.5)
        axis.set_title(corpus)
    figure.colorbar(image, ax=axes, fraction=0.02, label="AUC: 1 real above damaged, 0 below, 0.5 blind")
    figure.savefig(path, dpi=100, pil_kwargs={"optimize": True}, bbox_inches="tight")
    plt.close(figure)


def report(results: dict[str, Any]) -> None:
    """Best metric aimed at each corruption, the null, and what tells nothing apart."""
    specs = all_metrics()
    for corpus, table in results.items():
        print(f"\n{corpus}\n| damage | metric aimed at it | AUC | 95 % | own copy beaten |\n|---|---|---|---|---|")
        for column in (*CORRUPTIONS, SPLICE):
            rows = [(n, s.aimed_at[column]) for n, s in specs.items() if column in s.aimed_at and n in table]
            best = sorted(rows, key=lambda row: -toward(table[row[0]][column]["auc"], row[1]))[:3]
            for name, side in best:
                cell = table[name][column]
                ends = sorted((toward(cell["low"], side), toward(cell["high"], side)))
                print(
                    f"| {column} | {name} | {toward(cell['auc'], side):.3f} | {ends[0]:.2f}-{ends[1]:.2f} "
                    f"| {toward(cell['wins'], side):.2f} |"
                )
        cells = {name: table[name][NULL] for name in table if math.isfinite(table[name][NULL]["auc"])}
        outside = [f"{n} {c['low']:.2f}-{c['high']:.2f}" for n, c in cells.items() if not c["low"] <= 0.5 <= c["high"]]
        print(f"null: {len(cells)} metrics, interval without 0.5: {outside or 'none'}")
        print(f"null: differ after Holm's correction: {holm(cells) or 'none'}")
    print("\ntell nothing apart:", blind(results))


def holm(cells: dict[str, dict[str, float]], level: float = 0.05) -> list[str]:
    """Metrics whose null AUC differs from 0.5 when as many are looked at (normal approximation of the interval)."""
    width = 2 * NormalDist().inv_cdf(INTERVAL[1] / 100)
    chances = {}
    for name, cell in cells.items():
        spread = (cell["high"] - cell["low"]) / width
        chances[name] = 2 * (1 - NormalDist().cdf(abs(cell["auc"] - 0.5) / spread)) if spread else 1.0
    found = []
    for rank, name in enumerate(sorted(chances, key=lambda name: chances[name])):
        if chances[name] > level / (len(chances) - rank):
            break
        found.append(name)
    return found


def toward(value: float, side: int) -> float:
    """An AUC seen from the side on which real music is said to lie; a metric that has none (NaN) comes last."""
    return -1.0 if math.isnan(value) else value if side > 0 else 1 - value


def blind(results: dict[str, Any]) -> list[str]:
    """Metrics that tell no damage from real music with 0.85 on either side in any corpus."""
    found = []
    for name in next(iter(results.values())):
        cells = [results[corpus][name][column]["auc"] for corpus in results for column in (*CORRUPTIONS, SPLICE)]
        if not any(abs(value - 0.5) >= GOAL - 0.5 for value in cells if math.isfinite(value)):
            found.append(name)
    return found


def rounded_cells(results: Any) -> Any:
    """Three decimals are more than the intervals allow; what cannot be measured is NaN."""
    if isinstance(results, dict):
        return {name: rounded_cells(value) for name, value in results.items()}
    return round(results, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of unpacked corpora")
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    parser.add_argument("--most", type=int, help="pieces of each corpus, for a quick look")
    parser.add_argument("--metrics", nargs="+", help="measure only these and keep the other rows of the JSON file")
    parser.add_argument("--null", action="store_true", help="real against other real music only, all intervals at once")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--from-json", type=Path, help="report an earlier run again instead of measuring")
    args = parser.parse_args()
    if args.from_json:
        report(json.loads(args.from_json.read_text()))
        return
    other = "valid" if args.split == "test" else "train"
    if args.null:
        report_null({corpus: measure_null(args.data, corpus, args.split, other, args.most) for corpus in CORPORA})
        return
    results = {
        corpus: table_of(measure_corpus(args.data, corpus, args.split, other, args.most, args.metrics))
        for corpus in CORPORA
    }
    args.output.mkdir(parents=True, exist_ok=True)
    if args.metrics:
        earlier = json.loads((args.output / f"{args.split}.json").read_text())
        results = {corpus: {**earlier[corpus], **table} for corpus, table in results.items()}
    report(results)
    rounded = json.dumps(rounded_cells(results), separators=(",", ":"))
    (args.output / f"{args.split}.json").write_text(rounded + "\n")
    draw(results, args.output / f"matrix_{args.split}.png")


if __name__ == "__main__":
    main()
