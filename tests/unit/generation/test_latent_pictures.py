"""Pictures of latents: the plane of the map, and PNGs whatever is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from latent_pieces import song

from aurl.generation.latent_export import Outcome, Picture, Shown, planned_files, write_outcome
from aurl.generation.latent_pictures import Curve, attribute_picture, grid_picture, map_picture, principal_axes
from aurl.music.attributes import ATTRIBUTES
from aurl.utils.errors import AurlError

PNG = b"\x89PNG"


def test_the_plane_is_that_of_greatest_variance():
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(500, 2)) * [5.0, 2.0]
    directions = np.linalg.qr(generator.normal(size=(6, 2)))[0].T
    latents = hidden @ directions + 0.01 * generator.normal(size=(500, 6)) + 3.0
    found = principal_axes(latents)
    np.testing.assert_allclose(np.abs(found.axes @ directions.T), np.eye(2), atol=0.05)
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(2), atol=1e-9)
    assert found.shares.sum() == pytest.approx(1, abs=1e-3) and found.shares[0] > found.shares[1]
    np.testing.assert_allclose(found.place(latents).std(axis=0), hidden.std(axis=0), rtol=0.05)
    assert (found.axes[np.arange(2), np.abs(found.axes).argmax(axis=1)] > 0).all()


def test_bars_on_a_line_or_all_alike_have_a_map_too():
    line = principal_axes(np.array([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [4.0, 0.0, 1.0]]))
    assert line.shares.tolist() == [1, 0] or line.shares[1] < 1e-20
    same = principal_axes(np.ones((4, 3)))
    assert same.place(np.ones((4, 3))).tolist() == [[0, 0]] * 4 and same.shares.tolist() == [0, 0]
    assert principal_axes(np.ones((1, 3))).axes.shape == (2, 3)


def test_pictures_are_drawn_with_undefined_values_and_many_pieces():
    generator = np.random.default_rng(1)
    attributes = generator.normal(size=(30, len(ATTRIBUTES)))
    attributes[:, 2] = np.nan
    attributes[5] = np.nan
    owners = np.arange(30) % 15
    names = [f"piece {number}" for number in range(15)]
    assert map_picture(generator.normal(size=(30, 4)), attributes, owners, names).startswith(PNG)
    assert attribute_picture([Curve("a", attributes), Curve("b", attributes[:2], dashed=True)]).startswith(PNG)
    scores = [[song(2, seed) for seed in range(3)] for _ in range(2)]
    assert grid_picture(scores, ["density", "z4"], ["-1", "0", "+1"]).startswith(PNG)


def test_pictures_that_nobody_wants_are_not_drawn(tmp_path):
    def refuse() -> bytes:
        raise AssertionError("drawn")

    outcome = Outcome("Title", "intro", [], [Picture("map", "caption", refuse)])
    assert write_outcome(outcome, tmp_path, ["midi"]) == []
    assert [file.name for file in planned_files(outcome, tmp_path, ["png", "html"])] == ["map.png", "index.html"]


def test_a_piece_without_notes_is_refused_before_anything_is_written(tmp_path):
    from symusic import Score

    from aurl.generation.generator import Sample

    silent = Sample(0, np.zeros(0, np.int64), Score(480), 0, True, 0)
    outcome = Outcome("Title", "intro", [Shown("a", "Silence", silent)])
    with pytest.raises(AurlError, match="Silence has no notes; nothing was written"):
        write_outcome(outcome, tmp_path / "new", ["midi"])
    assert not (tmp_path / "new").exists()
