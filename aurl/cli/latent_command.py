"""The keys of ``aurl-latent``, how those with a grammar of their own are read, and which verb takes what.

All of it is checked before a checkpoint is opened; what the keys do is latent.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from aurl.cli.checks import at_least
from aurl.cli.paths_config import PathsConfig
from aurl.generation.config import FARTHEST, SamplerConfig
from aurl.utils.words import nearest

LATENT_TASKS = ("encode", "decode", "reconstruct", "interpolate", "slide", "replace", "traverse", "map", "routes")
"""Verbs of ``aurl-latent``."""
PIECES = {"interpolate": 2, "replace": 1, "traverse": 1}
"""Verbs that take just so many pieces."""
DEVIATIONS = f"-{FARTHEST:g} to {FARTHEST:g} standard deviations of training"
USED_BY = {
    "bars": ("slide", "replace", "traverse"),
    "sliders": ("slide", "replace"),
    "steps": ("interpolate",),
    "donor": ("replace",),
    "donor_bars": ("replace",),
    "versions": ("replace",),
    "dimensions": ("traverse",),
    "values": ("traverse",),
}
"""Keys that do nothing with any verb but these."""
NUMBERED = re.compile(r"z[1-9]\d*")
"""Name of a dimension that follows no attribute."""
NOTHING_SHOWN = {"map": ("png", "html")}
"""Verbs that write no music, and the formats of which they need one."""
SLIDERS_WANTED = "slide needs sliders, for instance sliders=[density:+1.5]"


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
    tries: int = 1
    """In how many ways each bar is written that slide and replace move by sliders; the nearest to the wish is kept."""
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
            near = nearest(self.task, LATENT_TASKS)
            raise ValueError(f"there is no verb '{self.task}'{near}; allowed: {', '.join(LATENT_TASKS)}")
        for key, verbs in USED_BY.items():
            if self.task not in verbs and getattr(self, key) != usual(key):
                raise ValueError(f"{key} does nothing with {self.task}, only with {' and '.join(verbs)}; leave it out")
        at_least(("steps", self.steps, 2), ("versions", self.versions, 1), ("bars_read", self.bars_read, 1))
        at_least(("tries", self.tries, 1))
        at_least(("batch_size", self.batch_size, 1), ("seed", self.seed, 0))
        if not self.values:
            raise ValueError("values=[] names none; allowed: one or more numbers, for instance [-2,0,2]")
        for value in self.values:
            if not abs(value) <= FARTHEST:  # NaN is not either
                raise ValueError(f"values={value:g} is out of range; allowed: {DEVIATIONS}")
        self.check_task()

    def check_task(self) -> None:
        """Check what bars and sliders say, and that the verb has what it needs.

        Raises:
            ValueError: names the key.
        """
        bars = None if self.bars is None else read_bars("bars", self.bars)
        donor_bars = None if self.donor_bars is None else read_bars("donor_bars", self.donor_bars)
        if self.sliders is not None:
            check_dimensions("sliders", list(read_sliders(self.sliders)))
        if self.dimensions is not None:
            check_dimensions("dimensions", self.dimensions)
        needed = NOTHING_SHOWN.get(self.task, ())
        if needed and self.formats and not set(needed) & set(self.formats):
            raise ValueError(
                f"formats={','.join(self.formats)} leaves nothing of {self.task}, which writes no music; "
                f"allowed: one or more of {', '.join(needed)}"
            )
        if self.task == "slide" and not self.sliders:
            raise ValueError(SLIDERS_WANTED)
        if self.tries > 1 and not (
            self.task == "slide" or (self.task == "replace" and self.sliders and not self.donor)
        ):
            raise ValueError(
                f"tries={self.tries} would do nothing: only slide, and replace with sliders and no donor, move bars "
                "and listen to them"
            )
        if self.task == "replace" and not bars:
            raise ValueError("replace needs bars, for instance bars=5,6")
        if self.versions > 1 and (self.donor or self.sliders):
            raise ValueError(
                f"versions={self.versions} goes with latents that the prior draws; leave it out, or donor and sliders"
            )
        if donor_bars is not None and not self.donor:
            raise ValueError(f"donor_bars={','.join(map(str, donor_bars))} goes with donor=FILE, whose bars they are")
        if self.task == "replace" and bars and donor_bars is not None and len(donor_bars) != len(bars):
            raise ValueError(f"donor_bars names {len(donor_bars)} bars for {len(bars)} of bars; name as many")


def usual(key: str) -> Any:
    """The default of a key of :class:`LatentCommand`."""
    item = next(item for item in fields(LatentCommand) if item.name == key)
    return item.default if item.default_factory is MISSING else item.default_factory()


def check_dimensions(key: str, names: Sequence[str]) -> None:
    """Refuse names of dimensions that no checkpoint has; whether this one has them is known when it is open.

    Raises:
        ValueError: with the nearest name that there may be.
    """
    from aurl.music.attributes import ATTRIBUTES

    for name in names:
        if name not in ATTRIBUTES and not NUMBERED.fullmatch(name):
            raise ValueError(
                f"{key}: there is no dimension '{name}'{nearest(name, ATTRIBUTES)}; allowed: {', '.join(ATTRIBUTES)} "
                "and z9, z10 ..., as far as the checkpoint has them"
            )


def read_bars(key: str, given: Sequence[str]) -> list[int]:
    """Numbers and ranges such as 5-8 as numbers, rising.

    Raises:
        ValueError: something else.

    Example:
        >>> read_bars("bars", ["5-7", "2"])
        [2, 5, 6, 7]
    """
    numbers: set[int] = set()
    for part in map(str, given):
        match = re.fullmatch(r"([1-9]\d*)(?:-([1-9]\d*))?", part)
        stretch = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not stretch:
            raise ValueError(f"{key}={part} is no bar; allowed: numbers from 1 such as 5,6 and ranges such as 5-8")
        numbers.update(stretch)
    return sorted(numbers)


def read_sliders(given: Sequence[str] | None) -> Mapping[str, float]:
    """``dimension:amount`` as amounts by dimension.

    Raises:
        ValueError: none, or something else.

    Example:
        >>> read_sliders(["density:+1.5", "z9:-1"])
        {'density': 1.5, 'z9': -1.0}
    """
    if not given:
        raise ValueError(SLIDERS_WANTED)
    sliders: dict[str, float] = {}
    for part in given:
        name, _, amount = part.partition(":")
        try:
            value = float(amount)
        except ValueError:
            raise ValueError(f"sliders={part} is not dimension:amount, for instance density:+1.5") from None
        if not abs(value) <= FARTHEST:  # NaN is not either
            raise ValueError(f"sliders={part} is out of range; allowed: {DEVIATIONS}")
        if name.strip() in sliders:
            raise ValueError(f"sliders names {name.strip()} twice; give each dimension one amount")
        sliders[name.strip()] = value
    return sliders
