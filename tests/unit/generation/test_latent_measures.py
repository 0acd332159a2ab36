"""What experiments/latent measures is what it says: bounds of a likelihood that is known, matrices, agreement."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_pieces import MakeModel, make_tools, song

from aurl.data.codec import Codec
from aurl.generation.latent_tools import LatentTools
from aurl.models.positions import MusicalTime
from experiments.latent import bounds, curve, interpolation, reconstruction, steering, use
from experiments.latent.setting import Row, at_least, at_most, nan_mean


@pytest.fixture
def tools(codec: Codec, make_model: MakeModel) -> LatentTools:
    return make_tools(codec, make_model)


def excerpt_of(tools: LatentTools, bars: int) -> bounds.Excerpt:
    piece, _ = tools.encode(song(bars))
    vocabulary = tools.codec.vocabulary
    ids = np.concatenate([[vocabulary.bos], piece.tokens, [vocabulary.eos]])
    bar, beat = vocabulary.musical_time(ids[:-1])
    time = MusicalTime(torch.arange(len(bar)), torch.from_numpy(beat), torch.from_numpy(bar).long())
    return bounds.Excerpt(torch.from_numpy(ids), time, vocabulary.count_notes(ids))


def make_blind(tools: LatentTools) -> None:
    """Posteriors and prior become standard normals, and the decoder deaf to latents."""
    for name, parameter in tools.latent.named_parameters():
        if name.startswith(("to_bar", "to_piece", "to_layers", "prior.to_gaussian")):
            parameter.data.zero_()


@torch.inference_mode()
def test_all_bounds_are_the_likelihood_of_a_model_that_ignores_its_latents(tools: LatentTools):
    make_blind(tools)
    excerpt = excerpt_of(tools, 3)
    exact = -bounds.token_nats(tools.model, excerpt, torch.zeros(3, 6))
    generator = torch.Generator().manual_seed(0)
    tokens, latents = bounds.log_weights(tools.model, excerpt, 3, generator)
    assert tokens.tolist() == pytest.approx([exact] * 3, rel=1e-4)
    assert latents.tolist() == pytest.approx([0] * 3, abs=1e-3)  # the rate of latents that say nothing
    assert bounds.filtered(tools.model, excerpt, 4, generator) == pytest.approx(exact, rel=1e-4)


@torch.inference_mode()
def test_with_one_particle_the_filtered_bound_is_the_evidence_lower_bound_on_average(tools: LatentTools):
    tools.latent.to_layers.weight.data.mul_(0.1)
    excerpt = excerpt_of(tools, 2)
    generator = torch.Generator().manual_seed(1)
    tokens, latents = bounds.log_weights(tools.model, excerpt, 60, generator)
    draws = tokens + latents
    single = torch.tensor([bounds.filtered(tools.model, excerpt, 1, generator) for _ in range(60)])
    error = float((draws.var() / 60 + single.var() / 60).sqrt())
    assert abs(float(draws.mean() - single.mean())) < 4 * error
    many = np.mean([bounds.filtered(tools.model, excerpt, 24, generator) for _ in range(3)])
    assert float(draws.mean()) < many


def test_the_curve_draws_the_points_of_result_files_and_names_those_without_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    values = {bounds.RATE: 0.5, bounds.DISTORTION: 0.75, bounds.PLAIN: 1.0}
    rows = [Row(name, value).to_dict() for name, value in values.items()]
    (tmp_path / "low.json").write_text(json.dumps({"bounds": rows}))
    (tmp_path / "empty.json").write_text("{}")
    picture = tmp_path / "curve.png"
    monkeypatch.setattr("sys.argv", ["curve", str(tmp_path / "low.json"), f"output={picture}"])
    curve.main()
    assert "| rate, nats per note | 0.5 |" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("sys.argv", ["curve", str(tmp_path / "low.json"), str(tmp_path / "empty.json")])
    with pytest.raises(SystemExit, match="empty: no bounds inside"):
        curve.main()


def test_a_window_s_bars_without_tokens_follow_the_bar_before():
    latents = torch.arange(2.0).view(1, 2, 1)
    assert bounds.by_number(latents, [0, 0, 2]).flatten().tolist() == [0.0, 0.0, 1.0]


def test_latents_are_exchanged_with_bars_of_other_pieces_only():
    generator = torch.Generator().manual_seed(0)
    segment = torch.repeat_interleave(torch.arange(4), torch.tensor([5, 2, 7, 3]))
    chosen = use.from_other_pieces(segment, generator)
    assert (segment[chosen] != segment).all()
    assert sorted(chosen.tolist()) == list(range(17))


def test_the_matrix_finds_which_dimension_moves_which_attribute():
    values = np.array(steering.VALUES)
    generator = np.random.default_rng(0)
    heard = generator.normal(size=(40, 2, len(values), 3))
    heard[:, 0, :, 1] = 10 * np.arange(40)[:, None] + values  # moved by dimension 0; bars differ far more
    heard[:, 1, :, 2] = -values
    heard[0, 1, 0, 2] = np.nan
    heard[:, :, :, 0] = 5.0
    within = steering.matrix(heard, np.arange(40))
    assert within[0, 1] == pytest.approx(1) and within[1, 2] == pytest.approx(-1, abs=0.01)
    assert np.isnan(within[:, 0]).all() and abs(within[0, 2]) < 0.2
    assert steering.matrix(heard, np.zeros(40))[0, 1] < 0.2


def test_agreement_counts_places_in_the_sequence_in_the_bar_and_in_order(tools: LatentTools):
    piece, _ = tools.encode(song(3))
    tokens = piece.tokens
    assert reconstruction.agreement(tools, tokens, tokens) == (len(tokens),) * 4
    longer = np.insert(tokens, 3, tokens[3])  # one token more in the first bar
    total, placed, in_bar, ordered = reconstruction.agreement(tools, tokens, longer)
    assert total == ordered == len(tokens)
    assert placed < in_bar < total
    assert reconstruction.common_length(np.array([1, 2, 3, 4, 2]), np.array([3, 1, 2, 4, 4, 2])) == 4


def test_likeness_is_the_share_of_notes_in_common():
    one, other = song(2), song(2)
    del other.tracks[0].notes[0]
    notes = one.note_num()
    assert interpolation.likeness(one, one) == 1
    assert interpolation.likeness(one, other) == pytest.approx(2 * (notes - 1) / (2 * notes - 1))


def test_rows_say_whether_a_goal_is_met():
    assert at_least("a", 1.0, 0.5).met is True and at_most("a", 1.0, 0.5).met is False
    assert Row("a", float("nan")).to_dict()["value"] is None
    np.testing.assert_array_equal(nan_mean(np.array([[1.0, np.nan], [3.0, np.nan]])), [2.0, np.nan])
