"""Types of the Trainer's keys, checked before work starts: Lightning would fail later, without naming the key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

WHOLE = frozenset(
    {"max_epochs", "min_epochs", "max_steps", "min_steps", "num_nodes", "check_val_every_n_epoch"}
    | {"num_sanity_val_steps", "log_every_n_steps", "reload_dataloaders_every_n_epochs"}
)
"""Integers, or null."""
FROM_ONE = frozenset({"check_val_every_n_epoch", "val_check_interval"})
"""What may not be 0: Lightning divides by it."""
SHARES = frozenset(
    {"limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"}
    | {"overfit_batches", "val_check_interval"}
)
"""A number of batches (integer) or a share of them (0.0 to 1.0), or null."""
FLAGS = frozenset(
    {"enable_checkpointing", "enable_progress_bar", "enable_model_summary", "detect_anomaly", "barebones"}
    | {"sync_batchnorm", "use_distributed_sampler", "inference_mode"}
)
"""true or false, or null."""
PRECISIONS = ("auto", "32-true", "bf16-mixed", "64-true")
"""What precision may be; Lightning's short forms are taken too."""
SHORT_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "64": "64-true", "16": "16-mixed"}
UNUSABLE_PRECISIONS = {
    "16-mixed": "gradients scaled for fp16 would reach clipping and Muon unscaled",
    "16-true": "positions need 32-bit angles",
    "bf16-true": "positions need 32-bit angles",
}
"""Precision of Lightning -> why it cannot be used."""
OUR_TRAINER = "lightning.pytorch.Trainer"


def check_trainer(values: Mapping[str, Any]) -> None:
    """Refuse values of the wrong type or range; other trainers than Lightning's own are left alone.

    Raises:
        ValueError: names the key, the value and what is allowed.
    """
    if values.get("_target_") != OUR_TRAINER:
        return
    for key, value in values.items():
        if value is None:
            if key == "max_steps":
                raise ValueError("trainer.max_steps=null must be an integer (-1 for no limit)")
            continue
        if key == "val_check_interval" and isinstance(value, str | Mapping):
            continue  # a time: Lightning reads it, and says what is wrong with it
        if key in FROM_ONE and value == 0:
            raise ValueError(f"trainer.{key}={value} is out of range; allowed: above 0, or null")
        whole = isinstance(value, int) and not isinstance(value, bool)
        if key in WHOLE and (not whole or value < -1):
            raise ValueError(f"trainer.{key}={value} must be an integer (-1 for no limit) or null")
        if key in SHARES and not ((whole and value >= 0) or (isinstance(value, float) and 0.0 <= value <= 1.0)):
            raise ValueError(f"trainer.{key}={value} must be a number of batches, or a share from 0.0 to 1.0")
        if key in FLAGS and not isinstance(value, bool):
            raise ValueError(f"trainer.{key}={value} must be true or false")
        if key == "devices" and not are_devices(value):
            raise ValueError(f"trainer.devices={value} must be a number from 1, auto, -1 (all), or a list of numbers")
        if key == "precision":
            precision_name(value)


def are_devices(value: Any) -> bool:
    """Whether Lightning may take a value for devices: how many, which, ``auto``, or -1 for all."""
    if isinstance(value, str):
        return value == "auto" or (re.fullmatch(r"-1|\d+(\s*,\s*\d+)*,?", value) is not None and set(value) != {"0"})
    if isinstance(value, int):
        return not isinstance(value, bool) and (value > 0 or value == -1)
    return isinstance(value, Sequence) and len(value) > 0


def precision_name(precision: str | int) -> str:
    """One of PRECISIONS, short forms written out.

    Raises:
        ValueError: there is no such precision, or it does not work here.
    """
    name = SHORT_PRECISIONS.get(str(precision), str(precision))
    if name in PRECISIONS:
        return name
    reason = f"is not available: {UNUSABLE_PRECISIONS[name]}" if name in UNUSABLE_PRECISIONS else "is unknown"
    raise ValueError(f"trainer.precision={precision} {reason}; allowed: {', '.join(PRECISIONS)}")
