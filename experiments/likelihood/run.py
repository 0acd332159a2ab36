"""Nats per note of the n-gram, of Hugging Face's GPT-2 and of our checkpoint, on one corpus with one accounting.

  python -m experiments.likelihood.run ngram --experiment reference_jsb --data-path FOLDER
  python -m experiments.likelihood.run gpt2  --experiment reference_jsb --data-path FOLDER --lr 1e-3 --cpu-seconds 3600
  python -m experiments.likelihood.run aurl  --experiment reference_jsb --data-path FOLDER --ckpt CHECKPOINT
  python -m experiments.likelihood.run table

Each part appends to results.json, so that long runs can be spread over days; the table reads what is there. Corpus,
tokens, model and training are those of ``aurl-train experiment=...``, with any further overrides given after ``--``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aurl.cli.build import build_data, resolve_accelerator, resolve_precision
from aurl.cli.conf import compose, to_config
from aurl.data.datamodule import MusicDataModule
from aurl.evaluation.likelihood import LikelihoodResult, score_corpus, store_pieces, summarise
from aurl.evaluation.ngram import sweep_orders, transposed
from aurl.models.checkpoint import load_bundle
from aurl.utils.files import atomic_write_json

HERE = Path(__file__).parent
SPLITS = ("valid", "test")
LEARNING_RATES = (5e-4, 1e-3, 2e-3)


def main() -> None:
    """Run one part and store its figures, or print the table."""
    args = parse_arguments()
    if args.part == "table":
        print(table(read_results(args.results)))
        return
    torch.set_num_threads(args.threads)
    data, cfg = open_corpus(args)
    part = {"ngram": run_ngram, "gpt2": run_gpt2, "aurl": run_aurl}[args.part]
    for entry in part(args, data, cfg):
        results = read_results(args.results)
        results.append({"corpus": data.data_config.name, "arm": args.part, **entry})
        atomic_write_json(args.results, results)
        print(json.dumps(results[-1]))
    print(table(read_results(args.results)))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("ngram", "gpt2", "aurl", "table"))
    parser.add_argument("--experiment", help="reference_jsb or reference_nottingham")
    parser.add_argument("--data-path", help="the unpacked corpus")
    parser.add_argument("--ckpt", type=Path, help="with aurl: the checkpoint to score")
    parser.add_argument("--train-cpu-seconds", type=float, help="with aurl: what its training used, for the table")
    parser.add_argument("--lr", type=float, nargs="+", default=LEARNING_RATES, help="with gpt2: one run for each")
    parser.add_argument("--cpu-seconds", type=float, default=3600, help="with gpt2: budget of one run")
    parser.add_argument("--steps", type=int, help="with gpt2: budget of one run in steps, in place of CPU seconds")
    parser.add_argument("--device", default="cpu", help="where gpt2 is trained and models are scored, such as cuda")
    parser.add_argument("--validations", type=int, default=20, help="with gpt2: choices of the best weights in one run")
    parser.add_argument("--max-order", type=int, default=20, help="with ngram: highest order tried")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.epilog = "After -- come further overrides of the training config, such as trainer.precision=32-true."
    ours, overrides = split_at(sys.argv[1:], "--")
    args = parser.parse_args(ours)
    args.overrides = overrides
    if args.part != "table" and not (args.experiment and args.data_path):
        parser.error("--experiment and --data-path are needed")
    if args.part == "aurl" and args.ckpt is None:
        parser.error("--ckpt is needed")
    if args.part == "gpt2" and args.device != "cpu" and args.steps is None:
        parser.error("CPU seconds mean little with --device; give --steps, as many as the CPU makes in its seconds")
    return args


def split_at(words: list[str], mark: str) -> tuple[list[str], list[str]]:
    """The words before and after the first ``mark``: argparse finds no optional words behind one."""
    place = words.index(mark) if mark in words else len(words)
    return words[:place], words[place + 1 :]


def open_corpus(args: argparse.Namespace) -> tuple[MusicDataModule, Any]:
    """The prepared corpus and the training config of the experiment."""
    overrides = [f"experiment={args.experiment}", f"data.path='{args.data_path}'", "paths.output=.", *args.overrides]
    cfg = compose("train", overrides)
    data = build_data(cfg)
    data.setup()
    return data, cfg


def figures(result: LikelihoodResult) -> dict[str, Any]:
    """What is stored of a split."""
    return result.to_dict()


def run_ngram(args: argparse.Namespace, data: MusicDataModule, cfg: Any) -> list[dict[str, Any]]:
    """All orders in one pass; the order with the fewest nats on valid counts."""
    started = time.process_time()
    store, vocabulary = data.store, data.codec.vocabulary
    chosen = store.split("train")
    pieces = [np.asarray(store.ids(i)) for i in chosen]
    ranges = [(store.pieces[i].pitch_low, store.pieces[i].pitch_high) for i in chosen]
    train = transposed(pieces, ranges, data.train_dataloader().plan.transposer)
    held = {split: store_pieces(store, split) for split in SPLITS}
    everything = [piece for split in SPLITS for piece in held[split]]
    borders = np.cumsum([len(piece.ids) - 1 for piece in everything])[:-1]
    by_order = {}
    for order, nats in sweep_orders(train, [piece.ids for piece in everything], vocabulary.size, args.max_order):
        totals = [float(part.sum()) for part in np.split(nats, borders)]
        edge = len(held["valid"])
        parts = {"valid": totals[:edge], "test": totals[edge:]}
        by_order[order] = {split: figures(summarise(parts[split], held[split])) for split in SPLITS}
    best = min(by_order, key=lambda order: by_order[order]["valid"]["nats_per_note"])
    curve = {order: round(values["valid"]["nats_per_note"], 4) for order, values in by_order.items()}
    tokens = sum(len(piece) - 1 for piece in train)
    cpu_seconds = time.process_time() - started
    return [
        {"order": best, "train_tokens": tokens, "cpu_seconds": cpu_seconds, "valid_by_order": curve, **by_order[best]}
    ]


def run_gpt2(args: argparse.Namespace, data: MusicDataModule, cfg: Any) -> Any:
    """One training run for each learning rate."""
    from experiments.likelihood.gpt2 import Budget, PeerGPT2, train

    model_config, optim = to_config(cfg.model), to_config(cfg.optim)
    precision = resolve_precision(cfg.trainer.precision, resolve_accelerator(torch.device(args.device).type))
    budget = Budget(steps=args.steps) if args.steps else Budget(cpu_seconds=args.cpu_seconds)
    for lr in args.lr:
        torch.manual_seed(cfg.seed)
        model = PeerGPT2(model_config, data.codec.vocabulary.size).to(args.device)

        def score(model: PeerGPT2, split: str) -> LikelihoodResult:
            return score_corpus(model, data.store, model_config.context, split=split, device=args.device)

        def validate(model: PeerGPT2) -> float:
            return score(model, "valid").nats_per_note

        outcome = train(model, data.train_dataloader(), optim, lr, budget, validate, args.validations, precision)
        scores = {split: figures(score(model, split)) for split in SPLITS}
        yield {
            "lr": lr,
            "parameters": model.parameter_count,
            "seed": cfg.seed,
            "precision": precision,
            "device": device_name(args.device),
            **outcome,
            **scores,
        }


def run_aurl(args: argparse.Namespace, data: MusicDataModule, cfg: Any) -> list[dict[str, Any]]:
    """Score a checkpoint; its training is ``aurl-train experiment=...``."""
    bundle = load_bundle(args.ckpt, args.device)
    context = bundle.model.config.context
    scores = {
        split: figures(score_corpus(bundle.model, data.store, context, split=split, device=args.device))
        for split in SPLITS
    }
    progress = {key: bundle.progress.get(key) for key in ("epoch", "batches")}
    trained = {"cpu_seconds": args.train_cpu_seconds, "lr": bundle.config.get("optim", {}).get("lr")}
    parameters = sum(parameter.numel() for parameter in bundle.model.parameters())
    return [{"parameters": parameters, **progress, **trained, **scores}]


def device_name(device: str) -> str:
    """The card's name, or cpu."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def read_results(path: Path) -> list[dict[str, Any]]:
    """What earlier parts stored."""
    return json.loads(path.read_text()) if path.is_file() else []


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: of each corpus and peer the run with the fewest nats per note on valid, and how far our last one, that
    of the experiment as it is committed, is below it.
    """
    lines = [
        "| corpus | model | setting | parameters | CPU s | valid nats/note | test nats/note | per beat | ours lower |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for corpus in sorted({entry["corpus"] for entry in results}):
        best = {}
        for arm in ("ngram", "gpt2", "aurl"):
            runs = [entry for entry in results if entry["corpus"] == corpus and entry["arm"] == arm]
            if runs:
                fewest = min(runs, key=lambda entry: entry["valid"]["nats_per_note"])
                best[arm] = runs[-1] if arm == "aurl" else fewest
        for arm, entry in best.items():
            lines.append(table_row(corpus, arm, entry, best.get("aurl")))
    return "\n".join(lines)


def table_row(corpus: str, arm: str, entry: dict[str, Any], ours: dict[str, Any] | None) -> str:
    """One line of the table."""
    setting = f"order {entry['order']}" if arm == "ngram" else f"lr {entry['lr']:g}" if entry.get("lr") else ""
    names = {"ngram": "Witten-Bell n-gram", "gpt2": "Hugging Face GPT-2", "aurl": "aurl"}
    parameters = f"{entry['parameters'] / 1e6:.2f} M" if "parameters" in entry else ""
    seconds = f"{entry['cpu_seconds']:.0f}" if entry.get("cpu_seconds") else ""
    gain = ""
    if ours is not None and arm != "aurl":
        gain = f"{100 * (1 - ours['test']['nats_per_note'] / entry['test']['nats_per_note']):.1f} %"
    valid, test = entry["valid"], entry["test"]
    cells = (corpus, names[arm], setting, parameters, seconds)
    scores = (f"{valid['nats_per_note']:.4f}", f"{test['nats_per_note']:.4f}", f"{test['nats_per_beat']:.4f}", gain)
    return "| " + " | ".join((*cells, *scores)) + " |"


if __name__ == "__main__":
    main()
