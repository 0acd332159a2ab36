"""Samples while training: they appear in files and loggers, and training does not notice."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import symusic
import torch

from aurl.data.batching import IGNORED, PackedBatch
from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.models.config import ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.training.callbacks.samples import SampleMusic, log_to_wandb, undisturbed
from aurl.training.config import OptimConfig
from aurl.training.module import MusicModule
from aurl.utils.errors import AurlError

BATCHES = 4
TICKS = 480


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.from_config(TokenizerConfig(positions_per_beat=4, velocities=4, tempos=4, tracks_per_program=1))


@pytest.fixture(scope="module")
def batch(codec: Codec) -> PackedBatch:
    """One short piece: a scale."""
    score = symusic.Score(TICKS)
    track = symusic.Track("", 0, False)
    for step in range(16):
        track.notes.append(symusic.Note(step * TICKS, TICKS, 60 + step % 12, 90))
    score.tracks.append(track)
    ids = torch.from_numpy(codec.encode(score).astype("int64"))
    bar, beat = (torch.from_numpy(part) for part in codec.vocabulary.musical_time(ids.numpy()))
    return PackedBatch(
        ids=ids,
        targets=torch.cat([ids[1:], torch.tensor([IGNORED])]),
        index=torch.arange(len(ids)),
        beat=beat.float(),
        bar=bar.long(),
        lengths=[len(ids)],
        notes=16,
        beats=16.0,
        pieces=1,
        augmented=0,
    )


def make_module(codec: Codec, ema_decay: float = 0.0) -> MusicModule:
    torch.manual_seed(3)
    config = ModelConfig(hidden_dim=16, layers=1, heads=2, context=256, dropout=0.2)
    model = MusicTransformerVAEGAN(config, codec.vocabulary.size)
    return MusicModule(model, codec, OptimConfig(lr=1e-2, warmup_steps=1, ema_decay=ema_decay))


def fit(module: MusicModule, batch: PackedBatch, callbacks: list[L.Callback], logger: Any = False) -> L.Trainer:
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=callbacks,
        logger=logger,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    torch.manual_seed(5)
    trainer.fit(module, torch.utils.data.DataLoader([batch] * BATCHES, batch_size=None))
    return trainer


def quick(folder: Path, **settings: Any) -> SampleMusic:
    values = {"every_n_batches": 2, "num_samples": 1, "bars": 2, "max_tokens": 200} | settings
    return SampleMusic(str(folder), **values)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_training_with_samples_learns_exactly_the_weights_of_training_without(tmp_path, codec, batch, ema_decay):
    plain, sampled = make_module(codec, ema_decay), make_module(codec, ema_decay)
    fit(plain, batch, [])
    fit(sampled, batch, [quick(tmp_path, formats=["midi"])])
    assert (tmp_path / "step_000002").is_dir()
    for one, other in zip(plain.parameters(), sampled.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(plain.sampling_model().parameters(), sampled.sampling_model().parameters(), strict=True):
        assert torch.equal(one, other)


def test_midi_picture_and_sound_are_written_at_every_step_that_is_due(tmp_path, codec, batch):
    module, callback = make_module(codec), quick(tmp_path / "samples", num_samples=2)
    fit(module, batch, [callback])
    folders = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert folders == ["step_000002", "step_000004"]
    written = sorted(path.name for path in (tmp_path / "samples" / "step_000004").iterdir())
    assert written == [f"sample_00{number}{suffix}" for number in (1, 2) for suffix in (".mid", ".png", ".wav")]
    assert symusic.Score(tmp_path / "samples" / "step_000004" / "sample_001.mid").note_num() > 0
    assert callback.last_path == tmp_path / "samples" / "step_000004"
    assert module.last_samples == str(callback.last_path)


def test_tensorboard_gets_pictures_and_sound(tmp_path, codec, batch):
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(str(tmp_path / "logs"), name="", version="")
    fit(make_module(codec), batch, [quick(tmp_path / "samples")], logger=logger)
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert [event.step for event in events.Images("samples/piano_roll/sample_001")] == [2, 4]
    assert [event.step for event in events.Audio("samples/audio/sample_001")] == [2, 4]


def test_wandb_gets_pictures_sound_and_midi_files(tmp_path):
    calls: list[tuple[str, Any]] = []
    logger = SimpleNamespace(
        log_image=lambda **given: calls.append(("image", given)),
        log_audio=lambda **given: calls.append(("audio", given)),
        experiment=SimpleNamespace(save=lambda path, **given: calls.append(("save", path))),
    )
    folder = tmp_path / "step_000002"
    log_to_wandb(logger, [folder / "a.png"], [folder / "a.wav"], [folder / "a.mid"], ["seed 0"])
    assert [name for name, _ in calls] == ["image", "audio", "save"]
    assert calls[0][1] == {"key": "samples/piano_roll", "images": [str(folder / "a.png")], "caption": ["seed 0"]}
    assert calls[2][1] == str(folder / "a.mid")


def test_a_full_disk_is_a_warning_and_training_goes_on(tmp_path, codec, batch, monkeypatch, caplog):
    def full(*given: Any, **named: Any) -> None:
        raise AurlError("cannot write x: No space left on device")

    monkeypatch.setattr("aurl.generation.export.write_samples", full)
    callback = quick(tmp_path)
    with caplog.at_level(logging.WARNING):
        trainer = fit(make_module(codec), batch, [callback])
    assert trainer.global_step == BATCHES
    assert "no samples after 2 batches: cannot write x" in caplog.text
    assert callback.last_path is None


def test_samples_without_notes_are_left_out(tmp_path, codec, batch, monkeypatch, caplog):
    monkeypatch.setattr(SampleMusic, "generate", lambda self, module: [SimpleNamespace(notes=0)])
    with caplog.at_level(logging.WARNING):
        fit(make_module(codec), batch, [quick(tmp_path / "samples")])
    assert "no sample has notes yet" in caplog.text
    assert not (tmp_path / "samples").exists()


def test_random_numbers_and_modes_are_as_before():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    model.train()
    model[1].eval()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with undisturbed(model):
        assert not model.training
        torch.rand(7)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in (model, model[0], model[1])] == [True, True, False]


@pytest.mark.parametrize("key", ["every_n_batches", "num_samples", "bars", "max_tokens"])
def test_a_setting_out_of_range_is_named(key):
    with pytest.raises(ValueError, match=rf"callbacks\.samples\.{key}=0 is out of range; allowed: 1 or more"):
        SampleMusic("x", **{key: 0})
    with pytest.raises(ValueError, match="formats=gif"):
        SampleMusic("x", formats=["gif"])
