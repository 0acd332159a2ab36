"""Do unselected samples look like chorales of Bach that the model has not seen, and do they copy those it has?

  python -m experiments.chorale_statistics.run --data-path FOLDER --ckpt CHECKPOINT
  python -m experiments.chorale_statistics.run --data-path FOLDER --midi FOLDER_OF_MIDI

Prints two Markdown tables: musical statistics against the 5-95 % band of held-out excerpts, and the longest passages
shared with the training set. With ``--midi`` the pieces of a folder stand in for samples.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from aurl.data.config import DataConfig, Source
from aurl.data.sources import list_pieces, load_piece
from aurl.evaluation.chorale import Comparison, compare, voice_statistics
from aurl.evaluation.copying import CopiedRuns, CopyIndex
from aurl.evaluation.voices import Voices, read_voices
from aurl.generation.config import SamplerConfig
from aurl.music.score import read_score
from aurl.utils.files import atomic_write_json

HOP_BARS = 8
HELD_OUT = ("valid", "test")
PASSAGES = {"notes": "moves of one voice in a row", "chords": "chord changes of all voices in a row"}


def main() -> None:
    """Measure held-out music and samples, print the tables."""
    args = parse_arguments()
    pieces = read_corpus(args.data_path)
    held_out = [part for split in HELD_OUT for piece in pieces[split] for part in piece.excerpts(args.bars, HOP_BARS)]
    samples = read_folder(args.midi) if args.midi else generate(args)
    reference = [known_end(piece, args.bars) for piece in held_out]
    measured = [known_end(piece.cut(0, args.bars), args.bars) for piece in samples]
    rows = compare([voice_statistics(piece) for piece in reference], [voice_statistics(piece) for piece in measured])
    index = CopyIndex(pieces["train"])
    runs = {
        "held_out": [index.longest_runs(piece) for piece in reference],
        "samples": [index.longest_runs(piece) for piece in measured],
    }
    print(f"{len(measured)} samples, {len(reference)} held-out excerpts of up to {args.bars} bars\n")
    print(statistics_table(rows), copying_table(runs["held_out"], runs["samples"]), sep="\n\n")
    if args.json:
        copied = {name: [asdict(run) for run in found] for name, found in runs.items()}
        atomic_write_json(args.json, {"statistics": [asdict(row) | {"verdict": row.verdict} for row in rows], **copied})


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", required=True, help="the unpacked chorale corpus, with manifest and splits")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ckpt", type=Path, help="generate the samples with this checkpoint")
    source.add_argument("--midi", type=Path, help="read the samples from the MIDI files of this folder")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="sample number i is drawn with seed + i")
    parser.add_argument("--bars", type=int, default=16)
    parser.add_argument("--sampler", type=json.loads, default={}, help="sampler settings, such as '{\"top_p\": 0.95}'")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def read_corpus(folder: str) -> dict[str, list[Voices]]:
    """All pieces in voices, by split."""
    pieces: dict[str, list[Voices]] = {"train": [], "valid": [], "test": []}
    for piece in list_pieces(DataConfig(name="chorales", source=Source.archive, path=folder)):
        pieces[piece.split or "train"].append(read_voices(load_piece(piece)))
    return pieces


def read_folder(folder: Path) -> list[Voices]:
    """Samples that lie as files."""
    return [read_voices(read_score(path)) for path in sorted(folder.rglob("*.mid"))]


def generate(args: argparse.Namespace) -> list[Voices]:
    """Unselected samples of consecutive seeds."""
    from aurl.generation.generator import GenerationRequest, Generator
    from aurl.generation.grammar import Ending

    generator = Generator.from_checkpoint(args.ckpt, "cpu")
    request = GenerationRequest(
        sampler=SamplerConfig(**args.sampler),
        num_samples=args.samples,
        bars=args.bars,
        ending=Ending.model,  # as the held-out excerpts, which are whole pieces where these are shorter
        seed=args.seed,
    )
    return [read_voices(sample.score) for sample in generator.generate(request)]


def known_end(piece: Voices, bars: int) -> Voices:
    """Count the last chord as an ending only where the piece is shorter than the limit: others may have been cut."""
    return replace(piece, ends_here=piece.ends_here and piece.bars < bars)


def statistics_table(rows: Sequence[Comparison]) -> str:
    """Markdown, one line a statistic."""
    lines = [
        "| statistic | held-out 5 % | median | 95 % | mean | samples: median | mean | share inside | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        numbers = " | ".join(
            f"{value:.2f}" for value in (row.low, row.middle, row.high, row.usual, row.median, row.mean)
        )
        lines.append(f"| {row.name.replace('_', ' ')} | {numbers} | {100 * row.share:.0f} % | {row.verdict} |")
    return "\n".join(lines)


def copying_table(held_out: Sequence[CopiedRuns], samples: Sequence[CopiedRuns]) -> str:
    """Markdown: longest shared passages of both, and whether the samples' are longer."""
    lines = [
        "| longest passage shared with the training set | pieces | median | 95 % | longest | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for field, words in PASSAGES.items():
        reference, measured = (np.array([getattr(run, field) for run in runs]) for runs in (held_out, samples))
        limits, found = quantiles(reference), quantiles(measured)
        verdict = "no longer" if found[1] <= limits[1] and found[2] <= limits[2] else "longer"
        for who, values, word in (("held-out", limits, ""), ("samples", found, verdict)):
            lines.append(f"| {words} | {who} | " + " | ".join(f"{value:.0f}" for value in values) + f" | {word} |")
    return "\n".join(lines)


def quantiles(values: np.ndarray) -> tuple[float, float, float]:
    """Median, percentile 95, maximum."""
    return float(np.median(values)), float(np.percentile(values, 95)), float(values.max())


if __name__ == "__main__":
    main()
