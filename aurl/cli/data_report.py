"""``aurl-data report``: what is in a corpus, as one HTML page to read and the same as JSON.

Takes a folder of music, or the settings that training takes (``data=pop909 data.path=...``). The corpus is prepared as
for training, so that the report is of what a model would see. Hydra and the readers are imported when the work begins.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.cli.corpus_settings import CorpusSettings, composed
from aurl.utils.errors import AurlError
from aurl.utils.files import check_folder
from aurl.utils.words import exists_hint

if TYPE_CHECKING:
    from aurl.data.config import DataConfig

HELP = "write what is in a corpus, what is odd in it and what was left out, as an HTML page and JSON"
EPILOG = """examples:
  aurl-data report ~/midi                                         a folder of music
  aurl-data report data=pop909 data.path=~/pop909 --output pop    a corpus with its splits
  aurl-data report ~/midi preprocess.quantise=mixed               how far quantisation moves the notes

settings are those of aurl-train: data=..., data.KEY=..., tokenizer.KEY=..., preprocess=..., paths.cache=...
"""
FOLDER = "folder"
"""Name of a corpus that was given no other."""
PAGE, FIGURES = "report.html", "report.json"
SETTING = re.compile(r"(data|tokenizer|preprocess|paths)(\.\w+)?=", re.ASCII)


def add_verb(verbs: Any) -> None:
    """Add ``report`` to the verbs of ``aurl-data``."""
    parser = verbs.add_parser(
        "report", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="+", metavar="FOLDER|KEY=VALUE", help="a folder or file of music, or settings")
    parser.add_argument("--output", type=Path, default=Path("report"), metavar="FOLDER", help="where it goes (report)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes; 0 is one a core")
    parser.set_defaults(task=write_report)


def write_report(options: argparse.Namespace) -> int:
    """Prepare the corpus, count everything in it and write both files.

    Returns:
        The exit code, 0.

    Raises:
        AurlError: no such corpus, nothing of it can be read, or a file cannot be written.
    """
    if options.workers < 0:
        raise AurlError(f"--workers {options.workers} is too small; allowed: 0 (one a core) or more")
    check_folder(options.output, "--output ")
    data, tokenizer, cache, preprocess = corpus_of(options.corpus, options.workers)
    from aurl.data.prepare import prepare
    from aurl.data.report import make_report
    from aurl.data.report_page import report_page
    from aurl.data.sources import list_pieces
    from aurl.utils.files import atomic_write_text
    from aurl.utils.logging import setup_logging

    setup_logging(None)
    store = prepare(data, tokenizer, cache, preprocess=preprocess)
    with _progress() as on_progress:
        pieces = list_pieces(data)
        workers = options.workers or None
        report = make_report(store, pieces, title_of(data), workers, on_progress, data.limits, preprocess)
    atomic_write_text(options.output / FIGURES, json.dumps(report, separators=(",", ":"), allow_nan=False) + "\n")
    atomic_write_text(options.output / PAGE, report_page(report))
    for finding in report["findings"]:
        print(f"{finding['level']}: {finding['text']}")
    print(f"Look:    {options.output / PAGE}")
    print(f"Figures: {options.output / FIGURES}")
    return 0


def title_of(data: DataConfig) -> str:
    """What the report calls the corpus: a folder's own name, where the corpus has none."""
    return Path(data.path).name if data.path and data.name == FOLDER else data.name


def corpus_of(arguments: Sequence[str], workers: int = 0) -> CorpusSettings:
    """The settings of the corpus: of a folder, or as typed for training.

    Args:
        arguments: one path, or ``key=value`` settings.
        workers: processes that prepare it; 0 leaves the setting.

    Raises:
        AurlError: no such path, more than one, or a setting that cannot be read.
    """
    paths = [argument for argument in arguments if not SETTING.match(argument) or os.path.exists(argument)]
    settings = [argument for argument in arguments if argument not in paths]
    if len(paths) > 1:
        raise AurlError(f"{len(paths)} paths ({paths[0]}, {paths[1]} ...); give one folder that holds all")
    if paths:
        root = Path(paths[0]).expanduser()
        if not root.exists():
            hint = exists_hint(root)
            raise AurlError(f"{paths[0]}: no such folder or file{hint}, and no setting (data=..., data.path=...)")
        settings = [f"data={FOLDER}", *settings, f"data.path={root}"]
    if workers:
        settings.append(f"data.workers={workers}")
    return composed(settings)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; gives the function that moves it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("Counting", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
