"""Where nats lie: kinds add up, curves follow the model, and only a model that uses far context loses by a cut."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.evaluation import likelihood_detail as detail
from aurl.evaluation.likelihood import TokenPiece, score_corpus
from aurl.models.positions import MusicalTime

CODEC = Codec.from_config(TokenizerConfig(positions_per_beat=4, velocities=4, tempos=4, tracks_per_program=1))
SIZE = CODEC.vocabulary.size


def make_piece(length: int, name: str = "", seed: int = 0) -> TokenPiece:
    """Random tokens without BOS and EOS inside, four tokens a beat."""
    ids = np.random.default_rng(seed).integers(3, SIZE, length)
    ids[0], ids[-1] = CODEC.vocabulary.bos, CODEC.vocabulary.eos
    beats = np.arange(length) / 4
    return TokenPiece(ids, (beats // 4).astype(np.int64), beats, length // 4, length / 4, name, length / 8)


def steady(ids: Tensor, time: MusicalTime, lengths: list[int]) -> SimpleNamespace:
    return SimpleNamespace(logits=torch.zeros(len(ids), SIZE))


def settled_after(tokens: int):
    """A model that guesses among all tokens in the end, but before it has seen so many bets on what never comes."""

    def model(ids: Tensor, time: MusicalTime, lengths: list[int]) -> SimpleNamespace:
        logits = torch.zeros(len(ids), SIZE)
        logits[time.index < tokens, :3] = math.log(SIZE)
        return SimpleNamespace(logits=logits)

    return model


def test_kinds_of_tokens_add_up_to_nats_per_note() -> None:
    pieces = [make_piece(400, seed=1), make_piece(90, seed=2)]
    result = score_corpus(steady, pieces, context=64)
    rows = detail.by_token_type(result, pieces, CODEC.vocabulary)
    assert sum(row["nats_per_note"] for row in rows) == pytest.approx(result.nats_per_note)
    assert sum(row["tokens"] for row in rows) == result.tokens
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert {"pitch", "duration", "end of piece"} <= {row["type"] for row in rows}
    assert all(row["nats_per_token"] == pytest.approx(math.log(SIZE), rel=1e-5) for row in rows)


def test_every_token_has_its_own_nats() -> None:
    pieces = [make_piece(300, seed=3), make_piece(40, seed=4)]
    result = score_corpus(settled_after(10), pieces, context=64)
    for piece, nats, total in zip(pieces, result.token_nats, result.piece_nats, strict=True):
        assert len(nats) == len(piece.ids) - 1 and np.isfinite(nats).all()
        assert float(nats.sum(dtype=np.float64)) == pytest.approx(total)
        assert (nats[:10] > nats[10] + 1).all() and np.ptp(nats[10:-1]) < 1e-5
    assert result.nats_per_second == pytest.approx(sum(result.piece_nats) / (340 / 8))


def test_the_curve_over_tokens_falls_where_the_model_begins_to_know() -> None:
    pieces = [make_piece(500, seed=seed) for seed in range(120)]
    result = score_corpus(settled_after(16), pieces, context=512)
    rows = detail.by_token_index(result, pieces)
    assert [row["first"] for row in rows] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert rows[-1]["last"] == 499 and all(row["pieces"] == 120 for row in rows)
    assert sum(row["tokens"] for row in rows) == result.tokens
    before = [row["nats_per_token"] for row in rows if row["last"] < 16]
    after = [row["nats_per_token"] for row in rows if row["first"] >= 32]
    assert min(before) > max(after) + 1


def test_the_curve_over_bars_counts_tokens_in_their_bar_and_leaves_out_rare_bars() -> None:
    pieces = [make_piece(160, seed=seed) for seed in range(20)] + [make_piece(400, seed=99)]
    rows = detail.by_bar(score_corpus(steady, pieces, context=512), pieces)
    assert (rows[0]["first"], rows[0]["last"], rows[0]["tokens"]) == (0, 0, 21 * 15)
    assert all(row["tokens"] >= detail.FEWEST_IN_BIN for row in rows)
    assert sum(row["tokens"] for row in rows) < sum(len(piece.ids) - 1 for piece in pieces)


def test_only_a_model_that_needs_far_context_loses_when_it_is_cut() -> None:
    pieces = [make_piece(700, seed=seed) for seed in range(6)]
    needs = detail.by_context(settled_after(100), pieces, context=512, lengths=(64, 128, 256))
    assert [row["context"] for row in needs] == [64, 128, 256, 512]
    assert len({row["tokens"] for row in needs}) == 1 and needs[0]["tokens"] == 6 * (699 - 256)
    assert needs[0]["excess"] > 1 and needs[0]["interval"][0] > 1  # with 64 tokens it never knows
    assert needs[0]["excess"] > needs[1]["excess"] > 0
    assert needs[2]["excess"] == 0 and needs[3]["interval"] == [0, 0]  # with 256 it has always seen 128
    for row in detail.by_context(steady, pieces, context=512, lengths=(64, 256)):
        assert row["excess"] == 0


def test_short_pieces_say_nothing_about_context() -> None:
    assert detail.by_context(steady, [make_piece(60)], context=512) == []
    assert detail.by_context(steady, [make_piece(700)], context=32) == []


def test_the_pieces_of_a_context_study_are_chosen_evenly_and_bounded() -> None:
    pieces = [make_piece(700, seed=seed) for seed in range(8)]
    rows = detail.by_context(steady, pieces, context=512, lengths=(64,), most_tokens=2800)
    assert rows[0]["pieces"] == 4


def test_pieces_are_listed_from_the_best_to_the_worst_predicted() -> None:
    pieces = [make_piece(40, "short"), make_piece(400, "long"), make_piece(20, "silent")._replace(notes=0)]
    rows = detail.piece_rows(score_corpus(settled_after(16), pieces, context=512), pieces)
    assert [row["piece"] for row in rows] == ["long", "short", "silent"]
    assert rows[2]["nats_per_note"] is None
    assert rows[0]["nats_per_beat"] == pytest.approx(rows[0]["nats"] / 100)


def test_a_description_holds_every_table() -> None:
    pieces = [make_piece(600)]
    result = score_corpus(steady, pieces, context=128)
    found = detail.describe(steady, result, pieces, CODEC.vocabulary, 128)
    assert set(found) == {"by_type", "by_token_index", "by_bar", "by_context", "piece_rows"}
    assert found["by_context"]
    assert not detail.describe(steady, result, pieces, CODEC.vocabulary, 128, with_contexts=False)["by_context"]
