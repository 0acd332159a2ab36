"""Tonal tension in the spiral array: how wide a cloud of notes is, how it moves, how far from the key it lies.

Source: Chew (2000), "Towards a mathematical model of tonality"; Herremans and Chew (2016), "Tension ribbons". Pitch
classes lie on a helix along the line of fifths. MIDI does not spell, so each class takes the place nearest to the tonic
of the estimated key (five fifths below to six above it).

Axes: Q quarters (the clouds).
"""

from __future__ import annotations

import math

import numpy as np

from aurl.evaluation.metrics.harmony import quarter_classes
from aurl.evaluation.metrics.pitch import find_key, sounding_classes
from aurl.evaluation.metrics.table import OCTAVE, Floats, Music, NoteTable, as_table

RISE = math.sqrt(2 / 15)
"""Rise of the helix of radius 1 for each fifth."""
WEIGHTS = np.array([0.536, 0.274, 0.190])
"""Of root, fifth and third in a chord; of tonic, dominant and subdominant in a key (Chew 2000)."""
MAJOR_DOMINANT = 0.75
"""Weight of the major dominant, and of the minor subdominant, in a minor key (Chew 2000)."""
FIFTHS_BELOW = 5


def cloud_diameter(music: Music) -> float:
    """Mean over quarters of the largest distance between two of its pitch classes in the spiral array."""
    _, diameter, _, _ = tension_curves(music)
    return _mean(diameter)


def cloud_momentum(music: Music) -> float:
    """Mean distance between the centres of neighbouring quarters' clouds in the spiral array."""
    _, _, momentum, _ = tension_curves(music)
    return _mean(momentum)


def tensile_strain(music: Music) -> float:
    """Mean distance between the centre of each quarter's cloud and the centre of the estimated key."""
    _, _, _, strain = tension_curves(music)
    return _mean(strain)


def tension_curves(music: Music) -> tuple[Floats, Floats, Floats, Floats]:
    """Tension quarter by quarter.

    Returns:
        Quarters (numbers) in which something sounds, (Q,) cloud diameter, (Q - 1,) cloud momentum, (Q,) tensile strain.
    """
    table: NoteTable = as_table(music)
    classes = quarter_classes(table)
    heard = np.flatnonzero(classes.sum(axis=1) > 0)
    classes = classes[heard]
    tonic, minor, _ = find_key(sounding_classes(table))
    place = class_places(tonic)
    gaps = np.linalg.norm(place[:, None] - place[None], axis=2)
    present = classes > 0
    together = present[:, :, None] & present[:, None, :]
    diameter = (together * gaps).max(axis=(1, 2), initial=0.0)
    centres = classes @ place / np.maximum(classes.sum(axis=1, keepdims=True), 1e-12)
    momentum = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    strain = np.linalg.norm(centres - key_centre(minor), axis=1)
    return heard.astype(np.float64), diameter, momentum, strain


def class_places(tonic: int) -> Floats:
    """(12, 3) place of each pitch class on the helix, the tonic at 0 fifths."""
    fifths = (np.arange(OCTAVE) - tonic) * 7 % OCTAVE
    fifths = np.where(fifths >= OCTAVE - FIFTHS_BELOW, fifths - OCTAVE, fifths)
    return np.stack([helix(float(steps)) for steps in fifths])


def helix(fifths: float) -> Floats:
    """(3,) the point so many fifths from the tonic."""
    return np.array([math.sin(fifths * math.pi / 2), math.cos(fifths * math.pi / 2), fifths * RISE])


def chord_centre(root: float, minor: bool) -> Floats:
    """(3,) centre of a triad whose root lies so many fifths from the tonic."""
    third = root - 3 if minor else root + 4
    result: Floats = WEIGHTS @ np.stack([helix(root), helix(root + 1), helix(third)])
    return result


def key_centre(minor: bool) -> Floats:
    """(3,) centre of the key whose tonic lies at 0 fifths."""
    if not minor:
        return np.asarray(WEIGHTS @ np.stack([chord_centre(root, False) for root in (0, 1, -1)]))
    dominant = MAJOR_DOMINANT * chord_centre(1, False) + (1 - MAJOR_DOMINANT) * chord_centre(1, True)
    subdominant = MAJOR_DOMINANT * chord_centre(-1, True) + (1 - MAJOR_DOMINANT) * chord_centre(-1, False)
    return np.asarray(WEIGHTS @ np.stack([chord_centre(0, True), dominant, subdominant]))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan
