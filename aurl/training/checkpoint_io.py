"""The one way a checkpoint reaches the disk: atomically, and back only as tensors and plain types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from aurl.models.checkpoint import read_checkpoint
from aurl.utils.files import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes through a temporary file in the target folder; a failed or interrupted write
    leaves the old file as it was.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``.

        Raises:
            AurlError: the folder is not writable or the disk is full.
        """
        atomic_write(Path(path), lambda file: torch.save(checkpoint, file))

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint without executing anything in it.

        Raises:
            AurlError: the file is missing, damaged or foreign.
        """
        return read_checkpoint(Path(path))
