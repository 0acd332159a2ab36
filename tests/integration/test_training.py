"""Training on real prepared music: it learns, resumes exactly, averages, survives bad batches, leaves usable files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from aurl.data.augmentation.config import (
    AugmentConfig,
    HumanizeConfig,
    Ramp,
    ScheduleConfig,
    StretchConfig,
    SubstituteConfig,
    SwingConfig,
    VelocityConfig,
)
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.datamodule import MusicDataModule
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.models.checkpoint import load_bundle
from aurl.models.config import ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.training.callbacks.checkpoints import Checkpoints
from aurl.training.checkpoint_io import AtomicCheckpointIO
from aurl.training.config import OptimConfig
from aurl.training.finite import NON_FINITE_LIMIT
from aurl.training.losses import Losses
from aurl.training.module import MusicModule
from aurl.utils.errors import AurlError

CONTEXT = 128


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def corpus(cache: Path, augment: AugmentConfig | None = None, **changes: Any) -> MusicDataModule:
    settings: dict[str, Any] = {
        "name": "synth",
        "source": Source.synth,
        "pieces": 24,
        "batch_tokens": 1024,
        "workers": 1,
    }
    data = MusicDataModule(
        DataConfig(**(settings | changes)), TokenizerConfig(), cache, CONTEXT, seed=3, progress=False, augment=augment
    )
    data.prepare_data()
    data.setup()
    return data


def module(data: MusicDataModule, **optim: Any) -> MusicModule:
    torch.manual_seed(11)
    vocabulary = data.codec.vocabulary
    config = ModelConfig(
        hidden_dim=32, layers=2, heads=2, dropout=0.2, context=CONTEXT, hearing=True, hearing_dropout=0.1
    )
    model = MusicTransformerVAEGAN(config, vocabulary.size, TokenMeaning.of(vocabulary.meaning()))
    settings: dict[str, Any] = {"lr": 3e-3, "warmup_steps": 2, "ema_decay": 0.9}
    return MusicModule(model, data.codec, OptimConfig(**(settings | optim)), programs=data.programs_met())


def trainer(folder: Path, **changes: Any) -> L.Trainer:
    settings: dict[str, Any] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
        "callbacks": [Checkpoints(str(folder), every_n_batches=5)],
        "plugins": [AtomicCheckpointIO()],
    }
    return L.Trainer(**(settings | changes))


class StopAfter(L.Callback):
    """Ends the process's training in the middle of an epoch, as a kill would, once last.ckpt is written."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if pl_module.batches_seen >= self.batches:
            raise RuntimeError("killed")


def test_training_learns_and_leaves_a_checkpoint_that_can_be_used(cache: Path, tmp_path: Path) -> None:
    data = corpus(cache)
    learner = module(data)
    start = trainer(tmp_path)
    before = start.validate(learner, data, verbose=False)[0]["val/likelihood/nats_per_note"]
    start.fit(learner, datamodule=data)
    after = float(start.callback_metrics["val/likelihood/nats_per_note"])
    assert after < 0.8 * before
    bundle = load_bundle(tmp_path / "best.ckpt")
    assert bundle.progress["programs"] == data.programs_met()
    assert bundle.progress["batches"] == learner.batches_seen
    averaged = learner.sampling_model().state_dict()
    torch.testing.assert_close(load_bundle(tmp_path / "last.ckpt").model.state_dict(), averaged)
    request = GenerationRequest(sampler=SamplerConfig(), bars=2, seed=1)
    assert Generator.from_checkpoint(tmp_path / "last.ckpt").generate(request)[0].notes > 0
    names = sorted(path.name for path in tmp_path.glob("*.ckpt"))
    assert names[0] == "best.ckpt" and names[-1] == "last.ckpt" and not any("=" in name for name in names)


EVERYTHING = AugmentConfig(
    stretch=StretchConfig(probability=0.5),
    velocity=VelocityConfig(probability=0.5),
    substitute=SubstituteConfig(probability=0.5),
    swing=SwingConfig(probability=0.5),
    humanize=HumanizeConfig(probability=0.5),
    schedule=ScheduleConfig(shape=Ramp.linear, begin=0.1),
)


def changing(cache: Path) -> MusicDataModule:
    """A corpus with every augmentation, more of it as training goes on, and remembered context."""
    return corpus(cache, EVERYTHING, segment_overlap=0.25)


def test_a_killed_run_with_scheduled_augmentation_continues_to_the_same_weights(cache: Path, tmp_path: Path) -> None:
    data = changing(cache)
    whole = module(data)
    trainer(tmp_path / "whole").fit(whole, datamodule=data)
    batches = len(data.train_dataloader())
    assert batches > 8, "the kill must fall inside an epoch"
    killed = module(changing(cache))
    stop = StopAfter(batches + 7)  # two batches after the checkpoint that follows batch 5 of the second epoch
    callbacks = [Checkpoints(str(tmp_path / "killed"), every_n_batches=batches + 5), stop]
    with pytest.raises(RuntimeError, match="killed"):
        trainer(tmp_path / "killed", callbacks=callbacks).fit(killed, datamodule=changing(cache))
    resumed = module(changing(cache))
    trainer(tmp_path / "killed").fit(
        resumed,
        datamodule=changing(cache),
        ckpt_path=str(tmp_path / "killed" / "last.ckpt"),
        weights_only=True,
    )
    assert resumed.batches_seen == whole.batches_seen
    assert resumed.files_processed == whole.files_processed
    assert 0 < resumed.files_augmented == whole.files_augmented < whole.files_processed
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(resumed.sampling_model().parameters(), whole.sampling_model().parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_batch_without_a_finite_loss_is_skipped_and_too_many_stop_the_run(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = corpus(cache)
    learner = module(data)
    honest = learner.losses
    broken: set[int] = {1, 4}

    def sometimes(batch: Any) -> Losses:
        losses = honest(batch)
        return losses._replace(total=losses.total * float("nan")) if learner.batches_seen in broken else losses

    monkeypatch.setattr(learner, "losses", sometimes)
    trainer(tmp_path / "few", max_epochs=1).fit(learner, datamodule=data)
    assert learner.guard.skipped == 2
    assert all(torch.isfinite(parameter).all() for parameter in learner.parameters())
    broken |= set(range(10_000))
    with pytest.raises(AurlError, match=f"not finite in {NON_FINITE_LIMIT} batches in a row; lower optim.lr"):
        trainer(tmp_path / "many", max_epochs=20).fit(learner, datamodule=data)


def test_accumulating_batches_steps_once_for_all_of_them(cache: Path, tmp_path: Path) -> None:
    data = corpus(cache)
    learner = module(data, accumulate=4)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(learner, datamodule=data)
    assert run.global_step == learner.batches_seen // 4


def test_max_steps_counts_steps_of_the_optimiser_and_ends_the_schedule(cache: Path, tmp_path: Path) -> None:
    data = corpus(cache)
    learner = module(data)
    run = trainer(tmp_path, max_epochs=-1, max_steps=7)
    run.fit(learner, datamodule=data)
    assert (run.global_step, learner.batches_seen, learner.total_steps()) == (7, 7, 7)
    assert learner._scheduler().get_last_lr()[0] == pytest.approx(3e-3 * OptimConfig().min_lr_share)


def test_training_without_an_end_is_refused(cache: Path, tmp_path: Path) -> None:
    data = corpus(cache)
    with pytest.raises(AurlError, match=r"training has no end; set trainer\.max_epochs or trainer\.max_steps"):
        trainer(tmp_path, max_epochs=-1).fit(module(data), datamodule=data)


def test_a_full_or_forbidden_folder_is_one_line_and_keeps_the_old_checkpoint(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "last.ckpt"
    old.write_bytes(b"old")

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(AurlError, match=r"cannot write .*last\.ckpt: No space left on device"):
        AtomicCheckpointIO().save_checkpoint({}, old)
    assert old.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_weights_that_are_not_numbers_never_replace_a_checkpoint(cache: Path, tmp_path: Path) -> None:
    class Poison(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
            if pl_module.batches_seen == 12:
                next(pl_module.model.parameters()).data.fill_(float("nan"))

    data = corpus(cache)
    callbacks = [Checkpoints(str(tmp_path), every_n_batches=5), Poison()]
    trainer(tmp_path, max_epochs=1, callbacks=callbacks).fit(module(data), datamodule=data)
    bundle = load_bundle(tmp_path / "last.ckpt")
    assert bundle.progress["batches"] == 10
    assert all(torch.isfinite(parameter).all() for parameter in bundle.model.parameters())


def test_accumulated_gradients_are_in_no_checkpoint_so_resuming_stays_exact(cache: Path, tmp_path: Path) -> None:
    whole = module(corpus(cache), accumulate=3)
    trainer(tmp_path / "whole", max_epochs=1).fit(whole, datamodule=corpus(cache))
    killed = module(corpus(cache), accumulate=3)
    callbacks = [Checkpoints(str(tmp_path / "killed"), every_n_batches=10), StopAfter(14)]
    with pytest.raises(RuntimeError, match="killed"):
        trainer(tmp_path / "killed", max_epochs=1, callbacks=callbacks).fit(killed, datamodule=corpus(cache))
    last = str(tmp_path / "killed" / "last.ckpt")
    assert load_bundle(Path(last)).progress["batches"] == 12
    resumed = module(corpus(cache), accumulate=3)
    trainer(tmp_path / "killed", max_epochs=1).fit(resumed, datamodule=corpus(cache), ckpt_path=last, weights_only=True)
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)
