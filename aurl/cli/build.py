"""From a composed config to a finished run: data, model, callbacks, loggers, trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aurl.cli.conf import to_config
from aurl.cli.continued_model import check_parts, keep_model
from aurl.cli.trainer_check import precision_name
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    import lightning as L
    from omegaconf import DictConfig
    from torch import Tensor

    from aurl.data.codec import Codec
    from aurl.data.datamodule import MusicDataModule
    from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
    from aurl.training.adversarial_config import TokenWeights
    from aurl.training.module import MusicModule

log = logging.getLogger("aurl.cli.build")

OURS_NOT_TRAINERS = {
    "gradient_clip_val": ("optim.clip_norm", None),
    "gradient_clip_algorithm": ("optim.clip_norm", None),
    "accumulate_grad_batches": ("optim.accumulate", 1),
    "overfit_batches": ("data=folder with the one piece, or trainer.limit_train_batches", 0.0),
}
"""Trainer key -> (our key, the only value allowed): optimisation is manual, Lightning
would refuse them later and less kindly.
"""
KEYS_OF_KINDS = {
    **{name.upper(): name for name in ("bar", "timesig", "position", "time_shift", "tempo", "chord", "program")},
    **{name.upper(): name for name in ("pitch", "velocity", "duration", "eos")},
    "NOTE_OFF": "pitch",
    "PITCH_DRUM": "drum",
    "NOTE_OFF_DRUM": "drum",
}
"""Kind of token -> key of loss.token_weights; others count 1."""


@dataclass(frozen=True)
class TrainingResult:
    """Where a run ended."""

    run_dir: Path
    best: Path | None
    """Checkpoint with the fewest nats per note on the validation split."""
    last: Path | None
    batches: int
    """Batches trained in this run, those of a run that it continues not counted."""
    metrics: dict[str, float]
    """Last values of all logged figures."""
    best_figure: float | None = None
    """The validation figure of ``best``: nats per note, unless callbacks.checkpoints.monitor names another."""


def run_training(cfg: DictConfig, resume_from: Path | None = None) -> TrainingResult:
    """Train as configured.

    Args:
        cfg: a composed ``train`` config; ``cfg.paths.output`` is the run's folder.
        resume_from: checkpoint whose run is continued, optimiser, schedule, position in
            the data and random state included.

    Raises:
        AurlError: something in the config cannot be done, in one line.
        ValueError: a value is out of range.
    """
    import lightning as L

    from aurl.training.callbacks.checkpoints import Checkpoints

    run_dir = Path(cfg.paths.output)
    L.seed_everything(cfg.seed, verbose=False)
    if resume_from is not None:
        keep_model(cfg, resume_from)
    data = build_data(cfg)
    data.prepare_data()
    data.setup()
    data.check_splits(validated=cfg.trainer.get("limit_val_batches") != 0)
    module = build_module(cfg, data, initial_checkpoint(cfg) if resume_from is None else None)
    if resume_from is not None:
        check_parts(module, resume_from)
    trainer = build_trainer(cfg, run_dir)
    log.info(
        "%s: %.2f million parameters, vocabulary of %d, %d training pieces, run folder %s",
        cfg.data.name,
        module.model.parameter_count / 1e6,
        module.model.vocab_size,
        len(data.store.chosen("train")),
        run_dir,
    )
    trainer.fit(module, datamodule=data, ckpt_path=None if resume_from is None else str(resume_from), weights_only=True)
    checkpoints = run_dir / "checkpoints"
    kept = [each.kept for each in trainer.checkpoint_callbacks if isinstance(each, Checkpoints) and each.kept]
    best, last = checkpoints / "best.ckpt", checkpoints / "last.ckpt"
    return TrainingResult(
        run_dir,
        best if best.is_file() else None,
        last if last.is_file() else None,
        module.batches_seen - module.batches_restored,
        {name: float(value) for name, value in trainer.callback_metrics.items()},
        kept[0][0][0] if kept else None,
    )


def build_data(cfg: DictConfig) -> MusicDataModule:
    """The corpus of the config."""
    from aurl.data.datamodule import MusicDataModule

    return MusicDataModule(
        replace(to_config(cfg.data), features=needed_features(cfg)),
        to_config(cfg.tokenizer),
        Path(cfg.paths.cache).expanduser(),
        context=cfg.model.context,
        seed=cfg.seed,
        progress=bool(cfg.trainer.get("enable_progress_bar", True)),
        augment=to_config(cfg.augment),
        preprocess=to_config(cfg.preprocess),
        cache_limit=cache_limit(cfg),
        whole_bars=to_config(cfg.model).has_latent,
    )


def needed_features(cfg: DictConfig) -> list[str]:
    """``data.features``, and what the model's named dimensions and its prior follow.

    Raises:
        AurlError: a dimension is to follow what is not measured.
    """
    from aurl.music.attributes import ATTRIBUTES
    from aurl.training.losses import ATTRIBUTES_FEATURE

    model = to_config(cfg.model)
    for name in model.attributes:
        if name not in ATTRIBUTES:
            raise AurlError(f"model.attributes: there is no '{name}'; allowed: {', '.join(ATTRIBUTES)}")
    needed = [*([ATTRIBUTES_FEATURE] if model.attributes else []), *model.prior_conditions]
    return list(dict.fromkeys([*cfg.data.features, *needed]))


def cache_limit(cfg: DictConfig) -> int | None:
    """``paths.cache_limit`` in bytes.

    Raises:
        AurlError: it is no size.
    """
    from aurl.data.cache import parse_size

    if cfg.paths.cache_limit is None:
        return None
    try:
        return parse_size(str(cfg.paths.cache_limit))
    except ValueError as error:
        raise AurlError(f"paths.cache_limit: {error}") from error


def build_module(cfg: DictConfig, data: MusicDataModule, initial: Path | None = None) -> MusicModule:
    """Model and training module for an opened corpus.

    Args:
        cfg: a composed ``train`` config.
        data: the corpus.
        initial: checkpoint whose weights the model begins with, as far as it has them.

    Raises:
        AurlError: the checkpoint's weights do not fit, or the tokenizer's tokens a part of the loss.
    """
    from omegaconf import OmegaConf

    from aurl.models.hearing import TokenMeaning
    from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
    from aurl.training.module import MusicModule

    vocabulary = data.codec.vocabulary
    resolved = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    settings = cast("dict[str, Any]", resolved)
    config = to_config(cfg.model)
    if config.hearing and not data.codec.tells_what_sounds:
        log.info(
            "model.hearing is off: %s",
            "tokens learned by tokenizer.bpe hold several notes or parts of them"
            if data.codec.merges is not None
            else f"tokenizer={cfg.tokenizer.kind} does not write how long a note lasts",
        )
        config = replace(config, hearing=False)
        settings["model"]["hearing"] = False
    knows = data.codec.merges is None or config.has_discriminator  # which refuses such tokens, saying why
    meaning = TokenMeaning.of(vocabulary.meaning()) if knows else None
    model = MusicTransformerVAEGAN(config, data.codec.size, meaning)
    if initial is not None:
        start_from(model, data.codec, initial)
    loss = to_config(cfg.loss)
    weights = token_weights(loss.token_weights, data.codec)
    return MusicModule(
        model,
        data.codec,
        to_config(cfg.optim),
        settings,
        data.programs_met(),
        loss,
        weights,
        data.unmet_tokens(),
    )


def start_from(model: MusicTransformerVAEGAN, codec: Codec, checkpoint: Path) -> None:
    """Begin with the weights of a checkpoint.

    Raises:
        AurlError: it cannot be read, or was trained with other tokens or sizes.
    """
    from aurl.data.codec import Codec
    from aurl.models.checkpoint import read_checkpoint
    from aurl.models.transfer import take_weights

    content = read_checkpoint(checkpoint, "init_from")
    if not codec.has_ids_of(Codec.from_dict(content["aurl"]["tokenizer"])):
        raise AurlError(
            f"init_from={checkpoint} was trained with other tokens; give the tokenizer keys that it was trained with"
        )
    take_weights(model, content, checkpoint)


def token_weights(asked: TokenWeights, codec: Codec) -> Tensor | None:
    """Weight of each token ``(V,)`` from weights of kinds; None where all are 1.

    Raises:
        AurlError: tokens that hold several things, or nothing left to learn.
    """
    import torch

    from aurl.data.kinds import Kind
    from aurl.training.adversarial_config import TokenWeights

    if asked == TokenWeights():
        return None
    if codec.merges is not None:
        raise AurlError("loss.token_weights needs tokens that say one thing each; switch tokenizer.bpe off")
    of_kind = {int(Kind[kind]): getattr(asked, key) for kind, key in KEYS_OF_KINDS.items()}
    weights = torch.tensor([of_kind.get(kind, 1.0) for kind in codec.vocabulary.kind.tolist()])
    used = torch.from_numpy(codec.vocabulary.kind) > int(Kind.BOS)
    if not weights[used].any():
        raise AurlError("loss.token_weights leaves no kind of token with a weight; set one above 0")
    return weights


def initial_checkpoint(cfg: DictConfig) -> Path | None:
    """The file that ``init_from`` means.

    Raises:
        AurlError: it does not exist.
    """
    from aurl.cli.checkpoints import resolve

    if not cfg.init_from:
        return None
    return resolve(cfg.init_from, Path(cfg.paths.runs), key="init_from")


def build_trainer(cfg: DictConfig, run_dir: Path) -> L.Trainer:
    """Lightning's Trainer with our three translations, callbacks and loggers.

    Raises:
        AurlError: a Trainer key that has another name here, or hardware that this machine does not have.
    """
    from hydra.utils import instantiate
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from aurl.training.checkpoint_io import AtomicCheckpointIO

    for key, (ours, allowed) in OURS_NOT_TRAINERS.items():
        if cfg.trainer.get(key) not in (allowed, None):
            raise AurlError(f"trainer.{key}={cfg.trainer[key]} is not available; use {ours} instead")
    accelerator = resolve_accelerator(cfg.trainer.accelerator)
    settings = {
        "accelerator": accelerator,
        "precision": resolve_precision(cfg.trainer.precision, accelerator),
        "strategy": resolve_strategy(cfg.trainer.strategy, cfg.trainer.devices, to_config(cfg.model).has_discriminator),
        "default_root_dir": str(run_dir),
    }
    try:
        return instantiate(
            cfg.trainer,
            **settings,
            callbacks=build_callbacks(cfg),
            logger=instantiate_all(cfg.logger) or False,
            plugins=[AtomicCheckpointIO()],
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise AurlError(f"trainer: {' '.join(str(error).split())}") from error


def build_callbacks(cfg: DictConfig) -> list[Any]:
    """Configured callbacks, and the progress bar where the trainer wants one."""
    from aurl.training.callbacks.progress import ProgressBar

    callbacks = instantiate_all(cfg.callbacks)
    if cfg.trainer.get("enable_progress_bar", True):
        callbacks.append(ProgressBar(leave=False))
    return callbacks


def instantiate_all(group: Mapping[str, Any] | None) -> list[Any]:
    """Objects of an open group (name -> node with ``_target_``); entries set to null are left out."""
    from hydra.utils import instantiate

    return [instantiate(node) for node in (group or {}).values() if node is not None]


def resolve_accelerator(accelerator: str) -> str:
    """``cuda``, ``mps`` or ``cpu`` for ``auto`` and ``gpu``.

    Raises:
        AurlError: the machine lacks it.
    """
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        return next(name for name, here in present.items() if here)
    if accelerator == "gpu":
        accelerator = "cuda" if present["cuda"] or not present["mps"] else "mps"
    if not present.get(accelerator, True):
        raise AurlError(
            f"trainer.accelerator={accelerator} is not on this machine; use trainer.accelerator=cpu or auto"
        )
    return accelerator


def resolve_precision(precision: str | int, accelerator: str) -> str:
    """Translate ``precision=auto``.

    Raises:
        ValueError: there is no such precision, or it does not work here.
    """
    name = precision_name(precision)
    if name != "auto":
        return name
    from aurl.training.precision import auto_precision

    chosen = auto_precision(accelerator)
    log.info("precision=auto is %s on this %s", chosen, accelerator)
    return chosen


def resolve_strategy(strategy: str, devices: int | str, alternates: bool = False) -> str:
    """Translate ``strategy=auto``: one device needs none, several run data-parallel.

    Args:
        strategy: Lightning's name, or auto.
        devices: how many, or which.
        alternates: whether model and discriminator take turns, so that each backward pass leaves parameters out.
    """
    if strategy != "auto":
        return strategy
    if str(devices) == "1":
        return "auto"
    return "ddp_find_unused_parameters_true" if alternates else "ddp"
