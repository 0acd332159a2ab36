"""Music that the model writes by itself while it is trained, beside real music of the same shape, for a discriminator.

Writing runs without gradients through the cache, under the grammar, as generation does. Gradients come from one
parallel pass over what was written (relaxation.py): a token's gradient reaches the distribution that it was drawn from;
what stood before it is taken as given. So judging 128 tokens costs 128 cached steps, a forward and a backward pass over
128 tokens, rather than a backward pass through every step.

Axes: R windows, P + 1 tokens that are given, L tokens that are judged, W = P + 1 + L, V vocabulary, T bars, Z latent.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from aurl.data.batching import PackedBatch
from aurl.generation.grammars import AnyGrammar, make_walk
from aurl.models.decoder import Condition
from aurl.models.discriminator import Evidence
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.musical_features import STEP_QUARTERS, STEPS, WindowBars
from aurl.models.positions import MusicalTime
from aurl.models.relaxation import straight_through


class Windows(NamedTuple):
    """Music of R rows, each from the beginning of a segment."""

    ids: Tensor
    """``(R, W)`` int64."""
    beat: Tensor
    """``(R, W)`` float32."""
    bar: Tensor
    """``(R, W)`` int64, from 0."""
    given: int
    """Tokens in front that are not judged, P + 1."""
    allowed: Tensor | None = None
    """Which tokens could be drawn at each judged place ``(R, L, V)`` bool; None for real music."""


def choose_segments(lengths: list[int], wanted: int, count: int) -> tuple[Tensor, int]:
    """Which segments of a batch are judged, drawn with PyTorch's own random numbers.

    Args:
        lengths: tokens of each segment.
        wanted: tokens that shall be judged of each.
        count: windows; where fewer segments are long enough they are taken again.

    Returns:
        Segments ``(count,)``, and the tokens that can be judged of each, less than wanted where no segment is so long.
    """
    sizes = torch.tensor(lengths)
    judged = min(wanted, int(sizes.max()) - 1)
    long_enough = (sizes > judged).nonzero().squeeze(1)
    order = long_enough[torch.randperm(len(long_enough))]
    return order[torch.arange(count) % len(order)], judged


def real_windows(batch: PackedBatch, segments: Tensor, given: int, judged: int) -> Windows:
    """The beginnings of segments ``(R,)`` of a batch; each has ``given + judged`` tokens at least."""
    sizes = torch.tensor(batch.lengths)
    start = (sizes.cumsum(0) - sizes)[segments]
    place = (start[:, None] + torch.arange(given + judged)).to(batch.ids.device)
    beat, bar = batch.beat[place], batch.bar[place]
    return Windows(batch.ids[place], beat - beat[:, :1], bar - bar[:, :1], given)


@torch.no_grad()
def write(model: MusicTransformerVAEGAN, grammar: AnyGrammar, prompt: Tensor, latents: Tensor, judged: int) -> Windows:
    """Let the model go on by itself.

    Args:
        model: in eval mode.
        grammar: of the model's tokens; the end of the piece is not written.
        prompt: tokens that are given ``(R, P + 1)``, each row from a segment's beginning.
        latents: of the bars of each row ``(R, T, Z)``.
        judged: tokens to write.
    """
    rows, given = prompt.shape
    walk = make_walk(grammar, rows)
    ids, beats, bars, allowed = [prompt], [], [], []
    for token in prompt.unbind(1):
        walk.advance(token)
        beats.append(walk.beat)
        bars.append(walk.bar.long())
    walk.start_counting()
    cache = model.new_cache(rows, given + judged)
    model.steer(cache, latents)
    index = torch.arange(given, device=prompt.device).expand(rows, -1)
    with torch.autocast(prompt.device.type, enabled=False):  # the cache has the type of the weights
        logits = model.decode(prompt, MusicalTime(index, torch.stack(beats, 1), torch.stack(bars, 1)), cache)
        for step in range(judged):
            logits = walk.restrict(logits.clone())
            logits[:, grammar.vocabulary.eos] = float("-inf")  # where it may stand, the next bar or note may as well
            allowed.append(logits > float("-inf"))
            token = torch.multinomial(logits.softmax(-1), 1)
            walk.advance(token.squeeze(1))
            ids.append(token)
            beats.append(walk.beat)
            bars.append(walk.bar.long())
            if step < judged - 1:
                now = MusicalTime(index.new_full((rows, 1), given + step), beats[-1][:, None], bars[-1][:, None])
                logits = model.decode(token, now, cache)
    return Windows(torch.cat(ids, 1), torch.stack(beats, 1), torch.stack(bars, 1), given, torch.stack(allowed, 1))


def evidence(model: MusicTransformerVAEGAN, windows: Windows, latents: Tensor, temperature: float) -> Evidence:
    """What a discriminator sees of windows; gradients flow where they are on.

    Args:
        model: in eval mode, so that real and written music are read alike.
        windows: real or written.
        latents: of the bars of each row ``(R, T, Z)``; later bars take the last.
        temperature: of the relaxed tokens.
    """
    assert model.latent is not None
    rows, width = windows.ids.shape
    given, bars = windows.given, latents.shape[1]
    index = torch.arange(width, device=windows.ids.device).repeat(rows)
    row = torch.arange(rows, device=windows.ids.device)[:, None] * bars + windows.bar.clamp(max=bars - 1)
    condition = Condition(model.latent.for_layers(latents.flatten(0, 1)), row.flatten())
    time = MusicalTime(index, windows.beat.flatten(), windows.bar.flatten())
    hidden, hearing = model.decoder.states(windows.ids.flatten(), time, [width] * rows, condition)
    ids = windows.ids[:, given:].flatten()
    logits = model.decoder.project(hidden, hearing).float().unflatten(0, (rows, width))[:, given - 1 : -1].flatten(0, 1)
    if windows.allowed is not None:
        logits = logits.masked_fill(~windows.allowed.flatten(0, 1), float("-inf"))
    tokens = straight_through(logits, ids, temperature)
    states = hidden.float().unflatten(0, (rows, width))[:, given:].flatten(0, 1)
    return Evidence(tokens, ids, states, window_bars(windows), rows)


def window_bars(windows: Windows) -> WindowBars:
    """Bars of the judged tokens."""
    beat, bar = windows.beat, windows.bar
    begins = torch.ones_like(bar, dtype=torch.bool)
    begins[:, 1:] = bar[:, 1:] != bar[:, :-1]
    place = torch.arange(bar.shape[1], device=bar.device)
    line = torch.where(begins, place, 0).cummax(1).values  # first token of each token's bar
    step = ((beat - beat.gather(1, line)) / STEP_QUARTERS).long().clamp(0, STEPS - 1)
    judged = begins[:, windows.given :].clone()
    judged[:, 0] = True
    of_token = judged.flatten().cumsum(0) - 1
    row = torch.arange(len(bar), device=bar.device).repeat_interleave(judged.shape[1])
    return WindowBars(of_token, row[judged.flatten()], step[:, windows.given :].flatten())
