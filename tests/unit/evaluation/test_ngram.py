"""The Witten-Bell n-gram gives probabilities, equals hand-computed values, and gains from context."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurl.data.augmentation.tables import Transposer
from aurl.evaluation.ngram import distribution, sweep_orders, transposed


def test_a_toy_equals_values_computed_by_hand() -> None:
    train = [np.array([0, 1, 2, 1, 2])]  # predicted: 1 2 1 2; V = 3
    unigram = distribution(train, np.array([0]), 3, order=1)
    # c(1) = c(2) = 2, T = 2, uniform 1/3: (2 + 2/3) / (4 + 2)
    np.testing.assert_allclose(unigram, [1 / 9, 4 / 9, 4 / 9])
    bigram = distribution(train, np.array([0, 1]), 3, order=2)
    # after 1 came 2 twice: c = 2, T = 1
    np.testing.assert_allclose(bigram, [1 / 27, 4 / 27, (2 + 4 / 9) / 3])
    trigram = distribution(train, np.array([0, 2, 1]), 3, order=3)
    # after 2 1 came 2 once: c = 1, T = 1
    np.testing.assert_allclose(trigram, [1 / 54, 4 / 54, (1 + 22 / 27) / 2])


def test_an_unseen_history_falls_back_to_the_shorter_one() -> None:
    train = [np.array([0, 1, 2, 1, 2])]
    np.testing.assert_allclose(
        distribution(train, np.array([0, 1, 1]), 3, 3), distribution(train, np.array([0, 1]), 3, 2)
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), order=st.integers(1, 6))
def test_probabilities_sum_to_one(seed: int, order: int) -> None:
    random = np.random.default_rng(seed)
    train = [random.integers(0, 5, random.integers(2, 30)) for _ in range(4)]
    past = random.integers(0, 5, random.integers(1, 10))
    probabilities = distribution(train, past, 5, order)
    assert (probabilities > 0).all()
    assert probabilities.sum() == pytest.approx(1.0)


def test_it_agrees_with_plain_counting() -> None:
    random = np.random.default_rng(3)
    train = [random.integers(0, 4, 25) for _ in range(5)]
    query = random.integers(0, 4, 12)

    def plain(past: tuple[int, ...], token: int, order: int) -> float:
        if order == 0:
            return 1 / 4
        shorter = plain(past, token, order - 1)
        length = order - 1
        if length > len(past):
            return shorter
        history = past[len(past) - length :]
        followers = [
            int(piece[i])
            for piece in train
            for i in range(1, len(piece))
            if i >= length and tuple(piece[i - length : i]) == history
        ]
        kinds = len(set(followers))
        return (followers.count(token) + kinds * shorter) / (len(followers) + kinds) if followers else shorter

    for order, nats in sweep_orders(train, [query], 4, 5):
        wanted = [-math.log(plain(tuple(query[:i]), int(query[i]), order)) for i in range(1, len(query))]
        np.testing.assert_allclose(nats, wanted)


def test_context_beats_the_unigram_where_there_is_something_to_learn() -> None:
    random = np.random.default_rng(0)
    pieces = []
    for _ in range(40):
        steps = random.choice([1, 2], size=60, p=[0.9, 0.1])
        pieces.append(np.concatenate([[0], 1 + np.cumsum(steps) % 9]))
    nats = {order: values.mean() for order, values in sweep_orders(pieces[:30], pieces[30:], 10, 3)}
    assert nats[2] < 0.4 * nats[1]


def test_every_token_after_the_first_is_scored_in_order() -> None:
    pieces = [np.array([0, 1, 2]), np.array([0, 2, 1, 2])]
    together = dict(sweep_orders(pieces, pieces, 3, 3))[3]
    apart = [dict(sweep_orders(pieces, [piece], 3, 3))[3] for piece in pieces]
    np.testing.assert_allclose(together, np.concatenate(apart))
    assert len(together) == 2 + 3


def test_every_transposition_that_training_may_draw_is_made() -> None:
    table = np.stack([np.arange(30) + shift for shift in range(-2, 3)])
    transposer = Transposer(table, low=-2, pitch_low=9, pitch_high=21)
    pieces, ranges = [np.array([10, 12]), np.array([20, 21]), np.array([5, 5])], [(10, 12), (20, 21), (-1, -1)]
    copies = transposed(pieces, ranges, transposer)
    assert [copy.tolist() for copy in copies[:4]] == [[9, 11], [10, 12], [11, 13], [12, 14]]
    assert [copy.tolist() for copy in copies[4:7]] == [[18, 19], [19, 20], [20, 21]]
    assert len(copies) == 4 + 3 + 1  # a piece without pitches has nothing to transpose


@pytest.mark.parametrize(
    ("train", "order", "message"),
    [
        ([np.array([0, 1])], 0, "max_order=0"),
        ([np.array([0])], 2, "none after BOS"),
        ([np.array([0, 9])], 2, "outside the vocabulary"),
    ],
)
def test_wrong_input_is_named(train: list[np.ndarray], order: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(sweep_orders(train, [np.array([0, 1])], 3, order))
