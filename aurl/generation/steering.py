"""Latents of the bars that are about to be written, for models that have them: given, or drawn from the prior.

Axes: B samples, G bars of the prompt, T bars to come, Z latent of a bar, P latent of a piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from aurl.data.codec import Codec
from aurl.models.conditions import UNKNOWN
from aurl.models.latent import Encoded, LatentSpace
from aurl.models.positions import MusicalTime
from aurl.utils.errors import AurlError

OPEN_END_BARS = 256
"""Bars that latents are drawn for where the model ends the piece; what comes after follows the last of them."""
LATENT_STREAM = 0x6C61_7465_6E74
"""Keeps the random numbers of a sample's latents apart from those that draw its tokens."""
LARGEST_SEED = 2**63


def encode_ids(space: LatentSpace, ids: np.ndarray, codec: Codec, device: torch.device | str) -> Encoded:
    """Posteriors of the bars of one piece.

    Args:
        space: of a trained model.
        ids: tokens of the piece as the model reads them (``Codec.merge``) ``(N,)``, with or without BOS.
        codec: the model's.
        device: where the model is.
    """
    bar, beat = codec.model_vocabulary.musical_time(ids)
    time = MusicalTime(torch.arange(len(ids)), torch.from_numpy(beat), torch.from_numpy(bar).long())
    tokens = torch.from_numpy(np.asarray(ids, np.int64)).to(device)
    with torch.inference_mode():
        return space.encode(tokens, MusicalTime(*(part.to(device) for part in time)), [len(ids)])


def given_latents(latents: np.ndarray, samples: int, width: int) -> Tensor:
    """Latents that a request brings along, for each sample ``(B, bars, Z)``.

    Raises:
        AurlError: another number of dimensions or samples.
    """
    values = torch.from_numpy(np.asarray(latents, np.float32))
    if values.ndim == 2:
        values = values.expand(samples, -1, -1)
    if values.ndim != 3 or values.shape[0] != samples or values.shape[2] != width or not values.shape[1]:
        raise AurlError(
            f"latents have the shape {tuple(np.shape(latents))}; allowed: (bars, {width}) or ({samples}, bars, {width})"
        )
    return values


def drawn_latents(
    space: LatentSpace,
    prompt: Encoded | None,
    bars: int | None,
    seeds: Sequence[int],
    temperature: float = 1.0,
    conditions: Mapping[str, np.ndarray] | None = None,
) -> Tensor:
    """Latents from the prior, those of the prompt's bars in front.

    Args:
        space: of a trained model.
        prompt: posteriors of the prompt's bars; None without a prompt.
        bars: bars to come; None draws OPEN_END_BARS.
        seeds: one for each sample; each sample's draws follow from its own alone.
        temperature: multiplies the deviations from what is expected; 0 takes the expected.
        conditions: what is known of the bars to come, name -> ``(bars, C)``; repeated where there are fewer bars.

    Returns:
        ``(B, G + T, Z)``; without hierarchy ``(B, 1, Z)``, which all bars follow.

    Raises:
        AurlError: the checkpoint's prior was never told of such a condition.
    """
    config, device = space.config, space.to_layers.weight.device
    coming = OPEN_END_BARS if bars is None else bars
    if not config.hierarchy:  # one latent for everything: that of the prompt, or one that is drawn
        if prompt is not None:
            return prompt.bar.mean.expand(len(seeds), -1, -1)
        coming = 1
    size = config.piece_latent_dim + coming * config.latent_dim
    noise = torch.stack([_normal(seed, size) for seed in seeds]).to(device) * temperature  # (B, P + T Z)
    piece, noise = noise[:, : config.piece_latent_dim], noise[:, config.piece_latent_dim :]
    given = None
    if prompt is not None:
        piece = prompt.piece.mean.expand(len(seeds), -1)
        given = prompt.bar.mean.expand(len(seeds), -1, -1)
    before = 0 if given is None else given.shape[1]
    known = {
        name: _repeated(values, before, coming).expand(len(seeds), -1, -1).to(device)
        for name, values in (conditions or {}).items()
    }
    unheard = [name for name in known if name not in config.prior_conditions]
    if unheard:
        raise AurlError(
            f"{unheard[0]} cannot be asked for: the checkpoint was not trained with it; "
            f"train with model=vae model.prior_conditions=[{', '.join(unheard)}]"
        )
    with torch.inference_mode():
        return space.sample(noise.unflatten(-1, (coming, -1)), piece, given, known or None)


def _repeated(values: np.ndarray, before: int, coming: int) -> Tensor:
    """Conditions of all bars ``(before + coming, C)``: unknown before, then the given ones again and again."""
    rows = np.asarray(values, np.int64)
    after = rows[np.arange(coming) % len(rows)]
    return torch.from_numpy(np.concatenate([np.full((before, rows.shape[1]), UNKNOWN), after]))


def _normal(seed: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed ^ LATENT_STREAM) % LARGEST_SEED)
    return torch.randn(size, generator=generator)
