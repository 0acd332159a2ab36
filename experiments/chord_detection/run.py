"""Accuracy and speed of chord detection on POP909-CL, beside baselines and without each part; see README.md."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import mir_eval
import numpy as np
from numpy.typing import NDArray

from aurl.music.chord_detection import DEFAULT_MODEL, ChordModel, detect_chords
from aurl.music.chord_features import chord_features, metre_grid
from aurl.music.chords import QUALITIES, Chord
from experiments.chord_detection.labels import Song, list_songs, read_performed, read_song

METRICS: dict[str, Callable[[list[str], list[str]], NDArray[np.float64]]] = {
    "root": mir_eval.chord.root,
    "majmin": mir_eval.chord.majmin,
    "thirds": mir_eval.chord.thirds,
    "sevenths": mir_eval.chord.sevenths,
    "sevenths_inv": mir_eval.chord.sevenths_inv,
}
Estimate = tuple[NDArray[np.float64], list[str]]
BOOTSTRAPS = 2000
NEARLY_LINEAR = 0.01
_SCALE = float(np.log1p(DEFAULT_MODEL.compression) / np.log1p(NEARLY_LINEAR))
LINEAR: dict[str, object] = {
    "compression": NEARLY_LINEAR,
    **{name: _SCALE * getattr(DEFAULT_MODEL, name) for name in ("body", "top", "attacks", "bass", "bass_attacks")},
}
"""A count of one weighs as before, more than one in proportion."""
ABLATIONS: dict[str, dict[str, object]] = {
    "bass ignored": {"bass": 0.0, "bass_attacks": 0.0},
    "highest voice counts as the others": {"top": DEFAULT_MODEL.body},
    "attacks ignored": {"attacks": 0.0},
    "counts not compressed": LINEAR,
    "tensions count as foreign notes": {"tension": DEFAULT_MODEL.foreign},
    "no key": {"key_bonus": 0.0},
    "one cost of change everywhere": {"change": (4.0, 4.0, 4.0)},
    "one cost of all root moves": {"root_move": (0.3,) * 7},
    "major and minor only": {"quality_bias": {"maj": 0.0, "min": DEFAULT_MODEL.quality_bias["min"]}},
    "no path: best chord of each beat": {"change": (0.0,) * 3, "root_move": (0.0,) * 7, "to_silence": 0.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the archive pop909")
    parser.add_argument("--split", default="valid", choices=("train", "valid", "test"))
    parser.add_argument("--ablate", nargs="*", metavar="PART", help="also without each part, or without the named ones")
    parser.add_argument("--music21", type=int, default=0, metavar="SONGS", help="also music21, on the first songs")
    parser.add_argument("--performed", action="store_true", help="also the performed files, against chord_midi.txt")
    parser.add_argument("--songs", type=int, help="the first songs of the split only")
    parser.add_argument("--picture", type=Path, help="draw 32 beats of the first song to this file")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    songs = [read_song(options.data, name) for name in list_songs(options.data, options.split)[: options.songs]]
    results: dict[str, dict[str, object]] = {}

    def report(name: str, recogniser: Callable[[Song], Estimate], chosen: list[Song]) -> list[Estimate]:
        begin = time.process_time()
        estimates = [recogniser(song) for song in chosen]
        seconds = time.process_time() - begin
        results[name] = {
            "songs": len(chosen),
            "cpu_ms_a_song": 1000 * seconds / len(chosen),
            **judge(chosen, estimates),
        }
        row = results[name]
        cells = [f"{row[metric][0]:.1f} ({row[metric][1]:.1f}-{row[metric][2]:.1f})" for metric in METRICS]
        print(
            f"| {name} | {len(chosen)} | "
            + " | ".join(cells)
            + f" | {row['segmentation']:.1f} | {row['cpu_ms_a_song']:.0f} |"
        )
        return estimates

    print("| recogniser | songs | " + " | ".join(METRICS) + " | segmentation | CPU ms a song |")
    print("|" + "---|" * (len(METRICS) + 4))
    estimates = report("aurl", lambda song: recognise(song, DEFAULT_MODEL), songs)
    report("best major or minor template of each beat", plain_templates, songs)
    if options.music21:
        report("aurl, same songs as music21", lambda song: recognise(song, DEFAULT_MODEL), songs[: options.music21])
        report("music21, chord of each beat", music21_chords, songs[: options.music21])
    if options.ablate is not None:
        unknown = set(options.ablate) - set(ABLATIONS)
        if unknown:
            parser.error(f"--ablate {sorted(unknown)}: allowed {sorted(ABLATIONS)}")
        for name, changes in ABLATIONS.items():
            if options.ablate and name not in options.ablate:
                continue
            report(name, lambda song, changes=changes: recognise(song, replace(DEFAULT_MODEL, **changes)), songs)
    if options.performed:
        read = [read_performed(options.data, song.name) for song in songs]
        beats = {found[0].name: found[1:] for found in read if found is not None}
        performed = [found[0] for found in read if found is not None]
        report(
            "aurl, performed files, labels of chord_midi",
            lambda song: recognise(song, beats=beats[song.name]),
            performed,
        )
    confusion(songs, estimates)
    if options.picture:
        from experiments.chord_detection.picture import draw

        draw(songs[0], options.picture)
    if options.json:
        options.json.write_text(json.dumps({"split": options.split, "results": results}, indent=1))


def recognise(song: Song, model: ChordModel = DEFAULT_MODEL, beats: tuple[NDArray, ...] = ()) -> Estimate:
    segments = detect_chords(song.score, *beats, model=model).segments()
    return np.array([segment[:2] for segment in segments]), [chord.harte() for _, _, chord in segments]


def plain_templates(song: Song) -> Estimate:
    """Each beat alone: the major or minor triad nearest to its pitch classes by cosine; silence has none."""
    edges = metre_grid(song.score).edges
    heard = chord_features(song.score, edges).sounding
    heard = heard.reshape(len(edges) - 1, -1, 12).sum(axis=1)
    chords = [Chord(root, quality) for quality in ("maj", "min") for root in range(12)]
    templates = np.array([[pitch in chord.pitch_classes for pitch in range(12)] for chord in chords], float)
    best = (heard @ templates.T).argmax(axis=1)
    labels = ["N" if not beat.any() else chords[place].harte() for beat, place in zip(heard, best, strict=True)]
    return np.stack([edges[:-1], edges[1:]], axis=1), labels


def music21_chords(song: Song) -> Estimate:
    """music21's root and quality of everything that sounds in a beat."""
    import music21

    edges = metre_grid(song.score).edges
    names = {"major": "maj", "minor": "min", "diminished": "dim", "augmented": "aug"}
    columns = song.score.tracks[0].notes.numpy()
    onset = columns["time"] / song.score.tpq
    end = (columns["time"] + columns["duration"]) / song.score.tpq
    labels = []
    for start, stop in pairwise(edges):
        pitches = sorted(set(columns["pitch"][(onset < stop) & (end > start)].tolist()))
        if not pitches:
            labels.append("N")
            continue
        chord = music21.chord.Chord(pitches)
        labels.append(Chord(chord.root().pitchClass, names.get(chord.quality, "maj")).harte())
    return np.stack([edges[:-1], edges[1:]], axis=1), labels


def aligned(song: Song, estimate: Estimate) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """Durations and both labels over the time that the labels and the song cover, as mir_eval.chord.evaluate does."""
    start, end = 0.0, float(song.intervals.max())
    reference = mir_eval.util.adjust_intervals(
        song.intervals, song.labels, start, end, mir_eval.chord.NO_CHORD, mir_eval.chord.NO_CHORD
    )
    filled = fill_gaps(*reference)
    adjusted = mir_eval.util.adjust_intervals(*estimate, start, end, mir_eval.chord.NO_CHORD, mir_eval.chord.NO_CHORD)
    intervals, labels, heard = mir_eval.util.merge_labeled_intervals(*filled, *adjusted)
    durations = mir_eval.util.intervals_to_durations(intervals)
    lasting = np.flatnonzero(durations > 0)
    return durations[lasting], [labels[place] for place in lasting], [heard[place] for place in lasting]


def fill_gaps(intervals: NDArray[np.float64], labels: list[str]) -> tuple[NDArray[np.float64], list[str]]:
    """No chord between chords that do not meet."""
    rows: list[tuple[float, float]] = []
    names: list[str] = []
    for (start, end), label in zip(intervals.tolist(), labels, strict=True):
        if rows and start > rows[-1][1]:
            rows.append((rows[-1][1], start))
            names.append("N")
        rows.append((start, end))
        names.append(label)
    return np.array(rows), names


def judge(songs: list[Song], estimates: list[Estimate]) -> dict[str, object]:
    """Percent correct of all time that a metric looks at, with 95 % intervals over songs; mir_eval's segmentation."""
    random = np.random.default_rng(0)
    draws = random.integers(0, len(songs), (BOOTSTRAPS, len(songs)))
    sums = {name: np.zeros((len(songs), 2)) for name in METRICS}
    segmentation = []
    for place, (song, estimate) in enumerate(zip(songs, estimates, strict=True)):
        durations, labels, heard = aligned(song, estimate)
        for name, metric in METRICS.items():
            correct = metric(labels, heard)
            looked_at = correct >= 0
            sums[name][place] = (correct * durations)[looked_at].sum(), durations[looked_at].sum()
        edges = np.append(0.0, np.cumsum(durations))
        stretches = np.stack([edges[:-1], edges[1:]], axis=1)
        merged = [mir_eval.chord.merge_chord_intervals(stretches, names) for names in (labels, heard)]
        segmentation.append(100 * mir_eval.chord.seg(*merged))
    result: dict[str, object] = {"segmentation": float(np.mean(segmentation))}
    for name, parts in sums.items():
        drawn = parts[draws].sum(axis=1)
        low, high = np.percentile(100 * drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
        result[name] = (float(100 * parts[:, 0].sum() / parts[:, 1].sum()), float(low), float(high))
        result[f"{name}_song_mean"] = float(100 * (parts[:, 0] / parts[:, 1].clip(min=1e-9)).mean())
    return result


def confusion(songs: list[Song], estimates: list[Estimate]) -> None:
    """What is taken for what, in percent of all time: pairs of qualities with the distance of roots."""
    from aurl.music.chords import parse_harte

    pairs: Counter[str] = Counter()
    total = 0.0
    for song, estimate in zip(songs, estimates, strict=True):
        for duration, label, heard in zip(*aligned(song, estimate), strict=True):
            total += duration
            if label == "X":
                continue
            one, other = parse_harte(label), parse_harte(heard)
            if (one.root, one.quality) == (other.root, other.quality):
                continue
            move = "" if -1 in (one.root, other.root) else f", root {(other.root - one.root) % 12:+d}"
            pairs[f"{one.quality} heard as {other.quality}{move}"] += duration
    print("\n| confusion (root in semitones up) | % of time |\n|---|---|")
    for name, duration in pairs.most_common(15):
        print(f"| {name} | {100 * duration / total:.2f} |")
    print(f"\nvocabulary: {' '.join(quality.name for quality in QUALITIES)}")


if __name__ == "__main__":
    main()
