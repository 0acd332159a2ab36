"""Where a token is: rotary angles from the token index, the onset in quarter notes and the bar.

Axes: N tokens of a packed batch (or any leading shape), H heads, K head width.

Part of each head turns with the token index (order), part with the onset (distance in beats), part with the bar. All
three are derived from the tokens themselves, in training and in cached decoding alike, and only differences matter (Su
et al. 2021, arXiv:2104.09864), so a window may start anywhere in a piece. Musical periods are powers of two: two onsets
one bar apart look alike to a head that listens to the place in the bar.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aurl.models.config import Positions

INDEX_BASE = 10_000.0
"""Longest wavelength of the token-index rotation, as in the source."""
SHORTEST_BEAT_PERIOD = 0.5
"""Quarter notes in which the fastest onset rotation turns once."""
SHORTEST_BAR_PERIOD = 2.0
"""Bars in which the fastest bar rotation turns once (a period of one bar would be constant)."""
INDEX_SHARE = 0.5
"""Share of rotary pairs that turn with the token index; the rest is split evenly between onset and bar."""


class MusicalTime(NamedTuple):
    """Where each token is; all three have one shape, ``(N,)`` packed or ``(B, T)`` in decoding."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    """Number of the token in its segment, int64."""
    beat: Tensor
    """Onset in quarter notes, float32."""
    bar: Tensor
    """Bar number, int64."""


class Rotation(NamedTuple):
    """Cosine and sine of every rotary pair, ``(..., 1, K/2)`` float32, broadcast over heads."""

    cos: Tensor
    sin: Tensor


class RotaryAngles(nn.Module):
    """Turn musical time into rotations.

    Args:
        head_dim: width K of a head, a multiple of 4.
        positions: ``musical`` shares the pairs between index, onset and bar; ``token`` gives all to the index.
    """

    index_rate: Tensor
    beat_rate: Tensor
    bar_rate: Tensor

    def __init__(self, head_dim: int, positions: Positions) -> None:
        super().__init__()
        pairs = head_dim // 2
        index_pairs = round(pairs * INDEX_SHARE) if positions is Positions.musical else pairs
        beat_pairs = (pairs - index_pairs + 1) // 2
        bar_pairs = pairs - index_pairs - beat_pairs
        index_period = 2 * math.pi * INDEX_BASE ** (torch.arange(index_pairs) / max(index_pairs, 1))
        beat_period = SHORTEST_BEAT_PERIOD * 2.0 ** torch.arange(beat_pairs)
        bar_period = SHORTEST_BAR_PERIOD * 2.0 ** torch.arange(bar_pairs)
        self.register_buffer("index_rate", 1 / index_period, persistent=False)
        self.register_buffer("beat_rate", 1 / beat_period, persistent=False)
        self.register_buffer("bar_rate", 1 / bar_period, persistent=False)

    def forward(self, time: MusicalTime) -> Rotation:
        """Rotations of shape ``(..., 1, K/2)`` for times of shape ``(...)``."""
        turns = torch.cat(
            (
                time.index.unsqueeze(-1) * self.index_rate,
                time.beat.unsqueeze(-1) * self.beat_rate,
                time.bar.unsqueeze(-1) * self.bar_rate,
            ),
            dim=-1,
        )
        # The whole part of a turn changes nothing; dropping it keeps float32 exact far into a long piece.
        angle = (turns - turns.floor()) * (2 * math.pi)
        return Rotation(angle.cos().unsqueeze(-2), angle.sin().unsqueeze(-2))


def _turn(x: Tensor, cos: Tensor, sin: Tensor, direction: float) -> Tensor:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    out = torch.empty_like(x)
    torch.mul(first, cos, out=out[..., :half])
    torch.mul(second, cos, out=out[..., half:])
    out[..., :half].addcmul_(second, sin, value=-direction)
    out[..., half:].addcmul_(first, sin, value=direction)
    return out


class _Rotate(torch.autograd.Function):
    """Rotation with its inverse as backward: two thirds of the memory traffic of the composed operations."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1.0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors  # type: ignore[attr-defined]
        return _turn(grads[0], cos, sin, -1.0), None, None


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn pairs ``(x[i], x[i + K/2])`` of ``(..., H, K)`` by the rotation of ``(..., 1, K/2)``."""
    cos, sin = rotation.cos.to(x.dtype), rotation.sin.to(x.dtype)
    if not torch.is_grad_enabled():
        return _turn(x, cos, sin, 1.0)
    return _Rotate.apply(x, cos, sin)
