"""Settings, schedules, random numbers and labels of augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurl.data.augmentation.config import (
    AugmentConfig,
    HumanizeConfig,
    Ramp,
    ScheduleConfig,
    StretchConfig,
    SubstituteConfig,
    SwingConfig,
    TransposeConfig,
    VelocityConfig,
)
from aurl.data.augmentation.draws import hashed, normals, piece_keys, uniforms
from aurl.data.augmentation.labels import (
    transpose_chroma,
    transpose_keys,
    transpose_pitch_axis,
    transpose_pitch_classes,
)
from aurl.data.augmentation.rhythm import warp


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        (
            TransposeConfig,
            {"probability": 1.5},
            r"augment\.transpose\.probability=1\.5 is out of range; allowed: 0 to 1",
        ),
        (
            TransposeConfig,
            {"semitones": [-13, 2]},
            r"augment\.transpose\.semitones=\[-13, 2\] must be \[lowest, highest",
        ),
        (StretchConfig, {"factor": [1.1, 1.2]}, r"augment\.stretch\.factor=\[1\.1, 1\.2\] must be .* <= 1 <= highest"),
        (VelocityConfig, {"factor": [0.8]}, r"augment\.velocity\.factor=\[0\.8\] must be"),
        (SubstituteConfig, {"probability": -0.1}, r"augment\.substitute\.probability=-0\.1"),
        (SwingConfig, {"ratio": [0.4, 0.6]}, r"augment\.swing\.ratio=\[0\.4, 0\.6\] must be \[least, most\]"),
        (HumanizeConfig, {"timing": 1.0}, r"augment\.humanize\.timing=1\.0 is out of range; allowed: 0 to 0\.25"),
        (ScheduleConfig, {"until": 2.0}, r"schedule\.until=2\.0 is out of range"),
        (ScheduleConfig, {"begin": 0.5, "until": 0.2}, r"schedule\.begin=0\.5 must not be above schedule\.until=0\.2"),
        (ScheduleConfig, {"shape": Ramp.steps}, r"schedule\.shape=steps needs schedule\.steps, for instance \["),
        (ScheduleConfig, {"steps": [[0.0, 1.0]]}, r"needs schedule\.shape=steps, got constant"),
        (ScheduleConfig, {"shape": Ramp.steps, "steps": [[0.5, 1.0], [0.5, 0.0]]}, r"with rising shares"),
        (ScheduleConfig, {"shape": Ramp.steps, "steps": [[0.5]]}, r"must be \[share, factor\] pairs"),
    ],
)
def test_a_value_out_of_range_is_named(part: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        part(**values)


def test_schedules_begin_end_and_step_where_they_say() -> None:
    linear = ScheduleConfig(shape=Ramp.linear, start=0.2, end=1.0, begin=0.25, until=0.75)
    assert [linear(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx([0.2, 0.2, 0.6, 1.0, 1.0])
    cosine = ScheduleConfig(shape=Ramp.cosine)
    assert [cosine(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 0.5, 1.0])
    assert cosine(0.1) < 0.1
    sudden = ScheduleConfig(shape=Ramp.linear, begin=0.5, until=0.5)
    assert (sudden(0.49), sudden(0.5)) == (0.0, 1.0)
    steps = ScheduleConfig(shape=Ramp.steps, steps=[[0.2, 0.5], [0.6, 0.0]])
    assert [steps(share) for share in (0.1, 0.2, 0.59, 0.6, 1.0)] == [0.0, 0.5, 0.5, 0.0, 0.0]
    assert ScheduleConfig()(0.0) == 1.0
    assert not AugmentConfig().scheduled() and AugmentConfig(schedule=cosine).scheduled()


def test_draws_are_even_independent_and_depend_on_all_their_numbers() -> None:
    keys = piece_keys(3, 5, np.arange(20_000))
    assert len(np.unique(keys)) == len(keys)
    first, second = uniforms(hashed(keys, 1)), uniforms(hashed(keys, 2))
    for drawn in (first, second):
        assert drawn.min() >= 0 and drawn.max() < 1
        assert np.histogram(drawn, 10, (0, 1))[0] == pytest.approx(2000, rel=0.1)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    normal = normals(keys)
    assert abs(normal.mean()) < 0.03 and normal.std() == pytest.approx(1, rel=0.03)
    for other in (piece_keys(4, 5, [7]), piece_keys(3, 6, [7]), piece_keys(5, 3, [7])):
        assert other[0] != keys[7]
    assert piece_keys(-1, 0, [0])[0] == piece_keys(2**64 - 1, 0, [0])[0]


def test_labels_move_along_with_a_transposition() -> None:
    root = transpose_pitch_classes(np.array([0, 11, -1], np.int8), 3)
    assert root.tolist() == [3, 2, -1] and root.dtype == np.int8
    assert transpose_pitch_classes(np.array([1, 1]), np.array([-2, 13])).tolist() == [11, 2]
    assert transpose_keys(np.array([0, 11, 12, 23, -1]), 1).tolist() == [1, 0, 13, 12, -1]
    with pytest.raises(ValueError, match=r"pitch classes are 0 to 11 \(negative: none\), got 12"):
        transpose_pitch_classes(np.array([12]), 0)
    with pytest.raises(ValueError, match="a chroma axis has 12 entries, got 3"):
        transpose_chroma(np.zeros((12, 3)), 1)


@given(pitches=st.lists(st.integers(20, 100), min_size=1), shift=st.integers(-12, 12))
def test_features_of_transposed_notes_are_transposed_features(pitches: list[int], shift: int) -> None:
    roll, moved = np.zeros((1, 128)), np.zeros((1, 128))
    roll[0, pitches], moved[0, np.array(pitches) + shift] = 1, 1
    assert (transpose_pitch_axis(roll, shift) == moved).all()
    chroma = np.bincount(np.array(pitches) % 12, minlength=12)
    expected = np.bincount((np.array(pitches) + shift) % 12, minlength=12)
    assert (transpose_chroma(chroma, shift) == expected).all()
    assert not transpose_pitch_axis(roll.T, 200, axis=0).any()


@given(pair=st.integers(1, 24).map(lambda n: 2 * n), ratio=st.floats(0.5, 0.8), bars=st.integers(1, 3))
def test_swing_is_rising_and_fixed_at_the_ends_of_every_pair(pair: int, ratio: float, bars: int) -> None:
    position = np.arange(pair * bars)
    moved = warp(position, np.full(len(position), pair), np.full(len(position), ratio))
    assert (np.diff(moved) >= 0).all() and (moved // pair == position // pair).all()
    assert (moved[::pair] == position[::pair]).all()
    assert moved[pair // 2] == min(int(pair * ratio + 0.5), pair - 1)
