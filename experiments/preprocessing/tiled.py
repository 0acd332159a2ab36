"""A corpus of any size, made of links to the files of another: how long preparing and opening it takes, in what memory.

    python -m experiments.preprocessing.tiled FOLDER --pieces 1000000 --work WORK

FOLDER holds MIDI files, which are linked in turn until there are so many pieces (hard links: FOLDER and WORK are on one
disk). The corpus is prepared, opened again, and trained on for a few steps, each in a process of its own; a million
pieces take 30 GB of disk. What is there of links and cache is used again. Results are printed as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

import psutil

IN_A_FOLDER = 1000
SAMPLE_SECONDS = 0.5
STEPS = 20
TRAINING = (
    "model/size=tiny",
    "trainer=cpu",
    f"trainer.max_steps={STEPS}",
    "trainer.max_epochs=-1",
    "trainer.limit_val_batches=0",
    "trainer.enable_progress_bar=false",
    "callbacks.samples=null",
    "callbacks.early_stopping=null",
    "callbacks.checkpoints=null",
    "logger=none",
)


def link(files: list[Path], pieces: int, root: Path) -> None:
    """Links to the files in turn, a thousand in a folder.

    Raises:
        SystemExit: there are more already.
    """
    if (root / f"{pieces // IN_A_FOLDER:06d}" / f"{pieces:09d}.mid").exists():
        raise SystemExit(f"{root} holds more than {pieces} pieces; give another --work or delete it")
    for number in range(pieces):
        folder = root / f"{number // IN_A_FOLDER:06d}"
        if number % IN_A_FOLDER == 0:
            folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:09d}.mid"
        if not path.exists():
            os.link(files[number % len(files)], path)


def children(process: psutil.Process) -> list[psutil.Process]:
    """All processes below one, none if it has ended."""
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return found


def memory(process: psutil.Process) -> dict[str, float]:
    """Anonymous and resident MB of a process; resident counts pages of files that are mapped."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    anonymous = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:"))
    return {"anonymous": anonymous / 1e3, "resident": process.memory_info().rss / 1e6}


def watched(name: str, command: list[str], cache: Path, output: Path) -> None:
    """Run a command and print its time and the peaks of its own memory and of its largest worker."""
    began = time.monotonic()
    with output.open("wb") as file:
        running = subprocess.Popen(
            command, env={**os.environ, "AURL_CACHE": str(cache)}, stdout=file, stderr=subprocess.STDOUT
        )
    parent, peaks = psutil.Process(running.pid), dict[str, float]()
    while running.poll() is None:
        for who, each in (("own", parent), *(("worker", child) for child in children(parent))):
            try:
                found = memory(each)
            except (psutil.Error, OSError):  # it has just ended
                continue
            for kind, value in found.items():
                peaks[f"{who} {kind}"] = max(peaks.get(f"{who} {kind}", 0.0), value)
        time.sleep(SAMPLE_SECONDS)
    if running.returncode:
        raise SystemExit(f"{name} failed with exit code {running.returncode}; see {output}")
    row = {"what": name, "seconds": round(time.monotonic() - began, 1)}
    print(json.dumps(row | {who: round(value) for who, value in sorted(peaks.items())}), flush=True)


def main() -> None:
    """Link, prepare, open again, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pieces", type=int, default=20_000)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    files = sorted(args.folder.rglob("*.mid"))
    if not files:
        raise SystemExit(f"{args.folder} holds no .mid file; name a folder that does")
    music, cache = args.work / "music", args.work / "cache"
    link(files, args.pieces, music)
    corpus = ["data=folder", f"data.path={music}"]
    for name in ("prepared", "opened again"):
        watched(name, ["aurl-data", "prepare", *corpus], cache, args.work / "prepare.log")
    watched(
        f"trained {STEPS} steps",
        ["aurl-train", *corpus, *TRAINING, f"paths.output={args.work / 'run'}"],
        cache,
        args.work / "train.log",
    )


if __name__ == "__main__":
    main()
