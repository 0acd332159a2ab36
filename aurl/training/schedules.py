"""Learning-rate schedules as pure functions of the optimiser step."""

from __future__ import annotations

import math


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
