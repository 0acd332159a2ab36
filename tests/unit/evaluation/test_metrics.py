"""Musical metrics on scores whose answer is known by heart, and the properties that their names promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from symusic import Note, Pedal, Score, Tempo, TimeSignature, Track

from aurl.evaluation.metrics import dynamics, harmony, melody, order, pitch, progression, rhythm, scape, seam, structure
from aurl.evaluation.metrics import tension as spiral
from aurl.evaluation.metrics.reference import Reference
from aurl.evaluation.metrics.registry import all_metrics, choose_metrics, score_metrics
from aurl.evaluation.metrics.table import as_table, read_table
from aurl.music.consonance import interval_classes
from aurl.music.metrical_weights import metrical_weights
from aurl.utils.errors import AurlError

QUARTER = 480
TUNE = (60, 62, 64, 65, 67, 65, 64, 62)
MAJOR = (0, 4, 7)


def make(*tracks, metre=(4, 4), drum=(), program=0):
    """A score of tracks of (onset, length, pitch[, velocity]) in quarters."""
    score = Score(QUARTER)
    score.time_signatures.append(TimeSignature(0, *metre))
    for index, notes in enumerate(tracks):
        track = Track(program=program, is_drum=index in drum)
        for onset, length, height, *velocity in notes:
            track.notes.append(
                Note(round(onset * QUARTER), round(length * QUARTER), height, velocity[0] if velocity else 80)
            )
        score.tracks.append(track)
    return score


def line(pitches, length=1.0, start=0.0):
    return [(start + index * length, length, height) for index, height in enumerate(pitches)]


def chord(root, start, length=4.0, steps=MAJOR):
    return [(start, length, root + step) for step in steps]


def random_score(seed, bars=24):
    rng = np.random.default_rng(seed)
    heights = rng.integers(48, 84, bars * 4)
    return make([(index, 1, int(h), int(rng.integers(20, 120))) for index, h in enumerate(heights)])


def song(bars=32):
    """Phrases of four bars in the form A A B A, each bar different from its neighbours."""
    rng = np.random.default_rng(5)
    phrases = {name: rng.integers(55, 80, 16) for name in "AB"}
    heights = np.concatenate([phrases["AABA"[(bar // 4) % 4]] for bar in range(0, bars, 4)])
    return make(line([int(h) for h in heights]))


# the table


def test_bars_follow_every_change_of_metre_and_a_note_knows_its_bar() -> None:
    score = make(line([60] * 10), metre=(3, 4))
    score.time_signatures.append(TimeSignature(3 * QUARTER, 4, 4))
    table = read_table(score)
    assert table.bar_starts.tolist() == [0, 3, 7, 11]
    assert table.bar.tolist() == [0] * 3 + [1] * 4 + [2] * 3
    assert table.position[3] == 0


def test_seconds_follow_the_tempo_map() -> None:
    score = make(line([60] * 4))
    score.tempos.append(Tempo(0, qpm=60))
    score.tempos.append(Tempo(2 * QUARTER, qpm=120))
    assert read_table(score).seconds == pytest.approx(2 + 1)
    assert read_table(make(line([60] * 4))).seconds == pytest.approx(2.0)


def test_a_table_is_read_once_and_handed_through() -> None:
    table = read_table(make(line(TUNE)))
    assert as_table(table) is table
    with pytest.raises(TypeError, match="metrics read symusic scores in ticks or NoteTable, got ScoreQuarter"):
        as_table(make(line(TUNE)).to("quarter"))


def test_the_skyline_keeps_a_held_upper_note_over_what_moves_below_it() -> None:
    table = read_table(make([(0, 4, 72), *line([60, 62, 64], start=1.0)]))
    assert table.pitch[table.melody].tolist() == [72]
    table = read_table(make(line([60, 62]), chord(40, 0, 2)))
    assert table.pitch[table.melody].tolist() == [60, 62]


# pitch


def test_entropy_of_equal_classes_is_the_logarithm_of_their_number() -> None:
    assert pitch.pitch_class_entropy(make(line(range(60, 72)))) == pytest.approx(math.log2(12))
    assert pitch.pitch_class_entropy(make(line([60, 72, 48]))) == 0
    assert pitch.pitch_entropy(make(line([60, 72]))) == pytest.approx(1)


def test_a_scale_is_in_its_scale_and_transposing_changes_no_key_figure() -> None:
    here, there = make(line(TUNE)), make(line([p + 5 for p in TUNE]))
    assert pitch.scale_consistency(here) == 1
    assert pitch.pitch_in_scale_rate(here, 0, "major") == 1
    assert pitch.pitch_in_scale_rate(here, 1, "major") == pytest.approx(3 / 8)
    for metric in (pitch.scale_consistency, pitch.key_clarity, pitch.out_of_key_share, pitch.pitch_range):
        assert metric(here) == pytest.approx(metric(there))
    relative = pitch.relative_pitch_class_distribution
    assert relative(here) == pytest.approx(relative(there))
    with pytest.raises(ValueError, match="mode=dorian is unknown; allowed: major, minor"):
        pitch.pitch_in_scale_rate(here, 0, "dorian")


def test_a_modulation_is_not_out_of_key_but_a_wrong_note_is() -> None:
    steps = [0, 2, 4, 5, 7, 9, 11, 12] * 2
    modulating = make(line([60 + s for s in steps] + [66 + s for s in steps]))
    assert pitch.scale_consistency(modulating) < 0.8
    assert pitch.out_of_key_share(modulating) == 0
    spoilt = [60 + s for s in steps]
    spoilt[1] = 63
    assert pitch.out_of_key_share(make(line(spoilt))) == pytest.approx(1 / 16)


def test_drums_have_no_pitch() -> None:
    score = make(line([36, 38, 42]), drum={0})
    assert math.isnan(pitch.pitch_range(score)) and math.isnan(pitch.pitch_class_entropy(score))
    assert pitch.n_pitches_used(score) == 0


# rhythm


def test_syncopation_counts_the_held_downbeat_and_not_the_plain_one() -> None:
    assert rhythm.syncopation(make(line([60] * 8))) == 0
    assert rhythm.syncopation(make([(0, 1, 60), (3.5, 1.5, 60), (5, 1, 60), (7, 1, 60)])) == pytest.approx((3 + 1) / 2)


def test_metrical_weights_of_three_quarters_fall_into_three() -> None:
    assert metrical_weights(12).tolist() == [0, -3, -2, -3, -1, -3, -2, -3, -1, -3, -2, -3]


def test_equal_bars_have_perfect_groove_and_opposite_ones_less() -> None:
    same = make(line([60] * 16))
    assert rhythm.groove_consistency(same) == 1 == rhythm.grooving_similarity(same)
    other = make([(0, 1, 60), (4.5, 1, 60), (8, 1, 60), (12.5, 1, 60)])
    assert rhythm.groove_consistency(other) == pytest.approx(1 - 2 / 48)
    assert rhythm.grooving_similarity(other) == pytest.approx(1 - (4 / 6) * 2 / 48)


def test_weighted_note_to_beat_follows_its_formula() -> None:
    assert rhythm.weighted_note_to_beat(make(line([60] * 4))) == 0
    assert rhythm.weighted_note_to_beat(make([(0.5, 0.5, 60)])) == pytest.approx(2)
    assert rhythm.weighted_note_to_beat(make([(0.5, 1, 60)])) == pytest.approx(4)
    assert rhythm.weighted_note_to_beat(make([(0.75, 3, 60)])) == pytest.approx(4)


def test_silence_share_is_exact_where_muspy_counts_a_quarter_too_many() -> None:
    score = make([(0, 1, 60), (3, 1, 60)])
    assert rhythm.silence_share(score) == pytest.approx(0.5)
    assert rhythm.empty_beat_rate(score) == pytest.approx(1 / 5)


def test_one_pitch_in_two_tracks_sounds_once() -> None:
    score = make([(0, 4, 60)], [(0, 4, 60), (2, 2, 64)])
    assert rhythm.polyphony(score) == pytest.approx(1.5)
    assert rhythm.polyphony_rate(score) == 0
    assert rhythm.polyphony_rate(score, threshold=1) == pytest.approx(0.5)


def test_rhythm_entropy_is_one_for_ever_new_bars_and_zero_for_one_rhythm() -> None:
    assert rhythm.rhythm_entropy(make(line([60] * 16))) == 0
    varied = [(bar * 4 + bar * 0.25, 1, 60) for bar in range(8)]
    assert rhythm.rhythm_entropy(make(varied)) == pytest.approx(1)


def test_unknown_drum_metre_and_bar_length_are_refused() -> None:
    with pytest.raises(ValueError, match="metre=odd is unknown; allowed: duple, triple"):
        rhythm.drum_in_pattern_rate(make(line(TUNE)), "odd")
    with pytest.raises(ValueError, match="bar_ticks=0 is out of range"):
        rhythm.groove_consistency(make(line(TUNE)), 0)


# melody


def test_intervals_are_counted_within_each_track() -> None:
    score = make(line([60, 62, 64]), line([36, 48]))
    assert melody.mean_interval(score) == pytest.approx((2 + 2 + 12) / 3)
    assert melody.step_share(score) == pytest.approx(2 / 3) and melody.leap_share(score) == pytest.approx(1 / 3)
    shares = melody.interval_distribution(score)
    assert shares[14] == pytest.approx(2 / 3) and shares[24] == pytest.approx(1 / 3)


@pytest.mark.parametrize("method", melody.METHODS)
def test_contours_are_alike_after_transposition_and_stretching_and_unlike_upside_down(method: str) -> None:
    tune = make(line(TUNE))
    higher = make(line([p + 7 for p in TUNE], length=2.0))
    upside_down = make(line([120 - p for p in TUNE]))
    assert melody.contour_similarity(tune, higher, method) == pytest.approx(1)
    assert melody.contour_similarity(tune, upside_down, method) < 0.5


def test_contour_edit_distance_is_levenshteins() -> None:
    one, two = make(line([60, 62, 64, 62])), make(line([60, 62, 60]))  # up up down, up down
    assert melody.contour_similarity(one, two, "edit") == pytest.approx(1 - 1 / 3)
    with pytest.raises(ValueError, match="method=lcs is unknown; allowed: pearson, dtw, edit"):
        melody.contour_similarity(one, two, "lcs")


def test_direction_changes_of_a_zigzag_are_all_and_of_a_scale_none() -> None:
    assert melody.direction_changes(make(line([60, 64] * 4))) == 1
    assert melody.direction_changes(make(line([60, 62, 64, 65]))) == 0


# harmony


def test_a_triad_is_consonant_a_cluster_is_not() -> None:
    triad, cluster = make(chord(60, 0)), make(chord(60, 0, steps=(0, 1, 2)))
    assert harmony.dissonance(triad) == pytest.approx(-(0.594 + 0.386 + 1.240) / 3)
    assert harmony.dissonance(cluster) == pytest.approx((2 * 1.428 + 0.582) / 3)
    assert harmony.semitone_clash_share(triad) == 0 and harmony.semitone_clash_share(cluster) == 1
    assert harmony.interval_class_distribution(triad) == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3, 0])


def test_a_tritone_counts_once() -> None:
    assert interval_classes(read_table(make(chord(60, 0, steps=(0, 6)))).chroma)[0].tolist() == [0] * 5 + [1]


def test_tracks_that_agree_are_near_and_fifths_are_nearer_than_tritones() -> None:
    assert harmony.tonal_distance(make(chord(60, 0), chord(48, 0))) == pytest.approx(0)
    fifth, tritone = make([(0, 4, 60)], [(0, 4, 67)]), make([(0, 4, 60)], [(0, 4, 66)])
    assert harmony.tonal_distance(fifth) < harmony.tonal_distance(tritone)
    assert math.isnan(harmony.tonal_distance(make(chord(60, 0))))


def test_the_spiral_array_has_chews_distances() -> None:
    fifth = math.sqrt(2 + spiral.RISE**2)
    third = 4 * spiral.RISE
    assert spiral.cloud_diameter(make(chord(60, 0, steps=(0, 7)))) == pytest.approx(fifth)
    assert spiral.cloud_diameter(make(chord(60, 0, steps=(0, 4)))) == pytest.approx(third)
    still = make(chord(60, 0) + chord(60, 4))
    moving = make(chord(60, 0) + chord(66, 4))
    assert spiral.cloud_momentum(still) == pytest.approx(0) and spiral.cloud_momentum(moving) > 0
    assert spiral.tensile_strain(make(chord(60, 0) + chord(66, 4, 1))) > spiral.tensile_strain(still)


def test_four_single_voices_have_voice_leading_and_a_piano_has_none() -> None:
    fifths = [line([p + shift for p in (60, 62, 64)]) for shift in (12, 7, 0, -12)]
    values = harmony.voice_leading(make(*fifths))
    assert values["parallel_fifths_per_100_chords"] > 0 and values["crossed_percent"] == 0
    assert all(math.isnan(value) for value in harmony.voice_leading(make(chord(60, 0))).values())


def test_chords_are_named_by_root_and_quality() -> None:
    score = make(chord(60, 0) + chord(57, 4, steps=(0, 3, 7)) + chord(59, 8, steps=(0, 3, 6)))
    assert progression.quarter_chords(score).tolist() == [0] * 4 + [12 + 9] * 4 + [24 + 11] * 4
    assert progression.chord_change_rate(score) == pytest.approx(2 / 12)


def test_a_chord_model_prefers_what_it_was_fitted_on_in_any_key() -> None:
    cadence = [0, 5, 7, 0] * 4
    usual = make([n for i, r in enumerate(cadence) for n in chord(48 + r, i, 1)])
    elsewhere = make([n for i, r in enumerate(cadence) for n in chord(53 + r, i, 1)])
    strange = make([n for i, r in enumerate([0, 6, 1, 8] * 4) for n in chord(48 + r, i, 1)])
    model = progression.ChordModel.fit([usual])
    assert model.nats_per_quarter(elsewhere) == pytest.approx(model.nats_per_quarter(usual))
    assert model.nats_per_quarter(strange) > 2 * model.nats_per_quarter(usual)
    again = progression.ChordModel.from_dict(model.to_dict())
    assert again.nats_per_quarter(strange) == model.nats_per_quarter(strange)
    with pytest.raises(ValueError, match="a chord model needs at least one piece with two chords"):
        progression.ChordModel.fit([make([(0, 1, 60)])])


def test_the_probabilities_of_a_chord_model_sum_to_one() -> None:
    model = progression.ChordModel.fit([random_score(1)])
    roots = [
        make(chord(48, 0, 1) + chord(48 + move, 1, 1, steps))
        for move in range(12)
        for steps in progression.QUALITIES.values()
    ]
    assert sum(math.exp(-model.nats_per_quarter(score)) for score in roots) == pytest.approx(1)


# structure


def test_a_loop_is_a_loop_and_a_song_is_not() -> None:
    loop = make(line(list(TUNE) * 2 * 6))
    assert structure.loop_share(loop) == 1
    assert structure.repetition_2_bars(loop) == pytest.approx(22 / 24)  # the first time is no repetition
    assert structure.lag_peak(loop) == 1
    assert structure.loop_share(song()) <= 0.5 < structure.repetition_4_bars(song())


def test_the_lag_profile_peaks_where_phrases_come_back() -> None:
    profile = structure.lag_profile(song())
    assert profile.argmax() + 1 == 16 and profile[15] == pytest.approx(1)
    assert structure.hypermetre(song()) > 0.3


def test_repetition_needs_an_earlier_block_of_that_length() -> None:
    rng = np.random.default_rng(0)
    bars = [rng.integers(50, 80, 4).tolist() for _ in range(6)]
    score = make(line([p for b in (0, 1, 2, 0, 1, 3, 4, 5) for p in bars[b]]))
    assert structure.repetition_1_bar(score) == pytest.approx(2 / 8)
    assert structure.repetition_2_bars(score) == pytest.approx(2 / 8)
    assert structure.repetition_4_bars(score) == 0


def test_novelty_peaks_at_the_border_of_two_textures() -> None:
    score = make(line([60] * 32) + [(32 + i / 2, 0.5, 70 + i % 3) for i in range(64)])
    curve = structure.novelty_curve(score)
    assert curve.argmax() == 8 and curve[0] == 0
    assert structure.novelty_distribution(score).sum() == pytest.approx(1)


def test_two_pieces_joined_share_nothing_over_the_joint() -> None:
    whole = song()
    parts = as_table(random_score(1, 16)), as_table(random_score(2, 16))
    joined = make(line([*parts[0].pitch.tolist(), *parts[1].pitch.tolist()]))
    assert structure.bridge_similarity(whole) > 0.9
    # all of these are quarters, so that lengths are alike and only notes are not
    assert structure.bridge_similarity(joined) < 0.7


def test_the_scape_plot_finds_the_section_that_tiles_the_piece() -> None:
    plot = scape.scape_plot(song())
    assert plot.shape == (scape.LONGEST, 32) and np.nanmax(plot) <= 1
    assert scape.structure_indicator_long(song()) == pytest.approx(0.5)  # half the piece explains the other half
    assert scape.structure_indicator_long(random_score(3, 32)) == pytest.approx(0, abs=0.05)


def test_fitness_is_zero_without_repetition_and_grows_with_it() -> None:
    none, twice = np.eye(4), np.kron(np.ones((2, 2)), np.eye(2))
    assert scape.fitness(none, 2).max() == 0
    assert scape.fitness(twice, 2)[0] == pytest.approx(2 * 0.5 * 0.5 / (0.5 + 0.5))


def test_order_of_a_song_is_meant_and_that_of_its_shuffled_bars_is_not() -> None:
    table = as_table(song())
    rng = np.random.default_rng(0)
    values = []
    for _ in range(20):
        places = rng.permutation(32)
        heights = np.concatenate([table.pitch[place * 4 : place * 4 + 4] for place in places])
        values.append(order.phrase_order(make(line(heights.tolist()))))
    assert order.phrase_order(table) > max(values) and abs(np.mean(values)) < 1
    assert order.bar_order(table) >= order.phrase_order(table)


def test_connected_lines_are_evidence_of_order_and_short_pieces_have_none() -> None:
    scale = [48 + i for i in range(40)]
    assert order.line_order(make(line(scale))) > 2
    assert math.isnan(order.line_order(make(line(scale[:12]))))


# dynamics


def test_flat_velocities_say_so() -> None:
    flat, loud = make(line(TUNE)), random_score(0)
    assert dynamics.velocity_std(flat) == dynamics.velocity_range(flat) == dynamics.velocity_entropy(flat) == 0
    assert math.isnan(dynamics.velocity_contour(flat))
    assert dynamics.velocity_range(loud) > 50 and abs(dynamics.velocity_contour(loud)) < 0.4
    swell = make([(i, 1, 60, 40 + i) for i in range(60)])
    assert dynamics.velocity_contour(swell) > 0.99


def test_timing_deviation_measures_the_distance_from_sixteenths_and_triplets() -> None:
    assert dynamics.timing_deviation(make([(0, 1, 60), (1 + 1 / 3, 1, 60), (2.75, 1, 60)])) == pytest.approx(
        0, abs=1e-3
    )
    late = make([(1.05, 1, 60), (2.95, 1, 60)])
    assert dynamics.timing_deviation(late) == pytest.approx(0.05)
    assert dynamics.off_grid_share(late) == 1


def test_pedals_that_overlap_count_once() -> None:
    score = make(line([60] * 8))
    for start, length in ((0, 2), (1, 2), (6, 9)):
        score.tracks[0].pedals.append(Pedal(start * QUARTER, length * QUARTER))
    assert dynamics.pedal_share(score) == pytest.approx(5 / 8)
    assert dynamics.pedal_share(make(line(TUNE))) == 0


def test_articulation_of_staccato_is_short_and_accents_are_louder_than_the_rest() -> None:
    assert dynamics.articulation(make([(i, 0.25, 60 + i) for i in range(8)])) == pytest.approx(0.25)
    beats = [(i / 2, 0.5, 60, 90 if i % 2 == 0 else 70) for i in range(16)]
    assert dynamics.accent_gain(make(beats)) == pytest.approx(20)


# the registry


@pytest.mark.parametrize(
    "score",
    [
        make([(0, 1, 60)]),
        make(line([36, 38, 42, 36]), drum={0}),
        make(chord(60, 0), chord(36, 0)),
        make(line(TUNE), metre=(7, 8)),
        random_score(7),
    ],
    ids=["one note", "drums", "two chords", "seven eighths", "random"],
)
@pytest.mark.filterwarnings("error")
def test_every_metric_measures_every_score_inside_its_range(score) -> None:
    for name, value in score_metrics(score).items():
        spec = all_metrics()[name]
        if spec.is_distribution:
            assert np.shape(value) == (spec.size,) and np.isfinite(value).all()
            continue
        assert isinstance(value, float)
        if math.isfinite(value):
            assert spec.low is None or value >= spec.low - 1e-9, name
            assert spec.high is None or value <= spec.high + 1e-9, name


def test_a_score_without_notes_has_no_figures_and_no_errors() -> None:
    empty_track = Score(QUARTER)
    empty_track.tracks.append(Track())
    for score in (Score(QUARTER), empty_track):
        values = score_metrics(score)
        assert all(math.isnan(v) or v == 0 for v in values.values() if isinstance(v, float))
        assert all(np.isfinite(v).all() for v in values.values() if not isinstance(v, float))


def test_a_piece_of_thousands_of_bars_is_measured_by_its_beginning() -> None:
    rng = np.random.default_rng(0)
    long = make([(4 * bar, 1, int(rng.integers(40, 90))) for bar in range(3000)])
    table = as_table(long)
    assert table.bars == 3000
    assert structure.bar_similarity(table).shape == (structure.MOST_BARS,) * 2
    assert order.line_costs(table).shape == (order.MOST_BARS,) * 2
    free = [spec for spec in all_metrics().values() if not spec.needs_reference]
    assert len(score_metrics(table)) == len(free)
    assert seam.seam_clues(table)[0].max() < structure.MOST_BARS


def test_no_metric_changes_its_table_or_depends_on_what_was_measured_before() -> None:
    score = random_score(2)
    table = as_table(score)
    forward = score_metrics(table)
    backward = {name: score_metrics(score, [name])[name] for name in reversed(forward)}
    for name, value in forward.items():
        np.testing.assert_array_equal(value, backward[name], err_msg=name)


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(AurlError, match="metrics=pitch_clas_entropy is unknown; did you mean pitch_class_entropy"):
        choose_metrics(["pitch_clas_entropy"])
    assert {spec.group for spec in choose_metrics(["harmony"])} == {"harmony"}
    assert not any(spec.is_distribution for spec in choose_metrics(scalars_only=True))


def test_a_metric_against_a_corpus_needs_one() -> None:
    score = make(line(TUNE))
    assert "chord_progression_nll" not in score_metrics(score)
    with pytest.raises(AurlError, match="chord_progression_nll is measured against a corpus: give reference=FOLDER"):
        score_metrics(score, ["chord_progression_nll"])
    model = Reference.fit([score])
    assert score_metrics(score, reference=model)["chord_progression_nll"] == model.chords.nats_per_quarter(score)


# MusPy as an oracle, on real files


def test_metrics_with_muspys_names_are_muspys(corpora) -> None:
    muspy = pytest.importorskip("muspy")
    from aurl.music.score import read_score
    from experiments.metric_parity.run import both, explained

    assert muspy.__name__ == "muspy"
    seen = 0
    for corpus in ("nottingham", "jsb-chorales", "groove", "multitrack-free"):
        folder = corpora(corpus)
        for line_ in (folder / "splits/valid.txt").read_text().splitlines()[:4]:
            score = read_score(folder / line_)
            for name, (theirs, ours) in both(score).items():
                if explained(name, read_table(score)):
                    assert theirs == -127 and math.isnan(ours)
                else:
                    assert ours == pytest.approx(theirs, abs=1e-6, nan_ok=True), name
                seen += 1
    assert seen == 16 * 15
