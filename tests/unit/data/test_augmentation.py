"""Augmentation: what may change changes, within its range, and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from memory_store import numbers_of
from symusic.core import ScoreTick

from aurl.data.augmentation.augmenter import Augmented, Augmenter
from aurl.data.augmentation.config import (
    AugmentConfig,
    HumanizeConfig,
    StretchConfig,
    StretchOf,
    SubstituteConfig,
    SwingConfig,
    SwingUnit,
    TransposeConfig,
    VelocityConfig,
)
from aurl.data.augmentation.labels import transpose_pitch_classes
from aurl.data.augmentation.rows import RowCodec, track_ranks
from aurl.data.augmentation.segments import Segments
from aurl.data.augmentation.tables import FAMILY_SIZE
from aurl.data.batching import IGNORED, TrainingPlan
from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.store import PieceRecord
from aurl.data.vocabulary import DRUM_PROGRAM, Kind, Vocabulary
from aurl.utils.errors import AurlError
from tests.unit.data.score_strategies import make_score, scores

CODEC = Codec.from_config(TokenizerConfig())
VOCABULARY = CODEC.vocabulary
OFF = TransposeConfig(probability=0.0)
PIECES = 40
RowsOfNotes = np.ndarray
"""(K, 6): onset, end, pitch, velocity, program, track, sorted."""


def band(seed: int, bars: int = 6, numerator: int = 4, denominator: int = 4) -> ScoreTick:
    """Two violins, piano chords and drums on a grid of sixteenths."""
    draw = np.random.default_rng(seed)
    quarters = bars * numerator * 4 / denominator
    tracks: list[tuple[int, list[tuple[float, float, int, int]]]] = []
    for program, low in ((40, 67), (40, 60), (0, 48), (DRUM_PROGRAM, 36)):
        onsets = np.flatnonzero(draw.random(int(quarters * 4)) < 0.6) / 4
        notes = [
            (
                float(t),
                0.25,
                low + (seed % 7 if program >= 0 else 0) + int(draw.integers(0, 10)),
                int(draw.integers(30, 100)),
            )
            for t in onsets
        ]
        if program == 0:
            notes += [(t, d, p + 12, v) for t, d, p, v in notes]
        tracks.append((program, notes))
    return make_score(tracks, metres=((0, numerator, denominator),), tempos=((0, 100.0), (8, 140.0)))


def performance(seed: int, notes: int = 500) -> ScoreTick:
    """Piano whose onsets know no grid."""
    draw = np.random.default_rng(seed)
    onsets = np.cumsum(draw.exponential(0.3, notes))
    rows = [
        (float(t), float(draw.uniform(0.1, 2)), int(draw.integers(40, 80)), int(draw.integers(20, 110))) for t in onsets
    ]
    return make_score([(0, rows)])


def batch_of(pieces: Sequence[np.ndarray]) -> Segments:
    """Whole pieces, BOS to EOS, as a batch."""
    times = [VOCABULARY.musical_time(ids) for ids in pieces]
    lengths = np.array([len(ids) for ids in pieces])
    return Segments(
        np.concatenate(pieces).astype(np.int64),
        np.concatenate([np.arange(n) for n in lengths]),
        np.concatenate([bar for bar, _ in times]).astype(np.int64),
        np.concatenate([beat for _, beat in times]),
        lengths,
        np.arange(len(pieces)),
        np.ones(len(pieces), np.int64),
    )


def encoded(scores_: Sequence[ScoreTick]) -> list[np.ndarray]:
    return [
        np.concatenate([[VOCABULARY.bos], CODEC.encode(CODEC.prepare_score(s)[0]), [VOCABULARY.eos]]) for s in scores_
    ]


def extents(ranges: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest pitches, as a corpus has them."""
    low, high = np.array(ranges).T
    return low, high


def augmented(pieces: list[np.ndarray], seed: int = 0, epoch: int = 0, **parts: Any) -> tuple[Segments, Augmented]:
    """The batch before and after, with only the given augmentations."""
    config = AugmentConfig(**({"transpose": OFF} | parts))
    pitches = [VOCABULARY.value[ids[VOCABULARY.kind[ids] == Kind.PITCH]] for ids in pieces]
    ranges = [(int(p.min()), int(p.max())) if len(p) else (-1, -1) for p in pitches]
    augmenter = Augmenter(config, VOCABULARY, extents(ranges), range(len(pieces)), lambda piece: pieces[piece], seed)
    batch = batch_of(pieces)
    return batch, augmenter(batch, augmenter.recipes(batch.piece, epoch, 1.0))


def each(batch: Segments) -> list[np.ndarray]:
    return np.split(batch.ids, np.cumsum(batch.lengths)[:-1])


def notes_of(ids: np.ndarray) -> RowsOfNotes:
    """Notes in quarters, track by track in score order."""
    score = CODEC.decode(ids, cut_overlaps=False)
    rows = []
    for number, track in enumerate(score.tracks):
        arrays = track.notes.numpy()
        onset, duration = arrays["time"] / score.ticks_per_quarter, arrays["duration"] / score.ticks_per_quarter
        program = np.full(len(onset), DRUM_PROGRAM if track.is_drum else track.program)
        columns = (onset, onset + duration, arrays["pitch"], arrays["velocity"], program, np.full(len(onset), number))
        rows.append(np.stack(columns, 1).astype(float))
    return np.concatenate(rows)


@pytest.fixture(scope="module")
def pieces() -> list[np.ndarray]:
    return encoded([band(seed) for seed in range(PIECES)])


def test_probability_zero_is_the_identity(pieces: list[np.ndarray]) -> None:
    before, after = augmented(pieces)
    assert (before.ids == after.segments.ids).all() and not after.changed.any() and not after.shift.any()


@given(score=scores())
@settings(max_examples=60, deadline=None)
def test_rows_written_unchanged_give_the_same_tokens_and_times(score: ScoreTick) -> None:
    batch = batch_of(encoded([score, score]))
    codec = RowCodec(VOCABULARY)
    assert all(codec.readable(ids) for ids in each(batch))
    rows = codec.read(batch.ids, batch.lengths, batch.bar, batch.beat.astype(float))
    tokens = codec.write(batch.ids, rows, track_ranks(rows), 2)
    assert tokens.ids.tolist() == batch.ids.tolist() and tokens.lengths.tolist() == batch.lengths.tolist()
    inside = batch.ids != VOCABULARY.eos
    assert (tokens.bar == batch.bar)[inside].all()
    np.testing.assert_allclose(tokens.beat[inside], batch.beat[inside], atol=1e-4)


def test_what_is_incomplete_is_left_to_the_gathers() -> None:
    codec = RowCodec(VOCABULARY)
    ids = encoded([band(1)])[0]
    bars = np.flatnonzero(VOCABULARY.kind[ids] == Kind.BAR)
    assert codec.readable(ids[bars[1] : bars[3] + 1])
    for broken in (ids[2:], ids[:-1], ids[bars[1] + 3 : bars[3] + 1], ids[:1], np.delete(ids, bars[1] + 1)):
        assert not codec.readable(broken)
    velocity = int(np.flatnonzero(VOCABULARY.kind[ids] == Kind.VELOCITY)[5])
    assert not codec.readable(np.delete(ids, velocity))


def test_transposition_keeps_intervals_and_drums_and_stays_in_the_range_of_the_corpus(pieces: list[np.ndarray]) -> None:
    before, after = augmented(pieces, transpose=TransposeConfig(semitones=[-12, 12]))
    lowest, highest = 200.0, 0.0
    for old, new, shift in zip(each(before), each(after.segments), after.shift.tolist(), strict=True):
        a, b = notes_of(old), notes_of(new)
        drums = a[:, 4] == DRUM_PROGRAM
        assert (b[~drums, 2] - a[~drums, 2] == shift).all() and (b[drums] == a[drums]).all()
        assert (np.delete(a, 2, 1) == np.delete(b, 2, 1)).all()
        lowest, highest = min(lowest, b[~drums, 2].min()), max(highest, b[~drums, 2].max())
    everything = np.concatenate([notes_of(ids) for ids in pieces])
    pitched = everything[everything[:, 4] != DRUM_PROGRAM, 2]
    assert lowest >= pitched.min() and highest <= pitched.max()
    assert len(set(after.shift.tolist())) > 3 and after.changed.sum() == np.count_nonzero(after.shift)


def test_a_stretch_of_written_music_changes_tempi_only_and_keeps_their_order(pieces: list[np.ndarray]) -> None:
    before, after = augmented(pieces, stretch=StretchConfig(probability=1.0))
    is_tempo = VOCABULARY.kind[before.ids] == Kind.TEMPO
    assert (after.segments.ids[~is_tempo] == before.ids[~is_tempo]).all() and (after.stretch == 1.0).all()
    old = VOCABULARY.tempo[before.ids[is_tempo]].reshape(-1, 2)
    new = VOCABULARY.tempo[after.segments.ids[is_tempo]].reshape(-1, 2)
    assert (new[:, 1] >= new[:, 0]).all()
    ratio = old / new
    assert ratio.min() > 0.75 and ratio.max() < 1.28 and (ratio < 0.95).any() and (ratio > 1.05).any()


def test_a_stretch_of_a_performance_scales_its_times_and_keeps_the_order_of_its_notes() -> None:
    plain = encoded([performance(seed) for seed in range(PIECES)])
    before, after = augmented(plain, stretch=StretchConfig(probability=1.0))
    assert (after.stretch != 1.0).all()
    grid = 1 / VOCABULARY.positions_per_beat
    kept = []
    for old, new, factor in zip(each(before), each(after.segments), after.stretch.tolist(), strict=True):
        a, b = notes_of(old), notes_of(new)
        kept.append(len(b) / len(a))
        if len(a) != len(b):  # a repeated note that fell onto the one before it
            continue
        assert (a[:, 2:] == b[:, 2:]).all()
        assert (np.diff(b[:, 0]) >= 0).all()
        np.testing.assert_allclose(b[:, 0], a[:, 0] * factor, atol=grid)
        short = a[:, 1] - a[:, 0] < 3  # longer ones have a coarser grid
        np.testing.assert_allclose((b - a * factor)[short, 1] - (b - a * factor)[short, 0], 0, atol=0.5 * grid + 1e-6)
    assert np.mean(kept) > 0.99
    whole = after.segments
    for start, length in zip(whole.starts.tolist(), whole.lengths.tolist(), strict=True):
        bar, beat = VOCABULARY.musical_time(whole.ids[start : start + length])
        assert (whole.bar[start : start + length - 1] == bar[:-1]).all()
        np.testing.assert_allclose(whole.beat[start : start + length - 1], beat[:-1], atol=1e-3)


def test_repeated_notes_that_meet_after_a_stretch_become_one_in_each_track() -> None:
    repeated = [(step / 8, 0.125, 60, 80) for step in range(128)]
    plain = encoded([make_score([(0, repeated), (40, repeated)])])
    stretch = StretchConfig(probability=1.0, of=StretchOf.notes, factor=[0.5, 1.0])
    for seed in range(4):
        before, after = augmented(plain, seed, stretch=stretch)
        (old,), (new,) = each(before), each(after.segments)
        onsets = {program: [n[0] for n in notes_of(new) if n[4] == program] for program in (0, 40)}
        assert all(len(set(own)) == len(own) < 128 for own in onsets.values()) and len(notes_of(old)) == 256
        assert onsets[0] == onsets[40], "two tracks never become one"


def test_a_stretch_can_be_told_to_move_tempi_or_notes(pieces: list[np.ndarray]) -> None:
    plain = encoded([performance(seed) for seed in range(4)])
    _, tempi = augmented(plain, stretch=StretchConfig(probability=1.0, of=StretchOf.tempo))
    assert (tempi.stretch == 1.0).all() and tempi.changed.any()
    _, notes = augmented(pieces[:4], stretch=StretchConfig(probability=1.0, of=StretchOf.notes))
    assert (notes.stretch != 1.0).all()
    two_metres = encoded([make_score([(0, [(0, 1, 60, 80), (5, 1, 60, 80)])], metres=((0, 4, 4), (4, 3, 4)))])
    _, tempi = augmented(two_metres, stretch=StretchConfig(probability=1.0, of=StretchOf.notes))
    assert (tempi.stretch == 1.0).all()


def test_velocity_scaling_keeps_the_dynamic_contour_and_does_not_flatten_the_top(pieces: list[np.ndarray]) -> None:
    before, after = augmented(pieces, velocity=VelocityConfig(probability=1.0, factor=[0.5, 2.0]))
    is_velocity = VOCABULARY.kind[before.ids] == Kind.VELOCITY
    assert (after.segments.ids[~is_velocity] == before.ids[~is_velocity]).all()
    louder = softer = 0
    for old, new in zip(each(before), each(after.segments), strict=True):
        a = VOCABULARY.value[old[VOCABULARY.kind[old] == Kind.VELOCITY]]
        b = VOCABULARY.value[new[VOCABULARY.kind[new] == Kind.VELOCITY]]
        order = a.argsort(kind="stable")
        assert (np.diff(b[order]) >= 0).all()
        louder, softer = louder + (b.mean() > a.mean()), softer + (b.mean() < a.mean())
        if b.mean() > a.mean():  # only the loudest velocity of the piece may reach the top
            assert set(a[b == b.max()]) <= set(np.unique(a)[-2:])
    assert louder and softer


def test_substitution_stays_in_the_family_for_a_whole_piece_and_never_merges_tracks(pieces: list[np.ndarray]) -> None:
    before, after = augmented(pieces, substitute=SubstituteConfig(probability=1.0))
    seen = set()
    for old, new in zip(each(before), each(after.segments), strict=True):
        a, b = notes_of(old), notes_of(new)
        assert (np.delete(a, 4, 1) == np.delete(b, 4, 1)).all()
        assert (a[:, 4] // FAMILY_SIZE == b[:, 4] // FAMILY_SIZE).all()
        assert ((a[:, 4] == DRUM_PROGRAM) == (b[:, 4] == DRUM_PROGRAM)).all()
        identities = {tuple(pair) for pair in np.stack([old, new], 1)[VOCABULARY.kind[old] == Kind.PROGRAM].tolist()}
        assert len({x for x, _ in identities}) == len({y for _, y in identities}) == len(identities)
        seen |= {int(program) for program in b[:, 4]}
    assert len(seen & set(range(40, 47))) > 4 and len(seen & set(range(8))) > 4 and 47 not in seen


@pytest.mark.parametrize("unit", list(SwingUnit))
def test_swing_delays_off_beats_and_never_reorders_or_merges_notes(pieces: list[np.ndarray], unit: SwingUnit) -> None:
    before, after = augmented(pieces, swing=SwingConfig(probability=1.0, ratio=[0.75, 0.75], unit=unit))
    pair = 1.0 if unit is SwingUnit.eighth else 0.5
    moved = 0
    for old, new in zip(each(before), each(after.segments), strict=True):
        a, b = notes_of(old), notes_of(new)
        assert len(a) == len(b) and (a[:, 2:] == b[:, 2:]).all()
        assert (np.floor(a[:, 0] / pair) == np.floor(b[:, 0] / pair)).all()
        assert (b[:, 0] >= a[:, 0]).all() and (b[:, 1] > b[:, 0]).all()
        moved += int((b[:, 0] > a[:, 0]).sum())
        order = np.argsort(a[:, 0], kind="stable")
        assert (np.sign(np.diff(a[order, 0])) == np.sign(np.diff(b[order, 0]))).all()
        alone = np.isclose(a[:, 0] % pair, 0)
        assert (a[alone, 0] == b[alone, 0]).all()
    assert moved > 100


def test_a_swung_eighth_ends_where_the_next_one_begins() -> None:
    eighths = [(n / 2, 0.5, 60 + n, 80) for n in range(8)]
    _before, after = augmented(
        encoded([make_score([(0, eighths)])]), swing=SwingConfig(probability=1.0, ratio=[0.75, 0.75])
    )
    notes = notes_of(after.segments.ids)
    assert notes[:, 0].tolist() == [0, 0.75, 1, 1.75, 2, 2.75, 3, 3.75]
    assert notes[:, 1].tolist() == [0.75, 1, 1.75, 2, 2.75, 3, 3.75, 4]


def test_compound_metres_and_performances_do_not_swing() -> None:
    compound = encoded([band(1, numerator=6, denominator=8), performance(1)])
    _, after = augmented(compound, swing=SwingConfig(probability=1.0))
    assert not after.changed.any()


def test_humanised_notes_keep_their_count_order_bar_and_length(pieces: list[np.ndarray]) -> None:
    before, after = augmented(pieces, humanize=HumanizeConfig(probability=1.0, timing=0.1, velocity=0.0))
    moved = 0
    for old, new in zip(each(before), each(after.segments), strict=True):
        a, b = notes_of(old), notes_of(new)
        assert len(a) == len(b) and (a[:, 2:] == b[:, 2:]).all()
        np.testing.assert_allclose(a[:, 1] - a[:, 0], b[:, 1] - b[:, 0])
        assert (np.floor(a[:, 0] / 4) == np.floor(b[:, 0] / 4)).all()
        together = (a[1:, 5] == a[:-1, 5]) & (a[1:, 0] == a[:-1, 0])
        apart = (a[1:, 5] == a[:-1, 5]) & (a[1:, 0] > a[:-1, 0])
        assert (np.diff(b[:, 0])[together] == 0).all() and (np.diff(b[:, 0])[apart] > 0).all()
        moved += int((a[:, 0] != b[:, 0]).sum())
    assert moved > 500


def test_humanised_velocities_differ_note_by_note_and_time_stays(pieces: list[np.ndarray]) -> None:
    before, after = augmented(pieces, humanize=HumanizeConfig(probability=1.0, timing=0.0, velocity=6.0))
    is_velocity = VOCABULARY.kind[before.ids] == Kind.VELOCITY
    assert (after.segments.ids[~is_velocity] == before.ids[~is_velocity]).all()
    step = VOCABULARY.value[after.segments.ids[is_velocity]] - VOCABULARY.value[before.ids[is_velocity]]
    assert 4 < step.std() < 8 and abs(step.mean()) < 0.5


FULL: dict[str, Any] = {
    "transpose": TransposeConfig(semitones=[-12, 12]),
    "stretch": StretchConfig(probability=0.5),
    "velocity": VelocityConfig(probability=0.5),
    "substitute": SubstituteConfig(probability=0.5),
    "swing": SwingConfig(probability=0.5),
    "humanize": HumanizeConfig(probability=0.5),
}


def test_a_segment_does_not_depend_on_the_others_of_its_batch(pieces: list[np.ndarray]) -> None:
    mixed = pieces[:6] + encoded([performance(seed) for seed in range(4)])
    _, together = augmented(mixed, **FULL)
    pitches = [VOCABULARY.value[ids[VOCABULARY.kind[ids] == Kind.PITCH]] for ids in mixed]
    ranges = [(int(p.min()), int(p.max())) for p in pitches]
    augmenter = Augmenter(AugmentConfig(**FULL), VOCABULARY, extents(ranges), range(10), lambda piece: mixed[piece], 0)
    for number in range(len(mixed)):
        alone = batch_of(mixed).select(np.array([number]))
        result = augmenter(alone, augmenter.recipes(alone.piece, 0, 1.0))
        assert result.segments.ids.tolist() == each(together.segments)[number].tolist()


def test_seed_and_epoch_decide(pieces: list[np.ndarray]) -> None:
    _, first = augmented(pieces, seed=1, epoch=2, **FULL)
    _, same = augmented(pieces, seed=1, epoch=2, **FULL)
    assert first.segments.ids.tolist() == same.segments.ids.tolist()
    for other in ({"seed": 2, "epoch": 2}, {"seed": 1, "epoch": 3}):
        _, differs = augmented(pieces, **other, **FULL)
        assert first.segments.ids.tolist() != differs.segments.ids.tolist()


def test_everything_at_once_gives_music_that_encodes_to_itself(pieces: list[np.ndarray]) -> None:
    mixed = pieces + encoded([performance(seed) for seed in range(20)])
    always = {name: replace(part, probability=1.0) for name, part in FULL.items()}
    before, after = augmented(mixed, **always)
    assert after.changed.all()
    for old, new, start in zip(each(before), each(after.segments), after.segments.starts.tolist(), strict=True):
        again = CODEC.encode(CODEC.decode(new, cut_overlaps=False))
        tempo = VOCABULARY.kind[again] == Kind.TEMPO
        assert (again[~tempo] == new[1:-1][VOCABULARY.kind[new[1:-1]] != Kind.TEMPO]).all()
        source = after.segments.source[start : start + len(new)]
        same_kind = VOCABULARY.kind[old[source]] == VOCABULARY.kind[new]
        assert same_kind[VOCABULARY.kind[new] != Kind.POSITION].all()  # labels beside the tokens can follow


@dataclass
class ListStore:
    """Pieces in memory, as the loader reads them."""

    tokens: list[np.ndarray]

    def __post_init__(self) -> None:
        self.pieces = []
        for ids in self.tokens:
            pitches = VOCABULARY.value[ids[VOCABULARY.kind[ids] == Kind.PITCH]]
            notes = VOCABULARY.count_notes(ids)
            self.pieces.append(
                PieceRecord("", "train", notes, 1.0, len(ids), int(pitches.min()), int(pitches.max()), 1)
            )
        self.numbers = numbers_of(self.pieces)

    def ids(self, piece: int) -> np.ndarray:
        return self.tokens[piece]

    def bars(self, piece: int) -> np.ndarray:
        return VOCABULARY.musical_time(self.tokens[piece])[0].astype(np.uint16)

    def beats(self, piece: int) -> np.ndarray:
        return VOCABULARY.musical_time(self.tokens[piece])[1]


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_every_note_is_scored_once_an_epoch_whatever_becomes_of_its_segment(
    pieces: list[np.ndarray], overlap: float
) -> None:
    store: Any = ListStore(pieces)
    always = {name: replace(part, probability=1.0) for name, part in FULL.items()}
    config = AugmentConfig(**always)
    plan = TrainingPlan(store, range(PIECES), VOCABULARY, 300, 1000, config, 0, overlap)
    is_pitch = np.isin(VOCABULARY.kind, (Kind.PITCH, Kind.PITCH_DRUM))
    scored, augmented_segments, segments = 0, 0, 0
    for windows in plan.epoch(1):
        batch = plan.collate(windows, 1)
        targets = batch.targets.numpy()
        scored += int(is_pitch[targets[targets != IGNORED]].sum())
        augmented_segments, segments = augmented_segments + batch.augmented, segments + len(batch.lengths)
        assert max(batch.lengths) <= 300 and len(batch.shifts) == len(batch.lengths) == len(batch.origins)
        start = 0
        for length in batch.lengths:  # context ends at a bar line
            first = int(np.flatnonzero(targets[start : start + length] != IGNORED)[0])
            kind = VOCABULARY.kind[int(batch.ids[start + first])]
            assert kind in (Kind.BAR, Kind.BOS)
            start += length
    assert scored == sum(record.notes for record in store.pieces)
    assert augmented_segments == segments


def test_labels_beside_the_tokens_follow_source_and_shift(pieces: list[np.ndarray]) -> None:
    store: Any = ListStore(pieces)
    plan = TrainingPlan(store, range(PIECES), VOCABULARY, 300, 1000, AugmentConfig(**FULL), 0)
    is_pitch = VOCABULARY.kind == Kind.PITCH
    for windows in plan.epoch(0):
        batch = plan.collate(windows, 0)
        ids, source, start = batch.ids.numpy(), batch.source.numpy(), 0  # type: ignore[union-attr]
        for piece, shift, length in zip(batch.origins, batch.shifts, batch.lengths, strict=True):
            label = VOCABULARY.value[pieces[piece]] % 12  # pitch classes beside the stored tokens
            here = slice(start, start + length)
            moved = transpose_pitch_classes(label[source[here]], shift)
            pitched = is_pitch[ids[here]]
            assert (moved[pitched] == VOCABULARY.value[ids[here]][pitched] % 12).all()
            start += length


def test_what_was_measured_in_the_file_says_whether_a_piece_is_performed(caplog: pytest.LogCaptureFixture) -> None:
    played = encoded([performance(3)])[0]
    facts: list[dict[str, float]] = [
        {"performed": 1.0},
        {"performed": 0.0},
        {"performed": 1.0, "off_grid_share_aligned": 0.2},
        {},
        {},
    ]
    count = len(facts)
    ranges = extents([(40, 80)] * count)
    augmenter = Augmenter(AugmentConfig(), VOCABULARY, ranges, range(count), lambda piece: played, 0, facts.__getitem__)
    with caplog.at_level("INFO"):
        found = augmenter.performed(np.arange(count), np.ones(count, bool))
    assert found.tolist() == [True, False, False, True, True], "aligned bars are real; tokens decide the last two"
    assert augmenter.guessed == 2 and caplog.text.count("does not say which pieces are performed") == 1


def test_what_a_tokenizer_cannot_do_is_said_in_one_line() -> None:
    def build(drop: str, **parts: Any) -> None:
        names = [name for name in VOCABULARY.tokens if not name.startswith(drop)]
        Augmenter(AugmentConfig(**parts), Vocabulary(names, 8), ([60], [70]), [0], lambda piece: np.zeros(2, int), 0)

    build("Bar", velocity=VelocityConfig(probability=1.0))
    with pytest.raises(
        AurlError, match=r"augment\.swing needs BAR tokens, which this tokenizer does not have; set aug"
    ):
        build("Bar", swing=SwingConfig(probability=1.0))
    with pytest.raises(AurlError, match=r"augment\.substitute needs PROGRAM tokens"):
        build("Program", substitute=SubstituteConfig(probability=0.1))
    with pytest.raises(AurlError, match=r"augment\.stretch needs TEMPO tokens"):
        build("Tempo", stretch=StretchConfig(probability=0.1))
