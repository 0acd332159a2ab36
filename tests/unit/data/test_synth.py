"""Made-up pieces: the same numbers give the same piece, and every label is true of the notes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic import Score

from aurl.data.config import DataConfig, Source
from aurl.data.duplicates import group_near_duplicates
from aurl.data.splits import top_line_ngrams
from aurl.data.synth import FORMS, SynthLabels, compose, labels, list_synth, load
from aurl.data.synth_parts import SCALES

QUARTER = 480
some_pieces = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 50)
indices = st.integers(0, 10_000)


def notes_between(track, start: float, stop: float) -> list[tuple[float, float, int, int]]:
    """(onset - start, duration, pitch, velocity) in quarters of notes that begin in a span."""
    rows = [(note.time / QUARTER, note.duration / QUARTER, note.pitch, note.velocity) for note in track.notes]
    return [
        (onset - start, duration, pitch, velocity) for onset, duration, pitch, velocity in rows if start <= onset < stop
    ]


def chord_at(truth: SynthLabels, onset: float):
    return [chord for chord in truth.chords if chord.onset <= onset][-1]


@some_pieces
@given(seeds, indices)
def test_the_same_numbers_give_the_same_bytes(seed: int, index: int) -> None:
    first, second = compose(seed, index), compose(seed, index)
    assert first[0].dumps_midi() == second[0].dumps_midi()
    assert first[1] == second[1]


def test_other_numbers_give_other_pieces() -> None:
    signatures = [top_line_ngrams(compose(seed, index)[0]) for seed in range(2) for index in range(100)]
    assert len(set(group_near_duplicates(signatures))) >= 195


@some_pieces
@given(seeds, indices)
def test_chords_fill_the_piece_without_gaps_and_change_on_beats(seed: int, index: int) -> None:
    truth = compose(seed, index)[1]
    position = 0.0
    for chord in truth.chords:
        assert chord.onset == position
        assert chord.duration > 0
        assert (chord.onset / truth.beat).is_integer()
        position += chord.duration
    assert position == truth.duration == truth.sections[-1].onset + truth.sections[-1].duration
    assert len(truth.chord_per_beat()) == truth.duration / truth.beat


@some_pieces
@given(seeds, indices)
def test_accompaniment_and_bass_play_the_labelled_chord(seed: int, index: int) -> None:
    score, truth = compose(seed, index)
    tracks = {track.name: track for track in score.tracks}
    for chord in truth.chords:
        span = (chord.onset, chord.onset + chord.duration)
        assert {pitch % 12 for _, _, pitch, _ in notes_between(tracks["Bass"], *span)} == {chord.root}
        played = {pitch % 12 for _, _, pitch, _ in notes_between(tracks["Chords"], *span)}
        assert played == chord.pitch_classes


@some_pieces
@given(seeds, indices)
def test_the_melody_takes_chord_tones_on_beats_and_stays_in_key(seed: int, index: int) -> None:
    score, truth = compose(seed, index)
    key = {(truth.tonic + step) % 12 for step in SCALES[truth.mode]}
    for note in score.tracks[0].notes:
        onset = note.time / QUARTER
        chord = chord_at(truth, onset)
        if (onset / truth.beat).is_integer():
            assert note.pitch % 12 in chord.pitch_classes
        else:
            assert note.pitch % 12 in key or (chord.roman == "V" and note.pitch % 12 == (truth.tonic + 11) % 12)


@some_pieces
@given(seeds, indices)
def test_equal_letters_are_equal_music_and_other_letters_are_not(seed: int, index: int) -> None:
    score, truth = compose(seed, index)
    assert truth.form in FORMS
    assert "".join(section.letter for section in truth.sections) == truth.form
    sections = [
        tuple(tuple(notes_between(track, s.onset, s.onset + s.duration)) for track in score.tracks)
        for s in truth.sections
    ]
    for a, first in enumerate(truth.form):
        for b, second in enumerate(truth.form):
            assert (sections[a] == sections[b]) == (first == second)


@some_pieces
@given(seeds, indices)
def test_pieces_begin_and_end_on_the_tonic_and_the_signatures_agree(seed: int, index: int) -> None:
    score, truth = compose(seed, index)
    assert truth.chords[0].root == truth.chords[-1].root == truth.tonic
    assert score.tracks[0].notes[-1].pitch % 12 == truth.tonic
    assert score.end() == truth.duration * QUARTER
    assert [(sign.time, sign.numerator, sign.denominator) for sign in score.time_signatures] == [(0, *truth.metre)]
    assert [tempo.qpm for tempo in score.tempos] == pytest.approx([truth.tempo], abs=0.01)
    signature = score.key_signatures[0]
    tonic = signature.key * 7 % 12 if signature.tonality == 0 else (signature.key * 7 - 3) % 12
    assert (tonic, ("major", "minor")[signature.tonality]) == (truth.tonic, truth.mode)


def test_every_metre_form_mode_and_instrumentation_occurs() -> None:
    made = [compose(1, index) for index in range(200)]
    assert {truth.metre for _, truth in made} == {(4, 4), (3, 4), (6, 8)}
    assert {truth.form for _, truth in made} == set(FORMS)
    assert {truth.mode for _, truth in made} == {"major", "minor"}
    assert {truth.tonic for _, truth in made} == set(range(12))
    with_drums = Counter("Drums" in truth.tracks for _, truth in made)
    assert min(with_drums.values()) > 50
    for score, truth in made:
        assert tuple(track.name for track in score.tracks) == truth.tracks
        assert [track.is_drum for track in score.tracks] == [name == "Drums" for name in truth.tracks]


def test_a_piece_survives_midi() -> None:
    score = compose(0, 3)[0]
    again = Score.from_midi(score.dumps_midi())
    assert sum(len(track.notes) for track in again.tracks) == sum(len(track.notes) for track in score.tracks)


def test_the_listing_has_splits_and_metadata_that_agree_with_the_labels() -> None:
    pieces = list_synth(DataConfig(source=Source.synth, pieces=60, valid_share=0.2, test_share=0.1))
    assert len({piece.id for piece in pieces}) == 60
    assert {piece.split for piece in pieces} == {"train", "valid", "test"}
    more = list_synth(DataConfig(source=Source.synth, pieces=80, valid_share=0.2, test_share=0.1))
    assert [piece.split for piece in more[:60]] == [piece.split for piece in pieces]
    for piece in pieces[:10]:
        truth = labels(piece)
        assert piece.metadata["key"] == truth.key
        assert piece.metadata["form"] == truth.form
        assert load(piece).end() == truth.duration * QUARTER


def test_chord_names_are_root_and_quality() -> None:
    chord = compose(0, 0)[1].chords[0]
    assert chord.name == "Bb:maj"
    assert chord.pitch_classes == {10, 2, 5}
