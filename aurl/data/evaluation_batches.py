"""Held-out pieces as packed batches: once through, every token after BOS scored once, nothing changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from aurl.data.batch_features import FeatureReader
from aurl.data.batching import PackedBatch, collate
from aurl.data.store import TokenStore
from aurl.data.windows import WINDOW_FIELDS, WindowTable, scoring_bars, scoring_windows
from aurl.utils.rows import RowSpool, blocks

BLOCK_PIECES = 1024
"""Pieces whose windows are listed at once."""


class EvaluationBatches:
    """Loader that goes once through pieces in order and scores every token after BOS once, without augmentation; with
    ``whole_bars`` windows of long pieces are cut at bar lines.

    Piece number i is read by process number ``i % world``; one that is left without a piece scores nothing.
    """

    def __init__(
        self,
        store: TokenStore,
        pieces: Sequence[int] | NDArray[np.int32],
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

        mine = pieces[rank::world]
        spool = RowSpool(WINDOW_FIELDS)
        for block in blocks(len(mine), BLOCK_PIECES):
            spool.add([(piece, *window) for piece in mine[block] for window in cut(int(piece))])
        if not len(mine) and len(pieces):
            spool.add([unscored(int(pieces[0]), *cut(int(pieces[0]))[0])])
        self.store, self.windows = store, WindowTable(spool.finish())
        sizes = (size for block in blocks(len(self.windows)) for size in self.windows.inputs(block).tolist())
        self._borders = np.array(pack(sizes, batch_tokens), np.int32)

    def __len__(self) -> int:
        return len(self._borders) - 1

    def __iter__(self) -> Iterator[PackedBatch]:
        for number in range(len(self)):
            windows = [self.windows[n] for n in range(self._borders[number], self._borders[number + 1])]
            yield collate(self.store, windows, features=self.features)


def unscored(piece: int, start: int, stop: int, scored_from: int) -> tuple[int, int, int, int]:
    """A window of which nothing is scored, for a process that no piece is left for: all processes have to read along,
    since their sums are added up when all have come to the end.
    """
    return piece, start, stop, max(stop, scored_from)


def pack(sizes: Iterable[int], batch_tokens: int) -> list[int]:
    """Borders of batches of consecutive windows with at most ``batch_tokens`` inputs each.

    A window longer than that is a batch of its own.

    Example:
        >>> pack([3, 3, 9, 1], 6)
        [0, 2, 3, 4]
    """
    borders, room, number = [0], batch_tokens, -1
    for number, size in enumerate(sizes):
        if size > room and number > borders[-1]:
            borders.append(number)
            room = batch_tokens
        room -= size
    return [*borders, number + 1] if number >= 0 else borders
