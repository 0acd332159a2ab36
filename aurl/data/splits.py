"""Who is held out: near-duplicates share a melody, and whole groups of them are dealt to train, valid and test.

Here are the hashes of a piece's melody and the dealing; duplicates.py finds the groups. Pure functions of notes and
strings; nothing here reads files. The one idea: a piece's fate depends on a hash of its own group only, so adding music
to a folder does not move what was already dealt out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from symusic.core import ScoreTick

LEAST_INTERVALS = 3
"""An n-gram with fewer different intervals (repeated notes, trills, plain scales) says nothing about a tune."""
HASH_SEED = 0x5EED

SPLITS = ("train", "valid", "test")
TRAIN, VALID, TEST = range(len(SPLITS))


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
    """The signature of a piece for duplicates.py: n-grams of its top line and one hash of its content.

    Args:
        score: any symusic score in ticks.
        n: notes in a run.

    Returns:
        64-bit hashes; empty only for a score without notes.
    """
    signature = interval_ngrams(top_line(score), n)
    content = content_hash(score)
    return signature | {content} if content else signature


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
    if not len(ids):
        return []
    _, number, sizes = np.unique(np.asarray(groups, dtype=np.int64), return_inverse=True, return_counts=True)
    firsts: list[str | None] = [None] * len(sizes)
    for name, group in zip(ids, number.tolist(), strict=True):
        first = firsts[group]
        firsts[group] = name if first is None else min(first, name)
    draws = np.array([unit_hash(f"aurl-split/{seed}/{first}") for first in firsts])
    chosen = np.where(draws < test_share, TEST, VALID)
    wanted = np.where(chosen == TEST, test_share, valid_share)
    held_out = (draws < test_share + valid_share) & (sizes <= np.maximum(1.0, wanted * len(ids)))
    chosen = np.where(held_out, chosen, TRAIN)
    _fill_empty(chosen, draws, sizes, {VALID: valid_share, TEST: test_share})
    return [SPLITS[split] for split in chosen[number].tolist()]


def _fill_empty(chosen: np.ndarray, draws: np.ndarray, sizes: np.ndarray, shares: dict[int, float]) -> None:
    """Give a wanted but empty valid or test split one small train group, and train one group if it has none."""
    order = np.lexsort((draws, sizes))
    for split, share in shares.items():
        train = order[chosen[order] == TRAIN]
        if share > 0 and not (chosen == split).any() and len(train) > 1:
            chosen[train[0]] = split
    if not (chosen == TRAIN).any():
        chosen[order[-1]] = TRAIN


def unit_hash(text: str) -> float:
    """A number in [0, 1) from the SHA-256 of a text: the same on every machine and in every version of Python."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") / 2**64
