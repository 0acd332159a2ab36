"""Arrays beside the tokens reach the batch: right row, moved with the music, in every loader."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from symusic.core import ScoreTick

from aurl.data import synth
from aurl.data.aligned import Level, RowTimes, compute, provider
from aurl.data.augmentation.config import (
    AugmentConfig,
    HumanizeConfig,
    StretchConfig,
    StretchOf,
    SwingConfig,
    TransposeConfig,
)
from aurl.data.batching import PackedBatch, TrainingBatches, TrainingPlan
from aurl.data.codec import Codec
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.datamodule import MusicDataModule
from aurl.data.encoding import Encoded, encode_piece, from_entry, to_entry
from aurl.data.evaluation_batches import EvaluationBatches
from aurl.data.harmony import HEARD, WITH_SYMBOLS, estimated_key
from aurl.data.prepare import prepare
from aurl.data.reading import ReadPiece
from aurl.data.store import TokenStore
from aurl.music.abc import abc_to_score
from aurl.music.chord_arrays import chord_arrays
from aurl.music.chord_sources import chord_symbols
from aurl.music.chord_symbols import lead_sheet, parse_lead_sheet
from aurl.music.score import read_score
from aurl.utils.errors import AurlError, UnreadableFile

NAMES = ["chords", "key", "beat_chroma", "bar_onset_roll", "beat_drum_onset_roll", "bar_polyphony", "onset_density"]
TUNES = 6
CONTEXT = 256
TUNE = 'X:1\nL:1/4\nM:3/4\nK:G\n"G"GBd|"Em"egb|"Am7"ace|"D7/F#"fad|"C"ceg|"N.C."z3|"D7"d2c|"G"B3|'
TRANSPOSED = TransposeConfig(semitones=[-5, 6])
MOVED: dict[str, Any] = {
    "transpose": TRANSPOSED,
    "swing": SwingConfig(probability=1.0),
    "humanize": HumanizeConfig(probability=1.0, timing=0.1),
}
STRETCHED: dict[str, Any] = MOVED | {"stretch": StretchConfig(probability=1.0, of=StretchOf.notes)}


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up songs with drums as MIDI, and a tune with chord symbols."""
    folder = tmp_path_factory.mktemp("music")
    for number in range(TUNES):
        synth.compose(3, number)[0].dump_midi(folder / f"{number}.mid")
    (folder / "tune.abc").write_text(TUNE)
    return folder


@pytest.fixture(scope="module")
def data(music: Path) -> DataConfig:
    return DataConfig(
        name="mine", source=Source.folder, path=str(music), features=NAMES, valid_share=0.2, test_share=0.0, workers=1
    )


@pytest.fixture(scope="module")
def store(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return prepare(data, TokenizerConfig(), tmp_path_factory.mktemp("cache"), progress=False)


def plan_of(store: TokenStore, pieces: list[int], features: list[str] = NAMES, **augment: Any) -> TrainingPlan:
    vocabulary = Codec.from_dict(store.tokenizer).vocabulary
    config = AugmentConfig(**({"transpose": TransposeConfig(probability=0.0)} | augment))
    return TrainingPlan(store, pieces, vocabulary, CONTEXT, 1000, config, 0, 0.0, features)


def transposed(score: ScoreTick, semitones: int) -> ScoreTick:
    """The music itself in another key: pitches and the chord symbols in its markers; drums stay."""
    score = score.copy()
    for track in score.tracks:
        if not track.is_drum:
            for note in track.notes:
                note.pitch += semitones
    for marker in score.markers if chord_symbols(score) is not None else []:
        chord = parse_lead_sheet(marker.text)
        marker.text = lead_sheet(chord.transposed(semitones))
    return score


def check_rows(store: TokenStore, batch: PackedBatch) -> int:
    """Every row of the batch against what its provider makes of the transposed music; how many segments moved."""
    codec, start = Codec.from_dict(store.tokenizer), 0
    assert batch.source is not None and set(batch.features) == set(NAMES)
    for piece, shift, length in zip(batch.origins, batch.shifts, batch.lengths, strict=True):
        fitted, _ = codec.prepare_score(read_score(Path(store.pieces[piece].path)))
        beats, bars = store.beats(piece), store.bars(piece).astype(np.int32)
        grid = RowTimes.of(beats, bars, store.pieces[piece].beats)
        source = batch.source.numpy()[start : start + length]
        for name in NAMES:
            kind = provider(name)
            own = compute(kind, transposed(fitted, shift), grid)
            at = np.minimum((beats if kind.level is Level.beat else bars)[source].astype(int), len(own) - 1)
            given = batch.features[name].numpy()[start : start + length]
            np.testing.assert_allclose(given.astype(float), own[at].astype(float), atol=1e-3, err_msg=name)
        start += length
    assert start == len(batch.ids)
    return int(np.count_nonzero(batch.shifts))


@pytest.mark.parametrize(
    "augment", [{}, {"transpose": TRANSPOSED}, MOVED, STRETCHED], ids=["as is", "key", "time", "all"]
)
def test_rows_of_a_batch_are_those_of_the_transposed_music(store: TokenStore, augment: dict[str, Any]) -> None:
    plan = plan_of(store, list(range(len(store))), **augment)
    moved = sum(check_rows(store, plan.collate(windows, 1)) for windows in plan.epoch(1))
    assert bool(moved) == bool(augment)


@pytest.mark.parametrize(
    ("corpus", "kind"), [("jsb-chorales", "*.mid"), ("multitrack-free", "*.mid"), ("nottingham", "*.abc")]
)
def test_rows_of_real_music_move_with_it(
    corpora: Callable[[str], Path], tmp_path: Path, corpus: str, kind: str
) -> None:
    for number, path in enumerate(islice(sorted(corpora(corpus).rglob(kind)), 3)):
        text_or_midi = tmp_path / "music" / f"{number}{path.suffix}"
        text_or_midi.parent.mkdir(exist_ok=True)
        shutil.copy(path, text_or_midi)
    data = DataConfig(name="real", source=Source.folder, path=str(tmp_path / "music"), features=NAMES, workers=1)
    store = prepare(data, TokenizerConfig(), tmp_path / "cache", progress=False)
    plan = plan_of(store, list(range(min(len(store), 4))), **MOVED)
    assert sum(check_rows(store, plan.collate(windows, 0)) for windows in islice(plan.epoch(0), 4))


def test_symbols_in_a_file_win_and_are_counted(store: TokenStore) -> None:
    tune = next(number for number, piece in enumerate(store.pieces) if piece.path.endswith("tune.abc"))
    score = read_score(Path(store.pieces[tune].path))
    assert store.aligned("chords", tune).tolist() == chord_arrays(score, np.arange(24.0)).tolist()
    assert store.aligned("chords", tune)[9].tolist() == [2, 7, 6], "D7/F#"
    assert store.meta["preprocessed"][WITH_SYMBOLS] == 1 and store.meta["preprocessed"][HEARD] == TUNES
    assert set(store.aligned("key", tune).tolist()) == {estimated_key(score)} and len(store.aligned("key", tune)) == 8


def test_a_key_needs_pitches() -> None:
    assert estimated_key(ScoreTick(480)) == -1
    assert estimated_key(abc_to_score("X:1\nL:1/4\nK:C\nCDEF|GABc|GECG|")) == 0


def test_evaluation_batches_bring_their_rows_along(store: TokenStore) -> None:
    batches = EvaluationBatches(store, range(len(store)), CONTEXT, 600, features=NAMES)
    assert len(batches) > 2 and not any(check_rows(store, batch) for batch in batches)
    assert next(iter(EvaluationBatches(store, range(2), CONTEXT, 600))).features == {}


def test_ranks_together_get_the_rows_of_one_and_a_resumed_loader_goes_on_with_them(store: TokenStore) -> None:
    def plan() -> TrainingPlan:
        return plan_of(store, list(range(len(store))), **MOVED)

    alone = list(TrainingBatches(plan()))
    shared = [list(TrainingBatches(plan(), rank, 2)) for rank in range(2)]
    whole = len(alone) // 2 * 2
    for number, batch in enumerate(alone[:whole]):
        for name in NAMES:
            assert torch.equal(shared[number % 2][number // 2].features[name], batch.features[name])
    for batch in alone[whole:]:  # the ranks share it
        for name in NAMES:
            rows = torch.cat([rank[-1].features[name] for rank in shared])
            assert torch.equal(rows.double().sum(0), batch.features[name].double().sum(0))
    broken_off, resumed = TrainingBatches(plan()), TrainingBatches(plan())
    next(iter(broken_off))
    resumed.load_state_dict(broken_off.state_dict())
    assert torch.equal(next(iter(resumed)).features["chords"], alone[1].features["chords"])


def test_the_loaders_of_training_bring_what_data_features_names(
    data: DataConfig, store: TokenStore, tmp_path: Path
) -> None:
    named = replace(data, features=["chords", "bar_density", "beat_piano_roll"])
    module = MusicDataModule(named, TokenizerConfig(), tmp_path, CONTEXT, progress=False)
    module.setup()
    for loader in (module.train_dataloader(), module.val_dataloader()):
        batch = next(iter(pickle.loads(pickle.dumps(loader))))
        tokens = len(batch.ids)
        assert {name: (tuple(rows.shape), rows.dtype) for name, rows in batch.features.items()} == {
            "chords": ((tokens, 3), torch.int8),
            "bar_density": ((tokens,), torch.int32),
            "beat_piano_roll": ((tokens, 128), torch.uint8),
        }


@pytest.mark.parametrize("kind", ["tsd", "midi_like", "octuple"])
def test_other_tokenizers_bring_their_rows_along(data: DataConfig, tmp_path: Path, kind: str) -> None:
    store = prepare(data, TokenizerConfig(kind=kind), tmp_path, progress=False)
    plan = plan_of(store, list(range(len(store))), transpose=TRANSPOSED)
    assert sum(check_rows(store, plan.collate(windows, 0)) for windows in plan.epoch(0))


def test_learned_tokens_have_the_rows_of_their_first_parts(data: DataConfig, store: TokenStore, tmp_path: Path) -> None:
    loaders = []
    for bpe in (None, "1200"):
        module = MusicDataModule(data, TokenizerConfig(bpe=bpe), tmp_path, CONTEXT, progress=False)
        module.setup()
        loaders.append((module.train_dataloader(), module.val_dataloader()))
    (base, _), (merged, scored) = loaders
    for plain, short in zip(base, merged, strict=True):
        assert len(short.ids) < len(plain.ids) and short.source is not None and plain.source is not None
        where = {place: row for row, place in enumerate(zip(plain.source.tolist(), segments(plain), strict=True))}
        at = [where[place] for place in zip(short.source.tolist(), segments(short), strict=True)]
        for name in NAMES:
            assert torch.equal(short.features[name], plain.features[name][at]), name
    assert all(len(batch.features["chords"]) == len(batch.ids) for batch in scored)


def segments(batch: PackedBatch) -> list[int]:
    """Segment of each token."""
    return [number for number, length in enumerate(batch.lengths) for _ in range(length)]


def test_an_array_that_the_corpus_lacks_is_said_in_one_line(store: TokenStore) -> None:
    with pytest.raises(
        AurlError, match=r"has no feature 'bar_chroma' \(it has: .*chords.*\); add it to data\.features"
    ):
        plan_of(store, [0], ["bar_chroma"])


def test_a_piece_is_encoded_with_its_arrays_or_refused_with_the_name_of_one() -> None:
    codec, read = Codec.from_config(TokenizerConfig()), ReadPiece(abc_to_score(TUNE), np.zeros(0, np.uint64))
    encoded = encode_piece("tune", read, codec, [provider("chords"), provider("bar_chroma")])
    again = from_entry(to_entry(encoded))
    assert isinstance(again, Encoded) and again.known["counts"] == {WITH_SYMBOLS: 1}
    assert again.features["chords"].tolist() == encoded.features["chords"].tolist()
    assert encoded.features["bar_chroma"].shape == (8, 12) and encode_piece("tune", read, codec).features == {}

    def fail(score: ScoreTick, grid: RowTimes) -> np.ndarray:
        raise AurlError("no")

    with pytest.raises(UnreadableFile, match=r"^tune: data\.features=chords cannot be computed: no$"):
        encode_piece("tune", read, codec, [provider("onset_density"), replace(provider("chords"), compute=fail)])


def test_a_piece_too_long_for_its_arrays_is_left_out_with_the_reason(tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    tune = synth.compose(0, 0)[0]
    tune.dump_midi(music / "short.mid")
    tune.tracks[0].notes[-1].time = 100_001 * tune.ticks_per_quarter
    tune.dump_midi(music / "long.mid")
    data = DataConfig(name="long", source=Source.folder, path=str(music), features=["chords"], workers=1)
    store = prepare(data, TokenizerConfig(), tmp_path / "cache", progress=False)
    (left_out,) = store.skipped
    assert left_out["path"].endswith("long.mid")
    expected = r"data\.features=chords cannot be computed: \d+ beats are too many for data\.features; allowed: 100000"
    assert re.fullmatch(expected, left_out["reason"])
