"""Sliders that are checked by listening: what is wanted of a bar, and that the nearest of several bars is kept."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from latent_pieces import ATTRIBUTE_DIMENSIONS, MakeModel, make_tools, song

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.generation.latent_editing import EditSession
from aurl.generation.latent_piece import LatentPiece
from aurl.generation.latent_routes import Routes
from aurl.generation.latent_search import MOVED, STRENGTHS, UNDEFINED, Aim, SliderSearch, bar_tokens, metre_of
from aurl.generation.latent_tools import LatentTools
from aurl.generation.prompt import first_bars
from aurl.music.attributes import ATTRIBUTES
from aurl.utils.errors import AurlError

DENSITY, PITCH = (ATTRIBUTES.index(name) for name in ATTRIBUTE_DIMENSIONS)
TRIES = 12


@pytest.fixture
def tools(codec: Codec, make_model: MakeModel) -> LatentTools:
    """Tools with routes of made-up bars: an attribute is 2 + half of its dimension, in steps of 3 for the pitch."""
    found = make_tools(codec, make_model)
    generator = np.random.default_rng(0)
    latents = generator.normal(size=(2000, 6)).astype(np.float32)
    attributes = np.full((len(latents), len(ATTRIBUTES)), np.nan, np.float32)
    attributes[:, DENSITY] = 2 + 0.5 * latents[:, 0]
    attributes[:, PITCH] = 60 + 3 * latents[:, 1]
    found.routes = Routes.fit(latents, attributes, ATTRIBUTE_DIMENSIONS, found.fingerprint)
    return found


@pytest.fixture
def piece(tools: LatentTools) -> LatentPiece:
    return tools.encode(song(), "song")[0]


def test_a_moved_attribute_shall_change_as_much_as_bars_of_training_do_and_the_others_not_at_all(
    tools: LatentTools,
) -> None:
    own = np.full(len(ATTRIBUTES), np.nan)
    own[[DENSITY, PITCH]] = 1.5, 70.0
    aim = SliderSearch(tools, {"density": 0.5}, TRIES).aim(np.zeros(6, np.float32), own)  # half of a deviation of 2
    assert aim.wanted[DENSITY] == pytest.approx(2.0, abs=0.05)
    assert aim.wanted[PITCH] == 70.0
    assert aim.moved.tolist() == [name == "density" for name in ATTRIBUTES]
    own[DENSITY] = np.nan
    found = SliderSearch(tools, {"density": 0.5}, TRIES).aim(np.zeros(6, np.float32), own)
    assert found.wanted[DENSITY] == pytest.approx(2.5, abs=0.05), "where the bar has none, what bars have there"


def test_distance_counts_deviations_and_misses_what_cannot_be_heard() -> None:
    names = len(ATTRIBUTES)
    scale, wanted, moved = np.full(names, 2.0), np.zeros(names), np.arange(names) == 0
    scale[2], wanted[3] = 0.0, np.nan
    heard = np.zeros((5, names))
    heard[4, 0] = np.nan  # the moved one cannot be heard: worse than the worst try in which it can
    heard[1, 0] = 4.0  # the moved one, two deviations off
    heard[2, 1] = np.nan  # one of five others that count cannot be heard
    heard[3, [2, 3]] = 100.0  # never varies; not wanted
    np.testing.assert_allclose(
        Aim(wanted, moved, scale).distance(heard),
        [0, MOVED * 2.0, UNDEFINED / (names - 3), 0, MOVED * (2.0 + UNDEFINED)],
        atol=1e-9,
    )


def test_the_first_try_is_the_slider_itself_and_only_nameless_dimensions_get_noise(
    tools: LatentTools, piece: LatentPiece
) -> None:
    latent = piece.bar_latents[0]
    search = SliderSearch(tools, {"density": 1.0}, TRIES)
    rows = search.candidates(latent, seed=3)
    assert rows.shape == (TRIES, 6)
    np.testing.assert_array_equal(rows[0], tools.slid(latent[None], {"density": 1.0})[0])
    np.testing.assert_array_equal(rows[1, 1:], latent[1:])
    np.testing.assert_array_equal(rows, search.candidates(latent, seed=3))
    # in turn along the route as a whole, near or far, and along the named dimension alone
    routed = (rows[::2, :2] - latent[:2]) / (rows[0, :2] - latent[:2])
    np.testing.assert_allclose(routed[:, 0], routed[:, 1], atol=1e-3)
    np.testing.assert_array_equal(rows[1::2, 1], np.repeat(latent[1], TRIES // 2))
    for way in (rows[::2, 0], rows[1::2, 0]):
        assert len(np.unique(np.round(way - latent[0], 5))) == len(STRENGTHS)
    assert all((one[2:] != other[2:]).any() for one, other in pairwise(rows))
    assert len(SliderSearch(tools, {"density": 1.0}, 1).candidates(latent, seed=3)) == 1


def test_of_all_tries_the_one_that_comes_nearest_is_written(tools: LatentTools, piece: LatentPiece) -> None:
    search = SliderSearch(tools, {"mean_pitch": 2.0}, TRIES)
    session = EditSession(tools, piece)
    rows = search.candidates(piece.bar_latents[1], tools.seed + 2 * TRIES)
    aim = search.aim(piece.bar_latents[1], piece.attributes[1])
    edits = session.rewrite([2], rows[:, None])
    distances = aim.distance(np.stack([edit.piece.attributes[1] for edit in edits]))
    assert len(set(np.round(distances, 6))) > 1, "tries that all sound alike would prove nothing"
    edit = search.replace(session, [2])
    assert aim.distance(edit.piece.attributes[1]) == pytest.approx(distances.min())
    assert edit.bars == (2,)
    for bar in (1, 3, 4):
        np.testing.assert_array_equal(edit.piece.attributes[bar - 1], piece.attributes[bar - 1])


def test_more_tries_come_nearer_and_bars_before_the_first_moved_one_stay_as_they_are(
    tools: LatentTools, piece: LatentPiece
) -> None:
    sliders, vocabulary = {"density": 1.0}, tools.codec.vocabulary
    plain = tools.slide(piece, sliders, [3])
    density = tools.attributes_of(plain.score, piece.bars)[:, DENSITY]
    assert not density[:2].all(), "there is an empty bar, and it stays so"
    search = SliderSearch(tools, sliders, TRIES)
    aim = search.aim(piece.bar_latents[2], piece.attributes[2])
    distances = []
    for tries in (1, 4 * TRIES):  # an untrained decoder comes nearer by chance alone, so by many tries
        sample = SliderSearch(tools, sliders, tries).slide(piece, [3])
        same = first_bars(plain.ids, vocabulary, 2)
        np.testing.assert_array_equal(first_bars(sample.ids, vocabulary, 2), same)
        assert tools.bars_of(sample.ids) == piece.bars
        distances.append(float(aim.distance(tools.attributes_of(sample.score, piece.bars)[2])))
    assert distances[1] < distances[0]


def test_a_bar_in_another_metre_loses_against_all_in_its_own(tools: LatentTools, piece: LatentPiece) -> None:
    search = SliderSearch(tools, {"density": 1.0}, 3)
    own = metre_of(tools, bar_tokens(tools, piece, 2))
    assert len(own) == 1
    every = np.concatenate([bar_tokens(tools, piece, bar) for bar in range(1, piece.bars + 1)])
    np.testing.assert_array_equal(every, piece.tokens)
    aim = search.aim(piece.bar_latents[1], piece.attributes[1])
    heard = np.tile(piece.attributes[1], (3, 1))
    heard[0, DENSITY] = aim.wanted[DENSITY]  # the first is exactly what was wished
    heard[2, DENSITY] += 0.01
    other = [own[0] + 1]
    assert search._nearest(piece, 2, aim, heard, [own, own, own]) == 0
    assert search._nearest(piece, 2, aim, heard, [other, own, own]) == 2
    assert search._nearest(piece, 2, aim, heard, [other, other, other]) == 0


def test_all_bars_are_moved_unless_some_are_named(tools: LatentTools, piece: LatentPiece) -> None:
    sample = SliderSearch(tools, {"density": 1.0}, 2).slide(piece)
    assert tools.bars_of(sample.ids) == piece.bars
    assert (tools.attributes_of(sample.score, piece.bars)[:, DENSITY] > 0).all(), "moved bars have a note"


@pytest.mark.parametrize(
    ("sliders", "tries", "message"),
    [
        ({"density": 1.0}, 0, "tries=0 is out of range; allowed: 1 or more"),
        (
            {"z3": 1.0},
            4,
            "tries=4 listens to what varies.*and z3 does not or has no name; allowed: density, mean_pitch",
        ),
    ],
)
def test_what_cannot_be_listened_to_is_refused(
    tools: LatentTools, sliders: dict[str, float], tries: int, message: str
) -> None:
    with pytest.raises(AurlError, match=message):
        SliderSearch(tools, sliders, tries)


def test_a_dimension_whose_attribute_never_varies_in_the_music_of_the_routes_is_refused(tools: LatentTools) -> None:
    assert tools.routes is not None
    tools.routes.deviations[PITCH] = 0
    with pytest.raises(AurlError, match="and mean_pitch does not or has no name; allowed: density, or set tries=1"):
        SliderSearch(tools, {"mean_pitch": 1.0}, 4)


def test_a_nameless_slider_ends_where_it_was_asked_to_in_every_try(tools: LatentTools, piece: LatentPiece) -> None:
    latent = piece.bar_latents[0]
    rows = SliderSearch(tools, {"density": 4.0, "z3": 1.0}, TRIES).candidates(latent, seed=3)
    np.testing.assert_allclose(rows[:, 2] - latent[2], tools.spread.deviation[2], rtol=1e-5)
    farthest = np.abs(rows[:, 0] - latent[0]).max() / tools.spread.deviation[0]
    assert farthest == pytest.approx(5.0, rel=1e-4), "not twice as far as 4"


def test_a_slider_that_moves_nothing_keeps_the_bar_among_its_tries(tools: LatentTools, piece: LatentPiece) -> None:
    rows = SliderSearch(tools, {"density": 0.0}, TRIES).candidates(piece.bar_latents[0], seed=3)
    np.testing.assert_array_equal(rows[0], piece.bar_latents[0])
    assert np.isfinite(rows).all()


def test_a_lone_slider_without_a_route_wastes_no_try(tools: LatentTools, piece: LatentPiece) -> None:
    rows = SliderSearch(tools, {"mean_pitch": 1.0}, TRIES).candidates(piece.bar_latents[0], seed=3)
    assert len(np.unique(rows, axis=0)) == TRIES


def test_a_tokenizer_without_bars_is_refused(tools: LatentTools) -> None:
    tools.codec = Codec.from_config(TokenizerConfig(kind="tsd"))
    with pytest.raises(AurlError, match="tries=4 writes bar by bar, which needs a tokenizer with Bar tokens"):
        SliderSearch(tools, {"density": 1.0}, 4)


def test_without_routes_nothing_is_known_of_what_to_expect(codec: Codec, make_model: MakeModel) -> None:
    with pytest.raises(AurlError, match=r"tries=4 needs routes.*aurl-latent routes"):
        SliderSearch(make_tools(codec, make_model), {"density": 1.0}, 4)
