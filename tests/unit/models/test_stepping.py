"""The lean step against the plain path, in every layout of weights and every kind of position."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from aurl.models.attention import LEAST_SHARED, LEAST_SHARING
from aurl.models.config import ModelConfig, Positions
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.models.single_step import SingleStepper
from aurl.models.stepping import Stepper, fast_linear

SIZE, LENGTH = 50, 12


def time_of(start: int, stop: int, rows: int) -> MusicalTime:
    index = torch.arange(start, stop).expand(rows, -1)
    return MusicalTime(index, index * 0.25, index // 4)


def with_random_gains(model: MusicTransformerVAEGAN) -> MusicTransformerVAEGAN:
    """Norms of a fresh model multiply by 1, which would hide a gain that is forgotten."""
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("positions", list(Positions))
@pytest.mark.parametrize("kv_heads", [None, 2, 1])
def test_single_steps_give_the_logits_of_the_whole_sequence(
    rows: int, positions: Positions, kv_heads: int | None
) -> None:
    torch.manual_seed(rows)
    config = ModelConfig(hidden_dim=32, layers=2, heads=4, kv_heads=kv_heads, context=32, positions=positions)
    model = with_random_gains(MusicTransformerVAEGAN(config, SIZE))
    ids = torch.randint(SIZE, (rows, LENGTH))
    with torch.inference_mode():
        cache = model.new_cache(rows, LENGTH)
        model.decode(ids[:, :5], time_of(0, 5, rows), cache)
        for step in range(5, LENGTH):
            stepped = model.decode(ids[:, step : step + 1], time_of(step, step + 1, rows), cache)
            whole = model.decode(ids[:, : step + 1], time_of(0, step + 1, rows), model.new_cache(rows, LENGTH))
            torch.testing.assert_close(stepped, whole, atol=1e-5, rtol=1e-4)
        assert isinstance(cache.stepper, SingleStepper if rows == 1 else Stepper)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_a_step_is_steered_as_the_whole_sequence_is(rows: int) -> None:
    torch.manual_seed(rows)
    config = ModelConfig(hidden_dim=32, layers=2, heads=2, context=32)
    model = with_random_gains(MusicTransformerVAEGAN(config, SIZE))
    ids, steering = torch.randint(SIZE, (rows, LENGTH)), torch.randn(rows, 2, 2, 32)
    with torch.inference_mode():
        cache, other = model.new_cache(rows, LENGTH), model.new_cache(rows, LENGTH)
        cache.condition = other.condition = steering
        model.decode(ids[:, :5], time_of(0, 5, rows), cache)
        for step in range(5, LENGTH):  # bars 1 and 2, the second of which has the last steering
            stepped = model.decode(ids[:, step : step + 1], time_of(step, step + 1, rows), cache)
        whole = model.decode(ids, time_of(0, LENGTH, rows), other)
        plain = model.decode(ids, time_of(0, LENGTH, rows), model.new_cache(rows, LENGTH))
    torch.testing.assert_close(stepped, whole, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(whole, plain, atol=0.1)


@pytest.mark.filterwarnings("error")
def test_gates_of_any_size_are_gone_through_quietly() -> None:
    torch.manual_seed(0)
    model = MusicTransformerVAEGAN(ModelConfig(hidden_dim=32, layers=2, heads=2, context=32), SIZE).eval()
    with torch.no_grad():
        for block in model.decoder.blocks:
            block.feed_forward.to_hidden.weight.mul_(10_000)  # SiLU of -200 and less: exponentials beyond float32
    ids = torch.randint(SIZE, (1, LENGTH))
    with torch.inference_mode():
        cache = model.new_cache(1, LENGTH)
        for step in range(LENGTH):
            stepped = model.decode(ids[:, step : step + 1], time_of(step, step + 1, 1), cache)
        whole = model.decode(ids, time_of(0, LENGTH, 1), model.new_cache(1, LENGTH))
    torch.testing.assert_close(stepped, whole, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_padding_on_the_left_changes_nothing(rows: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden_dim=32, layers=2, heads=4, kv_heads=2, context=32)
    model = with_random_gains(MusicTransformerVAEGAN(config, SIZE))
    ids = torch.randint(SIZE, (rows, LENGTH))
    pad = (torch.arange(rows) + 2) % 4
    with torch.inference_mode():
        cache = model.new_cache(rows, LENGTH)
        cache.starts = pad
        model.decode(ids[:, :8], time_of(0, 8, rows), cache)
        cache.select(torch.arange(rows).flip(0))
        for step in range(8, LENGTH):
            time = time_of(step, step + 1, rows)
            padded = model.decode(ids[:, step : step + 1].flip(0), time, cache).flip(0)
        for row in range(rows):
            first = int(pad[row])
            alone = model.new_cache(1, LENGTH)
            expected = model.decode(ids[row : row + 1, first:], time_of(first, LENGTH, 1), alone)
            torch.testing.assert_close(padded[row : row + 1], expected, atol=1e-5, rtol=1e-4)


IDS = torch.arange(SIZE)
MEANING = TokenMeaning(
    pitch=torch.where(IDS < 20, IDS * 6, -1),  # from end to end, wider than the intervals that are told apart
    program=(IDS >= 20) & (IDS < 24),
    duration=torch.where((IDS >= 24) & (IDS < 30), IDS - 23, 0),
    place=torch.where(IDS >= 40, IDS * 20 - 800, -1),
    metre=torch.where(IDS == 49, 0.5, 0.0),
)


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("lean", [True, False])
def test_a_step_hears_what_the_whole_sequence_hears(rows: int, lean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aurl.models.stepping.suits", lambda ear: lean)
    torch.manual_seed(rows)
    config = ModelConfig(hidden_dim=32, layers=1, heads=2, context=128, hearing=True)
    model = with_random_gains(MusicTransformerVAEGAN(config, SIZE, MEANING))
    assert model.decoder.ear is not None
    with torch.no_grad():
        for parameter in model.decoder.ear.parameters():
            parameter.mul_(20)  # fresh weights say so little that a wrong entry would pass for rounding
    note = torch.tensor([[20, 0, 30, 25], [21, 0, 30, 24], [22, 0, 31, 29], [20, 0, 32, 26]])
    ids = note[torch.randint(len(note), (rows, 25))]
    ids[:, :, 1] = torch.randint(20, (rows, 25))
    ids[:, ::3, 0] = torch.randint(40, 50, (rows, 9))  # places and a metre, and notes without a track
    ids = ids.flatten(1)
    time = time_of(0, 100, rows)
    time = time._replace(beat=(time.index // 12) * 0.5)
    with torch.inference_mode():
        cache = model.new_cache(rows, 100)
        model.decode(ids[:, :4], MusicalTime(*(each[:, :4] for each in time)), cache)
        for step in range(4, 100):
            now = MusicalTime(*(each[:, step : step + 1] for each in time))
            stepped = model.decode(ids[:, step : step + 1], now, cache)
            if 30 <= step < 60:  # at the beginning voices sing their first notes, later all facts occur
                continue
            whole = [
                model(ids[row, : step + 1], MusicalTime(*(each[row, : step + 1] for each in time)), [step + 1])
                for row in range(rows)
            ]
            expected = torch.stack([output.logits[-1] for output in whole])
            torch.testing.assert_close(stepped, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("many", [8, 3])
def test_the_layout_of_the_weights_follows_the_number_of_rows(many: int) -> None:
    model = MusicTransformerVAEGAN(ModelConfig(hidden_dim=32, layers=1, heads=2, context=32), SIZE).eval()
    with torch.inference_mode():
        cache = model.new_cache(many, LENGTH)
        ids = torch.randint(SIZE, (many, LENGTH))
        model.decode(ids[:, :5], time_of(0, 5, many), cache)
        model.decode(ids[:, 5:6], time_of(5, 6, many), cache)
        assert isinstance(cache.stepper, Stepper) and cache.stepper.suits(2) == (many == 3)
        cache.select(torch.tensor([2]))
        stepped = model.decode(ids[2:3, 6:7], time_of(6, 7, 1), cache)
        assert isinstance(cache.stepper, SingleStepper)
        whole = model.decode(ids[2:3, :7], time_of(0, 7, 1), model.new_cache(1, LENGTH))
    torch.testing.assert_close(stepped, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("missing", ["_is_packed", "_has_bag_kernel"])
@pytest.mark.parametrize("rows", [1, 8])
def test_machines_without_the_fast_kernels_get_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, missing: str, rows: int
) -> None:
    monkeypatch.setattr(f"aurl.models.stepping.{missing}", lambda _: False)
    torch.manual_seed(0)
    weight, x, residual = torch.randn(7, 5), torch.randn(rows, 5), torch.randn(rows, 7)
    linear, added = fast_linear(weight, rows)
    torch.testing.assert_close(linear(x), x @ weight.t())
    torch.testing.assert_close(added(residual, x), residual + x @ weight.t())


def test_a_stepper_that_is_handed_on_keeps_no_cache_alive() -> None:
    torch.manual_seed(0)
    model = with_random_gains(MusicTransformerVAEGAN(ModelConfig(hidden_dim=32, layers=1, heads=2, context=32), SIZE))
    first, second = model.new_cache(1, LENGTH), model.new_cache(1, LENGTH)
    ids = torch.zeros(1, 1, dtype=torch.long)
    with torch.inference_mode():
        model.decode(ids, time_of(0, 1, 1), first)
        model.decode(ids, time_of(1, 2, 1), first)
        second.stepper = first.stepper
    keys = weakref.ref(first.layers[0].keys)
    assert isinstance(second.stepper, SingleStepper) and keys() is not None
    del first
    gc.collect()
    assert keys() is None


BEGINNING, BEGUN = 140, 150
ROWS = 32


@pytest.mark.parametrize("kv_heads", [None, 2, 1])
@pytest.mark.parametrize("positions", list(Positions))
def test_rows_with_one_beginning_keep_it_once_and_step_as_if_each_had_its_own(
    positions: Positions, kv_heads: int | None
) -> None:
    torch.manual_seed(4)
    config = ModelConfig(hidden_dim=32, layers=2, heads=4, kv_heads=kv_heads, context=256, positions=positions)
    model = with_random_gains(MusicTransformerVAEGAN(config, SIZE))
    rows = ROWS
    ids = torch.randint(SIZE, (rows, BEGUN + 10))
    ids[:, :BEGINNING] = ids[0, :BEGINNING]
    with torch.inference_mode():
        cache = model.new_cache(1, BEGUN + 10)
        model.decode(ids[:1, :BEGINNING], time_of(0, BEGINNING, 1), cache)
        cache.expand(rows)
        assert [layer.begun for layer in cache.layers] == [BEGINNING, BEGINNING]
        # several tokens at once, then one after the other, while rows leave until one is left alone
        model.decode(ids[:, BEGINNING:BEGUN], time_of(BEGINNING, BEGUN, rows), cache)
        stay = torch.arange(rows)
        for step in range(BEGUN, BEGUN + 9):
            if step in (BEGUN + 3, BEGUN + 5, BEGUN + 7):
                kept = {BEGUN + 3: [1, 3, 4, 6, 7], BEGUN + 5: [0, 2], BEGUN + 7: [1]}[step]
                cache.select(torch.tensor(kept))
                stay = stay[kept]
            now = time_of(step, step + 1, len(stay))
            stepped = model.decode(ids[stay, step : step + 1], now, cache)
            other = model.new_cache(len(stay), BEGUN + 10)
            whole = model.decode(ids[stay, : step + 1], time_of(0, step + 1, len(stay)), other)
            torch.testing.assert_close(stepped, whole, atol=1e-5, rtol=1e-4)
            if step == BEGUN + 4:
                assert cache.layers[0].begun
        assert stay.tolist() == [4] and not cache.layers[0].begun


def test_a_shared_beginning_takes_the_memory_of_one_row_and_none_of_whoever_goes_on_writing() -> None:
    model = MusicTransformerVAEGAN(ModelConfig(hidden_dim=32, layers=1, heads=2, context=256), SIZE).eval()
    ids = torch.randint(SIZE, (1, BEGINNING))
    with torch.inference_mode():
        first = model.new_cache(1, BEGUN)
        model.decode(ids, time_of(0, BEGINNING, 1), first)
        keys = first.layers[0].keys
        first.expand(64)
        keys.zero_()
        layer = first.layers[0]
        assert layer.beginning is not None and layer.beginning[0].abs().min() > 0
        assert layer.keys.shape[2] == BEGUN - BEGINNING
        first.clear()
        assert layer.beginning is None and layer.keys.shape[2] == BEGUN
        again = torch.randint(SIZE, (64, BEGUN))
        refilled = model.decode(again, time_of(0, BEGUN, 64), first)
        whole = model.decode(again, time_of(0, BEGUN, 64), model.new_cache(64, BEGUN))
    torch.testing.assert_close(refilled, whole, atol=1e-5, rtol=1e-4)


def test_short_beginnings_and_few_rows_are_copied() -> None:
    model = MusicTransformerVAEGAN(ModelConfig(hidden_dim=32, layers=1, heads=2, context=256), SIZE).eval()
    for tokens, rows in ((LEAST_SHARED // ROWS - 1, ROWS), (BEGINNING, LEAST_SHARING - 1)):
        with torch.inference_mode():
            cache = model.new_cache(1, BEGUN)
            model.decode(torch.randint(SIZE, (1, tokens)), time_of(0, tokens, 1), cache)
            cache.expand(rows)
        assert not cache.layers[0].begun and len(cache.layers[0].keys) == rows
