"""Attributes of a bar are what its own notes say, by definitions that a musician can check by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic import Score
from symusic.core import NoteTickList, ScoreTick, TrackTick

from aurl.music.attributes import ATTRIBUTES, UNITS, bar_attributes, transpose_attributes
from aurl.music.grid import grid_of
from aurl.music.score import read_score

QUARTER = 48
Notes = list[tuple[float, float, int, int]]
"""(onset in quarters, length in quarters, pitch, velocity)."""


def make(notes: Notes, drums: Notes | None = None) -> ScoreTick:
    score = Score(QUARTER)
    for is_drum, rows in ((False, notes), (True, drums or [])):
        track = TrackTick("", 0, is_drum)
        table = np.array(sorted(rows), dtype=float).reshape(-1, 4)
        ticks = [np.rint(table[:, i] * (QUARTER if i < 2 else 1)).astype(np.int32) for i in range(4)]
        track.notes = NoteTickList.from_numpy(*ticks)
        score.tracks.append(track)
    return score


def bar_of(notes: Notes, drums: Notes | None = None, length: float = 4.0) -> dict[str, float]:
    """The attributes of a score of one bar."""
    rows = bar_attributes(make(notes, drums), np.array([0.0, length]))
    assert rows.shape == (1, len(ATTRIBUTES)) and rows.dtype == np.float32
    return dict(zip(ATTRIBUTES, rows[0].tolist(), strict=True))


def test_every_attribute_has_a_unit():
    assert len(UNITS) == len(ATTRIBUTES) == 8


def test_an_empty_bar_has_no_onsets_and_nothing_else():
    rows = bar_attributes(make([(4, 1, 60, 64)]), np.array([0.0, 4.0, 8.0]))
    assert rows[0, 0] == 0 and np.isnan(rows[0, 1:]).all()
    assert rows[1, 0] == 0.25
    nothing = bar_attributes(make([]), np.array([0.0, 4.0]))
    assert nothing[0, 0] == 0 and np.isnan(nothing[0, 1:]).all()


def test_a_held_triad():
    found = bar_of([(0, 2, pitch, velocity) for pitch, velocity in ((60, 60), (64, 70), (67, 80))])
    assert found["density"] == 0.25  # a chord is one onset
    assert found["polyphony"] == 3  # silence afterwards does not count
    assert found["mean_pitch"] == pytest.approx((60 + 64 + 67) / 3)
    assert found["range"] == 7
    assert found["velocity"] == 70
    assert found["tension"] == pytest.approx(-(0.594 + 0.386 + 1.240) / 3)
    assert found["contour"] == 0


def test_polyphony_is_an_average_over_sounding_time():
    assert bar_of([(0, 2, 60, 64), (1, 1, 64, 64)])["polyphony"] == pytest.approx(1.5)


def test_a_semitone_is_rougher_than_a_triad_and_a_line_alone_has_no_tension():
    assert bar_of([(0, 1, 60, 64), (0, 1, 61, 64)])["tension"] == pytest.approx(1.428)
    assert np.isnan(bar_of([(0, 1, 60, 64), (1, 1, 61, 64)])["tension"])
    assert np.isnan(bar_of([(0, 1, 60, 64), (0, 1, 72, 64)])["tension"])  # an octave is one pitch class


def test_contour_is_the_slope_of_the_top_line_in_semitones_a_bar():
    steps = 64
    line = [(4 * i / steps, 4 / steps, 40 + i // 4, 64) for i in range(steps)]  # 16 semitones in a bar
    assert bar_of(line)["contour"] == pytest.approx(16, abs=0.1)
    assert bar_of([(onset, length, 130 - 40 - pitch, 64) for onset, length, pitch, _ in line])["contour"] < -15
    under = [(0, 4, 30, 64), (2, 2, 20, 64)]  # what lies below the top line changes nothing
    assert bar_of(line + under)["contour"] == pytest.approx(bar_of(line)["contour"])


def test_two_halves_of_a_bar_have_the_slope_of_a_fitted_line():
    """The integral of (t - 1/2)(p - mean) over that of (t - 1/2)^2: (s / 8) / (1 / 12) of an upward step s."""
    assert bar_of([(0, 2, 60, 64), (2, 2, 64, 64)])["contour"] == pytest.approx(4 / 8 * 12, abs=1e-4)


def test_a_higher_note_that_is_held_hides_the_lower_ones():
    assert bar_of([(0, 4, 72, 64), (1, 1, 60, 64), (2, 1, 50, 64)])["contour"] == 0


def test_syncopation_rises_as_notes_leave_the_beat():
    on, off = [(beat, 1, 60, 64) for beat in range(4)], [(beat + 0.5, 1, 60, 64) for beat in range(4)]
    late = [(beat + 0.75, 0.25, 60, 64) for beat in range(4)]
    downbeat = [(0.0, 1, 60, 64)]
    values = [bar_of(rows)["syncopation"] for rows in (on, downbeat, off, late)]
    assert values[0] < values[1] < 0
    assert values[0] < -0.7 and values[2] > -0.1 and values[3] > 0.2


def test_syncopation_is_the_correlation_that_numpy_gives():
    weights = np.array([0, -4, -3, -4, -2, -4, -3, -4, -1, -4, -3, -4, -2, -4, -3, -4])
    generator = np.random.default_rng(0)
    for _ in range(20):
        counts = generator.integers(0, 4, 16)
        rows = [(step / 4, 0.25, 40 + k, 64) for step, count in enumerate(counts) for k in range(count)]
        assert bar_of(rows)["syncopation"] == pytest.approx(-np.corrcoef(counts, weights)[0, 1], abs=1e-6)
    even = [(step / 4, 0.25, 60, 64) for step in range(16)]
    assert bar_of(even)["syncopation"] == 0


def test_syncopation_knows_three_quarters():
    waltz = [(beat, 1, 60, 64) for beat in range(3)]
    assert bar_of(waltz, length=3.0)["syncopation"] < -0.8
    assert bar_of([(beat + 0.5, 0.5, 60, 64) for beat in range(3)], length=3.0)["syncopation"] > -0.1


def test_a_bar_of_drums_has_rhythm_and_velocity_but_no_pitch():
    found = bar_of([], [(beat / 2, 0.1, 42, 100) for beat in range(8)])
    assert found["density"] == 2 and found["velocity"] == 100 and found["syncopation"] < -0.5
    assert all(np.isnan(found[name]) for name in ("polyphony", "mean_pitch", "range", "tension", "contour"))
    both = bar_of([(0, 4, 60, 50)], [(0, 1, 36, 100)])
    assert both["mean_pitch"] == 60 and both["velocity"] == 75 and both["polyphony"] == 1


def test_notes_outside_the_bar_lines_count_as_documented():
    rows = bar_attributes(make([(0, 1, 50, 64), (4, 1, 60, 64), (20, 1, 70, 64)]), np.array([4.0, 8.0, 12.0]))
    assert rows[:, ATTRIBUTES.index("mean_pitch")].tolist() == [60, 70]
    assert rows[:, 0].tolist() == [0.25, 0.25]
    with pytest.raises(ValueError, match="each later than the one before"):
        bar_attributes(make([]), np.array([0.0, 0.0]))


BARS = 5
rows = st.lists(
    st.tuples(
        st.integers(0, 4 * BARS * 12 - 1).map(lambda n: n / 12),
        st.integers(1, 90).map(lambda n: n / 12),
        st.integers(20, 100),
        st.integers(1, 127),
    ),
    max_size=40,
)
edges = np.arange(BARS + 1) * 4.0


@given(rows, rows, st.integers(0, BARS - 1))
@settings(max_examples=60, deadline=None)
def test_a_bar_depends_on_no_note_of_another_bar(notes: Notes, others: Notes, bar: int):
    def inside(note: tuple[float, float, int, int]) -> bool:
        return 4 * bar <= note[0] < 4 * bar + 4

    mine = [note for note in notes if inside(note)]
    elsewhere = [note for note in others if not inside(note)]
    alone, among = (bar_attributes(make(part), edges)[bar] for part in (mine, mine + elsewhere))
    np.testing.assert_allclose(alone, among, rtol=1e-4, atol=1e-4)


@given(rows, rows, st.integers(-12, 12))
@settings(max_examples=60, deadline=None)
def test_transposing_moves_the_mean_pitch_alone(notes: Notes, drums: Notes, by: int):
    before = bar_attributes(make(notes, drums), edges)
    moved = make([(onset, length, pitch + by, velocity) for onset, length, pitch, velocity in notes], drums)
    np.testing.assert_allclose(bar_attributes(moved, edges), transpose_attributes(before, by), rtol=1e-4, atol=1e-4)


def test_attributes_of_real_songs_vary_and_are_defined(corpora: Callable[[str], Path]):
    folder = corpora("pop909")
    for line in (folder / "splits" / "valid.txt").read_text().split()[:3]:
        score = read_score((folder / line).parent / "cl.mid")
        found = bar_attributes(score, grid_of(score, "bar").edges)
        assert np.isnan(found).mean() < 0.1
        assert (np.nanstd(found, axis=0) > 0.05).all()
