"""Peak memory and time of training steps on segments of 8,192 tokens on a CPU, each arm in a process of its own.

  python -m experiments.long_pieces.memory --data-path FOLDER [--data multitrack] [--steps 4]

Settings are those of ``aurl-train model/size=small model.context=8192 data.batch_tokens=8192``, trained by Lightning's
loop with everything on; only attention and gradient checkpointing differ. Peak memory is the largest resident set of
the process, interpreter and libraries included; time is CPU time, which other work on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import lightning as L
import torch

from aurl.cli.build import build_data, build_module, build_trainer
from aurl.cli.conf import compose
from aurl.data.batching import PackedBatch

TOKENS = 8192
ARMS = {
    "full, checkpointing": ("full", True),
    "local, checkpointing": ("local", True),
    "full": ("full", False),
    "local": ("local", False),
}
MEBIBYTE_IN_KIB = 1024


@dataclass
class Steps(L.Callback):
    """CPU seconds and tokens of every step."""

    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    longest: int = 0

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: PackedBatch, batch_idx: int
    ) -> None:
        self.seconds.append(-time.process_time())
        self.tokens.append(len(batch.ids))
        self.longest = max(self.longest, *batch.lengths)

    def on_train_batch_end(self, trainer: L.Trainer, *rest: object) -> None:
        self.seconds[-1] += time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="multitrack", help="config of the corpus")
    parser.add_argument("--data-path", required=True, help="the unpacked corpus")
    parser.add_argument("--size", default="small", help="of conf/model/size")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--arms", nargs="+", choices=sorted(ARMS), default=list(ARMS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(train(args)))
        return
    print("| arm | peak MiB | longest segment | tokens a step | CPU seconds a step | us a token |\n" + "|---" * 6 + "|")
    for arm in args.arms:
        command = [sys.executable, "-m", "experiments.long_pieces.memory", *sys.argv[1:], "--child", arm]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        row = json.loads(answer)
        print(
            f"| {arm} | {row['peak']:,.0f} | {row['longest']:,} | {row['tokens']:,.0f} | {row['seconds']:.1f} | "
            f"{1e6 * row['seconds'] / row['tokens']:.0f} |",
            flush=True,
        )


def train(args: argparse.Namespace) -> dict[str, float]:
    """A few steps of one arm."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    attention, checkpointing = ARMS[args.child]
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"data={args.data}", f"data.path='{args.data_path}'", "trainer=cpu", f"model/size={args.size}"]
        overrides += [f"model.context={TOKENS}", f"data.batch_tokens={TOKENS}", f"model.attention={attention}"]
        overrides += [f"model.gradient_checkpointing={checkpointing}", f"trainer.precision={args.precision}"]
        overrides += [f"trainer.max_steps={args.steps}", "trainer.limit_val_batches=0", f"paths.output='{folder}'"]
        cfg = compose("train", [*overrides, "callbacks=none", "logger=none"])
        L.seed_everything(0, verbose=False)
        data = build_data(cfg)
        data.prepare_data()
        data.setup()
        module = build_module(cfg, data)
        trainer = build_trainer(cfg, Path(folder))
        steps = Steps()
        trainer.callbacks.append(steps)
        trainer.fit(module, datamodule=data)
    timed = slice(1, None) if len(steps.seconds) > 1 else slice(None)
    count = len(steps.seconds[timed])
    return {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE_IN_KIB,
        "longest": steps.longest,
        "tokens": sum(steps.tokens[timed]) / count,
        "seconds": sum(steps.seconds[timed]) / count,
    }


if __name__ == "__main__":
    main()
