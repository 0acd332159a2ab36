"""Chords heard in notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from symusic.core import NoteTick, ScoreTick, TimeSignatureTick, TrackTick

from aurl.music.abc import abc_to_score
from aurl.music.chord_detection import DEFAULT_MODEL, ChordModel, best_through, detect_chords
from aurl.music.chord_features import DOWNBEAT, MIDDLE, OTHER_BEAT, chord_features, given_grid, metre_grid
from aurl.music.chords import Chord, parse_harte
from aurl.music.score import read_score
from experiments.chord_detection.textbook import PROGRESSIONS, textbook_song

TPQ = 480


def _score(parts: Sequence[Sequence[tuple[float, float, int]]], metre: tuple[int, int] = (4, 4)) -> ScoreTick:
    score = ScoreTick(TPQ)
    score.time_signatures.append(TimeSignatureTick(0, *metre))
    for part in parts:
        track = TrackTick("part", 0, False)
        for onset, length, pitch in part:
            track.notes.append(NoteTick(round(onset * TPQ), round(length * TPQ), pitch, 80))
        score.tracks.append(track)
    return score


def _block(chord: Chord, onset: float, length: float) -> list[tuple[float, float, int]]:
    upper = [60 + pitch for pitch in chord.pitch_classes]
    return [(onset, length, pitch) for pitch in (36 + chord.bass, *upper)]


def _names(score: ScoreTick, beats: NDArray[np.float64] | None = None) -> list[tuple[float, float, str]]:
    return [(start, end, chord.harte()) for start, end, chord in detect_chords(score, beats).segments()]


@pytest.mark.parametrize("name", PROGRESSIONS)
def test_textbook_progressions_in_blocks_are_heard_exactly_in_all_keys(name: str) -> None:
    for key in range(12):
        song = textbook_song(name, "block", key)
        chords = [parse_harte(label) for label in song.labels]
        expected = [chord for place, chord in enumerate(chords) if place == 0 or chord != chords[place - 1]]
        assert [chord for _, _, chord in detect_chords(song.score).segments()] == expected


@pytest.mark.parametrize("name", ["pop", "minor", "inversions"])
def test_arpeggios_are_heard_as_their_chord_in_all_keys(name: str) -> None:
    for key in range(12):
        song = textbook_song(name, "arpeggio", key)
        on_downbeats = detect_chords(song.score).array()[::4]
        chords = [parse_harte(label) for label in song.labels]
        assert [(chord.root, chord.bass) for chord in chords] == [(row[0], row[2]) for row in on_downbeats.tolist()]


def test_a_melody_above_does_not_change_the_chord() -> None:
    melody = [(0.5 * step, 0.5, pitch) for step, pitch in enumerate([76, 77, 79, 81, 79, 77, 76, 74])]
    assert _names(_score([_block(Chord(0, "maj"), 0, 4), melody])) == [(0.0, 4.0, "C:maj")]


def test_beats_in_which_nothing_sounds_have_no_chord() -> None:
    score = _score([_block(Chord(0, "maj"), 2, 2) + _block(Chord(7, "maj"), 8, 4)])
    assert _names(score) == [(0.0, 2.0, "N"), (2.0, 4.0, "C:maj"), (4.0, 8.0, "N"), (8.0, 12.0, "G:maj")]


def test_drums_are_not_heard() -> None:
    score = _score([_block(Chord(2, "min"), 0, 4), [(float(beat), 1.0, 37) for beat in range(4)]])
    score.tracks[1].is_drum = True
    assert _names(score) == [(0.0, 4.0, "D:min")]
    del score.tracks[0]
    assert _names(score) == [(0.0, 4.0, "N")]


def test_a_score_without_notes_has_no_beats() -> None:
    chords = detect_chords(ScoreTick(TPQ))
    assert chords.array().shape == (0, 3) and chords.segments() == [] and len(chords.confidence) == 0


def test_given_beats_may_be_uneven() -> None:
    beats = np.array([0.0, 0.9, 2.1, 3.0, 4.2, 5.0, 6.1, 7.0])
    score = _score([_block(Chord(0, "maj"), 0, 4.2) + _block(Chord(5, "maj"), 4.2, 3.7)])
    chords = detect_chords(score, beats)
    assert chords.onsets.tolist() == beats.tolist()
    assert chords.root.tolist() == [0] * 4 + [5] * 4


def test_doubt_is_larger_where_the_notes_say_less() -> None:
    clear = detect_chords(_score([_block(Chord(0, "maj"), 0, 4)])).confidence
    vague = detect_chords(_score([[(0.0, 4.0, 60)]])).confidence
    assert ((vague > 0) & (vague < clear) & (clear <= 1)).all()


def test_the_sweep_finds_the_score_of_the_best_path_through_every_state() -> None:
    model = replace(DEFAULT_MODEL, quality_bias={"maj": 0.0})
    random = np.random.default_rng(0)
    scores = random.normal(size=(1, 4, 13)).astype(np.float32)
    change = random.uniform(0, 1, (1, 4)).astype(np.float32)
    expected = np.full((4, 13), -np.inf)
    for path in product(range(13), repeat=4):
        value = sum(scores[0, beat, state] for beat, state in enumerate(path))
        for beat, (one, other) in enumerate(pairwise(path), start=1):
            if one != other:
                steps = (one - other) % 12
                move = model.to_silence if 12 in (one, other) else model.root_move[min(steps, 12 - steps)]
                value -= change[0, beat] + move
        for beat, state in enumerate(path):
            expected[beat, state] = max(expected[beat, state], value)
    assert np.allclose(best_through(scores, change, model)[0], expected, atol=1e-4)


def test_features_count_sounding_time_attacks_and_the_outer_voices() -> None:
    features = chord_features(_score([[(0.0, 1.0, 48), (0.0, 0.25, 64), (0.5, 0.5, 79)]]), np.array([0.0, 1.0]))
    assert features.body[:, 0].tolist() == [1.0, 1.0] and features.bass[:, 0].tolist() == [1.0, 1.0]
    assert features.top[0, 4] == 0.5 and features.top[1, 7] == 1.0
    assert features.attacks.sum(axis=1).tolist() == [2.0, 1.0] and features.bass_attacks.sum() == 1.0
    assert features.sounding.sum() == pytest.approx(2 + 0.5 + 1.0)


@pytest.mark.parametrize(
    ("metre", "beats", "levels"),
    [
        ((4, 4), 4, [DOWNBEAT, OTHER_BEAT, MIDDLE, OTHER_BEAT]),
        ((3, 4), 3, [DOWNBEAT, OTHER_BEAT, OTHER_BEAT]),
        ((2, 2), 2, [DOWNBEAT, OTHER_BEAT]),
        ((6, 8), 2, [DOWNBEAT, OTHER_BEAT]),
        ((12, 8), 4, [DOWNBEAT, OTHER_BEAT, MIDDLE, OTHER_BEAT]),
    ],
)
def test_beats_follow_the_metre(metre: tuple[int, int], beats: int, levels: list[int]) -> None:
    bar = 4 * metre[0] / metre[1]
    grid = metre_grid(_score([[(0.0, 2 * bar, 60)]], metre))
    assert grid.level.tolist() == levels * 2
    assert np.allclose(grid.edges, np.arange(2 * beats + 1) * bar / beats)


def test_a_change_of_metre_starts_a_bar() -> None:
    score = _score([[(0.0, 10.0, 60)]])
    score.time_signatures.append(TimeSignatureTick(4 * TPQ, 3, 4))
    grid = metre_grid(score)
    assert grid.onsets[grid.level == DOWNBEAT].tolist() == [0.0, 4.0, 7.0]
    assert grid.edges[-1] == 10.0


def test_impossible_metres_and_those_after_the_end_are_not_counted() -> None:
    score = _score([[(0.0, 4.0, 60)]])
    score.time_signatures.append(TimeSignatureTick(2 * TPQ, 0, 4))
    score.time_signatures.append(TimeSignatureTick(500 * TPQ, 3, 4))
    assert metre_grid(score).edges.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_score_without_metre_is_counted_in_fours() -> None:
    score = _score([[(0.0, 8.0, 60)]])
    score.time_signatures = type(score.time_signatures)([])
    assert metre_grid(score).level.tolist() == [0, 2, 1, 2, 0, 2, 1, 2]


def test_bar_lines_count_where_they_meet_the_given_beats_and_else_not() -> None:
    score = _score([[(0.0, 8.0, 60)]])
    assert given_grid(score, np.arange(8.0)).level.tolist() == [0, 2, 1, 2, 0, 2, 1, 2]
    assert set(given_grid(score, np.arange(8.0) + 0.3).level.tolist()) == {OTHER_BEAT}
    known = given_grid(score, np.arange(7.0) + 0.3, np.array([1.3, 4.3]))
    assert known.level.tolist() == [2, 0, 2, 2, 0, 2, 2]


@pytest.mark.parametrize("beats", [[], [1.0, 1.0], [0.0, np.nan], [[0.0, 1.0]]])
def test_beats_that_do_not_rise_are_refused(beats: list) -> None:
    with pytest.raises(ValueError, match="allowed: one or more finite numbers, each above the last"):
        detect_chords(_score([[(0.0, 1.0, 60)]]), np.array(beats))


def test_a_score_of_endless_beats_is_refused() -> None:
    with pytest.raises(ValueError, match="beats in the score; allowed: up to 100000"):
        metre_grid(_score([[(2_000_000.0, 1.0, 60)]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quality_bias": {"major": 0.0}}, r"quality_bias has \['major'\]; allowed"),
        ({"quality_bias": {}}, "allowed: one or more of"),
        ({"compression": 0.0}, "compression is 0.0, key_window"),
        ({"change": (1.0, 2.0)}, "2 values of change and 7 of root_move; allowed: 3 and 7"),
    ],
)
def test_impossible_constants_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ChordModel(), **change)


def test_five_real_songs_keep_their_accuracy(corpora: Callable[[str], Path]) -> None:
    """A floor below the accuracy of the whole list (root 95, majmin 93 %; see experiments/chord_detection)."""
    mir_eval = pytest.importorskip("mir_eval")
    from experiments.chord_detection.labels import list_songs, read_song
    from experiments.chord_detection.run import judge, recognise

    assert mir_eval is not None
    root = corpora("pop909")
    songs = [read_song(root, name) for name in list_songs(root, "valid")[:5]]
    result = judge(songs, [recognise(song, DEFAULT_MODEL) for song in songs])
    assert result["root"][0] > 88 and result["majmin"][0] > 86


def test_tunes_heard_without_their_symbols_mostly_agree_with_them(corpora: Callable[[str], Path]) -> None:
    """The rendered chord tracks of the Nottingham tunes are block chords, so roots are nearly all found."""
    from aurl.music.chord_arrays import symbols_at
    from aurl.music.chord_sources import chord_symbols

    root = corpora("nottingham")
    right = beats = tunes = 0
    for path in sorted((root / "abc").glob("*.abc"))[:300]:
        if tunes == 10:
            break
        written, sounding = read_score(path), read_score(root / "midi" / f"{path.stem}.mid")
        track = chord_symbols(written)
        shift = sounding.tracks[0].notes[0].time / sounding.tpq - written.tracks[0].notes[0].time / written.tpq
        music = path.read_text(encoding="latin-1").split("K:", 1)[1].split("\n", 1)[1]
        if track is None or ":" in music or "[1" in music:
            continue
        tunes += 1
        chords = detect_chords(sounding)
        wanted = symbols_at(track, chords.onsets - shift)
        right += int((wanted[:, 0] == chords.root).sum())
        beats += len(wanted)
    assert beats > 200 and right / beats > 0.9


def test_abc_and_detection_meet() -> None:
    score = abc_to_score("X:1\nL:1/1\nK:C\n[CEGc]|[B,DGg]|[CEGc]|")
    assert [name for _, _, name in _names(score)] == ["C:maj", "G:maj/3", "C:maj"]
