"""Joints between pieces: what a seam model finds, where, and what it is blind to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from symusic import Note, Score, Track

from aurl.evaluation.corruptions import splice
from aurl.evaluation.metrics import seam, structure
from aurl.evaluation.metrics.pitch import find_key, sounding_classes
from aurl.evaluation.metrics.reference import CHORDS, SEAMS, Reference
from aurl.evaluation.metrics.registry import score_metrics
from aurl.evaluation.metrics.table import NoteTable, as_table, read_table
from aurl.utils.errors import AurlError

QUARTER = 480
SCALE = (0, 2, 4, 5, 7, 9, 11)


def tune(seed: int, bars: int = 16, base: int | None = None, drum: bool = False) -> Score:
    """Two voices in C: a walk in steps with phrases A B A B of four bars, each piece in a register of its own."""
    rng = np.random.default_rng(seed)
    middle = int(rng.integers(28, 42)) if base is None else base
    score = Score(QUARTER)
    for part, low in enumerate((middle, middle - 12)):
        phrases = [np.cumsum(rng.choice((-1, 1), 16)) for _ in range(2)]
        track = Track(is_drum=drum)
        steps = np.concatenate([phrases[(bar // 4) % 2][4 * (bar % 4) : 4 * (bar % 4) + 4] for bar in range(bars)])
        for quarter, step in enumerate(steps.tolist()):
            degree = low + step
            pitch = 12 * (degree // 7) + SCALE[degree % 7]
            held = QUARTER * (1 + part) if quarter + 1 < len(steps) else QUARTER
            track.notes.append(Note(quarter * QUARTER, held, pitch, 80))
        score.tracks.append(track)
    return score


@pytest.fixture(scope="module")
def corpus() -> list[NoteTable]:
    return [read_table(tune(seed)) for seed in range(24)]


@pytest.fixture(scope="module")
def model(corpus: list[NoteTable]) -> seam.SeamModel:
    return seam.SeamModel.fit(corpus)


def test_a_joint_of_unseen_pieces_is_told_and_found(model: seam.SeamModel) -> None:
    unseen = [read_table(tune(seed)) for seed in range(100, 120)]
    joined = [(seam.join_tables(a, b, cut, shift), cut) for a, b, cut, shift in seam.draw_joints(unseen, 40, seed=1)]
    real = np.array([model.evidence(table) for table in unseen])
    spoilt = np.array([model.evidence(table) for table, _ in joined])
    assert (spoilt[None] > real[:, None]).mean() > 0.9
    found = [lines[nats.argmax()] == cut for (table, cut) in joined for lines, nats in [model.ratios(table)]]
    assert np.mean(found) > 0.6  # by chance one in ten


def test_evidence_is_the_mean_likelihood_ratio_of_the_bar_lines(model: seam.SeamModel, corpus: list[NoteTable]) -> None:
    lines, nats = model.ratios(corpus[0])
    assert lines.tolist() == list(range(3, 14))  # the fifths at both ends are left out
    assert model.evidence(corpus[0]) == pytest.approx(math.log(np.exp(nats).mean()))


def test_a_model_without_joints_to_learn_from_is_refused() -> None:
    for pieces in ([], [read_table(tune(0))], [read_table(tune(seed, bars=5)) for seed in range(3)]):
        with pytest.raises(ValueError, match="needs two pieces of six bars or more of one mode and metre"):
            seam.SeamModel.fit(pieces)


def test_a_piece_is_never_joined_to_itself_and_every_piece_has_its_turn(corpus: list[NoteTable]) -> None:
    drawn = seam.draw_joints(corpus, 2, seed=0)
    assert [id(first) for first, *_ in drawn] == [id(table) for table in corpus]
    assert all(first is not second and -6 <= shift < 6 for first, second, _, shift in drawn)
    assert all(round(first.bars / 3) <= cut <= round(2 * first.bars / 3) for first, _, cut, _ in drawn)


def test_clues_do_not_depend_on_the_key() -> None:
    for seed in range(3):
        _, plain = seam.seam_clues(read_table(tune(seed, base=35)))
        moved = read_table(tune(seed, base=35).shift_pitch(5))
        np.testing.assert_allclose(seam.seam_clues(moved)[1], plain, atol=1e-9)


def test_clues_are_larger_where_two_pieces_meet() -> None:
    """The clue that is named for what differs, and no other of its kind."""
    column = {name: number for number, name in enumerate(seam.CLUES)}
    high = seam.seam_clues(read_table(joined_lines([60] * 32, [72] * 32)))
    assert high[0].tolist() == list(range(3, 14))
    at = high[0].tolist().index(8)
    for name in ("leap_widest", "leap_together", "leap_rank", "register", "register_together", "pitches"):
        assert high[1][:, column[name]].argmax() == at, name
    assert high[1][at, column["leap_widest"]] == 12 and high[1][at, column["register"]] == 12
    assert high[1][at, column["positions"]] == pytest.approx(0, abs=1e-9)
    lengths = seam.seam_clues(read_table(joined_lines([60] * 32, [60] * 16, 2.0)))
    assert lengths[1][:, column["lengths_by_track"]].argmax() == at
    assert lengths[1][at, column["register"]] == 0
    assert lengths[1][at, column["long_notes"]] > 0.3 > abs(high[1][at, column["long_notes"]])


def joined_lines(first: list[int], second: list[int], length: float = 1.0) -> Score:
    """One voice of quarters, and from where they end notes of another length."""
    score, track = Score(QUARTER), Track()
    for index, pitch in enumerate(first):
        track.notes.append(Note(index * QUARTER, QUARTER, pitch, 80))
    for index, pitch in enumerate(second):
        track.notes.append(Note(round((len(first) + index * length) * QUARTER), round(length * QUARTER), pitch, 80))
    score.tracks.append(track)
    return score


def test_the_bridge_clue_is_the_weakest_link_of_bridge_similarity() -> None:
    table = read_table(tune(3))
    lines, clues = seam.seam_clues(table)
    bridges = clues[:, seam.CLUES.index("bridge_4")]
    inner = (lines >= 4) & (lines <= table.bars - 4)
    assert 1 - bridges[inner].max() == pytest.approx(structure.bridge_similarity(table))


def test_joined_tables_are_what_the_planted_splice_makes() -> None:
    first, second = tune(1, base=35), tune(2, base=38)
    for seed in range(5):
        score = splice(first, second, np.random.default_rng(seed))
        third = 16 / 3
        cut = int(np.random.default_rng(seed).integers(round(third), round(2 * third) + 1))
        keys = [find_key(sounding_classes(read_table(piece)))[0] for piece in (first, second)]
        table = seam.join_tables(read_table(first), read_table(second), cut, (keys[0] - keys[1] + 6) % 12 - 6)
        expected = read_table(score)
        for name in ("start", "end", "pitch", "velocity", "track"):
            np.testing.assert_array_equal(getattr(table, name), getattr(expected, name), err_msg=name)
        np.testing.assert_array_equal(table.bar_starts, expected.bar_starts)


def test_short_and_empty_pieces_have_no_evidence(model: seam.SeamModel) -> None:
    for score in (tune(0, bars=5), Score(QUARTER), tune(0, drum=True)):
        table = read_table(score)
        assert len(seam.seam_clues(table)[0]) == 0
        assert math.isnan(model.evidence(table))


def test_a_model_survives_json_and_refuses_other_clues(model: seam.SeamModel, corpus: list[NoteTable]) -> None:
    values = model.to_dict()
    assert seam.SeamModel.from_dict(values).evidence(corpus[1]) == model.evidence(corpus[1])
    with pytest.raises(ValueError, match="fit the seam model again"):
        seam.SeamModel.from_dict({**values, "clues": ["leap"]})


def test_a_reference_gives_what_its_corpus_allows_and_says_why_not(corpus: list[NoteTable]) -> None:
    whole = Reference.fit(corpus)
    values = score_metrics(corpus[0], ["structure", "harmony"], whole)
    assert values[SEAMS] == whole.measure(SEAMS, corpus[0]) and math.isfinite(values[CHORDS])
    one = Reference.fit([corpus[0]])
    assert one.has(CHORDS) and not one.has(SEAMS)
    assert SEAMS not in score_metrics(corpus[0], ["structure"], one)
    with pytest.raises(ValueError, match="seam_evidence cannot be measured: a seam model needs two pieces"):
        one.measure(SEAMS, corpus[0])
    with pytest.raises(AurlError, match=r"give reference=FOLDER of other music \(a seam model needs two pieces"):
        score_metrics(corpus[0], [SEAMS], one)
    drums = Reference.fit([as_table(tune(0, drum=True))])
    assert not drums.has(CHORDS) and "at least one piece with two chords" in drums.missing[CHORDS]
