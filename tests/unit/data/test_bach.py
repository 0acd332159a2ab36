"""The chorales: four clean voices, bars where the notation has them, and a split without leaks."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurl.data import bach
from aurl.data.bach import (
    QUARTERS_PER_MINUTE,
    VOICES,
    corpus_folder,
    harmony_ngrams,
    list_bach,
    load,
    load_file,
    one_at_a_time,
    similarity,
    split_table,
    voice_grid,
)
from aurl.data.duplicates import group_near_duplicates
from aurl.utils.errors import AurlError, UnreadableFile

QUARTER = 120
SAMPLE_STEP = 9
"""Tests that read scores take every 9th chorale."""


@pytest.fixture(scope="module")
def sample() -> dict:
    """About forty loaded chorales by their id."""
    return {piece.id: load(piece) for piece in list_bach()[::SAMPLE_STEP]}


def places(score, voice: int = 0, count: int = 6) -> list[tuple[float, int]]:
    """(quarters since the start of the piece, pitch) of the first notes of a voice."""
    return [(note.time / score.ticks_per_quarter, note.pitch) for note in score.tracks[voice].notes[:count]]


def test_the_list_holds_365_chorales_with_metadata_and_all_three_splits() -> None:
    pieces = list_bach()
    assert len(pieces) == len({piece.id for piece in pieces}) == 365
    assert Counter(piece.split for piece in pieces) == split_table()["about"]["count"]
    assert min(Counter(piece.split for piece in pieces).values()) >= 60
    for piece in pieces:
        assert piece.loader == "bach"
        assert set(piece.metadata) == {"title", "composer", "bwv", "key", "meter", "jsb_match", "licence"}
        assert piece.id == f"bwv{piece.metadata['bwv']}"


def test_every_chorale_has_four_clean_voices(sample) -> None:
    for name, score in sample.items():
        assert tuple(track.name for track in score.tracks) == VOICES, name
        assert {track.program for track in score.tracks} == {bach.PROGRAM}
        assert [tempo.qpm for tempo in score.tempos] == pytest.approx([QUARTERS_PER_MINUTE])
        means = [np.mean(track.notes.numpy()["pitch"]) for track in score.tracks]
        assert means == sorted(means, reverse=True), f"{name}: voices out of order"
        for track in score.tracks:
            notes = track.notes.numpy()
            assert (np.diff(notes["time"]) >= notes["duration"][:-1]).all(), f"{name}: overlapping notes"
            assert notes["duration"].min() >= score.ticks_per_quarter // 8
            assert set(notes["velocity"]) == {bach.VELOCITY}


def test_durations_are_whole_so_that_a_voice_has_hardly_a_gap(sample) -> None:
    for name, score in sample.items():
        notes = score.tracks[3].notes.numpy()
        assert (notes["duration"] % (score.ticks_per_quarter // 8) == 0).all(), name


def test_a_pickup_ends_its_bar_and_the_downbeat_meets_the_bar_line() -> None:
    score = load_file(corpus_folder() / "bwv66.6.mxl")
    assert places(score) == [(3.0, 73), (3.5, 71), (4.0, 69), (5.0, 71), (6.0, 73), (7.0, 76)]
    assert [(sign.time, sign.numerator, sign.denominator) for sign in score.time_signatures] == [(0, 4, 4)]


def test_a_chorale_in_three_four_with_a_pickup_and_repeats_is_written_out_once() -> None:
    score = load_file(corpus_folder() / "bwv269.mxl")
    assert places(score) == [(2.0, 67), (3.0, 67), (5.0, 74), (6.0, 71), (7.5, 69), (8.0, 67)]
    assert score.end() == 3 * 22 * QUARTER - QUARTER  # 21 whole bars of the page and the incomplete last one


def test_a_grace_note_gives_its_place_back() -> None:
    score = load_file(corpus_folder() / "bwv315.mxl")
    assert all(note.time % 15 == 0 for note in score.tracks[0].notes)


def test_every_fifth_sampled_chorale_agrees_with_the_measures_of_music21(sample) -> None:
    from music21 import converter

    for name in list(sample)[::5]:
        score = sample[name]
        parts = [
            part for part in converter.parse(corpus_folder() / f"{name}.mxl").stripTies().parts if part.recurse().notes
        ]
        metre = score.time_signatures[0]
        bar = Fraction(4 * metre.numerator, metre.denominator)
        for track, part in zip(score.tracks, parts, strict=True):
            theirs = Counter(
                (Fraction(note.getOffsetInHierarchy(measure)) + Fraction(measure.paddingLeft), note.pitch.midi)
                for measure in part.getElementsByClass("Measure")
                for note in measure.recurse().notes
                if note.quarterLength > 0
            )
            ours = Counter((Fraction(note.time, score.ticks_per_quarter) % bar, note.pitch) for note in track.notes)
            assert ours == theirs, f"{name} {track.name}"


def test_no_train_chorale_is_a_near_duplicate_of_a_held_out_one() -> None:
    pieces = list_bach()
    signatures = [harmony_ngrams(voice_grid(load(piece))) for piece in pieces]
    groups = group_near_duplicates(signatures, shared_part=split_table()["about"]["near_duplicate"])
    splits: dict[int, set] = {}
    for piece, group in zip(pieces, groups, strict=True):
        splits.setdefault(group, set()).add(piece.split)
    assert all(len(found) == 1 for found in splits.values())
    assert len(splits) < len(pieces)


def test_train_matches_the_official_train_list_and_nothing_held_out(corpora) -> None:
    grids = json.loads((corpora("jsb-chorales") / "jsb16_separated.json").read_text())
    jsb = {piece["id"]: harmony_ngrams(np.array(piece["steps"])) for part in grids.values() for piece in part}
    about = split_table()["about"]
    for piece in [piece for piece in list_bach() if piece.split == "train"][::3]:
        signature = harmony_ngrams(voice_grid(load(piece)))
        match = piece.metadata["jsb_match"]
        assert match.startswith("train_")
        assert similarity(signature, jsb[match]) >= about["same_chorale"]
        held_out = max(similarity(signature, other) for name, other in jsb.items() if not name.startswith("train_"))
        assert held_out < about["near_duplicate"], piece.id


def test_harmony_ngrams_ignore_key_and_rhythm_but_not_notes() -> None:
    rng = np.random.default_rng(0)
    grid = rng.integers(40, 80, (50, 4))
    assert harmony_ngrams(grid) == harmony_ngrams(grid + 5) == harmony_ngrams(np.repeat(grid, 3, axis=0))
    assert similarity(harmony_ngrams(grid), harmony_ngrams(rng.integers(40, 80, (50, 4)))) == 0.0
    assert harmony_ngrams(np.full((9, 4), -1)) == set()
    assert harmony_ngrams(grid[:2]) == set()
    assert similarity(set(), {1}) == 0.0


voices = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 300), st.integers(40, 80)), min_size=1, max_size=30)


@settings(deadline=None)
@given(voices)
def test_a_voice_sounds_one_note_at_a_time_whatever_it_was(rows: list[tuple[int, int, int]]) -> None:
    time, duration, pitch = (np.array(column, dtype=np.int32) for column in zip(*rows, strict=True))
    time, duration, pitch = one_at_a_time(time, duration, pitch, QUARTER)
    assert (np.diff(time) >= duration[:-1]).all()
    assert (duration > 0).all()
    assert len(time) == len(duration) == len(pitch)


def test_a_missing_file_or_another_number_of_parts_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        load_file(tmp_path / "bwv1.mxl")
    with pytest.raises(UnreadableFile, match="5 parts with notes instead of the four voices"):
        load_file(corpus_folder() / "bwv1.6.mxl")


def test_a_music21_without_corpus_or_none_at_all_is_told_in_one_line(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bach.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AurlError, match="pip install music21"):
        list_bach()
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(bach.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(AurlError, match="has no corpus"):
        corpus_folder()
    (tmp_path / "corpus" / "bach").mkdir(parents=True)
    with pytest.raises(AurlError, match="holds none of the chorales"):
        list_bach()
