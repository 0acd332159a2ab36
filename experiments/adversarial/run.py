"""Does adversarial training bring samples nearer to real music than the same time spent on likelihood?

    python -m experiments.adversarial.run train --data FOLDER --work WORK       (a GPU helps)
    python -m experiments.adversarial.run judge --work WORK                     (CPU)

``train`` takes or makes one checkpoint of a VAE and continues it with each variant and seed: adversarially for
``--steps`` steps, by likelihood for as many seconds as that takes, and the first seed by likelihood for as many steps,
which tells what a step costs (``--likelihood-steps`` says so where it is known). It writes samples at each temperature
and the figures of the runs; several may run side by side in one folder, each with its own seeds, one of them 0.
``judge`` asks classifiers to tell the samples from held-out music and prints the tables.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.clock import seconds

VARIANTS: dict[str, list[str]] = {
    "adversarial": [],
    "latents and states": ["loss.critic_sees=[latents,states]"],
    "tokens and music": ["loss.critic_sees=[tokens,music]"],
    "latents": ["loss.critic_sees=[latents]"],
    "posterior": ["loss.rollout_latents=posterior"],
}
EQUAL_STEPS, EQUAL_TIME = "likelihood, equal steps", "likelihood, equal time"
LR, BATCH_TOKENS = 3e-4, 4096
"""Of all runs, unless an experiment or the command line has its own."""
WARMUP_STEPS = 20
"""Of the learning rate, in all continuations."""
TIMED_STEPS = 10
"""Steps after which the clock starts: kernels and caches are warm."""
REAL, BASE = "real", "base"
SEEDS_APART = 10_000
"""Between the seeds of samples of two runs."""
NGRAM = 12
"""Notes of the runs whose distinct share tells diversity."""
MOST_REAL = 500


def common(args: argparse.Namespace) -> list[str]:
    return [
        *([] if args.experiment is None else [f"experiment={args.experiment}"]),
        *(f"data={args.corpus}", f"data.path={args.data / FOLDERS[args.corpus]}", f"trainer.accelerator={args.device}"),
        *("logger=none", "callbacks.samples=null", "callbacks.early_stopping=null", "trainer.limit_val_batches=0"),
        *("trainer.enable_progress_bar=false", "trainer.max_epochs=-1", f"paths.cache={args.cache}"),
        *([] if args.batch_tokens is None else [f"data.batch_tokens={args.batch_tokens}"]),
        *("callbacks.log_lines.every_n_batches=50", *args.set),
    ]


FOLDERS = {"jsb": "jsb-chorales", "nottingham": "nottingham", "pop909": "pop909"}


def train(args: argparse.Namespace) -> None:
    """Continue one checkpoint in every way."""
    args.work.mkdir(parents=True, exist_ok=True)
    figures = args.work / f"runs_{'_'.join(map(str, args.seeds))}.json"
    done: dict[str, Any] = {}
    checkpoint = args.checkpoint or base(args)
    if 0 in args.seeds:
        done["base"] = describe(args, checkpoint, BASE, 0)
    plain_rate, equal_time = None, args.likelihood_steps
    for seed in args.seeds:
        is_measured = plain_rate is not None or args.likelihood_steps is not None
        for name in (*(() if is_measured else (EQUAL_STEPS,)), *args.variants):
            steps = args.steps
            more = ["model.mode=vae"] if name == EQUAL_STEPS else adversarial(args, VARIANTS[name])
            row = continued(args, checkpoint, name, seed, steps, more)
            done[f"{name}, seed {seed}"] = row
            plain_rate = plain_rate or row["seconds_a_step"]
            figures.write_text(json.dumps(done, indent=1) + "\n")
        if equal_time is None:  # rates of one seed, so that other work on the machine weighs on both alike
            longest = max(done[f"{name}, seed {seed}"]["seconds_a_step"] for name in args.variants)
            equal_time = max(args.steps, round(args.steps * longest / plain_rate))
        steps = equal_time
        done[f"{EQUAL_TIME}, seed {seed}"] = continued(args, checkpoint, EQUAL_TIME, seed, steps, ["model.mode=vae"])
        figures.write_text(json.dumps(done, indent=1) + "\n")


def adversarial(args: argparse.Namespace, variant: list[str]) -> list[str]:
    warmup = max(1, args.steps // 25)
    return [
        *("model.mode=vae_gan", "loss.adversarial_start=0", "loss.adversarial_every=5", "loss.tokens_after=0"),
        *(f"loss.critic_warmup={warmup}", f"loss.rollout_grow_every={max(1, args.steps // 6)}", *variant),
    ]


def base(args: argparse.Namespace) -> Path:
    """A VAE trained by likelihood, unless it is there already."""
    last = args.work / "base/checkpoints/last.ckpt"
    if not last.is_file():
        more = ["model=vae", f"model/size={args.size}", f"trainer.max_steps={args.base_steps}", *args.model]
        fit([*common(args), *more, f"paths.output={args.work / 'base'}"], None)
    return last


def fit(overrides: list[str], checkpoint: Path | None) -> tuple[Path, float, dict[str, float]]:
    """Train; the last checkpoint, seconds a step of the optimiser once warm, and the last logged figures."""
    import lightning as L

    from aurl.cli.build import build_data, build_module, build_trainer
    from aurl.cli.conf import compose
    from aurl.cli.continued_model import keep_model

    cfg = compose("train", overrides)
    mode = cfg.model.mode
    if checkpoint is not None:
        keep_model(cfg, checkpoint)
        cfg.model.mode = mode
    L.seed_everything(cfg.seed, verbose=False)
    data = build_data(cfg)
    data.prepare_data()
    data.setup()
    module = build_module(cfg, data, checkpoint)
    folder = Path(cfg.paths.output)
    trainer = build_trainer(cfg, folder)

    class Clock(L.Callback):
        begin = end = 0.0

        def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *rest: Any) -> None:
            if pl_module.batches_seen == TIMED_STEPS:
                self.begin = seconds(str(pl_module.device))

        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *rest: Any) -> None:
            if pl_module.batches_seen == cfg.trainer.max_steps:
                self.end = seconds(str(pl_module.device))

    clock = Clock()
    trainer.callbacks.append(clock)
    trainer.fit(module, datamodule=data)
    rate = (clock.end - clock.begin) / max(1, cfg.trainer.max_steps - TIMED_STEPS)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return folder / "checkpoints/last.ckpt", rate, logged


def continued(
    args: argparse.Namespace, checkpoint: Path, name: str, seed: int, steps: int, more: list[str]
) -> dict[str, Any]:
    folder = args.work / f"seed{seed}" / name.replace(", ", "_").replace(" ", "_")
    overrides = [
        *common(args),
        *(
            "model=vae_gan",
            f"trainer.max_steps={steps}",
            f"seed={seed}",
            *([] if args.lr is None else [f"optim.lr={args.lr}"]),
            f"optim.warmup_steps={WARMUP_STEPS}",
        ),
        *("loss.kl_annealing=constant", f"paths.output={folder}", *more),
    ]
    last, rate, logged = fit(overrides, checkpoint)
    row = {"steps": steps, "seconds_a_step": rate, "logged": logged, **describe(args, last, folder, seed)}
    print(f"{name}, seed {seed}: {steps} steps, {rate:.3f} s each, valid {row['nats_per_note']:.4f}", flush=True)
    return row


def describe(args: argparse.Namespace, checkpoint: Path, folder: Path | str, seed: int) -> dict[str, Any]:
    """Held-out likelihood of a checkpoint; its samples are written beside it, real music once."""
    from aurl.cli.conf import compose
    from aurl.cli.evaluate_model import Session
    from aurl.evaluation.likelihood import score_corpus, store_pieces
    from aurl.generation.config import SamplerConfig
    from aurl.generation.generator import GenerationRequest

    device = "cuda" if args.device == "gpu" else args.device
    corpus = [f"data={args.corpus}", f"data.path={args.data / FOLDERS[args.corpus]}"]
    cfg = compose("evaluate", [f"ckpt={checkpoint}", f"device={device}", f"paths.cache={args.cache}", *corpus])
    session = Session(cfg)
    model = session.bundle.model
    pieces = store_pieces(session.store, "valid")
    nats = score_corpus(model, pieces, model.config.context, device=session.device).nats_per_note
    folder = args.work / folder
    if folder.name == BASE:
        write_real(args, session)
    for temperature in args.temperatures:
        target = folder / f"samples_{temperature:g}"
        target.mkdir(parents=True, exist_ok=True)
        request = GenerationRequest(
            sampler=SamplerConfig(temperature=temperature),
            num_samples=args.samples,
            bars=args.bars,
            seed=SEEDS_APART * (seed + 1),
            batch_size=args.samples,
            max_tokens=args.max_tokens,
        )
        for sample in session.generator.generate(request):
            sample.score.dump_midi(str(target / f"{sample.number:04d}.mid"))
    return {"nats_per_note": nats, "folder": str(folder.relative_to(args.work))}


def write_real(args: argparse.Namespace, session: Any) -> None:
    """The beginnings of held-out pieces, as the model could write them."""
    from aurl.generation.prompt import first_bars

    real = args.work / REAL
    real.mkdir(exist_ok=True)
    codec = session.generator.codec
    for number in [*session.store.split("valid"), *session.store.split("test")][:MOST_REAL]:
        ids = np.asarray(session.store.ids(number)[1:-1], np.int64)
        codec.decode(first_bars(ids, codec.vocabulary, args.bars)).dump_midi(str(real / f"{number:05d}.mid"))


def judge(args: argparse.Namespace) -> None:
    """Ask the classifiers and print the tables."""
    runs: dict[str, Any] = {}
    for file in sorted(args.work.glob("runs_*.json")):
        runs |= json.loads(file.read_text())
    jobs = [
        (key, folder, args)
        for key, row in runs.items()
        for folder in sorted((args.work / row["folder"]).glob("samples_*"))
    ]
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        for (key, folder, _), found in zip(jobs, pool.map(judge_folder, jobs), strict=True):
            runs[key].setdefault("samples", {})[folder.name.removeprefix("samples_")] = found
    (args.work / "judged.json").write_text(json.dumps(runs, indent=1) + "\n")
    print_tables(runs, args.judges)


def judge_folder(job: tuple[str, Path, argparse.Namespace]) -> dict[str, Any]:
    """Accuracy of each judge on one folder of samples, and how diverse they are."""
    from aurl.evaluation.comparison import scalar_values
    from aurl.evaluation.folder import list_music, read_tables
    from aurl.evaluation.originality import measure_diversity
    from aurl.evaluation.two_sample import JUDGES, judge_features, two_sample_test

    _, folder, args = job
    torch.set_num_threads(1)
    made, real = (
        read_tables(list_music(each, "samples"), each, lambda done: None)[0] for each in (folder, args.work / REAL)
    )
    values = [scalar_values(list(part.values())) if "forest" in args.judges else [] for part in (made, real)]
    found: dict[str, Any] = {}
    for name in args.judges:
        features = [
            judge_features(name, list(part.values()), known) for part, known in zip((made, real), values, strict=True)
        ]
        songs = ([f"made {each}" for each in made], list(real))
        found[name] = two_sample_test(name, *features, songs, JUDGES[name], args.seed).accuracy
    found["distinct"] = measure_diversity(made, real, args.seed).distinct.get(NGRAM)
    return found


def print_tables(runs: dict[str, Any], judges: list[str]) -> None:
    """One row for each way of training and temperature, means over seeds; then differences at each one's best."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for key, row in runs.items():
        grouped.setdefault(key.rpartition(", seed ")[0] or key, []).append(row)
    print(f"| training | seeds | steps | s a step | valid nats/note | T | {' | '.join(judges)} | mean | distinct |")
    print("|" + "---|" * (8 + len(judges)))
    best: dict[str, np.ndarray] = {}
    for name, rows in grouped.items():
        for temperature in rows[0]["samples"]:
            cells = [[row["samples"][temperature][judge] for judge in judges] for row in rows]
            mean = np.mean(cells, axis=1)
            if name not in best or mean.mean() < best[name].mean():
                best[name] = mean
            distinct = np.mean([row["samples"][temperature]["distinct"] for row in rows])
            head = f"| {name} | {len(rows)} | {np.mean([row.get('steps', 0) for row in rows]):.0f} "
            head += f"| {np.mean([row.get('seconds_a_step', 0) for row in rows]):.3f} "
            head += f"| {np.mean([row['nats_per_note'] for row in rows]):.4f} | {temperature} |"
            print(head, " | ".join(f"{value:.3f}" for value in [*np.mean(cells, axis=0), mean.mean(), distinct]), "|")
    if EQUAL_TIME not in best:
        return
    from scipy import stats

    for name, values in best.items():
        if name in (EQUAL_TIME, "base") or len(values) != len(best[EQUAL_TIME]):
            continue
        difference = best[EQUAL_TIME] - values  # above 0: nearer to real music than likelihood in equal time
        spread = (
            stats.sem(difference) * stats.t.ppf(0.975, len(difference) - 1) if len(difference) > 1 else float("nan")
        )
        print(f"{EQUAL_TIME} less {name}, each at its best temperature: {difference.mean():+.3f} +- {spread:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "judge"))
    parser.add_argument("--work", type=Path, required=True, help="folder for runs, samples and figures")
    parser.add_argument("--data", type=Path, help="folder of unpacked corpora")
    parser.add_argument("--experiment", help="of conf/experiment, with the settings of all runs")
    parser.add_argument("--corpus", default="jsb", choices=tuple(FOLDERS))
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/aurl").expanduser())
    parser.add_argument("--checkpoint", type=Path, help="a trained VAE; without it one is trained first")
    parser.add_argument("--size", default="tiny", help="of that one")
    parser.add_argument("--model", nargs="*", default=["model.hearing=false"], help="more settings of that one")
    parser.add_argument("--base-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=300, help="adversarial steps")
    parser.add_argument(
        "--likelihood-steps", type=int, help="that take as long; left out, the first seed measures them"
    )
    parser.add_argument("--lr", type=float, help=f"in place of the experiment's, or {LR:g}")
    parser.add_argument("--batch-tokens", type=int, help=f"in place of the experiment's, or {BATCH_TOKENS}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=["adversarial"], choices=tuple(VARIANTS))
    parser.add_argument("--set", nargs="*", default=[], help="more settings of all runs")
    parser.add_argument("--device", default="auto", help="auto, cpu or gpu")
    parser.add_argument("--samples", type=int, default=150)
    parser.add_argument("--bars", type=int, default=12)
    parser.add_argument("--max-tokens", type=int, default=3000)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.85, 0.92, 1.0])
    parser.add_argument("--judges", nargs="+", default=["forest", "convolution", "random_features"])
    parser.add_argument("--workers", type=int, default=1, help="processes that judge")
    parser.add_argument("--seed", type=int, default=0, help="of the judges")
    args = parser.parse_args()
    if args.likelihood_steps is not None and args.likelihood_steps < 1:
        parser.error(f"--likelihood-steps {args.likelihood_steps} is too few; allowed: 1 or more")
    for key in ("work", "data", "cache", "checkpoint"):
        if getattr(args, key) is not None:
            setattr(args, key, getattr(args, key).resolve())
    if args.experiment is None:
        args.lr, args.batch_tokens = args.lr or LR, args.batch_tokens or BATCH_TOKENS
    if args.what == "judge":
        judge(args)
    elif args.data is None:
        parser.error("train needs --data")
    elif args.experiment and not args.checkpoint:
        parser.error("--experiment has the settings of continuations; give the VAE to be continued, --checkpoint")
    else:
        torch.set_float32_matmul_precision("high")
        train(args)


if __name__ == "__main__":
    main()
