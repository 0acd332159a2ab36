"""Held-out pieces as packed batches: once through, every token after BOS scored once, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from aurl.data.batch_features import FeatureReader
from aurl.data.batching import PackedBatch, collate
from aurl.data.store import TokenStore
from aurl.data.windows import WindowTable, scoring_bars, scoring_windows


class EvaluationBatches:
    """Loader that goes once through pieces in order and scores every token after BOS once, without augmentation; with
    ``whole_bars`` windows of long pieces are cut at bar lines.

    Piece number i is read by process number ``i % world``; one that is left without a piece scores nothing.
    """

    def __init__(
        self,
        store: TokenStore,
        pieces: Sequence[int],
        context: int,
        batch_tokens: int,
        rank: int = 0,
        world: int = 1,
        features: Sequence[str] = (),
        whole_bars: bool = False,
    ) -> None:
        self.features = FeatureReader(store, features)

        def cut(piece: int) -> list[tuple[int, int, int]]:
            if whole_bars:
                return scoring_bars(store.bars(piece), context)
            return scoring_windows(store.pieces[piece].tokens, context)

        windows = [(piece, *window) for piece in list(pieces)[rank::world] for window in cut(piece)]
        if not windows and pieces:
            windows = [unscored(pieces[0], *cut(pieces[0])[0])]
        self.store, self.windows = store, WindowTable(np.array(windows, np.int32).reshape(-1, 4))
        self._borders = pack((self.windows.stop - self.windows.start - 1).tolist(), batch_tokens)

    def __len__(self) -> int:
        return len(self._borders) - 1

    def __iter__(self) -> Iterator[PackedBatch]:
        for first, end in pairwise(self._borders):
            yield collate(self.store, [self.windows[n] for n in range(first, end)], features=self.features)


def unscored(piece: int, start: int, stop: int, scored_from: int) -> tuple[int, int, int, int]:
    """A window of which nothing is scored, for a process that no piece is left for: all processes have to read along,
    since their sums are added up when all have come to the end.
    """
    return piece, start, stop, max(stop, scored_from)


def pack(sizes: Sequence[int], batch_tokens: int) -> list[int]:
    """Borders of batches of consecutive windows with at most ``batch_tokens`` inputs each.

    A window longer than that is a batch of its own.

    Example:
        >>> pack([3, 3, 9, 1], 6)
        [0, 2, 3, 4]
    """
    borders, room = [0], batch_tokens
    for number, size in enumerate(sizes):
        if size > room and number > borders[-1]:
            borders.append(number)
            room = batch_tokens
        room -= size
    return [*borders, len(sizes)] if len(sizes) else borders
