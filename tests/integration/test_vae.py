"""A transformer-VAE from the corpus to music: it learns, its latents steer, its bound is the one that is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aurl.cli.build import build_data, build_module, run_training
from aurl.cli.conf import compose
from aurl.data.windows import scoring_bars
from aurl.evaluation.likelihood import score_corpus, store_pieces
from aurl.evaluation.likelihood_detail import by_token_type
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.generation.steering import encode_ids
from aurl.models.checkpoint import load_bundle
from aurl.utils.errors import AurlError

TINY = (
    *("model=vae", "model.hidden_dim=32", "model.layers=2", "model.heads=2", "model.encoder_layers=1"),
    *("model.latent_dim=16", "model.piece_latent_dim=4", "model.context=128", "model.dropout=0"),
    *("data=synth", "data.pieces=24", "data.batch_tokens=1024", "data.workers=1", "trainer.accelerator=cpu"),
    *("logger=none", "callbacks.samples=null", "trainer.enable_progress_bar=false", "trainer.precision=32-true"),
    *("loss.kl_zero_steps=5", "loss.kl_rise_steps=10", "optim.warmup_steps=2", "callbacks.early_stopping=null"),
)


def settings(folder: Path, *more: str) -> Any:
    places = (f"paths.cache={folder}/cache", f"paths.output={folder}/run")
    return compose("train", [*TINY, *places, *more])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run whose prior knows keys and chords."""
    folder = tmp_path_factory.mktemp("vae")
    cfg = settings(folder, "trainer.max_epochs=3", "model.prior_conditions=[key,chords]", "optim.ema_decay=0.9")
    result = run_training(cfg)
    assert result.metrics["val/likelihood/nats_per_note"] > 0
    for name in ("active_units", "bar_kl", "information", "shuffled_gap"):
        assert f"val/latent/{name}" in result.metrics
    assert {"train/loss/recon", "train/loss/kl", "train/loss/attributes", "train/kl_weight"} <= set(result.metrics)
    return folder


@pytest.fixture(scope="module")
def generator(trained: Path) -> Generator:
    return Generator.from_checkpoint(trained / "run/checkpoints/last.ckpt")


def test_training_lowers_the_bound(trained: Path) -> None:
    cfg = settings(trained, "model.prior_conditions=[key,chords]")
    data = build_data(cfg)
    data.setup()
    learned = load_bundle(trained / "run/checkpoints/last.ckpt").model
    fresh = build_module(cfg, data).model
    after, before = (score_corpus(model, data.store, 128, split="valid").nats_per_note for model in (learned, fresh))
    assert after < 0.7 * before


def test_a_run_can_be_continued_with_its_latent_space(trained: Path) -> None:
    cfg = settings(
        trained, "trainer.max_epochs=4", "model.prior_conditions=[key,chords]", "optim.ema_decay=0.9",
        f"paths.output={trained}/on",
    )  # fmt: skip
    result = run_training(cfg, resume_from=trained / "run/checkpoints/last.ckpt")
    assert result.batches > 0


def test_samples_follow_from_their_seed_alone_and_from_their_latents(generator: Generator) -> None:
    greedy = SamplerConfig(greedy=True)
    together = generator.generate(GenerationRequest(sampler=greedy, num_samples=3, bars=4, seed=5))
    alone = generator.generate(GenerationRequest(sampler=greedy, num_samples=1, bars=4, seed=6))
    assert np.array_equal(together[1].ids, alone[0].ids)
    expected = GenerationRequest(
        sampler=SamplerConfig(greedy=True, latent_temperature=0.0), num_samples=2, bars=4, seed=5
    )
    one, two = generator.generate(expected)
    assert np.array_equal(one.ids, two.ids), "without deviations every seed has the same latents"


def test_a_prompt_is_kept_and_its_bars_are_encoded(generator: Generator) -> None:
    first = generator.generate(GenerationRequest(num_samples=1, bars=3, seed=1))[0]
    on = generator.generate(GenerationRequest(num_samples=2, bars=2, seed=2, prompt=first.ids))
    for sample in on:
        assert np.array_equal(sample.ids[: len(first.ids)], first.ids)


def test_given_latents_decide_what_is_written(generator: Generator) -> None:
    width = generator.model.config.latent_dim
    latents = np.stack([np.full((4, width), value, np.float32) for value in (-3.0, 3.0)])
    request = GenerationRequest(sampler=SamplerConfig(greedy=True), num_samples=2, bars=4, latents=latents)
    low, high = generator.generate(request)
    assert not np.array_equal(low.ids, high.ids)
    again = GenerationRequest(sampler=SamplerConfig(greedy=True), num_samples=1, bars=4, latents=latents[1])
    assert np.array_equal(generator.generate(again)[0].ids, high.ids)
    with pytest.raises(AurlError, match=r"latents have the shape \(4, 3\); allowed: \(bars, 16\) or \(2, bars, 16\)"):
        generator.generate(GenerationRequest(num_samples=2, bars=4, latents=latents[0][:, :3]))


def test_keys_and_chords_reach_the_prior(generator: Generator) -> None:
    greedy = SamplerConfig(greedy=True, latent_temperature=0.0)
    space = generator.model.latent
    assert space is not None
    with torch.no_grad():  # so little training tells keys apart only faintly
        for table in space.prior.conditions.tables["key"]:
            table.weight[:24] = torch.randn(24, 32)
        space.prior.to_gaussian.weight.normal_()

    def written(**conditions: np.ndarray) -> np.ndarray:
        request = GenerationRequest(sampler=greedy, num_samples=1, bars=4, conditions=conditions or None)
        return generator._latents(request, np.zeros(0, np.int64), range(1), [0]).numpy()

    assert not np.allclose(written(key=np.array([[0]])), written(key=np.array([[7]])))
    assert not np.allclose(written(key=np.array([[0]])), written())
    with pytest.raises(AurlError, match=r"mood cannot be asked for: .* model.prior_conditions=\[mood\]"):
        written(mood=np.array([[0]]))


def test_the_published_bound_charges_every_bar_once_and_says_what_latents_cost(trained: Path) -> None:
    bundle = load_bundle(trained / "run/checkpoints/last.ckpt")
    data = build_data(settings(trained))
    data.setup()
    context = 48  # so that pieces need several windows
    result = score_corpus(bundle.model, data.store, context, split="valid")
    assert result.bound
    pieces = store_pieces(data.store, "valid")
    for piece, cost in zip(pieces, result.latent_nats, strict=True):
        charged = np.flatnonzero(cost)
        bars = np.asarray(piece.bars)[charged]
        windows = scoring_bars(np.asarray(piece.bars), context)
        assert len(windows) > 1
        assert set(np.asarray(piece.bars)[:-1].tolist()) == set(bars.tolist())
        assert len(charged) <= len(set(bars.tolist())) + len(windows)
    rows = {row["type"]: row for row in by_token_type(result, pieces, data.codec.vocabulary)}
    assert rows["latents"]["nats"] == pytest.approx(sum(float(cost.sum()) for cost in result.latent_nats), rel=1e-6)
    assert sum(row["nats_per_note"] for row in rows.values()) == pytest.approx(result.nats_per_note, rel=1e-6)


def test_encoding_a_piece_gives_the_latents_of_its_bars(generator: Generator) -> None:
    sample = generator.generate(GenerationRequest(num_samples=1, bars=5, seed=3))[0]
    encoded = encode_ids(generator.model.latent, sample.ids, generator.codec, "cpu")
    assert encoded.bar.mean.shape == (5, 16)
    assert encoded.piece.mean.shape == (1, 4)


def test_attributes_that_nobody_measures_are_refused_before_the_corpus_is_read(tmp_path: Path) -> None:
    with pytest.raises(AurlError, match=r"model\.attributes: there is no 'loudness'; allowed: density, polyphony"):
        run_training(settings(tmp_path, "model.attributes=[loudness]"))


def test_what_a_transformer_cannot_do_is_said(tmp_path: Path) -> None:
    without = [item for item in TINY if not item.startswith(("model=", "model.latent", "model.piece", "model.encoder"))]
    places = [f"paths.cache={tmp_path}/cache", f"paths.output={tmp_path}/run"]
    short = ["model.hearing=false", "trainer.max_steps=1", "trainer.limit_val_batches=1"]
    cfg = compose("train", [*without, *short, *places])
    run_training(cfg)
    plain = Generator.from_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    with pytest.raises(AurlError, match="latents: the checkpoint's model has no latents"):
        plain.generate(GenerationRequest(bars=1, latents=np.zeros((1, 4), np.float32)))
    with pytest.raises(AurlError, match="key: the checkpoint's model has no latents"):
        plain.generate(GenerationRequest(bars=1, conditions={"key": np.array([[0]])}))
