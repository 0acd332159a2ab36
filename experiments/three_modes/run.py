"""A transformer, a transformer-VAE and a transformer-VAE-GAN on the same tokens in the same time.

    python -m experiments.three_modes.run rates --data FOLDER --work WORK --device gpu     (seconds a step of each part)
    python -m experiments.three_modes.run train --data FOLDER --work WORK --device gpu --seconds 480
    python -m experiments.three_modes.run close --data FOLDER --work WORK
    python -m experiments.three_modes.run evaluate --data FOLDER --work WORK
    python -m experiments.three_modes.run table --data FOLDER --work WORK

FOLDER holds the unpacked corpora (nottingham, pop909). Each model is a chain of runs of ``aurl-train``, each from the
weights of the one before; a part's steps are its share of the seconds over what ``rates`` measured of it, so that all
models of a corpus have the same time, whatever a step costs. ``--only`` names the models of a process, so that several
can be trained side by side. Where a machine was busier than ``rates`` found it, runs that are stopped together (SIGTERM
keeps their last weights) have had the same time too; ``close`` then gives every model the same few steps with a
learning rate that falls to its end. ``evaluate`` runs ``aurl-evaluate`` for each, with samples and judges.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from aurl.utils.files import atomic_write_text

CORPORA = ("nottingham", "pop909")
DONE = "done.json"
"""In a run's folder: it has made all its steps."""
WARM_STEPS, TIMED_STEPS = 10, 30
"""Steps of ``rates``: those before kernels and caches are warm, and those that are timed."""
CURVE_POINTS = 5
"""Validations of each part."""
CLOSING, CLOSING_STEPS = "closing", 200
CLOSING_LR = 1e-3
"""At the beginning of the closing steps, but for the adversarial part, which keeps its own."""


class Part(NamedTuple):
    """A run of ``aurl-train`` from the weights of the one before."""

    name: str
    experiment: str
    share: float
    """Of the model's time."""
    settings: tuple[str, ...] = ()


PLAIN, LOW = "plain_nottingham", "low_rate_nottingham_vae"
HIGH, GAN = "reference_nottingham_vae", "reference_nottingham_vae_gan"
MODELS = {
    "transformer": (Part("plain", PLAIN, 1.0),),
    "vae_low_rate": (Part("plain", PLAIN, 0.5), Part("low", LOW, 0.5)),
    "vae_high_rate": (
        Part("first", HIGH, 0.6, ("model.token_dropout=0.2",)),
        Part("second", HIGH, 0.4, ("model.token_dropout=0.3", "loss.kl_weight=0.01", "loss.kl_annealing=constant")),
    ),
    "vae_gan": (
        Part("plain", PLAIN, 0.5),
        Part("low", LOW, 0.25),
        Part("adversarial", GAN, 0.25, ("loss.rollouts=64", "loss.rollout_last=256", "optim.lr=2.5e-4")),
    ),
}
"""What the parts of each model are; vae_gan goes on as vae_low_rate does, half as long, and then adversarially."""


def names(args: argparse.Namespace) -> list[str]:
    """corpus/model of this process."""
    every = [f"{corpus}/{model}" for corpus in CORPORA for model in MODELS]
    return every if args.only is None else [each for each in every if each in args.only]


def settings(args: argparse.Namespace, name: str, part: Part, steps: int, folder: Path) -> list[str]:
    corpus = name.partition("/")[0]
    growth = [f"loss.rollout_grow_every={max(1, steps // 6)}"] if part.experiment == GAN else []
    return [
        *(f"experiment={part.experiment}", f"data={corpus}", f"data.path={args.data / corpus}"),
        *(f"trainer.accelerator={args.device}", f"trainer.precision={args.precision}", f"paths.cache={args.cache}"),
        *(f"data.batch_tokens={args.batch_tokens}", f"trainer.max_steps={steps}", "trainer.limit_val_batches=24"),
        *(f"trainer.val_check_interval={max(1, steps // CURVE_POINTS)}", "trainer.enable_progress_bar=false"),
        *("callbacks.samples=null", "callbacks.log_lines.every_n_batches=100", "logger=none", f"run_name={name}"),
        *(*growth, *part.settings, *args.set, f"paths.output={folder}"),
    ]


def train_part(overrides: list[str]) -> None:
    """``aurl-train`` in this process, which spares the imports of the next part."""
    from aurl.cli.build import run_training
    from aurl.cli.conf import compose
    from aurl.utils.logging import setup_logging

    cfg = compose("train", overrides)
    setup_logging(Path(cfg.paths.output))
    run_training(cfg)


def checkpoint_of(folder: Path) -> Path:
    return folder / "checkpoints/last.ckpt"


def rates(args: argparse.Namespace) -> None:
    """Seconds a step of each part (experiments/clock.py: processor time on a CPU), from a run of a few steps begun with
    the part before it, without validation; WORK/rates holds a file for each.
    """
    for name in names(args):
        start: list[str] = []
        for part in MODELS[name.partition("/")[2]]:
            folder = args.work / "rates" / name / part.name
            steps = WARM_STEPS + TIMED_STEPS
            clock = Clock(steps)
            more = ["trainer.limit_val_batches=0", *warm_adversary(part)]
            clock.train([*settings(args, name, part, steps, folder), *more, *start])
            start = [f"init_from={checkpoint_of(folder)}"]
            found = {"seconds_a_step": clock.seconds_a_step, "device": device_name(args)}
            write_json(rate_file(args, name, part), found)
            print(f"{name} {part.name}: {clock.seconds_a_step:.4f} s a step", flush=True)


def rate_file(args: argparse.Namespace, name: str, part: Part) -> Path:
    return args.work / "rates" / f"{name.replace('/', '_')}_{part.name}.json"


def warm_adversary(part: Part) -> list[str]:
    """In so few steps the discriminator judges windows of the middle length, so that a step costs the mean."""
    return ["loss.critic_warmup=1", "loss.rollout_first=96", "loss.rollout_last=96"] if part.experiment == GAN else []


class Clock:
    """Trains and times the steps behind the warm ones."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seconds_a_step = steps, float("nan")

    def train(self, overrides: list[str]) -> None:
        import lightning as L

        from aurl.cli import build
        from aurl.cli.conf import compose
        from experiments.clock import seconds

        clock = self

        class Timing(L.Callback):
            begin = 0.0

            def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *rest: Any) -> None:
                if trainer.global_step == WARM_STEPS:
                    self.begin = seconds(str(pl_module.device))
                elif trainer.global_step == clock.steps:
                    clock.seconds_a_step = (seconds(str(pl_module.device)) - self.begin) / TIMED_STEPS

        cfg = compose("train", overrides)
        data = build.build_data(cfg)
        data.prepare_data()
        data.setup()
        module = build.build_module(cfg, data, build.initial_checkpoint(cfg))
        trainer = build.build_trainer(cfg, Path(cfg.paths.output))
        trainer.callbacks.append(Timing())
        trainer.fit(module, datamodule=data)


def device_name(args: argparse.Namespace) -> str:
    has_card = args.device in ("auto", "gpu") and torch.cuda.is_available()
    return torch.cuda.get_device_name() if has_card else "cpu"


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")


def train(args: argparse.Namespace) -> None:
    """Train the models, each for its seconds; what has been trained is not trained again."""
    for name in names(args):
        start: list[str] = []
        for part in MODELS[name.partition("/")[2]]:
            folder = args.work / name / part.name
            done = folder / DONE
            if not done.is_file():
                rates_of = rate_file(args, name, part)
                if not rates_of.is_file():
                    raise SystemExit(f"{rates_of} is not there; measure rates first: the same command with 'rates'")
                rate = json.loads(rates_of.read_text())["seconds_a_step"]
                steps = max(WARM_STEPS, round(args.seconds * part.share / rate))
                begin = time.perf_counter()
                train_part([*settings(args, name, part, steps, folder), *start])
                found = {"steps": steps, "seconds": time.perf_counter() - begin, "device": device_name(args)}
                write_json(done, found)
                print(f"{name} {part.name}: {steps} steps in {found['seconds']:.0f} s", flush=True)
            start = [f"init_from={checkpoint_of(folder)}"]


def close(args: argparse.Namespace) -> None:
    """The same few steps for every model, at the end of which the learning rate is as low as it gets."""
    for name in names(args):
        part = MODELS[name.partition("/")[2]][-1]
        folder = args.work / name / CLOSING
        if (folder / DONE).is_file():
            continue
        start = checkpoint_of(args.work / name / part.name)
        if not start.is_file():
            raise SystemExit(f"{start} is not there; {name} has not come to its last part: give it more --seconds")
        begin = time.perf_counter()
        more = ["loss.kl_annealing=constant", f"optim.warmup_steps={WARM_STEPS}", "trainer.limit_val_batches=24"]
        if part.experiment != GAN:
            more.append(f"optim.lr={CLOSING_LR}")
        train_part([*settings(args, name, part, CLOSING_STEPS, folder), *more, f"init_from={start}"])
        write_json(folder / DONE, {"steps": CLOSING_STEPS, "seconds": time.perf_counter() - begin})
        print(f"{name}: closed", flush=True)


def evaluate(args: argparse.Namespace) -> None:
    """``aurl-evaluate`` of the test split, with samples at the temperature given and judges."""
    for name in names(args):
        corpus = name.partition("/")[0]
        target = args.work / name / f"evaluation_{args.temperature:g}"
        if (target / "report.json").is_file():
            continue
        checkpoint = checkpoint_of(args.work / name / CLOSING)
        overrides = [f"ckpt={checkpoint}", f"data={corpus}", f"data.path={args.data / corpus}", f"report={target}"]
        overrides += [f"samples={args.samples}", f"bars={args.bars}", f"temperature={args.temperature}", "top_p=1"]
        overrides += [f"paths.cache={args.cache}", f"judges=[{','.join(JUDGES)}]", "seed=1", "split=test"]
        code = "from aurl.cli.evaluate import main; main()"
        subprocess.run([sys.executable, "-c", code, *overrides], check=True)


COLUMNS = ("steps", "test nats/note", "pass", "forest", "random_features", "Frechet", "differ", "distinct", "copied")
"""Of the table; Frechet of musical metrics, how many metrics differ, distinct runs of 12 notes."""
JUDGES = ("forest", "random_features")
NGRAM, MUSICAL, SIGNIFICANT = "12", "musical metrics", 0.05


def table(args: argparse.Namespace) -> None:
    """A row for each model, from what ``evaluate`` wrote."""
    print("| corpus | model | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 2) + "|")
    for name in names(args):
        corpus, _, model = name.partition("/")
        report = json.loads((args.work / name / f"evaluation_{args.temperature:g}" / "report.json").read_text())
        music = report["music"]
        compared = music["comparison"]
        accuracy = {judge["judge"]: f"{judge['accuracy']:.3f}" for judge in compared["judges"]}
        cells = [
            " + ".join(str(steps_of(args.work / name / part.name)) for part in MODELS[model]),
            ("<= " if report["bound"] else "") + f"{report['nats_per_note']:.3f}",
            f"{100 * music['passed'] / music['pieces']:.0f} %",
            *(accuracy[judge] for judge in JUDGES),
            f"{next(each['infinity'] for each in compared['frechet'] if each['features'] == MUSICAL):.2f}",
            f"{sum(each['p_holm'] < SIGNIFICANT for each in compared['distances'].values())}",
            f"{100 * compared['diversity']['distinct'][NGRAM]:.1f} %",
            f"{100 * compared['copies']['copied']:.1f} %",
        ]
        print(f"| {corpus} | {model} | " + " | ".join(cells) + " |", flush=True)


def steps_of(folder: Path) -> int:
    """Steps of the optimiser that a run has made, whether it ended or was stopped."""
    from aurl.models.checkpoint import read_checkpoint

    if (folder / DONE).is_file():
        return int(json.loads((folder / DONE).read_text())["steps"])
    return int(read_checkpoint(checkpoint_of(folder))["aurl"]["progress"]["steps"])


COMMANDS = {"rates": rates, "train": train, "close": close, "evaluate": evaluate, "table": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(COMMANDS))
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and figures")
    parser.add_argument("--data", type=Path, required=True, help="folder of the unpacked corpora")
    parser.add_argument("--only", nargs="+", metavar="CORPUS/MODEL", help="of these models alone")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/aurl").expanduser())
    parser.add_argument("--device", default="auto", help="auto, cpu or gpu")
    parser.add_argument("--precision", default="auto", help="trainer.precision")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=600, help="of training of each model")
    parser.add_argument("--set", nargs="*", default=[], help="more settings of all runs")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--bars", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=0.9)
    args = parser.parse_args()
    for key in ("work", "data", "cache"):
        setattr(args, key, getattr(args, key).resolve())
    torch.set_float32_matmul_precision("high")
    COMMANDS[args.what](args)


if __name__ == "__main__":
    main()
