from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played_scores import played_scores, rows_of, score_of
from symusic import Score
from symusic.core import ScoreTick

from aurl.music.note_arrays import TickNotes, notes_of
from aurl.music.polyphony import Polyphony, most_sounding, reduce_polyphony

REDUCED = [kind for kind in Polyphony if kind is not Polyphony.all]
MOST = {Polyphony.skyline: 1, Polyphony.melody_bass: 2}


def pitched(score: ScoreTick) -> TickNotes:
    notes = notes_of(score)
    return notes.take(~notes.drum)


def sounding_at(notes: TickNotes) -> int:
    """The most notes at once, counted at every onset."""
    return max((int(((notes.time <= t) & (notes.end > t)).sum()) for t in notes.time.tolist()), default=0)


@given(played_scores(), st.sampled_from(REDUCED), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_never_more_sound_than_asked_and_what_is_kept_was_there(score: ScoreTick, kind: Polyphony, most: int) -> None:
    before = score.copy()
    result, counts = reduce_polyphony(score, kind, most)
    assert score == before, "the given score was changed"
    old, new = pitched(score), pitched(result)
    assert sounding_at(new) == most_sounding(new) <= MOST.get(kind, most)
    fields = ("track", "time", "pitch", "velocity")
    heads = [set(zip(*(getattr(notes, name).tolist() for name in fields), strict=True)) for notes in (old, new)]
    assert heads[1] <= heads[0]
    assert (new.end > new.time).all()
    assert counts["notes_left_out"] == len(old.time) - len(new.time)
    assert (new.end - new.time).sum() <= (old.end - old.time).sum()
    assert bool(len(new.time)) == bool(len(old.time)), "not everything goes"
    drums = [[rows_of(s, i) for i, t in enumerate(s.tracks) if t.is_drum] for s in (score, result)]
    assert drums[0] == drums[1]


@given(played_scores(), st.sampled_from(REDUCED))
@settings(max_examples=40, deadline=None)
def test_the_same_music_gives_the_same_result_and_once_is_enough_for_max_voices(
    score: ScoreTick, kind: Polyphony
) -> None:
    once, _ = reduce_polyphony(score, kind, 3)
    assert reduce_polyphony(score, kind, 3)[0] == once
    if kind is Polyphony.max_voices:
        assert reduce_polyphony(once, kind, 3)[0] is once


@given(played_scores())
@settings(max_examples=40, deadline=None)
def test_the_highest_note_of_all_is_in_the_skyline_unless_cut_to_a_scrap(score: ScoreTick) -> None:
    notes = pitched(score)
    result, _ = reduce_polyphony(score, Polyphony.skyline, 1)
    if len(notes.time):
        top = notes.take(notes.pitch == notes.pitch.max())
        assert set(pitched(result).time.tolist()) & set(top.time.tolist())


def test_outer_voices_stay_and_the_softest_inner_voice_goes() -> None:
    chord = [(0, 2, 48, 30), (0, 2, 55, 60), (0, 2, 60, 90), (0, 2, 64, 50), (0, 2, 72, 20)]
    result, counts = reduce_polyphony(score_of(chord), Polyphony.max_voices, 4)
    assert {row[2] for row in rows_of(result)} == {48, 55, 60, 72}
    assert counts == {"notes_left_out": 1, "notes_cut": 0}
    assert {row[2] for row in rows_of(reduce_polyphony(score_of(chord), Polyphony.max_voices, 2)[0])} == {48, 72}
    assert {row[2] for row in rows_of(reduce_polyphony(score_of(chord), Polyphony.max_voices, 1)[0])} == {72}


def test_equally_loud_inner_voices_go_by_what_is_left_of_them() -> None:
    chord = [(0, 2, 48, 60), (0, 1, 55, 60), (0, 2, 60, 60), (0, 2, 72, 60)]
    assert {row[2] for row in rows_of(reduce_polyphony(score_of(chord), Polyphony.max_voices, 3)[0])} == {48, 60, 72}


def test_a_held_inner_note_is_cut_where_a_new_voice_comes_in() -> None:
    score = score_of([(0, 4, 48, 80), (0, 4, 60, 50), (0, 4, 72, 80), (2, 2, 64, 80)])
    result, counts = reduce_polyphony(score, Polyphony.max_voices, 3)
    assert (0, 2, 60, 50) in rows_of(result) and (2, 2, 64, 80) in rows_of(result)
    assert counts == {"notes_left_out": 0, "notes_cut": 1}


def test_legato_overlap_costs_no_note() -> None:
    line = [(beat, 1.08, 60 + beat, 80) for beat in range(8)] + [(0, 8, 40, 80)]
    for kind, most in ((Polyphony.max_voices, 2), (Polyphony.melody_bass, 2)):
        result, counts = reduce_polyphony(score_of(line), kind, most)
        assert counts["notes_left_out"] == 0 and counts["notes_cut"] == 7
        assert len(rows_of(result)) == 9


def test_a_spread_chord_leaves_no_scraps_of_its_lower_notes() -> None:
    chord = [(0.00, 2, 48, 80), (0.02, 2, 55, 80), (0.04, 2, 64, 80)]
    assert [row[2] for row in rows_of(reduce_polyphony(score_of(chord), Polyphony.skyline, 1)[0])] == [64]
    assert {row[2] for row in rows_of(reduce_polyphony(score_of(chord), Polyphony.melody_bass, 1)[0])} == {48, 64}


def test_the_skyline_respects_a_held_high_note_and_follows_a_descending_legato_line() -> None:
    held = score_of([(0, 4, 80, 80), (1, 1, 60, 80), (2, 1, 62, 80), (4, 1, 64, 80)])
    assert rows_of(reduce_polyphony(held, Polyphony.skyline, 1)[0]) == [(0, 4, 80, 80), (4, 1, 64, 80)]
    falling = score_of([(beat, 1.1, 80 - beat, 80) for beat in range(6)])
    assert [row[:2] for row in rows_of(reduce_polyphony(falling, Polyphony.skyline, 1)[0])] == [
        (beat, 1) for beat in range(5)
    ] + [(5, pytest.approx(1.1, abs=1e-2))]


def test_melody_and_bass_of_four_voices_are_soprano_and_bass() -> None:
    voices = [[(beat, 1, pitch + beat % 3, 80) for beat in range(8)] for pitch in (72, 65, 58, 45)]
    result, _ = reduce_polyphony(score_of(*voices), Polyphony.melody_bass, 1)
    assert [len(track.notes) for track in result.tracks] == [8, 0, 0, 8]


def test_all_and_what_already_fits_give_back_the_very_score() -> None:
    score = score_of([(0, 1, 60, 80), (1, 1, 62, 80)], [(0, 2, 36, 90)], drums=(1,))
    for kind, most in ((Polyphony.all, 1), (Polyphony.max_voices, 1), (Polyphony.skyline, 1)):
        assert reduce_polyphony(score, kind, most)[0] is score
    drums = score_of([(0, 1, 36, 90), (0, 1, 38, 90)], drums=(0,))
    assert reduce_polyphony(drums, Polyphony.skyline, 1)[0] is drums


def test_the_skyline_of_chorales_is_their_soprano(corpora: Callable[[str], Path]) -> None:
    folder, shares = corpora("jsb-chorales"), []
    for path in (folder / "splits" / "valid.txt").read_text(encoding="utf-8").split()[:20]:
        result, _ = reduce_polyphony(Score(str(folder / path)), Polyphony.skyline, 1)
        shares.append(float((notes_of(result).track == 0).mean()))
    assert np.mean(shares) > 0.95
