"""The latent space: what a bar's latent may touch, what it costs, and priors that agree with their own draws."""

from __future__ import annotations

import math

import pytest
import torch

from aurl.models.bars import bars_of
from aurl.models.checkpoint import load_bundle, model_config_from_dict, model_config_to_dict, save_bundle
from aurl.models.conditions import COLUMNS, hide_some
from aurl.models.config import CONDITIONS, Mode, ModelConfig, Prior
from aurl.models.gaussian import Gaussian
from aurl.models.latent import cost_of_tokens
from aurl.models.latent_use import active_units, exchanged, mutual_information
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.music.chords import QUALITIES
from aurl.music.keys import KEY_NAMES

VOCAB = 40
LENGTHS = [34, 22]
Z, P = 6, 3


def model_of(**changes: object) -> MusicTransformerVAEGAN:
    torch.manual_seed(2)
    settings: dict = {
        "mode": Mode.vae,
        "hidden_dim": 32,
        "layers": 2,
        "heads": 4,
        "dropout": 0.0,
        "context": 128,
        "latent_dim": Z,
        "piece_latent_dim": P,
        "encoder_layers": 1,
    }
    model = MusicTransformerVAEGAN(ModelConfig(**settings | changes), VOCAB).eval()
    with torch.no_grad():  # fresh heads say almost nothing
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.add_(0.1 * torch.randn_like(weight))
    return model


def music() -> tuple[torch.Tensor, MusicalTime]:
    """Two segments; bars of 5 tokens, a long one of 14, and numbers that start anywhere."""
    ids = torch.randint(VOCAB, (sum(LENGTHS),), generator=torch.Generator().manual_seed(3))
    bar = torch.cat([torch.tensor([0] * 5 + [1] * 14 + [2] * 5 + [3] * 10), torch.arange(22) // 5 + 7])
    index = torch.cat([torch.arange(length) for length in LENGTHS])
    return ids, MusicalTime(index, torch.arange(len(ids)) / 4.0, bar)


def rows(time: MusicalTime, start: int, stop: int) -> MusicalTime:
    return MusicalTime(*(values[start:stop].unsqueeze(0) for values in time))


@pytest.mark.parametrize("prior", list(Prior))
def test_the_latent_of_a_bar_touches_no_prediction_inside_an_earlier_bar(prior: Prior) -> None:
    model, (ids, time) = model_of(prior=prior), music()
    bars = bars_of(time.bar, LENGTHS)
    latents = torch.randn(bars.count, Z, requires_grad=True)
    logits = model(ids, time, LENGTHS, bar_latents=latents).logits
    for bar in range(1, 4):
        before = logits[: int(bars.start[bar])].sum()
        (gradient,) = torch.autograd.grad(before, latents, retain_graph=True)
        assert not gradient[bar:].any()
        assert gradient[bar - 1].any()
    (gradient,) = torch.autograd.grad(logits[LENGTHS[0] :].sum(), latents)
    assert not gradient[:4].any(), "latents of one segment touch another"


def test_the_encoder_reads_nothing_outside_the_bar() -> None:
    model, (ids, time) = model_of(), music()
    assert model.latent is not None
    plain = model.latent.encode(ids, time, LENGTHS)
    changed = ids.clone()
    changed[5:19] = (changed[5:19] + 1) % VOCAB  # the second bar
    other = model.latent.encode(changed, time, LENGTHS)
    same = torch.isclose(plain.bar.mean, other.bar.mean, atol=1e-6).all(-1)
    assert same.tolist() == [True, False, True, True] + [True] * 5
    assert not torch.allclose(plain.piece.mean[0], other.piece.mean[0])
    assert torch.allclose(plain.piece.mean[1], other.piece.mean[1], atol=1e-6)


def test_a_bar_encodes_the_same_alone_and_in_a_batch() -> None:
    model, (ids, time) = model_of(), music()
    assert model.latent is not None
    together = model.latent.encode(ids, time, LENGTHS).bar
    alone = model.latent.encode(ids[5:19], MusicalTime(*(values[5:19] for values in time)), [14]).bar
    torch.testing.assert_close(alone.mean[0], together.mean[1], atol=1e-5, rtol=1e-5)


def test_cached_decoding_with_latents_gives_the_logits_of_the_plain_pass() -> None:
    model, (ids, time) = model_of(), music()
    latents = torch.randn(9, Z)
    with torch.no_grad():
        expected = model(ids, time, LENGTHS, bar_latents=latents).logits
        cache = model.new_cache(2, 40)
        model.steer(cache, torch.stack([latents[:4], torch.randn(4, Z)]))
        found = [
            model.decode(ids[:10].expand(2, -1), MusicalTime(*(p.expand(2, -1) for p in rows(time, 0, 10))), cache)
        ]
        cache.select(torch.tensor([0]))
        for token in range(10, LENGTHS[0]):
            found.append(model.decode(ids[token : token + 1][None], rows(time, token, token + 1), cache))
    torch.testing.assert_close(torch.cat([found[0][:1], *found[1:]]), expected[9 : LENGTHS[0]], atol=1e-4, rtol=1e-4)


def test_without_hierarchy_a_segment_has_one_latent_that_touches_all_of_it_and_nothing_else() -> None:
    model, (ids, time) = model_of(hierarchy=False), music()
    output = model(ids, time, LENGTHS)
    assert output.latents is not None and output.latents.bar.shape == (2, Z)
    whole = output.latents.bar_divergence.sum() + output.latents.piece_divergence.sum()
    torch.testing.assert_close(cost_of_tokens(output.latents, torch.ones(len(ids), dtype=torch.bool)).sum(), whole)
    latents = torch.randn(2, Z, requires_grad=True)
    logits = model(ids, time, LENGTHS, bar_latents=latents).logits
    (gradient,) = torch.autograd.grad(logits[0].sum(), latents, retain_graph=True)
    assert gradient[0].any() and not gradient[1].any()
    (gradient,) = torch.autograd.grad(logits[LENGTHS[0] :].sum(), latents)
    assert gradient[1].any() and not gradient[0].any()
    alone = model.latent.encode(ids[: LENGTHS[0]], MusicalTime(*(part[: LENGTHS[0]] for part in time)), LENGTHS[:1])
    both = model.latent.encode(ids, time, LENGTHS)
    torch.testing.assert_close(alone.bar.mean, both.bar.mean[:1], atol=1e-5, rtol=1e-4)
    moved = model.latent.encode(ids.flip(0), time, LENGTHS)  # the encoder reads all of the segment
    assert not torch.isclose(moved.bar.mean, both.bar.mean).any(dim=1).all()


def test_without_hierarchy_cached_decoding_gives_the_logits_of_the_plain_pass() -> None:
    model, (ids, time) = model_of(hierarchy=False), music()
    latents = torch.randn(2, Z)
    with torch.no_grad():
        expected = model(ids, time, LENGTHS, bar_latents=latents).logits[LENGTHS[0] - 1]
        cache = model.new_cache(1, 40)
        model.steer(cache, latents[:1, None])
        for token in range(LENGTHS[0]):
            found = model.decode(ids[token : token + 1][None], rows(time, token, token + 1), cache)
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)


def test_decoding_without_latents_is_refused() -> None:
    model, (ids, time) = model_of(), music()
    with pytest.raises(ValueError, match="only with latents of bars"):
        model.decode(ids[None, :5], rows(time, 0, 5), model.new_cache(1, 8))


@pytest.mark.parametrize("prior", list(Prior))
def test_what_tokens_are_charged_is_the_divergence_of_all_scored_bars_and_pieces(prior: Prior) -> None:
    model, (ids, time) = model_of(prior=prior), music()
    latents = model(ids, time, LENGTHS).latents
    assert latents is not None
    everything = cost_of_tokens(latents, torch.ones(len(ids), dtype=torch.bool))
    whole = latents.bar_divergence.sum() + latents.piece_divergence.sum()
    torch.testing.assert_close(everything.sum(), whole)
    assert everything[1:5].eq(0).all()
    scored = torch.arange(len(ids)) >= 21  # inside the third bar: it is charged at its first scored token
    charged = cost_of_tokens(latents, scored)
    assert charged[:21].eq(0).all()
    torch.testing.assert_close(charged.sum(), whole - latents.bar_divergence[:2].sum())


@pytest.mark.parametrize("prior", list(Prior))
def test_priors_expect_what_they_draw(prior: Prior) -> None:
    """The mean log density of draws is minus the entropy: higher than that of the same draws moved away."""
    model = model_of(prior=prior, prior_components=3)
    space = model.latent
    assert space is not None
    torch.manual_seed(0)
    piece = torch.randn(40, P)
    drawn = space.sample(torch.randn(40, 12, Z), piece)
    assert drawn.shape == (40, 12, Z)
    bars = bars_of(torch.arange(12).repeat(40), [12] * 40)
    flat = drawn.flatten(0, 1)
    with torch.no_grad():
        own = space.prior(flat, piece, bars).log_density(flat).mean()
        moved = space.prior(flat, piece, bars).log_density(flat + 1.0).mean()
    assert own > moved + 1.0


def test_the_autoregressive_prior_draws_from_the_distribution_that_training_sees() -> None:
    """Noise of zero gives the expected latents, step by step, after given bars too."""
    model = model_of()
    space = model.latent
    assert space is not None
    piece, given = torch.randn(2, P), torch.randn(2, 3, Z)
    with torch.no_grad():
        drawn = space.sample(torch.zeros(2, 4, Z), piece, given)
        expected = space.prior(drawn.flatten(0, 1), piece, bars_of(torch.arange(7).repeat(2), [7, 7]))
    torch.testing.assert_close(drawn[:, :3], given)
    mean = expected.gaussian.mean.view(2, 7, Z)
    torch.testing.assert_close(drawn[:, 3:], mean[:, 3:], atol=1e-5, rtol=1e-4)


def test_the_mixture_prior_draws_its_components_as_often_as_their_shares_say() -> None:
    space = model_of(prior=Prior.mixture, prior_components=2).latent
    assert space is not None
    with torch.no_grad():
        space.prior.mean.copy_(torch.tensor([[-50.0] * Z, [50.0] * Z]))
        space.prior.to_share.weight.zero_()
        space.prior.to_share.bias.copy_(torch.tensor([math.log(0.2), math.log(0.8)]))
        drawn = space.sample(torch.randn(1, 4000, Z, generator=torch.Generator().manual_seed(0)), torch.zeros(1, P))[0]
    assert 0.76 < float((drawn[:, 1] > 0).float().mean()) < 0.84
    inside = drawn[drawn[:, 0] > 0, 0] - 50
    assert abs(float(inside.mean())) < 0.1 and 0.9 < float(inside.std()) < 1.1


def test_divergence_of_gaussians_agrees_with_its_definition() -> None:
    one, other = Gaussian(torch.tensor(0.3), torch.tensor(-0.5)), Gaussian(torch.tensor(-1.0), torch.tensor(0.4))
    draws = one.at(torch.randn(400_000, generator=torch.Generator().manual_seed(0)))
    estimate = (one.log_density(draws) - other.log_density(draws)).mean()
    torch.testing.assert_close(one.divergence(other), estimate, atol=5e-3, rtol=0.0)
    assert float(one.divergence(one)) == 0


def test_units_are_active_where_means_differ_and_information_counts_distinguishable_bars() -> None:
    mean = torch.zeros(16, 2)
    mean[:, 0] = torch.arange(16) * 10.0
    apart = Gaussian(mean, torch.zeros(16, 2))
    assert active_units(apart).tolist() == [True, False]
    assert active_units(Gaussian(mean / 1000, torch.full((16, 2), -20.0))).tolist() == [True, False], "scale counts"
    alike = Gaussian(torch.zeros(16, 2), torch.zeros(16, 2))
    assert mutual_information(apart) == pytest.approx(math.log(16), abs=1e-3)
    assert mutual_information(alike) == pytest.approx(0.0, abs=1e-6)


def test_modes_share_the_names_of_weights() -> None:
    transformer = MusicTransformerVAEGAN(ModelConfig(hidden_dim=32, layers=2, heads=4), VOCAB)
    missing, unexpected = model_of().load_state_dict(transformer.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("latent.") for name in missing)


def test_a_prior_that_is_told_of_a_bar_expects_something_else_of_it_and_later_ones_only() -> None:
    model = model_of(prior_conditions=["key", "chords"])
    space = model.latent
    assert space is not None
    bars, piece, value = bars_of(torch.arange(6), [6]), torch.randn(1, P), torch.randn(6, Z)
    known = {"key": torch.full((6, 1), 3), "chords": torch.tensor([[0, 1]] * 6)}
    other = {"key": known["key"], "chords": torch.tensor([[0, 1]] * 3 + [[7, 2]] + [[0, 1]] * 2)}
    with torch.no_grad():
        one, two = (space.prior(value, piece, bars, each).gaussian.mean for each in (known, other))
        told, untold = (space.prior(value, piece, bars, each).gaussian.mean for each in (known, None))
        hidden = {name: torch.full_like(values, -1) for name, values in known.items()}
        unknown = space.prior(value, piece, bars, hidden).gaussian.mean
        zero = torch.zeros(1, 6, Z)
        drawn = space.sample(zero, piece, None, {name: values[None] for name, values in known.items()})[0]
        expected = space.prior(drawn, piece, bars, known).gaussian.mean
    assert torch.equal(one[:3], two[:3]) and not torch.allclose(one[3], two[3])
    assert not torch.allclose(told, untold)
    torch.testing.assert_close(unknown, untold)
    torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=1e-4)


def test_training_hides_the_conditions_of_some_segments_whole() -> None:
    torch.manual_seed(0)
    segment = torch.arange(400).repeat_interleave(2)
    hidden = hide_some({"key": torch.zeros(800, 1, dtype=torch.long)}, segment)["key"].view(400, 2).eq(-1)
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert 20 < int(hidden[:, 0].sum()) < 60


def test_conditions_have_room_for_all_keys_and_chords() -> None:
    assert COLUMNS["key"] == (len(KEY_NAMES),)
    assert COLUMNS["chords"][0] == 12 and COLUMNS["chords"][1] >= len(QUALITIES)
    assert set(COLUMNS) == set(CONDITIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prior_conditions": ["mood"]}, "model.prior_conditions: there is no 'mood'; allowed: key, chords"),
        ({"prior_conditions": ["key"], "prior": Prior.normal}, "needs model.prior=autoregressive, got normal"),
        ({"mode": Mode.transformer}, "model.latent_dim=6 needs model=vae"),
        ({"latent_dim": 0}, "model.latent_dim=0 is out of range; allowed: 1 to 1024"),
        ({"encoder_layers": 0}, "model.encoder_layers=0 is out of range; allowed: 1 or more"),
        ({"attributes": list("abcdefg")}, "names 7 dimensions, model.latent_dim=6 has fewer"),
        ({"attributes": ["density", "density"]}, "names one twice"),
        ({"hierarchy": False, "mode": Mode.vae_gan}, "model.hierarchy=false needs model=vae"),
        (
            {"hierarchy": False, "attributes": ["density"]},
            "are of bars, which have no latents with model.hierarchy=false",
        ),
        ({"hierarchy": False, "prior_conditions": ["key"]}, r'set "model\.prior_conditions=\[\]"'),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(**changes)


def test_a_checkpoint_gives_the_latent_space_back(tmp_path) -> None:
    model = model_of(attributes=["density"])
    model.latent.spread_std.fill_(3.0)
    save_bundle(tmp_path / "a.ckpt", model, {}, {}, {})
    back = load_bundle(tmp_path / "a.ckpt").model
    assert back.config == model.config == model_config_from_dict(model_config_to_dict(model.config))
    assert torch.equal(back.latent.spread_std, model.latent.spread_std)
    old = model_config_to_dict(ModelConfig())
    for key in ("latent_dim", "piece_latent_dim", "encoder_layers", "prior", "prior_layers", "prior_components"):
        del old[key]
    assert not model_config_from_dict(old).has_latent


def test_an_exchange_leaves_nothing_in_its_place_and_of_one_there_is_none() -> None:
    for count in (2, 3, 7, 100):
        order = exchanged(count, torch.Generator().manual_seed(count))
        assert order is not None and sorted(order.tolist()) == list(range(count))
        assert not (order == torch.arange(count)).any()
    assert exchanged(1) is None
