"""Near-duplicates stay together, shares are met, and the deal does not depend on order or on later additions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic import Note, Score, Track

from aurl.data.duplicates import group_near_duplicates
from aurl.data.splits import assign_splits, interval_ngrams, top_line, top_line_ngrams

QUARTER = 480


def score_of(pitches: list[int], bass: int | None = None, drums: bool = False) -> Score:
    """A line of quarter notes, and a held bass note a bar when asked."""
    score = Score(QUARTER)
    track = Track(program=0, is_drum=drums)
    for index, pitch in enumerate(pitches):
        track.notes.append(Note(index * QUARTER, QUARTER, pitch, 80))
    score.tracks.append(track)
    if bass is not None:
        low = Track(program=32)
        for index in range(len(pitches) * 2):
            low.notes.append(Note(index * QUARTER // 2, QUARTER // 2, bass + index % 5, 80))
        score.tracks.append(low)
    return score


def random_line(seed: int, notes: int = 60) -> list[int]:
    return np.random.default_rng(seed).integers(60, 80, notes).tolist()


def test_the_top_line_is_the_highest_sounding_voice() -> None:
    line = random_line(1)
    assert top_line(score_of(line, bass=36)).tolist() == line


def test_a_score_of_drums_has_no_top_line_but_copies_are_still_recognised() -> None:
    drums = score_of(random_line(2), drums=True)
    assert len(top_line(drums)) == 0
    assert group_near_duplicates([top_line_ngrams(drums), top_line_ngrams(drums)]) == [0, 0]
    assert top_line_ngrams(Score(QUARTER)) == set()


def test_a_transposed_tune_has_the_same_ngrams() -> None:
    line = np.array(random_line(3))
    assert interval_ngrams(line) == interval_ngrams(line - 7)


def test_repeated_notes_and_plain_scales_are_no_evidence() -> None:
    assert interval_ngrams(np.full(40, 60)) == set()
    assert interval_ngrams(np.arange(40, 80)) == set()


def test_runs_of_one_note_are_refused() -> None:
    with pytest.raises(ValueError, match="n=1 is too small"):
        interval_ngrams(np.arange(10), n=1)


def test_a_new_harmonisation_or_an_ornament_is_a_near_duplicate_and_another_tune_is_not() -> None:
    line = random_line(4)
    changed = [*line[:30], 90, 91, *line[30:]]
    scores = [
        score_of(line, bass=36),
        score_of([p + 3 for p in line], bass=41),
        score_of(changed),
        score_of(random_line(5)),
    ]
    assert group_near_duplicates([top_line_ngrams(score) for score in scores]) == [0, 0, 0, 1]


def test_pieces_without_a_signature_are_groups_of_their_own() -> None:
    assert group_near_duplicates([set(), set(), {1, 2, 3}]) == [0, 1, 2]
    assert group_near_duplicates([]) == []


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sets(st.integers(0, 60), max_size=12), max_size=25), st.randoms(use_true_random=False))
def test_the_order_of_pieces_does_not_change_who_belongs_together(signatures: list[set[int]], random) -> None:
    order = list(range(len(signatures)))
    random.shuffle(order)
    straight = group_near_duplicates(signatures)
    shuffled = group_near_duplicates([signatures[index] for index in order])
    pairs = {(a, b) for a in order for b in order if straight[a] == straight[b]}
    other = {(order[a], order[b]) for a in range(len(order)) for b in range(len(order)) if shuffled[a] == shuffled[b]}
    assert pairs == other


def test_two_hundred_variants_of_one_tune_are_one_group() -> None:
    base = set(range(1000, 1100))
    variants = [(base - {1000 + index % 100}) | {5000 + index} for index in range(200)]
    assert set(group_near_duplicates(variants)) == {0}


def test_ten_thousand_pieces_are_grouped_in_seconds() -> None:
    rng = np.random.default_rng(6)
    signatures = [set(rng.integers(0, 2**62, 150).tolist()) for _ in range(10_000)]
    signatures[9_999] = set(list(signatures[0])[:100]) | {7}
    start = time.process_time()
    groups = group_near_duplicates(signatures)
    assert groups[9_999] == groups[0]
    assert len(set(groups)) == 9_999
    assert time.process_time() - start < 60  # a quadratic method would take hours


groups_of_pieces = st.lists(st.integers(0, 40), min_size=1, max_size=120)


@settings(deadline=None, max_examples=60)
@given(groups_of_pieces, st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_group_is_never_split_and_order_does_not_matter(groups: list[int], seed: int, random) -> None:
    ids = [f"piece{index:04d}" for index in range(len(groups))]
    splits = assign_splits(ids, groups, 0.1, 0.2, seed)
    assert len(set(zip(groups, splits, strict=True))) == len(set(groups))
    assert "train" in splits
    order = list(range(len(ids)))
    random.shuffle(order)
    shuffled = assign_splits([ids[i] for i in order], [groups[i] for i in order], 0.1, 0.2, seed)
    assert [splits[index] for index in order] == shuffled


@pytest.mark.parametrize(("valid", "test"), [(0.1, 0.1), (0.2, 0.05), (0.0, 0.3)])
def test_shares_are_met_within_chance(valid: float, test: float) -> None:
    ids = [f"{index}.mid" for index in range(5000)]
    splits = assign_splits(ids, [index // 2 for index in range(5000)], valid, test, seed=0)
    assert splits.count("valid") / 5000 == pytest.approx(valid, abs=0.02)
    assert splits.count("test") / 5000 == pytest.approx(test, abs=0.02)


def test_adding_pieces_moves_nobody() -> None:
    ids = [f"{index}.mid" for index in range(300)]
    before = assign_splits(ids, list(range(300)), 0.1, 0.1, seed=3)
    more = [*ids, *(f"new/{index}.mid" for index in range(50))]
    assert assign_splits(more, list(range(350)), 0.1, 0.1, seed=3)[:300] == before


def test_a_small_folder_still_gets_every_wanted_split() -> None:
    for seed in range(20):
        assert sorted(assign_splits(["a", "b", "c", "d"], [0, 1, 2, 3], 0.01, 0.01, seed))[:1] == ["test"]
        assert set(assign_splits(["a", "b", "c", "d"], [0, 1, 2, 3], 0.01, 0.01, seed)) == {"train", "valid", "test"}
    assert assign_splits(["only"], [0], 0.1, 0.1, seed=0) == ["train"]
    assert "test" not in assign_splits(list("abcdefgh"), list(range(8)), 0.2, 0.0, seed=0)


def test_a_giant_group_stays_in_train() -> None:
    ids = [f"{index}.mid" for index in range(200)]
    groups = [0] * 100 + list(range(1, 101))
    for seed in range(20):
        assert assign_splits(ids, groups, 0.1, 0.1, seed)[0] == "train"


def test_repeated_ids_and_uneven_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        assign_splits(["a", "a"], [0, 1], 0.1, 0.1, 0)
    with pytest.raises(ValueError, match="2 ids but 1 groups"):
        assign_splits(["a", "b"], [0], 0.1, 0.1, 0)
