"""What is counted in a piece is what is in it; a key is found whatever its transposition."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from music21.analysis import discrete
from symusic import Score
from symusic.core import KeySignatureTick, NoteTickList, TempoTick, TimeSignatureTick, TrackTick

from aurl.music.keys import KEY_NAMES, PROFILES, estimate_key, signature_name
from aurl.music.performed import examine_timing
from aurl.music.score import read_score
from aurl.music.statistics import piece_statistics

TPQ = 480
CADENCE = (60, 64, 67, 72, 65, 69, 72, 67, 71, 74, 60, 64, 67, 72)


def score_of(*tracks: tuple[int, list[tuple[float, float, int, int]]]):
    """Tracks of (program, [(onset, length in quarters, pitch, velocity)]); program 128 is drums."""
    score = Score(TPQ)
    for program, rows in tracks:
        track = TrackTick("", program % 128, program == 128)
        table = np.array(rows, dtype=np.float64).reshape(-1, 4)
        table[:, :2] *= TPQ
        columns = np.rint(table).astype(np.int32).T
        track.notes = NoteTickList.from_numpy(*(np.ascontiguousarray(column) for column in columns))
        score.tracks.append(track)
    return score


def line(pitches=CADENCE, length: float = 1.0, velocity: int = 64) -> list[tuple[float, float, int, int]]:
    return [(index * length, length, pitch, velocity) for index, pitch in enumerate(pitches)]


def test_a_known_piece_is_counted_exactly():
    melody = [(0, 1, 60, 80), (1, 1, 64, 90), (2, 2, 67, 100), (8, 1, 60, 80)]
    doubled = [(0, 1, 60, 50)]
    score = score_of((0, melody), (40, doubled), (128, [(4, 0.5, 38, 64)]), (7, []))
    score.time_signatures.append(TimeSignatureTick(0, 3, 4))
    score.time_signatures.append(TimeSignatureTick(3 * TPQ, 6, 8))
    score.tempos.append(TempoTick(0, 60.0))
    score.tempos.append(TempoTick(4 * TPQ, 120.0))
    score.key_signatures.append(KeySignatureTick(0, -3, 1))
    found = piece_statistics(score)
    assert (found["notes"], found["drum_notes"], found["tracks"]) == (6, 1, 3)
    assert found["programs"] == {"0": 4, "40": 1, "128": 1}
    assert (found["beats"], found["bars"], found["seconds"]) == (9.0, 3, pytest.approx(4 + 2.5))
    assert found["metres"] == {"3/4": 3.0, "6/8": 6.0} and found["metre_declared"]
    assert found["tempo"] == pytest.approx(9 * 60 / 6.5)
    assert (found["tempo_low"], found["tempo_high"], found["tempo_changes"]) == (pytest.approx(60), 120, 1)
    assert found["keys"] == ["C minor"]
    assert found["density"] == pytest.approx(6 / 9) and found["notes_per_second"] == pytest.approx(6 / 6.5)
    assert found["polyphony"] == pytest.approx(6 / 5) and found["polyphony_most"] == 2
    assert found["silence"] == 3.5  # from the end of the drum stroke to the last note
    assert (found["pitch_low"], found["pitch_high"]) == (60, 67)
    assert found["pitch_counts"] == [3, 0, 0, 0, 1, 0, 0, 1]
    assert found["pitch_classes"][0] == pytest.approx(0.5) and sum(found["pitch_classes"]) == pytest.approx(1)
    assert found["velocity"] == pytest.approx(464 / 6) and found["velocity_values"] == 5
    assert found["doubled"] == pytest.approx(1 / 5)
    assert found["off_grid"] == 0 and not found["performed"]
    json.dumps(found, allow_nan=False)


def test_repeated_notes_and_chords_are_not_silence_and_not_more_voices_than_there_are():
    found = piece_statistics(score_of((0, [(0, 1, 60, 64), (1, 1, 60, 64), (2, 1, 60, 64), (2, 1, 64, 64)])))
    assert (found["polyphony_most"], found["silence"]) == (2, 0)
    assert found["polyphony"] == pytest.approx(4 / 3)


def test_drums_alone_have_no_pitch_no_key_and_no_polyphony():
    found = piece_statistics(score_of((128, line([38, 42, 38, 42]))))
    for name in ("key", "pitch_low", "pitch_classes", "polyphony", "doubled", "note_length"):
        assert found[name] is None, name
    assert (found["notes"], found["drum_notes"], found["pitch_counts"]) == (4, 4, [])


def test_an_empty_score_and_one_without_end_cost_nothing_and_can_be_written_as_json():
    empty, far = piece_statistics(Score(TPQ)), Score(1)
    assert (empty["notes"], empty["beats"], empty["density"], empty["off_grid"]) == (0, 0, None, None)
    far.tracks.append(TrackTick("", 0, False))
    far.tracks[0].notes = NoteTickList.from_numpy(*(np.array([x], np.int32) for x in (2**30 - 2, 1, 60, 64)))
    found = piece_statistics(far)
    assert found["bars"] == 2**28 and found["silence"] == 2**30 - 2
    json.dumps([empty, found], allow_nan=False)


def test_a_tempo_after_the_last_note_counts_for_nothing():
    score = score_of((0, line()))
    score.tempos.append(TempoTick(0, 100.0))
    score.tempos.append(TempoTick(1000 * TPQ, 20.0))
    found = piece_statistics(score)
    assert (found["tempo_changes"], found["tempo_low"]) == (0, pytest.approx(100))
    assert found["seconds"] == pytest.approx(len(CADENCE) * 0.6)


def test_how_notes_lie_on_the_beats_is_what_preprocessing_says_of_them():
    rng = np.random.default_rng(0)
    anywhere, click = np.sort(rng.uniform(0, 100, 2000)), np.arange(400) / 4 + rng.normal(0.05, 0.03, 400)
    beside = np.arange(160) / 4 + 0.4
    told = []
    for onsets in (anywhere, anywhere[:8], click, beside):
        score = score_of((0, [(float(max(onset, 0)), 0.1, 60, 64) for onset in onsets]))
        found, timing = piece_statistics(score), examine_timing(score)
        assert (found["off_grid"], found["performed"], found["shifted"]) == (
            timing.off_grid_share, timing.performed, timing.off_beat
        )  # fmt: skip
        told.append((found["performed"], found["shifted"]))
    assert told == [(True, False), (False, False), (False, False), (False, True)], "eight notes are too few to tell"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("key", range(24))
def test_a_profile_is_recognised_as_its_own_key(profile: str, key: int):
    weights = np.roll(PROFILES[profile][key // 12], key % 12)
    found = estimate_key(weights, profile)
    assert found is not None and found.name == KEY_NAMES[key] and found.correlation == pytest.approx(1)
    assert found.margin > 0


@given(st.lists(st.integers(0, 127), min_size=4, max_size=40), st.integers(0, 11))
def test_transposing_the_music_transposes_the_key(pitches: list[int], by: int):
    weights = np.bincount(np.array(pitches) % 12, minlength=12)
    before, after = estimate_key(weights), estimate_key(np.roll(weights, by))
    assert (before is None) == (after is None)
    if before is not None and after is not None and before.margin > 1e-6:
        index = KEY_NAMES.index(before.name)
        assert KEY_NAMES.index(after.name) == index // 12 * 12 + (index + by) % 12
        assert after.correlation == pytest.approx(before.correlation)


def test_the_profiles_are_those_of_music21():
    known = {
        "krumhansl-kessler": discrete.KrumhanslKessler,
        "temperley": discrete.TemperleyKostkaPayne,
        "aarden-essen": discrete.AardenEssen,
    }
    for name, oracle in known.items():
        for profile, mode in zip(PROFILES[name], ("major", "minor"), strict=True):
            np.testing.assert_allclose(profile, oracle().getWeights(mode), atol=0.006)


def test_silence_and_noise_without_a_key_have_none_and_wrong_input_is_refused():
    assert estimate_key(np.zeros(12)) is None
    assert estimate_key(np.full(12, 0.1)) is None
    with pytest.raises(ValueError, match="profile=mine is unknown; allowed: krumhansl-kessler, temperley"):
        estimate_key(np.ones(12), "mine")
    with pytest.raises(ValueError, match="a profile has 12 weights"):
        estimate_key(np.ones(7))


@pytest.mark.parametrize(
    ("accidentals", "minor", "name"),
    [(0, False, "C major"), (0, True, "A minor"), (7, False, "Db major"), (-7, True, "G# minor"), (1, True, "E minor")],
)
def test_key_signatures_are_named_as_musicians_do(accidentals: int, minor: bool, name: str):
    assert signature_name(accidentals, minor) == name


def test_notated_and_performed_corpora_are_told_apart_and_declared_keys_are_mostly_found(
    corpora: Callable[[str], Path],
):
    performed = {}
    agree = []
    for name in ("nottingham", "openscore", "asap-piano", "giantmidi-sample"):
        folder = corpora(name)
        lines = [row for row in (folder / "splits" / "test.txt").read_text().split("\n") if row][:12]
        found = [piece_statistics(read_score(folder / row)) for row in lines]
        performed[name] = {row["performed"] for row in found}
        if name == "nottingham":
            agree = [row["key"] == row["keys"][0] for row in found if row["keys"]]
    assert performed["nottingham"] == performed["openscore"] == {False}
    assert performed["asap-piano"] == performed["giantmidi-sample"] == {True}
    assert np.mean(agree) > 0.7
