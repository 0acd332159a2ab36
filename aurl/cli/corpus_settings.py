"""Settings of a corpus as typed for ``aurl-train``, for the verbs of ``aurl-data`` that work on a prepared corpus."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from aurl.data.config import DataConfig, TokenizerConfig
    from aurl.data.preprocessing import PreprocessConfig


class CorpusSettings(NamedTuple):
    """What decides a prepared corpus."""

    data: DataConfig
    tokenizer: TokenizerConfig
    cache: Path
    """Folder of prepared corpora."""
    preprocess: PreprocessConfig


def composed(settings: Sequence[str]) -> CorpusSettings:
    """What ``aurl-train`` would make of these settings.

    Raises:
        AurlError: a setting cannot be read; one line.
    """
    from omegaconf import OmegaConf

    from aurl.cli.app import prepare_arguments
    from aurl.cli.conf import compose, to_config
    from aurl.cli.errors import explain

    try:
        cfg = compose("train", prepare_arguments("train", settings))
        if cfg.data.path:  # as aurl-train has it, so that one prepared corpus serves all
            OmegaConf.update(cfg, "data.path", os.path.abspath(Path(cfg.data.path).expanduser()))
        data, tokenizer, preprocess = (to_config(cfg[group]) for group in ("data", "tokenizer", "preprocess"))
        cache = Path(cfg.paths.cache).expanduser()
    except Exception as error:  # Hydra's errors have no common class; each becomes one line
        raise AurlError(explain(error, "train")) from error
    return CorpusSettings(data, tokenizer, cache.absolute(), preprocess)
