"""The cache as a whole: what it holds, whether it is sound, and making room in it.

Two kinds of things take space: prepared corpora (folders) and the shards of the piece store. Both can be removed at
any time, since they are made again when needed, except while a running job uses them: an open corpus is locked by who
opened it (store.py), all shards are while a corpus is built (prepare.py).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aurl.data.addresses import content_of, stamp_of
from aurl.data.building import LOCKS_FOLDER
from aurl.data.index import CorpusUse, Index, index_of
from aurl.data.piece_store import PIECES_FOLDER, SHARD_SUFFIX, lock_file, remove_left_over, shard_path
from aurl.data.plan import FINGERPRINT_LETTERS
from aurl.data.store import META, SUMS, TOKENS, file_sum, verify_folder
from aurl.music.limits import UNBOUNDED
from aurl.utils.errors import AurlError
from aurl.utils.locks import try_lock
from aurl.utils.logging import get_logger
from aurl.utils.words import nearest

log = get_logger("data.cache")

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
LEARNED_FOLDER = "learned_tokens"
"""Folder in the cache where tokens learned from a corpus are kept (merging.py)."""
CORPUS_NAME = re.compile(rf"[\w.-]+-[0-9a-f]{{{FINGERPRINT_LETTERS}}}")
"""What the folder of a prepared corpus is called; others in the cache folder are somebody else's and stay."""
UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_size(text: str) -> int:
    """Bytes of a size such as 20GB, 1.5 TB, 512MiB or 1000.

    Raises:
        ValueError: something else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in UNITS:
        raise ValueError(f"'{text}' is no size; for instance 20GB, 512MB or a number of bytes")
    return int(float(match[1]) * UNITS[match[2].lower()])


@dataclass(frozen=True)
class Holding:
    """Something in the cache."""

    name: str
    """Name of the folder of a prepared corpus, or of a shard."""
    is_corpus: bool
    path: Path
    size: int
    """Bytes."""
    used: float
    """Seconds since 1970 of its last use."""
    use: CorpusUse | None = None
    entries: int = 0
    """Entries of a shard."""


def holdings(cache: Path, index: Index) -> list[Holding]:
    """Prepared corpora and shards."""
    found = []
    for folder in sorted(path for path in cache.iterdir() if _is_corpus(path)):
        use = index.use_of(folder.name)
        try:
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            used = use.used if use is not None else folder.stat().st_mtime
        except FileNotFoundError:
            continue  # another process removes it this moment
        found.append(Holding(folder.name, True, folder, size, used, use))
    for name, size, used, entries in index.shards():
        found.append(Holding(name, False, shard_path(cache, name), size, used, entries=entries))
    return found


def _is_corpus(path: Path) -> bool:
    """Whether a folder is a prepared corpus, perhaps a damaged one."""
    is_named = not path.name.startswith(".") and CORPUS_NAME.fullmatch(path.name) is not None
    return is_named and any((path / name).is_file() for name in (META, SUMS, TOKENS))


def prune(cache: Path, max_size: int) -> tuple[list[Holding], list[Holding]]:
    """Remove what was not used for longest until the cache has at most ``max_size`` bytes.

    Returns:
        What was removed, and what would have been but is in use by a running job.
    """
    removed: list[Holding] = []
    busy: list[Holding] = []
    with index_of(cache) as index, _shards_free(cache) as shards_free:
        if shards_free:
            _remove_orphans(cache, index)
        held = holdings(cache, index)
        total = sum(item.size for item in held)
        for item in sorted(held, key=lambda item: (item.used, item.name)):
            if total <= max_size:
                break
            gone = _remove_corpus(item, index) if item.is_corpus else shards_free and _remove_shard(item, index)
            (removed if gone else busy).append(item)
            total -= item.size if gone else 0
    if removed:
        freed = sum(item.size for item in removed)
        log.info(f"Removed {len(removed)} unused parts of the cache, {freed / 1e6:.1f} MB")
    return removed, busy


def _remove_corpus(item: Holding, index: Index) -> bool:
    """Remove a prepared corpus unless someone has it open."""
    try:
        with (item.path / META).open("rb+") as file:
            if not try_lock(file, exclusive=True):
                return False
            _remove_folder(item.path)
    except FileNotFoundError:
        if item.path.is_dir():  # without the file that is locked nobody can have it open
            _remove_folder(item.path)
    index.drop_corpus(item.name)
    return True


def _remove_folder(folder: Path) -> None:
    hidden = folder.with_name(f".{folder.name}.building.removed-{os.getpid()}")
    folder.rename(hidden)  # at once, so that nobody opens half of it
    shutil.rmtree(hidden, ignore_errors=True)


def _remove_shard(item: Holding, index: Index) -> bool:
    index.drop_shard(item.name)
    item.path.unlink(missing_ok=True)
    return True


@contextmanager
def _shards_free(cache: Path) -> Iterator[bool]:
    """Whether no corpus is being built, and none begins meanwhile."""
    path = lock_file(cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        yield try_lock(file, exclusive=True)


def _remove_orphans(cache: Path, index: Index) -> None:
    """Shards that no entry leads to: their process was killed between publishing and telling."""
    known = {name for name, *_ in index.shards()}
    for path in (cache / PIECES_FOLDER).glob(f"*/*{SHARD_SUFFIX}"):
        if path.stem not in known:
            path.unlink(missing_ok=True)
    remove_left_over(cache / PIECES_FOLDER)


def verify(cache: Path, sources: bool = True) -> list[str]:
    """Read everything and compare it with what it was when it was published.

    Args:
        cache: the folder.
        sources: hash the music files again, too; one that changed behind its stamp is forgotten, so that it is read
            again.

    Returns:
        A line for each damage, with the file.
    """
    problems = []
    with index_of(cache) as index:
        for item in holdings(cache, index):
            if item.is_corpus:
                problems += verify_folder(item.path)
            elif not item.path.is_file():
                problems.append(f"{item.path}: missing")
            elif file_sum(item.path) != item.name:
                problems.append(f"{item.path}: damaged (its SHA-256 is not its name)")
        if sources:
            problems += _verify_sources(index)
    return problems


def _verify_sources(index: Index) -> list[str]:
    problems = []
    for name, stamp, content in index.files():
        path = os.fsdecode(name)
        try:
            unchanged = stamp_of(os.stat(path)) == stamp
        except OSError:
            continue  # gone: nothing to compare
        if unchanged and content_of(path, UNBOUNDED) != content.hex():
            problems.append(f"{path}: its bytes changed but not its times; it will be read again")
            index.forget(name)
    return problems


def clear(cache: Path, name: str | None = None) -> tuple[list[Holding], list[Holding]]:
    """Remove everything, or one prepared corpus.

    Args:
        cache: the folder.
        name: folder of a prepared corpus; None for all of them with the piece store.

    Returns:
        What was removed, and what is in use.

    Raises:
        AurlError: there is no such corpus.
    """
    if name is None:
        removed, busy = prune(cache, 0)
        if not busy:
            _forget_all(cache)
        return removed, busy
    with index_of(cache) as index:
        corpora = {item.name: item for item in holdings(cache, index) if item.is_corpus}
        if name not in corpora:
            there = ", ".join(corpora) or "none"
            raise AurlError(
                f"there is no prepared corpus {name} in {cache}{nearest(name, corpora)}; there are: {there}"
            )
        item = corpora[name]
        return ([item], []) if _remove_corpus(item, index) else ([], [item])


def _forget_all(cache: Path) -> None:
    """Remove what is left when nothing is in use; does nothing while a first corpus is being prepared."""
    with index_of(cache) as index, _shards_free(cache) as shards_free:
        if not shards_free:
            return
        index.forget_all()
        for folder in (cache / PIECES_FOLDER).iterdir():
            if folder.is_dir():  # the file beside them is the lock that is held
                shutil.rmtree(folder, ignore_errors=True)
        for name in (LOCKS_FOLDER, LEARNED_FOLDER):
            shutil.rmtree(cache / name, ignore_errors=True)
