"""Where the constants of ChordModel come from: a coordinate search on every 8th song of the training list.

    python -m experiments.chord_detection.tune --data FOLDER --seconds 600

Each constant is moved up and down by a step that grows with success and shrinks with failure; what raises the sum of
root, 1.5 majmin and tetrads (shares of time, sampled every 16th), and half of tetrads on textbook progressions, stays.
Without the last two, suspensions and sevenths, of which majmin says nothing or little, would be explained away. Prints
the constants that changed.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from mir_eval.chord import majmin, root, tetrads

from aurl.music.chord_detection import DEFAULT_MODEL, ChordModel, beat_scores, best_through
from aurl.music.chord_features import chord_features, metre_grid
from aurl.music.chords import Chord
from experiments.chord_detection.labels import Song, list_songs, read_song
from experiments.chord_detection.textbook import PROGRESSIONS, TEXTURES, textbook_song

EVERY = 8
SAMPLE = 0.25
WEIGHTS = {root: 1.0, majmin: 1.5, tetrads: 1.0}
TEXTBOOK_WEIGHT = 0.5
MIN_GAIN = 1e-5
FIXED = {"bass_change", "bass_inversion"}


class Bench:
    """Songs with their features, and the accuracy of a model on them."""

    def __init__(self, songs: list[Song]) -> None:
        self.grids = [metre_grid(song.score) for song in songs]
        self.features = [chord_features(song.score, grid.edges) for song, grid in zip(songs, self.grids, strict=True)]
        self.beats, self.labels = [], []
        for song, grid in zip(songs, self.grids, strict=True):
            times = np.arange(0, song.intervals.max(), SAMPLE) + SAMPLE / 2
            place = np.searchsorted(song.intervals[:, 0], times, side="right") - 1
            covered = (place >= 0) & (times < song.intervals[place.clip(min=0), 1])
            names = np.array(song.labels, object)[place.clip(min=0)]
            self.labels.append(np.where(covered, names, "N"))
            self.beats.append(np.searchsorted(grid.edges, times, side="right") - 1)
        self.reference = np.concatenate(self.labels)
        names = sorted(set(self.reference))
        self.names, self.place = names, np.searchsorted(names, self.reference)

    def accuracy(self, model: ChordModel) -> dict[object, float]:
        """Share of time by metric."""
        scores = [beat_scores(features, model) for features in self.features]
        longest = max(map(len, scores))
        padded = np.stack([np.pad(part, ((0, longest - len(part)), (0, 0))) for part in scores])
        change = np.stack(
            [
                np.pad(np.array(model.change, np.float32)[grid.level], (0, longest - len(grid.level)))
                for grid in self.grids
            ]
        )
        states = best_through(padded, change, model).argmax(axis=2)
        heard = [row[: len(part)] for row, part in zip(states, scores, strict=True)]
        silence = padded.shape[2] - 1
        sampled = np.concatenate(
            [np.append(h, silence)[beat.clip(max=len(h))] for h, beat in zip(heard, self.beats, strict=True)]
        )
        labels = [Chord(state % 12, quality).harte() for quality in model.qualities for state in range(12)] + ["N"]
        pairs, times = np.unique(self.place * len(labels) + sampled, return_counts=True)
        one = [self.names[pair // len(labels)] for pair in pairs]
        other = [labels[pair % len(labels)] for pair in pairs]
        results: dict[object, float] = {}
        for metric in WEIGHTS:
            correct = metric(one, other)
            results[metric] = float((correct * times)[correct >= 0].sum() / times[correct >= 0].sum())
        return results


def judged(bench: Bench, textbook: Bench, model: ChordModel) -> tuple[float, str]:
    """The sum that is raised, and its parts in words."""
    found, book = bench.accuracy(model), textbook.accuracy(model)[tetrads]
    total = sum(weight * found[metric] for metric, weight in WEIGHTS.items()) + TEXTBOOK_WEIGHT * book
    return total, " ".join(
        f"{metric.__name__} {100 * found[metric]:.2f}" for metric in WEIGHTS
    ) + f" book {100 * book:.0f}"


def constants(model: ChordModel) -> dict[tuple[str, object], float]:
    """Every number of the model by field and place in it."""
    found: dict[tuple[str, object], float] = {}
    for entry in fields(model):
        value = getattr(model, entry.name)
        if entry.name in FIXED:
            continue
        if isinstance(value, tuple):
            found |= {(entry.name, place): number for place, number in enumerate(value)}
        elif isinstance(value, (int, float)):
            found[entry.name, None] = value
        else:
            found |= {(entry.name, key): number for key, number in value.items() if key != "maj"}
    return found


def moved(model: ChordModel, field: str, place: object, number: float) -> ChordModel:
    value = getattr(model, field)
    if isinstance(value, tuple):
        return replace(model, **{field: tuple(number if i == place else old for i, old in enumerate(value))})
    if place is None:
        return replace(model, **{field: round(number) if isinstance(value, int) else number})
    return replace(model, **{field: {**value, place: number}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    bench = Bench([read_song(options.data, name) for name in list_songs(options.data, "train")[::EVERY]])
    textbook = Bench([textbook_song(name, texture) for name in PROGRESSIONS for texture in TEXTURES])
    model, begin, order = DEFAULT_MODEL, time.monotonic(), random.Random(0)
    steps = {key: max(0.15 * abs(value), 0.08) for key, value in constants(model).items()} | {("key_window", None): 4}
    best, words = judged(bench, textbook, model)
    print(f"start: {words} ({time.monotonic() - begin:.1f} s)", flush=True)
    keys = list(steps)
    while time.monotonic() - begin < options.seconds:
        order.shuffle(keys)
        for field, place in keys:
            if time.monotonic() - begin > options.seconds:
                break
            for sign in (1, -1):
                number = constants(model)[field, place] + sign * steps[field, place]
                if (field == "compression" and number <= 0) or (field == "key_window" and number < 1):
                    continue
                tried = moved(model, field, place, number)
                found, words = judged(bench, textbook, tried)
                if found > best + MIN_GAIN:
                    model, best = tried, found
                    steps[field, place] *= 1.3
                    print(f"{time.monotonic() - begin:4.0f} s: {field} {place} {number:.3g}: {words}", flush=True)
                    break
            else:
                steps[field, place] *= 0.5
    start = constants(DEFAULT_MODEL)
    for key, value in constants(model).items():
        if value != start[key]:
            print(*key, f"{start[key]:.3g} -> {value:.3g}")


if __name__ == "__main__":
    main()
