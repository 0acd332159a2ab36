"""The fast encoder gives miditok's ids, the decoder gives back what was encoded, and what has no token is counted."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import miditok
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_strategies import make_score, scores
from symusic import Score

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.fitting import nearest_metre
from aurl.data.tokenizer import miditok_config
from aurl.data.vocabulary import Kind
from aurl.utils.errors import AurlError

CODEC = Codec.from_config(TokenizerConfig())
STOCK = miditok.REMI(miditok_config(TokenizerConfig()))
OTHER_GRIDS = [
    Codec.from_config(TokenizerConfig(positions_per_beat=12, velocities=8, tracks_per_program=2)),
    Codec.from_config(TokenizerConfig(positions_per_beat=4, max_duration_beats=3, tempos=8, pitch_range=[0, 128])),
    Codec.from_config(TokenizerConfig(positions_per_beat=5, tracks_per_program=1)),
]
FILES_PER_CORPUS = 8


def ids(*tokens: str) -> np.ndarray:
    return np.array([CODEC.vocabulary.index[token] for token in tokens])


def notes_of(score) -> list[list[tuple[int, int, int]]]:
    return [sorted((n.time, n.duration, n.pitch) for n in track.notes) for track in score.tracks]


def sample(folder: Path) -> list[Path]:
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [folder / json.loads(line)["path"] for line in lines[:: max(len(lines) // FILES_PER_CORPUS, 1)]]


def repeats_a_program(score) -> bool:
    programs = [-1 if track.is_drum else track.program for track in score.tracks]  # stock REMI merges empty ones too
    return len(set(programs)) < len(programs)


@settings(max_examples=100, deadline=None)
@given(scores(odd_metres=True))
def test_ids_are_those_of_the_tokenizer_for_any_score(score):
    fast = CODEC.encode(score)
    assert fast.dtype == np.uint16
    assert fast.tolist() == CODEC.tokenizer(score).ids
    if not repeats_a_program(score):
        assert fast.tolist() == STOCK(score).ids


@settings(max_examples=60, deadline=None)
@given(scores(odd_metres=True), st.sampled_from(OTHER_GRIDS))
def test_ids_are_those_of_the_tokenizer_under_other_settings(score, codec):
    assert codec.encode(score).tolist() == codec.tokenizer(score).ids


@settings(max_examples=100, deadline=None)
@given(scores(odd_metres=True), st.sampled_from([CODEC, *OTHER_GRIDS]))
def test_decoding_is_the_exact_inverse_of_encoding(score, codec):
    score, _ = codec.prepare_score(score)
    written = codec.encode(score)
    assert np.array_equal(codec.encode(codec.decode(written, cut_overlaps=False)), written)


@settings(max_examples=80, deadline=None)
@given(scores())
def test_cutting_overlaps_settles_after_one_round(score):
    score, _ = CODEC.prepare_score(score)
    once = CODEC.decode(CODEC.encode(score))
    again = CODEC.decode(CODEC.encode(once))
    assert notes_of(again) == notes_of(once)
    assert np.array_equal(CODEC.encode(once), CODEC.encode(again))


@settings(max_examples=80, deadline=None)
@given(scores())
def test_a_decoded_score_survives_midi_note_by_note(score):
    decoded = CODEC.decode(CODEC.encode(score))
    read = Score.from_midi(decoded.dumps_midi())
    assert notes_of(read) == notes_of(decoded)
    for track in notes_of(decoded):
        for pitch in {note[2] for note in track}:
            own = [note for note in track if note[2] == pitch]
            assert all(a[0] + a[1] <= b[0] for a, b in pairwise(own))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, CODEC.vocabulary.size - 1), max_size=80))
def test_any_sequence_of_ids_decodes(sequence):
    decoded = CODEC.decode(sequence, cut_overlaps=False)
    assert decoded.note_num() == CODEC.vocabulary.count_notes(
        [i for i in sequence if CODEC.vocabulary.kind[i] > Kind.EOS]
    )
    assert CODEC.decode(sequence).note_num() <= decoded.note_num()


@pytest.mark.parametrize("name", ["jsb-chorales", "nottingham", "multitrack-free", "groove", "openscore", "pop909"])
def test_real_music_gets_the_same_ids_and_comes_back(corpora, name):
    for path in sample(corpora(name)):
        score = Score(path)
        written = CODEC.encode(score)
        if score.note_num() < 2500:  # the slow path takes seconds on an orchestra
            assert written.tolist() == CODEC.tokenizer(score).ids, path
            if not repeats_a_program(score):
                assert written.tolist() == STOCK(score).ids, path
        fitted, _ = CODEC.prepare_score(score)
        written = CODEC.encode(fitted)
        assert np.array_equal(CODEC.encode(CODEC.decode(written, cut_overlaps=False)), written), path


def test_chorale_voices_come_back_in_their_order_even_if_the_soprano_enters_last():
    voices = [(52, [(4 - k, 1, 72 - 5 * k, 80), (5, 1, 74 - 5 * k, 80)]) for k in range(4)]
    decoded = CODEC.decode(CODEC.encode(make_score(voices)))
    assert [max(n.pitch for n in track.notes) for track in decoded.tracks] == [74, 69, 64, 59]
    assert [track.name for track in decoded.tracks] == [f"Choir Aahs {k}" for k in (1, 2, 3, 4)]


def test_tracks_of_many_programs_keep_their_order():
    tracks = [(73, [(2, 1, 80, 80)]), (-1, [(0, 1, 38, 80), (2, 1, 38, 80)]), (0, [(2, 1, 60, 80)])]
    decoded = CODEC.decode(CODEC.encode(make_score(tracks)))
    assert [(track.program, track.is_drum) for track in decoded.tracks] == [(73, False), (0, True), (0, False)]


def test_tempi_and_metres_come_back():
    tempo = float(CODEC.vocabulary.tempo[CODEC.vocabulary.ids_of(Kind.TEMPO)[7]])
    score = make_score(
        [(0, [(quarter, 0.5, 60, 80) for quarter in range(20)])],
        metres=((0, 3, 4), (6, 2, 2), (14, 9, 8)),
        tempos=((0, tempo), (5, 250.0)),
    )
    decoded = CODEC.decode(CODEC.encode(score))
    tick = decoded.ticks_per_quarter
    assert [(m.time // tick, m.numerator, m.denominator) for m in decoded.time_signatures] == [
        (0, 3, 4), (6, 2, 2), (14, 9, 8),
    ]  # fmt: skip
    assert [t.time // tick for t in decoded.tempos] == [0, 5]
    assert [t.tempo for t in decoded.tempos] == pytest.approx([tempo, 250.0], abs=1e-3)


def test_special_tokens_and_broken_notes_are_ignored():
    note = ids("Bar_None", "TimeSig_4/4", "Position_8", "Program_0", "Pitch_60", "Velocity_79", "Duration_1.0.8")
    wrapped = np.concatenate([[1], note, ids("Program_0", "Pitch_64", "Velocity_79"), [2, 0, 0]])
    decoded = CODEC.decode(wrapped)
    tick = decoded.ticks_per_quarter
    assert notes_of(decoded) == [[(tick, tick, 60)]]


def test_a_note_ends_where_the_next_of_its_pitch_begins():
    score = make_score([(0, [(0, 4, 60, 80), (0, 2, 60, 90), (1, 1, 60, 80), (1, 1, 62, 80)])])
    decoded = CODEC.decode(CODEC.encode(score))
    tick = decoded.ticks_per_quarter
    assert notes_of(decoded) == [[(0, tick, 60), (tick, tick, 60), (tick, tick, 62)]]


def test_nothing_to_fit_gives_the_same_score():
    score = make_score([(0, [(0, 1, 60, 80)])])
    fitted, counts = CODEC.prepare_score(score)
    assert fitted is score
    assert set(counts.values()) == {0}


def test_what_has_no_token_is_replaced_and_counted():
    tracks = [(0, [(0, 1, 60, 80), (1, 1, 12, 80), (2, 1, 120, 80)]), (-1, [(0, 1, 38, 80), (1, 1, 5, 80)])]
    score = make_score([*tracks, *[(52, [(0, 1, 60, 80)])] * 6], metres=((0, 2, 1), (16, 4, 4)))
    fitted, counts = CODEC.prepare_score(score)
    assert counts == {"metres_replaced": 1, "pitches_moved": 2, "notes_dropped": 1, "tracks_joined": 2}
    assert [n.pitch for n in fitted.tracks[0].notes] == [60, 24, 108]
    assert [(m.numerator, m.denominator) for m in fitted.time_signatures] == [(4, 2), (4, 4)]
    assert [n.pitch for n in score.tracks[0].notes] == [60, 12, 120]
    assert CODEC.vocabulary.count_notes(CODEC.encode(fitted)) == fitted.note_num() == score.note_num() - 1


@pytest.mark.parametrize(
    ("metre", "stand_in"),
    [((2, 1), (4, 2)), ((24, 16), (12, 8)), ((3, 32), (2, 16)), ((6, 32), (3, 16)), ((18, 8), (9, 4))],
)
def test_an_unknown_metre_keeps_its_bar_length_where_it_can(metre, stand_in):
    assert nearest_metre(*metre, CODEC.limits.metres) == stand_in


def test_a_codec_travels_as_json():
    saved = json.loads(json.dumps(CODEC.to_dict()))
    loaded = Codec.from_dict(saved)
    assert loaded.vocabulary.tokens == CODEC.vocabulary.tokens
    assert saved == CODEC.to_dict()


def test_foreign_settings_are_refused_in_words():
    with pytest.raises(AurlError, match="tokenizer settings lack 'params'"):
        Codec.from_dict({"something": 1})
    with pytest.raises(AurlError, match="builds another vocabulary"):
        Codec.from_dict(CODEC.to_dict() | {"vocabulary_sha256": "0"})
