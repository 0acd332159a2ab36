"""What far context is worth: windows, remembered context, segment memory, sliding windows, summaries of bars, all.

  python -m experiments.long_pieces.quality --tokens tokens.npz [--seconds 25] [--device cuda] [--arms local full]

tokens.npz is what dump.py writes. Every arm trains the same model from the same weights for the same time and is
measured on the validation and test pieces as ``aurl-evaluate`` does (nats per note; lower is better):

- windows: full attention in windows of 512 tokens;
- overlap: windows of 1,024, the first half remembered context that is not scored (data.segment_overlap=0.5);
- memory: segments of 512 tokens that see the keys and values of the one before them without gradient, the segment
  memory of Transformer-XL (Dai et al. 2019; here never stale, since a piece's segments are in one batch);
- memory with gradient: the same without the cut;
- sliding: each token sees the last 768, as many as the memory shows on average;
- local: the last 768 and the summaries of all earlier bars (model.attention=local model.window=768);
- full: all of up to 8,192 tokens.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aurl.data.windows import scoring_windows
from aurl.models.attention import CausalSelfAttention
from aurl.models.config import Attention, ModelConfig
from aurl.models.layout import Layout
from aurl.models.local_attention import attend_blocks, attend_chunks, chunk, summarise
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime, Rotation

SEGMENT, WINDOW, CONTEXT = 512, 768, 8192
WARMUP = 50
TRANSPOSED = (-5, 6)
LOW, HIGH = 21, 108


@dataclass(frozen=True)
class Arm:
    context: int
    remembered: int = 0
    attention: Attention = Attention.full
    way: str | None = None


ARMS = {
    "windows": Arm(SEGMENT),
    "overlap": Arm(2 * SEGMENT, remembered=SEGMENT),
    "memory": Arm(CONTEXT, way="memory"),
    "memory with gradient": Arm(CONTEXT, way="memory with gradient"),
    "sliding": Arm(CONTEXT, way="sliding"),
    "local": Arm(CONTEXT, attention=Attention.local),
    "full": Arm(CONTEXT),
}


class OtherAttention(CausalSelfAttention):
    """Full attention's weights, seen through other masks."""

    way: str

    def forward(self, x: Tensor, rotation: Rotation | None, layout: Layout) -> Tensor:
        query, key, value = self.project(x, rotation)
        one_bar = layout.shared("one bar", lambda: Layout(layout.lengths, torch.zeros(len(x), device=x.device)))
        if self.way == "sliding":
            nothing = summarise(key, value, key.new_zeros(key[0].numel()), None, one_bar)
            attend = attend_blocks if x.device.type == "cpu" else attend_chunks
            return self.to_out(attend(query, key, value, nothing, one_bar, WINDOW).flatten(-2))
        return self.to_out(with_memory(query, key, value, one_bar, self.way == "memory").flatten(-2))


def with_memory(query: Tensor, key: Tensor, value: Tensor, layout: Layout, detached: bool) -> Tensor:
    chunks = layout.shared("chunks", lambda: chunk(layout, SEGMENT))
    outputs = []
    spread = (chunks.padded.spread(part) for part in (query, key, value))
    for q, k, v, seen, has_before in zip(*spread, chunks.seen, chunks.has_before, strict=True):
        if not has_before:
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            outputs.append(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2))
            continue
        before = seen[:, :, :1, 1:2].expand(-1, -1, SEGMENT, SEGMENT)  # whether there is a chunk before
        causal = torch.ones(SEGMENT, SEGMENT, dtype=torch.bool, device=q.device).tril().expand_as(before)
        old_k, old_v = (part.roll(1, 0).detach() if detached else part.roll(1, 0) for part in (k, v))
        q, k, v = (part.transpose(1, 2) for part in (q, torch.cat((old_k, k), 1), torch.cat((old_v, v), 1)))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.cat((before, causal), dim=-1))
        outputs.append(out.transpose(1, 2))
    return chunks.padded.gather(outputs)


class Corpus:
    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.ids, self.bars, self.beats = (file[name] for name in ("ids", "bars", "beats"))
            self.stops = np.cumsum(file["lengths"])
            self.starts = self.stops - file["lengths"]
            self.notes, self.split = file["notes"], file["split"]
            self.vocabulary, self.pitch_low = int(file["vocabulary"]), int(file["pitch_low"])

    def segment(self, piece: int, start: int, stop: int, shift: int = 0) -> list[np.ndarray]:
        whole = slice(self.starts[piece] + start, self.starts[piece] + stop)
        ids = self.ids[whole].astype(np.int64)
        pitch = ids - self.pitch_low
        moved = pitch + shift
        moved += 12 * (moved < LOW) - 12 * (moved > HIGH)
        ids = np.where((pitch >= LOW) & (pitch <= HIGH), moved + self.pitch_low, ids)
        return [ids, self.bars[whole].astype(np.int64), self.beats[whole]]

    def draw(self, rng: np.random.Generator, arm: Arm, tokens: int) -> tuple[list[list[np.ndarray]], list[int]]:
        """Segments that begin at bar lines or at the beginning, and where scoring starts in each."""
        pieces = np.flatnonzero(self.split == 0)
        sizes = (self.stops - self.starts)[pieces]
        segments, scored, room = [], [], tokens
        while room > 0:
            piece = int(rng.choice(pieces, p=sizes / sizes.sum()))
            length = int(self.stops[piece] - self.starts[piece])
            begin = int(rng.integers(-arm.context // 2, max(length - arm.context // 2, 1)))
            bars = self.bars[self.starts[piece] : self.stops[piece]]
            begin = int(np.searchsorted(bars, bars[begin])) if begin > 0 else 0
            stop = min(begin + arm.context + 1, length)
            if stop - begin < 3:
                continue
            segments.append(self.segment(piece, begin, stop, int(rng.integers(TRANSPOSED[0], TRANSPOSED[1] + 1))))
            scored.append(arm.remembered if begin and stop - begin > arm.remembered + 1 else 0)
            room -= stop - begin - 1
        return segments, scored


def packed(segments: list[list[np.ndarray]], device: str) -> tuple[Tensor, MusicalTime, Tensor, list[int]]:
    lengths = [len(ids) - 1 for ids, _, _ in segments]
    ids = torch.from_numpy(np.concatenate([ids[:-1] for ids, _, _ in segments])).to(device)
    targets = torch.from_numpy(np.concatenate([ids[1:] for ids, _, _ in segments])).to(device)
    bar = torch.from_numpy(np.concatenate([bar[:-1] for _, bar, _ in segments])).to(device)
    beat = torch.from_numpy(np.concatenate([beat[:-1] for _, _, beat in segments])).to(device)
    index = torch.cat([torch.arange(length) for length in lengths]).to(device)
    return ids, MusicalTime(index, beat, bar), targets, lengths


def build(arm: Arm, corpus: Corpus, args: argparse.Namespace) -> MusicTransformerVAEGAN:
    torch.manual_seed(args.seed)
    config = ModelConfig(
        hidden_dim=args.hidden_dim, layers=args.layers, heads=4, context=CONTEXT, attention=arm.attention, window=WINDOW
    )
    model = MusicTransformerVAEGAN(config, corpus.vocabulary)
    if arm.way is not None:
        for block in model.decoder.blocks:
            block.attention.__class__ = OtherAttention
            block.attention.way = arm.way
    return model.to(args.device)


def train(model: MusicTransformerVAEGAN, corpus: Corpus, arm: Arm, args: argparse.Namespace) -> tuple[int, int]:
    """Steps and scored tokens in ``--seconds``."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.1)
    rng = np.random.default_rng(args.seed)
    model.train()
    steps = tokens = 0
    clock = functools.partial(time.process_time if args.device == "cpu" else time.perf_counter)
    begin = clock()
    while (done := (clock() - begin) / args.seconds) < 1:
        rate = min((steps + 1) / WARMUP, 1.0) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * rate
        segments, scored = corpus.draw(rng, arm, args.batch_tokens)
        ids, musical, targets, lengths = packed(segments, args.device)
        hidden = torch.cat([torch.arange(length) < first for length, first in zip(lengths, scored, strict=True)])
        targets = targets.masked_fill(hidden.to(args.device), -100)
        with torch.autocast(args.device, dtype=torch.bfloat16):
            logits = model(ids, musical, lengths).logits
        F.cross_entropy(logits.float(), targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if args.device == "cuda":
            torch.cuda.synchronize()
        steps, tokens = steps + 1, tokens + len(ids) - int(hidden.sum())
    return steps, tokens


@torch.no_grad()
def measure(model: MusicTransformerVAEGAN, corpus: Corpus, arm: Arm, args: argparse.Namespace) -> dict[str, float]:
    """Nats per note of validation and test pieces, and nats a token of their tokens by index."""
    model.eval()
    total, far, far_tokens = 0.0, 0.0, 0
    pieces = np.flatnonzero(corpus.split > 0)[: args.pieces]
    for piece in pieces:
        length = int(corpus.stops[piece] - corpus.starts[piece])
        for start, stop, scored_from in scoring_windows(length, arm.context):
            ids, musical, targets, lengths = packed([corpus.segment(int(piece), start, stop)], args.device)
            with torch.autocast(args.device, dtype=torch.bfloat16):
                logits = model(ids, musical, lengths).logits
            nats = F.cross_entropy(logits.float(), targets, reduction="none")[scored_from - 1 - start :]
            total += float(nats.sum())
            late = nats[max(0, 4096 - scored_from) :]
            far, far_tokens = far + float(late.sum()), far_tokens + len(late)
    return {"per_note": total / corpus.notes[pieces].sum(), "late": far / max(far_tokens, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=25.0, help="CPU seconds on a CPU")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--hidden-dim", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--batch-tokens", type=int, default=32768)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--pieces", type=int, help="validation and test pieces that are measured; all by default")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    corpus = Corpus(args.tokens)
    where = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(f"{where}, {args.seconds:g} s an arm, {sum(corpus.split == 0)} pieces\n")
    print(
        "| arm | steps | tokens learned from | nats per note | nats a token from token 4,096 on |\n" + "|---" * 5 + "|"
    )
    for name in args.arms:
        arm = ARMS[name]
        model = build(arm, corpus, args)
        steps, tokens = train(model, corpus, arm, args)
        found = measure(model, corpus, arm, args)
        print(
            f"| {name} | {steps} | {tokens / 1e6:.1f} M | {found['per_note']:.3f} | {found['late']:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()
