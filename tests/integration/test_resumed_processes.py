"""`aurl-train` stopped or killed in the middle of an epoch and continued with another number of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

import aurl

SMALL = (
    *("model.hidden_dim=16", "model.layers=1", "model.heads=2", "model.context=64"),
    *("data=synth", "data.pieces=16", "data.valid_share=0.1", "data.batch_tokens=256", "data.workers=1"),
    *("logger=none", "callbacks.samples=null", "callbacks.early_stopping=null", "trainer.precision=32-true"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.limit_val_batches=1"),
)
STOPPED_AFTER = 7
"""Steps of the first run."""
SAVED_AFTER, KILLED_BEFORE = 4, 7
"""Steps after which the killed run left a checkpoint, and the one that it did not begin."""
EPOCHS = 2


def train(folder: Path, cache: Path, part: str, devices: int, *settings: str) -> subprocess.CompletedProcess[str]:
    """Run `aurl-train` in processes of its own; what each of them trained on is written below ``folder``."""
    search = os.pathsep.join([str(Path(__file__).parent), str(Path(aurl.__file__).parents[1])])
    command = [
        *(sys.executable, "-m", "aurl.cli.train", *SMALL, f"paths.cache={cache}", f"paths.output={folder / part}"),
        *(f"trainer.devices={devices}", *settings),
        f"+callbacks.places={{_target_:rank_parameters.KeepPlaces,folder:{folder},part:{part}}}",
    ]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )


def batches_of(folder: Path, part: str) -> list[list[tuple[int, Counter[tuple[int, int]]]]]:
    """For each process of a run the epoch and the scored (piece, token) of each of its batches."""
    return [torch.load(path, weights_only=False) for path in sorted(folder.glob(f"{part}.rank*.pt"))]


def places(ranks: list[list[tuple[int, Counter[tuple[int, int]]]]], epoch: int) -> Counter[tuple[int, int]]:
    """What all processes together trained on in an epoch."""
    return sum((seen for rank in ranks for number, seen in rank if number == epoch), Counter())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, Counter[tuple[int, int]]]]:
    """The batches of one process that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    done = train(folder, cache, "whole", 1, f"trainer.max_epochs={EPOCHS}")
    assert done.returncode == 0, done.stderr[-2000:]
    (alone,) = batches_of(folder, "whole")
    return alone


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after", "way"), [(2, 1, "stopped"), (1, 2, "stopped"), (2, 3, "killed")])
def test_an_epoch_is_trained_on_once_whatever_the_number_of_processes_before_and_after(
    tmp_path: Path,
    cache: Path,
    whole: list[tuple[int, Counter[tuple[int, int]]]],
    before: int,
    after: int,
    way: str,
) -> None:
    if way == "stopped":
        done = train(tmp_path, cache, "first", before, f"trainer.max_steps={STOPPED_AFTER}")
        assert done.returncode == 0, done.stderr[-2000:]
    else:
        done = train(
            *(tmp_path, cache, "first", before, f"callbacks.checkpoints.every_n_batches={SAVED_AFTER}"),
            f"+callbacks.kill={{_target_:rank_parameters.KillAll,batches:{KILLED_BEFORE - 1}}}",
        )
        assert done.returncode == -9, done.stderr[-2000:]
    first = batches_of(tmp_path, "first")
    steps = STOPPED_AFTER if way == "stopped" else KILLED_BEFORE - 1
    assert [len(rank) for rank in first] == [steps] * before
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    kept = steps if way == "stopped" else SAVED_AFTER  # what a killed run did after its checkpoint is done again
    first = [rank[:kept] for rank in first]

    going_on = ["trainer.max_steps=-1", f"trainer.max_epochs={EPOCHS}", f"ckpt={last}"]
    if way == "killed":
        going_on.append("+callbacks.kill=null")  # the run's own settings apply again
    done = train(tmp_path, cache, "second", after, *going_on)
    assert done.returncode == 0, done.stderr[-2000:]
    second = batches_of(tmp_path, "second")
    assert len(second) == after and len({len(rank) for rank in second}) == 1
    assert before * steps < sum(number == 0 for number, _ in whole), "the first run ends within the first epoch"
    for epoch in range(EPOCHS):
        everything = places([whole], epoch)
        assert set(everything.values()) == {1}
        assert places(first, epoch) + places(second, epoch) == everything
    assert places(first, 0) and places(second, 0), "both runs took part in the first epoch"
