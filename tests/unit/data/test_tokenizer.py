"""TrackREMI is stock REMI plus track identity, and survives being saved."""

from __future__ import annotations

import json

import miditok
import numpy as np
import pytest
from score_strategies import make_score

from aurl.data.config import TokenizerConfig
from aurl.data.tokenizer import METRES, TrackREMI, build_tokenizer, miditok_config, track_numbers

VOICES = [(52, [(0, 1, pitch, 80)]) for pitch in (72, 67, 60, 48)]


@pytest.fixture(scope="module")
def tokenizer() -> TrackREMI:
    return build_tokenizer(TokenizerConfig())


def test_the_stock_vocabulary_comes_first_with_the_same_ids(tokenizer):
    stock = miditok.REMI(miditok_config(TokenizerConfig()))
    assert list(tokenizer.vocab)[: len(stock)] == list(stock.vocab)
    assert {tokenizer[token] for token in stock.vocab} == set(range(len(stock)))


def test_voices_of_one_program_get_tokens_of_their_own(tokenizer):
    tokens = tokenizer(make_score(VOICES)).tokens
    pairs = [(t, tokens[i + 1]) for i, t in enumerate(tokens) if t.startswith("Program")]
    assert pairs == [
        ("Program_52", "Pitch_72"),
        ("Program_52.1", "Pitch_67"),
        ("Program_52.2", "Pitch_60"),
        ("Program_52.3", "Pitch_48"),
    ]


def test_without_repeated_programs_ids_equal_stock_remi(tokenizer):
    stock = miditok.REMI(miditok_config(TokenizerConfig()))
    score = make_score([(0, [(0, 1, 60, 80), (1, 2, 64, 30)]), (73, [(0, 1, 90, 80)]), (-1, [(0.5, 0.1, 38, 100)])])
    assert tokenizer(score).ids == stock(score).ids


def test_tracks_beyond_the_last_number_share_it():
    tokenizer = build_tokenizer(TokenizerConfig(tracks_per_program=2))
    programs = [t for t in tokenizer(make_score(VOICES)).tokens if t.startswith("Program")]
    assert programs == ["Program_52", "Program_52.1", "Program_52.1", "Program_52.1"]
    assert track_numbers(make_score(VOICES).tracks, 4) == [0, 1, 2, 3]


def test_one_track_per_program_leaves_the_stock_vocabulary():
    config = TokenizerConfig(tracks_per_program=1)
    assert build_tokenizer(config).vocab == miditok.REMI(miditok_config(config)).vocab


def test_it_saves_and_loads_as_miditok_does(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = TrackREMI(params=tmp_path / "tokenizer.json")
    again = TrackREMI.from_params(json.loads(json.dumps(tokenizer.to_dict())))
    assert loaded.vocab == again.vocab == tokenizer.vocab
    assert loaded(make_score(VOICES)).ids == tokenizer(make_score(VOICES)).ids


@pytest.mark.parametrize("metre", [(2, 2), (3, 2), (9, 8), (6, 4), (3, 16), (15, 8), (10, 4)])
def test_metres_outside_the_default_list_have_tokens(tokenizer, metre):
    assert f"TimeSig_{metre[0]}/{metre[1]}" in tokenizer.vocab


@pytest.mark.parametrize("fine", [1, 3, 4, 5, 6, 8, 12, 24])
def test_every_grid_builds_and_encodes_every_metre(fine):
    tokenizer = build_tokenizer(TokenizerConfig(positions_per_beat=fine))
    metres = [(n, d) for d, counts in METRES.items() for n in counts]
    assert set(tokenizer.time_signatures) <= set(metres)
    for numerator, denominator in tokenizer.time_signatures:
        score = make_score(VOICES, metres=((0, numerator, denominator),))
        assert tokenizer(score).tokens[1] == f"TimeSig_{numerator}/{denominator}"


def test_positions_reach_the_end_of_the_longest_bar(tokenizer):
    positions = [int(t.split("_")[1]) for t in tokenizer.vocab if t.startswith("Position")]
    assert max(positions) + 1 == 8 * max(max(counts) for counts in METRES.values())
    assert len(tokenizer) <= np.iinfo(np.uint16).max


def test_a_range_of_one_pitch_is_refused():
    with pytest.raises(ValueError, match=r"tokenizer\.pitch_range=\[60, 61\]"):
        build_tokenizer(TokenizerConfig(pitch_range=[60, 61]))
