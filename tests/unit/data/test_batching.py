"""Packed batches: nothing lost, nothing padded, every random choice a function of the seed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurl.data.batching import (
    IGNORED,
    EvaluationBatches,
    TrainingBatches,
    TrainingPlan,
    Transposer,
    bar_windows,
    collate,
    scoring_windows,
)
from aurl.data.config import TokenizerConfig
from aurl.data.store import PieceRecord
from aurl.data.tokenizer import build_tokenizer
from aurl.data.vocabulary import Kind, Vocabulary

CONTEXT = 64


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    tokenizer = build_tokenizer(TokenizerConfig())
    return Vocabulary([name for name, _ in sorted(tokenizer.vocab.items(), key=lambda item: item[1])], 8)


@dataclass
class MemoryStore:
    """Pieces of Bar, TimeSig and one note a bar, in memory."""

    vocabulary: Vocabulary
    bars_of_pieces: list[int]
    pieces: list[PieceRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        name = self.vocabulary.index
        self._ids = []
        for number, bars in enumerate(self.bars_of_pieces):
            pitch = 60 + number % 12
            bar = [
                "Bar_None",
                "TimeSig_4/4",
                "Position_0",
                "Program_52",
                f"Pitch_{pitch}",
                "Velocity_79",
                "Duration_1.0.8",
            ]
            tokens = ["BOS_None", *bar * bars, "EOS_None"]
            tokens = [
                next((n for n in name if n.startswith("Velocity")), t) if t.startswith("Velocity") else t
                for t in tokens
            ]
            self._ids.append(np.array([name[token] for token in tokens], dtype=np.uint16))
            length = len(self._ids[-1])
            self.pieces.append(PieceRecord(str(number), "train", bars, 4.0 * bars, length, pitch, pitch, 1))

    def ids(self, piece: int) -> np.ndarray:
        return self._ids[piece]

    def bars(self, piece: int) -> np.ndarray:
        return self.vocabulary.musical_time(self._ids[piece])[0].astype(np.uint16)

    def beats(self, piece: int) -> np.ndarray:
        return self.vocabulary.musical_time(self._ids[piece])[1]


def plan(
    store: MemoryStore, seed: int = 0, batch_tokens: int = 256, transpose: tuple[int, int] = (-3, 4)
) -> TrainingPlan:
    return TrainingPlan(store, range(len(store.pieces)), store.vocabulary, CONTEXT, batch_tokens, transpose, seed)  # type: ignore[arg-type]


@pytest.fixture
def store(vocabulary: Vocabulary) -> MemoryStore:
    return MemoryStore(vocabulary, [3, 40, 8, 1, 12, 25, 9, 30])


@given(tokens=st.integers(2, 700), context=st.integers(2, 90))
def test_every_token_after_the_first_is_scored_once_with_half_a_context_of_past(tokens: int, context: int) -> None:
    scored = []
    for start, stop, scored_from in scoring_windows(tokens, context):
        assert 0 < stop - start - 1 <= context
        scored += range(scored_from, stop)
        assert start == 0 or scored_from - start >= context // 2
    assert scored == list(range(1, tokens))


@given(bars=st.integers(1, 60), context=st.integers(8, 90), offset=st.integers(0, 40))
def test_training_windows_cover_every_transition_once_and_begin_at_bars(bars: int, context: int, offset: int) -> None:
    kinds = np.array([Kind.BOS, *[Kind.BAR, Kind.TIMESIG, Kind.POSITION, Kind.PITCH, Kind.VELOCITY] * bars, Kind.EOS])
    targets = []
    for start, stop in bar_windows(kinds, context, offset):
        assert stop - start - 1 <= context
        assert start == 0 or kinds[start] == Kind.BAR or offset < 6
        targets += range(start + 1, stop)
    assert targets == list(range(1, len(kinds)))


def test_an_epoch_shows_every_token_once_and_no_padding(store: MemoryStore) -> None:
    batches = list(TrainingBatches(plan(store)))
    real = sum(int((batch.targets != IGNORED).sum()) for batch in batches)
    assert real == sum(len(batch.ids) for batch in batches) == sum(record.tokens - 1 for record in store.pieces)
    pad = store.vocabulary.pad
    assert not any((batch.ids == pad).any() for batch in batches)
    assert all(sum(batch.lengths) == len(batch.ids) for batch in batches)


def test_targets_are_the_next_tokens_and_times_are_those_of_the_piece(store: MemoryStore) -> None:
    for batch in EvaluationBatches(store, range(8), context=10_000, batch_tokens=500):  # type: ignore[arg-type]
        start = 0
        for length in batch.lengths:
            segment = slice(start, start + length)
            assert (batch.ids[segment][1:] == batch.targets[segment][:-1]).all()
            assert batch.targets[segment][-1] == store.vocabulary.eos
            assert batch.index[segment].tolist() == list(range(length))
            bars = int((batch.ids[segment] == store.vocabulary.index["Bar_None"]).sum())
            assert batch.bar[segment][-1] == bars - 1
            assert batch.beat[segment][-1] == 4.0 * (bars - 1)
            start += length


def test_a_plan_depends_on_seed_and_epoch_only(store: MemoryStore) -> None:
    assert plan(store, seed=1).epoch(3) == plan(store, seed=1).epoch(3)
    assert plan(store, seed=1).epoch(3) != plan(store, seed=1).epoch(4)
    assert plan(store, seed=1).epoch(3) != plan(store, seed=2).epoch(3)


def test_every_epoch_has_the_promised_number_of_batches_near_the_budget(store: MemoryStore) -> None:
    drawn = plan(store)
    mean = sum(record.tokens - 1 for record in store.pieces) / drawn.batches
    for epoch in range(5):
        sizes = [sum(w.stop - w.start - 1 for w in batch) for batch in drawn.epoch(epoch)]
        assert len(sizes) == drawn.batches
        assert all(abs(size - mean) <= CONTEXT for size in sizes)


def test_loading_a_position_continues_with_the_next_batch(store: MemoryStore) -> None:
    whole = TrainingBatches(plan(store))
    expected = [batch.ids.tolist() for _ in range(2) for batch in whole]
    first = TrainingBatches(plan(store))
    stream = iter(first)
    seen = [next(stream).ids.tolist() for _ in range(2)]
    resumed = TrainingBatches(plan(store))
    resumed.load_state_dict(first.state_dict())
    seen += [batch.ids.tolist() for batch in resumed]
    seen += [batch.ids.tolist() for batch in resumed]
    assert seen == expected


def test_a_reader_that_stops_after_the_last_batch_gets_the_next_epoch_whole(store: MemoryStore) -> None:
    batches = TrainingBatches(plan(store))
    for epoch in range(3):
        stream = iter(batches)
        seen = [next(stream).ids.tolist() for _ in range(len(batches))]
        assert seen == [
            collate(store, windows, batches.plan.transposer).ids.tolist() for windows in batches.plan.epoch(epoch)
        ]  # type: ignore[arg-type]


def test_processes_share_the_batches_of_one_plan(store: MemoryStore) -> None:
    alone = [batch.ids.tolist() for batch in TrainingBatches(plan(store))]
    ranks = [[batch.ids.tolist() for batch in TrainingBatches(plan(store), rank, 2)] for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == len(alone) // 2
    together = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    assert together == alone[: len(together)]


def test_transposition_moves_pitches_and_nothing_else(store: MemoryStore) -> None:
    drawn = plan(store)
    window = drawn.windows(0)[0]._replace(piece=2, start=0, stop=30, scored_from=1)
    plain = collate(store, [window._replace(shift=0)], drawn.transposer).ids  # type: ignore[arg-type]
    moved = collate(store, [window._replace(shift=-2)], drawn.transposer)  # type: ignore[arg-type]
    kind, value = store.vocabulary.kind[plain], store.vocabulary.value
    is_pitch = kind == Kind.PITCH
    assert (value[moved.ids][is_pitch] == value[plain][is_pitch] - 2).all()
    assert (moved.ids.numpy()[~is_pitch] == plain.numpy()[~is_pitch]).all()
    assert moved.augmented == 1


def test_transposed_music_stays_in_the_range_of_the_corpus_and_drums_stay_put(vocabulary: Vocabulary) -> None:
    transposer = Transposer.of(vocabulary, -5, 6, [(40, 70), (45, 81), (-1, -1)])
    assert transposer.allowed(48, 70) == (-5, 6)
    assert transposer.allowed(42, 79) == (-2, 2)
    assert transposer.allowed(40, 81) == (0, 0)
    assert transposer.allowed(-1, -1) == (0, 0)
    drawn = plan(MemoryStore(vocabulary, [4] * 12))
    windows = [window for epoch in range(30) for window in drawn.windows(epoch)]
    sounding = {60 + window.piece % 12 + window.shift for window in windows}
    assert sounding == set(range(60, 72))
    assert {window.shift for window in windows} == set(range(-3, 5))


def test_evaluation_counts_the_notes_of_each_piece_once_however_it_is_cut(store: MemoryStore) -> None:
    for context in (16, 64, 5000):
        batches = list(EvaluationBatches(store, range(8), context, 300))  # type: ignore[arg-type]
        assert sum(batch.notes for batch in batches) == sum(record.notes for record in store.pieces)
        scored = sum(int((batch.targets != IGNORED).sum()) for batch in batches)
        assert scored == sum(record.tokens - 1 for record in store.pieces)


def test_an_epoch_that_is_left_early_is_not_taken_up_again(store: MemoryStore) -> None:
    batches = TrainingBatches(plan(store))
    for epoch in range(3):
        stream = iter(batches)
        first = [next(stream).ids.tolist() for _ in range(2)]
        whole = [collate(store, windows, batches.plan.transposer) for windows in batches.plan.epoch(epoch)]  # type: ignore[arg-type]
        assert first == [batch.ids.tolist() for batch in whole[:2]]
