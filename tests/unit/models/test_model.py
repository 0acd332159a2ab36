"""The model: what a token may see, and that the cached path computes the same as the plain one."""

from __future__ import annotations

import pytest
import torch

from aurl.models.attention import attend_one_by_one, attend_together
from aurl.models.blocked_attention import blocked_causal_attention
from aurl.models.config import ModelConfig, Positions
from aurl.models.dropout import dropout
from aurl.models.hearing import TokenMeaning
from aurl.models.layout import FILLED, Layout
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime

VOCAB = 61
IDS = torch.arange(VOCAB)
MEANING = TokenMeaning(
    pitch=torch.where(IDS < 20, IDS + 50, -1),
    program=(IDS >= 20) & (IDS < 24),
    duration=torch.where((IDS >= 24) & (IDS < 44), IDS - 23, 0),
    place=torch.where(IDS >= 44, IDS - 44, -1),
    metre=torch.where(IDS == 60, 0.5, 0.0),
)
"""Random ids then hold notes with and without program and duration, in any order."""
TOLERANCE = 1e-4
SHARPER = 20.0


def small_model(**changes: object) -> MusicTransformerVAEGAN:
    torch.manual_seed(1)
    settings: dict = {"hidden_dim": 32, "layers": 2, "heads": 4, "dropout": 0.0, "context": 128} | changes
    model = MusicTransformerVAEGAN(ModelConfig(**settings), VOCAB, MEANING).eval()
    with torch.no_grad():  # fresh weights attend almost evenly; sharper ones make every position count
        for block in model.decoder.blocks:
            block.attention.to_qkv.weight.mul_(SHARPER)
    return model


def music(tokens: int, seed: int = 0) -> tuple[torch.Tensor, MusicalTime]:
    """Random ids with a plausible musical time: onsets that never go back, four quarters a bar."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCAB, (tokens,), generator=generator)
    beat = torch.rand(tokens, generator=generator).round(decimals=1).cumsum(0)
    return ids, MusicalTime(torch.arange(tokens), beat, (beat // 4).long())


def part(time: MusicalTime, start: int, stop: int) -> MusicalTime:
    return MusicalTime(*(values[start:stop].unsqueeze(0) for values in time))


@pytest.fixture(
    params=[
        {},
        {"hearing": True},
        {"kv_heads": 1},
        {"kv_heads": 2},
        {"positions": Positions.absolute},
        {"positions": Positions.token},
    ]
)
def model(request: pytest.FixtureRequest) -> MusicTransformerVAEGAN:
    return small_model(**request.param)


def test_a_later_token_never_changes_an_earlier_prediction(model: MusicTransformerVAEGAN) -> None:
    ids, time = music(24)
    changed = ids.clone()
    changed[7] = (changed[7] + 1) % VOCAB
    before, after = model(ids, time, [24]).logits, model(changed, time, [24]).logits
    torch.testing.assert_close(before[:7], after[:7])
    assert not torch.allclose(before[7:], after[7:])


def test_the_gradient_of_a_prediction_reaches_its_past_and_only_its_past(model: MusicTransformerVAEGAN) -> None:
    ids, time = music(20)
    reached: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        reached.append(output.requires_grad_())
        output.retain_grad()
        return output

    handle = model.decoder.embedding.register_forward_hook(keep)
    model(ids, time, [20]).logits[11].sum().backward()
    handle.remove()
    touched = reached[0].grad.abs().sum(-1) > 0
    assert touched[:12].all()
    assert not touched[12:].any()


def test_packed_pieces_do_not_see_one_another(model: MusicTransformerVAEGAN) -> None:
    first, first_time = music(17, seed=1)
    second, second_time = music(30, seed=2)
    packed = model(
        torch.cat((first, second)), MusicalTime(*map(torch.cat, zip(first_time, second_time, strict=True))), [17, 30]
    ).logits
    torch.testing.assert_close(packed[:17], model(first, first_time, [17]).logits, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(packed[17:], model(second, second_time, [30]).logits, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_cached_decoding_gives_the_uncached_logits(model: MusicTransformerVAEGAN) -> None:
    ids, time = music(40)
    full = model(ids, time, [40]).logits
    cache = model.new_cache(1, 64)
    prefill = model.decode(ids[None, :10], part(time, 0, 10), cache)
    chunk = model.decode(ids[None, 10:15], part(time, 10, 15), cache)
    torch.testing.assert_close(prefill[0], full[9], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(chunk[0], full[14], atol=TOLERANCE, rtol=0)
    for step in range(15, 40):
        logits = model.decode(ids[None, step : step + 1], part(time, step, step + 1), cache)
        torch.testing.assert_close(logits[0], full[step], atol=TOLERANCE, rtol=0)
    assert cache.length == 40


@torch.no_grad()
def test_greedy_continuations_are_identical_with_and_without_cache(model: MusicTransformerVAEGAN) -> None:
    ids, time = music(60)
    with_cache, without = ids[:8].tolist(), ids[:8].tolist()
    cache = model.new_cache(1, 64)
    logits = model.decode(ids[None, :8], part(time, 0, 8), cache)
    for step in range(8, 60):
        with_cache.append(int(logits.argmax()))
        logits = model.decode(torch.tensor([[with_cache[-1]]]), part(time, step, step + 1), cache)
        whole = MusicalTime(*(values[:step] for values in time))
        without.append(int(model(torch.tensor(without), whole, [step]).logits[-1].argmax()))
    assert with_cache == without


@torch.no_grad()
def test_a_row_of_a_batch_decodes_as_it_does_alone(model: MusicTransformerVAEGAN) -> None:
    rows = [music(12, seed) for seed in range(5)]
    batch_ids = torch.stack([ids for ids, _ in rows])
    batch_time = MusicalTime(*(torch.stack(values) for values in zip(*(time for _, time in rows), strict=True)))
    together = model.decode(batch_ids, batch_time, model.new_cache(5, 16))
    for row, (ids, time) in enumerate(rows):
        alone = model.decode(ids[None], part(time, 0, 12), model.new_cache(1, 16))
        torch.testing.assert_close(together[row], alone[0], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_a_prompt_is_computed_once_and_shared_and_finished_rows_leave(model: MusicTransformerVAEGAN) -> None:
    ids, time = music(12)
    cache = model.new_cache(1, 16)
    model.decode(ids[None, :10], part(time, 0, 10), cache)
    cache.expand(3)
    cache.select(torch.tensor([2, 0]))
    step = MusicalTime(*(values.expand(2, 1) for values in part(time, 10, 11)))
    logits = model.decode(ids[10].expand(2, 1), step, cache)
    expected = model(ids[:11], MusicalTime(*(values[:11] for values in time)), [11]).logits[-1]
    torch.testing.assert_close(logits, expected.expand(2, -1), atol=TOLERANCE, rtol=0)


def test_a_full_cache_says_so() -> None:
    model = small_model()
    ids, time = music(12)
    with pytest.raises(ValueError, match="cache of 8 tokens cannot take 12"):
        model.decode(ids[None], part(time, 0, 12), model.new_cache(1, 8))


def test_only_differences_of_musical_time_matter() -> None:
    model = small_model()
    ids, time = music(30)
    moved = MusicalTime(time.index + 500, time.beat + 64.0, time.bar + 16)
    torch.testing.assert_close(model(ids, time, [30]).logits, model(ids, moved, [30]).logits, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("field", ["beat", "bar"])
def test_musical_positions_hear_beats_and_bars(field: str) -> None:
    ids, time = music(30)
    stretched = time._replace(**{field: getattr(time, field) * 2})
    musical, token = small_model(), small_model(positions=Positions.token)
    assert not torch.allclose(musical(ids, time, [30]).logits, musical(ids, stretched, [30]).logits, atol=TOLERANCE)
    torch.testing.assert_close(token(ids, time, [30]).logits, token(ids, stretched, [30]).logits)


def test_the_fused_rotation_has_the_gradient_of_the_plain_one() -> None:
    from aurl.models.positions import Rotation, rotate

    angle = torch.rand(5, 1, 3, dtype=torch.float64)
    rotation = Rotation(angle.cos(), angle.sin())
    x = torch.randn(5, 2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: rotate(value, rotation), (x,))
    torch.testing.assert_close(rotate(x, rotation).norm(), x.norm())


def test_gradient_checkpointing_changes_memory_not_gradients() -> None:
    ids, time = music(30)
    gradients = []
    for checkpointing in (False, True):
        model = small_model(gradient_checkpointing=checkpointing)
        model(ids, time, [30]).logits.square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_dim": 30}, r"model.hidden_dim=30 must be a multiple of model.heads=4"),
        ({"hidden_dim": 24}, r"heads of 6"),
        ({"kv_heads": 3}, r"model.kv_heads=3 must divide model.heads=4"),
        ({"dropout": 1.0}, r"model.dropout=1.0 is out of range"),
        ({"layers": 0}, r"model.layers=0 is too small"),
        ({"ffn_dim": 0}, r"model.ffn_dim=0 is too small"),
        ({"hearing_dropout": 1.0}, r"model.hearing_dropout=1.0 is out of range"),
        ({"token_dropout": -0.1}, r"model.token_dropout=-0.1 is out of range"),
    ],
)
def test_a_wrong_value_is_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**({"hidden_dim": 32, "heads": 4} | change))


@pytest.mark.parametrize("tokens", [1, 127, 128, 129, 300])
def test_blocked_attention_is_plain_attention_with_its_gradients(tokens: int) -> None:
    inputs = [torch.randn(2, tokens, 8, requires_grad=True) for _ in range(3)]
    plain = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)
    blocked = blocked_causal_attention(*inputs)
    torch.testing.assert_close(blocked, plain, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(plain)
    for mine, theirs in zip(
        torch.autograd.grad((blocked * weights).sum(), inputs),
        torch.autograd.grad((plain * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_dropout_drops_the_asked_share_keeps_the_mean_and_follows_the_seed() -> None:
    ones = torch.ones(400, 251)
    torch.manual_seed(5)
    dropped = dropout(ones, 0.25, training=True)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)
    torch.manual_seed(5)
    torch.testing.assert_close(dropout(ones, 0.25, training=True), dropped)
    assert dropout(ones, 0.25, training=False) is ones


@pytest.mark.parametrize("probability", [1e-4, 0.999, 1 - 1e-9])
def test_dropout_stays_finite_at_its_ends(probability: float) -> None:
    assert torch.isfinite(dropout(torch.ones(10_000), probability, training=True)).all()


def test_half_precision_stays_near_full_precision(model: MusicTransformerVAEGAN) -> None:
    ids, time = music(40)
    full = model(ids, time, [40]).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(ids, time, [40]).logits
    half.float().square().mean().backward()
    torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0.05)


def test_token_dropout_hides_whole_tokens_in_training_and_none_in_use() -> None:
    model, plain = small_model(token_dropout=0.3), small_model()
    ids, time = music(100)
    torch.testing.assert_close(model(ids, time, [100]).logits, plain(ids, time, [100]).logits)
    repeated = ids.repeat(40)
    vectors, _ = model.decoder._embed(repeated, MusicalTime(*(part.repeat(40) for part in time)), None, hidden=0.3)
    hidden = (vectors == 0).all(dim=1)
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.03)
    torch.testing.assert_close(vectors[~hidden], model.decoder.embedding(repeated)[~hidden])
    assert not torch.allclose(model.train()(ids, time, [100]).logits, plain(ids, time, [100]).logits, atol=0.01)


def test_training_with_dropout_differs_from_evaluation() -> None:
    model = small_model(dropout=0.5)
    ids, time = music(20)
    assert not torch.allclose(model.train()(ids, time, [20]).logits, model.eval()(ids, time, [20]).logits)


@pytest.mark.parametrize("lengths", [[5], [30, 17, 40, 3, 4], [1, 1, 1]])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_segments_attended_together_give_what_each_gives_alone(lengths: list[int], kv_heads: int) -> None:
    layout = Layout(lengths, torch.zeros(sum(lengths), dtype=torch.long))
    query, key, value = (torch.randn(sum(lengths), heads, 8, requires_grad=True) for heads in (4, kv_heads, kv_heads))
    alone = attend_one_by_one(query, key, value, layout)
    together = attend_together(query, key, value, layout)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(alone)
    for mine, theirs in zip(
        torch.autograd.grad((together * weights).sum(), (query, key, value)),
        torch.autograd.grad((alone * weights).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_segments_of_similar_length_share_a_kernel_call_and_little_is_padded() -> None:
    lengths = [100, 8, 60, 90, 5, 9]
    layout = Layout(lengths, torch.zeros(sum(lengths), dtype=torch.long))
    assert layout.padded.shapes == [(3, 100), (3, 9)]
    assert len(layout.padded.tokens) <= sum(lengths) / FILLED
