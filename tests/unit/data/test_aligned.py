"""Arrays beside the tokens: computed with a corpus, checked, and found again row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpora import make_music
from symusic.core import NoteTick, ScoreTick, TrackTick

from aurl.data.aligned import Level, Provider, RowTimes, check_features, compute, onset_density, provider
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.prepare import prepare


def test_onsets_of_each_beat_lie_beside_the_tokens_of_a_corpus(tmp_path: Path) -> None:
    data = replace(make_music(tmp_path / "music", 3), features=["onset_density"])
    store = prepare(data, TokenizerConfig(), tmp_path / "cache", progress=False)
    for piece, record in enumerate(store.pieces):
        rows = store.aligned("onset_density", piece)
        assert rows.shape == (int(np.ceil(record.beats)),) and rows.dtype == np.float32
        assert rows.tolist() == [2.0] * 12, "eighths: two notes a beat"


def test_features_of_made_up_music_add_up(tmp_path: Path) -> None:
    data = DataConfig(name="synth", source=Source.synth, pieces=4, features=["onset_density"], workers=1)
    store = prepare(data, TokenizerConfig(), tmp_path, progress=False)
    assert [int(store.aligned("onset_density", i).sum()) for i in range(4)] == [piece.notes for piece in store.pieces]


def test_rows_of_a_grid() -> None:
    grid = RowTimes.of(np.array([0, 0, 3, 6.5], np.float32), np.array([0, 0, 1, 3], np.int32), 7.2)
    assert grid.beats.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert grid.bars.tolist() == [0, 3, 6.5, 6.5], "bar 2 has no token"
    assert [grid.rows(level) for level in Level] == [4, 8, 4]


def test_an_array_of_another_shape_than_declared_is_refused() -> None:
    grid = RowTimes.of(np.zeros(2, np.float32), np.zeros(2, np.int32), 3.0)
    wrong = Provider("wrong", Level.bar, "<f4", (2,), lambda score, grid: np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"feature wrong has shape \(3, 2\) instead of \(1, 2\)"):
        compute(wrong, ScoreTick(480), grid)


def test_density_counts_the_notes_of_all_tracks() -> None:
    score = ScoreTick(10)
    for _ in range(2):
        track = TrackTick("", 0, False)
        for time in (0, 5, 25):
            track.notes.append(NoteTick(time, 5, 60, 80))
        score.tracks.append(track)
    grid = RowTimes.of(np.zeros(1, np.float32), np.zeros(1, np.int32), 3.0)
    assert compute(onset_density, score, grid).tolist() == [4, 0, 2]


def test_unknown_features_are_named() -> None:
    assert provider("onset_density") is onset_density
    with pytest.raises(ValueError, match=r"data.features: there is no 'melody'; allowed: .*onset_density"):
        check_features(["melody"])
    with pytest.raises(ValueError, match="names an array twice"):
        check_features(["onset_density", "onset_density"])
