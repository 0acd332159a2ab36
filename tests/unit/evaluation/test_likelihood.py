"""Likelihood counts every token after BOS once, however pieces are cut and packed."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from aurl.evaluation.likelihood import TokenPiece, pack_windows, plan_windows, score_corpus
from aurl.models.config import ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.utils.errors import AurlError

VOCAB = 20


def make_pieces(lengths: list[int], seed: int = 0) -> list[TokenPiece]:
    random = np.random.default_rng(seed)
    pieces = []
    for length in lengths:
        ids = random.integers(3, VOCAB, length).astype(np.uint16)
        ids[0], ids[-1] = 1, 2
        beats = np.sort(random.random(length) * length).astype(np.float32)
        pieces.append(
            TokenPiece(
                ids, (beats // 4).astype(np.uint16), beats, notes=max(1, length // 4), length_beats=float(length)
            )
        )
    return pieces


def tiny_model(context: int = 64) -> MusicTransformerVAEGAN:
    torch.manual_seed(0)
    return MusicTransformerVAEGAN(ModelConfig(hidden_dim=16, layers=2, heads=2, context=context, dropout=0.5), VOCAB)


def uniform(ids: Tensor, time: MusicalTime, lengths: list[int]) -> SimpleNamespace:
    return SimpleNamespace(logits=torch.zeros(len(ids), VOCAB))


def test_a_uniform_model_pays_the_logarithm_of_the_vocabulary_for_every_token_after_bos() -> None:
    pieces = make_pieces([9, 41, 100])
    result = score_corpus(uniform, pieces, context=16)
    tokens = 8 + 40 + 99
    assert result.tokens == tokens
    assert result.pieces == 3
    assert result.notes == sum(piece.notes for piece in pieces)
    assert result.token_perplexity == pytest.approx(VOCAB)
    assert result.nats_per_note == pytest.approx(tokens * math.log(VOCAB) / result.notes)
    assert result.nats_per_beat == pytest.approx(tokens * math.log(VOCAB) / 150)


def test_a_piece_that_fits_gives_the_nats_of_a_single_pass() -> None:
    model, piece = tiny_model(), make_pieces([50])[0]
    ids = torch.from_numpy(piece.ids.astype(np.int64))
    time = MusicalTime(
        torch.arange(49), torch.from_numpy(piece.beats[:-1]), torch.from_numpy(piece.bars[:-1].astype(np.int64))
    )
    model.eval()
    with torch.inference_mode():
        nats = torch.nn.functional.cross_entropy(model(ids[:-1], time, [49]).logits, ids[1:], reduction="sum")
    for context in (49, 64):
        assert score_corpus(model, [piece], context=context).piece_nats[0] == pytest.approx(float(nats), rel=1e-5)


def test_the_result_does_not_depend_on_how_windows_are_batched() -> None:
    model, pieces = tiny_model(), make_pieces([50, 7, 150, 90, 33])
    one_by_one = score_corpus(model, pieces, context=32, batch_tokens=1)
    for batch_tokens in (40, 100, 10_000):
        packed = score_corpus(model, pieces, context=32, batch_tokens=batch_tokens)
        np.testing.assert_allclose(packed.piece_nats, one_by_one.piece_nats, rtol=1e-5)
    alone = [score_corpus(model, [piece], context=32).piece_nats[0] for piece in pieces]
    np.testing.assert_allclose(one_by_one.piece_nats, alone, rtol=1e-5)


@pytest.mark.parametrize("context", [2, 7, 16, 33])
def test_every_token_is_scored_once_with_half_a_context_of_past(context: int) -> None:
    lengths = [2, 3, context, context + 1, context + 2, 5 * context + 3]
    scored: list[list[int]] = [[] for _ in lengths]
    for window in plan_windows(lengths, context):
        assert 0 < window.length <= context
        assert window.first_scored == 0 or window.first_scored - window.start >= context // 2
        scored[window.piece] += range(window.first_scored, window.stop)
    assert scored == [list(range(length - 1)) for length in lengths]


def test_windows_of_a_long_piece_carry_its_own_beats_and_bars() -> None:
    piece = make_pieces([100])[0]
    seen: list[tuple[Tensor, MusicalTime, list[int]]] = []

    def listen(ids: Tensor, time: MusicalTime, lengths: list[int]) -> SimpleNamespace:
        seen.append((ids, time, lengths))
        return uniform(ids, time, lengths)

    score_corpus(listen, [piece], context=32)
    for ids, time, lengths in seen:
        for part, beat, bar, index in zip(
            ids.split(lengths),
            time.beat.split(lengths),
            time.bar.split(lengths),
            time.index.split(lengths),
            strict=True,
        ):
            start = next(s for s in range(100) if np.array_equal(piece.ids[s : s + len(part)], part.numpy()))
            np.testing.assert_array_equal(beat.numpy(), piece.beats[start : start + len(part)])
            np.testing.assert_array_equal(bar.numpy(), piece.bars[start : start + len(part)])
            assert index.tolist() == list(range(len(part)))


def test_batches_stay_below_their_bound() -> None:
    windows = plan_windows([400, 30, 10, 75], context=32)
    batches = list(pack_windows(windows, batch_tokens=70))
    assert all(sum(window.length for window in batch) <= 70 for batch in batches)
    assert sorted(window for batch in batches for window in batch) == sorted(windows)


def test_dropout_is_off_while_scoring_and_the_mode_comes_back() -> None:
    model, pieces = tiny_model(), make_pieces([50])
    model.train()
    first, second = (score_corpus(model, pieces, context=64).nats_per_note for _ in range(2))
    assert first == second
    assert model.training


def test_a_model_without_numbers_is_refused() -> None:
    def broken(ids: Tensor, time: MusicalTime, lengths: list[int]) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.full((len(ids), VOCAB), math.nan))

    with pytest.raises(AurlError, match="no number"):
        score_corpus(broken, make_pieces([10]), context=16)


def test_music_without_notes_is_refused() -> None:
    empty = make_pieces([10])[0]._replace(notes=0)
    with pytest.raises(AurlError, match="at least one note"):
        score_corpus(uniform, [empty], context=16)


def test_json_holds_the_figures_but_not_single_pieces() -> None:
    values = score_corpus(uniform, make_pieces([10]), context=16).to_dict()
    assert set(values) == {
        *("nats_per_note", "nats_per_beat", "nats_per_second", "notes", "beats", "seconds", "tokens", "pieces"),
        *("token_perplexity", "bound", "windowed_pieces"),
    }
    assert values["windowed_pieces"] == 0
    assert score_corpus(uniform, make_pieces([10, 40, 17, 18]), context=16).windowed_pieces == 2
    assert values["bound"] is False and values["nats_per_second"] is None
