"""``aurl-data stats | verify | prune | clear``: what the cache holds, whether it is sound, and making room."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.cli.score_files import FAILED, one_line
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from aurl.data.cache import Holding

DEFAULT_CACHE = "~/.cache/aurl"
CACHE_VARIABLE = "AURL_CACHE"


def add_verb(verbs: Any) -> None:
    """Add the verbs of the cache to the subparsers of ``aurl-data``."""
    stats = verbs.add_parser("stats", help="what the cache holds: sizes, pieces, how often it was used")
    stats.add_argument("--json", action="store_true", help="as JSON")
    stats.set_defaults(task=show_stats)
    verify = verbs.add_parser("verify", help="read the whole cache and name every damaged file")
    verify.add_argument("--no-sources", action="store_true", help="leave out the music files that were read")
    verify.set_defaults(task=verify_cache)
    prune = verbs.add_parser("prune", help="remove what was not used for longest")
    prune.add_argument("--max-size", required=True, metavar="SIZE", help="what may stay, for instance 20GB")
    prune.set_defaults(task=prune_cache)
    clear = verbs.add_parser("clear", help="remove the whole cache, or one prepared corpus")
    clear.add_argument("name", nargs="?", metavar="CORPUS", help="a folder as stats lists it; all without")
    clear.add_argument("--yes", action="store_true", help="do not ask")
    clear.set_defaults(task=clear_cache)
    for verb in (stats, verify, prune, clear):
        verb.add_argument("--cache", metavar="FOLDER", help=f"default: {CACHE_VARIABLE} or {DEFAULT_CACHE}")


def cache_folder(options: argparse.Namespace) -> Path:
    """The cache that is meant.

    Raises:
        AurlError: there is none.
    """
    folder = Path(options.cache or os.environ.get(CACHE_VARIABLE) or DEFAULT_CACHE).expanduser()
    if not folder.is_dir():
        raise AurlError(f"there is no cache in {folder}; --cache FOLDER or {CACHE_VARIABLE} says where it is")
    return folder


def show_stats(options: argparse.Namespace) -> int:
    """Print a line for each prepared corpus, one for the piece store and the sum."""
    import json

    from aurl.data.cache import holdings
    from aurl.data.index import index_of
    from aurl.data.store import TokenStore

    cache = cache_folder(options)
    with index_of(cache) as index:
        held = holdings(cache, index)
    rows = []
    for item in (item for item in held if item.is_corpus):
        try:
            store = TokenStore.open(item.path)
            pieces, skipped = len(store), len(store.skipped)
            store.close()
        except AurlError:
            pieces = skipped = -1
        row: dict[str, Any] = {"corpus": item.name, "bytes": item.size, "pieces": pieces, "skipped": skipped}
        use = item.use
        row |= {"opened": use.opened, "reused": use.reused, "made": use.made} if use is not None else {}
        rows.append(row | {"last_used": time.strftime("%Y-%m-%d %H:%M", time.localtime(item.used))})
    shards = [item for item in held if not item.is_corpus]
    piece_store = {
        "shards": len(shards),
        "bytes": sum(item.size for item in shards),
        "entries": sum(item.entries for item in shards),
    }
    total = sum(item.size for item in held)
    if options.json:
        print(json.dumps({"cache": str(cache), "bytes": total, "corpora": rows, "piece_store": piece_store}, indent=2))
        return 0
    columns = ("pieces", "skipped", "opened", "reused", "made")
    print(f"{'corpus':<40} {'MB':>10} " + " ".join(f"{name:>9}" for name in columns) + "  last used")
    for row in rows:
        numbers = " ".join(
            f"{row.get(name, 0):>9,}" if row.get(name, 0) >= 0 else f"{'damaged':>9}" for name in columns
        )
        print(f"{row['corpus']:<40} {row['bytes'] / 1e6:>10.1f} {numbers}  {row['last_used']}")
    print(
        f"{'piece store':<40} {piece_store['bytes'] / 1e6:>10.1f} "
        f"{piece_store['entries']:>9,} entries in {piece_store['shards']:,} shards"
    )
    print(f"{'all':<40} {total / 1e6:>10.1f} in {cache}")
    return 0


def verify_cache(options: argparse.Namespace) -> int:
    """Print a line for each damage; exit code 1 if there is any."""
    from aurl.data.cache import verify

    cache = cache_folder(options)
    problems = verify(cache, sources=not options.no_sources)
    for problem in problems:
        print(one_line(problem))
    if problems:
        print(
            f"error: {len(problems)} damaged in {cache}; `aurl-data clear` removes what is prepared, "
            "and the next run makes it again",
            file=sys.stderr,
        )
        return FAILED
    print(f"{cache} is sound")
    return 0


def prune_cache(options: argparse.Namespace) -> int:
    """Remove what was not used for longest, and say what."""
    from aurl.data.cache import parse_size, prune

    try:
        size = parse_size(options.max_size)
    except ValueError as error:
        raise AurlError(f"--max-size {error}") from error
    return _print_removed(*prune(cache_folder(options), size))


def clear_cache(options: argparse.Namespace) -> int:
    """Remove everything or one corpus, after asking."""
    from aurl.data.cache import clear

    cache = cache_folder(options)
    if not options.yes:
        what = f"the prepared corpus {options.name}" if options.name else "everything"
        if not sys.stdin.isatty():
            raise AurlError(f"this removes {what} in {cache}; add --yes")
        if input(f"Remove {what} in {cache}? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing removed")
            return 0
    return _print_removed(*clear(cache, options.name))


def _print_removed(removed: Sequence[Holding], busy: Sequence[Holding]) -> int:
    corpora = [item for item in removed if item.is_corpus]
    for item in corpora:
        print(f"removed {item.name} ({item.size / 1e6:.1f} MB)")
    shards = [item for item in removed if not item.is_corpus]
    if shards:
        print(f"removed {len(shards)} shards of the piece store ({sum(item.size for item in shards) / 1e6:.1f} MB)")
    if not removed:
        print("nothing to remove")
    for item in (item for item in busy if item.is_corpus):
        print(f"kept {item.name}: a running job uses it")
    if kept := sum(not item.is_corpus for item in busy):
        print(f"kept {kept} shards of the piece store: a corpus is being prepared")
    return 0
