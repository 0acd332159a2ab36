"""Copies are named with their source, unrelated music is not, and diversity falls where music repeats itself."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from symusic import Note, Score, TimeSignature, Track

from aurl.evaluation.metrics.table import NoteTable, read_table
from aurl.evaluation.originality import (
    COPIED,
    MELODY,
    ORIGINAL,
    TOO_SHORT,
    CopyChecker,
    check_copies,
    company_match,
    copied_share,
    longer_runs,
    measure_diversity,
)
from aurl.music.similarity import Line

LENGTHS = (240, 480, 720)


def tune(seed: int, notes: int = 100, shift: int = 0, drums: bool = False) -> Score:
    rng = np.random.default_rng(seed)
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 4, 4))
    track = Track(is_drum=drums)
    time = 0
    for _ in range(notes):
        length = int(rng.choice(LENGTHS))
        track.notes.append(Note(time, length, 60 + shift + int(rng.integers(0, 14)), 80))
        time += length
    score.tracks.append(track)
    return score


def table(seed: int, notes: int = 100, shift: int = 0, drums: bool = False) -> NoteTable:
    return read_table(tune(seed, notes, shift, drums))


@pytest.fixture(scope="module")
def training() -> dict[str, NoteTable]:
    return {f"song {seed}": table(seed) for seed in range(25)}


def test_a_transposed_copy_is_named_with_its_source(training: dict[str, NoteTable]) -> None:
    report = CopyChecker(training).report("mine.mid", table(7, shift=-5))
    assert report.verdict == COPIED
    assert report.run.piece == "song 7" and report.longest_run >= 95
    assert report.nearest is not None and report.nearest.piece == "song 7" and report.nearest.transposition == -5
    assert report.reasons[0] == "99 equal notes with song 7 (100 % of what sounds beside)"
    assert "% of a passage of song 7" in report.reasons[1]


def test_a_copied_passage_in_new_music_is_found(training: dict[str, NoteTable]) -> None:
    score, other = tune(99), tune(3)
    score.tracks[0].notes = other.tracks[0].notes[20:50]
    report = CopyChecker(training).report("mine.mid", read_table(score))
    assert report.verdict == COPIED and report.run.notes == 29
    assert report.run.onset == other.tracks[0].notes[21].time / 480


def test_new_music_is_original_and_a_few_notes_are_too_short_to_say(training: dict[str, NoteTable]) -> None:
    checker = CopyChecker(training)
    report = checker.report("mine.mid", table(1000))
    assert report.verdict == ORIGINAL and report.reasons == () and report.similarity < 0.6
    assert checker.report("short.mid", table(1000, notes=5)).verdict == TOO_SHORT
    drums = checker.report("drums.mid", table(3, drums=True))
    assert drums.verdict == TOO_SHORT and drums.similarity == 0


def setting(melody: int, bass: int, shift: int = 0, half: bool = False) -> NoteTable:
    """A melody over another voice, in another key or notated in halved values."""
    score, below = tune(melody, shift=shift), tune(bass, shift=shift - 30)
    score.tracks.append(below.tracks[0])
    if half:
        for track in score.tracks:
            track.notes = [Note(n.time // 2, n.duration // 2, n.pitch, n.velocity) for n in track.notes]
    return read_table(score)


def test_one_tune_in_two_settings_is_a_shared_melody_and_with_its_voices_a_copy() -> None:
    checker = CopyChecker({"old": setting(1, 2), **{f"song {seed}": table(seed) for seed in range(50, 55)}})
    other = checker.report("x", setting(1, 3, shift=2))
    assert other.verdict == MELODY and other.company < 0.3 and other.run.piece == "old"
    assert all("% of what sounds beside" in reason for reason in other.reasons)
    for again in (setting(1, 2, shift=-4), setting(1, 2, half=True)):
        report = checker.report("x", again)
        assert report.verdict == COPIED and report.company == 1
    alone = checker.report("x", table(1))
    assert alone.verdict == COPIED and alone.company == 1  # the melody is all there is of it
    assert CopyChecker({"old": setting(1, 2)}, company_share=0.0).report("x", setting(1, 3)).verdict == COPIED


def test_what_sounds_beside_is_compared_at_its_place() -> None:
    table_, source = setting(1, 2), setting(1, 2)
    checker = CopyChecker({"old": source})
    voice = table_.lines[0]
    run = checker.index.longest_run(Line("x", table_.pitch[voice], table_.onset[voice]))
    assert company_match(table_, voice, source, run) == 1
    assert company_match(table_, voice, source, replace(run, transposition=1)) < 0.2
    late = replace(source, start=source.start + np.where(source.pitch < 50, 100, 0))
    assert company_match(table_, voice, late, run) < 0.2
    near = replace(source, start=source.start + np.where(source.pitch < 50, 50, 0))
    assert company_match(table_, voice, near, run) == 1  # less than half a sixteenth: a performance of the same


def test_limits_can_be_set(training: dict[str, NoteTable]) -> None:
    score = tune(99)
    score.tracks[0].notes = tune(3).tracks[0].notes[20:36]
    table_ = read_table(score)
    assert CopyChecker(training).report("x", table_).verdict == ORIGINAL
    assert CopyChecker(training, copied_notes=12).report("x", table_).verdict == COPIED


def test_real_music_stands_beside_the_batch(training: dict[str, NoteTable]) -> None:
    files = {f"{seed}.mid": table(seed, shift=2) for seed in range(10)} | {"new.mid": table(500)}
    held_out = {f"real {seed}": table(seed) for seed in range(200, 215)}
    result = check_copies(files, training, held_out)
    assert result.copied == pytest.approx(10 / 11) and result.human_copied == 0
    assert len(result.human) == 11 and result.human_is_held_out and result.p_value < 0.01
    values = json.loads(json.dumps(result.to_dict()))
    assert values["files"][0]["verdict"] == COPIED and values["human_longest_run"][2] < 20
    assert values["shared_melodies"] == values["human_shared_melodies"] == 0


def test_without_other_real_music_each_training_piece_is_compared_with_the_rest(training: dict[str, NoteTable]) -> None:
    seen: list[tuple[int, int]] = []
    result = check_copies({"new.mid": table(500)}, training, None, lambda d, t: seen.append((d, t)), most_human=8)
    assert not result.human_is_held_out and len(result.human) == 8
    assert result.human_copied == 0  # each would be a copy of itself
    assert seen[-1] == (9, 9)


def test_nothing_to_compare_has_no_figures() -> None:
    assert math.isnan(longer_runs([], [])) and math.isnan(copied_share([]))
    result = check_copies({"new.mid": table(0)}, {})
    assert result.files[0].verdict == ORIGINAL and result.human == [] and result.to_dict()["human_copied"] is None


def test_a_batch_that_repeats_itself_is_less_diverse(training: dict[str, NoteTable]) -> None:
    varied = measure_diversity({f"{k}": table(k + 300) for k in range(6)}, training)
    alike = measure_diversity({f"{k}": table(300 + k % 2, shift=k) for k in range(6)}, training)
    assert all(alike.distinct[size] < 0.5 * varied.distinct[size] for size in (4, 8, 12))
    assert varied.distinct[8] == varied.reference_distinct[8] == 1
    assert min(alike.shared_run.values()) > 90 > 12 > max(varied.shared_run.values())
    assert sorted(alike.duplicates) == [("0", "2"), ("0", "4"), ("1", "3"), ("1", "5")] and varied.duplicates == []
    assert alike.to_dict()["distinct"]["4"] == alike.distinct[4]


def test_both_sides_are_counted_over_equally_many_n_grams() -> None:
    loop = {f"{k}": table(1, notes=20 * (k + 1)) for k in range(3)}
    found = measure_diversity(loop, {"long": table(1, notes=400), "other": table(2, notes=400), "third": table(3)})
    assert found.reference_distinct[4] > 0.9  # over as few as the batch has
    alone = measure_diversity({"one": table(1, notes=2)})
    assert math.isnan(alone.distinct[4]) and alone.reference_distinct == {} and alone.duplicates == []
