"""A run that is continued with another number of processes: Lightning stops when the epoch's music is over.

The processes are simulated: each rank is a run of its own from the same checkpoint, with the loader of that rank.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from test_training import StopAfter, corpus, module, trainer

from aurl.data.batching import IGNORED, PackedBatch
from aurl.data.datamodule import MusicDataModule
from aurl.training.callbacks.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


class Seen(L.Callback):
    """Which targets were scored in which epoch of Lightning's."""

    def __init__(self) -> None:
        self.places: dict[int, Counter[tuple[int, int]]] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: PackedBatch, batch_idx: int) -> None:
        owners = torch.repeat_interleave(torch.tensor(batch.origins), torch.tensor(batch.lengths))
        scored = batch.targets != IGNORED
        assert batch.source is not None
        found = self.places.setdefault(trainer.current_epoch, Counter())
        found.update(zip(owners[scored].tolist(), batch.source[scored].tolist(), strict=True))


def ranked(cache: Path, rank: int, world: int) -> MusicDataModule:
    data = corpus(cache, pieces=12, batch_tokens=900)
    data._place = lambda: {"rank": rank, "world": world}  # type: ignore[method-assign]
    return data


def run(data: MusicDataModule, folder: Path, **settings: Any) -> Seen:
    """Train two epochs, from a checkpoint if one is given."""
    seen = Seen()
    start, kill, every = settings.pop("start", None), settings.pop("kill", None), settings.pop("every", 10_000)
    callbacks = [*([StopAfter(kill)] if kill else []), seen, Checkpoints(str(folder), every_n_batches=every)]
    run = trainer(folder, callbacks=callbacks, limit_val_batches=1, **settings)
    arguments: dict[str, Any] = {"ckpt_path": str(start), "weights_only": True} if start else {}
    if kill:
        with pytest.raises(RuntimeError, match="killed"):
            run.fit(module(data), datamodule=data, **arguments)
    else:
        run.fit(module(data), datamodule=data, **arguments)
    return seen


@pytest.mark.parametrize(
    ("before", "after", "at"),
    [(before, after, at) for before, after in [(1, 2), (2, 1), (2, 3)] for at in ("middle", "end")]
    + [(1, 1, "steps"), (2, 1, "steps")],
)
def test_both_epochs_are_whole_when_the_number_of_processes_changes(
    cache: Path, tmp_path: Path, before: int, after: int, at: str
) -> None:
    length = len(ranked(cache, 0, before).train_dataloader())
    batches = length if at == "end" else length // 3
    seen: dict[int, Counter[tuple[int, int]]] = {0: Counter(), 1: Counter()}
    for rank in range(before):
        folder = tmp_path / f"before{rank}"
        saved = {
            "middle": {"kill": batches, "every": batches},
            "steps": {"max_steps": batches},
            "end": {"max_epochs": 1},
        }[at]
        for epoch, places in run(ranked(cache, rank, before), folder, **saved).places.items():
            seen[epoch] += places
    for rank in range(after):
        data, start = ranked(cache, rank, after), tmp_path / "before0" / "last.ckpt"
        for epoch, places in run(data, tmp_path / f"after{rank}", start=start).places.items():
            seen[epoch] += places
    whole = run(ranked(cache, 0, 1), tmp_path / "whole", max_epochs=1).places[0]
    assert set(whole.values()) == {1}
    assert seen[0] == whole and seen[1] == whole


def test_a_limited_epoch_that_was_over_is_not_taken_up_again(cache: Path, tmp_path: Path) -> None:
    limit = {"limit_train_batches": 4}
    whole = run(ranked(cache, 0, 1), tmp_path / "whole", **limit).places
    first = run(ranked(cache, 0, 1), tmp_path / "first", max_epochs=1, **limit).places
    second = run(ranked(cache, 0, 1), tmp_path / "second", start=tmp_path / "first" / "last.ckpt", **limit).places
    assert first | second == whole
