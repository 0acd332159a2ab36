"""Attention maps: the weights that the model really uses, by token and by bar."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aurl.models import attention_maps as module
from aurl.models.attention import same_heads
from aurl.models.attention_maps import attention_maps
from aurl.models.config import Attention, ModelConfig
from aurl.models.local_attention import LocalSelfAttention, summarise
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime

SIZE, TOKENS = 40, 50
TOLERANCE = 1e-5


def make(attention: Attention, kv_heads: int | None = 2) -> MusicTransformerVAEGAN:
    torch.manual_seed(0)
    config = ModelConfig(
        hidden_dim=32, layers=3, heads=4, kv_heads=kv_heads, context=64, attention=attention, window=6, dropout=0.3
    )
    model = MusicTransformerVAEGAN(config, SIZE).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("to_qkv.weight"):
                parameter.mul_(15)
            if name.endswith("pool"):
                parameter.normal_()
    return model


def music() -> tuple[Tensor, MusicalTime]:
    index = torch.arange(TOKENS)
    bar = torch.tensor([0] * 7 + [1] * 20 + [3] * 1 + [4] * 10 + [5] * 12)
    return torch.randint(SIZE, (TOKENS,), generator=torch.Generator().manual_seed(0)), MusicalTime(
        index, index / 4, bar
    )


@pytest.fixture(params=list(Attention))
def model(request: pytest.FixtureRequest) -> MusicTransformerVAEGAN:
    return make(request.param)


@pytest.fixture(autouse=True, params=[7, 256])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", request.param)


def test_what_a_token_looks_at_adds_up_to_one_and_lies_in_its_past(model: MusicTransformerVAEGAN) -> None:
    maps = attention_maps(model, *music())
    assert maps.tokens.shape == (3, 4, TOKENS, TOKENS) and maps.bars.shape == (3, 4, 5, 5)
    total = maps.tokens.sum(-1) + maps.summaries.sum(-1)
    torch.testing.assert_close(total, torch.ones(3, 4, TOKENS), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(maps.bars.sum(-1), torch.ones(3, 4, 5), atol=TOLERANCE, rtol=0)
    assert not maps.tokens.triu(1).any() and not maps.bars.triu(1).any()
    assert maps.bar_of.tolist() == [0] * 7 + [1] * 20 + [2] + [3] * 10 + [4] * 12


def test_the_weights_give_what_the_layer_gives(model: MusicTransformerVAEGAN) -> None:
    ids, time = music()
    maps = attention_maps(model, ids, time)
    for number, each in enumerate(model.decoder.blocks):
        kept: list[tuple] = []
        handle = each.attention.register_forward_hook(lambda layer, given, out, kept=kept: kept.append((given, out)))
        model(ids, time, [TOKENS])
        handle.remove()
        ((x, rotation, layout), out), layer = kept[0], each.attention
        query, _, value = layer.project(x, rotation)
        (values,) = same_heads(query, value)
        heads = torch.einsum("hqk,khd->qhd", maps.tokens[number], values)
        if isinstance(layer, LocalSelfAttention):
            far = summarise(layer.project(x, None)[1], value, layer.pool, rotation, layout).value
            heads = heads + torch.einsum("hqm,mhd->qhd", maps.summaries[number], same_heads(query, far)[0])
        torch.testing.assert_close(layer.to_out(heads.flatten(1)), out, atol=TOLERANCE, rtol=1e-4)


def test_the_map_of_bars_is_the_mean_of_its_tokens(model: MusicTransformerVAEGAN) -> None:
    maps = attention_maps(model, *music())
    for looking in range(5):
        for looked_at in range(5):
            rows = maps.tokens[:, :, maps.bar_of == looking]
            expected = rows[..., maps.bar_of == looked_at].sum(-1)
            if maps.summaries.shape[-1]:
                expected = expected + maps.summaries[:, :, maps.bar_of == looking, looked_at]
            torch.testing.assert_close(maps.bars[..., looking, looked_at], expected.mean(-1), atol=TOLERANCE, rtol=0)


def test_layers_heads_and_the_number_of_tokens_are_chosen(model: MusicTransformerVAEGAN) -> None:
    ids, time = music()
    whole, some = attention_maps(model, ids, time), attention_maps(model, ids, time, [2, 0], [3], shown=20)
    assert (some.layers, some.heads) == ((2, 0), (3,))
    torch.testing.assert_close(some.tokens, whole.tokens[[2, 0]][:, [3], :20, :20])
    torch.testing.assert_close(some.summaries, whole.summaries[[2, 0]][:, [3], :20])
    torch.testing.assert_close(some.bars, whole.bars[[2, 0]][:, [3]])
    again = model(ids, time, [TOKENS]).logits
    torch.testing.assert_close(model(ids, time, [TOKENS]).logits, again)
    assert not model.decoder.blocks[0].attention._forward_pre_hooks


def test_a_layer_or_head_that_is_not_there_is_named() -> None:
    model = make(Attention.full)
    with pytest.raises(ValueError, match=r"layers=\[0, 3\] names 3; this model has layers 0 to 2"):
        attention_maps(model, *music(), layers=[0, 3])
    with pytest.raises(ValueError, match=r"heads=\[\] names none; this model has heads 0 to 3"):
        attention_maps(model, *music(), heads=[])
    with pytest.raises(ValueError, match=r"shown=0 of 50 tokens shows nothing"):
        attention_maps(model, *music(), shown=0)


def test_a_summary_is_looked_at_only_after_its_bar() -> None:
    maps = attention_maps(make(Attention.local), *music())
    seen = maps.summaries > 0
    expected = torch.arange(5) < maps.bar_of[:, None]
    assert torch.equal(seen, expected.expand_as(seen))
