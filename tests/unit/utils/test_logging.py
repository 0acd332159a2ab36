"""The log: one form of line on console and file, rotation with compression, and the structured training line."""

from __future__ import annotations

import gzip
import io
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurl.utils import logging as log_room
from aurl.utils.errors import AurlError
from aurl.utils.logging import CompressedFileHandler, LineFormatter, get_logger, setup_logging, training_line

LINE = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[(\w+)\] \[([\w.]+)\] (.*)$")


@pytest.fixture(autouse=True)
def clean_loggers() -> Iterator[None]:
    """Leave the process's logging as it was."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in ("aurl", "aurl.data", *log_room.LIBRARIES))]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def test_a_line_on_the_console_and_in_the_file_has_the_documented_form(tmp_path, capsys):
    path = setup_logging(tmp_path / "run")
    get_logger("training.module").info("steps go %s", "on")
    assert path == tmp_path / "run" / "aurl.log"
    for text in (path.read_text(), capsys.readouterr().err):
        match = LINE.match(text.strip())
        assert match is not None, text
        assert match.groups() == ("INFO", "training.module", "steps go on")


def test_milliseconds_always_have_three_digits():
    record = logging.LogRecord("aurl.data", logging.INFO, "f", 1, "x", None, None)
    for milliseconds in (0.0, 7.4, 999.7):
        record.msecs = milliseconds
        assert LINE.match(LineFormatter().format(record))


def test_names_come_from_the_module_path_without_the_package():
    assert get_logger("aurl.data.store") is get_logger("data.store")
    assert get_logger("aurl").name == "aurl"


def test_setting_up_twice_does_not_double_the_lines(tmp_path, capsys):
    setup_logging(tmp_path / "first")
    path = setup_logging(tmp_path / "second")
    get_logger("cli.train").warning("once")
    assert capsys.readouterr().err.count("once") == 1
    assert path is not None
    assert path.read_text().count("once") == 1
    assert (tmp_path / "first" / "aurl.log").read_text() == ""


def test_lines_below_the_level_are_dropped_and_an_unknown_level_is_named(tmp_path, capsys):
    setup_logging(level="warning")
    get_logger("data").info("quiet")
    assert "quiet" not in capsys.readouterr().err
    with pytest.raises(ValueError, match="log level=LOUD is unknown; allowed: DEBUG, INFO"):
        setup_logging(level="loud")


def test_rotated_parts_are_gzip_files_and_no_line_is_lost(tmp_path):
    handler = CompressedFileHandler(tmp_path / "aurl.log", max_bytes=2000, parts=50)
    handler.setFormatter(LineFormatter())
    logger = get_logger("data")
    logger.setLevel("INFO")
    logger.addHandler(handler)
    for number in range(200):
        logger.info("line %d of the log", number)
    handler.close()
    parts = sorted(tmp_path.glob("aurl.log.*"))
    assert parts
    assert all(part.suffix == ".gz" for part in parts)
    text = (tmp_path / "aurl.log").read_text() + "".join(gzip.decompress(part.read_bytes()).decode() for part in parts)
    assert sorted(int(n) for n in re.findall(r"line (\d+) of", text)) == list(range(200))


def test_only_the_given_number_of_parts_is_kept(tmp_path):
    handler = CompressedFileHandler(tmp_path / "aurl.log", max_bytes=300, parts=2)
    logger = get_logger("data")
    logger.setLevel("INFO")
    logger.addHandler(handler)
    for number in range(200):
        logger.info("line %d of the log", number)
    handler.close()
    assert {path.name for path in tmp_path.iterdir()} == {"aurl.log", "aurl.log.1.gz", "aurl.log.2.gz"}


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AurlError, match=r"cannot write the log file .*choose another folder"):
        setup_logging(tmp_path / "file" / "run")


def test_a_full_disk_is_told_once_and_does_not_break_the_run(tmp_path, capsys, monkeypatch):
    setup_logging(tmp_path, console=False)
    handler = next(h for h in get_logger("aurl").handlers if isinstance(h, CompressedFileHandler))

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(handler, "stream", Full())
    for _ in range(3):
        get_logger("training").info("a line")
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_lines_written_during_a_progress_bar_stay_whole(capsys):
    import rich
    from rich.console import Console
    from rich.progress import Progress

    setup_logging()
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60)
    old, rich._console = rich._console, console
    try:
        with Progress(console=console) as progress:
            task = progress.add_task("files", total=2)
            get_logger("data.prepare").info(
                "a [bracketed] line that is a good deal longer than the width of the screen"
            )
            progress.advance(task)
    finally:
        rich._console = old
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "[data.prepare] a [bracketed] line that is a good deal longer than the width of the screen" in plain


def test_only_the_first_of_several_processes_writes_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert setup_logging(tmp_path / "run") is None
    get_logger("training").info("from the second process")
    assert not (tmp_path / "run").exists()
    assert "second process" not in capsys.readouterr().err


def test_warnings_of_libraries_reach_the_file_but_their_chatter_not_the_console(tmp_path, capsys):
    path = setup_logging(tmp_path)
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    logging.getLogger("lightning.pytorch").info("GPU available: no")
    warnings.simplefilter("always")
    warnings.warn("beware of the dog", stacklevel=1)
    shown = capsys.readouterr().err
    assert path is not None
    assert "beware of the dog" in path.read_text()
    assert "GPU available" in path.read_text()
    assert "GPU available" not in shown


def test_a_plain_handler_on_the_root_does_not_repeat_our_lines():
    stream = io.StringIO()
    foreign = logging.StreamHandler(stream)
    logging.getLogger().addHandler(foreign)
    setup_logging(console=False)
    get_logger("data").warning("ours")
    logging.getLogger("else").warning("theirs")
    assert stream.getvalue() == "theirs\n"


def test_the_training_line_has_the_documented_form():
    line = training_line(
        epoch=3, epochs=20, batch=40, batches=112, files=320, augmented=288, losses={"recon": 1.2345}, samples="out/x"
    )
    assert re.fullmatch(
        r"Epoch: 3/20, Batch: 40/112 \| Files processed: 320 \(288 augmented\) \| Losses: \{recon: 1\.23\} \| "
        r"Memory: GPU \d+\.\dGB/\d+\.\dGB, RAM: \d+\.\dGB \| Samples saved: out/x",
        line,
    )


def test_the_training_line_shows_several_losses_and_what_is_not_known():
    line = training_line(
        epoch=1, epochs=-1, batch=1, batches=None, files=0, augmented=0, losses={"recon": 1, "kl": float("nan")}
    )
    assert line.startswith("Epoch: 1/?, Batch: 1/? | ")
    assert "{recon: 1.00, kl: nan}" in line
    assert line.endswith("Samples saved: none yet")


def test_importing_the_log_and_writing_a_training_line_does_not_import_torch():
    code = (
        "import sys; from aurl.utils.logging import training_line, setup_logging; setup_logging();"
        "training_line(epoch=1, epochs=1, batch=1, batches=1, files=1, augmented=0, losses={});"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
