"""What augmentation costs, how much variety it gives, what it does to music, and what planning an epoch takes.

Parts: cost, variety, sanity, picture, plan; see README.md.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from aurl.cli.build import build_data, build_module
from aurl.cli.conf import compose
from aurl.data.augmentation.config import AugmentConfig
from aurl.data.batching import TrainingPlan, collate
from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.datamodule import MusicDataModule
from aurl.data.store import PieceRecord, TokenStore
from aurl.data.vocabulary import Kind, Vocabulary
from aurl.data.windows import Window

HERE = Path(__file__).resolve().parent
TOKENS = ("transpose", "stretch", "velocity", "substitute")
KINDS = (*TOKENS, "swing", "humanize")
NGRAM = 8


def settings(*kinds: str) -> AugmentConfig:
    """These kinds with probability 1 and the widest transposition, all others off."""
    config = AugmentConfig()
    parts: dict[str, Any] = {name: replace(getattr(config, name), probability=float(name in kinds)) for name in KINDS}
    parts["transpose"] = replace(parts["transpose"], semitones=[-12, 12])
    return AugmentConfig(**parts)


def full() -> AugmentConfig:
    """``augment=full``."""
    from aurl.cli.conf import to_config

    return to_config(compose("train", ["augment=full", "paths.output=."]).augment)


ARMS: dict[str, Callable[[], AugmentConfig]] = {
    "none": lambda: settings(),
    "transpose": lambda: settings("transpose"),
    "token space": lambda: settings(*TOKENS),
    "swing": lambda: settings("swing"),
    "humanize": lambda: settings("humanize"),
    "full": full,
    "all, probability 1": lambda: settings(*KINDS),
}


def opened(args: argparse.Namespace, augment: AugmentConfig) -> TrainingPlan:
    """The plan of ``aurl-train`` on the corpus."""
    data = corpus(args.data, args.data_path)
    data.augment_config = augment
    return data.train_dataloader().plan


@cache
def corpus(name: str, path: str | None) -> MusicDataModule:
    """The prepared corpus."""
    data = build_data(config(name, path))
    data.prepare_data()
    data.setup()
    return data


def config(name: str, path: str | None) -> Any:
    """The training config of the corpus."""
    where = [f"data.path='{path}'"] if path else []
    return compose("train", [f"data={name}", "paths.output=.", "trainer.enable_progress_bar=false", *where])


def cost(args: argparse.Namespace) -> None:
    """CPU time of a batch by arm, beside that of a training step of the default model (5M parameters)."""
    plans = {name: opened(args, arm()) for name, arm in ARMS.items()}
    step = median(step_times(args, plans["none"]))
    print(f"training step, forward and backward, 5M parameters: {step * 1e3:.0f} ms CPU\n")
    print("| arm | ms a batch | share of a step |\n|---|---|---|")
    times: dict[str, list[float]] = {name: [] for name in plans}
    epochs = {name: plan.epoch(0) for name, plan in plans.items()}
    for number in range(args.batches):
        for name, plan in plans.items():
            windows = epochs[name][number % len(epochs[name])]
            started = time.process_time()
            plan.collate(windows, 0)
            times[name].append(time.process_time() - started)
    for name, found in times.items():
        print(f"| {name} | {1e3 * np.mean(found):.2f} | {100 * np.mean(found) / step:.2f} % |")


def step_times(args: argparse.Namespace, plan: TrainingPlan) -> Iterator[float]:
    """Forward, loss and backward of the default model in float32."""
    import torch

    torch.set_num_threads(1)
    module = build_module(config(args.data, args.data_path), corpus(args.data, args.data_path))
    for windows in plan.epoch(0)[: args.steps]:
        batch = plan.collate(windows, 0)
        started = time.process_time()
        module.losses(batch).total.backward()
        yield time.process_time() - started


def variety(args: argparse.Namespace) -> None:
    """Distinct sequences and n-grams of a piece over epochs, as multiples of the original's."""
    print(f"| arm | distinct sequences in {args.epochs} epochs | distinct {NGRAM}-grams over the original's |")
    print("|---|---|---|")
    for name, arm in ARMS.items():
        plan = opened(args, arm())
        distinct, grams = [], []
        for piece in plan.pieces[:: max(1, len(plan.pieces) // args.pieces)][: args.pieces].tolist():
            window = whole(plan, piece)
            versions = [plan.collate([window], epoch).ids.numpy() for epoch in range(args.epochs)]
            distinct.append(len({each.tobytes() for each in versions}))
            original = len(ngrams(collate(plan.store, [window]).ids.numpy()))
            grams.append(len(np.unique(np.concatenate([ngrams(each) for each in versions]))) / original)
        print(f"| {name} | {np.mean(distinct):.1f} | {np.mean(grams):.1f} |", flush=True)


def whole(plan: TrainingPlan, piece: int) -> Window:
    """The beginning of a piece that fits the context."""
    return Window(piece, *next(iter(cut(plan, piece))))


def cut(plan: TrainingPlan, piece: int) -> list[tuple[int, int, int]]:
    from aurl.data.windows import bar_windows

    return bar_windows(plan.store.bars(piece), plan.context, 0)


def ngrams(ids: np.ndarray) -> np.ndarray:
    """A hash of every run of NGRAM tokens, each once."""
    from aurl.data.augmentation.draws import mixed

    found = np.zeros(max(len(ids) - NGRAM + 1, 0), np.uint64)
    for shift in range(NGRAM):
        found = mixed(found ^ ids[shift : shift + len(found)].astype(np.uint64))
    return np.unique(found)


@dataclass
class Measured:
    """Sums over batches."""

    notes: int = 0
    seconds: float = 0.0
    drums: int = 0
    low: int = 128
    high: int = 0
    onsets: int = 0


def sanity(args: argparse.Namespace) -> None:
    """What is kept: notes, drums, range, total duration."""
    print("| arm | notes | drum notes | sum of durations | pitches (corpus) | segments changed | longest segment |")
    print("|---|---|---|---|---|---|---|")
    for name, arm in ARMS.items():
        plan = opened(args, arm())
        vocabulary = plan.augmenter.vocabulary
        before, after, changed, segments, longest = Measured(), Measured(), 0, 0, 0
        for windows in plan.epoch(0)[: args.batches]:
            batch = plan.collate(windows, 0)
            measure(before, vocabulary, collate(plan.store, windows).ids.numpy())
            measure(after, vocabulary, batch.ids.numpy())
            changed, segments = changed + batch.augmented, segments + len(batch.lengths)
            longest = max(longest, *batch.lengths)
        drums = f"{after.drums / before.drums:.4f}" if before.drums else "none"
        print(
            f"| {name} | {after.notes / before.notes:.4f} | {drums} | {after.seconds / before.seconds:.4f} | "
            f"{after.low}-{after.high} ({plan.transposer.pitch_low}-{plan.transposer.pitch_high}) | "
            f"{changed / segments:.3f} | {longest} |",
            flush=True,
        )


def measure(sums: Measured, vocabulary: Vocabulary, ids: np.ndarray) -> None:
    kind, value = vocabulary.kind[ids], vocabulary.value[ids]
    sums.notes += vocabulary.count_notes(ids)
    sums.drums += int((kind == Kind.PITCH_DRUM).sum())
    sums.seconds += float(value[kind == Kind.DURATION].sum())
    pitches = value[kind == Kind.PITCH]
    if len(pitches):
        sums.low, sums.high = min(sums.low, int(pitches.min())), max(sums.high, int(pitches.max()))


def picture(args: argparse.Namespace) -> None:
    """Piano rolls of the first bars of one piece under each kind, notes coloured by velocity."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = ["original", *KINDS, "all kinds"]
    figure, axes = plt.subplots(len(names), 1, figsize=(11, 1.7 * len(names)), sharex=True, constrained_layout=True)
    for name, axis in zip(names, axes, strict=True):
        kinds = () if name == "original" else (name,) if name in KINDS else KINDS
        plan = opened(args, settings(*kinds))
        piece = int(plan.pieces[args.piece])
        window = Window(piece, *cut(plan, piece)[0])
        batch = plan.collate([window], args.epoch)
        codec = Codec.from_dict(plan.store.tokenizer)
        score = codec.decode(batch.ids.numpy())
        programs = [track.program for track in score.tracks if not track.is_drum]
        begin = min(int(track.notes[0].time) for track in score.tracks) // score.ticks_per_quarter // 4 * 4
        shown = []
        for track in score.tracks:
            notes = track.notes.numpy()
            onset, length = notes["time"] / score.ticks_per_quarter, notes["duration"] / score.ticks_per_quarter
            first = onset < begin + args.quarters
            shown.append(len(onset[first]))
            axis.barh(
                notes["pitch"][first], length[first], left=onset[first], height=0.9,
                color=plt.get_cmap("viridis")(notes["velocity"][first] / 127), edgecolor="white", linewidth=0.3,
            )  # fmt: skip
        tempo = [round(tempo.tempo) for tempo in score.tempos][:1]
        axis.set_title(
            f"{name}: tempo {tempo[0]}, programs {programs}, shift {batch.shifts[0]}, {sum(shown)} notes",
            fontsize=8, loc="left",
        )  # fmt: skip
        axis.set_xlim(begin, begin + args.quarters)
        axis.set_xticks(range(begin, begin + args.quarters + 1))
        axis.grid(axis="x", alpha=0.4)
    axes[-1].set_xlabel("quarter notes; colour: velocity")
    target = HERE / "kinds.png"
    figure.savefig(target, dpi=110)
    print(target)


class VirtualStore:
    """Many pieces over the tokens of a few: what planning needs, without the disk."""

    def __init__(self, store: TokenStore, count: int) -> None:
        self._store, self._count = store, len(store)
        self.pieces = Repeated(store.pieces, count)
        self.numbers = store.numbers[np.arange(count) % self._count]  # a real store has it in a mapped file

    def ids(self, piece: int) -> np.ndarray:
        return self._store.ids(piece % self._count)

    def bars(self, piece: int) -> np.ndarray:
        return self._store.bars(piece % self._count)

    def beats(self, piece: int) -> np.ndarray:
        return self._store.beats(piece % self._count)


class Repeated:
    """A list of records, over and over."""

    def __init__(self, records: list[PieceRecord], count: int) -> None:
        self._records, self._count = records, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> PieceRecord:
        return self._records[number % len(self._records)]


def anonymous_mb() -> float:
    """Memory of this process that belongs to no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def plan(args: argparse.Namespace) -> None:
    """Time and anonymous memory of a plan and an epoch by number of pieces."""
    real = opened(args, full())
    vocabulary = Codec.from_config(TokenizerConfig()).vocabulary
    print("| pieces | windows | plan s | epoch s | first batch ms | anonymous MB over the empty loader |")
    print("|---|---|---|---|---|---|")
    for count in args.counts:
        store: Any = VirtualStore(real.store, count)
        gc.collect()
        empty = anonymous_mb()
        started = time.process_time()
        made = TrainingPlan(store, range(count), vocabulary, args.context, 8192, real.augmenter.config, 0, 0.25)
        planned = time.process_time()
        epoch = made.epoch(1)
        dealt = time.process_time()
        made.collate(epoch[0], 1)
        drawn = time.process_time()
        print(
            f"| {count} | {len(epoch.windows)} | {planned - started:.2f} | {dealt - planned:.2f} | "
            f"{1e3 * (drawn - dealt):.1f} | {anonymous_mb() - empty:.0f} |",
            flush=True,
        )
        del made, epoch


PARTS = {"cost": cost, "variety": variety, "sanity": sanity, "picture": picture, "plan": plan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", default="bach", help="corpus (data=...)")
    parser.add_argument("--data-path", help="its folder, where it has one")
    parser.add_argument("--batches", type=int, default=60, help="batches measured by cost and sanity")
    parser.add_argument("--steps", type=int, default=5, help="training steps measured by cost")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of variety")
    parser.add_argument("--pieces", type=int, default=40, help="pieces of variety")
    parser.add_argument("--piece", type=int, default=3, help="piece of the picture")
    parser.add_argument("--epoch", type=int, default=4, help="epoch of the picture")
    parser.add_argument("--quarters", type=int, default=16, help="width of the picture")
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000], help="pieces of plan")
    parser.add_argument("--context", type=int, default=2048, help="context of plan")
    args = parser.parse_args()
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
