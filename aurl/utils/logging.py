"""One log for all modules: lines on the console and in a rotating, compressed file, and the structured training line.

Modules call :func:`get_logger`; only commands call :func:`setup_logging`. Every line has one form::

    [2026-01-31 12:00:00.123] [INFO] [training.module] text

Console lines go to standard error and above a running rich progress bar. Nothing here imports torch.
"""

from __future__ import annotations

import gzip
import logging
import logging.handlers
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aurl.utils.errors import AurlError

PACKAGE = "aurl"
LIBRARIES = ("lightning.pytorch", "lightning.fabric", "py.warnings")
"""Loggers of other packages whose lines also go to our file, and from WARNING on to the console."""
LOG_NAME = "aurl.log"
ROTATE_BYTES = 10_000_000
ROTATED_PARTS = 5
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LEVEL_STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
BYTES_PER_GB = 1e9
NOT_KNOWN = "?"


class LineFormatter(logging.Formatter):
    """``[date time.milliseconds] [LEVEL] [module.path] text``, the module path without the package's name."""

    def __init__(self) -> None:
        super().__init__(
            "[{asctime}.{msecs:03.0f}] [{levelname}] [{place}] {message}", datefmt="%Y-%m-%d %H:%M:%S", style="{"
        )

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line (called by logging)."""
        record.msecs = min(record.msecs, 999.0)  # 999.6 would round to four digits
        record.place = record.name.removeprefix(f"{PACKAGE}.")
        return super().format(record)


class ConsoleHandler(logging.Handler):
    """Lines on standard error; while a rich progress bar runs, above the bar. Levels are coloured on terminals only."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record (called by logging)."""
        try:
            from rich import get_console
            from rich.console import Console
            from rich.file_proxy import FileProxy
            from rich.text import Text

            line = Text(self.format(record))
            mark = f"[{record.levelname}]"
            line.highlight_words([mark], LEVEL_STYLES.get(record.levelname, ""))
            # A live progress bar replaces sys.stderr by a proxy: its console knows where the bar stands.
            console = get_console() if isinstance(sys.stderr, FileProxy) else Console(stderr=True)
            console.print(line, soft_wrap=True, highlight=False)
        except (OSError, TypeError, ValueError):  # a closed console or a wrong argument must not end the run
            self.handleError(record)


class CompressedFileHandler(logging.handlers.RotatingFileHandler):
    """A log file that is rotated by size; the rotated parts are ``NAME.1.gz`` (newest) to ``NAME.5.gz``.

    A full disk costs the lines that do not fit, told once on the console, never the run.
    """

    def __init__(self, path: Path, max_bytes: int = ROTATE_BYTES, parts: int = ROTATED_PARTS) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=parts, encoding="utf-8")
        self.namer = lambda name: f"{name}.gz"
        self.rotator = compress
        self.failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the log file cannot be written."""
        if self.failed:
            return
        self.failed = True
        reason = sys.exc_info()[1]
        sys.stderr.write(f"cannot write the log file {self.baseFilename}: {reason}; going on without these lines\n")


def compress(source: str, target: str) -> None:
    """Gzip ``source`` into ``target`` and remove ``source``; a reader never sees half a ``target``."""
    temporary = f"{target}.tmp"
    with open(source, "rb") as plain, gzip.open(temporary, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    os.replace(temporary, target)
    os.remove(source)


def get_logger(name: str) -> logging.Logger:
    """The logger of a module.

    Args:
        name: ``__name__`` or the module path without the package, such as ``training.module``.

    Example:
        >>> get_logger("training.module").name
        'aurl.training.module'
    """
    return logging.getLogger(name if name == PACKAGE or name.startswith(f"{PACKAGE}.") else f"{PACKAGE}.{name}")


def setup_logging(folder: Path | None = None, level: str = "INFO", console: bool = True) -> Path | None:
    """Send the log to the console and to ``folder/aurl.log``; a second call replaces the first.

    Of several processes training together only the first writes a file; the others show warnings only.

    Args:
        folder: where the log file goes (made if missing); None writes no file.
        level: least level of our own modules, one of ``LEVELS`` (any case).
        console: whether lines go to standard error.

    Returns:
        The path of the log file, None if there is none.

    Raises:
        ValueError: unknown level.
        AurlError: the folder cannot be written.
    """
    level = level.upper()
    if level not in LEVELS:
        raise ValueError(f"log level={level} is unknown; allowed: {', '.join(LEVELS)}")
    first = process_rank() == 0
    handlers: list[logging.Handler] = []
    if console:
        handlers.append(console_handler(level if first else "WARNING"))
    path = Path(folder) / LOG_NAME if folder is not None and first else None
    if path is not None:
        handlers.append(file_handler(path))
    replace_handlers(get_logger(PACKAGE), handlers)
    get_logger(PACKAGE).setLevel(level)
    for name in LIBRARIES:
        replace_handlers(logging.getLogger(name), handlers)
        logging.getLogger(name).propagate = False
    logging.captureWarnings(True)
    mute_plain_root_handlers()
    return path


def process_rank() -> int:
    """Rank of this process among those that train together (0 when alone)."""
    for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return 0


def console_handler(level: str) -> logging.Handler:
    """The console: our lines from ``level`` on, other packages' from WARNING on."""
    handler = ConsoleHandler(level)
    handler.setFormatter(LineFormatter())
    handler.addFilter(lambda record: is_ours(record) or record.levelno >= logging.WARNING)
    return handler


def file_handler(path: Path) -> logging.Handler:
    """The rotating file at ``path``.

    Raises:
        AurlError: it cannot be opened for writing.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = CompressedFileHandler(path)
    except OSError as error:
        raise AurlError(
            f"cannot write the log file {path}: {error.strerror or error}; choose another folder"
        ) from error
    handler.setFormatter(LineFormatter())
    return handler


def is_ours(record: logging.LogRecord) -> bool:
    """Whether a record comes from this package."""
    return record.name == PACKAGE or record.name.startswith(f"{PACKAGE}.")


def replace_handlers(logger: logging.Logger, handlers: list[logging.Handler]) -> None:
    """Take off the handlers of an earlier set-up (and plain stream handlers of the library itself), put on the new."""
    for old in list(logger.handlers):
        if isinstance(old, ConsoleHandler | CompressedFileHandler) or type(old) is logging.StreamHandler:
            logger.removeHandler(old)
            if old not in handlers and isinstance(old, CompressedFileHandler):
                old.close()
    for handler in handlers:
        logger.addHandler(handler)


def mute_plain_root_handlers() -> None:
    """Keep handlers that somebody else put on the root (Hydra's job log) from writing our lines a second time."""
    for handler in logging.getLogger().handlers:
        if type(handler) in (logging.StreamHandler, logging.FileHandler) and not_ours not in handler.filters:
            handler.addFilter(not_ours)


def not_ours(record: logging.LogRecord) -> bool:
    """Filter for foreign handlers: everything but our lines."""
    return not is_ours(record)


def training_line(
    *,
    epoch: int,
    epochs: int | None,
    batch: int,
    batches: int | None,
    files: int,
    augmented: int,
    losses: Mapping[str, float],
    samples: Path | str | None = None,
) -> str:
    """The structured training line.

    Args:
        epoch: number of the epoch, from 1; ``epochs`` is how many there will be (None: not known).
        batch: number of the batch, from 1; ``batches`` is how many an epoch has (None: not known).
        files: pieces (or segments of pieces) seen since the start of training, ``augmented`` of them changed.
        losses: name to value, in nats.
        samples: where the last samples were written; None before the first.

    Example:
        >>> training_line(epoch=3, epochs=20, batch=40, batches=112, files=320, augmented=288,
        ...     losses={"recon": 1.234}, samples="samples/step_000100").split(" | ")[:3]
        ['Epoch: 3/20, Batch: 40/112', 'Files processed: 320 (288 augmented)', 'Losses: {recon: 1.23}']
    """
    terms = ", ".join(f"{name}: {float(value):.2f}" for name, value in losses.items())
    parts = (
        f"Epoch: {epoch}/{total(epochs)}, Batch: {batch}/{total(batches)}",
        f"Files processed: {files} ({augmented} augmented)",
        f"Losses: {{{terms}}}",
        f"Memory: {memory_text()}",
        f"Samples saved: {samples if samples is not None else 'none yet'}",
    )
    return " | ".join(parts)


def total(count: int | None) -> str:
    """A total as text; unlimited (None or negative, as Lightning writes it) is a question mark."""
    return NOT_KNOWN if count is None or count < 0 else str(count)


def memory_text() -> str:
    """``GPU used/total, RAM: used`` of this process; a machine without GPU (or without torch loaded) shows zeros."""
    import psutil

    used, whole = gpu_memory()
    ram = psutil.Process().memory_info().rss
    return f"GPU {used / BYTES_PER_GB:.1f}GB/{whole / BYTES_PER_GB:.1f}GB, RAM: {ram / BYTES_PER_GB:.1f}GB"


def gpu_memory() -> tuple[int, int]:
    """(bytes allocated, bytes there are) on the current CUDA device; zeros without one. Never imports torch itself."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0, 0
    return torch.cuda.memory_allocated(), torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
