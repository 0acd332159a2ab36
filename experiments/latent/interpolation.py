"""(4) Interpolation: do attributes move steadily from one piece to the other, and are neighbours alike?"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from aurl.music.attributes import ATTRIBUTES
from aurl.music.pianoroll import note_arrays
from experiments.latent.setting import Row, Setting, at_least, nan_mean

BARS, STEPS = 8, 8
GRID = 12
"""Steps of a quarter on which notes count as the same."""
LEAST_WAY = 0.5
"""Ends that are nearer than so many standard deviations of an attribute have no way between them to be steady on."""


def notes_of(score) -> set[tuple[int, int]]:
    """(onset, pitch) of all notes."""
    notes = note_arrays(score)
    return set(zip(np.rint(notes.onset * GRID).astype(int).tolist(), notes.pitch.tolist(), strict=True))


def likeness(first, second) -> float:
    """F1 of notes that both have: onset and pitch."""
    one, other = notes_of(first), notes_of(second)
    return 2 * len(one & other) / max(len(one) + len(other), 1)


def measure(setting: Setting) -> list[Row]:
    """Over pairs of pieces that follow each other in the split."""
    tools = setting.tools
    pieces = list(setting.beginnings(BARS))
    pairs = list(zip(pieces[::2], pieces[1::2], strict=False))
    if not pairs:
        return []
    samples = tools.decode(np.concatenate([tools.way(first, second, STEPS) for first, second in pairs]))
    ways = [samples[start : start + STEPS] for start in range(0, len(samples), STEPS)]
    steady, near, far, ends = {name: [] for name in ATTRIBUTES}, [], [], []
    complete = [bool(each.ended and each.notes and tools.bars_of(each.ids) == BARS) for each in samples]
    for way in ways:
        means = np.array([nan_mean(tools.attributes_of(each.score, BARS)) for each in way])
        for column, name in enumerate(ATTRIBUTES):
            path = means[:, column]
            length = path[-1] - path[0]
            if np.isnan(path).any() or abs(length) < max(LEAST_WAY * setting.deviations[column], 1e-6):
                continue
            steady[name] += (np.diff(path) * np.sign(length) >= 0).tolist()
        between = [likeness(one.score, other.score) for one, other in pairwise(way)]
        near += between
        far.append(likeness(way[0].score, way[-1].score))
        ends.append(np.mean(between) > far[-1])
    every = [step for steps in steady.values() for step in steps]
    note = ", ".join(f"{name} {np.mean(steps):.2f}" for name, steps in steady.items() if steps)
    return [
        at_least("steps of attribute paths that go the right way, share", float(np.mean(every)), 0.8, note),
        at_least("intermediate pieces that decode, share", float(np.mean(complete)), 1.0, f"{len(samples)} pieces"),
        at_least("ways on which neighbours are more alike than the ends, share", float(np.mean(ends)), 1.0),
        Row("notes that neighbours share (F1)", float(np.mean(near)), note=f"the ends {np.mean(far):.3f}"),
    ]
