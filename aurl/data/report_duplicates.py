"""Near-duplicates for the data report: which pieces hang together, how alike, which pairs a split tears apart.

Groups are those of duplicates.py, so the report shows what preparing decides by. Two pieces are as alike as the part of
the smaller signature that they share: 1 is a copy or a transposition, ``duplicates.SHARED_PART`` the least that counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.data.duplicates import SHARED_PART, group_near_duplicates

MOST_COMPARED = 100
"""Of a larger group only so many pieces, those of the smaller splits first, are compared with each other."""

Signature = NDArray[np.uint64]


def near_duplicates(signatures: Sequence[Signature | None], splits: Sequence[str]) -> dict[str, Any]:
    """Groups of near-duplicates and the pairs that lie in different splits.

    Args:
        signatures: sorted hashes of each piece; None for one without.
        splits: the split of each piece.

    Returns:
        JSON types: ``groups`` (pieces, splits, lowest and highest similarity of its pairs), the largest first;
        ``across`` (a, b, similarity), the most alike first; ``extra``, pieces beyond the first of each group;
        ``not_compared``, pieces of groups too large to compare all pairs.
    """
    numbers = group_near_duplicates(s if s is not None else set() for s in signatures)
    members: dict[int, list[int]] = defaultdict(list)
    for piece, number in enumerate(numbers):
        members[number].append(piece)
    groups: list[dict[str, Any]] = []
    across: list[dict[str, Any]] = []
    left_out = 0
    rarity = {split: splits.count(split) for split in set(splits)}
    for pieces in members.values():
        if len(pieces) < 2:
            continue
        compared = sorted(pieces, key=lambda piece: (rarity[splits[piece]], piece))[:MOST_COMPARED]
        left_out += len(pieces) - len(compared)
        pairs = [(a, b, similarity(signatures, a, b)) for a, b in combinations(sorted(compared), 2)]
        alike = [pair for pair in pairs if pair[2] >= SHARED_PART]
        shares = [share for _, _, share in alike or pairs]
        groups.append(
            {
                "pieces": pieces,
                "splits": sorted({splits[piece] for piece in pieces}),
                "lowest": round(min(shares), 3),
                "highest": round(max(shares), 3),
            }
        )
        across += [{"a": a, "b": b, "similarity": round(s, 3)} for a, b, s in alike if splits[a] != splits[b]]
    groups.sort(key=lambda group: (-len(group["pieces"]), group["pieces"]))
    across.sort(key=lambda pair: (-pair["similarity"], pair["a"], pair["b"]))
    extra = sum(len(group["pieces"]) - 1 for group in groups)
    return {"groups": groups, "across": across, "extra": extra, "not_compared": left_out}


def similarity(signatures: Sequence[Signature | None], a: int, b: int) -> float:
    """Part of the smaller signature that two pieces share, 0 to 1."""
    first, second = signatures[a], signatures[b]
    if first is None or second is None or not len(first) or not len(second):
        return 0.0
    return len(np.intersect1d(first, second, assume_unique=True)) / min(len(first), len(second))
