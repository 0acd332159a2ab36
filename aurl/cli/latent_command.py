"""The keys of ``aurl-latent``; what they do is latent.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from aurl.cli.checks import at_least
from aurl.cli.paths_config import PathsConfig
from aurl.generation.config import SamplerConfig

LATENT_TASKS = ("encode", "decode", "reconstruct", "interpolate", "slide", "replace", "traverse", "map", "routes")
"""Verbs of ``aurl-latent``."""


@dataclass(frozen=True, kw_only=True)
class LatentCommand(SamplerConfig):
    """Keys of ``aurl-latent``; the sampler's keys lie flat beside them."""

    temperature: float = 0.0
    """Divides the logits of what latents are written as; 0 always takes the most likely token."""
    paths: PathsConfig = field(default_factory=PathsConfig)
    ckpt: str = "last"
    """last, best, a run's folder or a file."""
    task: str = "reconstruct"
    """The verb."""
    music: list[str] | None = None
    """Scores, folders of them, or files of latents."""
    routes: str = "auto"
    """What sliders follow: a file of the verb routes, auto for that beside the checkpoint if there is one, or none."""
    bars_read: int | None = None
    """Read only so many bars of each piece; unset reads all."""
    bars: list[str] | None = None
    """Numbers and ranges of the bars that change, from 1; unset means all."""
    sliders: list[str] | None = None
    """dimension:amount, in standard deviations of the training data."""
    steps: int = 8
    """Pieces that interpolate writes, both ends included."""
    donor: str | None = None
    """Piece whose latents the replaced bars get; unset draws them from the prior, unless there are sliders."""
    donor_bars: list[str] | None = None
    """Its bars; unset takes those of the same numbers."""
    versions: int = 1
    """How often replace draws from the prior."""
    dimensions: list[str] | None = None
    """What traverse moves; unset means all named dimensions."""
    values: list[float] = field(default_factory=lambda: [-2.0, -1.0, 0.0, 1.0, 2.0])
    """By how much, in standard deviations of the training data."""
    batch_size: int = 64
    """Pieces written at the same time; does not change the result."""
    seed: int = 0
    """Of what is drawn."""
    formats: list[str] = field(default_factory=lambda: ["midi", "wav", "png", "html"])
    """Kinds of files written."""
    output: str | None = None
    """Folder for the files; unset means generated/<run>_<verb>_<number>."""
    overwrite: bool = False
    """Write over existing files."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in LATENT_TASKS:
            raise ValueError(f"there is no verb '{self.task}'; allowed: {', '.join(LATENT_TASKS)}")
        at_least(("steps", self.steps, 2), ("versions", self.versions, 1), ("bars_read", self.bars_read, 1))
        at_least(("batch_size", self.batch_size, 1), ("seed", self.seed, 0))
        if not self.values:
            raise ValueError("values=[] names none; allowed: one or more numbers, for instance [-2,0,2]")
