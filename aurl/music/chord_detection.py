"""Chords heard in the notes of a score, beat by beat, without a network: templates, the bass, and the best path.

1. Half beats of a beat grid hold how long each pitch class sounds, how often it begins, and what the lowest voice
   plays; the highest voice counts less, for melodies carry most of the notes outside the chord (chord_features.py).
2. Every chord (12 roots of 12 qualities) has a template: chord tones count for it, tensions a little against it, other
   notes against it, and so for the lowest voice. The score of a beat is a sum over its halves, so what speaks for a
   chord adds up over an arpeggio. Chords of the key that the surrounding bars suggest get a bonus.
3. Viterbi's algorithm (1967) finds the best path. A change costs least on a downbeat; moving the root by a fifth or a
   step costs less than by a tritone.
4. A second, smaller path finds the bass among the tones of the chords.

The constants of :class:`ChordModel` were set by a coordinate search on 78 songs of POP909-CL's training list (see
experiments/chord_detection); nothing else is learned. Templates of this kind go back to T. Fujishima, "Realtime chord
recognition of musical sound", ICMC 1999, and the path to A. Sheh and D. Ellis, "Chord segmentation and recognition
using EM-trained hidden Markov models", ISMIR 2003.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.music.chord_features import (
    FRAMES_PER_BEAT,
    PITCH_CLASSES,
    ChordFeatures,
    chord_features,
    given_grid,
    metre_grid,
)
from aurl.music.chords import NO_CHORD, NO_PITCH, QUALITY, QUALITY_NUMBER, Chord

TENSIONS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "maj": (2, 5, 9, 10, 11),
        "min": (2, 5, 8, 10),
        "dim": (9, 10),
        "sus2": (4, 5, 9),
        "sus4": (2, 9, 10),
        "7": (2, 9),
        "maj7": (2, 9),
        "min7": (2, 5),
        "hdim7": (5,),
        "maj6": (2,),
    }
)
"""Semitones above the root that often sound over a chord without being part of it."""
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
STRENGTHS = 3
"""Kinds of beats: downbeat, middle of the bar, other (:class:`BeatGrid`)."""
MAX_CACHED_MODELS = 8


@dataclass(frozen=True, eq=False)
class ChordModel:
    """Constants of the recogniser. Weights multiply compressed counts; biases and costs are in the same unit, half a
    beat's score.

    Attributes:
        compression: counts x become log(1 + compression * x), so that a doubled note is not twice the evidence.
        body: weight of notes that sound below the highest voice.
        top: weight of the highest voice where others sound below it.
        attacks: weight of notes that begin.
        bass: weight of the lowest sounding voice.
        bass_attacks: weight of lowest notes that begin.
        seventh: value of a fourth chord tone; the first three have 1.
        tension: penalty of a tension.
        foreign: penalty of any other note outside the chord.
        bass_third: value of the third (or what stands for it) in the bass; the root has 1.
        bass_fifth: value of the fifth in the bass.
        bass_seventh: value of the fourth chord tone in the bass.
        bass_foreign: value of other notes in the bass.
        quality_bias: the qualities that are told apart, each with what is added to its score.
        key_bonus: taken from a chord in proportion to its tones outside the key of the surrounding music.
        key_window: beats before and after from which the key is taken.
        silence: score of "no chord" in half a beat.
        sound: what sounding notes take from that.
        change: cost of a change on a downbeat, in the middle of a bar, on another beat.
        root_move: cost of moving the root by 0 to 6 semitones up or down.
        to_silence: cost of a change to or from "no chord".
        bass_change: cost of another bass under the same chord.
        bass_inversion: taken from the score of a bass that is not the root.
    """

    compression: float = 2.21
    body: float = 1.17
    top: float = 0.56
    attacks: float = 0.4
    bass: float = 0.8
    bass_attacks: float = 0.92
    seventh: float = 0.8
    tension: float = 0.38
    foreign: float = 1.36
    bass_third: float = 0.01
    bass_fifth: float = -0.07
    bass_seventh: float = -0.41
    bass_foreign: float = -0.35
    quality_bias: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(
            {
                "maj": 0.0,
                "min": 0.05,
                "dim": -0.86,
                "aug": -0.9,
                "sus2": -1.34,
                "sus4": -1.34,
                "7": -0.82,
                "maj7": -0.8,
                "min7": -1.0,
                "hdim7": -1.1,
                "dim7": -2.1,
                "maj6": -1.6,
            }
        )
    )
    key_bonus: float = 0.88
    key_window: int = 16
    silence: float = 1.22
    sound: float = 0.14
    change: tuple[float, float, float] = (3.06, 3.87, 5.45)
    root_move: tuple[float, ...] = (0.68, 0.54, 0.29, 0.3, 0.3, 0.18, 1.2)
    to_silence: float = 0.425
    bass_change: float = 5.0
    bass_inversion: float = 0.5

    def __post_init__(self) -> None:
        unknown = set(self.quality_bias) - (set(QUALITY) - {"N"})
        if unknown or not self.quality_bias:
            raise ValueError(f"quality_bias has {sorted(unknown)}; allowed: one or more of {' '.join(QUALITY)} but N")
        if self.compression <= 0 or self.key_window < 1:
            raise ValueError(
                f"compression is {self.compression}, key_window {self.key_window}; allowed: above 0, at least 1"
            )
        if len(self.change) != STRENGTHS or len(self.root_move) != PITCH_CLASSES // 2 + 1:
            raise ValueError(
                f"{len(self.change)} values of change and {len(self.root_move)} of root_move; allowed: 3 and 7"
            )

    @property
    def qualities(self) -> tuple[str, ...]:
        """The qualities that are told apart."""
        return tuple(self.quality_bias)


DEFAULT_MODEL = ChordModel()


@dataclass(frozen=True)
class Chords:
    """Chords of the beats of a piece.

    Attributes:
        edges: quarters at which beats begin and the last one ends, ``(beats + 1,)``.
        root: pitch class of each beat's root, -1 for no chord, int8 ``(beats,)``.
        quality: place in :data:`aurl.music.chords.QUALITIES`, int8.
        bass: pitch class of the lowest note, -1 for no chord, int8.
        confidence: 0 to 1, float32: share of the chosen chord among all that the best paths could take in this beat,
            each as e to its path's score. A measure of doubt to rank beats by, not a calibrated probability.
    """

    edges: NDArray[np.float64]
    root: NDArray[np.int8]
    quality: NDArray[np.int8]
    bass: NDArray[np.int8]
    confidence: NDArray[np.float32]

    @property
    def onsets(self) -> NDArray[np.float64]:
        """Quarters at which beats begin."""
        return self.edges[:-1]

    def array(self) -> NDArray[np.int8]:
        """Root, quality and bass as one array ``(beats, 3)``."""
        return np.stack([self.root, self.quality, self.bass], axis=1)

    def segments(self) -> list[tuple[float, float, Chord]]:
        """Stretches of one chord: beginning and end in quarters, and the chord."""
        array = self.array()
        if not len(array):
            return []
        starts = np.flatnonzero(np.append(True, (array[1:] != array[:-1]).any(axis=1)))
        ends = np.append(starts[1:], len(array))
        return [
            (float(self.edges[start]), float(self.edges[end]), _chord(array[start]))
            for start, end in zip(starts, ends, strict=True)
        ]


def _chord(row: NDArray[np.int8]) -> Chord:
    names = list(QUALITY)
    return NO_CHORD if row[0] == NO_PITCH else Chord(int(row[0]), names[row[1]], int(row[2]))


def detect_chords(
    score: ScoreTick,
    beats: NDArray[np.float64] | None = None,
    downbeats: NDArray[np.float64] | None = None,
    model: ChordModel = DEFAULT_MODEL,
) -> Chords:
    r"""Hear the chords of a score.

    Args:
        score: any score; drum tracks are left out.
        beats: quarters at which beats begin, rising, ``(beats,)``; None takes the beats of the score's metres.
        downbeats: quarters at which bars begin; None takes the score's bar lines where they fit the beats.
        model: the constants.

    Returns:
        One chord a beat; beats in which nothing sounds have none.

    Raises:
        ValueError: beats are not a rising row of finite numbers.

    Example:
        >>> from aurl.music.abc import abc_to_score
        >>> chords = detect_chords(abc_to_score("X:1\nL:1/1\nK:C\n[CEGc]|[B,DGg]|[CEGc]|"))
        >>> [chord.harte() for _, _, chord in chords.segments()]
        ['C:maj', 'G:maj/3', 'C:maj']
    """
    grid = metre_grid(score) if beats is None else given_grid(score, beats, downbeats)
    if len(grid.level) == 0:
        nothing = np.zeros(0, np.int8)
        return Chords(grid.edges, nothing, nothing, nothing, np.zeros(0, np.float32))
    features = chord_features(score, grid.edges)
    scores = beat_scores(features, model)
    change = np.array(model.change, np.float32)[grid.level]
    best = best_through(scores[None], change[None], model)[0]
    state = best.argmax(axis=1)
    state[_is_silent(features)] = scores.shape[1] - 1
    number = np.append([QUALITY_NUMBER[name] for name in model.qualities], 0)
    is_chord = state < scores.shape[1] - 1
    root = np.where(is_chord, state % PITCH_CLASSES, NO_PITCH).astype(np.int8)
    quality = number[state // PITCH_CLASSES].astype(np.int8)
    doubt = np.exp(best - best.max(axis=1, keepdims=True))
    confidence = doubt[np.arange(len(state)), state] / doubt.sum(axis=1)
    bass = _bass_path(features, state, model)
    return Chords(grid.edges, root, quality, bass, confidence.astype(np.float32))


def _is_silent(features: ChordFeatures) -> NDArray[np.bool_]:
    """Beats in which nothing sounds."""
    return features.sounding.reshape(-1, FRAMES_PER_BEAT * PITCH_CLASSES).sum(axis=1) == 0


# --- how well chords fit beats ----------------------------------------------------------------------------------------


def beat_scores(features: ChordFeatures, model: ChordModel = DEFAULT_MODEL) -> NDArray[np.float32]:
    """How well each chord fits each beat.

    Returns:
        float32 ``(beats, qualities * 12 + 1)``: quality by quality its 12 roots, and "no chord" last.
    """

    def compressed(counts: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.log1p(model.compression * counts)

    notes, basses, bias, tones_in_keys = _templates(model)
    heard = model.body * compressed(features.body) + model.top * compressed(features.top)
    heard += model.attacks * compressed(features.attacks)
    low = model.bass * compressed(features.bass) + model.bass_attacks * compressed(features.bass_attacks)
    scores = heard @ notes + low @ basses + bias
    if model.key_bonus:
        scores += model.key_bonus * (tones_in_keys[_local_keys(features, model)] - 1)
    silence = model.silence - model.sound * heard.sum(axis=1)
    halves = np.concatenate([scores, silence[:, None]], axis=1).astype(np.float32)
    return halves.reshape(-1, FRAMES_PER_BEAT, halves.shape[1]).sum(axis=1)


@lru_cache(maxsize=MAX_CACHED_MODELS)
def _templates(model: ChordModel) -> tuple[NDArray[np.float32], ...]:
    """Templates of notes and of the bass ``(12, chords)``, biases ``(chords,)``, and for each key (a major scale) the
    share of each chord's tones that are in it ``(12, chords)``.
    """
    notes = np.full((len(model.qualities), PITCH_CLASSES), -model.foreign)
    bass = np.full((len(model.qualities), PITCH_CLASSES), model.bass_foreign)
    tones = np.zeros((len(model.qualities), PITCH_CLASSES))
    low_values = (1.0, model.bass_third, model.bass_fifth, model.bass_seventh)
    for row, name in enumerate(model.qualities):
        notes[row, list(TENSIONS.get(name, ()))] = -model.tension
        for place, tone in enumerate(QUALITY[name].tones):
            notes[row, tone] = 1.0 if place < 3 else model.seventh
            bass[row, tone] = low_values[min(place, 3)]
            tones[row, tone] = 1.0
    scales = np.array([np.isin(np.arange(PITCH_CLASSES), (np.array(MAJOR_SCALE) + key) % 12) for key in range(12)])
    chord_tones = _all_roots(tones)
    in_keys = scales.astype(np.float64) @ chord_tones / chord_tones.sum(axis=0)
    bias = np.repeat([model.quality_bias[name] for name in model.qualities], PITCH_CLASSES)
    return tuple(part.astype(np.float32) for part in (_all_roots(notes), _all_roots(bass), bias, in_keys))


def _all_roots(templates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Templates counted from the root ``(qualities, 12)`` for all roots, by pitch class: ``(12, qualities * 12)``."""
    pitch_class, root = np.arange(PITCH_CLASSES)[:, None], np.arange(PITCH_CLASSES)[None]
    return templates[:, (pitch_class - root) % PITCH_CLASSES].transpose(1, 0, 2).reshape(PITCH_CLASSES, -1)


def _local_keys(features: ChordFeatures, model: ChordModel) -> NDArray[np.int64]:
    """For each frame the major scale that holds most of what sounds around it."""
    sounding = np.cumsum(features.sounding, axis=0, dtype=np.float64)
    sounding = np.concatenate([np.zeros((1, PITCH_CLASSES)), sounding])
    frame, reach = np.arange(len(features.body)), model.key_window * FRAMES_PER_BEAT
    around = sounding[(frame + reach + 1).clip(max=len(frame))] - sounding[(frame - reach).clip(min=0)]
    scale = np.isin(np.arange(PITCH_CLASSES), MAJOR_SCALE).astype(np.float64)
    return (around @ np.stack([np.roll(scale, key) for key in range(PITCH_CLASSES)]).T).argmax(axis=1)


# --- the best path ----------------------------------------------------------------------------------------------------


def best_through(
    scores: NDArray[np.float32], change: NDArray[np.float32], model: ChordModel = DEFAULT_MODEL
) -> NDArray[np.float32]:
    """Score of the best path of a whole piece that is in a given state at a given beat (a max-marginal).

    Args:
        scores: of :func:`beat_scores`, ``(pieces, beats, states)``; zeros after the end of shorter pieces.
        change: cost of a change at the beginning of each beat, ``(pieces, beats)``.
        model: for the cost of root moves.

    Returns:
        float32 ``(pieces, beats, states)``; where there is one best path, it is the largest of each row.
    """
    pieces = len(scores)
    backward_change = np.append(np.zeros((pieces, 1), np.float32), change[:, :0:-1], axis=1)
    both = _sweep(np.concatenate([scores, scores[:, ::-1]]), np.concatenate([change, backward_change]), model)
    return both[:pieces] + both[pieces:, ::-1] - scores


def _sweep(scores: NDArray[np.float32], change: NDArray[np.float32], model: ChordModel) -> NDArray[np.float32]:
    """Score of the best path up to each beat and state. A move costs by the distance of roots only, so the best
    predecessor is sought among 12 roots instead of all chords.
    """
    steps = (np.arange(PITCH_CLASSES)[:, None] - np.arange(PITCH_CLASSES)[None]) % PITCH_CLASSES
    moves = np.array(model.root_move, np.float32)[np.minimum(steps, PITCH_CLASSES - steps)]
    by_beat = np.ascontiguousarray(scores.transpose(1, 0, 2))
    best = by_beat.copy()
    costs = change.T[:, :, None]
    away = np.float32(model.to_silence)
    for beat in range(1, len(best)):
        before, now = best[beat - 1], best[beat]
        chords = before[:, :-1].reshape(len(before), -1, PITCH_CLASSES)
        by_root = chords.max(axis=1)
        arriving = (by_root[:, :, None] - moves).max(axis=1)
        arriving = np.maximum(arriving, before[:, -1:] - away) - costs[beat]
        now[:, :-1] += np.maximum(chords, arriving[:, None]).reshape(len(before), -1)
        now[:, -1:] += np.maximum(before[:, -1:], by_root.max(axis=1, keepdims=True) - away - costs[beat])
    return best.transpose(1, 0, 2)


def _bass_path(features: ChordFeatures, state: NDArray[np.int64], model: ChordModel) -> NDArray[np.int8]:
    """The bass of each beat among the tones of its chord; -1 where there is no chord."""
    heard = np.log1p(model.compression * features.bass) + np.log1p(model.compression * features.bass_attacks)
    heard = heard.reshape(len(state), FRAMES_PER_BEAT, PITCH_CLASSES).sum(axis=1)
    tones = np.zeros((len(model.qualities), PITCH_CLASSES))
    for row, name in enumerate(model.qualities):
        tones[row, list(QUALITY[name].tones)] = 1.0
    allowed = np.append(_all_roots(tones), np.ones((PITCH_CLASSES, 1)), axis=1).T[state] > 0
    is_root = np.arange(PITCH_CLASSES)[None] == (state % PITCH_CLASSES)[:, None]
    values = np.where(allowed, heard - model.bass_inversion * ~is_root, -np.inf)
    cost = np.where(np.append(True, state[1:] != state[:-1]), 0.0, model.bass_change)
    best, came_from = values.copy(), np.zeros((len(state), PITCH_CLASSES), np.int64)
    for beat in range(1, len(state)):
        other = int(best[beat - 1].argmax())
        jump = best[beat - 1, other] - cost[beat]
        came_from[beat] = np.where(best[beat - 1] >= jump, np.arange(PITCH_CLASSES), other)
        best[beat] += np.maximum(best[beat - 1], jump)
    bass = np.empty(len(state), np.int64)
    bass[-1] = best[-1].argmax()
    for beat in range(len(state) - 1, 0, -1):
        bass[beat - 1] = came_from[beat, bass[beat]]
    return np.where(state == len(model.qualities) * PITCH_CLASSES, NO_PITCH, bass).astype(np.int8)
