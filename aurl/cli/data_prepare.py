"""``aurl-data prepare``: read and tokenise a corpus without training; settings are those of ``aurl-train``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.data.store import TokenStore

COMMAND = "prepare"
GROUPS = ("data", "tokenizer", "preprocess")
NOT_A_PREFIX = "\0"
HELP = """
aurl-data prepare: read, preprocess and tokenise a corpus, so that training starts at once.

Usage: aurl-data prepare [key=value ...]

Examples:
  aurl-data prepare data=folder data.path=~/midi
  aurl-data prepare data=pop909 data.path=~/pop909 preprocess=quantised tokenizer.positions_per_beat=12
  aurl-data prepare data=folder data.path=/shared/midi part=3 parts=16     one part, for a job array

Main keys (default):
  data.path                  folder (or one file) of the music
  data.features              arrays stored beside the tokens, for instance [onset_density]
  data.limits.bytes (8000000)  what is refused for its size; also events, hours, tracks ...
  data.workers (none)        processes; one a core without it
  paths.cache                where it goes (~/.cache/aurl)
  paths.cache_limit (none)   most that the cache keeps, for instance 20GB
  part (none)                with parts=N: make one part of the pieces only. Run all parts anywhere, sharing
                             paths.cache, then once without, which puts the corpus together
It can be stopped at any time and goes on where it was.
"""


def add_verb(verbs: Any) -> None:
    """Add ``prepare`` to the subparsers of ``aurl-data``; all that follows it is Hydra's."""
    parser = verbs.add_parser(
        COMMAND,
        help="read and tokenise a corpus; settings as for aurl-train",
        add_help=False,
        prefix_chars=NOT_A_PREFIX,  # so that -h, -m and ~key reach Hydra
    )
    parser.add_argument("settings", nargs="*")
    parser.set_defaults(task=prepare_corpus)


def prepare_corpus(options: argparse.Namespace) -> int:
    """Run the verb."""
    from aurl.cli import app

    if not app.HELP_FLAGS.isdisjoint(options.settings):
        print(app.full_help(HELP, GROUPS))
        return 0
    return app.execute(COMMAND, prepare_task, options.settings)


def prepare_task(cfg: DictConfig) -> None:
    """Prepare the corpus of the config and say where it is."""
    from pathlib import Path

    from aurl.cli.build import cache_limit
    from aurl.cli.conf import to_config
    from aurl.data.prepare import prepare, prepare_part
    from aurl.utils.logging import setup_logging

    setup_logging(None)
    cache = Path(cfg.paths.cache)
    settings = (to_config(cfg.data), to_config(cfg.tokenizer), cache)
    preprocess = to_config(cfg.preprocess)
    if cfg.part is not None:
        prepare_part(*settings, cfg.part, cfg.parts, cfg.progress, preprocess=preprocess)
        print(f"part {cfg.part} of {cfg.parts} is in {cache}; when all parts are, run this without part and parts")
        return
    store = prepare(*settings, cfg.progress, preprocess=preprocess, cache_limit=cache_limit(cfg))
    print(summary(store))


def summary(store: TokenStore) -> str:
    """What a prepared corpus holds, in a few lines."""
    counts = ", ".join(f"{name} {len(store.split(name))}" for name in ("train", "valid", "test"))
    chosen = f' with data.where="{store.where}"' if store.where else ""
    pieces = store.split(None)
    notes, tokens = (int(store.numbers[name][pieces].sum(dtype="int64")) for name in ("notes", "tokens"))
    lines = [
        f"pieces   {len(pieces):,} ({counts}){chosen}",
        f"notes    {notes:,}",
        f"tokens   {tokens:,}",
        f"skipped  {len(store.skipped):,}",
        f"folder   {store.folder}",
    ]
    return "\n".join(lines)
