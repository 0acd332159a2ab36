"""On a CUDA card: training, checkpoints, scoring and writing agree with the CPU. Skipped where there is no card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from aurl.data.codec import Codec
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.datamodule import MusicDataModule
from aurl.evaluation.likelihood import score_corpus
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.models.checkpoint import load_bundle
from aurl.models.config import ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.training.callbacks.checkpoints import Checkpoints
from aurl.training.callbacks.samples import SampleMusic
from aurl.training.checkpoint_io import AtomicCheckpointIO
from aurl.training.config import OptimConfig, Rule
from aurl.training.module import MusicModule

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card on this machine"),
]

CUDA, CPU = "cuda", "cpu"
CONTEXT = 128
GREEDY, DRAWN = SamplerConfig(temperature=0.0), SamplerConfig(top_p=0.9, repetition_penalty=1.2, pitch_temperature=0.7)
WAYS = [("remi", None), ("remi", "1400"), ("tsd", None), ("midi_like", None), ("cpword", None), ("octuple", None)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def corpus(cache: Path, kind: str = "remi", bpe: str | None = None) -> MusicDataModule:
    config = DataConfig(name="synth", source=Source.synth, pieces=16, batch_tokens=512, workers=1)
    tokenizer = TokenizerConfig(kind=kind, bpe=bpe, positions_per_beat=4, max_bars=64)
    data = MusicDataModule(config, tokenizer, cache, CONTEXT, seed=3, progress=False)
    data.prepare_data()
    data.setup()
    return data


def model(data: MusicDataModule, **changes: Any) -> MusicTransformerVAEGAN:
    torch.manual_seed(11)
    hears = data.codec.tells_what_sounds
    settings: dict[str, Any] = {"hidden_dim": 32, "layers": 2, "heads": 2, "context": CONTEXT, "hearing": hears}
    meaning = TokenMeaning.of(data.codec.vocabulary.meaning()) if hears else None
    return MusicTransformerVAEGAN(ModelConfig(**(settings | changes)), data.codec.size, meaning).eval()


def fit(data: MusicDataModule, folder: Path, steps: int, ckpt: Path | None = None, **changes: Any) -> MusicModule:
    module = MusicModule(
        model(data, dropout=0.1, hearing_dropout=0.1).train(),
        data.codec,
        OptimConfig(rule=Rule.muon, lr=3e-3, warmup_steps=2, ema_decay=0.9),
        programs=data.programs_met(),
    )
    samples = SampleMusic(str(folder / "samples"), every_n_batches=4, num_samples=1, bars=2, formats=["midi"])
    settings: dict[str, Any] = {
        "max_steps": steps,
        "max_epochs": -1,
        "accelerator": "gpu",
        "devices": 1,
        "precision": "32-true",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "callbacks": [Checkpoints(str(folder)), samples],
        "plugins": [AtomicCheckpointIO()],
    }
    trainer = L.Trainer(**(settings | changes))
    trainer.fit(module, datamodule=data, ckpt_path=None if ckpt is None else str(ckpt), weights_only=True)
    return module


def logits_of(network: MusicTransformerVAEGAN, data: MusicDataModule, device: str) -> torch.Tensor:
    batch = next(iter(data.val_dataloader()))
    network = network.to(device)
    time = MusicalTime(batch.index.to(device), batch.beat.to(device), batch.bar.to(device))
    with torch.no_grad():
        return network(batch.ids.to(device), time, batch.lengths).logits.cpu()


def written(network: MusicTransformerVAEGAN, codec: Codec, device: str, sampler: SamplerConfig, **asked: Any) -> Any:
    request = GenerationRequest(sampler=sampler, num_samples=3, bars=3, max_tokens=200, seed=5, **asked)
    generator = Generator(network.to(device), codec, device)
    return [sample.ids for sample in generator.generate(request)]


@pytest.mark.parametrize("changes", [{}, {"kv_heads": 1}, {"positions": "absolute"}, {"hearing": False}], ids=str)
def test_the_same_weights_give_the_same_logits_on_card_and_cpu(cache: Path, changes: dict[str, Any]) -> None:
    data = corpus(cache)
    network = model(data, **changes)
    torch.testing.assert_close(logits_of(network, data, CUDA), logits_of(network, data, CPU), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "bpe"), WAYS)
def test_greedy_pieces_of_every_tokenizer_are_those_of_the_cpu(cache: Path, kind: str, bpe: str | None) -> None:
    data = corpus(cache, kind, bpe)
    network = model(data)
    on_card, on_cpu = (written(network, data.codec, device, GREEDY) for device in (CUDA, CPU))
    for mine, expected in zip(on_card, on_cpu, strict=True):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize(("kind", "bpe"), WAYS)
def test_drawn_pieces_do_not_depend_on_the_batch(cache: Path, kind: str, bpe: str | None) -> None:
    data = corpus(cache, kind, bpe)
    network = model(data)
    together, alone = (written(network, data.codec, CUDA, DRAWN, batch_size=size) for size in (3, 1))
    for mine, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_pieces_longer_than_the_context_and_prompts_go_on(cache: Path) -> None:
    data = corpus(cache)
    network = model(data)
    prompt = data.store.ids(0)[1:60].astype(np.int64)
    network.to(CUDA)
    request = GenerationRequest(num_samples=3, bars=None, max_tokens=2 * CONTEXT, prompt=prompt, prompt_bars=1)
    for sample in Generator(network, data.codec, CUDA).generate(request):
        assert len(sample.ids) > CONTEXT
        assert sample.notes


def test_scores_of_card_and_cpu_agree(cache: Path) -> None:
    data = corpus(cache)
    network = model(data)
    results = [
        score_corpus(network.to(device), data.store, CONTEXT, split="train", device=device) for device in (CUDA, CPU)
    ]
    assert results[0].nats_per_note == pytest.approx(results[1].nats_per_note, rel=1e-5)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_learns_writes_samples_and_leaves_a_checkpoint_for_any_device(
    cache: Path, tmp_path: Path, precision: str
) -> None:
    data = corpus(cache)
    before = score_corpus(model(data), data.store, CONTEXT, split="train").nats_per_note
    module = fit(data, tmp_path, steps=12, precision=precision)
    assert module.batches_seen == 12 and module.guard.skipped == 0
    assert list((tmp_path / "samples").rglob("*.mid"))
    scores = []
    for device in (CUDA, CPU):
        bundle = load_bundle(tmp_path / "last.ckpt", device)
        assert next(bundle.model.parameters()).device.type == device
        result = score_corpus(bundle.model, data.store, CONTEXT, split="train", device=device)
        scores.append(result.nats_per_note)
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    assert scores[0] < before


def test_a_run_that_is_continued_ends_where_one_without_a_break_ends(cache: Path, tmp_path: Path) -> None:
    """Dropout's random numbers on the card, both optimisers' state and the place in the data come back."""
    data = corpus(cache)
    whole = fit(data, tmp_path / "whole", steps=8)
    # The schedule's length belongs to the run: the first half is stopped, not shorter.
    stopper = _StopAfter(4)
    first = [Checkpoints(str(tmp_path / "half")), stopper]
    fit(corpus(cache), tmp_path / "half", steps=8, callbacks=first)
    second = fit(corpus(cache), tmp_path / "rest", steps=8, ckpt=tmp_path / "half" / "last.ckpt")
    assert second.batches_seen == whole.batches_seen == 8
    for mine, expected in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, atol=2e-4, rtol=1e-3)


class _StopAfter(L.Callback):
    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if pl_module.batches_seen == self.batches:
            trainer.should_stop = True
