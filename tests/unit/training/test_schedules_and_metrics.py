"""Learning rate and likelihood figures."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from aurl.data.batching import IGNORED, PackedBatch
from aurl.models.bars import bars_of
from aurl.models.gaussian import Gaussian
from aurl.models.latent import Encoded, Latents
from aurl.models.music_transformer_vae_gan import ModelOutput
from aurl.training.config import OptimConfig
from aurl.training.metrics import LatentUse, Likelihood
from aurl.training.schedules import warmup_cosine


def test_the_rate_rises_linearly_peaks_and_falls_to_its_share() -> None:
    rates = [warmup_cosine(step, 10, 110, 0.1) for step in range(130)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(rates) == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
    assert rates[110:] == pytest.approx([0.1] * 20)


def test_no_warm_up_starts_at_the_peak() -> None:
    assert warmup_cosine(0, 0, 10, 0.0) == 1.0


def batch(targets: list[int], notes: int, beats: float) -> PackedBatch:
    index = torch.arange(len(targets))
    return PackedBatch(index, torch.tensor(targets), index, index.float(), index, [len(targets)], notes, beats, 1, 0)


def test_likelihood_divides_all_nats_by_notes_beats_and_scored_tokens() -> None:
    metric = Likelihood()
    metric.update(torch.tensor([0.0, 1.0, 3.0]), batch([IGNORED, 5, 6], notes=2, beats=4.0))
    metric.update(torch.tensor([2.0]), batch([5], notes=0, beats=0.0))
    assert metric.compute() == pytest.approx(
        {"nats_per_note": 3.0, "nats_per_beat": 1.5, "token_perplexity": math.exp(2.0)}
    )
    metric.reset()
    assert metric.compute()["nats_per_note"] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.0}, "optim.lr=0 would learn nothing"),
        ({"lr": 2.0}, "optim.lr=2.0 is out of range; allowed: 0 to 1"),
        ({"ema_decay": 1.0}, "optim.ema_decay=1.0 is out of range"),
        ({"betas": [0.9]}, r"optim.betas=\[0.9\] must be two numbers"),
        ({"accumulate": 0}, "optim.accumulate=0 is out of range"),
        ({"warmup_steps": -1}, "optim.warmup_steps=-1 is out of range"),
        ({"clip_norm": -1.0}, "optim.clip_norm=-1.0 is out of range"),
    ],
)
def test_a_wrong_value_is_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimConfig(**change)


def latents_of(bars: int) -> ModelOutput:
    """Output over one token a bar, of a posterior that says something else of each."""
    torch.manual_seed(0)
    own = Gaussian(torch.randn(bars, 3), torch.zeros(bars, 3))
    piece = Gaussian(torch.zeros(1, 2), torch.zeros(1, 2))
    index = bars_of(torch.arange(bars), [bars])
    cost = torch.ones(bars, 3), torch.ones(1, 2)
    return ModelOutput(
        torch.eye(8)[torch.arange(bars)], Latents(index, own.mean, piece.mean, Encoded(index, own, piece), *cost)
    )


def test_use_of_latents_compares_with_exchanged_ones_and_says_nothing_of_a_single_bar() -> None:
    use = LatentUse()
    several = latents_of(4)
    use.update(several, several._replace(logits=several.logits.roll(1, 0)), torch.arange(4))
    figures = use.compute()
    assert figures["shuffled_gap"] == pytest.approx(1.0) and figures["active_units"] == 1
    use.reset()
    use.update(latents_of(1), None, torch.arange(1))
    assert set(use.compute()) == {"bar_kl", "least_dimension_kl", "most_dimension_kl", "piece_kl"}
    use.update(several, several, torch.arange(4))
    assert use.compute()["shuffled_gap"] == 0 and use.bars == 5
