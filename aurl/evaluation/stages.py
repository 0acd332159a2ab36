"""Peak memory of preparing data, of training and of generation: each stage in a fresh process, watched from outside.

The process says itself how large it grew; its parent adds up the whole tree while it runs, because data is prepared by
several processes. Memory that processes share counts once for each of them in that sum.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from aurl.evaluation.performance import MEBIBYTE
from aurl.utils.errors import AurlError

POLL_SECONDS = 0.05
MODULE = "aurl.cli.stage"
"""Program of one stage; it lies with the commands, because it composes a config."""


def measure_stage(stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Run one stage in a fresh process.

    Args:
        stage: data, training or generation.
        settings: what the program of the stage needs, JSON types: see aurl/cli/stage.py.

    Returns:
        stage, what (in words), seconds, start_mb (after its imports), peak_mb (its own peak), tree_mb (largest sum over
        it and its children), peak_cuda_mb (None without CUDA).

    Raises:
        AurlError: the process failed; says the last line of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="aurl_stage_") as folder:
        asked, answer = Path(folder) / "asked.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps({**settings, "stage": stage, "folder": folder}), encoding="utf-8")
        with (Path(folder) / "said.txt").open("w+", encoding="utf-8", errors="replace") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(asked), str(answer)], stdout=said, stderr=subprocess.STDOUT
            )
            try:
                tree = watch(process)
            finally:
                if process.poll() is None:  # the parent was interrupted
                    process.kill()
                    process.wait()
            said.seek(0)
            lines = said.read().strip().splitlines()
        if process.returncode or not answer.is_file():
            reason = lines[-1].removeprefix("error: ") if lines else f"exit code {process.returncode}"
            raise AurlError(f"stages={stage}: {reason}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return {"stage": stage, **found, "tree_mb": max(tree, found["peak_mb"])}


def watch(process: subprocess.Popen[Any]) -> float:
    """Wait for a process; the largest sum of resident memory over it and its descendants (MiB)."""
    peak = 0.0
    try:
        root = psutil.Process(process.pid)
    except psutil.NoSuchProcess:  # it is over already
        process.wait()
        return peak
    while process.poll() is None:
        total = 0
        try:
            members = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            members = []
        for member in members:
            try:
                total += member.memory_info().rss
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended meanwhile
                continue
        peak = max(peak, total / MEBIBYTE)
        time.sleep(POLL_SECONDS)
    return peak
