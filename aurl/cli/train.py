"""``aurl-train``: config -> trained model, with the run's folder, its saved settings and a word on what to do next."""

from __future__ import annotations

import shlex
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from aurl.cli import app
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.cli.build import TrainingResult

GROUPS = (
    *("data", "model", "model/size", "trainer", "callbacks", "logger", "optim"),
    *("tokenizer", "augment", "experiment", "sweep"),
)
NOT_FOR_USERS = (
    r".*isinstance\(treespec, LeafSpec\).*",
    r"The number of training batches .* is smaller than the logging interval.*",
    r"The '.*_dataloader' does not have many workers.*",
    r".*weights_only.*",
    r".*sync_dist=True.*",  # the likelihood is summed over processes before it is logged
)
"""Warnings of Lightning about its own insides, or about choices made on purpose here."""
SAMPLES_FOLDER = "generated"
HELP = """
aurl-train: train a model of symbolic music.

Usage: aurl-train [key=value ...]

Examples:
  aurl-train experiment=quickstart                              a few minutes: Bach, training, four pieces to listen to
  aurl-train                                                    the default: a small transformer on the Bach chorales
  aurl-train model.layers=6 data=folder data.path=~/midi trainer.max_epochs=20
  aurl-train model/size=base optim.lr=3e-4 trainer=gpu logger=wandb
  aurl-train -m model.hidden_dim=128,256 optim.lr=1e-3,3e-4     four runs
  aurl-train ckpt=last                                          continue the newest run
  aurl-train model=vae init_from=last                           a new run that begins with the newest one's weights

Main keys (default):
  data.path (none)              folder of your own music; with data=folder or an archive's name
  data.batch_tokens (8192)      tokens in a batch; less needs less memory
  augment=full or none          what happens to training pieces: the default transposes, full does all there is, none
                                nothing; augment.swing.probability=0.3 and the like change one kind
  model.hidden_dim (256)        width
  model.layers (6)              depth
  model.heads (4)               attention heads
  model.context (2048)          longest sequence in tokens
  optim.lr (3e-3)               peak learning rate
  trainer.max_epochs (30)       passes through the corpus; trainer.max_steps, trainer.max_time and the other keys of
                                Lightning's Trainer work too
  seed (0)                      weights, order, augmentation and samples follow from it
  ckpt (none)                   run to continue: last, best, a run's folder or a file
  init_from (none)              run whose weights a new one begins with, as far as the models have parts in common
  num_samples (0), bars (16)    pieces generated when training ends, and their length
  run_name (none)               words added to the name of the run's folder
  paths.runs (runs)             where runs go: runs/train/<date>_<time>_<id>
  paths.cache (~/.cache/aurl)   where prepared corpora are kept
"""


def main() -> None:
    """Entry point of ``aurl-train``."""
    app.main("train", train, HELP, GROUPS)


def train(cfg: DictConfig) -> float | None:
    """Train as configured, then generate ``num_samples`` pieces into the run's folder.

    Returns:
        The best validation figure, for whatever started several runs (``-m``); None where nothing was validated.
    """
    from aurl.cli.build import run_training
    from aurl.cli.continued_model import keep_model
    from aurl.cli.idle_keys import warn_of_idle_keys
    from aurl.utils.logging import process_rank, setup_logging

    run_dir = Path(cfg.paths.output)
    is_new = not run_dir.is_dir() or not any(run_dir.iterdir())
    setup_logging(run_dir)
    for message in NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=message)
    first = process_rank() == 0
    if first:
        if cfg.ckpt:
            keep_model(cfg, Path(cfg.ckpt))  # before config.yaml, which tells what the model is
        warn_of_idle_keys(cfg, save_settings(cfg, run_dir))
    result = run_training(cfg, resume_from=Path(cfg.ckpt) if cfg.ckpt else None)
    if not first:
        return result.best_figure
    if not result.batches:
        if is_new and not cfg.debug:
            leave_nothing(run_dir)
        raise AurlError(
            f"nothing was trained: trainer.max_epochs={cfg.trainer.max_epochs} and trainer.max_steps="
            f"{cfg.trainer.max_steps} leave no batch"
            + (f" after what {cfg.ckpt} has seen" if cfg.ckpt else "")
            + "; raise the one that ended it"
        )
    samples = generate_after(cfg, result) if cfg.num_samples else []
    print(summary(cfg, result, samples))
    return result.best_figure


def leave_nothing(run_dir: Path) -> None:
    """Remove the folder of a run that has trained nothing, unless music or weights are in it after all."""
    from aurl.cli.checkpoints import SUFFIX
    from aurl.utils.logging import setup_logging

    if any(file.suffix in (SUFFIX, ".mid") for file in run_dir.rglob("*")):
        return
    setup_logging(None)  # closes the run's log
    shutil.rmtree(run_dir, ignore_errors=True)


def save_settings(cfg: DictConfig, run_dir: Path) -> list[str]:
    """Write ``config.yaml`` (every key, resolved) and ``overrides.yaml`` (what was typed) into the run's folder.

    Returns:
        What was typed.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from aurl.cli.checkpoints import CONFIG_FILE, OVERRIDES_FILE
    from aurl.utils.files import atomic_write_text

    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    typed = " ".join(shlex.quote(override) for override in overrides)
    atomic_write_text(run_dir / CONFIG_FILE, f"# aurl-train {typed}\n{OmegaConf.to_yaml(cfg, resolve=True)}")
    atomic_write_text(run_dir / OVERRIDES_FILE, OmegaConf.to_yaml(OmegaConf.create(overrides)))
    return overrides


def generate_after(cfg: DictConfig, result: TrainingResult) -> list[Path]:
    """Pieces from the best checkpoint (the last where there is no best), written into the run's folder."""
    from aurl.cli.conf import compose, to_config
    from aurl.cli.generate import generate_files

    checkpoint = result.best or result.last
    if checkpoint is None:
        return []
    asked = compose("generate", [f"num_samples={cfg.num_samples}", f"bars={cfg.bars}", f"seed={cfg.seed}"])
    asked.output = str(result.run_dir / SAMPLES_FOLDER)
    del asked.paths
    return generate_files(to_config(asked), checkpoint)


def summary(cfg: DictConfig, result: TrainingResult, samples: list[Path]) -> str:
    """Where to look and what to type next."""
    from aurl.cli.app import shown

    figure = result.metrics.get("val/likelihood/nats_per_note")
    quality = f" ({figure:.3f} nats per note on the validation split)" if figure is not None else ""
    lines = [f"\nTrained{quality}: {shown(result.run_dir)}"]
    pages = [path for path in samples if path.suffix == ".html"]
    if samples:
        lines.append(f"Listen:  {shown(pages[0] if pages else samples[0].parent)}")
    runs = (
        "" if shown(Path(cfg.paths.runs)) == "runs" else f" {shlex.quote(f'paths.runs={shown(Path(cfg.paths.runs))}')}"
    )
    following = {
        f"aurl-generate ckpt=last{runs} top_p=0.9": "new pieces, written to generated/",
        f"aurl-evaluate ckpt=last{runs}": "nats per note of the test split",
        f"tensorboard --logdir {shlex.quote(shown(Path(cfg.paths.runs)))}": "curves and samples of all runs",
    }
    width = max(map(len, following))
    lines += ["Next:", *(f"  {command:<{width}}   {words}" for command, words in following.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
