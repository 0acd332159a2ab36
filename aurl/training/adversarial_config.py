"""Settings of the parts of the loss beyond likelihood and latents: adversarial training, musical constraints, weights
of kinds of tokens, balancing. The formula is in losses.py, the parts in adversary.py, constraints.py and balancing.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from aurl.models.config import Sees

MOST_WEIGHT = 100.0
"""Largest weight of a term or of a kind of tokens."""
SHORTEST_ROLLOUT = 4
"""Least tokens of a rollout: a note."""


class AdversarialLoss(str, Enum):
    """What the discriminator and the model minimise, from scores that are high for what is taken as real."""

    hinge = "hinge"
    """Critic: scores beyond 1 on the right side earn nothing more (Lim and Ye 2017, arXiv:1705.02894)."""
    logistic = "logistic"
    """Cross entropy; the model maximises the log odds of being taken as real (Goodfellow et al. 2014)."""
    least_squares = "least_squares"
    """Squared distance from 1 and -1 (Mao et al. 2017, arXiv:1611.04076)."""
    wasserstein = "wasserstein"
    """Difference of mean scores (Arjovsky et al. 2017, arXiv:1701.07875); needs a critic that cannot become steep."""


class RolloutLatents(str, Enum):
    """Where the latents come from that the model writes with when it is judged."""

    prior = "prior"
    """From the prior, as in generation; pieces are written from their beginning."""
    posterior = "posterior"
    """Those of the real piece, whose first tokens are given."""


class Balance(str, Enum):
    """How the terms of the loss are weighed against each other."""

    fixed = "fixed"
    """By their weights."""
    uncertainty = "uncertainty"
    """By weights times learned ones (Kendall et al. 2018, arXiv:1705.07115)."""


@dataclass(frozen=True, kw_only=True)
class TokenWeights:
    """How much a token of each kind counts in the reconstruction; with all at 1 it is the likelihood.

    Raises:
        ValueError: a weight out of range.
    """

    bar: float = 1.0
    timesig: float = 1.0
    position: float = 1.0
    time_shift: float = 1.0
    tempo: float = 1.0
    chord: float = 1.0
    program: float = 1.0
    pitch: float = 1.0
    """Pitches that begin notes, and those of their ends where tokens say them."""
    drum: float = 1.0
    """The same for drums."""
    velocity: float = 1.0
    duration: float = 1.0
    eos: float = 1.0
    """The end of the piece."""

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            if not 0.0 <= weight <= MOST_WEIGHT:
                raise ValueError(f"loss.token_weights.{name}={weight} is out of range; allowed: 0 to {MOST_WEIGHT:g}")


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """Adversarial training, musical constraints, weights of kinds of tokens.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    token_weights: TokenWeights = field(default_factory=TokenWeights)
    """Weight of kinds of tokens in the reconstruction."""
    key_weight: float = 0.0
    """Weight of staying in the key of the segment as far as the music does."""
    density_weight: float = 0.0
    """Weight of writing as many notes a bar as the music has."""
    range_weight: float = 0.0
    """Weight of staying in the pitch range of the segment."""
    balance: Balance = Balance.fixed
    """fixed, or uncertainty to learn weights."""
    adversarial_weight: float = 1.0
    """Factor of the adversarial gradient, unless adversarial_share makes it smaller; 0 switches it off."""
    adversarial_share: float = 0.1
    """Largest norm of the adversarial gradient, as a share of that of the rest of the loss."""
    adversarial_loss: AdversarialLoss = AdversarialLoss.hinge
    """hinge, logistic, least_squares or wasserstein."""
    adversarial_start: int = 1000
    """Optimiser steps before the discriminator begins; 0 where training starts from a trained model (init_from)."""
    adversarial_every: int = 5
    """Optimiser steps from one step of the discriminator to the next."""
    critic_warmup: int = 50
    """Steps of the discriminator before the model learns from it."""
    critic_ratio: int = 1
    """Steps of the discriminator for one of the model."""
    critic_sees: list[Sees] = field(default_factory=lambda: [Sees.latents, Sees.states, Sees.tokens, Sees.music])
    """Which of latents, states, tokens and music are judged."""
    tokens_after: int = 500
    """Optimiser steps after adversarial_start from which tokens and music are judged as well."""
    critic_transpose: int = 0
    """The discriminator sees tokens and music transposed by up to so many semitones, real and written alike."""
    instance_noise: float = 0.0
    """Deviation of noise on all that the discriminator sees, at the start."""
    instance_noise_steps: int = 1000
    """Optimiser steps over which that noise vanishes."""
    r1_weight: float = 0.0
    """Weight of the squared gradient of scores where music is real (Mescheder et al. 2018, arXiv:1801.04406)."""
    r2_weight: float = 0.0
    """The same where it is written."""
    interpolation_weight: float = 0.0
    """Weight of the squared distance from 1 of the gradient of scores between real and written music (WGAN-GP:
    Gulrajani et al. 2017, arXiv:1704.00028, who take 10)."""
    feature_matching_weight: float = 1.0
    """Weight of the distance between mean hidden features of real and written music (Salimans et al. 2016)."""
    rollouts: int = 8
    """Windows of music that are judged at once."""
    rollout_first: int = 16
    """Tokens that the model writes by itself at first ..."""
    rollout_last: int = 128
    """... and in the end ..."""
    rollout_grow_every: int = 500
    """... doubled every so many optimiser steps."""
    rollout_latents: RolloutLatents = RolloutLatents.prior
    """prior or posterior."""
    gumbel_temperature: float = 1.0
    """Of the softmax behind straight-through tokens."""

    def __post_init__(self) -> None:
        for key, low, high in (
            *((f"{name}_weight", 0.0, MOST_WEIGHT) for name in ("key", "density", "range", "adversarial", "r1", "r2")),
            *((f"{name}_weight", 0.0, MOST_WEIGHT) for name in ("feature_matching", "interpolation")),
            ("adversarial_share", 0.0, 1.0),
            ("instance_noise", 0.0, 10.0),
            ("critic_transpose", 0, 12),
        ):
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(f"loss.{key}={value} is out of range; allowed: {low:g} to {high:g}")
        for key, low in (
            *((name, 0) for name in ("adversarial_start", "critic_warmup", "tokens_after")),
            *((name, 1) for name in ("adversarial_every", "critic_ratio", "instance_noise_steps", "rollouts")),
            ("rollout_grow_every", 1),
            ("rollout_first", SHORTEST_ROLLOUT),
        ):
            value = getattr(self, key)
            if value < low:
                raise ValueError(f"loss.{key}={value} is out of range; allowed: {low} or more")
        if self.rollout_last < self.rollout_first:
            raise ValueError(
                f"loss.rollout_last={self.rollout_last} is less than loss.rollout_first={self.rollout_first}"
            )
        if self.gumbel_temperature <= 0:
            raise ValueError(f"loss.gumbel_temperature={self.gumbel_temperature} is out of range; allowed: above 0")
        if not self.critic_sees:
            raise ValueError(
                "loss.critic_sees=[] names nothing; allowed: one or more of "
                f"{', '.join(each.value for each in Sees)}, or loss.adversarial_weight=0"
            )
