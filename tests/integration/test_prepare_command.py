"""From the command line: a folder is prepared, pieces are chosen, the corpus is trained on and measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from aurl.cli import app, train
from aurl.cli.data import execute
from aurl.data.synth import compose

TINY = [
    *("data.batch_tokens=512", "trainer=cpu", "trainer.enable_progress_bar=false", "trainer.max_steps=2"),
    *("model.hidden_dim=16", "model.heads=2", "model.layers=1", "model.context=64", "logger=none"),
    *("callbacks.samples=null",),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of ten tunes by two composers, beside a cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["aurl"])
    monkeypatch.setenv("AURL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "my music"
    folder.mkdir()
    for number in range(10):
        score, truth = compose(1, number)
        score.dump_midi(folder / f"{number}.mid")
        split = ("test", "valid")[number] if number < 2 else "train"
        facts = {"composer": "Bach" if number % 2 else "Haydn", "mode": truth.mode, "split": split}
        (folder / f"{number}.json").write_text(json.dumps(facts))
    return tmp_path


FOLDER = ("data=folder", "data.path=my music")


def test_a_folder_is_prepared_and_pieces_are_chosen(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["prepare", *FOLDER, "progress=false", "data.features=onset_density"]) == 0
    out = capsys.readouterr().out
    assert "pieces   10 (train 8, valid 1, test 1)" in out and "skipped  0" in out
    where = "data.where=composer == 'Bach' and not contains(id, '9')"
    assert execute(["prepare", *FOLDER, "progress=false", "data.features=onset_density", where]) == 0
    out = capsys.readouterr().out
    assert (
        "pieces   4 (train 3, valid 1, test 0) with data.where=\"composer == 'Bach' and not contains(id, '9')\"" in out
    )
    (corpus,) = (here / "cache").glob("folder-*")
    assert f"folder   {corpus}" in out


def test_parts_are_made_apart(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in (1, 2):
        assert execute(["prepare", *FOLDER, "progress=false", f"part={part}", "parts=2"]) == 0
    assert "when all parts are, run this without part and parts" in capsys.readouterr().out
    assert not list((here / "cache").glob("folder-*"))
    assert execute(["prepare", *FOLDER, "progress=false"]) == 0
    capsys.readouterr()
    assert execute(["stats", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["corpora"]
    assert (row["pieces"], row["made"], row["reused"]) == (10, 0, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.where=compser == 'Bach'"], "did you mean composer?"),
        (["data.where=composer = 'Bach'"], "equality is written =="),
        (["data.features=chroma"], "data.features: there is no 'chroma'"),
        (["data.limits.byte=3"], "did you mean data.limits.bytes?"),
        (["data.limits.bytes=0"], "limit bytes=0 is too small"),
        (["part=3"], "part and parts go together"),
        (["part=3", "parts=2"], "part=3 is out of range; allowed: 1 to parts=2"),
        (["paths.cache_limit=lots"], "paths.cache_limit: 'lots' is no size"),
        (["mode=x"], "mode is not a setting of aurl-data prepare"),
    ],
)
def test_mistakes_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert execute(["prepare", *FOLDER, "progress=false", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("error:") == 1


def test_help_lists_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["prepare", "--help"]) == 0
    out = capsys.readouterr().out
    assert "aurl-data prepare data=folder" in out and "preprocess=" in out


def test_chosen_and_preprocessed_music_is_trained_on_and_measured(here: Path) -> None:
    from aurl.cli import evaluate

    chosen = [*FOLDER, "data.where=mode in ['major', 'minor'] and notes > 10", "preprocess=quantised"]
    assert app.execute("train", train.train, [*TINY, *chosen]) == 0
    (prepared,) = (here / "cache").glob("folder-*")
    assert app.execute("evaluate", evaluate.evaluate, ["split=all", "json=all.json", "device=cpu"]) == 0
    figures = json.loads((here / "all.json").read_text())
    assert figures["pieces"] == 10
    assert list((here / "cache").glob("folder-*")) == [prepared], "the checkpoint's preprocessing is used again"
    none = ["split=train", "json=none.json", "device=cpu", "preprocess=none", *FOLDER, "data.where=composer == 'Bach'"]
    assert app.execute("evaluate", evaluate.evaluate, none) == 0
    assert json.loads((here / "none.json").read_text())["pieces"] == 4
    assert len(list((here / "cache").glob("folder-*"))) == 2
