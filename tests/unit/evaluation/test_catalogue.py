"""What is said about the metrics, in the registry and in the guide, is what was measured."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from aurl.evaluation.corruptions import CORRUPTIONS
from aurl.evaluation.metrics.registry import GROUPS, MetricSpec, all_metrics
from experiments.metric_sensitivity.run import CORPORA, GOAL, SPLICE, auc, blind, holm

ROOT = Path(__file__).resolve().parents[3]
MEASURED = {
    split: json.loads((ROOT / "experiments/metric_sensitivity" / f"{split}.json").read_text())
    for split in ("valid", "test")
}
IMPOSSIBLE = {("nottingham", "velocity_flattening"), ("jsb-chorales", "velocity_flattening")}
"""Corpora of one velocity."""


def test_a_metric_is_advertised_exactly_if_it_tells_some_damage_from_real_music() -> None:
    quiet = {name for name, spec in all_metrics().items() if spec.comparability_only}
    assert quiet == set(blind(MEASURED["valid"])) | set(blind(MEASURED["test"]))


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("damage", [*CORRUPTIONS, SPLICE])
def test_each_damage_has_a_metric_aimed_at_it_that_reaches_the_goal(corpus: str, damage: str) -> None:
    table = MEASURED["test"][corpus]
    sided = [
        cell if spec.aimed_at[damage] > 0 else 1 - cell
        for name, spec in all_metrics().items()
        if damage in spec.aimed_at and math.isfinite(cell := table[name][damage]["auc"])
    ]
    reached = max(sided) >= GOAL
    assert reached == ((corpus, damage) not in IMPOSSIBLE)


@pytest.mark.parametrize("name", [n for n, s in all_metrics().items() if s.aimed_at])
def test_real_music_lies_on_the_side_that_an_aimed_metric_names(name: str) -> None:
    for damage, side in all_metrics()[name].aimed_at.items():
        cells = [MEASURED["test"][corpus][name][damage]["auc"] for corpus in CORPORA]
        found = [cell if side > 0 else 1 - cell for cell in cells if math.isfinite(cell)]
        assert max(found) >= GOAL, damage
        assert min(found) >= 0.45, damage


def test_real_against_real_differs_no_more_often_than_chance() -> None:
    outside = total = 0
    for corpus in CORPORA:
        cells = {
            name: row["null"] for name, row in MEASURED["test"][corpus].items() if math.isfinite(row["null"]["auc"])
        }
        outside += sum(not cell["low"] <= 0.5 <= cell["high"] for cell in cells.values())
        total += len(cells)
        assert holm(cells) == []
    assert outside / total <= 0.06


def test_auc_counts_pairs_and_a_song_stays_with_its_copy() -> None:
    real, damaged = np.arange(10.0), np.arange(10.0) - 0.5
    cell = auc(real, damaged, paired=True, rng=np.random.default_rng(0))
    assert cell["wins"] == 1 and cell["auc"] == pytest.approx(45 / 90)  # its own copy is not compared
    assert cell["low"] <= cell["auc"] <= cell["high"]
    assert auc(real, real, paired=True, rng=np.random.default_rng(0))["auc"] == 0.5
    assert math.isnan(auc(real[:4], damaged[:4], paired=True, rng=np.random.default_rng(0))["auc"])


def test_holm_finds_a_real_difference_among_many() -> None:
    cells = {f"m{index}": {"auc": 0.52, "low": 0.42, "high": 0.62} for index in range(50)}
    assert holm(cells) == []
    cells["other"] = {"auc": 0.8, "low": 0.75, "high": 0.85}
    assert holm(cells) == ["other"]


def test_every_metric_stands_in_the_guide_with_what_it_sees_and_does_not_see() -> None:
    text = (ROOT / "docs/evaluate.md").read_text(encoding="utf-8")
    first, second = text.split("<!-- metrics for comparability -->")
    for spec in all_metrics().values():
        row = f"| `{spec.name}` | {spec.unit} | {spec.sees} | {spec.blind_to} | {spec.source} |"
        if spec.group != "chorale":
            assert row in (second if spec.comparability_only else first), spec.name
        else:
            assert "`chorale`" in text


def test_a_group_that_does_not_exist_is_refused() -> None:
    spec = all_metrics()["pitch_range"]
    with pytest.raises(ValueError, match="metric x: group=tempo is unknown; allowed: pitch"):
        MetricSpec(name="x", group="tempo", unit="", compute=spec.compute, sees="", blind_to="", source="")
    assert {spec.group for spec in all_metrics().values()} == set(GROUPS)
