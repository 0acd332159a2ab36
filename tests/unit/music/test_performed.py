from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from played_scores import jittered, score_of
from symusic import Score
from symusic.core import ScoreTick, TempoTick, TimeSignatureTick

from aurl.music.performed import FEWEST_ONSETS, examine_timing, has_nominal_tempo


def sixteenths(count: int = 200) -> ScoreTick:
    return score_of([(step / 4, 0.25, 60, 80) for step in range(count)])


def anywhere(count: int = 400, seed: int = 0) -> ScoreTick:
    places = np.random.default_rng(seed).uniform(0, count / 4, count)
    return score_of([(float(place), 0.25, 60, 80) for place in places])


def test_on_the_grid_nothing_is_off_it_and_the_beat_is_clear() -> None:
    timing = examine_timing(sixteenths())
    assert (timing.off_grid_share, timing.off_grid_share_shifted, timing.grid_shift) == (0.0, 0.0, 0.0)
    assert timing.beat_clarity == pytest.approx(1) and not timing.performed and not timing.off_beat
    triplets = examine_timing(score_of([(step / 3, 0.3, 60, 80) for step in range(120)]))
    assert triplets.off_grid_share == 0.0 and not triplets.performed


@pytest.mark.parametrize("seed", range(5))
def test_at_random_the_share_is_that_of_chance_and_the_bars_are_a_clock(seed: int) -> None:
    timing = examine_timing(anywhere(seed=seed))
    assert timing.off_grid_share == pytest.approx(1, abs=0.1) and timing.beat_clarity < 0.2 and timing.performed


def test_a_steady_beat_with_human_errors_is_no_clock() -> None:
    timing = examine_timing(jittered(sixteenths(), 0.03))
    assert 0.05 < timing.off_grid_share < 0.8 and not timing.performed


@pytest.mark.parametrize(("spread", "performed"), [(0.05, False), (0.07, True)])
def test_errors_of_a_third_of_a_sixteenth_make_a_clock_of_the_beat(spread: float, performed: bool) -> None:
    """Normal errors of s quarters leave sixteenths a clarity of exp(-32 pi^2 s^2): 0.45 and 0.21."""
    timing = examine_timing(jittered(sixteenths(), spread))
    assert timing.beat_clarity == pytest.approx(np.exp(-32 * np.pi**2 * spread**2), abs=0.08)
    assert timing.performed == performed


@pytest.mark.parametrize("shift", [0.06, -0.11, 0.3])
def test_music_beside_the_beat_is_told_from_music_without_one_and_its_shift_is_found(shift: float) -> None:
    score = score_of([(1 + beat + shift, 0.5, 60, 80) for beat in range(80)])
    timing = examine_timing(score)
    assert not timing.performed and timing.off_grid_share_shifted == 0.0
    assert timing.off_beat and timing.off_grid_share > 1
    # on quarters alone every sixteenth and triplet fits as well: the nearest to no shift is taken
    distances = [abs((timing.grid_shift - shift - k / 12 + 0.5) % 1 - 0.5) for k in (0, 3, 4, 6, 8, 9)]
    assert min(distances) <= 1 / 48 + 1 / 192


def test_few_onsets_prove_nothing_and_chords_count_once() -> None:
    assert not examine_timing(anywhere(FEWEST_ONSETS - 1)).performed
    chords = score_of([(beat, 1, pitch, 80) for beat in range(8) for pitch in range(40, 60)])
    assert examine_timing(chords).onsets == 8
    assert examine_timing(ScoreTick(480)).onsets == 0


def test_a_nominal_tempo_is_one_of_120_or_none_in_four_four_or_nothing() -> None:
    score = ScoreTick(480)
    assert has_nominal_tempo(score)
    score.tempos.append(TempoTick(0, 120.0))
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    assert has_nominal_tempo(score)
    score.time_signatures[0] = TimeSignatureTick(0, 3, 4)
    assert not has_nominal_tempo(score)
    score.time_signatures[0] = TimeSignatureTick(0, 4, 4)
    score.tempos.append(TempoTick(480, 100.0))
    assert not has_nominal_tempo(score)


@pytest.mark.parametrize(
    ("corpus", "clock"),
    [("asap-piano", True), ("giantmidi-sample", True), ("nottingham", False), ("openscore", False), ("pop909", False)],
)
def test_real_performances_are_recognised_and_notation_is_not(
    corpora: Callable[[str], Path], corpus: str, clock: bool
) -> None:
    folder = corpora(corpus)
    paths = (folder / "splits" / "test.txt").read_text(encoding="utf-8").splitlines()[:7]
    assert [examine_timing(Score(str(folder / path))).performed for path in paths] == [clock] * len(paths)
