"""Adversarial terms, schedules, musical constraints and balances: each says what its definition says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from aurl.models.discriminator import Judgement
from aurl.training.adversarial import (
    accuracy,
    between,
    critic_loss,
    feature_matching,
    generator_loss,
    gradient_penalty,
    interpolation_penalty,
)
from aurl.training.adversarial_config import AdversarialConfig, AdversarialLoss, TokenWeights
from aurl.training.balancing import UncertaintyWeights
from aurl.training.constraints import Predicted, density_loss, key_loss, predicted_pitches, range_loss
from aurl.training.losses import reconstruction
from aurl.training.rollouts import Windows, choose_segments, window_bars
from aurl.training.schedules import Turn, adversarial_turn, rollout_length


def judged(*scores: float) -> Judgement:
    values = torch.tensor(scores, requires_grad=True)
    return Judgement({"token": values, "bar": values[:1]}, [values[:, None]])


@pytest.mark.parametrize("kind", list(AdversarialLoss))
def test_a_critic_that_tells_right_loses_least_and_a_model_that_is_believed_loses_least(kind: AdversarialLoss) -> None:
    right = critic_loss(kind, judged(1.0, 1.0), judged(-1.0, -1.0))
    ignorant = critic_loss(kind, judged(0.0, 0.0), judged(0.0, 0.0))
    wrong = critic_loss(kind, judged(-1.0, -1.0), judged(1.0, 1.0))
    assert right < ignorant < wrong
    expected = {AdversarialLoss.logistic: 2 * math.log(2), AdversarialLoss.wasserstein: 0.0}
    assert float(ignorant) == pytest.approx(expected.get(kind, 2.0))
    fake = judged(-0.5, 0.2)
    generator_loss(kind, fake).backward()
    assert fake.scores["token"].grad is not None and (fake.scores["token"].grad < 0).all()
    assert generator_loss(kind, judged(0.9, 0.9)) < generator_loss(kind, judged(-0.9, -0.9))


def test_a_hinge_critic_earns_nothing_beyond_one() -> None:
    sure, surer = (critic_loss(AdversarialLoss.hinge, judged(x, x), judged(-x, -x)) for x in (1.0, 5.0))
    assert sure == surer == 0


def test_accuracy_is_the_share_on_the_right_side() -> None:
    assert accuracy(judged(1.0, -1.0), judged(-1.0, -2.0)) == (pytest.approx(2 / 3), 1.0)


def test_feature_matching_is_nought_for_equal_means_and_moves_the_written_alone() -> None:
    real, fake = torch.tensor([[1.0], [3.0]], requires_grad=True), torch.tensor([[2.0], [2.0]], requires_grad=True)
    assert feature_matching(Judgement({}, [real]), Judgement({}, [fake])) == 0
    feature_matching(Judgement({}, [real]), Judgement({}, [fake + 1])).backward()
    assert real.grad is None and fake.grad is not None and fake.grad.tolist() == [[0.5], [0.5]]


def test_the_gradient_penalty_is_the_squared_slope_and_can_be_learned_from() -> None:
    slope = torch.tensor([3.0, 4.0], requires_grad=True)
    inputs = torch.randn(5, 2, requires_grad=True)
    judgement = Judgement({"bar": inputs @ slope}, [])
    penalty = gradient_penalty(judgement, [inputs, torch.zeros(1, requires_grad=True)], count=5)
    assert float(penalty) == pytest.approx(25.0)
    penalty.backward()
    assert slope.grad is not None and slope.grad.tolist() == pytest.approx([6.0, 8.0])


# -- schedules --------------------------------------------------------------------------------------------------------


def test_the_penalty_between_real_and_written_is_the_distance_of_the_slope_from_one() -> None:
    slope = torch.tensor([3.0, 4.0], requires_grad=True)
    real, written, windows = torch.zeros(4, 2), torch.ones(4, 2), torch.tensor([0, 0, 1, 1])
    (inputs,) = between([real], [written], [windows], torch.tensor([0.25, 1.0]))
    assert inputs.tolist() == [[0.25, 0.25], [0.25, 0.25], [1.0, 1.0], [1.0, 1.0]] and inputs.requires_grad
    judgement = Judgement({"bar": inputs @ slope}, [], {"bar": windows})
    unseen = torch.zeros(4, 1, requires_grad=True)
    penalty = interpolation_penalty(judgement, [inputs, unseen], [windows, windows], count=2)
    # A window's score is the mean over its two rows, so each row moves it by half the slope of length 5.
    norm = math.sqrt(2 * (5 / 2) ** 2)
    assert float(penalty.detach()) == pytest.approx((norm - 1) ** 2)
    penalty.backward()
    assert slope.grad is not None and (slope.grad > 0).all()


def test_every_window_counts_once_whatever_its_bars_and_the_scales() -> None:
    windows = torch.tensor([0] + [1] * 9)
    inputs = torch.zeros(10, 1, requires_grad=True)
    # The mean over a window's rows has a gradient of 1 / sqrt(rows) for a slope of 1 at each row.
    slope = torch.where(windows == 0, 1.0, 3.0)
    scores = inputs[:, 0] * slope
    judgement = Judgement({"bar": scores, "four_bars": 1 * scores}, [], {"bar": windows, "four_bars": windows})
    assert float(interpolation_penalty(judgement, [inputs], [windows], count=2)) == pytest.approx(0.0, abs=1e-9)


def test_a_penalty_of_no_slope_can_be_learned_from() -> None:
    slope = torch.zeros(2, requires_grad=True)
    inputs = torch.ones(2, 2, requires_grad=True)
    windows = torch.tensor([0, 1])
    judgement = Judgement({"bar": inputs @ slope}, [], {"bar": windows})
    penalty = interpolation_penalty(judgement, [inputs], [windows], count=2)
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(1.0, abs=1e-5) and slope.grad is not None
    assert slope.grad.isfinite().all()


def test_rollouts_double_up_to_the_last_length() -> None:
    lengths = [rollout_length(step, 16, 128, 100) for step in range(0, 600, 50)]
    assert lengths == [16, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128]
    assert rollout_length(10**9, 16, 100, 1) == 100


def test_the_critic_begins_and_warms_up_before_the_model_learns_at_the_ratio_asked_for() -> None:
    turns = {step: adversarial_turn(step, start=10, every=5, warmup=2, ratio=3) for step in range(70)}
    assert [step for step, turn in turns.items() if turn.critic] == list(range(10, 70, 5))
    assert [step for step, turn in turns.items() if turn.generator] == [30, 45, 60]
    assert adversarial_turn(0, 0, 1, 0, 1) == Turn(True, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adversarial_share": 1.5}, r"loss\.adversarial_share=1\.5 is out of range; allowed: 0 to 1"),
        ({"interpolation_weight": -1.0}, r"loss\.interpolation_weight=-1\.0 is out of range; allowed: 0 to 100"),
        ({"r1_weight": -1.0}, r"loss\.r1_weight=-1\.0 is out of range; allowed: 0 to 100"),
        ({"critic_ratio": 0}, r"loss\.critic_ratio=0 is out of range; allowed: 1 or more"),
        ({"adversarial_start": -1}, r"loss\.adversarial_start=-1 is out of range; allowed: 0 or more"),
        ({"rollout_first": 64, "rollout_last": 32}, r"loss\.rollout_last=32 is less than loss\.rollout_first=64"),
        ({"gumbel_temperature": 0.0}, r"loss\.gumbel_temperature=0\.0 is out of range; allowed: above 0"),
        ({"critic_sees": []}, r"loss\.critic_sees=\[\] names nothing; allowed: one or more of latents, states, tokens"),
    ],
)
def test_values_out_of_range_are_refused_by_name(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdversarialConfig(**changes)


def test_a_weight_of_tokens_below_nought_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"loss\.token_weights\.pitch=-1 is out of range; allowed: 0 to 100"):
        TokenWeights(pitch=-1)


# -- windows ----------------------------------------------------------------------------------------------------------


def test_windows_come_from_segments_that_are_long_enough_or_get_shorter() -> None:
    segments, judged_tokens = choose_segments([10, 50, 30, 5], wanted=20, count=6)
    assert judged_tokens == 20 and set(segments.tolist()) == {1, 2} and len(segments) == 6
    segments, judged_tokens = choose_segments([10, 12, 5], wanted=20, count=2)
    assert judged_tokens == 11 and segments.tolist() == [1, 1]


def test_bars_of_windows_begin_at_bar_lines_and_at_the_first_judged_token() -> None:
    beat = torch.tensor([[0.0, 0.0, 1.0, 4.0, 5.5, 8.0], [0.0, 0.0, 3.0, 3.0, 4.0, 4.0]])
    bar = torch.tensor([[0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 1, 1]])
    bars = window_bars(Windows(bar, beat, bar, given=2))
    assert bars.of_token.tolist() == [0, 1, 1, 2, 3, 3, 4, 4]
    assert bars.window.tolist() == [0, 0, 0, 1, 1]
    assert bars.step.tolist() == [4, 0, 6, 0, 12, 12, 0, 0]


# -- weights of tokens, constraints, balance --------------------------------------------------------------------------


def test_weighted_reconstruction_is_the_weighted_mean() -> None:
    logits, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    nats = -logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    weights = torch.tensor([1.0, 0.0, 3.0])
    expected = (nats * weights[targets]).sum() / weights[targets].sum()
    torch.testing.assert_close(reconstruction(logits, targets, 0.0, weights), expected)


C_MAJOR = [60, 62, 64, 65, 67, 69, 71, 72, 67, 64, 60]


def certain(*pitches: int) -> Tensor:
    table = torch.zeros(len(pitches), 128)
    table[range(len(pitches)), list(pitches)] = 1.0
    return table


def test_predictions_of_pitches_are_read_off_logits_and_unscored_tokens_say_nothing() -> None:
    pitch_of_token = torch.tensor([-1, 60, -1, 62])
    targets = torch.tensor([1, 2, -100])
    predicted = predicted_pitches(torch.zeros(3, 4), targets, pitch_of_token)
    assert predicted.pitch.tolist() == [60, -1, -1]
    assert predicted.probability[:, [60, 62]].tolist() == [[0.25, 0.25], [0.25, 0.25], [0.0, 0.0]]
    assert float(predicted.probability.sum()) == pytest.approx(1.0)


def test_the_key_loss_is_what_lies_outside_the_key_beyond_what_the_music_does_itself() -> None:
    real, one = torch.tensor(C_MAJOR), torch.zeros(len(C_MAJOR), dtype=torch.long)
    assert key_loss(Predicted(certain(*C_MAJOR), real), one, 1) == 0
    half_out = certain(*[61 if n % 2 else pitch for n, pitch in enumerate(C_MAJOR)])
    assert float(key_loss(Predicted(half_out, real), one, 1)) == pytest.approx(5 / 11)
    chromatic = torch.tensor([*C_MAJOR, 61, 66])
    segment = torch.zeros(len(chromatic), dtype=torch.long)
    assert key_loss(Predicted(certain(*chromatic.tolist()), chromatic), segment, 1) == 0


def test_the_key_loss_follows_the_key_of_each_segment() -> None:
    up = [pitch + 6 for pitch in C_MAJOR]
    real = torch.tensor([*C_MAJOR, *up])
    segment = torch.tensor([0] * 11 + [1] * 11)
    assert key_loss(Predicted(certain(*C_MAJOR, *up), real), segment, 2) == 0
    assert key_loss(Predicted(certain(*C_MAJOR, *C_MAJOR), real), segment, 2) > 0.2


def test_the_density_loss_compares_expected_and_real_numbers_of_notes_bar_by_bar() -> None:
    real = torch.tensor([60, 62, -1, 64])
    bar = torch.tensor([0, 0, 0, 1])
    assert density_loss(Predicted(certain(1, 2, 3, 4) * torch.tensor([[1.0], [1], [0], [1]]), real), bar, 2) == 0
    double = density_loss(Predicted(certain(1, 2, 3, 4), real), bar, 2)
    assert float(double) == pytest.approx(((3 - 2) / 3) ** 2 / 2)


def test_the_range_loss_is_the_share_outside_the_real_range_and_segments_without_notes_cost_nothing() -> None:
    real = torch.tensor([60, 72, -1, -1])
    segment = torch.tensor([0, 0, 0, 1])
    loss = range_loss(Predicted(certain(59, 66, 73, 20), real), segment, 2)
    assert float(loss) == pytest.approx((2 / 3) / 2)


def test_constraints_send_gradients_that_lower_them() -> None:
    logits = torch.zeros(11, 4, requires_grad=True)
    tokens = torch.tensor([-1, 60, 61, 67])
    targets = torch.tensor([1, 3] * 5 + [1])
    predicted = predicted_pitches(logits, targets, tokens)
    key_loss(predicted, torch.zeros(11, dtype=torch.long), 1).backward()
    assert logits.grad is not None and (logits.grad[:, 2] > 0).all()  # less of the pitch outside C and G


def test_learned_weights_settle_where_every_term_counts_alike() -> None:
    balance = UncertaintyWeights(["large", "small"])
    terms = {"large": torch.tensor(8.0), "small": torch.tensor(0.25)}
    assert float(balance(terms)) == pytest.approx(8.25)
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        balance(terms).backward()
        optimizer.step()
    assert balance.weights() == {"large": pytest.approx(1 / 16, rel=0.05), "small": pytest.approx(2.0, rel=0.05)}
