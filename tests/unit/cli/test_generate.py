"""``aurl-generate`` with a tiny untrained checkpoint: prompts that are wrong or short get one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from symusic import Note, Score, Track

from aurl.cli import app, generate
from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.models.checkpoint import save_bundle
from aurl.models.config import ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN

BARS = 3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, a file that is none, and a song."""
    folder = tmp_path_factory.mktemp("generate")
    codec = Codec.from_config(TokenizerConfig(positions_per_beat=4, velocities=2, tempos=4))
    torch.manual_seed(0)
    model = MusicTransformerVAEGAN(
        ModelConfig(hidden_dim=16, heads=2, layers=1, context=256, hearing=False), codec.size
    )
    save_bundle(folder / "tiny.ckpt", model, codec.to_dict(), {}, {"programs": [0]})
    (folder / "broken.ckpt").write_bytes(b"no checkpoint")
    (folder / "songs").mkdir()
    (folder / "songs" / "a broken one.mid").write_bytes(b"MThd")
    (folder / "broken").mkdir()
    (folder / "broken" / "a.mid").write_bytes(b"MThd")
    (folder / "empty").mkdir()
    score = Score(480)
    score.tracks.append(Track(program=0, notes=[Note(480 * beat, 480, 60 + beat, 80) for beat in range(4 * BARS)]))
    score.dump_midi(folder / "songs" / "a song.mid")
    return folder


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def run(*arguments: str, ckpt: str = "tiny.ckpt") -> int:
    return app.execute("generate", generate.generate, [*arguments, f"ckpt={ckpt}", "device=cpu", "formats=midi"])


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("prompt=songs", "songs is a folder; give one score to continue, for instance prompt='songs/a song.mid'"),
        ("prompt=broken", "broken is a folder; give one score to continue\n"),
        ("prompt=empty", "empty is a folder; give one score to continue\n"),
        ("prompt=songs/b song.mid", "does not exist; did you mean a song.mid?; give a score to continue"),
        ("prompt=songs/a broken one.mid", "songs/a broken one.mid: "),
        ("prompt_bars=2", "prompt_bars=2 goes with prompt=FILE, whose bars they are"),
        ("tempo=5", "tempo=5.0 is out of range; allowed: 10 to 1000"),
        ("programs=[0,129]", "program 129 is out of range; allowed: 0 to 127, or 128 for drums"),
        ("key=H major", "key=H major is unknown; allowed: "),
        ("chords=C Hm", "chords=C Hm: "),
    ],
)
def test_what_cannot_be_used_is_told_before_the_checkpoint_is_read(argument: str, line: str, capsys) -> None:
    assert run(argument, ckpt="broken.ckpt") == app.FAILED
    error = capsys.readouterr().err
    assert line in error and error.count("error:") == 1


def test_a_prompt_with_fewer_bars_than_asked_is_taken_whole_and_said_to_be(tmp_path: Path, capsys) -> None:
    settings = ["prompt=songs/a song.mid", "bars=1", "num_samples=1", "max_tokens=32"]
    assert run(*settings, f"prompt_bars={BARS}", f"output={tmp_path / 'enough'}") == 0
    shown = capsys.readouterr()
    assert "prompt_bars" not in shown.err and "Written: 1 file (mid) in" in shown.out
    assert run(*settings, "prompt_bars=16", f"output={tmp_path / 'short'}") == 0
    assert f"prompt_bars=16: a song.mid has only {BARS}, which are all taken" in capsys.readouterr().err


def test_of_a_prompt_longer_than_the_context_it_is_said_how_much_is_seen(tmp_path: Path, capsys) -> None:
    score = Score(480)
    score.tracks.append(Track(program=0, notes=[Note(480 * beat, 480, 60 + beat % 12, 80) for beat in range(120)]))
    score.dump_midi(tmp_path / "long.mid")
    settings = ["bars=1", "num_samples=1", "max_tokens=32"]
    assert run(f"prompt={tmp_path / 'long.mid'}", *settings, f"output={tmp_path / 'long'}") == 0
    told = capsys.readouterr().err
    assert "tokens the model sees the last 128 at first, then up to 256; model.context was set in training" in told
    assert run("prompt=songs/a song.mid", *settings, f"output={tmp_path / 'short'}") == 0
    assert "the model sees" not in capsys.readouterr().err
