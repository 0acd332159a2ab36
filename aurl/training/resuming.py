"""Going on in the middle of an epoch: Lightning counts the batches of one process, the loader those of all together.

As long as the number of processes stays the same, both say the same. With another number the loader knows the place
(aurl.data.batching), and Lightning has to be told how many of this process's batches that makes.
"""

from __future__ import annotations

from typing import Any

import lightning as L


def reopen_epoch(checkpoint: dict[str, Any]) -> None:
    """Make Lightning go on in the epoch that a run left before its end, because of trainer.max_steps or max_time or an
    early stop: the checkpoint of its end counts that epoch as done, though music of it is left.

    To be called by ``on_load_checkpoint``, before Lightning reads the loops' progress.

    Args:
        checkpoint: what the file holds; changed in place.
    """
    fit = checkpoint.get("loops", {}).get("fit_loop")
    if fit is None:
        return
    epochs, batches = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    left_early = batches["current"]["completed"] and not batches["is_last_batch"]
    if left_early and epochs["total"]["completed"] == epochs["total"]["ready"]:
        for counts in (epochs["total"], epochs["current"]):
            counts["processed"] -= 1
            counts["completed"] -= 1


def count_on(trainer: L.Trainer, loader: Any) -> None:
    """Set Lightning's count of this epoch's batches to what the restored loader has left.

    To be called by ``on_train_start``, after both have read the checkpoint and before the first batch is drawn.

    Args:
        trainer: about to continue.
        loader: of training batches, at its place: with ``steps_done``, ``skip_rest`` and ``state_dict``.

    Example:
        100 batches, 40 drawn by one process: two processes have 30 of their 50 batches each before them, so Lightning
        has to count from 20. 41 drawn: 30 again, the last of them with half a batch for each process.
    """
    loop = trainer.fit_loop.epoch_loop
    pending = int(loop.restarted_on_train_batch_end)  # Lightning adds the batch it was saved after only later
    current = loop.batch_progress.current
    counted = current.completed + pending
    if not counted:  # a new epoch
        return
    whole, drawn = int(trainer.num_training_batches), loader.state_dict()["drawn"]
    done = min(loader.steps_done(), whole) if drawn else whole  # at 0 the loader is in the next epoch already
    if drawn and done == whole:  # trainer.limit_train_batches ends the epoch here
        loader.skip_rest()
    if done != counted:
        for name in vars(current):  # Lightning takes all of them from the last, completed
            setattr(current, name, done)
        current.completed = done - pending
