"""Reading and writing checkpoints: weights, tokenizer and config in one file that
``torch.load(weights_only=True)`` opens.

A checkpoint is a dict of tensors and JSON types with the key ``aurl`` (format version, model
config, tokenizer, resolved config, progress) and ``state_dict`` (names start with
``model.``; averaged weights, where there are any, under ``averaged``).
"""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aurl.models.config import Attention, Mode, ModelConfig, Positions, Prior
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import CRITIC_PREFIX, MusicTransformerVAEGAN
from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write

FORMAT_VERSION = 1
MODEL_PREFIX = "model."


@dataclass
class Bundle:
    """Everything needed to use a trained model, wherever it was trained."""

    model: MusicTransformerVAEGAN
    """In eval mode, without discriminator, with the averaged weights where training kept them."""
    tokenizer: dict[str, Any]
    """The tokenizer's own JSON description."""
    config: dict[str, Any]
    """The resolved config of the run, JSON types."""
    progress: dict[str, Any]
    """Epoch, batches, samples, metrics so far."""
    path: Path


def model_config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """JSON form of a model config."""
    return {key: value.value if isinstance(value, Enum) else value for key, value in asdict(config).items()}


def model_config_from_dict(values: dict[str, Any]) -> ModelConfig:
    """Inverse of :func:`model_config_to_dict`."""
    values = dict(values)
    values["mode"] = Mode(values["mode"])
    values["positions"] = Positions(values["positions"])
    values["attention"] = Attention(values.get("attention", Attention.full))  # older checkpoints know only full
    if "prior" in values:  # checkpoints from before there were latents have none
        values["prior"] = Prior(values["prior"])
    return ModelConfig(**values)


def describe(
    model: MusicTransformerVAEGAN, tokenizer: dict[str, Any], config: dict[str, Any], progress: dict[str, Any]
) -> dict[str, Any]:
    """The ``aurl`` part of a checkpoint."""
    return {
        "format": FORMAT_VERSION,
        "model": model_config_to_dict(model.config),
        "vocab_size": model.vocab_size,
        "tokenizer": tokenizer,
        "config": config,
        "progress": progress,
    }


def save_bundle(
    path: Path,
    model: MusicTransformerVAEGAN,
    tokenizer: dict[str, Any],
    config: dict[str, Any],
    progress: dict[str, Any],
) -> None:
    """Write a checkpoint for use (no optimiser state), atomically.

    Raises:
        AurlError: the file cannot be written.
    """
    state = {MODEL_PREFIX + name: tensor for name, tensor in model.state_dict().items()}
    content = {"aurl": describe(model, tokenizer, config, progress), "state_dict": state}
    atomic_write(path, lambda file: torch.save(content, file))


def read_checkpoint(path: Path, key: str = "ckpt") -> dict[str, Any]:
    """The raw content of a checkpoint, read without executing anything in it.

    Args:
        path: the file.
        key: what it was given for, for messages.

    Raises:
        AurlError: the file is missing, damaged, or not a checkpoint of aurl.
    """
    path = Path(path)
    if not path.is_file():
        raise AurlError(f"{key}={path} does not exist; give a .ckpt file, a run's folder, last or best")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        # PyTorch's own reasons are long, and advise to run what a file contains.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise AurlError(f"{key}={path} is damaged or not a checkpoint ({reason}); choose another file") from error
    if not isinstance(content, dict) or "aurl" not in content or "state_dict" not in content:
        raise AurlError(f"{key}={path} is not a checkpoint of aurl; train one with aurl-train")
    if content["aurl"].get("format") != FORMAT_VERSION:
        raise AurlError(
            f"{key}={path} has format {content['aurl'].get('format')}, this version reads {FORMAT_VERSION}; "
            "use the aurl version that wrote it"
        )
    return content


def load_bundle(path: Path, device: str = "cpu") -> Bundle:
    """Load a model for use.

    Args:
        path: a checkpoint written by aurl.
        device: where the weights go, for instance ``cpu`` or ``cuda``.

    Raises:
        AurlError: the file is missing, damaged, foreign, or its weights do not fit its config.
    """
    content = read_checkpoint(path)
    about = content["aurl"]
    try:
        vocab_size = about["vocab_size"]
        config = model_config_from_dict(about["model"])
        model = MusicTransformerVAEGAN(config, vocab_size, TokenMeaning.unknown(vocab_size)).without_discriminator()
        model.load_state_dict(model_state(content))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        lines = str(error).splitlines()
        reason = lines[min(1, len(lines) - 1)].strip()  # of weights, PyTorch names the first after a heading
        raise AurlError(
            f"ckpt={path} does not fit this version of the model ({reason}); "
            "use the aurl version that wrote it, or train again"
        ) from error
    return Bundle(
        model.eval().requires_grad_(False).to(device),
        about["tokenizer"],
        about["config"],
        about["progress"],
        Path(path),
    )


def model_state(content: dict[str, Any]) -> dict[str, Tensor]:
    """Weights for use: averaged where training kept them, without the discriminator's."""
    state = content.get("averaged") or content["state_dict"]
    named = {name.removeprefix(MODEL_PREFIX): tensor for name, tensor in state.items() if name.startswith(MODEL_PREFIX)}
    return {name: tensor for name, tensor in named.items() if not name.startswith(CRITIC_PREFIX)}
