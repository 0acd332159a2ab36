"""Fixtures that several rooms share: real corpora where this machine has them, and quiet, offline libraries."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side

ROOT = Path(__file__).resolve().parent.parent
ARCHIVES = ROOT.parent / "shared" / "data"
UNPACKED = "AURL_TEST_DATA"
"""Environment variable: folder of unpacked corpora."""


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``corpora("jsb-chorales")`` is the unpacked corpus; the test is skipped where there is none."""
    unpacked: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name in unpacked:
            return unpacked[name]
        here = os.environ.get(UNPACKED)
        if here and (Path(here) / name).is_dir():
            unpacked[name] = Path(here) / name
            return unpacked[name]
        archive = ARCHIVES / f"{name}.tar.gz"
        if not archive.is_file():
            pytest.skip(f"the corpus {name} is not here; set {UNPACKED} to a folder of unpacked corpora")
        target = tmp_path_factory.mktemp("corpora")
        with tarfile.open(archive) as packed:
            packed.extractall(target, filter="data")
        unpacked[name] = target / name
        return unpacked[name]

    return folder
