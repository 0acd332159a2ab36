"""Features aligned with beats and bars: every note counts once, time is shared out exactly, music moves them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic import Score
from symusic.core import NoteTickList, TimeSignatureTick, TrackTick

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.vocabulary import Kind
from aurl.music.features import FEATURES, compute_feature, compute_features, notes_of
from aurl.music.grid import MOST_FRAMES, Grid, bar_sections, grid_of
from aurl.music.score import read_score
from aurl.utils.errors import AurlError

RESOLUTIONS = (1, 96, 480, 1024)
METRES = ((4, 4), (3, 4), (6, 8), (3, 16), (7, 8), (5, 2))
Rows = list[tuple[int, int, int, int]]
"""(tick, duration, pitch, velocity)."""


def score_of(tracks: list[tuple[bool, Rows]], resolution: int = 4, metres: list[tuple[int, int, int]] | None = None):
    score = Score(resolution)
    for is_drum, rows in tracks:
        track = TrackTick("", 0, is_drum)
        table = np.array(sorted(rows), dtype=np.int32).reshape(-1, 4)
        track.notes = NoteTickList.from_numpy(*(np.ascontiguousarray(column) for column in table.T))
        score.tracks.append(track)
    for time, numerator, denominator in metres or []:
        score.time_signatures.append(TimeSignatureTick(time, numerator, denominator))
    return score


rows = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 200), st.integers(12, 115), st.integers(1, 127)), max_size=25
)
tracks = st.lists(st.tuples(st.booleans(), rows), max_size=4)
metres = st.lists(st.tuples(st.integers(0, 300), st.sampled_from(METRES)), max_size=3).map(
    lambda marks: sorted((time, *metre) for time, metre in marks)
)
levels = st.sampled_from(["beat", "bar"])


@st.composite
def scores(draw: st.DrawFn):
    return score_of(draw(tracks), draw(st.sampled_from(RESOLUTIONS)), draw(metres))


def all_notes(score, drums: bool) -> list[tuple[float, float, int, int]]:
    """(onset, end, pitch, velocity) in quarters, note by note: the slow way that the fast one is held against."""
    quarter = score.ticks_per_quarter
    return [
        (note.time / quarter, (note.time + note.duration) / quarter, note.pitch, note.velocity)
        for track in score.tracks
        if track.is_drum == drums
        for note in track.notes
    ]


@given(scores(), levels)
def test_every_note_begins_in_exactly_one_frame(score, level: str):
    found = compute_features(FEATURES, score, level)
    for prefix, drums in (("", False), ("drum_", True)):
        count = len(all_notes(score, drums))
        assert found[f"{prefix}onset_roll"].sum(dtype=int) == count
        assert found[f"{prefix}density"].sum(dtype=int) == count


@given(scores(), levels)
def test_shapes_and_types_are_those_that_the_registry_states(score, level: str):
    frames = len(grid_of(score, level))
    for name, values in compute_features(FEATURES, score, level).items():
        assert values.shape == FEATURES[name].shape(frames), name
        assert values.dtype == FEATURES[name].dtype, name


@given(scores(), levels)
@settings(max_examples=40)
def test_each_cell_of_the_rolls_is_what_counting_note_by_note_gives(score, level: str):
    edges = grid_of(score, level).edges
    sounding, onsets, velocities = (np.zeros((len(edges) - 1, 128)) for _ in range(3))
    for onset, end, pitch, velocity in all_notes(score, drums=False):
        for frame, (start, stop) in enumerate(pairwise(edges)):
            sounding[frame, pitch] += max(min(end, stop) - max(onset, start), 0) / (stop - start)
            if start <= onset < stop:
                onsets[frame, pitch] += 1
                velocities[frame, pitch] = max(velocities[frame, pitch], velocity)
    found = compute_features(FEATURES, score, level)
    np.testing.assert_allclose(found["piano_roll"] / 255, np.minimum(sounding, 1), atol=0.5 / 255 + 1e-8)
    np.testing.assert_array_equal(found["onset_roll"], onsets)
    np.testing.assert_array_equal(found["velocity_roll"], velocities)
    np.testing.assert_allclose(found["polyphony"], sounding.sum(axis=1), rtol=1e-3, atol=1e-4)
    folded = np.stack([sounding[:, pitch_class::12].sum(axis=1) for pitch_class in range(12)], axis=1)
    np.testing.assert_allclose(found["chroma"], folded, rtol=1e-3, atol=1e-4)


@given(scores(), levels, st.integers(-12, 12))
def test_transposing_moves_the_rolls_along_the_pitch_axis_and_turns_the_chroma(score, level: str, by: int):
    moved = score.copy()
    for track in moved.tracks:
        if not track.is_drum:
            track.shift_pitch(by, inplace=True)
    before, after = compute_features(FEATURES, score, level), compute_features(FEATURES, moved, level)
    for name in ("piano_roll", "onset_roll", "velocity_roll"):
        np.testing.assert_array_equal(after[name], np.roll(before[name], by, axis=1))
    np.testing.assert_allclose(after["chroma"], np.roll(before["chroma"], by, axis=1), rtol=2e-3, atol=1e-4)
    for name in ("density", "polyphony", "drum_onset_roll", "drum_velocity_roll", "drum_density"):
        np.testing.assert_array_equal(after[name], before[name])


@given(scores())
def test_delaying_the_music_by_a_beat_delays_the_features_by_a_frame(score):
    delayed = score.shift_time(score.ticks_per_quarter)
    for name, values in compute_features(FEATURES, score, "beat").items():
        later = compute_feature(name, delayed, "beat")
        assert not later[0].any()
        if len(all_notes(score, False)) + len(all_notes(score, True)):
            np.testing.assert_array_equal(later[1:], values)


@given(scores())
def test_the_bars_of_a_metre_share_out_the_same_time_as_the_beats(score):
    """Sounding quarters are the same however they are cut."""
    by_level = [
        float((compute_feature("polyphony", score, level).astype(float) * np.diff(grid_of(score, level).edges)).sum())
        for level in ("beat", "bar")
    ]
    assert by_level[0] == pytest.approx(by_level[1], rel=2e-3, abs=1e-3)


def test_a_bar_of_known_music():
    """C4 for a half note, E4 for a quarter within it, a snare on each beat; 4/4."""
    pitched, drums = [(0, 8, 60, 90), (4, 4, 64, 50)], [(4 * beat, 1, 38, 100 + beat) for beat in range(4)]
    score = score_of([(False, pitched), (True, drums)], resolution=4)
    beats = compute_features(FEATURES, score, "beat")
    assert beats["polyphony"].tolist() == [1, 2, 0, 0]
    assert beats["density"].tolist() == [1, 1, 0, 0]
    assert beats["drum_density"].tolist() == [1, 1, 1, 1]
    assert beats["piano_roll"][:, [60, 64]].tolist() == [[255, 0], [255, 255], [0, 0], [0, 0]]
    assert beats["velocity_roll"][:, [60, 64]].tolist() == [[90, 0], [0, 50], [0, 0], [0, 0]]
    assert beats["drum_velocity_roll"][:, 38].tolist() == [100, 101, 102, 103]
    bars = compute_features(FEATURES, score, "bar")
    assert bars["polyphony"].tolist() == [0.75]
    assert bars["chroma"][0, [0, 4]].tolist() == [0.5, 0.25]
    assert bars["piano_roll"][0, [60, 64]].tolist() == [128, 64]


def test_given_beats_decide_the_frames_and_what_lies_outside_them_is_where_it_is_documented():
    score = score_of([(False, [(0, 2, 60, 64), (4, 4, 62, 64), (40, 4, 64, 64)])], resolution=4)
    found = compute_features(["density", "polyphony"], score, onsets=np.array([0.5, 1.5, 2.5]))
    assert found["density"].tolist() == [1, 0, 1]  # the first note begins too early, the last counts in the last frame
    assert found["polyphony"].tolist() == [0.5, 0.5, 0.0]


def test_notes_can_be_put_on_the_grid_of_the_tokens():
    score = score_of([(False, [(479, 1, 60, 64), (481, 700, 62, 64)])], resolution=480)
    notes = notes_of(score, steps_per_quarter=8)
    assert notes.onset.tolist() == [1.0, 1.0]
    assert notes.duration.tolist() == [0.125, 1.5]
    assert notes_of(score).onset[0] < 1
    with pytest.raises(ValueError, match="steps_per_quarter=0 is too small; allowed: 1 or more"):
        notes_of(score, 0)


def test_a_score_without_notes_is_one_silent_frame():
    for level in ("beat", "bar"):
        for name, values in compute_features(FEATURES, score_of([]), level).items():
            assert values.shape == FEATURES[name].shape(1) and not values.any()


def test_a_thousand_strokes_in_a_frame_do_not_wrap_around():
    score = score_of([(True, [(0, 1, 38, 127)] * 70_000), (False, [(0, 1, 60, 1)] * 300)])
    found = compute_features(FEATURES, score)
    assert found["drum_onset_roll"][0, 38] == 255 and found["onset_roll"][0, 60] == 255
    assert found["drum_density"].tolist() == [65_535] and found["density"].tolist() == [300]


def test_a_note_at_the_end_of_all_time_is_refused_before_memory_is_asked_for():
    far = score_of([(False, [(2**30, 1, 60, 64)])], resolution=1)
    with pytest.raises(AurlError, match=rf"are too many for features; allowed: {MOST_FRAMES}"):
        compute_feature("density", far, "beat")
    with pytest.raises(AurlError, match="268435457 bars are too many for features"):
        compute_feature("density", far, "bar")
    with pytest.raises(AurlError, match="are too many for features"):
        Grid(np.arange(MOST_FRAMES + 2.0))


def test_wrong_names_levels_and_onsets_are_refused():
    with pytest.raises(ValueError, match="feature pitch is unknown; allowed: piano_roll, onset_roll"):
        compute_feature("pitch", score_of([]))
    with pytest.raises(ValueError, match="level=note is unknown; allowed: beat, bar"):
        compute_feature("density", score_of([]), "note")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="each later than the one before"):
        compute_feature("density", score_of([]), onsets=np.array([0.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match="at least one onset"):
        compute_feature("density", score_of([]), onsets=np.zeros(0))


@pytest.mark.parametrize(
    ("metres", "sections"),
    [
        ([], [(0, 4, 4)]),
        ([(0, 3, 4), (12, 3, 4)], [(0, 3, 4)]),
        ([(8, 3, 4)], [(0, 4, 4), (256, 3, 4)]),  # mid-bar: waits for the bar line
        ([(0, 2, 4), (0, 3, 4)], [(0, 3, 4)]),
        ([(0, 2, 4), (8, 3, 4), (8, 2, 4)], [(0, 2, 4)]),
    ],
)
def test_metres_take_effect_at_bar_lines(metres: list[tuple[int, int, int]], sections: list[tuple[int, int, int]]):
    assert bar_sections(score_of([], resolution=4, metres=metres)) == sections


@given(scores())
@settings(max_examples=50)
def test_the_bars_of_the_features_are_those_of_the_tokens(score):
    if score.note_num():
        _check_bars_agree(score)


@cache
def codec() -> Codec:
    return Codec.from_config(TokenizerConfig())


def _check_bars_agree(score) -> None:
    fitted, _ = codec().prepare_score(score)
    ids = codec().encode(fitted)
    vocabulary = codec().vocabulary
    bars, beats = vocabulary.musical_time(ids)
    token_bars = beats[vocabulary.kind[ids] == Kind.BAR]
    own = grid_of(fitted, "bar").edges[: len(token_bars)]
    np.testing.assert_allclose(own, token_bars[: len(own)], atol=1e-4)
    bars_with_notes = bars[vocabulary.kind[ids] == Kind.PITCH]
    assert len(own) > bars_with_notes.max(initial=0)


@pytest.mark.parametrize("name", ["openscore", "multitrack-free", "nottingham"])
def test_the_bars_of_real_music_are_those_of_its_tokens(corpora: Callable[[str], Path], name: str):
    folder = corpora(name)
    for line in (folder / "splits" / "valid.txt").read_text().split("\n")[:18]:
        if line:
            score = read_score(folder / line)
            _check_bars_agree(score)
            beats = compute_features(["density", "drum_density"], score)
            assert sum(values.sum(dtype=int) for values in beats.values()) == score.note_num()
