"""Local attention: the fast ways against an explicit mask, causality, and decoding that computes the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from aurl.models.config import Attention, ModelConfig, Positions
from aurl.models.layout import BarSpans, Layout
from aurl.models.local_attention import (
    LocalSelfAttention,
    Summaries,
    attend_blocks,
    attend_chunks,
    pooling_scores,
    summarise,
)
from aurl.models.local_cache import SPARE, LocalCache
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime, RotaryAngles, Rotation, rotate

SIZE = 50
TOLERANCE = 1e-4
SHARPER = 15.0


def small_model(**changes: object) -> MusicTransformerVAEGAN:
    torch.manual_seed(1)
    settings: dict = {"hidden_dim": 32, "layers": 2, "heads": 4, "dropout": 0.0, "context": 512}
    settings |= {"attention": Attention.local, "window": 6} | changes
    model = MusicTransformerVAEGAN(ModelConfig(**settings), SIZE).eval()
    with torch.no_grad():  # fresh weights attend almost evenly and pool plain means; sharper ones make everything count
        for block in model.decoder.blocks:
            block.attention.to_qkv.weight.mul_(SHARPER)
            if isinstance(block.attention, LocalSelfAttention):
                block.attention.pool.normal_(std=2.0)
    return model


def music(tokens: int, seed: int = 0) -> tuple[Tensor, MusicalTime]:
    """Random ids; bars of 1 to 9 tokens, some numbers left out."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(SIZE, (tokens,), generator=generator)
    sizes = torch.randint(1, 10, (tokens,), generator=generator)
    number = torch.randint(1, 3, (tokens,), generator=generator).cumsum(0)
    bar = number.repeat_interleave(sizes)[:tokens]
    return ids, MusicalTime(torch.arange(tokens), bar * 4.0 + torch.rand(tokens, generator=generator), bar)


def packed(*pieces: tuple[Tensor, MusicalTime]) -> tuple[Tensor, MusicalTime, list[int]]:
    ids = torch.cat([ids for ids, _ in pieces])
    time = MusicalTime(*map(torch.cat, zip(*(time for _, time in pieces), strict=True)))
    return ids, time, [len(ids) for ids, _ in pieces]


def part(time: MusicalTime, start: int, stop: int) -> MusicalTime:
    return MusicalTime(*(values[start:stop].unsqueeze(0) for values in time))


def reference(layer: LocalSelfAttention, x: Tensor, rotation: Rotation | None, bar: Tensor) -> Tensor:
    """Equation by equation, one segment, one query after the other."""
    heads, shared, width = layer.heads, layer.kv_heads, layer.head_dim
    qkv = layer.to_qkv(x).unflatten(-1, (-1, width))
    query, plain, value = qkv.split([heads, shared, shared], dim=-2)
    turned = [part if rotation is None else rotate(part.contiguous(), rotation) for part in (query, plain)]
    numbers = bar.unique_consecutive().tolist()
    rows = []
    for token in range(len(x)):
        outs = []
        for head in range(heads):
            own = head * shared // heads
            keys, values = [], []
            for number in numbers[: numbers.index(int(bar[token]))]:
                inside = (bar == number).nonzero().squeeze(1)
                scores = plain[inside, own] @ layer.pool.view(shared, width)[own] / width**0.5
                share = scores.softmax(0)[:, None]
                key = (share * plain[inside, own]).sum(0, keepdim=True)
                if rotation is not None:
                    key = rotate(key[:, None], Rotation(*(each[inside[:1]] for each in rotation)))[:, 0]
                keys.append(key)
                values.append((share * value[inside, own]).sum(0, keepdim=True))
            near = slice(max(0, token + 1 - layer.window), token + 1)
            keys.append(turned[1][near, own])
            values.append(value[near, own])
            scores = torch.cat(keys) @ turned[0][token, head] / width**0.5
            outs.append(scores.softmax(0) @ torch.cat(values))
        rows.append(torch.cat(outs))
    return layer.to_out(torch.stack(rows))


@pytest.fixture(params=[{}, {"kv_heads": 1}, {"kv_heads": 2}, {"positions": Positions.absolute}, {"window": 1}])
def model(request: pytest.FixtureRequest) -> MusicTransformerVAEGAN:
    return small_model(**request.param)


@pytest.mark.parametrize(("window", "kv_heads"), [(1, 2), (40, 2), (300, 1)])
def test_both_ways_are_the_explicit_mask_with_its_gradients(window: int, kv_heads: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden_dim=16, heads=2, kv_heads=kv_heads, attention=Attention.local, window=window)
    layer = LocalSelfAttention(config)
    with torch.no_grad():
        layer.to_qkv.weight.mul_(5)
        layer.pool.normal_()
    pieces = [music(length, seed) for seed, length in enumerate((150, 1, 9))]
    _, time, lengths = packed(*pieces)
    rotation = RotaryAngles(config.head_dim, config.positions)(time)
    x = torch.randn(sum(lengths), 16, requires_grad=True)
    query, key, value, plain = layer.project_all(x, rotation)
    layout = Layout(lengths, time.bar)
    summaries = summarise(plain, value, layer.pool, rotation, layout)
    parts = zip(x.split(lengths), *(part.split(lengths) for part in (*rotation, time.bar)), strict=True)
    slow = torch.cat([reference(layer, each, Rotation(cos, sin), bar) for each, cos, sin, bar in parts])
    weights = torch.randn_like(slow)
    inputs = [x, layer.pool, layer.to_qkv.weight]
    expected = torch.autograd.grad((slow * weights).sum(), inputs)
    for attend in (attend_blocks, attend_chunks):
        fast = layer.to_out(attend(query, key, value, summaries, layout, window).flatten(-2))
        torch.testing.assert_close(fast, slow, atol=TOLERANCE, rtol=0)
        for mine, theirs in zip(
            torch.autograd.grad((fast * weights).sum(), inputs, retain_graph=True), expected, strict=True
        ):
            torch.testing.assert_close(mine, theirs, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_later_token_never_changes_an_earlier_prediction(model: MusicTransformerVAEGAN) -> None:
    ids, time = music(60)
    before = model(ids, time, [60]).logits
    for changed_at in (20, 21, 22, 23, 24):  # in the middle and at the end of bars
        changed = ids.clone()
        changed[changed_at] = (changed[changed_at] + 1) % SIZE
        after = model(changed, time, [60]).logits
        torch.testing.assert_close(before[:changed_at], after[:changed_at])
        assert not torch.allclose(before[changed_at], after[changed_at])


def test_the_gradient_of_a_prediction_reaches_what_it_may_see_and_only_that() -> None:
    model = small_model(layers=1, window=3)
    tokens = 40
    ids, time = music(tokens)
    reached: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: object, output: Tensor) -> Tensor:
        reached.append(output.requires_grad_())
        output.retain_grad()
        return output

    handle = model.decoder.embedding.register_forward_hook(keep)
    for token in range(tokens):
        model(ids, time, [tokens]).logits[token].sum().backward()
        touched = reached.pop().grad.abs().sum(-1) > 0
        place = torch.arange(tokens)
        near = (place <= token) & (place > token - 3)
        assert torch.equal(touched, near | (time.bar < time.bar[token])), token
    handle.remove()


def test_a_window_as_long_as_the_piece_in_one_bar_is_full_attention() -> None:
    local, full = small_model(window=64), small_model(attention=Attention.full)
    full.load_state_dict(local.state_dict(), strict=False)
    ids, time = music(50)
    time = time._replace(bar=torch.zeros_like(time.bar))
    torch.testing.assert_close(local(ids, time, [50]).logits, full(ids, time, [50]).logits, atol=TOLERANCE, rtol=0)


def test_packed_pieces_do_not_see_one_another(model: MusicTransformerVAEGAN) -> None:
    pieces = [music(17, seed=1), music(3, seed=2), music(150, seed=3)]
    together = model(*packed(*pieces)).logits.split([17, 3, 150])
    for logits, (ids, time) in zip(together, pieces, strict=True):
        torch.testing.assert_close(logits, model(ids, time, [len(ids)]).logits, atol=TOLERANCE, rtol=0)


def test_bars_beyond_the_window_are_heard_and_in_their_order() -> None:
    ids, time = music(60)
    model = small_model(layers=1)
    before = model(ids, time, [60]).logits
    for place in (2, 20, 40):
        changed = ids.clone()
        changed[place] = (changed[place] + 7) % SIZE
        assert not torch.allclose(before[59], model(changed, time, [60]).logits[59], atol=TOLERANCE)
    farther = time._replace(bar=torch.where(time.bar > time.bar[10], time.bar + 3, time.bar))
    assert not torch.allclose(before[59], model(ids, farther, [60]).logits[59], atol=TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("capacity", [70, 13])
def test_cached_decoding_gives_the_uncached_logits(model: MusicTransformerVAEGAN, capacity: int) -> None:
    tokens = min(capacity, 60)
    ids, time = music(tokens)
    full = model(ids, time, [tokens]).logits
    for prefilled in (0, 10):
        cache = model.new_cache(1, capacity)
        if prefilled:
            logits = model.decode(ids[None, :prefilled], part(time, 0, prefilled), cache)
            torch.testing.assert_close(logits[0], full[prefilled - 1], atol=TOLERANCE, rtol=0)
        for step in range(prefilled, tokens):
            logits = model.decode(ids[None, step : step + 1], part(time, step, step + 1), cache)
            torch.testing.assert_close(logits[0], full[step], atol=TOLERANCE, rtol=0)
        assert cache.length == tokens and cache.stepper is not None


def test_several_tokens_after_others_and_steps_with_gradients_give_the_same_logits() -> None:
    model = small_model()
    ids, time = music(30)
    full = model(ids, time, [30]).logits
    with torch.no_grad():
        cache = model.new_cache(1, 30)
        model.decode(ids[None, :12], part(time, 0, 12), cache)
        chunk = model.decode(ids[None, 12:20], part(time, 12, 20), cache)
    torch.testing.assert_close(chunk[0], full[19], atol=TOLERANCE, rtol=0)
    for step in (20, 29):
        cache = model.new_cache(1, 30)
        with torch.no_grad():
            model.decode(ids[None, :step], part(time, 0, step), cache)
        logits = model.decode(ids[None, step : step + 1], part(time, step, step + 1), cache)
        torch.testing.assert_close(logits[0], full[step], atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("rows", [2, 8])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_rows_with_padding_and_bars_of_their_own_decode_as_they_do_alone(rows: int, kv_heads: int) -> None:
    model = small_model(kv_heads=kv_heads)
    length, fill = 50, 25
    pieces = [music(length, seed) for seed in range(rows)]
    pad = torch.arange(rows) * 3 % 11
    ids = torch.stack([ids for ids, _ in pieces])
    time = MusicalTime(*(torch.stack(values) for values in zip(*(time for _, time in pieces), strict=True)))
    cache = model.new_cache(rows, length)
    cache.starts = pad
    logits = model.decode(ids[:, :fill], MusicalTime(*(values[:, :fill] for values in time)), cache)
    order = torch.arange(rows)
    for step in range(fill, length):
        for row, number in enumerate(order.tolist()):
            first = int(pad[number])
            alone = MusicalTime(*(values[number, first:step] for values in time))
            expected = model(ids[number, first:step], alone, [step - first]).logits[-1]
            torch.testing.assert_close(logits[row], expected, atol=TOLERANCE, rtol=0)
        if step == 40:  # some leave the batch
            kept = torch.arange(rows).flip(0)[: rows - 1]
            cache.select(kept)
            order = order[kept]
        now = MusicalTime(*(values[order, step : step + 1] for values in time))
        logits = model.decode(ids[order, step : step + 1], now, cache)


@torch.no_grad()
def test_a_prompt_is_shared_and_a_cleared_cache_begins_again() -> None:
    model = small_model()
    ids, time = music(40)
    cache = model.new_cache(1, 40)
    model.decode(ids[None, :20], part(time, 0, 20), cache)
    cache.expand(3)
    step = MusicalTime(*(values.expand(3, 1) for values in part(time, 20, 21)))
    logits = model.decode(ids[20].expand(3, 1), step, cache)
    expected = model(ids, time, [40]).logits[20]
    torch.testing.assert_close(logits, expected.expand(3, -1), atol=TOLERANCE, rtol=0)
    cache.clear()
    other, other_time = music(15, seed=9)
    logits = model.decode(other.expand(3, -1), MusicalTime(*(each.expand(3, -1) for each in other_time)), cache)
    torch.testing.assert_close(logits[2], model(other, other_time, [15]).logits[-1], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_the_memory_of_a_row_is_two_windows_and_its_bars() -> None:
    model = small_model(window=8, context=4096)
    cache = model.new_cache(1, 4096)
    ids, time = music(700)
    full = model(ids, time, [700]).logits
    for step in range(700):
        logits = model.decode(ids[None, step : step + 1], part(time, step, step + 1), cache)
    torch.testing.assert_close(logits[0], full[-1], atol=TOLERANCE, rtol=0)
    layer = cache.layers[0]
    bars = len(time.bar.unique())
    assert layer.keys.shape[2] == 16
    assert bars > SPARE and bars <= layer.summary_keys.shape[2] <= bars + SPARE


@torch.no_grad()
def test_an_accelerator_looks_up_the_number_of_bars_only_when_room_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    cache = model.new_cache(1, 512)
    assert isinstance(cache, LocalCache)
    look = LocalCache._look

    def as_elsewhere(self: LocalCache, grown: int) -> None:
        self._device = torch.device("meta")
        look(self, grown)
        self._device = torch.device("cpu")

    monkeypatch.setattr(LocalCache, "_look", as_elsewhere)
    ids, time = music(300)
    full = model(ids, time, [300]).logits
    bounds = []
    for step in range(300):
        logits = model.decode(ids[None, step : step + 1], part(time, step, step + 1), cache)
        torch.testing.assert_close(logits[0], full[step], atol=TOLERANCE, rtol=0)
        bounds.append(cache.most)
    looked = sum(later <= earlier for earlier, later in pairwise(bounds))
    assert 1 <= looked <= 300 // SPARE


def test_bars_are_runs_of_one_number_inside_one_segment() -> None:
    bars = BarSpans.of(torch.tensor([0, 0, 2, 2, 2, 2, 3]), [4, 3])
    assert bars.of_token.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert bars.first_token.tolist() == [0, 2, 4, 6]
    assert bars.complete.tolist() == [0, 0, 1, 1, 0, 0, 1]
    assert bars.counts == [2, 2]


def test_pooling_shares_sum_to_one_and_follow_the_scores() -> None:
    layout = Layout([5], torch.tensor([0, 0, 0, 1, 1]))
    plain, value = torch.randn(5, 2, 4), torch.ones(5, 2, 4)
    pool = torch.randn(8)
    summaries = summarise(plain, value, pool, None, layout)
    assert isinstance(summaries, Summaries)
    torch.testing.assert_close(summaries.value, torch.ones(2, 2, 4))
    strong = summarise(plain, plain, pool * 1e4, None, layout).value
    best = pooling_scores(plain[:3], pool).argmax(0)
    torch.testing.assert_close(strong[0], torch.stack([plain[best[0], 0], plain[best[1], 1]]))


def test_gradient_checkpointing_changes_memory_not_gradients() -> None:
    ids, time = music(40)
    gradients = []
    for checkpointing in (False, True):
        model = small_model(gradient_checkpointing=checkpointing)
        model(ids, time, [40]).logits.square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_half_precision_stays_near_full_precision(model: MusicTransformerVAEGAN) -> None:
    ids, time = music(40)
    with torch.no_grad():
        for block in model.decoder.blocks:
            block.attention.to_qkv.weight.div_(SHARPER)
    full = model(ids, time, [40]).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(ids, time, [40]).logits
    half.float().square().mean().backward()
    torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(("attention", "is_linear"), [(Attention.local, True), (Attention.full, False)])
def test_what_training_keeps_grows_linearly_with_the_tokens(attention: Attention, is_linear: bool) -> None:
    kept = {512: 0, 2048: 0}
    for tokens in kept:
        model = small_model(layers=1, context=2048, window=32, attention=attention).train()
        ids, time = music(tokens)
        time = time._replace(bar=torch.arange(tokens) * 8 // tokens)  # as many bars in both

        def keep(tensor: Tensor, tokens: int = tokens) -> Tensor:
            kept[tokens] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(ids, time, [tokens]).logits.sum().backward()
    assert (kept[2048] <= 4.1 * kept[512]) == is_linear


def test_a_window_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.window=0 is too small; allowed: 1 or more"):
        ModelConfig(window=0)
