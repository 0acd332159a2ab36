"""Continuations of one beginning: what does it save to keep it once for all rows?

    python -m experiments.generation_speed.beginnings [--tokens 128 512 1900] [--rows 4 8 32 64 256]

A model of random weights writes rows that begin alike, with the beginning kept once (aurl/models/attention.py; here
also where the model itself would not) and with a copy for each row, in turn within every round; the table has medians
of milliseconds a step and of the ratio. On a CPU: elsewhere beginnings are not shared.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import aurl.models.attention as attention
from aurl.models.config import ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from experiments.clock import seconds

VOCABULARY, BEAT, BAR = 400, 0.25, 16
"""Tokens there are; quarters and tokens from one token and one bar to the next."""
NEVER = 10**9


def time_of(start: int, stop: int, rows: int) -> MusicalTime:
    index = torch.arange(start, stop).expand(rows, -1)
    return MusicalTime(index, index * BEAT, index // BAR)


def milliseconds(model: MusicTransformerVAEGAN, tokens: int, rows: int, steps: int) -> float:
    """Of a step behind a beginning of so many tokens."""
    ids = torch.randint(VOCABULARY, (rows, steps + 1))
    with torch.inference_mode():
        cache = model.new_cache(1, tokens + steps + 1)
        beginning = torch.randint(VOCABULARY, (1, tokens))
        model.decode(beginning, time_of(0, tokens, 1), cache)
        cache.expand(rows)
        model.decode(ids[:, :1], time_of(tokens, tokens + 1, rows), cache)
        begin = seconds("cpu")
        for step in range(1, steps + 1):
            now = time_of(tokens + step, tokens + step + 1, rows)
            model.decode(ids[:, step : step + 1], now, cache)
        return 1e3 * (seconds("cpu") - begin) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512, 1900])
    parser.add_argument("--rows", type=int, nargs="+", default=[4, 8, 32, 64, 256])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden-dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    context = max(args.tokens) + args.steps + 1
    config = ModelConfig(hidden_dim=args.hidden_dim, layers=args.layers, heads=4, context=context)
    model = MusicTransformerVAEGAN(config, VOCABULARY).eval()
    attention.LEAST_LEFT = 0
    print("| tokens | rows | ms a step, a copy for each | kept once | faster | range |\n|---|---|---|---|---|---|")
    for tokens in args.tokens:
        for rows in args.rows:
            found = []
            for _ in range(args.rounds):
                pair = []
                for least in (NEVER, 0):
                    attention.LEAST_SHARING = attention.LEAST_SHARED = least
                    pair.append(milliseconds(model, tokens, rows, args.steps))
                found.append(pair)
            copied, once = np.median(found, axis=0)
            ratios = [pair[0] / pair[1] for pair in found]
            print(
                f"| {tokens} | {rows} | {copied:.2f} | {once:.2f} | {np.median(ratios):.2f}x "
                f"| {min(ratios):.2f}-{max(ratios):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
