"""Faults that are caught with a reason, music that passes, style against a reference, coherence of long pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from symusic import Note, Score, TimeSignature, Track

from aurl.evaluation.corruptions import CORRUPTIONS, fits_splice, splice
from aurl.evaluation.metrics.table import as_table, read_table
from aurl.evaluation.validation import (
    CHECKS,
    COHERENCE,
    PLAYABLE,
    StyleBand,
    ValidationLimits,
    long_term_coherence,
    measure,
    validate,
)

QUARTER = 480
FLUTE, PIANO = 73, 0


def make(notes, program=PIANO, drum=False):
    score = Score(QUARTER)
    score.time_signatures.append(TimeSignature(0, 4, 4))
    track = Track(program=program, is_drum=drum)
    for onset, length, pitch in notes:
        track.notes.append(Note(round(onset * QUARTER), max(round(length * QUARTER), 1), pitch, 80))
    score.tracks.append(track)
    return score


def walk(seed=0, bars=24, length=0.5):
    """A melody that wanders by steps and skips, in eighths: nothing wrong with it."""
    rng = np.random.default_rng(seed)
    heights = 67 + np.clip(np.cumsum(rng.integers(-3, 4, round(bars * 4 / length))), -12, 12)
    return [(index * length, length, int(height)) for index, height in enumerate(heights)]


def failed(score, **limits):
    verdict = validate(score, ValidationLimits(**limits))
    return {finding.check for finding in verdict.findings if not finding.passed}


def test_a_plain_melody_passes_every_check() -> None:
    verdict = validate(make(walk()))
    assert verdict.passed and verdict.reasons == []
    assert {finding.check for finding in verdict.findings} == set(CHECKS) - {"crossing"}


FAULTS = {
    "notes": [(0, 1, 60)] * 1 + [(1, 1, 62)],
    "hanging": [*walk(), *((i * 4, 20, 40) for i in range(20))],
    "overlap": [(onset, 4, 60) for onset, _, _ in walk()],
    "silence": [*walk(), *((onset + 160, length, pitch) for onset, length, pitch in walk(1))],
    "loop": [(bar * 4 + step, 1, 60 + step) for bar in range(20) for step in range(4)],
    "metre": [(onset + 0.25, length, pitch) for onset, length, pitch in walk(length=1.0)],
    "tiny": [(onset, 0.01, pitch) for onset, _, pitch in walk()],
    "sparse": [(onset * 8, 4, pitch) for onset, _, pitch in walk()],
    "dense": [(onset / 16, 0.1, pitch) for onset, _, pitch in walk()],
    "at_once": [(onset, 0.5, pitch) for onset in range(4) for pitch in range(30, 80)],
}


@pytest.mark.parametrize("check", FAULTS)
def test_each_fault_is_caught_by_its_check(check: str) -> None:
    assert check in failed(make(FAULTS[check]))


def test_a_flute_does_not_play_bass_notes_but_a_piano_does() -> None:
    low = [(onset, length, pitch - 36) for onset, length, pitch in walk()]
    assert "range" in failed(make(low, FLUTE)) and "range" not in failed(make(low, PIANO))
    verdict = validate(make(low, FLUTE))
    assert any("100 % of the notes are out of their instrument's range (at most 15 %)" in r for r in verdict.reasons)


def test_programs_have_at_most_one_range_and_it_is_the_right_way_round() -> None:
    programs = [program for block, _, _ in PLAYABLE for program in block]
    assert len(programs) == len(set(programs))
    assert all(low < high for _, low, high in PLAYABLE)


def test_crossing_is_measured_in_four_parts_only() -> None:
    score = Score(QUARTER)
    for pitch in (60, 72, 50, 40):  # the alto lies above the soprano throughout
        notes = [Note(step * QUARTER, QUARTER, pitch + step % 2, 80) for step in range(16)]
        score.tracks.append(Track(program=52, notes=notes))
    assert measure(score)["crossing"] == pytest.approx(100)
    assert "crossing" in failed(score)
    assert math.isnan(measure(make(walk()))["crossing"])


def test_silence_before_the_first_note_counts() -> None:
    late = make([(onset + 60, length, pitch) for onset, length, pitch in walk()])
    assert measure(late)["silence"] == pytest.approx(30)  # at 120 quarters a minute


def test_a_performance_without_a_beat_has_no_metre_to_check() -> None:
    rng = np.random.default_rng(0)
    performed = make([(onset + rng.uniform(0, 0.5), length, pitch) for onset, length, pitch in walk()])
    assert math.isnan(measure(performed)["metre"])


def test_drums_pass_without_pitched_checks() -> None:
    score = make([(step / 2, 0.25, 36 + (step * 7) % 5) for step in range(64)], drum=True)
    checks = {finding.check for finding in validate(score).findings}
    assert "range" not in checks and "tiny" not in checks


def test_limits_can_be_moved() -> None:
    assert failed(make(walk()), fewest_notes=1e6) == {"notes"}


# style


def test_pieces_of_the_reference_style_fit_and_others_do_not() -> None:
    names = ["mean_interval", "step_share", "leap_share", "note_density", "onset_entropy", "pitch_range"]
    style = StyleBand.fit([make(walk(seed)) for seed in range(30)], names)
    assert np.mean([style.fits(make(walk(seed))) for seed in range(100, 130)]) > 0.8
    wild = make([(i * 0.5, 0.5, 36 + (i * 29) % 60) for i in range(100)])
    share, outside = style.consistency(wild)
    assert not style.fits(wild) and share < 0.5 and "mean_interval" in outside
    with pytest.raises(ValueError, match="a style needs at least two reference pieces, got 1"):
        StyleBand.fit([make(walk())])


# long pieces


def test_a_long_song_holds_together_and_two_joined_ones_do_not() -> None:
    verse, chorus = walk(1, 8), walk(2, 8)
    parts = [verse, chorus] * 6
    song = make([(onset + 32 * part, length, p) for part, notes in enumerate(parts) for onset, length, p in notes])
    strangers = [walk(seed, 8, length=0.5 if seed < 9 else 1.0) for seed in range(3, 15)]
    medley = make([(onset + 32 * k, length, p) for k, notes in enumerate(strangers) for onset, length, p in notes])
    one, other = long_term_coherence(song), long_term_coherence(medley)
    assert set(one) == set(COHERENCE)
    assert one["late_recurrence"] == pytest.approx(1) and other["late_recurrence"] < 0.9
    assert one["bridge_similarity"] == pytest.approx(1) and other["bridge_similarity"] < 0.8
    assert one["density_drift"] < 0.1 < other["density_drift"]


def test_a_short_piece_has_no_long_term_figures() -> None:
    assert all(math.isnan(value) for value in long_term_coherence(make(walk())).values())


# corruptions


@pytest.fixture(scope="module")
def piece():
    rng = np.random.default_rng(3)
    score = make(walk(3, 32))
    for note in score.tracks[0].notes:
        note.velocity = int(rng.integers(30, 110))
    return score


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_the_same_for_one_seed_and_leaves_the_original_alone(piece, name: str) -> None:
    before = piece.copy()
    one, again, other = (CORRUPTIONS[name](piece, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert piece == before and one == again and one != piece
    assert one.note_num() == piece.note_num()
    assert name == "velocity_flattening" or other != one


def test_each_corruption_keeps_what_it_says() -> None:
    score = make(walk(4, 32))
    table = read_table(score)
    spoilt = {name: read_table(change(score, np.random.default_rng(0))) for name, change in CORRUPTIONS.items()}
    sorted_pitches = np.sort(table.pitch)
    for name in ("bar_shuffle", "pitch_permutation", "timing_jitter", "velocity_flattening"):
        assert (np.sort(spoilt[name].pitch) == sorted_pitches).all(), name
    for name in ("bar_shuffle", "wrong_notes", "pitch_permutation"):
        assert (spoilt[name].start == table.start).all(), name
    moved = np.abs(spoilt["wrong_notes"].pitch - table.pitch)
    assert moved.max() == 1 and 0.05 < moved.mean() < 0.15
    shift = (np.sort(spoilt["timing_jitter"].start) - table.start) / QUARTER
    assert 0.1 < shift.std() < 0.2
    loop = spoilt["four_bar_loop"].pitch.reshape(-1, 8)
    assert (loop[4:] == loop[:-4]).all()


def test_a_splice_begins_as_one_and_ends_as_the_other_in_its_key() -> None:
    scale = [0, 2, 4, 5, 7, 9, 11, 12]
    here = make([(i, 1, 60 + scale[i % 8]) for i in range(96)])
    there = make([(i / 2, 0.5, 65 + scale[-i % 8]) for i in range(192)])
    assert fits_splice(as_table(here), as_table(there))
    joined = read_table(splice(here, there, np.random.default_rng(0)))
    assert joined.bars == 24
    early, late = joined.onset < 8 * 4, joined.onset >= 16 * 4
    assert (joined.length[early] == 1).all() and (joined.length[late] == 0.5).all()
    assert set(joined.pitch % 12) <= {step % 12 for step in scale}
