"""What harmony follows what: chords of each quarter, their variety, and their likelihood under a reference.

The chord of a quarter is the triad that its pitch classes fit best. A :class:`ChordModel` counts, over a corpus, which
chord follows which (as a root movement and two qualities, so that keys share their counts), on bar lines and inside
bars apart. Its nats per quarter are low where the harmony moves as the corpus does.

Axes: Q quarters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aurl.evaluation.metrics.harmony import quarter_classes
from aurl.evaluation.metrics.table import OCTAVE, PITCHES, STEPS_PER_QUARTER, Floats, Ints, Music, NoteTable, as_table

QUALITIES = {"major": (0, 4, 7), "minor": (0, 3, 7), "diminished": (0, 3, 6)}
NO_CHORD = -1
"""A quarter in which nothing sounds."""
BASS_BONUS = 0.15
"""Added to the cosine of a triad whose root is the lowest sounding class: tells C6 from Am7."""
SMOOTHING = 0.5
"""Counts every transition starts with."""
OUTCOMES = len(QUALITIES) * OCTAVE


def quarter_chords(music: Music) -> Ints:
    """(Q,) chord of each quarter: quality number times 12 plus root, or NO_CHORD.

    Example:
        >>> quarter_chords(score)[:4]  # doctest: +SKIP
        array([0, 0, 5, 7])
    """
    table = as_table(music)
    classes = quarter_classes(table)
    fit = classes @ _templates().T / np.maximum(np.linalg.norm(classes, axis=1, keepdims=True), 1e-12)
    bass = _lowest_class(table, len(classes))
    fit[np.arange(len(fit))[:, None], bass[:, None] + OCTAVE * np.arange(len(QUALITIES))] += BASS_BONUS
    chords = fit.argmax(axis=1)
    chords[classes.sum(axis=1) == 0] = NO_CHORD
    return chords


def chord_irregularity(music: Music) -> float:
    """Share of different chord trigrams among all, after removing repetitions (CPI of MusDr, Wu and Yang 2020)."""
    chords = chord_changes(quarter_chords(music))
    if len(chords) < 3:
        return math.nan
    return len(set(zip(chords[:-2].tolist(), chords[1:-1].tolist(), chords[2:].tolist(), strict=True))) / (
        len(chords) - 2
    )


def chord_change_rate(music: Music) -> float:
    """Chord changes a quarter: harmonic rhythm."""
    chords = quarter_chords(music)
    heard = (chords != NO_CHORD).sum()
    return (len(chord_changes(chords)) - 1) / float(heard) if heard > 1 else math.nan


def root_motion_distribution(music: Music) -> Floats:
    """(12,) shares of root movements in semitones upwards at chord changes (0: only the quality changes)."""
    moves = np.diff(chord_changes(quarter_chords(music)) % OCTAVE) % OCTAVE
    return np.bincount(moves, minlength=OCTAVE) / max(len(moves), 1)


def chord_changes(chords: Ints) -> Ints:
    """Chords without silence and without repetitions."""
    heard = chords[chords != NO_CHORD]
    return heard[np.append(True, heard[1:] != heard[:-1])] if len(heard) else heard


@dataclass(frozen=True)
class ChordModel:
    """Which chord follows which in a corpus; see :meth:`fit`."""

    counts: Floats
    """(2, 3, 36) transitions: inside a bar or over its line; quality before; root movement and quality after."""

    @classmethod
    def fit(cls, corpus: Iterable[Music]) -> ChordModel:
        """Count the transitions of every piece.

        Raises:
            ValueError: no piece has two chords.

        Example:
            >>> model = ChordModel.fit(training_scores)  # doctest: +SKIP
            >>> model.nats_per_quarter(score)  # doctest: +SKIP
            0.81
        """
        counts = np.zeros((2, len(QUALITIES), OUTCOMES))
        for music in corpus:
            over, before, after = transitions(as_table(music))
            np.add.at(counts, (over, before, after), 1)
        if not counts.sum():
            raise ValueError("a chord model needs at least one piece with two chords, got none")
        return cls(counts)

    def nats(self, music: Music) -> tuple[Floats, Ints]:
        """(transitions,) nats of each chord given the one before, and whether each stands after a bar line (0 or 1)."""
        over, before, after = transitions(as_table(music))
        smooth = self.counts + SMOOTHING
        logs = np.log(smooth / smooth.sum(axis=2, keepdims=True))
        return -logs[over, before, after], over

    def nats_per_quarter(self, music: Music) -> float:
        """Mean nats of a quarter's chord given the one before; NaN without two chords."""
        nats, _ = self.nats(music)
        return float(nats.mean()) if len(nats) else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"counts": self.counts.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ChordModel:
        """The model of :meth:`to_dict`."""
        return cls(np.array(values["counts"], dtype=np.float64))


def transitions(table: NoteTable) -> tuple[Ints, Ints, Ints]:
    """Every pair of neighbouring quarters with chords: over a bar line, quality before, movement and quality after."""
    chords = quarter_chords(table)
    first, second = chords[:-1], chords[1:]
    both = (first != NO_CHORD) & (second != NO_CHORD)
    line = np.zeros(len(chords) + 1, dtype=np.int64)
    starts = np.ceil(table.bar_starts[table.bar_starts < len(chords)] - 1e-9).astype(np.int64)
    line[np.minimum(starts, len(chords))] = 1
    move = (second % OCTAVE - first % OCTAVE) % OCTAVE + OCTAVE * (second // OCTAVE)
    return line[1 : len(chords)][both], (first // OCTAVE)[both], move[both]


def _templates() -> Floats:
    """(36, 12) triads as unit vectors."""
    rows = np.zeros((OUTCOMES, OCTAVE))
    for number, steps in enumerate(QUALITIES.values()):
        for root in range(OCTAVE):
            rows[number * OCTAVE + root, [(root + step) % OCTAVE for step in steps]] = 1 / math.sqrt(len(steps))
    return rows


def _lowest_class(table: NoteTable, quarters: int) -> Ints:
    """(Q,) class of the lowest pitch sounding in each quarter; 0 where nothing sounds."""
    sounds = table.roll > 0
    rest = quarters * STEPS_PER_QUARTER - len(sounds)
    sounds = np.concatenate([sounds, np.zeros((rest, sounds.shape[1]), dtype=bool)])
    heard = sounds.reshape(quarters, STEPS_PER_QUARTER, PITCHES).any(axis=1)
    lowest: Ints = heard.argmax(axis=1) % OCTAVE
    return lowest
