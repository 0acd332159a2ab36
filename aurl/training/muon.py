"""Muon for the matrices inside the blocks, AdamW for everything else, in one optimiser.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) replaces a matrix's momentum by the nearest
semi-orthogonal matrix, so that every direction moves equally far. The scale follows Liu et al. 2025 (arXiv:2502.16982):
updates have the size of AdamW's, and one learning rate serves both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from aurl.training.precision import cpu_has_bf16

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration of the source: singular values end up between about 0.7 and 1.2."""
NEWTON_SCHULZ_STEPS = 5
ADAMW_UPDATE_SIZE = 0.2
"""Root mean square of AdamW's updates that Muon's are scaled to (Liu et al. 2025, section 2.2)."""
MOMENTUM = 0.95
TINY = 1e-7


def orthogonalise(matrix: Tensor) -> Tensor:
    """Roughly the semi-orthogonal matrix nearest to each ``(..., rows, columns)``: all singular values near 1."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + TINY)
    if matrix.is_cuda or (matrix.device.type == "cpu" and cpu_has_bf16()):
        x = x.bfloat16()  # as in the source: the iteration corrects its own rounding
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrix.dtype)


def parameter_groups(model: nn.Module, weight_decay: float, without: str | None = None) -> list[dict[str, Any]]:
    """Three groups: matrices of blocks (``muon=True``), other matrices such as embeddings,
    and vectors, which never decay; parameters whose names begin with ``without`` are in none.
    """
    named = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not (without and name.startswith(without))
    ]
    matrices = [(name, parameter) for name, parameter in named if parameter.ndim == 2]
    return [
        {"params": [p for name, p in matrices if ".blocks." in name], "weight_decay": weight_decay, "muon": True},
        {"params": [p for name, p in matrices if ".blocks." not in name], "weight_decay": weight_decay, "muon": False},
        {"params": [p for _, p in named if p.ndim != 2], "weight_decay": 0.0, "muon": False},
    ]


class Muon(AdamW):
    """AdamW whose groups marked ``muon=True`` (matrices only) are moved by Muon instead.

    Args:
        groups: parameter groups, each with a key ``muon`` (see :func:`parameter_groups`).
        lr: learning rate of both rules.
        betas: decay rates of AdamW's moments.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, lr=lr, betas=betas, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both rules; gradients of Muon's matrices are used up."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["muon"]:
                for alike in _by_shape(group["params"]):
                    self._move(alike, group["lr"], group["weight_decay"])
        super().step()
        return loss

    def _move(self, matrices: list[Tensor], lr: float, weight_decay: float) -> None:
        """Move matrices of one shape together: on a GPU a step of a small model costs as much as it has operations."""
        for matrix in matrices:
            if "momentum" not in self.state[matrix]:
                self.state[matrix]["momentum"] = torch.zeros_like(matrix)
                self.state[matrix]["step"] = torch.zeros(())  # AdamW looks for it in every state it loads
        momenta = [self.state[matrix]["momentum"] for matrix in matrices]
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov's look ahead
        updates = orthogonalise(torch.stack(ahead)).unbind()
        torch._foreach_mul_(matrices, 1 - lr * weight_decay)
        torch._foreach_add_(matrices, updates, alpha=-lr * ADAMW_UPDATE_SIZE * math.sqrt(max(matrices[0].shape)))
        for matrix in matrices:
            matrix.grad = None  # AdamW passes over what has no gradient


def _by_shape(matrices: list[Tensor]) -> list[list[Tensor]]:
    """Matrices that have a gradient, those of one shape together."""
    groups: dict[torch.Size, list[Tensor]] = {}
    for matrix in matrices:
        if matrix.grad is not None:
            groups.setdefault(matrix.shape, []).append(matrix)
    return list(groups.values())
