"""Chord symbols of a score stand on their notes whatever is done to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from symusic.core import ScoreTick

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.preprocessing import PreprocessConfig, preprocess_score
from aurl.data.reading import ReadPiece, from_entry, to_entry
from aurl.generation.prompt import map_programs
from aurl.music.alignment import align_to_beats
from aurl.music.bars import shift_score
from aurl.music.chord_sources import chord_symbols
from aurl.music.dynamics import Velocity
from aurl.music.polyphony import Polyphony
from aurl.music.quantise import Quantise
from aurl.music.score import read_score

ROOTS = ["C", "F", "G7", "Am"]
TUNE = 'X:1\nL:1/4\nM:4/4\nK:C\nG,|"C"C2E2|"F"F2A2|"G7"G2B2|"Am"A2c2|'
"""A pick-up, then bars whose first note is the root of their chord."""
NARROW = TokenizerConfig(pitch_range=[60, 73])
Step = Callable[[ScoreTick], ScoreTick]


def shifted(score: ScoreTick) -> ScoreTick:
    score = score.copy()
    shift_score(score, 3 * score.ticks_per_quarter)
    return score


def stored(score: ScoreTick) -> ScoreTick:
    read = from_entry(to_entry(ReadPiece(score, np.zeros(0, np.uint64))))
    assert read.score is not None
    return read.score


def preprocessed(**settings: object) -> Step:
    return lambda score: preprocess_score(score, PreprocessConfig(**settings)).score  # type: ignore[arg-type]


STEPS: dict[str, Step] = {
    "moved": shifted,
    "quantised": preprocessed(quantise=Quantise.mixed),
    "fewer voices": preprocessed(polyphony=Polyphony.skyline),
    "levelled": preprocessed(velocity=Velocity.normalise, velocity_mean=90.0),
    "aligned": lambda score: align_to_beats(score, np.arange(24) * 0.61 + 0.1).score,
    "fitted": lambda score: Codec.from_config(NARROW).prepare_score(score)[0],
    "stored": stored,
    "prompt": lambda score: map_programs(score, [40])[0],
}


@pytest.mark.parametrize("name", STEPS)
def test_each_symbol_stays_on_the_note_that_it_was_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / "tune.abc").write_text(TUNE)
    score = read_score(tmp_path / "tune.abc")
    for given in (score, STEPS[name](score)):
        symbols = chord_symbols(given)
        assert symbols is not None and [marker.text for marker in given.markers] == ROOTS
        over = np.searchsorted([note.time for note in given.tracks[0].notes], [m.time for m in given.markers])
        assert over.tolist() == [1, 3, 5, 7]
        assert [given.tracks[0].notes[i].time for i in over.tolist()] == [m.time for m in given.markers]
        assert [given.tracks[0].notes[i].pitch % 12 for i in over.tolist()] == [chord.root for chord in symbols.chords]
