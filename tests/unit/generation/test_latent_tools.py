"""Pieces into latents and back: what is encoded, written, moved, mixed and edited, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from latent_pieces import ATTRIBUTE_DIMENSIONS, MakeModel, make_learned_tools, make_tools, song

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.kinds import Kind
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.generation.latent_editing import EditSession
from aurl.generation.latent_piece import LatentPiece, load_latents, save_latents
from aurl.generation.latent_tools import LatentTools
from aurl.music.attributes import ATTRIBUTES
from aurl.utils.errors import AurlError


@pytest.fixture(scope="module")
def tools(codec: Codec, make_model: MakeModel) -> LatentTools:
    return make_tools(codec, make_model)


@pytest.fixture(scope="module")
def piece(tools: LatentTools) -> LatentPiece:
    found, remark = tools.encode(song(5), "song")
    assert remark == ""
    return found


def bars_of(tools: LatentTools, tokens: np.ndarray) -> list[list[int]]:
    """Tokens bar by bar."""
    starts = np.flatnonzero(tools.codec.vocabulary.kind[tokens] == Kind.BAR)
    return [part.tolist() for part in np.split(tokens, starts[1:])]


def test_a_piece_has_a_latent_and_attributes_for_each_bar(tools: LatentTools, piece: LatentPiece):
    assert piece.bars == 5
    assert piece.bar_latents.shape == piece.bar_deviations.shape == (5, 6)
    assert piece.piece_latent.shape == (3,) and (piece.bar_deviations > 0).all()
    assert piece.dimension_names == (*ATTRIBUTE_DIMENSIONS, "z3", "z4", "z5", "z6")
    own = tools.attributes_of(tools.codec.decode(piece.tokens), 5)
    np.testing.assert_array_equal(piece.attributes, own)
    assert (piece.attributes[:, 0] > 0).all()


def test_the_latent_of_a_bar_depends_on_that_bar_alone(tools: LatentTools, piece: LatentPiece):
    bars = bars_of(tools, piece.tokens)
    other, _ = tools.encode(song(5, seed=9))
    bars[2] = bars_of(tools, other.tokens)[2]
    edited = tools.encode_tokens(np.concatenate(bars))
    same = np.isclose(edited.bar_latents, piece.bar_latents, atol=1e-4).all(axis=1)
    assert same.tolist() == [True, True, False, True, True]


def test_only_so_many_bars_are_read(tools: LatentTools):
    assert tools.encode(song(5), bars=2)[0].bars == 2
    with pytest.raises(ValueError, match="bars_read=0 is out of range"):
        tools.encode(song(5), bars=0)


def test_bars_after_the_last_note_are_empty(tools: LatentTools):
    rows = tools.attributes_of(song(2), 4)
    assert rows.shape == (4, len(ATTRIBUTES))
    assert (rows[:2, 0] > 0).all() and (rows[2:, 0] == 0).all() and np.isnan(rows[2:, 1:]).all()


def test_latents_survive_their_file(tools: LatentTools, piece: LatentPiece, tmp_path: Path):
    save_latents(piece, tmp_path / "song.npz")
    loaded = load_latents(tmp_path / "song.npz")
    for name in ("tokens", "bar_latents", "bar_deviations", "piece_latent", "attributes"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(piece, name))
    assert (loaded.name, loaded.checkpoint, loaded.dimension_names) == (
        "song",
        tools.fingerprint,
        piece.dimension_names,
    )
    with np.load(tmp_path / "song.npz") as stored:
        assert stored["bar"].tolist() == [1, 2, 3, 4, 5]
        assert stored["attribute_names"].tolist() == list(ATTRIBUTES)


def test_a_file_that_is_no_file_of_latents_is_refused_in_one_line(piece: LatentPiece, tmp_path: Path):
    with pytest.raises(AurlError, match="does not exist; give a file that `aurl-latent encode` wrote"):
        load_latents(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("MThd")
    with pytest.raises(AurlError, match="is no file of latents"):
        load_latents(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", tokens=np.zeros(3))
    with pytest.raises(AurlError, match="lacks bar_latents"):
        load_latents(tmp_path / "other.npz")
    save_latents(replace(piece, attributes=piece.attributes[:2]), tmp_path / "torn.npz")
    with pytest.raises(AurlError, match=r"of \[2, 5\] bars"):
        load_latents(tmp_path / "torn.npz")


def test_what_is_written_together_is_what_would_be_written_alone(tools: LatentTools, piece: LatentPiece):
    moved = tools.slid(piece.bar_latents, {"density": 2})
    together = tools.decode(np.stack([piece.bar_latents, moved]))
    assert together[0].ids.tolist() == tools.reconstruct(piece).ids.tolist()
    assert together[1].ids.tolist() == tools.slide(piece, {"density": 2}).ids.tolist()
    assert together[0].ids.tolist() != together[1].ids.tolist()
    assert all(tools.bars_of(sample.ids) == 5 and sample.ended for sample in together)


def test_batches_do_not_change_the_result(codec: Codec, make_model: MakeModel, piece: LatentPiece):
    sampler = SamplerConfig(temperature=1.0)
    rows = np.stack([piece.bar_latents[:2] + shift for shift in (0, 1, 2)])
    many, one = (make_tools(codec, make_model, sampler=sampler, batch_size=size, seed=3) for size in (8, 1))
    assert [sample.ids.tolist() for sample in many.decode(rows)] == [sample.ids.tolist() for sample in one.decode(rows)]
    assert [sample.seed for sample in one.decode(rows)] == [3, 4, 5]


def test_sliders_count_in_standard_deviations_and_leave_other_dimensions_and_bars(
    tools: LatentTools, piece: LatentPiece
):
    moved = tools.slid(piece.bar_latents, {"mean_pitch": -1.5, "z4": 1}, bars=[2, 3])
    change = moved - piece.bar_latents
    expected = np.zeros_like(change)
    expected[1:3, 1], expected[1:3, 3] = -3.0, 2.0  # the deviation is 2
    np.testing.assert_allclose(change, expected, atol=1e-6)


def test_the_latent_of_a_bar_touches_no_earlier_bar(tools: LatentTools, piece: LatentPiece):
    before, after = (
        bars_of(tools, sample.ids) for sample in (tools.reconstruct(piece), tools.slide(piece, {"z5": 4}, [4]))
    )
    assert before[:3] == after[:3]
    assert before[3:] != after[3:]


def test_the_way_between_two_pieces_has_them_at_its_ends(tools: LatentTools, piece: LatentPiece):
    other, _ = tools.encode(song(3, seed=4), "other")
    way = tools.way(piece, other, 5)
    assert way.shape == (5, 3, 6)
    np.testing.assert_allclose(way[0], piece.bar_latents[:3])
    np.testing.assert_allclose(way[-1], other.bar_latents)
    np.testing.assert_allclose(np.diff(way, axis=0), np.broadcast_to(way[1] - way[0], (4, 3, 6)), atol=1e-5)
    samples = tools.interpolate(piece, other, 3)
    assert samples[0].ids.tolist() == tools.decode(piece.bar_latents[None, :3])[0].ids.tolist()
    with pytest.raises(AurlError, match="steps=1 is out of range; allowed: 2 or more"):
        tools.way(piece, other, 1)


def test_a_grid_has_a_row_for_each_dimension(tools: LatentTools, piece: LatentPiece):
    grid = tools.traverse(piece, ["density", "z4"], [-1, 0, 1], bars=[1])
    assert [len(row) for row in grid] == [3, 3]
    assert grid[0][1].ids.tolist() == grid[1][1].ids.tolist() == tools.reconstruct(piece).ids.tolist()
    assert grid[1][2].ids.tolist() == tools.slide(piece, {"z4": 1}, [1]).ids.tolist()


def test_latents_of_the_prior_follow_their_seed_and_the_bars_before(tools: LatentTools, piece: LatentPiece):
    first = tools.prior_latents(piece, 3, 2, seed=1)
    assert first.shape == (2, 6)
    np.testing.assert_array_equal(first, tools.prior_latents(piece, 3, 2, seed=1))
    assert not np.allclose(first, tools.prior_latents(piece, 3, 2, seed=2))
    assert tools.prior_latents(piece, 1, 1).shape == (1, 6)


@pytest.mark.parametrize("learned", [False, True], ids=["plain", "learned tokens"])
def test_a_prompt_has_the_latents_that_its_bars_have_by_themselves(codec: Codec, make_model: MakeModel, learned: bool):
    sampler = SamplerConfig(greedy=True, latent_temperature=0.0)
    tools = make_learned_tools(sampler=sampler) if learned else make_tools(codec, make_model, sampler=sampler)
    begun, _ = tools.encode(song(3, seed=4))
    expected = np.concatenate([begun.bar_latents, tools.prior_latents(begun, 4, 2)])
    request = GenerationRequest(sampler=sampler, prompt=begun.tokens, bars=2)
    drawn = tools.generator.generate(request)[0]
    given = tools.generator.generate(replace(request, latents=expected))[0]
    assert drawn.ids.tolist() == given.ids.tolist()


def test_without_hierarchy_all_bars_share_one_latent(codec: Codec, make_model: MakeModel):
    tools = make_tools(codec, make_model, hierarchy=False)
    piece, _ = tools.encode(song(4))
    assert piece.bar_latents.shape == (4, 6) and (piece.bar_latents == piece.bar_latents[0]).all()
    again = tools.reconstruct(piece)
    assert again.ids.tolist() == tools.decode(piece.bar_latents[None, :1].repeat(4, axis=1))[0].ids.tolist()
    drawn = tools.prior_latents(piece, 3, 2, seed=1)
    assert drawn.shape == (2, 6) and (drawn[0] == drawn[1]).all() and not np.allclose(drawn[0], piece.bar_latents[0])
    request = GenerationRequest(sampler=tools.sampler, bars=2, num_samples=2)
    first, second = tools.generator.generate(request)
    assert first.ids.tolist() != second.ids.tolist(), "each sample draws its own latent"
    prompted = tools.generator.generate(replace(request, prompt=piece.tokens, num_samples=1))[0]
    given = tools.generator.generate(
        replace(request, prompt=piece.tokens, num_samples=1, latents=piece.bar_latents[:1])
    )[0]
    assert prompted.ids.tolist() == given.ids.tolist()


def test_an_edit_keeps_all_other_bars(tools: LatentTools, piece: LatentPiece):
    session = EditSession(tools, piece)
    latents = np.stack([piece.bar_latents[1:3] + 1, piece.bar_latents[1:3] - 1])
    edits = session.rewrite([2, 3], latents)
    before = bars_of(tools, piece.tokens)
    for edit, rows in zip(edits, latents, strict=True):
        after = bars_of(tools, edit.sample.ids)
        assert after[:1] + after[3:] == before[:1] + before[3:]
        assert after[1:3] != before[1:3]
        np.testing.assert_array_equal(edit.piece.bar_latents[1:3], rows)
        np.testing.assert_array_equal(edit.piece.tokens, edit.sample.ids)
        assert edit.bars == (2, 3) and edit.piece.bars == 5
    assert session.piece is piece


def test_the_first_and_the_last_bar_can_be_replaced(tools: LatentTools, piece: LatentPiece):
    edit = EditSession(tools, piece).replace([1, 5], piece.bar_latents[[0, 4]] * -2)
    before, after = bars_of(tools, piece.tokens), bars_of(tools, edit.sample.ids)
    assert after[1:4] == before[1:4] and len(after) == 5
    assert after[0] != before[0] and after[4] != before[4]
    assert edit.bars == (1, 5)


def test_a_session_writes_what_a_fresh_one_writes(tools: LatentTools, piece: LatentPiece):
    session = EditSession(tools, piece)
    session.replace([4], piece.bar_latents[3:4] + 1)
    session.replace([2], piece.bar_latents[1:2] + 1)
    fresh = EditSession(tools, session.piece)
    wanted = piece.bar_latents[None, 2:4] * 3
    assert (
        session.rewrite([3, 4], wanted)[0].sample.ids.tolist() == fresh.rewrite([3, 4], wanted)[0].sample.ids.tolist()
    )
    session.reset(piece)
    alone = EditSession(tools, piece).rewrite([3, 4], wanted)[0]
    assert session.rewrite([3, 4], wanted)[0].sample.ids.tolist() == alone.sample.ids.tolist()


def test_wrong_requests_are_refused_in_one_line(tools: LatentTools, piece: LatentPiece):
    with pytest.raises(AurlError, match=r"no dimension 'loudness'; allowed: density, mean_pitch, z3 to z6"):
        tools.slide(piece, {"loudness": 1})
    with pytest.raises(AurlError, match=r"bars=6: song has bars 1 to 5"):
        tools.slide(piece, {"density": 1}, bars=[6])
    with pytest.raises(AurlError, match=r"latents of shape \(5, 6\); this checkpoint takes \(pieces, bars, 6\)"):
        tools.decode(piece.bar_latents)
    with pytest.raises(AurlError, match="leave nothing to write after 5 bars"):
        tools.write_bars(piece.tokens, piece.bar_latents[None])
    with pytest.raises(AurlError, match="are of another checkpoint; encode it again"):
        tools.reconstruct(replace(piece, checkpoint="0"))
    session = EditSession(tools, piece)
    with pytest.raises(AurlError, match=r"bars=\[1, 3\] are not neighbours"):
        session.rewrite([1, 3], piece.bar_latents[None, :2])
    with pytest.raises(AurlError, match=r"for 1 bars; allowed: \(rows, 1, Z\)"):
        session.rewrite([1], piece.bar_latents[None, :2])
    with pytest.raises(AurlError, match="latents of 1 bars for 2"):
        session.replace([1, 2], piece.bar_latents[:1])
    with pytest.raises(AurlError, match="has bars 1 to 5"):
        session.rewrite([0], piece.bar_latents[None, :1])


def test_a_model_without_named_dimensions_says_so(codec: Codec, make_model: MakeModel):
    from aurl.models.config import Mode

    tools = LatentTools(Generator(make_model(mode=Mode.vae, latent_dim=3), codec))
    assert tools.dimension_names == ("z1", "z2", "z3")
    with pytest.raises(AurlError, match=r"no dimension 'density'; allowed: z1 to z3$"):
        tools.dimension("density")


def test_a_checkpoint_without_latents_is_refused(codec: Codec, make_model: MakeModel):
    with pytest.raises(AurlError, match=r"has no latents .*; train one with `aurl-train model=vae`"):
        LatentTools(Generator(make_model(), codec))


def test_bars_cannot_be_cut_out_where_the_tokenizer_writes_none(make_model: MakeModel):
    import torch

    from aurl.models.config import Mode, ModelConfig
    from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN

    codec = Codec.from_config(TokenizerConfig(kind="tsd", positions_per_beat=4, velocities=4, tempos=8))
    torch.manual_seed(0)
    config = ModelConfig(mode=Mode.vae, latent_dim=3, hidden_dim=16, heads=2, layers=1, hearing=False)
    tools = LatentTools(Generator(MusicTransformerVAEGAN(config, codec.size).eval(), codec))
    piece, _ = tools.encode(song(3), "song")
    assert piece.bars == 3
    with pytest.raises(AurlError, match=r"where the tokenizer writes Bar tokens \(REMI, CPWord\)"):
        EditSession(tools, piece)
