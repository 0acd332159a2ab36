"""Callbacks that tests name in the settings of runs with several processes."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import torch

from aurl.data.batching import IGNORED, PackedBatch


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


class KeepPlaces(L.Callback):
    """Writes after each batch which tokens of which pieces each process was trained on, and in which epoch."""

    def __init__(self, folder: str, part: str) -> None:
        self.folder, self.part = Path(folder), part
        self.batches: list[tuple[int, Counter[tuple[int, int]]]] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: PackedBatch, batch_idx: int
    ) -> None:
        owners = torch.repeat_interleave(torch.tensor(batch.origins), torch.tensor(batch.lengths))
        scored = (batch.targets != IGNORED).cpu()
        assert batch.source is not None
        places = Counter(zip(owners[scored].tolist(), batch.source.cpu()[scored].tolist(), strict=True))
        self.batches.append((trainer.current_epoch, places))
        torch.save(self.batches, self.folder / f"{self.part}.rank{trainer.global_rank}.pt")


class KillAll(L.Callback):
    """Kills all processes of a run, as a machine that goes down would, once each has done so many batches."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.batches_seen >= self.batches:
            trainer.strategy.barrier()
            os.killpg(os.getpgrp(), signal.SIGKILL)
