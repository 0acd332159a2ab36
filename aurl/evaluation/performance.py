"""How fast, how late and how large: generation measured for several batch sizes, with a peer where one is wanted.

A run writes pieces of a number of bars as ``aurl-generate`` does: grammar, sampling, musical time and decoding to
scores included. Speed comes from whole runs, latency from a run that is stepped token by token; one short run before
each batch size warms up. Figures are medians over rounds. Memory of preparing data, of training and of generation in
fresh processes is stages.py, the peer peer.py.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.generation.grammars import make_grammar
from aurl.generation.steered import begin
from aurl.generation.steering import drawn_latents

BATCH_SIZES = (1, 4, 16, 64)
MEBIBYTE = 2**20
MILLISECONDS = 1000.0
WARMUP_BARS = 1
NO_PROMPT = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """Generation at one batch size; rates are by wall clock."""

    batch_size: int
    tokens_per_second: float
    notes_per_second: float
    samples_per_second: float
    """Pieces of ``bars`` bars."""
    token_ms_p50: float
    """Milliseconds from one token of a piece to its next, median."""
    token_ms_p99: float
    first_note_ms: float
    """Milliseconds from the request to the first complete note of any piece of the batch."""
    cpu_tokens_per_second: float
    """Tokens for each second of CPU time of the process: what other load on the machine does not change much."""
    peak_rss_mb: float
    """Largest resident memory of the process so far (MiB); batch sizes are run in ascending order."""
    peak_cuda_mb: float | None
    """Most memory that tensors took on the GPU at this batch size (MiB); None without CUDA."""
    tokens: int
    """Tokens written in one run."""


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """What a checkpoint weighs."""

    parameters: int
    checkpoint_mb: float
    """The file on disk (MiB), optimiser state included where it holds one."""
    weights_mb: float
    """Parameters and buffers in memory (MiB)."""


def model_size(generator: Generator, checkpoint: Path) -> ModelSize:
    """Count parameters and bytes."""
    tensors = [*generator.model.parameters(), *generator.model.buffers()]
    return ModelSize(
        parameters=sum(each.numel() for each in generator.model.parameters()),  # frozen ones too
        checkpoint_mb=checkpoint.stat().st_size / MEBIBYTE,
        weights_mb=sum(tensor.numel() * tensor.element_size() for tensor in tensors) / MEBIBYTE,
    )


def measure_speed(
    generator: Generator,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    bars: int = 8,
    rounds: int = 3,
    seed: int = 0,
    sampler: SamplerConfig | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[SpeedRow]:
    """Speed, latency and memory of generation.

    Args:
        generator: the model to measure.
        batch_sizes: pieces written at the same time; measured in ascending order.
        bars: length of the pieces.
        rounds: runs for each batch size; rates are medians over them.
        seed: of the first piece; all rounds write the same pieces.
        sampler: how tokens are drawn; nucleus sampling at 0.95 without it, as ``aurl-generate``.
        on_progress: called with (batch sizes done, all).

    Raises:
        ValueError: a batch size, bars or rounds below 1.
        AurlError: the model writes a piece without notes.
    """
    check_sizes(batch_sizes, bars, rounds)
    sampler = sampler or SamplerConfig(top_p=0.95)
    rows = []
    sizes = sorted(set(batch_sizes))
    for done, size in enumerate(sizes, start=1):
        request = GenerationRequest(sampler=sampler, num_samples=size, batch_size=size, bars=bars, seed=seed)
        warm = GenerationRequest(sampler=sampler, num_samples=size, batch_size=size, bars=WARMUP_BARS, seed=seed)
        generator.generate(warm)
        reset_cuda(generator.device)
        runs = [_whole_run(generator, request) for _ in range(rounds)]
        steps, first_note = _stepped_run(generator, request)
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        rows.append(
            SpeedRow(
                batch_size=size,
                tokens_per_second=middle["tokens"] / middle["seconds"],
                notes_per_second=middle["notes"] / middle["seconds"],
                samples_per_second=size / middle["seconds"],
                token_ms_p50=float(np.percentile(steps, 50)) * MILLISECONDS,
                token_ms_p99=float(np.percentile(steps, 99)) * MILLISECONDS,
                first_note_ms=first_note * MILLISECONDS,
                cpu_tokens_per_second=middle["tokens"] / max(middle["cpu"], 1e-9),
                peak_rss_mb=peak_rss(),
                peak_cuda_mb=peak_cuda(generator.device),
                tokens=int(middle["tokens"]),
            )
        )
        if on_progress is not None:
            on_progress(done, len(sizes))
    return rows


def check_sizes(batch_sizes: Sequence[int], bars: int, rounds: int) -> None:
    """Refuse what cannot be measured.

    Raises:
        ValueError: names the key.
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise ValueError(f"batch_sizes={list(batch_sizes)} is out of range; allowed: one or more numbers of 1 or more")
    for key, value in (("bars", bars), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"{key}={value} is out of range; allowed: 1 or more")


def _whole_run(generator: Generator, request: GenerationRequest) -> dict[str, float]:
    """One request from start to scores: seconds, CPU seconds, tokens (end of piece included) and notes."""
    start, cpu = time.perf_counter(), time.process_time()
    samples = generator.generate(request)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "tokens": float(sum(len(sample.ids) + 1 for sample in samples)),
        "notes": float(sum(sample.notes for sample in samples)),
    }


def _stepped_run(generator: Generator, request: GenerationRequest) -> tuple[np.ndarray, float]:
    """Seconds of every step of a batch while all its pieces are under way (S,), and until the first note."""
    codec, rules = generator.codec, request.rules(generator.programs_met)
    grammar = make_grammar(codec.vocabulary, rules, generator.device, codec.merges)
    seeds = [request.seed + number for number in range(request.num_samples)]
    start = time.perf_counter()
    space, latents = generator.model.latent, None
    if space is not None:
        latents = drawn_latents(space, None, request.bars, seeds, request.sampler.latent_temperature)
    decoding = begin(generator.model, grammar, request.sampler, NO_PROMPT, seeds, latents)
    steps: list[float] = []
    first_note = 0.0
    while decoding.active == request.num_samples:  # later the batch is smaller, and a step quicker
        before = time.perf_counter()
        decoding.run(1)
        wait_for_device(generator.device)
        after = time.perf_counter()
        steps.append(after - before)
        if not first_note and decoding.active and decoding.notes:
            first_note = after - start
    return np.array(steps), first_note or time.perf_counter() - start


def wait_for_device(device: str) -> None:
    """Let a GPU finish what it was given, so that the clock sees it."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def reset_cuda(device: str) -> None:
    """Begin a new peak."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()


def peak_cuda(device: str) -> float | None:
    """Most memory of tensors on the GPU since the last reset (MiB); None without one."""
    return torch.cuda.max_memory_allocated() / MEBIBYTE if device.startswith("cuda") else None


def peak_rss() -> float:
    """Largest resident memory of this process so far (MiB)."""
    info = psutil.Process().memory_info()
    peak = getattr(info, "peak_wset", None)  # Windows keeps it here
    if peak is None:
        import resource
        import sys

        unit = 1 if sys.platform == "darwin" else 1024  # kilobytes on Linux, bytes on macOS
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(float(peak), float(info.rss)) / MEBIBYTE  # the kernel updates the first less often


def to_rows(rows: Sequence[SpeedRow]) -> list[dict[str, Any]]:
    """JSON types."""
    return [asdict(row) for row in rows]
