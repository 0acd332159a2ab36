"""Terms of the training loss as pure functions, and the one formula that adds them up.

For a batch with T scored tokens, M scored bars and S scored segments, in nats a token:

    loss = recon + beta * KL + (1 - beta) * KL' + attribute_weight * A + attribute_exclusion * E

    recon = sum of -log p(token | tokens before it, latents of bars up to its own) / T
    KL    = (M * sum over dimensions of max(free_bits, mean over bars of KL(q(z_bar) || p(z_bar | before, z_piece)))
             + S * sum over dimensions of max(piece_free_bits, mean over segments of KL(q(z_piece) || N(0, 1)))) / T
    KL'   = the bars' part of KL with gradients for the prior alone and without free bits

beta = 1 without free bits is the negative evidence lower bound a token (Kingma and Welling 2014, arXiv:1312.6114); beta
below 1 buys reconstruction (Higgins et al. 2017), follows a schedule (schedules.py), and thanks to KL' the prior
learns what latents are distributed like at full strength whatever beta is. Free bits: Kingma et al. 2016
(arXiv:1606.04934). A orders the first dimensions by what can be heard (:func:`attribute_loss`), E keeps
it out of the others (:func:`exclusion_loss`), so that the decoder has to look where a slider moves.

What else can be asked for (all off by default but the adversarial part of model=vae_gan):

    recon with loss.token_weights = sum of w(token) * -log p(token | ...) / sum of w(token)
    loss + key_weight * key + density_weight * density + range_weight * range        (constraints.py)
    loss.balance=uncertainty: sum of exp(-s_i) L_i + s_i / 2 over the terms recon + beta * KL, that of A and E, and
        the weighted constraints, s_i learned; (1 - beta) * KL' is added as it is       (balancing.py)

Adversarial training (adversary.py) adds gradients, not terms. Let x be windows of real music with the latents z that
the encoder draws for it, and x' what the model writes by itself with latents z' from its prior (or z). The
discriminator c scores token, bar, four bars of music and bar, four bars of latents; it minimises, with its own
optimiser,

    C = mean over scales of E max(0, 1 - c(x, z)) + E max(0, 1 + c(x', z'))              (hinge; others by config)
        + r1_weight / 2 * E |grad c(x, z)|^2 + r2_weight / 2 * E |grad c(x', z')|^2
        + interpolation_weight * E (|grad c(x~, z~)| - 1)^2,  x~ and z~ a random way from real to written: states,
          tokens and latents mixed window by window, over the bars of the real one

and to the gradient g of the loss above comes, every adversarial_every steps,

    min(adversarial_weight, adversarial_share * |g| / |a|) * a,
    a = gradient of  mean over scales of E -c(x', z') + feature_matching_weight * distance of mean features of x and x'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aurl.data.batching import IGNORED, PackedBatch
from aurl.models.conditions import COLUMNS
from aurl.models.latent import Latents, LatentSpace, cost_of_tokens, scored_bars
from aurl.models.music_transformer_vae_gan import ModelOutput
from aurl.music.attributes import ATTRIBUTES
from aurl.utils.errors import AurlError

ATTRIBUTES_FEATURE = "bar_attributes"
"""Name in ``data.features`` of what the first dimensions of latents follow."""
SMALLEST_DEVIATION = 1e-4
"""Deviations below this count as none."""
MOST_COMPARED = 256
"""Bars of a batch that the attribute loss compares with each other."""


class Losses(NamedTuple):
    """Terms of one batch; all but ``total`` without gradients, in nats a token unless it says otherwise."""

    total: Tensor
    recon: float
    kl: float | None = None
    """Without weight and free bits."""
    attributes: float | None = None
    """Between 0, all pairs in order, and 2."""
    exclusion: float | None = None
    """What unnamed dimensions tell of attributes, from 0."""
    constraints: dict[str, float] = {}  # noqa: RUF012  # nobody writes to it
    """Musical constraints by name, without their weights."""

    def parts(self) -> dict[str, float]:
        """Terms by name, those that there are."""
        named = {"recon": self.recon, "kl": self.kl, "attributes": self.attributes, "exclusion": self.exclusion}
        named |= self.constraints
        return {name: value for name, value in named.items() if value is not None}


def reconstruction(
    logits: Tensor, targets: Tensor, smoothing: float = 0.0, token_weights: Tensor | None = None
) -> Tensor:
    """Mean negative log-likelihood of the scored targets in nats, weighted by token ``(V,)`` if weights are given."""
    return F.cross_entropy(
        logits.float(), targets, weight=token_weights, ignore_index=IGNORED, label_smoothing=smoothing
    )


def divergence(latents: Latents, scored: Tensor, free_bits: float, piece_free_bits: float) -> Tensor:
    """KL of the formula above in nats a token.

    Args:
        latents: of the batch.
        scored: which tokens count ``(N,)`` bool.
        free_bits: nats of each dimension of a bar that cost nothing, on the average over bars.
        piece_free_bits: the same for the piece.
    """
    chosen = scored_bars(latents, scored)
    of_bar = latents.bar_divergence[chosen]
    segments = latents.bars.segment[chosen].unique()
    of_piece = latents.piece_divergence[segments]
    # Per dimension, before the sum: otherwise one busy dimension hides those that have collapsed.
    bars = of_bar.mean(0).clamp(min=free_bits).sum() * len(of_bar)
    pieces = of_piece.mean(0).clamp(min=piece_free_bits).sum() * len(of_piece)
    return (bars + pieces) / scored.sum()


def prior_loss(space: LatentSpace, latents: Latents, scored: Tensor) -> Tensor:
    """KL' of the formula above in nats a token."""
    cost = space.prior_divergence(latents)
    return cost[scored_bars(latents, scored)].sum() / scored.sum()


def attribute_loss(latents: Tensor, attributes: Tensor, slope: float) -> Tensor:
    """How often latents are not in the order of the attributes that they stand for (Pati and Lerch 2021, AR-VAE,
    doi:10.1007/s00521-020-05270-2): ``mean |tanh(slope (z_i - z_j)) - sign(a_i - a_j)|`` over pairs of bars.

    Args:
        latents: named dimensions ``(M, A)``.
        attributes: measured ``(M, A)``; pairs with a NaN do not count.
        slope: how sharply order is judged.

    Returns:
        A number between 0 and 2; 0 where no pair counts.
    """
    order = attributes[:, None] - attributes[None]  # (M, M, A)
    counts = ~order.isnan()
    counts &= ~torch.eye(len(latents), dtype=torch.bool, device=latents.device)[..., None]
    wanted = torch.sign(order.nan_to_num())
    found = torch.tanh(slope * (latents[:, None] - latents[None]))
    return ((found - wanted).abs() * counts).sum() / counts.sum().clamp(min=1)


def exclusion_loss(means: Tensor, attributes: Tensor) -> Tensor:
    """How much of the attributes the unnamed dimensions tell: squared correlations, summed over dimensions, averaged
    over attributes that vary.

    Args:
        means: posterior means of unnamed dimensions ``(M, Z - A)``.
        attributes: measured ``(M, A)``; NaN where a bar has none.

    Returns:
        0 where nothing is told linearly; 1 for every dimension that is an attribute.
    """
    if not means.shape[1]:  # every dimension has a name
        return means.new_zeros(())
    known = ~attributes.isnan()
    counts = known.sum(0).clamp(min=1)
    centred = (attributes.nan_to_num() - attributes.nan_to_num().sum(0) / counts) * known
    deviation = (centred.square().sum(0) / counts).sqrt()
    standard = centred / deviation.clamp(min=SMALLEST_DEVIATION)
    told = (means - means.mean(0)) / means.std(0, correction=0).clamp(min=SMALLEST_DEVIATION)
    correlation = told.T @ standard / len(means)  # (Z - A, A)
    varies = deviation > SMALLEST_DEVIATION
    return (correlation.square().sum(0) * varies).sum() / varies.sum().clamp(min=1)


def attribute_losses(latents: Latents, batch: PackedBatch, names: Sequence[str], slope: float) -> tuple[Tensor, Tensor]:
    """A and E of the formula above; A over up to MOST_COMPARED bars of the batch."""
    assert latents.posterior is not None
    columns = [ATTRIBUTES.index(name) for name in names]
    rows = batch.features[ATTRIBUTES_FEATURE][latents.bars.start][:, columns].float()
    chosen = torch.randperm(len(rows), device=rows.device)[:MOST_COMPARED]
    order = attribute_loss(latents.bar[chosen, : len(columns)], rows[chosen], slope)
    return order, exclusion_loss(latents.posterior.bar.mean[:, len(columns) :], rows)


def conditions_of(batch: PackedBatch, names: Sequence[str]) -> dict[str, Tensor]:
    """What the prior is told of the bar of each token ``(N, C)``: features of the batch, at its first token.

    Raises:
        AurlError: the batch does not have them.
    """
    found = {}
    for name in names:
        if name not in batch.features:
            raise AurlError(f"model.prior_conditions needs {name} of each bar; add {name} to data.features")
        found[name] = batch.features[name].reshape(len(batch.ids), -1)[:, : len(COLUMNS[name])].long()
    return found


def bound_of_tokens(output: ModelOutput, targets: Tensor) -> Tensor:
    """Nats of each target ``(N,)``, 0 where ignored; with latents an upper bound, their cost at the first token of each
    bar included.
    """
    nats = F.cross_entropy(output.logits.float(), targets, ignore_index=IGNORED, reduction="none")
    return nats if output.latents is None else nats + cost_of_tokens(output.latents, targets != IGNORED)
