"""Measures of a notation become bars of a score."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aurl.music.bars import BarLayout, Measure, lay_out_bars


def measures(*lengths: int, numerator: int = 4, denominator: int = 4) -> list[Measure]:
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [Measure(start, length, numerator, denominator) for start, length in zip(starts, lengths, strict=True)]


def test_a_pick_up_moves_everything_by_what_its_bar_lacks():
    assert lay_out_bars(measures(4, 16, 16), 4) == BarLayout(12, [(0, 4, 4)])


def test_full_bars_stay_where_they_are():
    assert lay_out_bars(measures(16, 16, 16), 4) == BarLayout(0, [(0, 4, 4)])


def test_a_short_last_bar_needs_no_metre_of_its_own():
    assert lay_out_bars(measures(4, 16, 12), 4) == BarLayout(12, [(0, 4, 4)])


def test_the_two_halves_of_a_bar_split_by_a_repeat_sign_are_one_bar():
    assert lay_out_bars(measures(4, 16, 12, 4, 16), 4) == BarLayout(12, [(0, 4, 4)])


def test_a_bar_that_is_short_for_good_gets_its_own_metre():
    assert lay_out_bars(measures(16, 12, 16, 16), 4) == BarLayout(0, [(0, 4, 4), (16, 3, 4), (28, 4, 4)])
    assert lay_out_bars(measures(16, 6, 16), 4) == BarLayout(0, [(0, 4, 4), (16, 3, 8), (22, 4, 4)])


def test_a_piece_of_one_short_bar_is_not_a_pick_up():
    assert lay_out_bars(measures(8), 4) == BarLayout(0, [(0, 4, 4)])


def test_music_without_measures_has_no_layout():
    assert lay_out_bars([], 4) is None


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.sampled_from([2, 3, 4, 6]))
def test_every_measure_begins_on_a_bar_line_or_completes_the_one_before(lengths: list[int], numerator: int):
    notated = measures(*lengths, numerator=numerator)
    layout = lay_out_bars(notated, 4)
    assert layout is not None
    lines = {0}
    metres = [(time + layout.shift if time else 0, 16 * n // d) for time, n, d in layout.metres]
    ends = [time for time, _ in metres[1:]] + [sum(lengths) + layout.shift + 1]
    for (time, length), end in zip(metres, ends, strict=True):
        lines.update(range(time, end, length))
        assert (end - time) % length == 0 or end == ends[-1]
    full = 4 * numerator
    for before, measure in zip([None, *notated], notated, strict=False):
        starts_bar = measure.start + layout.shift in lines
        assert starts_bar or measure is notated[0] or (before is not None and before.length < full)
