"""How fast is generation, against Hugging Face's generate with a GPT-2 of equal size and the same sampling?

    python -m experiments.generation_speed.run [--batches 1 64] [--tokens 512] [--rounds 5] [--sizes 5M] [--ckpt FILE]
                                               [--device cuda]

Both sides write the same number of tokens from a single start token, drawn with temperature 1 and top_p 0.9, float32,
one thread. Ours is the whole of ``Generator.generate``: grammar, musical time, own random stream for each sample,
decoding of the tokens to scores. Theirs is ``GPT2LMHeadModel.generate`` with its default cache and no grammar. The two
take turns in every round; figures are medians of tokens for each second of process CPU time (with --device cuda of the
clock, until the card has finished). With ``--ckpt`` ours is a
trained model and theirs has as many parameters; without, both have random weights, which is the harder case for ours:
random notes are long, so every token hears many of them. The share of the grammar is taken from a separate run with a
clock around it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.evaluation.peer import huggingface
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.generation.walk import Walk
from aurl.models.config import ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from experiments.clock import seconds

SHAPES = {
    "5M": {"hidden_dim": 256, "layers": 6, "heads": 4},
    "20M": {"hidden_dim": 512, "layers": 6, "heads": 8},
    "100M": {"hidden_dim": 768, "layers": 12, "heads": 12},
}
TOP_P = 0.9
WARMUP_TOKENS = 32
MANY_BARS = 10_000
BAR_TOKENS = 120
"""Tokens after which our bars are full: about twice a chorale's, so that untrained models write bars too."""
GOAL, MOONSHOT = 2.0, {1: 4.0, 64: 5.0}


def untrained(shape: dict[str, int], tokens: int, device: str) -> Generator:
    """Ours with random weights."""
    codec = Codec.from_config(TokenizerConfig())
    torch.manual_seed(0)
    config = ModelConfig(**shape, context=max(2048, tokens + 1), hearing=True)  # type: ignore[arg-type]
    model = MusicTransformerVAEGAN(config, codec.vocabulary.size, TokenMeaning.of(codec.vocabulary.meaning()))
    return Generator(model.eval().requires_grad_(False).to(device), codec, device)


def make_ours(generator: Generator) -> Callable[[int, int], int]:
    """A function (batch, tokens) that generates and returns the number of tokens written."""
    print(
        f"ours: {sum(each.numel() for each in generator.model.parameters()) / 1e6:.2f} million parameters", flush=True
    )

    def generate(batch: int, count: int) -> int:
        request = GenerationRequest(
            sampler=SamplerConfig(top_p=TOP_P),
            num_samples=batch,
            batch_size=batch,
            bars=MANY_BARS,
            max_tokens=count,
            max_bar_tokens=BAR_TOKENS,
        )
        return sum(len(sample.ids) + 1 for sample in generator.generate(request))

    return generate


def make_theirs(ours: ModelConfig, size: int, tokens: int, device: str) -> Callable[[int, int], int]:
    """The same for Hugging Face."""
    write, parameters = huggingface(ours, size, tokens, TOP_P, device)
    print(f"Hugging Face: {parameters / 1e6:.2f} million parameters", flush=True)
    return write


def speed(generate: Callable[[int, int], int], batch: int, tokens: int, device: str) -> float:
    """Tokens for each second."""
    start = seconds(device)
    written = generate(batch, tokens)
    return written / (seconds(device) - start)


def grammar_share(generate: Callable[[int, int], int], batch: int, tokens: int) -> float:
    """Share of CPU time spent in the automaton and in musical time."""
    spent = 0.0
    originals = {name: getattr(Walk, name) for name in ("advance", "restrict")}

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            nonlocal spent
            start = time.thread_time()
            result = function(*arguments)
            spent += time.thread_time() - start
            return result

        return run

    try:
        for name, original in originals.items():
            setattr(Walk, name, timed(original))
        start = time.process_time()
        generate(batch, tokens)
        return spent / (time.process_time() - start)
    finally:
        for name, original in originals.items():
            setattr(Walk, name, original)


def measure(name: str, generator: Generator, batches: list[int], tokens: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each batch size."""
    ours = make_ours(generator)
    device = generator.device
    theirs = make_theirs(generator.model.config, generator.model.vocab_size, tokens, device)
    rows = []
    for batch in batches:
        for generate in (ours, theirs):
            generate(batch, WARMUP_TOKENS)
        pairs = [(speed(ours, batch, tokens, device), speed(theirs, batch, tokens, device)) for _ in range(rounds)]
        our, their = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(mine / other for mine, other in pairs)
        share = grammar_share(ours, batch, tokens)
        rows.append({"model": name, "batch": batch, "ours": our, "theirs": their, "ratio": ratio, "grammar": share})
        print(
            f"| {name} | {batch} | {their:.0f} | {our:.0f} | **{ratio:.2f}x** (goal {GOAL:g}x, moonshot "
            f"{MOONSHOT.get(batch, GOAL):g}x) | {min(a / b for a, b in pairs):.2f}-{max(a / b for a, b in pairs):.2f} "
            f"| {100 * share:.1f} % |",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--sizes", nargs="+", default=["5M"], choices=list(SHAPES))
    parser.add_argument("--ckpt", type=Path, help="a trained model in place of the sizes")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where both run")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # every piece is ended by max_tokens, and would say so
    rows = []
    if arguments.ckpt:
        models = {arguments.ckpt.stem: Generator.from_checkpoint(arguments.ckpt, arguments.device)}
    else:
        models = {
            f"{size}, untrained": untrained(SHAPES[size], arguments.tokens, arguments.device)
            for size in arguments.sizes
        }
    for name, generator in models.items():
        generator.model.requires_grad_(False)
        rows += measure(name, generator, arguments.batches, arguments.tokens, arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
