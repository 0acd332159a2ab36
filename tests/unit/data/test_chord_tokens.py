"""Chord tokens: where they stand, that they move with the music, come back as markers, and change nothing else."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from symusic import Score
from symusic.core import ScoreTick

from aurl.cli.evaluate import count_chords
from aurl.data import synth
from aurl.data.augmentation.config import AugmentConfig, StretchConfig, StretchOf, SwingConfig, TransposeConfig
from aurl.data.batching import TrainingPlan
from aurl.data.chord_tokens import NAMES, read_name
from aurl.data.codec import Codec
from aurl.data.config import TOKENIZERS, DataConfig, Source, TokenizerConfig
from aurl.data.harmony import HEARD, chord_changes
from aurl.data.kinds import Kind
from aurl.data.prepare import prepare
from aurl.music.abc import abc_to_score
from aurl.music.chord_sources import chord_symbols
from aurl.music.score import read_score
from aurl.utils.errors import AurlError
from tests.unit.data.score_strategies import make_score, scores
from tests.unit.data.test_batch_features import TUNE, transposed

PLAIN, CODEC = Codec.from_config(TokenizerConfig()), Codec.from_config(TokenizerConfig(chords=True))
VOCABULARY = CODEC.vocabulary
IS_CHORD = VOCABULARY.kind == Kind.CHORD


def names(ids: np.ndarray) -> list[str]:
    return [VOCABULARY.tokens[id_] for id_ in ids]


def without_chords(ids: np.ndarray) -> np.ndarray:
    """Ids with neither chords nor the positions that only chords needed."""
    kept = ids[~IS_CHORD[ids]]
    kind = VOCABULARY.kind[kept]
    idle = (kind[:-1] == Kind.POSITION) & np.isin(kind[1:], (Kind.POSITION, Kind.BAR))
    return kept[np.append(~idle, True)]


def check_places(ids: np.ndarray) -> None:
    """Chords stand behind a position or a tempo, never twice alike, never behind the last note."""
    kind, chords = VOCABULARY.kind[ids], ids[IS_CHORD[ids]]
    at = np.flatnonzero(kind == Kind.CHORD)
    assert np.isin(kind[at - 1], (Kind.POSITION, Kind.TEMPO)).all()
    assert (chords[1:] != chords[:-1]).all() and (not len(chords) or names(chords)[0] != "Chord_N")
    assert kind[-1] != Kind.CHORD


def check_music(score: ScoreTick) -> np.ndarray:
    """A fitted score with chord tokens says the same notes at the same times as without, and comes back."""
    ids, plain = CODEC.encode(score), PLAIN.encode(score)
    assert without_chords(ids).tolist() == plain.tolist()
    check_places(ids)
    assert VOCABULARY.count_notes(ids) == PLAIN.vocabulary.count_notes(plain)
    bar, beat = VOCABULARY.musical_time(ids)
    pitches = np.isin(VOCABULARY.kind[ids], (Kind.PITCH, Kind.PITCH_DRUM))
    was_bar, was_beat = PLAIN.vocabulary.musical_time(plain)
    was = np.isin(PLAIN.vocabulary.kind[plain], (Kind.PITCH, Kind.PITCH_DRUM))
    assert bar[pitches].tolist() == was_bar[was].tolist() and beat[pitches].tolist() == was_beat[was].tolist()
    back = CODEC.decode(ids, cut_overlaps=False)
    assert len(back.markers) == np.count_nonzero(IS_CHORD[ids])
    if chord_symbols(back) is not None:
        assert CODEC.encode(back).tolist() == ids.tolist()
    for before, after in zip(PLAIN.decode(plain).tracks, CODEC.decode(ids).tracks, strict=True):
        assert before == after
    return ids


def test_symbols_of_a_tune_become_tokens_where_they_stand() -> None:
    ids = check_music(CODEC.prepare_score(abc_to_score(TUNE))[0])
    said = [(float(beat), name) for beat, name in zip(VOCABULARY.musical_time(ids)[1], names(ids), strict=True)]
    assert [(beat, name.removeprefix("Chord_")) for beat, name in said if name.startswith("Chord")] == [
        (0.0, "G:maj"), (3.0, "E:min"), (6.0, "A:min7"), (9.0, "D:7"), (12.0, "C:maj"), (15.0, "N"), (18.0, "D:7"),
        (21.0, "G:maj"),
    ]  # fmt: skip
    assert names(ids)[3:6] == ["Tempo_121.29", "Chord_G:maj", "Program_0"]


@pytest.mark.parametrize("seed", range(4))
def test_chords_are_heard_where_there_are_no_symbols(seed: int) -> None:
    score = CODEC.prepare_score(synth.compose(5, seed)[0])[0]
    assert chord_symbols(score) is None
    assert np.count_nonzero(IS_CHORD[check_music(score)]) > 4


@settings(max_examples=40, deadline=None)
@given(scores())
def test_chords_change_nothing_but_themselves_in_any_score(score: ScoreTick) -> None:
    fitted = CODEC.prepare_score(score)[0]
    if fitted.note_num():
        check_music(fitted)


def test_real_music_keeps_its_notes(corpora: Callable[[str], Path]) -> None:
    for corpus in ("jsb-chorales", "pop909", "nottingham", "multitrack-free"):
        for path in islice(sorted(corpora(corpus).rglob("*.mid")), 2):
            assert np.count_nonzero(IS_CHORD[check_music(CODEC.prepare_score(read_score(path))[0])]) > 4


def test_markers_carry_the_chords_through_a_midi_file(tmp_path: Path) -> None:
    ids = CODEC.encode(abc_to_score(TUNE))
    CODEC.decode(ids).dump_midi(tmp_path / "tune.mid")
    texts = [marker.text for marker in Score(tmp_path / "tune.mid").markers]
    assert texts == ["G", "Em", "Am7", "D7", "C", "NC", "D7", "G"]
    assert CODEC.encode(read_score(tmp_path / "tune.mid")).tolist() == ids.tolist()


def test_a_sequence_that_repeats_chords_or_writes_two_at_once_decodes_to_one() -> None:
    index = VOCABULARY.index
    ids = [
        index[name] for name in ("Bar_None", "TimeSig_4/4", "Position_0", "Chord_C:maj", "Chord_A:min", "Position_8")
    ]
    ids += [index["Chord_A:min"], index["Position_16"], index["Chord_N"]]
    markers = [(marker.time / CODEC.decode(ids).tpq, marker.text) for marker in CODEC.decode(ids).markers]
    assert markers == [(0.0, "Am"), (2.0, "NC")]


def test_the_table_of_transpositions_renames_chords() -> None:
    table, index = VOCABULARY.transposition_table(-12, 12), VOCABULARY.index
    assert table[12 + 3][index["Chord_A:min7"]] == index["Chord_C:min7"]
    assert table[12 - 1][index["Chord_C:maj"]] == index["Chord_B:maj"]
    assert (table[:, index["Chord_N"]] == index["Chord_N"]).all()
    assert (table[[0, 12, 24]][:, IS_CHORD] == np.flatnonzero(IS_CHORD)).all()
    for row in table:
        assert sorted(row[IS_CHORD].tolist()) == np.flatnonzero(IS_CHORD).tolist()


@pytest.mark.parametrize("chords", [False, True])
@pytest.mark.parametrize("kind", ["remi", "tsd", "midi_like"])
def test_a_transposed_batch_is_what_the_transposed_music_encodes_to(tmp_path: Path, kind: str, chords: bool) -> None:
    if chords and kind != "remi":
        with pytest.raises(
            ValueError, match=f"tokenizer.chords=true is not known to tokenizer={kind}; use tokenizer=remi"
        ):
            TokenizerConfig(kind=kind, chords=True)
        return
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "tune.abc").write_text(TUNE)
    for number in range(3):
        synth.compose(6, number)[0].dump_midi(tmp_path / "music" / f"{number}.mid")
    data = DataConfig(name="m", source=Source.folder, path=str(tmp_path / "music"), workers=1)
    store = prepare(data, TokenizerConfig(kind=kind, chords=chords), tmp_path / "cache", progress=False)
    codec = Codec.from_dict(store.tokenizer)
    config = AugmentConfig(transpose=TransposeConfig(semitones=[-5, 6]))
    plan = TrainingPlan(store, range(len(store)), codec.vocabulary, 20_000, 4000, config, 1)  # type: ignore[arg-type]
    moved = 0
    for batch in [plan.collate(windows, 0) for windows in plan.epoch(0)]:
        start = 0
        for piece, shift, length in zip(batch.origins, batch.shifts, batch.lengths, strict=True):
            score = transposed(codec.prepare_score(read_score(Path(store.pieces[piece].path)))[0], shift)
            assert batch.ids[start + 1 : start + length].tolist() == codec.encode(score).tolist()
            start, moved = start + length, moved + bool(shift)
    assert moved


def test_chords_stay_in_stretched_and_swung_music(tmp_path: Path) -> None:
    data = DataConfig(name="synth", source=Source.synth, pieces=6, workers=1)
    store = prepare(data, TokenizerConfig(chords=True), tmp_path, progress=False)
    config = AugmentConfig(
        transpose=TransposeConfig(probability=0.0),
        stretch=StretchConfig(probability=1.0, of=StretchOf.notes),
        swing=SwingConfig(probability=1.0),
    )
    plan = TrainingPlan(store, range(len(store)), VOCABULARY, 20_000, 4000, config, 0)
    for windows in plan.epoch(0):
        batch = plan.collate(windows, 0)
        stored = sum(int(IS_CHORD[store.ids(piece)].sum()) for piece in batch.origins)
        assert int(IS_CHORD[batch.ids.numpy()].sum()) == stored > 0


def test_without_chords_vocabularies_and_saved_codecs_are_as_they_were() -> None:
    assert VOCABULARY.tokens == PLAIN.vocabulary.tokens + NAMES
    assert not (PLAIN.vocabulary.kind == Kind.CHORD).any()
    assert "chords" not in PLAIN.to_dict()["params"]["config"]["additional_params"]
    for kind in TOKENIZERS:
        assert not (Codec.from_config(TokenizerConfig(kind=kind)).vocabulary.kind == Kind.CHORD).any()
    again = Codec.from_dict(CODEC.to_dict())
    assert again.vocabulary.tokens == VOCABULARY.tokens and again.tokenizer.chords
    assert CODEC.encode(abc_to_score(TUNE)).dtype == np.uint16
    assert [read_name(name.removeprefix("Chord_")) for name in NAMES[:3]] == [(-1, 0), (0, 1), (0, 2)]


def test_a_piece_too_long_to_hear_chords_in_is_left_out_with_the_reason(tmp_path: Path) -> None:
    score = make_score([(0, [(0.0, 1.0, 60, 80), (100_001.0, 1.0, 64, 80)])])
    with pytest.raises(AurlError, match=r"tokenizer\.chords=true: 100002 beats are too many .*; allowed: 100000"):
        CODEC.encode(score)
    (tmp_path / "music").mkdir()
    score.dump_midi(tmp_path / "music" / "long.mid")
    synth.compose(0, 0)[0].dump_midi(tmp_path / "music" / "short.mid")
    data = DataConfig(name="m", source=Source.folder, path=str(tmp_path / "music"), workers=1)
    store = prepare(data, TokenizerConfig(chords=True), tmp_path / "cache", progress=False)
    assert ["too many to hear chords in" in row["reason"] for row in store.skipped] == [True]


def test_evaluation_says_how_many_chord_tokens_it_counts(tmp_path: Path) -> None:
    data = DataConfig(name="synth", source=Source.synth, pieces=4, workers=1)
    store = prepare(data, TokenizerConfig(chords=True), tmp_path, progress=False)
    own = [int(IS_CHORD[store.ids(number)].sum()) for number in range(4)]
    assert count_chords(CODEC, store, [1, 2]) == {"chord_tokens": own[1] + own[2]} and own[1] > 0
    assert store.meta["preprocessed"] == {HEARD: 4}
    plain = prepare(data, TokenizerConfig(), tmp_path, progress=False)
    assert count_chords(PLAIN, plain, [1, 2]) == {}
    assert [piece.notes for piece in plain.pieces] == [piece.notes for piece in store.pieces]


def test_an_empty_score_has_no_chords() -> None:
    assert len(chord_changes(ScoreTick(480)).onsets) == 0
