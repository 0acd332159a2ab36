"""What sounds together: dissonance of sonorities, agreement of tracks, and voice-leading of four-part music.

Read on the sixteenth grid of the table, every note for at least one step. None of these sees the order of sonorities;
progression.py does.

Axes: S steps, Q quarters.
"""

from __future__ import annotations

import math

import numpy as np

from aurl.evaluation.chorale import voice_statistics
from aurl.evaluation.metrics.table import OCTAVE, STEPS_PER_QUARTER, Bools, Floats, Music, NoteTable, as_table
from aurl.evaluation.voices import UNITS_PER_QUARTER, VOICES, Notes, Voices
from aurl.music.consonance import interval_classes, roughness

MOST_OVERLAP = 0.02
"""Share of a part's notes that may overlap the next before it no longer is one voice."""
CENTROID_RADII = (1.0, 1.0, 0.5)
"""Radii of the circles of fifths, minor thirds and major thirds (Harte, Sandler and Gasser 2006)."""


def dissonance(music: Music) -> float:
    """Mean roughness of sonorities: minus Huron's consonance of the interval classes between all sounding classes.

    Weighted by time; steps with fewer than two pitch classes are left out. About -0.6 for triads alone.
    Sees wrong notes and permuted pitches; does not see which dissonance is prepared and resolved.
    """
    rough = roughness(as_table(music).chroma)
    rough = rough[~np.isnan(rough)]
    return float(rough.mean()) if len(rough) else math.nan


def semitone_clash_share(music: Music) -> float:
    """Share of the time with two pitch classes or more in which two of them lie a semitone apart."""
    counts = interval_classes(as_table(music).chroma)
    several = counts.sum(axis=1) > 0
    return float((counts[several, 0] > 0).mean()) if several.any() else math.nan


def interval_class_distribution(music: Music) -> Floats:
    """(6,) shares of simultaneous interval classes, semitone to tritone, over time and pairs."""
    total = interval_classes(as_table(music).chroma).sum(axis=0)
    return total / max(float(total.sum()), 1.0)


def tonal_distance(music: Music) -> float:
    """Mean distance of the tonal centroids of two tracks in the same quarter, over all pairs (MuseGAN's TD).

    Small where tracks agree on the harmony; NaN with fewer than two pitched tracks.
    """
    table = as_table(music)
    presence = []
    for track in range(len(table.programs)):
        mine = (table.track == track) & table.pitched
        if mine.any():
            presence.append(quarter_classes(table, mine))
    distances = []
    for index, first in enumerate(presence):
        for second in presence[:index]:
            both = (first.sum(axis=1) > 0) & (second.sum(axis=1) > 0)
            gap = tonal_centroids(first[both]) - tonal_centroids(second[both])
            distances.append(np.linalg.norm(gap, axis=1))
    joined = np.concatenate(distances) if distances else np.zeros(0)
    return float(joined.mean()) if len(joined) else math.nan


def tonal_flux(music: Music) -> float:
    """Mean distance of the tonal centroids of neighbouring quarters: how far the harmony moves (Harte et al. 2006)."""
    classes = quarter_classes(as_table(music))
    heard = classes.sum(axis=1) > 0
    centroids = tonal_centroids(classes[heard])
    return float(np.linalg.norm(np.diff(centroids, axis=0), axis=1).mean()) if len(centroids) > 1 else math.nan


def voice_leading(music: Music) -> dict[str, float]:
    """Statistics of four-part writing (:mod:`aurl.evaluation.chorale`); all NaN unless four monophonic parts sing."""
    table = as_table(music)
    voices = four_voices(table)
    if voices is None:
        return dict.fromkeys(CHORALE_NAMES, math.nan)
    values = voice_statistics(voices)
    return {name: values[name] for name in CHORALE_NAMES}


CHORALE_NAMES = (
    "parallel_fifths_per_100_chords",
    "parallel_octaves_per_100_chords",
    "crossed_percent",
    "soprano_alto_wide_percent",
    "alto_tenor_wide_percent",
    "rest_triad_percent",
    "authentic_percent",
    "step_percent",
)
"""Statistics of chorale.py that are offered as metrics."""


def four_voices(table: NoteTable) -> Voices | None:
    """The table as four voices, or None when it is not music in four parts of one note at a time."""
    tracks = [track for track in range(len(table.programs)) if ((table.track == track) & table.pitched).any()]
    if len(tracks) != VOICES or table.drum.any():
        return None
    notes = []
    for track in tracks:
        mine = table.track == track
        start = np.rint(table.onset[mine] * UNITS_PER_QUARTER).astype(np.int64)
        end = np.rint(table.offset[mine] * UNITS_PER_QUARTER).astype(np.int64)
        if len(start) > 1 and (start[1:] < end[:-1]).mean() > MOST_OVERLAP:
            return None
        notes.append(Notes(start, np.maximum(end - start, 1), table.pitch[mine]))
    return Voices(tuple(notes), np.rint(table.bar_starts * UNITS_PER_QUARTER).astype(np.int64))


def quarter_classes(table: NoteTable, mine: Bools | None = None) -> Floats:
    """(Q, 12) time in sixteenths that each pitch class sounds in each quarter, of all pitched notes or of some."""
    if mine is None:
        chroma = np.minimum(table.chroma, 1).astype(np.float64)
    else:
        first, last = table.steps
        first, last = np.minimum(first[mine], len(table.chroma)), np.minimum(last[mine], len(table.chroma))
        edges = np.zeros((len(table.chroma) + 1, OCTAVE))
        np.add.at(edges, (first, table.pitch[mine] % OCTAVE), 1)
        np.add.at(edges, (last, table.pitch[mine] % OCTAVE), -1)
        chroma = np.minimum(np.cumsum(edges, axis=0)[:-1], 1)
    rest = -len(chroma) % STEPS_PER_QUARTER
    padded = np.concatenate([chroma, np.zeros((rest, OCTAVE))])
    return padded.reshape(-1, STEPS_PER_QUARTER, OCTAVE).sum(axis=1)


def tonal_centroids(classes: Floats) -> Floats:
    """(Q, 6) tonal centroids of pitch-class weights (Q, 12); rows have a positive sum."""
    pitch = np.arange(OCTAVE)
    basis = []
    for radius, turns in zip(CENTROID_RADII, (7 / 6, 3 / 2, 2 / 3), strict=True):
        basis += [radius * np.sin(pitch * turns * np.pi), radius * np.cos(pitch * turns * np.pi)]
    result: Floats = classes @ np.array(basis).T / np.maximum(classes.sum(axis=1, keepdims=True), 1e-12)
    return result
