"""Tokens that training never meets are those that neither its pieces nor their augmentation have."""

from __future__ import annotations

import numpy as np
import pytest

from aurl.data.augmentation.config import (
    AugmentConfig,
    HumanizeConfig,
    StretchConfig,
    SubstituteConfig,
    SwingConfig,
    TransposeConfig,
    VelocityConfig,
)
from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.kinds import Kind
from aurl.data.met import programs_met, unmet_tokens
from aurl.data.vocabulary import Vocabulary

NOTHING = TransposeConfig(probability=0.0)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Codec.from_config(TokenizerConfig(velocities=8, tempos=8)).vocabulary


def counts_of(vocabulary: Vocabulary, pitches: tuple[int, ...]) -> np.ndarray:
    """Some pitches, the first velocity, tempo and time signature, program 40 twice and 0 once."""
    counts = np.zeros(vocabulary.size, np.int64)
    for pitch in pitches:
        counts[vocabulary.index[f"Pitch_{pitch}"]] = 1
    for kind in (Kind.BAR, Kind.VELOCITY, Kind.TEMPO, Kind.TIMESIG, Kind.DURATION, Kind.POSITION):
        counts[vocabulary.ids_of(kind)[0]] = 1
    counts[vocabulary.index["Program_40"]], counts[vocabulary.index["Program_0"]] = 2, 1
    return counts


def unmet(vocabulary: Vocabulary, kind: Kind, augment: AugmentConfig) -> set[int]:
    counts = counts_of(vocabulary, (60, 72))
    found = np.array(unmet_tokens(counts, vocabulary, augment))
    return set(vocabulary.value[found[vocabulary.kind[found] == kind]].tolist())


def test_without_augmentation_only_what_occurs_is_met(vocabulary: Vocabulary) -> None:
    counts = counts_of(vocabulary, (60, 72))
    named = vocabulary.kind > int(Kind.EOS)
    named &= vocabulary.kind != Kind.OTHER
    expected = np.flatnonzero((counts == 0) & named).tolist()
    assert unmet_tokens(counts, vocabulary, AugmentConfig(transpose=NOTHING)) == expected
    assert programs_met(counts, vocabulary) == [40, 0]


def test_transposition_reaches_pitches_near_those_of_the_corpus_and_inside_its_range(vocabulary: Vocabulary) -> None:
    left = unmet(vocabulary, Kind.PITCH, AugmentConfig(transpose=TransposeConfig(semitones=[-2, 3])))
    assert not left & {60, 61, 62, 63, 70, 71, 72}
    assert {58, 59, 64, 69, 73, 74} <= left


@pytest.mark.parametrize(
    ("augment", "kinds"),
    [
        (AugmentConfig(transpose=NOTHING, velocity=VelocityConfig(probability=0.1)), {Kind.VELOCITY}),
        (AugmentConfig(transpose=NOTHING, substitute=SubstituteConfig(probability=0.1)), {Kind.PROGRAM}),
        (AugmentConfig(transpose=NOTHING, swing=SwingConfig(probability=0.1)), {Kind.POSITION, Kind.DURATION}),
        (
            AugmentConfig(transpose=NOTHING, stretch=StretchConfig(probability=0.1)),
            {Kind.TEMPO, Kind.POSITION, Kind.DURATION},
        ),
        (
            AugmentConfig(transpose=NOTHING, humanize=HumanizeConfig(probability=0.1)),
            {Kind.VELOCITY, Kind.POSITION, Kind.DURATION},
        ),
    ],
)
def test_kinds_that_an_augmentation_moves_count_as_met(
    vocabulary: Vocabulary, augment: AugmentConfig, kinds: set[Kind]
) -> None:
    for kind in (Kind.VELOCITY, Kind.PROGRAM, Kind.POSITION, Kind.DURATION, Kind.TEMPO, Kind.TIMESIG):
        assert (not unmet(vocabulary, kind, augment)) == (kind in kinds), kind
