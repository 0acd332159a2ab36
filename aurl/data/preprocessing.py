"""Preprocessing of a piece before it becomes tokens: aligned, quantised, thinned out, levelled, and what that did.

The steps are musical functions of aurl/music (alignment, quantise, polyphony, dynamics, performed); here they get their
settings, their order and one report. The order: beats first, since a grid needs them; the grid before voices are
counted; velocities last, so that their mean is that of the notes that are left. The default changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.music.alignment import align_to_beats
from aurl.music.beats import find_beats, read_beats
from aurl.music.dynamics import HIGHEST, LOWEST, Velocity, normalise_velocities
from aurl.music.performed import Timing, examine_timing
from aurl.music.polyphony import Polyphony, reduce_polyphony
from aurl.music.quantise import Quantise, quantise

SUBDIVISIONS = (1, 2, 4)
MOST_VOICES = 64
LARGEST_SPREAD = 63.0
"""Standard deviation of velocities half of which are the softest, half the loudest."""
PERFORMED, OFF_BEAT = "pieces_performed", "pieces_off_beat"
ALIGNED, NOT_ALIGNED = "pieces_aligned", "pieces_not_aligned"
LOG_LINES = {
    PERFORMED: "{count} pieces look performed: their bars are a clock "
    "(preprocess.align_beats=true uses beat annotations)",
    OFF_BEAT: "{count} pieces keep a beat that lies beside the file's beats by a constant shift",
    ALIGNED: "{count} pieces were aligned to annotated beats",
    NOT_ALIGNED: "{count} pieces have no beat annotation and were not aligned",
    "pieces_with_chord_symbols": "{count} pieces bring chord symbols along, which say their chords",
    "pieces_with_chords_heard": "{count} pieces have no chord symbols: their chords were heard in the notes",
}
"""What the log says of counts that are pieces; the others are listed by name."""


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """What is done to every piece before it is encoded; the default changes nothing.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    align_beats: bool = False
    """Move performances onto the beats annotated beside them (NAME_annotations.txt, beat_midi.txt, NAME.beats)."""
    quantise: Quantise = Quantise.none
    """Grid of onsets and ends: none, sixteenths, triplets, or mixed (the better of both for each pulse)."""
    subdivide: int = 1
    """Divides the grid further: 2 makes it 32nds and sixteenth triplets, 4 half of these."""
    polyphony: Polyphony = Polyphony.all
    """Notes of pitched tracks that are kept: all, max_voices, skyline (the melody) or melody_bass."""
    max_voices: int = 4
    """With polyphony=max_voices: notes that may sound at once, all pitched tracks together."""
    velocity: Velocity = Velocity.keep
    """keep, or normalise: the piece's mean becomes velocity_mean, its dynamic contour stays."""
    velocity_mean: float = 80.0
    """Mean velocity of a normalised piece, 1 to 127."""
    velocity_spread: float | None = None
    """Standard deviation of a normalised piece's velocities; unset keeps the piece's own."""
    velocity_drums: bool = True
    """Whether drum tracks take part in the normalisation."""

    def __post_init__(self) -> None:
        if self.subdivide not in SUBDIVISIONS:
            raise ValueError(f"preprocess.subdivide={self.subdivide} is unknown; allowed: 1, 2, 4")
        if not 1 <= self.max_voices <= MOST_VOICES:
            raise ValueError(
                f"preprocess.max_voices={self.max_voices} is out of range; allowed: 1 to {MOST_VOICES}; "
                "preprocess.polyphony=all keeps every voice"
            )
        if not LOWEST <= self.velocity_mean <= HIGHEST:
            raise ValueError(
                f"preprocess.velocity_mean={self.velocity_mean} is out of range; allowed: {LOWEST} to {HIGHEST}"
            )
        if self.velocity_spread is not None and not 0.0 < self.velocity_spread <= LARGEST_SPREAD:
            raise ValueError(
                f"preprocess.velocity_spread={self.velocity_spread} is out of range; allowed: above 0 up to "
                f"{LARGEST_SPREAD:g}, or null for the piece's own"
            )


class Preprocessed(NamedTuple):
    """A piece after preprocessing and what was done to it."""

    score: ScoreTick
    """The given object itself where nothing had to change."""
    counts: dict[str, int]
    """What happened how often (docs/data_format.md lists them); only what happened."""
    measures: dict[str, float]
    """How the piece lies on its beats, how far notes moved, its velocities."""


def preprocess_score(
    score: ScoreTick, config: PreprocessConfig, beats: NDArray[np.float64] | None = None
) -> Preprocessed:
    """Align, quantise, reduce and level a piece as the settings say.

    Args:
        score: a checked score in ticks; it is not changed.
        config: what to do.
        beats: annotated beats, (B, 4) as :func:`aurl.music.beats.read_beats` gives them or (B,) seconds; without them
            a piece that should be aligned is counted as not aligned.

    Returns:
        The score, counts and measures. ``measures["off_grid_share"]`` and ``measures["performed"]`` are those of the
        file; a piece that was aligned does not count in ``pieces_performed``.

    Raises:
        UnreadableFile: the piece does not fit MIDI ticks on the new grid.

    Example:
        >>> preprocess_score(score, PreprocessConfig(quantise=Quantise.mixed)).counts  # doctest: +SKIP
        {'notes_merged': 3, 'notes_lengthened': 41, 'ternary_pulses': 12}
    """
    counts: dict[str, int] = {}
    timing = examine_timing(score)
    measures = _timing_measures(timing)
    if config.align_beats and beats is None:
        counts[NOT_ALIGNED] = 1
    elif config.align_beats and beats is not None:
        aligned = align_to_beats(score, np.asarray(beats, dtype=np.float64))
        score = aligned.score
        counts |= {ALIGNED: 1} | aligned.counts
        measures |= aligned.measures | {"off_grid_share_aligned": examine_timing(score).off_grid_share}
    if ALIGNED not in counts:
        counts |= {PERFORMED: int(timing.performed), OFF_BEAT: int(timing.off_beat)}
    if config.quantise is not Quantise.none:
        quantised = quantise(score, config.quantise, config.subdivide)
        score = quantised.score
        counts |= quantised.counts
        measures |= quantised.errors
    if config.polyphony is not Polyphony.all:
        score, left_out = reduce_polyphony(score, config.polyphony, config.max_voices)
        counts |= left_out
    if config.velocity is Velocity.normalise:
        score, changed, levels = normalise_velocities(
            score, config.velocity_mean, config.velocity_spread, config.velocity_drums
        )
        counts |= changed
        measures |= levels
    return Preprocessed(score, {name: count for name, count in counts.items() if count}, measures)


def beats_beside(path: str | Path) -> NDArray[np.float64] | None:
    """The beat annotation that lies beside a piece, or None where there is none.

    Raises:
        UnreadableFile: there is one that makes no sense.
    """
    file = find_beats(path) if str(path) else None
    return read_beats(file) if file is not None else None


def log_lines(counts: Mapping[str, int]) -> list[str]:
    """What a log should say of the summed counts of a corpus, a line each; empty when nothing happened.

    Example:
        >>> log_lines({"pieces_aligned": 3, "notes_merged": 2})
        ['3 pieces were aligned to annotated beats', 'Preprocessing: notes merged 2']
    """
    lines = [line.format(count=counts[name]) for name, line in LOG_LINES.items() if counts.get(name)]
    rest = [f"{name.replace('_', ' ')} {count}" for name, count in sorted(counts.items()) if name not in LOG_LINES]
    return lines + ([f"Preprocessing: {', '.join(rest)}"] if rest else [])


def _timing_measures(timing: Timing) -> dict[str, float]:
    """What is known of every piece, whatever the settings."""
    return {
        "off_grid_share": timing.off_grid_share,
        "off_grid_share_shifted": timing.off_grid_share_shifted,
        "grid_shift": timing.grid_shift,
        "beat_clarity": timing.beat_clarity,
        "nominal_tempo": float(timing.nominal_tempo),
        "performed": float(timing.performed),
    }
