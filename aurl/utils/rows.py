"""Rows of numbers that may be many: in memory while they are few, in a temporary file that is mapped from then on.

A mapped file costs a process no memory of its own: the system keeps as much of it as there is room for and reads the
rest again. So what is planned for a million pieces takes no more than what is planned for a thousand.
"""

from __future__ import annotations

import io
import mmap
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from aurl.utils.logging import get_logger

log = get_logger("utils.rows")

MEMORY_BYTES = 1 << 20
"""Bytes that a spool holds before it makes a file."""
BLOCK_ROWS = 1 << 16
"""Rows that are worked on at once where there may be millions."""


class RowSpool:
    """Gathers rows, one block after the other, and gives them back as one array.

    The file has no name and lies where the system keeps such files (the environment variable ``TMPDIR``); it is gone
    with the array. Where it cannot be written, a warning says so and the rows stay in memory.

    Args:
        columns: numbers in a row.
        kind: their type.
        memory: most bytes that stay in memory.

    Example:
        >>> spool = RowSpool(2)
        >>> spool.add([[1, 2], [3, 4]])
        >>> spool.finish().tolist()
        [[1, 2], [3, 4]]
    """

    def __init__(self, columns: int, kind: npt.DTypeLike = np.int32, memory: int = MEMORY_BYTES) -> None:
        self._columns, self._kind, self._memory = columns, np.dtype(kind), memory
        self._file: IO[bytes] = io.BytesIO()
        self._size = 0

    def add(self, rows: npt.ArrayLike) -> None:
        """Keep rows (R, columns)."""
        data = np.ascontiguousarray(rows, self._kind).reshape(-1, self._columns).tobytes()
        grows = isinstance(self._file, io.BytesIO) and self._size <= self._memory < self._size + len(data)
        try:
            if grows:
                # Unbuffered: what a full disk has refused must not be written again when the file is read or closed.
                self._move_to(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  # closed by finish()
            _write(self._file, data)
        except OSError as error:
            log.warning(
                f"{tempfile.gettempdir()} cannot take a temporary file ({error.strerror or error}); "
                "its numbers stay in memory (free space there, or set TMPDIR to another folder)"
            )
            self._move_to(io.BytesIO())
            _write(self._file, data)
        self._size += len(data)

    def _move_to(self, file: IO[bytes]) -> None:
        """Go on in another file with what was written so far."""
        self._file.seek(0)
        try:
            _write(file, self._file.read(self._size))
        except OSError:
            file.close()
            raise
        self._file.close()
        self._file = file

    def finish(self) -> npt.NDArray[Any]:
        """All rows (R, columns), read-only; nothing can be added any more."""
        if isinstance(self._file, io.BytesIO):
            data: Any = self._file.getvalue()
        else:
            data = mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ)
        self._file.close()
        return np.frombuffer(data, self._kind).reshape(-1, self._columns)


def _write(file: IO[bytes], data: bytes) -> None:
    """Write all of it; an unbuffered file may take only a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def blocks(count: int, rows: int = BLOCK_ROWS) -> Iterator[slice]:
    """Slices that cover ``count`` rows in order.

    Example:
        >>> list(blocks(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
