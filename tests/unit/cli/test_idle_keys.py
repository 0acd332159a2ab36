"""Keys that were typed and do nothing are told, with what would make them count."""

from __future__ import annotations

import logging

import pytest

from aurl.cli.conf import compose
from aurl.cli.idle_keys import idle_keys, warn_of_idle_keys
from aurl.utils.logging import get_logger

MODELS = ("transformer", "vae", "vae_gan")


def told(*overrides: str) -> dict[str, str]:
    """Idle keys of these overrides, with their reasons."""
    keys = [override.partition("=")[0] for override in overrides]
    return dict(idle_keys(compose("train", list(overrides)), keys))


@pytest.mark.parametrize(
    ("setting", "idle_with"),
    [
        ("loss.critic_sees=[latents]", {"transformer", "vae"}),
        ("loss.rollouts=4", {"transformer", "vae"}),
        ("optim.critic_lr=1e-4", {"transformer", "vae"}),
        ("model.critic_dim=64", {"transformer", "vae"}),
        ("loss.kl_weight=0.5", {"transformer"}),
        ("model.prior_layers=2", {"transformer"}),
        ("loss.attribute_slope=2", {"transformer"}),
        ("loss.key_weight=1", set()),
        ("loss.token_weights.pitch=2", set()),
        ("optim.lr=1e-3", set()),
        ("model.layers=2", set()),
    ],
)
def test_a_key_is_idle_with_the_models_that_lack_its_part(setting: str, idle_with: set[str]) -> None:
    assert {model for model in MODELS if told(f"model={model}", setting)} == idle_with


@pytest.mark.parametrize(
    ("idle", "settings"),
    [
        ("loss.attribute_weight", ["model=vae", "model.attributes=[]", "loss.attribute_weight=1"]),
        ("loss.kl_rise_steps", ["model=vae", "loss.kl_annealing=constant", "loss.kl_rise_steps=9"]),
        ("loss.attribute_exclusion", ["model=vae", "loss.attribute_weight=0", "loss.attribute_exclusion=0.1"]),
        ("loss.rollouts", ["model=vae_gan", "loss.adversarial_weight=0", "loss.rollouts=4"]),
        ("loss.instance_noise_steps", ["model=vae_gan", "loss.instance_noise_steps=9"]),
        (
            "model.prior_layers",
            ["model=vae", "model.prior=mixture", "model.prior_layers=2", "model.prior_components=4"],
        ),
        ("model.prior_components", ["model=vae", "model.prior_layers=2", "model.prior_components=4"]),
        ("model.window", ["model=transformer", "model.window=64"]),
        ("model.hearing_dropout", ["model=transformer", "model.hearing=false", "model.hearing_dropout=0.5"]),
    ],
)
def test_a_key_is_idle_where_another_key_has_switched_its_part_off(idle: str, settings: list[str]) -> None:
    assert list(told(*settings)) == [idle]


def test_with_what_they_need_the_same_keys_are_not_told() -> None:
    assert not told("model=vae", "loss.attribute_weight=1", "loss.kl_annealing=cyclic", "loss.kl_rise_steps=9")
    assert not told("model=transformer", "model.attention=local", "model.window=64", "model.hearing=true")
    assert not told("model=transformer", "model.hearing=true", "model.hearing_dropout=0.5")
    assert not told("model=vae_gan", "loss.rollouts=4", "loss.instance_noise=0.1", "loss.instance_noise_steps=9")


def test_a_line_names_the_key_and_what_would_make_it_count(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_logger("aurl"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        warn_of_idle_keys(compose("train", ["model=vae", "loss.rollouts=4"]), ["model=vae", "loss.rollouts=4"])
    assert "loss.rollouts does nothing here: model=vae has no discriminator; model=vae_gan has one" in caplog.text
