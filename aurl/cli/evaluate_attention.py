"""``aurl-evaluate attention=FILE``: which notes of a piece a model looks at, as pictures and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aurl.cli import app
from aurl.utils.errors import AurlError
from aurl.utils.files import check_folder
from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.models.attention_maps import AttentionMaps

log = get_logger("cli.evaluate_attention")

FILES = ("attention.npz", "attention_tokens.png", "attention_bars.png")
MOST_SHOWN = 2048
"""Tokens whose weights are kept one by one, however many bars are asked for."""


def evaluate_attention(cfg: DictConfig) -> None:
    """Work out the weights, write the files and say where they are."""
    from aurl.evaluation.attention_picture import draw_bars, draw_tokens, save

    source = Path(cfg.attention)
    folder = Path(cfg.output) if cfg.output else Path.cwd() / f"attention_{source.stem}"
    check_folder(folder, "output=")
    maps, checkpoint = measure_attention(cfg)
    paths = [folder / name for name in FILES]
    save(maps, paths[0])
    draw_tokens(maps, paths[1], f"{source.name}, first {cfg.attention_bars} bars, under {checkpoint}")
    draw_bars(maps, paths[2], f"{source.name}, bar by bar, under {checkpoint}")
    for path in paths:
        print(f"written: {app.shown(path)}")


def measure_attention(cfg: DictConfig) -> tuple[AttentionMaps, str]:
    """The weights, and the name of the checkpoint.

    Raises:
        AurlError: no such file or checkpoint, or no notes.
        ValueError: a layer or head that the model does not have.
    """
    import numpy as np
    import torch

    from aurl.cli.checkpoints import resolve, run_label
    from aurl.cli.generate import pick_device
    from aurl.generation.generator import Generator
    from aurl.generation.prompt import make_prompt
    from aurl.models.attention_maps import attention_maps
    from aurl.models.positions import MusicalTime
    from aurl.music.score import read_score
    from aurl.utils.words import exists_hint

    path = Path(cfg.attention)
    if path.is_dir():
        raise AurlError(f"attention={path} is a folder; give one score")
    if not path.is_file():
        raise AurlError(f"attention={path} does not exist{exists_hint(path)}; give a score")
    score = read_score(path)
    checkpoint, device = resolve(cfg.ckpt, Path(cfg.paths.runs)), pick_device(cfg.device)
    generator = Generator.from_checkpoint(checkpoint, device)
    try:
        prompt = make_prompt(score, generator.codec, None, generator.programs_met)
    except AurlError as error:
        raise AurlError(f"attention={path}: {error}") from error
    if prompt.remark:
        log.warning("%s: %s", app.shown(path), prompt.remark)
    vocabulary, context = generator.codec.model_vocabulary, generator.model.config.context
    ids = np.concatenate([[vocabulary.bos], generator.codec.merge(prompt.ids)])
    if len(ids) > context:
        log.warning("%s has %d tokens, the model's context %d; the rest is left out", path.name, len(ids), context)
    bar, beat = vocabulary.musical_time(ids)
    inputs = [
        torch.from_numpy(part[:context].astype(kind))
        for part, kind in zip((ids, beat, bar), ("i8", "f4", "i8"), strict=True)
    ]
    tokens, beats, bars = (part.to(device) for part in inputs)
    lines = np.flatnonzero(np.diff(bar[:context], prepend=bar[0]))
    ends = [*lines.tolist(), len(tokens)]
    shown = ends[min(cfg.attention_bars, len(ends)) - 1]
    if shown > MOST_SHOWN:
        log.warning("the first %d bars have %d tokens; the first %d are drawn", cfg.attention_bars, shown, MOST_SHOWN)
        shown = MOST_SHOWN
    time = MusicalTime(torch.arange(len(tokens), device=device), beats, bars)
    layers, heads = (None if cfg[key] is None else list(cfg[key]) for key in ("layers", "heads"))
    return attention_maps(generator.model, tokens, time, layers, heads, shown), run_label(checkpoint)
