"""Routes: where bars lie as a dimension grows, and that sliders follow them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from latent_pieces import ATTRIBUTE_DIMENSIONS, MakeModel, make_tools

from aurl.data.codec import Codec
from aurl.generation.latent_routes import Routes
from aurl.music.attributes import ATTRIBUTES
from aurl.utils.errors import AurlError

NAMES = ("density", "range")
Z = 6


def bars(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Bars on a parabola: z3 grows with the square of z1, z4 falls with it, z5 and z6 are noise; z2 never varies."""
    generator = np.random.default_rng(0)
    latents = generator.normal(size=(count, Z)) * [1, 0, 0.05, 0.05, 1, 1]
    latents[:, 2] += latents[:, 0] ** 2
    latents[:, 3] -= latents[:, 0]
    attributes = np.full((count, len(ATTRIBUTES)), np.nan)
    attributes[:, ATTRIBUTES.index("density")] = latents[:, 0]
    attributes[:, ATTRIBUTES.index("range")] = 12.0
    return latents.astype(np.float32), attributes.astype(np.float32)


@pytest.fixture(scope="module")
def routes() -> Routes:
    return Routes.fit(*bars(), NAMES, "me")


def test_a_slider_takes_along_what_goes_with_it_in_real_bars(routes: Routes) -> None:
    now = np.array([[0.0, 1.0], [-1.0, 0.5]])
    shift = routes.shift("density", now, 1.0)
    assert shift.shape == (2, 2, Z)
    assert (shift[..., 0] == 1.0).all(), "the dimension itself goes where it was asked to"
    np.testing.assert_allclose(shift[..., 2], (now + 1) ** 2 - now**2, atol=0.2)
    np.testing.assert_allclose(shift[..., 3], -1.0, atol=0.1)
    assert np.abs(shift[..., [1, 4, 5]]).max() < 0.3


@pytest.mark.parametrize(("up", "expected"), [(1.0, 0.965), (0.0, 0.49)])
def test_sliders_that_go_together_in_real_bars_share_what_they_take_along(up: float, expected: float) -> None:
    generator = np.random.default_rng(1)
    shared, noise = generator.normal(size=(5000, 1)), generator.normal(size=(5000, 3)) * [0.2, 0.2, 0.05]
    latents = (shared + noise).astype(np.float32)
    attributes = np.full((len(latents), len(ATTRIBUTES)), np.nan, np.float32)
    attributes[:, [ATTRIBUTES.index(name) for name in NAMES]] = latents[:, :2]
    found = Routes.fit(latents, attributes, NAMES, "me")
    along = found.together({"density": 1.0, "range": up})
    third = sum(found.shift(name, np.zeros(1), step)[0, 2] for name, step in along.items())
    # The conditional mean of three jointly normal dimensions: what is asked for on average, a little less for noise.
    assert third == pytest.approx(expected, abs=0.08)
    assert found.together({"range": 0.7}) == pytest.approx({"range": 0.7})


def test_between_far_clusters_of_bars_a_route_stays_a_number() -> None:
    latents, attributes = bars(2000)
    latents[:8, 0] += 40
    attributes[:8, ATTRIBUTES.index("density")] += 40
    assert np.isfinite(Routes.fit(latents, attributes, NAMES, "me").means).all()


def test_there_and_back_again_changes_nothing(routes: Routes) -> None:
    now = np.linspace(-5, 5, 11)
    there, back = routes.shift("density", now, 0.7), routes.shift("density", now + 0.7, -0.7)
    np.testing.assert_allclose(there + back, 0, atol=1e-5)
    assert not routes.shift("density", now, 0.0).any()


def test_beyond_the_bars_of_training_a_route_is_a_line(routes: Routes) -> None:
    near, far = (routes.shift("density", np.array(at), 1.0) for at in (10.0, 50.0))
    np.testing.assert_allclose(near, far, atol=1e-4)
    np.testing.assert_allclose(near[3], -1.0, atol=0.05)


def test_a_dimension_that_never_varies_moves_alone(routes: Routes) -> None:
    assert routes.shift("range", np.zeros(3), 2.0).tolist() == [[0, 2, 0, 0, 0, 0]] * 3


def test_a_dimension_that_shall_move_alone_does() -> None:
    latents, attributes = bars()
    found = Routes.fit(latents, attributes, NAMES, "me", alone=["density"])
    assert found.shift("density", np.zeros(1), -0.5).tolist() == [[-0.5, 0, 0, 0, 0, 0]]
    pitches = np.where(np.arange(len(ATTRIBUTES)) == ATTRIBUTES.index("mean_pitch"), latents[:, :1], np.nan)
    assert not Routes.fit(latents, pitches, ["mean_pitch"], "me").shift("mean_pitch", np.zeros(1), 1.0)[0, 1:].any()


def test_bars_in_which_the_attribute_is_undefined_do_not_count() -> None:
    latents, attributes = bars()
    strange = np.repeat(latents, 2, axis=0)
    strange[:, 2] += 50
    undefined = np.full((len(strange), len(ATTRIBUTES)), np.nan, np.float32)
    found = Routes.fit(np.concatenate([latents, strange]), np.concatenate([attributes, undefined]), NAMES, "me")
    np.testing.assert_array_equal(found.means, Routes.fit(latents, attributes, NAMES, "me").means)


def test_routes_survive_their_file_and_belong_to_their_checkpoint(routes: Routes, tmp_path: Path) -> None:
    path = tmp_path / "a.routes.npz"
    routes.save(path)
    back = Routes.load(path, "me")
    assert back.names == NAMES
    np.testing.assert_array_equal(back.shift("density", np.zeros(2), 1.5), routes.shift("density", np.zeros(2), 1.5))
    with pytest.raises(AurlError, match="are of another checkpoint; make them again"):
        Routes.load(path, "you")
    path.write_bytes(b"PK")
    with pytest.raises(AurlError, match="is no file of `aurl-latent routes`"):
        Routes.load(path, "me")
    np.savez(path, names=np.array(NAMES))
    with pytest.raises(AurlError, match="is no file of `aurl-latent routes`"):
        Routes.load(path, "me")


def test_routes_of_too_little_are_refused() -> None:
    latents, attributes = bars(99)
    with pytest.raises(AurlError, match="99 bars are too few for routes; give 100 or more"):
        Routes.fit(latents, attributes, NAMES, "me")
    with pytest.raises(AurlError, match="no named dimensions, so there are no routes"):
        Routes.fit(latents, attributes, (), "me")


def test_sliders_follow_routes_and_end_exactly_where_they_were_asked_to(codec: Codec, make_model: MakeModel) -> None:
    tools = make_tools(codec, make_model)
    latents, attributes = bars()
    attributes[:, ATTRIBUTES.index("mean_pitch")] = latents[:, 1] = latents[:, 0] / 2
    start = np.zeros((3, Z), np.float32)
    alone = tools.slid(start, {"density": 1.0, "z4": 0.5}, bars=[2])
    tools.routes = Routes.fit(latents, attributes, ATTRIBUTE_DIMENSIONS, tools.fingerprint)
    moved = tools.slid(start, {"density": 1.0, "z4": 0.5}, bars=[2])
    assert not moved[[0, 2]].any() and moved[1, 0] == alone[1, 0] == 2.0 and moved[1, 3] == alone[1, 3] == 1.0
    assert alone[1, 2] == 0 and moved[1, 2] == pytest.approx(4.0, abs=0.5)
    assert moved[1, 1] == pytest.approx(1.0, abs=0.1), "other named dimensions go along"
    unnamed = tools.slid(start, {"z4": 0.5}, bars=[2])
    assert unnamed[1].nonzero()[0].tolist() == [3], "a dimension without a name has no route"
    both = tools.slid(start, {"density": 1.0, "mean_pitch": -1.0}, bars=[2])
    assert both[1, :2].tolist() == [2.0, -2.0], "unless they were asked for"
