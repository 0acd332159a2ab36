"""Who is held out: near-duplicates share a melody, and whole groups of them are dealt to train, valid and test.

Pure functions of notes, sets and strings; nothing here reads files. The one idea: a piece's fate depends on a hash of
its own group only, so adding music to a folder does not move what was already dealt out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from symusic.core import ScoreTick

SHARED_PART = 0.25
"""Two pieces are near-duplicates when they share this part of the smaller one's n-grams."""
LEAST_SHARED = 2
"""... and at least so many n-grams (or all of them, when a piece has fewer)."""
LEAST_INTERVALS = 3
"""An n-gram with fewer different intervals (repeated notes, trills, plain scales) says nothing about a tune."""
WINDOW = 32
"""Pieces that share an n-gram are compared with so many neighbours, in an order that puts similar ones together."""
HASH_SEED = 0x5EED

SPLITS = ("train", "valid", "test")


def top_line(score: ScoreTick) -> np.ndarray:
    """The pitches of the highest sounding line of all pitched tracks, in order of onset.

    A note counts when nothing higher of the line is still sounding; of notes that start together the highest counts.

    Args:
        score: any symusic score; drum tracks are ignored.

    Returns:
        int64 array (notes of the line,).
    """
    columns = [track.notes.numpy() for track in score.tracks if not track.is_drum and len(track.notes)]
    if not columns:
        return np.zeros(0, dtype=np.int64)
    time = np.concatenate([notes["time"] for notes in columns]).astype(np.float64)
    end = time + np.concatenate([notes["duration"] for notes in columns])
    pitch = np.concatenate([notes["pitch"] for notes in columns]).astype(np.int64)
    order = np.lexsort((-end, -pitch, time))
    first_at_onset = np.ones(len(order), dtype=bool)
    first_at_onset[1:] = np.diff(time[order]) > 0
    line: list[int] = []
    sounding_until = -np.inf
    for index in order[first_at_onset].tolist():
        if line and pitch[index] < line[-1] and time[index] < sounding_until:
            continue
        line.append(int(pitch[index]))
        sounding_until = end[index]
    return np.array(line, dtype=np.int64)


def interval_ngrams(pitches: np.ndarray, n: int = 12) -> set[int]:
    """Hashes of the n-note runs of a line, the same for every transposition.

    Args:
        pitches: (notes,) MIDI pitches in order.
        n: notes in a run; a shorter line counts as one run.

    Returns:
        64-bit hashes; runs of fewer than three different intervals are left out.

    Raises:
        ValueError: n is less than 2.
    """
    if n < 2:
        raise ValueError(f"n={n} is too small for n-grams of intervals; allowed: 2 or more")
    intervals = np.diff(np.asarray(pitches, dtype=np.int64))
    width = min(n - 1, len(intervals))
    if width == 0:
        return set()
    runs = np.lib.stride_tricks.sliding_window_view(intervals, width)  # (runs, width)
    ordered = np.sort(runs, axis=1)
    different = 1 + (np.diff(ordered, axis=1) != 0).sum(axis=1)
    runs = runs[different >= LEAST_INTERVALS]
    return {int(value) for value in np.unique(hash_rows(runs))}


def hash_rows(rows: np.ndarray) -> np.ndarray:
    """Hash each row of integers to 64 bits, the same on every machine.

    Args:
        rows: (R, width) integers.

    Returns:
        uint64 (R,).
    """
    multipliers = (
        np.random.Generator(np.random.PCG64(HASH_SEED)).integers(0, 2**63, rows.shape[1], dtype=np.uint64) * 2 + 1
    )
    mixed = (rows.astype(np.int64).astype(np.uint64) * multipliers).sum(axis=1, dtype=np.uint64)
    return np.asarray(mixed ^ (mixed >> np.uint64(29)), dtype=np.uint64)


def content_hash(score: ScoreTick) -> int:
    """64-bit hash of every note's time, length, pitch and drum flag: equal for copies of one file, drums included."""
    rows: list[np.ndarray] = []
    for track in score.tracks:
        if len(track.notes):
            notes = track.notes.numpy()
            columns = [notes["time"], notes["duration"], notes["pitch"], np.full(len(notes["pitch"]), track.is_drum)]
            rows.append(np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1))
    if not rows:
        return 0
    table = np.concatenate(rows)
    table[:, :2] *= 1.0 / max(score.ticks_per_quarter, 1)
    table = table[np.lexsort(table.T)]
    return int.from_bytes(hashlib.sha256(table.tobytes()).digest()[:8], "little")


def top_line_ngrams(score: ScoreTick, n: int = 12) -> set[int]:
    """The signature of a piece for :func:`group_near_duplicates`: n-grams of its top line and one hash of its content.

    Args:
        score: any symusic score in ticks.
        n: notes in a run.

    Returns:
        64-bit hashes; empty only for a score without notes.
    """
    signature = interval_ngrams(top_line(score), n)
    content = content_hash(score)
    return signature | {content} if content else signature


Signature = AbstractSet[int] | np.ndarray
"""64-bit hashes of a piece, as a set or a uint64 array without repetitions."""


def group_near_duplicates(signatures: Sequence[Signature], shared_part: float = SHARED_PART) -> list[int]:
    """Group pieces that share enough of their signatures, and whatever hangs together through such pairs.

    Args:
        signatures: 64-bit hashes of each piece; one without any is a group of its own.
        shared_part: part of the smaller signature that two near-duplicates share.

    Returns:
        A group number for each piece; groups are numbered by their first piece. Which pieces belong together does not
        depend on the order they are given in.
    """
    parents = list(range(len(signatures)))
    # As big-endian bytes sorted hashes compare like lists of numbers, and take a tenth of the memory.
    packed = [_sorted_hashes(signature).astype(">u8").tobytes() for signature in signatures]
    ranked = sorted((index for index, content in enumerate(packed) if content), key=packed.__getitem__)
    for previous, index in pairwise(ranked):
        if packed[previous] == packed[index]:
            _unite(parents, previous, index)
    distinct = ranked[:1] + [index for before, index in pairwise(ranked) if packed[before] != packed[index]]
    sizes = np.array([len(signatures[index]) for index in distinct], dtype=np.int64)
    first, second, shared = _count_shared(
        [np.frombuffer(packed[index], dtype=">u8").astype(np.uint64) for index in distinct]
    )
    smaller = np.minimum(sizes[first], sizes[second])
    alike = (shared >= shared_part * smaller) & (shared >= np.minimum(smaller, LEAST_SHARED))
    for left, right in zip(first[alike].tolist(), second[alike].tolist(), strict=True):
        _unite(parents, distinct[left], distinct[right])
    numbers: dict[int, int] = {}
    return [numbers.setdefault(_root(parents, index), len(numbers)) for index in range(len(signatures))]


def _sorted_hashes(signature: Signature) -> np.ndarray:
    if isinstance(signature, np.ndarray):
        return np.sort(signature)
    return np.array(sorted(signature), dtype=np.uint64)


def _count_shared(signatures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pair with something in common: both positions and the count, by one sort of all (hash, piece) rows."""
    if not signatures:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty
    count = len(signatures)
    hashes = np.concatenate(signatures)
    owners = np.repeat(np.arange(count, dtype=np.int64), [len(signature) for signature in signatures])
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    pairs: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
    for lag in range(1, min(WINDOW, len(hashes) - 1) + 1):
        same = hashes[:-lag] == hashes[lag:]
        if not same.any():
            break
        pairs.append(owners[:-lag][same] * count + owners[lag:][same])
    keys, shared = np.unique(np.concatenate(pairs), return_counts=True)
    return keys // count, keys % count, shared


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _unite(parents: list[int], left: int, right: int) -> None:
    left, right = _root(parents, left), _root(parents, right)
    parents[max(left, right)] = min(left, right)


def assign_splits(
    ids: Sequence[str], groups: Sequence[int], valid_share: float, test_share: float, seed: int
) -> list[str]:
    """Deal out whole groups to train, valid and test.

    Each group draws a number in [0, 1) from the SHA-256 of its alphabetically first id and ``seed``: below
    ``test_share`` it is test, below ``test_share + valid_share`` valid, else train. Two corrections: a group larger
    than the whole wanted share stays in train; and where enough groups exist, no wanted split is left empty (of the
    smallest groups still in train the one with the lowest number fills it) and train always has one.

    Args:
        ids: unique id of each piece.
        groups: group of each piece.
        valid_share: wanted part of pieces for validation, 0 to 1.
        test_share: wanted part of pieces for testing, 0 to 1.
        seed: changes which groups are held out.

    Returns:
        "train", "valid" or "test" for each piece, independent of the order of the input.

    Raises:
        ValueError: lists of different lengths or repeated ids.
    """
    if len(ids) != len(groups):
        raise ValueError(f"{len(ids)} ids but {len(groups)} groups; give one group for each id")
    if len(set(ids)) != len(ids):
        raise ValueError("ids of pieces must be unique, or a group could not be told from another")
    firsts: dict[int, str] = {}
    sizes: dict[int, int] = {}
    for name, group in zip(ids, groups, strict=True):
        firsts[group] = min(name, firsts.get(group, name))
        sizes[group] = sizes.get(group, 0) + 1
    draws = {group: unit_hash(f"aurl-split/{seed}/{first}") for group, first in firsts.items()}
    chosen: dict[int, str] = {}
    for group, draw in draws.items():
        split, share = ("test", test_share) if draw < test_share else ("valid", valid_share)
        held_out = draw < test_share + valid_share and sizes[group] <= max(1.0, share * len(ids))
        chosen[group] = split if held_out else "train"
    _fill_empty(chosen, draws, sizes, {"valid": valid_share, "test": test_share})
    return [chosen[group] for group in groups]


def _fill_empty(
    chosen: dict[int, str], draws: dict[int, float], sizes: dict[int, int], shares: dict[str, float]
) -> None:
    """Give a wanted but empty valid or test split one small train group, and train one group if it has none."""
    order = sorted(draws, key=lambda group: (sizes[group], draws[group]))
    for split, share in shares.items():
        train = [group for group in order if chosen[group] == "train"]
        if share > 0 and split not in chosen.values() and len(train) > 1:
            chosen[train[0]] = split
    if order and "train" not in chosen.values():
        chosen[max(draws, key=lambda group: (sizes[group], draws[group]))] = "train"


def unit_hash(text: str) -> float:
    """A number in [0, 1) from the SHA-256 of a text: the same on every machine and in every version of Python."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") / 2**64
