"""The estimate of a real model with latents: one sample is the bound, more samples come nearer to the likelihood."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from aurl.evaluation.importance_scoring import draw_densities, score_importance
from aurl.evaluation.likelihood import TokenPiece, score_corpus
from aurl.evaluation.report_model import importance_words
from aurl.models.config import Mode, ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.utils.errors import AurlError

VOCAB = 20


def make_pieces(lengths: list[int], seconds: float = math.nan) -> list[TokenPiece]:
    random = np.random.default_rng(0)
    pieces = []
    for length in lengths:
        ids = random.integers(3, VOCAB, length).astype(np.uint16)
        ids[0], ids[-1] = 1, 2
        beats = np.arange(length, dtype=np.float32)
        pieces.append(TokenPiece(ids, (beats // 6).astype(np.uint16), beats, max(1, length // 4), length, "", seconds))
    return pieces


def tiny_vae(context: int = 64, **settings: object) -> MusicTransformerVAEGAN:
    torch.manual_seed(0)
    sizes = {"hidden_dim": 16, "layers": 1, "heads": 2, "context": context, "latent_dim": 3, "piece_latent_dim": 2}
    model = MusicTransformerVAEGAN(ModelConfig(mode=Mode.vae, **sizes, **settings), VOCAB)  # type: ignore[arg-type]
    assert model.latent is not None
    # Posteriors that are wide and off the prior, and a decoder that hears the latents: draws differ.
    torch.nn.init.normal_(model.latent.to_bar.weight, std=0.3)
    torch.nn.init.constant_(model.latent.to_bar.bias, 0.3)
    torch.nn.init.zeros_(model.latent.to_piece.bias)
    torch.nn.init.normal_(model.latent.to_layers.weight, std=0.5)
    return model


@pytest.mark.parametrize("context", [64, 20])
@pytest.mark.parametrize(
    ("prior", "hierarchy"), [("autoregressive", True), ("mixture", True), ("normal", True), ("normal", False)]
)
def test_one_sample_is_the_bound_on_average(context: int, prior: str, hierarchy: bool) -> None:
    model, pieces = tiny_vae(context, prior=prior, hierarchy=hierarchy), make_pieces([30, 50])
    torch.manual_seed(1)
    bounds = [score_corpus(model, pieces, context).nats_per_note for _ in range(60)]
    drawn = [score_importance(model, pieces, context, 1, seed=seed).nats_per_note for seed in range(60)]
    error = math.sqrt(np.var(bounds, ddof=1) / 60 + np.var(drawn, ddof=1) / 60)
    assert np.std(drawn) > 0
    assert abs(np.mean(bounds) - np.mean(drawn)) < 4 * error


def test_more_samples_come_nearer_to_the_likelihood_from_above() -> None:
    model, pieces = tiny_vae(), make_pieces([30, 50, 12])
    means = {
        samples: np.mean([score_importance(model, pieces, 64, samples, seed=seed).nats_per_note for seed in range(5)])
        for samples in (1, 8, 64)
    }
    assert means[1] > means[8] > means[64]
    found = score_importance(model, pieces, 64, 64)
    assert found.nats_per_note < found.bound_nats_per_note
    assert found.windows == 3 and 1 <= found.median_effective_samples <= 64 and found.standard_error > 0


def test_a_decoder_that_is_deaf_and_an_encoder_that_is_the_prior_leave_nothing_to_estimate() -> None:
    model, pieces = tiny_vae(prior="normal"), make_pieces([40])
    assert model.latent is not None
    for layer in (model.latent.to_bar, model.latent.to_piece):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.nn.init.zeros_(model.latent.to_layers.weight)
    exact = score_corpus(model, pieces, 64).nats_per_note
    found = score_importance(model, pieces, 64, 5)
    assert found.nats_per_note == pytest.approx(exact, rel=1e-5)
    assert found.median_effective_samples == pytest.approx(5, rel=1e-4) and found.doubtful == 1


def test_each_segment_of_a_batch_is_weighed_as_if_it_were_alone() -> None:
    model = tiny_vae().eval()
    space = model.latent
    assert space is not None
    ids = torch.randint(3, VOCAB, (16,))
    bar = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    time = MusicalTime(torch.cat((torch.arange(6), torch.arange(10))), torch.arange(16.0), bar)
    scored = torch.arange(16) != 0
    scored[6:10] = False  # the first bar of the second segment is past only: its latent costs nothing
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        both = next(iter(draw_densities(model, ids, ids.roll(-1), time, [6, 10], scored, 1, generator)))
        generator.manual_seed(0)
        encoded = space.encode(ids, time, [6, 10])
        latents = space.draw(encoded, generator)
        own = encoded.bar.log_density(latents.bar).sum(-1).double()
        piece = encoded.piece.log_density(latents.piece).sum(-1).double()
        logits = model(ids, time, [6, 10], bar_latents=latents.bar).logits
    assert both.posterior.tolist() == pytest.approx([float(own[:2].sum() + piece[0]), float(own[3:].sum() + piece[1])])
    nats = -torch.nn.functional.cross_entropy(logits, ids.roll(-1), reduction="none").double()
    assert both.tokens.tolist() == pytest.approx([float(nats[1:6].sum()), float(nats[10:].sum())], rel=1e-5)


def test_figures_are_json_and_words_say_how_far_they_can_be_trusted() -> None:
    model = tiny_vae()
    unknown = score_importance(model, make_pieces([30]), 64, 1).to_dict()
    assert unknown["nats_per_second"] is None and unknown["standard_error"] is None
    assert "standard error" not in importance_words(unknown) and "in 1 of 1 windows" in importance_words(unknown)
    known = score_importance(model, make_pieces([30], seconds=10), 64, 3).to_dict()
    assert known["nats_per_second"] == pytest.approx(known["nats_per_note"] * 7 / 10)
    assert json.loads(json.dumps(known)) == known
    assert "standard error of the draws" in importance_words({**known, "doubtful": 0})


def test_a_model_without_latents_no_samples_and_damaged_weights_are_refused() -> None:
    plain = MusicTransformerVAEGAN(ModelConfig(hidden_dim=16, layers=1, heads=2, context=64), VOCAB)
    with pytest.raises(ValueError, match="needs a model with latents"):
        score_importance(plain, make_pieces([9]), 64, 2)
    model = tiny_vae()
    with pytest.raises(ValueError, match="samples=0 is out of range; allowed: 1 or more"):
        score_importance(model, make_pieces([9]), 64, 0)
    model.train()
    torch.nn.init.constant_(model.latent.to_layers.weight, math.nan)  # type: ignore[union-attr]
    with pytest.raises(AurlError, match="the model gives no numbers; its weights are damaged"):
        score_importance(model, make_pieces([9]), 64, 2)
    assert model.training
