"""How tokens are drawn and what is asked of a generated piece, checked before a checkpoint is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LOWEST_TEMPERATURE = 0.01
"""Of pitches alone; below it only the most likely one would be left."""

FARTHEST = 5.0
"""Standard deviations of training beyond which no dimension of a latent is moved: real bars hardly pass 3."""

DRUMS_IN_REQUESTS = 128
"""Number that stands for drums in requests, beside -1, as in many corpora."""
TEMPO_RANGE = (10.0, 1000.0)
"""Quarter notes a minute that an output may have."""


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Filters applied to the next-token distribution: repetition control first, then in the order of the fields.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    temperature: float = 1.0
    """Divides the logits; below 1 is safer, above 1 bolder; 0 is the same as greedy=true."""
    pitch_temperature: float | None = None
    """The temperature of pitches alone: safer notes at the same liveliness of rhythm; unset means temperature. It has
    no say where the most likely token is always taken."""
    top_k: int = 0
    """Keep only the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the most likely tokens that together reach this probability; 1 keeps all (Holtzman et al. 2020)."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the most likely one; 0 keeps all (Nguyen et al. 2024)."""
    repetition_penalty: float = 1.0
    """Divides the odds of pitches heard in the last repetition_window notes of the same track; 1 is off."""
    repetition_window: int = 16
    """Notes that repetition_penalty looks back over."""
    greedy: bool = False
    """Always take the most likely token."""
    latent_temperature: float = 1.0
    """Multiplies the deviations with which latents of bars are drawn, in models that have them; 0 takes what is
    expected of each bar."""

    def __post_init__(self) -> None:
        for key, low, high in (
            ("temperature", 0.0, 100.0),
            ("top_p", 0.0, 1.0),
            ("min_p", 0.0, 1.0),
            ("repetition_penalty", 1.0, 100.0),
            ("latent_temperature", 0.0, 100.0),
        ):
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(f"{key}={value} is out of range; allowed: {low:g} to {high:g}")
        if self.pitch_temperature is not None and not LOWEST_TEMPERATURE <= self.pitch_temperature <= 100.0:
            raise ValueError(
                f"pitch_temperature={self.pitch_temperature} is out of range; allowed: {LOWEST_TEMPERATURE} to 100, or "
                "null for that of everything else"
            )
        if self.top_p == 0.0:
            raise ValueError("top_p=0 would leave no token; allowed: above 0 up to 1")
        if self.top_k < 0:
            raise ValueError(f"top_k={self.top_k} is out of range; allowed: 0 (off) or more")
        if self.repetition_window < 1:
            raise ValueError(f"repetition_window={self.repetition_window} is out of range; allowed: 1 or more")

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.greedy or self.temperature == 0.0


def check_sound(tempo: float | None, programs: Sequence[int] | None) -> None:
    """Check the tempo and the programs that an output shall have; None leaves them.

    Raises:
        ValueError: out of range.
    """
    if tempo is not None and not TEMPO_RANGE[0] <= tempo <= TEMPO_RANGE[1]:
        raise ValueError(f"tempo={tempo} is out of range; allowed: {TEMPO_RANGE[0]:g} to {TEMPO_RANGE[1]:g}")
    if programs is not None and not programs:
        raise ValueError("programs=[] names no program; allowed: one for each track, one for all, or null")
    check_programs(programs or ())


def check_programs(programs: Sequence[int]) -> None:
    """Check General MIDI programs.

    Raises:
        ValueError: one is out of range.
    """
    for program in programs:
        if not -1 <= program <= DRUMS_IN_REQUESTS:
            raise ValueError(f"program {program} is out of range; allowed: 0 to 127, or 128 for drums")
