"""One stage of the memory profile in a process of its own: ``python -m aurl.cli.stage ASKED.json ANSWER.json``.

ASKED holds stage, checkpoint, device, cache, folder (for temporary files), batch_size, bars and seed. Data is prepared
into an empty cache; training goes on for a few batches with the settings of the checkpoint's run, from random weights;
generation writes one batch. Started by aurl/evaluation/stages.py.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aurl.utils.errors import AurlError

TRAINING_BATCHES = 12
"""Batches of the training stage: the largest are among the first, since their sizes differ little."""
KEPT_GROUPS = ("model", "data", "tokenizer", "augment", "preprocess", "optim")

Asked = Mapping[str, Any]


def main() -> None:
    """Run the stage that the first file names and write what it took into the second."""
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        Path(sys.argv[2]).write_text(json.dumps(run_stage(asked)), encoding="utf-8")
    except (AurlError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def run_stage(asked: Asked) -> dict[str, Any]:
    """Prepare, start the clock, run.

    Returns:
        what, seconds, start_mb, peak_mb, peak_cuda_mb.

    Raises:
        AurlError: the stage cannot be run with this checkpoint.
    """
    from aurl.evaluation.performance import MEBIBYTE, peak_cuda, peak_rss

    stages: dict[str, Callable[[Asked], tuple[str, Callable[[], object]]]] = {
        "data": data_stage,
        "training": training_stage,
        "generation": generation_stage,
    }
    what, work = stages[asked["stage"]](asked)
    import psutil

    start_mb = psutil.Process().memory_info().rss / MEBIBYTE
    start = time.perf_counter()
    work()
    return {
        "what": what,
        "seconds": time.perf_counter() - start,
        "start_mb": start_mb,
        "peak_mb": max(peak_rss(), start_mb),
        "peak_cuda_mb": peak_cuda(asked["device"]),
    }


def data_stage(asked: Asked) -> tuple[str, Callable[[], object]]:
    """The corpus of the checkpoint, prepared from its files."""
    from aurl.cli.evaluate import corpus_of
    from aurl.data.prepare import prepare
    from aurl.models.checkpoint import load_bundle

    bundle = load_bundle(Path(asked["checkpoint"]))
    data, tokenizer, preprocess = corpus_of(bundle, None)
    del bundle
    cache = Path(asked["folder"]) / "cache"
    return f"{data.name}, all pieces", lambda: prepare(
        data, tokenizer.without_merges(), cache, progress=False, preprocess=preprocess
    )


def training_stage(asked: Asked) -> tuple[str, Callable[[], object]]:
    """A few batches of training with the checkpoint's settings."""
    from omegaconf import OmegaConf

    from aurl.cli.build import run_training
    from aurl.cli.conf import compose
    from aurl.models.checkpoint import read_checkpoint
    from aurl.utils.logging import setup_logging

    config = read_checkpoint(Path(asked["checkpoint"]))["aurl"]["config"]
    missing = [group for group in ("model", "data", "tokenizer") if group not in config]
    if missing:
        raise AurlError(
            f"ckpt={asked['checkpoint']} does not hold {', '.join(missing)} of its run; use one of aurl-train"
        )
    accelerator = "gpu" if asked["device"].startswith("cuda") else asked["device"]
    quiet = ["callbacks=none", "logger=none", "trainer=smoke", f"trainer.accelerator={accelerator}"]
    cfg = compose("train", [*quiet, "paths.output=here"])
    for group in KEPT_GROUPS:
        if config.get(group) is not None:
            known = {key: value for key, value in config[group].items() if key in cfg[group]}
            OmegaConf.update(cfg, group, known, merge=True)
    cfg.paths.cache, cfg.paths.output = asked["cache"], str(Path(asked["folder"]) / "run")
    cfg.trainer.limit_train_batches = TRAINING_BATCHES
    cfg.trainer.limit_val_batches = 0
    setup_logging(None)
    what = f"{TRAINING_BATCHES} batches of {cfg.data.batch_tokens:,} tokens"
    return what, lambda: run_training(cfg)


def generation_stage(asked: Asked) -> tuple[str, Callable[[], object]]:
    """One batch of pieces; loading the checkpoint is part of it."""
    from aurl.generation.config import SamplerConfig
    from aurl.generation.generator import GenerationRequest, Generator

    size, bars = int(asked["batch_size"]), int(asked["bars"])
    request = GenerationRequest(
        sampler=SamplerConfig(top_p=0.95), num_samples=size, batch_size=size, bars=bars, seed=int(asked["seed"])
    )

    def work() -> object:
        return Generator.from_checkpoint(Path(asked["checkpoint"]), asked["device"]).generate(request)

    return f"{size} pieces of {bars} bars at once", work


if __name__ == "__main__":
    main()
