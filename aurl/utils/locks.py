"""Advisory file locks that end with their process: shared by those who use a file, exclusive for who removes it."""

from __future__ import annotations

import errno
from typing import IO

from aurl.utils.logging import get_logger

try:
    import fcntl
except ImportError:  # no such locks on this system: everyone is taken to be alone
    fcntl = None  # type: ignore[assignment]

log = get_logger("utils.locks")


def try_lock(file: IO[bytes], exclusive: bool) -> bool:
    """Lock an open file without waiting.

    Returns:
        False where another process holds it in a way that forbids this, or the file system has no locks.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file.fileno(), (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def wait_lock(file: IO[bytes], exclusive: bool) -> None:
    """Lock an open file as soon as nobody forbids it; warns on file systems without locks.

    Over NFS a shared lock needs a file that is open for reading, an exclusive one a file that is open for writing.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    except OSError as error:
        log.warning(f"{file.name} cannot be locked ({error.strerror}); let one process at a time work in its folder")


def has_locks() -> bool:
    """Whether this system has such locks at all; a file system may still lack them."""
    return fcntl is not None


def is_held(file: IO[bytes]) -> bool:
    """Whether another process holds a lock that forbids sharing this file; False on file systems without locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False
