"""The arrays over token ids say what the tokens' names say; time, transposition and counting follow from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_strategies import make_score, scores

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.vocabulary import Kind, Vocabulary

CODEC = Codec.from_config(TokenizerConfig())
VOCABULARY = CODEC.vocabulary


def ids(*tokens: str) -> np.ndarray:
    return np.array([VOCABULARY.index[token] for token in tokens])


def test_every_token_has_a_kind_and_none_is_unknown():
    assert not np.any(VOCABULARY.kind == Kind.OTHER)
    assert VOCABULARY.size == len(CODEC.tokenizer)
    assert (VOCABULARY.pad, VOCABULARY.bos, VOCABULARY.eos) == (0, 1, 2)


@pytest.mark.parametrize(
    ("token", "kind", "value"),
    [
        ("Position_17", Kind.POSITION, 17),
        ("Pitch_60", Kind.PITCH, 60),
        ("PitchDrum_38", Kind.PITCH_DRUM, 38),
        ("Program_-1", Kind.PROGRAM, -1),
        ("Program_52", Kind.PROGRAM, 52),
        ("Program_52.3", Kind.PROGRAM, 52),
        ("Velocity_127", Kind.VELOCITY, 127),
        ("Duration_1.4.8", Kind.DURATION, 12),
        ("Duration_5.1.4", Kind.DURATION, 42),
        ("Tempo_40.0", Kind.TEMPO, 40),
        ("TimeSig_6/8", Kind.TIMESIG, 6 * 256 + 8),
        ("Bar_None", Kind.BAR, 0),
    ],
)
def test_values_are_those_in_the_name(token, kind, value):
    id_ = VOCABULARY.index[token]
    assert VOCABULARY.kind[id_] == kind
    assert VOCABULARY.value[id_] == value
    assert id_ in VOCABULARY.ids_of(kind)


def test_program_tokens_know_their_track():
    assert VOCABULARY.track[ids("Program_52", "Program_52.1", "Program_52.3")].tolist() == [0, 1, 3]
    assert VOCABULARY.program_id(52, 3) == VOCABULARY.index["Program_52.3"]
    assert VOCABULARY.program_id(52, 4) is None


@pytest.mark.parametrize(
    ("metre", "positions", "step", "bar"), [("4/4", 32, 0.125, 4), ("6/8", 48, 0.0625, 3), ("3/2", 24, 0.25, 6)]
)
def test_metres_know_their_grid(metre, positions, step, bar):
    (id_,) = ids(f"TimeSig_{metre}")
    assert VOCABULARY.bar_positions[id_] == positions
    assert VOCABULARY.position_quarters[id_] == step
    assert VOCABULARY.bar_quarters[id_] == bar


def test_musical_time_follows_bars_positions_and_metres():
    sequence = ids(
        "BOS_None", "Bar_None", "TimeSig_3/4", "Position_0", "Tempo_40.0", "Position_12", "Program_0", "Pitch_60",
        "Bar_None", "TimeSig_6/8", "Position_16", "Pitch_60", "Bar_None", "TimeSig_6/8", "EOS_None",
    )  # fmt: skip
    bar, beat = VOCABULARY.musical_time(sequence)
    assert bar.dtype == np.int32
    assert beat.dtype == np.float32
    assert bar.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert beat.tolist() == [0, 0, 0, 0, 0, 1.5, 1.5, 1.5, 3, 3, 4, 4, 6, 6, 6]


def test_musical_time_of_nothing_is_nothing():
    bar, beat = VOCABULARY.musical_time([])
    assert bar.shape == beat.shape == (0,)


@settings(max_examples=60, deadline=None)
@given(scores())
def test_musical_time_is_the_onset_of_the_decoded_notes(score):
    score, _ = CODEC.prepare_score(score)
    sequence = CODEC.encode(score)
    _, beat = VOCABULARY.musical_time(sequence)
    decoded = CODEC.decode(sequence, cut_overlaps=False)
    onsets = [note.time / decoded.ticks_per_quarter for track in decoded.tracks for note in track.notes]
    assert sorted(beat[VOCABULARY.note_starts(sequence)].tolist()) == pytest.approx(sorted(onsets))
    assert np.all(np.diff(beat) >= 0)
    assert VOCABULARY.count_notes(sequence) == len(onsets)


@settings(max_examples=30, deadline=None)
@given(scores(), st.integers(-5, 6))
def test_transposing_ids_is_transposing_the_score(score, shift):
    score, _ = CODEC.prepare_score(score)
    for track in score.tracks:
        if not track.is_drum:
            track.notes = [note for note in track.notes if 26 <= note.pitch <= 102]
    table = VOCABULARY.transposition_table(-5, 6)
    by_gather = table[shift + 5][CODEC.encode(score)]
    for track in score.tracks:
        if not track.is_drum:
            track.shift_pitch(shift, inplace=True)
    assert np.array_equal(by_gather, CODEC.encode(score))


def test_a_pitch_that_would_leave_the_range_lands_an_octave_nearer():
    table = VOCABULARY.transposition_table(-2, 2)
    assert table.dtype == np.uint16
    assert table.shape == (5, VOCABULARY.size)
    top, drum = ids("Pitch_108", "PitchDrum_38")
    assert VOCABULARY.tokens[table[4, top]] == "Pitch_98"
    assert table[4, drum] == drum
    assert np.array_equal(table[2], np.arange(VOCABULARY.size))


def test_a_narrow_range_keeps_the_pitch():
    names = ["PAD_None", "BOS_None", "EOS_None", "Pitch_60", "Pitch_61"]
    table = Vocabulary(names, 8).transposition_table(0, 3)
    assert table[3].tolist() == [0, 1, 2, 3, 4]


def test_only_complete_notes_count():
    assert VOCABULARY.count_notes(ids("Program_0", "Pitch_60", "Velocity_79", "Duration_1.0.8")) == 1
    assert VOCABULARY.count_notes(ids("Program_0", "Pitch_60", "Velocity_79")) == 0
    assert VOCABULARY.count_notes(ids("Pitch_60", "Bar_None", "Velocity_79", "Duration_1.0.8")) == 0
    assert VOCABULARY.count_notes([]) == 0
    assert VOCABULARY.count_notes(CODEC.encode(make_score([(0, [(0, 1, 60, 9)]), (-1, [(0, 1, 38, 9)])]))) == 2


def test_a_vocabulary_without_special_tokens_is_refused():
    with pytest.raises(ValueError, match="tokens lack PAD_None"):
        Vocabulary(["Bar_None"], 8)


def test_a_model_that_listens_is_told_the_meaning_of_every_token():
    meaning = VOCABULARY.meaning()
    index = VOCABULARY.index
    assert meaning["pitch"][index["Pitch_60"]] == 60
    assert meaning["pitch"][index["PitchDrum_38"]] == -1
    assert meaning["program"].sum() == np.count_nonzero(VOCABULARY.kind == Kind.PROGRAM)
    assert meaning["duration"][index["Duration_1.0.8"]] == 8
    assert [meaning["place"][index[token]] for token in ("Bar_None", "Position_12", "Pitch_60")] == [0, 12, -1]
    assert meaning["metre"][index["TimeSig_6/8"]] == pytest.approx(1 / 16)
    assert meaning["metre"][index["Pitch_60"]] == 0
    assert meaning["first_metre"] == pytest.approx(1 / 8)
    coarse = Codec.from_config(TokenizerConfig(positions_per_beat=4)).vocabulary
    assert coarse.meaning()["first_metre"] == pytest.approx(1 / 4)
