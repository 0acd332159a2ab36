"""The structured line of training: epoch, batch, files, losses, memory, samples."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L

from aurl.utils.logging import training_line

log = logging.getLogger("aurl.training.module")


class LogLines(L.Callback):
    """Writes one line every few batches and at the end of each epoch.

    Args:
        every_n_batches: batches between lines.
    """

    def __init__(self, every_n_batches: int = 20) -> None:
        super().__init__()
        if every_n_batches < 1:
            raise ValueError(
                f"callbacks.log_lines.every_n_batches={every_n_batches} is out of range; allowed: 1 or more"
            )
        self.every_n_batches = every_n_batches

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the line when it is due."""
        batches = int(trainer.num_training_batches)
        if (batch_idx + 1) % self.every_n_batches and batch_idx + 1 != batches:
            return
        if not trainer.is_global_zero:
            return
        log.info(
            training_line(
                epoch=trainer.current_epoch + 1,
                epochs=trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None,
                batch=batch_idx + 1,
                batches=batches,
                files=pl_module.files_processed,
                augmented=pl_module.files_augmented,
                losses=pl_module.last_losses,
                samples=getattr(pl_module, "last_samples", None),
            )
        )
