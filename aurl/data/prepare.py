"""From a corpus to a token store: read, tokenise, split, once; later runs open what is there.

The folder's name carries a fingerprint of all that decides its content: the settings, the code that reads and encodes,
the list of files with sizes and times. It is built under a hidden name and renamed when complete, so a reader never
sees half of it and two processes that build at once do not disturb each other. Reading happens in workers.py.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aurl.data.config import DataConfig, TokenizerConfig
from aurl.data.crew import Failure, available_cores, in_order
from aurl.data.sources import Piece, list_pieces
from aurl.data.splits import assign_splits, group_near_duplicates
from aurl.data.store import PieceRecord, StoreWriter, TokenStore
from aurl.data.workers import Encoded, encode_pieces
from aurl.utils.errors import AurlError
from aurl.utils.files import sync_folder
from aurl.utils.logging import get_logger

log = get_logger("data.prepare")

DATA_VERSION = 2
"""Layout of the store; a change makes every corpus be prepared anew."""
FINGERPRINT_LETTERS = 16
STALE_SECONDS = 24 * 3600
"""Unfinished folders older than this were left by a killed process and are removed."""
DECIDING_SETTINGS = ("source", "path", "file_pattern", "valid_share", "test_share", "split_seed", "pieces")
"""Fields of DataConfig that decide the content of a store."""
DECIDING_CODE = {
    "music": (
        "score",
        "limits",
        "marks",
        "midi_check",
        "midi_repair",
        "midi_scan",
        "midi_notes",
        "notation",
        "abc",
        "bars",
    ),
    "data": (
        "bach",
        "synth",
        "synth_parts",
        "sources",
        "folders",
        "splits",
        "tokenizer",
        "vocabulary",
        "kinds",
        "timeline",
        "codec",
        "compound",
        "overlaps",
        "encoder",
        "encoder_shifts",
        "encoder_words",
        "decoder",
        "fitting",
        "metre",
        "workers",
    ),
}
"""Modules that decide the content of a store."""
EMPTY = np.zeros(0)
DECIDING_PACKAGES = ("miditok", "symusic", "verovio")


def prepare(data: DataConfig, tokenizer: TokenizerConfig, cache: Path, progress: bool = True) -> TokenStore:
    """Open the prepared corpus, building it on first use.

    Args:
        data: the corpus and its split.
        tokenizer: how scores become tokens.
        cache: folder that holds prepared corpora, one folder each.
        progress: show a progress bar while building.

    Returns:
        The store; ``store.skipped`` lists the pieces that could not be read.

    Raises:
        AurlError: there is no music, nothing of it can be read, or the cache cannot be written.
    """
    pieces = list_pieces(data)
    mark = fingerprint(data, tokenizer, pieces)
    name = re.sub(r"[^\w.-]+", "-", data.name) or "corpus"
    cache = Path(cache).expanduser()
    folder = cache / f"{name}-{mark[:FINGERPRINT_LETTERS]}"
    store = _open_complete(folder)
    if store is None:
        with _building_folder(cache, folder) as building:
            _build(building, folder, pieces, data, tokenizer, mark, progress)
            store = _publish(building, folder)
    return store


def fingerprint(data: DataConfig, tokenizer: TokenizerConfig, pieces: list[Piece]) -> str:
    """Hex SHA-256 of all that decides the content of a store."""
    settings = {key: str(getattr(data, key)) for key in DECIDING_SETTINGS}
    digest = hashlib.sha256()
    head = [DATA_VERSION, settings, repr(tokenizer), _code_hash()]
    head += [(name, importlib.metadata.version(name)) for name in DECIDING_PACKAGES]
    digest.update(json.dumps(head).encode())
    for piece in pieces:
        size, changed = _stamp(piece.path)
        row = [piece.id, piece.split, piece.tune, piece.loader, size, changed, piece.metadata]
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of change of a file; -1 where there is none."""
    try:
        status = os.stat(path) if path else None
    except OSError:
        status = None
    return (status.st_size, status.st_mtime_ns) if status is not None else (-1, -1)


def _code_hash() -> str:
    """SHA-256 of the modules that decide the content, so that changed code never meets an old store."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for room, modules in DECIDING_CODE.items():
        for module in modules:
            file = package / room / f"{module}.py"
            digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()


# --- folders --------------------------------------------------------------------------------------------------------


def _open_complete(folder: Path) -> TokenStore | None:
    """The store, or None when there is none that is whole."""
    if not folder.is_dir():
        return None
    try:
        return TokenStore.open(folder)
    except AurlError as error:
        log.warning(f"{error}; preparing it again")
        return None


@contextmanager
def _building_folder(cache: Path, folder: Path) -> Iterator[Path]:
    """A hidden folder to build in, gone afterwards whatever happens."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob(".*.building.*"):
            if time.time() - old.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.building.", dir=cache))
    except OSError as error:
        raise AurlError(f"the cache folder {cache} cannot be written ({error.strerror}); set paths.cache") from error
    try:
        yield building
    except OSError as error:
        raise AurlError(
            f"cannot prepare the corpus in {cache} ({error.strerror or error}); free space or set paths.cache"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _publish(building: Path, folder: Path) -> TokenStore:
    """Give the finished folder its name; another process may have been faster, then its folder is used."""
    building.chmod(0o755)
    if folder.exists() and _open_complete(folder) is None:
        folder.rename(building.with_name(f"{building.name}.broken"))
        shutil.rmtree(building.with_name(f"{building.name}.broken"), ignore_errors=True)
    try:
        building.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    sync_folder(folder.parent)
    return TokenStore.open(folder)


# --- building -------------------------------------------------------------------------------------------------------


def _build(
    building: Path,
    folder: Path,
    pieces: list[Piece],
    data: DataConfig,
    tokenizer: TokenizerConfig,
    mark: str,
    progress: bool,
) -> None:
    """Read, encode and write every piece, in the order of the list."""
    from aurl.data.codec import Codec

    began = time.monotonic()
    workers = data.workers or available_cores()
    needs_splits = any(piece.split is None for piece in pieces)
    read: list[tuple[Piece, Encoded]] = []
    skipped: list[dict[str, str]] = []
    repaired: list[dict[str, Any]] = []
    changes: Counter[str] = Counter()
    with StoreWriter(building) as writer, _bar(data.name, len(pieces), progress) as advance:
        results = encode_pieces(pieces, tokenizer, needs_splits, workers)
        for piece, result in zip(pieces, in_order(advance(item) for item in results), strict=True):
            if isinstance(result, Failure):
                skipped.append({"id": piece.id, "path": piece.path, "reason": result.reason})
            else:
                writer.add(result.ids, result.bars, result.beats)
                changes.update(result.changes)
                if result.repairs:
                    repaired.append(_repair_row(piece, result))
                read.append((piece, _without_tokens(result)))
        if not read:
            first = skipped[0]
            raise AurlError(
                f"data={data.name}: none of {len(pieces)} pieces could be read; "
                f"the first, {first['id']}: {first['reason']}"
            )
        records = _records(read, data)
        seconds = time.monotonic() - began
        meta = {"fingerprint": mark, "version": DATA_VERSION, "seconds": round(seconds, 3), "changes": dict(changes)}
        writer.finish(records, skipped, Codec.from_config(tokenizer).to_dict(), meta, repaired)
    _report(records, skipped, repaired, changes, data, folder, seconds)


def _repair_row(piece: Piece, encoded: Encoded) -> dict[str, Any]:
    """What repaired.jsonl says of a piece."""
    return {"id": piece.id, "path": piece.path, "repairs": encoded.repairs, "reason": encoded.damage}


def _without_tokens(result: Encoded) -> Encoded:
    """What is kept in memory of a piece once its tokens are on disk."""
    return replace(result, ids=EMPTY.astype(np.uint16), bars=EMPTY.astype(np.int32), beats=EMPTY.astype(np.float32))


def _records(read: list[tuple[Piece, Encoded]], data: DataConfig) -> list[PieceRecord]:
    """Records with splits: the corpus's own, else dealt out by near-duplicate groups."""
    free = [(piece, encoded) for piece, encoded in read if piece.split is None]
    groups = group_near_duplicates([_signature(encoded) for _, encoded in free])
    dealt = assign_splits([piece.id for piece, _ in free], groups, data.valid_share, data.test_share, data.split_seed)
    splits = {piece.id: split for (piece, _), split in zip(free, dealt, strict=True)}
    return [
        PieceRecord(
            id=piece.id,
            split=piece.split or splits[piece.id],
            notes=encoded.notes,
            beats=encoded.length,
            tokens=encoded.tokens,
            pitch_low=encoded.pitch_low,
            pitch_high=encoded.pitch_high,
            tracks=encoded.tracks,
            metadata=piece.metadata,
            path=piece.path,
        )
        for piece, encoded in read
    ]


def _signature(encoded: Encoded) -> set[int]:
    return set(encoded.signature.tolist()) if encoded.signature is not None else set()


def _report(
    records: list[PieceRecord],
    skipped: list[dict[str, str]],
    repaired: list[dict[str, Any]],
    changes: Counter[str],
    data: DataConfig,
    folder: Path,
    seconds: float,
) -> None:
    """Say what was prepared, in a line each."""
    notes, tokens = sum(record.notes for record in records), sum(record.tokens for record in records)
    splits = Counter(record.split for record in records)
    shares = ", ".join(f"{split} {splits[split]}" for split in ("train", "valid", "test"))
    log.info(
        f"Prepared {data.name}: {len(records)} pieces ({shares}), {notes} notes, {tokens} tokens in {seconds:.1f} s"
    )
    if any(changes.values()):
        fitted = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(changes.items()) if count)
        log.info(f"Fitted to the vocabulary: {fitted}")
    if repaired:
        kinds: Counter[str] = Counter()
        for row in repaired:
            kinds.update(row["repairs"])
        listed = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in kinds.most_common())
        log.info(f"{len(repaired)} pieces were repaired ({listed}); listed in {folder / 'repaired.jsonl'}")
    if skipped:
        total = len(records) + len(skipped)
        log.warning(f"{len(skipped)} of {total} pieces could not be read; reasons in {folder / 'skipped.jsonl'}")


@contextmanager
def _bar(name: str, total: int, show: bool) -> Iterator[Any]:
    """A progress bar with files a second; gives a function that moves it on by one and hands back what it gets."""
    if not show:
        yield lambda item: item
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} files/s"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"Preparing {name}", total=total, rate=0.0)
        done = 0

        def advance(item: Any) -> Any:
            nonlocal done
            done += 1
            bar.update(task, completed=done, rate=done / max(time.monotonic() - began, 1e-9))
            return item

        yield advance
