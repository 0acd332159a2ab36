"""Arrays beside the tokens, given with each batch: for every token of it the row of its beat, bar or own place.

Rows are read from the memory map of the prepared corpus, only the stretch that a segment covers, moved with its
transposition and spread over its tokens; nothing is computed from notes. A token that augmentation moved or made keeps
the row of the stored token that it stands for (``PackedBatch.source``): the chord of a swung or stretched note is still
the chord of that note.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aurl.data.aligned import Level, provider
from aurl.data.store import TokenStore

UNSIGNED = np.dtype(np.uint16)
"""Hardly any operation of torch knows it, so batches hold int32 instead."""


class FeatureReader:
    """Reads the rows of a batch.

    Args:
        store: the prepared corpus.
        names: arrays of it.

    Raises:
        ValueError: there is no such array.
        AurlError: the corpus was prepared without one.

    Example:
        >>> reader = FeatureReader(store, ["chords"])  # doctest: +SKIP
        >>> reader(source, lengths, pieces, shifts)["chords"].shape  # doctest: +SKIP
        torch.Size([8192, 3])
    """

    def __init__(self, store: TokenStore, names: Sequence[str]) -> None:
        self.store = store
        self.providers = [provider(name) for name in names]
        for name in names:
            store.check_aligned(name)

    def __call__(
        self,
        source: NDArray[np.int64],
        lengths: Sequence[int],
        pieces: Sequence[int],
        shifts: Sequence[int],
    ) -> dict[str, Tensor]:
        """Rows for the tokens of a batch.

        Args:
            source: token of its piece that each token is or stands for (N,).
            lengths: tokens of each segment (S,).
            pieces: index in the store of each segment's piece (S,).
            shifts: semitones by which each segment was transposed (S,).

        Returns:
            Name -> (N, ``*shape`` of a row).
        """
        if not self.providers:
            return {}
        near: dict[str, list[NDArray[np.generic]]] = {each.name: [] for each in self.providers}
        index: dict[str, list[NDArray[np.int64]]] = {each.name: [] for each in self.providers}
        read = dict.fromkeys(near, 0)
        places = np.split(source, np.cumsum(lengths)[:-1])
        for tokens, piece, shift in zip(places, pieces, shifts, strict=True):
            at = self._rows(tokens, piece)
            for each in self.providers:
                rows = self.store.aligned(each.name, piece)
                wanted = np.minimum(at[each.level], len(rows) - 1)  # the end of a piece begins no beat of its own
                first = int(wanted.min())
                own = rows[first : int(wanted.max()) + 1]
                near[each.name].append(each.transpose(own, shift) if shift else own)
                index[each.name].append(wanted + (read[each.name] - first))
                read[each.name] += len(own)
        # Rows are many tokens wide and few, so they are joined first and spread over the tokens once.
        return {
            name: _tensor(np.concatenate(rows).take(np.concatenate(index[name]), axis=0)) for name, rows in near.items()
        }

    def _rows(self, tokens: NDArray[np.int64], piece: int) -> dict[Level, NDArray[np.int64]]:
        """Row of each token at every level that is asked for."""
        found = {Level.token: tokens}
        levels = {each.level for each in self.providers}
        if Level.beat in levels:
            found[Level.beat] = self.store.beats(piece)[tokens].astype(np.int64)  # rounds down
        if Level.bar in levels:
            found[Level.bar] = self.store.bars(piece)[tokens].astype(np.int64)
        return found


def _tensor(rows: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(rows.astype(np.int32) if rows.dtype == UNSIGNED else rows)
