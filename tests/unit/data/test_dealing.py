"""Windows dealt to batches: all of them, in order, as evenly as their lengths allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_store import MemoryStore, build_vocabulary, plan

from aurl.data import batching, dealing
from aurl.data.dealing import deal
from aurl.data.windows import WindowTable


def table(sizes: list[int]) -> WindowTable:
    rows = [(number, 0, size + 1, 1) for number, size in enumerate(sizes)]
    return WindowTable(np.array(rows, np.int32))


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=60), batches=st.integers(1, 20))
def test_each_window_goes_to_the_batch_of_its_middle_and_none_is_empty(sizes: list[int], batches: int) -> None:
    dealt = deal(table(sizes), batches)
    assert len(dealt) == batches
    middles = np.cumsum(sizes) - np.array(sizes) / 2
    wanted = np.minimum((middles * batches / sum(sizes)).astype(int), batches - 1)
    for number, windows in enumerate(dealt):
        own = np.flatnonzero(wanted == number)
        if len(own):
            assert [window.piece for window in windows] == own.tolist()
        else:
            (only,) = windows
            assert abs(wanted[only.piece] - number) == np.abs(wanted - number).min()
    assert dealt[-1] == dealt[batches - 1] and dealt[1:3] == [dealt[n] for n in range(batches)[1:3]]


def test_it_does_not_matter_how_many_windows_are_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = build_vocabulary()
    store = MemoryStore(vocabulary, [3, 40, 8, 1, 12, 25, 9, 30] * 5)
    whole = [list(plan(store, overlap=0.25, batch_tokens=90).epoch(epoch)) for epoch in range(2)]

    def few(count: int, rows: int = 3) -> list[slice]:
        return [slice(start, min(start + 3, count)) for start in range(0, count, 3)]

    monkeypatch.setattr(batching, "blocks", few)
    monkeypatch.setattr(dealing, "blocks", few)
    assert [list(plan(store, overlap=0.25, batch_tokens=90).epoch(epoch)) for epoch in range(2)] == whole
