"""``aurl-data download``: known corpora by name, with their licence, continued where a download was cut."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.utils.errors import AurlError
from aurl.utils.words import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aurl.data.corpora import Corpus

TOKEN_VARIABLE = "AURL_TOKEN"
EPILOG = """the licence is shown and has to be accepted once a corpus, by answering y or with --accept-licence

  aurl-data download --list
  aurl-data download maestro-v3
  aurl-data download maestro-v3 --output ~/corpora --accept-licence
"""


def add_verb(verbs: Any) -> None:
    """Add ``download`` to the subparsers of ``aurl-data``."""
    parser = verbs.add_parser(
        "download",
        help="bring a known corpus to this machine",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="corpora; --list shows them")
    parser.add_argument("--list", action="store_true", help="show the known corpora and leave")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="each corpus gets a folder in it (default: $AURL_DATA, or data in the cache)",
    )
    parser.add_argument("--accept-licence", action="store_true", help="accept the licence without being asked")
    parser.add_argument("--token", metavar="TEXT", help=f"for corpora that ask for one; or in ${TOKEN_VARIABLE}")
    parser.add_argument("--commit", metavar="SHA", help="of a git repository this commit instead of the newest")
    parser.add_argument("--overwrite", action="store_true", help="replace a corpus that is there already")
    parser.add_argument("--keep-archives", action="store_true", help="keep what was loaded after unpacking it")
    parser.add_argument(
        "--tries", type=int, default=None, metavar="N", help="failed attempts in a row to give up after"
    )
    parser.add_argument(
        "--catalogue", type=Path, metavar="FILE", help="a list of corpora of your own (see docs/corpora.md)"
    )
    parser.set_defaults(task=download_corpora)


def download_corpora(options: argparse.Namespace) -> int:
    """Download what was named, or list what there is; returns the exit code."""
    from aurl.data.corpora import read_catalogue
    from aurl.data.download import data_folder

    corpora = read_catalogue(options.catalogue)
    if options.list:
        print(table(corpora.values()))
        return 0
    if not options.names:
        raise AurlError("no corpus is named; aurl-data download --list shows them")
    for name in options.names:
        if name not in corpora:
            raise AurlError(f"{name} is no known corpus{nearest(name, corpora)}; allowed: {', '.join(corpora)}")
    if options.commit is not None:
        if len(options.names) > 1:
            raise AurlError(f"--commit is for one corpus, not for {len(options.names)}")
        (name,) = options.names
        corpora[name] = dataclasses.replace(corpora[name], commit=options.commit)
    root = options.output.expanduser() if options.output is not None else data_folder()
    for name in options.names:
        folder = _download(corpora[name], root.absolute(), options)
        print(f"{name}: {folder}")
        _say_commit(corpora[name], folder)
        print(f"Next:\n  aurl-train data=folder data.path={_quoted(folder)}")
    return 0


def table(corpora: Iterable[Corpus]) -> str:
    """Name, size, pieces, licence and gate of each corpus, in columns."""
    from aurl.data.corpora import size_text

    rows = [("name", "size", "files", "licence", "gate")]
    for corpus in corpora:
        size = size_text(corpus.bytes or corpus.download_bytes)
        files = f"{corpus.files:,}" if corpus.files else "?"
        rows.append((corpus.name, size, files, corpus.licence, corpus.gate or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _download(corpus: Corpus, root: Path, options: argparse.Namespace) -> Path:
    from aurl.data.download import RECORD, Watch, download
    from aurl.data.fetch import FetchPolicy

    if options.tries is not None and options.tries < 1:
        raise AurlError(f"--tries {options.tries}: must be 1 or more")
    policy = FetchPolicy() if options.tries is None else FetchPolicy(tries=options.tries)
    is_there = (root / corpus.name / RECORD).is_file() and not options.overwrite
    accepted = "before" if is_there or corpus.by_hand else _accepted(corpus, options.accept_licence)
    with _Bar() as bar:
        return download(
            corpus,
            root,
            accepted=accepted,
            token=_token(corpus, options.token),
            overwrite=options.overwrite,
            keep_archives=options.keep_archives,
            policy=policy,
            watch=Watch(bytes=bar.bytes, files=bar.files, stage=bar.stage),
        )


def _say_commit(corpus: Corpus, folder: Path) -> None:
    """Which commit of a repository lies there, and how to get the same files again."""
    from aurl.data.download import RECORD

    commit = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("commit", "")
    if corpus.commit and commit != corpus.commit:
        raise AurlError(f"{folder} holds commit {commit}, not {corpus.commit}; add --overwrite to replace it")
    if commit:
        again = "" if corpus.commit else f" (not pinned; the same files again: --commit {commit})"
        print(f"Commit {commit}{again}")


def _accepted(corpus: Corpus, by_option: bool) -> str:
    """How the licence was accepted.

    Raises:
        AurlError: it was not.
    """
    print(f"{corpus.name}: {corpus.about}", f"Licence: {corpus.licence}", sep="\n", file=sys.stderr)
    if corpus.gate:
        print(f"Before: {corpus.gate} ({corpus.page})", file=sys.stderr)
    if by_option:
        return "--accept-licence"
    if not sys.stdin.isatty():
        raise AurlError(f"{corpus.name}: its licence ({corpus.licence}) has to be accepted; add --accept-licence")
    print("Do you accept it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
        raise AurlError(f"{corpus.name}: its licence was not accepted; nothing was loaded")
    return "answered y"


def _token(corpus: Corpus, given: str | None) -> str | None:
    """The token of a corpus that asks for one.

    Raises:
        AurlError: it asks for one and there is none.
    """
    if not corpus.token_env:
        if given:
            raise AurlError(f"{corpus.name} asks for no token; leave --token out")
        return None
    token = given or os.environ.get(TOKEN_VARIABLE) or os.environ.get(corpus.token_env)
    if not token:
        raise AurlError(
            f"{corpus.name} needs a token ({corpus.gate}: {corpus.page}); set {corpus.token_env} or {TOKEN_VARIABLE}"
        )
    return token


def _quoted(folder: Path) -> str:
    import shlex

    return shlex.quote(str(folder))


class _Bar:
    """A progress bar on standard error: bytes with their rate, then files."""

    def __enter__(self) -> _Bar:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(
            TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=True
        )
        self._task = self._progress.add_task("", total=None)
        self._text = ""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, text: str) -> None:
        """Begin something new."""
        self._text = text
        self._progress.reset(self._task, description=text, total=None)

    def bytes(self, have: int, total: int | None) -> None:
        """So much is loaded."""
        self._progress.update(self._task, completed=have, total=total)

    def files(self, count: int) -> None:
        """So many files are unpacked."""
        self._progress.update(self._task, description=f"{self._text}: {count:,} files")
