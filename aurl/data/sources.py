"""Where pieces come from: a folder of any music files, an archive with a manifest, the Bach chorales, made-up pieces.

Listing is cheap and reads no music; loading one piece is :func:`load_piece`, in whatever process. A ``Piece`` is a few
strings, so it travels to worker processes. Corpora of our own live in bach.py and synth.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.data.config import DataConfig, Source
from aurl.data.folders import printable, walk_scores
from aurl.data.metadata import sidecar_metadata
from aurl.data.storable import storable
from aurl.music.formats import MIDI_SUFFIXES, SCORE_SUFFIXES
from aurl.music.limits import DEFAULT_LIMITS, ReadLimits
from aurl.music.score import Reading, count_songs, read_piece
from aurl.utils.errors import AurlError, UnreadableFile
from aurl.utils.words import exists_hint

if TYPE_CHECKING:
    from symusic.core import ScoreTick

MANIFEST = "manifest.jsonl"
SPLITS = ("train", "valid", "test")
BOOK_SUFFIX = ".abc"
LOCKED = "locked"
LOCKED_REASON = "a folder that cannot be listed; allow reading it, or move it away"
PLACED_KEYS = frozenset({"id", "split", "path"})
"""Keys of a manifest line that are fields of a piece; the rest is metadata."""


@dataclass(frozen=True)
class Piece:
    """One piece before it is read."""

    id: str
    """Unique in its corpus; for folders the path below data.path."""
    split: str | None
    """train, valid or test; None where the corpus has no split of its own."""
    path: str
    """The file; empty where there is none."""
    loader: str
    """Who reads it: file, bach or synth; locked for a folder that cannot be listed, which nobody can."""
    tune: int = 0
    """Which tune of the file, counted from 0."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What the corpus knows about it, in JSON types."""


def list_pieces(config: DataConfig) -> list[Piece]:
    """All pieces of a corpus at once; see :func:`iter_pieces`."""
    return list(iter_pieces(config))


def iter_pieces(config: DataConfig) -> Iterator[Piece]:
    """List the pieces of a corpus, in an order that depends on their names only; folders in constant memory.

    Args:
        config: the corpus.

    Raises:
        AurlError: data.path is missing, is no such corpus, or holds no music.
    """
    if config.source is Source.bach:
        from aurl.data.bach import list_bach

        yield from list_bach()
    elif config.source is Source.synth:
        from aurl.data.synth import list_synth

        yield from list_synth(config)
    elif config.source is Source.folder:
        yield from list_folder(_root(config), config.limits)
    else:
        yield from list_archive(_root(config), config.file_pattern)


def unique_id(name: str, is_taken: Callable[[str], bool], copies: dict[str, int]) -> str:
    """A name that no other piece has: names that are not text can look the same, and rows of a manifest can share one.

    Args:
        name: the wanted name.
        is_taken: tells which names are given away.
        copies: how often each name was wanted again, kept from call to call: a million pieces of one name are not
            looked up a million times each.
    """
    wanted = name
    while is_taken(wanted):
        copies[name] = copies.get(name, 1) + 1
        wanted = f"{name}~{copies[name]}"
    return wanted


def load_piece(piece: Piece, limits: ReadLimits = DEFAULT_LIMITS) -> ScoreTick:
    """Read one piece.

    Args:
        piece: which.
        limits: what is refused for its size.

    Raises:
        UnreadableFile: with the path and the reason.
    """
    return load_reading(piece, limits).score


def load_reading(piece: Piece, limits: ReadLimits = DEFAULT_LIMITS) -> Reading:
    """Read one piece and say what was repaired; see :func:`load_piece`."""
    if piece.loader == "bach":
        from aurl.data import bach

        return Reading(bach.load(piece))
    if piece.loader == "synth":
        from aurl.data import synth

        return Reading(synth.load(piece))
    if piece.loader == LOCKED:
        raise UnreadableFile(piece.path, LOCKED_REASON)
    if piece.loader != "file":
        raise ValueError(f"piece.loader={piece.loader} is unknown; allowed: file, bach, synth, {LOCKED}")
    return read_piece(Path(piece.path), limits, piece.tune)


# --- folders --------------------------------------------------------------------------------------------------------


def list_folder(root: Path, limits: ReadLimits = DEFAULT_LIMITS) -> Iterator[Piece]:
    """Every score file at or below ``root``, by path; a tune book gives one piece a tune, MIDI format 2 one a song.

    Links are followed, each folder is entered once. Hidden files and folders are left out. What lies beside a file or
    is in its name is its metadata, and its split if that says train, valid or test. A folder that cannot be listed
    comes last, as a piece that will be skipped with that reason.

    Raises:
        AurlError: there is no score file.
    """
    found, locked = False, list[OSError]()
    for file in [root] if root.is_file() else walk_scores(root, on_error=locked.append):
        found = True
        yield from _pieces_of_file(file, root, limits)
    for error in locked:
        folder = Path(os.fsdecode(error.filename))
        name = folder.relative_to(root).as_posix() if folder != root else root.name
        yield Piece(f"{printable(name)}/", None, str(folder), LOCKED)
    if not found and not locked:
        kinds = " ".join(sorted(SCORE_SUFFIXES))
        raise AurlError(f"data.path={root} holds no music files; looked for {kinds} in it and in all folders below")


def _pieces_of_file(file: Path, root: Path, limits: ReadLimits) -> Iterator[Piece]:
    """One piece, or one for each tune of a tune book."""
    name = printable(file.name if file == root else file.relative_to(root).as_posix())
    suffix = file.suffix.lower()
    metadata = sidecar_metadata(file, root)
    split = metadata.pop("split", None)
    tunes = 1
    if suffix == BOOK_SUFFIX:
        tunes = count_tunes(file, limits)
    elif suffix in MIDI_SUFFIXES:
        tunes = count_songs(file, limits)
    for tune in range(tunes):
        yield Piece(
            id=name if tunes == 1 else f"{name}#{tune + 1}",
            split=split if split in SPLITS else None,
            path=str(file),
            loader="file",
            tune=tune,
            metadata=metadata,
        )


def count_tunes(file: Path, limits: ReadLimits = DEFAULT_LIMITS) -> int:
    """Tunes in an ABC file; 1 for a file that cannot be opened, so that reading it says why."""
    from aurl.music.notation import decode_text, split_abc

    try:
        if not file.is_file() or file.stat().st_size > limits.notation_bytes:
            return 1
        return len(split_abc(decode_text(file.read_bytes())))
    except OSError:
        return 1


# --- archives -------------------------------------------------------------------------------------------------------


def list_archive(root: Path, file_pattern: str | None = None) -> list[Piece]:
    """Pieces of an unpacked archive: manifest.jsonl says what they are, splits/*.txt which split they are in.

    Args:
        root: folder with manifest.jsonl and splits/{train,valid,test}.txt (paths below the folder, one a line).
        file_pattern: take the file of this name beside each listed file.

    Raises:
        AurlError: the folder is no such archive, or the file named by ``file_pattern`` is nowhere.
    """
    rows = _read_manifest(root)
    pieces = []
    for split in SPLITS:
        listing = root / "splits" / f"{split}.txt"
        if not listing.is_file():
            raise AurlError(f"data.path={root} has no splits/{split}.txt; an archive has splits/train.txt, valid, test")
        for line in listing.read_text(encoding="utf-8").splitlines():
            if name := line.strip():
                file = root / name
                row = rows.get(name, {})
                beside = sidecar_metadata(file, root)
                metadata = {key: value for key, value in (beside | row).items() if key not in PLACED_KEYS}
                path = file.parent / file_pattern if file_pattern else file
                identity = str(row.get("id", name))
                pieces.append(Piece(id=identity, split=split, path=str(path), loader="file", metadata=metadata))
    if not pieces:
        raise AurlError(f"data.path={root} lists no pieces in splits/train.txt, valid.txt or test.txt")
    if file_pattern and not any(os.path.exists(piece.path) for piece in pieces):
        raise AurlError(f"data.file_pattern={file_pattern} is beside none of the listed files below {root}; unset it")
    return pieces


def _read_manifest(root: Path) -> dict[str, dict[str, Any]]:
    """Manifest lines by the path they describe."""
    manifest = root / MANIFEST
    if not manifest.is_file():
        raise AurlError(
            f"data.path={root} has no {MANIFEST}; give the folder of an unpacked archive, or use data=folder"
        )
    rows = {}
    for number, line in enumerate(manifest.read_text(encoding="utf-8").strip().split("\n"), start=1):
        try:
            row = storable(json.loads(line))
            rows[str(row["path"])] = row
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise AurlError(f"{manifest}, line {number}: not a JSON object with a path ({error})") from error
    return rows


def check_path(config: DataConfig) -> None:
    """Refuse a data.path that does not exist, before anything is opened for it; not for sources without one.

    Raises:
        AurlError: missing, or a file where a folder is needed.
    """
    if config.source not in (Source.bach, Source.synth):
        _root(config)


def _root(config: DataConfig) -> Path:
    """data.path, which must exist."""
    if not config.path:
        raise AurlError(f"data.path is missing: source={config.source.value} needs one, for instance data.path=~/midi")
    root = Path(config.path).expanduser()
    if not root.exists():
        raise AurlError(f"data.path={config.path} does not exist{exists_hint(root)}; give a folder of music files")
    if config.source is Source.archive and not root.is_dir():
        raise AurlError(f"data.path={config.path} is a file; give the folder of an unpacked archive")
    return root.resolve()
