"""``aurl-evaluate attention=FILE``: pictures and numbers of who looks at whom, and wrong command lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from symusic import Note, Score, TimeSignature, Track

from aurl.cli import app, evaluate
from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.merges import Merges
from aurl.models.checkpoint import save_bundle
from aurl.models.config import Attention, ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.utils.errors import AurlError

BARS = 10


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained checkpoints and a song of eight notes a bar."""
    folder = tmp_path_factory.mktemp("attention")
    codec = Codec.from_config(TokenizerConfig(positions_per_beat=4, velocities=2, tempos=4))
    torch.manual_seed(0)
    for attention in Attention:
        config = ModelConfig(hidden_dim=16, heads=2, layers=2, context=512, attention=attention, window=20)
        model = MusicTransformerVAEGAN(config, codec.vocabulary.size)
        save_bundle(folder / f"{attention.value}.ckpt", model, codec.to_dict(), {}, {"programs": [0]})
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 4, 4))
    score.tracks.append(Track(notes=[Note(k * 240, 240, 60 + k % 12, 80) for k in range(BARS * 8)]))
    score.dump_midi(folder / "song.mid")
    Score(480).dump_midi(folder / "silent.mid")
    return folder


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def run(*arguments: str) -> int:
    return app.execute("evaluate", evaluate.evaluate, ["device=cpu", *arguments])


@pytest.mark.parametrize("attention", ["full", "local"])
def test_numbers_and_pictures_of_a_piece_are_written(home: Path, capsys, attention: str) -> None:
    arguments = (
        f"ckpt={attention}.ckpt",
        "attention=song.mid",
        "attention_bars=2",
        "layers=[1]",
        f"output={attention}",
    )
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    with np.load(home / attention / "attention.npz") as file:
        arrays = dict(file)
    bar_of = arrays["bar_of"]
    assert arrays["layers"].tolist() == [1] and arrays["heads"].tolist() == [0, 1]
    assert arrays["tokens"].shape[2] == np.count_nonzero(bar_of < 2), "the tokens of the first two bars"
    assert arrays["bars"].shape == (1, 2, bar_of[-1] + 1, bar_of[-1] + 1) and BARS <= bar_of[-1] + 1 <= BARS + 1
    assert (arrays["summaries"].shape[-1] > 0) == (attention == "local")
    for name in ("attention_tokens.png", "attention_bars.png"):
        assert f"{attention}/{name}" in printed
        picture = imread(home / attention / name)
        assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 20, "weights of many sizes"


def test_learned_tokens_are_read_as_the_model_reads_them(home: Path) -> None:
    plain = Codec.from_config(TokenizerConfig(positions_per_beat=4, velocities=2, tempos=4))
    ids = plain.encode(plain.prepare_score(Score(home / "song.mid"))[0])
    codec = plain.with_merges(Merges.learn([ids, ids], plain.vocabulary, plain.vocabulary.size + 10))
    model = MusicTransformerVAEGAN(ModelConfig(hidden_dim=16, heads=2, layers=1, context=512), codec.size)
    save_bundle(home / "learned.ckpt", model, codec.to_dict(), {}, {"programs": [0]})
    assert run("ckpt=learned.ckpt", "attention=song.mid", "attention_bars=2", "output=learned") == 0
    with np.load(home / "learned" / "attention.npz") as file:
        assert len(file["bar_of"]) == len(codec.merge(ids)) + 1 < len(ids)


def test_pieces_longer_than_the_context_and_many_bars_are_cut_with_a_word(home: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("aurl.cli.evaluate_attention.MOST_SHOWN", 30)
    long = Score(480)
    long.tracks.append(Track(notes=[Note(k * 240, 240, 60, 80) for k in range(400)]))
    long.dump_midi(home / "long.mid")
    assert run("ckpt=full.ckpt", "attention=long.mid", "layers=[0]", "heads=[0]") == 0
    said = capsys.readouterr().err
    assert "the model's context 512; the rest is left out" in said and "the first 30 are drawn" in said
    with np.load(home / "attention_long" / "attention.npz") as file:
        assert len(file["bar_of"]) == 512 and file["tokens"].shape[-1] == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["attention=nowhere.mid"], "nowhere.mid does not exist; give a score"),
        (["attention=."], "is a folder; give one score"),
        (["attention=silent.mid"], "silent.mid: no tracks in it"),
        (["attention=song.mid", "layers=[2]"], "layers=[2] names 2; this model has layers 0 to 1"),
        (["attention=song.mid", "heads=[-1]"], "heads=[-1] names -1; this model has heads 0 to 1"),
        (["attention=song.mid", "attention_bars=0"], "attention_bars=0 is out of range; allowed: 1 or more"),
        (["attention=song.mid", "output=song.mid/here"], "song.mid is a file; give a folder"),
        (["attention=song.mid", "samples=3"], "attention=FILE draws one score and measures nothing; leave out samples"),
        (["attention=song.mid", "json=a.json"], "leave out json"),
        (["layers=[0]"], "layers=[0] goes with attention=FILE"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, arguments: list[str], message: str) -> None:
    assert run("ckpt=full.ckpt", *arguments) == app.FAILED
    error = capsys.readouterr().err
    assert message in error and error.count("error:") == 1 and "Traceback" not in error


def test_a_picture_that_cannot_be_written_is_an_error_of_one_line(home: Path) -> None:
    from aurl.evaluation.attention_picture import draw_bars
    from aurl.models.attention_maps import attention_maps
    from aurl.models.checkpoint import load_bundle
    from aurl.models.positions import MusicalTime

    index = torch.arange(5)
    maps = attention_maps(load_bundle(home / "full.ckpt").model, index, MusicalTime(index, index / 4, index // 2))
    with pytest.raises(AurlError, match=r"song\.mid"):
        draw_bars(maps, home / "song.mid" / "here.png")
