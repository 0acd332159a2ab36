"""The discriminator and what it is shown: tokens that gradients pass through, figures of bars, scores at each scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.models.config import Mode, ModelConfig, Sees
from aurl.models.discriminator import Discriminator, Evidence, Judgement
from aurl.models.hearing import TokenMeaning
from aurl.models.musical_features import OCTAVE, PITCHES, STEPS, MusicalFeatures, WindowBars
from aurl.models.relaxation import noisy_logits, straight_through

VOCABULARY = Codec.from_config(TokenizerConfig()).vocabulary
MEANING = TokenMeaning.of(VOCABULARY.meaning())
MUSIC = frozenset({Sees.states, Sees.tokens, Sees.music})
STATES = 16


def ids_of(*names: str) -> Tensor:
    return torch.tensor([VOCABULARY.index[name] for name in names])


def one_hot(ids: Tensor) -> Tensor:
    return nn.functional.one_hot(ids, VOCABULARY.size).float()


# -- tokens that gradients pass through -------------------------------------------------------------------------------


def test_a_relaxed_token_is_exactly_one_hot_whether_gradients_flow_or_not() -> None:
    logits, ids = torch.randn(50, 9), torch.randint(9, (50,))
    written = straight_through(logits.clone().requires_grad_(), ids, 0.7)
    real = straight_through(logits, ids, 0.7)
    assert torch.equal(written, real)
    assert torch.equal(real.argmax(-1), ids) and set(real.unique().tolist()) == {0.0, 1.0}
    assert written.requires_grad and not real.requires_grad


def test_noise_is_drawn_so_that_the_token_wins_and_all_tokens_win_as_often_as_they_should() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([1.0, 0.0, -1.0, float("-inf")]).repeat(20_000, 1)
    drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
    noisy = noisy_logits(logits, drawn, generator)
    assert torch.equal(noisy.argmax(-1), drawn)
    # The noise alone must be standard Gumbel: mean 0.5772, variance pi^2 / 6, whatever token was drawn.
    noise = (noisy - logits)[:, :3]
    assert noise.mean(0).tolist() == pytest.approx([0.5772] * 3, abs=0.05)
    assert noise.var(0).tolist() == pytest.approx([1.645] * 3, abs=0.1)


def test_the_gradient_of_a_token_that_could_not_be_drawn_is_nought_and_all_others_are_finite() -> None:
    logits = torch.randn(20, 5)
    logits[:, 4] = float("-inf")
    logits.requires_grad_()
    token = straight_through(logits, torch.randint(4, (20,)), 1.0)
    (token * torch.randn(20, 5)).sum().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert (logits.grad[:, :4].abs().sum(1) > 0).all() and not logits.grad[:, 4].any()


# -- what a listener counts -------------------------------------------------------------------------------------------

BAR = ids_of(
    *("Bar_None", "TimeSig_4/4", "Position_0", "Program_0", "Pitch_60", "Velocity_63", "Duration_1.0.8"),
    *("Program_0", "Pitch_64", "Velocity_63", "Duration_0.2.8", "Position_20", "Program_0", "Pitch_72", "Velocity_63"),
)
PLACES = torch.tensor([0] * 11 + [10] * 4)


def bars_of_window(ids: Tensor = BAR, places: Tensor = PLACES) -> WindowBars:
    return WindowBars(torch.zeros(len(ids), dtype=torch.long), torch.zeros(1, dtype=torch.long), places)


def test_a_piano_roll_shows_each_note_where_it_sounds_and_as_long() -> None:
    features, rows = MusicalFeatures(MEANING), torch.zeros(len(BAR), dtype=torch.long)
    roll = features.roll(one_hot(BAR), BAR, bars_of_window(), rows)
    assert roll.shape == (1, STEPS, PITCHES)
    sounding = {(int(step), int(pitch)) for _, step, pitch in roll.nonzero()}
    # A quarter is four sixteenths, Duration_0.2.8 one; the last note's duration lies beyond the window.
    assert sounding == {(0, 60), (1, 60), (2, 60), (3, 60), (0, 64), (10, 72)}
    assert roll.max() == 1


def test_figures_of_a_bar_are_pitch_classes_onsets_and_notes() -> None:
    features, rows = MusicalFeatures(MEANING), torch.zeros(len(BAR), dtype=torch.long)
    figures = features(one_hot(BAR), BAR, bars_of_window(), rows)
    assert figures.shape == (1, features.width)
    classes, onsets, notes = figures[0, STEPS * PITCHES :].split([OCTAVE, STEPS, 1])
    assert classes[[0, 4]].tolist() == pytest.approx([5 / 6, 1 / 6])
    assert onsets.nonzero().squeeze(1).tolist() == [0, 10]
    assert notes.item() == pytest.approx(3 / STEPS)


def test_figures_follow_the_probabilities_of_pitches_durations_and_positions() -> None:
    features, rows = MusicalFeatures(MEANING), torch.zeros(len(BAR), dtype=torch.long)
    tokens = one_hot(BAR).requires_grad_()
    (features(tokens, BAR, bars_of_window(), rows) * torch.rand(features.width)).sum().backward()
    assert tokens.grad is not None
    for name, place in (("Pitch_61", 4), ("Duration_2.0.8", 6), ("Position_7", 2)):
        assert tokens.grad[place, VOCABULARY.index[name]] != 0
    assert tokens.grad[4, VOCABULARY.index["Velocity_63"]] == 0
    half = one_hot(BAR)
    half[4, VOCABULARY.index["Pitch_60"]] = half[4, VOCABULARY.index["Pitch_61"]] = 0.5
    roll = features.roll(half, BAR, bars_of_window(), rows)
    assert roll[0, 0, 60:62].tolist() == [0.5, 0.5]


def test_a_note_takes_its_duration_from_its_own_window_only() -> None:
    features = MusicalFeatures(MEANING)
    ids = ids_of("Pitch_60", "Velocity_63", "Duration_1.0.8", "Velocity_63")
    bars = WindowBars(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1]), torch.zeros(4, dtype=torch.long))
    roll = features.roll(one_hot(ids), ids, bars, torch.tensor([0, 0, 1, 1]))
    assert roll[0, :, 60].tolist() == [1.0] + [0.0] * (STEPS - 1)


# -- the discriminator ------------------------------------------------------------------------------------------------


def critic_of(**changes: object) -> Discriminator:
    torch.manual_seed(4)
    settings: dict = {"mode": Mode.vae_gan, "hidden_dim": STATES, "heads": 2, "latent_dim": 6, "critic_dim": 24}
    return Discriminator(ModelConfig(**settings | changes), MEANING)


def windows(seed: int = 0, count: int = 3, length: int = 15) -> Evidence:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.cat([BAR[torch.randperm(len(BAR), generator=generator)[:length]] for _ in range(count)])
    bar = torch.arange(count * length) // 5
    window = torch.arange(count).repeat_interleave(length // 5)
    step = torch.arange(count * length) % 5
    states = torch.randn(len(ids), STATES, generator=generator)
    return Evidence(one_hot(ids), ids, states, WindowBars(bar, window, step), count)


def test_every_scale_is_scored_and_each_score_depends_on_its_own_window_alone() -> None:
    critic = critic_of().eval()
    evidence = windows()
    both = critic.judge_music(evidence, MUSIC)
    assert {name: len(scores) for name, scores in both.scores.items()} == {"token": 45, "bar": 9, "four_bars": 9}
    changed = evidence._replace(states=evidence.states.clone())
    changed.states[30:] += 1.0  # the last window
    after = critic.judge_music(changed, MUSIC)
    for name, inside in (("token", 30), ("bar", 6), ("four_bars", 6)):
        torch.testing.assert_close(after.scores[name][:inside], both.scores[name][:inside])
        assert not torch.allclose(after.scores[name][inside:], both.scores[name][inside:])


def test_four_bars_see_the_three_bars_after_them_and_single_bars_do_not() -> None:
    critic = critic_of().eval()
    latents = torch.randn(7, 6, requires_grad=True)
    piece = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    scores = critic.judge_latents(latents, piece).scores

    def touched(score: Tensor) -> list[int]:
        (gradient,) = torch.autograd.grad(score, latents, retain_graph=True)
        return gradient.abs().sum(1).nonzero().squeeze(1).tolist()

    assert touched(scores["latent"][1]) == [1]
    assert touched(scores["four_latents"][0]) == [0, 1, 2, 3]
    assert touched(scores["four_latents"][3]) == [3, 4]
    assert touched(scores["four_latents"][5]) == [5, 6]


@pytest.mark.parametrize("sees", [{Sees.states}, {Sees.tokens}, {Sees.music}])
def test_what_is_not_to_be_seen_changes_no_score(sees: set[Sees]) -> None:
    critic = critic_of().eval()
    evidence = windows()
    tokens, states = evidence.tokens.clone().requires_grad_(), evidence.states.clone().requires_grad_()
    judgement = critic.judge_music(evidence._replace(tokens=tokens, states=states), sees)
    assert ("token" in judgement.scores) == (sees != {Sees.music})
    sum(scores.sum() for scores in judgement.scores.values()).backward()
    assert (states.grad is not None) == (Sees.states in sees)
    assert (tokens.grad is not None) == (Sees.states not in sees)


def total(judgement: Judgement) -> Tensor:
    return torch.stack([scores.sum() for scores in judgement.scores.values()]).sum()


def test_spectral_normalisation_keeps_every_matrix_at_most_one_while_it_learns() -> None:
    critic = critic_of().train()
    optimizer = torch.optim.AdamW(critic.parameters(), lr=0.05)
    for seed in range(30):
        real, fake = critic.judge_music(windows(seed), MUSIC), critic.judge_music(windows(seed + 100), MUSIC)
        latents = critic.judge_latents(torch.randn(8, 6), torch.zeros(8, dtype=torch.long))
        loss = total(fake) - total(real) - total(latents)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for _ in range(15):  # the estimate of singular values follows the weights by power iteration
        critic.judge_music(windows(), MUSIC)
        critic.judge_latents(torch.randn(8, 6), torch.zeros(8, dtype=torch.long))
    matrices = [layer.weight for layer in critic.modules() if isinstance(layer, nn.Linear)]
    largest = [float(torch.linalg.matrix_norm(weight.detach(), 2)) for weight in matrices]
    assert len(matrices) == 15
    assert max(largest) == pytest.approx(1.0, abs=0.03)
    raw = [p for name, p in critic.named_parameters() if name.endswith("original")]
    assert max(float(torch.linalg.matrix_norm(weight.detach(), 2)) for weight in raw) > 1.5  # it had something to do


def test_without_spectral_normalisation_matrices_are_free() -> None:
    critic = critic_of(spectral_norm=False)
    assert not any("parametrizations" in name for name, _ in critic.named_parameters())


def test_a_discriminator_learns_to_tell_sets_apart() -> None:
    critic = critic_of().train()
    optimizer = torch.optim.AdamW(critic.parameters(), lr=5e-3)
    for step in range(40):
        evidence = windows(step)
        shifted = evidence._replace(states=evidence.states + 0.5)
        real, fake = critic.judge_music(evidence, MUSIC), critic.judge_music(shifted, MUSIC)
        loss = sum(
            (1 - real.scores[name]).relu().mean() + (1 + fake.scores[name]).relu().mean() for name in real.scores
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() / 3 < 1.6  # 2 is ignorance
