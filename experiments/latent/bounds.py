"""(6) What being a VAE costs in likelihood: the evidence lower bound, and two that are nearer to the likelihood.

On the first window of each piece (whole bars up to the context), nats per note:

- *ELBO*: one draw (Kingma and Welling 2014), mean over the draws. Its parts are the *distortion*, what tokens cost once
  latents are known, and the *rate*, what latents cost (Alemi et al. 2018, arXiv:1711.00464).
- *importance-weighted*: ``log mean over K draws of p(x, z) / q(z | x)`` (Burda et al. 2016), the draws being of all
  bars at once.
- *filtered*: the same with K particles that are drawn again by their weights at bar lines (FIVO: Maddison et al. 2017;
  Naesseth et al. 2018; Le et al. 2018), which stays near the likelihood over many bars. All are lower bounds of the
  likelihood on average, so upper bounds of nats.

Tokens of EOS are left out where the window ends before it, for all arms alike.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from aurl.evaluation.importance_scoring import draw_densities
from aurl.models.bars import bars_of
from aurl.models.gaussian import Gaussian, standard_like
from aurl.models.latent import Encoded
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from experiments.latent.setting import Row, Setting, at_most

RESAMPLE_SHARE = 0.5
"""Particles are drawn again when fewer than this share of them count (effective sample size)."""
DISTORTION, RATE = "distortion, nats per note", "rate, nats per note"
"""Rows of the two parts of the ELBO."""
PLAIN = "plain transformer, nats per note"


class Excerpt(NamedTuple):
    """Inputs and targets of a window."""

    ids: torch.Tensor
    """(N + 1,) BOS first."""
    time: MusicalTime
    """(N,) of the inputs."""
    notes: int


def excerpts(setting: Setting) -> list[Excerpt]:
    """The first window of each piece: whole bars, at most the context."""
    store, found = setting.store, []
    for number in setting.numbers:
        ids, bars, beats = (np.asarray(part(number)) for part in (store.ids, store.bars, store.beats))
        stop = len(ids) - 1
        if stop > setting.context:
            stop = int(np.searchsorted(bars, bars[setting.context]))  # inputs are whole bars
            if stop < 2:
                continue
        ids = ids[: stop + 1].astype(np.int64)
        notes = setting.tools.codec.vocabulary.count_notes(setting.tools.codec.expand(ids))
        time = MusicalTime(
            torch.arange(stop),
            torch.from_numpy(beats[:stop].astype(np.float32)),
            torch.from_numpy(bars[:stop].astype(np.int64)),
        )
        found.append(Excerpt(torch.from_numpy(ids), time, notes))
    return found


def token_nats(model: MusicTransformerVAEGAN, excerpt: Excerpt, latents: torch.Tensor | None) -> float:
    """Nats of the targets."""
    more = {} if latents is None else {"bar_latents": latents}
    logits = model(excerpt.ids[:-1], excerpt.time, [len(excerpt.ids) - 1], **more).logits.float()
    return float(torch.nn.functional.cross_entropy(logits, excerpt.ids[1:], reduction="sum"))


def log_weights(
    model: MusicTransformerVAEGAN, excerpt: Excerpt, draws: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of draws of all latents: ``log p(x | z)`` (K,) and ``log p(z) - log q(z | x)`` (K,)."""
    count = len(excerpt.ids) - 1
    everything = torch.ones(count, dtype=torch.bool)
    drawn = draw_densities(
        model, excerpt.ids[:-1], excerpt.ids[1:], excerpt.time, [count], everything, draws, generator
    )
    tokens, latents = zip(*((draw.tokens, draw.prior - draw.posterior) for draw in drawn), strict=True)
    return torch.stack(tokens).squeeze(1), torch.stack(latents).squeeze(1)


def log_mean(weights: torch.Tensor) -> float:
    return float(weights.logsumexp(0)) - math.log(len(weights))


def filtered(model: MusicTransformerVAEGAN, excerpt: Excerpt, particles: int, generator: torch.Generator) -> float:
    """The filtered bound of ``log p(x)``: particles go through the excerpt token by token."""
    space = model.latent
    assert space is not None
    count = len(excerpt.ids) - 1
    encoded: Encoded = space.encode(excerpt.ids[:-1], excerpt.time, [count])
    noise = torch.randn(particles, encoded.piece.mean.shape[1], generator=generator)
    piece = Gaussian(*encoded.piece).at(noise)
    weights = (standard_like(piece).log_density(piece) - Gaussian(*encoded.piece).log_density(piece)).sum(1).double()
    total, first_bar = 0.0, int(excerpt.time.bar[0])
    number = (excerpt.time.bar - first_bar).tolist()
    latents = torch.zeros(particles, 0, space.config.latent_dim)
    cache = model.new_cache(particles, count)
    row = -1
    for place in range(count):
        if place == 0 or number[place] != number[place - 1]:
            share = (weights - weights.logsumexp(0)).exp()
            if 1 / float(share.square().sum()) < RESAMPLE_SHARE * particles:
                total += log_mean(weights)
                chosen = torch.multinomial(share, particles, replacement=True, generator=generator)
                cache.select(chosen)
                latents, piece = latents[chosen], piece[chosen]
                weights = torch.zeros(particles, dtype=torch.float64)
            row += 1
            own = Gaussian(*(part[row].expand(particles, -1) for part in encoded.bar))
            drawn = own.at(torch.randn(own.mean.shape, generator=generator))
            latents = torch.cat((latents, drawn[:, None]), dim=1)
            weights = weights + (expected(space, latents, piece) - own.log_density(drawn).sum(1)).double()
            model.steer(cache, by_number(latents, number[: place + 1]))
        time = MusicalTime(*(part[place].expand(particles, 1) for part in excerpt.time))
        time = time._replace(bar=time.bar - first_bar)
        logits = model.decode(excerpt.ids[place].expand(particles, 1), time, cache)
        weights = weights + logits.float().log_softmax(-1)[:, excerpt.ids[place + 1]].double()
    return total + log_mean(weights)


def expected(space, latents: torch.Tensor, piece: torch.Tensor) -> torch.Tensor:
    """Log density of each particle's last bar under the prior (K,)."""
    particles, bars, _ = latents.shape
    layout = bars_of(torch.arange(bars).repeat(particles), [bars] * particles)
    density = space.prior(latents.flatten(0, 1), piece, layout).log_density(latents.flatten(0, 1))
    return density.view(particles, bars)[:, -1]


def by_number(latents: torch.Tensor, numbers: list[int]) -> torch.Tensor:
    """Latents of bars with tokens (K, bars met, Z) as latents of bars by number."""
    rows = np.maximum(np.searchsorted(np.unique(numbers), np.arange(numbers[-1] + 1), side="right") - 1, 0)
    return latents[:, torch.from_numpy(rows)]


def measure(setting: Setting, draws: int, plain: MusicTransformerVAEGAN | None) -> list[Row]:
    """Nats per note of all arms on the same excerpts."""
    model = setting.tools.model
    every = excerpts(setting)
    notes = sum(excerpt.notes for excerpt in every)
    sums = dict.fromkeys(("distortion", "rate", "weighted", "filtered", "plain"), 0.0)
    with torch.inference_mode():
        for number, excerpt in enumerate(every):
            generator = torch.Generator().manual_seed(setting.seed + number)
            tokens, latents = log_weights(model, excerpt, draws, generator)
            sums["distortion"] -= float(tokens.mean())
            sums["rate"] -= float(latents.mean())
            sums["weighted"] -= log_mean(tokens + latents)
            sums["filtered"] -= filtered(model, excerpt, draws, generator)
            if plain is not None:
                sums["plain"] += token_nats(plain, excerpt, None)
    per_note = {name: value / notes for name, value in sums.items()}
    rows = [
        Row(
            "nats per note, ELBO",
            per_note["distortion"] + per_note["rate"],
            note=f"{len(every)} excerpts, {notes} notes",
        ),
        Row(DISTORTION, per_note["distortion"]),
        Row(RATE, per_note["rate"]),
        Row(f"nats per note, importance-weighted, {draws} draws", per_note["weighted"]),
        Row(f"nats per note, filtered, {draws} particles", per_note["filtered"]),
    ]
    if plain is not None:
        best = min(per_note["weighted"], per_note["filtered"])
        rows.append(Row(PLAIN, per_note["plain"]))
        rows.append(at_most("cost of being a VAE, share of nats per note", best / per_note["plain"] - 1, 0.03))
    return rows
