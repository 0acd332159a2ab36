"""Dropout that draws eight units from one random number.

On a CPU PyTorch draws a full random number for every unit, which made dropout one of the most
expensive operations of a training step. Here each unit takes one byte of a 64-bit draw from
PyTorch's own generator, so seeds and saved random states still hold.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 256
"""Values of a byte: probabilities are rounded to 1/256, and kept units are scaled by what was really drawn."""
UNITS_PER_DRAW = 8


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Zero units with the given probability and scale up the others (Srivastava et al. 2014); any shape."""
    if not training or not probability:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, probability)
    threshold = min(max(1, round(probability * LEVELS)), LEVELS - 1)
    draws = torch.empty(-(-x.numel() // UNITS_PER_DRAW), dtype=torch.int64).random_(-(2**63), None)
    keep = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= threshold
    return x * keep.to(x.dtype).mul_(LEVELS / (LEVELS - threshold))
