"""``precision=auto``: the fastest number format that this hardware really computes in."""

from __future__ import annotations

import torch


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices natively; without such instructions bf16 is
    about 12 times slower than fp32.
    """
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def auto_precision(accelerator: str) -> str:
    """Lightning's name of the precision for ``cpu``, ``cuda`` or ``mps``.

    fp16 is never chosen: with two optimisers its loss scaling is fragile, and every GPU
    without bf16 runs fp32 well enough for models of this size.
    """
    if accelerator == "cpu":
        return "bf16-mixed" if cpu_has_bf16() else "32-true"
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "32-true"
