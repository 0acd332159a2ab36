"""Preparing corpora: killed ten times, whole corpora with the time of each stage, and memory per piece in training.

    python experiments/preprocessing/run.py killed FOLDER --good 5000 --work WORK
    python experiments/preprocessing/run.py corpora FOLDER --work WORK
    python experiments/preprocessing/run.py memory --work WORK
    python experiments/preprocessing/run.py melodies --pieces 12000 100000 --work WORK

FOLDER holds unpacked corpora (and hostile_midi for ``killed``). Results are printed as JSON lines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

ARCHIVES = {
    "asap-piano": None,
    "giantmidi-sample": None,
    "groove": None,
    "jsb-chorales": None,
    "multitrack-free": None,
    "nottingham": None,
    "openscore": None,
    "pop909": "cl.mid",
}
HOSTILE = "hostile_midi"
PREPARE = """
import json, sys, time
from pathlib import Path
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.index import Index
from aurl.data.prepare import prepare
settings = json.loads(sys.argv[1])
settings["source"] = Source(settings["source"])
began = time.monotonic()
store = prepare(DataConfig(**settings), TokenizerConfig(), Path(sys.argv[2]), progress=False)
seconds = time.monotonic() - began
with Index(Path(sys.argv[2])) as index:
    use = index.use_of(store.folder.name)
print(json.dumps({"seconds": round(seconds, 2), "pieces": len(store), "skipped": len(store.skipped),
                  "made": use.made, "reused": use.reused, "folder": str(store.folder)}))
"""
MB = 1e6
SAMPLE_SECONDS = 0.1


def start(settings: dict[str, Any], cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, json.dumps(settings), str(cache)], stdout=subprocess.PIPE, text=True
    )


def watch(process: subprocess.Popen[str], peaks: dict[str, float], until: Any = None) -> float:
    """Sample resident memory of a process and its workers until it ends or ``until()`` is true; returns the seconds of
    processor time that all of them had spent when they were last looked at."""
    parent = psutil.Process(process.pid)
    spent: dict[int, float] = {}
    while process.poll() is None and not (until is not None and until()):
        try:
            for name, each in (("parent", parent), *(("worker", child) for child in parent.children(recursive=True))):
                peaks[name] = max(peaks.get(name, 0.0), each.memory_info().rss / MB)
                times = each.cpu_times()
                spent[each.pid] = times.user + times.system
        except psutil.Error:
            pass
        time.sleep(SAMPLE_SECONDS)
    return sum(spent.values())


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"preparing failed with exit code {process.returncode}")
    return json.loads(out.splitlines()[-1])


def published(cache: Path) -> int:
    try:
        with sqlite3.connect(f"file:{cache / 'index.sqlite'}?mode=ro", uri=True, timeout=60) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM entries").fetchone()[0])
    except sqlite3.Error:
        return 0


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make_folder(root: Path, corpora: Path, good: int) -> int:
    """Links to ``good`` files of the corpora and to all hostile ones."""
    shutil.rmtree(root, ignore_errors=True)
    files = [file for name in ARCHIVES for file in (corpora / name).rglob("*.mid")]
    files.sort(key=lambda file: hashlib.sha256(file.relative_to(corpora).as_posix().encode()).digest())
    hostile = [corpora / HOSTILE / json.loads(line)["file"] for line in (corpora / HOSTILE / "manifest.jsonl").open()]
    for kind, chosen in (("good", files[:good]), ("hostile", hostile)):
        for number, file in enumerate(chosen):
            folder = root / kind / f"{number // 500:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:05d}.mid").symlink_to(file)
    return len(files[:good]) + len(hostile)


def run_killed(args: argparse.Namespace) -> None:
    work = Path(args.work)
    total = make_folder(work / "music", Path(args.folder), args.good)
    settings = {"name": "messy", "source": "folder", "path": str(work / "music"), "workers": args.workers}
    caches = {name: work / f"cache-{name}" for name in ("killed", "calm")}
    for cache in caches.values():
        shutil.rmtree(cache, ignore_errors=True)
    peaks: dict[str, float] = {}
    began = time.monotonic()
    for kill in range(args.kills):
        before = published(caches["killed"])
        goal = int(2 * total * (kill + 1) / (args.kills + 1))
        process = start(settings, caches["killed"])
        watch(process, peaks, lambda goal=goal: published(caches["killed"]) >= goal)
        running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        print(
            json.dumps(
                {"kill": kill + 1, "was_running": running, "before": before, "after": published(caches["killed"])}
            ),
            flush=True,
        )
    process = start(settings, caches["killed"])
    watch(process, peaks)
    last = finished(process)
    seconds = time.monotonic() - began
    process = start(settings, caches["calm"])
    cpu = watch(process, peaks)
    calm = finished(process) | {"cpu_seconds": round(cpu, 1)}
    one, two = tree(Path(last["folder"])), tree(Path(calm["folder"]))
    rows = [json.loads(line) for line in (Path(last["folder"]) / "skipped.jsonl").open()]
    print(
        json.dumps(
            {
                "files": total,
                "kills": args.kills,
                "same_tree": one == two and Path(last["folder"]).name == Path(calm["folder"]).name,
                "last_run": last,
                "undisturbed_run": calm,
                "seconds_with_kills": round(seconds, 1),
                "all_files_accounted_for": last["pieces"] + last["skipped"] >= total,
                "quarantined_with_reason": sum(bool(row["reason"]) for row in rows),
                "quarantined_good": sum(row["id"].startswith("good") for row in rows),
                "rss_mb": {name: round(value) for name, value in peaks.items()},
            }
        ),
        flush=True,
    )


def run_corpora(args: argparse.Namespace) -> None:
    cache = Path(args.work) / "cache-corpora"
    shutil.rmtree(cache, ignore_errors=True)
    features = args.features.split(",") if args.features else []
    sums = {"pieces": 0, "skipped": 0, "cold": 0.0, "warm": 0.0, "cold_cpu": 0.0, "warm_cpu": 0.0}
    peaks: dict[str, float] = {}
    for name, pattern in ARCHIVES.items():
        settings = {"name": name, "source": "archive", "path": str(Path(args.folder) / name), "workers": args.workers}
        settings |= {"file_pattern": pattern, "features": features}
        row: dict[str, Any] = {"corpus": name}
        for kind in ("cold", "warm"):
            process = start(settings, cache)
            cpu = round(watch(process, peaks), 2)
            done = finished(process)
            row |= {kind: done["seconds"], f"{kind}_cpu": cpu}
            row |= {"pieces": done["pieces"], "skipped": done["skipped"]}
            sums[kind] += done["seconds"]
            sums[f"{kind}_cpu"] += cpu
        sums["pieces"] += row["pieces"]
        sums["skipped"] += row["skipped"]
        print(json.dumps(row), flush=True)
    shards = sum(file.stat().st_size for file in cache.rglob("*.shard")) / MB
    print(
        json.dumps({"all": sums, "rss_mb": {k: round(v) for k, v in peaks.items()}, "piece_store_mb": round(shards, 1)})
    )


STAGES = """
import json, sys, time
from collections import Counter
from pathlib import Path
from aurl.data import encoding, reading
from aurl.data.codec import Codec
from aurl.data.aligned import provider
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.preprocessing import PreprocessConfig, preprocess_score
from aurl.data.metadata import score_metadata
from aurl.data.facts import facts_of
from aurl.data.splits import top_line_ngrams
from aurl.data.sources import list_pieces, load_reading
spent = Counter()
def timed(name, function, *args):
    began = time.process_time()
    result = function(*args)
    spent[name] += time.process_time() - began
    return result
codec, count, listed = Codec.from_config(TokenizerConfig()), 0, 0
providers = [provider(name) for name in json.loads(sys.argv[3])]
for name, pattern in json.loads(sys.argv[2]).items():
    data = DataConfig(name=name, source=Source.archive, path=str(Path(sys.argv[1]) / name), file_pattern=pattern)
    pieces = timed("list", list_pieces, data)
    listed += len(pieces)
    for piece in pieces[::int(sys.argv[4])]:
        count += 1
        loaded = timed("read", load_reading, piece)
        timed("metadata", score_metadata, loaded.score)
        timed("facts", facts_of, loaded.score)
        hashes = timed("signature", top_line_ngrams, loaded.score)
        done = timed("preprocess", preprocess_score, loaded.score, PreprocessConfig())
        import numpy as np
        read = reading.ReadPiece(done.score, np.array(sorted(hashes), dtype=np.uint64), {})
        timed("pack", reading.to_entry, read)
        encoded = timed("encode", encoding.encode_piece, piece.id, read, codec, providers)
        entry = timed("pack tokens", encoding.to_entry, encoded)
        timed("unpack tokens", encoding.from_entry, entry)
rows = {k: round(1e3 * v / (listed if k == "list" else count), 3) for k, v in spent.most_common()}
print(json.dumps({"pieces": count, "cpu_ms_a_piece": rows}))
"""


def run_stages(args: argparse.Namespace) -> None:
    """Milliseconds of CPU of each stage, in one process."""
    features = args.features.split(",") if args.features else []
    command = [sys.executable, "-c", STAGES, args.folder, json.dumps(ARCHIVES), json.dumps(features), str(args.every)]
    subprocess.run(command, check=True)


MEMORY = """
import gc, json, os, sys, time
from pathlib import Path
from aurl.data.store import TokenStore
from aurl.data.codec import Codec
from aurl.data.augmentation.config import AugmentConfig
from aurl.data.batching import TrainingBatches, TrainingPlan
import torch
def anonymous():
    gc.collect()
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous:")) / 1e3
rows = {"start": anonymous()}
store = TokenStore.open(Path(sys.argv[1]))
codec = Codec.from_dict(store.tokenizer)
rows["opened"] = anonymous()
began = time.perf_counter()
pieces = store.chosen("train")
loader = TrainingBatches(TrainingPlan(store, pieces, codec.vocabulary, 1024, 8192, AugmentConfig(), 0))
rows["plan"] = anonymous()
batches = iter(loader)
for _ in range(20):
    next(batches, None)
rows["batches"] = anonymous()
seconds = round(time.perf_counter() - began, 2)
print(json.dumps({"pieces": len(store), "seconds": seconds, "anonymous_mb": {k: round(v, 1) for k, v in rows.items()}}))
"""


def run_memory(args: argparse.Namespace) -> None:
    """Anonymous memory of training on made-up corpora of many pieces."""
    import numpy as np

    from aurl.data.codec import Codec
    from aurl.data.config import TokenizerConfig
    from aurl.data.records import PieceRecord
    from aurl.data.store_writer import StoreWriter

    codec = Codec.from_config(TokenizerConfig())
    vocabulary = codec.vocabulary
    words = [
        vocabulary.index[name]
        for name in ("Bar_None", "TimeSig_4/4", "Position_0", "Program_0", "Pitch_60", "Velocity_63", "Duration_1.0.8")
    ]
    ids = np.array([vocabulary.bos, *words * 40, vocabulary.eos], dtype=np.uint16)
    bars, beats = vocabulary.musical_time(ids)
    for count in (1, *args.pieces):
        folder = Path(args.work) / f"virtual-{count}"
        if not folder.exists():
            folder.mkdir(parents=True)
            with StoreWriter(folder) as writer:
                for number in range(count):
                    record = PieceRecord(
                        f"piece {number:07d}",
                        "train",
                        40,
                        160.0,
                        len(ids),
                        48 + number % 12,
                        72,
                        1,
                        {"title": f"Piece {number}", "composer": "Nobody"},
                        f"/music/{number:07d}.mid",
                        {"programs": [0]},
                    )
                    writer.add(record, ids, bars, beats)
                writer.finish(codec.to_dict(), {})
        subprocess.run([sys.executable, "-c", MEMORY, str(folder)], check=True)


MELODIES = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from aurl.data.duplicates import NearDuplicates
from aurl.data.splits import assign_splits
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
count, hashes = int(sys.argv[1]), int(sys.argv[2])
rng, before = np.random.default_rng(0), peak()
began, ids, largest = time.process_time(), [], 0
with NearDuplicates(Path(sys.argv[3])) as pieces:
    for number in range(count):
        signature = rng.integers(0, 2**63, hashes, dtype=np.uint64)
        if number % 10 == 9:  # every tenth piece is a variant of the one before it
            signature[: hashes // 2] = last[: hashes // 2]
        last = signature
        pieces.add(signature)
        ids.append(f"folder/{number:07d}.mid")
    gathered, groups = peak(), pieces.groups()
    grouped = peak()
splits = assign_splits(ids, groups, 0.1, 0.1, 0)
marks = {"gathered": gathered, "grouped": grouped, "dealt": peak()}
print(json.dumps({
    "pieces": count, "hashes": hashes, "groups": len(set(groups)), "held_out": sum(s != "train" for s in splits),
    "cpu_seconds": round(time.process_time() - began, 1),
    "peak_mb_over_start": {name: round(mb - before, 1) for name, mb in marks.items()},
}))
"""


def run_melodies(args: argparse.Namespace) -> None:
    """Memory of grouping near-duplicates and dealing splits, on made-up signatures."""
    Path(args.work).mkdir(parents=True, exist_ok=True)
    for count in args.pieces:
        subprocess.run([sys.executable, "-c", MELODIES, str(count), str(args.hashes), args.work], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    for name, task in (
        ("killed", run_killed),
        ("corpora", run_corpora),
        ("stages", run_stages),
        ("memory", run_memory),
        ("melodies", run_melodies),
    ):
        sub = tasks.add_parser(name)
        sub.set_defaults(task=task)
        if name not in ("memory", "melodies"):
            sub.add_argument("folder", help="unpacked corpora")
        sub.add_argument("--work", default="preprocessing-work", help="folder for links and caches")
        sub.add_argument("--workers", type=int, default=os.cpu_count())
        sub.add_argument("--good", type=int, default=5000)
        sub.add_argument("--kills", type=int, default=10)
        sub.add_argument("--features", default="", help="data.features, separated by commas")
        sub.add_argument("--every", type=int, default=10, help="stages: every n-th piece")
        sub.add_argument("--hashes", type=int, default=300, help="melodies: hashes of a piece")
        sub.add_argument("--pieces", type=int, nargs="+", default=[10_000, 100_000])
    args = parser.parse_args()
    args.task(args)


if __name__ == "__main__":
    main()
