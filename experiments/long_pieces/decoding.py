"""Cached decoding far into a piece: CPU time a step and memory of the cache, full against local attention.

  python -m experiments.long_pieces.decoding [--rows 1 16] [--lengths 500 2000 8000] [--steps 50]

Random weights of model/size=small without hearing; tokens are random, 40 a bar. The arms take turns in every round.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from aurl.models.attention import Cache
from aurl.models.config import Attention, ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime

VOCAB, BAR, ROUNDS = 500, 40, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--lengths", type=int, nargs="+", default=[500, 2000, 8000])
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = {}
    for attention in Attention:
        torch.manual_seed(0)
        config = ModelConfig(context=16384, attention=attention)
        models[attention.value] = MusicTransformerVAEGAN(config, VOCAB).eval()
    print("| rows | tokens before | full ms | local ms | full MiB | local MiB |\n" + "|---" * 6 + "|")
    for rows in args.rows:
        for length in args.lengths:
            with torch.inference_mode():
                print(f"| {rows} | {length} | {row(models, rows, length, args.steps)} |", flush=True)


def row(models: dict[str, MusicTransformerVAEGAN], rows: int, length: int, steps: int) -> str:
    caches, times = {}, {name: [] for name in models}
    for name, model in models.items():
        caches[name] = cache = model.new_cache(1, length + ROUNDS * steps + 1)
        model.decode(torch.randint(VOCAB, (1, length)), musical(0, length, 1), cache)
        cache.expand(rows)
        model.decode(torch.zeros(rows, 1, dtype=torch.long), musical(length, length + 1, rows), cache)
    for number in range(ROUNDS):
        for name, model in models.items():
            begin = time.process_time()
            for step in range(steps):
                at = length + 1 + number * steps + step
                model.decode(torch.randint(VOCAB, (rows, 1)), musical(at, at + 1, rows), caches[name])
            times[name].append((time.process_time() - begin) / steps)
    speeds = [f"{statistics.median(each) * 1e3:.2f}" for each in times.values()]
    return " | ".join([*speeds, *(f"{size(cache):.0f}" for cache in caches.values())])


def musical(start: int, stop: int, rows: int) -> MusicalTime:
    index = torch.arange(start, stop).expand(rows, -1)
    return MusicalTime(index, index / 10, index // BAR)


def size(cache: Cache) -> float:
    tensors = [value for layer in cache.layers for value in vars(layer).values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


if __name__ == "__main__":
    main()
