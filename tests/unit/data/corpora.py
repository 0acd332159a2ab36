"""Small folders of music that tests prepare."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from symusic.core import NoteTick, ScoreTick, TrackTick

from aurl.data.config import DataConfig, Source
from aurl.data.sources import Piece
from aurl.music.limits import ReadLimits
from aurl.music.score import Reading


def tune(seed: int, notes: int = 24) -> ScoreTick:
    """A walk through the scale, another one for each seed."""
    draw = np.random.default_rng(seed)
    score = ScoreTick(480)
    track = TrackTick("melody", 0, False)
    pitch = 60
    for step in range(notes):
        pitch = int(np.clip(pitch + draw.choice([-4, -2, -1, 1, 2, 3, 5]), 48, 84))
        track.notes.append(NoteTick(240 * step, 240, pitch, 80))
    score.tracks.append(track)
    return score


def make_music(root: Path, count: int) -> DataConfig:
    """A folder of tunes, half of them in a folder below."""
    (root / "sub").mkdir(parents=True)
    for seed in range(count):
        tune(seed).dump_midi(root / ("sub" if seed % 2 else ".") / f"tune{seed:02}.mid")
    return DataConfig(name="my music", source=Source.folder, path=str(root), workers=1)


def misbehave(piece: Piece, limits: ReadLimits) -> Reading:
    """Reads pieces in the manner of a bad native reader."""
    if piece.id == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if piece.id == "hang":
        time.sleep(60)
    if piece.id == "bug":
        raise KeyError("surprise")
    return Reading(tune(len(piece.id)))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def corpora_of(cache: Path) -> list[Path]:
    """Prepared corpora of a cache."""
    return sorted(path.parent for path in cache.glob("*/meta.json"))
