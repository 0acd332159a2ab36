"""Callbacks that tests name in the settings of runs with several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch


class KeepParameters(L.Callback):
    """Writes the parameters of each process into a folder when training ends, and what it counted."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        content = {
            "parameters": dict(pl_module.named_parameters()),
            "batches": pl_module.batches_seen,
            "skipped": pl_module.guard.skipped,
            "validation pieces": len(trainer.datamodule.store.split("valid")),  # type: ignore[attr-defined]
            "validation": float(trainer.callback_metrics.get("val/likelihood/nats_per_note", float("nan"))),
        }
        torch.save(content, self.folder / f"rank{trainer.global_rank}.pt")


class SpoilLosses(L.Callback):
    """Makes the loss of one process, and of no other, not a number in some batches (counted from 1)."""

    def __init__(self, rank: int, batches: list[int]) -> None:
        self.rank, self.batches = rank, set(batches)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.global_rank != self.rank:
            return
        honest = pl_module.losses

        def sometimes(batch: Any) -> Any:
            losses = honest(batch)
            spoilt = pl_module.batches_seen + 1 in self.batches
            return losses._replace(total=losses.total * float("nan")) if spoilt else losses

        pl_module.losses = sometimes
