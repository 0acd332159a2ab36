"""aurl-data: any path, one JSON line a file, one line of error, and repaired copies that are clean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from aurl.cli import data
from aurl.data.crew import Failure, in_order, work_through

HEADER = b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x00\x60"
TRACK = b"\x00\x90\x3c\x40\x60\x80\x3c\x00\x00\xff\x2f\x00"
CLEAN = HEADER + b"MTrk" + len(TRACK).to_bytes(4, "big") + TRACK
WRAPPED = b"junk" + CLEAN
SILENT = HEADER + b"MTrk\x00\x00\x00\x04\x00\xff\x2f\x00"
ODD_NAMES = [
    "-dash.mid",
    "a=b.mid",
    "[x] (1).mid",
    'l\'été "2".mid',
    "\u97f3 $HOME ~.kar",
    "new\nline.mid",
    "#1;&|.midi",
]
COMMAND = [sys.executable, "-c", "from aurl.cli.data import main; main()"]


def run(*arguments: str | os.PathLike[str], where: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(os.fspath, arguments)], cwd=where, capture_output=True, text=True, check=False, timeout=60
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_is_checked(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(CLEAN)
    done = run("check", "--", name, where=tmp_path)
    assert lines(done) == [{"file": name, "verdict": "ok", "notes": 1, "tracks": 1, "repairs": {}, "reason": ""}]
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
def test_a_name_that_is_not_text_is_written_so_that_it_can_be_found_again(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9.mid")
    (tmp_path / name).write_bytes(CLEAN)
    (row,) = lines(run("check", tmp_path))
    assert Path(str(row["file"])).read_bytes() == CLEAN


def test_a_folder_gives_a_line_for_each_file_and_the_rejected_one_is_named_once(tmp_path: Path):
    for name, content in {"a.mid": CLEAN, "b.mid": WRAPPED, "c.mid": SILENT, "d.mid": b"<html>", "e.txt": b"x"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "no ending").write_bytes(CLEAN)
    done = run("check", tmp_path)
    rows = lines(done)
    assert [row["verdict"] for row in rows] == ["ok", "repaired", "empty", "rejected", "ok"]
    assert rows[1]["repairs"] == {"bytes_before_header": 1}
    assert done.returncode == 1
    assert done.stderr == f"error: 1 of 5 files rejected: {tmp_path / 'd.mid'}: no MIDI header (MThd) in it\n"


def test_paths_that_cannot_be_read_are_reported_and_the_others_go_on(tmp_path: Path):
    (tmp_path / "a.mid").write_bytes(CLEAN)
    (tmp_path / "empty").mkdir()
    done = run("check", tmp_path / "gone.mid", tmp_path / "empty", tmp_path / "a.mid")
    reasons = [row["reason"] for row in lines(done)]
    assert reasons == ["No such file or directory", "a folder without music files", ""]
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_an_empty_file_of_music_is_no_error(tmp_path: Path):
    (tmp_path / "a.mid").write_bytes(SILENT)
    done = run("check", tmp_path)
    assert lines(done)[0]["verdict"] == "empty" and done.returncode == 0


def test_a_limit_can_be_set_and_a_wrong_one_is_one_line(tmp_path: Path):
    (tmp_path / "a.mid").write_bytes(CLEAN)
    assert "(limit: bytes)" in run("check", "--limit", "bytes=10", tmp_path).stderr
    wrong = run("check", "--limit", "size=10", tmp_path)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: --limit size=10") and wrong.stderr.count("\n") == 1
    wrong = run("check", "--workers", "-3", tmp_path)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "error: --workers -3 is too small; allowed: 0 (one a core) or more\n"


def test_repaired_copies_are_clean_and_never_written_over(tmp_path: Path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "a=1.mid").write_bytes(WRAPPED)
    (tmp_path / "in" / "twice.mid").write_bytes(CLEAN + CLEAN)
    (tmp_path / "in" / "bad.mid").write_bytes(b"no")
    out = tmp_path / "out"
    first = run("repair", tmp_path / "in", "--output", out)
    assert first.returncode == 1 and "bad.mid" in first.stderr
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == ["sub/a=1.mid", "twice.1.mid", "twice.2.mid"]
    assert {row["verdict"] for row in lines(run("check", out))} == {"ok"}
    (out / "twice.2.mid").write_bytes(b"mine")
    again = run("repair", tmp_path / "in", "--output", out)
    assert "is there already; add --overwrite" in again.stdout and (out / "twice.2.mid").read_bytes() == b"mine"
    run("repair", tmp_path / "in", "--output", out, "--overwrite")
    assert (out / "twice.2.mid").read_bytes() != b"mine"


def test_the_command_starts_without_torch_hydra_or_a_music_library():
    script = "import sys, aurl.cli.data; print([m for m in ('torch', 'hydra', 'numpy', 'symusic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_output_that_nobody_reads_on_is_no_traceback(tmp_path: Path):
    for number in range(40):
        (tmp_path / f"{number}.mid").write_bytes(CLEAN)
    done = subprocess.run(
        f'"{sys.executable}" -c "from aurl.cli.data import main; main()" check "{tmp_path}" | head -n 1',
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count("\n") == 1 and "Traceback" not in done.stderr


def die_on_odd(number: int) -> int:
    if number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def start_dying() -> object:
    return die_on_odd


@pytest.mark.skipif(sys.platform != "linux", reason="processes are copied")
def test_a_worker_that_dies_costs_the_file_it_was_at():
    results = list(in_order(work_through(range(6), partial(start_dying), workers=2, fork=True)))
    assert results[::2] == [0, 2, 4]
    assert results[1::2] == [Failure("the reader crashed on it (SIGKILL)")] * 3


def test_the_exit_code_of_a_clean_run_is_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.mid").write_bytes(CLEAN)
    assert data.execute(["check", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == 1


def test_a_setting_behind_an_option_is_told_where_it_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    assert data.execute(["report", "data=folder", "--output", "X", "data.path=/tmp"]) == 2
    told = "data.path=/tmp stands after an option; put it before the options of aurl-data report"
    assert told in capsys.readouterr().err
