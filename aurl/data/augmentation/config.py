"""Settings of augmentation (config group ``augment``): each kind has a probability, a range and a schedule.

All draws are made for a whole piece and follow from (seed, epoch, piece); see augmenter.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

OCTAVE = 12
WIDEST_STRETCH = (0.5, 2.0)
WIDEST_VELOCITY = (0.25, 4.0)
STRAIGHT = 0.5
"""Swing ratio of even notes."""
WIDEST_SWING = 0.8
LARGEST_TIMING = 0.25
LARGEST_VELOCITY_JITTER = 40.0


class Ramp(str, Enum):
    """How a probability moves over training."""

    constant = "constant"
    """The factor is 1 throughout."""
    linear = "linear"
    """In a straight line from ``start`` to ``end``."""
    cosine = "cosine"
    """From ``start`` to ``end`` along half a cosine, slow at both ends."""
    steps = "steps"
    """The factors of ``steps``, each from its share of training on."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """A factor for probabilities that follows the share of training done (0 at the first batch, 1 at the end).

    Raises:
        ValueError: a value out of range.

    Example:
        >>> ScheduleConfig(shape=Ramp.linear, until=0.5)(0.25)
        0.5
        >>> ScheduleConfig(shape=Ramp.steps, steps=[[0.0, 0.0], [0.3, 1.0]])(0.29)
        0.0
    """

    shape: Ramp = Ramp.constant
    start: float = 0.0
    """Factor before and at ``begin``."""
    end: float = 1.0
    """Factor from ``until`` on."""
    begin: float = 0.0
    """Share of training at which the ramp begins."""
    until: float = 1.0
    """Share of training at which the ramp ends."""
    steps: list[list[float]] = field(default_factory=list)
    """With shape=steps: [share of training, factor] pairs, shares rising; before the first the factor is 0."""

    def __post_init__(self) -> None:
        for key in ("start", "end", "begin", "until"):
            _share(f"augment: schedule.{key}", getattr(self, key))
        if self.begin > self.until:
            raise ValueError(f"augment: schedule.begin={self.begin} must not be above schedule.until={self.until}")
        if self.shape is Ramp.steps and not self.steps:
            raise ValueError("augment: schedule.shape=steps needs schedule.steps, for instance [[0.0,0.5],[0.3,1.0]]")
        if self.steps and self.shape is not Ramp.steps:
            raise ValueError(f"augment: schedule.steps={self.steps} needs schedule.shape=steps, got {self.shape.value}")
        pairs = all(len(step) == 2 and all(0.0 <= number <= 1.0 for number in step) for step in self.steps)
        if not pairs or any(a[0] >= b[0] for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError(
                f"augment: schedule.steps={self.steps} must be [share, factor] pairs between 0 and 1 with rising shares"
            )

    def __call__(self, share: float) -> float:
        """The factor at a share of training between 0 and 1."""
        if self.shape is Ramp.constant:
            return 1.0
        if self.shape is Ramp.steps:
            return next((factor for first, factor in reversed(self.steps) if share >= first), 0.0)
        width = self.until - self.begin
        done = min(max((share - self.begin) / width, 0.0), 1.0) if width else float(share >= self.until)
        if self.shape is Ramp.cosine:
            done = (1 - math.cos(math.pi * done)) / 2
        return self.start + (self.end - self.start) * done


@dataclass(frozen=True, kw_only=True)
class TransposeConfig:
    """All pitches but drums move by one interval."""

    probability: float = 1.0
    """Share of pieces that draw an interval."""
    semitones: list[int] = field(default_factory=lambda: [-5, 6])
    """Lowest and highest interval; each piece uses what keeps it inside the pitch range of the corpus."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        _share("augment.transpose.probability", self.probability)
        if len(self.semitones) != 2 or not -OCTAVE <= self.semitones[0] <= 0 <= self.semitones[1] <= OCTAVE:
            raise ValueError(
                f"augment.transpose.semitones={self.semitones} must be [lowest, highest] "
                f"with -{OCTAVE} <= lowest <= 0 <= highest <= {OCTAVE}"
            )


class StretchOf(str, Enum):
    """What a time stretch changes."""

    auto = "auto"
    """Tempo, and in performed music without a real metre the times of the notes."""
    tempo = "tempo"
    """Tempo tokens only."""
    notes = "notes"
    """Times of the notes, wherever the metre does not change."""


@dataclass(frozen=True, kw_only=True)
class StretchConfig:
    """Everything becomes slower or faster by one factor."""

    probability: float = 0.0
    factor: list[float] = field(default_factory=lambda: [0.8, 1.2])
    """Shortest and longest duration as a multiple of the original: 1.2 is slower."""
    of: StretchOf = StretchOf.auto
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        _share("augment.stretch.probability", self.probability)
        _around_one("augment.stretch.factor", self.factor, WIDEST_STRETCH)


@dataclass(frozen=True, kw_only=True)
class VelocityConfig:
    """Everything becomes louder or softer by one factor; louder never beyond what the loudest note allows."""

    probability: float = 0.0
    factor: list[float] = field(default_factory=lambda: [0.8, 1.2])
    """Softest and loudest, as a multiple of the original velocity."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        _share("augment.velocity.probability", self.probability)
        _around_one("augment.velocity.factor", self.factor, WIDEST_VELOCITY)


@dataclass(frozen=True, kw_only=True)
class SubstituteConfig:
    """Instruments become others of their General MIDI family (strings stay strings)."""

    probability: float = 0.0
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        _share("augment.substitute.probability", self.probability)


class SwingUnit(str, Enum):
    """Which notes come in long-short pairs."""

    eighth = "eighth"
    sixteenth = "sixteenth"


@dataclass(frozen=True, kw_only=True)
class SwingConfig:
    """Off-beat notes come later: pairs of even notes become long and short."""

    probability: float = 0.0
    ratio: list[float] = field(default_factory=lambda: [0.58, 0.75])
    """Least and most share of a pair that its first note takes: 0.5 is straight, 0.667 a triplet."""
    unit: SwingUnit = SwingUnit.eighth
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        _share("augment.swing.probability", self.probability)
        if len(self.ratio) != 2 or not STRAIGHT <= self.ratio[0] <= self.ratio[1] <= WIDEST_SWING:
            raise ValueError(
                f"augment.swing.ratio={self.ratio} must be [least, most] with {STRAIGHT} <= least <= most <= "
                f"{WIDEST_SWING}"
            )


@dataclass(frozen=True, kw_only=True)
class HumanizeConfig:
    """Small deviations, note by note in loudness, chord by chord and track by track in time."""

    probability: float = 0.0
    timing: float = 0.04
    """Standard deviation of onsets in quarter notes (0.04 is 20 ms at 120 quarters a minute)."""
    velocity: float = 4.0
    """Standard deviation of velocities in MIDI steps."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        _share("augment.humanize.probability", self.probability)
        for key, most in (("timing", LARGEST_TIMING), ("velocity", LARGEST_VELOCITY_JITTER)):
            value = getattr(self, key)
            if not 0.0 <= value <= most:
                raise ValueError(f"augment.humanize.{key}={value} is out of range; allowed: 0 to {most}")


KindConfig = TransposeConfig | StretchConfig | VelocityConfig | SubstituteConfig | SwingConfig | HumanizeConfig
"""Settings of one kind: each has ``probability`` and ``schedule``."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What happens to training pieces when a batch is drawn; nothing of it is cached.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    transpose: TransposeConfig = field(default_factory=TransposeConfig)
    stretch: StretchConfig = field(default_factory=StretchConfig)
    velocity: VelocityConfig = field(default_factory=VelocityConfig)
    substitute: SubstituteConfig = field(default_factory=SubstituteConfig)
    swing: SwingConfig = field(default_factory=SwingConfig)
    humanize: HumanizeConfig = field(default_factory=HumanizeConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Multiplies every probability, on top of each kind's own schedule."""

    def scheduled(self) -> bool:
        """Whether anything depends on how much of training is done."""
        own = (self.transpose, self.stretch, self.velocity, self.substitute, self.swing, self.humanize, self)
        return any(part.schedule.shape is not Ramp.constant for part in own)


def _share(key: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{key}={value} is out of range; allowed: 0 to 1")


def _around_one(key: str, bounds: list[float], widest: tuple[float, float]) -> None:
    if len(bounds) != 2 or not widest[0] <= bounds[0] <= 1.0 <= bounds[1] <= widest[1]:
        raise ValueError(
            f"{key}={bounds} must be [lowest, highest] with {widest[0]} <= lowest <= 1 <= highest <= {widest[1]}"
        )
