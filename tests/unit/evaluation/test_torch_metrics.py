"""The metrics as torchmetrics: means over pieces, in any batching, over processes."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from symusic import Note, Score, Track

from aurl.evaluation.metrics.reference import Reference
from aurl.evaluation.metrics.registry import score_metrics
from aurl.evaluation.metrics.torch_metrics import MusicalMetrics, ScoreMetric
from aurl.utils.errors import AurlError

NAMES = ["pitch_class_entropy", "bar_order", "tonal_distance", "pitch_class_distribution"]


def piece(seed: int, bars: int = 8) -> Score:
    rng = np.random.default_rng(seed)
    notes = [Note(index * 480, 480, int(rng.integers(50, 80)), 80) for index in range(bars * 4)]
    return _score(notes)


def _score(notes) -> Score:
    score = Score(480)
    score.tracks.append(Track(notes=notes))
    return score


def test_compute_is_the_mean_over_pieces_however_they_come_in_batches() -> None:
    scores = [piece(seed) for seed in range(5)]
    one, many = MusicalMetrics(NAMES), MusicalMetrics(NAMES)
    one.update(scores)
    for score in scores:
        many.update([score])
    many.update([])
    found = one.compute()
    for name, value in many.compute().items():
        torch.testing.assert_close(value, found[name], equal_nan=True)
    values = [score_metrics(score, NAMES) for score in scores]
    assert found["pitch_class_entropy"].item() == pytest.approx(np.mean([v["pitch_class_entropy"] for v in values]))
    expected = np.mean([v["pitch_class_distribution"] for v in values], axis=0)
    np.testing.assert_allclose(found["pitch_class_distribution"].numpy(), expected)
    assert one.per_piece()["bar_order"].shape == (5,)
    assert math.isnan(found["tonal_distance"])  # one track each


def test_a_piece_without_a_figure_does_not_count_in_its_mean() -> None:
    metric = ScoreMetric("bar_order")
    metric.update([piece(0), piece(1, bars=2)])
    assert metric.compute().item() == pytest.approx(score_metrics(piece(0), ["bar_order"])["bar_order"])


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_before_any_piece_everything_is_nan_and_reset_brings_that_back() -> None:
    metrics = MusicalMetrics(NAMES)
    assert all(torch.isnan(value).all() for value in metrics.compute().values())
    metrics.update([piece(0)])
    metrics.reset()
    assert metrics.per_piece()["bar_order"].shape == (0,) and metrics.pieces == 0


def test_a_metric_can_be_pickled_with_its_state() -> None:
    metric = ScoreMetric("pitch_range")
    metric.update([piece(0)])
    assert pickle.loads(pickle.dumps(metric)).compute() == metric.compute()


def test_one_metric_gives_its_tensor_and_groups_and_wrong_names_are_refused() -> None:
    metric = ScoreMetric("lag_profile")
    metric.update([piece(0)])
    assert metric.compute().shape == (32,)
    with pytest.raises(AurlError, match="metric=harmony is a group; MusicalMetrics takes groups"):
        ScoreMetric("harmony")
    with pytest.raises(AurlError, match="did you mean pitch_range"):
        ScoreMetric("pitch_rnge")
    with pytest.raises(AurlError, match="give reference=FOLDER"):
        ScoreMetric("chord_progression_nll")
    reference = Reference.fit([piece(1)])
    with_reference = ScoreMetric("chord_progression_nll", reference)
    with_reference.update([piece(0)])
    assert with_reference.compute().item() == pytest.approx(reference.chords.nats_per_quarter(piece(0)))


def _rank(rank: int, store: str, output: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    metrics = MusicalMetrics(NAMES)
    metrics.update([piece(seed) for seed in range(rank, 5, 2)])  # three pieces here, two there
    result = metrics.compute()
    if rank == 0:
        torch.save(result, output)
    dist.destroy_process_group()


def test_two_processes_together_give_what_one_gives(tmp_path: Path) -> None:
    # forked, because importing torch twice more takes longer than everything else here
    mp.start_processes(_rank, (str(tmp_path / "store"), str(tmp_path / "result.pt")), nprocs=2, start_method="fork")
    alone = MusicalMetrics(NAMES)
    alone.update([piece(seed) for seed in range(5)])
    together = torch.load(tmp_path / "result.pt")
    for name, value in alone.compute().items():
        torch.testing.assert_close(together[name], value, equal_nan=True)
