"""Keys that were typed and do nothing with the parts that the model has: told in one line, and training goes on, since
a sweep over models shares its settings. Single keys are looked at, not groups (``loss=high_rate``) nor whole dicts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.models.config import ModelConfig
    from aurl.training.loss_config import LossConfig

log = get_logger("cli.idle_keys")

OF_EVERY_MODEL = frozenset({"token_weights", "key_weight", "density_weight", "range_weight", "balance"})
"""Keys of the loss, among those of adversarial_config.py, that need no discriminator."""


def idle_keys(cfg: DictConfig, typed: Collection[str]) -> Iterator[tuple[str, str]]:
    """Keys among those typed that do nothing, each with the reason and what would make it count.

    Args:
        cfg: the composed ``train`` config.
        typed: names of keys as typed, ``loss.critic_sees``.
    """
    from aurl.cli.conf import to_config

    told: set[str] = set()
    for there, why, keys in _needs(to_config(cfg.model), to_config(cfg.loss)):
        for key in typed:
            if not there and key in keys and key not in told:
                told.add(key)
                yield key, why


def _needs(model: ModelConfig, loss: LossConfig) -> list[tuple[object, str, set[str]]]:
    """Whether each part is there, what is said where it is not, and the keys that need it."""
    from aurl.models.config import Attention, Prior
    from aurl.training.loss_config import Annealing

    mode = model.mode.value
    of_critic, of_latents = _keys_of_critic(), _keys_of_latents()
    of_names = {"loss.attribute_slope", "loss.attribute_exclusion"}
    return [
        (model.has_discriminator, f"model={mode} has no discriminator; model=vae_gan has one", of_critic),
        (
            loss.adversarial_weight,
            "loss.adversarial_weight=0 switches the discriminator off",
            of_critic - {"loss.adversarial_weight"},
        ),
        (loss.instance_noise, "loss.instance_noise=0 adds no noise", {"loss.instance_noise_steps"}),
        (model.has_latent, f"model={mode} has no latents; model=vae and vae_gan have", of_latents),
        (
            model.attributes,
            "no dimension is named; model.attributes names them",
            of_names | {"loss.attribute_weight"},
        ),
        (loss.attribute_weight, "loss.attribute_weight=0 leaves the order of named dimensions alone", of_names),
        (
            loss.kl_annealing is not Annealing.constant,
            "loss.kl_annealing=constant has the full weight from the first step; linear and cyclic rise",
            {"loss.kl_zero_steps", "loss.kl_rise_steps"},
        ),
        (
            model.prior is Prior.autoregressive,
            f"model.prior={model.prior.value} has no layers; autoregressive has",
            {"model.prior_layers"},
        ),
        (
            model.prior is Prior.mixture,
            f"model.prior={model.prior.value} has no components; mixture has",
            {"model.prior_components"},
        ),
        (model.attention is Attention.local, "model.attention=full sees everything", {"model.window"}),
        (model.hearing, "model.hearing=false hears nothing; set model.hearing=true", {"model.hearing_dropout"}),
    ]


def _keys_of_critic() -> set[str]:
    from aurl.training.adversarial_config import AdversarialConfig

    own = {f"loss.{field.name}" for field in fields(AdversarialConfig) if field.name not in OF_EVERY_MODEL}
    return own | {"optim.critic_lr", "model.critic_dim", "model.critic_layers", "model.spectral_norm"}


def _keys_of_latents() -> set[str]:
    from aurl.training.adversarial_config import AdversarialConfig
    from aurl.training.loss_config import LossConfig

    inherited = {field.name for field in fields(AdversarialConfig)}
    own = {f"loss.{field.name}" for field in fields(LossConfig) if field.name not in inherited}
    of_prior = {f"model.prior{end}" for end in ("", "_layers", "_conditions", "_components")}
    return (
        own | of_prior | {f"model.{name}" for name in ("piece_latent_dim", "encoder_layers", "attributes", "hierarchy")}
    )


def warn_of_idle_keys(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """One warning for each of them.

    Args:
        cfg: the composed ``train`` config.
        overrides: settings as typed, ``loss.critic_sees=[latents]``.
    """
    typed = [override.lstrip("+").partition("=")[0] for override in overrides]
    for key, why in idle_keys(cfg, typed):
        log.warning("%s does nothing here: %s", key, why)
