"""Beginning with the weights of another model: modes share the names of weights, so that a transformer starts a VAE,
and a VAE one with a discriminator.
"""

from __future__ import annotations

import logging
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
    new = _parts(name for name in ours if name not in theirs)
    left = _parts(name for name in theirs if name not in ours)
    words = [f"{len(shared)} weights from {path}"]
    words += [f"begin anew: {', '.join(new)}"] if new else []
    words += [f"left behind: {', '.join(left)}"] if left else []
    log.info("; ".join(words))


def _critic_state(content: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of the discriminator, which have no average."""
    prefix = MODEL_PREFIX + CRITIC_PREFIX
    state: dict[str, Tensor] = content["state_dict"]
    return {name.removeprefix(MODEL_PREFIX): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _parts(names: Any) -> list[str]:
    """The largest parts of the model that names of weights belong to: ``latent``, ``decoder.ear``."""
    parts = {name.split(".")[0] if not name.startswith("decoder.") else ".".join(name.split(".")[:2]) for name in names}
    return sorted(parts)


def _shown(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
