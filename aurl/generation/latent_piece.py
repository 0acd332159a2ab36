"""A piece and its latents, in memory and as a file.

The file is NumPy's .npz without pickles, so that any program reads it:

    array               shape     type     content
    tokens              (T,)      int64    the piece without BOS and EOS, in base tokens of the checkpoint's tokenizer
    bar                 (B,)      int64    number of each bar, the first is 1
    bar_latents         (B, Z)    float32  posterior mean of each bar
    bar_deviations      (B, Z)    float32  posterior standard deviation
    piece_latent        (P,)      float32  posterior mean of the piece
    attributes          (B, 8)    float32  what can be heard in each bar, NaN where undefined
    attribute_names     (8,)      text     columns of attributes
    dimension_names     (Z,)      text     columns of bar_latents: attributes that dimensions follow, then z9 ...
    checkpoint          ()        text     fingerprint of the model that made them
    name                ()        text     of the piece

Axes: T tokens, B bars, Z latent of a bar, P latent of a piece.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.music.attributes import ATTRIBUTES
from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write_bytes

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LatentPiece:
    """A piece as a variational autoencoder sees it; fields as in the file above."""

    name: str
    tokens: NDArray[np.int64]
    bar_latents: Floats
    bar_deviations: Floats
    piece_latent: Floats
    attributes: Floats
    dimension_names: tuple[str, ...]
    checkpoint: str

    @property
    def bars(self) -> int:
        """Number of bars B."""
        return len(self.bar_latents)

    def with_latents(self, bar_latents: Floats, name: str | None = None) -> LatentPiece:
        """The piece with other latents of its bars; its tokens stay until somebody writes them anew."""
        return replace(self, bar_latents=np.asarray(bar_latents, np.float32), name=self.name if name is None else name)


TEXTS = ("name", "checkpoint")
ARRAYS = tuple(item.name for item in fields(LatentPiece) if item.name not in (*TEXTS, "dimension_names"))


def save_latents(piece: LatentPiece, path: Path) -> None:
    """Write a piece and its latents; the file appears whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        **{name: getattr(piece, name) for name in (*ARRAYS, *TEXTS)},
        bar=np.arange(1, piece.bars + 1),
        attribute_names=np.array(ATTRIBUTES),
        dimension_names=np.array(piece.dimension_names),
    )
    atomic_write_bytes(path, buffer.getvalue())


def load_latents(path: Path) -> LatentPiece:
    """Read what :func:`save_latents` wrote.

    Raises:
        AurlError: the file is missing or something else; the message says what is wrong.
    """
    if not path.is_file():
        raise AurlError(f"{path} does not exist; give a file that `aurl-latent encode` wrote")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise AurlError(f"{path} is no file of latents; give one that `aurl-latent encode` wrote") from error
    missing = [name for name in (*ARRAYS, *TEXTS, "dimension_names") if name not in arrays]
    if missing:
        raise AurlError(f"{path} lacks {missing[0]}; give a file that `aurl-latent encode` wrote")
    values: dict[str, Any] = {name: arrays[name] for name in ARRAYS} | {name: str(arrays[name]) for name in TEXTS}
    piece = LatentPiece(**values, dimension_names=tuple(arrays["dimension_names"].tolist()))
    rows = {len(piece.bar_latents), len(piece.bar_deviations), len(piece.attributes)}
    widths = {piece.bar_latents.shape[-1], piece.bar_deviations.shape[-1], len(piece.dimension_names)}
    if len(rows) != 1 or len(widths) != 1 or piece.bar_latents.ndim != 2:
        raise AurlError(f"{path}: its arrays are of {sorted(rows)} bars and {sorted(widths)} dimensions; make it again")
    return piece
