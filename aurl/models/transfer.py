"""Beginning with the weights of another model: modes share the names of weights, so that a transformer starts a VAE,
and a VAE one with a discriminator.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from aurl.models.checkpoint import MODEL_PREFIX, model_state
from aurl.models.music_transformer_vae_gan import CRITIC_PREFIX, MusicTransformerVAEGAN
from aurl.utils.errors import AurlError

log = logging.getLogger("aurl.models.transfer")


def take_weights(model: MusicTransformerVAEGAN, content: dict[str, Any], path: Path) -> None:
    """Copy into a model every weight of a checkpoint that it has a place for, averaged ones where there are any; parts
    that begin anew and parts that are left behind are named in one log line.

    Args:
        model: changed in place.
        content: of the checkpoint, as ``aurl.models.checkpoint.read_checkpoint`` gives it.
        path: where it was read from, for messages.

    Raises:
        AurlError: a weight has another size, or none has a place.

    Example:
        >>> take_weights(vae, read_checkpoint(path), path)  # of a transformer
        [INFO] 26 weights from transformer.ckpt; begin anew: latent
    """
    theirs = {**_critic_state(content), **model_state(content)}
    ours = model.state_dict()
    shared = {name: tensor for name, tensor in theirs.items() if name in ours}
    if not shared:
        raise AurlError(f"init_from={path} has no weight of this model; choose another checkpoint")
    for name, tensor in shared.items():
        if tensor.shape != ours[name].shape:
            raise AurlError(
                f"init_from={path} has another size: {name} is {_shown(tensor)} there and {_shown(ours[name])} here; "
                "give the model keys that it was trained with"
            )
    model.load_state_dict(shared, strict=False)
    new = _parts((name for name in ours if name not in theirs), shared)
    left = _parts((name for name in theirs if name not in ours), shared)
    words = [f"{len(shared)} weights from {path}"]
    words += [f"begin anew: {', '.join(new)}"] if new else []
    words += [f"left behind: {', '.join(left)}"] if left else []
    log.info("; ".join(words))


def _critic_state(content: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of the discriminator, which have no average."""
    prefix = MODEL_PREFIX + CRITIC_PREFIX
    state: dict[str, Tensor] = content["state_dict"]
    return {name.removeprefix(MODEL_PREFIX): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _parts(names: Iterable[str], shared: Iterable[str]) -> list[str]:
    """The largest parts of the model that names of weights belong to, ``latent`` or ``decoder.ear``; ``part of latent``
    where other weights of it are shared.
    """
    taken = {_part(name) for name in shared}
    return [f"part of {part}" if part in taken else part for part in sorted({_part(name) for name in names})]


def _part(name: str) -> str:
    return ".".join(name.split(".")[: 2 if name.startswith("decoder.") else 1])


def _shown(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
