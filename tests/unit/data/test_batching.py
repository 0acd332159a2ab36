"""Packed batches: nothing lost, nothing padded, every random choice a function of the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_store import CONTEXT, MemoryStore, build_vocabulary, plan

from aurl.data.augmentation.augmenter import Augmented
from aurl.data.augmentation.config import Ramp, ScheduleConfig
from aurl.data.augmentation.segments import Segments
from aurl.data.augmentation.tables import Transposer
from aurl.data.batching import IGNORED, TrainingBatches, _packed
from aurl.data.evaluation_batches import EvaluationBatches
from aurl.data.vocabulary import Kind, Vocabulary
from aurl.data.windows import bar_windows, scoring_windows
from aurl.utils.errors import AurlError


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return build_vocabulary()


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


@given(
    lengths=st.lists(st.integers(1, 120), min_size=2, max_size=60),
    context=st.integers(8, 90),
    first=st.integers(0, 40),
    overlap=st.integers(0, 60),
)
def test_training_windows_score_every_transition_once_and_cut_only_at_bars(
    lengths: list[int], context: int, first: int, overlap: int
) -> None:
    bars = np.repeat(np.arange(len(lengths), dtype=np.uint16), lengths)
    lines = {0, len(bars) - 1, *np.flatnonzero(np.diff(bars, prepend=0)).tolist()}
    scored = []
    for start, stop, scored_from in bar_windows(bars, context, first, min(overlap, 3 * context // 4)):
        assert 0 < stop - start - 1 <= context
        assert start < scored_from < stop and scored_from - 1 - start <= overlap
        scored += range(scored_from, stop)
        inside_a_bar = {start, scored_from - 1} - lines
        assert all(lengths[bars[cut]] > context for cut in inside_a_bar)
    assert scored == list(range(1, len(bars)))


def test_a_window_remembers_whole_bars_before_its_first_scored_token() -> None:
    bars = np.repeat(np.arange(40), 7)
    windows = bar_windows(bars, context=63, first=0, overlap=21)
    assert windows[:3] == [(0, 64, 1), (42, 106, 64), (84, 148, 106)]
    assert all(scored - 1 - start == 21 for start, _, scored in windows[1:])


def test_remembered_context_is_read_but_not_scored_and_keeps_the_number_of_batches(store: MemoryStore) -> None:
    drawn = plan(store, overlap=0.5)
    transitions = sum(record.tokens - 1 for record in store.pieces)
    for epoch in range(4):
        batches = [drawn.collate(windows, epoch) for windows in drawn.epoch(epoch)]
        assert len(batches) == drawn.batches > plan(store).batches
        assert sum(int((batch.targets != IGNORED).sum()) for batch in batches) == transitions
        assert sum(len(batch.ids) for batch in batches) > 1.3 * transitions


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
    def batches(seed: int, epoch: int) -> list[list[int]]:
        drawn = plan(store, seed=seed)
        return [drawn.collate(windows, epoch).ids.tolist() for windows in drawn.epoch(epoch)]

    assert batches(1, 3) == batches(1, 3)
    assert batches(1, 3) != batches(1, 4)
    assert batches(1, 3) != batches(2, 3)


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
        assert seen == [batches.plan.collate(windows, epoch).ids.tolist() for windows in batches.plan.epoch(epoch)]


def test_transposed_music_stays_in_the_range_of_the_corpus_and_drums_stay_put(vocabulary: Vocabulary) -> None:
    transposer = Transposer.of(vocabulary, -5, 6, [(40, 70), (45, 81), (-1, -1)])
    assert transposer.allowed(48, 70) == (-5, 6)
    assert transposer.allowed(42, 79) == (-2, 2)
    assert transposer.allowed(40, 81) == (0, 0)
    assert transposer.allowed(-1, -1) == (0, 0)
    drawn = plan(MemoryStore(vocabulary, [4] * 12))
    batches = [drawn.collate(windows, epoch) for epoch in range(30) for windows in drawn.epoch(epoch)]
    sounding = {int(vocabulary.value[i]) for b in batches for i in b.ids if vocabulary.kind[i] == Kind.PITCH}
    assert sounding == set(range(60, 72))
    assert {shift for batch in batches for shift in batch.shifts} == set(range(-3, 5))


def test_a_schedule_raises_augmentation_over_training(store: MemoryStore) -> None:
    batches = TrainingBatches(plan(store, schedule=ScheduleConfig(shape=Ramp.linear, begin=0.2, until=0.9)))
    batches.set_length(20 * len(batches), len(batches))
    changed = [sum(batch.augmented for batch in batches) for _ in range(20)]
    assert sum(changed[:4]) == 0
    assert sum(changed[4:11]) < sum(changed[12:19])


def test_a_schedule_is_resumed_where_it_was(store: MemoryStore) -> None:
    def loader() -> TrainingBatches:
        batches = TrainingBatches(plan(store, schedule=ScheduleConfig(shape=Ramp.cosine)))
        batches.set_length(2 * len(batches), len(batches))
        return batches

    whole = loader()
    expected = [batch.ids.tolist() for _ in range(2) for batch in whole]
    first, resumed = loader(), loader()
    stream = iter(first)
    seen = [next(stream).ids.tolist() for _ in range(3)]
    resumed.load_state_dict(first.state_dict())
    seen += [batch.ids.tolist() for _ in range(2) for batch in resumed]
    assert seen == expected


def test_the_share_of_training_follows_limited_epochs_and_needs_its_length(store: MemoryStore) -> None:
    batches = TrainingBatches(plan(store, schedule=ScheduleConfig(shape=Ramp.linear)))
    with pytest.raises(AurlError, match=r"a schedule needs the length of training"):
        next(iter(batches))
    half = len(batches) // 2
    batches.set_length(half * 4, half)  # trainer.limit_train_batches
    assert [batches.share_done(epoch, 0) for epoch in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert batches.share_done(0, half) == pytest.approx(0.25)
    assert batches.share_done(0, len(batches)) == 0.25


def test_a_plan_of_more_batches_than_segments_repeats_the_nearest(store: MemoryStore) -> None:
    drawn = plan(store, batch_tokens=40)
    batches = drawn.epoch(0)
    assert len(batches) == drawn.batches
    assert all(len(windows) > 0 for windows in batches)
    assert sum(len(windows) for windows in batches) > len(drawn.windows(0))


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
        whole = [batches.plan.collate(windows, epoch) for windows in batches.plan.epoch(epoch)]
        assert first == [batch.ids.tolist() for batch in whole[:2]]


def test_a_segment_that_grew_and_is_cut_again_scores_everything_after_its_remembered_context_once():
    bars = np.repeat(np.arange(6), 10)
    count = len(bars)
    segments = Segments(
        np.arange(count), np.arange(100, 100 + count), bars, np.zeros(count, np.float32), np.array([count]),
        np.array([0]), np.array([121]),
    )  # fmt: skip
    unchanged = Augmented(segments, np.zeros(1, int), np.ones(1), np.ones(1, bool))
    batch = _packed(unchanged, segments, context=25)
    assert len(batch.lengths) > 1
    scored = batch.targets[batch.targets != IGNORED].tolist()
    assert scored == list(range(21, count)), "20 tokens, two bars, are context"
