"""What a model writes while it is trained: music by the grammar, read as real music is; where its gradients go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.generation.grammar import Rules
from aurl.generation.grammars import make_grammar
from aurl.models.config import Mode, ModelConfig, Prior
from aurl.models.decoder import Condition
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.training.rollouts import Windows, evidence, write

CODEC = Codec.from_config(TokenizerConfig())
VOCABULARY = CODEC.vocabulary
ROWS, JUDGED, BARS, Z = 6, 60, 3, 6
NOTE = ("Position_0", "Program_0", "Pitch_60", "Velocity_63", "Duration_1.0.8")
PROMPT = ("BOS_None", "Bar_None", "TimeSig_4/4", *NOTE, "Bar_None")
GIVEN = len(PROMPT)


@pytest.fixture(scope="module")
def model() -> MusicTransformerVAEGAN:
    torch.manual_seed(2)
    config = ModelConfig(
        mode=Mode.vae_gan, hidden_dim=32, layers=2, heads=2, context=128, hearing=True, latent_dim=Z, critic_dim=8
    )
    made = MusicTransformerVAEGAN(config, VOCABULARY.size, TokenMeaning.of(VOCABULARY.meaning())).eval()
    with torch.no_grad():  # fresh heads say almost nothing
        for _, weight in made.written_with():
            if weight.ndim == 2:
                weight.add_(0.1 * torch.randn_like(weight))
    return made


@pytest.fixture(scope="module")
def written(model: MusicTransformerVAEGAN) -> tuple[Windows, Tensor]:
    torch.manual_seed(3)
    latents = torch.randn(ROWS, BARS, Z)
    grammar = make_grammar(VOCABULARY, Rules())
    prompt = torch.tensor([VOCABULARY.index[name] for name in PROMPT]).repeat(ROWS, 1)
    return write(model, grammar, prompt, latents, JUDGED), latents


def test_what_is_written_has_the_length_asked_for_and_its_musical_time_is_that_of_its_tokens(
    written: tuple[Windows, Tensor],
) -> None:
    windows, _ = written
    assert windows.ids.shape == (ROWS, GIVEN + JUDGED) and windows.given == GIVEN
    assert windows.allowed is not None
    chosen = windows.allowed.gather(2, windows.ids[:, GIVEN:, None])
    assert chosen.all() and not windows.allowed[..., VOCABULARY.eos].any()
    for ids, beat, bar in zip(windows.ids.numpy(), windows.beat, windows.bar, strict=True):
        bars, beats = VOCABULARY.musical_time(ids)
        assert bar.tolist() == bars.tolist()
        assert beat.tolist() == pytest.approx(beats.tolist())
        assert sum(len(track.notes) for track in CODEC.decode(ids[1:]).tracks) > 3


def test_one_parallel_pass_reads_written_music_as_the_model_does(
    model: MusicTransformerVAEGAN, written: tuple[Windows, Tensor]
) -> None:
    windows, latents = written
    seen = evidence(model, windows, latents, 1.0)
    width = windows.ids.shape[1]
    for row in range(ROWS):
        time = MusicalTime(torch.arange(width), windows.beat[row], windows.bar[row])
        used = int(windows.bar[row].max()) + 1
        bars = latents[row][torch.arange(used).clamp(max=BARS - 1)]  # later bars take the last
        assert model.latent is not None
        condition = Condition(model.latent.for_layers(bars), windows.bar[row])
        hidden, _ = model.decoder.states(windows.ids[row], time, [width], condition)
        torch.testing.assert_close(seen.states[row * JUDGED : (row + 1) * JUDGED], hidden[GIVEN:])
    assert torch.equal(seen.ids, windows.ids[:, GIVEN:].flatten())
    assert torch.equal(seen.tokens.argmax(1), seen.ids)
    assert torch.equal(seen.rows, torch.arange(ROWS).repeat_interleave(JUDGED))


def test_real_and_written_music_look_alike_if_they_are_the_same(
    model: MusicTransformerVAEGAN, written: tuple[Windows, Tensor]
) -> None:
    windows, latents = written
    with torch.no_grad():
        real = evidence(model, windows._replace(allowed=None), latents, 1.0)
    fake = evidence(model, windows, latents, 1.0)
    assert torch.equal(real.tokens, fake.tokens.detach()) and fake.tokens.requires_grad
    torch.testing.assert_close(real.states, fake.states.detach())
    assert torch.equal(real.bars.step, fake.bars.step)


def test_gradients_of_a_token_reach_the_decoder_and_the_latents_of_bars_up_to_its_own(
    model: MusicTransformerVAEGAN, written: tuple[Windows, Tensor]
) -> None:
    windows, latents = written
    latents = latents.clone().requires_grad_()
    seen = evidence(model, windows, latents, 1.0)
    seen.tokens[0].mul(torch.randn(VOCABULARY.size)).sum().backward()
    touched = latents.grad.abs().sum(2)  # type: ignore[union-attr]
    assert touched.nonzero().tolist() == [[0, 0], [0, 1]]  # the second bar of the first window has begun
    assert model.decoder.blocks[0].attention.to_qkv.weight.grad is not None
    model.zero_grad()


@pytest.mark.parametrize("prior", [Prior.autoregressive, Prior.mixture])
def test_latents_are_drawn_alike_with_gradients_and_without(prior: Prior) -> None:
    torch.manual_seed(4)
    config = ModelConfig(mode=Mode.vae, hidden_dim=16, layers=1, heads=2, latent_dim=Z, piece_latent_dim=3, prior=prior)
    space = MusicTransformerVAEGAN(config, 20).eval().latent
    assert space is not None
    for weight in space.prior.parameters():
        weight.data.add_(0.2 * torch.randn_like(weight))
    noise, piece = torch.randn(4, 7, Z), torch.randn(4, 3)
    drawn = space.sample(noise, piece)
    with torch.no_grad():
        plain = space.sample(noise, piece)
    torch.testing.assert_close(drawn, plain)
    drawn[:, -1].square().sum().backward()
    reached = [weight.grad for weight in space.prior.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in reached)
    assert sum(float(grad.abs().sum()) for grad in reached if grad is not None) > 0
