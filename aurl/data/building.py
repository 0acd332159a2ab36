"""Where a corpus is put together: one process at a time, in a hidden folder that is gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aurl.data.piece_store import lock_file
from aurl.utils.locks import has_locks, is_held, try_lock, wait_lock
from aurl.utils.logging import get_logger

log = get_logger("data.prepare")

BUILDING = ".building."
"""Part of the name of an unfinished folder, between the corpus's name and letters at random."""
STALE_SECONDS = 24 * 3600
"""On file systems without locks an unfinished folder older than this counts as left by a killed process."""
LOCKS_FOLDER = "locks"


def lock_path(cache: Path, name: str) -> Path:
    """The file that is locked while a corpus is built."""
    return cache / LOCKS_FOLDER / f"{name}.lock"


@contextmanager
def alone(cache: Path, name: str) -> Iterator[None]:
    """One process at a time builds a corpus; the others wait."""
    path = lock_path(cache, name)
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        if not try_lock(file, exclusive=True):
            log.info(f"{name} is being prepared by another process; waiting for it")
            wait_lock(file, exclusive=True)
        yield


@contextmanager
def shards_kept(cache: Path) -> Iterator[None]:
    """No shard is removed meanwhile."""
    path = lock_file(cache)
    path.parent.mkdir(exist_ok=True)
    with path.open("ab+") as file:  # readable, or NFS would refuse to share it
        wait_lock(file, exclusive=False)
        yield


@contextmanager
def building_folder(cache: Path, folder: Path) -> Iterator[Path]:
    """A hidden folder to build in, gone afterwards whatever happens; the caller holds the lock of :func:`alone`."""
    for old in cache.glob(f".*{BUILDING}*"):
        with suppress(FileNotFoundError):  # the process that builds in it may be done this moment
            if _is_left_behind(old, folder):
                shutil.rmtree(old, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}{BUILDING}", dir=cache))
    try:
        yield building
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _is_left_behind(old: Path, own: Path) -> bool:
    """Whether the process that built in a hidden folder is gone: then nobody holds the lock of that corpus.

    However long a build takes, its folder stays; on file systems without locks only age can tell.

    Args:
        old: the hidden folder.
        own: the corpus whose lock this process holds.
    """
    name = old.name.removeprefix(".").partition(BUILDING)[0]
    with lock_path(old.parent, name).open("ab+") as file:
        if is_held(file):
            return name == own.name  # held by this process, so whoever held it before is gone
        if has_locks() and try_lock(file, exclusive=True):
            return True
        return time.time() - old.stat().st_mtime > STALE_SECONDS
