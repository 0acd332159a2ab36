"""A song as a picture: pitch classes beat by beat, the labels, and the chords that were heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aurl.music.chord_detection import detect_chords
from aurl.music.chord_features import chord_features, metre_grid
from aurl.music.chord_symbols import lead_sheet
from aurl.music.chords import ROOTS, parse_harte
from experiments.chord_detection.labels import Song

FIRST_BEAT, BEATS = 32, 48
SHADES = ("#dbe9f6", "#f4e3d0")


def draw(song: Song, path: Path) -> None:
    """Draw 12 bars of a song from its ninth on."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    edges = metre_grid(song.score).edges
    heard = chord_features(song.score, edges).sounding.reshape(len(edges) - 1, -1, 12).mean(axis=1)
    chords = detect_chords(song.score)
    start, end = edges[FIRST_BEAT], edges[min(FIRST_BEAT + BEATS, len(edges) - 1)]
    figure, axes = pyplot.subplots(
        4, 1, figsize=(14, 5.6), sharex=True, height_ratios=[4, 0.6, 0.6, 0.8], layout="constrained"
    )
    axes[0].pcolormesh(edges, np.arange(13) - 0.5, np.minimum(heard, 2).T, cmap="Greys")
    axes[0].set_yticks(range(12), ROOTS)
    axes[0].set_ylabel("pitch class")
    labelled = [
        (*interval, parse_harte(name))
        for interval, name in zip(song.intervals, song.labels, strict=True)
        if name != "X"
    ]
    for axis, segments, name in ((axes[1], labelled, "label"), (axes[2], chords.segments(), "heard")):
        for place, (begin, stop, chord) in enumerate(segments):
            if stop <= start or begin >= end:
                continue
            axis.axvspan(begin, stop, color=SHADES[place % 2], lw=0)
            middle = (max(begin, start) + min(stop, end)) / 2
            axis.text(middle, 0.5, lead_sheet(chord), ha="center", va="center", fontsize=8, clip_on=True)
        axis.set_yticks([])
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[3].step(chords.edges, np.append(chords.confidence, chords.confidence[-1]), where="post", color="#4477aa")
    axes[3].set_ylim(0, 1.05)
    axes[3].set_ylabel("confidence", rotation=0, ha="right", va="center")
    axes[3].set_xlabel("quarters")
    axes[3].set_xlim(start, end)
    axes[0].set_title(f"POP909-CL song {song.name}: what sounds, the label, and the chord that is heard")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
