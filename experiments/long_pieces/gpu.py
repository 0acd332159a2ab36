"""Attention of packed batches on a GPU: a call for each segment, segments together, chunks, and flex_attention.

  python -m experiments.long_pieces.gpu [--dtype bfloat16] [--rounds 20]

For each mixture of segment lengths and each way: milliseconds of one layer's attention, forward and backward
(projections excluded), and the largest difference from the same computation in float64 on the CPU. flex_attention is
compiled with dynamic shapes; its block mask is made anew for every batch, as every batch of training has other
segments, and timed apart (one mask serves all layers).
"""

from __future__ import annotations

import argparse
import functools
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from aurl.models.attention import attend_one_by_one, attend_together
from aurl.models.config import Attention, ModelConfig
from aurl.models.layout import Layout
from aurl.models.local_attention import attend_chunks, summarise
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime

HEADS, WIDTH, WINDOW, BAR = 8, 64, 512, 40
COMPILED_MASK = False
"""Whether block masks are made by a compiled function; compiling it did not end within four minutes (PyTorch 2.11)."""
MIXTURES = {
    "32 of about 500": [400 + 7 * n for n in range(32)],
    "2 of 8192": [8192, 8192],
    "8 of 2048": [2048] * 8,
    "one of 8192, 80 of about 100": [8192] + [60 + n for n in range(80)],
}
Way = Callable[[Tensor, Tensor, Tensor, Layout], Tensor]
compiled = functools.cache(lambda: torch.compile(flex_attention, dynamic=True))


def segment_numbers(layout: Layout, device: torch.device) -> Tensor:
    sizes = torch.tensor(layout.lengths, device=device)
    return torch.arange(len(layout.lengths), device=device).repeat_interleave(sizes)


def full_mask(layout: Layout, device: torch.device) -> BlockMask:
    segment = segment_numbers(layout, device)

    def seen(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (segment[q] == segment[k]) & (q >= k)

    return create_block_mask(seen, None, None, len(segment), len(segment), device=device, _compile=COMPILED_MASK)


def local_mask(layout: Layout, device: torch.device) -> BlockMask:
    segment, bars = segment_numbers(layout, device), layout.bars
    count, of_token, first = len(bars.first_token), bars.of_token, bars.of_token - bars.complete

    def seen(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        near = (k - count).clamp(min=0)
        far = (k >= first[q]) & (k < of_token[q])
        return torch.where(k < count, far, (segment[q] == segment[near]) & (q >= near) & (q - near < WINDOW))

    return create_block_mask(
        seen, None, None, len(segment), count + len(segment), device=device, _compile=COMPILED_MASK
    )


def flex_full(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    mask = layout.shared("flex", lambda: full_mask(layout, query.device))
    q, k, v = (part.transpose(0, 1)[None] for part in (query, key, value))
    return compiled()(q, k, v, block_mask=mask)[0].transpose(0, 1)


def summarised(attend: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    pool = query.new_zeros(HEADS * WIDTH)
    return attend(query, key, value, summarise(key, value, pool, None, layout), layout, WINDOW)


def flex_local(query: Tensor, key: Tensor, value: Tensor, summaries: object, layout: Layout, window: int) -> Tensor:
    mask = layout.shared("flex", lambda: local_mask(layout, query.device))
    key, value = torch.cat((summaries.key, key)), torch.cat((summaries.value, value))  # type: ignore[attr-defined]
    q, k, v = (part.transpose(0, 1)[None] for part in (query, key, value))
    return compiled()(q, k, v, block_mask=mask)[0].transpose(0, 1)


WAYS: dict[str, Way] = {
    "full, a call a segment": attend_one_by_one,
    "full, together": attend_together,
    "full, flex": flex_full,
    "local, chunks": functools.partial(summarised, attend_chunks),
    "local, flex": functools.partial(summarised, flex_local),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    if args.device == "cuda":
        print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    for name, lengths in MIXTURES.items():
        for way, attend in WAYS.items():
            try:
                print(f"{name} | {way} | {measure(attend, lengths, args)}", flush=True)
            except Exception as error:  # noqa: BLE001  # one way that fails must not hide the others
                print(f"{name} | {way} | failed: {type(error).__name__}: {str(error)[:300]}", flush=True)
    for attention in Attention:
        for name, lengths in MIXTURES.items():
            print(f"training step, 20M, {attention.value} | {name} | {step(attention, lengths, args)}", flush=True)


def inputs(lengths: list[int], device: str, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(sum(lengths), HEADS, WIDTH, generator=generator) for _ in range(3)]
    bar = torch.cat([torch.arange(length) // BAR for length in lengths])
    return [part.to(device, dtype).requires_grad_() for part in parts], bar.to(device)


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(attend: Way, lengths: list[int], args: argparse.Namespace) -> str:
    parts, bar = inputs(lengths, args.device, getattr(torch, args.dtype))
    begin = clock(args.device)
    out = attend(*parts, Layout(lengths, bar))
    out.sum().backward()
    first = clock(args.device) - begin
    sizes = [length - 1 - number % 2 for number, length in enumerate(lengths)]
    other, other_bar = inputs(sizes, args.device, parts[0].dtype)
    for _ in range(2):  # the first may still have something to compile
        begin = clock(args.device)
        attend(*other, Layout(sizes, other_bar))  # with whatever is made once a batch
        fresh = clock(args.device) - begin
    layout = Layout(lengths, bar)
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begin = clock(args.device)
    for _ in range(args.rounds):
        attend(*parts, layout).sum().backward()
    each = (clock(args.device) - begin) / args.rounds
    peak = torch.cuda.max_memory_allocated() / 2**20 if args.device == "cuda" else 0
    start = sum(lengths[:-1])
    exact, exact_bar = inputs(lengths, "cpu", torch.float64)
    last = [part[start:].detach() for part in exact]
    way: Way = attend_one_by_one if attend in (attend_one_by_one, attend_together, flex_full) else WAYS["local, chunks"]
    expected = way(*last, Layout(lengths[-1:], exact_bar[start:]))
    error = float((out[start:].detach().double().cpu() - expected).abs().max())
    return (
        f"{each * 1e3:.2f} ms, with a new batch's layout {fresh * 1e3:.2f} ms forward, first call {first:.2f} s, "
        f"peak {peak:.0f} MiB, error {error:.1e}"
    )


def step(attention: Attention, lengths: list[int], args: argparse.Namespace) -> str:
    config = ModelConfig(hidden_dim=512, layers=6, heads=8, context=8192, attention=attention, window=WINDOW)
    model = MusicTransformerVAEGAN(config, 500).to(args.device)
    _, bar = inputs(lengths, args.device, torch.float32)
    ids = torch.randint(500, (sum(lengths),), device=args.device)
    index = torch.cat([torch.arange(length) for length in lengths]).to(args.device)
    musical = MusicalTime(index, index / 10, bar)
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for number in range(12):
        if number == 2:
            begin = clock(args.device)
        with torch.autocast(args.device, dtype=torch.bfloat16):
            loss = model(ids, musical, lengths).logits.float().square().mean()
        loss.backward()
        model.zero_grad()
    seconds = (clock(args.device) - begin) / 10
    peak = torch.cuda.max_memory_allocated() / 2**20 if args.device == "cuda" else 0
    return f"{seconds * 1e3:.1f} ms, {sum(lengths) / seconds:,.0f} tokens/s, peak {peak:.0f} MiB"


if __name__ == "__main__":
    main()
