"""What a training step costs: ``aurl-train`` with everything on, against a bare loop around Hugging Face's GPT-2.

  python -m experiments.training_speed.run --data-path FOLDER [--sizes 5M 20M] [--rounds 7] [--batch-tokens 4096]
                                           [--device cuda]

Arms, run in turn in each round on one thread, measured in process CPU time for each token, after warm-up (with --device
cuda in seconds of the clock, until the card has finished):
- musical: Lightning's loop as ``aurl-train`` builds it (our batches, transposition, logging, TensorBoard, progress bar,
  checkpoints), rotary positions in musical time. A checkpoint's cost is added at the rate at which they are written.
- absolute: the same with learned absolute positions.
- shipped: Hugging Face's GPT-2 with the library's defaults (its activation, dropout on attention too): forward,
  backward, clipping, AdamW, nothing else, on rows without padding; as many parameters. Its rows
  are as long as attention sees our segments on average (sum of squares over sum): both pay for the same attention.
- gpt2: the same loop with a fused activation and without dropout on attention, the fastest GPT-2 we could set up.
All arms use AdamW; Muon, our default, costs a few percent more a step and saves steps.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F

from aurl.cli.build import build_data, build_module, build_trainer
from aurl.cli.conf import compose, to_config
from aurl.data.batching import PackedBatch
from aurl.data.datamodule import MusicDataModule
from aurl.utils.files import atomic_write_json
from experiments.clock import seconds
from experiments.likelihood.gpt2 import PeerGPT2, autocast, make_optimizer

SIZES = {"5M": "small", "20M": "base", "100M": "large"}
GOALS = {"5M": 1.05, "20M": 1.00, "100M": 1.00}
POSITIONS_GOAL = 0.95
WARMUP_STEPS = 2
ARMS = ("musical", "absolute", "shipped", "gpt2")


@dataclass
class StepTimer(L.Callback):
    """Seconds and tokens from the start of one step to the start of another, with all that lies between."""

    steps: int
    device: str
    seconds: float = 0.0
    tokens: int = 0
    save_seconds: float = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: PackedBatch, batch_idx: int
    ) -> None:
        """Start after the warm-up, stop ``steps`` later."""
        if batch_idx == WARMUP_STEPS:
            self.seconds = -seconds(self.device)
        if batch_idx == WARMUP_STEPS + self.steps:
            self.seconds += seconds(self.device)
            self.save_seconds = -seconds(self.device)
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "timed.ckpt")
            self.save_seconds += seconds(self.device)
        if WARMUP_STEPS <= batch_idx < WARMUP_STEPS + self.steps:
            self.tokens += len(batch.ids)


def main() -> None:
    """Time all arms of all sizes and print the table."""
    args = parse_arguments()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    results = {}
    for size in args.sizes:
        for precision in args.precision:  # every arm of a comparison computes in the same number format
            results[f"{size}, {precision}"] = {"size": size} | time_size(size, precision, args)
    print(table(results))
    if args.json:
        atomic_write_json(args.json, results)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="jsb", help="config of the corpus; sizes are those of conf/model/size")
    parser.add_argument("--data-path", required=True, help="the unpacked corpus")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["5M", "20M"])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where all arms are trained")
    parser.add_argument("--precision", nargs="+", default=["32-true", "bf16-mixed"], help="of all arms alike")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6, help="timed steps of an arm in a round")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def time_size(size: str, precision: str, args: argparse.Namespace) -> dict[str, Any]:
    """Microseconds a token of each arm in each round, and the size of the models."""
    cost: dict[str, list[float]] = {arm: [] for arm in ARMS}
    parameters: dict[str, int] = {}
    length = attended_length(configured(size, "musical", precision, args, "."), WARMUP_STEPS + args.steps)
    for number in range(args.rounds):
        first = number % len(ARMS)  # another arm begins each round
        for arm in ARMS[first:] + ARMS[:first]:
            if arm in ("shipped", "gpt2"):
                timed = time_peer(size, precision, args, length, arm == "shipped")
            else:
                timed = time_ours(size, arm, precision, args)
            cost[arm].append(1e6 * timed[0])
            parameters[arm] = timed[1]
            print(
                f"{size} {precision} round {number + 1}/{args.rounds} {arm}: {cost[arm][-1]:.2f} us a token",
                flush=True,
            )
    return {"microseconds": cost, "parameters": parameters, "row_tokens": length}


def attended_length(cfg: Any, batches: int) -> int:
    """Length of equal segments on which attention would cost as much as on the first batches of training."""
    plan = open_data(cfg).train_dataloader().plan.epoch(0)[:batches]
    lengths = [window.stop - window.start - 1 for batch in plan for window in batch]
    return round(sum(length**2 for length in lengths) / sum(lengths))


def configured(size: str, positions: str, precision: str, args: argparse.Namespace, folder: str) -> Any:
    """The training config of one arm."""
    overrides = [
        f"data={args.data}",
        f"trainer={'gpu' if args.device == 'cuda' else 'cpu'}",
        f"data.path='{args.data_path}'",
        f"model/size={SIZES[size]}",
        f"model.positions={positions}",
        f"data.batch_tokens={args.batch_tokens}",
        f"trainer.precision={precision}",
        f"trainer.max_steps={WARMUP_STEPS + args.steps + 1}",
        "trainer.limit_val_batches=0",
        "callbacks.early_stopping=null",
        "optim=adamw",
        "optim.ema_decay=0",
        f"paths.output='{folder}'",
    ]
    return compose("train", overrides)


def time_ours(size: str, positions: str, precision: str, args: argparse.Namespace) -> tuple[float, int]:
    """Seconds a token of our loop, and the model's parameters."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = configured(size, positions, precision, args, folder)
        L.seed_everything(0, verbose=False)
        data = open_data(cfg)
        module = build_module(cfg, data)
        trainer = build_trainer(cfg, Path(folder))
        timer = StepTimer(args.steps, args.device)
        trainer.callbacks.append(timer)
        trainer.fit(module, datamodule=data)
        every = cfg.callbacks.checkpoints.every_n_batches
        spent = timer.seconds + timer.save_seconds * args.steps / every
        return spent / timer.tokens, module.model.parameter_count


def open_data(cfg: Any) -> MusicDataModule:
    """The prepared corpus."""
    data = build_data(cfg)
    data.prepare_data()
    data.setup()
    return data


def time_peer(size: str, precision: str, args: argparse.Namespace, length: int, shipped: bool) -> tuple[float, int]:
    """Seconds a token of the bare GPT-2 loop, and its parameters."""
    cfg = configured(size, "musical", precision, args, ".")
    optim, model_config = to_config(cfg.optim), to_config(cfg.model)
    vocab_size = open_data(cfg).codec.vocabulary.size
    torch.manual_seed(0)
    model = PeerGPT2(model_config, vocab_size, shipped).to(args.device).train()
    optimizer = make_optimizer(model, optim, optim.lr)
    count = max(1, round(args.batch_tokens / length))
    rows = torch.randint(vocab_size, (count, length + 1), device=args.device)

    def step() -> None:
        with autocast(precision, args.device):
            logits = model.rows(rows[:, :-1])
        F.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    return time_steps(step, args.steps, args.device) / (count * length), model.parameter_count


def time_steps(step: Callable[[], None], steps: int, device: str) -> float:
    """Mean seconds of a step after warm-up."""
    for _ in range(WARMUP_STEPS):
        step()
    started = seconds(device)
    for _ in range(steps):
        step()
    return (seconds(device) - started) / steps


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: medians over rounds, and medians of the ratios within rounds against the goals."""
    lines = [
        "| size, precision | arm | parameters | us a token | speed against | goal | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        size = result["size"]
        cost = result["microseconds"]
        for arm in ARMS:
            middle = statistics.median(cost[arm])
            against, goal, verdict = "", "", ""
            if arm == "musical":
                ratio = paired_ratio(cost["shipped"], cost["musical"])
                tuned = paired_ratio(cost["gpt2"], cost["musical"])
                against, goal = f"GPT-2 as shipped: {ratio:.3f}x; tuned: {tuned:.3f}x", f">= {GOALS[size]:.2f}x"
                verdict = "met" if ratio >= GOALS[size] else "missed"
            if arm == "absolute":
                ratio = paired_ratio(cost["absolute"], cost["musical"])
                against, goal = f"musical is {ratio:.3f}x of it", f">= {POSITIONS_GOAL:.2f}x"
                verdict = "met" if ratio >= POSITIONS_GOAL else "missed"
            millions = f"{result['parameters'][arm] / 1e6:.2f} M"
            lines.append(f"| {name} | {arm} | {millions} | {middle:.2f} | {against} | {goal} | {verdict} |")
    return "\n".join(lines)


def paired_ratio(slower: list[float], faster: list[float]) -> float:
    """Median over rounds of the first cost divided by the second."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


if __name__ == "__main__":
    main()
