"""Near-duplicates are the same however little memory there is, and nothing of them stays on disk."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurl.data.duplicates import (
    LEAST_SHARED,
    PARTS,
    SHARED_PART,
    WINDOW,
    NearDuplicates,
    Spill,
    group_near_duplicates,
)

signatures_of_pieces = st.lists(st.sets(st.integers(0, 60), max_size=12), max_size=WINDOW)


def groups_by_all_pairs(signatures: list[set[int]], shared_part: float = SHARED_PART) -> list[int]:
    """What is meant, without any cleverness."""
    numbers = list(range(len(signatures)))
    for a, b in combinations(range(len(signatures)), 2):
        shared, smaller = len(signatures[a] & signatures[b]), min(len(signatures[a]), len(signatures[b]))
        same = signatures[a] == signatures[b] != set()
        if same or (smaller and shared >= shared_part * smaller and shared >= min(smaller, LEAST_SHARED)):
            one, other = sorted((numbers[a], numbers[b]))
            numbers = [one if number == other else number for number in numbers]
    found: dict[int, int] = {}
    return [found.setdefault(number, len(found)) for number in numbers]


def groups_with_little_memory(signatures: list[set[int]], folder: Path, rows: int, shared_part: float) -> list[int]:
    with NearDuplicates(folder, rows) as pieces:
        for signature in signatures:
            pieces.add(signature)
        return pieces.groups(shared_part)


@settings(deadline=None, max_examples=60)
@given(signatures_of_pieces, st.sampled_from([0.1, SHARED_PART, 0.6, 1.0]))
def test_groups_are_those_that_a_comparison_of_all_pairs_finds(signatures: list[set[int]], shared_part: float) -> None:
    assert group_near_duplicates(signatures, shared_part) == groups_by_all_pairs(signatures, shared_part)


@settings(deadline=None, max_examples=15)
@given(signatures_of_pieces, st.integers(1, 40))
def test_groups_do_not_depend_on_what_fits_into_memory(
    tmp_path_factory: pytest.TempPathFactory, signatures: list[set[int]], rows: int
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    found = groups_with_little_memory(signatures, folder, rows, SHARED_PART)
    assert found == group_near_duplicates(signatures)
    assert list(folder.iterdir()) == []


def test_arrays_and_sets_are_grouped_alike_whatever_the_size_of_their_hashes() -> None:
    big = [2**64 - 1, 2**63, 2**63 - 1, 1, 0]
    signatures = [big, [*big[:3], 5, 6], [11, 12, 13], [], [0]]
    arrays = [np.array(signature, dtype=np.uint64) for signature in signatures]
    assert group_near_duplicates(arrays) == group_near_duplicates(map(set, signatures)) == [0, 0, 1, 2, 0]


def test_a_copy_is_found_among_many_pieces_that_share_a_hash() -> None:
    signatures = [{1, 1000 + index} for index in range(4 * WINDOW)] + [{1, 1003}]
    groups = group_near_duplicates(signatures)
    assert groups[-1] == groups[3] and len(set(groups)) == 4 * WINDOW


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9), max_size=20), max_size=12), st.integers(1, 30))
def test_a_spill_gives_back_every_row_once_and_those_of_a_key_together(keys: list[list[int]], rows: int) -> None:
    kept = Counter((key, number) for number, some in enumerate(keys) for key in some)
    with Spill(rows=rows) as spill:
        for number, some in enumerate(keys):
            spill.add(np.array(some, dtype=np.uint64), number)
        parts = [part.tolist() for part in spill.parts()]
    assert Counter(tuple(row) for part in parts for row in part) == kept
    assert len(parts) in (0, 1, PARTS)
    owners = [{key for key, _ in part} for part in parts]
    assert sum(map(len, owners)) == len(set().union(*owners))


def test_a_spill_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with Spill(tmp_path / "missing", rows=2) as spill, pytest.raises(FileNotFoundError, match="missing"):
        spill.add(np.arange(5, dtype=np.uint64), 0)


def test_memory_does_not_grow_with_the_hashes(tmp_path: Path) -> None:
    def peak(pieces: int, hashes: int) -> int:
        rng = np.random.default_rng(0)
        tracemalloc.start()
        with NearDuplicates(tmp_path, rows=2**12) as gathered:
            for _ in range(pieces):
                gathered.add(rng.integers(0, 2**63, hashes, dtype=np.uint64))
            assert len(set(gathered.groups())) == pieces
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = peak(1000, 10), peak(1000, 400)
    assert many < few + 1_000_000, "390,000 more hashes, 3 MB of numbers, take buffers and indices only"
