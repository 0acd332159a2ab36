"""Decoding with latents says what the model says without a cache, and what is kept from before changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from latent_pieces import MakeModel, make_learned_tools, make_tools, song

from aurl.data.codec import Codec
from aurl.generation.config import SamplerConfig
from aurl.generation.latent_tools import LatentTools
from aurl.generation.loop import window_starts
from aurl.generation.prompt import to_next_bar
from aurl.generation.steered import Reading, SteeredDecoding, condition_of
from aurl.models.config import Attention
from aurl.models.positions import MusicalTime


@pytest.fixture(scope="module")
def tools(codec: Codec, make_model: MakeModel) -> LatentTools:
    return make_tools(codec, make_model)


def full_logits(tools: LatentTools, ids: np.ndarray, latents: torch.Tensor, first: int = 0) -> torch.Tensor:
    """Logits after ids (BOS included), those before ``first`` not seen, without any cache."""
    bar, beat = (part[first:] for part in tools.codec.vocabulary.musical_time(ids))
    ids = ids[first:]
    time = MusicalTime(torch.arange(len(ids)), torch.from_numpy(beat), torch.from_numpy(bar).long())
    rows = latents[np.minimum(np.unique(bar), len(latents) - 1)]  # later bars follow the last latent
    return tools.model(torch.from_numpy(ids), time, [len(ids)], bar_latents=rows).logits[-1]


def begun(tools: LatentTools, bars: int) -> tuple[np.ndarray, torch.Tensor]:
    """A prompt that ends with the Bar token of the bar to write, and latents of all bars."""
    piece, _ = tools.encode(song(bars))
    prompt = np.append(piece.tokens, to_next_bar(piece.tokens, tools.codec.vocabulary))
    latents = np.concatenate([piece.bar_latents, np.full((2, 6), 0.5, np.float32)])
    return prompt, torch.from_numpy(latents)


@pytest.mark.parametrize("shared", [False, True], ids=["own beginnings", "one beginning"])
def test_every_row_follows_its_own_latents_as_the_model_would_without_a_cache(
    tools: LatentTools, shared: bool, share_always: Callable[[], list[int]]
):
    if shared:
        share_always()
    prompt, latents = begun(tools, 3)
    rows = torch.stack([latents, latents, latents])
    rows[1, 3:] += 2.0  # differs in what is written
    rows[2, 1:] -= 1.0  # differs in the prompt already
    decoding = SteeredDecoding(tools.model, tools.grammar(9), SamplerConfig(greedy=True), prompt, [0, 1, 2], rows)
    assert bool(decoding._cache.layers[0].begun) == shared
    for _ in range(12):
        for row in range(3):
            ids = decoding._record[: decoding._length, row].numpy()
            torch.testing.assert_close(decoding._logits[row], full_logits(tools, ids, rows[row]), rtol=1e-3, atol=1e-3)
        decoding.run(1)
        assert decoding.active == 3


def test_what_a_row_writes_depends_neither_on_the_others_nor_on_a_reading(tools: LatentTools):
    prompt, latents = begun(tools, 3)
    rows = torch.stack([latents, latents])
    rows[1, 4:] += 1.0
    sampler = SamplerConfig(temperature=1.0, repetition_penalty=1.5)
    start = tools.model, tools.grammar(2), sampler, prompt
    together = finished(SteeredDecoding(*start, [5, 6], rows))
    alone = [finished(SteeredDecoding(*start, [5 + row], rows[row : row + 1]))[0] for row in range(2)]
    assert [together[0], together[1]] == alone and alone[0] != alone[1]
    reading = Reading(tools.model, tools.grammar(1), prompt, latents)
    assert finished(SteeredDecoding(*start, [5, 6], rows, reading)) == together


def finished(decoding: SteeredDecoding) -> dict[int, list[int]]:
    """Tokens of each sample, written to its end."""
    samples = []
    while decoding.active:
        samples += decoding.run(10_000)
    return {each.number: each.ids.tolist() for each in samples}


@pytest.mark.parametrize("bars", [8, 11])
def test_a_long_prompt_is_read_with_the_window_of_the_plain_loop(codec: Codec, make_model: MakeModel, bars: int):
    tools = make_tools(codec, make_model, context=128)
    prompt, latents = begun(tools, bars)
    assert (len(prompt) < 128) == (bars == 8) and len(prompt) > 96
    rows = torch.stack([latents, latents + 0.5])
    decoding = SteeredDecoding(tools.model, tools.grammar(9), SamplerConfig(greedy=True), prompt, [0, 1], rows)
    for row in range(2):
        ids = decoding._record[: decoding._length, row].numpy()
        _, starts = window_starts(codec.vocabulary.bar_lines(ids)[:, None], 128)
        expected = full_logits(tools, ids, rows[row], int(starts[0]))
        torch.testing.assert_close(decoding._logits[row], expected, rtol=1e-3, atol=1e-3)


def test_a_reading_serves_many_edits_and_stays_as_it_was(tools: LatentTools):
    piece, _ = tools.encode(song(5))
    latents = torch.from_numpy(piece.bar_latents)
    reading = Reading(tools.model, tools.grammar(1), tools.codec.merge(piece.tokens), latents)

    def written(bar: int, with_reading: bool) -> list[int]:
        beginning = tools.beginning(piece, bar)
        return tools.write_bars(beginning, piece.bar_latents[None, :bar], reading if with_reading else None)[
            0
        ].ids.tolist()

    alone = {bar: written(bar, False) for bar in (2, 3, 5)}
    for bar in (5, 2, 3, 5, 3):
        assert written(bar, True) == alone[bar]


def test_a_piece_longer_than_the_context_is_read_from_a_later_bar_line(codec: Codec, make_model: MakeModel):
    tools = make_tools(codec, make_model, context=128)
    piece, _ = tools.encode(song(16))
    reading = Reading(
        tools.model, tools.grammar(1), tools.codec.merge(piece.tokens), torch.from_numpy(piece.bar_latents)
    )
    assert len(piece.tokens) > 200
    firsts = []
    for bar in (2, 12, 15, 3):
        known = reading.before(bar)
        firsts.append(known.first)
        assert known.first + known.cache.length == known.tokens == reading.line(bar)
        assert known.cache.length <= 128 - 128 // 4
        assert known.first == 0 or reading.bar[known.first] != reading.bar[known.first - 1]
        fresh = Reading(tools.model, tools.grammar(1), piece.tokens[: reading.line(bar)], reading.latents)
        fresh_cache = fresh.before(bar).cache
        if known.first == 0:
            torch.testing.assert_close(
                known.cache.layers[1].values[:, :, : known.cache.length],
                fresh_cache.layers[1].values[:, :, : known.cache.length],
            )
    assert firsts[0] == firsts[3] == 0 and firsts[1] > 0


def test_a_bar_longer_than_half_the_context_is_cut(codec: Codec, make_model: MakeModel):
    tools = make_tools(codec, make_model, context=32)
    piece, _ = tools.encode(song(4))
    tokens = tools.codec.merge(piece.tokens)
    reading = Reading(tools.model, tools.grammar(1), tokens, torch.from_numpy(piece.bar_latents), capacity=12)
    known = reading.before(3)
    assert 0 < known.cache.length <= 9


def test_learned_tokens_are_steered_too():
    tools = make_learned_tools()
    piece, _ = tools.encode(song(4))
    assert len(tools.codec.merge(piece.tokens)) < len(piece.tokens)
    known = Reading(tools.model, tools.grammar(1), tools.codec.merge(piece.tokens), torch.from_numpy(piece.bar_latents))
    beginning = tools.beginning(piece, 3)
    with_reading, without = (
        tools.write_bars(beginning, piece.bar_latents[None, :3], reading)[0].ids.tolist() for reading in (known, None)
    )
    assert with_reading == without
    assert tools.bars_of(np.array(without)) == 3


def test_with_local_attention_bars_are_written_anew_too(codec: Codec, make_model: MakeModel):
    tools = make_tools(codec, make_model, attention=Attention.local)
    prompt, latents = begun(tools, 9)
    reading = Reading(tools.model, tools.grammar(1), prompt, latents)
    start = tools.model, tools.grammar(2), SamplerConfig(greedy=True), prompt, [0, 1]
    rows = torch.stack([latents, latents + 0.5])
    decoding, without = SteeredDecoding(*start, rows, reading), SteeredDecoding(*start, rows)
    for row in range(2):
        ids = decoding._record[: decoding._length, row].numpy()
        torch.testing.assert_close(decoding._logits[row], full_logits(tools, ids, rows[row]), rtol=1e-3, atol=1e-3)
    assert finished(decoding) == finished(without)


def test_wrong_use_is_refused(tools: LatentTools, make_model: MakeModel):
    prompt, latents = begun(tools, 2)
    with pytest.raises(ValueError, match="latents of 1 samples for 2 seeds"):
        SteeredDecoding(tools.model, tools.grammar(1), SamplerConfig(), prompt, [0, 1], latents[None])
    piece, _ = tools.encode(song(4, seed=8))
    other = Reading(tools.model, tools.grammar(1), piece.tokens, latents)
    with pytest.raises(ValueError, match="the prompt does not begin as the piece of the reading does"):
        SteeredDecoding(tools.model, tools.grammar(1), SamplerConfig(), prompt, [0], latents[None], other)
    with pytest.raises(ValueError, match="cannot be steered by them; train one with model=vae"):
        condition_of(make_model(), latents[None])
