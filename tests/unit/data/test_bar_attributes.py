"""Attributes of bars lie beside the tokens and move with their transposition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from score_strategies import make_score

from aurl.data.aligned import RowTimes, compute, provider
from aurl.data.batch_features import FeatureReader
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.prepare import prepare
from aurl.data.sources import list_pieces, load_piece
from aurl.music.attributes import ATTRIBUTES, bar_attributes
from aurl.music.grid import grid_of

MEAN_PITCH = ATTRIBUTES.index("mean_pitch")


def test_a_prepared_corpus_and_its_batches_have_the_attributes_of_their_bars(tmp_path: Path):
    data = DataConfig(name="synth", source=Source.synth, pieces=3, features=["bar_attributes"], workers=1)
    store = prepare(data, TokenizerConfig(), tmp_path, progress=False)
    pieces = {piece.id: piece for piece in list_pieces(data)}
    reader = FeatureReader(store, ["bar_attributes"])
    for number, record in enumerate(store.pieces):
        score = load_piece(pieces[record.id])
        own = bar_attributes(score, grid_of(score, "bar").edges)
        stored = store.aligned("bar_attributes", number)
        np.testing.assert_allclose(stored, own[: len(stored)], rtol=1e-5, atol=1e-5)
        tokens = np.arange(20, 60)
        rows = reader(tokens, [len(tokens)], [number], [3])["bar_attributes"].numpy()
        expected = stored[store.bars(number)[tokens]].copy()
        expected[:, MEAN_PITCH] += 3
        np.testing.assert_array_equal(rows, expected)


def test_a_bar_without_time_of_its_own_has_no_attributes():
    score = make_score([(0, [(0, 3, 60, 64), (3, 4, 62, 64)])], metres=((0, 3, 4), (3, 4, 4)))
    grid = RowTimes(np.zeros(3, np.float32), np.arange(3, dtype=np.int32), np.arange(7.0), np.array([0.0, 3.0, 3.0]))
    found = compute(provider("bar_attributes"), score, grid)
    assert np.isnan(found[1]).all()
    assert found[[0, 2], MEAN_PITCH].tolist() == [60, 62]
