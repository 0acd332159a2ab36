"""A callback that test_vae_gan.py names in the settings of a run with several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch


class KeepParameters(L.Callback):
    """Writes the parameters of each process into a folder when training ends."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        content = {"parameters": dict(pl_module.named_parameters()), "batches": pl_module.batches_seen}
        torch.save(content, self.folder / f"rank{trainer.global_rank}.pt")
