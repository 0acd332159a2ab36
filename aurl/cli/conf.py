"""Where conf/ lies, what its closed groups may hold, and composing without a command line.

The schemas are the frozen dataclasses of the rooms; a wrong key or type fails while the config is composed, a wrong
range when :func:`to_config` builds the dataclass. Open groups (trainer, callbacks, logger) are plain ``_target_``
nodes. Hydra is imported inside functions: ``--help`` does without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import aurl
from aurl.cli.checks import PEERS, STAGES, LandscapeKeys, at_least
from aurl.cli.latent_command import LatentCommand
from aurl.cli.paths_config import PathsConfig
from aurl.cli.run_names import run_folder
from aurl.data.augmentation.config import AugmentConfig
from aurl.data.config import DataConfig, TokenizerConfig
from aurl.data.preprocessing import PreprocessConfig
from aurl.generation.config import SamplerConfig, check_sound
from aurl.models.config import ModelConfig
from aurl.training.config import OptimConfig
from aurl.training.loss_config import LossConfig
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HYDRA_VERSION_BASE = "1.3"


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Keys of ``aurl-train``."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    trainer: Any = None
    """Lightning's Trainer."""
    callbacks: Any = None
    """Name -> Lightning callback."""
    logger: Any = None
    """Name -> Lightning logger."""
    run_name: str | None = None
    """Words added to the name of the run's folder."""
    seed: int = 0
    """Weights, order of the pieces, augmentation and samples follow from it."""
    ckpt: str | None = None
    """Continue this run: last, best, a run's folder or a file. Its settings apply again; what is typed wins."""
    init_from: str | None = None
    """Begin a new run with the weights of this one, as far as the model has a place for them; written as ckpt is."""
    num_samples: int = 0
    """Pieces generated into the run's folder when training ends; 0 generates none."""
    bars: int = 16
    """Length of these pieces in bars."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        at_least(("num_samples", self.num_samples, 0), ("bars", self.bars, 1), ("seed", self.seed, 0))


@dataclass(frozen=True, kw_only=True)
class GenerateCommand(SamplerConfig):
    """Keys of ``aurl-generate``; the sampler's keys lie flat beside them."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    ckpt: str = "last"
    """last, best, a run's folder or a file."""
    key: str | None = None
    """Key of what is written, such as "E minor"; for checkpoints trained with model.prior_conditions=[key]."""
    chords: str | None = None
    """Chords of what is written, one a bar, such as "C Am F G", repeated; for checkpoints trained with
    model.prior_conditions=[chords]."""
    prompt: str | None = None
    """A score to continue, in any format the corpus reader takes."""
    prompt_bars: int | None = None
    """Bars of the prompt that are kept; unset keeps all."""
    bars: int | None = 16
    """Bars that are written, after those of a prompt; null lets the model end the piece."""
    ending: str = "exact"
    """exact: as many bars as asked; model: the model may end the piece earlier."""
    max_tokens: int | None = None
    """Most tokens written for a piece; unset means 65,536."""
    num_samples: int = 4
    """How many pieces."""
    batch_size: int = 64
    """Pieces generated at the same time; does not change the result."""
    seed: int = 0
    """Piece number i is drawn with seed + i."""
    tempo: float | None = None
    """Quarter notes a minute of the output."""
    programs: list[int] | None = None
    """General MIDI programs of the output's tracks, for instance [40,41,42,42]; 128 is drums."""
    formats: list[str] = field(default_factory=lambda: ["midi", "wav", "png", "html"])
    """Kinds of files written."""
    output: str | None = None
    """Folder for the files; unset means generated/<run>_<number>."""
    overwrite: bool = False
    """Write over existing files."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(("num_samples", self.num_samples, 1), ("batch_size", self.batch_size, 1), ("seed", self.seed, 0))
        if self.ending not in ("exact", "model"):
            raise ValueError(f"ending={self.ending} is unknown; allowed: exact, model")
        at_least(("bars", self.bars, 1), ("prompt_bars", self.prompt_bars, 1), ("max_tokens", self.max_tokens, 1))
        check_sound(self.tempo, self.programs)
        if self.prompt_bars is not None and not self.prompt:
            raise ValueError(f"prompt_bars={self.prompt_bars} goes with prompt=FILE, whose bars they are")


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand(LandscapeKeys):
    """Keys of ``aurl-evaluate``."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    data: Any = field(default=None, metadata={"schema": DataConfig})
    """Music to measure; unset means the corpus that the checkpoint was trained on."""
    preprocess: Any = field(default=None, metadata={"schema": PreprocessConfig})
    """What is done to that music first; unset means what was done to the music of the checkpoint."""
    ckpt: str = "last"
    """last, best, a run's folder or a file."""
    split: str | None = None
    """train, valid, test or all; unset means test, and all for data=folder."""
    json: str | None = None
    """File that the figures are written to."""
    music: str | None = None
    """Folder or file whose musical metrics are measured, without a model."""
    reference: str | None = None
    """Folder or file that the music is compared with."""
    metrics: list[str] | None = None
    """Names or groups of metrics; unset means all."""
    likelihood: bool | None = None
    """Measure the likelihood; unset means yes, unless technical=true."""
    importance_samples: int = 0
    """Draws of the latents for the importance-weighted estimate beside the bound, for checkpoints with latents; 0 makes
    no estimate."""
    samples: int = 0
    """Pieces drawn from the checkpoint, measured as music and compared with the split or the reference; 0 draws
    none."""
    bars: int | None = 16
    """Length of these pieces in bars, and of the beginnings of the split's pieces they are compared with; null lets
    the model end them and compares with whole pieces."""
    seed: int = 0
    """Sample number i is drawn with seed + i; also that of all draws of comparisons."""
    batch_size: int = 64
    """Samples drawn at the same time; does not change the result."""
    temperature: float = 1.0
    """Divides the logits of the samples; below 1 is safer, above 1 bolder."""
    top_p: float = 0.95
    """Samples are drawn from the most likely tokens that together reach this probability; 1 keeps all."""
    report: str | None = None
    """Folder for the report: report.html, report.json and the samples as MIDI files."""
    technical: bool = False
    """Measure speed, latency, memory and size of generation."""
    batch_sizes: list[int] = field(default_factory=lambda: [1, 4, 16, 64])
    """With technical: pieces written at the same time."""
    technical_bars: int = 8
    """With technical: length of the pieces."""
    rounds: int = 3
    """With technical: runs for each batch size; rates are medians."""
    technical_peer: str | None = None
    """With technical: huggingface measures GPT-2 of equal size beside ours (needs the bench extra)."""
    stages: list[str] | None = None
    """With technical: stages whose peak memory is measured in fresh processes, of data, training and generation."""
    training: str | None = None
    """Folder or file that the music may have been copied from; unset means the reference."""
    judges: list[str] | None = None
    """Classifiers that try to tell the music from the reference; unset means all, [] none."""
    compare: list[str] | None = None
    """Two runs, checkpoints, folders of music or JSON files of figures, compared file by file."""
    attention: str | None = None
    """A score whose attention weights are drawn, instead of anything measured."""
    attention_bars: int = 4
    """With attention: bars from the beginning that are drawn token by token."""
    layers: list[int] | None = None
    """With attention: numbers of layers, from 0; unset means all."""
    heads: list[int] | None = None
    """With attention: numbers of heads, from 0; unset means all."""
    output: str | None = None
    """With attention: folder for the files; unset means attention_<name of the score>."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        if self.split not in (None, "train", "valid", "test", "all"):
            raise ValueError(f"split={self.split} is unknown; allowed: train, valid, test, all")
        at_least(
            ("samples", self.samples, 0),
            ("importance_samples", self.importance_samples, 0),
            ("bars", self.bars, 1),
            ("seed", self.seed, 0),
        )
        at_least(("batch_size", self.batch_size, 1), ("technical_bars", self.technical_bars, 1))
        at_least(("attention_bars", self.attention_bars, 1))
        at_least(("rounds", self.rounds, 1), *(("batch_sizes", size, 1) for size in self.batch_sizes))
        super().__post_init__()
        if not self.batch_sizes:
            raise ValueError("batch_sizes=[] names none; allowed: one or more numbers of 1 or more")
        SamplerConfig(temperature=self.temperature, top_p=self.top_p)
        if self.technical_peer not in (None, *PEERS):
            raise ValueError(f"technical_peer={self.technical_peer} is unknown; allowed: {', '.join(PEERS)}")
        unknown = [stage for stage in self.stages or () if stage not in STAGES]
        if unknown or self.stages == []:
            given = unknown[0] if unknown else "[]"
            raise ValueError(f"stages={given} is unknown; allowed: one or more of {', '.join(STAGES)}")
        if self.metrics is not None and not self.metrics:
            raise ValueError("metrics=[] names none; leave it out for all")
        if self.compare is not None and len(self.compare) != 2:
            raise ValueError(f"compare=[{','.join(self.compare)}] names {len(self.compare)}; allowed: two, [A,B]")


@dataclass(frozen=True, kw_only=True)
class PrepareCommand:
    """Keys of ``aurl-data prepare``."""

    paths: PathsConfig = field(default_factory=PathsConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    part: int | None = None
    """Make only this part of the pieces, 1 to ``parts``: for several machines that share paths.cache."""
    parts: int | None = None
    """How many parts there are."""
    progress: bool = True
    """Show a progress bar."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        if (self.part is None) != (self.parts is None):
            raise ValueError("part and parts go together: part=1 parts=4, ... part=4 parts=4, then once without")
        if self.part is not None and self.parts is not None and not 1 <= self.part <= self.parts:
            raise ValueError(f"part={self.part} is out of range; allowed: 1 to parts={self.parts}")


COMMANDS: dict[str, type] = {
    "train": TrainCommand,
    "generate": GenerateCommand,
    "evaluate": EvaluateCommand,
    "prepare": PrepareCommand,
    "latent": LatentCommand,
}
"""Root config name -> its schema."""


def config_folder() -> Path:
    """Absolute path of conf/: inside the installed package, or beside it in a checkout.

    Raises:
        AurlError: the installation is damaged.
    """
    package = Path(aurl.__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise AurlError(f"no conf folder in {package} or beside it; install aurl again")


@cache
def register() -> None:
    """Make the schemas and resolvers known to Hydra; further calls change nothing."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    store = ConfigStore.instance()
    rooms: dict[str, type] = {"model": ModelConfig, "data": DataConfig, "tokenizer": TokenizerConfig}
    rooms |= {"optim": OptimConfig, "loss": LossConfig}
    rooms |= {"augment": AugmentConfig, "preprocess": PreprocessConfig}
    for name, schema in {**rooms, "sampler": SamplerConfig, **COMMANDS}.items():
        node = OmegaConf.structured(schema)
        _make_writable(node)
        store.store(group="schema", name=name, node=node)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)


def _make_writable(node: DictConfig) -> None:
    """Frozen dataclasses compose read-only, and then no override could reach them."""
    from omegaconf import DictConfig, OmegaConf

    OmegaConf.set_readonly(node, None)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            _make_writable(child)


def compose(command: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config that ``aurl-<command> <overrides>`` would see, without its run folder.

    Args:
        command: train, generate or evaluate.
        overrides: Hydra overrides, quoted as Hydra wants them.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # Hydra allows one at a time; a running command gets its own back
    try:
        with initialize_config_dir(str(config_folder()), version_base=HYDRA_VERSION_BASE, job_name=command):
            return hydra_compose(command, overrides=list(overrides))
    finally:
        GlobalHydra.instance().hydra = outer


def to_config(node: Any) -> Any:
    """The checked dataclass of a typed node.

    Raises:
        ValueError: a value is out of range.
    """
    from omegaconf import OmegaConf

    return OmegaConf.to_object(node)


def from_values(schema: type, values: Mapping[str, Any]) -> Any:
    """A schema's checked dataclass from plain values, such as the config kept in a
    checkpoint; unknown keys are ignored.

    Raises:
        ValueError: a value is out of range.
    """
    from omegaconf import OmegaConf

    node = OmegaConf.structured(schema)
    _make_writable(node)
    known = {key: value for key, value in values.items() if key in node}
    return to_config(OmegaConf.merge(node, known))


def check_command(cfg: DictConfig, schema: type) -> None:
    """Build the dataclasses of a composed config, so that their range checks run.

    Raises:
        ValueError: a value is out of range; the message names the key, the value and what is allowed.
    """
    from omegaconf import OmegaConf

    values: dict[str, Any] = {}
    for item in fields(schema):
        node = cfg._get_node(item.name)
        nested = OmegaConf.is_config(node) and is_dataclass(OmegaConf.get_type(node)) and item.name != "paths"
        values[item.name] = to_config(node) if nested else cfg.get(item.name)
    schema(**values)


def group_options(group: str) -> list[str]:
    """Names that a config group can be set to, such as ``data`` or ``model/size``."""
    return sorted(file.stem for file in (config_folder() / group).glob("*.yaml"))


def known_keys(schema: type, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> type of every key below a schema class; ``Any`` marks an open group."""
    found: dict[str, Any] = {}
    hints = get_type_hints(schema)
    for item in fields(schema):
        key = prefix + item.name
        found[key] = hints[item.name]
        nested = item.metadata.get("schema", hints[item.name])
        if is_dataclass(nested):
            found |= known_keys(cast(type, nested), key + ".")
    return found
