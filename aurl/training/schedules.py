"""Schedules as pure functions of the optimiser step: learning rate, weight of the KL term, adversarial training."""

from __future__ import annotations

import math
from typing import NamedTuple


def warmup_cosine(step: int, warmup_steps: int, total_steps: int, min_share: float) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine (Loshchilov and
    Hutter 2017, arXiv:1608.03983).

    Args:
        step: optimiser steps done.
        warmup_steps: steps of linear warm-up.
        total_steps: step at which the cosine ends; later steps stay at the end value.
        min_share: end value.

    Example:
        >>> warmup_cosine(50, warmup_steps=100, total_steps=1000, min_share=0.1)
        0.51
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return min_share + (1 - min_share) * 0.5 * (1 + math.cos(math.pi * progress))


def linear_rise(step: int, zero_steps: int, rise_steps: int) -> float:
    """0 for ``zero_steps``, then a straight line up to 1 in ``rise_steps``.

    Example:
        >>> linear_rise(150, zero_steps=100, rise_steps=200)
        0.25
    """
    return min(1.0, max(0.0, (step - zero_steps) / rise_steps))


def cyclic_rise(step: int, zero_steps: int, cycle_steps: int) -> float:
    """0 for ``zero_steps``, then cycles: up in the first half, 1 in the second (Fu et al. 2019, arXiv:1903.10145).

    Example:
        >>> [cyclic_rise(step, zero_steps=0, cycle_steps=4) for step in range(5)]
        [0.0, 0.5, 1.0, 1.0, 0.0]
    """
    if step < zero_steps:
        return 0.0
    return min(1.0, 2 * ((step - zero_steps) % cycle_steps) / cycle_steps)


def rollout_length(step: int, first: int, last: int, grow_every: int) -> int:
    """Tokens that are written to be judged: ``first``, doubled every ``grow_every`` steps up to ``last``.

    Example:
        >>> [rollout_length(step, 16, 128, 500) for step in (0, 499, 500, 1700)]
        [16, 16, 32, 128]
    """
    doublings = min(step // grow_every, last.bit_length())  # more would only make a huge number
    return min(last, first * 2**doublings)


class Turn(NamedTuple):
    """Who learns from judging at an optimiser step."""

    critic: bool
    generator: bool


def adversarial_turn(step: int, start: int, every: int, warmup: int, ratio: int) -> Turn:
    """The discriminator learns every ``every`` steps from ``start`` on; after ``warmup`` such steps the model does too,
    at each ``ratio``-th of them.

    Example:
        >>> [adversarial_turn(step, start=10, every=5, warmup=1, ratio=1) for step in (9, 10, 15)]
        [Turn(critic=False, generator=False), Turn(critic=True, generator=False), Turn(critic=True, generator=True)]
    """
    number, rest = divmod(step - start, every)
    if number < 0 or rest:
        return Turn(False, False)
    return Turn(True, number >= warmup and (number - warmup) % ratio == ratio - 1)
