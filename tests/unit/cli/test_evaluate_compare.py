"""``aurl-evaluate``: distances, judges, copies and diversity beside a reference, and two runs compared pair by pair."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from symusic import Note, Score, TimeSignature, Track

from aurl.cli import app, evaluate
from aurl.cli.evaluate_compare import labels


def write(path: Path, seed: int, bars: int = 12, wrong: bool = False) -> None:
    rng = np.random.default_rng(seed)
    heights = 67 + np.clip(np.cumsum(rng.integers(-3, 4, bars * 8)), -12, 12)
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 4, 4))
    if wrong:
        heights = rng.permutation(heights)
    score.tracks.append(Track(notes=[Note(k * 240, 240, int(h), 80) for k, h in enumerate(heights)]))
    path.parent.mkdir(parents=True, exist_ok=True)
    score.dump_midi(path)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared")
    for seed in range(11):
        write(root / "a" / f"{seed}.mid", seed)
        write(root / "b" / f"{seed}.mid", seed, wrong=True)
        write(root / "corpus" / f"{seed}.mid", seed + 50)
    for seed in range(20):
        write(root / "real" / f"{seed}.mid", seed + 100)
    write(root / "b" / "copied.mid", 53)
    return root


def run(*arguments: str) -> int:
    return app.execute("evaluate", evaluate.evaluate, list(arguments))


def test_music_is_compared_with_a_reference_and_a_training_set(music: Path, tmp_path: Path, capsys) -> None:
    code = run(
        f"music={music / 'b'}",
        f"reference={music / 'real'}",
        f"training={music / 'corpus'}",
        "judges=[forest]",
        f"json={tmp_path / 'b.json'}",
    )
    output = capsys.readouterr()
    assert code == 0, output.err
    for words in (
        "can a classifier tell it",
        "Frechet distance",
        "distances of metrics",
        "copied passages",
        "diversity",
    ):
        assert words in output.out
    assert "copied.mid: copied: 95 equal notes with 3.mid" in output.out
    found = json.loads((tmp_path / "b.json").read_text())["comparison"]
    assert found["judges"][0]["judge"] == "forest" and found["judges"][0]["accuracy"] > 0.8
    assert found["copies"]["copied"] == pytest.approx(1 / 12) and found["copies"]["human_copied"] == 0
    assert [file["path"] for file in found["copies"]["files"] if file["verdict"] == "copied"] == ["copied.mid"]
    assert found["distances"]["pitch_range"]["pieces"] == [12, 20]


def test_without_a_reference_only_the_batch_is_looked_at(music: Path, capsys) -> None:
    assert run(f"music={music / 'a'}", "metrics=[pitch_range]") == 0
    output = capsys.readouterr().out
    assert "diversity" in output and "copied" not in output and "classifier" not in output


def test_few_files_say_what_is_not_measured(music: Path, capsys) -> None:
    assert run(f"music={music / 'b' / '0.mid'}", f"reference={music / 'corpus'}", "metrics=[pitch_range]") == 0
    output = capsys.readouterr().out
    assert (
        "not measured: judge convolution: 1 pieces; at least 10" in output
        and "real pieces against the others" in output
    )


def test_two_folders_or_json_files_are_compared_file_by_file(music: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "compared.json"
    assert run(f"compare=[{music / 'a'},{music / 'b'}]", "metrics=[mean_interval,pitch_range]", f"json={out}") == 0
    output = capsys.readouterr().out
    assert "b minus a: 1 of 2 metrics differ" in output
    assert "11 pairs: p is too small if rare differences are far larger" in output and "p sign" in output
    rows = {row["metric"]: row for row in json.loads(out.read_text())["differences"]}
    assert rows["mean_interval"]["pairs"] == 11 and rows["mean_interval"]["low"] > 0
    assert rows["mean_interval"]["higher"] == 1 and rows["mean_interval"]["p_sign_holm"] < 0.01
    assert rows["pitch_range"]["difference"] == 0 and rows["pitch_range"]["p_value"] == 1
    assert run(f"music={music / 'a'}", "metrics=[mean_interval,pitch_range]", f"json={tmp_path / 'a.json'}") == 0
    assert run(f"compare=[{tmp_path / 'a.json'},{music / 'b'}]", "metrics=[mean_interval]") == 0
    again = capsys.readouterr().out
    assert "1 of 1 metrics differ (Holm 5 %)" in again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare=[{root}/a]"], "a] names 1; allowed: two, [A,B]"),
        (["compare=[{root}/a,{root}/run]"], "the first is music, the second a checkpoint"),
        (["compare=[{root}/a,{root}/bb]"], "/bb does not exist; did you mean b?; the other is music: give a second"),
        (["compare=[some-run,other-run]"], "compare=some-run does not exist"),
        (["compare=[{root}/a,{root}/none.json]"], "/none.json does not exist; did you mean"),
        (
            ["compare=[{root}/a,{root}/wrong.json]"],
            "does not hold metrics of files; write it with aurl-evaluate music=",
        ),
        (
            ["compare=[{root}/a,{root}/real/0.mid]"],
            "0.mid has 1 readable piece; at least 5 pairs are needed: give folders",
        ),
        (["compare=[{root}/a,{root}/other]"], "only 0 names stand in both runs"),
        (
            ["compare=[{root}/a,{root}/b]", "ckpt=best"],
            "names its checkpoints itself and does not read ckpt=best; name",
        ),
        (["music={root}/a", "ckpt=best"], "music=FOLDER measures files without a model; leave out ckpt"),
        (["compare=[{root}/a,{root}/b]", "reference={root}/real"], "do not go together"),
        (["compare=[{root}/a,{root}/b]", "seed=-1"], "seed=-1 is out of range"),
    ],
)
def test_mistakes_are_told_in_one_line(music: Path, capsys, arguments: list[str], message: str) -> None:
    (music / "wrong.json").write_text('{"files": [{"path": "x"}]}')
    (music / "run" / "checkpoints").mkdir(parents=True, exist_ok=True)
    (music / "run" / "checkpoints" / "last.ckpt").touch()
    for seed in range(5):
        write(music / "other" / f"x{seed}.mid", seed)
    assert run(*(argument.format(root=music) for argument in arguments)) == app.FAILED
    error = capsys.readouterr().err
    assert message in error and error.count("error:") == 1


def test_two_checkpoints_are_compared_piece_by_piece(tmp_path: Path, capsys) -> None:
    from aurl.cli import train

    small = [
        *("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"),
        *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "model.context=64", "model.layers=1"),
        *("model.hidden_dim=16", "model.heads=2", "data.batch_tokens=256", "data=synth", "data.pieces=40"),
        *(f"paths.runs={tmp_path / 'runs'}", f"paths.cache={tmp_path / 'cache'}"),
    ]
    for seed in (0, 1):
        assert app.execute("train", train.train, [*small, f"seed={seed}", f"run_name=run{seed}"]) == 0
    capsys.readouterr()
    shared = [f"paths.runs={tmp_path / 'runs'}", f"paths.cache={tmp_path / 'cache'}", "device=cpu", "split=all"]
    out = tmp_path / "compared.json"
    assert run("compare=[run0,run1]", f"json={out}", *shared) == 0
    row = json.loads(out.read_text())["differences"][0]
    assert row["metric"] == "nats_per_note" and row["pairs"] == 40 and row["difference"] != 0
    assert row["low"] <= row["difference"] <= row["high"]
    assert re.search(r"\S+_run1 minus \S+_run0: ", capsys.readouterr().out)
    files = [next((tmp_path / "runs").rglob(f"*run{seed}/checkpoints/last.ckpt")) for seed in (0, 1)]
    assert run(f"compare=[{files[0]},{files[1]}]", *shared) == 0
    assert re.search(r"\S+_run1 minus \S+_run0: ", capsys.readouterr().out)
    assert run("compare=[run0,run0]", *shared) == 0
    shown = capsys.readouterr()
    assert "second minus first" in shown.out and "compare=[run0,run0]: both are the same, " in shown.err
    assert run("compare=[run0,run1]", *shared[:-1], "split=valid") == app.FAILED
    error = capsys.readouterr().err
    assert re.search(r"the split has [1-4] pieces? with notes; at least 5 pairs are needed: take split=all, or", error)


def test_runs_and_files_compared_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    def named(*names: str, kind: str = "a checkpoint") -> tuple[str, str]:
        return labels([str(tmp_path / name) for name in names], kind, tmp_path)

    for name in ("one", "two", "sweep/0", "sweep/1"):
        for file in ("last.ckpt", "best.ckpt"):
            (tmp_path / name / "checkpoints").mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "checkpoints" / file).write_bytes(name.encode())
    (tmp_path / "alone.ckpt").touch()
    assert named("one/checkpoints/last.ckpt", "two/checkpoints/last.ckpt") == ("one", "two")
    assert named("sweep/0", "sweep/1") == ("sweep/0", "sweep/1")
    assert named("one/checkpoints/last.ckpt", "one/checkpoints/best.ckpt") == ("last", "best")
    assert named("alone.ckpt", "one/checkpoints/last.ckpt") == ("alone", "last")
    assert named("x/music", "y/music", kind="music") == ("x/music", "y/music")
