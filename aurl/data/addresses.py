"""Addresses by content: what is stored carries the hash of all that decides it, so nothing stale is ever served.

A read piece (a score) is decided by the bytes of its file, the tune, the limits and the preprocessing, and the code
that reads; an encoded piece by that, the tokenizer, the aligned arrays and the code that encodes. "The code" is a
module with all modules of aurl that it imports, found by looking at their import lines: a changed rule in any of them
counts.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from aurl.data.config import TokenizerConfig
from aurl.data.preprocessing import PreprocessConfig
from aurl.music.formats import MIDI_SUFFIXES
from aurl.music.limits import ReadLimits

PACKAGE = "aurl"
READING = ("aurl.music.score", "aurl.data.bach", "aurl.data.synth", "aurl.data.reading", "aurl.data.preprocessing")
"""Modules that decide what a read piece holds."""
ENCODING = ("aurl.data.encoding", "aurl.data.codec", "aurl.data.aligned")
"""Modules that decide what an encoded piece holds."""
NEUTRAL = re.compile(r"aurl\.(utils\.|data\.(config|folders|addresses|crew)$|music\.formats$)")
"""Modules that decide no content: their values are part of the address, or they only pass things on."""
READING_PACKAGES, ENCODING_PACKAGES = ("symusic", "verovio"), ("miditok",)
IMPORT_LINE = re.compile(
    r"^[ \t]*(?:from[ \t]+(aurl[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|.*)|import[ \t]+(aurl[\w.]*))", re.M
)
BLOCK_BYTES = 1 << 20
GONE, UNREADABLE, NO_FILE, OVERSIZE = "gone", "unreadable", "no file", "oversize"


def digest(*values: Any) -> bytes:
    """SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).digest()


# --- code -------------------------------------------------------------------------------------------------------------


@cache
def code_hash(modules: tuple[str, ...], root: Path | None = None) -> str:
    """SHA-256 of the sources of modules and of all modules of aurl that they import.

    Args:
        modules: dotted names.
        root: folder of the package ``aurl``; the installed one when None.
    """
    folder = root or Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for name in sorted(_closure(modules, folder)):
        total.update(f"{name}\0".encode() + _source(name, folder))
    return total.hexdigest()


def _closure(modules: Iterable[str], folder: Path) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or NEUTRAL.match(name):
            continue
        text = _source(name, folder).decode("utf-8", errors="replace")
        if not text:
            continue
        found.add(name)
        for module, names, plain in IMPORT_LINE.findall(text):
            waiting.append(module or plain)
            waiting += [f"{module}.{word}" for word in re.findall(r"\w+", names)]
    return found


def _source(module: str, folder: Path) -> bytes:
    """The text of a module; empty for a package, and for a name that is no module."""
    file = folder.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return file.read_bytes() if file.is_file() else b""


@cache
def _versions(packages: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, importlib.metadata.version(name)) for name in packages]


# --- keys -------------------------------------------------------------------------------------------------------------


def reading_mark(limits: ReadLimits, preprocess: PreprocessConfig) -> str:
    """All that decides how pieces are read, but the pieces."""
    return digest(repr(limits), repr(preprocess), code_hash(READING), _versions(READING_PACKAGES)).hex()


def encoding_mark(tokenizer: TokenizerConfig, features: Mapping[str, Any]) -> str:
    """All that decides how scores are encoded; ``features`` says of each aligned array what its values depend on."""
    return digest(repr(tokenizer), dict(features), code_hash(ENCODING), _versions(ENCODING_PACKAGES)).hex()


def reading_key(mark: str, content: str, suffix: str, tune: int, loader: str, settings: Any) -> bytes:
    """Address of a read piece.

    Args:
        mark: :func:`reading_mark`.
        content: :func:`content_of` its file.
        suffix: ending of the file's name, which says how it is read.
        tune: which tune of the file.
        loader: who reads it.
        settings: what decides a piece that has no file, in JSON types.
    """
    return digest("read", mark, content, suffix, tune, loader, settings)


def encoding_key(mark: str, read: bytes) -> bytes:
    """Address of an encoded piece from that of the read one."""
    return digest("encoded", mark, read.hex())


# --- bytes of files ---------------------------------------------------------------------------------------------------


def stamp_of(status: os.stat_result) -> str:
    """What the file system says of a file; whoever changes its bytes changes this (ctime cannot be set back)."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino} {status.st_dev}"


def unhashed(path: str, limits: ReadLimits) -> tuple[str, os.stat_result | None]:
    """What stands for the bytes of a file that is refused without reading it, or '' for one that must be hashed."""
    try:
        status = os.stat(path)
    except OSError as error:
        return f"{GONE} {error.errno}", None
    if not stat.S_ISREG(status.st_mode):
        return NO_FILE, status
    most = limits.bytes if Path(path).suffix.lower() in MIDI_SUFFIXES else limits.notation_bytes
    return (f"{OVERSIZE} {status.st_size}" if status.st_size > most else ""), status


def content_of(path: str, limits: ReadLimits) -> str:
    """SHA-256 of a file's bytes in hex, or what stands for it where it is refused without reading it."""
    instead, _ = unhashed(path, limits)
    if instead:
        return instead
    total = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                total.update(block)
    except OSError as error:
        return f"{UNREADABLE} {error.errno}"
    return total.hexdigest()
