"""Sampling filters against naive references, at their edges, and the independence of samples from their batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from aurl.generation.config import SamplerConfig
from aurl.generation.sampling import (
    NO_TOKEN,
    NOTHING,
    RecentPitches,
    UniformStreams,
    choose,
    draw,
    filtered_weights,
    penalise_recent,
)

SIZE = 150


def naive_weights(logits: list[float], config: SamplerConfig) -> list[float]:
    """One row, written as the papers describe the filters: rank, cut, renormalise."""
    scaled = [logit / config.temperature for logit in logits]
    best = max(scaled)
    weights = [math.exp(value - best) for value in scaled]

    def normalised(values: list[float]) -> list[float]:
        return [value / sum(values) for value in values]

    weights = normalised(weights)
    if config.top_k and config.top_k < len(weights):
        least = sorted(weights, reverse=True)[config.top_k - 1]
        weights = normalised([weight if weight >= least else 0.0 for weight in weights])
    if config.top_p < 1.0:
        reached, least = 0.0, 0.0
        for weight in sorted(weights, reverse=True):
            reached, least = reached + weight, weight
            if reached >= config.top_p:
                break
        weights = normalised([weight if weight >= least else 0.0 for weight in weights])
    least = config.min_p * max(weights)
    return normalised([weight if weight >= least else 0.0 for weight in weights])


@pytest.mark.parametrize("spread", [0.5, 3.0])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.7},
        {"temperature": 2.0, "top_k": 5},
        {"top_k": 1},
        {"top_k": SIZE + 7},
        {"top_p": 0.3},
        {"top_p": 0.9},
        {"top_p": 0.9999},
        {"min_p": 0.05},
        {"min_p": 1.0},
        {"temperature": 0.9, "top_k": 40, "top_p": 0.8, "min_p": 0.1},
    ],
)
def test_filters_equal_the_naive_reference(settings: dict[str, float], spread: float) -> None:
    config = SamplerConfig(**settings)  # type: ignore[arg-type]
    logits = torch.randn(16, SIZE, generator=torch.Generator().manual_seed(3)) * spread
    logits[:, ::7] = NOTHING
    weights = filtered_weights(logits, config)
    weights = weights / weights.sum(-1, keepdim=True)
    expected = torch.tensor([naive_weights(row.tolist(), config) for row in logits])
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=1e-4)
    assert torch.equal(weights > 0, expected > 0)


def test_tied_tokens_live_and_die_together() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]])
    for config in (SamplerConfig(top_k=2), SamplerConfig(top_p=0.3), SamplerConfig(min_p=1.0)):
        assert (filtered_weights(logits, config) > 0).tolist() == [[False, True, True, True, False]]


def test_the_most_likely_token_always_stays() -> None:
    logits = torch.randn(8, SIZE)
    config = SamplerConfig(temperature=5.0, top_k=1, top_p=1e-6, min_p=1.0)
    assert torch.equal(filtered_weights(logits, config).argmax(-1), logits.argmax(-1))


def test_a_forbidden_token_is_never_drawn() -> None:
    logits = torch.zeros(2, 9)
    logits[:, [0, 3, 4, 8]] = NOTHING
    weights = filtered_weights(logits, SamplerConfig(top_p=0.99)).expand(2, -1)
    for number in (0.0, 0.2, 0.5, 0.999, 1 - 2**-24):
        assert not set(draw(weights, torch.full((2,), number)).tolist()) & {0, 3, 4, 8}


def test_the_largest_number_below_one_never_runs_past_the_last_token() -> None:
    weights = torch.rand(4096, 7, generator=torch.Generator().manual_seed(2))
    weights[:, 5:] = 0.0
    assert int(draw(weights, torch.full((4096,), 1 - 2**-24)).max()) == 4


def test_a_row_where_nothing_may_be_drawn_gives_no_token() -> None:
    logits = torch.stack([torch.zeros(6), torch.full((6,), NOTHING), torch.full((6,), float("nan"))])
    uniform = torch.full((3,), 0.5)
    for config in (SamplerConfig(), SamplerConfig(top_k=2, top_p=0.5, min_p=0.1)):
        assert draw(filtered_weights(logits, config), uniform)[1:].tolist() == [NO_TOKEN, NO_TOKEN]
    assert choose(logits).tolist() == [0, NO_TOKEN, NO_TOKEN]


def test_a_tiny_temperature_is_greedy_and_does_not_overflow() -> None:
    logits = torch.randn(4, SIZE) * 50
    weights = filtered_weights(logits, SamplerConfig(temperature=1e-30))
    assert torch.equal(draw(weights, torch.full((4,), 0.7)), choose(logits))


def test_temperature_zero_is_greedy() -> None:
    assert SamplerConfig(temperature=0.0).is_greedy
    assert SamplerConfig(greedy=True).is_greedy
    assert not SamplerConfig(temperature=0.1).is_greedy


def test_greedy_takes_the_first_of_equals() -> None:
    assert choose(torch.tensor([[1.0, 5.0, 5.0], [5.0, 1.0, 5.0]])).tolist() == [1, 0]


def test_draws_follow_the_distribution() -> None:
    weights = torch.tensor([0.1, 0.0, 0.6, 0.3])
    numbers = torch.rand(20_000, generator=torch.Generator().manual_seed(1))
    tokens = draw(weights.expand(20_000, -1), numbers)
    shares = np.bincount(tokens.numpy(), minlength=4) / 20_000
    np.testing.assert_allclose(shares, weights.numpy(), atol=0.015)


def test_a_draw_does_not_depend_on_the_batch() -> None:
    weights = torch.rand(64, SIZE)
    uniform = torch.rand(64)
    together = draw(weights, uniform)
    alone = torch.cat([draw(weights[i : i + 1], uniform[i : i + 1]) for i in range(64)])
    assert torch.equal(together, alone)


def test_streams_of_a_sample_do_not_depend_on_the_batch_nor_on_who_leaves_it() -> None:
    steps = 2 * UniformStreams.BLOCK + 10
    alone = UniformStreams([7])
    expected = torch.cat([alone.next() for _ in range(steps)])
    together = UniformStreams([5, 6, 7, 8])
    got = [together.next()[2] for _ in range(100)]
    together.select([2, 3])
    got += [together.next()[0] for _ in range(steps - 100)]
    assert torch.equal(torch.stack(got), expected)


def test_a_seed_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="seed=-1 is out of range"):
        UniformStreams([-1])


def test_the_penalty_divides_the_odds() -> None:
    logits = torch.tensor([[0.0, 0.0, 1.0]])
    recent = torch.tensor([[True, False, False]])
    before, after = logits.softmax(-1)[0, 0], penalise_recent(logits, recent, 2.0).softmax(-1)[0, 0]
    assert math.isclose(after / (1 - after), before / (1 - before) / 2, rel_tol=1e-5)
    assert torch.equal(penalise_recent(logits, recent, 1.0), logits)


def test_recent_pitches_are_those_of_the_last_notes_of_the_same_track() -> None:
    recent = RecentPitches(batch_size=2, tracks=3, vocab_size=20, window=2, device="cpu")
    note = torch.tensor([True, True])
    for first, second in ((10, 11), (12, 13), (14, 15)):
        recent.add(torch.tensor([0, 1]), torch.tensor([first, second]), note)
    recent.add(torch.tensor([0, 1]), torch.tensor([5, 5]), torch.tensor([False, False]))
    assert [row.nonzero().flatten().tolist() for row in recent.mask(torch.tensor([0, 1]))] == [[12, 14], [13, 15]]
    assert not recent.mask(torch.tensor([1, 0])).any()
    recent.select(torch.tensor([1]))
    assert recent.mask(torch.tensor([1])).nonzero()[:, 1].tolist() == [13, 15]
    recent.select(torch.tensor([0, 0, 0]))
    assert recent.mask(torch.tensor([1, 1, 0])).sum(-1).tolist() == [2, 2, 0]
