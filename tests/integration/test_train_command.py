"""A run from the command line to its folder: every epoch is trained, the best is kept, an interrupted run goes on."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from symusic import Note, Score, Track

from aurl.cli import app, train

TINY = [
    *("data=synth", "data.pieces=20", "data.batch_tokens=512", "trainer=cpu", "trainer.enable_progress_bar=false"),
    *("model.hidden_dim=16", "model.heads=2", "model.layers=1", "model.context=64", "logger=none"),
    *("callbacks.samples=null", "callbacks.log_lines.every_n_batches=5", "callbacks.checkpoints.every_n_batches=1"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["aurl"])
    monkeypatch.setenv("AURL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(*arguments: str) -> int:
    return app.execute("train", train.train, arguments)


def progress_of(checkpoint: Path) -> dict[str, int]:
    from aurl.models.checkpoint import read_checkpoint

    return read_checkpoint(checkpoint)["aurl"]["progress"]


def test_a_run_trains_every_epoch_and_leaves_settings_log_last_and_best(here: Path) -> None:
    assert run(*TINY, "trainer.max_epochs=3", "run_name=three", "loss.kl_weight=0.5") == 0
    (folder,) = here.glob("runs/train/*_three")
    log = (folder / "aurl.log").read_text()
    lines = re.findall(r"Epoch: (\d)/3, Batch: (\d+)/(\d+) \| Files processed: (\d+)", log)
    assert [epoch for epoch, batch, batches, _ in lines if batch == batches] == ["1", "2", "3"]
    batches = int(lines[0][2])
    assert progress_of(folder / "checkpoints/last.ckpt")["batches"] == 3 * batches
    assert (folder / "checkpoints/best.ckpt").is_file()
    assert len(re.findall(r"val after \d+ batches: nats per note", log)) == 3
    assert log.count("loss.kl_weight does nothing here: model=transformer has no latents") == 1
    cfg = OmegaConf.load(folder / "config.yaml")
    assert isinstance(cfg, DictConfig)
    assert cfg.model.hidden_dim == 16
    assert cfg.paths.output == str(folder)


def test_an_interrupted_run_goes_on_where_it_was_with_its_own_settings(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aurl.training.module import MusicModule

    step = MusicModule.training_step
    stop_after = 7

    def interrupted(self: MusicModule, batch: object, batch_idx: int) -> None:
        if self.batches_seen == stop_after:
            raise KeyboardInterrupt
        step(self, batch, batch_idx)

    monkeypatch.setattr(MusicModule, "training_step", interrupted)
    assert run(*TINY, "trainer.max_epochs=2", "run_name=stopped") == app.INTERRUPTED
    monkeypatch.setattr(MusicModule, "training_step", step)
    (stopped,) = here.glob("runs/train/*_stopped")
    assert progress_of(stopped / "checkpoints/last.ckpt")["batches"] == stop_after
    assert run("ckpt=last", "run_name=continued") == 0
    assert run(*TINY, "trainer.max_epochs=2", "run_name=whole") == 0
    (continued,), (whole,) = here.glob("runs/train/*_continued"), here.glob("runs/train/*_whole")
    ends = [progress_of(run_folder / "checkpoints/last.ckpt") for run_folder in (continued, whole)]
    # The batch that was under way when Ctrl-C came is not drawn again; a killed run loses none (test_training.py).
    assert ends[1]["batches"] - 1 <= ends[0]["batches"] <= ends[1]["batches"]
    figures = [end["metrics"]["val/likelihood/nats_per_note"] for end in ends]
    assert figures[0] == pytest.approx(figures[1], rel=0.05)


def test_a_broken_checkpoint_ends_the_command_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "broken.ckpt").write_bytes(b"not a checkpoint")
    assert run(*TINY, "ckpt=broken.ckpt", "trainer.max_epochs=1") == app.FAILED
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "broken.ckpt is damaged or not a checkpoint" in errors[0]


def test_a_run_that_fails_before_it_trains_leaves_no_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    assert run(*TINY[1:], "data=folder", "data.path=empty") == app.FAILED
    assert "empty" in capsys.readouterr().err
    assert not list(here.glob("runs/train/*"))


def test_a_run_without_a_batch_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TINY, "trainer.max_epochs=0") == app.FAILED
    assert "nothing was trained: trainer.max_epochs=0" in capsys.readouterr().err
    assert not list(here.glob("runs/train/*"))
    assert run(*TINY, "trainer.max_epochs=1") == 0
    told = capsys.readouterr().out.split("Next:\n")[1].splitlines()[:3]
    assert len({line.rindex("   ") for line in told}) == 1  # what the commands do stands in one column
    assert run("ckpt=last") == app.FAILED
    assert re.search(r"nothing was trained: .* after what .*last.ckpt has seen", capsys.readouterr().err)
    assert len(list(here.glob("runs/train/*"))) == 1


def test_a_run_is_continued_with_the_model_that_it_was_begun_with(here: Path) -> None:
    from aurl.models.checkpoint import load_bundle

    assert run(*TINY, "model.hearing=false", "trainer.max_steps=3", "run_name=deaf") == 0
    (deaf,) = here.glob("runs/train/*_deaf")
    typed = ["model.hearing=true", "model.hearing_dropout=0.2", "model.dropout=0.3", "trainer.max_steps=6"]
    assert run("ckpt=last", *typed, "run_name=on") == 0
    (folder,) = here.glob("runs/train/*_on")
    log = (folder / "aurl.log").read_text()
    assert f"model.hearing=True is not what {deaf}/checkpoints/last.ckpt was begun with; kept: False" in log
    assert "init_from= begins a new run with weights" in log
    assert "model.hearing_dropout does nothing here: model.hearing=false" in log  # of the model that goes on
    assert "\n  hearing: false" in (folder / "config.yaml").read_text()  # what the model is, not what was typed
    bundle = load_bundle(folder / "checkpoints/last.ckpt")
    assert not bundle.model.config.hearing
    assert bundle.model.config.dropout == 0.3
    assert bundle.progress["batches"] == 6


def test_a_checkpoint_of_other_parts_is_not_continued(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    assert run(*TINY, "trainer.max_steps=1") == 0
    (last,) = here.glob("runs/train/*/checkpoints/last.ckpt")
    content = torch.load(last, weights_only=True)
    weights = content["state_dict"]
    weights["model.decoder.older.weight"] = weights.pop("model.decoder.embedding.weight")
    torch.save(content, last)
    assert run("ckpt=last", "trainer.max_steps=2") == app.FAILED
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "it lacks model.decoder.embedding.weight and has besides model.decoder.older.weight; begin a new" in error
    assert "init_from=" in error


def test_a_run_is_continued_or_begun_with_weights_but_not_both(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TINY, "trainer.max_steps=1") == 0
    assert run("ckpt=last", "init_from=last") == app.FAILED
    assert "ckpt=last continues a run and init_from=last begins a new one" in capsys.readouterr().err
    assert run(*TINY, "trainer.max_steps=1", "init_from=last", "run_name=begun") == 0
    assert run("ckpt=last", "trainer.max_steps=2") == 0  # init_from is among what the run was begun with


def test_a_run_with_local_attention_is_trained_kept_and_generates(here: Path) -> None:
    from aurl.models.checkpoint import load_bundle
    from aurl.models.config import Attention

    local = ("model.attention=local", "model.window=12", "model.gradient_checkpointing=true")
    assert run(*TINY, *local, "trainer.max_epochs=1", "num_samples=1", "bars=8", "run_name=local") == 0
    (folder,) = here.glob("runs/train/*_local")
    model = load_bundle(folder / "checkpoints" / "last.ckpt").model
    assert (model.config.attention, model.config.window) == (Attention.local, 12)
    assert any(float(value.abs().max()) > 0 for name, value in model.named_parameters() if name.endswith("pool"))
    assert list(folder.glob("generated/*.mid"))


def test_a_folder_of_one_piece_is_refused_and_leaves_no_run_behind(here: Path, capsys) -> None:
    (here / "songs").mkdir()
    score = Score(480)
    score.tracks.append(Track(notes=[Note(480 * beat, 480, 60 + beat % 12, 80) for beat in range(32)]))
    score.dump_midi(here / "songs" / "one.mid")
    settings = [word for word in TINY if not word.startswith(("data=", "data.pieces="))]
    assert run("data=folder", "data.path=songs", *settings) == app.FAILED
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert error.startswith("error: data=folder has 1 readable piece; training needs 2 or more, one to learn from")
    assert not list(here.glob("runs/train/*"))
    assert run("data=folder", "data.path=songs", *settings, "trainer.limit_val_batches=0", "trainer.max_epochs=1") == 0
