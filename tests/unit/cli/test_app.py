"""Every mistake is one line that names the key, the value and the way out; exit codes tell scripts what happened."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from aurl.cli import app, conf, run_names
from aurl.cli.errors import program as program_of
from aurl.cli.sweep_summary import ROWS_FOLDER, SweepSummary

SLOWEST_HELP_SECONDS = 1.5


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands write below the folder they are started in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["aurl"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    return tmp_path


def run(command: str, *arguments: str, task: Any = None) -> tuple[int, list[DictConfig]]:
    seen: list[DictConfig] = []
    return app.execute(command, task or seen.append, arguments), seen


WRONG = [
    ("train", "model.layer=2", "model.layer is not a setting of aurl-train; did you mean model.layers?"),
    ("train", "+model.layer=2", "did you mean model.layers?"),
    ("train", "++fo=1", "fo is not a setting"),
    ("train", "trainer.max_epoch=2", "did you mean trainer.max_epochs?"),
    ("train", "modle=transformer", "did you mean model?"),
    ("train", "model=transfomer", "did you mean transformer?; allowed: transformer"),
    ("train", "model/size=huge", "allowed: base, large, small, tiny"),
    ("train", "model.layers=abc", "model.layers=abc: must be an integer"),
    ("train", "model.hidden_dim=1.5", "must be an integer"),
    ("train", "model.tie_embeddings=perhaps", "must be true or false"),
    ("train", "model.mode=gan", "model.mode=gan is unknown; allowed: transformer"),
    ("train", "model.hidden_dim=3", "model.hidden_dim=3 is too small; allowed: 8 or more"),
    ("train", "optim.lr=7", "optim.lr=7.0 is out of range; allowed: 0 to 1"),
    ("train", "seed=1,2", "several values need -m"),
    ("train", "seed=-1", "seed=-1 is out of range; allowed: 0 or more"),
    ("train", "trainer.max_epochs=abc", "trainer.max_epochs=abc must be an integer"),
    ("train", "trainer.max_steps=null", "trainer.max_steps=null must be an integer (-1 for no limit)"),
    (
        "train",
        "trainer.val_check_interval=0",
        "trainer.val_check_interval=0 is out of range; allowed: above 0, or null",
    ),
    ("train", "trainer.devices=0", "trainer.devices=0 must be a number from 1, auto, -1 (all), or a list of numbers"),
    ("train", "trainer.devices=1.5", "trainer.devices=1.5 must be a number from 1, auto"),
    ("train", "trainer.devices='00'", "trainer.devices=00 must be a number from 1, auto"),
    ("train", "trainer.devices=two", "trainer.devices=two must be a number from 1, auto"),
    ("train", "trainer.limit_val_batches=1.5", "must be a number of batches, or a share from 0.0 to 1.0"),
    ("train", "trainer.enable_progress_bar=7", "trainer.enable_progress_bar=7 must be true or false"),
    ("train", "trainer.precision=foo", "trainer.precision=foo is unknown; allowed: auto, 32-true, bf16-mixed, 64-true"),
    ("train", "trainer.precision=16", "trainer.precision=16 is not available: gradients scaled for fp16"),
    ("train", "trainer=null", "give one of the group's names"),
    ("train", "ckpt=last", "train first (aurl-train)"),
    ("generate", "temperature=-1", "temperature=-1.0 is out of range"),
    ("generate", "pitch_temperature=0", "pitch_temperature=0.0 is out of range; allowed: 0.01 to 100, or null"),
    ("generate", "num_samples=0", "num_samples=0 is out of range; allowed: 1 or more"),
    ("evaluate", "split=all of it", "allowed: train, valid, test, all"),
    ("train", "data.path=~/midi", "data.path=~/midi is not read by data=bach; add data=folder"),
    ("evaluate", "data.path=x", "data.path needs a choice of data first, for instance data=folder"),
]


@pytest.mark.parametrize(("command", "argument", "expected"), WRONG, ids=[argument for _, argument, _ in WRONG])
def test_a_mistake_is_one_line_and_no_work_is_done(
    command: str, argument: str, expected: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    code, seen = run(command, argument)
    error = capsys.readouterr().err
    assert (code, seen) == (app.FAILED, [])
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert expected in error
    assert not list(here.glob("runs/train/*"))


def test_a_key_of_a_group_that_is_off_names_an_option_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "callbacks=none", "callbacks.samples=null")[0] == app.FAILED
    assert "needs a choice of callbacks first, for instance callbacks=default" in capsys.readouterr().err


@pytest.mark.parametrize(("argument", "expected"), [("song.mid", "not key=value"), ("--ckpt=last", "ckpt=last")])
def test_a_command_line_that_cannot_be_read_exits_with_2(
    argument: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", argument)[0] == app.MISREAD
    assert expected in capsys.readouterr().err


def test_the_traceback_is_shown_only_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    def fault(cfg: DictConfig) -> None:
        raise KeyError("inner")

    assert run("evaluate", task=fault)[0] == app.FAILED
    assert capsys.readouterr().err == "error: KeyError: 'inner' (debug=true shows where)\n"
    assert run("evaluate", "debug=true", task=fault)[0] == app.FAILED
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_and_a_forbidden_folder_say_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    told = {28: "free space", 13: "choose a folder that you may write to", 20: "a part of this path is a file"}
    for number, expected in told.items():

        def fail(cfg: DictConfig, number: int = number) -> None:
            raise OSError(number, "reason", "place")

        run("evaluate", task=fail)
        assert expected in capsys.readouterr().err


def test_an_interruption_exits_with_130() -> None:
    def interrupt(cfg: DictConfig) -> None:
        raise KeyboardInterrupt

    assert run("evaluate", task=interrupt)[0] == app.INTERRUPTED


def test_sigterm_during_training_exits_with_143(tmp_path: Path) -> None:
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    def terminate(cfg: DictConfig) -> None:
        raise SIGTERMException

    assert run("evaluate", task=terminate)[0] == app.TERMINATED


def test_paths_arrive_absolute_with_home_resolved(here: Path) -> None:
    code, (cfg,) = run("evaluate", "data=folder", "data.path=~/My Songs (1), č", "json=out put.json")
    assert code == 0
    assert cfg.data.path == str(Path.home() / "My Songs (1), č")
    assert cfg.json == str(here / "out put.json")


def test_a_sweep_gives_each_job_its_folder_and_goes_on_after_a_failure(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []

    def work(cfg: DictConfig) -> None:
        folders.append(cfg.paths.output)
        (Path(cfg.paths.output) / "ran").touch()

    typed = ("-m", "trainer.enable_progress_bar=false", "model.hidden_dim=128,3,256", "optim.lr=1e-3,3e-4")
    code, _ = run("train", *typed, task=work)
    assert code == app.FAILED
    error = capsys.readouterr().err
    for number, rate in ((2, "0.001"), (3, "0.0003")):
        assert f"error: job {number} (model.hidden_dim=3 optim.lr={rate}): model.hidden_dim=3 is too small" in error
    assert [Path(folder).name for folder in folders] == ["0", "1", "4", "5"]
    assert len({Path(folder).parent for folder in folders}) == 1


def test_a_sweep_ends_with_a_table_of_its_runs_the_best_first(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def work(cfg: DictConfig) -> float | None:
        if cfg.model.layers == 5:
            raise ValueError("no luck")
        (Path(cfg.paths.output) / "ran").touch()
        return {2: 0.75, 3: 0.5, 4: None}[cfg.model.layers]

    assert run("train", "-m", "model.layers=2,3,4,5", "model.heads=2", task=work)[0] == app.FAILED
    output = capsys.readouterr().out
    (file,) = here.glob("runs/train/*/summary.json")
    rows = json.loads(file.read_text())
    assert [(row["job"], row["best"], row["failed"]) for row in rows] == [
        (1, 0.5, False),
        (0, 0.75, False),
        (2, None, False),
        (3, None, True),
    ]
    assert rows[0]["overrides"] == ["model.layers=3", "model.heads=2"]
    assert rows[0]["folder"] == str(file.parent / "1") and Path(rows[0]["folder"]).is_dir()
    assert "runs of this sweep, best first" in output and f"written: {file.relative_to(here)}" in output
    lines = [line for line in output.splitlines() if line.startswith("│")]
    assert ["model.layers=3" in lines[0], "0.5000" in lines[0], "0.7500" in lines[1]] == [True] * 3
    assert "failed" in lines[3] and not any("model.heads" in line for line in lines)
    assert "\n\u2013: nothing was validated (trainer.limit_val_batches=0" in output
    assert not (file.parent / ROWS_FOLDER).exists()


def test_a_failed_job_of_a_sweep_with_settings_of_one_s_own_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(cfg: DictConfig) -> float:
        if cfg.model.layers == 3:
            raise ValueError("no luck")
        return 0.5

    (here / "mine").mkdir()
    arguments = ("-m", "--config-dir", str(here / "mine"), "model.layers=2,3", "model.heads=2")
    assert run("train", *arguments, task=work)[0] == app.FAILED
    assert "job 1 (model.layers=3): no luck" in capsys.readouterr().err
    assert len(list(here.glob("runs/train/*/summary.json"))) == 1


def test_jobs_that_know_nothing_of_each_other_are_in_one_summary(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def in_a_copy(self: SweepSummary, config: Any, job_return: Any, **kwargs: Any) -> None:
        """What joblib and submitit do: each job has a callback of its own."""
        noted(SweepSummary(), config, job_return, **kwargs)

    noted, numbers = SweepSummary.on_job_end, itertools.count()
    monkeypatch.setattr(run_names, "run_id", lambda: f"{next(numbers):04x}")  # each process has one of its own
    monkeypatch.setattr(SweepSummary, "on_job_end", in_a_copy)
    folders = []

    def work(cfg: DictConfig) -> float:
        folders.append(Path(cfg.paths.output))
        (folders[-1] / "ran").touch()
        return 1.0 / cfg.model.layers

    assert run("train", "-m", "model.layers=2,3", "run_name=it's", task=work) == (0, [])
    (file,) = here.glob("runs/train/*/summary.json")
    assert [row["job"] for row in json.loads(file.read_text())] == [1, 0]
    assert folders == [file.parent / "0", file.parent / "1"] and file.parent.name.endswith("_it-s")
    output = capsys.readouterr().out
    assert "model.layers=2" in output and "nothing was validated" not in output


def test_a_single_run_has_no_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("train", "model.layers=2", task=lambda cfg: 1.0)
    assert "sweep" not in capsys.readouterr().out and not list(here.rglob("summary.json"))


def test_a_run_has_a_folder_of_its_own_with_its_name(here: Path) -> None:
    _, (cfg,) = run("train", "run_name=Größe: 1/2", task=None)
    folder = Path(cfg.paths.output)
    assert folder.parent == here / "runs" / "train"
    assert folder.name.endswith("_Größe-1-2")
    OmegaConf.to_yaml(cfg, resolve=False)


MODULES = {"prepare": "data_prepare"}
"""Where the text of a command's help stands, if not in a module of its name."""


@pytest.mark.parametrize("command", sorted(conf.COMMANDS))
def test_the_defaults_that_help_tells_are_those_of_the_config(command: str) -> None:
    module = __import__(f"aurl.cli.{MODULES.get(command, command)}", fromlist=["HELP"])
    cfg = conf.compose(command)
    for key, told in re.findall(r"([a-z_.]+) \(([^)]+)\)", module.HELP.split("Main keys")[1]):
        value = OmegaConf.select(cfg, key)
        if told == "none":
            assert value is None, key
        elif isinstance(value, int | float) and not isinstance(value, bool):
            assert value == float(told), key
        elif key in cfg and key != "split":
            text = ",".join(map(str, value)) if OmegaConf.is_list(value) else str(value).lower()
            assert text == told.strip("[]"), key


@pytest.mark.parametrize("command", sorted(conf.COMMANDS))
def test_help_is_fast_and_names_keys_that_exist(command: str) -> None:
    module = __import__(f"aurl.cli.{MODULES.get(command, command)}", fromlist=["HELP"])
    known = set(conf.known_keys(conf.COMMANDS[command])) | {"trainer.max_epochs"}
    main_keys = module.HELP.split("Main keys")[1].splitlines()[1:]
    for line in main_keys:
        if line.startswith("  ") and line[2:3].isalpha():
            for key in re.findall(r"([a-z_.]+) \(", line.split("   ")[0]):
                assert key in known, line
    start = time.perf_counter()
    program, *verb = program_of(command).split()
    where = "data" if verb else command
    code = (
        f"import sys, atexit; sys.argv={[program, *verb, '--help']}; from aurl.cli.{where} import main; "
        "atexit.register(lambda: print('loaded:', *{'torch', 'lightning', 'hydra'} & set(sys.modules))); main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 4 * SLOWEST_HELP_SECONDS  # generous: the machine is busy with other tests
    assert "loaded:\n" in result.stdout  # what takes seconds to import stays away
    assert "Examples:" in result.stdout
    assert "debug=true" in result.stdout


def test_libraries_are_set_up_and_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in app.LIBRARY_SETTINGS:
        monkeypatch.setenv(name, "7")
        app.execute("train", lambda _: None, ["no such thing"])
        assert os.environ[name] == "7"
        monkeypatch.delenv(name)
        app.execute("train", lambda _: None, ["no such thing"])
        assert os.environ[name] == app.LIBRARY_SETTINGS[name]
