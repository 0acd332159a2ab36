"""Held-out pieces shared out among processes: each is scored once, and nobody is left without a batch."""

from __future__ import annotations

import numpy as np
import pytest

from aurl.data.batching import IGNORED
from aurl.data.evaluation_batches import EvaluationBatches
from aurl.data.store import PieceRecord

CONTEXT = 8


class Store:
    """Two pieces of six and twenty tokens, four to a bar."""

    def __init__(self) -> None:
        self.lengths = (6, 20)
        self.pieces = [
            PieceRecord(str(number), "valid", length // 2, float(length), length, 60, 60, 1)
            for number, length in enumerate(self.lengths)
        ]

    def ids(self, piece: int) -> np.ndarray:
        return np.arange(self.lengths[piece], dtype=np.uint16)

    def bars(self, piece: int) -> np.ndarray:
        return (np.arange(self.lengths[piece]) // 4).astype(np.uint16)

    def beats(self, piece: int) -> np.ndarray:
        return np.arange(self.lengths[piece], dtype=np.float32)


@pytest.mark.parametrize("whole_bars", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_token_is_scored_once_and_no_process_is_left_without_a_batch(world: int, whole_bars: bool) -> None:
    scored = notes = beats = 0
    for rank in range(world):
        batches = EvaluationBatches(Store(), [0, 1], CONTEXT, 16, rank, world, whole_bars=whole_bars)  # type: ignore[arg-type]
        found = list(batches)
        assert len(found) == len(batches) >= 1
        if rank >= 2:
            assert all((batch.targets == IGNORED).all() and batch.notes == batch.beats == 0 for batch in found)
        scored += sum(int((batch.targets != IGNORED).sum()) for batch in found)
        notes += sum(batch.notes for batch in found)
        beats += sum(batch.beats for batch in found)
    assert scored == sum(length - 1 for length in Store().lengths)
    assert (notes, beats) == (sum(piece.notes for piece in Store().pieces), 26.0)


def test_no_piece_is_no_batch() -> None:
    assert len(EvaluationBatches(Store(), [], CONTEXT, 16)) == 0  # type: ignore[arg-type]
