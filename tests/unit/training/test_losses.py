"""Terms of the loss: the formula adds up to the bound, free bits cost nothing, order is what attributes ask for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from aurl.data.batching import IGNORED
from aurl.models.bars import bars_of
from aurl.models.config import Mode, ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.training.loss_config import LossConfig
from aurl.training.losses import (
    attribute_loss,
    attribute_losses,
    bound_of_tokens,
    divergence,
    exclusion_loss,
    prior_loss,
    reconstruction,
)
from aurl.training.schedules import cyclic_rise, linear_rise

VOCAB, LENGTHS = 30, [20, 16]


@pytest.fixture
def passed():
    """A small model, its output for two segments, targets of which some are context only."""
    torch.manual_seed(0)
    config = ModelConfig(
        mode=Mode.vae, hidden_dim=32, layers=1, heads=4, dropout=0.0, context=64, latent_dim=5, piece_latent_dim=3
    )
    model = MusicTransformerVAEGAN(config, VOCAB)
    ids = torch.randint(VOCAB, (36,))
    index = torch.cat([torch.arange(length) for length in LENGTHS])
    targets = torch.randint(VOCAB, (36,))
    targets[:8] = IGNORED
    return model, model(ids, MusicalTime(index, index / 4.0, index // 4), LENGTHS), targets


def test_without_free_bits_and_with_full_weight_the_loss_is_the_bound_per_token(passed) -> None:
    _, output, targets = passed
    scored = targets != IGNORED
    total = reconstruction(output.logits, targets) + divergence(output.latents, scored, 0.0, 0.0)
    torch.testing.assert_close(total, bound_of_tokens(output, targets).sum() / scored.sum())


def test_dimensions_below_their_free_bits_are_charged_them_and_not_pulled_on(passed) -> None:
    _, output, targets = passed
    scored = targets != IGNORED
    free = divergence(output.latents, scored, 1e3, 1e3)
    bars, pieces = 7, 2  # the first two bars of the first segment are context
    assert free.item() == pytest.approx((bars * 5 * 1e3 + pieces * 3 * 1e3) / 28)
    (gradient,) = torch.autograd.grad(free, output.latents.bar_divergence, retain_graph=True)
    assert not gradient.any()
    (gradient,) = torch.autograd.grad(divergence(output.latents, scored, 0.0, 0.0), output.latents.bar_divergence)
    assert gradient[2:].all() and not gradient[:2].any()


def test_the_prior_loss_moves_the_prior_alone(passed) -> None:
    model, output, targets = passed
    prior_loss(model.latent, output.latents, targets != IGNORED).backward()
    moved = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert moved and all(name.startswith("latent.prior.") for name in moved)


def test_attribute_loss_is_low_in_order_and_high_in_reverse_and_leaves_out_what_is_not_known() -> None:
    attributes = torch.tensor([[1.0], [2.0], [3.0], [float("nan")]])
    latents = torch.tensor([[-5.0], [0.0], [5.0], [100.0]])
    assert float(attribute_loss(latents, attributes, 3.0)) < 1e-3
    assert float(attribute_loss(-latents, attributes, 3.0)) == pytest.approx(2.0, abs=1e-3)
    assert float(attribute_loss(latents, torch.full((4, 1), float("nan")), 3.0)) == 0.0
    alike = attribute_loss(torch.zeros(3, 1), torch.ones(3, 1), 3.0)
    assert float(alike) == 0.0, "equal attributes want equal latents"


def test_named_dimensions_are_compared_with_their_own_attributes_and_the_others_with_all() -> None:
    bar = torch.arange(6)
    named = torch.tensor([[0.0, 5.0], [1.0, 4.0], [2.0, 3.0], [3.0, 2.0], [4.0, 1.0], [5.0, 0.0]])
    means = torch.cat([named, torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])[:, None]], 1)
    posterior = SimpleNamespace(bar=SimpleNamespace(mean=means))
    latents = SimpleNamespace(bars=bars_of(bar, [6]), bar=means, posterior=posterior)
    rows = torch.zeros(6, 8)
    rows[:, 2], rows[:, 0] = torch.arange(6), -torch.arange(6)
    batch = SimpleNamespace(features={"bar_attributes": rows})
    order, exclusion = attribute_losses(latents, batch, ["mean_pitch", "density"], 9.0)
    assert order.item() < 1e-3
    correlation = torch.corrcoef(torch.stack([means[:, 2], rows[:, 2]]))[0, 1]
    assert exclusion.item() == pytest.approx(correlation.item() ** 2, rel=1e-4)
    other, _ = attribute_losses(latents, batch, ["density", "mean_pitch"], 9.0)
    assert other.item() > 1.5


def test_unnamed_dimensions_that_are_attributes_are_charged_one_each() -> None:
    torch.manual_seed(0)
    attributes = torch.randn(400, 2)
    free = torch.randn(400, 3)
    assert exclusion_loss(torch.cat([free, attributes * 7], 1), attributes).item() == pytest.approx(1.0, abs=0.1)
    assert exclusion_loss(free, attributes).item() < 0.05
    attributes[::2, 1] = float("nan")
    assert exclusion_loss(free, attributes).isfinite()
    assert exclusion_loss(free, torch.ones(400, 2)).item() == 0.0, "what never varies cannot be told"
    assert exclusion_loss(free[:, :0], attributes).item() == 0.0, "where every dimension has a name"


def test_schedules_of_the_kl_weight() -> None:
    assert [linear_rise(step, 10, 20) for step in (0, 10, 20, 30, 99)] == [0, 0, 0.5, 1, 1]
    assert [cyclic_rise(step, 10, 20) for step in (0, 10, 15, 20, 29, 30, 35)] == [0, 0, 0.5, 1, 1, 0, 0.5]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("kl_weight", -0.1, "0 to 100"),
        ("free_bits", 11.0, "0 to 10"),
        ("piece_free_bits", -1.0, "0 to 10"),
        ("attribute_weight", 101.0, "0 to 100"),
        ("attribute_exclusion", -1.0, "0 to 100"),
        ("attribute_slope", 0.0, "above 0"),
        ("kl_zero_steps", -1, "0 or more"),
        ("kl_rise_steps", 0, "1 or more"),
    ],
)
def test_weights_out_of_range_are_refused(key: str, value: float, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"loss.{key}={value} is out of range; allowed: {allowed}"):
        LossConfig(**{key: value})
