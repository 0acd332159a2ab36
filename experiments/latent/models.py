"""The reference models of experiments/latent and experiments/adversarial.

    python -m experiments.latent.models --data FOLDER --work WORK [--only C LOW] [--set trainer.max_steps=4]

FOLDER holds the unpacked corpora (nottingham, pop909). Each model is a run of ``aurl-train`` in WORK/NAME; what is
trained is not trained again, what was interrupted goes on. ``--only`` trains the named ones and what they begin with.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from aurl.cli.checkpoints import CHECKPOINTS, SUFFIX
from aurl.models.checkpoint import read_checkpoint
from aurl.utils.files import atomic_write_text

COMMAND = "from aurl.cli.train import main; main()"
TYPED = ".settings"
"""Behind the name of a run: the file with what it was started with."""


class Stage(NamedTuple):
    """A run of ``aurl-train``."""

    experiment: str
    parent: str | None = None
    """The model whose weights it begins with."""
    settings: tuple[str, ...] = ()
    corpus: str = "nottingham"


STAGES = {
    "A": Stage("reference_nottingham_vae"),
    "B": Stage("reference_nottingham_vae", "A", ("model.token_dropout=0.2",)),
    "C": Stage(
        "reference_nottingham_vae", "B", ("model.token_dropout=0.3", "loss.kl_weight=0.01", "trainer.max_steps=2200")
    ),
    "FLAT": Stage("flat_nottingham_vae"),
    "PLAIN": Stage("plain_nottingham"),
    "PLAIN2": Stage("plain_nottingham", "PLAIN", ("trainer.max_steps=800",)),
    "LOW": Stage("low_rate_nottingham_vae", "PLAIN"),
    "MIDDLE1": Stage("low_rate_nottingham_vae", "PLAIN", ("loss.free_bits=0.1",)),
    "MIDDLE2": Stage("low_rate_nottingham_vae", "PLAIN", ("loss.free_bits=0.4",)),
    "GAN": Stage("reference_nottingham_vae_gan", "LOW"),
    "POP": Stage("reference_pop909_vae", corpus="pop909"),
    "POP2": Stage(
        "reference_pop909_vae",
        "POP",
        (
            *("model.token_dropout=0.3", "loss.kl_weight=0.01", "loss.kl_annealing=constant"),
            *("data.batch_tokens=16384", "trainer.max_steps=2200"),
        ),
        corpus="pop909",
    ),
}
"""In the order of training; names as in the READMEs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the unpacked corpora")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--set", nargs="*", default=[], help="more settings of all runs")
    args = parser.parse_args()
    for name in with_parents(args.only):
        checkpoint = train(name, args.data, args.work, args.set)
        print(f"{name}: {checkpoint}", flush=True)


def with_parents(names: list[str]) -> list[str]:
    """The named models and all they begin with, in the order of training."""
    wanted = set(names)
    for name in reversed(STAGES):
        parent = STAGES[name].parent
        if name in wanted and parent is not None:
            wanted.add(parent)
    return [name for name in STAGES if name in wanted]


def train(name: str, data: Path, work: Path, more: list[str]) -> Path:
    """Train a model, go on with it, or leave it alone where it has made all its steps; its last checkpoint."""
    stage, run = STAGES[name], work / name
    last, typed = last_of(run), work / (name + TYPED)
    settings = [f"experiment={stage.experiment}", f"data.path={data / stage.corpus}", *stage.settings, *more]
    if stage.parent is not None:
        settings.append(f"init_from={last_of(work / stage.parent)}")
    wanted = "\n".join(settings) + "\n"
    if run.is_dir() and typed.is_file() and typed.read_text() != wanted:
        raise SystemExit(f"{run} was trained with other settings ({typed}); give another --work, or remove both")
    work.mkdir(parents=True, exist_ok=True)
    atomic_write_text(typed, wanted)
    if not last.is_file():
        call([*settings, f"paths.output={run}"])
    elif not has_ended(last):
        call([f"ckpt={run}"])
    return last


def last_of(run: Path) -> Path:
    return run / CHECKPOINTS / f"last{SUFFIX}"


def has_ended(checkpoint: Path) -> bool:
    """Whether a run has made all its steps."""
    held = read_checkpoint(checkpoint)
    return bool(held["global_step"] >= held["aurl"]["config"]["trainer"]["max_steps"])


def call(arguments: list[str]) -> None:
    """``aurl-train``, which says itself what is wrong."""
    code = subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=False).returncode
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
