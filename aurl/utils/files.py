"""Atomic writes. A reader never sees half a file; a full disk never leaves one behind."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from aurl.utils.errors import AurlError


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through a temporary neighbour, fsync and rename.

    Args:
        path: final name; missing parent folders are made.
        write: receives the open binary file.

    Raises:
        AurlError: the folder cannot be written or the disk is full; ``path`` is then as it was before.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise AurlError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_folder(folder: Path, key: str) -> None:
    """Refuse, before the work, a folder that cannot be made or written to.

    Args:
        folder: where files will go.
        key: what the user has typed it after, such as ``output=``.

    Raises:
        AurlError: with the place that is in the way.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise AurlError(f"{key}{folder}: {there} is a file; give a folder")
    if not os.access(there, os.W_OK):
        raise AurlError(f"{key}{folder}: {there} may not be written to; choose another folder")


def check_file(file: Path, key: str) -> None:
    """Refuse, before the work, a file that is a folder or whose folder cannot be made or written to.

    Raises:
        AurlError: with the place that is in the way.
    """
    if file.is_dir():
        raise AurlError(f"{key}{file} is a folder; give a file, such as {file.name or 'some'}/NAME")
    there = next(place for place in file.absolute().parents if place.exists())
    if not there.is_dir():
        raise AurlError(f"{key}{file}: {there} is a file; give a file in a folder")
    if not os.access(there, os.W_OK):
        raise AurlError(f"{key}{file}: {there} may not be written to; choose another folder")


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable (a no-op where folders cannot be opened)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically (see :func:`atomic_write`)."""
    atomic_write(path, lambda file: file.write(data))


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` atomically (see :func:`atomic_write`)."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically (see :func:`atomic_write`)."""
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
