"""Checks and vocabularies of the commands' keys that need nothing but Python."""

from __future__ import annotations

from dataclasses import dataclass

PEERS = ("huggingface",)
"""What technical_peer may name: aurl.evaluation.peer."""
STAGES = ("data", "training", "generation")
"""What stages may name, in their order: aurl.evaluation.stages."""

PATH_KEYS: dict[str, tuple[str, ...]] = {
    "train": ("data.path", "paths.runs", "paths.cache", "paths.output"),
    "generate": ("prompt", "output", "paths.runs", "paths.cache"),
    "evaluate": (
        "data.path",
        "json",
        "music",
        "reference",
        "training",
        "report",
        "paths.runs",
        "paths.cache",
        "attention",
        "landscape",
        "output",
    ),
    "prepare": ("data.path", "paths.cache"),
    "latent": ("donor", "output", "paths.runs", "paths.cache"),
}
"""Keys that hold one path; made absolute before work starts."""


def at_least(*limits: tuple[str, int | None, int]) -> None:
    """Check (key, value, lowest) triples; None passes.

    Raises:
        ValueError: a value is below its lowest.
    """
    for key, value, low in limits:
        if value is not None and value < low:
            raise ValueError(f"{key}={value} is out of range; allowed: {low} or more")


@dataclass(frozen=True, kw_only=True)
class LandscapeKeys:
    """Keys of ``aurl-evaluate landscape=FILE``.

    Raises:
        ValueError: a value out of range.
    """

    landscape: str | None = None
    """PNG file: how the loss rises along two random directions around the model's weights; numbers beside it as NPZ."""
    landscape_size: int = 11
    """With landscape: points a side, an odd number."""
    landscape_span: float = 0.5
    """With landscape: how far to each side, in lengths of the weights."""
    landscape_pieces: int = 8
    """With landscape: pieces of the split that losses are measured on."""

    def __post_init__(self) -> None:
        at_least(("landscape_size", self.landscape_size, 3), ("landscape_pieces", self.landscape_pieces, 1))
        if self.landscape_size % 2 == 0:
            raise ValueError(f"landscape_size={self.landscape_size} is even; allowed: odd numbers, 3 or more")
        if self.landscape_span <= 0:
            raise ValueError(f"landscape_span={self.landscape_span} is out of range; allowed: above 0")
