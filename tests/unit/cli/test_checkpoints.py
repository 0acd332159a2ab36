"""``ckpt=`` finds what the user means, and says what exists when it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aurl.cli.checkpoints import continued_arguments, find_runs, numbered_folder, own_settings, resolve, run_label
from aurl.utils.errors import AurlError


def make_run(runs: Path, name: str, files: tuple[str, ...] = ("last.ckpt", "best.ckpt"), age: int = 0) -> Path:
    folder = runs / "train" / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    for file in files:
        path = folder / "checkpoints" / file
        path.write_bytes(b"weights")
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make_run(tmp_path / "runs", "2026-01-01_10-00-00_aaaa_old", age=100)
    make_run(tmp_path / "runs", "2026-01-02_10-00-00_bbbb_new")
    return tmp_path / "runs"


def test_last_and_best_are_those_of_the_newest_run(runs: Path) -> None:
    assert [run.name[-3:] for run in find_runs(runs)] == ["new", "old"]
    assert resolve("last", runs) == runs / "train/2026-01-02_10-00-00_bbbb_new/checkpoints/last.ckpt"
    assert resolve("best", runs).name == "best.ckpt"


def test_a_run_may_be_named_by_folder_name_or_end_of_name(runs: Path) -> None:
    old = runs / "train/2026-01-01_10-00-00_aaaa_old"
    assert resolve(str(old), runs) == resolve(old.name, runs) == resolve("old", runs)
    assert resolve(str(old), runs, prefer="last").name == "last.ckpt"
    assert resolve(str(old / "checkpoints"), runs) == resolve("old", runs)
    assert resolve(str(old / "checkpoints" / "last.ckpt"), runs).name == "last.ckpt"


def test_a_run_without_best_gives_its_last_and_a_killed_one_its_newest(tmp_path: Path) -> None:
    make_run(tmp_path, "one", ("last.ckpt",))
    assert resolve("best", tmp_path).name == "last.ckpt"
    make_run(tmp_path / "other", "two", ("epoch001_step000010.ckpt",))
    assert resolve("last", tmp_path / "other").name == "epoch001_step000010.ckpt"


def test_a_run_without_a_best_checkpoint_gives_its_last_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path, "2026-01-01_10-00-00_aaaa")
    best = run / "checkpoints/best.ckpt"
    best.unlink(missing_ok=True)
    (run / "checkpoints/last.ckpt").touch()
    with caplog.at_level("INFO", logger="aurl"):
        assert resolve("best", tmp_path).name == "last.ckpt"
    assert "has no best.ckpt, which the first validation writes; taken: last.ckpt" in caplog.text


def test_the_jobs_of_a_sweep_are_runs_too(tmp_path: Path) -> None:
    make_run(tmp_path, "2026-01-01_10-00-00_cccc/1")
    assert run_label(resolve("last", tmp_path)) == "2026-01-01_10-00-00_cccc_1"


def test_a_job_of_a_sweep_is_named_after_the_sweep_and_listed_with_its_own_settings(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, f"2026-01-01_10-00-00_cccc/{number}", age=number) for number in (0, 1)]
    for layers, run in enumerate(runs, start=2):
        (run / "overrides.yaml").write_text(f"- seed=1\n- model.layers={layers}\n")
    make_run(tmp_path, "2026-01-02_10-00-00_dddd/1", age=9)
    assert resolve("cccc/1", tmp_path) == resolve("2026-01-01_10-00-00_cccc/1", tmp_path)
    assert resolve("cccc/1", tmp_path).parent.parent == runs[1]
    assert resolve("2026-01-01_10-00-00_cccc", tmp_path).parent.parent == runs[0]
    with pytest.raises(AurlError) as caught:
        resolve("no such run", tmp_path)
    listed = "_cccc/0 (model.layers=2), 2026-01-01_10-00-00_cccc/1 (model.layers=3), 2026-01-02_10-00-00_dddd/1 below"
    assert listed in str(caught.value)
    with pytest.raises(AurlError, match=r"did you mean 2026-01-01_10-00-00_cccc/[01]"):
        resolve("2026-01-01_10-00-00_cccc/O", tmp_path)


def test_the_number_of_a_job_is_not_the_end_of_another_and_a_job_that_begins_shares_all_settings(
    tmp_path: Path,
) -> None:
    runs = [make_run(tmp_path, f"2026-01-01_10-00-00_cccc/{number}", age=number) for number in (10, 12, 13)]
    for run, layers in zip(runs[:2], (2, 3), strict=True):
        (run / "overrides.yaml").write_text(f"- data=jsb\n- model.layers={layers}\n")
    with pytest.raises(AurlError, match="ckpt=2 does not exist"):
        resolve("2", tmp_path)
    assert resolve("12", tmp_path).parent.parent == runs[1]
    assert own_settings(runs[0]) == " (model.layers=2)"


def test_a_missing_checkpoint_lists_what_exists_and_the_nearest_name(runs: Path) -> None:
    with pytest.raises(AurlError, match=r"ckpt=lst does not exist; did you mean last\?.*bbbb_new"):
        resolve("lst", runs)
    with pytest.raises(AurlError, match="did you mean 2026-01-02_10-00-00_bbbb_new"):
        resolve("2026-01-02_10-00-00_bbbb_nev", runs)
    with pytest.raises(AurlError, match="train first"):
        resolve("last", runs / "nowhere")
    (runs / "empty").mkdir()
    with pytest.raises(AurlError, match="no checkpoint in this folder"):
        resolve(str(runs / "empty"), runs)


def test_continuing_a_run_brings_its_settings_and_what_is_typed_wins(runs: Path) -> None:
    run = runs / "train/2026-01-02_10-00-00_bbbb_new"
    (run / "overrides.yaml").write_text("- model.layers=3\n- optim.lr=0.1\n- data.path='a b'\n")
    given = [f"paths.runs='{runs}'", "ckpt='last'", "optim.lr=0.2"]
    assert continued_arguments(given) == [
        "model.layers=3",
        "data.path='a b'",
        given[0],
        "optim.lr=0.2",
        f"ckpt='{run}/checkpoints/last.ckpt'",
    ]
    assert continued_arguments(["seed=1"]) == ["seed=1"]


def test_null_switches_off_a_key_that_the_run_has_added(runs: Path) -> None:
    run = runs / "train/2026-01-02_10-00-00_bbbb_new"
    (run / "overrides.yaml").write_text(
        "- +trainer.plugins=x\n- ++trainer.foo=1\n- callbacks.early_stopping.patience=3\n"
    )
    given = [f"paths.runs='{runs}'", "ckpt='last'", "trainer.plugins=null", "trainer.foo=2", "seed=null"]
    kept, *rest, _ = continued_arguments(given)
    assert kept == "callbacks.early_stopping.patience=3"
    assert rest == [given[0], "+trainer.plugins=null", "++trainer.foo=2", "seed=null"]


def test_numbered_folders_never_reuse_a_name(tmp_path: Path) -> None:
    assert numbered_folder(tmp_path / "generated", "run").name == "run_1"
    (tmp_path / "run_3").mkdir()
    (tmp_path / "run_x").mkdir()
    assert numbered_folder(tmp_path, "run").name == "run_4"
