"""Rows in memory or in a temporary file: the same numbers, wherever they lie."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurl.utils.rows import RowSpool, blocks


@given(sizes=st.lists(st.integers(0, 9), max_size=8), memory=st.integers(0, 200))
def test_rows_come_back_in_order_from_memory_and_from_a_file(sizes: list[int], memory: int) -> None:
    spool, added = RowSpool(3, np.int32, memory), []
    for number, size in enumerate(sizes):
        added.append(np.arange(3 * size).reshape(size, 3) + 1000 * number)
        spool.add(added[-1])
    wanted = np.concatenate([np.zeros((0, 3), int), *added])
    found = spool.finish()
    assert found.dtype == np.int32 and found.shape == wanted.shape and (found == wanted).all()
    assert not found.flags.writeable


def test_many_rows_take_no_memory_of_the_process() -> None:
    block = np.arange(1 << 16).reshape(-1, 1)
    # What Python and numpy allocate, other tests in this process notwithstanding; mapped files are not among it.
    tracemalloc.start()
    try:
        spool = RowSpool(1)
        for _ in range(256):
            spool.add(block)
        rows = spool.finish()
        assert rows[-1, 0] == block[-1, 0] and len(rows) == 1 << 24
        rows_read = sum(int(rows[part].sum()) for part in blocks(len(rows)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows_read == 256 * int(block.sum())
    assert peak < rows.nbytes / 8


class Full(io.BytesIO):
    """A temporary file on a disk that is full after some bytes."""

    room = 0

    def write(self, data: Any) -> int:
        written = super().write(bytes(data)[: max(self.room - self.tell(), 0)])
        if written < len(data):
            raise OSError(28, "No space left on device")
        return written


@pytest.mark.parametrize("room", [0, 70, 100])
def test_a_full_disk_is_said_once_and_the_rows_stay_in_memory(
    room: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class File(Full):
        pass

    File.room = room
    # Not io.BytesIO itself, which is what rows in memory are.
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: _Wrapped(File()))
    spool = RowSpool(2, np.int32, memory=40)
    for number in range(20):
        spool.add([[number, -number], [number, 7]])
    found = spool.finish()
    assert found[:, 0].tolist() == [number // 2 for number in range(40)] and found[1::2, 1].tolist() == [7] * 20
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "cannot take a temporary file (No space left on device)" in said[0]
    assert "set TMPDIR to another folder" in said[0]


LIMITED = """
import resource, sys
from aurl.utils.rows import RowSpool
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = RowSpool(1)
for start in range(0, 1_000_000, int(sys.argv[1])):
    spool.add([[number] for number in range(start, start + int(sys.argv[1]))])
rows = spool.finish()[:, 0]
assert rows.tolist() == list(range(1_000_000)), "rows are lost"
"""


@pytest.mark.parametrize("block", ["100", "10000"])
def test_a_real_file_that_may_not_grow_loses_no_row(block: str) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, block], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class _Wrapped:
    """A file by its methods only."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_blocks_cover_everything_once() -> None:
    assert [list(range(10))[block] for block in blocks(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(blocks(0)) == []
