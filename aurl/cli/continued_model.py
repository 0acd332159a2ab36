"""The model of a run that is continued: what it was begun with stays, and other parts than it has are refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aurl.cli.conf import to_config
from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.training.module import MusicModule

log = get_logger("cli.continued_model")

FREE_MODEL_KEYS = frozenset({"dropout", "token_dropout", "hearing_dropout", "gradient_checkpointing"})
"""Keys of the model that a run may change when it is continued: no weight depends on them."""
MOST_NAMED = 2
"""Weights named in an error."""


def keep_model(cfg: DictConfig, checkpoint: Path) -> None:
    """Put into ``cfg.model`` what decides the weights of a run that is continued, as it was when the run began.

    The defaults may have changed since then; a value that is not the run's own is named in a warning.

    Raises:
        AurlError: the checkpoint cannot be read.
    """
    from omegaconf import open_dict

    from aurl.models.checkpoint import model_config_from_dict, model_config_to_dict, read_checkpoint

    about = read_checkpoint(checkpoint)["aurl"]
    begun_with = model_config_to_dict(model_config_from_dict(about["model"]))
    now = model_config_to_dict(to_config(cfg.model))
    with open_dict(cfg):
        for key, value in begun_with.items():
            if key not in FREE_MODEL_KEYS and now[key] != value:
                log.warning(
                    "model.%s=%s is not what %s was begun with; kept: %s (init_from= begins a new run with weights)",
                    key,
                    now[key],
                    checkpoint,
                    value,
                )
                cfg.model[key] = value


def check_parts(module: MusicModule, checkpoint: Path) -> None:
    """Refuse to continue a run whose model has other parts: another version of aurl may have written it.

    Raises:
        AurlError: names weights that are missing or too many.
    """
    from aurl.models.checkpoint import read_checkpoint

    theirs, ours = set(read_checkpoint(checkpoint)["state_dict"]), set(module.state_dict())
    told = [
        f"{word} {', '.join(sorted(names)[:MOST_NAMED])}{' ...' if len(names) > MOST_NAMED else ''}"
        for word, names in (("lacks", ours - theirs), ("has besides", theirs - ours))
        if names
    ]
    if told:
        raise AurlError(
            f"ckpt={checkpoint} cannot be continued by this version of aurl: it {' and '.join(told)}; "
            f"begin a new run with its weights (init_from={checkpoint})"
        )
