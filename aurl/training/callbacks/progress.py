"""The progress bar: epochs as people count them, and steps where training is bounded by steps."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar

ENDLESS = (None, -1)
"""Values of trainer.max_epochs that leave the number of epochs open."""


class ProgressBar(RichProgressBar):
    """Lightning's bar with a title that counts from 1: ``Epoch 3/30``, or ``Step 120/2600`` where trainer.max_epochs
    does not say when training ends.
    """

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count on; steps stand in the title."""
        if trainer.max_epochs in ENDLESS and self.progress is not None and self.train_progress_bar_id is not None:
            self.progress.update(
                self.train_progress_bar_id, description=self._get_train_description(trainer.current_epoch)
            )
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _get_train_description(self, current_epoch: int) -> str:
        trainer = self.trainer
        if trainer.max_epochs not in ENDLESS:
            title = f"Epoch {current_epoch + 1}/{trainer.max_epochs}"
        else:
            last = f"/{trainer.max_steps}" if trainer.max_steps > 0 else ""
            title = f"Step {trainer.global_step}{last}"
        return title.ljust(len(self.validation_description))  # of one width, so that bars do not jump
