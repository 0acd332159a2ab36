"""Which checkpoints a run keeps: ``last.ckpt`` (written often), the best few by name, and ``best.ckpt``."""

from __future__ import annotations

import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

log = logging.getLogger("aurl.training.checkpoints")

LAST, BEST = "last.ckpt", "best.ckpt"


class Checkpoints(Checkpoint):
    """Keeps the run resumable and its best models.

    Args:
        folder: where checkpoints go.
        monitor: validation figure that decides which is best; lower is better.
        keep_best: how many of the best are kept, named ``epoch003_step001200.ckpt`` (no
            ``=``, so the name can be typed as ckpt=).
        every_n_batches: how often ``last.ckpt`` is written while training; it is also
            written after validation and at the end.
    """

    def __init__(
        self,
        folder: str,
        monitor: str = "val/likelihood/nats_per_note",
        keep_best: int = 1,
        every_n_batches: int = 500,
    ) -> None:
        super().__init__()
        if keep_best < 1:
            raise ValueError(f"callbacks.checkpoints.keep_best={keep_best} is out of range; allowed: 1 or more")
        if every_n_batches < 1:
            raise ValueError(
                f"callbacks.checkpoints.every_n_batches={every_n_batches} is out of range; allowed: 1 or more"
            )
        self.folder, self.monitor, self.keep_best, self.every_n_batches = (
            Path(folder),
            monitor,
            keep_best,
            every_n_batches,
        )
        self.kept: list[tuple[float, str]] = []
        """(figure, file name), best first."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        """Write ``last.ckpt`` every now and then."""
        window = pl_module.optim_config.accumulate  # gradients that are being added up are in no checkpoint
        seen = pl_module.batches_seen
        if seen % window == 0 and seen % self.every_n_batches < window:
            self._save(trainer, LAST)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the model if it is one of the best."""
        if trainer.sanity_checking or trainer.state.fn is not TrainerFn.FITTING:
            return
        figure = trainer.callback_metrics.get(self.monitor)
        if figure is None or not math.isfinite(float(figure)):
            return
        if len(self.kept) < self.keep_best or float(figure) < self.kept[-1][0]:
            self._keep(trainer, float(figure))

    def _keep(self, trainer: L.Trainer, figure: float) -> None:
        name = f"epoch{trainer.current_epoch:03d}_step{trainer.global_step:06d}.ckpt"
        self.kept = sorted([entry for entry in self.kept if entry[1] != name] + [(figure, name)])
        dropped, self.kept = self.kept[self.keep_best :], self.kept[: self.keep_best]
        self._save(trainer, name)
        if trainer.is_global_zero:
            if self.kept[0][1] == name:
                _point(self.folder / BEST, self.folder / name)
            for _, worse in dropped:
                (self.folder / worse).unlink(missing_ok=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The end is a state worth keeping."""
        self._save(trainer, LAST)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Interrupted or terminated: save, so that ckpt=last continues here. A broken state is not saved."""
        if not isinstance(exception, KeyboardInterrupt | SystemExit | L.pytorch.utilities.exceptions.SIGTERMException):
            return
        if self._save(trainer, LAST):
            log.info("interrupted; continue with ckpt=%s", self.folder / LAST)

    def _save(self, trainer: L.Trainer, name: str) -> bool:
        """Write a checkpoint, but never weights that are not numbers; says whether it was written."""
        if not all(bool(parameter.isfinite().all()) for parameter in trainer.lightning_module.parameters()):
            log.warning("%s was not written: weights are not finite; continue from an earlier checkpoint", name)
            return False
        trainer.save_checkpoint(self.folder / name)
        return True

    def state_dict(self) -> dict[str, Any]:
        """What is kept, for resuming."""
        return {"kept": [[figure, name] for figure, name in self.kept]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with what is still there."""
        self.kept = [(figure, name) for figure, name in state_dict["kept"] if (self.folder / name).is_file()]


def _point(link: Path, target: Path) -> None:
    """Make ``link`` another name of ``target`` at once (a hard link, or a copy where there are none)."""
    temporary = link.with_name(f".{link.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(target, temporary)
    except OSError as error:
        log.info("no hard links here (%s); copying %s", error.strerror, target.name)
        shutil.copyfile(target, temporary)
    os.replace(temporary, link)
