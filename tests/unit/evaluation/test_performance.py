"""Speed is measured on what the generator really writes; sizes and peaks are those of the process and the file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.evaluation import performance, stages
from aurl.evaluation.peer import huggingface, matching_width, measure_peer
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.models.checkpoint import save_bundle
from aurl.models.config import Mode, ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.utils.errors import AurlError

CONFIG = ModelConfig(hidden_dim=32, layers=2, heads=2, context=512)


@pytest.fixture(scope="module")
def generator() -> Generator:
    codec = Codec.from_config(TokenizerConfig(positions_per_beat=4, velocities=2, tempos=4, tracks_per_program=1))
    torch.manual_seed(0)
    meaning = TokenMeaning.of(codec.vocabulary.meaning())
    model = MusicTransformerVAEGAN(CONFIG, codec.vocabulary.size, meaning)
    return Generator(model.eval().requires_grad_(False), codec, programs_met=[0])


def test_rates_and_latencies_belong_to_the_pieces_that_are_written(generator: Generator) -> None:
    told: list[tuple[int, int]] = []
    rows = performance.measure_speed(
        generator, [2, 1, 2], bars=1, rounds=2, seed=5, on_progress=lambda *at: told.append(at)
    )
    assert [row.batch_size for row in rows] == [1, 2] and told == [(1, 2), (2, 2)]
    request = GenerationRequest(sampler=SamplerConfig(top_p=0.95), num_samples=2, batch_size=2, bars=1, seed=5)
    samples = generator.generate(request)
    assert rows[1].tokens == sum(len(sample.ids) + 1 for sample in samples)
    seconds = rows[1].tokens / rows[1].tokens_per_second
    assert rows[1].samples_per_second == pytest.approx(2 / seconds)
    assert rows[1].notes_per_second == pytest.approx(sum(sample.notes for sample in samples) / seconds)
    for row in rows:
        assert 0 < row.token_ms_p50 <= row.token_ms_p99 and row.first_note_ms > row.token_ms_p50
        assert row.cpu_tokens_per_second > 0 and row.peak_cuda_mb is None
    assert rows[0].peak_rss_mb <= rows[1].peak_rss_mb
    assert performance.to_rows(rows)[0]["batch_size"] == 1


def test_a_model_with_latents_is_timed_with_latents_of_its_prior(generator: Generator) -> None:
    config = replace(CONFIG, mode=Mode.vae, latent_dim=4, piece_latent_dim=2, encoder_layers=1)
    meaning = TokenMeaning.of(generator.codec.vocabulary.meaning())
    model = MusicTransformerVAEGAN(config, generator.codec.vocabulary.size, meaning)
    row = performance.measure_speed(Generator(model.eval(), generator.codec, programs_met=[0]), [2], 1, 1)[0]
    assert row.tokens > 0 and 0 < row.token_ms_p50 <= row.token_ms_p99 and row.first_note_ms > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_sizes": []}, r"batch_sizes=\[\]"),
        ({"batch_sizes": [4, 0]}, r"batch_sizes=\[4, 0\]"),
        ({"bars": 0}, "bars=0"),
        ({"rounds": 0}, "rounds=0"),
    ],
)
def test_what_cannot_be_measured_is_refused(generator: Generator, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message} is out of range; allowed"):
        performance.measure_speed(generator, **settings)


def test_a_model_weighs_its_parameters_and_its_file(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "tiny.ckpt"
    save_bundle(path, generator.model, generator.codec.to_dict(), {}, {})
    size = performance.model_size(generator, path)
    assert size.parameters == sum(each.numel() for each in generator.model.parameters())
    assert size.checkpoint_mb == path.stat().st_size / 2**20
    assert size.weights_mb >= 4 * size.parameters / 2**20


def test_the_peak_of_a_process_grows_with_what_it_holds() -> None:
    before = performance.peak_rss()
    assert before > 10
    block = torch.ones(int((before + 60) * 2**18))  # 4 bytes each: more than all before together
    assert performance.peak_rss() > before + 30 and len(block)


def test_the_peer_has_as_many_parameters_and_writes_as_many_tokens(generator: Generator) -> None:
    pytest.importorskip("transformers")
    size = generator.model.vocab_size
    write, parameters = huggingface(CONFIG, size, 20, 0.95)
    ours = MusicTransformerVAEGAN(
        ModelConfig(hidden_dim=32, layers=2, heads=2, context=21), size, TokenMeaning.unknown(size)
    )
    assert parameters == pytest.approx(ours.parameter_count, rel=0.05)
    assert write(3, 7) == 21
    (row,) = measure_peer(CONFIG, size, [(2, 12)], 0.95, rounds=1)
    assert (
        row["tokens"] == 24
        and row["tokens_per_second"] > 0
        and row["parameters"] == pytest.approx(parameters, rel=0.05)
    )
    assert matching_width(CONFIG, size) % 8 == 0


def test_a_peer_that_is_not_installed_says_how_to_get_it(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(AurlError, match=r"pip install \"aurl\[bench\]\""):
        measure_peer(CONFIG, generator.model.vocab_size, [(1, 2)], 0.95)


PROGRAM = """
import json, sys
asked = json.load(open(sys.argv[1]))
if asked["stage"] == "training":
    print("error: no such luck"); sys.exit(1)
block = bytearray(80 * 2**20)
import time; time.sleep(0.3)
found = {"what": asked["words"], "seconds": 1.0, "start_mb": 1.0, "peak_mb": 2.0, "peak_cuda_mb": None}
json.dump(found, open(sys.argv[2], "w"))
"""


def test_a_stage_is_watched_from_outside_and_its_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stage_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(stages, "MODULE", "stage_program")
    found = stages.measure_stage("data", {"words": "all"})
    assert (found["stage"], found["what"], found["peak_mb"]) == ("data", "all", 2.0)
    assert found["tree_mb"] > 80  # what the process really held
    with pytest.raises(AurlError, match="stages=training: no such luck"):
        stages.measure_stage("training", {"words": "all"})
