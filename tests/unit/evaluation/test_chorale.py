"""Statistics of a chorale equal what a reader counts in small settings, and corrupted music leaves Bach's band."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import symusic

from aurl.evaluation.chorale import (
    Key,
    band,
    cadence_kind,
    compare,
    finite,
    is_root_triad,
    nearest_key,
    piece_statistics,
    share_inside,
    voice_statistics,
)
from aurl.evaluation.copying import CopyIndex
from aurl.evaluation.voices import SILENT, Notes, Voices, bar_lines, read_voices

TICKS = 480
EXCERPT_BARS = 16


def make_score(chords: Sequence[Sequence[int]], quarters: Sequence[float]) -> symusic.Score:
    """Block chords: each (soprano, alto, tenor, bass), SILENT for a rest."""
    score = symusic.Score(TICKS)
    starts = np.concatenate([[0], np.cumsum(quarters)[:-1]])
    for voice in range(4):
        track = symusic.Track(program=52)
        for chord, start, length in zip(chords, starts, quarters, strict=True):
            if chord[voice] != SILENT:
                track.notes.append(symusic.Note(int(start * TICKS), int(length * TICKS), chord[voice], 80))
        score.tracks.append(track)
    return score


C, F, G, G7 = [72, 67, 64, 48], [72, 69, 65, 53], [71, 67, 62, 55], [71, 65, 62, 55]


def test_ranges_and_spacing_are_those_of_the_notes() -> None:
    values = piece_statistics(make_score([C, F, G, C], [1, 1, 1, 1]))
    assert (values["soprano_lowest"], values["soprano_highest"]) == (71, 72)
    assert (values["bass_lowest"], values["bass_highest"]) == (48, 55)
    assert values["soprano_alto_spacing"] == pytest.approx((5 + 3 + 4 + 5) / 4)
    assert values["soprano_alto_wide_percent"] == 0
    assert values["crossed_percent"] == 0
    assert values["four_voices_percent"] == 100


def test_wide_and_crossed_chords_are_weighted_by_their_length() -> None:
    wide, crossed = [79, 64, 60, 48], [72, 60, 64, 48]
    values = piece_statistics(make_score([C, wide, crossed], [2, 1, 1]))
    assert values["soprano_alto_wide_percent"] == 25
    assert values["crossed_percent"] == 25


def test_parallel_fifths_and_octaves_are_counted_once_a_pair() -> None:
    fifths = piece_statistics(make_score([[76, 71, 67, 60], [74, 69, 67, 62]], [1, 1]))  # no fifth kept: contrary bass
    assert fifths["parallel_fifths_per_100_chords"] == 0
    fifths = piece_statistics(make_score([[76, 72, 67, 60], [77, 74, 69, 62]], [1, 1]))  # tenor and bass G-C to A-D
    assert fifths["parallel_fifths_per_100_chords"] == 50
    octaves = piece_statistics(make_score([[72, 67, 64, 48], [74, 67, 65, 50]], [1, 1]))
    assert octaves["parallel_octaves_per_100_chords"] == 50
    assert octaves["parallel_fifths_per_100_chords"] == 0
    held = piece_statistics(make_score([[72, 67, 60, 48], [72, 67, 60, 48]], [1, 1]))
    assert held["parallel_octaves_per_100_chords"] == 0


def test_cadences_are_named_by_bass_and_leading_tone() -> None:
    key = Key(0, minor=False)

    def kind(*chords: list[int]) -> str:
        found = read_voices(make_score(chords, [1] * len(chords))).chords
        return cadence_kind(found, len(chords) - 1, key)

    assert kind(G, C) == "authentic"
    assert kind(G7, C) == "authentic"
    assert kind(F, C) == "plagal"
    assert kind(C, G) == "half"
    assert kind(G, F) == "other"
    assert kind(G, [72, 67, 64, 52]) == "other"  # first inversion is no root-position triad


def test_points_of_rest_are_long_chords() -> None:
    values = piece_statistics(make_score([C, F, G, C, F, C, G, C], [1, 1, 1, 2, 1, 1, 1, 4]))
    assert values["rests_per_16_bars"] == pytest.approx(16 * 2 / 3)
    assert values["rest_triad_percent"] == 100
    assert values["authentic_percent"] == 100
    assert values["ending_triad_percent"] == 100


@pytest.mark.parametrize(
    ("pitch", "wanted"),
    [
        ([72, 67, 64, 48], True),
        ([72, 67, 63, 48], True),
        ([72, 64, 60, 48], True),
        ([72, 67, 60, 48], False),
        ([72, 67, 64, 52], False),
        ([70, 67, 64, 48], False),
        ([72, 67, SILENT, 48], False),
    ],
)
def test_root_position_triads_need_their_third_and_root_in_the_bass(pitch: list[int], wanted: bool) -> None:
    assert is_root_triad(np.array(pitch)) is wanted


@pytest.mark.parametrize("shift", range(12))
def test_the_key_moves_with_the_music(shift: int) -> None:
    chords = [[pitch + shift for pitch in chord] for chord in (C, F, G, C)]
    assert nearest_key(read_voices(make_score(chords, [1, 1, 1, 2]))) == Key(shift, minor=False)
    minor = [[69, 64, 60, 45], [69, 65, 62, 50], [68, 64, 59, 52], [69, 64, 60, 45]]
    chords = [[pitch + shift for pitch in chord] for chord in minor]
    score = make_score(chords, [1, 1, 1, 2])
    assert nearest_key(read_voices(score)) == Key((9 + shift) % 12, minor=True)
    assert piece_statistics(score)["in_key_percent"] == 100  # the leading tone belongs to minor


def test_note_lengths_and_chords_a_bar() -> None:
    values = piece_statistics(make_score([C, F, G, C, F], [1, 0.5, 0.25, 0.25, 2]))
    assert values["note_length_mean"] == pytest.approx(0.8)
    assert values["sixteenths_percent"] == 40
    assert values["eighths_percent"] == values["quarters_percent"] == values["halves_or_longer_percent"] == 20
    assert values["chords_per_bar"] == 5


def test_repeated_and_similar_bars() -> None:
    other = [F, F, F, F]
    near = [C, F, G, [72, 67, 64, 60]]
    values = piece_statistics(make_score([C, F, G, C, *other, C, F, G, C, *near], [1] * 16))
    assert values["repeated_bars_percent"] == 25
    assert values["similar_bars_percent"] == 50


def test_seconds_sevenths_and_tritones_are_dissonant() -> None:
    assert piece_statistics(make_score([C, G7], [3, 1]))["dissonant_percent"] == 25


def test_silence_and_missing_voices_give_no_number_and_no_error() -> None:
    empty = piece_statistics(symusic.Score(TICKS))
    assert math.isnan(empty["soprano_lowest"])
    assert math.isnan(empty["in_key_percent"])
    alone = make_score([[72, SILENT, SILENT, SILENT]] * 4, [1] * 4)
    assert piece_statistics(alone)["four_voices_percent"] == 0


def test_bars_follow_changes_of_metre() -> None:
    lines = bar_lines([(0, 3, 4), (144, 6, 8), (300, 2, 2)], end=400)
    assert lines.tolist() == [0, 72, 144, 216, 288, 360, 456]
    assert bar_lines([], end=1).tolist() == [0, 96]


def test_excerpts_shorten_the_last_note_and_start_at_zero() -> None:
    voices = read_voices(make_score([C] * 3 + [F] * 6, [4, 4, 6, *[4] * 6]))
    first, second = voices.excerpts(bars=3, hop=3)[:2]
    assert not first.ends_here
    assert int((first.notes[0].start + first.notes[0].length).max()) == 3 * 96
    assert second.notes[0].start[0] == 48  # the third C is held into the bar: only what starts inside counts
    assert len(voices.excerpts(bars=100, hop=8)) == 1


def test_a_band_leaves_out_pieces_without_the_statistic() -> None:
    table = [{"a": float(value)} for value in range(101)] + [{"a": math.nan}]
    assert band(table)["a"] == (5, 95)
    assert share_inside(finite(table, "a"), (5, 95)) == pytest.approx(91 / 101)
    with pytest.raises(ValueError, match="at least one"):
        band([])


def test_a_verdict_needs_the_median_and_most_pieces_inside_the_band() -> None:
    held_out = [{"a": float(value), "b": float(value), "c": float(value)} for value in range(101)]
    others = [{"a": 50.0, "b": 50.0 if i < 60 else 200.0, "c": 97.0} for i in range(100)]
    rows = {row.name: row for row in compare(held_out, others)}
    assert {name: row.verdict for name, row in rows.items()} == {"a": "inside", "b": "wide", "c": "outside"}
    assert rows["b"].share == 0.6
    assert (rows["b"].low, rows["b"].middle, rows["b"].high) == (5, 50, 95)
    with pytest.raises(ValueError, match="at least one"):
        compare(held_out, [])


Corpora = Callable[[str], Path]


def read_split(folder: Path, split: str) -> list[Voices]:
    paths = (folder / "splits" / f"{split}.txt").read_text().split()
    return [read_voices(symusic.Score(str(folder / path))) for path in paths]


def outside(pieces: list[Voices], limits: dict[str, tuple[float, float]]) -> set[str]:
    """Statistics whose median over pieces leaves the band."""
    table = [voice_statistics(piece) for piece in pieces]
    return {name for name, (low, high) in limits.items() if not low <= float(np.median(finite(table, name))) <= high}


def test_bach_is_inside_the_band_of_other_bach_and_corrupted_bach_is_not(corpora: Corpora) -> None:
    folder = corpora("jsb-chorales")
    held = [piece.cut(0, EXCERPT_BARS) for split in ("valid", "test") for piece in read_split(folder, split)]
    limits = band([voice_statistics(piece) for piece in held[::2]])
    assert outside(held[1::2], limits) == set()

    random = np.random.default_rng(0)

    def change(edit: Callable[[Notes], np.ndarray]) -> list[Voices]:
        return [
            Voices(tuple(voice._replace(pitch=edit(voice)) for voice in piece.notes), piece.bar_starts, piece.ends_here)
            for piece in held
        ]

    in_range = change(lambda voice: random.integers(voice.pitch.min(), voice.pitch.max() + 1, len(voice.pitch)))
    assert {"in_key_percent", "step_percent", "dissonant_percent", "rest_triad_percent"} <= outside(in_range, limits)
    shuffled_notes = change(lambda voice: random.permutation(voice.pitch))
    assert {"dissonant_percent", "rest_triad_percent", "authentic_percent"} <= outside(shuffled_notes, limits)
    voices = [Voices(tuple(piece.notes[i] for i in (2, 0, 3, 1)), piece.bar_starts, piece.ends_here) for piece in held]
    assert {"crossed_percent", "soprano_highest"} <= outside(voices, limits)


def test_a_copied_training_piece_stands_out_from_held_out_bach(corpora: Corpora) -> None:
    folder = corpora("jsb-chorales")
    training = read_split(folder, "train")
    index = CopyIndex(training)
    held = [index.longest_runs(piece.cut(0, EXCERPT_BARS)) for piece in read_split(folder, "valid")]
    moved = training[3].cut(0, EXCERPT_BARS)
    moved = Voices(
        tuple(voice._replace(pitch=voice.pitch + 3) for voice in moved.notes), moved.bar_starts, moved.ends_here
    )
    copied = index.longest_runs(moved)
    assert copied.chords > np.percentile([runs.chords for runs in held], 95)
    assert copied.notes > np.percentile([runs.notes for runs in held], 95)
    assert np.median([runs.chords for runs in held]) < 10
