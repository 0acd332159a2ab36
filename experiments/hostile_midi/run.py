"""Do broken MIDI files of the wild become music, and do whole ones stay as they are? See README.md."""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mutants import mutants

from aurl.data.crew import Failure, in_order, work_through

RECOVERED_SHARE = 0.9
HOSTILE = "hostile_midi"
SEED, FILES, HEADER_END = 5, 200, 22
SPEED_FILES = 60
DAMAGED_CORPORA = ("nottingham", "groove", "multitrack-free")
VERDICTS = ("parse", "repair", "empty", "error")


def manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").strip().split("\n")]


def start_examining() -> Any:
    from aurl.music.examine import examine_file

    def examine(path: str) -> dict[str, Any]:
        began, spent = time.perf_counter(), time.process_time()
        report = examine_file(Path(path))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds, cpu = time.perf_counter() - began, time.process_time() - spent
        return {"report": report, "seconds": seconds, "cpu_seconds": cpu, "megabytes": peak}

    return examine


def is_as_wanted(row: dict[str, Any], report: Any) -> bool:
    """Whether a file came out as the manifest wants it."""
    verdict = report.verdict.value
    return {
        "parse": verdict in ("ok", "repaired") and report.notes == row["notes"],
        "repair": verdict == "repaired" and report.notes >= RECOVERED_SHARE * row["notes"],
        "empty": verdict == "empty",
        "error": verdict == "rejected" and bool(report.reason) and "\n" not in report.reason,
    }[row["verdict"]]


def hostile(folder: Path) -> None:
    rows = manifest(folder)
    paths = [str(folder / row["file"]) for row in rows]
    results = list(in_order(work_through(paths, partial(start_examining), workers=2, seconds=10.0, fork=True)))
    wanted, total, kinds = Counter[str](), Counter(row["verdict"] for row in rows), Counter[str]()
    for row, result in zip(rows, results, strict=True):
        if isinstance(result, Failure):
            print(f"{row['file']}: {result.reason}")
            continue
        wanted[row["verdict"]] += is_as_wanted(row, result["report"])
        kinds.update(result["report"].repairs.keys())
        if not is_as_wanted(row, result["report"]):
            print(f"{row['file']}: wanted {row['verdict']} with {row['notes']} notes, got {result['report']}")
    done = [result for result in results if not isinstance(result, Failure)]
    for verdict in VERDICTS:
        print(f"| {verdict} | {wanted[verdict]} of {total[verdict]} |")
    print(f"crashes or more than 10 s: {len(results) - len(done)}")
    for name, what in (("seconds", "by the clock"), ("cpu_seconds", "of processor time")):
        slowest = max(range(len(results)), key=lambda n: 0 if isinstance(results[n], Failure) else results[n][name])
        print(f"slowest file: {results[slowest][name]:.2f} s {what} ({rows[slowest]['file']})")
    print(f"largest process: {max(result['megabytes'] for result in done):.0f} MB")
    print("files by kind of repair: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))


COUNT = """
import json, sys
from symusic.core import ScoreTick
for line in sys.stdin:
    print(ScoreTick(json.loads(line)).note_num(), flush=True)
"""


def archives(root: Path) -> None:
    print("| corpus | files | read | notes as the parser's | files with repairs |")
    for folder in sorted(root.iterdir()):
        if folder.name == HOSTILE or not (folder / "manifest.jsonl").is_file():
            continue
        paths = [str(folder / row["path"]) for row in manifest(folder)]
        asked = "".join(json.dumps(path) + "\n" for path in paths)
        parser = subprocess.run([sys.executable, "-c", COUNT], input=asked, capture_output=True, text=True, check=True)
        theirs = [int(line) for line in parser.stdout.split()]
        results = list(in_order(work_through(paths, partial(start_examining), workers=2, fork=True)))
        reports = [result["report"] for result in results if not isinstance(result, Failure)]
        read = sum(report.verdict.value in ("ok", "repaired") for report in reports)
        equal = sum(report.notes == count for report, count in zip(reports, theirs, strict=True))
        repaired = sum(bool(report.repairs) for report in reports)
        print(f"| {folder.name} | {len(paths)} | {read} | {equal} | {repaired} |", flush=True)


def structural(root: Path, count: int, seed: int) -> None:
    """Structural damage (mutants.py): what becomes of it, and whether each repaired copy is clean and complete."""
    verdicts, kinds, wrong = Counter[str](), Counter[str](), 0
    slowest = largest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        names, paths = [], []
        for number, (name, data) in enumerate(mutants(root, count, seed)):
            names.append(name)
            paths.append(str(Path(folder) / f"{number:05d}.mid"))
            Path(paths[-1]).write_bytes(data)
        for name, result in zip(
            names, in_order(work_through(paths, start_repairing, workers=1, seconds=600.0, fork=True)), strict=True
        ):
            if isinstance(result, Failure):
                print(f"{name}: {result.reason}", flush=True)
                continue
            verdicts[result["verdict"]] += 1
            kinds.update([name.partition("+")[0]] if result["verdict"] == "rejected" else [])
            slowest, largest = max(slowest, result["cpu_seconds"]), max(largest, result["megabytes"])
            if result["again"] not in (None, (result["notes"], 0)):
                wrong += 1
                print(f"{name}: {result}", flush=True)
    print(f"{len(names)} files: " + ", ".join(f"{verdict} {number}" for verdict, number in verdicts.most_common()))
    print(f"no answer: {len(names) - verdicts.total()}; repaired copies that differ from the reading: {wrong}")
    print(f"slowest: {slowest:.2f} s of processor time, with its copy; largest process: {largest:.0f} MB")
    print("rejected, by the first damage: " + ", ".join(f"{kind} {number}" for kind, number in kinds.most_common()))


def start_repairing() -> Any:
    from aurl.music.examine import repair_file
    from aurl.music.score import read_midi

    def repair(path: str) -> dict[str, Any]:
        spent = time.process_time()
        report, songs = repair_file(Path(path))
        readings = [reading for song in songs for reading in read_midi(song, "copy")]
        again = sum(reading.score.note_num() for reading in readings), sum(len(reading.repairs) for reading in readings)
        return {
            "verdict": report.verdict.value,
            "reason": report.reason,
            "notes": report.notes,
            "again": again if songs else None,
            "cpu_seconds": time.process_time() - spent,
            "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }

    return repair


def damaged(data: bytes, kind: str, source: random.Random) -> bytes:
    """The bytes after the file header with some damage."""
    out = bytearray(data)
    name, _, count = kind.partition(" ")
    for _ in range(int(count)):
        at = source.randrange(HEADER_END, len(out))
        if name == "deleted":
            del out[at]
        elif name == "inserted":
            out.insert(at, source.randrange(256))
        elif name == "replaced":
            out[at] = source.randrange(256)
        else:
            out[at] |= 0x80
    return bytes(out)


def notes_of(scores: Any) -> Counter[tuple[int, int]]:
    return Counter((note.pitch, note.velocity) for s in scores for track in s.tracks for note in track.notes)


def damage(root: Path) -> None:
    from symusic.core import ScoreTick

    from aurl.music.score import read_midi
    from aurl.utils.errors import UnreadableFile

    source = random.Random(SEED)
    files = [folder / row["path"] for folder in (root / name for name in DAMAGED_CORPORA) for row in manifest(folder)]
    chosen = source.sample(files, FILES)
    print("| bytes | notes kept, mean | files that keep 90 % | rejected |")
    for kind in ("deleted 1", "deleted 10", "inserted 5", "replaced 5", "replaced 30", "top-bit-set 10"):
        shares, rejected = [], 0
        for path in chosen:
            whole = notes_of([ScoreTick(path)])
            try:
                readings = read_midi(damaged(path.read_bytes(), kind, source), str(path))
                kept = notes_of([reading.score for reading in readings])
            except UnreadableFile:
                kept, rejected = Counter(), rejected + 1
            shares.append((kept & whole).total() / whole.total())
        good = sum(share >= RECOVERED_SHARE for share in shares)
        print(f"| {kind} | {sum(shares) / FILES:.1%} | {good} of {FILES} | {rejected} |", flush=True)


def speed(root: Path) -> None:
    """CPU time of reading main files, the parser alone and the reader taking turns; best of three, median of files."""
    from symusic.core import ScoreTick

    from aurl.music.score import read_midi

    def milliseconds(read: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            began = time.process_time()
            read()
            times.append(time.process_time() - began)
        return 1000 * min(times)

    print("| corpus | files | kilobytes | parser alone | checked, repaired, controllers and texts kept | |")
    for folder in sorted(root.iterdir()):
        if folder.name == HOSTILE or not (folder / "manifest.jsonl").is_file():
            continue
        paths = [folder / row["path"] for row in manifest(folder)]
        rows = []
        for path in paths[:: max(len(paths) // SPEED_FILES, 1)]:
            data = path.read_bytes()
            alone = milliseconds(partial(ScoreTick.from_midi, data))
            rows.append((len(data) / 1000, alone, milliseconds(partial(read_midi, data, str(path)))))
        size, alone, ours = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"| {folder.name} | {len(rows)} | {size:.0f} | {alone:.2f} ms | {ours:.2f} ms | {ours / alone:.0f}x |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("hostile", "archives", "damage", "structural", "speed"))
    parser.add_argument("--data", type=Path, required=True, help="folder of unpacked corpora")
    parser.add_argument("--count", type=int, default=1000, help="files of structural")
    parser.add_argument("--seed", type=int, default=1, help="of structural")
    arguments = parser.parse_args()
    if arguments.what == "hostile":
        hostile(arguments.data / HOSTILE)
    elif arguments.what == "archives":
        archives(arguments.data)
    elif arguments.what == "structural":
        structural(arguments.data, arguments.count, arguments.seed)
    elif arguments.what == "speed":
        speed(arguments.data)
    else:
        damage(arguments.data)


if __name__ == "__main__":
    main()
