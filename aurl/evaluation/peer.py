"""The peer of speed: Hugging Face's ``generate`` with a GPT-2 of as many parameters as our model.

``transformers`` comes with the bench extra and is imported here only when a peer is asked for. The weights are random:
the time of a step does not depend on them. The peer writes tokens without a grammar and does not make scores of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from aurl.models.config import ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.utils.errors import AurlError

WIDTH_MULTIPLE = 8
"""The feed-forward width is rounded to a multiple of this."""
WARMUP_TOKENS = 8
FEWEST_POSITIONS = 16
"""The shortest context that our models, whose size is matched, may have."""

Write = Callable[[int, int], int]
"""(batch size, tokens of each sample) -> tokens written."""


def matching_width(config: ModelConfig, vocab_size: int) -> int:
    """Feed-forward width that gives GPT-2 the parameters of our model."""
    width, layers = config.hidden_dim, config.layers
    ours = MusicTransformerVAEGAN(config, vocab_size, TokenMeaning.unknown(vocab_size)).parameter_count
    embeddings = (vocab_size + config.context) * width
    attention_and_norms = 4 * width * width + 4 * width + 5 * width  # weights, biases, two norms and the output bias
    free = (ours - embeddings - 2 * width) / layers - attention_and_norms
    return max(WIDTH_MULTIPLE, round(free / (2 * width + 1) / WIDTH_MULTIPLE) * WIDTH_MULTIPLE)


def huggingface(
    ours: ModelConfig, vocab_size: int, tokens: int, top_p: float, device: str = "cpu"
) -> tuple[Write, int]:
    """Hugging Face's ``generate``: no more positions than are needed, feed-forward wide enough that the sizes agree.

    Args:
        ours: the shape of our model.
        vocab_size: tokens of the vocabulary.
        tokens: most tokens of a sample.
        top_p: nucleus of the sampling, temperature 1.
        device: where it runs.

    Returns:
        A function that writes, and the number of parameters.

    Raises:
        AurlError: ``transformers`` is not installed.
    """
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as error:
        raise AurlError('technical_peer=huggingface needs transformers: pip install "aurl[bench]"') from error
    torch.manual_seed(0)
    positions = max(tokens + 1, FEWEST_POSITIONS)
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=positions,
        n_embd=ours.hidden_dim,
        n_layer=ours.layers,
        n_head=ours.heads,
        n_inner=matching_width(replace(ours, context=positions), vocab_size),
        bos_token_id=1,
        eos_token_id=None,
    )
    model: Any = GPT2LMHeadModel(config).eval().requires_grad_(False)
    model.to(device)

    def write(batch: int, count: int) -> int:
        start = torch.ones(batch, 1, dtype=torch.long, device=device)
        written = model.generate(
            start,
            attention_mask=torch.ones_like(start),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=top_p,
            max_new_tokens=count,
            pad_token_id=0,
        )
        return batch * (int(written.shape[1]) - 1)

    return write, sum(each.numel() for each in model.parameters())


def measure_peer(
    ours: ModelConfig,
    vocab_size: int,
    shapes: Sequence[tuple[int, int]],
    top_p: float,
    rounds: int = 3,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Speed of the peer on the amount of tokens that ours wrote.

    Args:
        ours: the shape of our model.
        vocab_size: tokens of the vocabulary.
        shapes: (batch size, tokens of each sample).
        top_p: nucleus of the sampling.
        rounds: runs of each; rates are medians.
        device: where it runs.
        on_progress: called with (shapes done, all).

    Returns:
        Rows with batch_size, tokens, tokens_per_second, cpu_tokens_per_second and parameters.

    Raises:
        AurlError: ``transformers`` is not installed.
    """
    write, parameters = huggingface(ours, vocab_size, max(tokens for _, tokens in shapes), top_p, device)
    rows = []
    for done, (batch, tokens) in enumerate(shapes, start=1):
        write(batch, min(WARMUP_TOKENS, tokens))
        wall, cpu = [], []
        for _ in range(rounds):
            start, before = time.perf_counter(), time.process_time()
            written = write(batch, tokens)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            wall.append(written / (time.perf_counter() - start))
            cpu.append(written / max(time.process_time() - before, 1e-9))
        rows.append(
            {
                "batch_size": batch,
                "tokens": batch * tokens,
                "tokens_per_second": statistics.median(wall),
                "cpu_tokens_per_second": statistics.median(cpu),
                "parameters": parameters,
            }
        )
        if on_progress is not None:
            on_progress(done, len(shapes))
    return rows
