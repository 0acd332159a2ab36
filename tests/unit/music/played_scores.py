"""Random scores as people play them: several tracks, drums, metre and tempo changes, controllers, pedals, words."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from symusic.core import (
    ControlChangeTick,
    KeySignatureTick,
    NoteTick,
    PedalTick,
    PitchBendTick,
    ScoreTick,
    TempoTick,
    TextMetaTick,
    TimeSignatureTick,
    TrackTick,
)

RESOLUTIONS = (8, 24, 96, 220, 480, 1024)
METRES = ((4, 4), (3, 4), (6, 8), (2, 2), (9, 8), (3, 16), (7, 8), (5, 32), (1, 64))
QUARTERS = 24
Row = tuple[float, float, int, int]
"""Onset and length in quarters, pitch, velocity."""


def score_of(*tracks: list[Row], resolution: int = 480, drums: tuple[int, ...] = ()) -> ScoreTick:
    """A score in 4/4 from lists of notes; ``drums`` are numbers of tracks."""
    score = ScoreTick(resolution)
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    for index, rows in enumerate(tracks):
        track = TrackTick("", 0, index in drums)
        for onset, length, pitch, velocity in sorted(rows):
            track.notes.append(NoteTick(round(onset * resolution), max(round(length * resolution), 1), pitch, velocity))
        score.tracks.append(track)
    return score


def rows_of(score: ScoreTick, track: int = 0) -> list[tuple[float, float, int, int]]:
    """The notes of a track as they went into :func:`score_of`."""
    quarter = score.ticks_per_quarter
    return [
        (note.time / quarter, note.duration / quarter, note.pitch, note.velocity) for note in score.tracks[track].notes
    ]


@st.composite
def played_scores(draw: st.DrawFn) -> ScoreTick:
    """Scores with everything a file can hold, sorted by time."""
    resolution = draw(st.sampled_from(RESOLUTIONS))
    ticks = st.integers(0, QUARTERS * resolution)
    note = st.tuples(ticks, st.integers(1, 4 * resolution), st.integers(20, 100), st.integers(1, 127))
    score = ScoreTick(resolution)
    for program in draw(st.lists(st.sampled_from((0, 0, 52, -1)), max_size=4)):
        track = TrackTick("", max(program, 0), program < 0)
        for time, length, pitch, velocity in sorted(draw(st.lists(note, max_size=20))):
            track.notes.append(NoteTick(time, length, pitch, velocity))
        for time in sorted(draw(st.lists(ticks, max_size=5))):
            track.controls.append(ControlChangeTick(time, 64, time % 128))
            track.pitch_bends.append(PitchBendTick(time, 100))
            track.pedals.append(PedalTick(time, resolution))
            track.lyrics.append(TextMetaTick(time, "la"))
        score.tracks.append(track)
    for time in sorted(draw(st.lists(ticks, max_size=3))):
        score.time_signatures.append(TimeSignatureTick(time, *draw(st.sampled_from(METRES))))
    for time in sorted(draw(st.lists(ticks, max_size=3))):
        score.tempos.append(TempoTick(time, draw(st.floats(20, 300))))
        score.key_signatures.append(KeySignatureTick(time, 2, 0))
        score.markers.append(TextMetaTick(time, "verse"))
    return score


def jittered(score: ScoreTick, spread: float, seed: int = 0) -> ScoreTick:
    """The score with normal errors on every onset, in quarters; lengths stay."""
    random, played = np.random.default_rng(seed), score.copy()
    for track in played.tracks:
        for note in track.notes:
            note.time = max(note.time + round(random.normal(0, spread) * score.ticks_per_quarter), 0)
        track.notes.sort()
    return played
