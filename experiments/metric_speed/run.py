"""How long do all metrics take on 500 songs? ``python -m experiments.metric_speed.run --data FOLDER``."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from aurl.evaluation.comparison import (
    HAND,
    MOST_DIMENSIONS,
    PIECES_PER_DIMENSION,
    metric_distances,
    principal_components,
    scalar_values,
)
from aurl.evaluation.distances import measure_frechet
from aurl.evaluation.metrics.registry import choose_metrics, score_metrics
from aurl.evaluation.metrics.table import read_table
from aurl.evaluation.two_sample import hand_features
from aurl.music.score import read_score
from experiments.metric_parity.run import SAME_NAME, to_muspy

SONGS = 500
PEER_SONGS = 10
CORES = 2


def song(path: Path) -> float:
    """Read and measure one song; processor seconds."""
    begin = time.process_time()
    score_metrics(read_score(path))
    return time.process_time() - begin


def values_of(path: Path) -> tuple[dict[str, float], float]:
    """The metrics of one song that are single numbers, and processor seconds."""
    begin = time.process_time()
    values = scalar_values([read_table(read_score(path))])[0]
    return values, time.process_time() - begin


def distances(values: list[dict[str, float]], reference: list[dict[str, float]]) -> dict[str, float]:
    """Processor seconds of what aurl-evaluate computes of two sets from hand features: all metrics one by one (shift,
    energy, Wasserstein with 4,000 permutations, overlap) and the Frechet distance with its extrapolation and interval.
    """
    begin = time.process_time()
    rows = metric_distances(values, reference, 0)
    middle = time.process_time()
    dimensions = min(MOST_DIMENSIONS, len(reference) // 2 // PIECES_PER_DIMENSION)
    parts = principal_components(hand_features(values), hand_features(reference), dimensions)
    measure_frechet(HAND, *parts, np.random.default_rng(0))
    return {f"{len(rows)} metrics one by one": middle - begin, "Frechet": time.process_time() - middle}


def by_metric(paths: list[Path]) -> Counter[str]:
    """Processor seconds of each metric over some songs, in the order in which they share work."""
    seconds: Counter[str] = Counter()
    for path in paths:
        table = read_table(read_score(path))
        for spec in choose_metrics():
            if not spec.needs_reference:
                begin = time.process_time()
                spec.compute(table)
                seconds[spec.name] += time.process_time() - begin
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of unpacked corpora")
    parser.add_argument("--songs", type=int, default=SONGS)
    args = parser.parse_args()
    folder = args.data / "pop909"
    every = [folder / Path(line).parent / "cl.mid" for line in (folder / "splits/train.txt").read_text().splitlines()]
    paths = every[: args.songs]
    others = [path for path in every if path not in paths]
    begin = time.perf_counter()
    with ProcessPoolExecutor(CORES) as pool:
        processor = sum(pool.map(song, paths, chunksize=10))
        print(
            f"{len(paths)} songs, {CORES} processes: {time.perf_counter() - begin:.1f} s, processor {processor:.1f} s"
        )
        mine, reference = (list(pool.map(values_of, part, chunksize=10)) for part in (paths, others))
    print(f"{len(others)} songs of the reference: processor {sum(seconds for _, seconds in reference):.1f} s")
    for name, seconds in distances(*([row for row, _ in part] for part in (mine, reference))).items():
        print(f"distances, {name}: processor {seconds:.1f} s")
    for name, seconds in by_metric(paths[:PEER_SONGS]).most_common(5):
        print(f"  {name}: {1000 * seconds / PEER_SONGS:.1f} ms a song")
    scores = [read_score(path) for path in paths[:PEER_SONGS]]
    music = [to_muspy(score) for score in scores]
    import muspy

    begin = time.process_time()
    for piece in music:
        for name in SAME_NAME:
            getattr(muspy.metrics, name)(piece)
    theirs = time.process_time() - begin
    begin = time.process_time()
    for score in scores:
        table = read_table(score)
        for ours in SAME_NAME.values():
            ours(table)
    mine = time.process_time() - begin
    print(f"{len(SAME_NAME)} metrics that MusPy has too, {PEER_SONGS} songs: MusPy {theirs:.2f} s, ours {mine:.3f} s, "
          f"ratio {theirs / mine:.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
