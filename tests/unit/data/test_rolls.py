"""Features of the music room are stored beside the tokens, row for row with their beats and bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from score_strategies import make_score

from aurl.data import rolls
from aurl.data.aligned import PROVIDERS, Level, RowTimes, compute, provider
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.prepare import prepare
from aurl.data.sources import list_pieces, load_piece
from aurl.music.features import FEATURES, compute_feature

NAMES = ["beat_piano_roll", "beat_chroma", "bar_density", "bar_drum_density", "bar_polyphony"]


def test_every_feature_is_there_at_both_levels_with_its_type_and_shape():
    for name, feature in FEATURES.items():
        for level in ("beat", "bar"):
            found = provider(f"{level}_{name}")
            assert (found.name, found.level.value, found.dtype) == (f"{level}_{name}", level, feature.dtype.str)
            assert found.shape == feature.shape(7)[1:]
    assert set(PROVIDERS) == {"onset_density", "chords", "key", "bar_attributes", *rolls.ROLLS}
    with pytest.raises(AttributeError, match="no attribute 'beat_melody'"):
        _ = rolls.beat_melody


def test_a_prepared_corpus_has_the_rows_of_its_beats_and_bars(tmp_path: Path):
    data = DataConfig(name="synth", source=Source.synth, pieces=4, features=NAMES, workers=1)
    store = prepare(data, TokenizerConfig(), tmp_path, progress=False)
    pieces = {piece.id: piece for piece in list_pieces(data)}
    for number, record in enumerate(store.pieces):
        score = load_piece(pieces[record.id])
        bars = int(store.bars(number).max()) + 1
        assert store.aligned("beat_piano_roll", number).shape[1:] == (128,)
        strokes, notes = (int(store.aligned(f"bar_{name}", number).sum()) for name in ("drum_density", "density"))
        assert strokes + notes == record.notes
        for name in NAMES:
            level, _, feature = name.partition("_")
            own = compute_feature(feature, score, level)[: bars if level == "bar" else None]
            np.testing.assert_array_equal(store.aligned(name, number), own)


def test_the_last_bar_has_the_length_of_its_metre_and_bars_without_time_stay_empty():
    score = make_score([(0, [(0, 3, 60, 64), (3, 4, 62, 64)])], metres=((0, 3, 4), (3, 4, 4)))
    grid = RowTimes(np.zeros(2, np.float32), np.arange(2, dtype=np.int32), np.arange(7.0), np.array([0.0, 3.0]))
    assert compute(provider("bar_polyphony"), score, grid).tolist() == [1, 1]
    twice = RowTimes(np.zeros(3, np.float32), np.arange(3, dtype=np.int32), np.arange(7.0), np.array([0.0, 3.0, 3.0]))
    assert compute(provider("bar_density"), score, twice).tolist() == [1, 0, 1]
    assert provider("bar_density").level is Level.bar
