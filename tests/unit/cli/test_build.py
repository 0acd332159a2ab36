"""What the trainer's config is translated to, and what is refused in one line."""

from __future__ import annotations

import pytest

from aurl.cli.build import resolve_accelerator, resolve_precision, resolve_strategy
from aurl.training.precision import auto_precision, cpu_has_bf16
from aurl.utils.errors import AurlError


def test_auto_precision_is_bf16_only_where_the_hardware_multiplies_it() -> None:
    assert resolve_precision("auto", "cpu") == ("bf16-mixed" if cpu_has_bf16() else "32-true")
    assert auto_precision("mps") == "32-true"
    assert resolve_precision("32-true", "cpu") == resolve_precision(32, "cpu") == "32-true"
    assert resolve_precision("bf16", "cpu") == "bf16-mixed"


@pytest.mark.parametrize("precision", ["16-mixed", "16-true", "bf16-true"])
def test_precisions_that_would_spoil_training_are_refused(precision: str) -> None:
    with pytest.raises(ValueError, match=f"trainer.precision={precision} is not available: .*; allowed: auto, 32-true"):
        resolve_precision(precision, "cpu")


def test_several_devices_run_data_parallel_and_one_needs_nothing() -> None:
    assert resolve_strategy("auto", 1) == "auto"
    assert resolve_strategy("auto", 2) == "ddp"
    assert resolve_strategy("fsdp", 1) == "fsdp"


def test_hardware_that_is_not_here_is_named() -> None:
    import torch

    assert resolve_accelerator("cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(AurlError, match=r"trainer\.accelerator=cuda is not on this machine; use .*cpu or auto"):
            resolve_accelerator("cuda")
