"""Random scores for property tests: several tracks of one program, drums, tempo and metre changes, any resolution."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from symusic import Score
from symusic.core import ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from aurl.data.decoder import note_list
from aurl.data.vocabulary import DRUM_PROGRAM

PROGRAMS = (DRUM_PROGRAM, 0, 52, 52, 52, 73)
METRES = ((4, 4), (3, 4), (6, 8), (2, 2), (9, 8), (3, 16), (7, 8), (3, 2), (1, 4))
ODD_METRES = ((3, 1), (5, 32), (21, 8), (17, 4))
RESOLUTIONS = (8, 96, 220, 480, 1024)
QUARTERS = 40


def make_score(
    tracks: list[tuple[int, list[tuple[float, float, int, int]]]],
    resolution: int = 480,
    metres: tuple[tuple[float, int, int], ...] = ((0, 4, 4),),
    tempos: tuple[tuple[float, float], ...] = ((0, 120.0),),
) -> ScoreTick:
    """A score from (program, [(onset, length, pitch, velocity)]), times in quarters; program -1 is drums."""
    score = Score(resolution)
    for program, notes in tracks:
        track = TrackTick("", max(program, 0), program == DRUM_PROGRAM)
        rows = np.array(sorted(notes), dtype=float).reshape(-1, 4)
        times = np.round(rows[:, :2] * resolution).astype(int)
        order = np.lexsort((rows[:, 2], times[:, 1], times[:, 0]))
        track.notes = note_list(
            times[order, 0], np.maximum(times[order, 1], 1), rows[order, 2].astype(int), rows[order, 3].astype(int)
        )
        score.tracks.append(track)
    for quarter, numerator, denominator in metres:
        score.time_signatures.append(TimeSignatureTick(round(quarter * resolution), numerator, denominator))
    for quarter, tempo in tempos:
        score.tempos.append(TempoTick(round(quarter * resolution), tempo))
    return score


def quarters(high: float = QUARTERS) -> st.SearchStrategy[float]:
    """Times in quarters, on and off the grid."""
    return st.one_of(st.integers(0, int(high) * 8).map(lambda n: n / 8), st.floats(0, high))


@st.composite
def scores(draw: st.DrawFn, odd_metres: bool = False) -> ScoreTick:
    """Scores as a reader gives them: events of each list sorted by time."""
    note = st.tuples(quarters(), quarters(16), st.integers(0, 127), st.integers(1, 127))
    tracks = draw(st.lists(st.tuples(st.sampled_from(PROGRAMS), st.lists(note, max_size=12)), max_size=7))
    known = METRES + (ODD_METRES if odd_metres else ())
    metres = draw(st.lists(st.tuples(quarters(), st.sampled_from(known)), max_size=4))
    if draw(st.booleans()):
        metres.append((0, draw(st.sampled_from(known))))
    tempos = draw(st.lists(st.tuples(quarters(), st.floats(20, 300)), max_size=4))
    return make_score(
        tracks,
        draw(st.sampled_from(RESOLUTIONS)),
        tuple((time, *metre) for time, metre in sorted(metres)),
        tuple(sorted(tempos)),
    )
