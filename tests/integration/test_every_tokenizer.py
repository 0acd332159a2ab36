"""Every tokenizer through the whole house: prepared, trained, scored, and a model's samples decode to music."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aurl.cli import app
from aurl.data.batching import IGNORED
from aurl.data.codec import Codec
from aurl.data.config import TOKENIZERS, DataConfig, Source, TokenizerConfig
from aurl.data.datamodule import MusicDataModule
from aurl.data.merging import MergedBatches, MergedStore, merge_batch
from aurl.data.prepare import prepare
from aurl.evaluation.likelihood import score_corpus
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.generation.prompt import make_prompt
from aurl.models.config import ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.utils.errors import AurlError

DATA = DataConfig(name="synth", source=Source.synth, pieces=8, batch_tokens=512, workers=1)
WITH_CHORDS = " with chords"
WAYS = [(kind, None) for kind in TOKENIZERS] + [
    ("remi with chords", None),
    ("remi with chords", "1600"),
    ("remi", "1400"),
    ("midi_like", "1300"),
    ("octuple", "1500"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def opened(kind: str, bpe: str | None, cache: Path, context: int = 128) -> MusicDataModule:
    chords = kind.endswith(WITH_CHORDS)
    kind = kind.removesuffix(WITH_CHORDS)
    tokenizer = TokenizerConfig(kind=kind, chords=chords, bpe=bpe, positions_per_beat=4, max_bars=64)
    data = MusicDataModule(DATA, tokenizer, cache, context, progress=False)
    data.setup()
    return data


def small_model(data: MusicDataModule) -> MusicTransformerVAEGAN:
    torch.manual_seed(0)
    hears = data.codec.tells_what_sounds
    config = ModelConfig(hidden_dim=16, layers=1, heads=2, context=128, hearing=hears, dropout=0.0)
    return MusicTransformerVAEGAN(
        config, data.codec.size, TokenMeaning.of(data.codec.vocabulary.meaning()) if hears else None
    )


@pytest.mark.parametrize(("kind", "bpe"), WAYS)
def test_a_model_learns_is_scored_and_writes_whole_music(kind: str, bpe: str | None, cache: Path) -> None:
    data = opened(kind, bpe, cache)
    model = small_model(data)
    optimiser = torch.optim.Adam(model.parameters(), 0.03)
    losses = []
    for _ in range(2):
        for batch in list(data.train_dataloader())[:6]:
            output = model(batch.ids, MusicalTime(batch.index, batch.beat, batch.bar), batch.lengths)
            loss = torch.nn.functional.cross_entropy(output.logits, batch.targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    numbers = data.store.split("test")
    store = data.store if bpe is None else MergedStore(data.store, data.codec.merges, numbers)
    result = score_corpus(model, store, context=128, split="test")
    assert result.notes == sum(data.store.pieces[number].notes for number in numbers)
    assert result.nats_per_note < np.log(data.codec.size) * result.tokens / result.notes
    generator = Generator(model, Codec.from_dict(data.codec.to_dict()), programs_met=data.programs_met())
    score = data.codec.decode(data.store.ids(numbers[0]))
    prompt = make_prompt(score, generator.codec, bars=2, programs_met=generator.programs_met)
    request = GenerationRequest(
        sampler=SamplerConfig(top_p=0.95), num_samples=2, bars=3, prompt=prompt.ids, seed=3, max_bar_tokens=64
    )
    samples = generator.generate(request)
    for sample in samples:
        assert sample.notes == data.codec.vocabulary.count_notes(sample.ids) > prompt.notes
        assert sample.ids[: len(prompt.ids)].tolist() == prompt.ids.tolist()
    alone = generator.generate(
        GenerationRequest(
            sampler=SamplerConfig(top_p=0.95), num_samples=1, bars=3, prompt=prompt.ids, seed=4, max_bar_tokens=64
        )
    )
    assert alone[0].ids.tolist() == samples[1].ids.tolist(), "a sample depends on its own seed alone"


@pytest.mark.parametrize("kind", ["remi", "midi_like"])
def test_merged_batches_hold_the_same_music(kind: str, cache: Path) -> None:
    plain, merged = opened(kind, None, cache), opened(kind, "1300", cache)
    assert isinstance(merged.train_dataloader(), MergedBatches)
    assert plain.store.folder == merged.store.folder, "base ids are prepared once"
    codec = merged.codec
    for batch in list(plain.train_dataloader())[:3]:
        result = merge_batch(batch, codec.merges)
        assert len(result.ids) < len(batch.ids)
        start = base_start = 0
        for length, base_length in zip(result.lengths, batch.lengths, strict=True):
            own, base = slice(start, start + length), slice(base_start, base_start + base_length)
            whole = np.append(result.ids[own].numpy(), result.targets[own][-1].item())
            assert codec.expand(whole).tolist() == [*batch.ids[base].tolist(), int(batch.targets[base][-1])]
            assert (np.diff(result.beat[own].numpy()) >= 0).all()
            assert result.index[own].tolist() == list(range(length))
            start, base_start = start + length, base_start + base_length
        assert set(result.beat.tolist()) <= set(batch.beat.tolist())
    assert merged.train_dataloader().state_dict() == {"epoch": 0, "drawn": 0}


def test_windows_begin_at_bar_lines_where_bars_have_no_tokens(cache: Path) -> None:
    data = opened("tsd", None, cache, context=100)
    plan = data.train_dataloader().plan
    inside = [window for window in plan.windows(0) if window.start > 0]
    assert inside
    bars = [data.store.bars(window.piece)[window.start - 1 : window.start + 1] for window in inside]
    at_lines = [pair[1] > pair[0] for pair in bars]
    assert np.mean(at_lines) > 0.8, "but for bars longer than the context"


def test_a_file_of_learned_tokens_for_another_tokenizer_is_refused(cache: Path, tmp_path: Path) -> None:
    from aurl.utils.files import atomic_write_json

    file = tmp_path / "tokens.json"
    atomic_write_json(file, opened("tsd", "1300", cache).codec.to_dict())
    assert opened("tsd", str(file), cache).codec.size > opened("tsd", None, cache).codec.size
    with pytest.raises(AurlError, match=r"tokenizer\.bpe=.*tokens\.json was made for other tokenizer settings"):
        opened("remi", str(file), cache)
    with pytest.raises(AurlError, match=r"tokenizer\.bpe=nowhere\.json cannot be read"):
        opened("remi", "nowhere.json", cache)
    with pytest.raises(AurlError, match=r"tokenizer\.bpe=12 is out of range"):
        opened("remi", "12", cache)


def test_a_wrong_number_of_tokens_is_refused_before_a_corpus_is_prepared(tmp_path: Path) -> None:
    with pytest.raises(AurlError, match=r"tokenizer\.bpe=12 is out of range"):
        opened("remi", "12", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_tokens_are_learned_anew_where_other_pieces_are_chosen(cache: Path) -> None:
    tokenizer = TokenizerConfig(bpe="1300", positions_per_beat=4)
    found = []
    for where in (None, "meter == '3/4'"):
        data = MusicDataModule(replace(DATA, pieces=24, where=where), tokenizer, cache, 128, progress=False)
        data.setup()
        found.append((len(data.store.split("train")), data.codec))
    (count, codec), (fewer, other) = found
    assert 0 < fewer < count and not codec.has_ids_of(other)


def test_a_segment_that_is_all_context_has_no_targets_when_merged(cache: Path) -> None:
    data = opened("remi", "1300", cache)
    batch = next(iter(data.train_dataloader().loader))
    targets = batch.targets.clone()
    targets[: batch.lengths[0]] = IGNORED
    merged = merge_batch(batch._replace(targets=targets), data.codec.merges)
    assert (merged.targets[: merged.lengths[0]] == IGNORED).all()
    assert (merged.targets[merged.lengths[0] :] != IGNORED).any() or len(batch.lengths) == 1
    assert data.codec.expand(merged.ids[: merged.lengths[0]].numpy()).tolist() == batch.ids[: batch.lengths[0]].tolist()


@pytest.mark.parametrize(("kind", "bpe"), [("tsd", None), ("remi", "1301"), ("remi", None)])
def test_a_run_is_not_continued_with_other_tokens(kind: str, bpe: str | None, cache: Path) -> None:
    from aurl.training.config import OptimConfig
    from aurl.training.module import MusicModule

    begun, now = opened("remi", "1300", cache), opened(kind, bpe, cache)
    module = MusicModule(small_model(now), now.codec, OptimConfig())
    with pytest.raises(AurlError, match="begun with other tokens than these"):
        module.on_load_checkpoint({"aurl": {"tokenizer": begun.codec.to_dict()}})


def test_octuple_counts_what_its_bars_cannot_hold(cache: Path) -> None:
    tokenizer = TokenizerConfig(kind="octuple", positions_per_beat=4, max_bars=4)
    store = prepare(DATA, tokenizer, cache, progress=False)
    assert store.meta["changes"]["notes_after_last_bar"] > 0
    assert max(int(store.bars(number).max()) for number in range(len(store.pieces))) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bpe"), WAYS)
def test_the_commands_train_and_write_music(
    kind: str, bpe: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from symusic import Score

    from aurl.cli import generate, train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["aurl"])
    monkeypatch.setenv("AURL_CACHE", str(tmp_path / "cache"))
    settings = ["data=synth", "data.pieces=20", "model/size=tiny", "trainer=smoke", "logger=none"]
    settings += [f"tokenizer={kind.removesuffix(WITH_CHORDS)}", f"tokenizer.chords={kind.endswith(WITH_CHORDS)}"]
    settings += [] if bpe is None else [f"tokenizer.bpe={bpe}", "tokenizer.max_bars=64"]
    assert app.execute("train", train.train, settings) == 0
    # No sound: a model of two batches may write drum keys that no sound font has.
    assert app.execute("generate", generate.generate, ["ckpt=last", "bars=4", "output=out", "formats=[midi,png]"]) == 0
    written = list(Path("out").glob("*.mid"))
    assert written
    assert all(Score(midi).note_num() > 0 for midi in written)
