"""How heavy each position of a bar is, in equal steps.

Source: Longuet-Higgins and Lee (1984), "The rhythmic interpretation of monophonic music".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TERNARY_STEPS = frozenset({12})
"""Lengths in sixteenths that fall into three first."""


def metrical_weights(steps: int) -> NDArray[np.int64]:
    """Weights of the equal steps of a bar: 0 for the first, one less for each level of the metre below.

    Halves come first, then thirds; 12 sixteenths are read as 3/4, and so three quarters (6/8 has the same length).

    Example:
        >>> metrical_weights(8).tolist()
        [0, -3, -2, -3, -1, -3, -2, -3]
    """
    weights = np.zeros(steps, dtype=np.int64)
    span, level, index = steps, 0, np.arange(steps)
    while span > 1:
        parts = 3 if span in TERNARY_STEPS else next(part for part in (2, 3, 5, 7, span) if span % part == 0)
        outer, span, level = index % span == 0, span // parts, level + 1
        weights[(index % span == 0) & ~outer] = -level
    return weights
