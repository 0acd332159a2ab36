"""Checks and vocabularies of the commands' keys that need nothing but Python."""

from __future__ import annotations

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
