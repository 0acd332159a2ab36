"""What preprocessing does to real music: performances recognised, beats aligned, grids found, voices kept; its speed.

    python experiments/preprocessing_steps/run.py --data FOLDER [--pieces N] [--only recognise align ...]

FOLDER holds the unpacked corpora (the environment variable AURL_TEST_DATA is the default). Tables go to standard
output, the picture beside this file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from symusic import Score
from symusic.core import ScoreTick

from aurl.data.preprocessing import PreprocessConfig, beats_beside, preprocess_score
from aurl.music.dynamics import Velocity, velocity_map
from aurl.music.metrical_grid import grid_resolution, metrical_grid
from aurl.music.note_arrays import TickNotes, notes_of
from aurl.music.performed import FEWEST_ONSETS, examine_timing
from aurl.music.polyphony import Polyphony, most_sounding, reduce_polyphony
from aurl.music.quantise import Quantise, choose_grids, quantise

HERE = Path(__file__).parent
CORPORA = (
    ("asap-piano", None, "clock"),
    ("giantmidi-sample", None, "clock"),
    ("groove", None, "beat"),
    ("pop909", None, "beat"),
    ("pop909", "cl.mid", "beat"),
    ("multitrack-free", None, "beat"),
    ("nottingham", None, "beat"),
    ("jsb-chorales", None, "beat"),
    ("openscore", None, "beat"),
)
FINE = 96
"""Places in a quarter at which notes of two versions are compared."""
PLAIN = np.array([0, 3, 4, 6, 8, 9])
"""Twelfths of a quarter that are sixteenths or triplets."""


def rows(data: Path, corpus: str, pieces: int | None, seed: int = 0) -> list[dict]:
    lines = (data / corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    listed = [json.loads(line) for line in lines]
    random.Random(seed).shuffle(listed)
    return listed[:pieces]


def load(data: Path, corpus: str, row: dict, beside: str | None = None) -> ScoreTick:
    path = data / corpus / row["path"]
    return Score(str(path.with_name(beside) if beside else path))


def table(head: str, lines: list[list[object]]) -> None:
    names = head.split("|")
    print("| " + " | ".join(name.strip() for name in names) + " |\n|" + " --- |" * len(names))
    for line in lines:
        print("| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in line) + " |")
    print()


def recognise(data: Path, pieces: int | None) -> None:
    lines: list[list[object]] = []
    for corpus, beside, truth in CORPORA:
        timings = [examine_timing(load(data, corpus, row, beside)) for row in rows(data, corpus, pieces)]
        timings = [timing for timing in timings if timing.onsets]
        share = [np.median([getattr(t, key) for t in timings]) for key in ("off_grid_share", "off_grid_share_shifted")]
        clarity = np.array([timing.beat_clarity for timing in timings if timing.onsets >= FEWEST_ONSETS])
        lines.append(
            [
                *(f"{corpus} {beside or ''}".strip(), truth, len(timings), *map(float, share)),
                f"{clarity.min():.2f} / {np.median(clarity):.2f} / {clarity.max():.2f}",
                *(sum(t.performed for t in timings), sum(t.off_beat for t in timings)),
                *(sum(t.nominal_tempo for t in timings), sum(t.onsets < FEWEST_ONSETS for t in timings)),
            ]
        )
    table(
        "corpus | bars are a | pieces | off-grid share | shifted | clarity min / median / max | called performed "
        "| called off beat | nominal tempo | under 64 onsets",
        lines,
    )


def match(mine: ScoreTick, reference: ScoreTick) -> float:
    """F1 of (place, pitch) after the best shift by whole sixteenths."""

    def places(score: ScoreTick) -> np.ndarray:
        notes = notes_of(score)
        places = np.floor(notes.time / score.ticks_per_quarter * FINE + 0.5).astype(np.int64)
        return np.unique(places * 128 + notes.pitch)

    own, other = places(mine), places(reference)
    step = FINE // 4 * 128
    hits = max(len(np.intersect1d(own + shift * step, other, assume_unique=True)) for shift in range(-64, 65))
    return 2 * hits / (len(own) + len(other))


def align(data: Path, pieces: int | None) -> None:
    lines: list[list[object]] = []
    for corpus, truth in (("pop909", "cl.mid"), ("asap-piano", None)):
        before, after, away, written, alike = [], [], [], [], []
        counts: Counter[str] = Counter()
        for row in rows(data, corpus, pieces):
            score, path = load(data, corpus, row), data / corpus / row["path"]
            beats = beats_beside(path)
            aligned = preprocess_score(score, PreprocessConfig(align_beats=True), beats)
            before.append(aligned.measures["off_grid_share"])
            after.append(aligned.measures["off_grid_share_aligned"])
            away.append(aligned.measures["alignment_deviation_ms"])
            counts.update(aligned.counts)
            reference = Score(str(path.with_name(truth) if truth else data / corpus / row["score"]))
            if truth:
                del reference.tracks[1:]
            steps = [(score, Quantise.mixed), *((aligned.score, grid) for grid in Quantise)]
            versions = [(quantise(version, grid).score, grid) for version, grid in steps]
            written.append([match(version, reference) for version, _ in versions])
            alike.append([match(version, quantise(reference, grid).score) for version, grid in versions])
        for name, scores in (("as written", written), ("on the same grid", alike)):
            found = np.array(scores)
            lines.append(
                [corpus, len(before), f"{np.median(before):.2f} -> {np.median(after):.2f}"]
                + [
                    f"{np.median(away):.2f} / {max(away):.2f}",
                    counts["beats_aligned"],
                    counts["beats_passed_over"],
                    name,
                ]
                + [
                    f"{mean:.3f} / {middle:.3f}"
                    for mean, middle in zip(found.mean(0), np.median(found, 0), strict=True)
                ]
            )
    table(
        "corpus | pieces | off-grid share | deviation in ms, median / most | beats | passed over | reference "
        "| F1 mean / median: mixed, not aligned | aligned | + sixteenths | + triplets | + mixed",
        lines,
    )


def quantisation(data: Path, pieces: int | None) -> None:
    lines: list[list[object]] = []
    for corpus in ("openscore", "multitrack-free", "nottingham"):
        scores = [load(data, corpus, row) for row in rows(data, corpus, pieces)]
        for spread in (0.01, 0.025, 0.05):
            line: list[object] = [corpus, spread]
            for grid in (Quantise.sixteenths, Quantise.triplets, Quantise.mixed):
                line.append(found_again(scores, spread, grid))
            lines.append([*line, found_again(scores, spread, None)])
    table("corpus | spread in quarters | sixteenths | triplets | mixed | nearest of 12 to the quarter (peer)", lines)
    lines = []
    for corpus in ("groove", "pop909", "asap-piano"):
        for grid in (Quantise.sixteenths, Quantise.triplets, Quantise.mixed):
            errors, counts, notes = [], Counter(), 0
            for row in rows(data, corpus, pieces):
                score, path = load(data, corpus, row), data / corpus / row["path"]
                done = preprocess_score(score, PreprocessConfig(align_beats=True, quantise=grid), beats_beside(path))
                errors.append(done.measures)
                counts.update(done.counts)
                notes += score.note_num()
            names = ("onset_error_mean_ms", "onset_error_p95_ms", "onset_error_mean_quarters")
            means = [f"{np.mean([error[name] for error in errors]):.3f}" for name in names]
            durations = [np.mean([error[f"duration_error_{m}_ms"] for error in errors]) for m in ("mean", "p95")]
            share = [f"{100 * counts[name] / notes:.2f} %" for name in ("notes_merged", "notes_lengthened")]
            lines.append([corpus, grid.value, *means, *(f"{value:.1f}" for value in durations), *share])
    table(
        "corpus | grid | onset error, mean ms | 95 % ms | mean quarters | duration, mean ms | 95 % ms "
        "| merged | lengthened",
        lines,
    )


def found_again(scores: list[ScoreTick], spread: float, grid: Quantise | None) -> float:
    """Share of the notes on sixteenths and triplets that come back exactly after normal errors of this spread."""
    noise, ok, total = np.random.default_rng(0), 0, 0
    for score in scores:
        notes = notes_of(score)
        true = notes.time / score.ticks_per_quarter
        twelfths = np.round(true * 12)
        plain = (np.abs(true * 12 - twelfths) < 1e-3) & np.isin(twelfths.astype(int) % 12, PLAIN)
        played = np.maximum(true + noise.normal(0, spread, len(true)), 0)
        if grid is None:
            back = np.round(played * 12) / 12
        else:
            ticks = grid_resolution(score, 1)
            positions, _ = metrical_grid(score, ticks, 1)
            choice = choose_grids(positions, played * ticks, notes.track, len(score.tracks), grid, ticks)
            back = choice.round(played * ticks, notes.track) / ticks
        ok += int((np.abs(back - true) < 1e-3)[plain].sum())
        total += int(plain.sum())
    return ok / total


def constants(data: Path, pieces: int | None) -> None:
    """The mixed grid with other constants: mean over corpora and errors of the share that comes back."""
    import aurl.music.quantise as module

    names = ("TIMING_SPREAD", "TERNARY_COST", "NEIGHBOUR_LIMIT")
    kept = {name: getattr(module, name) for name in names}
    corpora = ("openscore", "multitrack-free", "nottingham")
    scores = [[load(data, corpus, row) for row in rows(data, corpus, pieces)] for corpus in corpora]
    lines: list[list[object]] = []
    for values in itertools.product((0.02, 0.03, 0.05), (2.0, 4.0), (0.0, 4.0)):
        for name, value in zip(names, values, strict=True):
            setattr(module, name, value)
        found = [found_again(group, spread, Quantise.mixed) for group in scores for spread in (0.01, 0.025, 0.05)]
        lines.append([*values, float(np.mean(found))])
    for name, value in kept.items():
        setattr(module, name, value)
    table("spread | ternary cost | neighbours at most | come back", lines)


def polyphony(data: Path, pieces: int | None) -> None:
    lines: list[list[object]] = []
    kinds: tuple[tuple[Polyphony, int], ...] = ((Polyphony.skyline, 1), (Polyphony.melody_bass, 2))
    voices: dict[str, list[float]] = {}
    for row in rows(data, "pop909", pieces):
        score = load(data, "pop909", row)
        melody = [index for index, track in enumerate(score.tracks) if track.name == "MELODY"]
        for kind, most in (*kinds, (Polyphony.max_voices, 2), (Polyphony.max_voices, 4), (Polyphony.max_voices, 8)):
            reduced, counts = reduce_polyphony(score, kind, most)
            notes = notes_of(reduced)
            assert most_sounding(notes) <= most
            tune = np.isin(notes.track, melody).sum()
            whole = np.isin(notes_of(score).track, melody).sum()
            found = [tune / max(whole, 1), tune / max(len(notes.time), 1), len(notes.time) / score.note_num()]
            voices.setdefault(f"{kind.value} {most}", []).append(
                np.array([*found, counts.get("notes_cut", 0) / score.note_num()])  # type: ignore[arg-type]
            )
    for name, values in voices.items():
        lines.append([name, *[float(value) for value in np.mean(values, axis=0)]])
    table("kept | of the MELODY track's notes | of what is kept, MELODY | notes kept | notes cut", lines)


def velocity(data: Path, pieces: int | None) -> None:
    lines: list[list[object]] = []
    for corpus in ("asap-piano", "pop909", "groove", "openscore", "multitrack-free"):
        before, after, plain, joined, levels, plateau, own_plateau = [], [], 0, 0, 0, 0, 0
        for row in rows(data, corpus, pieces):
            own, weights = np.unique(notes_of(load(data, corpus, row)).velocity, return_counts=True)
            new = velocity_map(own, weights, 80, None)
            assert (np.diff(new) >= 0).all() and new[0] >= 1 and new[-1] <= 127
            joined += int((np.diff(new) == 0).sum())
            before.append(np.average(own, weights=weights))
            after.append(np.average(new, weights=weights))
            shifted = np.clip(np.round(own + 80 - before[-1]), 1, 127)
            plain += int((np.diff(shifted) == 0).sum())
            plateau = max(plateau, int(np.unique(shifted, return_counts=True)[1].max()))
            own_plateau = max(own_plateau, int(np.unique(new, return_counts=True)[1].max()))
            levels += len(own)
        lines.append([corpus, f"{np.mean(before):.1f} ± {np.std(before):.1f}", f"{np.mean(after):.2f}"])
        missed = np.abs(np.array(after) - 80)
        lines[-1] += [int((missed > 1).sum()), float(missed.max()), joined, own_plateau, plain, plateau, levels]
    table(
        "corpus | mean velocity of pieces | after | off by more than 1 | farthest from 80 "
        "| levels joined | most into one | joined by a clipped shift (peer) | most into one | levels",
        lines,
    )


def speed(data: Path, pieces: int | None) -> None:
    scores = [(load(data, "pop909", row), data / "pop909" / row["path"]) for row in rows(data, "pop909", pieces)]
    steps: dict[str, Callable[[ScoreTick, Path], object]] = {
        "symusic resample to sixteenths (peer)": lambda score, path: score.resample(4, 1),
        "timing examined (always)": lambda score, path: preprocess_score(score, PreprocessConfig()),
        "align_beats, annotation read": lambda score, path: preprocess_score(
            score, PreprocessConfig(align_beats=True), beats_beside(path)
        ),
        "quantise=mixed": lambda score, path: preprocess_score(score, PreprocessConfig(quantise=Quantise.mixed)),
        "polyphony=max_voices": lambda score, path: preprocess_score(
            score, PreprocessConfig(polyphony=Polyphony.max_voices)
        ),
        "polyphony=melody_bass": lambda score, path: preprocess_score(
            score, PreprocessConfig(polyphony=Polyphony.melody_bass)
        ),
        "velocity=normalise": lambda score, path: preprocess_score(
            score, PreprocessConfig(velocity=Velocity.normalise)
        ),
        "all steps": lambda score, path: preprocess_score(
            score,
            PreprocessConfig(
                align_beats=True,
                quantise=Quantise.mixed,
                polyphony=Polyphony.max_voices,
                velocity=Velocity.normalise,
            ),
            beats_beside(path),
        ),
    }
    lines: list[list[object]] = []
    for name, step in steps.items():
        began = time.process_time()
        for score, path in scores:
            step(score, path)
        seconds = time.process_time() - began
        lines.append([name, f"{len(scores) / seconds:.0f}", f"{1000 * seconds / len(scores):.2f}"])
    table("step | pieces/s on one core | ms a piece", lines)


def whole(data: Path, pieces: int | None) -> None:
    """Every piece of every corpus through all steps, and what is always true of the result."""
    lines: list[list[object]] = []
    config = PreprocessConfig(
        align_beats=True, quantise=Quantise.mixed, polyphony=Polyphony.max_voices, velocity=Velocity.normalise
    )
    for corpus in dict.fromkeys(name for name, _, _ in CORPORA):
        seconds, slowest, counts, done = 0.0, 0.0, Counter(), 0
        for row in rows(data, corpus, pieces):
            score, began = load(data, corpus, row), time.process_time()
            result = preprocess_score(score, config, beats_beside(data / corpus / row["path"]))
            spent = time.process_time() - began
            seconds, slowest, done = seconds + spent, max(slowest, spent), done + 1
            counts.update(result.counts)
            notes = notes_of(result.score)
            assert (notes.end > notes.time).all() and most_sounding(notes.take(~notes.drum)) <= config.max_voices
        lines.append([corpus, done, seconds, slowest, counts["pieces_aligned"], counts["notes_left_out"]])
    lines.append(
        ["all", sum(int(str(line[1])) for line in lines), sum(float(str(line[2])) for line in lines)] + [""] * 3
    )
    table("corpus | pieces | seconds | slowest piece, s | aligned | notes left out", lines)


def picture(data: Path, pieces: int | None) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    path = data / "asap-piano" / "Haydn/Keyboard_Sonatas/48-2/GarritsonL03M.mid"
    score, beats = Score(str(path)), beats_beside(path)
    aligned = preprocess_score(score, PreprocessConfig(align_beats=True), beats).score
    quantised = preprocess_score(aligned, PreprocessConfig(quantise=Quantise.mixed)).score
    reference = Score(str(path.with_name("midi_score.mid")))
    figure, axes = pyplot.subplots(4, 1, figsize=(11, 9), layout="constrained")
    panels = (
        (score, "the file: 120 quarters a minute, 4/4, lines are its bars"),
        (aligned, "aligned to the annotated beats: the same sound, bars are bars"),
        (quantised, "quantised: mixed"),
        (reference, "the score, for comparison"),
    )
    for axis, (version, title) in zip(axes, panels, strict=True):
        show(axis, notes_of(version), version)
        axis.set_title(title, fontsize=10)
    axes[-1].set_xlabel("quarters")
    figure.savefig(HERE / "alignment.png", dpi=90)
    print(f"wrote {HERE / 'alignment.png'}\n")


def bar_lines(score: ScoreTick, high: float) -> list[float]:
    """Bar lines in quarters, up to ``high``."""
    signs = [(s.time / score.ticks_per_quarter, 4 * s.numerator / s.denominator) for s in score.time_signatures]
    ends = [*(start for start, _ in signs[1:]), high]
    return [float(x) for (start, bar), end in zip(signs, ends, strict=True) for x in np.arange(start, end, bar)]


def show(axis: object, notes: TickNotes, score: ScoreTick) -> None:
    """Notes of the first bars as a piano roll, with bar lines, quarters and sixteenths."""
    quarter = score.ticks_per_quarter
    low, high = 0, 16
    lines = bar_lines(score, high)
    inside = notes.time < high * quarter
    axis.barh(  # type: ignore[attr-defined]
        notes.pitch[inside], (notes.end - notes.time)[inside] / quarter, left=notes.time[inside] / quarter, height=0.9
    )
    for place in np.arange(0, high + 0.1, 0.25):
        width = 1.6 if place in lines else 0.6 if place % 1 == 0 else 0.2
        axis.axvline(place, color="black", linewidth=width, alpha=0.6, zorder=0)  # type: ignore[attr-defined]
    axis.set_xlim(low, high)  # type: ignore[attr-defined]


PARTS = {
    "recognise": recognise,
    "align": align,
    "quantise": quantisation,
    "constants": constants,
    "polyphony": polyphony,
    "velocity": velocity,
    "speed": speed,
    "whole": whole,
    "picture": picture,
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("AURL_TEST_DATA"), help="unpacked corpora")
    parser.add_argument("--pieces", type=int, help="of each corpus; all by default")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data FOLDER (or AURL_TEST_DATA) is needed")
    for name in options.only:
        print(f"## {name}\n")
        PARTS[name](Path(options.data), options.pieces)


if __name__ == "__main__":
    main()
