"""The Witten-Bell n-gram: the reference that a learned model must beat, on the same tokens with the same accounting.

Interpolated Witten-Bell smoothing (Witten and Bell 1991; Chen and Goodman 1998, section 2.4): with c counts in the
training tokens and T(h) the number of different tokens seen after history h,

    p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h)),    h' = h without its oldest token,

down to the uniform distribution over the vocabulary. A history never reaches past BOS: where it would be longer than
what the piece has so far, it is what the piece has so far.

Orders are worked through one at a time: histories are 64-bit rolling hashes, counts come from one sort per order, and
only the order at hand is in memory. One pass gives the likelihood at every order up to the highest, so that tuning
costs nothing.

Axes: N training tokens that are predicted, Q queried tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from aurl.data.augmentation.tables import Transposer

HASH_BASE = 0x9E3779B97F4A7C15
"""Odd multiplier of the rolling hash (2**64 over the golden ratio)."""
HASH_MODULUS = 1 << 64
MIX_SHIFT = np.uint64(32)
MIX_FACTOR = np.uint64(0xD6E8FEB86659FD93)
"""Constants of one multiply-xorshift round, which makes all bits of a hash depend on all tokens."""


@dataclass(frozen=True)
class History:
    """Tokens to predict and what stands before them, over the pieces laid one after the other."""

    ids: np.ndarray
    """(M,) int64: all tokens of all pieces."""
    where: np.ndarray
    """(N,) index into ``ids`` of each predicted token (all but each piece's first)."""
    past: np.ndarray
    """(N,) tokens of the same piece before each predicted one."""

    @classmethod
    def of(cls, pieces: Sequence[np.ndarray]) -> History:
        """Lay pieces (each BOS ... EOS) one after the other."""
        lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
        ids = (
            np.concatenate([np.asarray(piece, dtype=np.int64) for piece in pieces])
            if len(pieces)
            else np.zeros(0, np.int64)
        )
        starts = np.cumsum(lengths) - lengths
        past = np.arange(len(ids)) - np.repeat(starts, lengths)
        where = np.flatnonzero(past)
        return cls(ids, where, past[where])

    @property
    def targets(self) -> np.ndarray:
        """(N,) the predicted tokens."""
        return self.ids[self.where]


@dataclass(frozen=True)
class Level:
    """Counts of one order: histories, what followed them, how often."""

    histories: np.ndarray
    """(C,) sorted hashes of the different histories."""
    totals: np.ndarray
    """(C,) c(h): times each history was seen."""
    kinds: np.ndarray
    """(C,) T(h): different tokens that followed."""
    pairs: np.ndarray
    """(P,) sorted: index of the history times V plus the token that followed."""
    pair_counts: np.ndarray
    """(P,) c(h w)."""
    vocab_size: int

    @classmethod
    def count(cls, hashes: np.ndarray, targets: np.ndarray, vocab_size: int) -> Level:
        """Count histories (N,) uint64 and the tokens (N,) that follow them."""
        histories, inverse, totals = np.unique(hashes, return_inverse=True, return_counts=True)
        pairs, pair_counts = np.unique(inverse * vocab_size + targets, return_counts=True)
        kinds = np.bincount(pairs // vocab_size, minlength=len(histories))
        return cls(histories, totals, kinds, pairs, pair_counts, vocab_size)

    def interpolate(self, hashes: np.ndarray, targets: np.ndarray, shorter: np.ndarray) -> np.ndarray:
        """Probabilities (Q,) of ``targets``, given those of the next shorter order; unseen histories keep those."""
        history, seen = _find(self.histories, hashes)
        pair, followed = _find(self.pairs, history * self.vocab_size + targets)
        counts = np.where(followed, self.pair_counts[pair], 0)
        kinds = self.kinds[history]
        return np.where(seen, (counts + kinds * shorter) / (self.totals[history] + kinds), shorter)


def history_hashes(history: History, max_length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each length from 0 on: which predicted tokens have that much past (N,) bool, and its hash (N,) uint64."""
    rolling = np.zeros(len(history.where), dtype=np.uint64)
    power = 1
    for length in range(max_length + 1):
        enough = history.past >= length
        if length:
            token = history.ids[np.maximum(history.where - length, 0)].astype(np.uint64) + np.uint64(1)
            rolling = np.where(enough, rolling + token * np.uint64(power), rolling)
            power = power * HASH_BASE % HASH_MODULUS
        yield enough, _mix(rolling)


def sweep_orders(
    train: Sequence[np.ndarray], queries: Sequence[np.ndarray], vocab_size: int, max_order: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Likelihood of pieces at every order, in one pass over the orders.

    Args:
        train: token ids of the training pieces, each BOS ... EOS.
        queries: token ids of the pieces to score, each BOS ... EOS.
        vocab_size: V; every id is below it.
        max_order: highest order; order n predicts from n - 1 tokens (1 is the unigram).

    Yields:
        The order, and the nats (Q,) of every token after BOS of the queries, in their order.

    Raises:
        ValueError: max_order below 1, no training tokens, or an id outside the vocabulary.
    """
    if max_order < 1:
        raise ValueError(f"max_order={max_order} is too small; allowed: 1 or more")
    seen, asked = History.of(train), History.of(queries)
    if not len(seen.where):
        raise ValueError(f"the n-gram needs training tokens, got {len(train)} pieces with none after BOS")
    for ids in (seen.ids, asked.ids):
        if len(ids) and not 0 <= ids.min() <= ids.max() < vocab_size:
            raise ValueError(f"token ids {ids.min()} to {ids.max()} lie outside the vocabulary of {vocab_size}")
    targets, asked_targets = seen.targets, asked.targets
    probability = np.full(len(asked.where), 1.0 / vocab_size)
    levels = zip(history_hashes(seen, max_order - 1), history_hashes(asked, max_order - 1), strict=True)
    for order, ((enough, hashes), (asked_enough, asked_hashes)) in enumerate(levels, start=1):
        if enough.any():
            level = Level.count(hashes[enough], targets[enough], vocab_size)
            longer = level.interpolate(asked_hashes, asked_targets, probability)
            probability = np.where(asked_enough, longer, probability)
        yield order, -np.log(probability)


def distribution(train: Sequence[np.ndarray], past: np.ndarray, vocab_size: int, order: int) -> np.ndarray:
    """Probabilities (V,) of the token after ``past`` (BOS first); for inspection, not speed."""
    queries = [np.append(np.asarray(past, dtype=np.int64), token) for token in range(vocab_size)]
    *_, (_, nats) = sweep_orders(train, queries, vocab_size, order)
    return np.exp(-nats.reshape(vocab_size, -1)[:, -1])


def transposed(
    pieces: Sequence[np.ndarray], ranges: Sequence[tuple[int, int]], transposer: Transposer
) -> list[np.ndarray]:
    """Every transposition that training may draw: of each piece all shifts inside the range of the corpus.

    Args:
        pieces: token ids of each piece.
        ranges: lowest and highest pitch of each piece (-1, -1 when it has none).
        transposer: the table of training, with its range of shifts.
    """
    copies = []
    for ids, (lowest, highest) in zip(pieces, ranges, strict=True):
        low, high = transposer.allowed(lowest, highest)
        copies += [transposer(ids, shift) for shift in range(low, high + 1)]
    return copies


def _mix(values: np.ndarray) -> np.ndarray:
    """One multiply-xorshift round on (N,) uint64."""
    mixed = values ^ (values >> MIX_SHIFT)
    mixed = mixed * MIX_FACTOR
    return mixed ^ (mixed >> MIX_SHIFT)


def _find(sorted_values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of each wanted value in a sorted array (0 where absent), and whether it is there."""
    index = np.searchsorted(sorted_values, wanted)
    index[index == len(sorted_values)] = 0
    found = sorted_values[index] == wanted
    return np.where(found, index, 0), found
