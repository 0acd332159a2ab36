"""Advisory file locks that end with their process: shared by those who use a file, exclusive for who removes it."""

from __future__ import annotations

import contextlib
from typing import IO

try:
    import fcntl
except ImportError:  # no such locks on this system: everyone is taken to be alone
    fcntl = None  # type: ignore[assignment]


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
    """Lock an open file as soon as nobody forbids it; does nothing on file systems without locks."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        fcntl.flock(file.fileno(), fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
